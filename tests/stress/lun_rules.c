/*
 * The rules of a shared LUN, hammered: several loops with writes, reads, small blocks, exclusive
 * ranges, aborts, drains and switches on one LUN, over an image that ends I/O late, out of order
 * and sometimes not for a long while. The shadow model (lun_shadow.h) checks ranges, orphans and
 * drains at every step; here are the checks that the caller's own check has run right before the
 * image gets a write, and that a state that is read is whole (one that was reused under its reader
 * is not). In the end everything must have come home. With ThreadSanitizer or not; both engines.
 *
 * usage: lun_rules [seed [milliseconds]]. Exit 0 and a line for each engine, or an assertion.
 */
#include "tests/stress/lun_shadow.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOOPS 3u
#define WORKERS 64u /* For each loop; all loops' together overrun the account. */
#define HOLDERS 6u
#define BURST 6u /* Turns that follow each other without a pause, each tick. */
#define PATIENCE_MS 60000u

struct stage;

/* An I/O that starts again when it has ended. */
struct worker {
	struct lun_io io;
	struct actor_loop *home;
	uint64_t born;        /* Of the shadow's clock, before it was submitted. */
	uint64_t admitted_ns; /* The turn of its check; 0: not checked. */
	bool busy;
	bool abandoned;
};

/* A user of exclusive ranges. */
struct holder {
	struct lun_exclusive exclusive;
	struct actor_loop *home;
	struct worker worker;
	enum {
		HOLDER_IDLE,
		HOLDER_ASKING,
		HOLDER_HOLDING,
		HOLDER_LEAVING
	} at;
};

/* One loop and all that acts on it. */
struct actor_loop {
	struct stage *stage;
	struct loop *loop;
	struct loop_msg start;
	struct loop_timer tick;
	struct loop_msg again;
	unsigned burst_left;
	uint64_t random;
	struct list_node in_image; /* lun_io.image_link */
	struct worker workers[WORKERS];
	struct holder holders[HOLDERS];
	uint8_t *buffer;
	uint64_t done, refused, canceled, grants, withdrawn, overruns;
};

struct stage {
	struct loop_group group;
	struct loop *control;
	struct lun *lun;
	struct actor_loop loops[LOOPS];
	struct loop_msg control_start;
	struct loop_timer control_tick;
	uint64_t control_random;
	bool draining;
	uint64_t drains, expired, switches;
	atomic_bool stopping;
	atomic_uint running; /* Loops that have not come to rest, the control loop too. */
};

static struct stage *the_stage;

/* -- The image -- */

static int late_open(const struct lun_spec *spec, struct image **out, struct image_info *info,
		     char *why UNUSED, size_t why_size UNUSED)
{
	*out = (struct image *)the_stage;
	*info = (struct image_info){
		.size_bytes = spec->size_bytes,
		.io_align_bytes = BLOCK,
		.allocation_unit_bytes = BLOCK,
		.thin = true,
		.zeroes_after_unmap = true,
	};
	return 0;
}

static void late_close(struct image *image UNUSED)
{
}

static void worker_on_done(struct lun_io *io, int res);

/* A worker's own I/O was checked by its caller in this very turn. Other I/O is the membrane's:
 * steps of a read-modify-write. */
static uint64_t late_born(struct lun_io *io)
{
	struct worker *worker = CONTAINER_OF(io, struct worker, io);

	loop_role_assume();
	if (io->done != worker_on_done)
		return 0;
	assert(worker->admitted_ns == loop_now_ns(io->loop));
	worker->admitted_ns = 0;
	return worker->born;
}

static void late_submit(struct image *image UNUSED, struct lun_io *io)
{
	assert(io->stage == LUN_IO_SUBMITTED);
	shadow_enter(io, late_born(io));
	list_append(&the_stage->loops[loop_index(io->loop)].in_image, &io->image_link);
}

static int late_fd(const struct image *image UNUSED)
{
	return -1;
}

static const struct image_ops late_ops = {
	.type = "late",
	.open = late_open,
	.close = late_close,
	.submit = late_submit,
	.fd = late_fd,
};

/* Some end, in no order, some sooner than others. */
LOOP_ONLY static void image_end_some(struct actor_loop *home, unsigned percent)
{
	LIST_FOREACH (node, &home->in_image) {
		struct lun_io *io = CONTAINER_OF(node, struct lun_io, image_link);

		if (!chance(&home->random, percent))
			continue;
		list_remove(node);
		shadow_leave(io);
		image_io_done_later(io, 0);
	}
}

/* -- Workers -- */

static int worker_on_admit(struct lun_io *io)
{
	struct worker *worker = CONTAINER_OF(io, struct worker, io);

	loop_role_assume();
	worker->admitted_ns = loop_now_ns(io->loop);
	return 0;
}

static void worker_on_done(struct lun_io *io, int res)
{
	struct worker *worker = CONTAINER_OF(io, struct worker, io);
	struct actor_loop *home = worker->home;

	assert(worker->busy);
	assert(res == 0 || res == -EBUSY || res == -EROFS || res == -ECANCELED);
	assert(res != -ECANCELED || worker->abandoned);
	home->done += res == 0;
	home->refused += res == -EROFS;
	home->overruns += res == -EBUSY;
	home->canceled += res == -ECANCELED;
	worker->busy = false;
}

/* Sectors [first, first + count) of 512 bytes. */
static void worker_aim(struct worker *worker, uint64_t first, uint64_t count)
{
	static const enum lun_op ops[] = {LUN_WRITE, LUN_WRITE, LUN_WRITE, LUN_READ,
					  LUN_UNMAP, LUN_ZERO,  LUN_FLUSH};
	struct actor_loop *home = worker->home;

	worker->io.op = ops[next_random(&home->random) % ARRAY_SIZE(ops)];
	worker->io.flags = 0;
	worker->io.offset_bytes = first * 512;
	worker->io.length_bytes = count * 512;
	worker->io.iov[0] = (struct iovec){home->buffer, count * 512};
	worker->io.iov_count = worker->io.op == LUN_READ || worker->io.op == LUN_WRITE;
	worker->io.admit = worker_on_admit;
	worker->io.done = worker_on_done;
	worker->abandoned = false;
	worker->busy = true;
	worker->admitted_ns = 0;
	worker->born = shadow_clock();
}

LOOP_ONLY static void worker_start(struct worker *worker)
{
	struct actor_loop *home = worker->home;
	uint64_t first;
	uint64_t count;

	pick_range(&home->random, &first, &count);
	worker_aim(worker, first, count);
	lun_io_submit(home->stage->lun, home->loop, &worker->io);
}

LOOP_ONLY static void worker_abandon(struct worker *worker)
{
	if (!worker->busy || worker->abandoned || worker->io.stage == LUN_IO_ENDING)
		return;
	worker->abandoned = true;
	lun_io_abandon(&worker->io);
	if (worker->io.stage == LUN_IO_ORPHANED && !worker->io.rmw &&
	    lun_op_writes(worker->io.op) && worker->io.image_word[WORD_INSIDE])
		shadow_orphan(&worker->io);
}

/* -- Holders -- */

static void holder_on_granted(struct lun_exclusive *exclusive)
{
	struct holder *holder = CONTAINER_OF(exclusive, struct holder, exclusive);

	assert(holder->at == HOLDER_ASKING);
	shadow_hold(exclusive, true);
	holder->home->grants++;
	holder->at = HOLDER_HOLDING;
}

static void holder_on_released(struct lun_exclusive *exclusive)
{
	struct holder *holder = CONTAINER_OF(exclusive, struct holder, exclusive);

	assert(holder->at == HOLDER_LEAVING);
	holder->at = HOLDER_IDLE;
}

LOOP_ONLY static void holder_ask(struct holder *holder)
{
	struct actor_loop *home = holder->home;
	uint64_t first;
	uint64_t count;

	pick_range(&home->random, &first, &count);
	holder->exclusive.offset_bytes = first * 512;
	holder->exclusive.length_bytes = count * 512;
	holder->exclusive.granted = holder_on_granted;
	holder->exclusive.released = holder_on_released;
	holder->at = HOLDER_ASKING;
	lun_exclusive_acquire(home->stage->lun, home->loop, &holder->exclusive);
}

LOOP_ONLY static void holder_leave(struct holder *holder)
{
	if (holder->at == HOLDER_HOLDING)
		shadow_hold(&holder->exclusive, false);
	else
		holder->home->withdrawn++;
	holder->at = HOLDER_LEAVING;
	lun_exclusive_release(&holder->exclusive);
}

/* Some part of its range, which may be less than the whole blocks that it holds. */
LOOP_ONLY static void holder_write(struct holder *holder)
{
	struct actor_loop *home = holder->home;
	uint64_t first = holder->exclusive.offset_bytes / 512;
	uint64_t count = holder->exclusive.length_bytes / 512;
	uint64_t skip = next_random(&home->random) % count;

	worker_aim(&holder->worker, first + skip, count - skip);
	lun_io_submit_exclusive(&holder->exclusive, &holder->worker.io);
}

LOOP_ONLY static void holder_step(struct holder *holder, bool stopping)
{
	uint64_t *random = &holder->home->random;
	bool free_to_go = !holder->worker.busy || holder->worker.abandoned;

	if (holder->at == HOLDER_IDLE && !stopping && chance(random, 30))
		holder_ask(holder);
	else if (holder->at == HOLDER_ASKING && chance(random, stopping ? 50 : 3))
		holder_leave(holder);
	else if (holder->at == HOLDER_HOLDING && free_to_go && chance(random, 40))
		holder_leave(holder);
	else if (holder->at == HOLDER_HOLDING && !holder->worker.busy && !stopping)
		holder_write(holder);
	else if (chance(random, 10))
		worker_abandon(&holder->worker);
}

/* -- A loop's tick -- */

/* Written by stage_switch: whoever sees half of it sees numbers that do not fit. */
static void check_state(const struct lun_state *state)
{
	unsigned long number = strtoul(state->offline_reason, NULL, 10);

	assert(state->online && state->size_bytes == SIZE_BYTES);
	assert(state->read_only == (number % 8 == 1));
}

/* What PERSISTENT RESERVE OUT and others do: a new state, from whatever loop, at any time. */
LOOP_ONLY static void stage_switch(struct stage *stage, struct loop *loop)
{
	struct lun_state *wanted = &stage->lun->states.wanted;

	pthread_mutex_lock(&stage->lun->mutex);
	stage->switches++;
	snprintf(wanted->offline_reason, sizeof(wanted->offline_reason), "%lu",
		 (unsigned long)stage->switches);
	wanted->read_only = stage->switches % 8 == 1;
	states_publish_locked(stage->lun, loop);
	pthread_mutex_unlock(&stage->lun->mutex);
}

static bool loop_is_at_rest(const struct actor_loop *home)
{
	for (unsigned i = 0; i < WORKERS; i++) {
		if (home->workers[i].busy)
			return false;
	}
	for (unsigned i = 0; i < HOLDERS; i++) {
		if (home->holders[i].at != HOLDER_IDLE || home->holders[i].worker.busy)
			return false;
	}
	return list_is_empty(&home->in_image);
}

LOOP_ONLY static void loop_act(struct actor_loop *home, bool stopping, bool stuck)
{
	image_end_some(home, stopping ? 100 : stuck ? 0 : 40);
	for (unsigned i = 0; i < WORKERS; i++) {
		if (!home->workers[i].busy && !stopping && chance(&home->random, 40))
			worker_start(&home->workers[i]);
		else if (chance(&home->random, stuck ? 20 : 3))
			worker_abandon(&home->workers[i]);
	}
	for (unsigned i = 0; i < HOLDERS; i++)
		holder_step(&home->holders[i], stopping);
	if (!stopping && chance(&home->random, 5))
		stage_switch(home->stage, home->loop);
}

static bool shadow_is_stuck(void)
{
	bool stuck;

	pthread_mutex_lock(&shadow.mutex);
	stuck = shadow.stuck;
	pthread_mutex_unlock(&shadow.mutex);
	return stuck;
}

static void loop_on_tick(struct loop_timer *timer);

/* Turn after turn, so that loops meet at every point of each other's; then a pause. */
static void loop_on_turn(struct loop_msg *msg)
{
	struct actor_loop *home = CONTAINER_OF(msg, struct actor_loop, again);
	bool stopping = atomic_load(&home->stage->stopping);

	loop_role_assume();
	check_state(lun_state(home->stage->lun));
	loop_act(home, stopping, shadow_is_stuck());
	if (stopping && loop_is_at_rest(home))
		atomic_fetch_sub(&home->stage->running, 1);
	else if (home->burst_left--)
		loop_post(home->loop, &home->again, loop_on_turn);
	else
		loop_timer_start(home->loop, &home->tick, 1, loop_on_tick);
}

static void loop_on_tick(struct loop_timer *timer)
{
	struct actor_loop *home = CONTAINER_OF(timer, struct actor_loop, tick);

	home->burst_left = BURST;
	loop_on_turn(&home->again);
}

static void loop_on_start(struct loop_msg *msg)
{
	struct actor_loop *home = CONTAINER_OF(msg, struct actor_loop, start);

	loop_role_assume();
	loop_timer_start(home->loop, &home->tick, 1, loop_on_tick);
}

/* -- The control loop: drains, and a disk that is stuck now and then -- */

static void stage_on_drained(struct lun *lun, int res, void *arg)
{
	struct stage *stage = arg;

	assert(lun == stage->lun && stage->draining && (res == 0 || res == -ETIMEDOUT));
	stage->draining = false;
	stage->expired += res != 0;
	if (res)
		return;
	stage->drains++;
	pthread_mutex_lock(&shadow.mutex);
	assert(!shadow.in_image);
	shadow.drained = true;
	pthread_mutex_unlock(&shadow.mutex);
}

LOOP_ONLY static void control_act(struct stage *stage, bool stopping)
{
	bool resume;

	pthread_mutex_lock(&shadow.mutex);
	resume = shadow.drained;
	shadow.drained = false;
	shadow.stuck = !stopping && chance(&stage->control_random, shadow.stuck ? 85 : 5);
	pthread_mutex_unlock(&shadow.mutex);
	if (resume) {
		lun_resume(stage->lun, stage->control);
	} else if (!stage->draining && !stopping && chance(&stage->control_random, 30)) {
		stage->draining = true;
		lun_drain(stage->lun, stage->control, next_random(&stage->control_random) % 40 + 1,
			  stage_on_drained, stage);
	}
}

static void control_on_tick(struct loop_timer *timer)
{
	struct stage *stage = CONTAINER_OF(timer, struct stage, control_tick);
	bool stopping = atomic_load(&stage->stopping);
	struct lun_state state;

	loop_role_assume();
	lun_state_copy(stage->lun, &state);
	check_state(&state);
	control_act(stage, stopping);
	pthread_mutex_lock(&shadow.mutex);
	stopping = stopping && !shadow.drained && !stage->draining;
	pthread_mutex_unlock(&shadow.mutex);
	if (stopping)
		atomic_fetch_sub(&stage->running, 1);
	else
		loop_timer_start(stage->control, timer, 5, control_on_tick);
}

static void control_on_start(struct loop_msg *msg)
{
	struct stage *stage = CONTAINER_OF(msg, struct stage, control_start);

	loop_role_assume();
	loop_timer_start(stage->control, &stage->control_tick, 5, control_on_tick);
}

/* -- The whole -- */

static void actor_init(struct stage *stage, unsigned index, uint64_t seed)
{
	struct actor_loop *home = &stage->loops[index];

	home->stage = stage;
	home->loop = stage->group.loops[index];
	home->random = seed * 2654435761u + index + 1;
	home->buffer = calloc(1, 65536);
	assert(home->buffer);
	list_init(&home->in_image);
	for (unsigned i = 0; i < WORKERS; i++)
		home->workers[i].home = home;
	for (unsigned i = 0; i < HOLDERS; i++) {
		home->holders[i].home = home;
		home->holders[i].worker.home = home;
	}
}

static void stage_init(struct stage *stage, enum loop_engine engine, uint64_t seed)
{
	struct lun_spec spec = {
		.name = "rules", .type = "late", .size_bytes = SIZE_BYTES, .write_cache = true};
	int res;

	the_stage = stage;
	memset(&shadow.blocks, 0, sizeof(shadow.blocks));
	stage->group.count = LOOPS;
	for (unsigned i = 0; i < LOOPS; i++)
		stage->group.loops[i] = make_loop(engine, i);
	stage->control = make_loop(engine, LOOPS);
	stage->control_random = seed + 77;
	res = lun_open_type(&spec, &stage->group, &late_ops, &stage->lun);
	assert(!res && lun_state(stage->lun)->online);
	for (unsigned i = 0; i < LOOPS; i++)
		actor_init(stage, i, seed);
	atomic_store(&stage->running, LOOPS + 1);
}

/* False: this engine cannot run here. */
static bool stage_start(struct stage *stage)
{
	if (loop_start(stage->control))
		return false;
	for (unsigned i = 0; i < LOOPS; i++) {
		int res = loop_start(stage->group.loops[i]);

		assert(!res);
		loop_post(stage->loops[i].loop, &stage->loops[i].start, loop_on_start);
	}
	loop_post(stage->control, &stage->control_start, control_on_start);
	return true;
}

static bool lun_is_quiet(struct lun *lun)
{
	bool quiet;

	pthread_mutex_lock(&lun->mutex);
	quiet = lun->ranges.free_count == LUN_SETS && !lun->states.swapping &&
		!lun->ranges.slots_used;
	pthread_mutex_unlock(&lun->mutex);
	return quiet;
}

static void stage_come_home(struct stage *stage)
{
	unsigned waited = 0;

	atomic_store(&stage->stopping, true);
	while (atomic_load(&stage->running) || !lun_is_quiet(stage->lun)) {
		assert(waited++ < PATIENCE_MS / 5);
		sleep_ms(5);
	}
}

static void stage_free(struct stage *stage)
{
	loop_stop(stage->control);
	loop_join(stage->control);
	for (unsigned i = 0; i < LOOPS; i++) {
		loop_stop(stage->group.loops[i]);
		loop_join(stage->group.loops[i]);
	}
	assert(!stage->lun->ranges.orphans && !lun_is_overrun(stage->lun));
	lun_close(stage->lun);
	for (unsigned i = 0; i < LOOPS; i++) {
		loop_free(stage->group.loops[i], false);
		free(stage->loops[i].buffer);
	}
	loop_free(stage->control, false);
}

/* What was never reached was never tested. */
static void stage_report(const struct stage *stage, const char *engine)
{
	struct actor_loop sum = {0};

	for (unsigned i = 0; i < LOOPS; i++) {
		sum.done += stage->loops[i].done;
		sum.refused += stage->loops[i].refused;
		sum.canceled += stage->loops[i].canceled;
		sum.grants += stage->loops[i].grants;
		sum.withdrawn += stage->loops[i].withdrawn;
		sum.overruns += stage->loops[i].overruns;
	}
	printf("%s: %lu done, %lu read-only, %lu canceled, %lu overrun, %lu grants, %lu withdrawn, "
	       "%lu drains, %lu expired, %lu switches\n",
	       engine, sum.done, sum.refused, sum.canceled, sum.overruns, sum.grants, sum.withdrawn,
	       stage->drains, stage->expired, stage->switches);
	assert(sum.done && sum.canceled && sum.grants && sum.withdrawn);
	assert(stage->drains + stage->expired && stage->switches);
}

static void run(enum loop_engine engine, const char *name, uint64_t seed, unsigned ms)
{
	struct stage *stage = calloc(1, sizeof(*stage));

	assert(stage);
	stage_init(stage, engine, seed);
	if (!stage_start(stage)) {
		printf("%s: skipped, the engine is refused here\n", name);
		_exit(0);
	}
	sleep_ms(ms);
	stage_come_home(stage);
	stage_report(stage, name);
	stage_free(stage);
	free(stage);
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL);
	unsigned ms = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) : 3000;

	printf("seed %lu\n", seed);
	fflush(stdout);
	run(LOOP_ENGINE_AIO, "aio", seed, ms);
	run(LOOP_ENGINE_URING, "uring", seed, ms);
	return 0;
}
