/*
 * qcow2 images under the simulator: the engine behind the LUN's own membrane, by an image type that
 * stands here because names, locks and chains have no part in it. What a cut leaves is opened as it
 * lies on the disk; left_qcow2.c judges it. Closed images are changed by the code that does so for
 * users.
 */
#include "tests/crash/subject.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lun/lun_internal.h"
#include "lun/qcow2/grow.h"
#include "lun/qcow2/qcow2.h"
#include "lun/qcow2/rebase.h"
#include "lun/qcow2/repair.h"
#include "tests/crash/left_qcow2.h"
#include "tests/crash/sim_file.h"
#include "tests/crash/variant_qcow2.h"

/* Slices of the cache: so few that they are evicted, or waited for. */
#define CACHE_BYTES (UINT64_C(64) << 10)
#define CACHE_BYTES_SMALL (UINT64_C(16) << 10)
#define REQUESTS 32u
/* Descriptors that no kernel has: of file i this one and i more; one for fdatasyncs of the top. */
#define FD_FIRST 1000001
#define FD_SYNC 1000101

/* -- The image type -- */

struct request {
	struct qcow2_request of;
	struct lun_io *io; /* NULL: free. */
};

struct image {
	struct sim *sim;
	struct qcow2_cache *cache;
	unsigned count; /* Of the chain: [0] is the top, the last one may be raw. */
	struct qcow2 *chain[VARIANT_FILES];
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

/* For each level one, and one of few slices: an open image uses most of it, and to make it anew
 * takes time. */
static struct image *image_of_level(unsigned level, bool scarce)
{
	static struct image images[SUBJECT_LEVELS][2];
	struct image *image = &images[level][scarce];
	uint64_t bytes = scarce ? CACHE_BYTES_SMALL : CACHE_BYTES;

	if (!image->cache) {
		image->requests = calloc(REQUESTS, sizeof(*image->requests));
		if (!image->requests || qcow2_cache_create(bytes, &image->cache))
			abort();
	}
	return image;
}

static void close_chain(struct image *image, unsigned first)
{
	for (unsigned i = first; i < image->count; i++)
		qcow2_close(image->chain[i]);
}

static int open_file(struct image *image, unsigned i, char *why, size_t why_size)
{
	struct sim_file file;
	struct qcow2_spec spec = {
		.name = i ? "below" : "top",
		.loop = image->sim->loop,
		.cache = image->cache,
		.file = &file.writable.file,
		.fd = FD_FIRST + (int)i,
		.sync_fd = i ? FD_FIRST + (int)i : FD_SYNC,
		.read_only = i > 0,
		.recovers = true,
		.direct = true,
		.io_align_bytes = DISK_SECTOR_BYTES,
		.backing = i + 1 < image->count ? image->chain[i + 1] : NULL,
	};

	sim_file_open(&file, image->sim, i);
	if (i == opening.variant->images)
		return qcow2_open_raw(&spec, &image->chain[i]);
	return qcow2_open(&spec, &image->chain[i], why, why_size);
}

static int open_chain(struct image *image, char *why, size_t why_size)
{
	unsigned i = opening.variant->images + opening.variant->on_raw;
	int res = 0;

	image->count = i;
	while (res == 0 && i > 0)
		res = open_file(image, --i, why, why_size);
	if (res)
		close_chain(image, i + 1);
	return res;
}

static int open_image(const struct lun_spec *spec UNUSED, struct image **out,
		      struct image_info *info, char *why, size_t why_size)
{
	/* The smallest clusters have the most tables. */
	struct image *image = image_of_level(opening.level, opening.variant->cluster_bits == 9);
	int res;

	image->sim = opening.sim;
	image->stopped = false;
	res = open_chain(image, why, why_size);
	if (res)
		return res;
	for (unsigned i = 0; i < image->count; i++)
		sim_bind(opening.sim, FD_FIRST + (int)i, i);
	sim_bind(opening.sim, FD_SYNC, 0);
	*info = (struct image_info){
		.size_bytes = qcow2_header(image->chain[0])->size_bytes,
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
	close_chain(image, 0);
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
	/* Of every second cluster what lies above the last image. */
	request->of.base = image->count > 2 && io->offset_bytes / 4096 % 2
				   ? image->chain[image->count - 1]
				   : NULL;
	request->of.done = on_done;
	qcow2_submit(image->chain[0], &request->of);
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
	opening.variant = &variants_qcow2[variant];
	opening.level = level;
	if (lun_open_type(&spec, &sim->group, &ops, &lun))
		abort();
	if (lun_state(lun)->online)
		return lun;
	(void)snprintf(why, SUBJECT_WHY_BYTES, "%s", lun_state(lun)->offline_reason);
	lun_close(lun);
	return NULL;
}

static void on_stopped(void *arg, int res)
{
	struct image *image = arg;

	image->stopped = true;
	image->stop_res = res;
}

/* What a cut has leaked is taken back, if it is given the time. */
LOOP_ONLY static void let_recover(struct sim *sim, const struct image *image)
{
	sim->idle = false;
	while (qcow2_may_leak(image->chain[0]) && !qcow2_has_failed(image->chain[0]) && !sim->idle)
		sim_turn(sim);
}

static int stop(struct sim *sim, struct lun *lun)
{
	struct image *image = lun->image;

	loop_role_assume();
	if (random_one_in(&sim->random, 2))
		let_recover(sim, image);
	qcow2_stop(image->chain[0], on_stopped, image);
	sim->idle = false;
	while (!image->stopped && !sim->idle)
		sim_turn(sim);
	if (!image->stopped)
		return -ETIME;
	if (!image->stop_res && !qcow2_may_leak(image->chain[0]) && left_leaks(sim->disk, 0))
		return -EUCLEAN;
	return image->stop_res;
}

static bool has_failed(const struct lun *lun)
{
	return qcow2_has_failed(lun->image->chain[0]);
}

/* -- Changes of the closed image -- */

static int grow(struct sim *sim, const struct variant *variant, char *why)
{
	struct sim_file top;
	struct qcow2_grow change = {
		.writable = &top.writable,
		.size_bytes = variant->grown_bytes,
	};

	if (variant->images > 1)
		change.backing_bytes = (uint64_t)VARIANT_SECTORS_FIRST * DISK_SECTOR_BYTES;
	else if (variant->on_raw)
		change.backing_bytes = sim->disk->files[1].now_bytes;
	sim_file_open(&top, sim, 0);
	return qcow2_grow(&change, why, SUBJECT_WHY_BYTES);
}

static int rebase(struct sim *sim, const struct variant *variant, char *why)
{
	struct sim_file top;
	struct qcow2_rebase change = {
		.writable = &top.writable,
		.backing_name = variant_backing_name(variant, true),
		.backing_format = variant->images > 1 ? "qcow2" : "raw",
	};

	sim_file_open(&top, sim, 0);
	return qcow2_rebase(&change, why, SUBJECT_WHY_BYTES);
}

static int repair(struct sim *sim, const struct variant *variant UNUSED, char *why)
{
	struct sim_file top;
	struct qcow2_check check;
	struct qcow2_check_spec spec = {.file = &top.writable.file};
	struct qcow2_repair change = {.writable = &top.writable};
	int res;

	sim_file_open(&top, sim, 0);
	res = qcow2_repair(&change, why, SUBJECT_WHY_BYTES);
	if (res == 0)
		res = qcow2_check(&spec, &check, why, SUBJECT_WHY_BYTES);
	if (res == 0 && qcow2_check_verdict(&check) != QCOW2_CLEAN) {
		(void)snprintf(why, SUBJECT_WHY_BYTES, "not repaired: %s", check.findings[0]);
		res = -EUCLEAN;
	}
	return res;
}

static const struct change {
	unsigned bit;
	int (*make)(struct sim *sim, const struct variant *variant, char *why);
} changes_of_files[] = {
	{CHANGE_GROW, grow}, {CHANGE_GROW, grow}, {CHANGE_REBASE, rebase}, {CHANGE_REPAIR, repair}};

/* Names are changed in clusters of 4 KiB and more. */
static bool has_change(const struct variant *variant, unsigned bit)
{
	return bit != CHANGE_REBASE ||
	       (variant->cluster_bits >= 12 && variant_backing_name(variant, true));
}

static int change(struct sim *sim, unsigned number, struct changes *changes, struct random *random,
		  char *why)
{
	const struct variant *variant = &variants_qcow2[number];
	const struct change *change =
		&changes_of_files[random_below(random, ARRAY_SIZE(changes_of_files))];
	int res;

	if (!has_change(variant, change->bit))
		return 0;
	changes->begun |= change->bit;
	res = change->make(sim, variant, why);
	if (res == 0)
		changes->done |= change->bit;
	return res;
}

/* -- What a cut left -- */

static unsigned shown_in(const struct variant *variant, const struct qcow2_header *header)
{
	const char *name = variant_backing_name(variant, true);
	unsigned shown = 0;

	if (header->size_bytes == variant->grown_bytes)
		shown |= CHANGE_GROW;
	if (name && !strcmp(header->backing_name, name))
		shown |= CHANGE_REBASE;
	return shown;
}

static unsigned shown(const struct disk *disk, unsigned variant)
{
	struct qcow2_header header;
	char why[SUBJECT_WHY_BYTES];

	return left_header(disk, 0, &header, why) ? shown_in(&variants_qcow2[variant], &header) : 0;
}

/* Each change is there whole, or not at all. */
static bool is_permitted(const struct variant *variant, const struct qcow2_header *header,
			 const struct changes *changes, char *why)
{
	unsigned bits = shown_in(variant, header);
	const char *name = variant_backing_name(variant, bits & CHANGE_REBASE);
	uint64_t size_bytes = bits & CHANGE_GROW
				      ? variant->grown_bytes
				      : (uint64_t)VARIANT_SECTORS_FIRST * DISK_SECTOR_BYTES;

	(void)snprintf(why, SUBJECT_WHY_BYTES, "its size is %llu, its backing file '%.60s' (%s)",
		       (unsigned long long)header->size_bytes, header->backing_name,
		       header->backing_format);
	return header->size_bytes == size_bytes &&
	       !strcmp(header->backing_name, name ? name : "") && !(bits & ~changes->begun) &&
	       !(changes->done & ~bits & (CHANGE_GROW | CHANGE_REBASE));
}

static bool read_words(const struct disk *disk, unsigned number, const struct changes *changes,
		       uint64_t *words, char *why)
{
	const struct variant *variant = &variants_qcow2[number];
	struct qcow2_header header;
	struct left_chain chain = {
		.disk = disk,
		.images = variant->images,
		.on_raw = variant->on_raw,
		.sectors = VARIANT_SECTORS,
		.kind = number,
	};

	return left_header(disk, 0, &header, why) && is_permitted(variant, &header, changes, why) &&
	       left_read(&chain, words, why);
}

const struct subject subject_qcow2 = {
	.name = "qcow2",
	.variants = variant_names_qcow2,
	.files = VARIANT_FILES,
	.room_bytes = VARIANT_ROOM_BYTES,
	.sectors = VARIANT_SECTORS,
	.cluster_sectors = 8,
	.pulls = true,
	.format = variant_format,
	.open = open_lun,
	.stop = stop,
	.close = lun_close,
	.has_failed = has_failed,
	.change = change,
	.shown = shown,
	.read = read_words,
};
