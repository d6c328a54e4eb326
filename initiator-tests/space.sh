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

# fill_pool KIND NAME LUN-0 LUN-1
fill_pool() {
	local pool=$dir/$2
	server=$2
	mounted "a small $1" "$pool" "mount_$1" || return
	fill "$1" "$pool"
	configure "pool small { path = \"$pool\" ${policy[$1]} }" <<C
target "$iqn" {
	lun 0 { image = "$pool/a.img" size = 64M $3 }
	lun 1 { image = "$pool/b.img" size = 64M $4 }
}
C
	if start_ringsand; then
		limit=200 limited python3 initiator-tests/space.py "$(url 0)" "$1" "$2" || fail "a full $1, $2" 'see above'
		case_match "the log tells of a full $1, $2" 'below its reserve' "$(cat "$(log_file)")"
		case_match "and of its end, $2" 'writes go on' "$(cat "$(log_file)")"
		stop_ringsand
	fi
	case $4 in
	*qcow2*)
		case_run "$2: the first image is consistent" qemu-img check "$pool/a.img"
		case_run "$2: the second image is consistent" qemu-img check "$pool/b.img"
		;;
	esac
	umount "$pool"
}
for kind in ext4 xfs tmpfs; do
	fill_pool "$kind" "$kind" '' 'cache = page'
done
fill_pool ext4 ext4-qcow2 'type = qcow2' 'type = qcow2 cluster-size = 64K'

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
