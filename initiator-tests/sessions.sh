#!/usr/bin/env bash
# One LUN, four sessions on two loops at once, with verified data; and the same from one initiator
# port that logs in again and again (session reinstatement). For longer: SESSIONS_SECONDS=60.
. "$(dirname "$0")/lib.sh"

operations=4000
[ "$RINGSAN_VARIANT" != tsan ] || operations=1500
configure <<C
target "$iqn" { lun 0 { image = "$dir/a.img" size = 64M } }
C
start_or_end

# with_four SEED
with_four() {
	case_run "four sessions, $operations operations, seed $1" \
		limited "$programs/four_sessions" "$(url)" "$operations" "$1"
}

with_four 1
seed=$(date +%s) until=$((SECONDS + ${SESSIONS_SECONDS:-0}))
with_four "$seed"
while [ "$SECONDS" -lt "$until" ]; do
	with_four $((++seed))
done
case_run 'sessions that replace each other, and one beside them' \
	limited python3 initiator-tests/reinstatement.py "$(url)"

stop_ringsand
cases_end
