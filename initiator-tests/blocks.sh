#!/usr/bin/env bash
# Disks of 4 KiB blocks, of 512-byte blocks on 512 and on 4096, and read-only ones, as QEMU and libiscsi use
# them from end to end; LUN numbers up to the highest.
# One engine is enough: nothing here depends on which.
. "$(dirname "$0")/lib.sh"

size=32M
truncate -s "$size" "$dir/ro.img" "$dir/ro4k.img"
configure <<C
target "$iqn" {
	lun 0 { image = "$dir/4k.img" size = $size block-size = 4096 }
	lun 1 { image = "$dir/512n.img" size = $size physical-block-size = 512 }
	lun 2 { image = "$dir/ro.img" read-only = yes }
	lun 3 { image = "$dir/ro4k.img" read-only = yes block-size = 4096 }
	lun 16383 { image = "$dir/512e.img" size = $size }
}
C
start_or_end

source=$dir/source.raw
truncate -s "$size" "$source"
python3 - "$source" <<P
import random, sys
source = random.Random(4096)
with open(sys.argv[1], "r+b") as image:
    for mebibyte in (0, 3, 7, 20, 31):
        image.seek(mebibyte << 20)
        image.write(source.randbytes(1 << 20))
P

# libiscsi puts the number of a URL into the LUN field as it is, so flat space addressing (all above 255) is
# 16384 more. QEMU 7.2 cannot read more than 31 KiB at a time from blocks of 4 KiB that read as zeroes when
# unmapped: it asks itself for the status of 2^31 - 512 bytes, which is no multiple, and aborts.
for lun in 0 1 $((16384 + 16383)); do
	case_run "LUN $lun: convert to it" limited qemu-img convert -n -f raw -O raw "$source" "$(url $lun)"
	[ "$lun" -eq 0 ] || case_run "LUN $lun: it compares equal" limited qemu-img compare -f raw -F raw "$source" "$(url $lun)"
	case_run "LUN $lun: zeroes, discards, FUA" qemu_io $lun 'write -P 0xa1 8M 1M' 'write -z 8392704 8192' \
		'discard 9M 64k' 'write -f -P 0xa2 10M 4096' 'flush' 'read -P 0xa1 8M 4096' 'read -P 0 8392704 8192' \
		'read -P 0xa2 10M 4096' 'write -P 0xa3 33550336 4096' 'read -P 0xa3 33550336 4096'
done
case_run 'the image of 4 KiB blocks' cmp -n $((8 << 20)) "$source" "$dir/4k.img"
# QEMU makes whole blocks of what is smaller, by reading first.
case_run 'a 512-byte write of QEMU to 4 KiB blocks' qemu_io 0 'write -P 0xb1 1M 8192' 'write -P 0xb2 1049088 512' \
	'read -P 0xb1 1M 512' 'read -P 0xb2 1049088 512' 'read -P 0xb1 1049600 3072'
for lun in 2 3; do
	case_match "LUN $lun: its size" 'virtual size: 32 MiB' "$(limited qemu-img info -f raw "$(url $lun)" 2>&1)"
	case_run "LUN $lun: QEMU reads it" limited qemu-io -r -f raw -c 'read -P 0 0 16k' "$(url $lun)"
	case_match "LUN $lun: and does not open it for writing" 'write protected|Read-only|read-only|readonly' \
		"$(limited qemu-io -f raw -c 'write 0 4096' "$(url $lun)" 2>&1)"
	case_equal "LUN $lun: a write" 'status=02 sense=07/27/00 residual=512' \
		"$(raw_command "$(url $lun)" 2a000000000000000100 "out=$(printf '%01024d' 0)")"
	for cdb in 35000000000000000000 1b0000000000 1b0000000100; do
		case_equal "LUN $lun: ${cdb:0:2}, which writes nothing" 'status=00 sense= residual=0' \
			"$(raw_command "$(url $lun)" "$cdb")"
	done
done

# conformance LUN FAMILY...: no test of iscsi-test-cu fails. Those on 512e disks: conformance.sh.
conformance() {
	local lun=$1 family text
	shift
	for family; do
		text=$(limited iscsi-test-cu -d -S -v --test="ALL.$family" "$(url "$lun")" 2>&1 </dev/null)
		case_match "LUN $lun: $family of iscsi-test-cu" '^[1-9][0-9]* 0$' \
			"$(awk '$1 == "tests" { print $3, $5 }' <<<"$text")"
	done
}
conformance 0 Inquiry ReadCapacity10 ReadCapacity16 ModeSense6 Mandatory Read10 iSCSIResiduals Write16.BeyondEol \
	Write10.ZeroBlocks Unmap.ZeroBlocks CompareAndWrite.Miscompare
conformance 1 Inquiry ReadCapacity16 ModeSense6
conformance 3 ReadOnly Inquiry ReadCapacity16 Read16.BeyondEol

stop_ringsand
cases_end
