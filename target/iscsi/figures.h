/*
 * What operators see of a loop and of the sessions that live on it: numbers, copied in one turn of
 * that loop. What is constant of a session is in its spec (session.h), who is there in the list
 * (registry.h).
 *
 * Threads: the loop's own.
 */
#ifndef TARGET_ISCSI_FIGURES_H
#define TARGET_ISCSI_FIGURES_H

#include "base/loop.h"

struct session_figures {
	uint16_t tsih;
	uint32_t window;      /* Commands it may have outstanding. */
	uint32_t outstanding; /* Commands received and not answered. */
	uint32_t buffers;     /* Loop buffers that its commands hold. */
};

struct loop_figures {
	uint32_t buffers;
	uint32_t buffers_free;
	uint32_t tasks;
	uint32_t tasks_free;
};

typedef void session_figures_fn(void *arg, const struct session_figures *figures);

LOOP_ONLY void figures_of_loop(const struct loop *loop, struct loop_figures *out);
/* Call fn for every session that lives on the loop, in no particular order. */
LOOP_ONLY void figures_of_sessions(const struct loop *loop, session_figures_fn *fn, void *arg);

#endif
