#!/usr/bin/env bash
# libiscsi's conformance suite, each test alone and under a time limit, against the reviewed list in
# expected/iscsi-test-cu.txt, which says how its lines read. A change in either direction fails: what
# got better is entered in the list. Many tests do nothing but sleep, so several lanes share the list,
# each with a target and LUNs of its own. What the suite needs for honest answers: conformance_preload.c.
#
# CONFORMANCE_LUN=4Kn (or 512n) runs the whole list on such a LUN, where more is skipped;
# CONFORMANCE_TYPE=qcow2 has images of that type, for which the same list holds.
. "$(dirname "$0")/lib.sh"

expected=initiator-tests/expected/iscsi-test-cu.txt
test_seconds_max=60
lanes=4
type=${CONFORMANCE_TYPE:-raw}

# The LUNs of a lane, and a daemon with two portals for paths that have nothing else to share loops with.
declare -A lun_of=([disk]=0 [read-only]=1 [512n]=2 [4Kn]=3)
luns() {
	cat <<L
	lun 0 { type = $type image = "$dir/$1.img" size = 1000M }
	lun 1 { image = "$dir/$1.read-only.img" read-only = yes }
	lun 2 { image = "$dir/$1.512n.img" size = 64M physical-block-size = 512 }
	lun 3 { type = $type image = "$dir/$1.4Kn.img" size = 1000M block-size = 4096 }
L
}
configure < <(for ((lane = 0; lane < lanes; lane++)); do
	printf 'target "%s" {\n%s\n}\n' "$iqn.$lane" "$(luns "$lane")"
done)
for ((lane = 0; lane < lanes; lane++)); do
	truncate -s 64M "$dir/$lane.read-only.img"
done
start_or_end

second=$(free_port)
server=two
configure "portal \"127.0.0.1:$second\" { }" <<C
target "$iqn" {
	lun 0 { type = $type image = "$dir/two.img" size = 1000M }
}
C
start_or_end

# urls_of LANE WHERE
urls_of() {
	if [ "$2" = two ]; then
		server=two url
		echo "iscsi://127.0.0.1:$second/$iqn/0"
	else
		server=a url "${lun_of[$2]}" "$iqn.$1"
	fi
}

# outcome LOG TEST URL...: pass, fail, skip, hang, or error where it did not run to its end. A skip counts
# if it stands between the test's name and its result: set-up and clean-up look for reservations and
# say "[SKIPPED]", too, where there are none.
outcome() {
	local log=$1 name=$2 status=0
	shift 2
	timeout -k 2 "$test_seconds_max" env LD_PRELOAD="$programs/conformance_preload.so" \
		iscsi-test-cu -d -S -v -V --test="ALL.$name" "$@" >"$log" 2>&1 </dev/null || status=$?
	if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
		echo hang
		return
	fi
	awk '
	/^ *Test: / { inside = 1; sub(/^ *Test: [^ ]+ \.\.\./, "") }
	inside {
		if (match($0, /^passed|^FAILED|FAILED$/)) {
			inside = 0
			$0 = substr($0, 1, RSTART - 1)
		}
		skipped = skipped || /\[SKIPPED\]/
	}
	# The summary of CUnit: total, ran, passed, failed, inactive.
	$1 == "tests" {
		found = $3 != 1 || $5 != 0 ? "fail" : skipped ? "skip" : "pass"
	}
	END { print found ? found : "error" }' "$log"
}

# run_test LANE TEST[@WHERE] OUTCOME [REASON]
run_test() {
	local where=${CONFORMANCE_LUN:-disk} log=$dir/$2.log found urls
	case $2 in
	*@*) where=${2#*@} ;;
	esac
	mapfile -t urls < <(urls_of "$1" "$where")
	found=$(outcome "$log" "${2%@*}" "${urls[@]}")
	if [ "$where:$3:$found" = "${CONFORMANCE_LUN-}:pass:skip" ]; then
		skip "$2" "nothing for it to test on $where"
	elif [ "$found" != "$3" ]; then
		grep -vE '^ *$|CUnit|http' "$log" | tail -n 25
		fail "$2" "expected $3${4:+ ($4)}, found $found"
	else
		pass "$2"
	fi
	rm -f "$log"
}

# run_lane NUMBER: every so many lines of the list, and the lane after the last those of @two, where two
# tests at once would meet on one LUN.
run_lane() {
	local name wanted reason number=0 turn
	while read -r name wanted reason; do
		case $name in
		'' | '#'*) continue ;;
		*@two) turn=$lanes ;;
		*) turn=$((number++ % lanes)) ;;
		esac
		[ "$turn" -ne "$1" ] || run_test "$1" "$name" "$wanted" "$reason"
	done <"$expected"
}

running=()
for ((lane = 0; lane <= lanes; lane++)); do
	run_lane "$lane" >"$dir/lane.$lane" &
	running+=($!)
done
wait "${running[@]}"
cat "$dir"/lane.*
cases_failed=$(grep -c '^FAIL ' < <(cat "$dir"/lane.*))

case_equal 'every line of the list ran' "$(grep -cE '^[A-Za-z]' "$expected")" \
	"$(grep -cE '^(PASS|FAIL|SKIP) ' < <(cat "$dir"/lane.*))"

# The list is complete: a libiscsi with more tests asks for a look.
case_equal 'every test of iscsi-test-cu is on the list' '' \
	"$(iscsi-test-cu -l 2>&1 | sed -n 's/^ALL\.\([^.]*\.[^.]*\)$/\1/p' | sort |
		comm -23 - <(grep -oE '^[A-Za-z][^ @]*' "$expected" | sort) | tr '\n' ' ')"

stop_ringsand
server=a
stop_ringsand
cases_end
