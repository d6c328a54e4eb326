#!/usr/bin/env bash
# A qcow2 image of 1 TiB, all of it mapped, has 144 MiB of tables: what the daemon keeps of them stays in the
# bound that is configured, and every block is what it should be. The image is made by qemu-img, with space
# for all and data for nothing.
#
# One engine is enough: it has no part in memory for tables.
# TABLES_SECONDS=n: how long blocks all over it are read, in place of a second; then qemu-img looks at it, too.
export RINGSAN_VARIANT=plain # Memory of instrumented code says nothing.
. "$(dirname "$0")/lib.sh"

images_in_memory
cache_mib=64 beside_mib=32
qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=128k,preallocation=metadata "$images/full.qcow2" 1T || exit 2
configure "limits { qcow2-cache = ${cache_mib}M }" <<C
target "$iqn" { lun 0 { type = qcow2 image = "$images/full.qcow2" cache = page } }
C
start_or_end

rss_mib() {
	awk '$1 == "VmRSS:" { print int($2 / 1024) }' "/proc/${daemon[$server]}/status"
}
# One block of each part of 32 MiB, which has its entries in one piece of a table.
case_run 'blocks all over 1 TiB are read' \
	limited "$B/plain/ringsan" bench -w read -p random -b 4K -q 32 --ramp 0 -t "${TABLES_SECONDS:-1}" "$(url 0)"
used=$(rss_mib)
case_equal 'the tables in memory stay in their bound' yes \
	"$([ "$used" -le $((cache_mib + beside_mib)) ] && echo yes || echo "$used MiB")"
case_run 'a block is written, and one read that nobody wrote' qemu_io 0 'write -P 7 1023G 4k' flush 'read -P 7 1023G 4k' \
	'read -P 0 1022G 4k'
echo "figure 1 TiB, all of it mapped: RSS $used MiB after reads all over it, qcow2-cache = ${cache_mib}M"
stop_ringsand
[ -z "${TABLES_SECONDS-}" ] || case_run 'it is consistent' limited qemu-img check -q "$images/full.qcow2"
cases_end
