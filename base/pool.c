/*
 * Fixed-size object pools. Not an allocator: a pool never grows. Runs on its owner's thread. Read
 * next: pool.h, which says why the free stack stands apart.
 */
#include "base/pool.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/aligned.h"

#define BUSY_BITS 64u

static bool is_busy(const struct pool *pool, uint32_t index)
{
	return (pool->busy[index / BUSY_BITS] >> index % BUSY_BITS & 1) != 0;
}

static void flip_busy(struct pool *pool, uint32_t index)
{
	pool->busy[index / BUSY_BITS] ^= 1ull << index % BUSY_BITS;
}

/* The distance between objects, at least 2, or 0 when that overflows. */
static size_t stride(size_t object_bytes, size_t align_bytes)
{
	size_t rounded;

	if (__builtin_add_overflow(object_bytes > 1 ? object_bytes : 2, align_bytes - 1, &rounded))
		return 0;
	return rounded & ~(align_bytes - 1);
}

/* Address space only; pages come when they are touched, one small page at a time. */
static int map_objects(struct pool *pool)
{
	void *at = mmap(NULL, pool->mapped_bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		return -ENOMEM;
	/* A refusal (kernels without huge pages) changes nothing. */
	(void)madvise(at, pool->mapped_bytes, MADV_NOHUGEPAGE);
	pool->objects = at;
	return 0;
}

int pool_init(struct pool *pool, uint32_t count, size_t object_bytes, size_t align_bytes)
{
	size_t align = align_bytes != 0 ? align_bytes : _Alignof(max_align_t);
	int res = 0;

	assert(object_bytes > 0 && (align & (align - 1)) == 0 && align <= 4096);
	*pool = (struct pool){.count = count, .stride_bytes = stride(object_bytes, align)};
	if (count == 0)
		return 0;
	if (pool->stride_bytes < 2 ||
	    __builtin_mul_overflow(pool->stride_bytes, count, &pool->mapped_bytes))
		return -ENOMEM;
	pool->inverse = UINT64_MAX / pool->stride_bytes + 1;
	pool->free = aligned_calloc(count * sizeof(*pool->free));
	pool->busy = aligned_calloc((count + BUSY_BITS - 1) / BUSY_BITS * sizeof(*pool->busy));
	if (pool->free == NULL || pool->busy == NULL || map_objects(pool) != 0) {
		pool_clear(pool, true);
		res = -ENOMEM;
	}
	return res;
}

void pool_clear(struct pool *pool, bool abandon)
{
	assert(abandon || pool_used_count(pool) == 0);
	if (pool->objects != NULL)
		(void)munmap(pool->objects, pool->mapped_bytes);
	aligned_free(pool->free);
	aligned_free(pool->busy);
	*pool = (struct pool){0};
}

void pool_leave_mapped(struct pool *pool)
{
	pool->objects = NULL;
	pool_clear(pool, true);
}

void *pool_acquire(struct pool *pool)
{
	uint32_t index;

	if (pool->free_count > 0) {
		index = pool->free[--pool->free_count];
	} else if (pool->fresh < pool->count) {
		index = pool->fresh++;
	} else {
		return NULL;
	}
	flip_busy(pool, index);
	return pool->objects + index * pool->stride_bytes;
}

void pool_release(struct pool *pool, void *object)
{
	uint32_t index = pool_index(pool, object);

	assert(is_busy(pool, index));
	flip_busy(pool, index);
	pool->free[pool->free_count++] = index;
}

uint32_t pool_index(const struct pool *pool, const void *object)
{
	const uint8_t *at = object;
	size_t distance;
	size_t index;

	assert(at >= pool->objects && at < pool->objects + pool->mapped_bytes);
	distance = (size_t)(at - pool->objects);
	/* A division by multiplication: exact for multiples of the stride, and checked. */
	index = (size_t)((unsigned __int128)distance * pool->inverse >> 64);
	assert(index * pool->stride_bytes == distance);
	return (uint32_t)index;
}

void *pool_at(const struct pool *pool, uint32_t index)
{
	assert(index < pool->count);
	return pool->objects + index * pool->stride_bytes;
}
