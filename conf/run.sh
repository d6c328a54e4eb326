#!/usr/bin/env bash
# What `make run` does: build, make a configuration below ./run/ out of examples/quickstart.conf, say
# how to connect, and become ringsand in the foreground. Needs no rights. Ctrl-C ends it; the disk
# stays in ./run/ for the next time.
set -eu
cd "$(dirname "$0")/.."

make --no-print-directory -s -j2 all
ringsand=${B:-build}/${V:-plain}/ringsand
folder=$PWD/run
portal=127.0.0.1:3260
conf=$folder/ringsan.conf

# ringsand refuses a state folder that everybody may write, whatever the umask.
mkdir -p "$folder"
[ -d "$folder/state" ] || mkdir -m 700 "$folder/state"
if [ ! -e "$conf" ]; then
	{
		echo "# Made by make run out of conf/examples/quickstart.conf; yours to change."
		echo "state-dir = \"$folder/state\""
		echo "control-socket = \"$folder/ringsand.sock\""
		# Only this machine may connect, so the portal is local and needs no access rules.
		sed -e '/^#/d' -e '/access/d' -e "s|^portal.*|portal \"$portal\" { }|" \
			-e "s|/var/lib/ringsan/|$folder/|" conf/examples/quickstart.conf
	} >"$conf"
fi
"$ringsand" -t -c "$conf"

target=$(sed -n 's/^target "\(.*\)".*/\1/p' "$conf" | head -n 1)
url=iscsi://$portal/$target/0
cat <<T

LUN 0 of $target will be at $portal. In another terminal:

  libiscsi      iscsi-ls -s iscsi://$portal
                iscsi-inq $url
                iscsi-readcapacity16 $url
  QEMU          qemu-img info $url
                qemu-img convert -n -f qcow2 -O raw disk.qcow2 $url
                qemu-system-x86_64 -m 2G -drive file=$url,format=raw,if=virtio,cache=none
  open-iscsi    iscsiadm -m discovery -t sendtargets -p $portal
   (as root)    iscsiadm -m node -T $target -p $portal --login
                lsscsi; iscsiadm -m node -T $target -p $portal --logout

The configuration is $conf, the disk $(sed -n 's/.*image = "\(.*\)".*/\1/p' "$conf" | head -n 1).

T
exec "$ringsand" -c "$conf"
