#!/usr/bin/env bash
# What hypervisors and storage managers send before they use a disk, in their order and with their
# allocation lengths, and the bytes they must get.
. "$(dirname "$0")/lib.sh"

configure <<C
target "$iqn" {
	lun 0 { image = "$dir/a.img" size = 1G allocation-unit = 64K serial = "RACK7-SLOT3" }
	lun 1 { image = "$dir/b.img" size = 1G allocation-unit = 64K serial = "RACK7-SLOT4" write-cache = off }
}
target "$iqn.one" {
	lun 0 { image = "$dir/c.img" size = 1G allocation-unit = 64K serial = "RACK7-SLOT5" }
}
C
start_or_end

limited python3 initiator-tests/consumers.py "$(url)" "$(url 0 "$iqn.one")" ||
	fail 'the sequences of consumers' 'see above'

stop_ringsand
cases_end
