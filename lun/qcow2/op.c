/*
 * Operations of the engine and the loop's workers. See op.h. A LUN's chain of images counts as one
 * user of them: its lowest image has the queue, because that is there as long as any of them; those
 * above are opened and closed while layers below them are at work. The queue moves when one of its
 * own operations ends, which is enough, because who has none under way is always granted one.
 *
 * Runs on the image's loop. Read next: request.c.
 */
#include "lun/qcow2/engine.h"

#include <errno.h>
#include <sys/uio.h>

static struct workers *workers_of(struct qcow2 *user)
{
	while (user->backing)
		user = user->backing;
	return &user->workers;
}

static struct nowait *nowait_of(const struct qcow2_op *op)
{
	return &op->image->nowait[op->kind == LOOP_OP_WRITE];
}

/* -- The loop's operations -- */

LOOP_ONLY static void start_read(struct qcow2_op *op, loop_done_fn *done)
{
	loop_read(op->user->loop, &op->of, &op->rw, done);
}

LOOP_ONLY static void start_write(struct qcow2_op *op, loop_done_fn *done)
{
	loop_write(op->user->loop, &op->of, &op->rw, done);
}

LOOP_ONLY static void start_sync(struct qcow2_op *op, loop_done_fn *done)
{
	loop_sync(op->user->loop, &op->of, op->image->sync_fd, done);
}

LOOP_ONLY static void start_discard(struct qcow2_op *op, loop_done_fn *done)
{
	loop_discard(op->user->loop, &op->of, op->image->fd, op->range, done);
}

LOOP_ONLY static void start_zero(struct qcow2_op *op, loop_done_fn *done)
{
	loop_zero(op->user->loop, &op->of, op->image->fd, op->range, done);
}

LOOP_ONLY static void start_allocate(struct qcow2_op *op, loop_done_fn *done)
{
	loop_allocate(op->user->loop, &op->of, op->image->fd, op->range, done);
}

LOOP_ONLY static void start_call(struct qcow2_op *op, loop_done_fn *done)
{
	loop_call(op->user->loop, &op->of, op->call, done);
}

static void (*const starts[LOOP_OP_COUNT])(struct qcow2_op *op, loop_done_fn *done) = {
	[LOOP_OP_READ] = start_read, [LOOP_OP_WRITE] = start_write,
	[LOOP_OP_SYNC] = start_sync, [LOOP_OP_DISCARD] = start_discard,
	[LOOP_OP_ZERO] = start_zero, [LOOP_OP_ALLOCATE] = start_allocate,
	[LOOP_OP_CALL] = start_call,
};

/* -- Workers -- */

static void on_worked(struct loop_op *of, int res);

LOOP_ONLY static void pump(struct workers *workers, struct loop *loop)
{
	while (!list_is_empty(&workers->waiting) && loop_punt_begin(loop, workers->running)) {
		struct qcow2_op *op =
			CONTAINER_OF(list_take_first(&workers->waiting), struct qcow2_op, link);

		workers->running++;
		op->has_worker = true;
		starts[op->kind](op, on_worked);
	}
}

LOOP_ONLY static void punt(struct qcow2_op *op)
{
	struct workers *workers = workers_of(op->user);

	list_append(&workers->waiting, &op->link);
	pump(workers, op->user->loop);
	if (!op->has_worker)
		REACHED(worker_wait);
}

static void on_worked(struct loop_op *of, int res)
{
	struct qcow2_op *op = CONTAINER_OF(of, struct qcow2_op, of);
	struct workers *workers = workers_of(op->user);

	loop_role_assume();
	assert(workers->running > 0);
	op->has_worker = false;
	workers->running--;
	loop_punt_end(op->user->loop);
	pump(workers, op->user->loop);
	op->done(op, res);
}

static void on_tried(struct loop_op *of, int res)
{
	struct qcow2_op *op = CONTAINER_OF(of, struct qcow2_op, of);

	loop_role_assume();
	op->rw.flags &= (uint8_t)~LOOP_NOWAIT;
	if (nowait_note(nowait_of(op), res)) {
		punt(op);
	} else {
		op->done(op, res);
	}
}

/* -- On the spot -- */

/* What one may move. */
#define SPOT_BYTES 65536u

static void on_copied(struct loop_msg *msg)
{
	struct qcow2_op *op = CONTAINER_OF(msg, struct qcow2_op, msg);

	loop_role_assume();
	op->done(op, op->res);
}

int op_copy(struct loop *loop, struct qcow2 *image, enum loop_op_kind kind,
	    const struct loop_rw *rw, uint64_t bytes)
{
	struct nowait *nowait = &image->nowait[kind == LOOP_OP_WRITE];
	int flags = image->in_memory ? 0 : RWF_NOWAIT;
	int count = (int)rw->iov_count;
	off_t offset = (off_t)rw->offset_bytes;
	ssize_t res;

	/* What is in memory need not be asked whether it would wait. */
	if (image->direct || rw->flags != 0 || (nowait->is_unknown && !image->in_memory) ||
	    bytes > SPOT_BYTES)
		return -EAGAIN;
	if (!loop_inline_begin(loop, bytes))
		return -EBUSY;
	res = kind == LOOP_OP_READ ? preadv2(image->fd, rw->iov, count, offset, flags)
				   : pwritev2(image->fd, rw->iov, count, offset, flags);
	if (res < 0 && errno == EOPNOTSUPP)
		nowait->is_unknown = true;
	return res >= 0 && (uint64_t)res == bytes ? 0 : -EAGAIN;
}

LOOP_ONLY static bool copy_on_the_spot(struct qcow2_op *op)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < op->rw.iov_count; i++)
		bytes += op->rw.iov[i].iov_len;
	if (op_copy(op->user->loop, op->image, op->kind, &op->rw, bytes) != 0)
		return false;
	op->res = (int)bytes;
	/* Nothing is left of the vector, and nothing of one that this record had before. */
	op->of.iov_count = 0;
	loop_post(op->user->loop, &op->msg, on_copied);
	return true;
}

/* -- Beginning one -- */

static void prepare(struct qcow2_op *op, struct qcow2 *user, enum loop_op_kind kind,
		    qcow2_op_fn *done)
{
	assert(!op->has_worker);
	op->user = op->image = user;
	op->kind = kind;
	op->done = done;
}

LOOP_ONLY static void transfer(struct qcow2_op *op, const struct loop_rw *rw)
{
	op->rw = *rw;
	op->rw.fd = op->image->fd;
	if (copy_on_the_spot(op))
		return;
	if (nowait_is_worth_a_try(nowait_of(op))) {
		op->rw.flags |= LOOP_NOWAIT;
		starts[op->kind](op, on_tried);
	} else {
		punt(op);
	}
}

void op_read(struct qcow2 *user, struct qcow2_op *op, struct qcow2 *image, const struct loop_rw *rw,
	     qcow2_op_fn *done)
{
	prepare(op, user, LOOP_OP_READ, done);
	op->image = image;
	transfer(op, rw);
}

void op_write(struct qcow2 *image, struct qcow2_op *op, const struct loop_rw *rw, qcow2_op_fn *done)
{
	prepare(op, image, LOOP_OP_WRITE, done);
	transfer(op, rw);
}

void op_sync(struct qcow2 *image, struct qcow2_op *op, qcow2_op_fn *done)
{
	prepare(op, image, LOOP_OP_SYNC, done);
	punt(op);
}

void op_range(struct qcow2 *image, struct qcow2_op *op, enum loop_op_kind kind,
	      struct loop_range range, qcow2_op_fn *done)
{
	prepare(op, image, kind, done);
	op->range = range;
	punt(op);
}

void op_call(struct qcow2 *user, struct qcow2_op *op, loop_call_fn *call, qcow2_op_fn *done)
{
	prepare(op, user, LOOP_OP_CALL, done);
	op->call = call;
	punt(op);
}
