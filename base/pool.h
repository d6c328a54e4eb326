/*
 * A pool of objects of one size, mapped once and touched only when used. Not thread-safe: a pool
 * belongs to one loop, or to whoever made it.
 *
 * The stack of free objects stands apart from them, so that the pages of objects that were never
 * used stay untouched and cost no memory; last in, first out, so that warm ones are used first.
 */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include "base/attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Embed it; pool_init fills it. All fields are private to pool.c. */
struct pool {
	uint8_t *objects;
	uint32_t *free; /* Indices of objects that came back, the last one on top. */
	uint64_t *busy; /* One bit an object: catches a double release. */
	size_t stride_bytes;
	uint64_t inverse; /* 2^64 over the stride, rounded up. */
	size_t mapped_bytes;
	uint32_t count;
	uint32_t free_count; /* On the stack. */
	uint32_t fresh;      /* Objects from here on were never used, and stand on no stack. */
};

/*
 * A pool of `count` objects (0 is a pool that is always empty) of `object_bytes`, each aligned to
 * `align_bytes` (a power of two, at most a page; 0 for that of malloc). Memory is mapped with
 * MAP_NORESERVE and zero until it is first used; an object that came back keeps its bytes. -ENOMEM.
 */
int MUST_CHECK pool_init(struct pool *pool, uint32_t count, size_t object_bytes,
			 size_t align_bytes);
/* Give the memory back. Asserts that every object came back unless `abandon` is set. A pool that is
 * all zeros, or was cleared, is left alone. */
void pool_clear(struct pool *pool, bool abandon);

/* As pool_clear with `abandon`, but the objects stay mapped until the process ends, because
 * somebody (the kernel) may go on using them. */
void pool_leave_mapped(struct pool *pool);

/* An object, or NULL when all are in use: the caller waits or refuses, it never aborts. */
void *pool_acquire(struct pool *pool);
/* The object must come from this pool and be in use; both are asserted. */
void pool_release(struct pool *pool, void *object);

/* 0 .. count - 1, the same for an object as long as the pool lives. */
uint32_t pool_index(const struct pool *pool, const void *object);
/* The object of an index, in use or not. */
void *pool_at(const struct pool *pool, uint32_t index);

static inline uint32_t pool_count(const struct pool *pool)
{
	return pool->count;
}

static inline uint32_t pool_free_count(const struct pool *pool)
{
	return pool->free_count + (pool->count - pool->fresh);
}

static inline uint32_t pool_used_count(const struct pool *pool)
{
	return pool->count - pool_free_count(pool);
}

#endif
