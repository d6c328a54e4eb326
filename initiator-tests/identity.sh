#!/usr/bin/env bash
# The identity of a LUN (VPD 83 and 80) is made once and kept: over restarts, over a reordered file,
# over a lost state-dir; two servers never make the same one; a copied image has its twin taken
# offline, not both.
# One engine is enough: nothing here depends on which.
. "$(dirname "$0")/lib.sh"

# naa LUN: the first designator of VPD 83, sixteen bytes in hexadecimal; serial LUN: VPD 80.
naa() {
	raw_command "$(url "$1")" 12018300ff00 in=255 | sed -n '2s/^.\{16\}\(.\{32\}\).*/\1/p'
}

serial() {
	raw_command "$(url "$1")" 12018000ff00 in=255 | sed -n '2s/^.\{8\}//p'
}

two_luns() {
	configure <<C
target "$iqn" {
	lun $1 { image = "$dir/$server/x.img" size = 64M }
	lun $2 { image = "$dir/$server/y.img" size = 64M }
}
C
}

two_luns 0 1
start_or_end
x=$(naa 0) y=$(naa 1) x_serial=$(serial 0)
case_match 'an identity is NAA 6 with the company id' '^652534e[0-9a-f]{25}$' "$x"
case_equal 'two LUNs have two' different "$([ "$x" != "$y" ] && echo different || echo "$x")"
case_equal 'two serials, too' different "$([ "$x_serial" != "$(serial 1)" ] && echo different)"

server=b
two_luns 0 1
start_or_end
case_equal 'a second server with the same text has others' different \
	"$([ "$(naa 0)" != "$x" ] && [ "$(naa 0)" != "$y" ] && [ "$(naa 1)" != "$y" ] && echo different)"
stop_ringsand
server=a

restart_ringsand
case_equal 'kept over a restart' "$x $y $x_serial" "$(naa 0) $(naa 1) $(serial 0)"

stop_ringsand
two_luns 7 3
start_ringsand
case_equal 'kept under other numbers' "$x $y $x_serial" "$(naa 7) $(naa 3) $(serial 7)"

stop_ringsand
rm -rf "${dir:?}/a/state"
two_luns 0 1
start_ringsand
case_equal 'kept without the state-dir, by the image itself' "$x $y $x_serial" \
	"$(naa 0) $(naa 1) $(serial 0)"

case_match 'by an attribute of it' '^user\.ringsan' "$(getfattr --absolute-names -m - "$dir/a/x.img" 2>/dev/null)"

# A disk without an image is known by the state-dir.
stop_ringsand
configure <<C
target "$iqn" { lun 0 { type = null size = 1G } }
C
start_ringsand
null=$(naa 0)
restart_ringsand
case_equal 'a disk without an image keeps its identity, too' "$null" "$(naa 0)"

# A copy, attributes and all, beside its original.
stop_ringsand
cp --preserve=xattr --sparse=always "$dir/a/y.img" "$dir/a/z.img"
configure <<C
target "$iqn" {
	lun 1 { image = "$dir/a/y.img" }
	lun 2 { image = "$dir/a/z.img" }
}
C
mark=$(log_mark)
start_ringsand
case_equal 'the original keeps its identity' "$y" "$(naa 1)"
case_run 'and serves' qemu_io 1 'read 0 512'
case_equal 'its copy is NOT READY, not gone' 'status=02 sense=02/04/03 residual=0' \
	"$(raw_command "$(url 2)" 000000000000 2>&1 | head -n 1)"
case_match 'and the log says so, with both names' 'identity.*(y\.img|z\.img|lun [12])' "$(log_since "$mark")"

stop_ringsand
configure <<C
target "$iqn" {
	lun 1 { image = "$dir/a/y.img" }
	lun 2 { image = "$dir/a/z.img" identity = "naa.652534e0123456789abcdef012345678" serial = "COPY" }
}
C
start_ringsand
case_equal 'an identity in the configuration goes first' 652534e0123456789abcdef012345678 "$(naa 2)"
case_run 'and the copy serves' qemu_io 2 'read 0 512'

stop_ringsand
cases_end
