#!/usr/bin/env bash
# READ CAPACITY(16) as iscsi-readcapacity16 understands it. Byte by byte, and around 2 TiB: golden.sh.
. "$(dirname "$0")/lib.sh"

configure <<C
target "$iqn" {
	lun 0 { image = "$dir/a.img" size = 1G }
}
C
start_or_end

text=$(limited iscsi-readcapacity16 "$(url)")
case_equal 'returned logical block address' 2097151 "$(field_of 'RETURNED LOGICAL BLOCK ADDRESS' <<<"$text")"
case_equal 'logical block length' 512 "$(field_of 'LOGICAL BLOCK LENGTH IN BYTES' <<<"$text")"
case_match 'no protection information' '^PROT_EN:0' "$(grep -o 'PROT_EN:[01]' <<<"$text")"
case_match 'physical exponent (512e)' 'PHYSICAL BLOCK EXPONENT:3$' "$text"
case_equal 'size in bytes' $((1 << 30)) "$(grep -oE 'Total size:[0-9]+' <<<"$text" | cut -d: -f2)"

stop_ringsand
cases_end
