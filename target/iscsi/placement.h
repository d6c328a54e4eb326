/*
 * On which loop a new session should live: pure arithmetic about loops, their sessions and the
 * processor time that they take. Who asks, and when, is registry.c's matter.
 *
 * A session stays where it was put, so two things count: how many live on a loop already, because
 * idle ones may wake up, and how busy it is now, because ten that work are more than ten that do
 * not. Each is a loop's share of the sum; the loop with the smallest sum of both shares is chosen.
 * So counts decide while all is quiet, as when a thousand hosts log in after a restart, and however
 * uneven the load is, the loop that has all of it has at most all others' sessions less.
 *
 * Threads: none of its own; the control loop calls. Read next: placement.c, registry.c.
 */
#ifndef TARGET_ISCSI_PLACEMENT_H
#define TARGET_ISCSI_PLACEMENT_H

#include <stdint.h>

/* A whole: all of a processor's time, all sessions. */
#define PLACEMENT_WHOLE (1u << 20)

/* What is known of one loop. Zero-initialise; `sessions` and `sessions_max` are the caller's. */
struct placement_loop {
	uint32_t sessions;
	uint32_t sessions_max;
	uint32_t busy;   /* Of a processor, of PLACEMENT_WHOLE; averaged over some ten seconds. */
	uint64_t cpu_ns; /* As of at_ns. */
	uint64_t at_ns;  /* 0: never noted. */
};

/* The processor time that the loop has taken since it began, and the time now, both monotonic. */
void placement_note(struct placement_loop *loop, uint64_t cpu_ns, uint64_t now_ns);
/* The index of the loop that should take the next session, or `count` when all are full. */
unsigned placement_choose(const struct placement_loop loops[], unsigned count);

#endif
