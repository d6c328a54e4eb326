#!/usr/bin/env bash
# What hypervisors, cluster software and storage managers send, in their order and with their lengths,
# and the bytes they must get: before they use a disk (consumers.py), and when they share it
# (sequences.py, each table on a LUN of its own).
. "$(dirname "$0")/lib.sh"

second=$(free_port)
configure "portal \"127.0.0.1:$second\" { tag = 2 }" <<C
target "$iqn" {
	portal-groups = { 1 }
	lun 0 { image = "$dir/a.img" size = 1G allocation-unit = 64K serial = "RACK7-SLOT3" }
	lun 1 { image = "$dir/b.img" size = 1G allocation-unit = 64K serial = "RACK7-SLOT4" write-cache = off }
}
target "$iqn.one" {
	portal-groups = { 1 }
	lun 0 { image = "$dir/c.img" size = 1G allocation-unit = 64K serial = "RACK7-SLOT5" }
}
target "$iqn.shared" {
	states-by-hosts = yes
$(for ((lun = $(python3 initiator-tests/sequences.py count); lun > 0; lun--)); do
	echo "	lun $((lun - 1)) { image = \"$dir/shared.$lun.img\" size = 16G write-cache-by-hosts = yes }"
done)
}
C
start_or_end

limited python3 initiator-tests/consumers.py "$(url)" "$(url 0 "$iqn.one")" ||
	fail 'the sequences of consumers' 'see above'

# play PART: by both portals.
play() {
	limited python3 initiator-tests/sequences.py "$1" "$(url 0 "$iqn.shared")" \
		"iscsi://127.0.0.1:$second/$iqn.shared/0" || fail "sequences.py $1" 'see above'
}
play begin
# What was reserved stays reserved, and Windows never asks for APTPL.
restart_ringsand
play restarted

stop_ringsand
cases_end
