#!/usr/bin/env bash
# Space given back: what the kernel makes of the disk's pages (provisioning_mode, limits), blkdiscard in
# steps of 32 MiB and blkdiscard -z as vdsm has them, fstrim of ext4 and XFS; each looked at in the image.
. "$(dirname "$0")/lib.sh"
need_guests

mib=$((1 << 20))
image=$dir/a.img
guest_start a
serve <<C
target "$iqn" { lun 0 { image = "$image" size = 1G look-ahead = 0 } }
C
guest_wait a
case_run 'login' login a
disk=$(disk_of a)
name=${disk##*/}

# --- what the kernel has read ------------------------------------------------------------------------

case_equal 'provisioning_mode' unmap "$(on a "cat /sys/block/$name/device/scsi_disk/*/provisioning_mode")"
for limit_name in discard_granularity discard_max_bytes write_zeroes_max_bytes; do
	case_match "$limit_name is not zero" '^[1-9][0-9]*$' "$(on a "cat /sys/block/$name/queue/$limit_name")"
done
on a "cd /sys/block/$name/queue && grep . discard_max_bytes write_zeroes_max_bytes max_sectors_kb; sg_vpd -p bl $disk"
if is_ours; then
	# Units are those of the image; no optimum, which mkfs and LVM would take for the stripes of a RAID.
	for expected in logical_block_size=512 physical_block_size=4096 minimum_io_size=4096 optimal_io_size=0 \
		"discard_granularity=$(stat -f -c %S "$image")" rotational=0 fua=1 'write_cache=write back'; do
		case_equal "${expected%%=*}" "${expected#*=}" "$(on a "cat /sys/block/$name/queue/${expected%%=*}")"
	done
	limits=$(on a "sg_vpd -p bl $disk")
	case_match 'optimal unmap granularity' "[Oo]ptimal unmap granularity: $(($(stat -f -c %S "$image") / 512))( |\$)" "$limits"
	case_match 'its alignment' '[Uu]nmap granularity alignment: 0( |$)' "$limits"
fi

# --- blkdiscard --------------------------------------------------------------------------------------

# takes NAME MIB: what the image occupies, give or take a MiB of the file system's own.
takes() {
	local found off
	is_ours || return 0
	found=$(($(allocated_bytes "$image") / mib))
	off=$((found - $2))
	if [ "${off#-}" -le 1 ]; then
		pass "$1"
	else
		fail "$1" "expected $2 MiB, found $found"
	fi
}

# The kernel itself compares: a disk that reads as zeroes has this sum.
zeroes() {
	on a "cmp -n $(($2 * mib)) -i $(($1 * mib)):0 $disk /dev/zero"
}

write_script="dd if=/dev/urandom of=/tmp/16M bs=1M count=16 2>/dev/null
	for place in 0 16 32 48 64 80; do
		dd if=/tmp/16M of=$disk bs=1M seek=\$place oflag=direct 2>/dev/null || exit
	done"
limit=200 case_on 'write 96 MiB' a "$write_script"
takes 'it takes 96 MiB' 96
case_on 'blkdiscard of 64 MiB in steps of 32' a "blkdiscard --step 32M --offset 16M --length 64M $disk"
takes '64 MiB come back' 32
case_run 'they read as zeroes' zeroes 16 64
case_on 'what lies before and behind is untouched' a \
	"cmp -n $((16 * mib)) $disk /tmp/16M && cmp -n $((16 * mib)) -i $((80 * mib)):0 $disk /tmp/16M"
case_on 'blkdiscard -z of 64 MiB in steps of 32' a "blkdiscard -z --step 32M --length 64M $disk"
case_run 'they read as zeroes, too' zeroes 0 64
# The kernel asks for these zeroes by WRITE SAME without UNMAP (BLKDEV_ZERO_NOUNMAP): what has space keeps it, and
# what has none takes none.
takes 'zeroes written so take and free nothing' 32
case_on 'blkdiscard of the whole disk' a "blkdiscard $disk"
takes 'all of it comes back' 0

# --- fstrim ------------------------------------------------------------------------------------------

for kind in ext4 xfs; do
	limit=200 case_on "mkfs.$kind" a "wipefs -qa $disk; mkfs.$kind -q $disk && mount $disk /mnt && sync"
	if is_ours; then
		fresh=$(($(allocated_bytes "$image") / mib))
	fi
	limit=200 case_on "$kind: write 48 MiB" a 'cp /tmp/16M /mnt/1 && cp /tmp/16M /mnt/2 && cp /tmp/16M /mnt/3 && sync'
	if is_ours; then
		taken=$(($(allocated_bytes "$image") / mib - fresh))
		case_equal "$kind: they take space" yes "$([ $taken -ge 47 ] && echo yes || echo $taken)"
	fi
	limit=200 case_on "$kind: fstrim after removal" a 'rm /mnt/[123] && sync && fstrim -v /mnt && umount /mnt'
	if is_ours; then
		left=$(($(allocated_bytes "$image") / mib - fresh))
		case_equal "$kind: they come back" yes "$([ $left -le 4 ] && echo yes || echo "$left MiB left")"
	fi
	case_on "$kind: the next begins with an empty disk" a "blkdiscard $disk"
done
case_equal 'the kernel has reported no error' '' "$(on a "dmesg | grep -E 'I/O error|critical|conn error'")"
case_run 'logout' logout a

stop_ringsand
cases_end
