/*
 * Internal snapshots and stored bitmaps: we never write them, but what they refer to is in use.
 * Their own contents are nobody's here. Read next: check.c.
 */
#include "lun/qcow2/check_internal.h"

#include <errno.h>

#include "base/bytes.h"

#define SNAPSHOT_BYTES 40u
#define BITMAP_BYTES 24u
/* Extra data and two names of 16 bits each, "Snapshot table entry"; qemu's bound of the first. */
#define SNAPSHOT_EXTRA_MAX 1024u
/* qemu's bound. */
#define BITMAP_TABLE_ENTRIES_MAX 0x8000000u

static bool is_aligned(const struct check *check, uint64_t offset)
{
	return offset != 0 && (offset & (check->geometry.cluster_bytes - 1)) == 0;
}

static uint64_t round_up_8(uint64_t bytes)
{
	return (bytes + 7) / 8 * 8;
}

/* How long the snapshot table is shows at its end only. */
static int walk_snapshots(struct check *check, bool map, uint64_t *end)
{
	uint64_t offset = check->header.snapshots_offset;
	int res = 0;

	for (uint32_t i = 0; res == 0 && i < check->header.snapshot_count; i++) {
		uint8_t row[SNAPSHOT_BYTES];
		struct check_l1 l1 = {0};
		uint32_t extra;

		res = check->file->read(check->file, row, sizeof(row), offset);
		if (res != 0)
			break;
		l1.offset = get_be64(row);
		l1.entries = get_be32(row + 8);
		extra = get_be32(row + 36);
		if (!is_aligned(check, l1.offset) || extra > SNAPSHOT_EXTRA_MAX ||
		    l1.entries > QCOW2_L1_BYTES_MAX / ENTRY_BYTES) {
			if (map)
				check_broken(check, "snapshot %u is not valid", i);
			break;
		}
		if (map)
			res = check_mapping(check, &l1);
		offset += round_up_8((uint64_t)SNAPSHOT_BYTES + extra + get_be16(row + 12) +
				     get_be16(row + 14));
	}
	*end = offset;
	return res;
}

int check_snapshots(struct check *check)
{
	uint64_t start = check->header.snapshots_offset;
	uint64_t end;
	int res;

	if (check->header.snapshot_count == 0)
		return 0;
	res = walk_snapshots(check, false, &end);
	if (res == 0 && end > start)
		(void)check_refer(check, start, end - start, MARK_METADATA, "the snapshot table");
	return res != 0 ? res : walk_snapshots(check, true, &end);
}

static int check_bitmap(struct check *check, uint64_t offset, uint32_t entries)
{
	struct check_walk walk = check_walk_table(check, offset, entries);
	const uint8_t *bytes;
	uint64_t index;

	if (entries == 0 || entries > BITMAP_TABLE_ENTRIES_MAX || !is_aligned(check, offset) ||
	    !check_refer(check, offset, (uint64_t)entries * ENTRY_BYTES, MARK_METADATA,
			 "a bitmap table")) {
		check_broken(check, "the bitmap table at 0x%llx is not valid",
			     (unsigned long long)offset);
		return 0;
	}
	if (check_count(check, offset) > 1)
		return 0;
	while ((bytes = check_walk_next(&walk, &index)) != NULL) {
		uint64_t entry = get_be64(bytes);

		/* 1: all ones, without a cluster. */
		if (entry == 1)
			continue;
		if ((entry & ~QCOW2_OFFSET_MASK) != 0 || !is_aligned(check, entry))
			check_broken(check, "the bitmap table entry 0x%llx is not valid",
				     (unsigned long long)entry);
		else
			(void)check_refer(check, entry, check->geometry.cluster_bytes,
					  MARK_METADATA, "a bitmap");
	}
	return walk.res;
}

int check_bitmaps(struct check *check)
{
	const struct qcow2_header *h = &check->header;
	uint64_t offset = h->bitmap_directory_offset;
	uint64_t end = offset + h->bitmap_directory_bytes;
	int res = 0;

	if (h->bitmap_count == 0)
		return 0;
	(void)check_refer(check, offset, end - offset, MARK_METADATA, "the bitmap directory");
	for (uint32_t i = 0; res == 0 && i < h->bitmap_count; i++) {
		uint8_t row[BITMAP_BYTES];

		if (end - offset < sizeof(row)) {
			check_broken(check, "the bitmap directory ends before its bitmap %u", i);
			break;
		}
		res = check->file->read(check->file, row, sizeof(row), offset);
		if (res != 0)
			break;
		res = check_bitmap(check, get_be64(row), get_be32(row + 8));
		offset += round_up_8((uint64_t)BITMAP_BYTES + get_be16(row + 18) +
				     get_be32(row + 20));
		if (offset > end)
			offset = end;
	}
	return res;
}
