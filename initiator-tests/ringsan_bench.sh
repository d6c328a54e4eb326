#!/usr/bin/env bash
# What `ringsan bench` does beyond plain runs: profiles, sizes from 512 bytes to 16 MiB, mixes, steady
# state, the series of intervals, the drawing, and comparisons. Not a measurement.
. "$(dirname "$0")/lib.sh"

ringsan=${RINGSAN:-$B/$RINGSAN_VARIANT/ringsan}
configure <<C
target "$iqn" {
	lun 0 { image = "$dir/a.img" size = 128M cache = page }
	lun 1 { image = "$dir/b.img" size = 64M block-size = 4096 cache = page }
	lun 2 { type = null size = 1G }
}
C
start_or_end

# bench OPTION... URL: short, and with a limit on everything.
bench() {
	limited "$ringsan" bench --ramp 0 -t 200ms --timeout 20s "$@"
}

# check NAME FILE CONDITION: a Python expression over the result r.
check() {
	case_run "$1" python3 -c '
import json, sys
with open(sys.argv[1], encoding="utf-8") as file:
    r = json.load(file)
assert eval(sys.argv[2]), sys.argv[2]
' "$2" "$3"
}

# --- profiles ------------------------------------------------------------------------------------

case_match 'the list names the profiles' 'vm-boot:.*oltp:.*backup:' \
	"$("$ringsan" bench --profile list | tr '\n' ' ')"
for profile in $("$ringsan" bench --profile list | sed -n 's/^\([a-z-]*\):.*/\1/p'); do
	case_run "profile $profile, verified" bench --profile "$profile" --fill --verify "$(url 0)"
	case_run "profile $profile on blocks of 4096" bench --profile "$profile" --size 32M "$(url 1)"
done
bench --profile oltp --json -t 1s "$(url 2)" >"$dir/oltp.json"
check 'the profile and its classes are in the result' "$dir/oltp.json" \
	'r["options"]["profile"] == "oltp" and [c["block_bytes"] for c in r["classes"]] == [8192, 4096, 32768]'
check 'classes add up' "$dir/oltp.json" \
	'sum(c.get("read", {"ios": 0})["ios"] + c["write"]["ios"] for c in r["classes"]) == r["both"]["ios"]'
check 'shares are kept' "$dir/oltp.json" \
	'abs((r["classes"][0]["read"]["ios"] + r["classes"][0]["write"]["ios"]) / r["both"]["ios"] - 0.85) < 0.03'
bench --profile oltp -b 16K -w read --json "$(url 2)" >"$dir/override.json"
check 'options override a profile' "$dir/override.json" \
	'r["options"]["block_bytes"] == 16384 and "write" not in r and r["options"]["sessions"] == 4'

# --- sizes -----------------------------------------------------------------------------------------

for size in 512 16M; do
	# All of the LUN in such small pieces is a quarter of a million writes.
	area=()
	[ "$size" != 512 ] || area=(--size 8M)
	for digests in none both; do
		case_run "$size, digests $digests, verified" \
			bench -b "$size" -w mix -q 4 --verify --fill --digests "$digests" "${area[@]}" "$(url 0)"
		case_run "$size, digests $digests, reads" bench -b "$size" -q 4 --digests "$digests" "$(url 0)"
	done
done
case_run 'sizes with shares, verified' bench -b 512:5,4K:3,12K,1M -w mix -q 8 --verify "$(url 0)"
bench -b 4K:3,64K:1 --json "$(url 2)" >"$dir/mix.json"
check 'a mix has no one size' "$dir/mix.json" \
	'"block_bytes" not in r["options"] and [c["share_percent"] for c in r["classes"]] == [75, 25]'
case_refused 'a size of the mix is smaller than a block' bench -b 512,4K "$(url 1)"

# --- time --------------------------------------------------------------------------------------------

bench -t 1s --interval 100ms --histogram --json "$(url 2)" >"$dir/a.json"
check 'ten intervals of a tenth' "$dir/a.json" \
	'len(r["intervals"]) == 10 and abs(sum(i["seconds"] for i in r["intervals"]) - r["seconds"]) < 1e-3'
check 'intervals add up' "$dir/a.json" \
	'abs(sum(i["read"]["iops"] * i["seconds"] for i in r["intervals"]) / r["read"]["ios"] - 1) < 0.01'
check 'percentiles ascend' "$dir/a.json" \
	'(lambda l: l["p50"] <= l["p99"] <= l["p99.9"] <= l["p99.99"] <= l["max"])(r["read"]["latency_us"])'
check 'buckets hold every command' "$dir/a.json" \
	'sum(b[1] for b in r["read"]["latency_us"]["buckets"]) == r["read"]["ios"]'
bench --burst 8 --pause 20ms -t 1s -q 8 --json "$(url 2)" >"$dir/burst.json"
check 'bursts of 8 with pauses of 20 ms' "$dir/burst.json" '8 <= r["read"]["ios"] <= 50 * 8'
bench --steady-state --steady-window 300ms --steady-range 100 --steady-slope 100 --json "$(url 2)" \
	>"$dir/steady.json"
check 'a steady state is reached' "$dir/steady.json" \
	'r["steady_state"]["reached"] and len(r["steady_state"]["iops"]) >= 10'
bench --steady-state --steady-window 100ms --steady-range 1 --steady-slope 1 --steady-limit 100ms --json \
	"$(url 2)" >"$dir/unsteady.json" 2>"$dir/unsteady.err"
check 'or not within the limit, and is measured all the same' "$dir/unsteady.json" \
	'len(r["steady_state"]["iops"]) == 10 and r["read"]["ios"] > 0'

# --- the drawing ---------------------------------------------------------------------------------------

case_run 'a drawing is made' bench -w mix --plot "$dir/plot.svg" "$(url 2)"
case_run 'and is XML' python3 -c '
import sys, xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
assert root.tag == "{http://www.w3.org/2000/svg}svg"
assert not [e for e in root.iter() if "script" in e.tag or any("href" in a for a in e.attrib)]
' "$dir/plot.svg"
case_refused 'where nothing can be written' bench --plot "$dir/none/plot.svg" "$(url 2)"
cp "$dir/plot.svg" "$dir/kept.svg"
case_refused 'a run that fails' bench --plot "$dir/kept.svg" "$(url 7)"
case_run 'keeps the drawing that was there' cmp "$dir/plot.svg" "$dir/kept.svg"
yes | head -n 100000 >"$dir/kept.svg"
case_run 'a longer file is replaced' bench --plot "$dir/kept.svg" "$(url 2)"
case_equal 'as a whole' '</svg>' "$(tail -n 1 "$dir/kept.svg")"
case_refused 'a list that cannot be written' sh -c "\"$ringsan\" bench --profile list >/dev/full"
case_refused 'a CPU that is not there' bench --cpu 0,1023 "$(url 2)"

# --- comparisons ---------------------------------------------------------------------------------------

case_run 'a result is no worse than itself' "$ringsan" bench compare "$dir/a.json" "$dir/a.json"
# The machine may be too busy for a real difference to show: make one.
python3 - "$dir" <<'P'
import json, sys
for name, factor in ("fast", 1), ("slow", 0.5):
    with open(sys.argv[1] + "/a.json", encoding="utf-8") as file:
        r = json.load(file)
    r["read"]["iops"] = 1000 * factor
    for i, interval in enumerate(r["intervals"]):
        interval["read"]["iops"] = (1000 + i % 3) * factor
    r["options"]["queue_depth"] = int(32 * factor)
    with open(f"{sys.argv[1]}/{name}.json", "w", encoding="utf-8") as file:
        json.dump(r, file)
P
status=0
"$ringsan" bench compare --json "$dir/fast.json" "$dir/slow.json" >"$dir/compare.json" || status=$?
case_equal 'slower is worse: status 3' 3 "$status"
check 'and says what' "$dir/compare.json" \
	'[m["name"] for m in r["metrics"] if m["verdict"] == "worse"] == ["read.iops"] and r["worse"] == 1'
check 'and what else differs' "$dir/compare.json" 'any("queue_depth: 32, 16" in w for w in r["warnings"])'
status=0
head -c 1000 "$dir/a.json" >"$dir/cut.json"
"$ringsan" bench compare "$dir/a.json" "$dir/cut.json" >"$dir/cut.out" 2>&1 || status=$?
case_equal 'half a file: status 1' 1 "$status"
case_match 'half a file: a clear error' 'cut.json is not JSON' "$(cat "$dir/cut.out")"
stop_ringsand
cases_end
