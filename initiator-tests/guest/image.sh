#!/usr/bin/env bash
# The image that every guest boots: a kernel, a small initramfs and a root file system, all from Debian
# packages that are unpacked and never installed. Needs no root. Built once for each state of the files
# named in `recipe` and of the package lists; prints the folder, which has
#     vmlinux initramfs root.img versions
#
# Environment: RINGSAN_GUEST_CACHE (~/.cache/ringsan-guest). Read next: init.sh, which runs in the guest.
set -eu -o pipefail
cd "$(dirname "$0")"
export LC_ALL=C

cache=${RINGSAN_GUEST_CACHE:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/ringsan-guest}
recipe='image.sh init.sh vmlinux.py'

# What runs in a guest; what these depend on comes along.
packages='bash coreutils diffutils grep sed mawk util-linux mount findutils procps psmisc busybox-static kmod iproute2
	udev open-iscsi e2fsprogs xfsprogs fdisk sg3-utils fio multipath-tools nftables lvm2 sanlock
	cpio extlinux syslinux-common'
# What the kernel needs to reach its root file system.
boot_modules='virtio_pci virtio_blk ext4'
# Parts of the kernel and of packages that no scenario looks at and that take most of the room.
left_out='drivers/gpu drivers/media drivers/net/wireless drivers/infiniband drivers/staging drivers/iio
	drivers/input drivers/hwmon drivers/usb drivers/net/ethernet sound net/wireless net/bluetooth'

die() {
	echo "image: $1" >&2
	exit 1
}

for tool in apt-get apt-cache dpkg-deb mke2fs depmod modprobe cpio python3 flock; do
	PATH=$PATH:/usr/sbin:/sbin
	command -v "$tool" >/dev/null || die "$tool is missing; tests/packages.sh check names its package"
done

mkdir -p "$cache"
exec 9>"$cache/lock"
flock -w 900 9 || die "somebody else has built in $cache for 15 minutes"

# To ask apt takes seconds; as long as its lists and the recipe are the same, so is the answer.
# shellcheck disable=SC2086 # Words on purpose.
state=$cache/state.$({
	cat $recipe
	stat -c '%n %Y' /var/lib/apt/lists /var/lib/apt/lists/*Packages* 2>/dev/null
} | sha256sum | cut -c 1-16)
if [ -s "$state" ] && image=$(cat "$state") && [ -e "$image/complete" ]; then
	echo "$image"
	exit 0
fi

kernel=$(apt-cache depends linux-image-amd64 2>/dev/null |
	sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
[ -n "$kernel" ] || die 'apt knows no linux-image-amd64 (apt-get update?)'
# Whoever built before has ended, perhaps amid it.
rm -rf "$cache"/build.* "$cache"/state.*
work=$(mktemp -d "$cache/build.XXXXXX")
trap 'rm -rf "$work"' EXIT

# apt with a status of its own, in which nothing is installed, so that every dependency is named.
: >"$work/status"
mkdir -p "$cache/debs/partial"
apt_install() {
	# shellcheck disable=SC2086 # Words on purpose.
	apt-get -q -y -o Dir::State::status="$work/status" -o Dir::Cache::archives="$cache/debs" \
		-o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o Debug::NoLocking=true \
		-o APT::Sandbox::User= -o APT::Install-Recommends=false "$@" install "$kernel" $packages
}
apt_install --simulate 2>"$work/log" | sed -n 's/^Inst \([^ ]*\) (\([^ ]*\) .*/\1 \2/p' | sort >"$work/versions"
[ -s "$work/versions" ] || die "apt-get: $(tail -n 3 "$work/log")"

# shellcheck disable=SC2086 # Words on purpose.
key=$(cat $recipe "$work/versions" | sha256sum | cut -c 1-16)
image=$cache/$key
if [ -e "$image/complete" ]; then
	echo "$image" | tee "$state"
	exit 0
fi

echo "image: building $image" >&2
apt_install --download-only >>"$work/log" 2>&1 || die "apt-get: $(tail -n 3 "$work/log")"

# --- the root file system ------------------------------------------------------------------------

root=$work/root
mkdir -p "$root"/{dev,proc,sys,run,tmp,mnt,var/tmp,var/lib,root} "$root"/usr/{bin,sbin,lib,lib64}
for link in bin sbin lib lib64; do
	ln -s "usr/$link" "$root/$link"
done
ln -s /run "$root/var/run"

exclude=(--exclude=./usr/share/doc --exclude=./usr/share/man --exclude=./usr/share/locale
	--exclude=./usr/share/info --exclude=./usr/lib/x86_64-linux-gnu/perl --exclude=./usr/share/perl
	--exclude=./lib/udev/hwdb.d --exclude='./boot/System.map*')
for part in $left_out; do
	exclude+=(--exclude="./lib/modules/*/kernel/$part")
done
while read -r name version; do
	# In file names an epoch's colon is written %3a.
	file=$(echo "$cache/debs/${name}_${version//:/%3a}"_*.deb)
	[ -e "$file" ] || die "$name $version was not downloaded"
	dpkg-deb --fsys-tarfile "$file" |
		tar -x --keep-directory-symlink --no-same-owner -C "$root" "${exclude[@]}"
done <"$work/versions"

# What maintainer scripts would have made.
cat >"$root/etc/passwd" <<'P'
root:x:0:0:root:/root:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
sanlock:x:104:104::/run/sanlock:/usr/sbin/nologin
P
cat >"$root/etc/group" <<'P'
root:x:0:
tty:x:5:
disk:x:6:
lp:x:7:
kmem:x:15:
dialout:x:20:
cdrom:x:24:
tape:x:26:
audio:x:29:
video:x:44:
input:x:101:
sgx:x:102:
kvm:x:103:
sanlock:x:104:
render:x:105:
nogroup:x:65534:
P
echo 'hosts: files' >"$root/etc/nsswitch.conf"
echo '127.0.0.1 localhost' >"$root/etc/hosts"
ln -sf /proc/self/mounts "$root/etc/mtab"
ln -sf mawk "$root/usr/bin/awk"
ln -sf bash "$root/usr/bin/sh"
install -m 755 init.sh "$root/usr/sbin/guest-init"

version=${kernel#linux-image-}
depmod -b "$root" "$version"

# --- the initramfs -------------------------------------------------------------------------------

small=$work/small
mkdir -p "$small"/{bin,dev,modules,new}
cp "$root/usr/bin/busybox" "$small/bin/busybox"
number=100
for module in $boot_modules; do
	while read -r _ path; do
		# A name of its own for each, in the order in which they are loaded.
		name=${path##*/}
		[ -z "$(find "$small/modules" -name "*-$name")" ] || continue
		cp "$path" "$small/modules/$number-$name"
		number=$((number + 1))
	done < <(modprobe -d "$root" -S "$version" --show-depends "$module" | grep ^insmod)
done
cat >"$small/init" <<'I'
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*; do
	/bin/busybox insmod "$module"
done
tries=0
until [ -b /dev/vda ] || [ $tries -ge 100 ]; do
	/bin/busybox sleep 0.1
	tries=$((tries + 1))
done
/bin/busybox mount -t ext4 /dev/vda /new
/bin/busybox mount -o move /dev /new/dev
exec /bin/busybox switch_root /new /usr/sbin/guest-init
I
chmod 755 "$small/init"

# --- all together --------------------------------------------------------------------------------

mkdir "$work/image"
(cd "$small" && find . | cpio --quiet -o -H newc) >"$work/image/initramfs"
python3 vmlinux.py "$root/boot/vmlinuz-$version" "$work/image/vmlinux"
# A scenario makes a disk that boots.
find "$root/boot" -mindepth 1 ! -name "vmlinuz-$version" -delete
mv "$root/boot/vmlinuz-$version" "$root/boot/vmlinuz"
size_mib=$(($(du -sm "$root" | cut -f 1) * 5 / 4 + 64))
mke2fs -q -t ext4 -O ^has_journal -m 0 -E root_owner=0:0 -d "$root" "$work/image/root.img" "${size_mib}M" >/dev/null
cp "$work/versions" "$work/image/versions"
: >"$work/image/complete"
mv "$work/image" "$image"
# Images of older recipes; a guest that runs keeps its files open.
find "$cache" -mindepth 1 -maxdepth 1 -type d ! -name debs ! -name "$key" ! -path "$work" -mtime +7 \
	-exec rm -rf {} +
echo "$image" | tee "$state"
