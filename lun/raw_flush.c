/*
 * Flushes of a raw image: fdatasync for all loops, one at a time. Who comes while one is running
 * never joins it, because what it waits for may have been written too late; all who wait share the
 * next.
 *
 * One at a time, because the kernel reports a failed write-back once per open file description: of
 * two that run side by side one could be told "good" for data that the other was told are lost. So
 * the failure of one is known here, and to the whole LUN, before the next begins. The description
 * is not used for anything else, for the same reason (a durable direct write looks for such errors
 * too).
 *
 * Runs on the loop that finds no flush running; others' I/Os are ended on their loops by message.
 *
 * Read next: raw_open.c.
 */
#include "lun/raw.h"

#include "base/reach.h"

LOOP_ONLY static void flush_start(struct image *image, struct loop *loop);

static void flush_on_told(struct loop_msg *msg)
{
	struct lun_io *io = CONTAINER_OF(msg, struct lun_io, msg);

	loop_role_assume();
	image_io_done(io, (int)io->image_word[0]);
}

LOOP_ONLY static void flush_end(struct loop *loop, struct lun_io *io, int res)
{
	if (io->loop == loop) {
		image_io_done_later(io, res);
		return;
	}
	io->image_word[0] = (uint64_t)res;
	loop_post(io->loop, &io->msg, flush_on_told);
}

/* True: some came meanwhile, and the next flush is theirs. */
static bool flush_goes_on(struct raw_flush *flush)
{
	bool more;

	pthread_mutex_lock(&flush->mutex);
	more = !list_is_empty(&flush->waiting);
	flush->running = more;
	pthread_mutex_unlock(&flush->mutex);
	return more;
}

static void flush_on_synced(struct loop_op *op, int res)
{
	struct raw_flush *flush = CONTAINER_OF(op, struct raw_flush, op);
	struct image *image = CONTAINER_OF(flush, struct image, flush);
	struct loop *loop = flush->loop;
	struct list_node ended;

	loop_role_assume();
	if (res < 0)
		image_failed(CONTAINER_OF(list_first(&flush->batch), struct lun_io, image_link),
			     res);
	list_init(&ended);
	list_splice(&ended, &flush->batch);
	if (flush_goes_on(flush))
		flush_start(image, loop);
	/* After the last touch of the image: the loop that hears of its last I/O's end may let it
	 * be closed. */
	for (struct list_node *node; (node = list_first(&ended));) {
		list_remove(node);
		flush_end(loop, CONTAINER_OF(node, struct lun_io, image_link), res);
	}
}

static void flush_start(struct image *image, struct loop *loop)
{
	struct raw_flush *flush = &image->flush;

	pthread_mutex_lock(&flush->mutex);
	list_splice(&flush->batch, &flush->waiting);
	pthread_mutex_unlock(&flush->mutex);
	flush->loop = loop;
	loop_sync(loop, &flush->op, image->sync_fd, flush_on_synced);
}

void raw_flush_add(struct image *image, struct lun_io *io)
{
	struct raw_flush *flush = &image->flush;
	bool start;

	pthread_mutex_lock(&flush->mutex);
	start = !flush->running;
	if (!start)
		REACHED(raw_flush_waits_for_flush);
	list_append(!start && PLANTED(raw_flush_takes_latecomers) ? &flush->batch : &flush->waiting,
		    &io->image_link);
	flush->running = true;
	pthread_mutex_unlock(&flush->mutex);
	if (start)
		flush_start(image, io->loop);
}

void raw_flush_init(struct raw_flush *flush)
{
	pthread_mutex_init(&flush->mutex, NULL);
	list_init(&flush->waiting);
	list_init(&flush->batch);
}

void raw_flush_destroy(struct raw_flush *flush)
{
	pthread_mutex_destroy(&flush->mutex);
}
