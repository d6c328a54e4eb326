/*
 * Opening and closing an image: its header and tables are read through the caller's file, checked,
 * and what the engine needs is allocated, all it will ever have. Not here: names, locks, and what
 * the backing file is (image_qcow2.c).
 *
 * Control thread, while the image does nothing. Read next: request.c.
 */
#include "lun/qcow2/engine.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"

#define ENTRY_BYTES 8u
#define PAGE_BYTES 4096u
#define SECTOR_BYTES 512u
/* How far back free clusters at the end of the file are looked for, in slices of refcounts. */
#define END_SLICES_MAX 64u

/* What an opening has in hand. */
struct opening {
	const struct qcow2_spec *spec;
	struct qcow2 *image;
	char *why;
	size_t why_bytes;
};

static int PRINTF_LIKE(3, 4)
	refuse(const struct opening *opening, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(opening->why, opening->why_bytes, format, args);
	va_end(args);
	return error;
}

static int read_file(const struct opening *opening, void *bytes, size_t length, uint64_t offset)
{
	const struct qcow2_file *file = opening->spec->file;
	int res = file->read(file, bytes, length, offset);

	if (res < 0)
		return refuse(opening, res, "cannot be read: %s", strerror(-res));
	return 0;
}

/* Zeroes, fit for direct I/O, in whole units. */
static void *unit_calloc(size_t bytes)
{
	size_t rounded = (bytes + PAGE_BYTES - 1) & ~(size_t)(PAGE_BYTES - 1);
	void *at = aligned_alloc(PAGE_BYTES, rounded);

	if (at)
		(void)memset(at, 0, rounded);
	return at;
}

static uint64_t round_up(uint64_t value, uint64_t unit)
{
	return (value + unit - 1) / unit * unit;
}

/* -- The header -- */

static int read_header(const struct opening *opening)
{
	struct qcow2 *image = opening->image;
	uint8_t peek[QCOW2_PEEK_BYTES];
	uint32_t bits;
	uint8_t *bytes;
	int res = read_file(opening, peek, sizeof(peek), 0);

	if (res != 0)
		return res;
	if (qcow2_header_peek(peek, &bits) != 0)
		return refuse(opening, -EINVAL, "no qcow2 image");
	bytes = unit_calloc(QCOW2_HEADER_READ_BYTES(bits));
	if (!bytes)
		return refuse(opening, -ENOMEM, "no memory");
	image->header_bytes = bytes;
	res = read_file(opening, bytes, QCOW2_HEADER_READ_BYTES(bits), 0);
	if (res != 0)
		return res;
	return qcow2_header_parse(bytes, QCOW2_HEADER_READ_BYTES(bits),
				  opening->spec->file->size_bytes, &image->header, opening->why,
				  opening->why_bytes);
}

/* What a writer has to keep, and we do not know how to. */
static int check_writable(const struct opening *opening)
{
	const struct qcow2_header *header = &opening->image->header;

	if (header->version != 3)
		return refuse(opening, -ENOTSUP,
			      "version 2 is only read; `qemu-img amend -o compat=1.1` makes it 3");
	if ((header->incompatible & QCOW2_INCOMPATIBLE_CORRUPT) != 0)
		return refuse(opening, -EROFS,
			      "marked as corrupt; see `ringsan image check --repair`");
	if ((header->incompatible & QCOW2_INCOMPATIBLE_DIRTY) != 0)
		return refuse(opening, -EROFS,
			      "its refcounts are not up to date; `ringsan image check --repair` "
			      "mends that");
	if (header->refcount_order != 4)
		return refuse(opening, -ENOTSUP, "has refcounts of another size than 16 bits");
	if (header->snapshot_count > 0)
		return refuse(opening, -ENOTSUP,
			      "has internal snapshots; `qemu-img convert` leaves them out");
	if ((header->autoclear & QCOW2_AUTOCLEAR_BITMAPS) != 0)
		return refuse(opening, -ENOTSUP,
			      "has dirty bitmaps; `qemu-img bitmap --remove` removes them");
	return 0;
}

/* Direct I/O moves whole units: everything the format addresses has to be one. */
static int check_units(const struct opening *opening)
{
	const struct qcow2 *image = opening->image;
	uint32_t least = UINT32_C(1) << image->geometry.subcluster_bits;

	if (least < image->unit_bytes || image->header.size_bytes % image->unit_bytes != 0)
		return refuse(opening, -ENOTSUP,
			      "its clusters or its size are no multiple of %" PRIu32
			      " bytes, as direct I/O needs them",
			      image->unit_bytes);
	return 0;
}

/* -- Tables -- */

static bool is_in_file(const struct qcow2 *image, uint64_t offset)
{
	return offset != 0 && offset < image->file_bytes;
}

static int add_metadata(const struct opening *opening, uint64_t offset, uint64_t bytes,
			const char *what)
{
	struct qcow2 *image = opening->image;
	uint64_t count =
		round_up(bytes, image->geometry.cluster_bytes) >> image->geometry.cluster_bits;

	for (uint64_t i = 0; i < count; i++)
		if (!metadata_add(&image->metadata, cluster_of(image, offset) + i))
			return refuse(opening, -EINVAL, "%s overlaps other metadata at %" PRIu64,
				      what, offset);
	return 0;
}

static int check_l1_entry(const struct opening *opening, uint32_t index)
{
	struct qcow2 *image = opening->image;
	uint64_t entry = image->l1[index];
	uint64_t offset;

	if (qcow2_l1_decode(entry, &image->geometry, &offset) != 0)
		return refuse(opening, -EINVAL, "L1 entry %" PRIu32 " means nothing", index);
	if (entry == 0)
		return 0;
	if (!is_in_file(image, offset))
		return refuse(opening, -EINVAL, "L1 entry %" PRIu32 " leads out of the file",
			      index);
	if (image->read_only)
		return 0;
	if ((entry & QCOW2_COPIED) == 0)
		return refuse(opening, -EINVAL,
			      "an L2 table is shared although there are no snapshots; "
			      "see `ringsan image check`");
	return add_metadata(opening, offset, image->geometry.cluster_bytes, "an L2 table");
}

static int read_l1(const struct opening *opening)
{
	struct qcow2 *image = opening->image;
	size_t bytes = (size_t)image->header.l1_entries * ENTRY_BYTES;
	uint32_t units = (uint32_t)(round_up(bytes, image->unit_bytes) / image->unit_bytes);
	int res;

	image->l1_count = image->header.l1_entries;
	image->l1_unit_entries = image->unit_bytes / ENTRY_BYTES;
	image->l1_words = (units + 63) / 64;
	image->l1_bytes = unit_calloc(bytes + image->unit_bytes);
	image->l1 = calloc((size_t)image->l1_count + 1, sizeof(*image->l1));
	image->l1_dirty = calloc((size_t)image->l1_words + 1, sizeof(*image->l1_dirty));
	image->l1_sealed = calloc((size_t)image->l1_words + 1, sizeof(*image->l1_sealed));
	if (!image->l1_bytes || !image->l1 || !image->l1_dirty || !image->l1_sealed)
		return refuse(opening, -ENOMEM, "no memory for its L1 table");
	res = read_file(opening, image->l1_bytes, (size_t)units * image->unit_bytes,
			image->header.l1_offset);
	for (uint32_t i = 0; i < image->l1_count && res == 0; i++) {
		image->l1[i] = get_be64(image->l1_bytes + (size_t)i * ENTRY_BYTES);
		res = check_l1_entry(opening, i);
	}
	return res;
}

/* -- Refcounts -- */

/* Entries for a file of twice the guest's size and twice what it has now: a table never needs more
 * memory than this while the image is open. */
static uint32_t table_room(const struct qcow2 *image)
{
	uint64_t clusters =
		2 * (cluster_of(image, image->size_bytes) + cluster_of(image, image->file_bytes)) +
		2 * (uint64_t)image->l1_count + 1024;
	uint64_t blocks = clusters / image->geometry.refcount_block_entries + 2;
	uint64_t per_cluster = image->geometry.cluster_bytes / ENTRY_BYTES;
	uint64_t least = (uint64_t)image->header.refcount_table_clusters * per_cluster;
	uint64_t entries = round_up(blocks > least ? blocks : least, per_cluster);
	uint64_t most = QCOW2_REFCOUNT_TABLE_BYTES_MAX / ENTRY_BYTES;

	return (uint32_t)(entries < most ? entries : most);
}

static int read_refcount_table(const struct opening *opening)
{
	struct qcow2 *image = opening->image;
	size_t bytes =
		(size_t)image->header.refcount_table_clusters * image->geometry.cluster_bytes;
	int res;

	image->table_room = table_room(image);
	image->table_bytes = unit_calloc((size_t)image->table_room * ENTRY_BYTES);
	image->reserve.counts = unit_calloc(image->geometry.slice_bytes);
	if (!image->table_bytes || !image->reserve.counts)
		return refuse(opening, -ENOMEM, "no memory for its refcounts");
	res = read_file(opening, image->table_bytes, bytes, image->header.refcount_table_offset);
	for (size_t i = 0; i < bytes / ENTRY_BYTES && res == 0; i++) {
		uint64_t entry = get_be64(image->table_bytes + i * ENTRY_BYTES);
		uint64_t offset;

		if (entry == 0)
			continue;
		if (qcow2_refcount_table_decode(entry, &image->geometry, &offset) != 0 ||
		    !is_in_file(image, offset))
			return refuse(opening, -EINVAL, "refcount table entry %zu is wrong", i);
		res = add_metadata(opening, offset, image->geometry.cluster_bytes,
				   "a refcount block");
	}
	return res;
}

/* Where the clusters in use end: what another opening left free at the end of the file is taken
 * again. Only a hint, so it stops after some slices. */
static int find_end(const struct opening *opening)
{
	struct qcow2 *image = opening->image;
	struct reserve *reserve = &image->reserve;
	uint64_t end = cluster_of(image, image->file_bytes);
	bool found = false;
	int res = 0;

	for (unsigned i = 0; i < END_SLICES_MAX && !found && end > 0 && res == 0; i++) {
		if (counts_locate(image, end - 1)) {
			res = read_file(opening, reserve->counts, image->geometry.slice_bytes,
					reserve->slice_offset);
			end = counts_end(image, end);
			found = end > reserve->slice_first;
		} else {
			end = reserve->slice_first;
		}
	}
	reserve->search_from = end;
	return res;
}

static int open_tables(const struct opening *opening)
{
	struct qcow2 *image = opening->image;
	const struct qcow2_header *header = &image->header;
	uint64_t table_bytes =
		(uint64_t)header->refcount_table_clusters * image->geometry.cluster_bytes;
	int res;

	if (image->read_only)
		return read_l1(opening);
	/* Header, tables, L2 tables, blocks, and twice the table that may come. */
	res = metadata_init(&image->metadata, 2 * (uint64_t)table_room(image) +
						      2 * (uint64_t)header->l1_entries + 1024);
	if (res != 0)
		return refuse(opening, res, "no memory");
	res = add_metadata(opening, 0, 1, "the header");
	if (res == 0)
		res = add_metadata(opening, header->l1_offset,
				   (uint64_t)header->l1_entries * ENTRY_BYTES, "the L1 table");
	if (res == 0)
		res = add_metadata(opening, header->refcount_table_offset, table_bytes,
				   "the refcount table");
	if (res == 0)
		res = read_l1(opening);
	if (res == 0)
		res = read_refcount_table(opening);
	if (res == 0)
		res = find_end(opening);
	return res;
}

/* -- All of it -- */

static struct qcow2 *image_make(const struct qcow2_spec *spec)
{
	struct qcow2 *image = calloc(1, sizeof(*image));

	if (!image)
		return NULL;
	(void)snprintf(image->name, sizeof(image->name), "%s", spec->name);
	image->loop = spec->loop;
	image->cache = spec->cache;
	image->backing = spec->backing;
	image->fd = spec->fd;
	image->sync_fd = spec->sync_fd;
	image->read_only = spec->read_only;
	image->holds_frees = spec->holds_frees;
	image->direct = spec->direct;
	image->in_memory = spec->in_memory;
	image->unit_bytes =
		spec->io_align_bytes > SECTOR_BYTES ? spec->io_align_bytes : SECTOR_BYTES;
	image->file_bytes = spec->file->size_bytes;
	list_init(&image->link);
	list_init(&image->workers.waiting);
	list_init(&image->kick_link);
	list_init(&image->slices);
	list_init(&image->recover_link);
	image->recovers = spec->recovers && !spec->read_only;
	image->recovery = spec->recovery;
	list_init(&image->in_flight);
	list_init(&image->start_waiting);
	list_init(&image->syncer.waiting);
	list_init(&image->syncer.riding);
	list_init(&image->reserve.free);
	list_init(&image->reserve.lower);
	list_init(&image->reserve.waiting);
	busy_init(image);
	quarantine_init(image);
	return image;
}

/* What only writing needs. */
static int make_writable(struct qcow2 *image)
{
	image->busy = calloc(BUSY_MAX, sizeof(*image->busy));
	image->quarantine.hosts = calloc(HOSTS_MAX, sizeof(*image->quarantine.hosts));
	if (!image->busy || !image->quarantine.hosts)
		return -ENOMEM;
	busy_make_room(image);
	quarantine_make_room(image);
	reserve_run_size(image, 0);
	return 0;
}

static unsigned chain_length(const struct qcow2 *image)
{
	unsigned length = 0;

	for (; image && length <= QCOW2_CHAIN_MAX; image = image->backing)
		length++;
	return length;
}

static int open_image(const struct opening *opening)
{
	struct qcow2 *image = opening->image;
	int res = read_header(opening);

	if (res != 0)
		return res;
	qcow2_geometry_of(&image->header, &image->geometry);
	image->size_bytes = image->header.size_bytes;
	/* qemu ends files inside their last cluster. */
	image->file_bytes = round_up(image->file_bytes, image->geometry.cluster_bytes);
	image->start = image->header.autoclear != 0 ? START_NEEDED : START_DONE;
	if (chain_length(image) > QCOW2_CHAIN_MAX)
		return refuse(opening, -ELOOP, "its chain of backing files is too long");
	res = check_units(opening);
	if (res == 0 && !image->read_only)
		res = check_writable(opening);
	if (res == 0 && !image->read_only && make_writable(image) != 0)
		res = refuse(opening, -ENOMEM, "no memory");
	if (res == 0 && image->backing && !image->backing->read_only && unpushed_open(image) != 0)
		res = refuse(opening, -ENOMEM, "no memory");
	if (res == 0)
		res = open_tables(opening);
	return res;
}

int qcow2_open(const struct qcow2_spec *spec, struct qcow2 **out, char *why, size_t why_bytes)
{
	struct opening opening = {.spec = spec, .why = why, .why_bytes = why_bytes};
	int res;

	opening.image = image_make(spec);
	if (!opening.image)
		return refuse(&opening, -ENOMEM, "no memory");
	commit_init(opening.image);
	res = open_image(&opening);
	if (res != 0) {
		qcow2_close(opening.image);
		return res;
	}
	*out = opening.image;
	return 0;
}

int qcow2_open_raw(const struct qcow2_spec *spec, struct qcow2 **out)
{
	struct qcow2 *image = image_make(spec);

	if (!image)
		return -ENOMEM;
	commit_init(image);
	image->raw = image->read_only = true;
	/* What is behind its end inside the last unit reads as zeroes. */
	image->size_bytes = round_up(spec->file->size_bytes, image->unit_bytes);
	*out = image;
	return 0;
}

const struct qcow2_header *qcow2_header(const struct qcow2 *image)
{
	return &image->header;
}

bool qcow2_may_leak(const struct qcow2 *image)
{
	return image->failed != 0 || image->recovers || image->leaked;
}

bool qcow2_has_failed(const struct qcow2 *image)
{
	return image->failed != 0;
}

void qcow2_close(struct qcow2 *image)
{
	if (!image)
		return;
	assert(image->active == 0);
	/* Beside a loop that runs, qcow2_stop has done that, on it. */
	if (!cache_is_left(image)) {
		cache_leave(image);
		list_remove(&image->kick_link);
		list_remove(&image->recover_link);
	}
	metadata_clear(&image->metadata);
	free(image->header_bytes);
	free(image->l1_bytes);
	free(image->l1);
	free(image->l1_dirty);
	free(image->l1_sealed);
	free(image->table_bytes);
	free(image->reserve.counts);
	free(image->busy);
	free(image->quarantine.hosts);
	free(image->unpushed.words);
	free(image);
}
