#!/usr/bin/env bash
# Who gets in: CHAP one-way and mutual, right and wrong, in discovery too; and access rules by name and
# by network. What refuses must refuse with the status of RFC 7143 11.13.5 and one line in the log.
. "$(dirname "$0")/lib.sh"

secrets=$dir/secrets
printf '%s\n' 'host-user secret-of-host-1' 'other-user secret-of-other1' 'target-user secret-of-target' >"$secrets"
chmod 600 "$secrets"
md5less=$iqn.md5less moved=$iqn.moved gone=$iqn.gone resting=$iqn.resting
port[$server]=$(free_port)
open=$iqn.open chap=$iqn.chap mutual=$iqn.mutual named=$iqn.named elsewhere=$iqn.elsewhere
configure "secrets = \"$secrets\"
discovery-auth { users = { \"host-user\" } }
portal \"127.0.0.2:${port[$server]}\" { tag = 2 }" <<C
target "$md5less" { lun 0 { type = null size = 1G } auth { users = { "host-user" } algorithms = { sha256, sha3-256 } } }
target "$moved" { redirect = "127.0.0.2:${port[$server]}" lun 0 { type = null size = 1G } }
target "$gone" { redirect = "[2001:db8::7]:3261" redirect-permanent = yes lun 0 { type = null size = 1G } }
target "$resting" { online = no lun 0 { type = null size = 1G } }
target "$open" { lun 0 { type = null size = 1G } }
target "$chap" { lun 0 { type = null size = 1G } auth { users = { "host-user" } } }
target "$mutual" { lun 0 { type = null size = 1G } auth { users = { "host-user" } mutual = "target-user" } }
target "$named" { lun 0 { type = null size = 1G } access { initiators = { "iqn.2026-11.io.ringsan:host-*" } } }
target "$elsewhere" { lun 0 { type = null size = 1G } access { networks = { "192.0.2.0/24" } } }
C
start_or_end

# as USER PASSWORD TARGET [TARGET-USER TARGET-PASSWORD]
as() {
	local url=iscsi://$1%$2@127.0.0.1:${port[$server]}/$3/0
	[ $# -lt 5 ] || url="$url?target_user=$4&target_password=$5"
	limited iscsi-inq "$url"
}

case_run 'no authentication where none is asked' limited iscsi-inq "$(url 0 "$open")"
case_run 'CHAP with the right secret' as host-user secret-of-host-1 "$chap"
case_refused 'CHAP with a wrong secret' as host-user secret-of-host-2 "$chap"
case_refused 'CHAP as a user that this target does not know' as other-user secret-of-other1 "$chap"
case_refused 'CHAP as nobody known at all' as nobody secret-of-host-1 "$chap"
case_refused 'no CHAP where it is asked' limited iscsi-inq "$(url 0 "$chap")"
case_run 'mutual CHAP' as host-user secret-of-host-1 "$mutual" target-user secret-of-target
case_refused 'mutual CHAP, the host expects another secret' \
	as host-user secret-of-host-1 "$mutual" target-user secret-of-other1
case_run 'the target proves itself only if it is asked to' as host-user secret-of-host-1 "$mutual"

case_run 'discovery with CHAP' limited iscsi-ls \
	"iscsi://host-user%secret-of-host-1@127.0.0.1:${port[$server]}"
case_refused 'discovery without CHAP' limited iscsi-ls "iscsi://127.0.0.1:${port[$server]}"

case_run 'a name that the rule admits' limited iscsi-inq -i iqn.2026-11.io.ringsan:host-7 "$(url 0 "$named")"
case_refused 'a name that it does not' limited iscsi-inq -i iqn.2026-11.io.ringsan:guest-7 "$(url 0 "$named")"
case_refused 'an address that the rule does not admit' limited iscsi-inq "$(url 0 "$elsewhere")"
case_refused 'a target that does not exist' limited iscsi-inq "$(url 0 "$iqn.none")"
listed=$(limited iscsi-ls -i iqn.2026-11.io.ringsan:guest-7 \
	"iscsi://host-user%secret-of-host-1@127.0.0.1:${port[$server]}")
case_equal 'discovery lists only what the host may use' '' "$(grep -E "$named|$elsewhere" <<<"$listed")"

case_run 'a target elsewhere: libiscsi goes there' limited iscsi-inq "$(url 0 "$moved")"
limited python3 initiator-tests/refusals.py 127.0.0.1 127.0.0.2 "${port[$server]}" "$iqn" ||
	fail 'statuses of refused logins' 'see above'
# CVE-2010-0743: a name is no format.
case_refused 'a name full of formats' limited iscsi-inq -i 'iqn.2026-11.io.ringsan:%n%s%n%s%p' "$(url 0 "$named")"
case_match 'is written as it is' 'ringsan:%n%s%n%s%p: login to .* refused \(02/02\)' "$(log_since 0)"
case_equal 'no secret in the log' 0 "$(grep -c 'secret-of' "$(log_file)")"

stop_ringsand
cases_end
