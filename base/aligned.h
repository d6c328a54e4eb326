/*
 * Memory in cache lines of its own, for what one thread writes all the time: a neighbour that
 * another thread uses would have to fetch the line again after each write (false sharing), and
 * malloc puts small things side by side. Not for what is constant once loops run.
 *
 * Any thread; not on the data path, like all that asks for memory.
 */
#ifndef BASE_ALIGNED_H
#define BASE_ALIGNED_H

#include "base/attr.h"

#include <stddef.h>

#define CACHE_LINE_BYTES 64u

/* Begins a line: put it before the first member that another thread than before writes. */
#define CACHE_LINE_ALIGNED __attribute__((aligned(CACHE_LINE_BYTES)))

/* `bytes` of zeroes that begin a line and share none with anything else; NULL when there is no
 * memory. Pages of a large one (16 KiB and more) cost nothing until they are touched. */
void *MUST_CHECK aligned_calloc(size_t bytes);
/* Give it back; NULL is fine. free() is not for it. */
void aligned_free(void *memory);

#endif
