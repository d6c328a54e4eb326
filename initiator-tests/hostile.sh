#!/usr/bin/env bash
# Peers that do what they should not, one after the other, beside a healthy session that must not
# notice: the offender is closed in time with one line in the log, and memory stays in its bound.
. "$(dirname "$0")/lib.sh"

memory_mib=32
configure "limits {
	memory = ${memory_mib}M
	sessions = 6
	connections-before-login = 12
	connections-before-login-per-source = 8
	login-timeout = 2s
	write-stall-timeout = 3s
	data-out-timeout = 3s
	nop-interval = 0s
}" <<C
target "$iqn" { lun 0 { image = "$dir/a.img" size = 64M } }
C
start_or_end

# What a process holds beyond its buffers: the program, stacks, and what a sanitizer adds.
beside_mib=64
limit=180 limited python3 initiator-tests/hostile.py "$(url)" "${daemon[$server]}" "$(log_file)" \
	$((memory_mib + beside_mib))
status=$?
[ "$status" -le 1 ] || fail 'hostile.py runs to its end' "exit status $status"
[ "$status" -eq 0 ] || tail -n 40 "$(log_file)"

stop_ringsand
cases_end
