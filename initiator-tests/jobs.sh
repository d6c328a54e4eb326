#!/usr/bin/env bash
# Long work on images of LUNs that hosts write at the same time: streaming, removing snapshots, merging; under the
# load of images/load.h, which knows what each block may hold. A job that is canceled leaves its chain; one that
# kill -9 cuts short is resumed by the next daemon. In the end qemu-img finds the images consistent, and
# in them what their hosts know.
#
# JOBS_MIB=4 JOBS_KILLS=1 JOBS_SEED=n
. "$(dirname "$0")/lib.sh"

kills=${JOBS_KILLS:-1} bytes=$((${JOBS_MIB:-4} << 20)) seed=${JOBS_SEED:-$RANDOM}
RANDOM=$seed
program=$programs/images/load
disks=(0 1 2)

# Each disk: a raw base, a snapshot with its first half, one with its second, and the active file. Of the last disk the
# first snapshot has all, and the other a little of it here and there: that is written down.
"$program" golden "$dir/golden.raw" "$bytes" || exit 2
make_chain() {
	local options=extended_l2=on,cluster_size=128k name=vm$1 first=$((bytes / 2)) at pieces=()
	if [ "$1" -eq 2 ]; then
		first=$bytes
		for ((at = 0; at < bytes; at += 1 << 20)); do
			dd if="$dir/golden.raw" of="$dir/piece$at" bs=64K skip=$((at >> 16)) count=2 status=none
			pieces+=(-c "write -q -s piece$at $at 128k")
		done
	else
		tail -c $((bytes - first)) "$dir/golden.raw" >"$dir/second"
		pieces=(-c "write -q -s second $first $((bytes - first))")
	fi
	cp "$dir/golden.raw" "$dir/base$1.raw" && cd "$dir" &&
		qemu-img create -q -f qcow2 -b "base$1.raw" -F raw "$name@a.qcow2" &&
		qemu-img create -q -f qcow2 -o $options -b "$name@a.qcow2" -F qcow2 "$name@b.qcow2" &&
		qemu-img create -q -f qcow2 -o $options -b "$name@b.qcow2" -F qcow2 "$name.qcow2" &&
		qemu-io -f qcow2 -c "write -q -s golden.raw 0 $first" "$name@a.qcow2" &&
		qemu-io -f qcow2 "${pieces[@]}" "$name@b.qcow2"
}
for n in "${disks[@]}"; do
	(make_chain "$n") || exit 2
done
configure < <(
	echo "target \"$iqn\" {"
	for n in "${disks[@]}"; do
		echo "lun $n { type = qcow2 image = \"$dir/vm$n.qcow2\" }"
	done
	echo "}"
)

# ask REQUEST [NAME=VALUE]...: the answer's body, or what was refused.
ask() {
	limited python3 initiator-tests/jobs.py "$dir/a/ringsand.sock" "$@" 2>&1
}

backing() {
	qemu-img info -U "$dir/$1" | sed -n 's/^backing file: \([^ ]*\).*/\1/p'
}

# answer WORD: the load's next line, which must begin so.
answer() {
	local line
	read -r -t 600 -u "${load[0]}" line || line='it has ended'
	said=$line
	[ "${line%% *}" = "$1" ] || { case_match "the load says '$1'" "^$1" "$line" && return 1; }
}

wait_for_jobs() {
	local tries
	for ((tries = 0; tries < 600; tries++)); do
		[ "$(ask jobs)" != '{"jobs": []}' ] || return 0
		sleep 0.05
	done
	return 1
}

# A kill may leave clusters leaked, and nothing worse, in a layer that is not written any more.
is_consistent() {
	local status=0
	qemu-img check -q "$1" >"$dir/check" 2>&1 || status=$?
	[ "$status" -ne 3 ] || [[ $1 != */vm2* ]] || status=0
	[ "$status" -eq 0 ] || cat "$dir/check"
	return "$status"
}

# Somebody works in the folder, so that it is not cleaned yet, and the job not resumed: its LUN is not free for others.
start_beside_others() {
	local folder
	: >"$dir/a/state/job-0123456789abcdef.new"
	exec {folder}<"$dir"
	flock "$folder"
	start_ringsand || return
	case_match 'a job that is about to be resumed is shown' '"state": "starting"' "$(ask jobs)"
	case_match 'nobody begins another' busy "$(ask image-stream image="$dir/vm2.qcow2")"
	flock --unlock "$folder"
	exec {folder}<&-
}

one_kill() {
	sleep "0.$(printf '%03d' $((RANDOM % 200)))"
	kill -KILL "${daemon[$server]}"
	wait "${daemon[$server]}" 2>/dev/null
	unset "daemon[$server]"
	answer broken || return
	start_beside_others && echo again >&"${load[1]}" && answer compared
}

start_or_end
echo "seed $seed"
coproc load { exec "$program" run "$seed" "$bytes" 0 "$dir" golden "$(url 0)" golden "$(url 1)" golden "$(url 2)" 2>&1; }
load_pid=$!
answer begun || cases_end

# Slowly, so that it can be seen, and canceled.
case_match 'a job begins' '"state": "(starting|running)"' "$(ask image-remove image="$dir/vm0@a.qcow2" rate=100000)"
case_match 'there is one at a time' 'busy' "$(ask image-stream image="$dir/vm0.qcow2")"
case_match 'it is shown' '"layer": "vm0@b.qcow2"' "$(ask jobs)"
case_match 'it is canceled' '"canceled": true' "$(ask job-cancel image="$dir/vm0.qcow2")"
case_equal 'and has ended' '{"jobs": []}' "$(ask jobs)"
case_equal 'for good' '' "$(ls "$dir"/a/state/job-* 2>/dev/null)"
case_equal 'its chain is as it was' 'vm0@a.qcow2' "$(backing vm0@b.qcow2)"
case_match 'what no LUN has is refused' 'not-found' "$(ask image-stream image="$dir/base0.qcow2")"
case_match 'and what is based on more than it may be' 'refused' "$(
	qemu-img create -q -f qcow2 -b vm0@a.qcow2 -F qcow2 "$dir/clone.qcow2"
	ask image-remove image="$dir/vm0@a.qcow2"
	rm "$dir/clone.qcow2"
)"

case_match 'a snapshot below another is removed' '"state": "ended"' "$(ask image-remove image="$dir/vm0@a.qcow2" wait=true)"
case_equal 'it has gone' 'base0.raw' "$(backing vm0@b.qcow2)$(ls "$dir/vm0@a.qcow2" 2>/dev/null)"
case_match 'one is merged into the active file' '"state": "ended"' "$(ask image-commit image="$dir/vm0.qcow2" wait=true)"
case_equal 'it has gone, too' 'base0.raw' "$(backing vm0.qcow2)$(ls "$dir/vm0@b.qcow2" 2>/dev/null)"
case_match 'all of a chain is streamed' '"state": "ended"' "$(ask image-stream image="$dir/vm1.qcow2" wait=true)"
case_equal 'the image stands alone' '' "$(backing vm1.qcow2)"
case_equal 'its snapshots are as they were' 'vm1@a.qcow2' "$(backing vm1@b.qcow2)"

# Cut short, again and again, in the middle of a chain.
case_match 'a slow one begins' '"state"' "$(ask image-remove image="$dir/vm2@a.qcow2" rate=$((bytes / 16)))"
for verb in list info; do
	case_match "downwards: 'image $verb' says what is left of the snapshot" 'no snapshot any more: .*remove it' \
		"$("$B/plain/ringsan" image "$verb" "$dir/vm2@a.qcow2")"
done
for ((i = 0; i < kills; i++)); do
	one_kill || break
done
case_equal 'the daemon is killed' "$kills" "$i"
ask job-rate image="$dir/vm2.qcow2" rate=0 >"$dir/rate"
case_run 'the job is resumed, and ends' wait_for_jobs
case_equal 'its snapshot has gone' 'base2.raw' "$(backing vm2@b.qcow2)$(ls "$dir/vm2@a.qcow2" 2>/dev/null)"
case_equal 'no record is left, nor half of one' '' "$(ls "$dir"/a/state/job-* 2>/dev/null)"

echo stop >&"${load[1]}"
answer ended && pass 'hosts find what they wrote'
printf '%s\n' "$said"
wait "$load_pid"
stop_ringsand
for n in "${disks[@]}"; do
	case_run "disk $n holds what its host knows" qemu-img compare -q -f qcow2 -F raw "$dir/vm$n.qcow2" "$dir/$n"
	for image in "$dir/vm$n"*.qcow2; do
		case_run "${image##*/} is consistent" is_consistent "$image"
	done
done
case_run 'snapshots that stay show what they did' qemu-img compare -q -f qcow2 -F raw "$dir/vm1@b.qcow2" "$dir/golden.raw"
cases_end
