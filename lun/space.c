/*
 * How much space there is and who has it; see space.h.
 *
 * Threads: looks are made by helper threads of the control loop, one at a time for each pool; notes
 * come from any loop. Read next: raw_space.c.
 */
#include "lun/space.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "lun/lun_internal.h"

/* st_blocks counts these, whatever the file system's blocks are (inode(7)). */
#define STAT_BLOCK_BYTES 512u
/* A reserve given as a size is one for large pools. */
#define RESERVE_PARTS_MIN 10u
/* The guard is lifted when the pool has this part of the reserve more, lest it flutter. */
#define HYSTERESIS_PARTS 8u

/* -- Pools -- */

uint64_t lun_pool_reserve(uint64_t reserve, uint64_t total_bytes)
{
	if (reserve <= LUN_PERCENT_MAX)
		return total_bytes / 100 * reserve;
	return reserve < total_bytes / RESERVE_PARTS_MIN ? reserve
							 : total_bytes / RESERVE_PARTS_MIN;
}

bool lun_pool_judge(bool guarded, uint64_t free_bytes, uint64_t reserve_bytes)
{
	if (!guarded)
		return free_bytes < reserve_bytes;
	return free_bytes < reserve_bytes + reserve_bytes / HYSTERESIS_PARTS;
}

int lun_pool_look(struct lun_pool *pool)
{
	struct statvfs fs;
	uint64_t total;
	uint64_t left;
	uint64_t reserve;
	bool guarded = atomic_load_explicit(&pool->guarded, memory_order_relaxed);

	if (statvfs(pool->path, &fs) != 0)
		return -errno;
	/* As df(1) reckons: what only root may take belongs to nobody. */
	total = (uint64_t)fs.f_frsize * (fs.f_blocks - (fs.f_bfree - fs.f_bavail));
	left = (uint64_t)fs.f_frsize * fs.f_bavail;
	reserve = lun_pool_reserve(pool->reserve, total);
	atomic_store_explicit(&pool->total_bytes, total, memory_order_relaxed);
	atomic_store_explicit(&pool->free_bytes, left, memory_order_relaxed);
	atomic_store_explicit(&pool->reserve_bytes, reserve, memory_order_relaxed);
	if (lun_pool_judge(guarded, left, reserve) != guarded)
		atomic_store_explicit(&pool->guarded, !guarded, memory_order_relaxed);
	return 0;
}

static void pool_note(struct lun_pool *pool)
{
	if (pool->on_note == NULL || atomic_load_explicit(&pool->noted, memory_order_relaxed) ||
	    atomic_exchange_explicit(&pool->noted, true, memory_order_acq_rel))
		return;
	pool->on_note(pool);
}

/* -- LUNs -- */

static bool image_stat(struct lun *lun, struct stat *st)
{
	bool is_file;
	int fd;

	if (!lun_image_hold(lun))
		return false;
	fd = lun->ops->fd(lun->image);
	is_file = fd >= 0 && fstat(fd, st) == 0 && S_ISREG(st->st_mode);
	lun_image_release(lun);
	return is_file;
}

bool lun_device(struct lun *lun, uint64_t *device)
{
	struct stat st;

	if (!image_stat(lun, &st))
		return false;
	*device = st.st_dev;
	return true;
}

void lun_set_pool(struct lun *lun, struct lun_pool *pool)
{
	lun->pool = pool;
}

const struct lun_pool *lun_pool(const struct lun *lun)
{
	return lun->pool;
}

void lun_space_look(struct lun *lun)
{
	struct stat st;

	if (!image_stat(lun, &st))
		return;
	atomic_store_explicit(&lun->used_bytes, (uint64_t)st.st_blocks * STAT_BLOCK_BYTES,
			      memory_order_relaxed);
}

bool lun_space(const struct lun *lun, struct lun_space *out)
{
	const struct lun_pool *pool = lun->pool;
	uint64_t left;
	uint64_t reserve;

	if (pool == NULL)
		return false;
	left = atomic_load_explicit(&pool->free_bytes, memory_order_relaxed);
	reserve = atomic_load_explicit(&pool->reserve_bytes, memory_order_relaxed);
	*out = (struct lun_space){
		.used_bytes = atomic_load_explicit(&lun->used_bytes, memory_order_relaxed),
		.available_bytes = left > reserve ? left - reserve : 0,
		.total_bytes = atomic_load_explicit(&pool->total_bytes, memory_order_relaxed),
		.reserve_bytes = reserve,
		.warn_percent = atomic_load_explicit(&pool->warn_percent, memory_order_relaxed),
	};
	return true;
}

/* -- On the way of I/O -- */

void space_mark(struct lun_io *io)
{
	bool takes_space = io->op == LUN_WRITE || io->op == LUN_PULL || io->op == LUN_PUSH ||
			   (io->op == LUN_ZERO && !(io->flags & LUN_IO_KEEP_HOLES));

	io->flags &= ~IMAGE_NO_NEW_SPACE;
	if (takes_space && lun_pool_is_guarded(io->lun->pool))
		io->flags |= IMAGE_NO_NEW_SPACE;
}

void space_note_end(const struct lun_io *io, int res)
{
	struct lun_pool *pool = io->lun->pool;

	if (pool == NULL || !lun_op_writes(io->op))
		return;
	if (res == -ENOSPC && !lun_pool_is_guarded(pool))
		atomic_store_explicit(&pool->refused, true, memory_order_relaxed);
	if (res == -ENOSPC || (io->op == LUN_UNMAP && lun_pool_is_guarded(pool)))
		pool_note(pool);
}
