/*
 * Jobs that are meddled with: while one moves the data of a chain up, or down, hosts read and
 * write, and the control loop asks for another rate, looks, cancels it, or stops it, at any moment
 * of its life; what was ended early is begun again, as resumed or anew, until it is done. Every
 * block is checked by who reads it: it is what the chain's lowest file has, or what was written
 * since.
 *
 * usage: lun_job [seed]. Exit 0 and a line for each engine, or an assertion.
 */
#include "lun/job.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "lun/lun_internal.h"
#include "lun/new_file.h"
#include "lun/qcow2/writable.h"

#define LOOPS 2u
#define PIECE 65536u
#define PIECES 32u /* Of each loop's hosts. */
#define SIZE_BYTES ((uint64_t)LOOPS * PIECES * PIECE)
#define LARGE_BYTES (64 << 20)
#define PATH_BYTES 96u
#define ENDED_EARLY 12u /* Jobs, at most. */

struct stage;

/* One I/O at a time, on pieces that no other slot touches. */
struct slot {
	struct lun_io io;
	struct loop_msg start;
	struct stage *stage;
	unsigned index, piece;
	uint8_t stamp; /* What is being written, or expected. */
	uint8_t stamps[PIECES];
	uint8_t *data;
	uint64_t random;
};

struct stage {
	struct loop_group group;
	struct loop *control;
	struct lun *lun;
	char folder[64];
	struct slot slots[LOOPS];
	atomic_bool ending;
	atomic_uint running;
	sem_t ended;
	struct loop_msg msg;
	/* The control loop's. */
	struct job *job;
	struct job_order order;
	uint64_t random;
	struct loop_timer timer;
	bool has_waited; /* It is stopped, and `timer` begins the next. */
	bool goes_down;
	unsigned jobs, done, canceled, stopped;
};

static uint32_t next_random(uint64_t *random)
{
	*random = *random * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*random >> 33);
}

/* What the lowest file has. */
static uint8_t stamp_of(unsigned slot, unsigned piece)
{
	return (uint8_t)(slot * PIECES + piece + 1);
}

/* -- Hosts -- */

LOOP_ONLY static void slot_go(struct slot *slot);

static void slot_on_done(struct lun_io *io, int res)
{
	struct slot *slot = CONTAINER_OF(io, struct slot, io);

	loop_role_assume();
	assert(res == 0);
	for (unsigned i = 0; io->op == LUN_READ && i < PIECE; i++)
		assert(slot->data[i] == slot->stamp);
	slot->stamps[slot->piece] = slot->stamp;
	slot_go(slot);
}

static void slot_go(struct slot *slot)
{
	bool writes = next_random(&slot->random) % 8 == 0;

	if (atomic_load(&slot->stage->ending)) {
		if (atomic_fetch_sub(&slot->stage->running, 1) == 1)
			sem_post(&slot->stage->ended);
		return;
	}
	slot->piece = next_random(&slot->random) % PIECES;
	slot->stamp = slot->stamps[slot->piece];
	if (writes) {
		slot->stamp = (uint8_t)next_random(&slot->random);
		memset(slot->data, slot->stamp, PIECE);
	}
	slot->io = (struct lun_io){
		.op = writes ? LUN_WRITE : LUN_READ,
		.offset_bytes = ((uint64_t)slot->index * PIECES + slot->piece) * PIECE,
		.length_bytes = PIECE,
		.iov_count = 1,
		.iov = {{slot->data, PIECE}},
		.done = slot_on_done,
	};
	lun_io_submit(slot->stage->lun, slot->stage->group.loops[slot->index], &slot->io);
}

static void slot_on_start(struct loop_msg *msg)
{
	loop_role_assume();
	slot_go(CONTAINER_OF(msg, struct slot, start));
}

/* -- Jobs -- */

LOOP_ONLY static void begin(struct stage *stage);

static void on_again(struct loop_timer *timer)
{
	loop_role_assume();
	begin(CONTAINER_OF(timer, struct stage, timer));
}

/* It is begun again, or all is over. */
LOOP_ONLY static void go_on(struct stage *stage)
{
	if (stage->done < 2) {
		loop_timer_start(stage->control, &stage->timer, 1, on_again);
		return;
	}
	atomic_store(&stage->ending, true);
	if (atomic_fetch_sub(&stage->running, 1) == 1)
		sem_post(&stage->ended);
}

static void on_record(const struct job_order *order, void *arg)
{
	struct stage *stage = arg;

	stage->order = *order;
}

static void on_ended(struct job *job, int res, void *arg)
{
	struct stage *stage = arg;
	struct job_view view;

	loop_role_assume();
	job_look(job, &view);
	if (res != 0 && res != -ECANCELED && res != -EINTR) {
		(void)fprintf(stderr, "%s: %d %s\n", job_kind_name(view.kind), res, view.why);
		abort();
	}
	stage->done += res == 0;
	stage->canceled += res == -ECANCELED;
	stage->stopped += res == -EINTR;
	stage->order.is_resumed = false;
	if (res == -EINTR)
		job_record_each(stage->folder, on_record, stage);
	assert(stage->order.is_resumed == (res == -EINTR));
	stage->job = NULL;
	loop_timer_stop(stage->control, &stage->timer);
	if (!stage->has_waited)
		go_on(stage);
}

/* Who waits for the end of a LUN begins the next one. */
static void on_stopped(void *arg)
{
	struct stage *stage = arg;

	loop_role_assume();
	assert(!stage->job);
	stage->has_waited = false;
	go_on(stage);
}

static void on_meddle(struct loop_timer *timer)
{
	struct stage *stage = CONTAINER_OF(timer, struct stage, timer);
	/* In the end they are let be; and where those that go down are meant, the others. */
	bool is_let = stage->jobs >= ENDED_EARLY || (stage->goes_down && stage->done == 0);
	uint32_t what = is_let ? 2 : next_random(&stage->random) % 16;
	struct job_view view;

	loop_role_assume();
	loop_timer_start(stage->control, timer, 1, on_meddle);
	job_look(stage->job, &view);
	assert(view.done_bytes <= SIZE_BYTES);
	assert(view.moved_bytes <= 2 * SIZE_BYTES || stage->goes_down);
	if (what == 0 && stage->jobs % 2 == 0) {
		(void)job_cancel(stage->job);
	} else if (what == 0 && !stage->has_waited) {
		stage->has_waited = true;
		job_stop(stage->job, on_stopped, stage);
	} else if (what < 8) {
		job_set_rate(stage->job, (uint64_t)(next_random(&stage->random) % 64) << 20);
	}
}

/* First the layer in the middle, then the active file: it gets what is below, or goes there. */
static void choose(struct stage *stage)
{
	struct job_order *order = &stage->order;
	bool goes_down = stage->done == 1 && stage->goes_down;

	if (order->is_resumed)
		return;
	order->kind = goes_down ? JOB_REMOVE : JOB_STREAM;
	order->rate_bytes = UINT64_C(16) << 20;
	(void)snprintf(order->image, sizeof(order->image), "%s",
		       stage->done == 0 || goes_down ? "middle" : "");
}

static void begin(struct stage *stage)
{
	const struct job_spec spec = {
		.order = &stage->order,
		.lun = stage->lun,
		.control = stage->control,
		.state_dir = stage->folder,
		.ended = on_ended,
		.arg = stage,
	};
	int res;

	choose(stage);
	res = job_start(&spec, &stage->job);
	assert(res == 0);
	stage->jobs++;
	loop_timer_start(stage->control, &stage->timer, 1, on_meddle);
}

static void on_start(struct loop_msg *msg)
{
	loop_role_assume();
	begin(CONTAINER_OF(msg, struct stage, msg));
}

/* -- Files: lowest, raw; middle; top -- */

static void path_of(const struct stage *stage, const char *name, char out[PATH_BYTES])
{
	(void)snprintf(out, PATH_BYTES, "%s/%s", stage->folder, name);
}

static void write_overlay(const struct stage *stage, const char *name, const char *backing,
			  const char *format)
{
	const struct qcow2_create create = {.size_bytes = SIZE_BYTES,
					    .cluster_bits = 16,
					    .backing_name = backing,
					    .backing_format = format};
	struct qcow2_descriptor file;
	struct qcow2_layout layout;
	struct new_file fresh;
	char path[PATH_BYTES];
	char why[128];
	int res;

	path_of(stage, name, path);
	res = new_file_begin(path, &fresh);
	if (res == 0)
		res = qcow2_layout_make(&create, &layout, why, sizeof(why));
	if (res == 0)
		res = qcow2_descriptor_make(fresh.fd, &file);
	if (res == 0)
		res = qcow2_layout_write(&layout, &file.writable);
	/* So large that what is above it is less, whatever hosts write. */
	if (res == 0 && stage->goes_down && strcmp(format, "raw") == 0)
		res = -posix_fallocate(fresh.fd, 0, LARGE_BYTES);
	if (res == 0)
		res = new_file_commit(&fresh, path);
	assert(res == 0);
}

static void write_lowest(struct stage *stage)
{
	char path[PATH_BYTES];
	int fd;

	path_of(stage, "lowest", path);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert(fd >= 0);
	for (unsigned i = 0; i < LOOPS * PIECES; i++) {
		struct slot *slot = &stage->slots[i / PIECES];
		ssize_t wrote;

		slot->stamps[i % PIECES] = stamp_of(i / PIECES, i % PIECES);
		memset(slot->data, slot->stamps[i % PIECES], PIECE);
		wrote = pwrite(fd, slot->data, PIECE, (off_t)i * PIECE);
		assert(wrote == (ssize_t)PIECE);
	}
	(void)close(fd);
}

static void open_lun(struct stage *stage)
{
	struct lun_spec spec = {
		.name = "job", .type = "qcow2", .path = stage->order.path, .write_cache = true};
	char path[PATH_BYTES];
	int res;

	path_of(stage, "top", path);
	(void)snprintf(stage->order.path, sizeof(stage->order.path), "%s", path);
	write_lowest(stage);
	write_overlay(stage, "middle", "lowest", "raw");
	write_overlay(stage, "top", "middle", "qcow2");
	res = lun_open(&spec, &stage->group, &stage->lun);
	assert(res == 0);
	if (lun_state(stage->lun)->online)
		return;
	(void)fprintf(stderr, "%s\n", lun_state(stage->lun)->offline_reason);
	abort();
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

static bool make_loops(struct stage *stage, enum loop_engine engine)
{
	for (unsigned i = 0; i < LOOPS; i++) {
		stage->group.loops[i] = make_loop(engine, i);
		if (!stage->group.loops[i])
			return false;
	}
	stage->group.count = LOOPS;
	stage->control = make_loop(engine, LOOPS);
	assert(stage->control);
	return true;
}

static void on_drained(struct lun *lun UNUSED, int res, void *arg)
{
	struct stage *stage = arg;

	assert(res == 0);
	sem_post(&stage->ended);
}

static void on_drain(struct loop_msg *msg)
{
	struct stage *stage = CONTAINER_OF(msg, struct stage, msg);

	loop_role_assume();
	lun_drain(stage->lun, stage->control, 60000, on_drained, stage);
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

static void clear(struct stage *stage)
{
	static const char *const names[] = {"top", "middle", "lowest"};
	char path[PATH_BYTES];

	lun_close(stage->lun);
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		path_of(stage, names[i], path);
		(void)unlink(path);
	}
	for (unsigned i = 0; i < LOOPS; i++) {
		free(stage->slots[i].data);
		loop_free(stage->group.loops[i], false);
	}
	loop_free(stage->control, false);
	/* No record is left. */
	if (rmdir(stage->folder) != 0)
		abort();
}

static void start_all(struct stage *stage, uint64_t seed)
{
	atomic_store(&stage->running, LOOPS + 1);
	for (unsigned i = 0; i < LOOPS; i++) {
		stage->slots[i].random = seed + i;
		loop_post(stage->group.loops[i], &stage->slots[i].start, slot_on_start);
	}
	loop_post(stage->control, &stage->msg, on_start);
}

static bool run(enum loop_engine engine, bool goes_down, uint64_t seed)
{
	static struct stage stages[3][2];
	struct stage *stage = &stages[engine][goes_down];

	if (!make_loops(stage, engine))
		return false;
	stage->goes_down = goes_down;
	sem_init(&stage->ended, 0, 0);
	for (unsigned i = 0; i < LOOPS; i++) {
		stage->slots[i].stage = stage;
		stage->slots[i].index = i;
		stage->slots[i].data = aligned_alloc(4096, PIECE);
		assert(stage->slots[i].data);
	}
	(void)snprintf(stage->folder, sizeof(stage->folder), "/var/tmp/ringsan-job-XXXXXX");
	if (!mkdtemp(stage->folder))
		abort();
	open_lun(stage);
	stage->random = seed;
	start_all(stage, seed);
	wait_for_end(stage);
	loop_post(stage->control, &stage->msg, on_drain);
	wait_for_end(stage);
	for (unsigned i = 0; i < LOOPS; i++)
		stop_loop(stage->group.loops[i]);
	stop_loop(stage->control);
	printf("%s: %u jobs, %u done, %u canceled, %u stopped\n", loop_engine_name(stage->control),
	       stage->jobs, stage->done, stage->canceled, stage->stopped);
	clear(stage);
	return true;
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : clock_now_ns();

	printf("seed %llu\n", (unsigned long long)seed);
	if (!run(LOOP_ENGINE_URING, false, seed) || !run(LOOP_ENGINE_URING, true, seed))
		printf("uring: refused here\n");
	return run(LOOP_ENGINE_AIO, false, seed) && run(LOOP_ENGINE_AIO, true, seed) ? 0 : 1;
}
