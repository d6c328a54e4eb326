#!/usr/bin/env bash
# A pool that runs full: ENOSPC reaches who needs new space, and nobody else. A reader, and a writer of what is
# allocated already, go on beside it on another disk without an error; when there is space again, so does the
# one that was refused, without a new session or a restart. On a file system of 64 MiB that nobody else sees: ext4
# for root, else tmpfs in a user namespace.
. "$(dirname "$0")/lib.sh"
is_ours || {
	skip '08_full' 'it fills a file system, so it wants a target of its own'
	cases_end
}
if [ -z "${RINGSAN_OWN_MOUNTS-}" ]; then
	need_guests
	own=(unshare --mount --propagation private)
	[ "$(id -u)" -eq 0 ] || own+=(--map-root-user)
	if ! why=$("${own[@]}" mount -t tmpfs none /mnt 2>&1); then
		skip '08_full' "mounting is not permitted: $why"
		cases_end
	fi
	rm -rf "$dir"
	RINGSAN_OWN_MOUNTS=1 exec "${own[@]}" bash "$PWD/$guest_folder/08_full.sh"
fi
need_guests

mib=$((1 << 20))
pool=$dir/pool
mkdir "$pool"
truncate -s 64M "$dir/ext4.img"
if ! { mkfs.ext4 -q -m 0 "$dir/ext4.img" && mount -o loop "$dir/ext4.img" "$pool"; } 2>/dev/null; then
	mount -t tmpfs -o size=56M none "$pool"
fi
trap 'umount -l "$pool"; guests_end' EXIT
echo "the pool is $(stat -f -c %T "$pool")"
fallocate -l 16M "$pool/ballast"

guest_start a
serve "pool small { path = \"$pool\" reserve = 10% }" <<C
target "$iqn" {
	lun 0 { image = "$pool/a.img" size = 64M }
	lun 1 { image = "$pool/b.img" size = 16M }
}
C
guest_wait a
case_run 'login' login a
thirsty=$(disk_of a 0) content=$(disk_of a 1)
limit=200 case_on 'one disk is written wholly' a "dd if=/dev/urandom of=/tmp/data bs=1M count=64 2>/dev/null &&
	dd if=/tmp/data of=$content bs=1M count=16 oflag=direct"

# Both in rounds, as long as nobody says it is enough; each round verifies what it reads.
limit=1000 spawn a reader "until [ -e /run/enough ]; do
		dd if=$content bs=64k count=64 iflag=direct 2>/dev/null | cmp -n $((4 * mib)) - /tmp/data || exit
		echo round && sleep 0.5
	done"
limit=1000 spawn a overwriter "until [ -e /run/enough ]; do
		fio --name=overwriter --filename=$content --offset=8M --size=4M --rw=randwrite --bs=16k --direct=1 --rate=4m \
			--ioengine=libaio --iodepth=4 --verify=crc32c --verify_fatal=1 --do_verify=1 --minimal >/run/fio || exit
		echo round && sleep 0.5
	done"

# goes_on NAME: both end two rounds more.
goes_on() {
	local job
	for job in reader overwriter; do
		limit=200 case_on "$1: the $job goes on" a "rounds() { wc -l </run/job-$job.output; }
			end=\$((\$(rounds) + 2))
			until [ \$(rounds) -ge \$end ]; do
				[ ! -s /run/job-$job.status ] || exit 1
				sleep 0.2
			done"
	done
}

goes_on 'before'

# --- full --------------------------------------------------------------------------------------------------

# write FROM-MIB: 64 KiB at a time until it is refused.
limit=300 case_on 'somebody writes until there is no space' a "cd /tmp
	for ((at = 0; at < 1024; at++)); do
		dd if=/tmp/data of=$thirsty bs=64k count=1 skip=\$at seek=\$at oflag=direct conv=notrunc 2>/run/refused || break
	done
	echo \$at >/run/stopped
	[ \$at -lt 1024 ] && grep 'No space left on device' /run/refused"
stopped=$(on a 'cat /run/stopped')
echo "refused after $((stopped / 16)) MiB"
case_match 'the kernel calls it want of space' 'critical space allocation error' "$(on a dmesg)"
goes_on 'full'
case_on 'what it has written may be written again' a "dd if=/tmp/data of=$thirsty bs=1M count=8 oflag=direct"
case_on 'and reads as it was written' a "cmp -n $((stopped * 65536)) $thirsty /tmp/data"
case_refused 'new space is refused still' on a "dd if=/tmp/data of=$thirsty bs=1M skip=60 seek=60 count=1 oflag=direct"
case_on 'zeroes need none' a "blkdiscard -z --offset 48M --length 8M $thirsty"
case_equal 'the session is there' 1 "$(on a 'iscsiadm -m session' | grep -c "$target")"

# --- space again -----------------------------------------------------------------------------------------------

rm "$pool/ballast"
case_on 'there is space: the writer goes on where it was refused' a "for ((tries = 0; tries < 300; tries++)); do
		dd if=/tmp/data of=$thirsty bs=64k count=160 skip=$stopped seek=$stopped oflag=direct && exit 0
		sleep 0.2
	done
	exit 1"
case_on 'all of it verifies' a "cmp -n $(((stopped + 160) * 65536)) $thirsty /tmp/data"
goes_on 'after'
on a 'touch /run/enough'
for job in reader overwriter; do
	output=$(join a "$job" 2>&1)
	case_equal "the $job has seen no error" 0 $?
	grep -v '^round$' <<<"$output" | tail -n 10
done
case_equal 'nobody else has' '' "$(on a "dmesg | grep -E 'I/O error|critical' | grep -v 'space allocation error, dev ${thirsty##*/}'")"
case_run 'logout' logout a
stop_ringsand
cases_end
