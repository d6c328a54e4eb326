#!/usr/bin/env bash
# SendTargets with 2,000 targets to an initiator that takes 512 bytes at a time, by name, and of what it
# may not use.
. "$(dirname "$0")/lib.sh"

configure <<C
$(printf "target \"$iqn-%04d\" { }\n" {0..1999})
target "$iqn-not-for-you" {
	access { initiators = "iqn.2026-11.io.ringsan:somebody-else" }
	lun 0 { type = null size = 1G }
}
C
start_or_end

limited python3 initiator-tests/discovery.py 127.0.0.1 "${port[$server]}" "$iqn" ||
	fail 'answers to SendTargets' 'see above'

stop_ringsand
cases_end
