/*
 * Memory in cache lines of its own, cut out of a larger piece of calloc's, which leaves large
 * pieces untouched where aligned_alloc would need a memset. Runs on any thread. Read
 * next: aligned.h.
 */
#include "base/aligned.h"

#include <stdint.h>
#include <stdlib.h>

/* What calloc gave, in front of what the caller got. */
struct aligned_header {
	void *piece;
};

void *aligned_calloc(size_t bytes)
{
	size_t front = sizeof(struct aligned_header) + CACHE_LINE_BYTES - 1;
	size_t rounded;
	uint8_t *piece;
	uint8_t *memory;

	if (__builtin_add_overflow(bytes, CACHE_LINE_BYTES - 1 + front, &rounded))
		return NULL;
	piece = calloc(1, rounded);
	if (piece == NULL)
		return NULL;
	memory = piece + front;
	memory -= (uintptr_t)memory % CACHE_LINE_BYTES;
	((struct aligned_header *)(void *)memory)[-1].piece = piece;
	return memory;
}

void aligned_free(void *memory)
{
	if (memory != NULL)
		free(((struct aligned_header *)memory)[-1].piece);
}
