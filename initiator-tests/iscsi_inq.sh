#!/usr/bin/env bash
# What a LUN says of itself, as iscsi-inq understands it. Byte by byte: golden.sh.
. "$(dirname "$0")/lib.sh"

configure <<C
target "$iqn" {
	lun 0 { image = "$dir/a.img" size = 1G serial = "RACK7-SLOT3" vendor = "ACME" product = "Disk of ours" revision = "2.1" }
	lun 2 { image = "$dir/b.img" size = 1G read-only = no write-cache = off }
}
C
start_or_end

text=$(limited iscsi-inq "$(url 2)")
case_match 'a connected disk' '^Peripheral Qualifier:CONNECTED$' "$text"
case_match 'of type direct access' '^Peripheral Device Type:DIRECT_ACCESS$' "$text"
case_match 'SPC-4 or later' '^Version:[67] ' "$text"
case_match 'hierarchical LUNs' '^HiSup:1$' "$text"
case_match 'response data format 2' '^ReponseDataFormat:2$' "$text"
case_match 'command queuing' '^CmdQue:1$' "$text"
case_match 'default vendor' '^Vendor:RINGSAN *$' "$text"
case_match 'default product' '^Product:VIRTUAL-DISK *$' "$text"

text=$(limited iscsi-inq "$(url)")
case_match 'configured vendor' '^Vendor:ACME *$' "$text"
case_match 'configured product' '^Product:Disk of ours *$' "$text"
case_match 'configured revision' '^Revision:2.1 *$' "$text"
case_match 'configured serial' '\[ *RACK7-SLOT3 *\]' "$(limited iscsi-inq -e 1 -c 128 "$(url)")"
case_match 'designators of the LUN' 'Designator Type:\(3\) NAA' "$(limited iscsi-inq -e 1 -c 131 "$(url)")"

stop_ringsand
cases_end
