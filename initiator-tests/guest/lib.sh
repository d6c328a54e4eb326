# shellcheck shell=bash
# What the scenarios with Linux guests share: guests under QEMU, and commands in them. Source it first;
# it sources ../lib.sh, whose daemon the guests reach as 10.0.2.2. End with `cases_end`.
#
#     guest_start a              # Boots; guest_start b meanwhile boots another.
#     guest_wait a               # Until it takes commands, or one FAIL and the script's end.
#     on a 'iscsiadm ...'        # Its output and its status; limit=N on a ... for more than 60 s.
#     spawn a job 'fio ...'      # In the background; join a job prints its output, has its status.
#     login a; disk=$(disk_of a) # The disk of $target_lun, as /dev/sdX.
#
# Environment, with defaults: that of ../lib.sh; RINGSAN_GUEST_CACHE (see image.sh), GUEST_ACCEL (kvm where
# a guest boots with it, else tcg); and to run a scenario against a target that is there already:
# TARGET_PORTAL (HOST:PORT as a guest reaches it), TARGET_IQN, TARGET_LUN, TARGET_USER, TARGET_PASSWORD.

# shellcheck source=initiator-tests/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

guest_folder=initiator-tests/guest
guest_boot_s_max=${GUEST_BOOT_SECONDS:-300}
scenario_begin=$SECONDS
declare -A guest_pid=()

guests_end() {
	local name
	for name in "${!guest_pid[@]}"; do
		kill -KILL "${guest_pid[$name]}" 2>/dev/null && wait "${guest_pid[$name]}" 2>/dev/null
	done
	end_test
	printf 'time: %s took %s s\n' "$(basename "$0" .sh)" $((SECONDS - scenario_begin))
}
trap guests_end EXIT

# --- what is needed ------------------------------------------------------------------------------

# One SKIP and the end where guests cannot run.
need_guests() {
	local tool
	for tool in qemu-system-x86_64 python3; do
		command -v "$tool" >/dev/null && continue
		skip "$(basename "$0" .sh)" "QEMU cannot run here: $tool is missing (tests/packages.sh check)"
		cases_end
	done
	if ! guest_image=$("$guest_folder/image.sh" 2>"$dir/image.log"); then
		skip "$(basename "$0" .sh)" "no image: $(tail -n 1 "$dir/image.log")"
		cases_end
	fi
	choose_accelerator
}

# A guest that does not boot under KVM (some hosts' /dev/kvm is of little use) runs in emulation. Asked
# once for each image and boot of this machine.
choose_accelerator() {
	local asked
	asked=$guest_image/accelerator.$(cat /proc/sys/kernel/random/boot_id)
	if [ -n "${GUEST_ACCEL-}" ]; then
		return
	elif [ -s "$asked" ]; then
		GUEST_ACCEL=$(cat "$asked")
	else
		{
			GUEST_ACCEL=kvm
			[ -w /dev/kvm ] && guest_start probe && talk_to probe 20 <<<true || GUEST_ACCEL=tcg
			[ -z "${guest_pid[probe]-}" ] || guest_kill probe
		} 2>/dev/null
	fi
	echo "$GUEST_ACCEL" >"$asked"
}

# --- guests ----------------------------------------------------------------------------------------

# guest_start NAME [MIB]
guest_start() {
	local name=$1 folder=$dir/guest-$1
	rm -rf "$folder"
	mkdir -p "$folder"
	TMPDIR=$folder qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
		-accel "$GUEST_ACCEL" -cpu max -m "${2:-512}" \
		-kernel "$guest_image/vmlinux" -initrd "$guest_image/initramfs" \
		-append "console=ttyS0 quiet panic=-1 net.ifnames=0 mitigations=off guest.name=$name" \
		-chardev "file,id=console,path=$folder/console.log" -serial chardev:console \
		-drive "file=$guest_image/root.img,format=raw,if=none,id=root,snapshot=on,cache=unsafe" \
		-device virtio-blk-pci,drive=root -netdev user,id=net -device virtio-net-pci,netdev=net,romfile= \
		-chardev "socket,id=port,path=$folder/port,server=on,wait=off" -device virtio-serial-pci \
		-device virtserialport,chardev=port,name=ringsan >"$folder/qemu.log" 2>&1 </dev/null &
	guest_pid[$name]=$!
}

# talk_to NAME SECONDS, the script on standard input.
talk_to() {
	local tries
	for ((tries = 0; tries < 100; tries++)); do
		[ -S "$dir/guest-$1/port" ] && break
		kill -0 "${guest_pid[$1]}" 2>/dev/null || return 125
		sleep 0.1
	done
	python3 "$guest_folder/talk.py" "$dir/guest-$1/port" "$2"
}

guest_wait() {
	local begin=$SECONDS
	if talk_to "$1" "$guest_boot_s_max" <<<true; then
		echo "guest $1 ($GUEST_ACCEL) took commands after $((SECONDS - begin)) s"
		return
	fi
	tail -n 20 "$dir/guest-$1"/*.log
	fail "guest $1 boots" "it takes no command after $((SECONDS - begin)) s"
	cases_end
}

# The cable pulled and the power gone, at once.
guest_kill() {
	kill -KILL "${guest_pid[$1]}" 2>/dev/null
	wait "${guest_pid[$1]}" 2>/dev/null
	unset "guest_pid[$1]"
}

# on NAME SCRIPT
on() {
	local seconds=${limit:-60}
	# Bounded in the guest, so that the next command finds it free; the rest is for a slow machine.
	printf 'timeout -k 5 %s bash -c %q\n' "$seconds" "$2" | talk_to "$1" $((seconds + 60))
}

# spawn NAME JOB SCRIPT
spawn() {
	on "$1" "rm -f /run/job-$2.status
		(timeout -k 5 ${limit:-300} bash -c $(printf %q "$3") >/run/job-$2.output 2>&1 </dev/null
		echo \$? >/run/job-$2.status) >/dev/null 2>&1 &"
}

# join NAME JOB
join() {
	limit=${limit:-300} on "$1" "until [ -s /run/job-$2.status ]; do sleep 0.2; done
		cat /run/job-$2.output; exit \$(cat /run/job-$2.status)"
}

is_running() {
	on "$1" "[ ! -s /run/job-$2.status ]"
}

# case_on NAME GUEST SCRIPT; case_on_status NAME STATUS GUEST SCRIPT
case_on() {
	case_run "$1" on "$2" "$3"
}

case_on_status() {
	local output status=0
	output=$(on "$3" "$4" 2>&1) || status=$?
	[ "$status" -eq "$2" ] || printf '%s\n' "$output" | tail -n 10
	case_equal "$1" "$2" "$status"
}

# --- the target, as a guest sees it ------------------------------------------------------------------

portal=${TARGET_PORTAL-}
target=${TARGET_IQN:-$iqn}
target_lun=${TARGET_LUN:-0}
node="-m node -T $target"

# True if the scenario has a daemon of its own, whose image and process it may look at.
is_ours() {
	[ -z "${TARGET_PORTAL-}" ]
}

# serve [LINES]: configure and start, unless a target was named. Standard input as for configure.
serve() {
	if ! is_ours; then
		cat >/dev/null
		return
	fi
	port[$server]=${port[$server]:-$(free_port)}
	portal=10.0.2.2:${port[$server]}
	portal_options="advertise = \"10.0.2.2\"" configure "$@"
	start_or_end
}

# control VERB...: of ringsan(1), to the scenario's own daemon.
control() {
	limited "${ringsand%d}" "$@" --socket "$dir/$server/ringsand.sock"
}

discover() {
	on "$1" "iscsiadm -m discovery -t sendtargets -p $portal"
}

# set_node GUEST NAME VALUE [NAME VALUE]...
set_node() {
	local script='' guest=$1
	shift
	while [ $# -gt 0 ]; do
		script="$script iscsiadm $node -p $portal -o update -n '$1' -v '$2' || exit;"
		shift 2
	done
	on "$guest" "$script"
}

# login GUEST: discovery unless that was done (it would set the record's values back), the secret if there
# is one, login; waits for the disk.
login() {
	on "$1" "iscsiadm $node -p $portal" >/dev/null 2>&1 || discover "$1" >/dev/null || return
	if [ -n "${TARGET_USER-}" ]; then
		set_node "$1" node.session.auth.authmethod CHAP node.session.auth.username "$TARGET_USER" \
			node.session.auth.password "$TARGET_PASSWORD" || return
	fi
	on "$1" "iscsiadm $node -p $portal --login" || return
	disk_of "$1" >/dev/null
}

logout() {
	on "$1" "iscsiadm $node -p $portal --logout"
}

# disk_of GUEST [LUN [PORTAL]]: /dev/sdX, as soon as udev knows it.
disk_of() {
	on "$1" "for ((tries = 0; tries < 300; tries++)); do
			set -- /dev/disk/by-path/ip-${3:-*}-iscsi-$target-lun-${2:-$target_lun}
			[ -e \"\$1\" ] && exec readlink -f \"\$1\"
			sleep 0.1
		done
		exit 1"
}

# --- multipath --------------------------------------------------------------------------------------

# What oVirt's vdsm (4.5) writes to /etc/multipath.conf, but for find_multipaths, which has another default
# in Debian.
# shellcheck disable=SC2034 # For the scripts.
ovirt_multipath_conf='
defaults {
	polling_interval 5
	no_path_retry 16
	user_friendly_names no
	flush_on_last_del yes
	fast_io_fail_tmo 5
	dev_loss_tmo 30
	max_fds 4096
	find_multipaths no
}
blacklist {
	protocol "(scsi:adt|scsi:sbp)"
	devnode "^(rbd)[0-9]*"
}
overrides {
	no_path_retry 16
}'

# start_multipathd GUEST CONFIGURATION: until it answers.
start_multipathd() {
	on "$1" "cat >/etc/multipath.conf <<'M'
$2
M
		modprobe dm_multipath
		multipathd -d -s >/run/multipathd.log 2>&1 </dev/null &
		for ((tries = 0; tries < 300; tries++)); do
			multipathd show status 2>/dev/null | grep -q busy && exit 0
			sleep 0.1
		done
		exit 1"
}

# map_of GUEST [LUN]: the name of its multipath map, which is the LUN's WWID, as soon as it is there.
map_of() {
	on "$1" "disk=$(disk_of "$@")
		for ((tries = 0; tries < 300; tries++)); do
			cat /sys/block/\${disk##*/}/holders/dm-*/dm/name 2>/dev/null && exit 0
			sleep 0.1
		done
		exit 1"
}
