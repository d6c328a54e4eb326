/*
 * Watches how full the pools are: file systems that images lie on, those of the configuration and
 * those of images beside them. It looks every few seconds, more often the nearer a threshold is,
 * and at once when a write has found no space; sets and lifts guards (lun/space.h), has logical
 * units look at their thresholds (scsi/threshold.h), and tells the log.
 *
 * Looks are calls on helper threads, each pool's by itself, so that a file system that does not
 * answer holds up nobody.
 *
 * Threads: the control thread before the loops run and the control loop then; logical units are
 * asked on the first data loop. Read next: space.c.
 */
#ifndef TARGET_CTL_SPACE_H
#define TARGET_CTL_SPACE_H

#include "conf/model.h"
#include "target/scsi/scsi.h"

struct space;

struct space_loops {
	struct loop *control;
	struct loop *data; /* One of the group that serves the LUNs. */
};

/*
 * Find the pool of each LUN of the configuration (`luns` are those of luns_open, in that order) and
 * look once, so that what is built on them knows how full they are. Before the loops run; blocks.
 * All is borrowed until space_free. -ENOMEM.
 */
int MUST_CHECK space_create(const struct conf *conf, struct space_loops loops,
			    struct lun *const luns[], struct space **out);
/* The logical unit of LUN number `index` of that order. Before the loops run. */
void space_set_lu(struct space *space, size_t index, struct scsi_lu *lu);
/* Watch from now on. The control loop. */
LOOP_ONLY void space_start(struct space *space);
/* Somebody looks at the figures: have the next ones soon. It waits for nothing. */
LOOP_ONLY void space_hurry(struct space *space);
/* Watch no more; done(arg) runs, at once or later, when nothing is under way. The control loop. */
LOOP_ONLY void space_stop(struct space *space, void (*done)(void *arg), void *arg);
/* Before it was started, or after it has stopped, and no loop runs. NULL is allowed. */
void space_free(struct space *space);

/* When to look again: the pure part. */
struct space_view {
	uint64_t free_bytes;
	uint64_t reserve_bytes;
	uint64_t warn_bytes; /* Free, at which hosts are warned; 0: never. */
	bool guarded;
	bool changed;         /* Since the look before. */
	uint64_t previous_ms; /* Between the two. */
};

uint64_t space_next_look_ms(const struct space_view *view);

#endif
