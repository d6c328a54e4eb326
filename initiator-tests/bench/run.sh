#!/usr/bin/env bash
# Measure ringsand, beside it tgt (if it is installed) and the bare TCP echo limit, in alternating
# rounds, and print one table with the ratios within this run. What it means: README.md.
#
# Environment: BENCH_SECONDS (2) per measurement, BENCH_ROUNDS (3), BENCH_STORES ("null tmpfs"),
# BENCH_TARGET_CPU (0), BENCH_CLIENT_CPU (1), BENCH_KEEP=FOLDER for the single results as JSON,
# RINGSAN_ENGINE (auto), B (build).
: "${BENCH_SECONDS:=2}" "${BENCH_ROUNDS:=3}" "${BENCH_STORES:=null tmpfs}"
: "${BENCH_TARGET_CPU:=0}" "${BENCH_CLIENT_CPU:=1}" "${BENCH_KEEP:=}"
export RINGSAN_VARIANT=plain TMPDIR=/dev/shm
. "$(dirname "$0")/../lib.sh"

results=$dir/results
ringsan=$B/plain/ringsan
echo_limit=$programs/bench/echo
tgt_name=iqn.2026-11.io.ringsan:peer
peer_pid=

# The daemon's end is lib.sh's; the peer's is ours.
stop_peer() {
	[ -z "$peer_pid" ] || { kill -KILL "$peer_pid" && wait "$peer_pid"; } 2>/dev/null
}
trap 'stop_peer; end_test' EXIT

refuse() {
	echo "bench: $1" >&2
	exit 2
}

prepare() {
	[ "$(stat -f -c %T /dev/shm)" = tmpfs ] || refuse 'needs a tmpfs at /dev/shm'
	taskset -c "$BENCH_TARGET_CPU,$BENCH_CLIENT_CPU" true ||
		refuse 'needs the CPUs BENCH_TARGET_CPU and BENCH_CLIENT_CPU'
	make -s -j2 B="$B" V=plain "$B/plain/ringsand" "$ringsan" "$echo_limit" || refuse 'the build failed'
	mkdir -p "$results"
	# What the daemon starts inherits where it may run, its helper threads included.
	ringsand=$dir/pinned
	printf '#!/bin/sh\nexec taskset -c %s "%s" "$@"\n' "$BENCH_TARGET_CPU" "$(realpath "$B/plain/ringsand")" >"$ringsand"
	chmod +x "$ringsand"
}

start_target() {
	configure 'loops = 1' <<C
target "$iqn" {
	lun 0 { type = null size = 1G }
	lun 1 { image = "$dir/ringsand.img" size = 256M cache = page }
}
C
	start_ringsand || exit 1
}

tgt_admin() {
	tgtadm -C "$tgt_control" --lld iscsi "$@"
}

configure_peer() {
	truncate -s 256M "$dir/tgt.img"
	tgt_admin --op new --mode target --tid 1 -T "$tgt_name" &&
		tgt_admin --op new --mode logicalunit --tid 1 --lun 1 --bstype null -b "$dir/tgt.img" &&
		tgt_admin --op new --mode logicalunit --tid 1 --lun 2 --bstype rdwr -b "$dir/tgt.img" &&
		tgt_admin --op bind --mode target --tid 1 -I ALL
}

start_peer() {
	local tries
	if ! command -v tgtd tgtadm >/dev/null; then
		echo 'bench: tgt is not installed, so there is no peer to compare with' >&2
		return 0
	fi
	tgt_port=$(free_port)
	tgt_control=$tgt_port
	taskset -c "$BENCH_TARGET_CPU" tgtd -f -C "$tgt_control" --iscsi "portal=127.0.0.1:$tgt_port" \
		>"$dir/tgtd.log" 2>&1 </dev/null &
	peer_pid=$!
	for ((tries = 0; tries < 100; tries++)); do
		is_listening "$tgt_port" && break
		sleep 0.1
	done
	configure_peer || refuse "tgtd does not take its configuration: $(tail -n 3 "$dir/tgtd.log")"
}

# --- one measurement each, into $results/WHO.WORKLOAD.ROUND.* -------------------------------------

workloads='read-qd1-x1 read-qd32-x1 read-qd32-x4 write-qd32-x1 write-qd32-x4'

# split_workload NAME: sets kind, depth, sessions.
split_workload() {
	kind=${1%%-*}
	sessions=${1##*-x}
	depth=${1#*-qd}
	depth=${depth%-*}
}

# bench WHO WORKLOAD ROUND URL PID
bench() {
	split_workload "$2"
	limited "$ringsan" bench --json -w "$kind" -q "$depth" -s "$sessions" -t "$BENCH_SECONDS" --ramp 300ms \
		--size 256M --cpu "$BENCH_CLIENT_CPU" --threads 1 --target-pid "$5" "$4" >"$results/$1.$2.$3.json" ||
		refuse "ringsan bench failed on $1"
}

echo_round() {
	split_workload "$1"
	local shape='48 4144'
	[ "$kind" = read ] || shape='4144 48'
	# shellcheck disable=SC2086 # Two words.
	limited "$echo_limit" $shape "$sessions" "$depth" "$((BENCH_SECONDS * 1000))" "$BENCH_TARGET_CPU" \
		"$BENCH_CLIENT_CPU" >"$results/echo.$1.$2.txt" || refuse 'the echo program failed'
}

# The same reads by a stock client, to show that ours is not what limits.
stock_client_round() {
	limited taskset -c "$BENCH_CLIENT_CPU" iscsi-perf -m 32 -b 8 -r -t "$BENCH_SECONDS" "$(url 0)" 2>&1 |
		tr '\r' '\n' | sed -n 's/^iops average \([0-9]*\).*/\1/p' | tail -n 1 >"$results/iscsi-perf.$1.txt"
}

measure_store() {
	local store=$1 workload=$2 round=$3 lun=0 peer_lun=1
	[ "$store" = null ] || lun=1 peer_lun=2
	bench "ringsand-$store" "$workload" "$round" "$(url "$lun")" "${daemon[$server]}"
	[ -z "$peer_pid" ] || bench "tgt-$store" "$workload" "$round" \
		"iscsi://127.0.0.1:$tgt_port/$tgt_name/$peer_lun" "$peer_pid"
}

# Thin files cost more when first written; both are written through before anything is measured.
fill() {
	local url
	for url in "$(url 1)" ${peer_pid:+"iscsi://127.0.0.1:$tgt_port/$tgt_name/2"}; do
		limited "$ringsan" bench --fill -b 256K -q 4 -t 10ms --ramp 0 --size 256M "$url" >/dev/null ||
			refuse "cannot fill $url"
	done
}

measure_all() {
	local round workload store
	for ((round = 1; round <= BENCH_ROUNDS; round++)); do
		for workload in $workloads; do
			echo "bench: round $round of $BENCH_ROUNDS, $workload" >&2
			echo_round "$workload" "$round"
			for store in $BENCH_STORES; do
				measure_store "$store" "$workload" "$round"
			done
		done
		command -v iscsi-perf >/dev/null && stock_client_round "$round"
	done
}

prepare
start_target
start_peer
fill
measure_all
python3 initiator-tests/bench/summary.py "$results" "${BENCH_STORES}" || exit 1
[ -z "$BENCH_KEEP" ] || { mkdir -p "$BENCH_KEEP" && cp "$results"/* "$BENCH_KEEP"; }
stop_ringsand
cases_end
