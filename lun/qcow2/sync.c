/*
 * fdatasync, one at a time for each image, for all who need one: groups, the reservation, the hole
 * of a cluster that is to be used again. Who comes while one runs waits for the next: what was
 * written after it began is not covered by it. One that fails is final (invariant 8).
 *
 * Runs on the image's loop. Read next: commit.c.
 */
#include "lun/qcow2/engine.h"

LOOP_ONLY static void sync_begin(struct qcow2 *image);

LOOP_ONLY static void answer(struct qcow2 *image, int res)
{
	struct list_node riding;

	list_init(&riding);
	list_splice(&riding, &image->syncer.riding);
	while (!list_is_empty(&riding)) {
		struct sync_wait *wait =
			CONTAINER_OF(list_take_first(&riding), struct sync_wait, link);

		wait->done(image, res);
	}
}

static void on_synced(struct qcow2_op *op, int res)
{
	struct syncer *syncer = CONTAINER_OF(op, struct syncer, op);
	struct qcow2 *image = CONTAINER_OF(syncer, struct qcow2, syncer);

	loop_role_assume();
	syncer->running = false;
	if (res < 0) {
		image_fail(image, res, "fdatasync failed");
	} else {
		syncer->ended = syncer->begun;
	}
	answer(image, image->failed);
	quarantine_advance(image);
	if (!syncer->running && !list_is_empty(&syncer->waiting))
		sync_begin(image);
	image_kick(image);
	requests_run(image->cache, image->loop);
}

LOOP_ONLY static void sync_begin(struct qcow2 *image)
{
	struct syncer *syncer = &image->syncer;

	syncer->running = true;
	syncer->begun++;
	list_splice(&syncer->riding, &syncer->waiting);
	op_sync(image, &syncer->op, on_synced);
}

void sync_add(struct qcow2 *image, struct sync_wait *wait)
{
	list_append(&image->syncer.waiting, &wait->link);
	if (!image->syncer.running)
		sync_begin(image);
}
