/*
 * The states of a trial that were judged already: a set of numbers. It begins small and grows; what
 * it forgets (never, but between trials) would only cost time.
 */
#ifndef TESTS_CRASH_SEEN_H
#define TESTS_CRASH_SEEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct seen {
	uint64_t *slots; /* 0: free. */
	size_t room;     /* A power of two. */
	size_t count;
};

void seen_clear(struct seen *seen);
void seen_free(struct seen *seen);
/* True: it is new. */
bool seen_add(struct seen *seen, uint64_t number);

#endif
