/*
 * A loop's timers, earliest first: an intrusive pairing heap, so that starting one is cheap and
 * nothing is allocated. Private to base/; runs on the loop's thread. Read next: timers.c.
 */
#ifndef BASE_TIMERS_H
#define BASE_TIMERS_H

#include "base/loop.h"

struct timers {
	struct loop_timer *root;
};

/* The timer has expires_ns set and is in no heap. */
void timers_insert(struct timers *timers, struct loop_timer *timer);
/* The timer is in this heap. */
void timers_remove(struct timers *timers, struct loop_timer *timer);

/* The timer that expires first, or NULL. */
static inline struct loop_timer *timers_first(const struct timers *timers)
{
	return timers->root;
}

#endif
