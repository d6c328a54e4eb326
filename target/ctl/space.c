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

/* However many writes find no space. */
#define LOOK_MS_NOTED 20u

enum pool_stage {
	POOL_RESTING,
	POOL_LOOKING,
	POOL_ASKING,
};

struct pool {
	struct lun_pool pool;
	struct list_node link; /* space->pools, or space->fresh until it is joined. */
	struct space *space;
	char *name;
	char *path;
	uint64_t device;
	struct list_node members; /* space_member.link; changed while it is resting. */
	struct list_node joining; /* Members from the next rest on. */
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
	struct space_said said;
};

struct space_member {
	struct list_node link;
	struct lun *lun;
	struct scsi_lu *lu;         /* NULL: not yet. */
	struct pool *pool;          /* NULL: none. */
	void (*on_left)(void *arg); /* It leaves at the next rest. */
	void *arg;
};

struct space {
	struct space_loops loops;
	struct list_node pools;
	struct list_node fresh; /* Found and not joined; for who finds. */
	bool started;
	bool stopping;
	unsigned busy; /* Pools that are waited for. */
	void (*on_stopped)(void *arg);
	void *arg;
};

static uint64_t load(const _Atomic uint64_t *bytes)
{
	return atomic_load_explicit(bytes, memory_order_relaxed);
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
		lun_space_look(CONTAINER_OF(node, struct space_member, link)->lun);
	}
}

static int call_look(struct loop_op *op)
{
	look(CONTAINER_OF(op, struct pool, look));
	return 0;
}

static void on_timer(struct loop_timer *timer);

/* Nobody else has the pool. */
static void change_members(struct pool *pool)
{
	list_splice(&pool->members, &pool->joining);
	LIST_FOREACH (node, &pool->members) {
		struct space_member *member = CONTAINER_OF(node, struct space_member, link);
		void (*on_left)(void *arg) = member->on_left;
		void *arg = member->arg;

		if (on_left == NULL)
			continue;
		list_remove(&member->link);
		free(member);
		on_left(arg);
	}
}

LOOP_ONLY static void rest(struct pool *pool, uint64_t ms)
{
	struct space *space = pool->space;

	pool->stage = POOL_RESTING;
	change_members(pool);
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
		.warn_bytes = space_warn_bytes(&pool->pool),
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
		struct scsi_lu *lu = CONTAINER_OF(node, struct space_member, link)->lu;

		if (lu != NULL && !scsi_lu_check_space(lu, pool->space->loops.data, on_asked, pool))
			pool->asked++;
	}
	on_asked(pool);
}

static void on_looked(struct loop_op *op, int res UNUSED)
{
	struct pool *pool = CONTAINER_OF(op, struct pool, look);

	space_say(&pool->said, &pool->pool, pool->look_res);
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

static struct pool *find_in(const struct list_node *pools, uint64_t device)
{
	LIST_FOREACH (node, pools) {
		struct pool *pool = CONTAINER_OF(node, struct pool, link);

		if (pool->device == device)
			return pool;
	}
	return NULL;
}

static struct pool *find_pool(const struct space *space, uint64_t device)
{
	struct pool *pool = find_in(&space->pools, device);

	return pool != NULL ? pool : find_in(&space->fresh, device);
}

static void pool_free(struct pool *pool)
{
	free(pool->name);
	free(pool->path);
	aligned_free(pool);
}

/* A copy: it outlives the configuration. NULL: memory is short. */
static struct pool *make_pool(struct space *space, const struct conf_pool *from, uint64_t device)
{
	struct pool *pool = aligned_calloc(sizeof(*pool));

	if (pool == NULL)
		return NULL;
	pool->space = space;
	pool->device = device;
	pool->name = strdup(from->name);
	pool->path = strdup(from->path);
	pool->pool = (struct lun_pool){
		.name = pool->name,
		.path = pool->path,
		.reserve = from->reserve,
		.warn_percent = from->warn_percent,
		.on_note = on_note,
	};
	pool->said.refusals = (struct log_limit)LOG_LIMIT(1, SPACE_REFUSALS_MS);
	list_init(&pool->link);
	list_init(&pool->members);
	list_init(&pool->joining);
	if (pool->name != NULL && pool->path != NULL) {
		look(pool);
		return pool;
	}
	pool_free(pool);
	return NULL;
}

/* A section whose folder is not there, or whose file system has one already, describes nothing. */
static int add_configured(struct space *space, const struct conf_pool *from)
{
	struct pool *other;
	struct stat st;

	if (stat(from->path, &st) != 0) {
		log_error("ctl", "pool %s: %s: %s; its images have the defaults", from->name,
			  from->path, strerrordesc_np(errno));
		return 0;
	}
	other = find_pool(space, st.st_dev);
	if (other != NULL) {
		log_error("ctl", "pool %s: %s lies on the file system of pool %s, which counts",
			  from->name, from->path, other->pool.name);
		return 0;
	}
	other = make_pool(space, from, st.st_dev);
	if (other != NULL)
		list_append(&space->pools, &other->link);
	return other != NULL ? 0 : -ENOMEM;
}

/* The pool of an image that no section describes: named by its folder. */
static struct pool *add_default(struct space *space, const struct conf *conf, const char *image,
				uint64_t device)
{
	struct conf_pool from = conf->pool_default;
	char folder[FILES_PATH_MAX];
	char *whole = realpath(image, NULL); /* Its own folder, whatever links lead to it. */
	struct pool *pool;
	int res = files_parent(whole ? whole : image, folder, sizeof(folder));

	free(whole);
	if (res != 0)
		return NULL;
	from.path = folder;
	from.name = folder;
	pool = make_pool(space, &from, device);
	if (pool != NULL)
		list_append(&space->fresh, &pool->link);
	return pool;
}

static int join_pool(struct space *space, const struct conf *conf, const char *image,
		     struct space_member *member)
{
	uint64_t device;

	if (image == NULL || !lun_device(member->lun, &device))
		return 0;
	member->pool = find_pool(space, device);
	if (member->pool == NULL)
		member->pool = add_default(space, conf, image, device);
	if (member->pool == NULL)
		return -ENOMEM;
	lun_set_pool(member->lun, &member->pool->pool);
	lun_space_look(member->lun);
	return 0;
}

int space_find(struct space *space, const struct conf *conf, const char *image, struct lun *lun,
	       struct space_member **out)
{
	struct space_member *member = calloc(1, sizeof(*member));
	int res;

	if (member == NULL)
		return -ENOMEM;
	member->lun = lun;
	list_init(&member->link);
	res = join_pool(space, conf, image, member);
	if (res != 0)
		free(member);
	else
		*out = member;
	return res;
}

int space_create(const struct conf *conf, struct space_loops loops, struct space **out)
{
	struct space *space = calloc(1, sizeof(*space));
	int res = 0;

	if (space == NULL)
		return -ENOMEM;
	space->loops = loops;
	list_init(&space->pools);
	list_init(&space->fresh);
	for (size_t i = 0; res == 0 && i < conf->pool_count; i++)
		res = add_configured(space, &conf->pools[i]);
	if (res != 0)
		space_free(space);
	else
		*out = space;
	return res;
}

static void free_pools(struct list_node *pools)
{
	LIST_FOREACH (node, pools) {
		struct pool *pool = CONTAINER_OF(node, struct pool, link);

		list_splice(&pool->members, &pool->joining);
		LIST_FOREACH (at, &pool->members)
			free(CONTAINER_OF(at, struct space_member, link));
		pool_free(pool);
	}
}

void space_free(struct space *space)
{
	if (space == NULL)
		return;
	free_pools(&space->pools);
	free_pools(&space->fresh);
	free(space);
}

/* -- Watching -- */

void space_join(struct space *space, struct space_member *member, struct scsi_lu *lu)
{
	struct pool *pool = member->pool;
	bool first;

	loop_role_assume();
	member->lu = lu;
	if (pool == NULL) {
		free(member);
		return;
	}
	first = list_is_empty(&pool->members) && list_is_empty(&pool->joining);
	if (find_in(&space->pools, pool->device) == NULL) {
		list_remove(&pool->link);
		list_append(&space->pools, &pool->link);
	}
	list_append(pool->stage == POOL_RESTING ? &pool->members : &pool->joining, &member->link);
	if (first && pool->stage == POOL_RESTING)
		space_say(&pool->said, &pool->pool, pool->look_res);
	if (first && pool->stage == POOL_RESTING && space->started)
		rest(pool, SPACE_LOOK_MS_MIN);
}

static struct space_member *find_in_list(const struct list_node *members, const struct lun *lun)
{
	LIST_FOREACH (node, members) {
		struct space_member *member = CONTAINER_OF(node, struct space_member, link);

		if (member->lun == lun)
			return member;
	}
	return NULL;
}

static struct space_member *find_member(const struct lun *lun)
{
	struct lun_pool *which = (struct lun_pool *)(uintptr_t)lun_pool(lun);
	struct pool *pool = CONTAINER_OF(which, struct pool, pool);
	struct space_member *found = which != NULL ? find_in_list(&pool->members, lun) : NULL;

	/* One that is being looked at is read by others only, too. */
	return found != NULL || which == NULL ? found : find_in_list(&pool->joining, lun);
}

void space_leave(const struct lun *lun, void (*done)(void *arg), void *arg)
{
	struct space_member *member = find_member(lun);

	if (member == NULL || member->on_left != NULL) {
		done(arg);
		return;
	}
	member->on_left = done;
	member->arg = arg;
	if (member->pool->stage == POOL_RESTING)
		change_members(member->pool);
}

void space_start(struct space *space)
{
	space->started = true;
	LIST_FOREACH (node, &space->pools) {
		struct pool *pool = CONTAINER_OF(node, struct pool, link);

		if (!list_is_empty(&pool->members))
			rest(pool, SPACE_LOOK_MS_MIN);
	}
}

void space_hurry(struct space *space)
{
	LIST_FOREACH (node, &space->pools) {
		struct pool *pool = CONTAINER_OF(node, struct pool, link);

		if (!list_is_empty(&(*pool).members))
			wake(&(*pool));
	}
}

void space_warn(struct space *space, const struct conf *conf)
{
	for (size_t i = 0; i < conf->pool_count; i++) {
		const struct conf_pool *from = &conf->pools[i];

		LIST_FOREACH (node, &space->pools) {
			struct pool *pool = CONTAINER_OF(node, struct pool, link);

			if (strcmp(pool->name, from->name) == 0)
				atomic_store_explicit(&pool->pool.warn_percent, from->warn_percent,
						      memory_order_relaxed);
		}
	}
}

void space_stop(struct space *space, void (*done)(void *arg), void *arg)
{
	space->stopping = true;
	space->on_stopped = done;
	space->arg = arg;
	LIST_FOREACH (node, &space->pools) {
		struct pool *pool = CONTAINER_OF(node, struct pool, link);

		loop_timer_stop(space->loops.control, &pool->timer);
		if (pool->stage != POOL_RESTING)
			space->busy++;
	}
	if (space->busy == 0)
		done(arg);
}
