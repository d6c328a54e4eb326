#!/usr/bin/env bash
# Very large WRITE SAME, UNMAP and GET LBA STATUS beside another host, on a sparse XFS of 6 TiB, mounted where
# nobody else sees it (root): no file system of that size is needed for it. LARGE_FRAGMENTS=n scatters n
# pieces of 4 KiB over a file first, 2,000 by default (FILESYSTEMS.md has figures for a million).
. "$(dirname "$0")/lib.sh"

own_mounts 'a large file system'

mount_large() {
	command -v mkfs.xfs >/dev/null || { echo 'there is no mkfs.xfs (package xfsprogs)' && return 1; }
	truncate -s 6T "$dir/xfs.img" && mkfs.xfs -q -K -l size=64m "$dir/xfs.img" && mount -o loop "$dir/xfs.img" "$1"
}

pool=$dir/pool
mounted 'a large XFS' "$pool" mount_large || cases_end
case_run 'a file in pieces' python3 initiator-tests/thin_large.py fragment "$pool/pieces.img" "${LARGE_FRAGMENTS:-2000}"
configure <<C
target "$iqn" {
	lun 0 { image = "$pool/a.img" size = 4T }
	lun 1 { image = "$pool/pieces.img" size = $(stat -c %s "$pool/pieces.img") }
}
C
if start_ringsand; then
	limit=200 limited python3 initiator-tests/thin_large.py run "$(url)" || fail 'thin_large.py' 'see above'
	stop_ringsand
fi
umount "$pool"
cases_end
