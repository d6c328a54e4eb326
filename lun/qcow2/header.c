/*
 * What changes of the header of an open image: autoclear bits before the first write, the place of
 * the refcount table, the corrupt bit. Always its first unit, as it was read, with these fields
 * changed: what else stands there stays as it is. And the end of all writing after a failure.
 *
 * Runs on the image's loop. Read next: reserve.c, stop.c.
 */
#include "lun/qcow2/engine.h"

#include "base/bytes.h"
#include "base/log.h"
#include "lun/qcow2/header_bytes.h"

void header_set_refcount_table(struct qcow2 *image)
{
	put_be64(image->header_bytes + AT_REFCOUNT_TABLE_OFFSET,
		 image->header.refcount_table_offset);
	put_be32(image->header_bytes + AT_REFCOUNT_TABLE_CLUSTERS,
		 image->header.refcount_table_clusters);
}

static void on_written(struct qcow2_op *op, int res)
{
	struct qcow2 *image = CONTAINER_OF(op, struct qcow2, header_op);
	struct sync_wait *wait = image->header_wait;

	loop_role_assume();
	image->header_writing = false;
	if (res < 0)
		image_fail(image, res, "the header could not be written");
	if (!wait) {
		image_kick(image);
	} else if (image->failed) {
		wait->done(image, image->failed);
	} else {
		sync_add(image, wait);
	}
	requests_run(image->cache, image->loop);
}

void header_write(struct qcow2 *image, struct sync_wait *wait)
{
	struct loop_rw rw = {.iov = &image->header_iov, .iov_count = 1};

	assert(!image->header_writing);
	image->header_writing = true;
	image->header_wait = wait;
	image->header_iov = (struct iovec){image->header_bytes, image->unit_bytes};
	op_write(image, &image->header_op, &rw, on_written);
}

/* -- Before the first write -- */

static void on_started(struct qcow2 *image, int res)
{
	loop_role_assume();
	if (res == 0) {
		image->start = START_DONE;
		recover_enter(image);
	}
	request_wake_all(&image->start_waiting, res);
}

bool image_started(struct qcow2 *image, struct qcow2_request *waiter)
{
	if (image->start == START_DONE)
		return true;
	request_wait(waiter, &image->start_waiting);
	if (image->start == START_RUNNING)
		return false;
	REACHED(autoclear);
	image->start = START_RUNNING;
	image->header.autoclear = 0;
	put_be64(image->header_bytes + AT_AUTOCLEAR, 0);
	image->start_sync.done = on_started;
	header_write(image, &image->start_sync);
	return false;
}

/* -- The end of writing -- */

LOOP_ONLY static void end_all(struct list_node *list, int res)
{
	while (!list_is_empty(list))
		request_end(CONTAINER_OF(list_take_first(list), struct qcow2_request, link), res);
}

void image_fail(struct qcow2 *image, int res, const char *what)
{
	if (image->failed)
		return;
	image->failed = res;
	log_error("qcow2", "%s: %s: %s; nothing is written any more until it is opened again",
		  image->name, what, strerror(-res));
	end_all(&image->commit.answered, -EIO);
	end_all(&image->commit.flushing, -EIO);
	request_wake_all(&image->commit.waiting, -EIO);
	request_wake_all(&image->reserve.waiting, -EIO);
	request_wake_all(&image->quarantine.waiting, -EIO);
	request_wake_all(&image->start_waiting, -EIO);
	loop_timer_stop(image->loop, &image->commit.timer);
	recover_leave(image);
	image_kick(image);
}

int image_corrupt(struct qcow2 *image, const char *what, uint64_t offset)
{
	log_error("qcow2", "%s: corrupt, %s at %" PRIu64 ": see `ringsan image check`", image->name,
		  what, offset);
	if (image->read_only || image->failed)
		return -EIO;
	REACHED(corrupt);
	put_be64(image->header_bytes + AT_INCOMPATIBLE,
		 image->header.incompatible | QCOW2_INCOMPATIBLE_CORRUPT);
	image_fail(image, -EIO, "it is inconsistent");
	if (!image->header_writing)
		header_write(image, NULL);
	return -EIO;
}
