#!/usr/bin/env bash
# kill -9 of the daemon in the middle of verified load on raw and qcow2 images, again and again, while operators keep jobs,
# snapshots, ways back, clones and growth going (kills.py says which moment each kill is to meet, and what it has met).
# After each kill: what was answered to be done is done; headers, catalogue and qemu-img agree that every image is consistent
# (clusters may be leaked); a snapshot holds what its image did when it was made (images/moments.c). After each start: the same
# identities; what was durable is there, or what was written later (images/load.h); what was cut short is removed, jobs are
# resumed. In the end jobs end, all images hold what their hosts know, and nothing else is left.
#
# KILLS=10 KILLS_MIB=4 KILLS_SEED=n; from 100 on it fails where too few kills have met one of the moments, and looks at all
# snapshots that have changed. `make soak`: 500.
. "$(dirname "$0")/lib.sh"

kills=${KILLS:-10} bytes=$((${KILLS_MIB:-4} << 20)) seed=${KILLS_SEED:-$RANDOM}

"$programs/images/load" golden "$dir/golden.raw" "$bytes" || exit 2
qemu-img convert -O qcow2 -c "$dir/golden.raw" "$dir/golden.qcow2" &&
	qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=128k "$dir/thin.qcow2" "$bytes" &&
	qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=128k -b golden.qcow2 -F qcow2 "$dir/clone.qcow2" &&
	qemu-img create -q -f qcow2 -o cluster_size=64k -b golden.raw -F raw "$dir/standard.qcow2" || exit 2
golden=$(cksum "$dir"/golden.*)
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
coproc operators {
	exec python3 initiator-tests/kills.py "$dir" "$B/plain/ringsan" "$seed" "$bytes" "$kills" \
		"$programs/images/load" run "$seed" "$bytes" 0 "$dir" "${disks[@]}" 2>&1
}
operators_pid=$!
# bash forgets them when it ends.
exec {answers}<&"${operators[0]}" {orders}>&"${operators[1]}"

# tell LINE WORD: to the operators, whose next line must begin so.
tell() {
	local line
	# Nobody may read it any more, which would end this shell.
	(echo "$1" >&"$orders")
	while read -r -t 900 -u "$answers" line; do
		case $line in
		"$2"*) said=$line && return ;;
		FAULT*) break ;;
		esac
		echo "$line"
	done
	fail "the operators say '$2'" "${line:-they have ended}"
	tail -n 30 "$(log_file)"
	return 1
}

one_kill() {
	tell "kill ${daemon[$server]}" killed || return
	wait "${daemon[$server]}" 2>/dev/null
	unset "daemon[$server]"
	tell look looked && start_ringsand && tell again compared
}

# Names that nobody asked for, and files with two.
leftovers() {
	find "$dir" -mindepth 1 -maxdepth 1 -printf '%f\n' | grep -Evx \
		'[0-4]|a|(golden|thin|clone|standard)\.qcow2|(thin|clone|standard)@[sk][0-9]+\.qcow2|golden\.raw|(direct|cached)\.img|content|port\..*'
	find "$dir" -maxdepth 1 -type f -links +1 -printf '%f has %n names\n'
	find "$dir/$server/state" -name 'job-*'
}

is_consistent() {
	local status=0
	qemu-img check -q "$1" || status=$?
	[ "$status" -eq 0 ] || [ "$status" -eq 3 ]
}

done_kills=0
if tell begin begun; then
	while [ "$done_kills" -lt "$kills" ] && one_kill; do
		done_kills=$((done_kills + 1))
	done
fi
case_equal 'after each kill all is as it was answered' "$kills" "$done_kills"
if [ "$done_kills" -eq "$kills" ]; then
	tell end ended && pass 'jobs end, and snapshots hold what their images did'
	printf '%s\n' "$said"
fi
wait "$operators_pid"
[ "$cases_failed" -eq 0 ] || cases_end
stop_ringsand

names=(direct.img cached.img "${qcow2[@]/%/.qcow2}")
for n in 0 1 2 3 4; do
	format=${names[n]#*.}
	case_run "LUN $n holds what its host knows" \
		qemu-img compare -f "${format/img/raw}" -F raw "$dir/${names[n]}" "$dir/$n"
done
for name in "$dir"/*.qcow2; do
	case_run "${name##*/} is consistent in the end" is_consistent "$name"
done
case_equal 'golden images are as they were' "$golden" "$(cksum "$dir"/golden.*)"
case_equal 'nothing else is left' '' "$(leftovers)"
cases_end
