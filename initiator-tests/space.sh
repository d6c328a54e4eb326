#!/usr/bin/env bash
# A small file system runs full under writes of two LUNs: hosts are warned once, what needs new space is
# refused with 07/27/07, reads and overwrites go on, and so do all writes when space has come back, without
# a restart. On ext4 and tmpfs, mounted where nobody else sees them (root).
. "$(dirname "$0")/lib.sh"

if [ -z "${RINGSAN_OWN_MOUNTS-}" ]; then
	if ! why=$(unshare --mount --propagation private mount -t tmpfs none /mnt 2>&1); then
		skip 'a small file system' "mounting is not permitted: $why"
		cases_end
	fi
	rm -rf "$dir"
	RINGSAN_OWN_MOUNTS=1 exec unshare --mount --propagation private bash "$PWD/initiator-tests/space.sh"
fi

mount_ext4() {
	truncate -s 64M "$dir/ext4.img" && mkfs.ext4 -q -m 0 "$dir/ext4.img" &&
		mount -o loop "$dir/ext4.img" "$1"
}

mount_tmpfs() {
	mount -t tmpfs -o size=48M none "$1"
}

for kind in ext4 tmpfs; do
	pool=$dir/$kind
	mkdir "$pool"
	if ! why=$("mount_$kind" "$pool" 2>&1); then
		skip "a small $kind" "it cannot be mounted: $why"
		continue
	fi
	server=$kind
	configure "pool small { path = \"$pool\" reserve = 10% warn = 50% }" <<C
target "$iqn" {
	lun 0 { image = "$pool/a.img" size = 64M }
	lun 1 { image = "$pool/b.img" size = 64M cache = page }
}
C
	start_ringsand || continue
	limited python3 initiator-tests/space.py "$(url 0)" "$kind" || fail "a full $kind" 'see above'
	case_match "the log tells of a full $kind" 'below its reserve' "$(cat "$(log_file)")"
	case_match "and of its end" 'writes go on' "$(cat "$(log_file)")"
	stop_ringsand
	umount "$pool"
done
cases_end
