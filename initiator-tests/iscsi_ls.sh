#!/usr/bin/env bash
# Discovery with iscsi-ls: every target and LUN is listed once, at the address the initiator came to.
. "$(dirname "$0")/lib.sh"

second=iqn.2026-11.io.ringsan:second
configure <<C
target "$iqn" {
	lun 0 { image = "$dir/a.img" size = 64M }
	lun 3 { image = "$dir/b.img" size = 1G }
}
target "$second" { lun 0 { type = null size = 10G } }
C
start_or_end

here=127.0.0.1:${port[$server]}
listing=$(limited iscsi-ls "iscsi://$here")
case_equal 'exit status of iscsi-ls' 0 $?
case_equal 'both targets with their portal, and no more' \
	"Target:$second Portal:$here,1
Target:$iqn Portal:$here,1" "$(sort <<<"$listing")"

# iscsi-ls prints the last block's address in the unit, rounded down.
luns=$(limited iscsi-ls -s "iscsi://$here" | sed 's/ *$//')
case_match 'LUN 0 of the first target' '^Lun:0 +Type:DIRECT_ACCESS \(Size:63M\)$' "$luns"
case_match 'LUN 3, after a gap in the numbers' '^Lun:3 +Type:DIRECT_ACCESS \(Size:1023M\)$' "$luns"
case_match 'LUN of the second target' '^Lun:0 +Type:DIRECT_ACCESS \(Size:9G\)$' "$luns"
case_equal 'three LUNs altogether' 3 "$(grep -c '^Lun:' <<<"$luns")"

stop_ringsand
cases_end
