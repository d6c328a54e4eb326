# shellcheck shell=bash
# What the initiator tests share: a ringsand of their own on a free loopback port, in a temporary
# folder, started and stopped and checked for a clean end. Source it first; end with `cases_end`.
#
#     configure <<E                  # The global part is written by this file.
#     target "$iqn" { lun 0 { image = "$dir/a.img" size = 64M } }
#     E
#     start_ringsand                 # Or: server=b start_ringsand, for a second one.
#     ...                            # "$(url 0)" is the URL of LUN 0.
#     stop_ringsand                  # One case: exit status 0, no sanitizer report.
#
# Environment, with defaults: RINGSAN_ENGINE (auto), RINGSAN_VARIANT (san), B (build).

set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
. tests/cases.sh
export LC_ALL=C

: "${RINGSAN_ENGINE:=auto}" "${RINGSAN_VARIANT:=san}" "${B:=build}"
ringsand=${RINGSAND:-$B/$RINGSAN_VARIANT/ringsand}
# shellcheck disable=SC2034 # For the scripts.
programs=$B/plain/initiator-tests
iqn=iqn.2026-11.io.ringsan:test
stop_ms_max=5000
# The sanitizers slow a program down several times and so its end.
[ "$RINGSAN_VARIANT" = plain ] || stop_ms_max=8000

dir=$(mktemp -d "${TMPDIR:-/tmp}/ringsan-test.XXXXXX") || exit 2
images=$dir
server=a
declare -A daemon=() port=()
# What starts the daemon by becoming it: none, or as `supervise` says.
launch=()

end_test() {
	local name
	[ -z "${supervisor_pid-}" ] || kill "$supervisor_pid"
	for name in "${!daemon[@]}"; do
		kill -KILL "${daemon[$name]}" 2>/dev/null && wait "${daemon[$name]}" 2>/dev/null
	done
	[ -z "${RINGSAN_KEEP-}" ] || { echo "kept: $dir $images" && return; }
	rm -rf "$dir" "$images"
}
trap end_test EXIT

# Byte 5 of page B2 of a thin LUN in that folder: ext4 and XFS keep space for ANCHOR.
case $(stat -f -c %T "$dir") in
ext2/ext3 | xfs) export PROVISIONING=e6 ;;
*) export PROVISIONING=e4 ;;
esac
trap 'exit 143' TERM INT

# --- folders -----------------------------------------------------------------------------------

# Have $images on a tmpfs, which keeps the disk out of what is tested, if there is one.
images_in_memory() {
	[ "$(stat -f -c %T /dev/shm 2>/dev/null)" = tmpfs ] || return 0
	images=$(mktemp -d /dev/shm/ringsan-test.XXXXXX) || images=$dir
}

# own_mounts WHAT: go on where mounts are nobody else's, which root may; or skip WHAT and end.
own_mounts() {
	local why
	[ -z "${RINGSAN_OWN_MOUNTS-}" ] || return 0
	if ! why=$(unshare --mount --propagation private mount -t tmpfs none /mnt 2>&1); then
		skip "$1" "mounting is not permitted: $why"
		cases_end
	fi
	rm -rf "$dir"
	RINGSAN_OWN_MOUNTS=1 exec unshare --mount --propagation private bash "$PWD/initiator-tests/${0##*/}"
}

# mounted WHAT FOLDER COMMAND...: the folder, and what COMMAND FOLDER mounts there; or skip WHAT.
mounted() {
	local why what=$1 folder=$2
	shift 2
	mkdir -p "$folder"
	why=$("$@" "$folder" 2>&1) && return
	skip "$what" "it cannot be mounted: $why"
	return 1
}

# --- ports -------------------------------------------------------------------------------------

# True if something listens on the TCP port. Read from the kernel's table: a connection would be an
# initiator that says nothing, which the daemon logs.
is_listening() {
	local hex
	hex=$(printf ':%04X' "$1")
	cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
		awk -v port="$hex" 'substr($2, length($2) - 4) == port && $4 == "0A" { found = 1 } END { exit !found }'
}

# Below the ports that the kernel hands out to clients, so that none of those takes it meanwhile, and never one
# twice: a file of its name is made, for all scripts of a run where the runner says so.
free_port() {
	local candidate
	while :; do
		candidate=$((20000 + RANDOM % 10000))
		(set -C && : >"${RINGSAN_PORTS:-$dir}/port.$candidate") 2>/dev/null || continue
		is_listening "$candidate" || break
	done
	echo "$candidate"
}

# --- the daemon ----------------------------------------------------------------------------------

# shellcheck disable=SC2120 # Most scripts have no such lines.
# configure [LINES]: write $dir/$server/ringsan.conf from LINES for the root (loops, limits) and
# standard input (targets). portal_options="..." configure for what the portal needs.
configure() {
	# Refusals need not wait in tests, except where a test is about that. No line more: tests count.
	local globals=${1-}
	case $globals in
	*refusal-delay*) ;;
	*'limits {'*) globals=${globals/limits \{/limits { refusal-delay = 0s } ;;
	*) globals+=' limits { refusal-delay = 0s }' ;;
	esac
	mkdir -p "$dir/$server/state"
	[ -n "${port[$server]-}" ] || port[$server]=$(free_port)
	{
		echo "state-dir = \"$dir/$server/state\""
		echo "control-socket = \"$dir/$server/ringsand.sock\""
		echo "engine = $RINGSAN_ENGINE"
		case ${1-} in
		*loops*) ;;
		*) echo "loops = 2" ;;
		esac
		printf '%s\n' "$globals"
		echo "portal \"127.0.0.1:${port[$server]}\" { ${portal_options-} }"
		cat
	} >"$dir/$server/ringsan.conf"
}

log_file() {
	echo "$dir/$server/ringsand.log"
}

# Starts ringsand and waits until it listens. On failure one FAIL and status 1.
start_ringsand() {
	local log tries
	log=$(log_file)
	ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}abort_on_error=1:quarantine_size_mb=8:log_path=$dir/$server/sanitizer" \
		UBSAN_OPTIONS="halt_on_error=1:abort_on_error=1:print_stacktrace=1:log_path=$dir/$server/sanitizer" \
		TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1:log_path=$dir/$server/sanitizer" \
		"${launch[@]}" "$ringsand" -c "$dir/$server/ringsan.conf" >>"$log" 2>&1 </dev/null &
	daemon[$server]=$!
	for ((tries = 0; tries < 300; tries++)); do
		kill -0 "${daemon[$server]}" 2>/dev/null || break
		is_listening "${port[$server]}" && return 0
		sleep 0.1
	done
	tail -n 30 "$log"
	fail "ringsand starts" "it does not listen on port ${port[$server]}"
	kill -KILL "${daemon[$server]}" 2>/dev/null
	return 1
}

# From now on listening sockets outlive the daemon, as with systemd.
supervise() {
	mkdir -p "$dir/supervisor"
	python3 initiator-tests/supervisor.py keep "$dir/supervisor" &
	supervisor_pid=$!
	until [ -S "$dir/supervisor/store" ]; do
		kill -0 "$supervisor_pid" || return
		sleep 0.05
	done
	launch=(python3 initiator-tests/supervisor.py run "$dir/supervisor")
}

# start_or_end: for scripts that can do nothing without a daemon.
start_or_end() {
	start_ringsand || cases_end
}

# Wait for the daemon's end, at most $1 ms; sets end_status and end_ms. Status 255: it still runs.
wait_ringsand() {
	local begin=${EPOCHREALTIME/./} pid=${daemon[$server]}
	end_status=255 end_ms=0
	while kill -0 "$pid" 2>/dev/null; do
		end_ms=$(((${EPOCHREALTIME/./} - begin) / 1000))
		[ "$end_ms" -le "$1" ] || return 1
		sleep 0.05
	done
	wait "$pid"
	end_status=$?
	unset "daemon[$server]"
}

# What the sanitizers' runtime says of itself ("WARNING: invalid path ...") is no report.
sanitizer_reported() {
	grep -qsE 'SUMMARY:|ERROR:|runtime error:' "$dir/$server"/sanitizer*
}

# One case: SIGTERM ends the daemon with status 0 and no sanitizer has written a report.
stop_ringsand() {
	local name="ringsand ends well (engine $RINGSAN_ENGINE, server $server)"
	[ -n "${daemon[$server]-}" ] || return 0
	kill -TERM "${daemon[$server]}" 2>/dev/null
	# ThreadSanitizer holds a signal back until the thread leaves io_uring_enter(2), which it does not
	# know; a connection wakes it.
	[ "$RINGSAN_VARIANT" != tsan ] || (: <"/dev/tcp/127.0.0.1/${port[$server]}") 2>/dev/null
	wait_ringsand "$stop_ms_max"
	if sanitizer_reported; then
		cat "$dir/$server"/sanitizer*
		fail "$name" "a sanitizer reported"
	elif [ "$end_status" -ne 0 ]; then
		tail -n 30 "$(log_file)"
		fail "$name" "exit status $end_status after $end_ms ms"
	else
		pass "$name"
	fi
}

restart_ringsand() {
	stop_ringsand
	start_ringsand
}

# url [LUN] [TARGET]
url() {
	echo "iscsi://127.0.0.1:${port[$server]}/${2:-$iqn}/${1:-0}"
}

# What the daemon has logged since the mark (a count of lines).
log_mark() {
	wc -l <"$(log_file)"
}

log_since() {
	tail -n "+$(($1 + 1))" "$(log_file)"
}

# --- clients ---------------------------------------------------------------------------------------

# A stuck tool must not hold up the run: every client runs under this. `limit=N limited ...` for more.
limited() {
	timeout -k 5 "${limit:-60}" "$@"
}

# raw_command URL CDB [in=N] [out=HEX]: one SCSI command; prints status, sense and data.
raw_command() {
	limited python3 initiator-tests/initiator.py "$@"
}

# qemu_io LUN COMMAND...: in one session. Fails if any of them does, which qemu-io only says.
qemu_io() {
	local arguments=() command output status=0 lun=$1
	shift
	for command; do
		arguments+=(-c "$command")
	done
	output=$(limited qemu-io -f raw "${arguments[@]}" "$(url "$lun")" 2>&1) || status=$?
	printf '%s\n' "$output"
	[ "$status" -eq 0 ] && ! grep -qiE 'failed|error|suffix' <<<"$output"
}

# --- small helpers -------------------------------------------------------------------------------

# Bytes that a file occupies.
allocated_bytes() {
	echo $(($(stat -c '%b * %B' "$1")))
}

# The value after "NAME:" in the output of the libiscsi tools.
field_of() {
	sed -n "s/^ *$1: *//p" | head -n 1
}
