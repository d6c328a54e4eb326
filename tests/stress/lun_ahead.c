/*
 * Look-ahead against everybody else: one loop writes every second piece of a file in sequence, so
 * that look-ahead covers the pieces between, and rests now and then, so that it is given back; a
 * second loop writes, reads and unmaps those pieces at random meanwhile. Each checks what it reads.
 * In the end the file must hold what was written and take the space of that, no more.
 *
 * usage: lun_ahead [seed [milliseconds]]. Exit 0 and a line for each engine, or an assertion. Where
 * the file system has no look-ahead it says so and tests what is left.
 */
#include "lun/lun_internal.h"

#include <assert.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

#define PIECE 65536u
#define PIECES 512u
#define SLOTS 8u
#define REST_MS 20u

struct stage;

/* One I/O at a time, on pieces that no other slot touches. */
struct slot {
	struct lun_io io;
	struct loop_timer pause;
	struct loop_msg start;
	struct stage *stage;
	struct loop *loop;
	unsigned index;
	bool streams; /* Writes in sequence; else at random. */
	unsigned piece;
	uint8_t stamp; /* What is being written, or expected. */
	uint8_t *data;
	uint64_t random;
	unsigned ios;
};

struct stage {
	struct loop_group group;
	struct loop *control;
	struct lun *lun;
	char path[64];
	uint64_t end_ns;
	struct slot slots[SLOTS + 1];
	/* Of each piece: what it holds. Its slot's loop alone looks at it while they run. */
	uint8_t stamps[PIECES];
	/* The streaming slot's. */
	unsigned next;
	uint8_t round;
	atomic_uint running;
	sem_t ended;
	struct loop_msg drain;
};

LOOP_ONLY static void slot_go(struct slot *slot);

static uint32_t slot_random(struct slot *slot)
{
	slot->random = slot->random * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(slot->random >> 33);
}

static void slot_check(const struct slot *slot)
{
	for (unsigned i = 0; i < PIECE; i++)
		assert(slot->data[i] == slot->stamp);
}

static void slot_on_done(struct lun_io *io, int res)
{
	struct slot *slot = CONTAINER_OF(io, struct slot, io);

	loop_role_assume();
	assert(res == 0);
	slot->ios++;
	if (io->op == LUN_READ) {
		slot_check(slot);
	} else {
		slot->stage->stamps[slot->piece] = slot->stamp;
	}
	slot_go(slot);
}

LOOP_ONLY static void slot_submit(struct slot *slot, enum lun_op op)
{
	bool moves = op == LUN_READ || op == LUN_WRITE;

	slot->io = (struct lun_io){
		.op = op,
		.offset_bytes = (uint64_t)slot->piece * PIECE,
		.length_bytes = PIECE,
		.iov_count = moves ? 1 : 0,
		.iov = {{slot->data, PIECE}},
		.done = slot_on_done,
	};
	if (op == LUN_WRITE)
		memset(slot->data, slot->stamp, PIECE);
	lun_io_submit(slot->stage->lun, slot->loop, &slot->io);
}

/* Its own pieces, odd ones. */
LOOP_ONLY static void slot_go_at_random(struct slot *slot)
{
	static const enum lun_op ops[] = {LUN_READ, LUN_WRITE, LUN_READ, LUN_UNMAP, LUN_WRITE};
	enum lun_op op = ops[slot_random(slot) % ARRAY_SIZE(ops)];
	unsigned at = slot_random(slot) % (PIECES / 2 / SLOTS) * SLOTS + slot->index;

	slot->piece = 2 * at + 1;
	slot->stamp = op == LUN_READ    ? slot->stage->stamps[slot->piece]
		      : op == LUN_WRITE ? (uint8_t)(slot_random(slot) % 255 + 1)
					: 0;
	slot_submit(slot, op);
}

static void slot_on_rested(struct loop_timer *timer)
{
	loop_role_assume();
	slot_go(CONTAINER_OF(timer, struct slot, pause));
}

/* Even pieces, in order: first all are unmapped, then all are written, with rests
 * between that are sometimes long enough. */
LOOP_ONLY static void slot_go_on(struct slot *slot)
{
	struct stage *stage = slot->stage;
	unsigned piece = stage->next;

	stage->next += 2;
	if (piece >= PIECES) {
		stage->next = 0;
		stage->round++;
		loop_timer_start(slot->loop, &slot->pause, slot_random(slot) % (4 * REST_MS),
				 slot_on_rested);
		return;
	}
	slot->piece = piece;
	slot->stamp = stage->round % 2 ? (uint8_t)(stage->round | 1) : 0;
	slot_submit(slot, slot->stamp ? LUN_WRITE : LUN_UNMAP);
}

static void slot_go(struct slot *slot)
{
	struct stage *stage = slot->stage;

	if (clock_now_ns() >= stage->end_ns) {
		if (atomic_fetch_sub(&stage->running, 1) == 1)
			sem_post(&stage->ended);
	} else if (slot->streams) {
		slot_go_on(slot);
	} else {
		slot_go_at_random(slot);
	}
}

static void slot_on_start(struct loop_msg *msg)
{
	loop_role_assume();
	slot_go(CONTAINER_OF(msg, struct slot, start));
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

static void open_lun(struct stage *stage)
{
	struct lun_spec spec = {
		.name = "ahead",
		.type = "raw",
		.path = stage->path,
		.size_bytes = (uint64_t)PIECES * PIECE,
		.look_ahead_bytes = LUN_LOOK_AHEAD_MAX,
		.write_cache = true,
	};
	int res = lun_open(&spec, &stage->group, &stage->lun);

	assert(res == 0 && lun_state(stage->lun)->online);
	stage->lun->ahead_rest_ms = REST_MS;
	if (!stage->lun->aheads)
		printf("no look-ahead on this file system\n");
}

static void start_slots(struct stage *stage, uint64_t seed)
{
	for (unsigned i = 0; i <= SLOTS; i++) {
		struct slot *slot = &stage->slots[i];

		slot->stage = stage;
		slot->streams = i == SLOTS;
		slot->loop = stage->group.loops[slot->streams ? 0 : 1];
		slot->index = i;
		slot->random = seed + i;
		slot->data = aligned_alloc(4096, PIECE);
		assert(slot->data);
	}
	atomic_store(&stage->running, SLOTS + 1);
	for (unsigned i = 0; i <= SLOTS; i++)
		loop_post(stage->slots[i].loop, &stage->slots[i].start, slot_on_start);
}

static void on_drained(struct lun *lun, int res, void *arg)
{
	(void)lun;
	assert(res == 0);
	sem_post(arg);
}

static void on_drain(struct loop_msg *msg)
{
	struct stage *stage = CONTAINER_OF(msg, struct stage, drain);

	loop_role_assume();
	lun_drain(stage->lun, stage->control, 30000, on_drained, &stage->ended);
}

static void stop_loop(struct loop *loop)
{
	loop_stop(loop);
	loop_join(loop);
}

/* Content and space, as the file system has them. */
static void check_file(const struct stage *stage)
{
	int fd = open(stage->path, O_RDONLY | O_CLOEXEC);
	uint8_t *data = malloc(PIECE);
	uint64_t held = 0;
	struct stat st;

	assert(fd >= 0 && data);
	for (unsigned piece = 0; piece < PIECES; piece++) {
		ssize_t res = pread(fd, data, PIECE, (off_t)piece * PIECE);

		assert(res == PIECE);
		for (unsigned i = 0; i < PIECE; i++)
			assert(data[i] == stage->stamps[piece]);
		held += stage->stamps[piece] ? PIECE : 0;
	}
	assert(fstat(fd, &st) == 0);
	/* Extents take a little, too. */
	assert((uint64_t)st.st_blocks * 512 <= held + 2 * PIECE);
	free(data);
	close(fd);
}

static unsigned long count_ios(struct stage *stage)
{
	unsigned long ios = 0;

	for (unsigned i = 0; i <= SLOTS; i++) {
		ios += stage->slots[i].ios;
		free(stage->slots[i].data);
	}
	return ios;
}

static bool run(enum loop_engine engine, uint64_t seed, uint64_t ms)
{
	static struct stage stages[3];
	struct stage *stage = &stages[engine];
	unsigned long ios;

	for (unsigned i = 0; i < 2; i++) {
		stage->group.loops[i] = make_loop(engine, i);
		if (!stage->group.loops[i])
			return false;
	}
	stage->group.count = 2;
	stage->control = make_loop(engine, 2);
	assert(stage->control);
	sem_init(&stage->ended, 0, 0);
	snprintf(stage->path, sizeof(stage->path), "/var/tmp/ringsan-ahead-%d", (int)getpid());
	(void)unlink(stage->path);
	open_lun(stage);
	stage->end_ns = clock_now_ns() + ms * CLOCK_NS_PER_MS;
	start_slots(stage, seed);
	while (sem_wait(&stage->ended) != 0)
		continue;
	loop_post(stage->control, &stage->drain, on_drain);
	while (sem_wait(&stage->ended) != 0)
		continue;
	for (unsigned i = 0; i < 2; i++)
		stop_loop(stage->group.loops[i]);
	stop_loop(stage->control);
	lun_close(stage->lun);
	check_file(stage);
	ios = count_ios(stage);
	printf("%s: %lu I/Os, %u rounds\n", loop_engine_name(stage->control), ios, stage->round);
	for (unsigned i = 0; i < 2; i++)
		loop_free(stage->group.loops[i], false);
	loop_free(stage->control, false);
	(void)unlink(stage->path);
	return true;
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : clock_now_ns();
	uint64_t ms = argc > 2 ? strtoull(argv[2], NULL, 0) : 4000;

	printf("seed %llu\n", (unsigned long long)seed);
	if (!run(LOOP_ENGINE_URING, seed, ms))
		printf("uring: refused here\n");
	return run(LOOP_ENGINE_AIO, seed, ms) ? 0 : 1;
}
