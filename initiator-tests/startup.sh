#!/usr/bin/env bash
# Starting: what is wrong with the configuration stops it with a clear message; what is wrong with one
# image takes only that LUN offline, as NOT READY 02/04/03, which hosts retry.
. "$(dirname "$0")/lib.sh"

# says NAME STATUS REGEX: run ringsand on the configuration of $server, expect the exit status to be
# zero or not, and a line of its output to match.
says() {
	local name=$1 wanted=$2 regex=$3 output status=0
	shift 3
	output=$(timeout -k 5 20 "$ringsand" "$@" -c "$dir/$server/ringsan.conf" 2>&1) || status=$?
	if [ "$wanted" = 0 ] && [ "$status" -ne 0 ]; then
		fail "$name" "exit status $status: $output"
	elif [ "$wanted" != 0 ] && { [ "$status" -eq 0 ] || [ "$status" -ge 124 ]; }; then
		fail "$name" "exit status $status: $output"
	else
		case_match "$name" "$regex" "$output"
	fi
}

disk() {
	echo "lun $1 { type = null size = 1G }"
}

server=good
configure <<C
target "$iqn" { $(disk 0) }
C
says '-t on a good file' 0 '^' -t
start_or_end

server=busy
port[busy]=${port[good]}
configure <<C
target "$iqn" { $(disk 0) }
C
says 'a busy port' 1 "${port[good]}.*(in use|busy)"
server=good
case_run 'and who had it goes on' limited iscsi-inq "$(url)"
stop_ringsand

server=wrong
configure <<C
target "$iqn" {
	$(disk 0)
	$(disk 0)
}
C
says 'a duplicate LUN: -t names the line' 1 'ringsan.conf:[0-9]+: .*(lun|LUN) 0' -t
says 'a duplicate LUN: no start' 1 'ringsan.conf:[0-9]+: .*(lun|LUN) 0'
configure <<C
target "$iqn" { $(disk 0) }
target "$iqn" { $(disk 1) }
C
says 'a duplicate target' 1 "ringsan.conf:[0-9]+: .*$iqn" -t
configure 'loops = many' <<C
target "$iqn" { $(disk 0) }
C
says 'a word for a number' 1 'ringsan.conf:[0-9]+: .*(loops|many)' -t
configure <<C
target "no-such-form" { $(disk 0) }
target "$iqn" { lun 99999 { type = null size = 1G } }
target "$iqn.b" { lun 0 { image = "relative.img" } }
C
for word in no-such-form 99999 relative; do
	says "all errors of meaning at once: $word" 1 "ringsan.conf:[0-9]+: .*$word" -t
done
configure <<C
target "$iqn" { $(disk 0)
C
says 'a missing brace' 1 'ringsan.conf:[0-9]+: ' -t
configure 'portal "0.0.0.0:0" { }' <<C
target "$iqn" { $(disk 0) }
C
says 'a portal for the world without an access rule' 1 'ringsan.conf:[0-9]+: .*access' -t
echo 'host-user secret-of-host-1' >"$dir/secrets"
chmod 644 "$dir/secrets"
configure "secrets = \"$dir/secrets\"" <<C
target "$iqn" { $(disk 0) auth { users = { "host-user" } } }
C
says 'secrets that others may read' 1 'secrets.*(600|mode)' -t
server=none
mkdir -p "$dir/none"
says 'no configuration file' 1 'ringsan.conf.*(No such file|cannot)'

# --- one bad image takes only its own LUN offline --------------------------------------------------

server=holder
configure <<C
target "$iqn" { lun 0 { image = "$dir/locked.img" size = 16M } }
C
start_or_end

server=images
truncate -s 16M "$dir/short.img" "$dir/readonly.img"
mkdir "$dir/folder.img"
readonly_lun=
if chattr +i "$dir/readonly.img" 2>/dev/null; then
	trap 'chattr -i "$dir/readonly.img"; end_test' EXIT
	readonly_lun=4
elif [ "$(id -u)" -ne 0 ]; then
	chmod 400 "$dir/readonly.img"
	readonly_lun=4
else
	skip 'a read-only image' 'root may write all files here, and chattr is refused'
fi
configure <<C
target "$iqn" {
	lun 0 { image = "$dir/good.img" size = 16M }
	lun 1 { image = "$dir/missing.img" }
	lun 2 { image = "$dir/short.img" size = 1G }
	lun 3 { image = "$dir/locked.img" }
	lun 4 { image = "$dir/readonly.img" }
	lun 5 { image = "$dir/folder.img" }
	lun 6 { image = "$dir/no/such/folder.img" size = 16M }
}
C
[ -n "$readonly_lun" ] || sed -i '/lun 4 /d' "$dir/images/ringsan.conf"
start_or_end

case_run 'the good LUN serves' qemu_io 0 'write -P 7 0 1M' 'read -P 7 0 1M'
for bad in 1:missing 2:short 3:locked 5:folder 6:no/such; do
	lun=${bad%:*} what=${bad#*:}
	case_equal "$what image: NOT READY" 'status=02 sense=02/04/03 residual=0' \
		"$(raw_command "$(url "$lun")" 000000000000 2>&1 | head -n 1)"
	case_match "$what image: still answers INQUIRY, as a connected disk" '^0000' \
		"$(raw_command "$(url "$lun")" 12000000ff00 in=255 | tail -n 1)"
	case_match "$what image: the log says why" "lun $lun.*$what|$what.*lun $lun" "$(log_since 0)"
done
if [ -n "$readonly_lun" ]; then
	case_equal 'read-only image: NOT READY' 'status=02 sense=02/04/03 residual=0' \
		"$(raw_command "$(url 4)" 000000000000 2>&1 | head -n 1)"
fi
listed=$(raw_command "$(url)" a00000000000000001000000 in=256 | tail -n 1)
case_equal 'all are listed' $((8 * $(grep -c '^	*lun' "$dir/images/ringsan.conf"))) $((16#${listed:0:8}))
stop_ringsand

# A disk that is meant to be read-only.
server=guarded
configure <<C
target "$iqn" { lun 0 { image = "$dir/short.img" read-only = yes } }
C
start_or_end
case_run 'read-only = yes: reads' limited qemu-io -r -f raw -c 'read -P 0 0 1M' "$(url)"
case_equal 'read-only = yes: a write is DATA PROTECT' 'status=02 sense=07/27/00 residual=512' \
	"$(raw_command "$(url)" 2a000000000000000100 "out=$(printf '%01024d' 0)" | head -n 1)"
case_match 'read-only = yes: the WP bit' '^.{4}[89]0' "$(raw_command "$(url)" 1a083f00ff00 in=255 | tail -n 1)"
stop_ringsand
server=holder stop_ringsand
cases_end
