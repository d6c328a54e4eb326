/*
 * Refcounts: where they are, and what they should be. Read next: repair.c, which makes them so.
 */
#include "lun/qcow2/check_internal.h"

#include "base/bytes.h"

/* Clusters [first, end) that the same function looks at. */
struct visit {
	check_chunk_fn *fn;
	uint64_t first;
	uint64_t end;
};

static struct check_walk refcount_table(struct check *check)
{
	const struct qcow2_header *h = &check->header;

	return check_walk_table(check, h->refcount_table_offset,
				((uint64_t)h->refcount_table_clusters << h->cluster_bits) /
					ENTRY_BYTES);
}

uint64_t check_largest_refcount(const struct check *check)
{
	uint32_t bits = 1u << check->geometry.refcount_order;

	return bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
}

int check_refer_to_refcounts(struct check *check)
{
	struct check_walk walk = refcount_table(check);
	const uint8_t *bytes;
	uint64_t index;
	uint64_t offset;

	(void)check_refer(check, walk.offset, walk.entries * ENTRY_BYTES, MARK_METADATA,
			  "the refcount table");
	while ((bytes = check_walk_next(&walk, &index)) != NULL) {
		if (qcow2_refcount_table_decode(get_be64(bytes), &check->geometry, &offset) != 0)
			check_misplaced(
				check, "the refcount table entry %llu, 0x%llx, is not valid",
				(unsigned long long)index, (unsigned long long)get_be64(bytes));
		else if (offset >= check->clusters << check->geometry.cluster_bits)
			check_misplaced(
				check, "a refcount block at 0x%llx lies beyond the end of the file",
				(unsigned long long)offset);
		else
			(void)check_refer(check, offset, check->geometry.cluster_bytes,
					  MARK_METADATA, "a refcount block");
	}
	return walk.res;
}

static unsigned long long offset_of(const struct check *check, uint64_t cluster)
{
	return (unsigned long long)cluster << check->geometry.cluster_bits;
}

/* What the entries say of the refcount, against the refcount. */
static void compare_copied(struct check *check, uint64_t cluster, uint64_t refcount, uint32_t mark)
{
	if ((mark & MARK_COPIED) != 0 && refcount != 1)
		check_corrupt(check, "an entry says that the refcount at 0x%llx is 1, it is %llu",
			      offset_of(check, cluster), (unsigned long long)refcount);
	if ((mark & MARK_SHARED) != 0 && refcount == 1)
		check_corrupt(check, "the refcount at 0x%llx is 1, an entry does not say so",
			      offset_of(check, cluster));
}

static void compare_cluster(struct check *check, uint64_t cluster, uint64_t refcount)
{
	uint32_t mark = check->marks[cluster - check->window_first];
	uint32_t count = mark & MARK_COUNT;

	check->out->referenced += count > 0;
	if (refcount < count)
		check_corrupt(check, "the cluster at 0x%llx has %u references, refcount %llu",
			      offset_of(check, cluster), count, (unsigned long long)refcount);
	else if (refcount > count && count < MARK_COUNT)
		check_leak(check, "the cluster at 0x%llx leaks: %u references, refcount %llu",
			   offset_of(check, cluster), count, (unsigned long long)refcount);
	if ((mark & (MARK_COPIED | MARK_SHARED)) != 0)
		compare_copied(check, cluster, refcount, mark);
}

int check_compare(struct check *check, const struct check_chunk *chunk)
{
	const uint32_t *marks = check->marks + (chunk->first - check->window_first);
	uint32_t order = check->geometry.refcount_order;

	for (uint32_t i = 0; i < chunk->count; i++) {
		uint64_t refcount = 0;

		if (chunk->bytes != NULL)
			refcount = qcow2_refcount_get(chunk->bytes, chunk->index + i, order);
		if ((refcount | marks[i]) != 0)
			compare_cluster(check, chunk->first + i, refcount);
	}
	return 0;
}

/* Clusters [first, end) have their refcounts in one block, at `block`; 0: they are all 0. */
static int visit_block(struct check *check, const struct visit *visit, uint64_t block)
{
	uint32_t order = check->geometry.refcount_order;
	uint32_t entries = check->geometry.refcount_block_entries;
	uint64_t fit = (uint64_t)check->chunk_bytes * 8 >> order;
	uint64_t first = visit->first;
	int res = 0;

	while (res == 0 && first < visit->end) {
		/* Chunks begin at multiples of their size, so that bits stand in their bytes. */
		uint32_t index = (uint32_t)(first % entries % fit);
		uint64_t left = visit->end - first;
		struct check_chunk chunk = {
			.first = first,
			.index = index,
			.count = (uint32_t)(left < fit - index ? left : fit - index),
			.bytes = block != 0 ? check->chunks[DEPTH_L2] : NULL,
			.offset = block + ((first % entries - index) << order) / 8,
		};

		if (block != 0)
			res = check->file->read(check->file, chunk.bytes, check->chunk_bytes,
						chunk.offset);
		if (res == 0)
			res = visit->fn(check, &chunk);
		first += chunk.count;
	}
	return res;
}

int check_refcounts(struct check *check, check_chunk_fn *fn)
{
	struct check_walk walk = refcount_table(check);
	struct visit visit = {.fn = fn, .first = check->window_first};
	uint64_t end = check->window_first + check->window_count;
	uint64_t index;
	uint64_t offset;
	uint32_t entries = check->geometry.refcount_block_entries;
	const uint8_t *bytes;
	int res = 0;

	walk.next = visit.first / entries;
	if (walk.next > walk.entries)
		walk.next = walk.entries;
	while (res == 0 && visit.first < end && (bytes = check_walk_next(&walk, &index)) != NULL) {
		uint64_t first = index * entries;
		uint64_t behind = first + entries;

		if (qcow2_refcount_table_decode(get_be64(bytes), &check->geometry, &offset) != 0 ||
		    offset >= check->file->size_bytes)
			continue;
		/* Up to this block there is none. */
		visit.end = first < end ? first : end;
		res = visit_block(check, &visit, 0);
		visit.first = visit.first > first ? visit.first : first;
		visit.end = behind < end ? behind : end;
		if (res == 0)
			res = visit_block(check, &visit, offset);
		visit.first = behind;
	}
	visit.end = end;
	if (res == 0)
		res = walk.res;
	return res == 0 ? visit_block(check, &visit, 0) : res;
}
