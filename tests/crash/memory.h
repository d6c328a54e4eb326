/*
 * Requests for memory that fail: those of production code, in place of the C library's (linked with
 * --wrap). While nothing is to fail, nothing is counted.
 */
#ifndef TESTS_CRASH_MEMORY_H
#define TESTS_CRASH_MEMORY_H

#include <stdbool.h>

/* From now on requests are counted, and the nth fails; SIM_FOR_EVER: none does. */
void memory_begin(unsigned nth);
struct memory_count {
	unsigned requests; /* Since then. */
	unsigned held;     /* Of what they gave, not freed. */
};
struct memory_count memory_end(void);

#endif
