/*
 * PUSH: what an image has of its own, data and zeroes, is written into the one below it, so that
 * that one can take its place (ORDER.md). Nobody who reads through both sees a difference, whenever
 * it stops: what is written below is hidden by what it is a copy of.
 *
 * A push is no request: it finds, reads, writes and unmaps by ordinary ones, one after the other,
 * with a buffer of its caller's. Here is also the plan of those that find. Which pieces it looks at
 * is told by unpushed.c.
 *
 * Runs on the images' loop. Read next: unpushed.c, mapping.c, pull.c.
 */
#include "lun/qcow2/engine.h"

/* Extents passed by in one turn. */
#define EXTENTS_A_TURN 256u

/* -- What an image has of its own -- */

/* True: the request has its answer. */
static bool is_own(struct qcow2_request *request, const struct extent *extent)
{
	if (extent->kind == EXTENT_BELOW && !PLANTED(push_below_is_zero))
		return false;
	request->own = (struct qcow2_own){
		.offset = request->at,
		.length = extent->length,
		.is_zero = extent->kind == EXTENT_ZERO || extent->kind == EXTENT_BELOW,
	};
	return true;
}

static int refusal(const struct qcow2_push *push)
{
	const struct qcow2 *from = push->from;
	const struct qcow2 *to = push->to;

	if (!to || from->backing != to)
		return -ESTALE;
	if (to->raw || to->read_only || !to->holds_frees || to->failed)
		return -EROFS;
	/* What it frees from now on does not wait for those who read through both. */
	if (to->stopping)
		return -EBUSY;
	if (!from->unpushed.words || push->end > to->size_bytes ||
	    from->size_bytes % to->unit_bytes != 0 ||
	    UINT64_C(1) << from->geometry.subcluster_bits < to->unit_bytes)
		return -ENOTSUP;
	return 0;
}

void push_plan(struct qcow2_request *request)
{
	const struct qcow2 *to = request->push->to;
	uint64_t end = request->offset + request->length;
	int res = refusal(request->push);

	request->own = (struct qcow2_own){.offset = end};
	if (res < 0) {
		request_end(request, res);
		return;
	}
	for (unsigned i = 0; i < EXTENTS_A_TURN && request->at < end; i++) {
		struct byte_range rest = {request->at, end};
		struct extent extent;

		res = mapping_find_above(request->image, to, rest, request, &extent);
		if (res < 0)
			request_end(request, res);
		if (res != 0)
			return;
		if (is_own(request, &extent)) {
			request_end(request, 0);
			return;
		}
		request->at += extent.length;
	}
	if (request->at < end) {
		request_yield(request);
	} else {
		request_end(request, 0);
	}
}

/* -- A push -- */

LOOP_ONLY static void find_next(struct qcow2_push *push);

static struct qcow2_push *push_of(const struct qcow2_request *request)
{
	return request->push;
}

LOOP_ONLY static void submit(struct qcow2_push *push, struct qcow2 *image, enum lun_op op,
			     struct byte_range range, qcow2_done_fn *done)
{
	struct qcow2_request *request = push->request;

	push->iov = (struct iovec){push->buffer, range.end - range.begin};
	request->op = op;
	request->flags = 0;
	request->offset = range.begin;
	request->length = range.end - range.begin;
	request->iov = &push->iov;
	request->iov_count = op == LUN_READ || op == LUN_WRITE ? 1 : 0;
	request->base = NULL;
	request->push = push;
	request->done = done;
	qcow2_submit(image, request);
}

LOOP_ONLY static void end(struct qcow2_push *push, int res)
{
	/* What was taken for pushed may not be. */
	if (res < 0)
		unpushed_add(push->from, push->run.begin, push->run.end - push->run.begin);
	push->left = unpushed_bytes(push->from);
	push->done(push, res);
}

/* The piece at hand has gone down. */
static void on_piece(struct qcow2_request *request, int res)
{
	struct qcow2_push *push = push_of(request);

	loop_role_assume();
	if (res < 0) {
		end(push, res);
		return;
	}
	push->at = push->piece.end;
	find_next(push);
}

static void on_read(struct qcow2_request *request, int res)
{
	struct qcow2_push *push = push_of(request);

	loop_role_assume();
	if (res < 0) {
		end(push, res);
		return;
	}
	push->moved += push->piece.end - push->piece.begin;
	submit(push, push->to, LUN_WRITE, push->piece, on_piece);
}

static void on_flushed(struct qcow2_request *request, int res)
{
	loop_role_assume();
	end(push_of(request), res);
}

LOOP_ONLY static void push_piece(struct qcow2_push *push, struct qcow2_own own)
{
	if (!own.is_zero && own.length > push->buffer_bytes)
		own.length = push->buffer_bytes;
	push->piece = (struct byte_range){own.offset, own.offset + own.length};
	if (!own.is_zero) {
		REACHED(push);
		submit(push, push->from, LUN_READ, push->piece, on_read);
	} else {
		REACHED(push_zero);
		submit(push, push->to, LUN_UNMAP, push->piece, on_piece);
	}
}

/* Where there is none, a last look finds nothing, and whether it may be at all. */
LOOP_ONLY static void next_run(struct qcow2_push *push)
{
	struct byte_range rest = {push->at, push->end};

	if (!push->from->unpushed.words || !unpushed_take(push->from, rest, &push->run))
		push->run = (struct byte_range){push->end, push->end};
	/* A last piece that is not whole there. */
	if (push->to && push->run.end > push->to->size_bytes)
		push->run.end = push->to->size_bytes;
	push->at = push->run.begin;
	find_next(push);
}

LOOP_ONLY static void finish(struct qcow2_push *push)
{
	const struct byte_range nothing = {0};

	push->run = nothing;
	if (push->flags & LUN_IO_DURABLE) {
		submit(push, push->to, LUN_FLUSH, nothing, on_flushed);
	} else {
		end(push, 0);
	}
}

static void on_found(struct qcow2_request *request, int res)
{
	struct qcow2_push *push = push_of(request);
	struct qcow2_own own = request->own;

	loop_role_assume();
	if (res < 0) {
		end(push, res);
	} else if (own.length > 0) {
		push_piece(push, own);
	} else if (push->run.end < push->end) {
		push->at = push->run.end;
		next_run(push);
	} else {
		finish(push);
	}
}

static void find_next(struct qcow2_push *push)
{
	submit(push, push->from, LUN_PUSH, (struct byte_range){push->at, push->run.end}, on_found);
}

void qcow2_push(struct qcow2_push *push)
{
	uint64_t end = push->offset + push->length;

	push->moved = 0;
	/* A flush alone begins behind the disk's end. */
	push->at = push->offset < push->from->size_bytes ? push->offset : push->from->size_bytes;
	end = end < push->from->size_bytes ? end : push->from->size_bytes;
	push->end = end > push->at ? end : push->at;
	next_run(push);
}
