#!/usr/bin/env bash
# libiscsi's conformance suite, each test alone and under a time limit, against the reviewed list in
# expected/iscsi-test-cu.txt. A change in either direction fails: what got better is entered in the
# list. Lines: "Family.Test pass", "Family.Test skip what ringsan does not have" or "Family.Test fail why".
. "$(dirname "$0")/lib.sh"

expected=initiator-tests/expected/iscsi-test-cu.txt
test_seconds_max=20
configure <<C
target "$iqn" {
	lun 0 { image = "$dir/a.img" size = 1G }
	lun 1 { image = "$dir/b.img" read-only = yes }
}
C
truncate -s 1G "$dir/b.img"
start_or_end

# The LUN for a test: most want to write.
lun_of() {
	case $1 in
	ReadOnly.*) echo 1 ;;
	*) echo 0 ;;
	esac
}

# outcome TEST: pass, fail, skip, hang, or error where it did not run to its end. A skip counts if it
# stands between the test's name and its result: set-up and clean-up look for reservations and say
# "[SKIPPED]", too, where there are none.
outcome() {
	local log=$dir/$1.log status=0
	timeout -k 2 "$test_seconds_max" iscsi-test-cu -d -S -v --test="ALL.$1" "$(url "$(lun_of "$1")")" \
		>"$log" 2>&1 </dev/null || status=$?
	if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
		echo hang
		return
	fi
	awk '
	/^ *Test: / { inside = 1; sub(/^ *Test: [^ ]+ \.\.\./, "") }
	inside {
		if (match($0, /passed|FAILED/)) {
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

while read -r name wanted reason; do
	case $name in
	'' | '#'*) continue ;;
	esac
	found=$(outcome "$name")
	if [ "$found" != "$wanted" ]; then
		grep -vE '^ *$|CUnit|http' "$dir/$name.log" | tail -n 25
		fail "$name" "expected $wanted${reason:+ ($reason)}, found $found"
	else
		pass "$name"
	fi
	if ! kill -0 "${daemon[$server]}" 2>/dev/null; then
		fail "$name" 'ringsand is gone'
		break
	fi
done <"$expected"

# The list is complete: a libiscsi with more tests asks for a look.
case_equal 'every test of iscsi-test-cu is on the list' '' \
	"$(iscsi-test-cu -l 2>&1 | sed -n 's/^ALL\.\([^.]*\.[^.]*\)$/\1/p' | sort |
		comm -23 - <(grep -oE '^[A-Za-z][^ ]*' "$expected" | sort) | tr '\n' ' ')"

stop_ringsand
cases_end
