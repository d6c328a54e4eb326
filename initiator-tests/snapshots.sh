#!/usr/bin/env bash
# What changes under LUNs while hosts use them: images that grow. snapshots.py does most of it.
. "$(dirname "$0")/lib.sh"

ringsan=$B/$RINGSAN_VARIANT/ringsan
for number in 3 4; do
	"$ringsan" image create "$dir/$number.qcow2" --size 16M >/dev/null || fail 'an image is made' "$number"
done
truncate -s 16M "$dir/5.img"
# LUNs 0 and 1 are made by the configuration, and have its size; the others have that of their images.
configure <<C
target "$iqn" {
	lun 0 { type = qcow2 image = "$dir/0.qcow2" size = 16M }
	lun 1 { type = qcow2 image = "$dir/1.qcow2" size = 16M }
	lun 3 { type = qcow2 image = "$dir/3.qcow2" }
	lun 4 { type = qcow2 image = "$dir/4.qcow2" read-only = on }
	lun 5 { image = "$dir/5.img" }
}
C
start_or_end

limit=120 limited python3 initiator-tests/snapshots.py "$dir" "$(url 0)" ||
	fail 'snapshots.py' 'see above'
stop_ringsand
cases_end
