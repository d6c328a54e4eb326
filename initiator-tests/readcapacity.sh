#!/usr/bin/env bash
# READ CAPACITY(10) and (16), every field: size, block sizes, provisioning; also short allocation
# lengths (VirtualBox asks for 12 bytes) and a LUN beyond 2 TiB.
. "$(dirname "$0")/lib.sh"

configure <<C
target "$iqn" {
	lun 0 { image = "$dir/a.img" size = 1G }
	lun 1 { image = "$dir/b.img" size = 64M block-size = 4096 }
	lun 2 { image = "$dir/c.img" size = 3T }
}
C
start_or_end

# capacity LUN CDB LENGTH: the data in hexadecimal.
capacity() {
	raw_command "$(url "$1")" "$2" "in=$3" | tail -n 1
}

text=$(limited iscsi-readcapacity16 "$(url)")
case_equal 'returned logical block address' 2097151 "$(field_of 'RETURNED LOGICAL BLOCK ADDRESS' <<<"$text")"
case_equal 'logical block length' 512 "$(field_of 'LOGICAL BLOCK LENGTH IN BYTES' <<<"$text")"
case_match 'no protection information' '^PROT_EN:0' "$(grep -o 'PROT_EN:[01]' <<<"$text")"
case_match 'physical exponent (512e)' 'PHYSICAL BLOCK EXPONENT:3$' "$text"
case_equal 'size in bytes' $((1 << 30)) "$(grep -oE 'Total size:[0-9]+' <<<"$text" | cut -d: -f2)"

# SBC-3 5.16.2: 8 bytes of last block, 4 of block length, PROT_EN, exponents, LBPME/LBPRZ, zeroes.
# LBPME says thin, LBPRZ that what was given back reads as zeroes, as a hole in a file does.
zeroes=00000000000000000000000000000000
cdb16=9e100000000000000000
case_equal 'all 32 bytes, 512-byte blocks' "00000000001fffff000002000003c000$zeroes" \
	"$(capacity 0 "${cdb16}00000020" 32)"
case_equal 'all 32 bytes, 4096-byte blocks' "0000000000003fff000010000000c000$zeroes" \
	"$(capacity 1 "${cdb16}00000020" 32)"
case_equal 'twelve bytes' 00000000001fffff00000200 "$(capacity 0 "${cdb16}0000000c" 12)"
case_equal 'allocation length 0' 'status=00 sense= residual=0' "$(capacity 0 "${cdb16}00000000" 0)"
case_equal 'a LUN of 3 TiB, READ CAPACITY(16)' 000000017fffffff00000200 \
	"$(capacity 2 "${cdb16}0000000c" 12)"
case_equal 'a LUN of 3 TiB, READ CAPACITY(10)' ffffffff00000200 \
	"$(capacity 2 25000000000000000000 8)"
case_equal 'READ CAPACITY(10)' 001fffff00000200 "$(capacity 0 25000000000000000000 8)"

stop_ringsand
cases_end
