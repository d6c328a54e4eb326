/*
 * Refcounts for reserve.c: where they are, which clusters have none, and where a run lies that
 * brings its own refcount block, or a larger refcount table. Computes on one slice of a refcount
 * block in memory and on the refcount table; reads and writes nothing.
 *
 * The image's loop. Read next: reserve.c.
 */
#include "lun/qcow2/engine.h"

#include "base/bytes.h"

#define TABLE_ENTRY_BYTES 8u

uint64_t counts_of_slice(const struct qcow2 *image)
{
	return (uint64_t)image->geometry.slice_bytes * 8 >> image->geometry.refcount_order;
}

static uint64_t table_entries(const struct qcow2 *image)
{
	return (uint64_t)image->header.refcount_table_clusters * image->geometry.cluster_bytes /
	       TABLE_ENTRY_BYTES;
}

uint64_t counts_covered(const struct qcow2 *image)
{
	uint64_t entries = table_entries(image);

	while (entries > 0 && get_be64(image->table_bytes + (entries - 1) * TABLE_ENTRY_BYTES) == 0)
		entries--;
	return entries * image->geometry.refcount_block_entries;
}

static uint64_t block_index_of(const struct qcow2 *image, uint64_t cluster)
{
	return cluster / image->geometry.refcount_block_entries;
}

static uint64_t block_of(const struct qcow2 *image, uint64_t cluster)
{
	uint64_t index = block_index_of(image, cluster);

	if (index >= table_entries(image))
		return 0;
	return get_be64(image->table_bytes + index * TABLE_ENTRY_BYTES);
}

static void set_slice(struct qcow2 *image, uint64_t cluster)
{
	struct reserve *reserve = &image->reserve;
	uint64_t per_slice = counts_of_slice(image);
	uint64_t inside = cluster % image->geometry.refcount_block_entries / per_slice;

	reserve->slice_first = cluster - cluster % per_slice;
	reserve->slice_offset = reserve->block_offset + inside * image->geometry.slice_bytes;
}

bool counts_locate(struct qcow2 *image, uint64_t cluster)
{
	struct reserve *reserve = &image->reserve;

	reserve->block_offset = block_of(image, cluster);
	set_slice(image, cluster);
	return reserve->block_offset != 0;
}

static bool is_free(const struct qcow2 *image, uint64_t cluster)
{
	const struct reserve *reserve = &image->reserve;

	return qcow2_refcount_get(reserve->counts, (uint32_t)(cluster - reserve->slice_first),
				  image->geometry.refcount_order) == 0;
}

uint64_t counts_end(const struct qcow2 *image, uint64_t end)
{
	while (end > image->reserve.slice_first && is_free(image, end - 1))
		end--;
	return end;
}

/* Free clusters in a row. Those that lead here are not free, whatever their refcounts say. */
static uint64_t free_from(const struct qcow2 *image, uint64_t first, uint64_t end)
{
	uint64_t count = 0;

	while (first + count < end && count < image->reserve.run_clusters &&
	       is_free(image, first + count) && !metadata_has(&image->metadata, first + count))
		count++;
	return count;
}

bool counts_find_run(struct qcow2 *image)
{
	struct reserve *reserve = &image->reserve;
	uint64_t end = reserve->slice_first + counts_of_slice(image);
	uint64_t first = reserve->first;
	uint64_t count = 0;

	/* The longest there is, up to what is wanted. */
	for (uint64_t at = first; at < end && count < reserve->run_clusters; at++) {
		uint64_t length = free_from(image, at, end);

		first = length > count ? at : first;
		count = length > count ? length : count;
		at += length;
	}
	reserve->first = count > 0 ? first : end;
	reserve->count = count;
	reserve->new_block = false;
	reserve->new_table_clusters = 0;
	return count > 0;
}

/* How large the table is to be for this block; 0: as it is. */
static uint32_t table_clusters_for(const struct qcow2 *image, uint64_t block)
{
	uint32_t clusters = image->header.refcount_table_clusters;
	uint32_t per_cluster = image->geometry.cluster_bytes / TABLE_ENTRY_BYTES;
	uint32_t room = image->table_room / per_cluster;
	uint32_t larger = clusters + clusters / 2 + 1;

	if (block < table_entries(image))
		return 0;
	larger = larger > block / per_cluster ? larger : (uint32_t)(block / per_cluster) + 1;
	return larger < room ? larger : room;
}

int counts_lay_out(struct qcow2 *image)
{
	struct reserve *reserve = &image->reserve;
	uint64_t per_slice = counts_of_slice(image);
	uint64_t needed, left;

	/* Twice at most: where the rest of a slice is too short, the next one is whole. */
	for (unsigned i = 0; i < 2; i++) {
		uint64_t block = block_index_of(image, reserve->first);

		if (block >= image->table_room)
			return -EFBIG;
		reserve->new_table_clusters = table_clusters_for(image, block);
		needed = 1u + reserve->new_table_clusters;
		left = per_slice - reserve->first % per_slice;
		if (needed < left)
			break;
		reserve->first += left;
		if (counts_locate(image, reserve->first))
			return -EAGAIN;
	}
	if (needed >= left)
		return -EFBIG;
	reserve->count = reserve->run_clusters > needed ? reserve->run_clusters : needed + 1;
	reserve->count = reserve->count < left ? reserve->count : left;
	reserve->new_block = true;
	reserve->block_offset = offset_of(image, reserve->first);
	reserve->new_table_offset = offset_of(image, reserve->first + 1);
	set_slice(image, reserve->first);
	(void)memset(reserve->counts, 0, image->geometry.slice_bytes);
	return 0;
}

void counts_raise(struct qcow2 *image)
{
	struct reserve *reserve = &image->reserve;

	for (uint64_t i = 0; i < reserve->count; i++)
		qcow2_refcount_set(reserve->counts,
				   (uint32_t)(reserve->first + i - reserve->slice_first),
				   image->geometry.refcount_order, 1);
}

int counts_lower(struct qcow2 *image, struct hosts *hosts)
{
	struct reserve *reserve = &image->reserve;
	uint64_t end = reserve->slice_first + counts_of_slice(image);

	while (hosts->count > 0 && hosts->first < end) {
		uint32_t index = (uint32_t)(hosts->first - reserve->slice_first);
		uint64_t count =
			qcow2_refcount_get(reserve->counts, index, image->geometry.refcount_order);

		if (count == 0)
			return -EIO;
		qcow2_refcount_set(reserve->counts, index, image->geometry.refcount_order,
				   count - 1);
		if (!PLANTED(recover_misses_frees))
			recover_note(image, hosts->first, 1);
		hosts->first++;
		hosts->count--;
	}
	return 0;
}
