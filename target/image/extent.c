/*
 * Walking a chain: at each place the uppermost layer that has something decides. See extent.h.
 */
#include "target/image/extent.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "lun/qcow2/inflate.h"

#define ENTRY_BYTES 8u

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static bool at_end(uint64_t index, uint64_t length)
{
	return index >= length;
}

/* -- One layer -- */

/* A file is data, but for its holes. */
static int find_raw(const struct closed_layer *layer, uint64_t at, struct extent *out)
{
	uint64_t size = closed_reader(&layer->file)->size_bytes;
	off_t data = lseek(layer->file.fd, (off_t)at, SEEK_DATA);
	off_t hole;

	out->present = out->has_offset = true;
	out->offset = at;
	if (data < 0 && errno == ENXIO) {
		out->zero = true;
		return 0;
	}
	if (data > (off_t)at) {
		out->zero = true;
		out->length = least(out->length, (uint64_t)data - at);
		return 0;
	}
	out->data = true;
	hole = data < 0 ? -1 : lseek(layer->file.fd, (off_t)at, SEEK_HOLE);
	/* The last sector may be a part of one, and a file system may know of no holes. */
	if (hole > (off_t)at && (uint64_t)hole < size)
		out->length = least(out->length, (uint64_t)hole - at);
	return 0;
}

static int find_table(const struct closed_layer *layer, struct extent_cache *cache, uint64_t at)
{
	const struct qcow2_plain *plain = &layer->plain;
	uint64_t index = at >> plain->geometry.l1_shift;
	uint8_t raw[ENTRY_BYTES];
	int res;

	if (cache->l1_known && cache->l1_index == index)
		return 0;
	cache->l1_known = false;
	cache->slice_index = 0;
	res = plain->file->read(plain->file, raw, sizeof(raw),
				plain->header.l1_offset + index * ENTRY_BYTES);
	if (res == 0)
		res = qcow2_l1_decode(get_be64(raw), &plain->geometry, &cache->l2_offset) != 0 ||
				      at_end(cache->l2_offset, plain->file->size_bytes)
			      ? -EIO
			      : 0;
	cache->l1_known = res == 0;
	cache->l1_index = index;
	return res;
}

static int find_entry(const struct closed_layer *layer, struct extent_cache *cache, uint64_t at,
		      struct qcow2_l2_entry *out)
{
	const struct qcow2_geometry *g = &layer->plain.geometry;
	uint64_t index = at >> g->cluster_bits & (g->l2_entries - 1);
	uint64_t slice = index / g->slice_entries;
	const uint8_t *entry = cache->slice + index % g->slice_entries * g->l2_entry_bytes;

	if (cache->slice_index != slice + 1) {
		int res = layer->plain.file->read(layer->plain.file, cache->slice, g->slice_bytes,
						  cache->l2_offset + slice * g->slice_bytes);

		cache->slice_index = 0;
		if (res != 0)
			return res;
		cache->slice_index = slice + 1;
	}
	if (qcow2_l2_decode(get_be64(entry), g->extended ? get_be64(entry + ENTRY_BYTES) : 0, g,
			    out) != 0 ||
	    at_end(out->host_offset, layer->plain.file->size_bytes))
		return -EIO;
	return 0;
}

static void show_entry(const struct qcow2_geometry *g, struct extent *out)
{
	uint64_t in_cluster = out->start & (g->cluster_bytes - 1);
	unsigned first = (unsigned)(in_cluster >> g->subcluster_bits);
	unsigned count;
	enum qcow2_state state = qcow2_l2_state(&out->entry, first, &count);
	uint64_t end = least((uint64_t)(first + count) << g->subcluster_bits, g->cluster_bytes);

	out->length = least(out->length, end - in_cluster);
	out->present = state != QCOW2_UNALLOCATED;
	out->zero = state == QCOW2_READS_ZERO;
	out->data = state == QCOW2_ALLOCATED || state == QCOW2_DEFLATED;
	out->compressed = state == QCOW2_DEFLATED;
	out->has_offset = state != QCOW2_DEFLATED && out->entry.host_offset != 0;
	out->offset = out->has_offset ? out->entry.host_offset + in_cluster : 0;
}

static int find_qcow2(const struct closed_layer *layer, struct extent_cache *cache,
		      struct extent *out)
{
	const struct qcow2_geometry *g = &layer->plain.geometry;
	uint64_t table = UINT64_C(1) << g->l1_shift;
	int res = find_table(layer, cache, out->start);

	if (res != 0)
		return res;
	if (cache->l2_offset == 0) {
		out->length = least(out->length, table - (out->start & (table - 1)));
		return 0;
	}
	res = find_entry(layer, cache, out->start, &out->entry);
	if (res == 0)
		show_entry(g, out);
	return res;
}

/* -- All of them -- */

/* True: what `out` says of its layer is the last word. */
static bool has_decided(const struct closed_chain *chain, struct extent *out)
{
	uint64_t below;

	if (out->present)
		return true;
	if (out->depth + 1 < chain->count) {
		below = closed_layer_size(&chain->layers[out->depth + 1]);
		if (out->start < below) {
			out->length = least(out->length, below - out->start);
			return false;
		}
	}
	out->zero = true;
	return true;
}

static int find_extent(struct extent_walk *walk, struct extent *out)
{
	int res = 0;

	for (out->depth = 0; res == 0; out->depth++) {
		const struct closed_layer *layer = &walk->chain->layers[out->depth];

		out->has_offset = false;
		res = layer->file.format == CLOSED_RAW
			      ? find_raw(layer, out->start, out)
			      : find_qcow2(layer, &walk->caches[out->depth], out);
		if (res != 0 || has_decided(walk->chain, out))
			break;
	}
	return res;
}

void extent_walk_begin(struct extent_walk *walk, const struct closed_chain *chain, uint64_t start,
		       uint64_t end)
{
	if (walk->chain != chain)
		memset(walk->caches, 0, sizeof(walk->caches));
	walk->chain = chain;
	walk->at = start;
	walk->end = end;
}

int extent_next(struct extent_walk *walk, struct extent *out)
{
	int res;

	if (walk->at >= walk->end)
		return 0;
	*out = (struct extent){.start = walk->at, .length = walk->end - walk->at};
	res = find_extent(walk, out);
	walk->at += out->length;
	return res != 0 ? res : 1;
}

static bool is_one(const struct extent *a, const struct extent *b)
{
	return a->depth == b->depth && a->present == b->present && a->zero == b->zero &&
	       a->data == b->data && a->compressed == b->compressed &&
	       a->has_offset == b->has_offset &&
	       (!a->has_offset || a->offset + a->length == b->offset);
}

int extent_next_merged(struct extent_walk *walk, struct extent *pending, struct extent *out)
{
	int res = 1;

	if (pending->length == 0)
		res = extent_next(walk, pending);
	if (res != 1)
		return res;
	*out = *pending;
	pending->length = 0;
	while ((res = extent_next(walk, pending)) == 1) {
		if (!is_one(out, pending))
			return 1;
		out->length += pending->length;
		pending->length = 0;
	}
	pending->length = 0;
	return res < 0 ? res : 1;
}

/* -- Data -- */

size_t extent_room_bytes(const struct closed_chain *chain)
{
	size_t most = 0;

	for (unsigned i = 0; i < chain->count; i++) {
		const struct closed_layer *layer = &chain->layers[i];
		/* Compressed data have up to two clusters. */
		size_t room = layer->file.format == CLOSED_QCOW2
				      ? 3 * (size_t)layer->plain.geometry.cluster_bytes
				      : 0;

		most = room > most ? room : most;
	}
	return most;
}

/* Straight to where it goes if all of the cluster is wanted. */
static int read_compressed(const struct qcow2_plain *plain, const struct qcow2_l2_entry *entry,
			   const struct iovec *into, uint64_t in_cluster, uint8_t *room)
{
	size_t cluster_bytes = plain->geometry.cluster_bytes;
	uint8_t *deflated = room + cluster_bytes;
	bool whole = into->iov_len == cluster_bytes;
	int res =
		plain->file->read(plain->file, deflated, entry->deflated_bytes, entry->host_offset);

	if (res == 0)
		res = qcow2_inflate(plain->header.compression, deflated, entry->deflated_bytes,
				    whole ? into->iov_base : room, cluster_bytes);
	if (res == 0 && !whole)
		memcpy(into->iov_base, room + in_cluster, into->iov_len);
	return res;
}

int extent_read(const struct closed_chain *chain, const struct extent *extent, uint64_t at,
		size_t length, void *buffer, uint8_t *room)
{
	const struct closed_layer *layer = &chain->layers[extent->depth];

	if (extent->compressed)
		return read_compressed(&layer->plain, &extent->entry,
				       &(struct iovec){.iov_base = buffer, .iov_len = length},
				       at & (layer->plain.geometry.cluster_bytes - 1), room);
	return closed_reader(&layer->file)
		->read(closed_reader(&layer->file), buffer, length,
		       extent->offset + (at - extent->start));
}
