#!/usr/bin/env bash
# Two hosts share a LUN as oVirt's do. A volume group: one host, the SPM, creates and extends volumes, the other
# writes to them and refreshes; the command lines and LVM's settings are vdsm's. Leases of sanlock: what one
# host has the other is refused, both outlive a kill of the target, and what a host held whose power fails
# goes to the other one.
. "$(dirname "$0")/lib.sh"
need_guests

guest_start a 640
guest_start b 640
serve <<C
target "$iqn" { lun 0 { image = "$dir/a.img" size = 12G } }
C
for host in a b; do
	guest_wait "$host"
	case_run "$host: multipathd" start_multipathd "$host" "$ovirt_multipath_conf"
	case_run "$host: login" login "$host"
done
map=$(map_of a)
case_equal 'both hosts know the LUN by one name' "$map" "$(map_of b)"

# --- a volume group ------------------------------------------------------------------------------------

vg=8f5c1d5e-36a7-4a19-9b0e-2b6a7a1f3c11
disk=/dev/$vg/disk
mib=$((1 << 20))

for host in a b; do
	on "$host" "cat >/run/vdsm-lvm <<'S'
#!/bin/bash
command=\$1
shift
exec lvm \"\$command\" --config 'devices { preferred_names=[\"^/dev/mapper/\"] ignore_suspended_devices=1
write_cache_state=0 disable_after_error_count=3 filter=[\"a|^/dev/mapper/$map\$|\", \"r|.*|\"] hints=\"none\"
obtain_device_list_from_udev=0 } global { prioritise_write_locks=1 wait_for_locks=1 use_lvmpolld=1 }
backup { retain_min=50 retain_days=0 }' \"\$@\"
S
	chmod 755 /run/vdsm-lvm"
done

# lvm_on HOST COMMAND ARGUMENT...
lvm_on() {
	on "$1" "/run/vdsm-lvm $(printf '%q ' "${@:2}")"
}

create_volume() {
	lvm_on a lvcreate --autobackup n --size "$2m" --wipesignatures n --addtag RINGSAN_TEST --name "$1" "$vg" &&
		lvm_on a lvchange --autobackup n --activate n "$vg/$1"
}

case_run 'a: pvcreate' lvm_on a pvcreate --metadatasize 128m --metadatacopies 2 --metadataignore y "/dev/mapper/$map"
case_run 'a: pvchange' lvm_on a pvchange --metadataignore n "/dev/mapper/$map"
case_run 'a: vgcreate' lvm_on a vgcreate --physicalextentsize 128m $vg "/dev/mapper/$map"
for volume in ids:128 leases:2048 disk:128; do
	case_run "a: lvcreate ${volume%:*}" create_volume "${volume%:*}" "${volume#*:}"
done
case_equal 'b sees the volumes' 'disk|134217728 ids|134217728 leases|2147483648' \
	"$(lvm_on b lvs --noheadings --units b --nosuffix --separator '|' -o name,size $vg | tr -d ' ' | sort | paste -sd ' ')"
case_run 'b activates the disk' lvm_on b lvchange --autobackup n --activate y $vg/disk

# All the while one job on b writes and verifies, and another reads the group's metadata, which may be torn
# when the SPM writes it; vdsm then tries four times more.
limit=1500 spawn b writer "while [ ! -e /run/enough ]; do
		fio --name=writer --filename=$disk --size=8M --rw=randwrite --bs=16k --rate=1m --direct=1 --ioengine=libaio \
			--iodepth=4 --verify=crc32c --verify_fatal=1 --do_verify=1 --minimal || exit
	done"
limit=1500 spawn b reader "reads=0 torn=0
	while [ ! -e /run/enough ]; do
		for delay in 0.1 0.2 0.4 0.8 -; do
			/run/vdsm-lvm lvs -o name,size $vg >/run/lvs.output 2>&1 && break
			[ \$delay != - ] || exit 1
			torn=\$((torn + 1))
			sleep \$delay
		done
		reads=\$((reads + 1))
		sleep 1
	done
	echo \"\$reads reads of metadata, \$torn of them again\""

# One MiB that says at which it is.
mark() {
	printf "head -c $mib /dev/zero | tr '\\\\0' '\\\\%03o'" "$1"
}

write_mark() {
	on "$1" "$(mark "$2") | dd of=$disk bs=1M seek=$2 iflag=fullblock oflag=direct conv=notrunc 2>&1"
}

verify_mark() {
	on "$1" "cmp <($(mark "$2")) <(dd if=$disk bs=1M skip=$2 count=1 iflag=direct 2>/dev/null)"
}

# A disk that grows under its machine: the writer is at the end, the SPM extends, the other refreshes.
grow_ms_max=0
for extents in 2 3 4; do
	end=$((128 * (extents - 1)))
	case_refused "b does not write beyond $end MiB" write_mark b $end
	begin=${EPOCHREALTIME/./}
	case_run "a extends to $((128 * extents)) MiB" lvm_on a lvextend --autobackup n --size $((128 * extents))m $vg/disk
	case_run 'b refreshes' lvm_on b lvchange --refresh $vg/disk
	grow_ms=$(((${EPOCHREALTIME/./} - begin) / 1000))
	[ $grow_ms -le $grow_ms_max ] || grow_ms_max=$grow_ms
	case_run "b writes beyond $end MiB" write_mark b $end
done
echo "time: lvextend on one host and lvchange --refresh on the other took $grow_ms_max ms at most"
on b 'touch /run/enough'
case_run 'what b wrote all the while verifies' join b writer
case_run 'b read the metadata all the while' join b reader
join b reader
case_run 'a activates the disk' lvm_on a lvchange --autobackup n --activate y $vg/disk
for extents in 2 3 4; do
	case_run "a reads what b wrote at $((128 * (extents - 1))) MiB" verify_mark a $((128 * (extents - 1)))
done
for host in a b; do
	case_run "$host deactivates the disk" lvm_on "$host" lvchange --autobackup n --activate n $vg/disk
done

# --- leases -----------------------------------------------------------------------------------------------

# oVirt takes 10 s. A host's lease ends 8 times that after it was renewed, and its processes are dead another
# 60 s later, by a watchdog (sanlock(8), "Expiration").
io_timeout_s=5
lease_s=$((8 * io_timeout_s))
resource=$vg:SDM:/dev/$vg/leases:$mib

for host in a b; do
	case_run "$host activates ids and leases" lvm_on "$host" lvchange --autobackup n --activate y $vg/ids $vg/leases
	on "$host" "sanlock daemon -w 0 -h 0 -U root -G root -e host-$host"
done
case_on 'a: the lockspace is made' a "sanlock direct init -s $vg:0:/dev/$vg/ids:0 -o $io_timeout_s"
case_on 'a: the resource is made' a "sanlock direct init -r $resource"
number=0
for host in a b; do
	number=$((number + 1))
	limit=200 spawn "$host" join "sanlock client add_lockspace -s $vg:$number:/dev/$vg/ids:0 -o $io_timeout_s"
done
for host in a b; do
	case_run "$host joins the lockspace" join "$host" join
done

# hold HOST: a process that lives as long as the host has the lease. sanlock begins it then, and meanwhile
# waits as long as need be.
hold() {
	limit=1200 spawn "$1" holder "until sanlock client command -r $resource -c /usr/bin/bash -c 'echo \$\$ >/run/held; exec sleep 900'; do
			sleep 1
		done"
}

has_lease() {
	on "$1" "kill -0 \$(cat /run/held)"
}

until_lease() {
	limit=$2 on "$1" "until [ -s /run/held ] && kill -0 \$(cat /run/held); do sleep 0.5; done"
}

# renews HOST NUMBER: HOST sees the other one, of that number, renew twice.
renews() {
	limit=$((4 * lease_s)) on "$1" "seen() { sanlock client host_status | awk '\$1 == $2 { print \$3 }'; }
		for ((renewals = 0; renewals < 2; renewals++)); do
			was=\$(seen)
			while [ \"\$(seen)\" = \"\$was\" ]; do sleep 0.5; done
		done"
}

hold a
case_run 'a has the lease' until_lease a 60
case_refused 'b is refused it' on b "sanlock client command -r $resource -c /usr/bin/true"
if is_ours; then
	kill -KILL "${daemon[$server]}"
	wait "${daemon[$server]}" 2>/dev/null
	unset "daemon[$server]"
	start_or_end
	case_run 'the target killed and started: b sees a renew its lease' renews b 1
	case_run 'and a sees b' renews a 2
	case_run 'a has the lease still' has_lease a
	case_refused 'and b has not' on b "sanlock client command -r $resource -c /usr/bin/true"
	for host in a b; do
		on "$host" 'grep -E "timeout|error|fail|long" /var/log/sanlock.log | tail -n 5'
	done
fi

guest_kill a
begin=$SECONDS
hold b
case_run "b has the lease after a's power failed" until_lease b 600
takeover_s=$((SECONDS - begin))
echo "time: the lease of a host without power came to the other after $takeover_s s"
case_equal 'and not before that had to end it' yes "$([ $takeover_s -gt $lease_s ] && echo yes || echo "$takeover_s s")"
case_on 'b writes under its lease' b "/run/vdsm-lvm lvchange --autobackup n --activate y $vg/disk &&
	dd if=/dev/zero of=$disk bs=1M count=4 oflag=direct"
case_equal 'b has seen no error of the disk' '' "$(on b "dmesg | grep -E 'I/O error|critical|Buffer I/O'")"

stop_ringsand
cases_end
