#!/usr/bin/env bash
# A disk that does not answer for a minute and more: the kernel aborts the commands, resets the LUN and asks
# whether it is ready, which the target answers all the while; the disk beside it, in the same session, is
# unharmed; and when the backend answers again the disk works, and what is then written verifies.
. "$(dirname "$0")/lib.sh"
need_guests
is_ours || {
	skip '07_stuck' 'it makes a backend slow, so it wants a target of its own'
	cases_end
}

control=$dir/control
: >"$control"
guest_start a
serve <<C
target "$iqn" {
	lun 0 { type = fault image = "$dir/a.img" size = 64M fault-control = "$control" }
	lun 1 { image = "$dir/b.img" size = 64M }
}
C
guest_wait a
case_run 'login' login a
stuck=$(disk_of a 0) healthy=$(disk_of a 1)
# The kernel's times, shortened as an administrator may: aborts after 5 s in place of 30.
case_on 'shorter times' a "echo 5 >/sys/block/${stuck##*/}/device/timeout
	echo 5 >/sys/block/${stuck##*/}/device/eh_timeout"
delay_ms=60000

# --- stuck -------------------------------------------------------------------------------------------

echo "delay write $delay_ms count 4" >"$control"
limit=400 spawn a writer "dd if=/dev/zero of=$stuck bs=64k count=4 oflag=direct"
neighbour="fio --name=neighbour --filename=$healthy --size=4M --rw=randwrite --bs=16k --direct=1 \
	--ioengine=libaio --iodepth=4 --verify=crc32c --verify_fatal=1 --do_verify=1 --minimal --time_based --runtime=40"
limit=300 case_on 'the disk beside it is written and verified meanwhile' a "$neighbour"
# Function 1 of RFC 7143 11.5.1. A host without an answer would drop the session, which is looked at below.
case_match 'the host has aborted' 'task management function 1 on' "$(log_since 0)"
: >"$control"
limit=400 join a writer >/dev/null
writer_status=$?
# A host may give up (EIO) or its retries may get through; both are its right. What it may not is hang.
case_equal 'the writer has an answer in time' yes "$([ "$writer_status" -lt 124 ] && echo yes || echo "$writer_status")"
echo "the writer ended with $writer_status"

# --- and after ---------------------------------------------------------------------------------------

case_equal 'the session is there' 1 "$(on a 'iscsiadm -m session' | grep -c "$target")"
on a "grep -qx running /sys/block/${stuck##*/}/device/state || echo running >/sys/block/${stuck##*/}/device/state"
limit=200 case_on 'the disk works again, data verifies' a "fio --name=after --filename=$stuck --size=4M --rw=randwrite \
	--bs=16k --direct=1 --ioengine=libaio --iodepth=4 --verify=crc32c --verify_fatal=1 --do_verify=1 --minimal"
limit=60 case_on 'and the one beside it' a "dd if=$healthy of=/dev/null bs=1M count=4 iflag=direct"
on a "dmesg | grep -iE 'abort|reset|error|conn' | tail -n 15"
case_equal 'no connection was lost' '' "$(on a "dmesg | grep -E 'detected conn error|connection[0-9:]+ (ping|nop)'")"
case_run 'logout' logout a

stop_ringsand
cases_end
