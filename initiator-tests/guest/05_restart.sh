#!/usr/bin/env bash
# The target goes away while a host writes: killed, and stopped in order with an Async Message before, where a
# supervisor keeps the listening sockets as systemd does, and where nobody does. Each time it comes back, the
# writes go on without an error, all data verifies, and the pause that the host saw (the longest write) is printed.
. "$(dirname "$0")/lib.sh"
need_guests
is_ours || {
	skip '05_restart' 'it ends the target, so it wants one of its own'
	cases_end
}

guest_start a
supervise || fail 'the supervisor' 'it does not start'
serve <<C
target "$iqn" { lun 0 { image = "$dir/a.img" size = 256M } }
C
guest_wait a
case_run 'login' login a
disk=$(disk_of a)

# 24 MiB at random in 16 KiB, slowly; then read and compared. Terse output: its 56th field is the longest
# completion of a write in microseconds (fio(1), "TERSE OUTPUT").
job="fio --name=restart --filename=$disk --size=24M --rw=randwrite --bs=16k --direct=1 --ioengine=libaio \
	--iodepth=8 --rate=2m --verify=crc32c --verify_fatal=1 --do_verify=1 --minimal"

# until_written BYTES: the writer has got that far, by the guest's own count.
until_written() {
	on a "for ((tries = 0; tries < 300; tries++)); do
			read -r _ _ _ _ _ _ sectors _ </sys/block/${disk##*/}/stat
			[ \$((sectors - ${sectors_before:-0})) -ge $(($1 / 512)) ] && exit 0
			sleep 0.1
		done
		exit 1"
}

# round NAME END: the daemon is ended by END while a job writes, and started again.
round() {
	local output status=0 pause
	sectors_before=$(on a "awk '{ print \$7 }' /sys/block/${disk##*/}/stat")
	limit=400 spawn a writer "$job"
	case_run "$1: the host writes" until_written $((2 << 20))
	"$2"
	start_or_end
	case_run "$1: it still does when the target is there again" is_running a writer
	output=$(limit=400 join a writer 2>&1) || status=$?
	case_equal "$1: writes go on without an error, data verifies" 0 "$status"
	[ "$status" -eq 0 ] || printf '%s\n' "$output" | tail -n 20
	pause=$(cut -d ';' -f 56 <<<"$output" | grep -E '^[0-9]+$' | head -n 1)
	echo "time: $1: the host's longest write took $((${pause:-0} / 1000)) ms"
	case_equal "$1: the kernel has reported no error of the disk" '' \
		"$(on a "dmesg | grep -E 'I/O error|critical|recovery timed out'")"
}

killed() {
	kill -KILL "${daemon[$server]}"
	wait "${daemon[$server]}" 2>/dev/null
	unset "daemon[$server]"
}

round 'killed' killed
mark=$(on a 'wc -c </run/iscsid.log')
round 'stopped in order' stop_ringsand
# Event 3 of RFC 7143 11.9.1, as iscsid words it.
case_match 'the host was told of the end' '[Tt]arget dropping all connections' "$(on a "tail -c +$((mark + 1)) /run/iscsid.log")"
kill "$supervisor_pid"
wait "$supervisor_pid" 2>/dev/null
supervisor_pid='' launch=()
round 'stopped in order, nobody keeps the sockets' stop_ringsand
case_run 'logout' logout a

stop_ringsand
cases_end
