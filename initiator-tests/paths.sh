#!/usr/bin/env bash
# Paths: a target behind two portal groups tells hosts which are the good ones (ALUA); a state that
# changes is told to every host once, holds on its own group alone, and refuses what still waited for
# its data; and where only one group leads to a target there is nothing of all this.
. "$(dirname "$0")/lib.sh"

port[$server]=$(free_port)
second=$(free_port)
configure "portal \"127.0.0.1:$second\" { tag = 2 }" <<C
target "$iqn" {
	preferred-groups = { 1 } non-optimized-groups = { 2 }
	states-by-hosts = yes transition-time = 5s
	lun 0 { image = "$dir/a.img" size = 64M }
	lun 1 { type = null size = 64M }
}
target "$iqn.implicit" {
	standby-groups = { 2 }
	lun 0 { type = null size = 64M }
}
target "$iqn.single" {
	portal-groups = { 1 }
	lun 0 { type = null size = 64M }
}
C
start_or_end

# other_url [LUN] [TARGET]: through the second portal group.
other_url() {
	echo "iscsi://127.0.0.1:$second/${2:-$iqn}/${1:-0}"
}

paths() {
	limited python3 initiator-tests/paths.py "$@" || fail "paths.py $1" 'see above'
}

paths explicit "$(url 0)" "$(other_url 0)"
paths implicit "$(url 0 "$iqn.implicit")" "$(other_url 0 "$iqn.implicit")"
paths administrator "$(url 0)" "$(other_url 0)" "$dir/$server/ringsand.sock"
paths single "$(url 0 "$iqn.single")"

# The configuration is the truth: what hosts changed ends with the daemon.
paths leave_standby "$(url 0)"
restart_ringsand
paths as_configured "$(url 0)"

stop_ringsand
cases_end
