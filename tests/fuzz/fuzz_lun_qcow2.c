/*
 * Fuzz the reading of a qcow2 header and of entries: what is accepted holds together, and what is
 * written from it reads the same.
 *
 * Input: eight bytes of the file's size and an L2 entry's two halves, then the start of the file.
 * Read next: lun/qcow2/format.h.
 */
#include <stdlib.h>
#include <string.h>

#include "base/attr.h"
#include "base/bytes.h"
#include "lun/qcow2/format.h"

#define SETTINGS_BYTES 24u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void require_inside(uint64_t offset, uint64_t bytes, uint64_t file_bytes,
			   const struct qcow2_geometry *g)
{
	require(offset >= g->cluster_bytes && offset % g->cluster_bytes == 0);
	require(offset <= file_bytes && bytes <= file_bytes - offset);
}

static void judge_header(const struct qcow2_header *h, uint64_t file_bytes)
{
	struct qcow2_geometry g;

	require(h->version == 2 || h->version == 3);
	require(h->cluster_bits >= QCOW2_CLUSTER_BITS_MIN &&
		h->cluster_bits <= QCOW2_CLUSTER_BITS_MAX);
	require(h->size_bytes <= QCOW2_SIZE_MAX && h->refcount_order <= 6);
	qcow2_geometry_of(h, &g);
	require(((uint64_t)h->l1_entries << g.l1_shift) >= h->size_bytes);
	if (h->l1_entries > 0)
		require_inside(h->l1_offset, (uint64_t)h->l1_entries * 8, file_bytes, &g);
	require(h->refcount_table_clusters > 0);
	require_inside(h->refcount_table_offset,
		       (uint64_t)h->refcount_table_clusters << h->cluster_bits, file_bytes, &g);
	if (h->snapshot_count > 0)
		require_inside(h->snapshots_offset, (uint64_t)h->snapshot_count * 40, file_bytes,
			       &g);
	if (h->bitmap_count > 0)
		require_inside(h->bitmap_directory_offset, h->bitmap_directory_bytes, file_bytes,
			       &g);
	require(memchr(h->backing_name, '\0', sizeof(h->backing_name)) != NULL);
	require(memchr(h->backing_format, '\0', sizeof(h->backing_format)) != NULL);
}

/* What reads back may differ in what encoding does not keep: version, bitmaps, lengths. */
static void judge_encoding(struct qcow2_header *h, uint64_t file_bytes)
{
	size_t cluster = (size_t)1 << h->cluster_bits;
	uint8_t *bytes = malloc(cluster);
	struct qcow2_header again;
	char why[200];

	h->autoclear &= ~(uint64_t)QCOW2_AUTOCLEAR_BITMAPS;
	if (h->version == 3 && h->cluster_bits <= 16 &&
	    qcow2_header_encode(h, bytes, cluster) == 0) {
		require(qcow2_header_parse(bytes, cluster, file_bytes, &again, why, sizeof(why)) ==
			0);
		h->header_bytes = again.header_bytes;
		h->extensions_end = again.extensions_end;
		h->bitmap_count = 0;
		h->bitmap_directory_bytes = h->bitmap_directory_offset = 0;
		/* The whole name's room is compared: behind its end it is zero. */
		require(memcmp(h, &again, sizeof(again)) == 0);
	}
	free(bytes);
}

static void judge_entry(uint64_t raw, uint64_t bitmap, const struct qcow2_header *h)
{
	struct qcow2_geometry g;
	struct qcow2_l2_entry entry;
	uint64_t raw_again, bitmap_again;
	unsigned count;

	qcow2_geometry_of(h, &g);
	if (!g.extended)
		bitmap = 0;
	if (qcow2_l2_decode(raw, bitmap, &g, &entry) != 0)
		return;
	for (unsigned i = 0; i < QCOW2_SUBCLUSTERS; i += count) {
		(void)qcow2_l2_state(&entry, i, &count);
		require(count >= 1 && count <= QCOW2_SUBCLUSTERS - i);
	}
	if (entry.compressed) {
		require(entry.host_offset != 0 && entry.host_offset >> 56 == 0);
		require(entry.deflated_bytes > 0 && entry.deflated_bytes <= 2 * g.cluster_bytes);
		return;
	}
	qcow2_l2_encode(&entry, &g, &raw_again, &bitmap_again);
	require(raw_again == raw && bitmap_again == bitmap);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qcow2_header header;
	uint64_t file_bytes;
	char why[200] = "";

	if (size < SETTINGS_BYTES)
		return 0;
	file_bytes = get_be64(data);
	data += SETTINGS_BYTES;
	size -= SETTINGS_BYTES;
	/* The input may be the start of a larger file, or all of one. */
	if (qcow2_header_parse(data, size, file_bytes, &header, why, sizeof(why)) != 0) {
		require(why[0] != '\0');
		file_bytes = size;
		if (qcow2_header_parse(data, size, file_bytes, &header, why, sizeof(why)) != 0)
			return 0;
	}
	judge_header(&header, file_bytes);
	judge_entry(get_be64(data - 16), get_be64(data - 8), &header);
	judge_encoding(&header, file_bytes);
	return 0;
}
