#!/usr/bin/env bash
# A host makes a LUN bootable, as an installer does, and two machines without a disk of their own boot from it:
# QEMU by its iscsi:// driver (libiscsi), and iPXE by sanboot, whose firmware table (iBFT) then leads the
# kernel's initiator to the same LUN. Both log in by CHAP, verify what the host wrote and leave a mark.
. "$(dirname "$0")/lib.sh"
need_guests
for missing in $(qemu-img --help | grep -qw iscsi || echo qemu-block-extra) \
	$([ -e /usr/lib/ipxe/qemu/pxe-virtio.rom ] || echo ipxe-qemu); do
	skip '11_boot' "$missing is missing (tests/packages.sh check-hosts)"
	cases_end
done

if is_ours; then
	TARGET_USER=host-user TARGET_PASSWORD=secret-of-host-1
	printf '%s %s\n' "$TARGET_USER" "$TARGET_PASSWORD" >"$dir/secrets"
	chmod 600 "$dir/secrets"
fi
guest_start a
serve "secrets = \"$dir/secrets\"" <<C
target "$iqn" {
	lun 0 { image = "$dir/a.img" size = 256M }
	auth { users = { "${TARGET_USER-}" } }
}
C
guest_wait a
case_run 'login' login a
disk=$(disk_of a)

# --- a host makes the LUN bootable ------------------------------------------------------------------------

# The boot loader reads file systems of before 64bit and metadata_csum.
case_on 'partition, file system, boot loader' a "
	echo 'start=2048, type=83, bootable' | sfdisk -q -X dos $disk && udevadm settle &&
	dd if=/usr/lib/EXTLINUX/mbr.bin of=$disk conv=notrunc 2>/dev/null &&
	mkfs.ext4 -q -O ^64bit,^metadata_csum -E lazy_itable_init=1,nodiscard ${disk}1 && mount ${disk}1 /mnt &&
	mkdir -p /mnt/boot /mnt/bin /mnt/dev /mnt/proc /mnt/sys && extlinux --install /mnt/boot &&
	cp /boot/vmlinuz /mnt/boot/ && cp /usr/bin/busybox /mnt/bin/"
on a "cat >/mnt/boot/extlinux.conf <<'C'
SERIAL 0 115200
DEFAULT linux
LABEL linux
	KERNEL vmlinuz
	INITRD initrd
	APPEND console=ttyS0 quiet panic=-1 net.ifnames=0 mitigations=off
C
cat >/mnt/bin/init <<'I'
#!/bin/busybox sh
# The machine's first process, from the LUN.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
echo \"\$1\" >>/by
sha256sum -c /data.sum && echo RINGSAN-BOOTED by \"\$1\" >/dev/console
sync
mount -o remount,ro /
poweroff -f
I
chmod 755 /mnt/bin/init
dd if=/dev/urandom of=/mnt/data bs=1M count=8 2>/dev/null && cd /mnt && sha256sum data >data.sum"

# Its initramfs: the virtual disk if there is one, else the LUN that the firmware's table names.
case_on 'initramfs' a "
	mkdir -p /tmp/small/{bin,dev,proc,sys,run,modules,new,etc/iscsi} && cd /tmp/small &&
	cp /usr/bin/busybox bin/ && number=100
	for module in virtio_pci virtio_blk virtio_net crc32c_generic iscsi_tcp iscsi_ibft sd_mod ext4; do
		while read -r _ path; do
			[ -e modules/*-\${path##*/} ] || cp \$path modules/\$((number += 1))-\${path##*/}
		done < <(modprobe --show-depends \$module | grep ^insmod)
	done
	for file in /usr/sbin/iscsistart \$(/lib64/ld-linux-x86-64.so.2 --list /usr/sbin/iscsistart | grep -o '/[^ ]*'); do
		mkdir -p .\${file%/*} && cp -L \$file .\$file
	done
	cat >init <<'I'
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
for module in /modules/*; do
	/bin/busybox insmod \$module
done
root=/dev/vda1 by=libiscsi
if [ -d /sys/firmware/ibft/target0 ]; then
	root=/dev/sda1 by=iPXE
	cd /sys/firmware/ibft/ethernet0
	/bin/busybox ifconfig eth0 \$(/bin/busybox cat ip-addr) netmask \$(/bin/busybox cat subnet-mask) up
	cd /
	iscsistart -b
fi
tries=0
until [ -b \$root ] || [ \$tries -ge 300 ]; do
	/bin/busybox sleep 0.1
	tries=\$((tries + 1))
done
/bin/busybox mount -t ext4 \$root /new
/bin/busybox mount -o move /dev /new/dev
exec /bin/busybox switch_root /new /bin/init \$by
I
	chmod 755 init && find . | cpio --quiet -o -H newc >/mnt/boot/initrd && ls -l /mnt/boot"
case_on 'the host lets go of it' a "cd / && umount /mnt && blockdev --flushbufs $disk"
case_run 'logout' logout a
guest_kill a

# --- machines without a disk -------------------------------------------------------------------------------

# boot NAME BY ARGUMENT...: a machine that is to boot from the LUN, say so, and power itself off.
boot() {
	local name=$1 by=$2 folder=$dir/boot-$2 begin=$SECONDS status=0
	shift 2
	mkdir -p "$folder"
	limit=${limit:-600} limited qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
		-accel "$GUEST_ACCEL" -cpu max -m 384 -chardev "file,id=console,path=$folder/console.log" \
		-serial chardev:console "$@" >"$folder/qemu.log" 2>&1 </dev/null || status=$?
	case_equal "$name: the machine has powered itself off" 0 $status
	case_match "$name: it has booted from the LUN, data verifies" "RINGSAN-BOOTED by $by" "$(tr -d '\0' <"$folder/console.log")"
	grep -q RINGSAN-BOOTED "$folder/console.log" || tail -n 60 "$folder"/*.log
	echo "time: $name took $((SECONDS - begin)) s"
}

# From this machine's side the portal is on the loopback.
url=iscsi://${TARGET_USER:+$TARGET_USER%$TARGET_PASSWORD@}${portal/10.0.2.2/127.0.0.1}/$target/$target_lun
boot 'QEMU, iscsi://' libiscsi -net none -iscsi "initiator-name=$iqn:libiscsi" \
	-drive "file=$url,format=raw,if=none,id=disk,cache=none" \
	-device virtio-blk-pci,drive=disk,bootindex=0

mkdir "$dir/tftp"
cat >"$dir/tftp/boot.ipxe" <<I
#!ipxe
set initiator-iqn $iqn:ipxe
${TARGET_USER:+set username $TARGET_USER
set password $TARGET_PASSWORD}
sanboot iscsi:${portal%:*}::${portal##*:}:$(printf %x "$target_lun"):$target
I
boot 'iPXE, sanboot' iPXE -netdev "user,id=net,tftp=$dir/tftp,bootfile=boot.ipxe" \
	-device virtio-net-pci,netdev=net,bootindex=0

# --- and what they left ---------------------------------------------------------------------------------------

guest_start a
guest_wait a
case_run 'the host logs in again' login a
disk=$(disk_of a)
case_equal 'both machines left their mark' 'libiscsi iPXE' \
	"$(on a "udevadm settle; e2fsck -p ${disk}1 >/dev/null; mount ${disk}1 /mnt && cat /mnt/by && umount /mnt" | paste -sd ' ')"
case_run 'logout' logout a

stop_ringsand
cases_end
