#!/usr/bin/env bash
# Thousands of LUNs and hundreds of hosts in one daemon: how long the start and the logins take, how
# much memory and processor time those take that do nothing, and whether those that work are fair to
# each other. `initiator-tests/scale.sh long` has 10,000 LUNs and 1,000 hosts and takes two minutes.
export RINGSAN_VARIANT=plain # Figures of instrumented code say nothing.
. "$(dirname "$0")/lib.sh"

unset MAKEFLAGS MFLAGS MAKELEVEL
make --no-print-directory -s B="$B" V=plain "$ringsand" "$programs/scale_load" || exit 2
mkdir "$dir/scale"
python3 initiator-tests/scale.py "$ringsand" "$programs/scale_load" "$dir/scale" "$(free_port)" \
	"$RINGSAN_ENGINE" "${1:-short}"
