/*
 * From guest offsets to what they show, and the changes of that: the only code that knows where in
 * the tables an entry is. Looking up goes down the chain of backing files, one image after the
 * other. Changing happens in memory, within one turn (invariant 9); commit.c brings it to the disk.
 *
 * Runs on the image's loop. Read next: read.c, write.c.
 */
#include "lun/qcow2/engine.h"

#include "base/bytes.h"

#define ALL_SUBCLUSTERS UINT32_MAX

static uint32_t l1_index_of(const struct qcow2 *image, uint64_t offset)
{
	return (uint32_t)(offset >> image->geometry.l1_shift);
}

static uint32_t l2_index_of(const struct qcow2 *image, uint64_t offset)
{
	return (uint32_t)cluster_of(image, offset) & (image->geometry.l2_entries - 1);
}

/* Of a slice: which of its entries. */
static uint32_t entry_index_of(const struct qcow2 *image, uint64_t offset)
{
	return l2_index_of(image, offset) & (image->geometry.slice_entries - 1);
}

static uint8_t *entry_at(const struct slice *slice, uint32_t index)
{
	return slice->bytes + (size_t)index * slice->image->geometry.l2_entry_bytes;
}

/* A subcluster, or as small a part of a standard cluster. */
static uint32_t part_bits(const struct qcow2 *image)
{
	return image->geometry.cluster_bits - 5;
}

uint32_t mapping_subclusters(const struct qcow2 *image, struct byte_range range)
{
	uint64_t mask = image->geometry.cluster_bytes - 1;
	uint32_t first = (uint32_t)((range.begin & mask) >> part_bits(image));
	uint32_t last = (uint32_t)(((range.end - 1) & mask) >> part_bits(image));

	return ALL_SUBCLUSTERS << first & ALL_SUBCLUSTERS >> (QCOW2_SUBCLUSTERS - 1 - last);
}

LOOP_ONLY static int decode(const struct slice *slice, uint32_t index, struct qcow2_l2_entry *out)
{
	const uint8_t *at = entry_at(slice, index);
	uint64_t bitmap = slice->image->geometry.extended ? get_be64(at + 8) : 0;

	if (qcow2_l2_decode(get_be64(at), bitmap, &slice->image->geometry, out) == 0)
		return 0;
	return image_corrupt(slice->image, "an L2 entry that means nothing", slice->file_offset);
}

/* The slice with a guest offset's entry; NULL where there is no table. */
LOOP_ONLY static int find_slice(struct qcow2 *image, uint64_t offset, struct qcow2_request *waiter,
				struct slice **out)
{
	const struct qcow2_geometry *geometry = &image->geometry;
	uint32_t l1_index = l1_index_of(image, offset);
	uint64_t table = image->l1[l1_index] & QCOW2_OFFSET_MASK;
	uint64_t inside = (uint64_t)l2_index_of(image, offset) * geometry->l2_entry_bytes;

	*out = NULL;
	if (table == 0)
		return 0;
	inside -= inside % geometry->slice_bytes;
	return slice_get(image, table + inside, l1_index, waiter, out);
}

/* -- Looking up -- */

static const enum extent_kind kinds[] = {
	[QCOW2_UNALLOCATED] = EXTENT_BELOW,
	[QCOW2_ALLOCATED] = EXTENT_DATA,
	[QCOW2_READS_ZERO] = EXTENT_ZERO,
	[QCOW2_DEFLATED] = EXTENT_DEFLATED,
};

/* What one cluster's entry says of [begin, end), up to where it changes. */
static void extent_of(const struct qcow2_l2_entry *entry, struct qcow2 *image,
		      struct byte_range range, struct extent *out)
{
	uint64_t inside = range.begin & (image->geometry.cluster_bytes - 1);
	unsigned first = (unsigned)(inside >> part_bits(image));
	unsigned count;
	enum qcow2_state state = qcow2_l2_state(entry, first, &count);
	uint64_t until = (uint64_t)(first + count) << part_bits(image);
	uint64_t length = until - inside;

	*out = (struct extent){
		.kind = kinds[state],
		.image = image,
		.host_offset = entry->host_offset + (entry->compressed ? 0 : inside),
		.length = length < range.end - range.begin ? length : range.end - range.begin,
		.deflated_bytes = entry->deflated_bytes,
		.inside = (uint32_t)inside,
		.anchored = entry->host_offset != 0,
	};
}

static bool goes_on(const struct extent *a, const struct extent *b)
{
	if (a->kind != b->kind || a->kind == EXTENT_DEFLATED)
		return false;
	if (a->kind == EXTENT_DATA)
		return a->host_offset + a->length == b->host_offset;
	return a->anchored == b->anchored;
}

/* Where the entries of one slice end, in guest offsets. */
static uint64_t slice_end(const struct qcow2 *image, uint64_t offset)
{
	uint64_t bytes = (uint64_t)image->geometry.slice_entries << image->geometry.cluster_bits;

	return offset - offset % bytes + bytes;
}

LOOP_ONLY static int find_in_slice(const struct slice *slice, struct byte_range range,
				   struct extent *out)
{
	struct qcow2 *image = slice->image;
	struct qcow2_l2_entry entry;
	struct extent next;
	int res;

	res = decode(slice, entry_index_of(image, range.begin), &entry);
	if (res != 0)
		return res;
	extent_of(&entry, image, range, out);
	while (out->length < range.end - range.begin) {
		struct byte_range rest = {range.begin + out->length, range.end};

		if (decode(slice, entry_index_of(image, rest.begin), &entry) != 0)
			break;
		extent_of(&entry, image, rest, &next);
		if (!goes_on(out, &next))
			break;
		out->length += next.length;
	}
	return 0;
}

/* In one image, without those below it. The range lies inside it. */
LOOP_ONLY static int find_in_image(struct qcow2 *image, struct byte_range range,
				   struct qcow2_request *waiter, struct extent *out)
{
	struct slice *slice;
	uint64_t end;
	int res;

	if (image->raw) {
		*out = (struct extent){.kind = EXTENT_DATA,
				       .image = image,
				       .host_offset = range.begin,
				       .length = range.end - range.begin};
		return 0;
	}
	res = find_slice(image, range.begin, waiter, &slice);
	if (res != 0)
		return res;
	/* Without a table: as far as the table would reach. */
	end = slice ? slice_end(image, range.begin)
		    : (range.begin | ((UINT64_C(1) << image->geometry.l1_shift) - 1)) + 1;
	range.end = end < range.end ? end : range.end;
	if (slice)
		return find_in_slice(slice, range, out);
	*out = (struct extent){.kind = EXTENT_BELOW, .length = range.end - range.begin};
	return 0;
}

int mapping_find_above(struct qcow2 *image, const struct qcow2 *base, struct byte_range range,
		       struct qcow2_request *waiter, struct extent *out)
{
	*out = (struct extent){.kind = EXTENT_BELOW, .length = range.end - range.begin};
	for (unsigned level = 0; image && image != base && level < QCOW2_CHAIN_MAX; level++) {
		struct byte_range here = {range.begin, range.begin + out->length};
		int res;

		if (range.begin >= image->size_bytes) {
			*out = (struct extent){.kind = EXTENT_ZERO, .length = out->length};
			return 0;
		}
		here.end = here.end < image->size_bytes ? here.end : image->size_bytes;
		res = find_in_image(image, here, waiter, out);
		if (res != 0 || out->kind != EXTENT_BELOW)
			return res;
		image = image->backing;
	}
	return 0;
}

int mapping_find(struct qcow2 *image, struct byte_range range, struct qcow2_request *waiter,
		 struct extent *out)
{
	int res = mapping_find_above(image, NULL, range, waiter, out);

	if (res != 0 || out->kind != EXTENT_BELOW)
		return res;
	/* What nobody has. */
	out->kind = EXTENT_ZERO;
	out->anchored = false;
	return 0;
}

int mapping_entry(struct qcow2 *image, uint64_t offset, struct qcow2_request *waiter,
		  struct slice **slice, struct qcow2_l2_entry *out)
{
	int res = find_slice(image, offset, waiter, slice);

	*out = (struct qcow2_l2_entry){0};
	if (res != 0 || !*slice)
		return res;
	return decode(*slice, entry_index_of(image, offset), out);
}

bool mapping_may_write(const struct qcow2 *image, uint64_t host_offset, uint64_t length)
{
	uint64_t last = cluster_of(image, host_offset + length - 1);
	uint64_t end;

	if (!checked_add(host_offset, length, &end) || end > image->file_bytes)
		return false;
	for (uint64_t cluster = cluster_of(image, host_offset); cluster <= last; cluster++)
		if (cluster == 0 || metadata_has(&image->metadata, cluster))
			return false;
	return true;
}

/* -- Changing -- */

LOOP_ONLY static void set_l1(struct qcow2 *image, uint32_t index, uint64_t entry)
{
	uint32_t unit = index / image->l1_unit_entries;

	image->l1[index] = entry;
	image->l1_dirty[unit / 64] |= UINT64_C(1) << unit % 64;
	commit_note(image);
}

int mapping_need_table(struct qcow2 *image, uint64_t offset, struct qcow2_request *waiter)
{
	uint32_t index = l1_index_of(image, offset);
	uint64_t first, count;

	if (image->l1[index] != 0)
		return 0;
	if (!reserve_take(image, 1, waiter, &first, &count))
		return QCOW2_WAIT;
	REACHED(l2_table_new);
	/* The reservation's clusters are zero on the disk, and so is an empty table. */
	if (!metadata_add(&image->metadata, first))
		return image_corrupt(image, "a cluster of metadata that was free",
				     offset_of(image, first));
	set_l1(image, index, offset_of(image, first) | QCOW2_COPIED);
	return 0;
}

static bool is_same(const struct qcow2_l2_entry *a, const struct qcow2_l2_entry *b)
{
	return a->host_offset == b->host_offset && a->copied == b->copied &&
	       a->compressed == b->compressed && a->allocated == b->allocated && a->zero == b->zero;
}

/* The clusters that hold compressed data, each counted once for it. */
LOOP_ONLY static void free_compressed(struct qcow2 *image, const struct qcow2_l2_entry *entry)
{
	uint64_t first = cluster_of(image, entry->host_offset);
	uint64_t last = cluster_of(image, entry->host_offset + entry->deflated_bytes - 1);

	REACHED(compressed_freed);
	quarantine_free(image, first, last - first + 1, true);
}

/* What an entry led to. Of a cluster that others may share, our part is left behind: nobody shares
 * clusters of images that we write, so this is the rest of a mistake made elsewhere. */
LOOP_ONLY static void free_old(struct qcow2 *image, const struct qcow2_l2_entry *old)
{
	if (old->compressed) {
		free_compressed(image, old);
	} else if (old->copied) {
		quarantine_free(image, cluster_of(image, old->host_offset), 1, false);
	} else {
		recover_note(image, cluster_of(image, old->host_offset), 1);
		image->leaked = true;
	}
}

int mapping_change(struct qcow2 *image, uint64_t offset, struct slice *slice,
		   const struct qcow2_l2_entry *entry, struct qcow2_request *waiter)
{
	uint32_t index = entry_index_of(image, offset);
	struct qcow2_l2_entry old;
	uint64_t raw, bitmap;
	bool frees;
	int res = decode(slice, index, &old);

	if (res != 0)
		return res;
	if (is_same(&old, entry))
		return 0;
	frees = old.host_offset != 0 && (old.compressed || old.host_offset != entry->host_offset);
	if (frees && !quarantine_has_room(image, waiter))
		return QCOW2_WAIT;
	res = slice_modify(&slice, waiter);
	if (res != 0)
		return res;
	qcow2_l2_encode(entry, &image->geometry, &raw, &bitmap);
	put_be64(entry_at(slice, index), raw);
	if (image->geometry.extended)
		put_be64(entry_at(slice, index) + 8, bitmap);
	if (entry->host_offset != 0 && !PLANTED(recover_misses_links))
		recover_note(image, cluster_of(image, entry->host_offset), 1);
	if (frees)
		free_old(image, &old);
	return 0;
}

/* Where the entry leads to nothing yet, it says zero. */
static void say_zero(struct qcow2_l2_entry *entry, uint32_t subclusters)
{
	entry->zero |= subclusters & ~entry->allocated;
}

static void lead_to(struct qcow2_l2_entry *entry, uint64_t host_offset, uint32_t subclusters)
{
	if (entry->host_offset != host_offset) {
		entry->host_offset = host_offset;
		entry->compressed = false;
		entry->allocated = 0;
	}
	entry->copied = true;
	entry->allocated |= subclusters;
	entry->zero &= ~subclusters;
}

int mapping_link(struct qcow2 *image, const struct qcow2_link *link, struct qcow2_request *waiter)
{
	uint64_t offset = offset_of(image, link->busy->cluster);
	uint32_t subclusters = image->geometry.extended ? link->subclusters : ALL_SUBCLUSTERS;
	struct qcow2_l2_entry entry;
	struct slice *slice;
	int res = mapping_entry(image, offset, waiter, &slice, &entry);

	if (res != 0)
		return res;
	assert(slice);
	if (link->zero) {
		say_zero(&entry, subclusters);
	} else {
		lead_to(&entry, link->busy->host_offset, subclusters);
	}
	res = mapping_change(image, offset, slice, &entry, waiter);
	if (res != 0)
		return res;
	if (link->zero)
		return 0;
	link->busy->linked = true;
	if (link->durable_first)
		image->commit.needs_f1 = true;
	return 0;
}
