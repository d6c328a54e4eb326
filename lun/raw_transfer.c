/*
 * Reads and writes of the raw image, each by the cheapest way that is honest:
 *
 *  - on the spot, where that is a copy in memory: on tmpfs, and through the page cache when the
 *    kernel promises not to wait (RWF_NOWAIT). Small ones only, within a budget for each turn; what
 *    is beyond it waits for the next turn, so that others and the answers of this turn come first;
 *  - else by the engine without waiting, which is how direct I/O on what is allocated goes;
 *  - what the kernel then refuses (holes, buffered writes on some file systems) by a worker. A file
 *    that refuses again and again is asked only now and then, because asking costs a turn.
 *
 * Runs on the loop of each io. Read next: image_raw.c.
 */
#include "lun/raw.h"

#include <errno.h>
#include <unistd.h>

#include "base/reach.h"

/* What one may move on the spot. */
#define INLINE_BYTES 65536u

static struct nowait *raw_nowait(struct image *image, const struct lun_io *io)
{
	return &raw_lane(image, io)->nowait[io->op == LUN_WRITE];
}

/* All of it moved, or an error: the membrane keeps I/O inside the image, so a short read means that
 * somebody made the file shorter behind our back. */
static int transfer_result(const struct lun_io *io, int64_t res)
{
	if (res < 0)
		return (int)res;
	return (uint64_t)res == io->length_bytes ? 0 : -EIO;
}

/* -- By a worker, or the engine without waiting -- */

static void raw_on_transferred(struct loop_op *op, int res)
{
	struct lun_io *io = CONTAINER_OF(op, struct lun_io, loop_op);
	struct image *image = io->image;

	loop_role_assume();
	raw_give_worker_back(image, io);
	raw_finish(image, io, transfer_result(io, res));
}

static void raw_on_tried(struct loop_op *op, int res)
{
	struct lun_io *io = CONTAINER_OF(op, struct lun_io, loop_op);
	struct image *image = io->image;

	loop_role_assume();
	if (nowait_note(raw_nowait(image, io), res)) {
		raw_punt(image, io);
	} else {
		raw_finish(image, io, transfer_result(io, res));
	}
}

LOOP_ONLY static void raw_transfer(struct image *image, struct lun_io *io, uint8_t flags,
				   loop_done_fn *done)
{
	struct loop_rw rw = {
		.fd = image->fd,
		.iov = io->iov,
		.iov_count = io->iov_count,
		.offset_bytes = io->offset_bytes,
		.flags = flags,
	};

	if (io->op == LUN_READ) {
		loop_read(io->loop, &io->loop_op, &rw, done);
		return;
	}
	if ((io->flags & LUN_IO_DURABLE) && !image->page_cache &&
	    !PLANTED(raw_durable_write_without_dsync))
		rw.flags |= LOOP_DSYNC;
	loop_write(io->loop, &io->loop_op, &rw, done);
}

void raw_start_transfer(struct image *image, struct lun_io *io)
{
	raw_transfer(image, io, 0, raw_on_transferred);
}

/* -- On the spot -- */

/* tmpfs need not be asked whether it would wait, and does not tell whoever asks of long ones. */
static bool is_for_the_spot(const struct image *image, const struct nowait *nowait,
			    const struct lun_io *io)
{
	return image->page_cache && (image->is_tmpfs || !nowait->is_unknown) &&
	       io->length_bytes <= INLINE_BYTES;
}

/* The first of a turn always: those who have waited for longest might else find the budget used up
 * by others in every turn. */
LOOP_ONLY static bool is_in_budget(struct raw_lane *lane, const struct lun_io *io)
{
	uint64_t now_ns = loop_now_ns(io->loop);
	bool is_granted = loop_inline_begin(io->loop, io->length_bytes);

	if (!is_granted && lane->turn_ns == now_ns)
		return false;
	lane->turn_ns = now_ns;
	return true;
}

static ssize_t copy_on_the_spot(const struct image *image, const struct lun_io *io)
{
	int flags = image->is_tmpfs ? 0 : RWF_NOWAIT;
	off_t offset = (off_t)io->offset_bytes;
	ssize_t res = io->op == LUN_READ
			      ? preadv2(image->fd, io->iov, (int)io->iov_count, offset, flags)
			      : pwritev2(image->fd, io->iov, (int)io->iov_count, offset, flags);

	if (res < 0)
		return -errno;
	if ((uint64_t)res == io->length_bytes)
		return res;
	/* What is short on tmpfs is at the end of its memory; elsewhere the rest would wait. */
	if (!image->is_tmpfs)
		return -EAGAIN;
	return io->op == LUN_WRITE ? -ENOSPC : res;
}

LOOP_ONLY static void raw_do_on_the_spot(struct image *image, struct lun_io *io)
{
	ssize_t res = copy_on_the_spot(image, io);

	if (res == -EOPNOTSUPP)
		raw_nowait(image, io)->is_unknown = true;
	if (res == -EOPNOTSUPP || res == -EAGAIN) {
		raw_punt(image, io);
	} else {
		raw_finish_later(image, io, transfer_result(io, res));
	}
}

static void raw_on_deferred(struct loop_msg *msg);

LOOP_ONLY static void raw_defer(struct raw_lane *lane, struct image *image, struct lun_io *io)
{
	if (list_is_empty(&lane->deferred))
		loop_post(io->loop, &lane->deferred_msg, raw_on_deferred);
	lane->image = image;
	list_append(&lane->deferred, &io->image_link);
}

static void raw_on_deferred(struct loop_msg *msg)
{
	struct raw_lane *lane = CONTAINER_OF(msg, struct raw_lane, deferred_msg);
	struct list_node *node;

	loop_role_assume();
	while ((node = list_first(&lane->deferred))) {
		struct lun_io *io = CONTAINER_OF(node, struct lun_io, image_link);

		if (!is_in_budget(lane, io)) {
			loop_post(io->loop, msg, raw_on_deferred);
			return;
		}
		list_remove(node);
		raw_do_on_the_spot(lane->image, io);
	}
}

LOOP_ONLY static void raw_submit_on_the_spot(struct image *image, struct lun_io *io)
{
	struct raw_lane *lane = raw_lane(image, io);

	if (list_is_empty(&lane->deferred) && is_in_budget(lane, io)) {
		raw_do_on_the_spot(image, io);
	} else {
		raw_defer(lane, image, io);
	}
}

/* -- The choice -- */

void raw_submit_transfer(struct image *image, struct lun_io *io)
{
	struct nowait *nowait = raw_nowait(image, io);

	if (is_for_the_spot(image, nowait, io)) {
		raw_submit_on_the_spot(image, io);
	} else if (nowait_is_worth_a_try(nowait)) {
		raw_transfer(image, io, LOOP_NOWAIT, raw_on_tried);
	} else {
		raw_punt(image, io);
	}
}
