#!/usr/bin/env bash
# Portals: IPv4 and IPv6 at once, portal groups, a wildcard that announces the address the host came to,
# and one that announces what stands before it.
. "$(dirname "$0")/lib.sh"

port[$server]=$(free_port)
tagged=$(free_port)
wild=$(free_port)
natted=$(free_port)
six=
portals="portal \"127.0.0.1:$tagged\" { tag = 2 }
portal \"0.0.0.0:$wild\" { tag = 3 }
portal \"127.0.0.2:$natted\" { tag = 4 advertise = \"san.example.org:3999\" }"
if [ -e /proc/net/if_inet6 ] && grep -q '^0\{31\}1 ' /proc/net/if_inet6; then
	six=$(free_port)
	portals="$portals
portal \"[::1]:$six\" { }"
else
	skip 'IPv6' 'this machine has no ::1'
fi
configure "$portals" <<C
target "$iqn.one" { portal-groups = { 1 } access { networks = { "127.0.0.0/8", "::1" } } lun 0 { type = null size = 1G } }
target "$iqn.two" { portal-groups = { 2, 4 } access { networks = { "127.0.0.0/8" } } lun 0 { type = null size = 1G } }
target "$iqn.all" { access { networks = { "127.0.0.0/8", "::1" } } lun 0 { type = null size = 1G } }
C
start_or_end

# portals_of ADDRESS TARGET: what discovery there says of the target, one a line, sorted.
portals_of() {
	limited iscsi-ls "iscsi://$1" 2>&1 | sed -n "s/^Target:$2 Portal://p" | sort
}

here=127.0.0.1:${port[$server]}
case_match 'a target of group 1 is announced there' "^$here,1\$" "$(portals_of "$here" "$iqn.one")"
case_equal 'and only there and where its group is' '' \
	"$(portals_of "$here" "$iqn.one" | grep -vE ",1\$")"
case_run 'and reached there' limited iscsi-inq "iscsi://$here/$iqn.one/0"
case_refused 'but not through another group' limited iscsi-inq "iscsi://127.0.0.1:$tagged/$iqn.one/0"
case_run 'a target of all groups is' limited iscsi-inq "iscsi://127.0.0.1:$tagged/$iqn.all/0"
case_match 'a target of two groups is announced with their tags' "^127.0.0.1:$tagged,2\$" \
	"$(portals_of "127.0.0.1:$tagged" "$iqn.two")"

case_match 'a wildcard announces the address that the host came to' "^127.0.0.3:$wild,3\$" \
	"$(portals_of "127.0.0.3:$wild" "$iqn.all")"
case_equal 'and never itself' '' "$(portals_of "127.0.0.3:$wild" "$iqn.all" | grep -E '^(0\.0\.0\.0|\[::\])')"
case_match 'advertise is announced in place of the address' '^san.example.org:3999,4$' \
	"$(portals_of "$here" "$iqn.two")$(portals_of "127.0.0.2:$natted" "$iqn.two")"

if [ -n "$six" ]; then
	case_run 'login over IPv6' limited iscsi-inq "iscsi://[::1]:$six/$iqn.one/0"
	case_match 'discovery over IPv6' "^\\[::1\\]:$six,1\$" "$(portals_of "[::1]:$six" "$iqn.one")"
fi

stop_ringsand
cases_end
