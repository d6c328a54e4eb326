/*
 * New images: header, refcount table, refcount blocks, L1 table, in this order. Pure; any thread.
 */
#include "lun/qcow2/create.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/attr.h"
#include "base/bytes.h"

#define ENTRY_BYTES 8u
#define REFCOUNT_ORDER 4u
#define REFCOUNT_BYTES 2u
#define CLUSTER_BITS_MIN_EXTENDED 14u
#define SECTOR_BYTES 512u

static uint64_t divide_up(uint64_t a, uint64_t b)
{
	return (a + b - 1) / b;
}

static int refuse(char *why, size_t why_bytes, int error, const char *text)
{
	(void)snprintf(why, why_bytes, "%s", text);
	return error;
}

static const char *wrong_with_sizes(const struct qcow2_create *create)
{
	uint32_t least = create->extended ? CLUSTER_BITS_MIN_EXTENDED : QCOW2_CLUSTER_BITS_MIN;

	if (create->size_bytes == 0 || create->size_bytes % SECTOR_BYTES != 0)
		return "the size of a disk is a multiple of 512 bytes, and not 0";
	if (create->size_bytes > QCOW2_SIZE_MAX)
		return "the disk would be larger than 64 TiB";
	if (create->cluster_bits < least || create->cluster_bits > QCOW2_CLUSTER_BITS_MAX)
		return create->extended ? "extended L2 entries go with clusters of 16 KiB to 2 MiB"
					: "clusters have 512 bytes to 2 MiB";
	return NULL;
}

static size_t bytes_of(const char *name)
{
	return name != NULL ? strlen(name) : 0;
}

static const char *wrong_with_backing(const struct qcow2_create *create)
{
	size_t format_bytes = bytes_of(create->backing_format);

	if (create->backing_name == NULL && create->backing_format == NULL)
		return NULL;
	if (bytes_of(create->backing_name) == 0 || format_bytes == 0)
		return "a backing file has a name and a format";
	if (strlen(create->backing_name) > QCOW2_BACKING_NAME_MAX)
		return "the backing file's name has more than 1023 bytes";
	if (format_bytes >= sizeof((struct qcow2_header){0}.backing_format))
		return "the name of the backing file's format has more than 15 bytes";
	return NULL;
}

/* The refcount blocks count themselves and the table that names them. */
static void place(struct qcow2_layout *layout)
{
	struct qcow2_header *h = &layout->header;
	struct qcow2_geometry g;
	uint64_t l1_clusters;
	uint64_t blocks = 1;
	uint64_t table = 1;
	uint64_t all;
	uint64_t before;

	qcow2_geometry_of(h, &g);
	h->l1_entries = (uint32_t)divide_up(h->size_bytes, UINT64_C(1) << g.l1_shift);
	l1_clusters = divide_up((uint64_t)h->l1_entries * ENTRY_BYTES, g.cluster_bytes);
	do {
		before = blocks + table;
		all = 1 + table + blocks + l1_clusters;
		blocks = divide_up(all, g.refcount_block_entries);
		table = divide_up(blocks * ENTRY_BYTES, g.cluster_bytes);
	} while (blocks + table != before);
	h->refcount_table_offset = g.cluster_bytes;
	h->refcount_table_clusters = (uint32_t)table;
	h->l1_offset = (1 + table + blocks) << h->cluster_bits;
	layout->pieces = (uint32_t)(1 + table + blocks);
	layout->piece_bytes = g.cluster_bytes;
	layout->refcount_blocks = (uint32_t)blocks;
	layout->file_bytes = all << h->cluster_bits;
}

int qcow2_layout_make(const struct qcow2_create *create, struct qcow2_layout *out, char *why,
		      size_t why_bytes)
{
	struct qcow2_header *h = &out->header;
	const char *wrong = wrong_with_sizes(create);
	uint8_t trial[QCOW2_BACKING_NAME_MAX + 1024];
	struct qcow2_geometry g;
	size_t first_cluster;

	if (wrong == NULL)
		wrong = wrong_with_backing(create);
	if (wrong != NULL)
		return refuse(why, why_bytes, -EINVAL, wrong);
	*out = (struct qcow2_layout){0};
	h->version = 3;
	h->cluster_bits = create->cluster_bits;
	h->size_bytes = create->size_bytes;
	h->refcount_order = REFCOUNT_ORDER;
	h->incompatible = create->extended ? QCOW2_INCOMPATIBLE_EXTENDED_L2 : 0;
	if (create->backing_name != NULL) {
		(void)snprintf(h->backing_name, sizeof(h->backing_name), "%s",
			       create->backing_name);
		(void)snprintf(h->backing_format, sizeof(h->backing_format), "%s",
			       create->backing_format);
	}
	qcow2_geometry_of(h, &g);
	if (divide_up(h->size_bytes, UINT64_C(1) << g.l1_shift) > QCOW2_L1_BYTES_MAX / ENTRY_BYTES)
		return refuse(why, why_bytes, -ENOTSUP,
			      "the L1 table would be larger than 32 MiB: take larger clusters");
	place(out);
	first_cluster = g.cluster_bytes < sizeof(trial) ? g.cluster_bytes : sizeof(trial);
	if (qcow2_header_encode(h, trial, first_cluster) != 0)
		return refuse(why, why_bytes, -EINVAL,
			      "the backing file's name does not fit into the first cluster");
	return 0;
}

static void fill_table(const struct qcow2_layout *layout, uint64_t first, uint8_t *piece)
{
	uint32_t entries = layout->piece_bytes / ENTRY_BYTES;
	uint64_t first_block = 1 + layout->header.refcount_table_clusters;

	for (uint64_t i = 0; i < entries && first + i < layout->refcount_blocks; i++)
		put_be64(piece + i * ENTRY_BYTES, (first_block + first + i) * layout->piece_bytes);
}

/* Each cluster of the file is in use once. */
static void fill_block(const struct qcow2_layout *layout, uint64_t first, uint8_t *piece)
{
	uint32_t entries = layout->piece_bytes / REFCOUNT_BYTES;
	uint64_t clusters = layout->file_bytes / layout->piece_bytes;

	for (uint64_t i = 0; i < entries && first + i < clusters; i++)
		put_be16(piece + i * REFCOUNT_BYTES, 1);
}

static void fill_header(const struct qcow2_layout *layout, void *piece)
{
	int res = qcow2_header_encode(&layout->header, piece, layout->piece_bytes);

	assert(res == 0);
	(void)res;
}

void qcow2_layout_piece(const struct qcow2_layout *layout, uint32_t index, void *piece)
{
	uint32_t table = layout->header.refcount_table_clusters;

	assert(index < layout->pieces);
	memset(piece, 0, layout->piece_bytes);
	if (index == 0) {
		fill_header(layout, piece);
	} else if (index <= table) {
		fill_table(layout, (uint64_t)(index - 1) * (layout->piece_bytes / ENTRY_BYTES),
			   piece);
	} else {
		fill_block(layout,
			   (uint64_t)(index - 1 - table) * (layout->piece_bytes / REFCOUNT_BYTES),
			   piece);
	}
}
