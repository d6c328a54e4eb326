/*
 * The life of a request: its stages, its waiting, its end, and rounds of transfers. A request runs
 * from requests_run alone, in steps that end when it waits; whoever wakes it puts it on a list. So
 * nothing nests, however many wake each other. Not here: what a step does (read.c, write.c,
 * zero.c).
 *
 * Runs on the loop. Read next: read.c.
 */
#include "lun/qcow2/engine.h"

#include "lun/image.h"

/* What ZERO writes where it has to write. Only read. */
uint8_t zero_bytes[ZERO_BYTES] __attribute__((aligned(4096)));

#define EDGE(to) (1u << (to))

static const uint32_t edges[QCOW2_STAGES] = {
	[QCOW2_IDLE] = EDGE(QCOW2_PLAN),
	[QCOW2_PLAN] = EDGE(QCOW2_COPY) | EDGE(QCOW2_IO) | EDGE(QCOW2_INFLATE) | EDGE(QCOW2_FLUSH) |
		       EDGE(QCOW2_ENDED),
	[QCOW2_COPY] = EDGE(QCOW2_IO) | EDGE(QCOW2_LINK) | EDGE(QCOW2_ENDED),
	[QCOW2_IO] = EDGE(QCOW2_PLAN) | EDGE(QCOW2_LINK) | EDGE(QCOW2_ENDED),
	[QCOW2_INFLATE] = EDGE(QCOW2_PLAN) | EDGE(QCOW2_ENDED),
	[QCOW2_LINK] = EDGE(QCOW2_PLAN) | EDGE(QCOW2_ENDED),
	[QCOW2_FLUSH] = EDGE(QCOW2_ENDED),
	[QCOW2_ENDED] = EDGE(QCOW2_IDLE),
};

void request_stage(struct qcow2_request *request, enum qcow2_stage to)
{
	assert((edges[request->stage] & EDGE(to)) != 0);
	request->stage = to;
}

/* -- Waiting and running -- */

void request_wait(struct qcow2_request *request, struct list_node *list)
{
	assert(!request->waiting);
	request->waiting = true;
	list_append(list, &request->link);
}

void request_wake(struct qcow2_request *request, int res)
{
	assert(request->waiting);
	list_remove(&request->link);
	request->waiting = false;
	if (res < 0)
		request->res = res;
	list_append(&request->image->cache->runnable, &request->link);
}

void request_wake_all(struct list_node *list, int res)
{
	while (!list_is_empty(list))
		request_wake(CONTAINER_OF(list_first(list), struct qcow2_request, link), res);
}

static void (*const plans[LUN_OP_ALL])(struct qcow2_request *request) = {
	[LUN_READ] = read_plan,  [LUN_WRITE] = write_plan, [LUN_FLUSH] = flush_plan,
	[LUN_UNMAP] = zero_plan, [LUN_ZERO] = zero_plan,   [LUN_MAP] = map_plan,
	[LUN_PULL] = pull_plan,  [LUN_PUSH] = push_plan,
};

LOOP_ONLY static void request_step(struct qcow2_request *request)
{
	if (request->stage == QCOW2_LINK) {
		write_link(request);
	} else if (request->res < 0) {
		request_end(request, request->res);
	} else {
		assert(request->stage == QCOW2_PLAN);
		plans[request->op](request);
	}
}

static bool changes_data(enum lun_op op)
{
	return op == LUN_WRITE || op == LUN_UNMAP || op == LUN_ZERO;
}

LOOP_ONLY static void call_done(struct qcow2_request *request)
{
	struct qcow2 *image = request->image;

	request_stage(request, QCOW2_IDLE);
	image->active--;
	if (changes_data(request->op))
		unpushed_add(image, request->offset, request->length);
	if (image->stopping)
		image_kick(image);
	request->done(request, request->res);
}

static void on_posted(struct loop_msg *msg)
{
	struct qcow2_cache *cache = CONTAINER_OF(msg, struct qcow2_cache, msg);

	loop_role_assume();
	cache->posted = false;
	list_splice(&cache->runnable, &cache->later);
	requests_run(cache, cache->loop);
}

LOOP_ONLY static void post(struct qcow2_cache *cache, struct loop *loop)
{
	if (cache->posted)
		return;
	cache->posted = true;
	cache->loop = loop;
	loop_post(loop, &cache->msg, on_posted);
}

/* Groups and the reservation move on when all that could run has run: what changes together stays
 * together. */
void image_kick(struct qcow2 *image)
{
	if (!list_is_linked(&image->kick_link))
		list_append(&image->cache->kicked, &image->kick_link);
}

LOOP_ONLY static void image_work(struct qcow2 *image)
{
	commit_run(image);
	reserve_run(image);
	stop_run(image);
}

LOOP_ONLY static bool run_one(struct qcow2_cache *cache)
{
	struct list_node *node;

	if (!list_is_empty(&cache->runnable)) {
		node = list_take_first(&cache->runnable);
		request_step(CONTAINER_OF(node, struct qcow2_request, link));
		return true;
	}
	if (!list_is_empty(&cache->kicked)) {
		node = list_take_first(&cache->kicked);
		image_work(CONTAINER_OF(node, struct qcow2, kick_link));
		return true;
	}
	if (!cache->submitting && !list_is_empty(&cache->ended)) {
		node = list_take_first(&cache->ended);
		call_done(CONTAINER_OF(node, struct qcow2_request, link));
		return true;
	}
	return false;
}

void requests_run(struct qcow2_cache *cache, struct loop *loop)
{
	if (cache->running)
		return;
	cache->running = true;
	while (run_one(cache))
		;
	cache->running = false;
	if (!list_is_empty(&cache->ended) || !list_is_empty(&cache->later))
		post(cache, loop);
}

void request_yield(struct qcow2_request *request)
{
	list_append(&request->image->cache->later, &request->link);
}

/* -- Beginning and end -- */

void request_begin(struct qcow2 *image, struct qcow2_request *request)
{
	assert(request->stage == QCOW2_IDLE && request->iov_count <= QCOW2_IOV_MAX);
	if (!list_is_linked(&image->link))
		cache_enter(image);
	request->image = image;
	request->at = request->offset;
	request->res = 0;
	request->waiting = request->needs_flush = request->zeroes = false;
	request->all_zero = true;
	request->moved = 0;
	request->iov_at = 0;
	request->iov_skip = 0;
	request->copy = NULL;
	request->inflate = NULL;
	list_init(&request->link);
	list_init(&request->in_flight);
	round_begin(request);
	image->active++;
	request_stage(request, QCOW2_PLAN);
	list_append(&image->cache->runnable, &request->link);
}

bool qcow2_begin(struct qcow2 *image)
{
	const struct qcow2 *layer = image;

	while (layer && !layer->recovers)
		layer = layer->backing;
	if (!layer)
		return false;
	cache_enter(image);
	return true;
}

void qcow2_submit(struct qcow2 *image, struct qcow2_request *request)
{
	struct qcow2_cache *cache = image->cache;

	request_begin(image, request);
	if (cache->running)
		return;
	cache->submitting = true;
	requests_run(cache, image->loop);
	cache->submitting = false;
}

void request_end(struct qcow2_request *request, int res)
{
	request->res = res;
	request_stage(request, QCOW2_ENDED);
	list_append(&request->image->cache->ended, &request->link);
}

/* -- Vectors -- */

void vector_push(struct qcow2_request *request, void *bytes, uint64_t length)
{
	struct iovec *last = &request->vector[request->vector_count - 1];

	if (request->vector_count > 0 && request->transfer_count > 0 &&
	    request->vector_count > request->transfers[request->transfer_count - 1].iov_first &&
	    (uint8_t *)last->iov_base + last->iov_len == (uint8_t *)bytes) {
		last->iov_len += length;
		return;
	}
	assert(request->vector_count < ARRAY_SIZE(request->vector));
	request->vector[request->vector_count++] = (struct iovec){bytes, length};
}

/* The next bytes in one piece, at most `length` of them; they are gone past. */
static struct iovec cursor_take(struct qcow2_request *request, uint64_t length)
{
	const struct iovec *from = &request->iov[request->iov_at];
	uint64_t there = from->iov_len - request->iov_skip;
	uint64_t part = there < length ? there : length;
	struct iovec out = {(uint8_t *)from->iov_base + request->iov_skip, part};

	assert(request->iov_at < request->iov_count);
	request->iov_skip += part;
	if (request->iov_skip == from->iov_len) {
		request->iov_skip = 0;
		request->iov_at++;
	}
	return out;
}

LOOP_ONLY static void take_zeroes(struct qcow2_request *request, uint64_t length)
{
	while (length > 0) {
		uint64_t part = length < ZERO_BYTES ? length : ZERO_BYTES;

		vector_push(request, zero_bytes, part);
		length -= part;
	}
}

void vector_take(struct qcow2_request *request, uint64_t length)
{
	if (request->op != LUN_WRITE && request->op != LUN_READ) {
		take_zeroes(request, length);
		return;
	}
	while (length > 0) {
		struct iovec part = cursor_take(request, length);

		if (part.iov_len > 0)
			vector_push(request, part.iov_base, part.iov_len);
		length -= part.iov_len;
	}
}

void vector_clear(struct qcow2_request *request, uint64_t length)
{
	while (length > 0) {
		struct iovec part = cursor_take(request, length);

		vector_zero(&part, 1);
		length -= part.iov_len;
	}
}

void vector_fill(struct qcow2_request *request, const uint8_t *bytes, uint64_t length)
{
	while (length > 0) {
		struct iovec part = cursor_take(request, length);

		if (part.iov_len > 0)
			(void)memcpy(part.iov_base, bytes, part.iov_len);
		bytes += part.iov_len;
		length -= part.iov_len;
	}
}

void vector_zero(struct iovec *iov, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (iov[i].iov_len > 0)
			(void)memset(iov[i].iov_base, 0, iov[i].iov_len);
}

/* -- Rounds -- */

void round_begin(struct qcow2_request *request)
{
	request->transfer_count = request->transfers_running = request->vector_count = 0;
	request->link_count = request->links_done = 0;
	request->round_end = request->at;
}

struct qcow2_transfer *round_add_transfer(struct qcow2_request *request,
					  const struct extent *extent)
{
	struct qcow2_transfer *transfer = &request->transfers[request->transfer_count++];

	loop_op_init(&transfer->op.of);
	transfer->op.has_worker = false;
	transfer->request = request;
	transfer->image = extent->image;
	transfer->iov_first = request->vector_count;
	transfer->iov_count = 0;
	transfer->host_offset = extent->host_offset;
	transfer->length = extent->length;
	return transfer;
}

bool round_add(struct qcow2_request *request, const struct extent *extent)
{
	struct qcow2_transfer *last = NULL;

	if (request->transfer_count > 0)
		last = &request->transfers[request->transfer_count - 1];
	if (last && last->guest_end == request->round_end && last->image == extent->image &&
	    last->host_offset + last->length == extent->host_offset) {
		last->length += extent->length;
	} else if (request->transfer_count < QCOW2_TRANSFERS) {
		last = round_add_transfer(request, extent);
	} else {
		return false;
	}
	vector_take(request, extent->length);
	last->iov_count = request->vector_count - last->iov_first;
	request->round_end += extent->length;
	last->guest_end = request->round_end;
	return true;
}

LOOP_ONLY static void round_done(struct qcow2_request *request)
{
	struct qcow2 *image = request->image;

	list_remove(&request->in_flight);
	if (request->op == LUN_READ) {
		read_round_done(request);
	} else {
		write_round_done(request);
	}
	quarantine_advance(image);
}

static void on_transferred(struct qcow2_op *op, int res)
{
	struct qcow2_transfer *transfer = CONTAINER_OF(op, struct qcow2_transfer, op);
	struct qcow2_request *request = transfer->request;
	struct qcow2 *image = request->image;

	loop_role_assume();
	if (res < 0) {
		request->res = request->res < 0 ? request->res : res;
	} else if ((uint64_t)res < transfer->length) {
		/* The file ends there: what is left of the vector reads as zeroes. */
		vector_zero(op->of.iov, op->of.iov_count);
	}
	if (--request->transfers_running > 0)
		return;
	round_done(request);
	requests_run(image->cache, image->loop);
}

void round_submit(struct qcow2_request *request)
{
	struct qcow2 *image = request->image;
	uint8_t flags = 0;

	request_stage(request, QCOW2_IO);
	request->group = image->commit.open;
	list_append(&image->in_flight, &request->in_flight);
	request->transfers_running = request->transfer_count;
	if ((request->flags & LUN_IO_DURABLE) && !request->needs_flush)
		flags = LOOP_DSYNC;
	for (uint32_t i = 0; i < request->transfer_count; i++) {
		struct qcow2_transfer *transfer = &request->transfers[i];
		struct loop_rw rw = {.iov = &request->vector[transfer->iov_first],
				     .iov_count = transfer->iov_count,
				     .offset_bytes = transfer->host_offset};

		if (request->op == LUN_READ) {
			op_read(image, &transfer->op, transfer->image, &rw, on_transferred);
		} else {
			rw.flags = flags;
			op_write(image, &transfer->op, &rw, on_transferred);
		}
	}
	if (request->transfer_count == 0)
		round_done(request);
}
