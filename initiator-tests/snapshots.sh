#!/usr/bin/env bash
# What changes under LUNs while hosts use them: images that grow, snapshots of one
# and of several at one instant, ways back, clones. SNAPSHOT_KILLS: how often the daemon is killed. snapshots.py does most of it.
. "$(dirname "$0")/lib.sh"

ringsan=$B/$RINGSAN_VARIANT/ringsan
for number in 3 4; do
	"$ringsan" image create "$dir/$number.qcow2" --size 16M >/dev/null || fail 'an image is made' "$number"
done
truncate -s 16M "$dir/5.img"
mkdir "$dir/links" && ln -s ../3.qcow2 "$dir/links/third"
# LUNs 0 and 1 are made by the configuration, and have its size; the others have that of their images.
configure <<C
target "$iqn" {
	lun 0 { type = qcow2 image = "$dir/0.qcow2" size = 16M }
	lun 1 { type = qcow2 image = "$dir/1.qcow2" size = 16M }
	lun 3 { type = qcow2 image = "$dir/links/third" }
	lun 4 { type = qcow2 image = "$dir/4.qcow2" read-only = on }
	lun 5 { image = "$dir/5.img" }
}
C
start_or_end

limit=120 limited python3 initiator-tests/snapshots.py "$dir" "$(url 0)" ||
	fail 'snapshots.py' 'see above'
# Killed between any two steps of snapshots and ways back, under load: nothing that was answered is lost.
for ((round = 1; round <= ${SNAPSHOT_KILLS:-1}; round++)); do
	limit=60 limited python3 initiator-tests/snapshots.py "$dir" "$(url 0)" killed $((round * 1000000)) &
	client=$!
	until [ -e "$dir/3@kill${round}000000.qcow2" ] || ! kill -0 "$client" 2>/dev/null; do
		sleep 0.05
	done
	sleep "0.$((RANDOM % 600 + 300))"
	kill -KILL "${daemon[a]}"
	wait "${daemon[a]}" 2>/dev/null
	wait "$client" || fail 'load until the daemon is killed' "round $round"
	start_or_end
	limit=60 limited python3 initiator-tests/snapshots.py "$dir" "$(url 0)" killed ||
		fail 'after a kill' "round $round, see above"
done
stop_ringsand
cases_end
