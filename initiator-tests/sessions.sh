#!/usr/bin/env bash
# One LUN, four sessions on two loops at once, with verified data; and the same from one initiator
# port that logs in again and again (session reinstatement).
. "$(dirname "$0")/lib.sh"

operations=4000
[ "$RINGSAN_VARIANT" != tsan ] || operations=1500
configure <<C
target "$iqn" { lun 0 { image = "$dir/a.img" size = 64M } }
C
start_or_end

for seed in 1 "$(date +%s)"; do
	case_run "four sessions, $operations operations, seed $seed" \
		limited "$programs/four_sessions" "$(url)" "$operations" "$seed"
done
case_run 'sessions that replace each other, and one beside them' \
	limited python3 initiator-tests/reinstatement.py "$(url)"

stop_ringsand
cases_end
