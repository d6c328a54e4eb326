#!/usr/bin/env bash
# A dissector that is not ours looks at everything a session of conformance tests and one of QEMU
# send: nothing malformed, nothing that its iSCSI and SCSI parts call unexpected.
. "$(dirname "$0")/lib.sh"

configure <<C
target "$iqn" { lun 0 { image = "$dir/a.img" size = 64M } }
C
start_or_end

capture=$dir/capture.pcap
# The buffer is large since a capture that drops packets looks like a malformed stream.
dumpcap -q -i lo -B 64 -f "tcp port ${port[$server]}" -w "$capture" >"$dir/dumpcap.log" 2>&1 &
dumper=$!
for ((tries = 0; tries < 50; tries++)); do
	[ -s "$capture" ] && break
	kill -0 "$dumper" 2>/dev/null || break
	sleep 0.1
done
if ! kill -0 "$dumper" 2>/dev/null; then
	skip 'a captured session' "this user may not capture on lo: $(tail -n 1 "$dir/dumpcap.log")"
	stop_ringsand
	cases_end
fi

qemu_io 0 'write -P 1 0 1M' 'read -P 1 0 1M' 'discard 0 64k' flush >/dev/null
for test in Read10.Simple Write16.Simple Inquiry.EVPD ModeSense6.AllPages Unmap.Simple \
	ReadCapacity16.Simple iSCSIResiduals.Read10Residuals iSCSITMF.AbortTaskSimpleAsync \
	ReportSupportedOpcodes.Simple TestUnitReady.Simple WriteSame16.Unmap; do
	limit=20 limited iscsi-test-cu -d -s --test="ALL.$test" "$(url)" >/dev/null 2>&1
done
limited iscsi-ls -s "iscsi://127.0.0.1:${port[$server]}" >/dev/null
raw_command "$(url)" ff0000000000 >/dev/null
limited python3 -c "
import sys
sys.path.insert(0, 'initiator-tests')
import initiator
session = initiator.open_url('$(url)')
session.nop()
session.logout()"
sleep 0.5
kill -INT "$dumper"
wait "$dumper"

# fields FILTER FIELD...: of the packets that the filter lets through.
fields() {
	local filter=$1 field arguments=()
	shift
	for field; do
		arguments+=(-e "$field")
	done
	tshark -n -r "$capture" -d "tcp.port==${port[$server]},iscsi" -o tcp.desegment_tcp_streams:TRUE \
		-Y "$filter" -T fields "${arguments[@]}" 2>/dev/null
}

answers="tcp.srcport==${port[$server]}"
case_match 'packets were captured' '^[0-9]{3,}$' "$(fields "$answers && iscsi" frame.number | wc -l)"
for opcode in 0x20 0x21 0x22 0x23 0x24 0x25 0x26 0x31; do
	case_match "the capture has PDUs with opcode $opcode" . "$(fields "$answers && iscsi.opcode==$opcode" frame.number)"
done
# QEMU asks for 64 bytes of each VPD page first; the dissector reads past what it asked for.
cut='(iscsi.opcode == 0x25 && iscsi.datasegmentlength == 64)'
case_equal 'nothing malformed' '' \
	"$(fields "_ws.malformed && !$cut" frame.number _ws.expert.message | head -n 5)"
case_equal 'nothing unexpected to the iSCSI and SCSI dissectors' '' \
	"$(fields "$answers && (iscsi || scsi) && _ws.expert.severity >= 6291456 && !$cut" \
		frame.number _ws.expert.message | grep -v 'TCP\|Previous segment\|retransmission' | head -n 5)"

stop_ringsand
cases_end
