/*
 * Arithmetic on numbers that came from outside: the answer is true when it fits, and only then is
 * *out written with something of meaning. Pure functions, any thread.
 */
#ifndef BASE_CHECKED_H
#define BASE_CHECKED_H

#include "base/attr.h"

#include <stdbool.h>
#include <stdint.h>

static inline bool MUST_CHECK checked_add(uint64_t a, uint64_t b, uint64_t *out)
{
	return !__builtin_add_overflow(a, b, out);
}

static inline bool MUST_CHECK checked_sub(uint64_t a, uint64_t b, uint64_t *out)
{
	return !__builtin_sub_overflow(a, b, out);
}

static inline bool MUST_CHECK checked_mul(uint64_t a, uint64_t b, uint64_t *out)
{
	return !__builtin_mul_overflow(a, b, out);
}

/* True when [start, start + count) lies inside [0, limit). An empty range may start at limit. */
static inline bool MUST_CHECK checked_range(uint64_t start, uint64_t count, uint64_t limit)
{
	return start <= limit && count <= limit - start;
}

#endif
