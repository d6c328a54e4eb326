/*
 * An image that nobody has open, as a LUN of this process: with a loop for its I/O and one that
 * controls it, which are there as long as it is.
 *
 * One thread calls and waits; what it hands over runs on the loops. Read next: own_lun.c.
 */
#ifndef TARGET_IMAGE_OWN_LUN_H
#define TARGET_IMAGE_OWN_LUN_H

#include <semaphore.h>

#include "lun/lun.h"
#include "target/image/verb.h"

struct own_lun {
	struct loop_group group;
	struct loop *control;
	struct lun *lun;
	uint64_t inode; /* Of the image's file. */
	/* Of the call under way. */
	sem_t called;
	struct loop_msg msg;
	struct lun_io io;
	struct lun_pull pull;
	int res;
};

/* A qcow2 image, written, with all that is below it. `path` outlives it. 0, or as image_refuse, and
 * nothing is open. */
int MUST_CHECK own_lun_open(struct image_order *order, const char *path, struct own_lun *out);
/* Have `fn` run on the control loop; own_lun_called, then or later, lets the caller go on. */
void own_lun_call(struct own_lun *own, loop_msg_fn *fn);
void own_lun_called(struct own_lun *own);
static inline struct own_lun *own_lun_of(struct loop_msg *msg)
{
	return CONTAINER_OF(msg, struct own_lun, msg);
}
/* LUN_PULL of all that is below the image, in whole blocks; and LUN_FLUSH. Their results. */
int MUST_CHECK own_lun_pull(struct own_lun *own, uint64_t offset, uint64_t length,
			    uint64_t below_bytes);
int MUST_CHECK own_lun_flush(struct own_lun *own);
/* In order, so that nothing is left to recover. Negative errno: that was not to be had. */
int own_lun_close(struct own_lun *own);

#endif
