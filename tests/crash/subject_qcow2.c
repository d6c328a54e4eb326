/*
 * qcow2 images under the simulator: the engine behind the LUN's own membrane, by an image type that
 * stands here because names, locks and chains have no part in it. What a cut leaves is opened from
 * memory; left_qcow2.c judges it.
 *
 * Clusters are as small as the format has them, so that tables grow within some dozen requests.
 */
#include "tests/crash/subject.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lun/lun_internal.h"
#include "lun/qcow2/create.h"
#include "lun/qcow2/qcow2.h"
#include "tests/crash/compressed.h"
#include "tests/crash/left_qcow2.h"
#include "tests/crash/model.h"
#include "tests/crash/pattern.h"
#include "tests/crash/view.h"

#define SECTORS 192u
#define BYTES ((uint64_t)SECTORS * DISK_SECTOR_BYTES)
#define ROOM_BYTES (UINT64_C(4) << 20)
/* Slices of the cache: so few that they are evicted. */
#define CACHE_BYTES (UINT64_C(64) << 10)
#define REQUESTS 32u
/* Descriptors that no kernel has; one for the fdatasyncs of the image. */
#define FD_TOP 1000001
#define FD_TOP_SYNC 1000002
#define FD_BASE 1000003

enum {
	FILE_TOP,
	FILE_BASE,
	FILES
};

static const struct variant {
	uint32_t cluster_bits;
	bool extended;
	bool backed;     /* By a raw file that has data. */
	bool compressed; /* Every second cluster. */
} variants[] = {
	{9, false, false, false}, {9, false, true, false},  {12, false, false, false},
	{12, false, true, false}, {12, false, false, true}, {12, false, true, true},
	{14, true, false, false}, {14, true, true, false},
};
static const char *const names[] = {
	"small",    "small-backed",    "middle", "middle-backed", "compressed", "compressed-backed",
	"extended", "extended-backed", NULL,
};

/* -- The image type -- */

struct request {
	struct qcow2_request of;
	struct lun_io *io; /* NULL: free. */
};

struct image {
	struct sim *sim;
	struct qcow2_cache *cache;
	struct qcow2 *top, *base;
	struct request *requests;
	bool stopped;
	int stop_res;
};

/* Of the open under way. */
static struct {
	struct sim *sim;
	const struct variant *variant;
	unsigned level;
	struct image *image;
} opening;

/* One for each level: an open image uses most of it, and to make it anew takes time. */
static struct image *image_of_level(unsigned level)
{
	static struct image images[SUBJECT_LEVELS];
	struct image *image = &images[level];

	if (!image->cache) {
		image->requests = calloc(REQUESTS, sizeof(*image->requests));
		if (!image->requests || qcow2_cache_create(CACHE_BYTES, &image->cache))
			abort();
	}
	return image;
}

static int open_chain(struct image *image, char *why, size_t why_size)
{
	struct view top, base;
	struct qcow2_spec spec = {
		.name = "top",
		.loop = image->sim->loop,
		.cache = image->cache,
		.direct = true,
		.io_align_bytes = DISK_SECTOR_BYTES,
	};
	struct qcow2_spec below = spec;
	int res = 0;

	image->top = NULL;
	image->base = NULL;
	view_init(&top, &image->sim->disk->files[FILE_TOP].base);
	view_init(&base, &image->sim->disk->files[FILE_BASE].base);
	spec.file = &top.file;
	spec.fd = FD_TOP;
	spec.sync_fd = FD_TOP_SYNC;
	below.name = "base";
	below.file = &base.file;
	below.fd = FD_BASE;
	below.sync_fd = FD_BASE;
	below.read_only = true;
	if (opening.variant->backed)
		res = qcow2_open_raw(&below, &image->base);
	spec.backing = image->base;
	if (!res)
		res = qcow2_open(&spec, &image->top, why, why_size);
	if (res && image->base)
		qcow2_close(image->base);
	return res;
}

static int open_image(const struct lun_spec *spec UNUSED, struct image **out,
		      struct image_info *info, char *why, size_t why_size)
{
	struct image *image = image_of_level(opening.level);
	int res;

	image->sim = opening.sim;
	image->stopped = false;
	res = open_chain(image, why, why_size);
	if (res)
		return res;
	sim_bind(opening.sim, FD_TOP, FILE_TOP);
	sim_bind(opening.sim, FD_TOP_SYNC, FILE_TOP);
	sim_bind(opening.sim, FD_BASE, FILE_BASE);
	*info = (struct image_info){
		.size_bytes = qcow2_header(image->top)->size_bytes,
		.io_align_bytes = DISK_SECTOR_BYTES,
		.allocation_unit_bytes = 4096,
		.thin = true,
		.zeroes_after_unmap = true,
	};
	opening.image = image;
	*out = image;
	return 0;
}

static void close_image(struct image *image)
{
	qcow2_close(image->top);
	if (image->base)
		qcow2_close(image->base);
}

static void on_done(struct qcow2_request *of, int res)
{
	struct request *request = CONTAINER_OF(of, struct request, of);
	struct lun_io *io = request->io;

	loop_role_assume();
	request->io = NULL;
	image_io_done(io, res);
}

static struct request *find_free(struct image *image)
{
	for (unsigned i = 0; i < REQUESTS; i++) {
		if (!image->requests[i].io)
			return &image->requests[i];
	}
	abort();
}

static void submit(struct image *image, struct lun_io *io)
{
	struct request *request = find_free(image);

	loop_role_assume();
	request->io = io;
	request->of.op = io->op;
	request->of.flags = io->flags;
	request->of.offset = io->offset_bytes;
	request->of.length = io->length_bytes;
	request->of.iov = io->iov;
	request->of.iov_count = io->iov_count;
	request->of.done = on_done;
	qcow2_submit(image->top, &request->of);
}

static int no_fd(const struct image *image UNUSED)
{
	return -1;
}

static const struct image_ops ops = {
	.type = "qcow2",
	.open = open_image,
	.close = close_image,
	.submit = submit,
	.fd = no_fd,
};

/* -- The LUN -- */

static struct lun *open_lun(struct sim *sim, unsigned variant, unsigned level, char *why)
{
	struct lun_spec spec = {
		.name = "qcow2",
		.type = "qcow2",
		.logical_block_bytes = 512,
		.write_cache = true,
		.identity = "naa.60000000000000000000000000000001",
	};
	struct lun *lun;

	opening.sim = sim;
	opening.variant = &variants[variant];
	opening.level = level;
	if (lun_open_type(&spec, &sim->group, &ops, &lun))
		abort();
	if (lun_state(lun)->online)
		return lun;
	(void)snprintf(why, SUBJECT_WHY_BYTES, "%s", lun_state(lun)->offline_reason);
	return NULL;
}

static void on_stopped(void *arg, int res)
{
	struct image *image = arg;

	image->stopped = true;
	image->stop_res = res;
}

static int stop(struct sim *sim, struct lun *lun)
{
	struct image *image = lun->image;

	loop_role_assume();
	qcow2_stop(image->top, on_stopped, image);
	sim->idle = false;
	while (!image->stopped && !sim->idle)
		sim_turn(sim);
	return image->stopped ? image->stop_res : -ETIME;
}

/* -- Content -- */

/* Every second cluster, whatever lies below it. */
static uint64_t add_compressed(const struct qcow2_layout *layout, uint8_t *bytes, uint64_t *words)
{
	static uint8_t guest[BYTES];
	uint32_t cluster = layout->piece_bytes / DISK_SECTOR_BYTES;

	for (uint32_t i = 0; i < SECTORS; i++) {
		if (i / cluster % 2 == 0)
			words[i] = pattern_word(MODEL_WRITES_MAX - 2, i);
		pattern_fill(guest + (size_t)i * DISK_SECTOR_BYTES, words[i]);
	}
	return compressed_add(layout, bytes, ROOM_BYTES, guest);
}

static void write_top(struct disk *disk, const struct variant *variant,
		      const struct qcow2_layout *layout, uint64_t *words)
{
	uint8_t *bytes = calloc(1, ROOM_BYTES);
	uint64_t length = layout->file_bytes;

	assert(bytes && layout->pieces * (uint64_t)layout->piece_bytes <= length);
	for (uint32_t i = 0; i < layout->pieces; i++)
		qcow2_layout_piece(layout, i, bytes + (size_t)i * layout->piece_bytes);
	if (variant->compressed)
		length = add_compressed(layout, bytes, words);
	disk_load(disk, FILE_TOP, bytes, length);
	free(bytes);
}

/* A backing file of which half has data, and which ends before the image does. */
static void write_base(struct disk *disk, struct random *random, uint64_t *words)
{
	static uint8_t bytes[BYTES];
	uint32_t end = SECTORS - random_below(random, SECTORS / 3);
	uint64_t word = 0;

	for (uint32_t i = 0; i < SECTORS; i++) {
		if (i % 4 == 0)
			word = random_one_in(random, 2) ? pattern_word(MODEL_WRITES_MAX - 1, 0) : 0;
		words[i] = word && i < end ? word | i : 0;
		pattern_fill(bytes + (size_t)i * DISK_SECTOR_BYTES, words[i]);
	}
	disk_load(disk, FILE_BASE, bytes, (uint64_t)end * DISK_SECTOR_BYTES);
}

static void format(struct disk *disk, unsigned variant, struct random *random, uint64_t *words)
{
	const struct variant *v = &variants[variant];
	struct qcow2_create create = {
		.size_bytes = BYTES,
		.cluster_bits = v->cluster_bits,
		.extended = v->extended,
		.backing_name = v->backed ? "base" : NULL,
		.backing_format = v->backed ? "raw" : NULL,
	};
	struct qcow2_layout layout;
	char why[SUBJECT_WHY_BYTES];

	if (qcow2_layout_make(&create, &layout, why, sizeof(why))) {
		printf("cannot format: %s\n", why);
		abort();
	}
	memset(words, 0, SECTORS * sizeof(*words));
	if (v->backed)
		write_base(disk, random, words);
	write_top(disk, v, &layout, words);
}

/* -- What a cut left -- */

static bool read_words(const struct disk *disk, unsigned variant, uint64_t *words, char *why)
{
	struct left_chain chain = {
		.disk = disk,
		.top = FILE_TOP,
		.images = 1,
		.on_raw = variants[variant].backed,
		.sectors = SECTORS,
		.kind = variant,
	};

	return left_read(&chain, words, why);
}

const struct subject subject_qcow2 = {
	.name = "qcow2",
	.variants = names,
	.files = FILES,
	.room_bytes = ROOM_BYTES,
	.sectors = SECTORS,
	.cluster_sectors = 8,
	.pulls = true,
	.format = format,
	.open = open_lun,
	.stop = stop,
	.close = lun_close,
	.read = read_words,
};
