/*
 * Memory in cache lines of its own, cut out of a larger piece: of calloc's, or mapped. Runs on any
 * thread. Read next: aligned.h.
 */
#include "base/aligned.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

/* From here on memory is mapped: malloc would hand out pages that others had touched, and clear
 * them all. Of something that large often a part alone is ever used. */
#define MAPPED_BYTES_MIN 16384u

/* What we got, in front of what the caller got. */
struct aligned_header {
	void *piece;
	size_t mapped_bytes; /* 0: calloc's. */
};

/* Small pages only: a large one would be touched as a whole. */
static void *map_zeroes(size_t bytes)
{
	void *piece = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (piece == MAP_FAILED)
		return NULL;
	(void)madvise(piece, bytes, MADV_NOHUGEPAGE);
	return piece;
}

void *aligned_calloc(size_t bytes)
{
	size_t front = sizeof(struct aligned_header) + CACHE_LINE_BYTES - 1;
	bool mapped = bytes >= MAPPED_BYTES_MIN;
	struct aligned_header *header;
	size_t rounded;
	uint8_t *piece;
	uint8_t *memory;

	if (__builtin_add_overflow(bytes, CACHE_LINE_BYTES - 1 + front, &rounded))
		return NULL;
	piece = mapped ? map_zeroes(rounded) : calloc(1, rounded);
	if (piece == NULL)
		return NULL;
	memory = piece + front;
	memory -= (uintptr_t)memory % CACHE_LINE_BYTES;
	header = &((struct aligned_header *)(void *)memory)[-1];
	header->piece = piece;
	header->mapped_bytes = mapped ? rounded : 0;
	return memory;
}

void aligned_free(void *memory)
{
	struct aligned_header *header;

	if (memory == NULL)
		return;
	header = &((struct aligned_header *)memory)[-1];
	if (header->mapped_bytes > 0)
		(void)munmap(header->piece, header->mapped_bytes);
	else
		free(header->piece);
}
