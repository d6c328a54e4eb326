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

#include "base/log.h"
#include "conf/model.h"
#include "lun/space.h"
#include "target/scsi/scsi.h"
#include "target/scsi/threshold.h"

#include <stdlib.h>

struct space;

struct space_loops {
	struct loop *control;
	struct loop *data; /* One of the group that serves the LUNs. */
};

/* The pools of the configuration. -ENOMEM. Before the loops run; blocks. */
int MUST_CHECK space_create(const struct conf *conf, struct space_loops loops, struct space **out);
/*
 * Find the pool of a LUN that nobody uses yet, or make it, and look how full it is, so that what is
 * built on the LUN knows. `image` is its file, as configured, or NULL. Blocks. The control thread
 * before the loops run, and then one thread at a time; what it has found is watched from space_join
 * on. -ENOMEM.
 */
struct space_member;
int MUST_CHECK space_find(struct space *space, const struct conf *conf, const char *image,
			  struct lun *lun, struct space_member **out);
/* The LUN is a logical unit now; the member is the space's. The control thread. */
void space_join(struct space *space, struct space_member *member, struct scsi_lu *lu);
/* It did not become one. The control thread. NULL is allowed. */
static inline void space_forget(struct space_member *member)
{
	free(member);
}
/* Neither LUN nor logical unit is looked at any more when done(arg) runs, at once or later: a look
 * may be under way. Asked twice for one, the second is `done` at once. The control loop. */
LOOP_ONLY void space_leave(const struct lun *lun, void (*done)(void *arg), void *arg);
/* Watch from now on. The control loop. */
LOOP_ONLY void space_start(struct space *space);
/* Somebody looks at the figures: have the next ones soon. It waits for nothing. */
LOOP_ONLY void space_hurry(struct space *space);
/* Warn at what that configuration says, which has the same pools. The control loop; the logical
 * units follow when they are told (scsi_lu_renew). */
LOOP_ONLY void space_warn(struct space *space, const struct conf *conf);
/* Watch no more; done(arg) runs, at once or later, when nothing is under way. The control loop. */
LOOP_ONLY void space_stop(struct space *space, void (*done)(void *arg), void *arg);
/* Before it was started, or after it has stopped, and no loop runs. NULL is allowed. */
void space_free(struct space *space);

/* Near a threshold, and after a note. */
#define SPACE_LOOK_MS_MIN 100u

/* -- space_say.c: what the log is told -- */

/* Refusals without a guard are told of so often. */
#define SPACE_REFUSALS_MS 60000u

/* Of a pool, so far; zero-initialise, but for the limit. */
struct space_said {
	struct scsi_threshold warned;
	bool guard_told;
	bool failure_told;
	struct log_limit refusals;
};

/* Free bytes at which hosts are warned; 0: never. */
uint64_t space_warn_bytes(const struct lun_pool *pool);
/* It has been looked at: `look_res` is negative errno where that failed. */
void space_say(struct space_said *said, struct lun_pool *pool, int look_res);

/* When to look again: the pure part, space_interval.c. */
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
