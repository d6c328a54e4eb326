/*
 * The header that we write: version 3. Pure; any thread. Read next: create.c, which makes the rest.
 */
#include "lun/qcow2/format.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "lun/qcow2/header_bytes.h"

/* What we write: up to compression_type, padded. */
#define OUR_HEADER_BYTES 112u

static const struct feature {
	uint8_t set; /* 0 incompatible, 1 compatible, 2 autoclear. */
	uint8_t bit;
	const char *name;
} features[] = {
	{0, 0, "dirty bit"},        {0, 1, "corrupt bit"},         {0, 2, "external data file"},
	{0, 3, "compression type"}, {0, 4, "extended L2 entries"}, {1, 0, "lazy refcounts"},
	{2, 0, "bitmaps"},          {2, 1, "raw external data"},
};

void header_write_extension(struct byte_writer *out, uint32_t type, const void *data, size_t bytes)
{
	byte_writer_be32(out, type);
	byte_writer_be32(out, (uint32_t)bytes);
	byte_writer_bytes(out, data, bytes);
	byte_writer_zero(out, -bytes % 8);
}

static void write_feature(struct byte_writer *out, const struct feature *feature)
{
	size_t bytes = strlen(feature->name);

	byte_writer_u8(out, feature->set);
	byte_writer_u8(out, feature->bit);
	byte_writer_bytes(out, feature->name, bytes);
	byte_writer_zero(out, FEATURE_NAME_BYTES - bytes);
}

static void write_feature_names(struct byte_writer *out)
{
	byte_writer_be32(out, EXTENSION_FEATURE_NAMES);
	byte_writer_be32(out, (uint32_t)ARRAY_SIZE(features) * FEATURE_BYTES);
	for (size_t i = 0; i < ARRAY_SIZE(features); i++)
		write_feature(out, &features[i]);
}

static void write_fields(struct byte_writer *out, const struct qcow2_header *h,
			 uint32_t backing_offset)
{
	byte_writer_be32(out, MAGIC);
	byte_writer_be32(out, 3);
	byte_writer_be64(out, backing_offset);
	byte_writer_be32(out, (uint32_t)strlen(h->backing_name));
	byte_writer_be32(out, h->cluster_bits);
	byte_writer_be64(out, h->size_bytes);
	byte_writer_be32(out, 0); /* Not encrypted. */
	byte_writer_be32(out, h->l1_entries);
	byte_writer_be64(out, h->l1_offset);
	byte_writer_be64(out, h->refcount_table_offset);
	byte_writer_be32(out, h->refcount_table_clusters);
	byte_writer_be32(out, h->snapshot_count);
	byte_writer_be64(out, h->snapshots_offset);
	byte_writer_be64(out, h->incompatible);
	byte_writer_be64(out, h->compatible);
	byte_writer_be64(out, h->autoclear);
	byte_writer_be32(out, h->refcount_order);
	byte_writer_be32(out, OUR_HEADER_BYTES);
	byte_writer_u8(out, (uint8_t)h->compression);
	byte_writer_zero(out, OUR_HEADER_BYTES - V3_HEADER_BYTES - 1);
}

/* All behind the fields; the names of features are optional. */
static void write_behind(struct byte_writer *out, const struct qcow2_header *h, bool names)
{
	size_t format_bytes = strlen(h->backing_format);

	byte_writer_zero(out, OUR_HEADER_BYTES);
	if (format_bytes > 0)
		header_write_extension(out, (uint32_t)EXTENSION_BACKING_FORMAT, h->backing_format,
				       format_bytes);
	if (names)
		write_feature_names(out);
	header_write_extension(out, EXTENSION_END, NULL, 0);
	byte_writer_bytes(out, h->backing_name, strlen(h->backing_name));
}

int qcow2_header_encode(const struct qcow2_header *header, void *bytes, size_t length)
{
	struct byte_writer fields = byte_writer_make(bytes, length);
	struct byte_writer all = fields;
	size_t name_bytes = strlen(header->backing_name);

	assert(length >= (size_t)1 << QCOW2_CLUSTER_BITS_MIN);
	write_behind(&all, header, true);
	if (byte_writer_overran(&all)) {
		/* Clusters of 512 bytes have no room for both. */
		all = byte_writer_make(bytes, length);
		write_behind(&all, header, false);
	}
	if (byte_writer_overran(&all))
		return -EINVAL;
	write_fields(&fields, header, name_bytes > 0 ? (uint32_t)(all.wanted - name_bytes) : 0);
	byte_writer_zero(&all, length - all.wanted);
	return 0;
}
