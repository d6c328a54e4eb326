#!/usr/bin/env bash
# The administrator's verbs of `ringsan` on a running daemon: what they print and as JSON, what they
# change and what hosts hear of it, what is refused, and whose the control socket is.
# One engine is enough: nothing here depends on which.
. "$(dirname "$0")/lib.sh"

ringsan=$B/$RINGSAN_VARIANT/ringsan
socket=$dir/a/ringsand.sock

# Two target port groups for one target, one for the other.
port[a]=$(free_port)
second=$(free_port)
configure "portal \"127.0.0.1:$second\" { tag = 2 }" <<C
target "$iqn" {
	lun 0 { image = "$dir/a.img" size = 64M }
	lun 7 { type = null size = 1T block-size = 4K }
	lun 9 { image = "$dir/no/such/folder.img" size = 64M }
}
target "$iqn.b" { portal-groups = { 1 } lun 0 { type = null size = 1G read-only = yes } }
C
start_or_end

# verb STATUS REGEX ARGUMENT...: run a verb, expect its exit status and a line of what it says.
verb() {
	local wanted=$1 regex=$2 name status=0 output
	shift 2
	name="ringsan $*"
	output=$(limited "$ringsan" "$@" --socket "$socket" 2>&1) || status=$?
	if [ "$status" -ne "$wanted" ]; then
		fail "$name" "exit status $status, not $wanted: $output"
	else
		case_match "$name" "$regex" "$output"
	fi
}

verb 0 '^engine +(uring|aio)$' status
verb 0 '^LUNs offline +1$' status
verb 0 '^ +0 +0 +' status
verb 0 '^nobody is logged in$' sessions
verb 0 "^$iqn +0 +64\.0 MiB +.* 512 +yes +no +- +- +naa\.6" luns
verb 0 "^$iqn +7 +1\.0 TiB +- +4096 +yes" luns
verb 0 "^$iqn LUN 9 is offline: cannot create" luns
verb 0 "^$iqn.b +0 +1\.0 GiB +- +512 +yes +yes +" luns "$iqn.b" --quick
verb 0 "^$iqn +2 +optimized +no +-" alua show

limited python3 initiator-tests/admin.py "$ringsan" "$socket" "$(url 0)" \
	"iscsi://127.0.0.1:$second/$iqn/0" || fail 'admin.py' 'see above'

# What is refused, each with a remedy.
verb 1 'no target nope' luns nope
verb 1 'ringsan luns. lists' luns nope
verb 1 "$iqn has no LUN 3" reservations show "$iqn" 3
verb 1 'no portal group 9' alua set "$iqn" 9 standby
verb 1 'no state .shut' alua set "$iqn" 1 shut
verb 2 'tag of the portal group is missing' alua set "$iqn"
verb 2 'what of it\? show or clear' reservations
verb 2 'is no number' reservations show "$iqn" many
verb 2 'one argument too many' status more
verb 2 'no such option' status --loud
verb 2 'unknown command' stand
verb 0 'usage: ringsan reservations clear' reservations clear --help

case_equal 'an answer that cannot be written' 1 "$(
	limited "$ringsan" status --json --socket "$socket" >/dev/full 2>"$dir/full"
	echo $?
)"
case_match 'and says why' 'is the disk full' "$(cat "$dir/full")"
verb 0 '^changed' alua set "$iqn" 2 optimized --preferred
verb 0 "^$iqn +2 +optimized +yes" alua show
verb 0 '^it was so already' alua set "$iqn" 2 optimized
verb 0 '^changed' alua set --not-preferred "$iqn" 2 optimized
verb 0 "^$iqn +2 +optimized +no" alua show "$iqn"

# Whose the socket is.
case_equal 'nobody else may use it' '600' "$(stat -c %a "$socket")"
server=b configure "control-socket = \"$socket\"" <<C
target "$iqn" { lun 0 { type = null size = 1G } }
C
sed -i '2d' "$dir/b/ringsan.conf" # The harness's own control-socket.
refused=$(limited "$ringsand" -c "$dir/b/ringsan.conf" 2>&1)
case_equal 'a second daemon does not start' 1 $?
case_match 'and says why' 'another ringsand serves it' "$refused"
verb 0 '^engine' status

kill -KILL "${daemon[a]}"
wait "${daemon[a]}" 2>/dev/null
verb 3 'the ringsand that made it is gone' status
start_or_end
verb 0 '^engine' status
stop_ringsand
verb 3 'no ringsand serves it' status
case_equal 'the socket is gone with the daemon' '' "$(ls "$socket" 2>/dev/null)"

# A request that waits for a disk that is stuck: others are answered, and the end flushes all LUNs
# meanwhile, as the one tells whose flush fails.
server=c
echo 'fail flush EIO' >"$dir/rule"
configure <<C
target "$iqn" {
	lun 0 { image = "$dir/c.img" size = 64M }
	lun 1 { type = fault image = "$dir/d.img" size = 64M fault-control = "$dir/rule" }
}
C
start_or_end
limited python3 initiator-tests/admin.py "$ringsan" "$dir/c/ringsand.sock" "$(url 0)" - \
	"$dir/c/state" 2>"$dir/fifo" || fail 'admin.py beside a stuck disk' 'see above'
kill -TERM "${daemon[c]}"
for ((tries = 0; tries < 300; tries++)); do
	grep -q 'the last flush failed' "$(log_file)" && break
	sleep 0.02
done
exec 9<>"$(tail -n 1 "$dir/fifo")"
wait_ringsand "$stop_ms_max"
exec 9<&-
case_match 'LUNs are flushed while a request is stuck' 'lun 1: the last flush failed' "$(cat "$(log_file)")"
case_equal 'no request was given up' '' "$(grep 'requests of the control socket' "$(log_file)")"
cases_end
