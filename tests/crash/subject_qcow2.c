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
#include "lun/qcow2/qcow2.h"
#include "tests/crash/change_qcow2.h"
#include "tests/crash/left_qcow2.h"
#include "tests/crash/sim_file.h"
#include "tests/crash/variant_qcow2.h"

/* Slices of the cache: so few that they are evicted, or waited for. */
#define CACHE_BYTES (UINT64_C(64) << 10)
#define CACHE_BYTES_SMALL (UINT64_C(16) << 10)
#define REQUESTS 32u
/* Descriptors that no kernel has: of file i this one and i more; as many for fdatasyncs. */
#define FD_FIRST 1000001
#define FD_SYNC 1000101
#define PUSH_BYTES (3u * DISK_SECTOR_BYTES)
/* In which it is known what has gone down (lun/qcow2/unpushed.c). */
#define PUSH_PIECE UINT64_C(4096)
#define BYTES_BELOW ((uint64_t)VARIANT_SECTORS_FIRST * DISK_SECTOR_BYTES)

/* -- The image type -- */

struct request {
	struct qcow2_request of;
	struct lun_io *io; /* NULL: free. */
	struct image *image;
	bool in_below; /* That image pulls. */
	struct qcow2_push push;
	uint8_t *buffer; /* Of the push: smaller than what one is asked for. */
};

struct image {
	struct sim *sim;
	struct qcow2_cache *cache;
	unsigned count; /* Of the chain: [0] is the top, the last one may be raw. */
	struct qcow2 *chain[VARIANT_FILES];
	struct request *requests;
	bool writes_below;
	bool stopped;
	int stop_res;
	struct changes *changes;
};

/* Of the open under way. */
static struct {
	struct sim *sim;
	const struct variant *variant;
	unsigned level;
	struct changes *changes;
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
		for (unsigned i = 0; image->requests && i < REQUESTS; i++)
			image->requests[i].buffer = aligned_alloc(DISK_SECTOR_BYTES, PUSH_BYTES);
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
		.sync_fd = FD_SYNC + (int)i,
		.read_only = i > image->writes_below,
		.holds_frees = i > 0 && image->writes_below,
		.recovers = true,
		.direct = !opening.variant->cached,
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
	image->writes_below = opening.variant->writes_below;
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
	image->changes = opening.changes;
	image->stopped = false;
	res = open_chain(image, why, why_size);
	if (res)
		return res;
	for (unsigned i = 0; i < image->count; i++) {
		sim_bind(opening.sim, FD_FIRST + (int)i, i);
		sim_bind(opening.sim, FD_SYNC + (int)i, i);
	}
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

/* A pull is durable: the layers that it read may leave there. */
static void note_pull(const struct request *request)
{
	const struct qcow2_request *of = &request->of;
	enum pulled which = PULLED_TOP_ALONE;

	if (of->base)
		which = PULLED_TOP_OVER_RAW;
	else if (request->in_below)
		which = PULLED_BELOW_ALONE;
	changes_pull(request->image->changes, which, of->offset / DISK_SECTOR_BYTES,
		     of->length / DISK_SECTOR_BYTES);
}

static void on_done(struct qcow2_request *of, int res)
{
	struct request *request = CONTAINER_OF(of, struct request, of);
	struct lun_io *io = request->io;

	loop_role_assume();
	if (res == 0 && of->op == LUN_PULL && (of->flags & LUN_IO_DURABLE))
		note_pull(request);
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

/* A pull may be any step of a job: what lies above the last image alone is pulled; it
 * is pulled into the image below; what the top has is pushed there (NULL). None of it changes what
 * the top shows. */
static struct qcow2 *choose_job(const struct image *image, struct request *request)
{
	struct qcow2_request *of = &request->of;
	unsigned kind = random_below(&image->sim->random, image->writes_below ? 6 : 2);

	if (image->count > 2 && kind % 2)
		of->base = image->chain[image->count - 1];
	if (kind < 2 || of->offset >= BYTES_BELOW)
		return image->chain[0];
	if (of->length > BYTES_BELOW - of->offset)
		of->length = BYTES_BELOW - of->offset;
	request->in_below = kind == 2;
	if (kind == 2)
		return image->chain[1];
	return NULL;
}

static void on_pushed(struct qcow2_push *push, int res)
{
	struct request *request = CONTAINER_OF(push, struct request, push);
	struct lun_io *io = request->io;

	loop_role_assume();
	request->io = NULL;
	image_io_done(io, res);
}

/* The top is written meanwhile: it shows the same, whatever of it is below. */
LOOP_ONLY static void push_down(struct image *image, struct request *request)
{
	uint64_t first = request->of.offset / PUSH_PIECE * PUSH_PIECE;
	uint64_t end = (request->of.offset + request->of.length + PUSH_PIECE - 1) / PUSH_PIECE *
		       PUSH_PIECE;

	end = end < BYTES_BELOW ? end : BYTES_BELOW;
	changes_write_below(image->changes, first / DISK_SECTOR_BYTES,
			    (end - first) / DISK_SECTOR_BYTES);
	request->push = (struct qcow2_push){
		.from = image->chain[0],
		.to = image->chain[1],
		.offset = request->of.offset,
		.length = request->of.length,
		.flags = request->of.flags,
		.buffer = request->buffer,
		.buffer_bytes = PUSH_BYTES,
		.request = &request->of,
		.done = on_pushed,
	};
	qcow2_push(&request->push);
}

/* As image_qcow2.c does it. */
LOOP_ONLY static bool copies(const struct image *image, struct lun_io *io)
{
	struct byte_range range = {io->offset_bytes, io->offset_bytes + io->length_bytes};

	if ((io->op != LUN_READ && io->op != LUN_WRITE) || (io->flags & LUN_IO_DURABLE))
		return false;
	return qcow2_copy(image->chain[0], io->op, range, io->iov, io->iov_count) == 0;
}

static void submit(struct image *image, struct lun_io *io)
{
	struct request *request = find_free(image);
	struct qcow2 *target = image->chain[0];

	loop_role_assume();
	if (copies(image, io)) {
		image_io_done_later(io, 0);
		return;
	}
	request->io = io;
	request->image = image;
	request->in_below = false;
	request->of.op = io->op;
	request->of.flags = io->flags;
	request->of.offset = io->offset_bytes;
	request->of.length = io->length_bytes;
	request->of.iov = io->iov;
	request->of.iov_count = io->iov_count;
	request->of.base = NULL;
	request->of.done = on_done;
	if (io->op == LUN_PULL)
		target = choose_job(image, request);
	if (target)
		qcow2_submit(target, &request->of);
	else
		push_down(image, request);
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

static struct lun *open_lun(struct sim *sim, unsigned variant, unsigned level,
			    struct changes *changes, char *why)
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
	opening.changes = changes;
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

/* What a cut has leaked is taken back, if it is given the time; in a layer that is written below
 * the top as well. */
LOOP_ONLY static void let_recover(struct sim *sim, const struct image *image)
{
	for (unsigned i = 0; i <= image->writes_below; i++) {
		const struct qcow2 *layer = image->chain[i];

		sim->idle = false;
		while (qcow2_may_leak(layer) && !qcow2_has_failed(layer) && !sim->idle)
			sim_turn(sim);
	}
}

static bool leaks_unseen(const struct sim *sim, const struct image *image)
{
	bool leaks = false;

	for (unsigned i = 0; i <= image->writes_below; i++)
		leaks |= !qcow2_may_leak(image->chain[i]) && left_leaks(sim->disk, i);
	return leaks;
}

/* Those that are written, from the top on. */
LOOP_ONLY static int stop_all(struct sim *sim, struct image *image)
{
	int first = 0;

	for (unsigned i = 0; i <= image->writes_below; i++) {
		image->stopped = false;
		qcow2_stop(image->chain[i], on_stopped, image);
		sim->idle = false;
		while (!image->stopped && !sim->idle)
			sim_turn(sim);
		if (!image->stopped)
			return -ETIME;
		first = first ? first : image->stop_res;
	}
	return first;
}

static int stop(struct sim *sim, struct lun *lun)
{
	struct image *image = lun->image;
	int res;

	loop_role_assume();
	if (random_one_in(&sim->random, 2))
		let_recover(sim, image);
	res = stop_all(sim, image);
	if (!res && leaks_unseen(sim, image))
		return -EUCLEAN;
	return res;
}

static bool has_failed(const struct lun *lun)
{
	return qcow2_has_failed(lun->image->chain[0]);
}

/* -- Changes of the closed image -- */

static int change(struct sim *sim, unsigned number, struct changes *changes, struct random *random,
		  char *why)
{
	/* Growing has the most to it. */
	static const enum change_qcow2 kinds[] = {CHANGE_QCOW2_GROW, CHANGE_QCOW2_GROW,
						  CHANGE_QCOW2_REBASE, CHANGE_QCOW2_REPAIR};
	const struct variant *variant = &variants_qcow2[number];
	enum change_qcow2 kind = kinds[random_below(random, ARRAY_SIZE(kinds))];
	struct sim_file top;
	int res;

	if (!change_is_possible(kind, variant))
		return 0;
	changes->begun |= changes_qcow2[kind].bit;
	sim_file_open(&top, sim, 0);
	res = changes_qcow2[kind].make(&top.writable, variant, sim->disk->files[1].now_bytes, why);
	if (res == 0)
		changes->done |= changes_qcow2[kind].bit;
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
		.changes = changes,
	};

	return left_header(disk, 0, &header, why) && is_permitted(variant, &header, changes, why) &&
	       left_read(&chain, words, why);
}

static bool has_jobs(unsigned variant)
{
	return variants_qcow2[variant].writes_below;
}

const struct subject subject_qcow2 = {
	.name = "qcow2",
	.variants = variant_names_qcow2,
	.files = VARIANT_FILES,
	.room_bytes = VARIANT_ROOM_BYTES,
	.sectors = VARIANT_SECTORS,
	.cluster_sectors = 8,
	.pulls = true,
	.has_jobs = has_jobs,
	.format = variant_format,
	.open = open_lun,
	.stop = stop,
	.close = lun_close,
	.has_failed = has_failed,
	.change = change,
	.shown = shown,
	.read = read_words,
};
