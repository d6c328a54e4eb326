#!/usr/bin/env bash
# Reservations by two target ports: fences that hold, four hosts at random against a model of SPC-4 5.13
# and SPC-2 5.5, and what kill -9 leaves. RESERVATIONS_SECONDS (1): how long at random;
# RESERVATIONS_KILLS (0): how often killed besides, then what restarts and losses of power leave, too;
# FENCES (4): how many; SEED repeats.
. "$(dirname "$0")/lib.sh"

port[a]=$(free_port)
second=$(free_port)
configure "portal \"127.0.0.1:$second\" { tag = 2 }" <<C
target "$iqn" {
	portal-groups = { 1, 2 }
	lun 0 { image = "$dir/a.img" size = 64M }
}
C
start_or_end

urls() {
	echo "$(url 0) iscsi://127.0.0.1:$second/$iqn/0"
}

# reservations VERB ARGUMENTS: with the two URLs between.
reservations() {
	local verb=$1
	shift
	# shellcheck disable=SC2046 # Two words.
	limit=${limit:-120} limited python3 initiator-tests/reservations.py "$verb" $(urls) "$@" ||
		fail "reservations.py $verb" 'see above'
}

reservations fence
limit=$((${RESERVATIONS_SECONDS:-1} + 120)) reservations mix "${RESERVATIONS_SECONDS:-1}"

# kill_and_start: at random moments; what is there afterwards goes to $state.
state=$dir/state.json
kill_and_start() {
	local killer
	reservations kill "${daemon[a]}" "$state" >"$dir/kill.log" 2>&1 &
	killer=$!
	wait "${daemon[a]}" 2>/dev/null
	start_or_end
	wait "$killer"
	cat "$dir/kill.log"
}

kill_and_start
for ((i = 1; i <= ${RESERVATIONS_KILLS:-0}; i++)); do
	stop_ringsand
	start_or_end
	reservations same "$state"
	[ $((i % 5)) -ne 0 ] || {
		stop_ringsand
		python3 initiator-tests/reservations.py reboot "$(find "$dir/a/state" -regex '.*/reservations-[0-9a-f]*')"
		start_or_end
		reservations rebooted "$state"
	}
	kill_and_start
done

stop_ringsand
cases_end
