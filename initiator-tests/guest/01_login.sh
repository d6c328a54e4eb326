#!/usr/bin/env bash
# Discovery and login by open-iscsi: plain; CHAP with each algorithm it has and with all offered at once;
# mutual; refused; CHAP in discovery; and the exit codes of iscsiadm that vdsm and others go by
# (iscsiadm(8), "EXIT STATUS").
. "$(dirname "$0")/lib.sh"
need_guests

user=host-user secret=secret-of-host-1 mutual_user=target-user mutual_secret=secret-of-target
printf '%s\n' "$user $secret" "$mutual_user $mutual_secret" >"$dir/secrets"
chmod 600 "$dir/secrets"

exists=15 fatal_login=19 no_objects=21 sysfs=22 login_auth=24
# What open-iscsi 2.1.8 ends with after its retries of a refused connection.
pdu_timeout=11

guest_start a
serve "secrets = \"$dir/secrets\"" <<C
target "$iqn" { lun 0 { image = "$dir/a.img" size = 256M } }
target "$iqn.chap" { lun 0 { image = "$dir/b.img" size = 256M } auth { users = { "$user" } } }
target "$iqn.mutual" {
	lun 0 { image = "$dir/c.img" size = 256M }
	auth { users = { "$user" } mutual = "$mutual_user" }
}
C
guest_wait a

# --- discovery -------------------------------------------------------------------------------------

listed=$(discover a)
case_equal 'discovery ends with 0' 0 $?
case_match 'discovery lists the target' "^$portal,1 $target\$" "$listed"
# vdsm splits at the comma and the blank and takes the tag for a number; pve-storage and sm have these.
case_equal "every line fits Proxmox's expression" '' "$(grep -vP '^(\S+:\d+),\S+\s+(\S+)\s*$' <<<"$listed")"
case_equal "every line fits vdsm's" '' "$(grep -vP '^[0-9.]+:\d+,\d+ iqn\.\S+$' <<<"$listed")"
case_on_status 'discovery where nobody listens' $pdu_timeout a \
	'iscsiadm -m discovery -t sendtargets -p 10.0.2.2:9'

# --- plain -------------------------------------------------------------------------------------------

case_on_status 'no session yet' $no_objects a 'iscsiadm -m session'
login_script="iscsiadm $node -p $portal --login"
if is_ours || [ -z "${TARGET_USER-}" ]; then
	case_on_status 'login' 0 a "$login_script"
else
	case_run 'login' login a
fi
disk=$(disk_of a)
case_match 'the disk is there' '^/dev/sd' "$disk"
case_on_status 'a second login finds the session there' $exists a "$login_script"
case_on_status 'rescan of the session' 0 a 'iscsiadm -m session -R'
case_on 'the disk is read' a "dd if=$disk of=/dev/null bs=1M count=4 iflag=direct"
case_match 'WWID by scsi_id, as vdsm and sm ask' '^36[0-9a-f]{31}$' \
	"$(on a "/lib/udev/scsi_id -g -u -d $disk")"
case_match 'serial number by scsi_id' '^SRINGSAN *VIRTUAL-DISK' \
	"$(on a "/lib/udev/scsi_id --page=0x80 -g -d $disk | tr '_' ' '")"
case_on_status 'logout' 0 a "iscsiadm $node -p $portal --logout"
case_on_status 'logout without a session' $no_objects a "iscsiadm $node -p $portal --logout"
case_on_status 'rescan without a session' $no_objects a 'iscsiadm -m session -R'
case_on_status 'details of a session that is not' $sysfs a 'iscsiadm -m session -r 99'

# The rest is about refusals, which needs a target that is set up for them.
if ! is_ours; then
	cases_end
fi

# --- CHAP ------------------------------------------------------------------------------------------

case_on_status 'a target that does not exist' $fatal_login a \
	"iscsiadm -m node -T $iqn.none -p $portal,1 -o new >/dev/null
	iscsiadm -m node -T $iqn.none -p $portal -o update -n node.session.initial_login_retry_max -v 1
	iscsiadm -m node -T $iqn.none -p $portal --login"

target=$iqn.chap node="-m node -T $iqn.chap"
login_script="iscsiadm $node -p $portal --login"
case_on_status 'no CHAP where it is asked' $login_auth a "$login_script"

# as_user NAME SECRET ALGORITHMS
as_user() {
	set_node a node.session.auth.authmethod CHAP node.session.auth.username "$1" \
		node.session.auth.password "$2" node.session.auth.chap_algs "$3"
}

login_logout="$login_script && iscsiadm $node -p $portal --logout"
for algorithm in MD5 SHA1 SHA256 SHA3-256 SHA3-256,SHA256,SHA1,MD5; do
	as_user "$user" "$secret" "$algorithm" || fail "CHAP $algorithm" 'it cannot be set'
	case_on_status "CHAP $algorithm" 0 a "$login_logout"
done
as_user "$user" "$secret-" MD5
case_on_status 'CHAP with a wrong secret' $login_auth a "$login_script"
as_user nobody "$secret" SHA256
case_on_status 'CHAP as nobody known' $login_auth a "$login_script"
as_user "$mutual_user" "$mutual_secret" SHA256
case_on_status 'CHAP as a user of another target' $login_auth a "$login_script"

target=$iqn.mutual node="-m node -T $iqn.mutual"
login_script="iscsiadm $node -p $portal --login"
login_logout="$login_script && iscsiadm $node -p $portal --logout"
as_user "$user" "$secret" SHA3-256,SHA256,SHA1,MD5
case_on_status 'the target proves itself only if it is asked to' 0 a "$login_logout"
set_node a node.session.auth.username_in "$mutual_user" node.session.auth.password_in "$mutual_secret"
case_on_status 'mutual CHAP' 0 a "$login_logout"
for algorithm in MD5 SHA1 SHA256 SHA3-256; do
	as_user "$user" "$secret" "$algorithm"
	case_on_status "mutual CHAP $algorithm" 0 a "$login_logout"
done
set_node a node.session.auth.password_in "$mutual_secret-"
# The initiator's own judgement: not a refusal of the target's.
case_on_status 'mutual CHAP, the host expects another secret' $fatal_login a "$login_script"

# --- CHAP in discovery -------------------------------------------------------------------------------

stop_ringsand
server=b
serve "secrets = \"$dir/secrets\"
discovery-auth { users = { \"$user\" } mutual = \"$mutual_user\" }" <<C
target "$iqn" { lun 0 { image = "$dir/a.img" size = 256M } }
C
# discover_as [NAME SECRET]: as vdsm does, with a record of its own.
discover_as() {
	local script="iscsiadm -m discoverydb -t sendtargets -I default -p $portal --op=new >/dev/null"
	if [ $# -gt 0 ]; then
		script="$script
		update() { iscsiadm -m discoverydb -t sendtargets -p $portal --op=update -n \$1 -v \$2 || exit; }
		update discovery.sendtargets.auth.authmethod CHAP
		update discovery.sendtargets.auth.username '$1'
		update discovery.sendtargets.auth.password '$2'"
	fi
	echo "$script
		iscsiadm -m discoverydb -t sendtargets -p $portal --discover
		status=\$?
		iscsiadm -m discoverydb -t sendtargets -p $portal --op=delete
		exit \$status"
}
case_on_status 'discovery without CHAP where it is asked' $login_auth a "$(discover_as)"
case_on_status 'discovery with CHAP' 0 a "$(discover_as "$user" "$secret")"
case_on_status 'discovery with a wrong secret' $login_auth a "$(discover_as "$user" "$secret-")"
case_equal 'no secret in the log' 0 "$(grep -c 'secret-of' "$(log_file)")"

stop_ringsand
cases_end
