/*
 * Reading compressed clusters: the bytes are read, a worker inflates them, and the request gets its
 * part. Few are under way at once; who finds no place waits. What came from an image that nobody
 * writes is kept until its place is needed, so that reading on does not inflate it again.
 *
 * Runs on the image's loop, the inflating on a worker. Read next: inflate.h.
 */
#include "lun/qcow2/cow.h"

#include <stdlib.h>

#include "base/log.h"
#include "lun/qcow2/inflate.h"

#define CLUSTER_BYTES_MAX ((size_t)1 << QCOW2_CLUSTER_BITS_MAX)
#define PAGE_BYTES 4096u
/* A descriptor names at most two clusters; the ends are widened for direct I/O. */
#define DEFLATED_BYTES_MAX (2 * CLUSTER_BYTES_MAX + 2 * PAGE_BYTES)

int inflates_init(struct qcow2_cache *cache)
{
	int res = pool_init(&cache->inflate_buffers, INFLATES_MAX,
			    CLUSTER_BYTES_MAX + DEFLATED_BYTES_MAX, PAGE_BYTES);

	list_init(&cache->free_inflates);
	list_init(&cache->no_inflate);
	if (res != 0)
		return res;
	cache->inflates = calloc(INFLATES_MAX, sizeof(*cache->inflates));
	if (!cache->inflates)
		return -ENOMEM;
	cache->inflates_left = INFLATES_MAX;
	for (uint32_t i = 0; i < INFLATES_MAX; i++) {
		struct inflate *inflate = &cache->inflates[i];

		inflate->cluster = pool_acquire(&cache->inflate_buffers);
		inflate->deflated = inflate->cluster + CLUSTER_BYTES_MAX;
		list_append(&cache->free_inflates, &inflate->link);
	}
	return 0;
}

void inflates_clear(struct qcow2_cache *cache)
{
	free(cache->inflates);
	pool_clear(&cache->inflate_buffers, true);
}

void inflates_forget(const struct qcow2 *image)
{
	for (uint32_t i = 0; i < INFLATES_MAX; i++)
		if (image->cache->inflates[i].extent.image == image)
			image->cache->inflates[i].is_kept = false;
}

LOOP_ONLY static struct inflate *find_kept(const struct qcow2_cache *cache,
					   const struct extent *extent)
{
	LIST_FOREACH (node, &cache->free_inflates) {
		struct inflate *inflate = CONTAINER_OF(node, struct inflate, link);

		if (inflate->is_kept && inflate->extent.image == extent->image &&
		    inflate->extent.host_offset == extent->host_offset)
			return inflate;
	}
	return NULL;
}

/* The owner's part of it. */
LOOP_ONLY static void give(const struct inflate *inflate, struct qcow2_request *request,
			   const struct extent *extent)
{
	vector_fill(request, inflate->cluster + extent->inside, extent->length);
	request->round_end += extent->length;
}

LOOP_ONLY static void inflate_end(struct inflate *inflate, int res)
{
	struct qcow2_request *owner = inflate->owner;
	struct qcow2 *image = owner->image;
	struct qcow2_cache *cache = image->cache;

	list_remove(&owner->in_flight);
	owner->inflate = NULL;
	if (res == 0) {
		give(inflate, owner, &inflate->extent);
		owner->at = owner->round_end;
		request_stage(owner, QCOW2_PLAN);
		list_append(&cache->runnable, &owner->link);
	} else {
		request_end(owner, res);
	}
	inflate->is_kept = res == 0 && inflate->extent.image->read_only;
	list_append(&cache->free_inflates, &inflate->link);
	cache->inflates_left++;
	image->inflates--;
	request_wake_all(&cache->no_inflate, 0);
	quarantine_advance(image);
	requests_run(cache, image->loop);
}

static int call_inflate(struct loop_op *op)
{
	struct inflate *inflate = CONTAINER_OF(op, struct inflate, op.of);
	const struct extent *extent = &inflate->extent;
	const struct qcow2 *image = extent->image;
	uint64_t inside = extent->host_offset % image->unit_bytes;

	return qcow2_inflate(image->header.compression, inflate->deflated + inside,
			     extent->deflated_bytes, inflate->cluster,
			     image->geometry.cluster_bytes);
}

static void on_inflated(struct qcow2_op *op, int res)
{
	struct inflate *inflate = CONTAINER_OF(op, struct inflate, op);

	loop_role_assume();
	if (res < 0)
		log_error("qcow2", "%s: cannot inflate the cluster at %" PRIu64 ": %s",
			  inflate->extent.image->name, inflate->extent.host_offset, strerror(-res));
	inflate_end(inflate, res);
}

static void on_read(struct qcow2_op *op, int res)
{
	struct inflate *inflate = CONTAINER_OF(op, struct inflate, op);

	loop_role_assume();
	if (res < 0) {
		inflate_end(inflate, res);
		return;
	}
	vector_zero(op->of.iov, op->of.iov_count);
	op_call(inflate->owner->image, &inflate->op, call_inflate, on_inflated);
}

LOOP_ONLY static void read_deflated(struct inflate *inflate)
{
	const struct extent *extent = &inflate->extent;
	uint64_t unit = extent->image->unit_bytes;
	uint64_t begin = extent->host_offset / unit * unit;
	uint64_t end = (extent->host_offset + extent->deflated_bytes + unit - 1) / unit * unit;
	struct loop_rw rw = {.iov = &inflate->iov, .iov_count = 1, .offset_bytes = begin};

	inflate->iov = (struct iovec){inflate->deflated, end - begin};
	op_read(inflate->owner->image, &inflate->op, extent->image, &rw, on_read);
}

int inflate_begin(struct qcow2_request *request, const struct extent *extent)
{
	struct qcow2_cache *cache = request->image->cache;
	struct inflate *inflate = find_kept(cache, extent);

	if (inflate) {
		give(inflate, request, extent);
		return 0;
	}
	if (!may_have_another(request->image->inflates, cache->inflates_left)) {
		REACHED(inflate_wait);
		request_wait(request, &cache->no_inflate);
		return QCOW2_WAIT;
	}
	inflate = CONTAINER_OF(list_take_first(&cache->free_inflates), struct inflate, link);
	cache->inflates_left--;
	request->image->inflates++;
	inflate->owner = request;
	inflate->extent = *extent;
	request->inflate = inflate;
	request->group = request->image->commit.open;
	list_append(&request->image->in_flight, &request->in_flight);
	request_stage(request, QCOW2_INFLATE);
	read_deflated(inflate);
	return QCOW2_WAIT;
}
