#!/usr/bin/env bash
# kill -9 of the daemon in the middle of verified load on raw and qcow2 images, of snapshots, and of jobs that are slow enough to
# live through several, again and again. After each: qemu-img finds every image consistent, or clusters leaked and
# nothing worse; the daemon starts at once, with the same identities; what was durable is there, or what was written
# later (images/load.h). A snapshot holds what its image did when it was made (images/moments.c). In the end the jobs
# end, all images hold what their hosts know, and nothing else is left.
#
# KILLS=9 KILLS_MIB=4 KILLS_SEED=n; `make soak` kills 500 times. KILLS_LOOK=1: at all snapshots after each kill.
. "$(dirname "$0")/lib.sh"

kills=${KILLS:-9} bytes=$((${KILLS_MIB:-4} << 20)) seed=${KILLS_SEED:-$RANDOM}
RANDOM=$seed

"$programs/images/load" golden "$dir/golden.raw" "$bytes" || exit 2
qemu-img convert -O qcow2 -c "$dir/golden.raw" "$dir/golden.qcow2" &&
	qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=128k "$dir/thin.qcow2" "$bytes" &&
	qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=128k -b golden.qcow2 -F qcow2 "$dir/clone.qcow2" &&
	qemu-img create -q -f qcow2 -o cluster_size=64k -b golden.raw -F raw "$dir/standard.qcow2" || exit 2
qcow2=(thin clone standard)
configure <<C
target "$iqn" {
	lun 0 { image = "$dir/direct.img" size = $bytes }
	lun 1 { image = "$dir/cached.img" size = $bytes cache = page }
	lun 2 { type = qcow2 image = "$dir/thin.qcow2" }
	lun 3 { type = qcow2 image = "$dir/clone.qcow2" }
	lun 4 { type = qcow2 image = "$dir/standard.qcow2" cache = page }
}
C
# What a daemon leaves that is killed in the middle of a snapshot; nobody but the next one's start removes it.
: >"$dir/.ringsan-0123456789abcdef.tmp"
ln "$dir/thin.qcow2" "$dir/thin@cut.qcow2"
start_or_end
cut_is_removed() {
	local tries
	for ((tries = 0; tries < 600; tries++)); do
		[ -e "$dir/.ringsan-0123456789abcdef.tmp" ] || [ -e "$dir/thin@cut.qcow2" ] || return 0
		sleep 0.02
	done
	return 1
}
case_run 'what a snapshot left that was cut short is removed at the start' cut_is_removed

echo "seed $seed"
disks=()
for n in 0 1 2 3 4; do
	base=empty
	[ "$n" -lt 3 ] || base=golden
	disks+=("$base" "$(url "$n")")
done
coproc load { exec "$programs/images/load" run "$seed" "$bytes" 0 "$dir" "${disks[@]}" 2>&1; }
load_pid=$! said=()

# answer WORD: the load's next line, which must begin so.
answer() {
	local line
	read -r -t 600 -u "${load[0]}" line || line='it has ended'
	said+=("$line")
	[ "${line%% *}" = "$1" ] || { case_match "the load says '$1'" "^$1" "$line" && return 1; }
}

# Consistent, or leaks (3); which are counted.
leaks=0
is_consistent() {
	local status tries
	for ((tries = 0; tries < 600; tries++)); do
		status=0
		qemu-img check -q "$dir/$1.qcow2" >"$dir/check" 2>&1 || status=$?
		# The last I/O of a process may end after it, and keeps the lock.
		grep -q 'Failed to get .* lock' "$dir/check" || break
		sleep 0.1
	done
	[ "$status" -ne 3 ] || leaks=$((leaks + 1))
	[ "$status" -eq 0 ] || [ "$status" -eq 3 ]
}

# tell WORD LINE: to the load, which answers WORD.
tell() {
	echo "${@:2}" >&"${load[1]}" && answer "$1"
}

# ask REQUEST [NAME=VALUE]...
ask() {
	limited python3 initiator-tests/jobs.py "$dir/$server/ringsand.sock" "$@" 2>&1
}

# A snapshot of two LUNs at one instant, which the kill may meet at any point of.
snapshots=0
snapshot() {
	snapshots=$((snapshots + 1))
	tell marked mark "s$snapshots" 2,3 || return
	limited "$B/plain/ringsan" image snapshot --socket "$dir/$server/ringsand.sock" --name "s$snapshots" \
		"$dir/thin.qcow2" "$dir/clone.qcow2" >>"$dir/snapshots" 2>&1 &
	snapshot_pid=$!
}

# Where the oldest snapshot goes into the one above it, the newest into the active file, or a clone gets all of
# its base. One LUN has one job at a time; another is refused, as are snapshots meanwhile.
begin_job() {
	local oldest request=image-commit image=$dir/thin.qcow2
	case $((RANDOM % 4)) in
	0)
		oldest=$(find "$dir" -name 'thin@s*.qcow2' | sort -V | head -n 1)
		request=image-remove image=${oldest:-$image}
		;;
	1) image=$dir/clone.qcow2 ;;
	2) request=image-stream image=$dir/clone.qcow2 ;;
	esac
	printf '%s %s %s\n' "$request" "${image##*/}" "$(ask "$request" "image=$image" "rate=$((bytes / 2))")" >>"$dir/jobs"
}

# look FILE...: what these snapshots hold; one may be another's name for what is there (family.h), not yet cleaned up.
looked=0
look() {
	local file name
	for file; do
		[ "$(stat -c %h "$file")" = 1 ] || continue
		name=${file##*@} name=${name%.qcow2}
		qemu-img convert -U -f qcow2 -O raw "$file" "$dir/content" || wrong+=("$file cannot be read")
		case $file in
		*/thin@*) tell checked check "$name" 2 "$dir/content" ;;
		*) tell checked check "$name" 3 "$dir/content" ;;
		esac || return
		looked=$((looked + 1))
	done
}

wrong=()
one_kill() {
	local name
	snapshot_pid=
	sleep "0.$(printf '%03d' $((RANDOM % 300)))"
	# Each is a layer more, of which a chain has so many only.
	if [ $((RANDOM % 2)) -eq 0 ] && [ "$(find "$dir" -name 'clone@s*' | wc -l)" -lt 5 ]; then
		snapshot || return
		sleep "0.$(printf '%03d' $((RANDOM % 100)))"
		kill -0 "$snapshot_pid" 2>/dev/null || tell taken taken || return
	else
		begin_job
	fi
	kill -KILL "${daemon[$server]}"
	wait "${daemon[$server]}" 2>/dev/null
	unset "daemon[$server]"
	[ -z "$snapshot_pid" ] || wait "$snapshot_pid"
	answer broken || return
	for name in "${qcow2[@]}"; do
		is_consistent "$name" || wrong+=("kill $1, $name: $(head -n 3 "$dir/check" | tr '\n' ' ')")
	done
	[ -z "${KILLS_LOOK-}" ] || look "$dir"/*@s*.qcow2 || return
	resumed=$((resumed + $(find "$dir/$server/state" -name 'job-*' | wc -l)))
	start_ringsand && tell compared again
}

# As fast as they go, from now on.
end_jobs() {
	local tries
	for ((tries = 0; tries < 600; tries++)); do
		[ "$(ask jobs)" != '{"jobs": []}' ] || return 0
		ask job-rate "image=$dir/thin.qcow2" rate=0 >/dev/null
		ask job-rate "image=$dir/clone.qcow2" rate=0 >/dev/null
	done
	ask jobs
	return 1
}

# Names that nobody asked for, and files with two.
leftovers() {
	find "$dir" -mindepth 1 -maxdepth 1 -printf '%f\n' | grep -Evx \
		'[0-4]|a|(golden|thin|clone|standard)\.qcow2|(thin|clone)@s[0-9]+\.qcow2|golden\.raw|(direct|cached)\.img|content|check|snapshots|jobs|port\..*'
	find "$dir" -maxdepth 1 -type f -links +1 -printf '%f has %n names\n'
	find "$dir/$server/state" -name 'job-*'
}

resumed=0
done_kills=0
if answer begun; then
	snapshot
	status=0
	wait "$snapshot_pid" || status=$?
	tell taken taken
	case_equal 'a snapshot of two LUNs under load' 0 "$status"
	[ "$status" -eq 0 ] || cat "$dir/snapshots"
	while [ "$done_kills" -lt "$kills" ] && one_kill $((done_kills + 1)); do
		done_kills=$((done_kills + 1))
	done
fi
case_equal 'after each kill what was durable is there' "$kills" "$done_kills"
case_run 'all jobs end' end_jobs
# In this shell: the load's ends are not for others.
look "$dir"/*@s*.qcow2 && pass 'each snapshot holds what its image did'
case_equal 'and qemu-img finds no image corrupt' '' "${wrong[*]}"
echo stop >&"${load[1]}"
answer ended && pass 'all goes on in the end'
printf '%s\n' "${said[-1]}"
wait "$load_pid"
stop_ringsand

for n in 0 1 2 3 4; do
	names=(direct.img cached.img "${qcow2[@]/%/.qcow2}")
	format=${names[n]#*.}
	case_run "LUN $n holds what its host knows" \
		qemu-img compare -f "${format/img/raw}" -F raw "$dir/${names[n]}" "$dir/$n"
done
# What kills leaked is taken back in the background, by whoever opens the image next, and next again.
for name in "${qcow2[@]}" $(find "$dir" -name '*@s*.qcow2' -printf '%f\n' | sed 's/\.qcow2$//' | sort); do
	case_run "$name is consistent in the end" is_consistent "$name"
done
case_equal 'nothing else is left' '' "$(leftovers)"
echo "figure $(grep -c '"state"' "$dir/jobs") jobs begun, $(grep -vc '"state"' "$dir/jobs") refused, $resumed times resumed; $looked looks at snapshots"
echo "figure $snapshots snapshots begun, $(find "$dir" -name 'thin@s*.qcow2' | wc -l) made"
printf '%s\n' "${said[@]}" | awk -v leaks="$leaks" '/^compared/ { split($2, d, "="); split($3, l, "="); durable += d[2]; lost += l[2]; n++ }
	END { printf "figure %d kills: %d blocks were durable, %d others not the last written; %d images with leaks\n", n, durable, lost, leaks }'
cases_end
