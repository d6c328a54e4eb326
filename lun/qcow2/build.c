/*
 * Images made from front to back. Every cluster up to the end is in use once, so that all refcounts
 * are 1 and are known when all else has its place. See build.h.
 */
#include "lun/qcow2/build.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define ENTRY_BYTES 8u
#define REFCOUNT_BYTES 2u

struct qcow2_build {
	struct qcow2_writable *to;
	struct qcow2_header header;
	struct qcow2_geometry geometry;
	uint64_t next;    /* Host cluster that nobody has yet. */
	uint32_t written; /* L2 tables of the L1 table's first entries. */
	uint8_t *l1;      /* As it stands in the file. */
	uint8_t *cluster; /* For what is written at the end. */
	uint8_t **tables; /* Of each L1 entry: an L2 table that is not written yet, or NULL. */
};

static uint64_t divide_up(uint64_t a, uint64_t b)
{
	return (a + b - 1) / b;
}

static uint64_t l1_clusters(const struct qcow2_build *build)
{
	return divide_up((uint64_t)build->header.l1_entries * ENTRY_BYTES,
			 build->geometry.cluster_bytes);
}

int qcow2_build_begin(const struct qcow2_create *create, struct qcow2_writable *to,
		      struct qcow2_build **out, char *why, size_t why_bytes)
{
	struct qcow2_layout layout;
	struct qcow2_build *build;
	int res = qcow2_layout_make(create, &layout, why, why_bytes);

	*out = NULL;
	if (res != 0)
		return res;
	(void)snprintf(why, why_bytes, "memory is short");
	build = calloc(1, sizeof(*build));
	if (build == NULL)
		return -ENOMEM;
	build->to = to;
	build->header = layout.header;
	qcow2_geometry_of(&build->header, &build->geometry);
	build->header.l1_offset = build->geometry.cluster_bytes;
	build->l1 = calloc(l1_clusters(build), build->geometry.cluster_bytes);
	build->cluster = malloc(build->geometry.cluster_bytes);
	build->tables = calloc(build->header.l1_entries, sizeof(*build->tables));
	build->next = 1 + l1_clusters(build);
	if (build->l1 == NULL || build->cluster == NULL || build->tables == NULL) {
		qcow2_build_free(build);
		return -ENOMEM;
	}
	*out = build;
	return 0;
}

const struct qcow2_geometry *qcow2_build_geometry(const struct qcow2_build *build)
{
	return &build->geometry;
}

uint64_t qcow2_build_take(struct qcow2_build *build, uint64_t clusters)
{
	uint64_t first = build->next;

	build->next += clusters;
	return first << build->geometry.cluster_bits;
}

int qcow2_build_map(struct qcow2_build *build, uint64_t guest_cluster, uint64_t host_offset,
		    uint32_t allocated)
{
	const struct qcow2_geometry *g = &build->geometry;
	uint64_t index = guest_cluster / g->l2_entries;
	struct qcow2_l2_entry entry = {.host_offset = host_offset,
				       .copied = true,
				       .allocated = g->extended ? allocated : UINT32_MAX};
	uint64_t raw, bitmap;
	uint8_t *at;

	assert(index >= build->written && index < build->header.l1_entries);
	if (build->tables[index] == NULL)
		build->tables[index] = calloc(1, g->cluster_bytes);
	if (build->tables[index] == NULL)
		return -ENOMEM;
	at = build->tables[index] + guest_cluster % g->l2_entries * g->l2_entry_bytes;
	qcow2_l2_encode(&entry, g, &raw, &bitmap);
	put_be64(at, raw);
	if (g->extended)
		put_be64(at + ENTRY_BYTES, bitmap);
	return 0;
}

static int write_table(struct qcow2_build *build, uint32_t index)
{
	uint64_t offset;
	int res;

	if (build->tables[index] == NULL)
		return 0;
	offset = qcow2_build_take(build, 1);
	put_be64(build->l1 + (uint64_t)index * ENTRY_BYTES, offset | QCOW2_COPIED);
	res = build->to->write(build->to, build->tables[index], build->geometry.cluster_bytes,
			       offset);
	free(build->tables[index]);
	build->tables[index] = NULL;
	return res;
}

static int write_tables_below(struct qcow2_build *build, uint64_t end)
{
	int res = 0;

	for (; res == 0 && build->written < end; build->written++)
		res = write_table(build, build->written);
	return res;
}

int qcow2_build_pass(struct qcow2_build *build, uint64_t guest_offset)
{
	return write_tables_below(build, guest_offset >> build->geometry.l1_shift);
}

/* -- The end -- */

/* The refcount blocks count themselves and the table that names them. */
static uint64_t place_refcounts(struct qcow2_build *build, uint64_t *blocks)
{
	const struct qcow2_geometry *g = &build->geometry;
	uint64_t table = 1;
	uint64_t before;

	*blocks = 1;
	do {
		before = *blocks + table;
		*blocks = divide_up(build->next + before, g->refcount_block_entries);
		table = divide_up(*blocks * ENTRY_BYTES, g->cluster_bytes);
	} while (*blocks + table != before);
	build->header.refcount_table_clusters = (uint32_t)table;
	return table;
}

static int write_block(struct qcow2_build *build, uint64_t index, uint64_t offset, uint64_t all)
{
	uint64_t entries = build->geometry.refcount_block_entries;
	uint64_t first = index * entries;

	memset(build->cluster, 0, build->geometry.cluster_bytes);
	for (uint64_t i = 0; i < entries && first + i < all; i++)
		put_be16(build->cluster + i * REFCOUNT_BYTES, 1);
	return build->to->write(build->to, build->cluster, build->geometry.cluster_bytes, offset);
}

static int write_refcount_table(struct qcow2_build *build, uint64_t first_block, uint64_t blocks)
{
	uint32_t cluster_bytes = build->geometry.cluster_bytes;
	uint64_t entries = cluster_bytes / ENTRY_BYTES;
	int res = 0;

	for (uint64_t i = 0; res == 0 && i < build->header.refcount_table_clusters; i++) {
		memset(build->cluster, 0, cluster_bytes);
		for (uint64_t j = 0; j < entries && i * entries + j < blocks; j++)
			put_be64(build->cluster + j * ENTRY_BYTES,
				 first_block + (i * entries + j) * cluster_bytes);
		res = build->to->write(build->to, build->cluster, cluster_bytes,
				       build->header.refcount_table_offset + i * cluster_bytes);
	}
	return res;
}

static int write_refcounts(struct qcow2_build *build)
{
	uint64_t blocks;
	uint64_t table = place_refcounts(build, &blocks);
	uint64_t first_block = qcow2_build_take(build, blocks);
	int res = 0;

	build->header.refcount_table_offset = qcow2_build_take(build, table);
	for (uint64_t i = 0; res == 0 && i < blocks; i++)
		res = write_block(build, i, first_block + i * build->geometry.cluster_bytes,
				  build->next);
	return res == 0 ? write_refcount_table(build, first_block, blocks) : res;
}

static int write_header(struct qcow2_build *build)
{
	int res =
		qcow2_header_encode(&build->header, build->cluster, build->geometry.cluster_bytes);

	return res == 0 ? build->to->write(build->to, build->cluster, build->geometry.cluster_bytes,
					   0)
			: res;
}

int qcow2_build_end(struct qcow2_build *build, uint64_t *file_bytes)
{
	int res = write_tables_below(build, build->header.l1_entries);

	if (res == 0)
		res = build->to->write(build->to, build->l1,
				       l1_clusters(build) * build->geometry.cluster_bytes,
				       build->header.l1_offset);
	if (res == 0)
		res = write_refcounts(build);
	if (res == 0)
		res = write_header(build);
	*file_bytes = build->next << build->geometry.cluster_bits;
	return res;
}

void qcow2_build_free(struct qcow2_build *build)
{
	if (build == NULL)
		return;
	for (uint32_t i = 0; build->tables != NULL && i < build->header.l1_entries; i++)
		free(build->tables[i]);
	free(build->tables);
	free(build->cluster);
	free(build->l1);
	free(build);
}
