/*
 * The qcow2 image type: hosts' I/O from every loop, carried to the loop that owns the image, and
 * its completion back. The owner's engine (lun/qcow2) does the rest. Images on one loop share its
 * cache of slices, and its request records: each has one of its own, and leaves some of the others
 * to the next, so that one that is stuck does not stop all. Who finds none waits. What is only a
 * copy takes none.
 *
 * Threads: submit runs on the loop of each io, all else of an io on the owner's. Opening and
 * closing on the control thread. Read next: qcow2_chain.c, lun/qcow2/README.md.
 */
#include "lun/image.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/pool.h"
#include "lun/lun_internal.h"
#include "lun/qcow2_chain.h"

#define REQUESTS 512u

/* What image_word means on the way back; the first two are image_msg. */
enum {
	WORD_RES = 2,
	WORD_FAILED = 3,
};

/* One loop that owns images. */
struct owner {
	struct loop *loop;
	struct qcow2_cache *cache;
	unsigned images;
	struct pool requests;
};

struct carried {
	struct qcow2_request request;
	struct map_builder map;
	struct qcow2_push push;
	struct lun_io *io;
};

struct image {
	struct owner *owner;
	struct carried own;       /* io is NULL: free. */
	uint32_t carried;         /* Records of the owner's. */
	struct list_node waiting; /* lun_io.image_link: no record is free for it. */
	/* lun_io.image_link: copies for the next turn. */
	struct list_node deferred;
	struct loop_msg deferred_msg;
	struct chain chain;
	struct loop_msg begin_msg;
	struct image_rest *rest;
	struct loop_msg rest_msg;
	unsigned stopped; /* Files of the chain, on the way to rest. */
	bool rested; /* Nothing is under way, and nothing was since. Written by the owner's loop. */
};

/* -- Owners -- */

static pthread_mutex_t owners_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct owner *owners[LOOPS_MAX]; /* owners_mutex */

/* Memory is taken when it is touched. */
static int owner_make(struct loop *loop, uint64_t cache_bytes, struct owner **out)
{
	struct owner *owner = calloc(1, sizeof(*owner));
	int res;

	if (!owner)
		return -ENOMEM;
	owner->loop = loop;
	res = pool_init(&owner->requests, REQUESTS, sizeof(struct carried), 0);
	if (res == 0)
		res = qcow2_cache_create(cache_bytes, &owner->cache);
	if (res != 0) {
		pool_clear(&owner->requests, false);
		free(owner);
		return res;
	}
	*out = owner;
	return 0;
}

static struct owner *find_owner_locked(const struct loop *loop)
{
	for (unsigned i = 0; i < LOOPS_MAX; i++)
		if (owners[i] && owners[i]->loop == loop)
			return owners[i];
	return NULL;
}

/* The loop that owns the fewest images, the first of those. */
static struct loop *least_loaded_locked(const struct loop_group *group, unsigned count)
{
	struct loop *best = group->loops[0];
	unsigned least = UINT32_MAX;

	for (unsigned i = 0; i < count; i++) {
		const struct owner *owner = find_owner_locked(group->loops[i]);
		unsigned images = owner ? owner->images : 0;

		if (images < least) {
			least = images;
			best = group->loops[i];
		}
	}
	return best;
}

static int add_owner_locked(struct loop *loop, uint64_t cache_bytes, struct owner **out)
{
	for (unsigned i = 0; i < LOOPS_MAX; i++) {
		int res;

		if (owners[i])
			continue;
		res = owner_make(loop, cache_bytes, out);
		if (res == 0)
			owners[i] = *out;
		return res;
	}
	return -EMFILE;
}

static int owner_acquire(const struct lun_spec *spec, struct owner **out)
{
	uint64_t bytes = spec->qcow2_cache_bytes != 0 ? spec->qcow2_cache_bytes : QCOW2_CACHE_BYTES;
	struct qcow2_share share = qcow2_share(bytes, spec->group->count);
	struct loop *loop;
	int res = 0;

	pthread_mutex_lock(&owners_mutex);
	loop = least_loaded_locked(spec->group, share.owners);
	*out = find_owner_locked(loop);
	if (!*out)
		res = add_owner_locked(loop, share.bytes, out);
	if (res == 0)
		(*out)->images++;
	pthread_mutex_unlock(&owners_mutex);
	return res;
}

static void owner_release(struct owner *owner)
{
	bool last;

	pthread_mutex_lock(&owners_mutex);
	last = --owner->images == 0;
	for (unsigned i = 0; i < LOOPS_MAX && last; i++)
		if (owners[i] == owner)
			owners[i] = NULL;
	pthread_mutex_unlock(&owners_mutex);
	if (!last)
		return;
	qcow2_cache_free(owner->cache);
	pool_clear(&owner->requests, false);
	free(owner);
}

/* -- One I/O -- */

static void finish(struct lun_io *io)
{
	int res = (int)(int64_t)io->image_word[WORD_RES];

	loop_role_assume();
	if (io->image_word[WORD_FAILED] != 0)
		image_failed(io, res);
	image_io_done(io, res);
}

/* NULL: the image has its part of them already. */
static struct carried *carried_take(struct image *image)
{
	struct pool *requests = &image->owner->requests;

	if (!image->own.io)
		return &image->own;
	if (image->carried >= pool_free_count(requests))
		return NULL;
	image->carried++;
	return pool_acquire(requests);
}

static void carried_drop(struct image *image, struct carried *carried)
{
	carried->io = NULL;
	if (carried == &image->own)
		return;
	image->carried--;
	pool_release(&image->owner->requests, carried);
}

static void on_back(struct loop_msg *msg)
{
	finish(CONTAINER_OF(msg, struct lun_io, image_msg));
}

LOOP_ONLY static void begin_next(struct image *image);

LOOP_ONLY static void carry_back(struct carried *carried, int res)
{
	struct lun_io *io = carried->io;
	struct image *image = io->image;
	struct owner *owner = image->owner;

	io->image_word[WORD_RES] = (uint64_t)(int64_t)res;
	io->image_word[WORD_FAILED] = res < 0 && qcow2_has_failed(image->chain.files[0].image);
	carried_drop(image, carried);
	begin_next(image);
	if (io->loop == owner->loop) {
		finish(io);
	} else {
		loop_post(io->loop, &io->image_msg, on_back);
	}
}

static void on_done(struct qcow2_request *request, int res)
{
	struct carried *carried = CONTAINER_OF(request, struct carried, request);
	struct lun_io *io = carried->io;

	loop_role_assume();
	io->zeroes = request->zeroes;
	if (io->op == LUN_PULL)
		((struct lun_pull *)io->iov[0].iov_base)->moved_bytes = request->moved;
	carry_back(carried, res);
}

static struct qcow2 *find_layer(const struct chain *chain, uint64_t inode)
{
	for (unsigned i = 0; i < chain->count; i++)
		if (chain->files[i].st.st_ino == inode)
			return chain->files[i].image;
	return NULL;
}

/* The image that a PULL is for. Where the chain is not what its sender took it for, with a base
 * that is not below it, which the engine refuses. */
LOOP_ONLY static struct qcow2 *find_pulled(const struct chain *chain, const struct lun_io *io,
					   struct qcow2_request *request)
{
	const struct lun_pull *pull = io->iov[0].iov_base;
	struct qcow2 *top = chain->files[0].image;
	struct qcow2 *layer = find_layer(chain, pull->layer);
	struct qcow2 *base = find_layer(chain, pull->base);
	bool is_known = layer && (base || pull->base == 0);

	request->base = is_known ? base : top;
	request->below_bytes = pull->below_bytes;
	return is_known ? layer : top;
}

static void on_pushed(struct qcow2_push *push, int res)
{
	struct carried *carried = CONTAINER_OF(push, struct carried, push);
	struct lun_push *answer = carried->io->iov[0].iov_base;

	loop_role_assume();
	answer->moved_bytes = push->moved;
	answer->left_bytes = push->left;
	carry_back(carried, res);
}

/* Where the chain is not what its sender took it for, nothing is below it, which the engine
 * refuses. */
LOOP_ONLY static void begin_push(struct image *image, struct carried *carried)
{
	struct lun_io *io = carried->io;
	const struct lun_push *what = io->iov[0].iov_base;
	struct qcow2 *from = find_layer(&image->chain, what->layer);
	struct qcow2 *to = from ? find_layer(&image->chain, what->to) : NULL;

	carried->push = (struct qcow2_push){
		.from = from ? from : image->chain.files[0].image,
		.to = to,
		.offset = io->offset_bytes,
		.length = io->length_bytes,
		.flags = io->flags,
		.buffer = io->iov[1].iov_base,
		.buffer_bytes = io->iov[1].iov_len,
		.request = &carried->request,
		.done = on_pushed,
	};
	if (to)
		qcow2_guard(to, lun_pool_is_guarded(io->lun->pool));
	qcow2_push(&carried->push);
}

LOOP_ONLY static void begin(struct image *image, struct carried *carried, struct lun_io *io)
{
	struct qcow2 *target = image->chain.files[0].image;
	struct qcow2_request *request = &carried->request;

	carried->io = io;
	image->rested = false;
	if (io->op == LUN_PUSH) {
		begin_push(image, carried);
		return;
	}
	request->op = io->op;
	request->flags = io->flags;
	request->offset = io->offset_bytes;
	request->length = io->length_bytes;
	request->iov = io->iov;
	request->iov_count = io->op == LUN_READ || io->op == LUN_WRITE ? io->iov_count : 0;
	request->done = on_done;
	if (io->op == LUN_MAP) {
		map_begin(&carried->map, io);
		request->map = &carried->map;
	}
	if (io->op == LUN_PULL)
		target = find_pulled(&image->chain, io, request);
	qcow2_guard(target, lun_pool_is_guarded(io->lun->pool));
	qcow2_submit(target, request);
}

/* Its own I/O that waits, as far as there are records: when one of its own comes back. */
LOOP_ONLY static void begin_next(struct image *image)
{
	while (!list_is_empty(&image->waiting)) {
		struct carried *carried = carried_take(image);

		if (!carried)
			return;
		begin(image, carried,
		      CONTAINER_OF(list_take_first(&image->waiting), struct lun_io, image_link));
	}
}

/* -- I/O that is a copy, and what is not -- */

static bool may_be_a_copy(const struct lun_io *io)
{
	return (io->op == LUN_READ || io->op == LUN_WRITE) && !(io->flags & LUN_IO_DURABLE);
}

LOOP_ONLY static int copy(struct image *image, struct lun_io *io)
{
	struct byte_range range = {io->offset_bytes, io->offset_bytes + io->length_bytes};

	return qcow2_copy(image->chain.files[0].image, io->op, range, io->iov, io->iov_count);
}

LOOP_ONLY static void end_copied(struct image *image, struct lun_io *io)
{
	if (io->loop == image->owner->loop) {
		image_io_done_later(io, 0);
	} else {
		io->image_word[WORD_RES] = io->image_word[WORD_FAILED] = 0;
		loop_post(io->loop, &io->image_msg, on_back);
	}
}

LOOP_ONLY static void submit(struct image *image, struct lun_io *io)
{
	list_append(&image->waiting, &io->image_link);
	begin_next(image);
}

static void on_deferred(struct loop_msg *msg);

/* What is beyond a turn's share of copies, and what comes behind that, waits for the next turn, so
 * that others and the answers of this one come first. */
LOOP_ONLY static void defer(struct image *image, struct lun_io *io)
{
	if (list_is_empty(&image->deferred))
		loop_post(image->owner->loop, &image->deferred_msg, on_deferred);
	image->rested = false;
	list_append(&image->deferred, &io->image_link);
}

/* A copy is done before those who wait: hosts may have them in any order. */
LOOP_ONLY static void arrive(struct image *image, struct lun_io *io)
{
	int res = -EAGAIN;

	if (may_be_a_copy(io))
		res = list_is_empty(&image->deferred) ? copy(image, io) : -EBUSY;
	if (res == 0) {
		end_copied(image, io);
	} else if (res == -EBUSY) {
		defer(image, io);
	} else {
		submit(image, io);
	}
}

/* The first of a turn is never put off again: others might use its share up in every turn. */
static void on_deferred(struct loop_msg *msg)
{
	struct image *image = CONTAINER_OF(msg, struct image, deferred_msg);
	bool is_first = true;

	loop_role_assume();
	while (!list_is_empty(&image->deferred)) {
		struct list_node *node = list_first(&image->deferred);
		struct lun_io *io = CONTAINER_OF(node, struct lun_io, image_link);
		int res = copy(image, io);

		if (res == -EBUSY && !is_first) {
			loop_post(image->owner->loop, msg, on_deferred);
			return;
		}
		list_remove(node);
		if (res == 0) {
			end_copied(image, io);
		} else {
			submit(image, io);
		}
		is_first = false;
	}
}

static void on_arrived(struct loop_msg *msg)
{
	struct lun_io *io = CONTAINER_OF(msg, struct lun_io, image_msg);

	loop_role_assume();
	arrive(io->image, io);
}

static void qcow2_io_submit(struct image *image, struct lun_io *io)
{
	loop_role_assume();
	io->image = image;
	if (io->loop == image->owner->loop) {
		arrive(image, io);
	} else {
		loop_post(image->owner->loop, &io->image_msg, on_arrived);
	}
}

/* -- By itself, and at rest -- */

static void on_begin(struct loop_msg *msg)
{
	struct image *image = CONTAINER_OF(msg, struct image, begin_msg);

	loop_role_assume();
	if (qcow2_begin(image->chain.files[0].image))
		image->rested = false;
}

/* A rest comes from the same loop, so it never overtakes this. */
static void qcow2_io_begin(struct image *image)
{
	loop_post(image->owner->loop, &image->begin_msg, on_begin);
}

static void on_all_stopped(struct image *image)
{
	loop_role_assume();
	/* The gate may have been opened again, because this took too long. */
	image->rested = image->own.io == NULL && image->carried == 0 &&
			list_is_empty(&image->waiting) && list_is_empty(&image->deferred);
	loop_post(image->rest->loop, &image->rest->msg, image->rest->fn);
}

static void stop_next(void *arg, int res);

/* One after the other, from above to below. */
LOOP_ONLY static void stop_from(struct image *image)
{
	if (image->stopped == image->chain.count) {
		on_all_stopped(image);
	} else {
		qcow2_stop(image->chain.files[image->stopped].image, stop_next, image);
	}
}

static void stop_next(void *arg, int res)
{
	struct image *image = arg;

	loop_role_assume();
	if (res < 0) {
		log_error("qcow2", "an image could not be brought to rest: errno %d", -res);
		image->rest->res = res;
	}
	image->stopped++;
	stop_from(image);
}

static void on_rest(struct loop_msg *msg)
{
	struct image *image = CONTAINER_OF(msg, struct image, rest_msg);

	loop_role_assume();
	image->stopped = 0;
	stop_from(image);
}

static void qcow2_io_rest(struct image *image, struct image_rest *rest)
{
	image->rest = rest;
	loop_post(image->owner->loop, &image->rest_msg, on_rest);
}

/* -- Opening -- */

static void qcow2_io_close(struct image *image)
{
	/* Something may be under way, in memory that the kernel may still use, on a loop that does
	 * not run any more: all is left as it is, for the end of the process. */
	if (!image->rested)
		return;
	chain_close(&image->chain);
	owner_release(image->owner);
	free(image);
}

static int check_size(const struct lun_spec *spec, uint64_t size_bytes, char *why, size_t why_size)
{
	if (spec->size_bytes <= size_bytes)
		return 0;
	(void)snprintf(why, why_size, "it has %llu bytes, configured are %llu: %s",
		       (unsigned long long)size_bytes, (unsigned long long)spec->size_bytes,
		       spec->path);
	return -EINVAL;
}

static void describe(const struct lun_spec *spec, const struct chain *chain,
		     struct image_info *info)
{
	const struct qcow2_header *header = qcow2_header(chain->files[0].image);
	bool extended = (header->incompatible & QCOW2_INCOMPATIBLE_EXTENDED_L2) != 0;
	uint32_t bits = extended ? header->cluster_bits - 5 : header->cluster_bits;
	uint32_t align = chain->files[0].io_align_bytes;

	*info = (struct image_info){
		.size_bytes = spec->size_bytes ? spec->size_bytes : header->size_bytes,
		.io_align_bytes = align > 512 ? align : 512,
		.allocation_unit_bytes = bits < 12   ? 4096
					 : bits > 20 ? 1u << 20
						     : 1u << bits,
		.thin = !spec->read_only,
		.zeroes_after_unmap = !spec->read_only,
		.read_only = spec->read_only,
		.created = chain->created,
	};
}

static int qcow2_io_open(const struct lun_spec *spec, struct image **out, struct image_info *info,
			 char *why, size_t why_size)
{
	struct image *image = calloc(1, sizeof(*image));
	int res;

	if (!image)
		return -ENOMEM;
	res = owner_acquire(spec, &image->owner);
	if (res != 0)
		goto fail;
	image->rested = true;
	list_init(&image->waiting);
	list_init(&image->deferred);
	res = chain_open(spec, image->owner->loop, image->owner->cache, &image->chain, why,
			 why_size);
	if (res != 0)
		goto fail_owner;
	describe(spec, &image->chain, info);
	res = check_size(spec, qcow2_header(image->chain.files[0].image)->size_bytes, why,
			 why_size);
	if (res != 0)
		goto fail_chain;
	*out = image;
	return 0;
fail_chain:
	chain_close(&image->chain);
fail_owner:
	owner_release(image->owner);
fail:
	free(image);
	return res;
}

static int qcow2_io_fd(const struct image *image)
{
	return image->chain.files[0].fd;
}

const struct image_ops image_qcow2_ops = {
	.type = "qcow2",
	.fixed_size = true,
	.open = qcow2_io_open,
	.close = qcow2_io_close,
	.begin = qcow2_io_begin,
	.submit = qcow2_io_submit,
	.rest = qcow2_io_rest,
	.fd = qcow2_io_fd,
};
