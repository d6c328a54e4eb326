/*
 * The memory of one configuration: everything is allocated here and released at once, so no part of
 * the parser frees anything by itself. Not for the daemon's run time.
 *
 * A failed allocation is remembered: callers may go on with NULL where that is harmless and the
 * parser asks once, at the end.
 */
#ifndef CONF_MEMORY_H
#define CONF_MEMORY_H

#include "base/attr.h"

#include <stdbool.h>
#include <stddef.h>

struct conf_memory;

/* NULL when memory is short. */
struct conf_memory *MUST_CHECK conf_memory_create(void);
/* Releases all that was taken from it; secret memory is overwritten first. NULL is allowed. */
void conf_memory_free(struct conf_memory *memory);

/* Zeroed memory for `count` items; NULL when memory is short, and for a count of zero. */
void *conf_memory_take(struct conf_memory *memory, size_t count, size_t item_bytes);
/* A copy of `length` bytes and a NUL, or NULL. */
char *conf_memory_copy(struct conf_memory *memory, const char *text, size_t length);

/*
 * Memory for secrets: whole pages, left out of core dumps and, where RLIMIT_MEMLOCK allows it,
 * never written to swap. One block per configuration at most. NULL when memory is short.
 */
void *MUST_CHECK conf_memory_take_secret(struct conf_memory *memory, size_t bytes);

bool conf_memory_failed(const struct conf_memory *memory);

#endif
