#!/usr/bin/env bash
# Thin provisioning as the file system sees it: a new LUN takes next to no space, a write takes what it
# writes, UNMAP and WRITE SAME with UNMAP really give the blocks back, and what was given back reads
# as zeroes. Look-ahead takes more for a while; that is looked at by itself, in the end.
. "$(dirname "$0")/lib.sh"

image=$dir/a.img
mib=1048576
configure <<C
target "$iqn" {
	lun 0 { image = "$image" size = 10G look-ahead = 0 }
	lun 1 { image = "$dir/ahead.img" size = 10G }
	lun 2 { image = "$dir/huge.img" size = 4T look-ahead = 0 }
	lun 3 { type = qcow2 image = "$dir/thin.qcow2" size = 4T }
	lun 4 { type = qcow2 image = "$dir/huge.qcow2" size = 4T }
}
C
start_or_end

case_equal 'size of the new image' $((10 << 30)) "$(stat -c %s "$image")"
fresh=$(allocated_bytes "$image")
case_equal 'a new image takes less than 64 KiB' yes "$([ "$fresh" -lt 65536 ] && echo yes || echo "$fresh")"

# near NAME EXPECTED: the allocation beyond that of the fresh image, give or take 64 KiB of the file
# system's own.
near() {
	local found=$(($(allocated_bytes "$image") - fresh)) off
	off=$((found - $2))
	if [ "${off#-}" -le 65536 ]; then
		pass "$1"
	else
		fail "$1" "expected $2 bytes, found $found"
	fi
}

case_run 'write 8 MiB at 5 GiB' qemu_io 0 'write -P 0x11 5G 8M' flush
near 'it takes 8 MiB' $((8 * mib))
case_run 'overwrite the same' qemu_io 0 'write -P 0x22 5G 8M' flush
near 'an overwrite takes nothing more' $((8 * mib))
case_run 'read a hole' qemu_io 0 'read -P 0 1G 8M'
near 'a read takes nothing' $((8 * mib))
case_run 'UNMAP 4 MiB of it' qemu_io 0 "discard $((5 * 1024 * mib)) 4M"
near '4 MiB come back' $((4 * mib))
case_run 'the rest is untouched, the hole is zero' qemu_io 0 'read -P 0 5G 4M' \
	"read -P 0x22 $((5 * 1024 * mib + 4 * mib)) 4M"

# WRITE SAME(16) with UNMAP and NDOB (SBC-3 5.46): 2 MiB at 5 GiB + 4 MiB.
cdb=$(printf '9309%016x%08x0000' $(((5 * 1024 + 4) * 2048)) 4096)
case_run 'WRITE SAME(16) with UNMAP and NDOB' \
	raw_command "$(url)" "$cdb"
near '2 MiB more come back' $((2 * mib))
# WRITE SAME(10) with UNMAP, one block of zeroes sent, the last 2 MiB.
cdb=$(printf '4108%08x00%04x00' $(((5 * 1024 + 6) * 2048)) 4096)
case_run 'WRITE SAME(10) with UNMAP' \
	raw_command "$(url)" "$cdb" "out=$(printf '%01024d' 0)"
near 'all of it has come back' 0
case_run 'all of it reads as zeroes' qemu_io 0 'read -P 0 5G 8M'

# UNMAP with two descriptors, one command: 1 MiB at 0 and 1 MiB at 1 GiB.
case_run 'write two places' qemu_io 0 'write -P 0x33 0 1M' 'write -P 0x33 1G 1M' flush
near 'they take 2 MiB' $((2 * mib))
list=$(printf '0026002000000000%016x%08x00000000%016x%08x00000000' 0 2048 $((1024 * 2048)) 2048)
case_run 'UNMAP with two descriptors' \
	raw_command "$(url)" 42000000000000002800 "out=$list"
near 'both come back' 0

# An UNMAP that covers no whole allocation unit must not touch the neighbours.
case_run 'write one unit' qemu_io 0 'write -P 0x44 0 64k' flush
case_run 'UNMAP one block inside it' raw_command "$(url)" \
	42000000000000001800 "out=$(printf '0016001000000000%016x%08x00000000' 3 1)"
case_run 'neighbours keep their data' qemu_io 0 'read -P 0x44 0 1536' 'read -P 0x44 2048 61k'

# Space allocated before a stream of writes goes back when the stream has ended.
image=$dir/ahead.img
fresh=$(allocated_bytes "$image")
case_run 'write 32 MiB in sequence' qemu_io 1 'write -P 0x55 0 32M' flush
taken=$(($(allocated_bytes "$image") - fresh))
case_equal 'it takes at most 16 MiB more for a while' yes \
	"$([ "$taken" -le $((48 * mib + 65536)) ] && echo yes || echo "$taken")"
for ((tries = 0; tries < 50; tries++)); do
	[ $(($(allocated_bytes "$image") - fresh)) -le $((32 * mib + 65536)) ] && break
	sleep 0.1
done
near 'and 32 MiB when the stream has ended' $((32 * mib))
case_run 'the data is untouched, what follows is zero' qemu_io 1 'read -P 0x55 0 32M' 'read -P 0 32M 16M'

# What the blocks are, as hosts are told; and all of 4 TiB given back.
limited python3 initiator-tests/thin.py "$(url 2)" || fail 'thin.py' 'see above'
huge=$(allocated_bytes "$dir/huge.img")
case_equal '4 TiB that were unmapped take less than 1 MiB' yes "$([ "$huge" -lt "$mib" ] && echo yes || echo "$huge")"

# A qcow2 image has space in reserve, 48 MiB at most, as long as it is served.
image=$dir/thin.qcow2
fresh=$(allocated_bytes "$image")
takes() { # NAME BYTES: that, and what is in reserve; which is soon so.
	local found tries
	for ((tries = 0; tries < 100; tries++)); do
		found=$(($(allocated_bytes "$image") - fresh))
		[ "$found" -lt "$2" ] || [ "$found" -gt $(($2 + 49 * mib)) ] || break
		sleep 0.1
	done
	case_equal "$1" yes "$([ "$tries" -lt 100 ] && echo yes || echo "expected $2 bytes, found $found")"
}
case_run 'qcow2: write 128 MiB at 1 TiB' qemu_io 3 'write -P 0x66 1T 128M' flush
takes 'qcow2: they take 128 MiB' $((128 * mib))
case_run 'qcow2: UNMAP 64 MiB of it' qemu_io 3 "discard $(((1 << 40) + 64 * mib)) 64M" flush
takes 'qcow2: 64 MiB come back' $((64 * mib))
case_run 'qcow2: WRITE SAME with UNMAP and NDOB, 64 MiB' \
	raw_command "$(url 3)" "$(printf '9309%016x%08x0000' $((1 << 31)) $((64 * 2048)))"
takes 'qcow2: all of it has come back' 0
PROVISIONING=qcow2 limited python3 initiator-tests/thin.py "$(url 4)" || fail 'thin.py, qcow2' 'see above'
case_run 'qcow2: one MiB is left' qemu_io 3 'write -P 0x67 1T 1M'

restart_ringsand
found=$(($(allocated_bytes "$image") - fresh))
case_equal 'qcow2: what was in reserve is given back in the end' yes "$([ "$found" -lt $((3 * mib)) ] && echo yes || echo "$found")"
case_run 'qcow2: data is there after a restart' qemu_io 3 'read -P 0x67 1T 1M' "read -P 0 $(((1 << 40) + mib)) 127M"
case_run 'data is there after a restart' qemu_io 0 'read -P 0x44 2048 61k' 'read -P 0 5G 8M'

stop_ringsand
case_run 'qcow2: one is consistent' qemu-img check "$image"
case_run 'qcow2: so is the other' qemu-img check "$dir/huge.qcow2"
cases_end
