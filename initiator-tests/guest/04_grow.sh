#!/usr/bin/env bash
# Disks that change while a host uses them. One grows under a mounted file system: ext4 by a longer image and
# a rescan, XFS by `size` in the configuration and the unit attention, which udev answers with a rescan; what
# was there verifies, and so does what is written to the new end. Others come and go, and the host hears of it.
. "$(dirname "$0")/lib.sh"
need_guests
is_ours || {
	skip '04_grow' 'it changes a configuration, so it wants a target of its own'
	cases_end
}

mib=$((1 << 20))
fixed="lun 0 { image = \"$dir/a.img\" }"
guest_start a
truncate -s 128M "$dir/a.img"
serve <<C
target "$iqn" { $fixed lun 1 { image = "$dir/b.img" size = 320M } }
C
guest_wait a
case_run 'login' login a
ext4=$(disk_of a 0) xfs=$(disk_of a 1)

# reload_with LUNS: a new configuration, read again.
reload_with() {
	portal_options='advertise = "10.0.2.2"' configure <<<"target \"$iqn\" { $fixed $1 }"
	control reload
}

size_of() {
	on a "blockdev --getsize64 $1"
}

# heard WORDS: within half a minute the kernel says so; it has what happens next in its log.
heard() {
	on a "for ((tries = 0; tries < 300; tries++)); do
			dmesg | grep -i '$1' && exit 0
			sleep 0.1
		done
		exit 1"
}

# fill DISK KIND MIB: files to the new end, which with those from before verify after a new mount.
fill() {
	limit=300 case_on "$2: the new end is written" a "for ((i = 0; i < $3 / 16; i++)); do
			cp /tmp/16M /mnt/$2/new.\$i || exit
		done
		sync"
	limit=300 case_on "$2: all verifies after a new mount" a "umount /mnt/$2 && blockdev --flushbufs $1 &&
		mount $1 /mnt/$2 && for file in /mnt/$2/*[0-9]; do cmp /tmp/16M \$file || exit; done"
}

limit=200 case_on 'ext4 and XFS with data' a "mkfs.ext4 -q $ext4 && mkfs.xfs -q $xfs &&
	mount -t tmpfs none /mnt && mkdir /mnt/ext4 /mnt/xfs && mount $ext4 /mnt/ext4 && mount $xfs /mnt/xfs &&
	dd if=/dev/urandom of=/tmp/16M bs=1M count=16 2>/dev/null &&
	cp /tmp/16M /mnt/ext4/0 && cp /tmp/16M /mnt/xfs/0 && sync"
# What is written later has room in the new part only.
case_on 'both are nearly full' a "for kind in ext4 xfs; do
		fallocate -l \$((\$(stat -f -c '%a * %S' /mnt/\$kind) - $((32 * mib)))) /mnt/\$kind/ballast || exit
	done"

# --- a longer image, and a rescan ------------------------------------------------------------------------

truncate -s 256M "$dir/a.img"
case_run 'a longer image: reload' reload_with "lun 1 { image = \"$dir/b.img\" size = 320M }"
case_on 'rescan of the session' a 'iscsiadm -m session -R'
case_equal 'the host sees the new size' $((256 * mib)) "$(size_of "$ext4")"
limit=200 case_on 'resize2fs, mounted' a "resize2fs $ext4 2>&1"
fill "$ext4" ext4 64

# --- a larger size, and the unit attention -----------------------------------------------------------------

# What Red Hat ships in 40-redhat.rules, and Debian leaves to the administrator.
case_on 'a rule for udev' a "mkdir -p /run/udev/rules.d && cat >/run/udev/rules.d/40-size.rules <<'R'
ACTION==\"change\", SUBSYSTEM==\"scsi\", ENV{SDEV_UA}==\"CAPACITY_DATA_HAS_CHANGED\", TEST==\"rescan\", ATTR{rescan}=\"1\"
R
	udevadm control --reload && dmesg -C"
case_run 'size in the configuration: reload' reload_with "lun 1 { image = \"$dir/b.img\" size = 512M }"
case_on 'the host goes on writing' a 'cp /tmp/16M /mnt/xfs/1 && sync'
case_run 'it hears of the capacity (2Ah/09h)' heard 'capacity data has changed'
case_on 'and its rule rescans' a "for ((tries = 0; tries < 300; tries++)); do
		[ \$(blockdev --getsize64 $xfs) -eq $((512 * mib)) ] && exit 0
		sleep 0.1
	done
	blockdev --getsize64 $xfs
	exit 1"
limit=200 case_on 'xfs_growfs, mounted' a 'xfs_growfs /mnt/xfs'
fill "$xfs" xfs 64

# --- disks that come and go ----------------------------------------------------------------------------------

case_on 'so far nobody spoke of other disks' a "! dmesg | grep -i 'LUN assignments'"
case_run 'a disk is added: reload' reload_with "lun 1 { image = \"$dir/b.img\" size = 512M }
	lun 7 { image = \"$dir/c.img\" size = 64M }"
case_on 'the host reads the others' a "dd if=$ext4 of=/dev/null bs=4k count=1 iflag=direct"
case_run 'it hears that the list has changed (3Fh/0Eh)' heard 'LUN assignments on this target have changed'
case_on 'rescan of the session' a 'iscsiadm -m session -R'
added=$(disk_of a 7)
case_match 'the disk is there' '^/dev/sd' "$added"
case_on 'it is written and read' a "dd if=/tmp/16M of=$added bs=1M oflag=direct && cmp -n $((16 * mib)) /tmp/16M $added"

case_on 'a new log' a 'dmesg -C'
case_run 'it is taken away: reload' reload_with "lun 1 { image = \"$dir/b.img\" size = 512M }"
case_on 'the host reads the others' a "dd if=$ext4 of=/dev/null bs=4k count=1 iflag=direct"
case_run 'it hears that the list has changed again' heard 'LUN assignments on this target have changed'
case_refused 'what is gone cannot be read' on a "dd if=$added of=/dev/null bs=4k count=1 iflag=direct"
case_equal 'the list is that of two' 2 "$(on a "sg_luns $ext4" | grep -cE '^ +[0-9a-f]{16}$')"
case_on 'the host lets go of it' a "echo 1 >/sys/block/${added##*/}/device/delete && iscsiadm -m session -R &&
	udevadm settle -t 30 && [ ! -e $added ]"
case_run 'it comes back' reload_with "lun 1 { image = \"$dir/b.img\" size = 512M } lun 7 { image = \"$dir/c.img\" }"
case_on 'rescan of the session' a 'iscsiadm -m session -R'
added=$(disk_of a 7)
case_on 'with what was written' a "cmp -n $((16 * mib)) /tmp/16M $added"

case_on 'unmount' a 'umount /mnt/ext4 /mnt/xfs'
limit=200 case_on 'e2fsck and xfs_repair find nothing' a "e2fsck -fn $ext4 && xfs_repair -n $xfs"
case_run 'logout' logout a
stop_ringsand
cases_end
