#!/usr/bin/env bash
# `ringsan bench` against a running ringsand: verified I/O over every agreement of keys, CHAP, and what
# it says and answers when something is wrong. Not a measurement.
. "$(dirname "$0")/../lib.sh"

ringsan=${RINGSAN:-$B/$RINGSAN_VARIANT/ringsan}
secrets=$dir/secrets
printf 'host-user secret-of-host-1\n' >"$secrets"
chmod 600 "$secrets"
configure "secrets = \"$secrets\"" <<C
target "$iqn" {
	lun 0 { image = "$dir/a.img" size = 64M cache = page }
	lun 1 { image = "$dir/b.img" size = 64M block-size = 4096 }
	lun 300 { type = null size = 1G }
}
target "$iqn.chap" { lun 0 { type = null size = 1G } auth { users = { "host-user" } } }
C
start_or_end

# bench OPTION... URL: short, and with a limit on everything.
bench() {
	limited "$ringsan" bench --ramp 0 -t 200ms --timeout 10s "$@"
}

case_run 'fill, mix and read back' bench -w mix --fill --verify -s 4 --threads 2 "$(url 0)"
case_run 'what one run wrote another verifies' bench --verify --size 64M -s 4 "$(url 0)"
case_refused 'another seed finds another run' bench --verify --seed 2 "$(url 0)"
for digests in none header data both; do
	for immediate in yes no; do
		for r2t in yes no; do
			case_run "mix of 128K, digests $digests, ImmediateData $immediate, InitialR2T $r2t" \
				bench -w mix --verify -b 128K -q 8 -s 2 --digests "$digests" --immediate-data "$immediate" \
				--initial-r2t "$r2t" "$(url 0)"
		done
	done
done
for size in 512 4K 1M 4M; do
	case_run "mix of $size" bench -w mix --verify -b "$size" -q 4 "$(url 0)"
done
case_run 'small segments and bursts' bench -w mix --verify -b 64K -q 8 --first-burst 512 --max-burst 4K \
	--max-recv-segment 512 --max-r2t 8 "$(url 0)"
case_run 'blocks of 4096' bench -w mix --verify --fill -b 8K "$(url 1)"
case_refused 'I/O smaller than a block' bench -b 512 "$(url 1)"
case_run 'a LUN above 255, deep queue' bench -q 1024 -s 2 "$(url 300)"
case_run 'sequential' bench -w write -p sequential --verify -s 3 "$(url 0)"
case_run 'ranges' bench -w write --offset 1M --size 1M -q 8 "$(url 0)"
case_refused 'a range beyond the end' bench --offset 60M --size 5M "$(url 0)"
case_refused 'no such LUN' bench "$(url 7)"
case_refused 'no such target' bench "$(url 0 iqn.2026-11.io.ringsan:nobody)"

chap_url=iscsi://host-user@127.0.0.1:${port[$server]}/$iqn.chap/0
RINGSAN_CHAP_SECRET=secret-of-host-1 case_run 'CHAP' bench "$chap_url"
RINGSAN_CHAP_SECRET=secret-of-host-2 case_refused 'CHAP with a wrong secret' bench "$chap_url"
case_refused 'no CHAP where it is asked' bench "$(url 0 "$iqn.chap")"

report=$(bench --json --target-pid "${daemon[$server]}" "$(url 300)")
case_run 'JSON has its members' python3 -c '
import json, sys
r = json.loads(sys.argv[1])
assert r["format"] == 1 and r["read"]["ios"] > 0 and "write" not in r
assert r["target_cpu"]["us_per_io"] > 0 and r["errors"] == {"io": 0, "verify": 0}
assert r["read"]["latency_us"]["p50"] <= r["read"]["latency_us"]["p99"] <= r["read"]["latency_us"]["max"]
' "$report"

# The daemon goes away in the middle of a run: a clear error, and soon.
limited "$ringsan" bench -t 60 --timeout 10s "$(url 300)" >"$dir/lost" 2>&1 &
client=$!
sleep 1
stop_ringsand
status=0
wait "$client" || status=$?
case_equal 'a lost connection ends the run' 1 "$status"
case_match 'and says so' 'connection lost|the target (asks for a logout|drops)' "$(cat "$dir/lost")"
status=0
bench "$(url 0)" >"$dir/refused" 2>&1 || status=$?
case_equal 'nobody listens: status 1' 1 "$status"
case_match 'nobody listens: a clear error' 'cannot connect to 127.0.0.1 port .*: Connection refused' \
	"$(cat "$dir/refused")"
cases_end
