#!/usr/bin/env bash
# Logins in every combination of digests, CHAP, InitialR2T, ImmediateData and burst lengths, each with data
# written and read back: those that libiscsi can ask for, and the rest by an initiator of our own.
. "$(dirname "$0")/lib.sh"

secrets=$dir/secrets
printf '%s\n' 'host-user secret-of-host-1' 'target-user secret-of-target' >"$secrets"
chmod 600 "$secrets"
chap=$iqn.chap
configure "secrets = \"$secrets\"" <<C
target "$iqn" { lun 0 { image = "$dir/a.img" size = 64M } }
target "$chap" {
	lun 0 { image = "$dir/b.img" size = 64M }
	auth { users = { "host-user" } mutual = "target-user" }
}
C
start_or_end

with_chap=iscsi://host-user%secret-of-host-1@127.0.0.1:${port[$server]}/$chap/0
limit=120 limited "$programs/login_matrix" "$(url)" "$with_chap" \
	"$with_chap?target_user=target-user&target_password=secret-of-target"
status=$?
[ "$status" -le 1 ] || fail 'login_matrix runs to its end' "exit status $status"
limit=120 limited python3 -B initiator-tests/login_matrix.py 127.0.0.1 "${port[$server]}" "$iqn" "$chap"
status=$?
[ "$status" -le 1 ] || fail 'login_matrix.py runs to its end' "exit status $status"

stop_ringsand
cases_end
