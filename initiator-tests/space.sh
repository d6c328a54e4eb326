#!/usr/bin/env bash
# A small file system runs full under writes of two LUNs: hosts are warned once, what needs new space is
# refused with 07/27/07, reads and overwrites go on, and so do all writes when space has come back, without
# a restart. On ext4, XFS and tmpfs, mounted where nobody else sees them (root). And a state directory that
# is full: what cannot be kept is refused, what was kept stays.
. "$(dirname "$0")/lib.sh"

own_mounts 'a small file system'

mount_ext4() {
	truncate -s 64M "$dir/ext4.img" && mkfs.ext4 -q -m 0 "$dir/ext4.img" &&
		mount -o loop "$dir/ext4.img" "$1"
}

# The smallest that mkfs.xfs makes.
mount_xfs() {
	command -v mkfs.xfs >/dev/null || { echo 'there is no mkfs.xfs (package xfsprogs)' && return 1; }
	truncate -s 300M "$dir/xfs.img" && mkfs.xfs -q "$dir/xfs.img" && mount -o loop "$dir/xfs.img" "$1"
}

mount_tmpfs() {
	mount -t tmpfs -o size=48M none "$1"
}

# XFS has a size at least, most of which is taken before the test begins.
declare -A policy=(
	[ext4]='reserve = 10% warn = 50%'
	[xfs]='reserve = 3% warn = 90%'
	[tmpfs]='reserve = 10% warn = 50%'
)
fill() {
	[ "$1" != xfs ] || fallocate -l $(($(stat -f -c '%a * %S' "$2") - (48 << 20))) "$2/ballast"
}

for kind in ext4 xfs tmpfs; do
	pool=$dir/$kind
	mounted "a small $kind" "$pool" "mount_$kind" || continue
	fill "$kind" "$pool"
	server=$kind
	configure "pool small { path = \"$pool\" ${policy[$kind]} }" <<C
target "$iqn" {
	lun 0 { image = "$pool/a.img" size = 64M }
	lun 1 { image = "$pool/b.img" size = 64M cache = page }
}
C
	if start_ringsand; then
		limit=200 limited python3 initiator-tests/space.py "$(url 0)" "$kind" || fail "a full $kind" 'see above'
		case_match "the log tells of a full $kind" 'below its reserve' "$(cat "$(log_file)")"
		case_match "and of its end" 'writes go on' "$(cat "$(log_file)")"
		stop_ringsand
	fi
	umount "$pool"
done

# The state directory, on 64 KiB.
server=full
if mounted 'a full state-dir' "$dir/full/state" mount -t tmpfs -o size=64k,mode=700 none; then
	configure <<C
target "$iqn" {
	lun 0 { image = "$dir/state.img" size = 64M }
}
C
	state_step() {
		limited python3 initiator-tests/space_state.py "$(url 0)" "$1" || fail "a full state-dir: $1" 'see above'
	}
	if start_ringsand; then
		state_step before
		dd if=/dev/zero of="$dir/full/state/ballast" bs=4k 2>/dev/null
		state_step full
		kill -KILL "${daemon[$server]}" && wait "${daemon[$server]}" 2>/dev/null
		start_ringsand && state_step full
		rm "$dir/full/state/ballast"
		state_step after
		restart_ringsand && state_step kept
		stop_ringsand
	fi
	umount "$dir/full/state"
fi
cases_end
