/*
 * Switches under I/O: hosts on every loop write, read, unmap and flush blocks of four LUNs, three
 * of qcow2 whose owners they share, and a raw one. Meanwhile single LUNs and groups are switched:
 * to nothing new, to an overlay over what they had, to a change that fails, to one that does not
 * open and is undone, in too little time. One LUN is never switched, and sees nothing of it. Every
 * block is checked when it is read: its last stamp, whatever lies under it by then.
 *
 * What it prints, how long hosts waited, is also how the pause is measured.
 *
 * usage: lun_switch [seed [milliseconds [switches per second]]]. Exit 0 and a line for each engine,
 * or an assertion.
 */
#include "lun/switch.h"

#include <assert.h>
#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "lun/lun_internal.h"
#include "lun/new_file.h"
#include "lun/qcow2/writable.h"

#define LOOPS 3u
#define LUNS 4u
#define RAW 2u
#define NEIGHBOUR 3u /* The LUN that is left alone. */
#define SLOTS 24u    /* LUNS * LOOPS, twice. */
#define PIECE 16384u
#define PIECES 64u /* Of each slot. */
#define SIZE_BYTES ((uint64_t)SLOTS * PIECES * PIECE)
#define OVERLAYS_MAX 6u /* A chain has eight files at most. */
#define PATH_BYTES 96u

struct stage;

/* One I/O at a time, on pieces that no other slot touches. */
struct slot {
	struct lun_io io;
	struct loop_msg start;
	struct stage *stage;
	struct lun *lun;
	struct loop *loop;
	unsigned index;
	unsigned piece;
	uint8_t stamp; /* What is being written, or expected. */
	uint8_t stamps[PIECES];
	uint8_t *data;
	uint64_t random;
	uint64_t began_ns, longest_ns;
	unsigned ios;
};

enum kind {
	NOTHING,
	OVERLAY,
	FAILURE,
	LOSS,  /* The file goes away; undo brings it back. */
	HURRY, /* Nothing, and so little time that an image may go on coming to rest. */
	KINDS
};

struct stage {
	struct loop_group group;
	struct loop *control;
	struct lun *luns[LUNS];
	char folder[64];
	struct slot slots[SLOTS];
	uint64_t end_ns;
	uint64_t random;
	unsigned every_ms;
	atomic_uint running;
	sem_t ended;
	/* The control loop's. */
	struct lun_switch change;
	struct lun *changed[LUNS];
	unsigned at[LUNS]; /* Their places in `luns`. */
	enum kind kind;
	unsigned overlays[LUNS];
	struct loop_timer timer;
	struct loop_msg msg;
	unsigned switches[KINDS];
	unsigned late;
	uint64_t paused_ns, longest_ns, changing_ns;
	unsigned drained;
};

static uint32_t next_random(uint64_t *random)
{
	*random = *random * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*random >> 33);
}

/* -- Hosts -- */

LOOP_ONLY static void slot_go(struct slot *slot);

static void slot_on_done(struct lun_io *io, int res)
{
	struct slot *slot = CONTAINER_OF(io, struct slot, io);
	uint64_t took_ns = clock_now_ns() - slot->began_ns;

	loop_role_assume();
	assert(res == 0);
	slot->ios++;
	if (took_ns > slot->longest_ns)
		slot->longest_ns = took_ns;
	for (unsigned i = 0; io->op == LUN_READ && i < PIECE; i++)
		assert(slot->data[i] == slot->stamp);
	if (io->op == LUN_WRITE || io->op == LUN_UNMAP)
		slot->stamps[slot->piece] = slot->stamp;
	slot_go(slot);
}

static void slot_go(struct slot *slot)
{
	static const enum lun_op ops[] = {LUN_READ,  LUN_WRITE, LUN_READ, LUN_UNMAP,
					  LUN_WRITE, LUN_READ,  LUN_FLUSH};
	enum lun_op op = ops[next_random(&slot->random) % ARRAY_SIZE(ops)];
	bool moves = op == LUN_READ || op == LUN_WRITE;

	if (clock_now_ns() >= slot->stage->end_ns) {
		if (atomic_fetch_sub(&slot->stage->running, 1) == 1)
			sem_post(&slot->stage->ended);
		return;
	}
	slot->piece = next_random(&slot->random) % PIECES;
	slot->stamp = op == LUN_READ    ? slot->stamps[slot->piece]
		      : op == LUN_WRITE ? (uint8_t)(next_random(&slot->random) % 255 + 1)
					: 0;
	slot->io = (struct lun_io){
		.op = op,
		.offset_bytes = ((uint64_t)slot->index * PIECES + slot->piece) * PIECE,
		.length_bytes = op == LUN_FLUSH ? 0 : PIECE,
		.iov_count = moves ? 1 : 0,
		.iov = {{slot->data, PIECE}},
		.done = slot_on_done,
	};
	if (op == LUN_WRITE)
		memset(slot->data, slot->stamp, PIECE);
	slot->began_ns = clock_now_ns();
	lun_io_submit(slot->lun, slot->loop, &slot->io);
}

static void slot_on_start(struct loop_msg *msg)
{
	loop_role_assume();
	slot_go(CONTAINER_OF(msg, struct slot, start));
}

/* -- Files -- */

static void path_of(const struct stage *stage, unsigned at, int overlay, char out[PATH_BYTES])
{
	if (overlay < 0)
		(void)snprintf(out, PATH_BYTES, "%s/%u", stage->folder, at);
	else
		(void)snprintf(out, PATH_BYTES, "%s/%u@%d", stage->folder, at, overlay);
}

static int write_overlay(const char *path, const char *backing)
{
	const struct qcow2_create create = {.size_bytes = SIZE_BYTES,
					    .cluster_bits = 17,
					    .extended = true,
					    .backing_name = strrchr(backing, '/') + 1,
					    .backing_format = "qcow2"};
	struct qcow2_descriptor file;
	struct qcow2_layout layout;
	struct new_file fresh;
	char why[128];
	int res = new_file_begin(path, &fresh);

	if (res == 0)
		res = qcow2_layout_make(&create, &layout, why, sizeof(why));
	if (res == 0)
		res = qcow2_descriptor_make(fresh.fd, &file);
	if (res == 0)
		res = qcow2_layout_write(&layout, &file.writable);
	return res != 0 ? res : new_file_commit(&fresh, path);
}

static int change_one(struct stage *stage, unsigned at)
{
	char path[PATH_BYTES];
	char other[PATH_BYTES];
	int res;

	path_of(stage, at, -1, path);
	path_of(stage, at, (int)stage->overlays[at], other);
	if (stage->kind == LOSS || stage->kind == OVERLAY) {
		res = rename(path, other);
		assert(res == 0);
	}
	if (stage->kind == OVERLAY) {
		res = write_overlay(path, other);
		assert(res == 0);
		stage->overlays[at]++;
	}
	return stage->kind == FAILURE ? -ECANCELED : 0;
}

static int on_change(struct lun_switch *change, char why[LUN_WHY_MAX])
{
	struct stage *stage = CONTAINER_OF(change, struct stage, change);
	int res = 0;

	for (unsigned i = 0; i < change->count; i++) {
		assert(!change->luns[i]->image);
		res = change_one(stage, stage->at[i]);
	}
	(void)snprintf(why, LUN_WHY_MAX, "%s", res != 0 ? "as it was told" : "");
	return res;
}

static void on_undo(struct lun_switch *change)
{
	struct stage *stage = CONTAINER_OF(change, struct stage, change);

	assert(stage->kind == LOSS);
	for (unsigned i = 0; i < change->count; i++) {
		char path[PATH_BYTES];
		char other[PATH_BYTES];
		int res;

		path_of(stage, stage->at[i], -1, path);
		path_of(stage, stage->at[i], (int)stage->overlays[stage->at[i]], other);
		res = rename(other, path);
		assert(res == 0);
	}
}

/* -- Switches -- */

static void on_timer(struct loop_timer *timer);

/* Who was in a hurry may have left an image that still comes to rest: nobody drains it then. */
static bool is_expected(const struct stage *stage, int res)
{
	static const int expected[KINDS] = {[FAILURE] = -ECANCELED, [LOSS] = -ENOENT};

	return res == expected[stage->kind] || (res == -ETIMEDOUT && stage->kind == HURRY) ||
	       (res == -EBUSY && stage->switches[HURRY] > 0);
}

static void on_switched(struct lun_switch *change, int res)
{
	struct stage *stage = CONTAINER_OF(change, struct stage, change);

	loop_role_assume();
	if (!is_expected(stage, res)) {
		(void)fprintf(stderr, "switch of kind %d: %d %s\n", (int)stage->kind, res,
			      change->why);
		abort();
	}
	stage->switches[stage->kind]++;
	stage->late += res == -ETIMEDOUT;
	stage->paused_ns += change->paused_ns;
	stage->changing_ns += change->changing_ns;
	if (change->paused_ns > stage->longest_ns)
		stage->longest_ns = change->paused_ns;
	if (clock_now_ns() >= stage->end_ns) {
		if (atomic_fetch_sub(&stage->running, 1) == 1)
			sem_post(&stage->ended);
	} else {
		loop_timer_start(stage->control, &stage->timer, stage->every_ms, on_timer);
	}
}

static enum kind pick_kind(struct stage *stage)
{
	enum kind kind = next_random(&stage->random) % KINDS;

	for (unsigned i = 0; i < stage->change.count; i++) {
		unsigned at = stage->at[i];

		if (kind == OVERLAY && (at == RAW || stage->overlays[at] == OVERLAYS_MAX))
			kind = NOTHING;
	}
	return kind;
}

static void on_timer(struct loop_timer *timer)
{
	struct stage *stage = CONTAINER_OF(timer, struct stage, timer);
	unsigned wanted = next_random(&stage->random) % 7 + 1;

	loop_role_assume();
	stage->change = (struct lun_switch){.luns = stage->changed,
					    .control = stage->control,
					    .deadline_ms = 60000,
					    .change = on_change,
					    .undo = on_undo,
					    .done = on_switched};
	for (unsigned i = 0; i < NEIGHBOUR; i++) {
		if (!(wanted & 1u << i))
			continue;
		stage->at[stage->change.count] = i;
		stage->changed[stage->change.count++] = stage->luns[i];
	}
	stage->kind = pick_kind(stage);
	if (stage->kind == HURRY)
		stage->change.deadline_ms = next_random(&stage->random) % 4;
	lun_switch_start(&stage->change);
}

static void on_start(struct loop_msg *msg)
{
	loop_role_assume();
	on_timer(&CONTAINER_OF(msg, struct stage, msg)->timer);
}

/* -- The stage -- */

static struct loop *make_loop(enum loop_engine engine, unsigned index)
{
	struct loop_config config = {.name = "stress", .engine = engine, .index = index};
	struct loop *loop;

	if (loop_create(&config, &loop) != 0)
		return NULL;
	if (loop_start(loop) == 0)
		return loop;
	loop_free(loop, false);
	return NULL;
}

static void open_luns(struct stage *stage)
{
	for (unsigned i = 0; i < LUNS; i++) {
		char path[PATH_BYTES];
		struct lun_spec spec = {
			.name = "switch",
			.type = i == RAW ? "raw" : "qcow2",
			.path = path,
			.size_bytes = SIZE_BYTES,
			.look_ahead_bytes = LUN_LOOK_AHEAD_MAX,
			.write_cache = true,
		};
		int res;

		path_of(stage, i, -1, path);
		res = lun_open(&spec, &stage->group, &stage->luns[i]);
		assert(res == 0);
		if (lun_state(stage->luns[i])->online)
			continue;
		(void)fprintf(stderr, "%s\n", lun_state(stage->luns[i])->offline_reason);
		abort();
	}
}

static void start_all(struct stage *stage, uint64_t seed)
{
	atomic_store(&stage->running, SLOTS + 1);
	for (unsigned i = 0; i < SLOTS; i++) {
		struct slot *slot = &stage->slots[i];

		slot->stage = stage;
		slot->lun = stage->luns[i % LUNS];
		slot->loop = stage->group.loops[i / LUNS % LOOPS];
		slot->index = i;
		slot->random = seed + i;
		slot->data = aligned_alloc(4096, PIECE);
		assert(slot->data);
		loop_post(slot->loop, &slot->start, slot_on_start);
	}
	loop_post(stage->control, &stage->msg, on_start);
}

LOOP_ONLY static void drain_next(struct stage *stage);

static void on_drain_again(struct loop_timer *timer)
{
	loop_role_assume();
	drain_next(CONTAINER_OF(timer, struct stage, timer));
}

static void on_drained(struct lun *lun, int res, void *arg)
{
	struct stage *stage = arg;

	(void)lun;
	loop_role_assume();
	/* One that is late still. */
	if (res == -EBUSY) {
		loop_timer_start(stage->control, &stage->timer, 1, on_drain_again);
		return;
	}
	assert(res == 0);
	stage->drained++;
	drain_next(stage);
}

static void drain_next(struct stage *stage)
{
	if (stage->drained < LUNS)
		lun_drain(stage->luns[stage->drained], stage->control, 60000, on_drained, stage);
	else
		sem_post(&stage->ended);
}

static void on_drain(struct loop_msg *msg)
{
	loop_role_assume();
	drain_next(CONTAINER_OF(msg, struct stage, msg));
}

static void wait_for_end(struct stage *stage)
{
	while (sem_wait(&stage->ended) != 0)
		continue;
}

static void stop_loop(struct loop *loop)
{
	loop_stop(loop);
	loop_join(loop);
}

static void tell(const struct stage *stage)
{
	unsigned switches = 0;
	unsigned long ios = 0;
	uint64_t longest_ns = 0;

	for (unsigned i = 0; i < KINDS; i++)
		switches += stage->switches[i];
	for (unsigned i = 0; i < SLOTS; i++) {
		ios += stage->slots[i].ios;
		if (stage->slots[i].longest_ns > longest_ns)
			longest_ns = stage->slots[i].longest_ns;
	}
	printf("%s: %lu I/Os, %u switches (%u overlays, %u late), pause %.2f ms (of it files %.2f "
	       "ms), "
	       "longest %.1f ms; longest I/O %.1f ms\n",
	       loop_engine_name(stage->control), ios, switches, stage->switches[OVERLAY],
	       stage->late, (double)stage->paused_ns / 1e6 / switches,
	       (double)stage->changing_ns / 1e6 / switches, (double)stage->longest_ns / 1e6,
	       (double)longest_ns / 1e6);
}

static void clear(struct stage *stage)
{
	char path[PATH_BYTES];

	for (unsigned i = 0; i < LUNS; i++) {
		lun_close(stage->luns[i]);
		for (int j = -1; j < (int)OVERLAYS_MAX; j++) {
			path_of(stage, i, j, path);
			(void)unlink(path);
		}
	}
	for (unsigned i = 0; i < SLOTS; i++)
		free(stage->slots[i].data);
	for (unsigned i = 0; i < LOOPS; i++)
		loop_free(stage->group.loops[i], false);
	loop_free(stage->control, false);
	(void)rmdir(stage->folder);
}

static bool run(enum loop_engine engine, uint64_t seed, uint64_t ms, unsigned every_ms)
{
	static struct stage stages[3];
	struct stage *stage = &stages[engine];

	for (unsigned i = 0; i < LOOPS; i++) {
		stage->group.loops[i] = make_loop(engine, i);
		if (!stage->group.loops[i])
			return false;
	}
	stage->group.count = LOOPS;
	stage->control = make_loop(engine, LOOPS);
	assert(stage->control);
	sem_init(&stage->ended, 0, 0);
	(void)snprintf(stage->folder, sizeof(stage->folder), "/var/tmp/ringsan-switch-XXXXXX");
	if (!mkdtemp(stage->folder))
		abort();
	open_luns(stage);
	stage->random = seed;
	stage->every_ms = every_ms;
	stage->end_ns = clock_now_ns() + ms * CLOCK_NS_PER_MS;
	start_all(stage, seed);
	wait_for_end(stage);
	loop_post(stage->control, &stage->msg, on_drain);
	wait_for_end(stage);
	for (unsigned i = 0; i < LOOPS; i++)
		stop_loop(stage->group.loops[i]);
	stop_loop(stage->control);
	tell(stage);
	clear(stage);
	return true;
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : clock_now_ns();
	uint64_t ms = argc > 2 ? strtoull(argv[2], NULL, 0) : 3000;
	unsigned per_second = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 0) : 100;

	printf("seed %llu\n", (unsigned long long)seed);
	if (!run(LOOP_ENGINE_URING, seed, ms, 1000 / per_second))
		printf("uring: refused here\n");
	return run(LOOP_ENGINE_AIO, seed, ms, 1000 / per_second) ? 0 : 1;
}
