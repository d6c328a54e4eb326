#!/usr/bin/env bash
# What two loops that serve one LUN share for each I/O, counted: cache lines that move between them,
# memory asked for, locks taken, text formatted. The daemon is built with V=lines; four sessions of
# `ringsan bench`, two on each loop, load it. Method and limits: README.md.
export RINGSAN_VARIANT=lines
. "$(dirname "$0")/../../initiator-tests/lib.sh"

export RINGSAN_LINES=$dir/report
window=0

# The image's part is the smallest there.
images_in_memory

wait_for_report() {
	local tries
	for ((tries = 0; tries < 200; tries++)); do
		[ ! -e "$1" ] || return 0
		sleep 0.05
	done
	return 1
}

# Options of judge.py: nothing is shared; the same where the aio engine has to hand transfers to helper
# threads, through a lock of each loop's own. `skip`: the disk may be too slow to judge.
free='--moves=0.01'
handed=$free
[ "$RINGSAN_ENGINE" = uring ] || handed="$free --locks=6"

# observe MILLISECONDS LUN OPTIONS...: a window of that length within the load's steady state. False: there is no
# report.
observe() {
	local ms=$1 lun=$2 load
	shift 2
	limited "$B/plain/ringsan" bench -s 4 --size 64M --ramp 0 -t "$((ms + 600))ms" "$@" "$(url "$lun")" >"$dir/load" 2>&1 &
	load=$!
	sleep 0.4
	kill -RTMIN "${daemon[$server]}"
	sleep "$((ms / 1000)).$((ms % 1000 / 100))"
	kill -RTMIN+1 "${daemon[$server]}"
	window=$((window + 1))
	wait "$load" && wait_for_report "$dir/report.$window"
}

# measure NAME LUN LIMITS OPTIONS...: one case. A busy machine may leave a loop without a CPU for a while, and a disk may
# be slow: where too little was seen, it is looked at for longer.
measure() {
	local name="$1 (engine $RINGSAN_ENGINE)" lun=$2 limits=$3 output status=2 ms
	shift 3
	for ms in 500 3000 8000; do
		if ! observe "$ms" "$lun" "$@"; then
			tail -n 5 "$dir/load"
			fail "$name" 'the load failed, or there is no report'
			return
		fi
		status=0
		# shellcheck disable=SC2086 # Words on purpose.
		output=$(python3 tests/lines/judge.py "$dir/report.$window" --seconds=$((ms / 1000 + 1)) ${limits% skip}) || status=$?
		[ "$status" -eq 2 ] || break
	done
	[ "$status" -eq 0 ] && [ -z "${LINES_SHOW-}" ] || printf '%s\n' "$output"
	if [ "$status" -eq 2 ] && [ "$limits" != "${limits% skip}" ]; then
		skip "$name" 'the disk is too slow'
	else
		case_equal "$name" 0 "$status"
	fi
}

configure <<C
target "$iqn" {
	lun 0 { type = null size = 1G }
	lun 1 { image = "$images/page.img" size = 64M cache = page }
	lun 2 { image = "$dir/direct.img" size = 64M write-cache = off }
	lun 3 { image = "$dir/flushed.img" size = 64M cache = page write-cache = off }
}
C
start_or_end

for lun in '0 null' '1 raw'; do
	measure "${lun#* }, reads" "${lun% *}" "$free" -w read
	measure "${lun#* }, writes" "${lun% *}" "$free" -w write
	measure "${lun#* }, large mix with digests" "${lun% *}" "$handed --ios=50" -w mix -b 128K -q 8 --digests both
done
measure 'raw, durable direct writes' 2 "$handed --ios=50 skip" -w write
# One fdatasync serves all loops, and a failed one stops them all: its state is shared, under a lock.
measure 'raw, flushed writes share the flush' 3 "$handed --moves=10 --locks=8 --ios=50 skip" -w write

stop_ringsand
cases_end
