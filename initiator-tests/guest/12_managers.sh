#!/usr/bin/env bash
# What the managers of virtual machines do with a target, command by command, and what they read out of the
# answers: oVirt (vdsm 4.5: lib/vdsm/storage/{iscsi,iscsiadm,multipath,devicemapper}.py), XenServer and XCP-ng (sm:
# BaseISCSI.py, iscsilib.py, scsiutil.py), Proxmox VE (pve-storage: ISCSIPlugin.pm). Two portals, CHAP, and no LUN 0.
. "$(dirname "$0")/lib.sh"
need_guests
is_ours || {
	skip '12_managers' 'it wants a target with two portals and LUNs 1 and 5'
	cases_end
}

user=host-user secret=secret-of-host-1
printf '%s %s\n' "$user" "$secret" >"$dir/secrets"
chmod 600 "$dir/secrets"
second=$(free_port)
portals="10.0.2.2:$second"
# target_with SIZE: of LUN 1.
target_with() {
	cat <<C
portal "127.0.0.1:$second" { advertise = "10.0.2.2" }
target "$iqn" {
	lun 1 { image = "$dir/a.img" size = $1 }
	lun 5 { image = "$dir/b.img" size = 64M }
	auth { users = { "$user" } }
}
C
}
guest_start a
serve "secrets = \"$dir/secrets\"" < <(target_with 256M)
portals="$portal $portals"
guest_wait a
case_run 'multipathd' start_multipathd a "$ovirt_multipath_conf"

# fits NAME PERL-REGEX TEXT: there are lines, and each is as the manager's expression wants it.
fits() {
	case_equal "$1" '' "$([ -n "$3" ] || echo nothing; grep -vP -- "$2" <<<"$3")"
}

# set_each PREFIX COMMAND NAME VALUE...: one record after the other, as all three do.
set_each() {
	local prefix=$1 script='' command=$2
	shift 2
	while [ $# -gt 0 ]; do
		script="$script iscsiadm $command -n $prefix$1 -v '$2' --op=update || exit;"
		shift 2
	done
	on a "$script"
}

# --- oVirt --------------------------------------------------------------------------------------------

exists=15 no_objects=21 login_auth=24
discoverydb="-m discoverydb -t sendtargets -I default -p $portal"
case_on_status 'vdsm: sessions rescanned, where there are none' $no_objects a 'iscsiadm -m session -R'
case_on 'vdsm: discovery record' a "iscsiadm $discoverydb --op=new"
listed=$(on a "iscsiadm $discoverydb --discover")
case_equal 'vdsm: discovery' 0 $?
fits 'vdsm: each line is HOST:PORT,TAG NAME' '^(\[[0-9a-f:]+\]|[^\s:,]+):\d+,\d+ \S+$' "$listed"
case_equal 'vdsm: one line for each portal, none twice' "$(tr ' ' '\n' <<<"$portals" | sort)" \
	"$(cut -d , -f 1 <<<"$listed" | sort)"
case_on 'vdsm: discovery record removed' a "iscsiadm $discoverydb --op=delete"

# The record of a node is asked for with the portal group tag.
for address in $portals; do
	record="-m node -T $target -I default -p $address,1"
	case_on 'vdsm: node record' a "iscsiadm $record --op=new"
	case_run 'vdsm: a wrong secret' set_each node.session. "$record" auth.authmethod CHAP auth.username $user \
		auth.password another-secret-1
	case_on_status 'vdsm: login with it' $login_auth a "iscsiadm $record -l"
	case_run 'vdsm: the right secret' set_each node.session. "$record" auth.password $secret
	case_on 'vdsm: login' a "iscsiadm $record -l"
	case_on_status 'vdsm: login once more' $exists a "iscsiadm $record -l"
	case_on 'vdsm: startup' a "iscsiadm $record -n node.startup -v manual --op=update"
done

# rescanned NAME: as vdsm does before it lists disks; twice in a row multipathd has nothing to do.
rescanned() {
	limit=200 case_on "$1: sessions rescanned" a 'iscsiadm -m session -R && udevadm settle -t 150'
	limit=200 case_on "$1: multipathd is ready" a "ready=0
		for ((tries = 0; ready < 2 && tries < 100; tries++)); do
			multipathd show status | grep -qi 'busy: false' && ready=\$((ready + 1)) || ready=0
			sleep 0.5
		done
		[ \$ready -eq 2 ]"
}

rescanned vdsm
first=$(disk_of a 1 "$portal") other=$(disk_of a 1 "10.0.2.2:$second")
guid=$(map_of a 1)
dm=$(on a "basename \$(readlink -f /dev/mapper/$guid)")
case_match 'vdsm: GUID' '^36[0-9a-f]{31}$' "$guid"
case_equal 'vdsm: both disks are its paths' "$(printf '%s\n' "${first##*/}" "${other##*/}" | sort)" \
	"$(on a "ls /sys/block/$dm/slaves" | sort)"
case_equal 'vdsm: and both are active' '2 A' \
	"$(on a "dmsetup status --target multipath $guid" | grep -oE '[0-9]+:[0-9]+ [AF]' | cut -d ' ' -f 2 | sort | uniq -c | tr -s ' ' | sed 's/^ //')"

# serial_of DEVICE
serial_of() {
	on a "/lib/udev/scsi_id --page=0x80 --whitelisted --export --replace-whitespace --device=$1" | sed -n 's/^ID_SERIAL=//p'
}

serials=$(serial_of "/dev/$dm" && serial_of "/dev/mapper/$(map_of a 5)")
fits 'vdsm: serial numbers' '^SRINGSAN_VIRTUAL-DISK_[0-9a-f]{25}$' "$serials"
case_equal 'vdsm: of two LUNs, two' 2 "$(sort -u <<<"$serials" | wc -l)"
case_match 'vdsm: vendor, product, revision' '^RINGSAN +VIRTUAL-DISK +[^ ]+ *$' \
	"$(on a "cd /sys/block/${first##*/}/device && cat vendor model rev" | paste -sd ' ')"
case_equal 'vdsm: block sizes, that of a domain and of the disk' '512 4096' \
	"$(on a "cd /sys/block/$dm/queue && cat logical_block_size physical_block_size" | paste -sd ' ')"
case_match 'vdsm: discard_max_bytes' '^[1-9][0-9]*$' "$(on a "cat /sys/block/$dm/queue/discard_max_bytes")"
case_match 'vdsm: H:B:T:L' '^[0-9]+:0:0:1$' "$(on a "ls /sys/block/${first##*/}/device/scsi_disk")"
case_equal 'vdsm: the session that a disk belongs to' "$target default 1 $user 10.0.2.2 ${portal##*:}" \
	"$(on a "session=\$(readlink -f /sys/block/${first##*/}/device/../..) && session=\${session##*/session}
		cd /sys/class/iscsi_session/session\$session && cat targetname ifacename tpgt username &&
		cd /sys/class/iscsi_connection/connection\$session:0 && cat persistent_address persistent_port" | paste -sd ' ')"

portal_options='advertise = "10.0.2.2"' configure "secrets = \"$dir/secrets\"" < <(target_with 512M)
case_run 'LUN 1 becomes larger' control reload
rescanned 'vdsm, larger'
case_equal 'vdsm, larger: all paths have one size' "$((1 << 20)) $((1 << 20))" \
	"$(on a "cat /sys/block/$dm/slaves/*/size" | paste -sd ' ')"
case_equal 'vdsm, larger: multipathd says ok' ok "$(on a "multipathd resize map $dm")"
case_equal 'vdsm, larger: the map has that size' $((1 << 20)) "$(on a "cat /sys/block/$dm/size")"

for address in $portals; do
	record="-m node -T $target -I default -p $address,1"
	case_on 'vdsm: logout' a "iscsiadm $record -u"
	case_on_status 'vdsm: logout where there is no session' $no_objects a "iscsiadm $record -u"
	case_on 'vdsm: node record removed' a "iscsiadm $record --op=delete"
done
case_on 'vdsm: no map is left (flush_on_last_del)' a "for ((tries = 0; tries < 100; tries++)); do
		dmsetup ls --target multipath | grep -q ^36 || exit 0
		sleep 0.5
	done
	exit 1"

# --- XenServer, XCP-ng -----------------------------------------------------------------------------------

listed=$(on a "iscsiadm -m discovery -t st -p $portal -I default")
case_equal 'sm: discovery' 0 $?
fits 'sm: each line is PORTAL,TAG NAME' '^[^\s,]+:\d+,[^\s,]+ \S+$' "$listed"
fits 'sm: and so are the node records' '^[^\s,]+:\d+,[^\s,]+ \S+$' "$(on a 'iscsiadm -m node')"
timeout_s=120
for address in $portals; do
	record="-m node -p $address -T $target"
	case_run 'sm: CHAP settings' set_each node.session.auth. "$record" authmethod CHAP username $user password $secret
	case_equal 'sm: the record reads as an ini file, with a timeout' $timeout_s "$(on a "iscsiadm $record -S" | python3 -c '
import configparser, sys
parser = configparser.RawConfigParser(strict=False)
parser.read_string("[root]\n" + sys.stdin.read())
print(parser["root"]["node.session.timeo.replacement_timeout"])')"
	# It says no portal, so that all of the target's have one value.
	timeout_s=15
	case_on 'sm: the timeout for several paths' a \
		"iscsiadm -m node -T $target --op update -n node.session.timeo.replacement_timeout -v $timeout_s"
	case_on 'sm: login' a "iscsiadm $record -l"
done
sessions=$(on a 'iscsiadm -m session')
fits 'sm: the sessions' "^tcp:[^,]*,\S+ \Q$target\E( |\$)" "$sessions"
case_equal 'sm: hosts of iscsi_tcp, their targets and portals' "$(for address in $portals; do
	echo "$target $(tr ':' ' ' <<<"$address")"
done | sort)" "$(on a "for host in /sys/class/scsi_host/*; do
		grep -q iscsi_tcp \$host/proc_name || continue
		session=/sys/class/iscsi_host/\${host##*/}/device/session*
		echo \$(cat \$session/iscsi_session/session*/targetname) \$(cd \$session/connection*/iscsi_connection/connection*/ &&
			cat persistent_address persistent_port)
	done" | sort)"

first=$(disk_of a 1 "$portal") other=$(disk_of a 1 "10.0.2.2:$second")
case_equal 'sm: REPORT LUNS has what there is, and no LUN 0' '1 5' \
	"$(for lun in $(on a "sg_luns -q $first" | grep -v '^$' | cut -c 1-4); do echo $((16#$lun)); done | paste -sd ' ')"
case_equal 'sm: the SCSIid of both paths, and what oVirt has' "$guid $guid" \
	"$(on a "for disk in $first $other; do /usr/lib/udev/scsi_id -g --device \$disk; done" | paste -sd ' ')"
case_on 'sm: the SCSIid has a link' a "[ -b /dev/disk/by-id/scsi-$guid ]"
case_match "sm: serial number by sginfo, between '" "^[0-9a-f]{25}\$" \
	"$(on a "sginfo -s $first" | tr -d '[:space:]' | cut -d "'" -f 2)"
case_match 'sm: vendor by sginfo' '^RINGSAN$' "$(on a "sginfo -M $first" | grep ^Vendor: | tr -d ' ' | cut -d : -f 2)"
case_equal 'sm: counts as thin' unmap \
	"$(on a "cat /sys/block/${first##*/}/device/scsi_disk/*/provisioning_mode")"
# It does so by /proc/scsi/scsi, which Debian's kernel leaves out; these do the same.
hctl=$(on a "ls /sys/block/${first##*/}/device/scsi_disk")
host=${hctl%%:*}
case_on 'sm: a LUN is taken away by its number' a "echo 1 >/sys/class/scsi_device/$hctl/device/delete &&
	udevadm settle -t 50 && [ ! -e $first ]"
case_on 'sm: and added' a "echo '0 0 1' >/sys/class/scsi_host/host$host/scan"
case_match 'sm: it is there again' '^/dev/sd' "$(disk_of a 1 "$portal")"
case_on 'sm: all of a host is scanned' a "echo '- - -' >/sys/class/scsi_host/host$host/scan"
case_equal 'sm: nothing came that is not served' '1 5' \
	"$(on a "ls /sys/class/scsi_disk" | grep "^$host:" | cut -d : -f 4 | sort -n | paste -sd ' ')"
case_on 'sm: logout of all portals' a "iscsiadm -m node -T $target -u"
case_on 'sm: node records removed' a "iscsiadm -m node -o delete -T $target"

# --- Proxmox VE ----------------------------------------------------------------------------------------------

record='^(\S+:\d+)\,\S+\s+(\S+)\s*$'
# It waits 2 s; a guest in emulation may take longer.
case_on 'pve: the portal answers TCP' a "timeout 20 bash -c ': </dev/tcp/${portal/:/\/}'"
fits 'pve: discovery' "$record" "$(on a "iscsiadm --mode discovery --type sendtargets --portal $portal")"
# It leaves CHAP to iscsid.conf, which becomes the record at discovery.
case_run 'CHAP, as from iscsid.conf' set_each node.session.auth. "-m node -T $target" authmethod CHAP username $user \
	password $secret
listed=$(on a 'iscsiadm --mode node')
fits 'pve: the node records' "$record" "$listed"
case_equal 'pve: all portals are there' "$(tr ' ' '\n' <<<"$portals" | sort)" "$(cut -d , -f 1 <<<"$listed" | sort)"
case_on 'pve: no retries at login' a "iscsiadm --mode node --targetname $target --op update \
	--name node.session.initial_login_retry_max --value 0"
case_on 'pve: login to all portals' a "iscsiadm --mode node --targetname $target --login"
sessions=$(on a 'iscsiadm --mode session')
fits 'pve: the sessions' '^tcp:\s+\[(\S+)\]\s+(\S+:\d+)\,\S+\s+(\S+)\s+\S+?\s*$' "$sessions"
while read -r session; do
	case_equal 'pve: the session is logged in' LOGGED_IN "$(on a "cat /sys/class/iscsi_session/session$session/state")"
	case_on 'pve: the session is rescanned' a "iscsiadm --mode session --sid $session --rescan"
done < <(grep -oP '^tcp: \[\K\d+' <<<"$sessions")
first=$(disk_of a 1 "$portal")
case_equal 'pve: the map holds the path' "$guid" "$(map_of a 1)"
# The last name in order is taken: of the map where there is one, else of the disk.
dm=$(on a "basename \$(readlink -f /dev/mapper/$guid)")
by_id=$(on a "udevadm settle -t 50; cd /dev/disk/by-id && for link in *; do
		[ \$(readlink \$link) != ../../$dm ] || echo \$link
	done" | grep -vP -- '-part\d+$' | grep -P '^(scsi-|dm-uuid-mpath-)' | sort | tail -n 1)
case_match 'pve: a stable name' "^(scsi-|dm-uuid-mpath-)" "$by_id"
fits 'pve: the name of a volume' '^\d+\.\d+\.\d+\.([^/\s]+)$' "0.0.1.$by_id"
case_equal 'pve: type 0, a disk' 0 "$(on a "cat /sys/block/${first##*/}/device/type")"
fits 'pve: the path in sysfs' '^/devices/platform/host\d+/session(\d+)/target\d+:\d:\d' \
	"$(on a "udevadm info --query=path $first")"
case_on 'pve: the volume is written and read' a "dd if=/dev/urandom of=/tmp/data bs=1M count=4 2>/dev/null &&
	dd if=/tmp/data of=/dev/disk/by-id/$by_id bs=1M oflag=direct 2>/dev/null &&
	cmp /tmp/data <(dd if=$first bs=1M count=4 iflag=direct 2>/dev/null)"
case_on 'pve: logout' a "iscsiadm --mode node --targetname $target --logout"

stop_ringsand
cases_end
