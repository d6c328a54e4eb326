#!/usr/bin/env bash
# Two portal groups as two paths of one disk, by dm-multipath with the settings that README.md asks of an
# administrator. While the host writes and verifies without a pause, a path is cut (packets dropped, then
# rejected), its access state changes, and the target is killed: no error reaches the host, the other path
# takes over, and the preferred one has the writes again when it is back.
. "$(dirname "$0")/lib.sh"
need_guests
is_ours || {
	skip '06_multipath' 'it wants a target with two portal groups of its own'
	cases_end
}

# said_by_readme FILE: the first indented block after the file's name.
said_by_readme() {
	awk -v name="$1" 'index($0, name) { found = 1 } found && /^    / { print; seen = 1; next } seen { exit }' \
		"$guest_folder/README.md"
}

guest_start a
second=$(free_port)
serve "portal \"127.0.0.1:$second\" { tag = 2 advertise = \"10.0.2.2\" }" <<C
target "$iqn" {
	non-optimized-groups = { 2 }
	lun 0 { image = "$dir/a.img" size = 64M }
}
C
guest_wait a

# --- two paths -----------------------------------------------------------------------------------------

discover a >/dev/null
while read -r name _ value; do
	on a "iscsiadm $node -o update -n '$name' -v '$value'"
done < <(said_by_readme /etc/iscsi/iscsid.conf | grep -v startup)
# As README.md says for hosts with multipath.
on a "iscsiadm $node -o update -n node.session.timeo.replacement_timeout -v 5"
on a "cat >/etc/multipath.conf <<'M'
$(said_by_readme /etc/multipath.conf)
M
	modprobe dm-multipath && modprobe scsi_dh_alua && (setsid multipathd -d >/run/multipathd.log 2>&1 &)"
case_on 'login through both portals' a "iscsiadm $node --login"

# path PORT: sdX.
path() {
	on a "for ((tries = 0; tries < 300; tries++)); do
			link=/dev/disk/by-path/ip-10.0.2.2:$1-iscsi-$target-lun-0
			[ -e \$link ] && exec basename \$(readlink -f \$link)
			sleep 0.1
		done
		exit 1"
}
first_path=$(path "${port[$server]}") second_path=$(path "$second")

# until_on SCRIPT: within three minutes it is true.
until_on() {
	limit=200 on a "for ((tries = 0; tries < 900; tries++)); do
			if $1; then exit 0; fi
			sleep 0.2
		done
		multipath -ll
		exit 1"
}

wwid=$(on a "/lib/udev/scsi_id -g -u -d /dev/$first_path")
map=/dev/mapper/$wwid
case_run 'the map is there' until_on "[ -b $map ]"
# state PATH-DEVICE WORDS: of the kernel and of the checker (active ready).
state_is() {
	until_on "multipathd show paths raw format '%d %t %T' | grep -q '^$1 $2'"
}
case_run 'the first path is ready' state_is "$first_path" 'active ready'
case_run 'the second, too' state_is "$second_path" 'active ready'
on a 'multipath -ll'
priority() {
	on a "multipathd show paths raw format '%d %p' | awk '\$1 == \"$1\" { print \$2 }'"
}
case_equal 'priority of active/optimized' 50 "$(priority "$first_path")"
case_equal 'priority of active/non-optimized' 10 "$(priority "$second_path")"

# --- a writer that never stops -----------------------------------------------------------------------------

limit=1000 spawn a writer "until [ -e /run/enough ]; do
		fio --name=paths --filename=$map --size=8M --rw=randwrite --bs=16k --direct=1 --ioengine=libaio --iodepth=4 \
			--rate=4m --verify=crc32c --verify_fatal=1 --do_verify=1 --randrepeat=0 --minimal >/run/fio.one || exit
		cat /run/fio.one >>/run/fio.all
	done"

# longest: the longest read or write since the last question, in ms (fio(1), "TERSE OUTPUT"). Asked after two
# whole rounds, so that what happened is in one of them.
longest() {
	until_on "[ \$(wc -l </run/fio.all) -ge \$(($(on a 'wc -l </run/fio.all') + 2)) ]"
	on a "awk -F ';' '{ if (\$15 > most) most = \$15; if (\$56 > most) most = \$56 } END { printf \"%d\", most / 1000 }' \
		/run/fio.all; : >/run/fio.all"
}

# uses PATH: from now on it is written through it.
uses() {
	until_on "was=\${was-\$(awk '{ print \$7 }' /sys/block/$1/stat)}
		[ \$(awk '{ print \$7 }' /sys/block/$1/stat) -gt \$((was + 2000)) ]"
}

goes_on() {
	case_run "$1: the host still writes" is_running a writer
	echo "time: $1: its longest read or write took $(longest) ms"
	case_equal "$1: no error of the map" '' "$(on a "dmesg | grep -E 'error.*dm-|dm-.*error'")"
}

on a ': >/run/fio.all'
case_run 'the better path is written through' uses "$first_path"

# --- a path is cut -------------------------------------------------------------------------------------------

nft_cut() {
	on a "nft add table ip cut && nft add chain ip cut out '{ type filter hook output priority 0; }' &&
		nft add rule ip cut out tcp dport ${port[$server]} $1"
}

for how in drop 'reject with tcp reset'; do
	name=${how%% *}
	case_run "$name: the first path is cut" nft_cut "$how"
	case_run "$name: multipathd knows" state_is "$first_path" 'failed faulty'
	case_run "$name: the second path is written through" uses "$second_path"
	case_on "$name: the first path is mended" a 'nft delete table ip cut'
	case_run "$name: it is ready again" state_is "$first_path" 'active ready'
	case_run "$name: and written through" uses "$first_path"
	goes_on "$name"
done

# --- its access state changes -----------------------------------------------------------------------------------

case_run 'ALUA: the second becomes optimized' control alua set "$iqn" 2 optimized
case_run 'ALUA: the first goes standby' control alua set "$iqn" 1 standby
case_run 'ALUA: the second is written through' uses "$second_path"
case_run 'ALUA: multipathd calls the first a ghost' state_is "$first_path" 'active ghost'
case_run 'ALUA: the first is back' control alua set "$iqn" 1 optimized
case_run 'ALUA: the second is the lesser again' control alua set "$iqn" 2 non-optimized
case_run 'ALUA: the first is written through' uses "$first_path"
goes_on 'ALUA'

# --- both are gone for a while ------------------------------------------------------------------------------------

kill -KILL "${daemon[$server]}"
wait "${daemon[$server]}" 2>/dev/null
unset "daemon[$server]"
case_run 'killed: the first path is gone' state_is "$first_path" 'failed faulty'
case_run 'killed: the second, too' state_is "$second_path" 'failed faulty'
start_or_end
case_run 'killed: the first is ready again' state_is "$first_path" 'active ready'
case_run 'killed: and written through' uses "$first_path"
goes_on 'killed'

on a 'touch /run/enough'
output=$(limit=300 join a writer 2>&1)
case_equal 'the writer has seen no error, all its data verified' 0 $?
[ -z "$output" ] || printf '%s\n' "$output" | tail -n 20
case_on 'the map goes' a 'multipath -F'
case_on 'logout' a "iscsiadm $node --logout"
stop_ringsand
cases_end
