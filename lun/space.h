/*
 * Space: the pool that a LUN's image takes its blocks from, which is the file system that the image
 * lies on, and how much of it is left. Not who looks when (target/ctl), and not what hosts hear of
 * it (target/scsi).
 *
 * A pool that has less left than its reserve is guarded: what would need new space then ends with
 * -ENOSPC, though the file system might still have some, so that metadata of file systems, state
 * files and data that the page cache has promised room for do not meet a full disk. Overwrites go
 * on. On the way of an I/O that is one load, of a flag that hardly ever changes; only while it is
 * set, the image looks whether a write needs space.
 *
 * Nothing here is waited for: a guard is lifted by the next look that finds space, and an image
 * that met a full disk tries again with the next write.
 *
 * Read next: space.c, raw_space.c.
 */
#ifndef LUN_SPACE_H
#define LUN_SPACE_H

#include "base/aligned.h"
#include "lun/lun.h"

#include <stdatomic.h>

/* A share of a pool: up to this many it counts percent, above it bytes. */
#define LUN_PERCENT_MAX 100u

/* Owned by who makes it; outlives the LUNs that belong to it. */
struct lun_pool {
	/* Fixed while loops run. */
	const char *name; /* For the log. */
	const char *path; /* Something on that file system. */
	uint64_t reserve; /* In percent or bytes: LUN_PERCENT_MAX. */
	/* A write has met a full disk or a guard, or space has been given back under one. Any loop;
	 * until lun_pool_listen it is not called again. NULL: nobody wants to know. */
	void (*on_note)(struct lun_pool *pool);
	/* Its owner's, who may change it; read by all. Used so far, hosts are told; 0: they are
	 * not.
	 */
	atomic_uint warn_percent;
	/* By lun_pool_look; read by all. */
	atomic_bool guarded CACHE_LINE_ALIGNED;
	_Atomic uint64_t total_bytes;
	_Atomic uint64_t free_bytes;    /* As df(1) says. */
	_Atomic uint64_t reserve_bytes; /* Of these, nobody's. */
	atomic_bool noted CACHE_LINE_ALIGNED;
	atomic_bool refused; /* Some write found no space, and no guard; for who looks to clear. */
};

/* What of the pool's size is its reserve. Sizes count as a tenth of it at most. */
uint64_t lun_pool_reserve(uint64_t reserve, uint64_t total_bytes);
/* Whether it is to be guarded: below the reserve, until there is an eighth more than that. */
bool lun_pool_judge(bool guarded, uint64_t free_bytes, uint64_t reserve_bytes);
/* Look how much is left, and set or lift the guard. One at a time; blocks; any thread. Negative
 * errno: nothing has changed. */
int MUST_CHECK lun_pool_look(struct lun_pool *pool);

/* What on_note told has been dealt with; it may be called again, for what happens from now on. */
static inline void lun_pool_listen(struct lun_pool *pool)
{
	atomic_store_explicit(&pool->noted, false, memory_order_release);
}

static inline bool lun_pool_is_guarded(const struct lun_pool *pool)
{
	return pool != NULL && atomic_load_explicit(&pool->guarded, memory_order_relaxed);
}

/* The file system of the LUN's image, as st_dev says. False: it is offline, or no file. Before the
 * loops run. */
bool MUST_CHECK lun_device(struct lun *lun, uint64_t *device);
/* The pool of the LUN, or NULL. Before the loops run. */
void lun_set_pool(struct lun *lun, struct lun_pool *pool);
const struct lun_pool *lun_pool(const struct lun *lun);

/* As of the last looks. */
struct lun_space {
	uint64_t used_bytes;      /* By this LUN. */
	uint64_t available_bytes; /* To all of the pool, its reserve apart. */
	uint64_t total_bytes;     /* The pool's. */
	uint64_t reserve_bytes;
	unsigned warn_percent; /* Of the pool's total, used: when hosts are told; 0: never. */
};

/* False: nobody knows, because the LUN has no pool. Any thread. */
bool MUST_CHECK lun_space(const struct lun *lun, struct lun_space *out);
/* Look how much the image takes. While the LUN is open; any thread; may block. */
void lun_space_look(struct lun *lun);

#endif
