#!/usr/bin/env bash
# The short form: one Linux guest logs in, makes ext4, writes and verifies after a new mount, and gives the
# space back. No fio, no build with sanitizers: one boot and half a minute.
. "$(dirname "$0")/lib.sh"
need_guests

# Other suites run beside this one.
limit=300
image=$dir/a.img
guest_start a
serve <<C
target "$iqn" { lun 0 { image = "$image" size = 256M look-ahead = 0 } }
C
guest_wait a
case_run 'login' login a
disk=$(disk_of a)
case_on 'mkfs.ext4' a "mkfs.ext4 -q -E lazy_itable_init=1,nodiscard $disk"
case_on 'mount' a "mount $disk /mnt"
case_on 'write 16 MiB' a 'dd if=/dev/urandom of=/tmp/data bs=1M count=16 2>/dev/null &&
	cp /tmp/data /mnt/data && sync'
case_on 'the same after a new mount' a "umount /mnt && blockdev --flushbufs $disk &&
	mount $disk /mnt && cmp /tmp/data /mnt/data"
if is_ours; then
	before=$(allocated_bytes "$image")
fi
case_on 'fstrim after removal' a 'rm /mnt/data && sync && fstrim -v /mnt && umount /mnt'
if is_ours; then
	back=$((before - $(allocated_bytes "$image")))
	case_equal 'the target has at least 15 of 16 MiB back' yes "$([ $back -ge $((15 << 20)) ] && echo yes || echo $back)"
fi
case_run 'logout' logout a

stop_ringsand
cases_end
