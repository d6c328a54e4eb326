#!/usr/bin/env bash
# A crowd of hostile connections beside a healthy session: some hundred for two seconds, or as many and
# as long as ABUSE_CONNECTIONS and ABUSE_SECONDS say. Times are printed and not judged.
. "$(dirname "$0")/lib.sh"

configure "limits {
	memory = 64M
	sessions = 32
	login-timeout = 5s
	write-stall-timeout = 1s
	refusal-delay = 1s
}" <<C
target "$iqn" { lun 0 { type = null size = 1G } }
C
start_or_end

# What a process holds beyond what it states: the program, stacks, and what a sanitizer adds.
beside_mib=16
[ "$RINGSAN_VARIANT" = plain ] || beside_mib=96
limit=$((${ABUSE_SECONDS:-2} + 120)) limited python3 initiator-tests/abuse.py "$(url)" "${daemon[$server]}" \
	"$(log_file)" "$beside_mib" "${ABUSE_CONNECTIONS:-300}" "${ABUSE_SECONDS:-2}" "$B/plain/ringsan"
status=$?
[ "$status" -le 1 ] || fail 'abuse.py runs to its end' "exit status $status"
[ "$status" -eq 0 ] || tail -n 40 "$(log_file)"

stop_ringsand
cases_end
