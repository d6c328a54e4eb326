#!/usr/bin/env bash
# The benchmark suite itself, not a measurement: the unit tests of its maths and reports, and small
# runs of the whole, whose figures mean nothing.
# One engine is enough: nothing here depends on which.
. "$(dirname "$0")/../lib.sh"

initiator-tests/bench/selftest/run.py || fail 'unit tests' 'see above'

out=$dir/out
suite=$PWD/initiator-tests/bench/suite.py
# bench EXPRESSION [OPTION...]: short, but not so short that a busy machine finds no time at all for a cell.
bench() {
	limit=100 limited "$suite" --only "$1" --seconds 0.3 --ramp 0.02 --out "$out" "${@:2}"
}

status_of() {
	"$@" >"$dir/said" 2>&1
	echo $?
}

case_match 'the rows are listed' '^ext4/write-4k-qd32-x1-hole$' "$("$suite" --list)"
case_match 'and the costs' '^ext4/clone-first-write$' "$("$suite" --list)"
case_equal 'a wrong expression: status 2' 2 "$(status_of bench '(')"
case_equal 'an expression that no row matches: status 2' 2 "$(status_of bench 'nothing')"
for wrong in '--seconds nan' '--seconds inf' '--ramp nan' '--minutes nan' '--rounds 0' '--target-cpu 1023' \
	'--client-cpu -1'; do
	# shellcheck disable=SC2086 # An option and its value.
	case_equal "$wrong: status 2" 2 "$(status_of bench '^null/read-4k-qd1-x1$' $wrong)"
	case_match "$wrong: said in a line" '^make bench: error: ' "$(tail -n 1 "$dir/said")"
done
case_equal 'nowhere to write: status 2' 2 "$(status_of bench '^null/read-4k-qd1-x1$' --out /proc/none)"
case_equal 'nothing was built: status 2' 2 \
	"$(B=$dir/empty status_of bench '^null/read-4k-qd1-x1$' --rounds 1)"
case_match 'nothing was built: said in a line' '^bench: ringsand cannot be started: ' "$(cat "$dir/said")"
# The server must see that its client is gone, however early.
for ((tries = 0; tries < 20; tries++)); do
	said=$(timeout 5 "$programs/bench/echo" epoll 48 48 1 1 0 10 0 1023 2>&1 | cat)
	[ "$said" = 'echo: cannot run on that CPU: Invalid argument' ] || break
done
case_equal 'an echo without its CPU leaves no server behind' 20 "$tries"

case_run 'a file in memory, one round' bench '^tmpfs/read-4k-qd32-x1$' --rounds 1
case_run 'nothing stored' bench '^null/(read-4k-qd1-x1|write-4k-qd32-x4|write-1m-.*)$' --rounds 1
case_run 'bench.json is whole' python3 -c '
import json, sys
data = json.load(open(sys.argv[1]))
assert data["format"] == 1 and data["rows"], data.keys()
verdicts = {row["verdict"] for row in data["criteria"]}
assert verdicts and verdicts <= {"undecided", "not measured"}, verdicts
' "$out/bench.json"
case_match 'bench.html is a page' '^<!DOCTYPE html>' "$(head -n 1 "$out/bench.html")"

# A build whose `ringsan` finds what it is told to.
fake=$dir/fake
mkdir -p "$fake/plain/initiator-tests/bench"
ln -s "$(realpath "$ringsand")" "$fake/plain/ringsand"
ln -s "$(realpath "$programs/bench/echo")" "$fake/plain/initiator-tests/bench/echo"
# fake_bench STATUS [OPTION...]: each measurement finds one I/O a second and ends with STATUS.
fake_bench() {
	cat >"$fake/plain/ringsan" <<R
#!/bin/sh
cat <<J
{"read": {"ios": 1, "iops": 1, "bytes_per_s": 4096,
	"latency_us": {"p50": 1e6, "p90": 1e6, "p99": 1e6, "p99.9": 1e6}},
	"errors": {"io": 0, "verify": 0}, "target_cpu": {"us_per_io": 1e6}, "client_cpu": {"percent": 1}}
J
exit $1
R
	chmod +x "$fake/plain/ringsan"
	B=$fake RINGSAN_VARIANT=plain bench '^null/read-4k-qd1-x1$' "${@:2}"
}
case_equal 'an unmet criterion is told' 0 "$(status_of fake_bench 0 --rounds 5)"
case_match 'in the table' '^null/read-4k-qd1-x1 .* NOT MET$' "$(cat "$dir/said")"
case_equal 'and is a failure under --strict' 1 "$(status_of fake_bench 0 --rounds 5 --strict)"
case_equal 'a failed measurement is one anyway' 1 "$(status_of fake_bench 3 --rounds 1)"
case_match 'and the report tells' '^FAILED: null/read-4k-qd1-x1 ringsand: status 3' "$(cat "$dir/said")"

# Ended in the middle: nothing is left running or lying about.
# end_by SIGNAL: the status of a suite that is sent it in its first round; its servers are in $pids.
end_by() {
	timeout --foreground 100 "$suite" --only '^null/' --rounds 100 --seconds 0.2 --out "$out" >"$dir/said" 2>&1 &
	client=$!
	python='' pids=''
	for ((tries = 0; tries < 600; tries++)); do
		grep -q 'round 1/100 3' "$dir/said" && python=$(pgrep -P "$client") &&
			pids=$(pgrep -P "$python" -x 'ringsand|tgtd') && break
		sleep 0.1
	done
	kill "-$1" "$python"
	status=0
	wait "$client" 2>/dev/null || status=$?
}
for ending in TERM:143 HUP:129; do
	end_by "${ending%:*}"
	case_equal "SIG${ending%:*}: status" "${ending#*:}" "$status"
	left=$(find "$out" /dev/shm -maxdepth 1 -name 'ringsan-bench.*' -newer "$fake")
	case_equal "SIG${ending%:*}: no folder is left behind" '' "$left"
done
end_by KILL
case_match 'SIGKILL: servers were running' '^[0-9]' "$pids"
for ((tries = 0; tries < 50; tries++)); do
	# shellcheck disable=SC2086 # Numbers.
	kill -0 $pids 2>/dev/null || break
	sleep 0.1
done
case_match 'SIGKILL: they are not any more' '^[0-4]?[0-9]$' "$tries"
rm -rf "$out"/ringsan-bench.*
cases_end
