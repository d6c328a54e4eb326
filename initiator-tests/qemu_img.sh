#!/usr/bin/env bash
# QEMU's iscsi driver: images converted in and out compare equal, patterns come back, zeroes and
# discards read as zeroes.
. "$(dirname "$0")/lib.sh"

size=64M
configure <<C
target "$iqn" {
	lun 0 { image = "$dir/a.img" size = $size }
	lun 1 { image = "$dir/b.img" size = $size }
}
C
start_or_end

# Ten pieces of pseudo-random bytes, always the same ones, and holes.
source=$dir/source.raw
truncate -s "$size" "$source"
python3 - "$source" <<P
import random, sys
source = random.Random(64)
with open(sys.argv[1], "r+b") as image:
    for mebibyte in (0, 1, 2, 5, 9, 17, 33, 40, 41, 63):
        image.seek(mebibyte << 20)
        image.write(source.randbytes(1 << 20))
P

case_run 'convert raw to a LUN' limited qemu-img convert -n -f raw -O raw "$source" "$(url)"
case_run 'the LUN compares equal' limited qemu-img compare -f raw -F raw "$source" "$(url)"
case_run 'convert the LUN to qcow2' limited qemu-img convert -f raw -O qcow2 "$(url)" "$dir/out.qcow2"
case_run 'that qcow2 compares equal' limited qemu-img compare -f raw -F qcow2 "$source" "$dir/out.qcow2"
case_run 'convert qcow2 to another LUN, out of order, with 16 coroutines' \
	limited qemu-img convert -n -W -m 16 -f qcow2 -O raw "$dir/out.qcow2" "$(url 1)"
case_run 'two LUNs compare equal' limited qemu-img compare -f raw -F raw "$(url)" "$(url 1)"
case_run 'the image file itself compares equal' cmp "$source" "$dir/a.img"

case_run 'one block' qemu_io 1 'write -P 0xa1 0 512' 'read -P 0xa1 0 512'
case_run 'the last block' qemu_io 1 'write -P 0xa2 67108352 512' 'read -P 0xa2 67108352 512'
case_run 'an odd place and length' qemu_io 1 'write -P 0xa3 7168 123904' 'read -P 0xa3 7168 123904' 'read -P 0xa1 0 512'
case_run '16 MiB in one request' qemu_io 1 'write -P 0xa4 1M 16M' 'read -P 0xa4 1M 16M'
case_run 'write with FUA' qemu_io 1 'write -f -P 0xa5 20M 64k' 'read -P 0xa5 20M 64k'
case_run 'flush' qemu_io 1 'write -P 0xa6 21M 1M' 'flush' 'read -P 0xa6 21M 1M'
case_run 'write zeroes' qemu_io 1 'write -P 0xa7 24M 4M' 'write -z 25M 1M' 'read -P 0 25M 1M' 'read -P 0xa7 24M 1M' \
	'read -P 0xa7 26M 2M'
case_run 'write zeroes, may unmap' qemu_io 1 'write -P 0xa8 28M 4M' 'write -z -u 29M 1M' 'read -P 0 29M 1M' \
	'read -P 0xa8 28M 1M' 'read -P 0xa8 30M 2M'
case_run 'discard' qemu_io 1 'write -P 0xa9 32M 4M' 'discard 33M 1M' 'read -P 0 33M 1M' 'read -P 0xa9 32M 1M' \
	'read -P 0xa9 34M 2M'
case_run 'zeroes that begin and end inside an allocation unit' qemu_io 1 'write -P 0xaa 40M 1M' 'write -z 41943552 1024' \
	'read -P 0xaa 40M 512' 'read -P 0 41943552 1024' 'read -P 0xaa 41944576 64k'
writes=() reads=()
for number in {0..15}; do
	writes+=("aio_write -P $((number + 1)) $((44 + number))M 64k")
	reads+=("read -P $((number + 1)) $((44 + number))M 64k")
done
case_run 'sixteen requests in flight' qemu_io 1 "${writes[@]}" aio_flush "${reads[@]}"

case_match 'beyond the end is refused' 'out of range|larger than|beyond|Invalid|error' \
	"$(limited qemu-io -f raw -c 'read 64M 512' "$(url 1)" 2>&1)"
case_match 'qemu-img info sees the size' 'virtual size: 64 MiB' \
	"$(limited qemu-img info -f raw "$(url 1)" 2>&1)"

stop_ringsand
cases_end
