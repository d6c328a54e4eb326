/*
 * The orderly end of an image: all groups, then the quarantine, then the reservation goes back,
 * then one fdatasync. After a failure: until nothing is under way any more.
 *
 * Runs on the image's loop. Read next: open.c.
 */
#include "lun/qcow2/engine.h"

static void on_stopped(struct loop_msg *msg)
{
	struct qcow2 *image = CONTAINER_OF(msg, struct qcow2, stop_msg);

	image->stop_done(image->stop_arg, image->failed);
}

LOOP_ONLY static void stopped(struct qcow2 *image)
{
	recover_leave(image);
	image->stopping = false;
	/* Also of one that is not on the cache's list: a stop that came late (drain.c) may have
	 * taken it off while what is above still read. */
	cache_leave(image);
	loop_timer_stop(image->loop, &image->commit.timer);
	loop_post(image->loop, &image->stop_msg, on_stopped);
}

static bool is_idle(const struct qcow2 *image)
{
	return image->loading == 0 && image->commit.stage == COMMIT_IDLE &&
	       image->commit.ios_running == 0 && image->reserve.stage == RESERVE_IDLE &&
	       image->quarantine.stage == QUARANTINE_IDLE && !image->syncer.running &&
	       !image->header_writing;
}

static void on_last_sync(struct qcow2 *image, int res)
{
	(void)res;
	image->stop_synced = true;
}

LOOP_ONLY static void give_back(struct qcow2 *image)
{
	if (!list_is_empty(&image->reserve.free) || !list_is_empty(&image->quarantine.punched) ||
	    !list_is_empty(&image->reserve.lower)) {
		reserve_give_back(image);
		image->stop_synced = false;
	} else if (!image->stop_synced) {
		image->stop_sync.done = on_last_sync;
		sync_add(image, &image->stop_sync);
	} else {
		stopped(image);
	}
}

void stop_run(struct qcow2 *image)
{
	const struct quarantine *quarantine = &image->quarantine;

	if (!image->stopping || image->active > 0)
		return;
	if (image->commit.changed && !image->failed) {
		commit_want(image);
		return;
	}
	if (!is_idle(image))
		return;
	if (image->failed || image->read_only) {
		stopped(image);
	} else if (list_is_empty(&quarantine->freed) && list_is_empty(&quarantine->unlinked)) {
		give_back(image);
	}
}

void qcow2_stop(struct qcow2 *image, void (*done)(void *arg, int res), void *arg)
{
	assert(!image->stopping);
	image->stop_done = done;
	image->stop_arg = arg;
	image->stopping = true;
	/* Data may have been written to clusters that were mapped before. */
	image->stop_synced = image->read_only;
	/* What was held goes on. */
	if (image->holds_frees && !image->failed)
		quarantine_advance(image);
	image_kick(image);
	requests_run(image->cache, image->loop);
}
