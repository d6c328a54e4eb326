/*
 * The passes of a check: mark what everything refers to, then compare with the refcounts. Read
 * next: check_mark.c, check_l2.c.
 */
#include "lun/qcow2/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "lun/qcow2/check_internal.h"
#include "lun/qcow2/plain.h"

#define MEMORY_BYTES (UINT64_C(256) << 20)
#define PASSES_MAX 64u

/* -- Tables -- */

static bool read_chunk(struct check_walk *walk)
{
	struct check *check = walk->check;
	uint64_t left = walk->entries - walk->next;
	uint32_t fit = check->chunk_bytes / walk->entry_bytes;

	walk->in_chunk = 0;
	walk->chunk_entries = left < fit ? (uint32_t)left : fit;
	if (left == 0)
		return false;
	walk->res = check->file->read(check->file, check->chunks[walk->depth],
				      (size_t)walk->chunk_entries * walk->entry_bytes,
				      walk->offset + walk->next * walk->entry_bytes);
	return walk->res == 0;
}

static bool is_zero(const uint8_t *entry, uint32_t entry_bytes)
{
	uint64_t low;
	uint64_t high = 0;

	memcpy(&low, entry, sizeof(low));
	if (entry_bytes > ENTRY_BYTES)
		memcpy(&high, entry + ENTRY_BYTES, sizeof(high));
	return (low | high) == 0;
}

const uint8_t *check_walk_next(struct check_walk *walk, uint64_t *index)
{
	for (;;) {
		const uint8_t *at = walk->check->chunks[walk->depth] +
				    (size_t)walk->in_chunk * walk->entry_bytes;

		if (walk->in_chunk == walk->chunk_entries) {
			if (!read_chunk(walk))
				return NULL;
			continue;
		}
		walk->in_chunk++;
		walk->next++;
		if (!is_zero(at, walk->entry_bytes)) {
			*index = walk->next - 1;
			return at;
		}
	}
}

/* -- Refcounts -- */

static struct check_walk refcount_table(struct check *check)
{
	const struct qcow2_header *h = &check->header;

	return (struct check_walk){
		.check = check,
		.depth = DEPTH_L1,
		.offset = h->refcount_table_offset,
		.entries = ((uint64_t)h->refcount_table_clusters << h->cluster_bits) / ENTRY_BYTES,
		.entry_bytes = ENTRY_BYTES,
	};
}

static int refer_to_refcounts(struct check *check)
{
	struct check_walk walk = refcount_table(check);
	const uint8_t *bytes;
	uint64_t index;
	uint64_t offset;

	(void)check_refer(check, walk.offset, walk.entries * ENTRY_BYTES, MARK_METADATA,
			  "the refcount table");
	while ((bytes = check_walk_next(&walk, &index)) != NULL) {
		if (qcow2_refcount_table_decode(get_be64(bytes), &check->geometry, &offset) != 0)
			check_broken(check, "the refcount table entry %llu, 0x%llx, is not valid",
				     (unsigned long long)index,
				     (unsigned long long)get_be64(bytes));
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

/* Clusters [first, end) have their refcounts in one block, at `block`; 0: they are all 0. */
static int compare_block(struct check *check, uint64_t first, uint64_t end, uint64_t block)
{
	uint32_t order = check->geometry.refcount_order;
	uint32_t entries = check->geometry.refcount_block_entries;
	uint64_t fit = (uint64_t)check->chunk_bytes * 8 >> order;
	uint8_t *chunk = check->chunks[DEPTH_L2];
	int res = 0;

	while (res == 0 && first < end) {
		/* Chunks begin at multiples of their size, so that bits stand in their bytes. */
		uint32_t in_chunk = (uint32_t)(first % entries % fit);
		uint64_t start = first % entries - in_chunk;

		if (block != 0)
			res = check->file->read(check->file, chunk, check->chunk_bytes,
						block + (start << order) / 8);
		for (; res == 0 && in_chunk < fit && first < end; in_chunk++, first++)
			compare_cluster(check, first,
					block != 0 ? qcow2_refcount_get(chunk, in_chunk, order)
						   : 0);
	}
	return res;
}

static int compare(struct check *check)
{
	struct check_walk walk = refcount_table(check);
	uint64_t next = check->window_first;
	uint64_t end = next + check->window_count;
	uint64_t index;
	uint64_t offset;
	uint32_t entries = check->geometry.refcount_block_entries;
	const uint8_t *bytes;
	int res = 0;

	walk.next = next / entries;
	if (walk.next > walk.entries)
		walk.next = walk.entries;
	while (res == 0 && next < end && (bytes = check_walk_next(&walk, &index)) != NULL) {
		uint64_t first = index * entries;
		uint64_t behind = first + entries;

		if (qcow2_refcount_table_decode(get_be64(bytes), &check->geometry, &offset) != 0 ||
		    offset >= check->file->size_bytes)
			continue;
		/* Up to this block there is none. */
		if (next < first)
			res = compare_block(check, next, first < end ? first : end, 0);
		next = next > first ? next : first;
		if (res == 0 && next < end)
			res = compare_block(check, next, behind < end ? behind : end, offset);
		next = behind;
	}
	if (res == 0)
		res = walk.res;
	return res == 0 && next < end ? compare_block(check, next, end, 0) : res;
}

/* -- Passes -- */

static int pass(struct check *check, uint64_t first, uint64_t count)
{
	const struct check_l1 active = {
		.offset = check->header.l1_offset,
		.entries = check->header.l1_entries,
		.active = true,
	};
	int res;

	check->first_pass = first == 0;
	check->window_first = first;
	check->window_count = count;
	memset(check->marks, 0, count * sizeof(*check->marks));
	(void)check_refer(check, 0, check->geometry.cluster_bytes, MARK_METADATA, "the header");
	res = refer_to_refcounts(check);
	if (res == 0)
		res = check_mapping(check, &active);
	if (res == 0)
		res = check_snapshots(check);
	if (res == 0)
		res = check_bitmaps(check);
	return res == 0 ? compare(check) : res;
}

/* The room for findings is not touched. */
static void clear(struct qcow2_check *out, const struct qcow2_header *header)
{
	out->corruptions = out->leaks = out->referenced = 0;
	out->guest_clusters = out->guest_compressed = out->finding_count = 0;
	out->dirty = (header->incompatible & QCOW2_INCOMPATIBLE_DIRTY) != 0;
	out->marked_corrupt = (header->incompatible & QCOW2_INCOMPATIBLE_CORRUPT) != 0;
}

static void start(struct check *check, struct qcow2_check *out)
{
	const struct qcow2_geometry *g = &check->geometry;

	qcow2_geometry_of(&check->header, &check->geometry);
	check->clusters = (check->file->size_bytes + g->cluster_bytes - 1) >> g->cluster_bits;
	check->chunk_bytes = g->cluster_bytes < CHUNK_BYTES ? g->cluster_bytes : CHUNK_BYTES;
	check->out = out;
	clear(out, &check->header);
	out->clusters = check->clusters;
}

static int run(struct check *check, uint64_t at_once)
{
	int res = 0;

	for (uint64_t first = 0; res == 0 && first < check->clusters; first += at_once) {
		uint64_t left = check->clusters - first;

		res = pass(check, first, left < at_once ? left : at_once);
	}
	return res;
}

int qcow2_check(const struct qcow2_check_spec *spec, struct qcow2_check *out, char *why,
		size_t why_bytes)
{
	struct check check = {.file = spec->file};
	uint64_t memory_bytes = spec->memory_bytes != 0 ? spec->memory_bytes : MEMORY_BYTES;
	uint64_t at_once = memory_bytes / sizeof(*check.marks);
	int res = qcow2_header_read(spec->file, &check.header, why, why_bytes);

	if (res != 0)
		return res;
	start(&check, out);
	if (check.clusters < at_once)
		at_once = check.clusters;
	if (at_once == 0 || check.clusters / at_once > PASSES_MAX) {
		(void)snprintf(why, why_bytes, "the file has too many clusters to be counted");
		return -EFBIG;
	}
	check.marks =
		malloc(at_once * sizeof(*check.marks) + (size_t)DEPTH_COUNT * check.chunk_bytes);
	if (check.marks == NULL) {
		(void)snprintf(why, why_bytes, "no memory to count its clusters");
		return -ENOMEM;
	}
	for (unsigned i = 0; i < DEPTH_COUNT; i++)
		check.chunks[i] =
			(uint8_t *)(check.marks + at_once) + (size_t)i * check.chunk_bytes;
	res = run(&check, at_once);
	if (res != 0)
		(void)snprintf(why, why_bytes, "a table cannot be read");
	free(check.marks);
	return res;
}

enum qcow2_verdict qcow2_check_verdict(const struct qcow2_check *check)
{
	if (check->corruptions > 0)
		return QCOW2_CORRUPT;
	return check->leaks > 0 ? QCOW2_LEAKS : QCOW2_CLEAN;
}
