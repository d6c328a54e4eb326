/*
 * What the log is told of pools: each thing once when it begins, and its end; see space.h.
 *
 * Runs on the control loop.
 */
#include "target/ctl/space.h"

#include <string.h>

/* The threshold of the log has a range of this part of the pool. */
#define WARN_RANGE_PARTS 1024u

static uint64_t load(const _Atomic uint64_t *bytes)
{
	return atomic_load_explicit(bytes, memory_order_relaxed);
}

static unsigned long long mib(uint64_t bytes)
{
	return (unsigned long long)(bytes >> 20);
}

static unsigned warn_percent(const struct lun_pool *pool)
{
	return atomic_load_explicit(&pool->warn_percent, memory_order_relaxed);
}

uint64_t space_warn_bytes(const struct lun_pool *pool)
{
	unsigned percent = warn_percent(pool);

	return percent == 0 ? 0 : load(&pool->total_bytes) / 100 * (100 - percent);
}

static void say_warning(struct space_said *said, const struct lun_pool *pool)
{
	uint64_t total = load(&pool->total_bytes);
	uint64_t left = load(&pool->free_bytes);
	const struct scsi_threshold_rule rule = {
		.enabled = warn_percent(pool) > 0,
		.decreasing = true,
		.center = space_warn_bytes(pool),
		.set = total / WARN_RANGE_PARTS,
		.whole = total,
	};

	if (scsi_threshold_step(&said->warned, &rule, left))
		log_warn("ctl",
			 "pool %s: %llu MiB are left of %llu MiB, more than %u %% are used; give "
			 "space back or add some",
			 pool->name, mib(left), mib(total), warn_percent(pool));
}

static void say_guard(struct space_said *said, const struct lun_pool *pool)
{
	bool guarded = lun_pool_is_guarded(pool);
	uint64_t left = load(&pool->free_bytes);

	if (guarded && !said->guard_told)
		log_error("ctl",
			  "pool %s: %llu MiB are left, below its reserve of %llu MiB: writes that "
			  "need new space are refused until there is more; give space back (UNMAP, "
			  "deleting files) or add some",
			  pool->name, mib(left), mib(load(&pool->reserve_bytes)));
	if (!guarded && said->guard_told)
		log_info("ctl", "pool %s: %llu MiB are left: writes go on", pool->name, mib(left));
	said->guard_told = guarded;
}

/* A quota, or a pool without a reserve. */
static void say_refusal(struct space_said *said, struct lun_pool *pool)
{
	bool refused = atomic_exchange_explicit(&pool->refused, false, memory_order_relaxed);

	if (refused && !lun_pool_is_guarded(pool))
		log_limited(&said->refusals, LOG_LEVEL_WARN, "ctl",
			    "pool %s: a write found no space, though %llu MiB are left; is there a "
			    "quota? Writes are tried again as they come",
			    pool->name, mib(load(&pool->free_bytes)));
}

static void say_failure(struct space_said *said, const struct lun_pool *pool, int look_res)
{
	if (look_res != 0 && !said->failure_told)
		log_error("ctl", "pool %s: how full it is cannot be told: %s; mend its path",
			  pool->name, strerrordesc_np(-look_res));
	said->failure_told = look_res != 0;
}

void space_say(struct space_said *said, struct lun_pool *pool, int look_res)
{
	say_failure(said, pool, look_res);
	if (look_res != 0)
		return;
	say_warning(said, pool);
	say_refusal(said, pool);
	say_guard(said, pool);
}
