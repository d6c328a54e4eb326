/*
 * What an L1 table maps: L2 tables, data, compressed data. Read next: check_more.c.
 */
#include "lun/qcow2/check_internal.h"

#include "base/bytes.h"

/* Of the active table alone. */
static void count_guest(struct check *check, const struct check_l1 *l1,
			const struct qcow2_l2_entry *entry)
{
	if (!check->first_pass || !l1->active)
		return;
	check->out->guest_clusters += entry->compressed || entry->allocated != 0;
	check->out->guest_compressed += entry->compressed;
}

static void refer_compressed(struct check *check, const struct qcow2_l2_entry *entry)
{
	/* Whole sectors. */
	uint64_t start = entry->host_offset & ~UINT64_C(511);
	uint64_t end = entry->host_offset + entry->deflated_bytes;

	(void)check_refer(check, start, end - start, MARK_DATA, "compressed data");
}

static uint32_t copied_mark(const struct check_l1 *l1, bool copied)
{
	if (!l1->active)
		return 0;
	return copied ? MARK_COPIED : MARK_SHARED;
}

static void refer_data(struct check *check, const struct check_l1 *l1,
		       const struct qcow2_l2_entry *entry)
{
	(void)check_refer(check, entry->host_offset, check->geometry.cluster_bytes,
			  MARK_DATA | copied_mark(l1, entry->copied), "data");
}

static void check_l2_entry(struct check *check, const struct check_l1 *l1, const uint8_t *bytes,
			   uint64_t guest_cluster)
{
	const struct qcow2_geometry *g = &check->geometry;
	uint64_t bitmap = g->extended ? get_be64(bytes + ENTRY_BYTES) : 0;
	struct qcow2_l2_entry entry;

	if (qcow2_l2_decode(get_be64(bytes), bitmap, g, &entry) != 0) {
		check_broken(check, "the L2 entry 0x%llx (0x%llx) for 0x%llx is not valid",
			     (unsigned long long)get_be64(bytes), (unsigned long long)bitmap,
			     (unsigned long long)guest_cluster << g->cluster_bits);
		return;
	}
	count_guest(check, l1, &entry);
	if (entry.compressed) {
		refer_compressed(check, &entry);
	} else if (entry.host_offset != 0) {
		refer_data(check, l1, &entry);
	}
}

static int check_l2_table(struct check *check, const struct check_l1 *l1, uint64_t offset,
			  uint64_t first_guest_cluster)
{
	struct check_walk walk = check_walk_l2(check, offset);
	const uint8_t *bytes;
	uint64_t index;

	while ((bytes = check_walk_next(&walk, &index)) != NULL)
		check_l2_entry(check, l1, bytes, first_guest_cluster + index);
	return walk.res;
}

static int check_l1_entry(struct check *check, const struct check_l1 *l1, uint64_t entry,
			  uint64_t index)
{
	const struct qcow2_geometry *g = &check->geometry;
	uint32_t mark = MARK_L2 | copied_mark(l1, (entry & QCOW2_COPIED) != 0);
	uint64_t offset;

	if (qcow2_l1_decode(entry, g, &offset) != 0) {
		check_broken(check, "the L1 entry %llu, 0x%llx, is not valid",
			     (unsigned long long)index, (unsigned long long)entry);
		return 0;
	}
	if (!check_refer(check, offset, g->cluster_bytes, mark, "an L2 table"))
		return 0;
	/* One table in two places of one L1 table would be walked as often as it pleases its
	 * author. Outside of the window this is not seen; then the pass of its window tells. */
	if (l1->active && check_count(check, offset) > 1) {
		check_corrupt(check, "the L1 entry %llu has the L2 table of another, at 0x%llx",
			      (unsigned long long)index, (unsigned long long)offset);
		return 0;
	}
	return check_l2_table(check, l1, offset, index * g->l2_entries);
}

int check_mapping(struct check *check, const struct check_l1 *l1)
{
	struct check_walk walk = check_walk_table(check, l1->offset, l1->entries);
	const uint8_t *bytes;
	uint64_t index;
	int res = 0;

	if (l1->entries == 0)
		return 0;
	if (!check_refer(check, l1->offset, (uint64_t)l1->entries * ENTRY_BYTES, MARK_METADATA,
			 "an L1 table"))
		return 0;
	/* Snapshots with one table in common would be walked as often as they please. */
	if (check_count(check, l1->offset) > 1)
		return 0;
	while (res == 0 && (bytes = check_walk_next(&walk, &index)) != NULL)
		res = check_l1_entry(check, l1, get_be64(bytes), index);
	return res != 0 ? res : walk.res;
}
