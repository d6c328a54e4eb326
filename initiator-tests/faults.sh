#!/usr/bin/env bash
# A disk that fails, delays or sticks (LUN of type fault, commanded by a file): the right sense data for
# that command alone, and nothing else of the session or of the daemon waits for it.
. "$(dirname "$0")/lib.sh"

control=$dir/control
: >"$control"
configure <<C
target "$iqn" {
	lun 0 { type = fault image = "$dir/a.img" size = 64M fault-control = "$control" }
	lun 1 { image = "$dir/b.img" size = 64M }
	lun 2 { type = fault image = "$dir/c.img" size = 64M fault-control = "$control.2" }
}
C
start_or_end

limit=120 limited python3 initiator-tests/faults.py "$(url)" "$control"
status=$?
[ "$status" -le 1 ] || fail 'faults.py runs to its end' "exit status $status"
[ "$status" -eq 0 ] || tail -n 40 "$(log_file)"

# A healthy daemon ends well with commands under way, and tells the initiator nothing new.
: >"$control"
limited python3 initiator-tests/faults.py --traffic "$(url 1)" >/dev/null 2>&1 &
traffic=$!
sleep 1
stop_ringsand
wait "$traffic"

# A stuck disk cannot be flushed: the end comes in time all the same, and is not called a success.
echo 'stick write' >"$control"
start_ringsand
mark=$(log_mark)
limited python3 initiator-tests/faults.py --stuck-write "$(url 0)" >/dev/null 2>&1 &
writer=$!
# Under way for a while, it is the write, and stuck.
for ((tries = 0, seen = 0; tries < 600 && seen < 5; tries++)); do
	if "$B/$RINGSAN_VARIANT/ringsan" sessions --json --socket "$dir/$server/ringsand.sock" |
		grep -Eq '"commands": ?1\b'; then
		seen=$((seen + 1))
	else
		seen=0
	fi
	sleep 0.1
done
kill -TERM "${daemon[$server]}"
wait_ringsand "$stop_ms_max"
kill "$writer" 2>/dev/null
wait "$writer" 2>/dev/null
if [ "$end_status" -eq 255 ]; then
	fail 'SIGTERM beside a stuck disk ends the daemon' "still there after $end_ms ms"
	kill -KILL "${daemon[$server]}"
else
	pass "SIGTERM beside a stuck disk ends the daemon"
	case_equal 'with a status of its own' yes \
		"$([ "$end_status" -gt 0 ] && [ "$end_status" -lt 124 ] && echo yes || echo "$end_status")"
	case_match 'and a line that names the LUN' "$iqn.*(lun|LUN) 0" "$(log_since "$mark" | grep -E 'stuck|not end|in flight|held')"
	case_equal 'and no sanitizer report' no "$(sanitizer_reported && echo yes || echo no)"
fi
unset "daemon[$server]"
cases_end
