#!/usr/bin/bash
# The first and only service of a guest: mounts, network, udev, iscsid; then runs the scripts that come
# through the port "ringsan", one after the other. A request is one line, "ID BASE64(script)", its answer
# "ID STATUS BASE64(output)". Parameters come with the kernel's command line: guest.NAME=VALUE.
export PATH=/usr/sbin:/usr/bin HOME=/root LC_ALL=C

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mkdir -p /run/lock /run/udev /run/lvm /run/sanlock /dev/shm /dev/pts
mount -t tmpfs shm /dev/shm
mount -t devpts pts /dev/pts
ln -sf /proc/self/fd /dev/fd

parameter() {
	sed -n "s/.*guest\.$1=\([^ ]*\).*/\1/p" /proc/cmdline
}

name=$(parameter name)
echo "$name" >/proc/sys/kernel/hostname
echo "InitiatorName=iqn.2026-11.io.ringsan:guest-$name" >/etc/iscsi/initiatorname.iscsi
printf '%s\n' "$name" | md5sum | cut -c 1-32 >/etc/machine-id

/usr/lib/systemd/systemd-udevd --daemon
modprobe -a virtio_net virtio_console iscsi_tcp sd_mod sg
ip link set lo up
for ((tries = 0; tries < 100; tries++)); do
	ip link set eth0 up 2>/dev/null && break
	sleep 0.1
done
ip address add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
iscsid -f >/run/iscsid.log 2>&1 &

# The host's end is closed between two requests, which reads as the end of the file.
serve() {
	local id script status
	while read -r id script; do
		base64 -d <<<"$script" >"/run/script.$id"
		bash "/run/script.$id" >"/run/output.$id" 2>&1 </dev/null 3>&-
		status=$?
		printf '%s %s %s\n' "$id" "$status" "$(base64 -w 0 "/run/output.$id")" >&3
		rm -f "/run/script.$id" "/run/output.$id"
	done <&3
}

port=
for ((tries = 0; tries < 100; tries++)); do
	port=$(grep -lx ringsan /sys/class/virtio-ports/*/name 2>/dev/null) && break
	sleep 0.1
done
port=${port%/name}
until [ -c "/dev/${port##*/}" ]; do
	sleep 0.1
done
exec 3<>"/dev/${port##*/}"
echo "guest $name is ready" >/dev/console
while :; do
	serve
	sleep 0.05
done
