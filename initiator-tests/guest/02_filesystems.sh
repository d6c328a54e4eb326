#!/usr/bin/env bash
# Data: each combination of digests as open-iscsi can ask for it; then a partitioned disk with ext4 and XFS
# on it, and fio, which verifies what it wrote, on both and on the disk itself.
. "$(dirname "$0")/lib.sh"
need_guests

guest_start a
serve <<C
target "$iqn" { lun 0 { image = "$dir/a.img" size = 2G } }
C
guest_wait a
discover a >/dev/null

# --- digests ---------------------------------------------------------------------------------------

# FIO NAME FILE: 8 MiB at random in blocks of many sizes, read again and compared.
verify_job() {
	echo "fio --name=$1 --filename=$2 --size=8M --rw=randwrite --bsrange=4k-256k --blockalign=4k --direct=1 \
		--ioengine=libaio --iodepth=16 --verify=crc32c --verify_fatal=1 --do_verify=1 --norandommap=0 \
		--fallocate=none"
}

for header in None CRC32C; do
	for data in None CRC32C; do
		name="HeaderDigest $header, DataDigest $data"
		set_node a 'node.conn[0].iscsi.HeaderDigest' "$header" 'node.conn[0].iscsi.DataDigest' "$data" ||
			fail "$name" 'it cannot be set'
		case_run "$name: login" login a
		agreed=$(on a 'iscsiadm -m session -P 2' |
			sed -n 's/^[[:space:]]*\(Header\|Data\)Digest: *//p' | tr '\n' ' ')
		case_equal "$name: agreed" "$header $data " "$agreed"
		disk=$(disk_of a)
		limit=200 case_on "$name: written and verified" a "$(verify_job digests "$disk")"
		case_run "$name: logout" logout a
	done
done

# --- file systems ------------------------------------------------------------------------------------

case_run 'login' login a
disk=$(disk_of a)
case_on 'two partitions' a "printf ',1G\n,\n' | sfdisk -q --label gpt $disk && udevadm settle -t 30 &&
	ls ${disk}1 ${disk}2"
limit=200 case_on 'mkfs.ext4' a "mkfs.ext4 -q ${disk}1"
limit=200 case_on 'mkfs.xfs' a "mkfs.xfs -q -f ${disk}2"
case_on 'mount both' a "mkdir -p /mnt/1 /mnt/2 && mount -t tmpfs none /mnt && mkdir /mnt/1 /mnt/2 &&
	mount ${disk}1 /mnt/1 && mount ${disk}2 /mnt/2"
limit=200 case_on 'fio on ext4' a "$(verify_job ext4 /mnt/1/file)"
limit=200 case_on 'fio on XFS' a "$(verify_job xfs /mnt/2/file)"
limit=200 case_on 'the same after a new session' a "
	sums() { md5sum /mnt/1/file /mnt/2/file; }
	sums >/tmp/sums && umount /mnt/1 /mnt/2 && iscsiadm $node -p $portal -u >/dev/null &&
	iscsiadm $node -p $portal -l >/dev/null || exit
	for ((tries = 0; tries < 300; tries++)); do
		[ -b ${disk}1 ] && [ -b ${disk}2 ] && break
		sleep 0.1
	done
	mount ${disk}1 /mnt/1 && mount ${disk}2 /mnt/2 && md5sum -c /tmp/sums"
limit=200 case_on 'e2fsck and xfs_repair find nothing' a "umount /mnt/1 /mnt/2 && e2fsck -fn ${disk}1 && xfs_repair -n ${disk}2"
case_equal 'the kernel has reported no error' '' "$(on a "dmesg | grep -E 'I/O error|digest error|conn error'")"
case_run 'logout' logout a

stop_ringsand
cases_end
