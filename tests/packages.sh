#!/usr/bin/env bash
# Install the Debian packages that a build (`build`), all tests (`check`) or the benchmark (`bench`) need and
# that are missing. As root or through sudo; elsewhere print what is missing and stop. When nothing is
# missing, nothing is run and no rights are needed.
set -eu

BUILD_PACKAGES='gcc libc6-dev make liburing-dev libaio-dev libssl-dev libisal-dev libconfuse-dev
	libjansson-dev zlib1g-dev libzstd-dev'
# libclang-rt-dev has clang's sanitizers and libFuzzer, llvm what names the functions in their reports;
# qemu-block-extra has QEMU's iscsi driver; the last two make small file systems to be filled.
CHECK_PACKAGES='clang clang-format clang-tidy libclang-rt-dev llvm libcriterion-dev universal-ctags
	cppcheck shellcheck codespell mandoc python3 git procps util-linux attr
	libiscsi-dev libiscsi-bin qemu-utils qemu-block-extra tshark e2fsprogs xfsprogs'

# Linux guests as initiators: what boots them and what builds their image. What runs in them is never
# installed here; initiator-tests/guest/image.sh names it.
HOSTS_PACKAGES='qemu-system-x86 ipxe-qemu e2fsprogs kmod cpio'

# A peer to compare with, what a file can do by itself, XFS. `make bench` leaves out what it does not find.
BENCH_PACKAGES='python3 git util-linux'
BENCH_OPTIONAL='fio tgt xfsprogs'

case "${1-}" in
build) wanted=$BUILD_PACKAGES ;;
check) wanted="$BUILD_PACKAGES $CHECK_PACKAGES $HOSTS_PACKAGES" ;;
bench) wanted="$BUILD_PACKAGES $BENCH_PACKAGES" ;;
bench-optional) wanted=$BENCH_OPTIONAL ;;
list)
	# shellcheck disable=SC2086 # The lists are words on purpose.
	printf '%s\n' $BUILD_PACKAGES $CHECK_PACKAGES $HOSTS_PACKAGES
	exit 0
	;;
*)
	echo "usage: tests/packages.sh build|check|bench|bench-optional|list" >&2
	exit 2
	;;
esac

installed() {
	[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing=
for package in $wanted; do
	if ! command -v dpkg-query >/dev/null || ! installed "$package"; then
		missing="$missing $package"
	fi
done
missing=${missing# }
[ -n "$missing" ] || exit 0

give_up() {
	echo "packages: $1. As root on Debian 12:" >&2
	echo "    apt-get install --no-install-recommends $missing" >&2
	exit 1
}

command -v apt-get >/dev/null || give_up "there is no apt-get here"
if [ "$(id -u)" -eq 0 ]; then
	as_root=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
	as_root='sudo -n'
elif command -v sudo >/dev/null && [ -t 0 ]; then
	as_root=sudo
else
	give_up "neither root nor sudo"
fi

echo "packages: installing $missing"
# shellcheck disable=SC2086 # Words on purpose.
{
	$as_root apt-get -q update </dev/null || give_up "apt-get update failed"
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends \
		$missing </dev/null || give_up "apt-get install failed"
}
