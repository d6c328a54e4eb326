#!/usr/bin/env bash
# Every way in which data may cross: immediate, unsolicited and solicited in each combination of
# InitialR2T and ImmediateData, small bursts and segments, several R2Ts at a time, residuals.
. "$(dirname "$0")/lib.sh"

configure <<C
target "$iqn" { lun 0 { image = "$dir/a.img" size = 64M } }
C
start_or_end

limit=120 limited python3 initiator-tests/transfers.py "$(url)" || fail 'transfers' 'see above'

stop_ringsand
cases_end
