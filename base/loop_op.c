/*
 * Operations, whatever the engine: filling the record, and judging each result of the kernel. Short
 * transfers are finished here, once for both engines. Runs on the loop's thread.
 *
 * Read next: loop_engine.h (the contract of the engines), loop_uring.c, loop_aio.c.
 */
#include "base/loop_engine.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "base/reach.h"

void loop_op_complete(struct loop_op *op, int res)
{
	struct loop *loop = op->loop;

	if (!loop_op_is_socket(op))
		loop->disk_in_flight--;
	op->res = res;
	op->state = OP_DONE;
	list_append(&loop->done, &op->link);
}

LOOP_ONLY static enum op_next complete(struct loop_op *op, int res)
{
	loop_op_complete(op, res);
	return OP_NEXT_DONE;
}

static uint64_t bytes_left(const struct loop_op *op)
{
	return op->length_bytes - op->transferred_bytes;
}

void loop_op_advance(struct loop_op *op, size_t count)
{
	op->transferred_bytes += count;
	while (op->iov_count > 0 && count >= op->iov->iov_len) {
		count -= op->iov->iov_len;
		op->iov++;
		op->iov_count--;
	}
	if (count > 0) {
		op->iov->iov_base = (char *)op->iov->iov_base + count;
		op->iov->iov_len -= count;
	}
}

/* Count what moved, and go on or end with the whole. */
LOOP_ONLY static enum op_next advance_and_go_on(struct loop_op *op, int res)
{
	loop_op_advance(op, (size_t)res);
	if (bytes_left(op) == 0 || PLANTED(loop_short_transfer_is_whole))
		return complete(op, (int)op->length_bytes);
	loop_count(&op->loop->counters.continued, 1);
	return OP_NEXT_MORE;
}

LOOP_ONLY static enum op_next step_once(struct loop_op *op, int res)
{
	return complete(op, res);
}

LOOP_ONLY static enum op_next step_recv(struct loop_op *op, int res)
{
	loop_op_advance(op, (size_t)res);
	return complete(op, res);
}

LOOP_ONLY static enum op_next step_send(struct loop_op *op, int res)
{
	/* A stream socket takes at least a byte or says why not. */
	return res == 0 ? complete(op, -EIO) : advance_and_go_on(op, res);
}

/*
 * Does a file end at or before `position`? Direct I/O answers a read across an end that is not on a
 * block boundary with a misaligned count, and would refuse to go on from there. The cached size is
 * enough, so that a network file system is not asked: where it is stale, the next read tells.
 */
static bool ends_before(const struct loop_op *op, uint64_t position)
{
	struct statx about;

	if (statx(op->fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_SIZE,
		  &about) != 0)
		return false;
	return S_ISREG(about.stx_mode) && about.stx_size <= position;
}

/* A transfer that must not wait moves all or nothing that counts; a rest might have to wait. */
static bool is_short_nowait(const struct loop_op *op, int res)
{
	return (op->flags & LOOP_NOWAIT) != 0 && (uint64_t)res < bytes_left(op);
}

LOOP_ONLY static enum op_next step_read(struct loop_op *op, int res)
{
	bool is_short = (uint64_t)res < bytes_left(op);

	if (res == 0 ||
	    (is_short && ends_before(op, (uint64_t)loop_op_position(op) + (uint64_t)res))) {
		loop_op_advance(op, (size_t)res);
		return complete(op, (int)op->transferred_bytes);
	}
	if (is_short_nowait(op, res))
		return complete(op, -EAGAIN);
	return advance_and_go_on(op, res);
}

LOOP_ONLY static enum op_next step_write(struct loop_op *op, int res)
{
	if (res == 0)
		return complete(op, -ENOSPC);
	if (is_short_nowait(op, res))
		return complete(op, -EAGAIN);
	return advance_and_go_on(op, res);
}

static enum op_next (*const steps[])(struct loop_op *op, int res) = {
	[LOOP_OP_ACCEPT] = step_once,  [LOOP_OP_RECV] = step_recv,   [LOOP_OP_SEND] = step_send,
	[LOOP_OP_READ] = step_read,    [LOOP_OP_WRITE] = step_write, [LOOP_OP_SYNC] = step_once,
	[LOOP_OP_DISCARD] = step_once, [LOOP_OP_ZERO] = step_once,   [LOOP_OP_ALLOCATE] = step_once,
	[LOOP_OP_CALL] = step_once,
};
_Static_assert(ARRAY_SIZE(steps) == LOOP_OP_COUNT, "an operation lacks its step");

enum op_next loop_op_step(struct loop_op *op, int res)
{
	if (res == -EINTR)
		return OP_NEXT_MORE;
	/* The kernel took the vector before; that it refuses the rest is the device's doing: it
	 * moved a part that was not a multiple of its block. */
	if (res == -EINVAL && op->transferred_bytes > 0)
		return complete(op, -EIO);
	if (res < 0)
		return complete(op, res);
	return steps[op->kind](op, res);
}

/* Give it to the engine if there is one and it has room. */
static bool try_submit(struct loop *loop, struct loop_op *op)
{
	return loop->engine != NULL && loop->engine->submit(loop, op);
}

void loop_op_carry(struct loop_op *op)
{
	struct loop *loop = op->loop;

	op->state = OP_CARRIED;
	/* Behind those that wait already, so that none starves. */
	if (list_is_empty(&loop->waiting) && try_submit(loop, op))
		return;
	op->state = OP_WAITING;
	list_append(&loop->waiting, &op->link);
}

void loop_op_flush_waiting(struct loop *loop)
{
	while (!list_is_empty(&loop->waiting)) {
		/* Out of the list first: the engine may put it into another. */
		struct list_node *node = list_take_first(&loop->waiting);
		struct loop_op *op = CONTAINER_OF(node, struct loop_op, link);

		op->state = OP_CARRIED;
		if (!try_submit(loop, op)) {
			op->state = OP_WAITING;
			list_prepend(&loop->waiting, node);
			return;
		}
	}
}

void loop_op_begin(struct loop *loop, struct loop_op *op, enum loop_op_kind kind, int fd,
		   loop_done_fn *done)
{
	assert(op->state == OP_IDLE);
	op->done = done;
	op->loop = loop;
	op->kind = kind;
	op->fd = fd;
	op->flags = 0;
	op->offset_bytes = 0;
	op->length_bytes = 0;
	op->transferred_bytes = 0;
	op->iov = NULL;
	op->iov_count = 0;
	loop->in_flight++;
	if (!loop_op_is_socket(op))
		loop->disk_in_flight++;
}

void loop_op_set_vector(struct loop_op *op, struct iovec *iov, uint32_t iov_count)
{
	assert(iov_count > 0 && iov_count <= LOOP_IOV_MAX);
	op->iov = iov;
	op->iov_count = iov_count;
	for (uint32_t i = 0; i < iov_count; i++) {
		assert(iov[i].iov_len <= INT_MAX - op->length_bytes);
		op->length_bytes += iov[i].iov_len;
	}
}

/* Carry it, unless there is nothing to move. */
void loop_op_carry_transfer(struct loop_op *op)
{
	loop_op_advance(op, 0); /* Past leading elements that are empty. */
	if (op->length_bytes == 0) {
		loop_op_complete(op, 0);
	} else {
		loop_op_carry(op);
	}
}

LOOP_ONLY static void begin_disk_transfer(struct loop *loop, struct loop_op *op,
					  enum loop_op_kind kind, const struct loop_rw *rw,
					  loop_done_fn *done)
{
	assert(rw->offset_bytes <= INT64_MAX - INT_MAX);
	loop_op_begin(loop, op, kind, rw->fd, done);
	loop_op_set_vector(op, rw->iov, rw->iov_count);
	op->offset_bytes = rw->offset_bytes;
	op->flags = rw->flags & (LOOP_DSYNC | LOOP_NOWAIT);
	loop_op_carry_transfer(op);
}

void loop_read(struct loop *loop, struct loop_op *op, const struct loop_rw *rw, loop_done_fn *done)
{
	assert((rw->flags & LOOP_DSYNC) == 0);
	begin_disk_transfer(loop, op, LOOP_OP_READ, rw, done);
}

void loop_write(struct loop *loop, struct loop_op *op, const struct loop_rw *rw, loop_done_fn *done)
{
	begin_disk_transfer(loop, op, LOOP_OP_WRITE, rw, done);
}

void loop_sync(struct loop *loop, struct loop_op *op, int fd, loop_done_fn *done)
{
	loop_op_begin(loop, op, LOOP_OP_SYNC, fd, done);
	loop_op_carry(op);
}

LOOP_ONLY static void begin_range(struct loop *loop, struct loop_op *op, enum loop_op_kind kind,
				  int fd, struct loop_range range, loop_done_fn *done)
{
	assert(range.offset_bytes <= INT64_MAX &&
	       range.length_bytes <= INT64_MAX - range.offset_bytes);
	loop_op_begin(loop, op, kind, fd, done);
	op->offset_bytes = range.offset_bytes;
	op->length_bytes = range.length_bytes;
	if (range.length_bytes == 0) {
		loop_op_complete(op, 0);
	} else {
		loop_op_carry(op);
	}
}

void loop_discard(struct loop *loop, struct loop_op *op, int fd, struct loop_range range,
		  loop_done_fn *done)
{
	begin_range(loop, op, LOOP_OP_DISCARD, fd, range, done);
}

void loop_zero(struct loop *loop, struct loop_op *op, int fd, struct loop_range range,
	       loop_done_fn *done)
{
	begin_range(loop, op, LOOP_OP_ZERO, fd, range, done);
}

void loop_allocate(struct loop *loop, struct loop_op *op, int fd, struct loop_range range,
		   loop_done_fn *done)
{
	begin_range(loop, op, LOOP_OP_ALLOCATE, fd, range, done);
}

void loop_call(struct loop *loop, struct loop_op *op, loop_call_fn *call, loop_done_fn *done)
{
	loop_op_begin(loop, op, LOOP_OP_CALL, -1, done);
	op->call = call;
	loop_op_carry(op);
}
