/*
 * Time that only goes forward. For what happens inside a loop, prefer loop_now_ns, which costs
 * nothing; this asks the kernel (through the vDSO). Any thread.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define CLOCK_NS_PER_S 1000000000ull
#define CLOCK_NS_PER_MS 1000000ull
#define CLOCK_NS_PER_US 1000ull

/* CLOCK_MONOTONIC in nanoseconds: 584 years from boot fit. */
static inline uint64_t clock_now_ns(void)
{
	struct timespec now;

	/* It fails only for an unknown clock or a bad address, neither of which this is. */
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * CLOCK_NS_PER_S + (uint64_t)now.tv_nsec;
}

#endif
