#!/usr/bin/env bash
# What well-behaved initiators never send, PDU by PDU: see rawpdu/README.md. With names of cases as
# arguments only those.
. "$(dirname "$0")/lib.sh"

# Enough targets for a list of several pieces.
many() {
	local number
	for ((number = 0; number < 40; number++)); do
		echo "target \"$iqn.listed-$number\" { lun 0 { type = null size = 1M } }"
	done
}
configure 'limits {
	login-timeout = 20s
	data-out-timeout = 20s
	nop-interval = 0s
}' <<C
target "$iqn" {
	lun 0 { image = "$dir/a.img" size = 64M }
}
target "$iqn.own" {
	lun 0 { image = "$dir/b.img" size = 64M }
}
$(many)
C
start_or_end

limit=120 limited python3 -B initiator-tests/rawpdu/run.py "$(url)" "${daemon[$server]}" "$@"
status=$?
[ "$status" -le 1 ] || fail 'rawpdu/run.py runs to its end' "exit status $status"
[ "$status" -eq 0 ] || tail -n 40 "$(log_file)"

stop_ringsand
cases_end
