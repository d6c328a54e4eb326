/*
 * Refcounts without a place: where blocks are missing, or the refcount table leads nowhere, all of
 * it is made anew behind the end of the file, from the references, and one write of the first
 * sector switches. Until then nothing that is there has been changed; what was the table and its
 * blocks is free afterwards, as nothing refers to it.
 *
 * Read next: repair.c, grow.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "lun/qcow2/check_internal.h"
#include "lun/qcow2/header_bytes.h"
#include "lun/qcow2/repair.h"

struct rebuild {
	struct check check; /* First. */
	struct qcow2_writable *writable;
	/* Places, in clusters, behind the end: blocks for all clusters up to `end`, the table. */
	uint64_t blocks_at, blocks, table_at, table_clusters, end;
};

static uint64_t divide_up(uint64_t a, uint64_t b)
{
	return (a + b - 1) / b;
}

static uint64_t offset_of(const struct check *check, uint64_t cluster)
{
	return cluster << check->geometry.cluster_bits;
}

/* Blocks and table count themselves. */
static int place(struct rebuild *r)
{
	const struct qcow2_geometry *g = &r->check.geometry;
	uint64_t before;

	r->blocks = r->table_clusters = 1;
	do {
		before = r->blocks + r->table_clusters;
		r->end = r->check.clusters + before;
		r->blocks = divide_up(r->end, g->refcount_block_entries);
		r->table_clusters = divide_up(r->blocks * ENTRY_BYTES, g->cluster_bytes);
	} while (r->blocks + r->table_clusters != before);
	r->blocks_at = r->check.clusters;
	r->table_at = r->blocks_at + r->blocks;
	return offset_of(&r->check, r->table_clusters) <= QCOW2_REFCOUNT_TABLE_BYTES_MAX ? 0
											 : -ENOTSUP;
}

/* -- Passes, over windows of the clusters that there were before -- */

static int mark_all(struct check *check)
{
	check->without_refcounts = true;
	return check_mark_all(check);
}

/* Is it only refcounts, and are there none that do not fit? */
static int try_pass(struct check *check)
{
	uint64_t largest = check_largest_refcount(check);
	int res = mark_all(check);

	for (uint64_t i = 0; res == 0 && i < check->window_count; i++) {
		uint64_t count = check->marks[i] & MARK_COUNT;

		if (count > largest || count == MARK_COUNT)
			res = -ENOTSUP;
	}
	return res == 0 && check->out->beyond_repair > 0 ? -ENOTSUP : res;
}

/* What of [first, end) one chunk of one block counts; how many that are in *count. */
static int write_chunk(struct rebuild *r, uint64_t first, uint64_t end, uint32_t *count)
{
	struct check *check = &r->check;
	uint32_t order = check->geometry.refcount_order;
	uint32_t fit = check->chunk_bytes * 8 >> order;
	uint32_t in_block = (uint32_t)(first % check->geometry.refcount_block_entries);
	uint32_t index = in_block % fit;
	uint64_t block = first / check->geometry.refcount_block_entries;
	uint64_t at = offset_of(check, r->blocks_at + block) +
		      ((uint64_t)(in_block - index) << order) / 8;
	uint8_t *bytes = check->chunks[DEPTH_L2];
	int res = check->file->read(check->file, bytes, check->chunk_bytes, at);

	*count = end - first < fit - index ? (uint32_t)(end - first) : fit - index;
	for (uint32_t i = 0; i < *count; i++) {
		uint64_t cluster = first + i;

		qcow2_refcount_set(bytes, index + i, order,
				   cluster < check->clusters
					   ? check_count(check, offset_of(check, cluster))
					   : 1);
	}
	return res == 0 ? r->writable->write(r->writable, bytes, check->chunk_bytes, at) : res;
}

static int write_counts(struct rebuild *r, uint64_t first, uint64_t end)
{
	uint32_t count;
	int res = 0;

	for (; res == 0 && first < end; first += count)
		res = write_chunk(r, first, end, &count);
	return res;
}

static int write_pass(struct check *check)
{
	struct rebuild *r = (void *)check; /* Its first member. */
	int res = mark_all(check);

	return res == 0 ? write_counts(r, check->window_first,
				       check->window_first + check->window_count)
			: res;
}

/* -- The switch -- */

static int write_table(struct rebuild *r)
{
	size_t bytes = (size_t)offset_of(&r->check, r->table_clusters);
	uint8_t *table = calloc(1, bytes);
	int res;

	if (table == NULL)
		return -ENOMEM;
	for (uint64_t i = 0; i < r->blocks; i++)
		put_be64(table + i * ENTRY_BYTES, offset_of(&r->check, r->blocks_at + i));
	res = r->writable->write(r->writable, table, bytes, offset_of(&r->check, r->table_at));
	free(table);
	return res == 0 ? r->writable->sync(r->writable) : res;
}

static int switch_over(struct rebuild *r)
{
	uint8_t sector[HEADER_SECTOR_BYTES];
	int res = r->check.file->read(r->check.file, sector, sizeof(sector), 0);

	put_be64(sector + AT_REFCOUNT_TABLE_OFFSET, offset_of(&r->check, r->table_at));
	put_be32(sector + AT_REFCOUNT_TABLE_CLUSTERS, (uint32_t)r->table_clusters);
	if (res == 0)
		res = r->writable->write(r->writable, sector, sizeof(sector), 0);
	return res == 0 ? r->writable->sync(r->writable) : res;
}

static int rebuild(struct rebuild *r)
{
	uint64_t at_once = r->check.window_count;
	int res = place(r);

	if (res == 0)
		res = check_run(&r->check, try_pass);
	if (res != 0)
		return res;
	r->check.window_count = at_once;
	/* What is read of the run before it is written is zeroes. */
	r->writable->file.size_bytes = offset_of(&r->check, r->end);
	res = check_run(&r->check, write_pass);
	if (res == 0)
		res = write_counts(r, r->check.clusters, r->end);
	if (res == 0)
		res = write_table(r);
	return res == 0 ? switch_over(r) : res;
}

int repair_rebuild(struct qcow2_repair *repair, char *why, size_t why_bytes)
{
	const struct qcow2_check_spec spec = {
		.file = &repair->writable->file,
		.memory_bytes = repair->memory_bytes,
	};
	struct qcow2_check found;
	struct rebuild r = {.writable = repair->writable};
	int res = check_begin(&r.check, &spec, &found, why, why_bytes);

	if (res != 0)
		return res;
	res = rebuild(&r);
	if (res != 0)
		(void)snprintf(why, why_bytes, "%s",
			       res == -ENOTSUP ? "its refcounts are too narrow, or their table "
						 "would be larger than 8 MiB"
					       : "it cannot be read or written");
	check_end(&r.check);
	return res;
}
