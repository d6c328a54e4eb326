#!/usr/bin/env bash
# Two hosts and persistent reservations by sg_persist: register, reserve, conflicts seen, preempt, preempt
# and abort, clear; a host that writes is fenced amid it; registrations made with APTPL survive a target
# that is killed.
. "$(dirname "$0")/lib.sh"
need_guests

guest_start a
guest_start b
serve <<C
target "$iqn" { lun 0 { image = "$dir/a.img" size = 64M } }
C
declare -A disk=()
for host in a b; do
	guest_wait "$host"
	case_run "$host: login" login "$host"
	disk[$host]=$(disk_of "$host")
done

key_a=0xa1 key_b=0xb2
# Write exclusive, registrants only: what fence_scsi and clusters take.
registrants_only=5
# sg_persist's status for RESERVATION CONFLICT (sg3_utils(8), "EXIT STATUS").
conflict=24

# pr_out HOST ARGUMENTS
pr_out() {
	on "$1" "sg_persist --out $2 ${disk[$1]}"
}

# pr_in HOST SERVICE-ACTION: once more after a unit attention (status 6), by which a host learns that it was
# preempted (SPC-4 5.13.11.2.4).
pr_in() {
	on "$1" "sg_persist --in $2 ${disk[$1]} || [ \$? -ne 6 ] || sg_persist --in $2 ${disk[$1]}"
}

keys() {
	pr_in "$1" --read-keys | grep -oE '^ +0x[0-9a-f]+' | tr -d ' ' | sort | tr '\n' ' '
}

holder() {
	pr_in "$1" --read-reservation | sed -n 's/^ *Key=\(0x[0-9a-f]*\).*/\1/p'
}

writes() {
	on "$1" "dd if=/dev/zero of=${disk[$1]} bs=4k count=1 oflag=direct 2>&1"
}

# --- register and reserve ------------------------------------------------------------------------------

case_run 'a registers' pr_out a "--register --param-sark=$key_a"
case_run 'b registers' pr_out b "--register --param-sark=$key_b"
case_equal 'both keys are seen by b' "$key_a $key_b " "$(keys b)"
case_run 'a reserves' pr_out a "--reserve --param-rk=$key_a --prout-type=$registrants_only"
case_equal 'b sees the holder' $key_a "$(holder b)"
case_run 'a writes' writes a
case_run 'b, registered, writes' writes b
case_run 'b takes its key back' pr_out b "--register --param-rk=$key_b --param-sark=0"
case_refused 'b, no longer registered, does not write' writes b
case_on 'but it reads' b "dd if=${disk[b]} of=/dev/null bs=4k count=1 iflag=direct"
pr_out b "--reserve --param-rk=$key_b --prout-type=$registrants_only" >/dev/null 2>&1
case_equal 'nor does it reserve' $conflict $?

# --- preempt -------------------------------------------------------------------------------------------

case_run 'b registers again' pr_out b "--register --param-sark=$key_b"
case_run 'b preempts a' pr_out b "--preempt --param-rk=$key_b --param-sark=$key_a --prout-type=$registrants_only"
case_equal "a's key is gone" "$key_b " "$(keys a)"
case_equal 'b is the holder' $key_b "$(holder a)"
case_refused 'a does not write' writes a

# --- a host that writes is fenced ------------------------------------------------------------------------

case_run 'a registers again' pr_out a "--register --param-sark=$key_a"
limit=200 spawn a writer "while dd if=/dev/zero of=${disk[a]} bs=64k count=16 oflag=direct 2>/dev/null; do
		echo x
	done
	dmesg | grep -i 'reservation conflict' | tail -n 1"
on a 'until [ -s /run/job-writer.output ]; do sleep 0.1; done'
case_run 'b preempts and aborts a, which writes' pr_out b \
	"--preempt-abort --param-rk=$key_b --param-sark=$key_a --prout-type=$registrants_only"
case_on 'b marks the disk' b "tr '\\0' b </dev/zero | dd of=${disk[b]} bs=64k count=16 iflag=fullblock oflag=direct"
case_match 'the writer of a has ended with a conflict' 'reservation conflict' "$(limit=100 join a writer)"
case_on "nothing of a's came after b's mark" b \
	"cmp -n 1048576 ${disk[b]} <(tr '\\0' b </dev/zero)"

# --- clear, APTPL over a kill ----------------------------------------------------------------------------

case_run 'b clears' pr_out b "--clear --param-rk=$key_b"
case_equal 'no key is left' '' "$(keys a)"
case_equal 'no reservation is left' '' "$(holder a)"
case_run 'a writes after that' writes a
for host in a b; do
	key=key_$host
	case_run "$host registers with APTPL" pr_out "$host" "--register --param-sark=${!key} --param-aptpl"
done
case_run 'a reserves' pr_out a "--reserve --param-rk=$key_a --prout-type=$registrants_only"
if is_ours; then
	kill -KILL "${daemon[$server]}"
	wait "${daemon[$server]}" 2>/dev/null
	unset "daemon[$server]"
	start_or_end
	case_equal 'both keys after a kill' "$key_a $key_b " "$(keys b)"
	case_equal 'and the holder' $key_a "$(holder b)"
	case_run 'a writes' writes a
fi
case_run 'a clears' pr_out a "--clear --param-rk=$key_a"
for host in a b; do
	case_run "$host: logout" logout "$host"
done

stop_ringsand
cases_end
