#!/usr/bin/env bash
# COMPARE AND WRITE against itself and everything else: two hosts on two loops count one block up while others change
# the blocks beside it and connections are cut. CAW_INCREMENTS: how far on this engine (50000, so 100000 on both; 1000000 is the long run).
#
# The daemon is the plain one by default: it is the number that finds a race here, and tests/stress/iscsi_caw.c
# plays a shorter game under ThreadSanitizer.
: "${RINGSAN_VARIANT:=plain}"
. "$(dirname "$0")/lib.sh"

: "${CAW_INCREMENTS:=50000}" "${CAW_SEED:=$RANDOM$RANDOM}"

# What is tested is who may go when.
images_in_memory

configure <<C
target "$iqn" {
	lun 0 { image = "$images/a.img" size = 64M }
}
C
start_or_end

name="$CAW_INCREMENTS increments by COMPARE AND WRITE (engine $RINGSAN_ENGINE)"
if limit=$((60 + CAW_INCREMENTS / 500)) limited "$programs/caw_race" "$(url 0)" "$CAW_INCREMENTS" "$CAW_SEED" \
	>"$dir/race" 2>&1; then
	pass "$name"
else
	cat "$dir/race"
	fail "$name" 'see above'
fi
[ -z "${CAW_SHOW-}" ] || cat "$dir/race"

stop_ringsand
cases_end
