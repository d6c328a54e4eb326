/*
 * Watching pools; see space.h. A pool goes round
 *
 *     resting -> looking (helper thread) -> asking (first data loop) -> resting
 *
 * and all but the looking and the asking is the control loop's.
 *
 * Read next: ../../lun/space.h, ../scsi/threshold.h.
 */
#include "target/ctl/space.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/aligned.h"
#include "base/log.h"
#include "lun/files.h"
#include "lun/space.h"
#include "target/scsi/threshold.h"

/* Near a threshold, and after a note. */
#define LOOK_MS_MIN 100u
#define LOOK_MS_MAX 5000u
/* Nothing changes: rarer, though a stream of writes may begin at any moment. */
#define LOOK_MS_QUIET_MAX 2000u
/* Who waits for space waits no longer than that. */
#define LOOK_MS_GUARDED_MAX 1000u
/* However many writes find no space. */
#define LOOK_MS_NOTED 20u
/* What hosts could write meanwhile, at most: 1 GiB a second. */
#define BYTES_PER_MS (UINT64_C(1) << 20)
/* Refusals without a guard are told of so often. */
#define REFUSALS_MS 60000u
/* The threshold of the log has a range of this part of the pool. */
#define WARN_RANGE_PARTS 1024u

enum pool_stage {
	POOL_RESTING,
	POOL_LOOKING,
	POOL_ASKING,
};

struct pool {
	struct lun_pool pool;
	struct space *space;
	char *path; /* Of its own, or NULL: the configuration's. */
	uint64_t device;
	struct list_node members; /* member.link */
	enum pool_stage stage;
	struct loop_timer timer;
	uint64_t looked_ns;
	uint64_t rest_ms;
	struct loop_op look;
	int look_res;
	uint64_t seen_free_bytes; /* Of the last look that went well. */
	bool changed;
	struct loop_msg ask;
	unsigned asked; /* The data loop's: who has not answered. */
	struct loop_msg note;
	bool noted; /* Its message has been taken, and no look has begun since. */
	/* What the log has been told. */
	struct scsi_threshold warned;
	bool guard_told;
	bool failure_told;
	struct log_limit limit;
};

struct member {
	struct list_node link;
	struct lun *lun;
	struct scsi_lu *lu; /* NULL: not yet. */
	struct pool *pool;  /* NULL: none. */
};

struct space {
	struct space_loops loops;
	struct pool *pools;
	size_t pool_count;
	struct member *members;
	bool stopping;
	unsigned busy; /* Pools that are waited for. */
	void (*on_stopped)(void *arg);
	void *arg;
};

/* -- When to look again -- */

static uint64_t distance(uint64_t from, uint64_t to)
{
	return from > to ? from - to : UINT64_MAX;
}

uint64_t space_next_look_ms(const struct space_view *view)
{
	uint64_t bytes = distance(view->free_bytes, view->reserve_bytes);
	uint64_t quiet_ms = 2 * view->previous_ms < LOOK_MS_QUIET_MAX ? 2 * view->previous_ms
								      : LOOK_MS_QUIET_MAX;
	uint64_t ms;

	if (distance(view->free_bytes, view->warn_bytes) < bytes)
		bytes = distance(view->free_bytes, view->warn_bytes);
	ms = bytes / BYTES_PER_MS;
	if (ms < LOOK_MS_MIN)
		ms = LOOK_MS_MIN;
	if (!view->changed && ms < quiet_ms)
		ms = quiet_ms;
	if (view->guarded && ms > LOOK_MS_GUARDED_MAX)
		ms = LOOK_MS_GUARDED_MAX;
	return ms < LOOK_MS_MAX ? ms : LOOK_MS_MAX;
}

/* -- The log -- */

static uint64_t load(const _Atomic uint64_t *bytes)
{
	return atomic_load_explicit(bytes, memory_order_relaxed);
}

static unsigned long long mib(uint64_t bytes)
{
	return (unsigned long long)(bytes >> 20);
}

/* Free bytes at which hosts are warned. */
static uint64_t warn_bytes(const struct pool *pool)
{
	uint64_t total = load(&pool->pool.total_bytes);

	return pool->pool.warn_percent == 0 ? 0 : total / 100 * (100 - pool->pool.warn_percent);
}

static void say_warning(struct pool *pool)
{
	uint64_t total = load(&pool->pool.total_bytes);
	uint64_t left = load(&pool->pool.free_bytes);
	const struct scsi_threshold_rule rule = {
		.enabled = pool->pool.warn_percent > 0,
		.decreasing = true,
		.center = warn_bytes(pool),
		.set = total / WARN_RANGE_PARTS,
		.whole = total,
	};

	if (scsi_threshold_step(&pool->warned, &rule, left))
		log_warn("ctl",
			 "pool %s: %llu MiB are left of %llu MiB, more than %u %% are used; give "
			 "space back or add some",
			 pool->pool.name, mib(left), mib(total), pool->pool.warn_percent);
}

static void say_guard(struct pool *pool)
{
	bool guarded = lun_pool_is_guarded(&pool->pool);
	uint64_t left = load(&pool->pool.free_bytes);

	if (guarded && !pool->guard_told)
		log_error("ctl",
			  "pool %s: %llu MiB are left, below its reserve of %llu MiB: writes that "
			  "need new space are refused until there is more; give space back (UNMAP, "
			  "deleting files) or add some",
			  pool->pool.name, mib(left), mib(load(&pool->pool.reserve_bytes)));
	if (!guarded && pool->guard_told)
		log_info("ctl", "pool %s: %llu MiB are left: writes go on", pool->pool.name,
			 mib(left));
	pool->guard_told = guarded;
}

/* A quota, or a pool without a reserve. */
static void say_refusal(struct pool *pool)
{
	bool refused = atomic_exchange_explicit(&pool->pool.refused, false, memory_order_relaxed);

	if (refused && !lun_pool_is_guarded(&pool->pool))
		log_limited(&pool->limit, LOG_LEVEL_WARN, "ctl",
			    "pool %s: a write found no space, though %llu MiB are left; is there a "
			    "quota? Writes are tried again as they come",
			    pool->pool.name, mib(load(&pool->pool.free_bytes)));
}

static void say_failure(struct pool *pool)
{
	if (pool->look_res != 0 && !pool->failure_told)
		log_error("ctl", "pool %s: how full it is cannot be told: %s; mend its path",
			  pool->pool.name, strerrordesc_np(-pool->look_res));
	pool->failure_told = pool->look_res != 0;
}

static void say_all(struct pool *pool)
{
	say_failure(pool);
	if (pool->look_res != 0)
		return;
	say_warning(pool);
	say_refusal(pool);
	say_guard(pool);
}

/* -- Round -- */

/* A helper thread, or the control thread before the loops run: nobody else has the pool then.
 * Images are looked at also where nothing has changed in all of the pool: what one gave back
 * another one may have taken. */
static void look(struct pool *pool)
{
	uint64_t left;

	pool->look_res = lun_pool_look(&pool->pool);
	if (pool->look_res != 0)
		return;
	left = load(&pool->pool.free_bytes);
	pool->changed = left != pool->seen_free_bytes;
	pool->seen_free_bytes = left;
	LIST_FOREACH (node, &pool->members) {
		lun_space_look(CONTAINER_OF(node, struct member, link)->lun);
	}
}

static int call_look(struct loop_op *op)
{
	look(CONTAINER_OF(op, struct pool, look));
	return 0;
}

static void on_timer(struct loop_timer *timer);

LOOP_ONLY static void rest(struct pool *pool, uint64_t ms)
{
	struct space *space = pool->space;

	pool->stage = POOL_RESTING;
	if (!space->stopping) {
		loop_timer_start(space->loops.control, &pool->timer, ms, on_timer);
		return;
	}
	space->busy--;
	if (space->busy == 0)
		space->on_stopped(space->arg);
}

static void on_all_asked(struct loop_msg *msg)
{
	struct pool *pool = CONTAINER_OF(msg, struct pool, ask);
	const struct space_view view = {
		.free_bytes = load(&pool->pool.free_bytes),
		.reserve_bytes = load(&pool->pool.reserve_bytes),
		.warn_bytes = warn_bytes(pool),
		.guarded = lun_pool_is_guarded(&pool->pool),
		.changed = pool->changed,
		.previous_ms = pool->rest_ms,
	};

	loop_role_assume();
	pool->rest_ms = space_next_look_ms(&view);
	rest(pool, pool->noted ? LOOK_MS_NOTED : pool->rest_ms);
}

static void on_asked(void *arg)
{
	struct pool *pool = arg;

	pool->asked--;
	if (pool->asked == 0)
		loop_post(pool->space->loops.control, &pool->ask, on_all_asked);
}

/* On the data loop: as many as there are may answer later; one is this function. */
static void on_ask(struct loop_msg *msg)
{
	struct pool *pool = CONTAINER_OF(msg, struct pool, ask);

	loop_role_assume();
	pool->asked = 1;
	LIST_FOREACH (node, &pool->members) {
		struct scsi_lu *lu = CONTAINER_OF(node, struct member, link)->lu;

		if (lu != NULL && !scsi_lu_check_space(lu, pool->space->loops.data, on_asked, pool))
			pool->asked++;
	}
	on_asked(pool);
}

static void on_looked(struct loop_op *op, int res UNUSED)
{
	struct pool *pool = CONTAINER_OF(op, struct pool, look);

	say_all(pool);
	pool->stage = POOL_ASKING;
	loop_post(pool->space->loops.data, &pool->ask, on_ask);
}

static void on_timer(struct loop_timer *timer)
{
	struct pool *pool = CONTAINER_OF(timer, struct pool, timer);

	loop_role_assume();
	/* Notes so far are answered by this look; from here on they are news. While a note is on
	 * its way its record is in use, and it is not listened for another one. */
	if (pool->noted) {
		pool->noted = false;
		lun_pool_listen(&pool->pool);
	}
	pool->stage = POOL_LOOKING;
	pool->looked_ns = loop_now_ns(pool->space->loops.control);
	loop_call(pool->space->loops.control, &pool->look, call_look, on_looked);
}

/* -- Notes -- */

/* If it rests, let it do so no longer than need be. */
LOOP_ONLY static void wake(struct pool *pool)
{
	uint64_t since_ms;

	if (pool->stage != POOL_RESTING || pool->space->stopping)
		return;
	since_ms = (loop_now_ns(pool->space->loops.control) - pool->looked_ns) / 1000000u;
	loop_timer_start(pool->space->loops.control, &pool->timer,
			 since_ms < LOOK_MS_NOTED ? LOOK_MS_NOTED - since_ms : 0, on_timer);
}

static void on_note_taken(struct loop_msg *msg)
{
	struct pool *pool = CONTAINER_OF(msg, struct pool, note);

	loop_role_assume();
	pool->noted = true;
	wake(pool);
}

static void on_note(struct lun_pool *which)
{
	struct pool *pool = CONTAINER_OF(which, struct pool, pool);

	loop_post(pool->space->loops.control, &pool->note, on_note_taken);
}

/* -- Making it -- */

static struct pool *find_pool(const struct space *space, uint64_t device)
{
	for (size_t i = 0; i < space->pool_count; i++) {
		if (space->pools[i].device == device)
			return &space->pools[i];
	}
	return NULL;
}

static struct pool *add_pool(struct space *space, const struct conf_pool *from, uint64_t device)
{
	struct pool *pool = &space->pools[space->pool_count++];

	pool->space = space;
	pool->device = device;
	pool->pool = (struct lun_pool){
		.name = from->name,
		.path = from->path,
		.reserve = from->reserve,
		.warn_percent = from->warn_percent,
		.on_note = on_note,
	};
	pool->limit = (struct log_limit)LOG_LIMIT(1, REFUSALS_MS);
	list_init(&pool->members);
	return pool;
}

/* A section whose folder is not there, or whose file system has one already, describes nothing. */
static void add_configured(struct space *space, const struct conf_pool *from)
{
	const struct pool *other;
	struct stat st;

	if (stat(from->path, &st) != 0) {
		log_error("ctl", "pool %s: %s: %s; its images have the defaults", from->name,
			  from->path, strerrordesc_np(errno));
		return;
	}
	other = find_pool(space, st.st_dev);
	if (other != NULL) {
		log_error("ctl", "pool %s: %s lies on the file system of pool %s, which counts",
			  from->name, from->path, other->pool.name);
		return;
	}
	(void)add_pool(space, from, st.st_dev);
}

/* The pool of an image that no section describes: named by its folder. */
static struct pool *add_default(struct space *space, const struct conf *conf, const char *image,
				uint64_t device)
{
	struct conf_pool from = conf->pool_default;
	char folder[FILES_PATH_MAX];
	struct pool *pool;

	if (files_parent(image, folder, sizeof(folder)) != 0)
		return NULL;
	from.path = strdup(folder);
	if (from.path == NULL)
		return NULL;
	from.name = from.path;
	pool = add_pool(space, &from, device);
	pool->path = from.path;
	return pool;
}

static int join_pool(struct space *space, const struct conf *conf, const char *image,
		     struct member *member)
{
	uint64_t device;

	if (image == NULL || !lun_device(member->lun, &device))
		return 0;
	member->pool = find_pool(space, device);
	if (member->pool == NULL)
		member->pool = add_default(space, conf, image, device);
	if (member->pool == NULL)
		return -ENOMEM;
	list_append(&member->pool->members, &member->link);
	lun_set_pool(member->lun, &member->pool->pool);
	return 0;
}

static size_t count_luns(const struct conf *conf)
{
	size_t count = 0;

	for (size_t i = 0; i < conf->target_count; i++)
		count += conf->targets[i].lun_count;
	return count;
}

static int join_all(struct space *space, const struct conf *conf, struct lun *const luns[])
{
	struct member *member = space->members;
	int res = 0;

	for (size_t i = 0; i < conf->target_count; i++) {
		const struct conf_target *target = &conf->targets[i];

		for (size_t j = 0; res == 0 && j < target->lun_count; j++, member++) {
			member->lun = *luns++;
			res = join_pool(space, conf, target->luns[j].image, member);
		}
	}
	return res;
}

int space_create(const struct conf *conf, struct space_loops loops, struct lun *const luns[],
		 struct space **out)
{
	size_t lun_count = count_luns(conf);
	struct space *space = calloc(1, sizeof(*space));
	int res = -ENOMEM;

	if (space == NULL)
		return res;
	space->loops = loops;
	/* At most one for each image, and those of the configuration. */
	space->pools = aligned_calloc((conf->pool_count + lun_count + 1) * sizeof(struct pool));
	space->members = calloc(lun_count + 1, sizeof(struct member));
	if (space->pools == NULL || space->members == NULL)
		goto fail;
	for (size_t i = 0; i < conf->pool_count; i++)
		add_configured(space, &conf->pools[i]);
	res = join_all(space, conf, luns);
	if (res != 0)
		goto fail;
	for (size_t i = 0; i < space->pool_count; i++) {
		look(&space->pools[i]);
		say_all(&space->pools[i]);
	}
	*out = space;
	return 0;
fail:
	space_free(space);
	return res;
}

void space_set_lu(struct space *space, size_t index, struct scsi_lu *lu)
{
	space->members[index].lu = lu;
}

void space_free(struct space *space)
{
	if (space == NULL)
		return;
	for (size_t i = 0; i < space->pool_count; i++)
		free(space->pools[i].path);
	aligned_free(space->pools);
	free(space->members);
	free(space);
}

/* -- Watching -- */

void space_start(struct space *space)
{
	for (size_t i = 0; i < space->pool_count; i++) {
		if (!list_is_empty(&space->pools[i].members))
			rest(&space->pools[i], LOOK_MS_MIN);
	}
}

void space_hurry(struct space *space)
{
	for (size_t i = 0; i < space->pool_count; i++) {
		if (!list_is_empty(&space->pools[i].members))
			wake(&space->pools[i]);
	}
}

void space_stop(struct space *space, void (*done)(void *arg), void *arg)
{
	space->stopping = true;
	space->on_stopped = done;
	space->arg = arg;
	for (size_t i = 0; i < space->pool_count; i++) {
		loop_timer_stop(space->loops.control, &space->pools[i].timer);
		if (space->pools[i].stage != POOL_RESTING)
			space->busy++;
	}
	if (space->busy == 0)
		done(arg);
}
