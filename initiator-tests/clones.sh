#!/usr/bin/env bash
# Clones of golden images, qcow2, compressed and raw, served by one daemon and written at once by as many
# hosts, with flushes, FUA, UNMAP and WRITE SAME, verified. Then, by qemu-img: each clone is consistent, its
# content is what its host knows, and the golden images are as they were, to the byte.
#
# CLONES=20 CLONES_MIB=2 CLONES_OPERATIONS=4000 CLONES_SEED=n
. "$(dirname "$0")/lib.sh"

clones=${CLONES:-20} bytes=$((${CLONES_MIB:-2} << 20)) seed=${CLONES_SEED:-$RANDOM}
load=$programs/images/load
# The last cluster is a part of one, and shows what no host reads.
size=$((bytes + 7 * 65536 + 512))
images_in_memory

"$load" golden "$images/golden.raw" "$size" || exit 2
qemu-img convert -O qcow2 "$images/golden.raw" "$images/plain.qcow2" &&
	qemu-img convert -O qcow2 -c "$images/golden.raw" "$images/zlib.qcow2" &&
	qemu-img convert -O qcow2 -c -o compression_type=zstd,cluster_size=256k "$images/golden.raw" "$images/zstd.qcow2" &&
	qemu-img create -q -f qcow2 -b zlib.qcow2 -F qcow2 "$images/deep.qcow2" || exit 2
golden=(plain.qcow2 zlib.qcow2 golden.raw zstd.qcow2 deep.qcow2)
options=('extended_l2=on,cluster_size=128k' cluster_size=64k 'extended_l2=on,cluster_size=64k' cluster_size=4k)

base_of() {
	echo "${golden[$1 % ${#golden[@]}]}"
}

sums() {
	(cd "$images" && sha256sum "${golden[@]}")
}

disks=()
for ((n = 0; n < clones; n++)); do
	base=$(base_of "$n")
	qemu-img create -q -f qcow2 -o "${options[n % ${#options[@]}]}" -b "$base" -F "${base#*.}" \
		"$images/clone$n.qcow2" || exit 2
done
sums >"$dir/before"
configure < <(
	echo "target \"$iqn\" {"
	for ((n = 0; n < clones; n++)); do
		echo "lun $n { type = qcow2 image = \"$images/clone$n.qcow2\" }"
	done
	echo "}"
)
start_or_end
for ((n = 0; n < clones; n++)); do
	disks+=(golden "$(url "$n")")
done

echo "seed $seed"
case_match "$clones hosts find in their clones what they wrote" '^ended' \
	"$(limit=3600 limited "$load" run "$seed" "$bytes" "${CLONES_OPERATIONS:-4000}" "$dir" "${disks[@]}" </dev/null | tee "$dir/load")"
grep '^ended' "$dir/load"
stop_ringsand

for ((n = 0; n < clones; n++)); do
	name="clone $n of $(base_of "$n")"
	case_run "$name is consistent" qemu-img check -q "$images/clone$n.qcow2"
	tail -c "+$((bytes + 1))" "$images/golden.raw" >>"$dir/$n"
	case_run "$name holds what its host knows" qemu-img compare -f qcow2 -F raw "$images/clone$n.qcow2" "$dir/$n"
done
case_equal 'the golden images are as they were' "$(cat "$dir/before")" "$(sums)"
cases_end
