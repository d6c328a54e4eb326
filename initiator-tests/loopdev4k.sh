#!/usr/bin/env bash
# A block device with 4 KiB sectors behind a LUN of 512-byte blocks: writes of single blocks go by
# read-modify-write and hurt no neighbour, not even when four sessions write into the same sectors.
. "$(dirname "$0")/lib.sh"

backing=$dir/backing.img
truncate -s 64M "$backing"
if ! loop=$(losetup --show -f -b 4096 --direct-io=on "$backing" 2>&1) &&
	! loop=$(losetup --show -f -b 4096 "$backing" 2>&1); then
	skip 'a loop device with 4 KiB sectors' "losetup refuses: $loop"
	cases_end
fi
trap 'end_test; losetup -d "$loop"' EXIT

case_equal 'the device has 4 KiB sectors' 4096 "$(blockdev --getss "$loop")"
configure <<C
target "$iqn" { lun 0 { image = "$loop" block-size = 512 } }
C
start_or_end

case_match 'hosts see 512-byte blocks' '^LOGICAL BLOCK LENGTH IN BYTES:512$' \
	"$(limited iscsi-readcapacity16 "$(url)")"
case_match 'on 4 KiB of physical' 'PHYSICAL BLOCK EXPONENT:3$' \
	"$(limited iscsi-readcapacity16 "$(url)")"
case_run 'single blocks' qemu_io 0 'write -P 0xaa 0 64k' 'write -P 1 512 512' 'write -P 2 4608 512' \
	'write -P 3 8191 1' 'read -P 0xaa 0 512' 'read -P 1 512 512' 'read -P 0xaa 1024 3584' \
	'read -P 2 4608 512' 'read -P 0xaa 5120 2560'
case_run 'a run that begins and ends inside a sector' qemu_io 0 'write -P 0xbb 1M 64k' \
	'write -P 4 1051136 9728' 'read -P 0xbb 1M 2560' 'read -P 4 1051136 9728' 'read -P 0xbb 1060864 512'
case_run 'the last block' qemu_io 0 'write -P 5 67108352 512' 'read -P 5 67108352 512'
case_run 'four sessions into the same sectors' limited python3 initiator-tests/same_sectors.py "$(url)"
case_run 'four sessions' limited "$programs/four_sessions" "$(url)" 1000 1

case_run 'UNMAP gives zeroes' qemu_io 0 'write -P 6 8M 4M' 'discard 9M 1M' 'read -P 0 9M 1M' \
	'read -P 6 8M 1M' 'read -P 6 10M 2M'

stop_ringsand
cases_end
