/*
 * Copy on write: what a write leaves of a cluster, or subcluster, is read from the chain and
 * written with it, in one transfer. The reading is an ordinary READ of this image, by a request of
 * the loop's; there are few of them, and who finds none waits.
 *
 * Runs on the image's loop. Read next: write.c.
 */
#include "lun/qcow2/cow.h"

#include <stdlib.h>

#define CLUSTER_BYTES_MAX (1u << QCOW2_CLUSTER_BITS_MAX)
#define PAGE_BYTES 4096u

int copies_init(struct qcow2_cache *cache)
{
	int res = pool_init(&cache->copy_buffers, COPIES_MAX, CLUSTER_BYTES_MAX, PAGE_BYTES);

	list_init(&cache->free_copies);
	list_init(&cache->no_copy);
	if (res != 0)
		return res;
	cache->copies = calloc(COPIES_MAX, sizeof(*cache->copies));
	if (!cache->copies)
		return -ENOMEM;
	cache->copies_left = COPIES_MAX;
	for (uint32_t i = 0; i < COPIES_MAX; i++) {
		cache->copies[i].buffer = pool_acquire(&cache->copy_buffers);
		list_append(&cache->free_copies, &cache->copies[i].link);
	}
	return 0;
}

void copies_clear(struct qcow2_cache *cache)
{
	free(cache->copies);
	pool_clear(&cache->copy_buffers, true);
}

bool copy_is_there(struct qcow2_request *request)
{
	struct qcow2_cache *cache = request->image->cache;

	if (may_have_another(request->image->copies, cache->copies_left))
		return true;
	REACHED(copy_wait);
	request_wait(request, &cache->no_copy);
	return false;
}

/* One transfer: what was before, the owner's data, what was behind. */
LOOP_ONLY static void write_copy(struct copy *copy)
{
	struct qcow2_request *owner = copy->owner;
	uint64_t head = copy->range.begin - copy->around.begin;
	uint64_t length = copy->range.end - copy->range.begin;
	uint64_t tail = copy->around.end - copy->range.end;
	struct extent target = {
		.kind = EXTENT_DATA,
		.image = owner->image,
		.host_offset = copy->host_offset,
		.length = copy->around.end - copy->around.begin,
	};
	struct qcow2_transfer *transfer = round_add_transfer(owner, &target);

	if (head > 0)
		vector_push(owner, copy->buffer, head);
	vector_take(owner, length);
	if (tail > 0)
		vector_push(owner, copy->buffer + head + length, tail);
	transfer->iov_count = owner->vector_count;
	owner->round_end = copy->range.end;
	round_submit(owner);
}

static bool is_zero(const uint8_t *bytes, size_t length)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0;
}

/* What is pulled from a sparse file is data for the chain, and zeroes: an entry is enough. */
LOOP_ONLY static void link_zeroes(struct copy *copy)
{
	struct qcow2_request *owner = copy->owner;

	REACHED(pull_reads_zero);
	owner->links[0].zero = true;
	if (PLANTED(pull_forgets_zeroes))
		owner->links[0].subclusters = 0;
	owner->links[0].durable_first = false;
	owner->round_end = copy->around.end;
	request_stage(owner, QCOW2_LINK);
	list_append(&owner->image->cache->runnable, &owner->link);
}

LOOP_ONLY static void on_read(struct qcow2_request *read, int res)
{
	struct copy *copy = CONTAINER_OF(read, struct copy, read);
	bool pulls = copy->owner->op == LUN_PULL;

	if (res < 0) {
		write_fail(copy->owner, res);
	} else if (pulls && is_zero(copy->buffer, copy->iov.iov_len)) {
		link_zeroes(copy);
	} else {
		copy->owner->moved += pulls ? copy->iov.iov_len : 0;
		write_copy(copy);
	}
}

void copy_begin(struct qcow2_request *request, struct byte_range around, struct byte_range range,
		uint64_t host_offset)
{
	struct qcow2_cache *cache = request->image->cache;
	struct copy *copy = CONTAINER_OF(list_take_first(&cache->free_copies), struct copy, link);

	REACHED(copy);
	cache->copies_left--;
	request->image->copies++;
	copy->owner = request;
	copy->around = around;
	copy->range = range;
	copy->host_offset = host_offset;
	copy->iov = (struct iovec){copy->buffer, around.end - around.begin};
	request->copy = copy;
	request_stage(request, QCOW2_COPY);
	copy->read.op = LUN_READ;
	copy->read.flags = 0;
	copy->read.offset = around.begin;
	copy->read.length = around.end - around.begin;
	copy->read.iov = &copy->iov;
	copy->read.iov_count = 1;
	copy->read.done = on_read;
	request_begin(request->image, &copy->read);
}

void copy_end(struct qcow2_request *request)
{
	struct qcow2_cache *cache = request->image->cache;

	if (!request->copy)
		return;
	list_append(&cache->free_copies, &request->copy->link);
	request->copy = NULL;
	cache->copies_left++;
	request->image->copies--;
	request_wake_all(&cache->no_copy, 0);
}
