/*
 * Growing, in steps that are durable one after the other (rule O6):
 *
 *     TAIL     zeroes behind the end of the disk, in its last cluster
 *     CONTENT  a run of clusters behind the end of the file: the new L1 table, the refcount blocks
 *              that count the run, the new refcount table
 *     COUNT    the refcounts of the run in blocks that are there
 *     BLOCKS   the new blocks' entries in the refcount table, if that stays
 *     SWITCH   the first sector: size, L1 table, refcount table
 *     FREE     refcounts of the old tables
 *
 * Nothing refers to clusters behind the end of the file, so they are free whatever their refcounts.
 * Read next: run.c, which does the same for an open image.
 */
#include "lun/qcow2/grow.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/attr.h"
#include "base/reach.h"
#include "lun/qcow2/header_bytes.h"
#include "lun/qcow2/plain.h"
#include "lun/qcow2/tail.h"

#define ENTRY_BYTES 8u

struct growth {
	struct qcow2_grow *grow;
	struct qcow2_writable *writable;
	struct qcow2_header before, after;
	struct qcow2_geometry geometry;
	uint64_t end_bytes; /* Of the file. */
	/* The run, in clusters: the L1 table, blocks, the refcount table; all 0 where the L1 table
	 * stays where it is. */
	uint64_t run_first;
	uint64_t l1_clusters, blocks, table_clusters;
	/* The refcount table as it becomes. */
	uint8_t *table;
	uint64_t table_entries;
	bool in_table;  /* It names the run's blocks already. */
	uint8_t *block; /* Room for one. */
	char *why;
	size_t why_bytes;
};

static int refuse(const struct growth *growth, int res, const char *text)
{
	(void)snprintf(growth->why, growth->why_bytes, "%s", text);
	return res;
}

static uint64_t divide_up(uint64_t a, uint64_t b)
{
	return (a + b - 1) / b;
}

static uint64_t clusters_of(const struct growth *growth, uint64_t bytes)
{
	return divide_up(bytes, growth->geometry.cluster_bytes);
}

static int read_at(struct growth *growth, void *bytes, size_t length, uint64_t offset)
{
	const struct qcow2_file *file = &growth->writable->file;

	return file->read(file, bytes, length, offset);
}

static int write_at(struct growth *growth, const void *bytes, size_t length, uint64_t offset)
{
	return growth->writable->write(growth->writable, bytes, length, offset);
}

static int sync_all(struct growth *growth)
{
	return growth->writable->sync(growth->writable);
}

/* Rule O6: what the first sector will lead to. */
static int sync_run(struct growth *growth)
{
	return PLANTED(grow_switches_early) ? 0 : sync_all(growth);
}

/* -- Before anything is changed -- */

static int check(const struct growth *growth)
{
	const struct qcow2_header *h = &growth->before;
	uint64_t wanted = growth->grow->size_bytes;

	if (wanted < h->size_bytes)
		return refuse(
			growth, -EINVAL,
			"a disk is not made smaller: `ringsan image convert` makes a new one");
	if (wanted % HEADER_SECTOR_BYTES != 0)
		return refuse(growth, -EINVAL, "the size of a disk is a multiple of 512 bytes");
	if (wanted > QCOW2_SIZE_MAX)
		return refuse(growth, -EINVAL, "the disk would be larger than 64 TiB");
	if ((h->incompatible & (QCOW2_INCOMPATIBLE_CORRUPT | QCOW2_INCOMPATIBLE_DIRTY)) != 0)
		return refuse(growth, -ENOTSUP,
			      "it is marked as corrupt or dirty; `ringsan image check --repair` "
			      "first");
	if (h->snapshot_count > 0)
		return refuse(growth, -ENOTSUP,
			      "it has internal snapshots; `qemu-img snapshot -d` removes them");
	if ((h->autoclear & QCOW2_AUTOCLEAR_BITMAPS) != 0)
		return refuse(growth, -ENOTSUP,
			      "it has dirty bitmaps; `qemu-img bitmap --remove` removes them");
	/* What lies there would show. */
	if (growth->grow->backing_bytes > h->size_bytes)
		return refuse(growth, -ENOTSUP,
			      "its backing file is larger than it and would show in what comes; "
			      "`ringsan image stream` first");
	return 0;
}

/* -- The refcount table -- */

static uint64_t run_clusters(const struct growth *growth)
{
	return growth->l1_clusters + growth->blocks + growth->table_clusters;
}

/* Where the block of that index lies; 0: there is none but for one that is made, and that counts
 * the run in its content. -EINVAL: its entry is not valid. */
static int block_at(const struct growth *growth, uint64_t index, uint64_t *offset)
{
	uint64_t run = growth->run_first << growth->geometry.cluster_bits;

	*offset = 0;
	if (index >= growth->table_entries)
		return 0;
	if (qcow2_refcount_table_decode(get_be64(growth->table + index * ENTRY_BYTES),
					&growth->geometry, offset) != 0)
		*offset = UINT64_MAX;
	if (growth->in_table && *offset >= run && *offset < UINT64_MAX)
		*offset = 0;
	if (*offset >= growth->end_bytes)
		return refuse(growth, -EINVAL,
			      "its refcount table is not valid; see `ringsan image check`");
	return 0;
}

static uint64_t block_of(const struct growth *growth, uint64_t cluster)
{
	return cluster / growth->geometry.refcount_block_entries;
}

static uint64_t last_block(const struct growth *growth)
{
	return block_of(growth, growth->run_first + run_clusters(growth) - 1);
}

static int count_missing(const struct growth *growth, uint64_t *out)
{
	uint64_t first = block_of(growth, growth->run_first);
	uint64_t offset;
	int res = 0;

	*out = 0;
	for (uint64_t i = first; res == 0 && i <= last_block(growth); i++) {
		res = block_at(growth, i, &offset);
		*out += offset == 0;
	}
	return res;
}

/* The run counts itself: what it needs for that makes it longer. */
static int plan_run(struct growth *growth)
{
	uint64_t before;
	int res;

	growth->run_first = clusters_of(growth, growth->end_bytes);
	growth->l1_clusters = clusters_of(growth, (uint64_t)growth->after.l1_entries * ENTRY_BYTES);
	do {
		before = run_clusters(growth);
		res = count_missing(growth, &growth->blocks);
		if (last_block(growth) >= growth->table_entries)
			growth->table_clusters =
				clusters_of(growth, (last_block(growth) + 1) * ENTRY_BYTES);
	} while (res == 0 && run_clusters(growth) != before);
	if (growth->table_clusters * growth->geometry.cluster_bytes >
	    QCOW2_REFCOUNT_TABLE_BYTES_MAX)
		return refuse(growth, -ENOTSUP,
			      "its refcount table would be larger than 8 MiB; `ringsan image "
			      "convert` makes an image of larger clusters");
	return res;
}

/* The table as it is, with room for what comes. */
static int read_table(struct growth *growth)
{
	uint64_t bytes = (uint64_t)growth->before.refcount_table_clusters
			 << growth->geometry.cluster_bits;

	growth->block = malloc(growth->geometry.cluster_bytes);
	growth->table = calloc(1, (size_t)QCOW2_REFCOUNT_TABLE_BYTES_MAX);
	if (growth->table == NULL || growth->block == NULL)
		return refuse(growth, -ENOMEM, "no memory for its refcount table");
	growth->table_entries = bytes / ENTRY_BYTES;
	return read_at(growth, growth->table, bytes, growth->before.refcount_table_offset);
}

/* -- Refcounts in blocks that are there -- */

/* Clusters [first, first + count), which one block counts. */
struct counted {
	uint64_t first;
	uint64_t count;
	uint64_t offset; /* Of the sectors that hold their refcounts, in the file; */
	uint32_t bytes;  /* those were read to growth->block. */
	uint32_t index;  /* Of the first one, there. */
};

/* The next ones of [first, end). No block: bytes is 0. */
static int read_counted(struct growth *growth, uint64_t first, uint64_t end, struct counted *out)
{
	uint32_t entries = growth->geometry.refcount_block_entries;
	uint32_t order = growth->geometry.refcount_order;
	uint32_t in_sector = (HEADER_SECTOR_BYTES * 8) >> order;
	uint32_t index = (uint32_t)(first % entries);
	uint64_t left = entries - index;
	uint32_t behind;
	uint64_t block;
	int res = block_at(growth, block_of(growth, first), &block);

	*out = (struct counted){.first = first, .count = left < end - first ? left : end - first};
	if (res != 0 || block == 0)
		return res;
	behind = (uint32_t)divide_up(index + out->count, in_sector);
	out->index = index % in_sector;
	out->offset = block + (uint64_t)(index / in_sector) * HEADER_SECTOR_BYTES;
	out->bytes = (behind - index / in_sector) * HEADER_SECTOR_BYTES;
	return read_at(growth, growth->block, out->bytes, out->offset);
}

static int set_refcounts(struct growth *growth, uint64_t first, uint64_t count, uint64_t refcount)
{
	uint64_t end = first + count;
	struct counted counted;
	int res = 0;

	for (; res == 0 && first < end; first += counted.count) {
		res = read_counted(growth, first, end, &counted);
		if (res != 0 || counted.bytes == 0)
			continue;
		for (uint32_t i = 0; i < counted.count; i++)
			qcow2_refcount_set(growth->block, counted.index + i,
					   growth->geometry.refcount_order, refcount);
		res = write_at(growth, growth->block, counted.bytes, counted.offset);
	}
	return res;
}

/* What is given back has to be ours alone. */
static int expect_ones(struct growth *growth, uint64_t offset, uint64_t count)
{
	uint64_t first = offset >> growth->geometry.cluster_bits;
	uint64_t end = first + count;
	struct counted counted;
	bool all = true;
	int res = 0;

	for (; res == 0 && first < end; first += counted.count) {
		res = read_counted(growth, first, end, &counted);
		for (uint32_t i = 0; res == 0 && i < counted.count; i++)
			all = all && counted.bytes > 0 &&
			      qcow2_refcount_get(growth->block, counted.index + i,
						 growth->geometry.refcount_order) == 1;
	}
	if (res == 0 && !all)
		res = refuse(growth, -EINVAL,
			     "refcounts of its tables are wrong; `ringsan image check --repair` "
			     "first");
	return res;
}

/* -- CONTENT -- */

static uint64_t old_l1_bytes(const struct growth *growth)
{
	return (uint64_t)growth->before.l1_entries * ENTRY_BYTES;
}

static int write_l1(struct growth *growth)
{
	size_t bytes = (size_t)growth->l1_clusters << growth->geometry.cluster_bits;
	uint8_t *l1 = calloc(1, bytes);
	int res = l1 != NULL ? 0 : -ENOMEM;

	if (res == 0 && growth->before.l1_entries > 0)
		res = read_at(growth, l1, old_l1_bytes(growth), growth->before.l1_offset);
	if (res == 0)
		res = write_at(growth, l1, bytes, growth->after.l1_offset);
	free(l1);
	return res;
}

static int write_block(struct growth *growth, uint64_t index, uint64_t offset)
{
	uint64_t first = index * growth->geometry.refcount_block_entries;
	uint64_t end = first + growth->geometry.refcount_block_entries;
	uint64_t run_end = growth->run_first + run_clusters(growth);

	memset(growth->block, 0, growth->geometry.cluster_bytes);
	for (uint64_t i = first; i < end; i++) {
		if (i >= growth->run_first && i < run_end)
			qcow2_refcount_set(growth->block, (uint32_t)(i - first),
					   growth->geometry.refcount_order, 1);
	}
	return write_at(growth, growth->block, growth->geometry.cluster_bytes, offset);
}

/* New blocks, and the table that names them. */
static int write_blocks(struct growth *growth)
{
	uint32_t bits = growth->geometry.cluster_bits;
	uint64_t at = (growth->run_first + growth->l1_clusters) << bits;
	int res = 0;

	for (uint64_t i = block_of(growth, growth->run_first); res == 0 && i <= last_block(growth);
	     i++) {
		uint8_t *entry = growth->table + i * ENTRY_BYTES;

		if (i < growth->table_entries && get_be64(entry) != 0)
			continue;
		put_be64(entry, at);
		res = write_block(growth, i, at);
		at += growth->geometry.cluster_bytes;
	}
	growth->in_table = true;
	if (res == 0 && growth->table_clusters > 0)
		res = write_at(growth, growth->table, (size_t)growth->table_clusters << bits, at);
	return res;
}

/* -- COUNT, BLOCKS -- */

static int write_block_entries(struct growth *growth)
{
	uint64_t first = block_of(growth, growth->run_first);
	uint64_t count = last_block(growth) - first + 1;

	if (growth->blocks == 0 || growth->table_clusters > 0)
		return 0;
	return write_at(growth, growth->table + first * ENTRY_BYTES, count * ENTRY_BYTES,
			growth->before.refcount_table_offset + first * ENTRY_BYTES);
}

/* In blocks that were there before: those of the run have their counts already. */
static int count_run(struct growth *growth)
{
	return set_refcounts(growth, growth->run_first, run_clusters(growth), 1);
}

/* -- The steps -- */

static int make_run(struct growth *growth)
{
	static int (*const steps[])(struct growth * growth) = {
		write_l1, write_blocks,        sync_run, count_run,
		sync_run, write_block_entries, sync_run,
	};
	struct qcow2_header *h = &growth->after;
	uint64_t at = growth->run_first + growth->l1_clusters + growth->blocks;
	int res = 0;

	h->l1_offset = growth->run_first << h->cluster_bits;
	if (growth->table_clusters > 0) {
		h->refcount_table_offset = at << h->cluster_bits;
		h->refcount_table_clusters = (uint32_t)growth->table_clusters;
	}
	if (growth->blocks > 0)
		REACHED(grow_refcount_block);
	for (size_t i = 0; res == 0 && i < ARRAY_SIZE(steps); i++)
		res = steps[i](growth);
	return res;
}

/* The L1 table stays, and its last cluster has room: entries of nothing. */
static int lengthen_l1(struct growth *growth)
{
	uint64_t old_bytes = old_l1_bytes(growth);
	uint64_t bytes = (uint64_t)growth->after.l1_entries * ENTRY_BYTES - old_bytes;
	uint8_t *zeroes;
	int res;

	if (bytes == 0)
		return 0;
	zeroes = calloc(1, bytes);
	if (zeroes == NULL)
		return -ENOMEM;
	res = write_at(growth, zeroes, bytes, growth->before.l1_offset + old_bytes);
	free(zeroes);
	return res == 0 ? sync_all(growth) : res;
}

/* After a failed fdatasync readers find what may never reach the disk, and a later fdatasync does
 * not say so: only what is written anew is known to be durable. */
static int write_header(struct growth *growth, const uint8_t *sector)
{
	int res = -EIO;

	for (unsigned i = 0; i < 2 && res != 0; i++) {
		res = write_at(growth, sector, HEADER_SECTOR_BYTES, 0);
		if (res == 0)
			res = sync_all(growth);
	}
	growth->grow->unsure = res != 0;
	return res;
}

/* It has the size, but maybe since a try that failed at the end. */
static int write_header_again(struct growth *growth)
{
	uint8_t sector[HEADER_SECTOR_BYTES];
	int res = read_at(growth, sector, sizeof(sector), 0);

	return res == 0 ? write_header(growth, sector) : res;
}

static int switch_over(struct growth *growth)
{
	const struct qcow2_header *h = &growth->after;
	uint8_t sector[HEADER_SECTOR_BYTES];
	int res = read_at(growth, sector, sizeof(sector), 0);

	put_be64(sector + AT_SIZE, h->size_bytes);
	put_be32(sector + AT_L1_ENTRIES, h->l1_entries);
	put_be64(sector + AT_L1_OFFSET, h->l1_offset);
	put_be64(sector + AT_REFCOUNT_TABLE_OFFSET, h->refcount_table_offset);
	put_be32(sector + AT_REFCOUNT_TABLE_CLUSTERS, h->refcount_table_clusters);
	if (h->version >= 3)
		put_be64(sector + AT_AUTOCLEAR, 0);
	if (PLANTED(grow_is_not_durable))
		return write_at(growth, sector, HEADER_SECTOR_BYTES, 0);
	return res == 0 ? write_header(growth, sector) : res;
}

/* A failure here costs space, nothing else. */
static void free_table(struct growth *growth, uint64_t offset, uint64_t clusters)
{
	if (clusters > 0 &&
	    set_refcounts(growth, offset >> growth->geometry.cluster_bits, clusters, 0) != 0)
		growth->grow->leaked += clusters;
}

static void free_old(struct growth *growth)
{
	const struct qcow2_header *old = &growth->before;

	if (run_clusters(growth) == 0)
		return;
	free_table(growth, old->l1_offset, clusters_of(growth, old_l1_bytes(growth)));
	if (growth->table_clusters > 0)
		free_table(growth, old->refcount_table_offset, old->refcount_table_clusters);
	if (sync_all(growth) != 0)
		growth->grow->leaked++;
}

static int plan(struct growth *growth)
{
	struct qcow2_header *h = &growth->after;
	uint64_t old_clusters = clusters_of(growth, old_l1_bytes(growth));
	uint64_t entries =
		divide_up(growth->grow->size_bytes, UINT64_C(1) << growth->geometry.l1_shift);
	int res;

	if (entries > QCOW2_L1_BYTES_MAX / ENTRY_BYTES)
		return refuse(growth, -ENOTSUP,
			      "its L1 table would be larger than 32 MiB; `ringsan image convert` "
			      "makes an image of larger clusters");
	h->size_bytes = growth->grow->size_bytes;
	if (entries > h->l1_entries)
		h->l1_entries = (uint32_t)entries;
	if (clusters_of(growth, (uint64_t)h->l1_entries * ENTRY_BYTES) == old_clusters)
		return 0;
	res = read_table(growth);
	if (res == 0)
		res = plan_run(growth);
	if (res == 0)
		res = expect_ones(growth, growth->before.l1_offset, old_clusters);
	if (res == 0)
		res = expect_ones(growth, growth->before.refcount_table_offset,
				  growth->before.refcount_table_clusters);
	return res;
}

/* What stands there shows as soon as the size is durable. */
static int clear_tail(struct growth *growth)
{
	bool wrote;
	int res = qcow2_tail_clear(growth->writable, &wrote, growth->why, growth->why_bytes);

	return res == 0 && wrote ? sync_all(growth) : res;
}

static int change(struct growth *growth)
{
	int res = run_clusters(growth) > 0 ? make_run(growth) : lengthen_l1(growth);

	if (PLANTED(grow_frees_early))
		free_old(growth);
	if (res == 0)
		res = switch_over(growth);
	if (res != 0)
		return refuse(growth, res, "it cannot be written");
	free_old(growth);
	return 0;
}

int qcow2_grow(struct qcow2_grow *grow, char *why, size_t why_bytes)
{
	struct growth growth = {
		.grow = grow,
		.writable = grow->writable,
		.end_bytes = grow->writable->file.size_bytes,
		.why = why,
		.why_bytes = why_bytes,
	};
	int res = qcow2_header_read(&grow->writable->file, &growth.before, why, why_bytes);

	grow->leaked = 0;
	grow->unsure = false;
	if (res != 0)
		return res;
	growth.after = growth.before;
	qcow2_geometry_of(&growth.before, &growth.geometry);
	(void)snprintf(why, why_bytes, "it cannot be read");
	res = check(&growth);
	if (res != 0)
		return res;
	if (grow->size_bytes == growth.before.size_bytes)
		return write_header_again(&growth);
	res = plan(&growth);
	if (res == 0)
		res = clear_tail(&growth);
	if (res == 0)
		res = change(&growth);
	free(growth.table);
	free(growth.block);
	return res;
}
