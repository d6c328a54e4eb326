#!/usr/bin/env bash
# `ringsan image` on images that nobody serves: every verb, with qemu-img as the second opinion.
# One engine is enough: nothing here depends on which.
. "$(dirname "$0")/lib.sh"
images_in_memory

ringsan=$(realpath "$B")/$RINGSAN_VARIANT/ringsan
limited python3 initiator-tests/image_cli.py "$ringsan" "$images" "$PWD/README.md" ||
	fail 'image_cli.py' 'see above'

# image STATUS REGEX ARGUMENT...: a verb, its exit status, and a line of what it says.
image() {
	local wanted=$1 regex=$2 status=0 output
	shift 2
	output=$(limited "$ringsan" image "$@" --socket "$dir/a/ringsand.sock" 2>&1) || status=$?
	if [ "$status" -ne "$wanted" ]; then
		fail "ringsan image $*" "exit status $status, not $wanted: $output"
	else
		case_match "ringsan image $*" "$regex" "$output"
	fi
}

# The same on images that a daemon serves: it is asked.
served=$images/served
mkdir -p "$served"
for name in disk other; do
	"$ringsan" image create --size 64M "$served/$name.qcow2" >/dev/null
done
configure <<C
target "$iqn" {
	lun 0 { type = qcow2 image = "$served/disk.qcow2" }
}
C
start_or_end
image 0 '^virtual size +64.0 MiB' info "$served/disk.qcow2"
image 0 'disk.qcow2 +qcow2 +64.0 MiB .* yes' list "$served/disk.qcow2"
image 1 'disk.qcow2 is locked by another program' check "$served/disk.qcow2"
image 1 'take a snapshot' map "$served/disk.qcow2"
image 0 '^in use +yes' info "$served/disk.qcow2"
image 0 '^in use +no' info "$served/other.qcow2"
image 1 'disk.qcow2 is in use' rebase --backing '' "$served/disk.qcow2"
image 1 'disk.qcow2 is locked by another program' convert "$served/disk.qcow2" "$served/copy.qcow2"
image 0 '' resize "$served/disk.qcow2" +64M
image 0 '^virtual size +128.0 MiB' info "$served/disk.qcow2"
qemu_io 0 'write -q -P 7 100M 1M' >/dev/null || fail 'hosts write behind the old end' "$(log_file)"
image 0 'disk.qcow2 +clean' snapshot --name clean "$served/disk.qcow2"
qemu_io 0 'write -q -P 8 100M 1M' >/dev/null || fail 'hosts write over the snapshot' "$(log_file)"
image 0 '^  disk.qcow2 +qcow2 +128.0 MiB .* yes' list "$served/disk.qcow2"
# It is read beside those who write above it.
image 0 '^corruptions +0' check "$served/disk@clean.qcow2"
image 0 '^104857600 +1048576 +0 +yes' map "$served/disk@clean.qcow2"
image 0 '^virtual size +128.0 MiB' convert "$served/disk@clean.qcow2" "$served/copy.raw"
image 0 'disk.qcow2' rollback "$served/disk.qcow2" clean
qemu_io 0 'read -q -P 7 100M 1M' >/dev/null || fail 'hosts see what was' "$(log_file)"
image 0 '^there are no jobs' jobs
image 0 '^done' stream "$served/disk.qcow2"
qemu_io 0 'read -q -P 7 100M 1M' >/dev/null || fail 'hosts see the same after it' "$(log_file)"
case_equal 'it is based on nothing' '' "$("$ringsan" image info "$served/disk.qcow2" | grep backing)"
case_equal 'what the daemon refuses is said in its words' 1 "$(
	"$ringsan" image resize "$served/disk.qcow2" 1M --socket "$dir/a/ringsand.sock" >/dev/null 2>&1
	echo $?
)"
# Another program, which is no ringsand: nobody can be asked.
python3 -c 'import fcntl, struct, sys, time
file = open(sys.argv[1], "r+b")
for byte in (100, 101, 103, 201, 203):
    fcntl.fcntl(file, fcntl.F_OFD_SETLK if hasattr(fcntl, "F_OFD_SETLK") else 37,
                struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, byte, 1, 0))
print("locked", flush=True)
time.sleep(60)' "$served/other.qcow2" >"$dir/locked" &
locker=$!
until [ -s "$dir/locked" ]; do sleep 0.02; done
image 1 'not all of these files' snapshot "$served/disk.qcow2" "$served/none.qcow2"
image 1 'other.qcow2 is locked by another program' resize "$served/other.qcow2" +1M
image 1 'locked' snapshot "$served/other.qcow2"
kill "$locker" && wait "$locker" 2>/dev/null
image 0 'SNAPSHOT' snapshot --name now "$served/other.qcow2"
stop_ringsand

# What a killed daemon leaked goes back when the next one runs, though no host does anything.
server=b
configure <<C
target "$iqn" {
	lun 0 { type = qcow2 image = "$served/disk.qcow2" }
}
C
# wait_for_recovery: until all that leaked has gone back.
wait_for_recovery() {
	local tries
	for ((tries = 0; tries < 600; tries++)); do
		"$ringsan" luns --quick --json --socket "$dir/b/ringsand.sock" | python3 -c 'import json, sys
recovery = json.load(sys.stdin)["luns"][0]["recovery"]
sys.exit(not recovery or recovery["running"] or recovery["clusters"] == 0)' && return
		sleep 0.05
	done
	return 1
}
start_or_end
qemu_io 0 'write -q -P 9 0 1M' >/dev/null || fail 'hosts write before the kill' "$(log_file)"
kill -KILL "${daemon[b]}"
wait "${daemon[b]}" 2>/dev/null
image 3 '^leaked clusters +[1-9]' check "$served/disk.qcow2"
start_or_end
case_run 'what a kill leaked goes back without any host' wait_for_recovery
stop_ringsand
image 0 '^leaked clusters +0' check "$served/disk.qcow2"

# What leaked in a file that has become a base since: it stays until nobody has that open.
start_or_end
qemu_io 0 'write -q -P 10 8M 1M' >/dev/null || fail 'hosts write before the second kill' "$(log_file)"
kill -KILL "${daemon[b]}"
wait "${daemon[b]}" 2>/dev/null
image 3 'not closed in order; they go back when it is served, or with --repair' check "$served/disk.qcow2"
image 0 'disk.qcow2 +leaky' snapshot --name leaky "$served/disk.qcow2"
image 3 '--repair gives them back while neither it nor what is based on it is open' check "$served/disk@leaky.qcow2"
start_or_end
case_run 'the daemon says that a base has leaks' grep -q 'disk@leaky.qcow2, below it, was not closed in order' "$(log_file)"
image 1 'disk@leaky.qcow2 is a base, and in use' check --repair "$served/disk@leaky.qcow2"
stop_ringsand
image 0 '^leaks returned +[1-9]' check --repair "$served/disk@leaky.qcow2"
case_equal 'a base that was repaired is closed in order' '' "$(getfattr -n user.ringsan.open "$served/disk@leaky.qcow2" 2>/dev/null)"
start_or_end
qemu_io 0 'read -q -P 10 8M 1M' >/dev/null || fail 'hosts see what they wrote' "$(log_file)"
stop_ringsand
cases_end
