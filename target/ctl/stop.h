/*
 * The orderly end: nobody new comes in, sessions are closed, every LUN is flushed and drained. It
 * has a deadline, because a disk that is stuck must not keep a machine from going down; what was
 * not reached by then is named.
 *
 *     closing -> flushing and draining, each LUN by itself -> done
 *
 * Requests of the control socket and looks at pools end beside all that.
 *
 * Threads: the control loop's, but for the flushes, each of which runs on a data loop.
 * Read next: stop.c, daemon.h.
 */
#ifndef TARGET_CTL_STOP_H
#define TARGET_CTL_STOP_H

#include "target/ctl/build.h"

/* Everything but freeing memory must be done by then: the whole end takes at most 5 s. */
#define STOP_DEADLINE_MS 4000u

struct stop;
/* ok: all LUNs are flushed and nothing is under way on them. Otherwise the log has named the LUNs,
 * loops and LUNs may still be busy, and the process should leave without freeing them. */
typedef void stop_done_fn(void *context, bool ok);

/* Made at start, so that ending needs no memory. -ENOMEM. */
int MUST_CHECK stop_create(struct runtime *runtime, stop_done_fn *on_done, void *context,
			   struct stop **out);
/* Begin; on_done runs later or at once, exactly once. */
LOOP_ONLY void stop_begin(struct stop *stop);
/* For so many LUNs, before there are that many. -ENOMEM. */
int MUST_CHECK stop_make_room(struct stop *stop, size_t lun_count);
/* NULL is allowed. */
void stop_free(struct stop *stop);

#endif
