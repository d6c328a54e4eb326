/*
 * What the tests of lun/ share: loops on threads that the test talks to one call at a time, I/Os
 * that can be waited for, folders that vanish, and an image that holds every I/O until the test
 * lets it go. Not a test. Each Criterion test is a process of its own.
 */
#ifndef TESTS_UNIT_LUN_TESTING_H
#define TESTS_UNIT_LUN_TESTING_H

#include "lun/lun_internal.h"

#include <criterion/criterion.h>
#include <criterion/logging.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define RIG_LOOPS 2u
#define PATIENCE_S 10

/* -- Loops on threads -- */

struct rig {
	struct loop_group group;
	struct loop *control;
	char dir[64];
};

static inline struct loop *rig_loop(enum loop_engine engine, unsigned index)
{
	struct loop_config config = {
		.name = "test", .engine = engine, .index = index, .buffer_count = 8};
	struct loop *loop;

	cr_assert_eq(loop_create(&config, &loop), 0);
	return loop;
}

/* Only make the loops: for what happens before they run. */
static inline void rig_create(struct rig *rig, enum loop_engine engine, const char *where)
{
	*rig = (struct rig){.group.count = RIG_LOOPS};
	for (unsigned i = 0; i < RIG_LOOPS; i++)
		rig->group.loops[i] = rig_loop(engine, i);
	rig->control = rig_loop(engine, RIG_LOOPS);
	snprintf(rig->dir, sizeof(rig->dir), "%s/ringsan-lun-XXXXXX", where);
	cr_assert_not_null(mkdtemp(rig->dir));
}

static inline void rig_run(struct rig *rig)
{
	for (unsigned i = 0; i < RIG_LOOPS; i++)
		cr_assert_eq(loop_start(rig->group.loops[i]), 0);
	cr_assert_eq(loop_start(rig->control), 0);
}

static inline int rig_on_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

/* Stop the loops that run; LUNs are closed after this. */
static inline void rig_halt(struct rig *rig)
{
	loop_stop(rig->control);
	loop_join(rig->control);
	for (unsigned i = 0; i < RIG_LOOPS; i++) {
		loop_stop(rig->group.loops[i]);
		loop_join(rig->group.loops[i]);
	}
}

static inline void rig_free(struct rig *rig)
{
	for (unsigned i = 0; i < RIG_LOOPS; i++)
		loop_free(rig->group.loops[i], false);
	loop_free(rig->control, false);
	nftw(rig->dir, rig_on_remove, 16, FTW_DEPTH | FTW_PHYS);
}

struct rig_call {
	struct loop_msg msg;
	void (*fn)(void *arg);
	void *arg;
	sem_t ran;
};

static inline void rig_on_call(struct loop_msg *msg)
{
	struct rig_call *call = CONTAINER_OF(msg, struct rig_call, msg);

	call->fn(call->arg);
	sem_post(&call->ran);
}

static inline bool wait_for(sem_t *sem, unsigned ms)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	until.tv_sec += ms / 1000 + until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	return !sem_timedwait(sem, &until);
}

/* Run fn on a loop and wait until it has run. */
static inline void rig_call(struct loop *loop, void (*fn)(void *arg), void *arg)
{
	struct rig_call call = {.fn = fn, .arg = arg};

	sem_init(&call.ran, 0, 0);
	loop_post(loop, &call.msg, rig_on_call);
	cr_assert(wait_for(&call.ran, PATIENCE_S * 1000), "a loop does not answer");
	sem_destroy(&call.ran);
}

static inline void rig_nothing(void *arg)
{
	(void)arg;
}

/* Let everything that was posted run, with what it posted in turn. */
static inline void rig_settle(struct rig *rig)
{
	for (unsigned turn = 0; turn < 8; turn++) {
		for (unsigned i = 0; i < RIG_LOOPS; i++)
			rig_call(rig->group.loops[i], rig_nothing, NULL);
		rig_call(rig->control, rig_nothing, NULL);
	}
}

/* -- I/O that can be waited for -- */

struct tio {
	struct lun_io io;
	struct lun *to;
	struct loop *on;
	struct lun_exclusive *inside;
	sem_t done;
	atomic_bool ended;
	int res;
	uint8_t *data;
};

static inline void tio_on_done(struct lun_io *io, int res)
{
	struct tio *t = CONTAINER_OF(io, struct tio, io);

	t->res = res;
	atomic_store(&t->ended, true);
	sem_post(&t->done);
}

/* A vector of pieces of 64 KiB, as the layers above make it. */
static inline struct tio *tio_new(enum lun_op op, uint64_t offset, uint64_t length)
{
	struct tio *t = calloc(1, sizeof(*t));

	/* Nobody may read what lun_io_init leaves alone before it is set. */
	memset(&t->io, 0xA5, sizeof(t->io));
	lun_io_init(&t->io);
	t->io.op = op;
	t->io.offset_bytes = offset;
	t->io.length_bytes = length;
	t->io.done = tio_on_done;
	sem_init(&t->done, 0, 0);
	if (op != LUN_READ && op != LUN_WRITE)
		return t;
	cr_assert_eq(posix_memalign((void **)&t->data, 4096, length), 0);
	memset(t->data, 0xEE, length);
	for (uint64_t at = 0; at < length; at += 65536) {
		uint64_t piece = length - at < 65536 ? length - at : 65536;

		t->io.iov[t->io.iov_count++] = (struct iovec){t->data + at, piece};
	}
	return t;
}

static inline void tio_free(struct tio *t)
{
	sem_destroy(&t->done);
	free(t->data);
	free(t);
}

static inline void tio_call_submit(void *arg)
{
	struct tio *t = arg;

	loop_role_assume();
	if (t->inside)
		lun_io_submit_exclusive(t->inside, &t->io);
	else
		lun_io_submit(t->to, t->on, &t->io);
}

static inline void tio_submit(struct tio *t, struct lun *lun, struct loop *loop)
{
	t->to = lun;
	t->on = loop;
	rig_call(loop, tio_call_submit, t);
}

static inline int tio_wait(struct tio *t)
{
	cr_assert(wait_for(&t->done, PATIENCE_S * 1000), "an I/O does not end");
	return t->res;
}

static inline void tio_call_abandon(void *arg)
{
	struct tio *t = arg;

	loop_role_assume();
	lun_io_abandon(&t->io);
}

static inline void tio_abandon(struct tio *t)
{
	rig_call(t->on, tio_call_abandon, t);
}

/* Submit, wait, free: the result. */
static inline int tio_run_flags(struct lun *lun, struct loop *loop, enum lun_op op, uint32_t flags,
				uint64_t offset, uint64_t length)
{
	struct tio *t = tio_new(op, offset, length);
	int res;

	t->io.flags = flags;
	if (op == LUN_WRITE)
		memset(t->data, 0x5A, length);
	tio_submit(t, lun, loop);
	res = tio_wait(t);
	tio_free(t);
	return res;
}

static inline int tio_run(struct lun *lun, struct loop *loop, enum lun_op op, uint64_t offset,
			  uint64_t length)
{
	return tio_run_flags(lun, loop, op, 0, offset, length);
}

/* -- An image that holds everything until the test lets it go -- */

struct held {
	pthread_mutex_t mutex;
	struct list_node ios; /* lun_io.image_link */
	unsigned count;
	uint32_t io_align_bytes; /* What open answers; 0: 512. */
};

static struct held held = {.mutex = PTHREAD_MUTEX_INITIALIZER, .ios = {&held.ios, &held.ios}};

static inline int held_open(const struct lun_spec *spec, struct image **out,
			    struct image_info *info, char *why, size_t why_size)
{
	(void)why;
	(void)why_size;
	*out = (struct image *)&held;
	*info = (struct image_info){
		.size_bytes = spec->size_bytes,
		.io_align_bytes = held.io_align_bytes ? held.io_align_bytes : 512,
		.allocation_unit_bytes = 4096,
		.thin = true,
		.zeroes_after_unmap = true,
	};
	return 0;
}

static inline void held_close(struct image *image)
{
	(void)image;
}

static inline void held_submit(struct image *image, struct lun_io *io)
{
	(void)image;
	pthread_mutex_lock(&held.mutex);
	list_append(&held.ios, &io->image_link);
	held.count++;
	pthread_mutex_unlock(&held.mutex);
}

static inline int held_fd(const struct image *image)
{
	(void)image;
	return -1;
}

static const struct image_ops held_ops UNUSED = {
	.type = "held",
	.open = held_open,
	.close = held_close,
	.submit = held_submit,
	.fd = held_fd,
};

/* True: the image has this I/O. */
static inline bool held_has(struct tio *t)
{
	bool found = false;

	pthread_mutex_lock(&held.mutex);
	LIST_FOREACH (node, &held.ios) {
		found = found || node == &t->io.image_link;
	}
	pthread_mutex_unlock(&held.mutex);
	return found;
}

static inline void held_call_end(void *arg)
{
	struct tio *t = arg;

	loop_role_assume();
	pthread_mutex_lock(&held.mutex);
	list_remove(&t->io.image_link);
	held.count--;
	pthread_mutex_unlock(&held.mutex);
	image_io_done(&t->io, t->res);
}

/* The image ends it; what the caller gets is the answer. */
static inline int held_end(struct tio *t, int res)
{
	cr_assert(held_has(t), "the image does not have it");
	t->res = res;
	rig_call(t->on, held_call_end, t);
	return tio_wait(t);
}

/* What the image got first and still has, or NULL; for I/O that the membrane makes itself. */
static inline struct lun_io *held_first(void)
{
	struct list_node *node;

	pthread_mutex_lock(&held.mutex);
	node = list_first(&held.ios);
	pthread_mutex_unlock(&held.mutex);
	return node ? CONTAINER_OF(node, struct lun_io, image_link) : NULL;
}

static inline void held_call_end_first(void *arg)
{
	struct lun_io *io = arg;

	loop_role_assume();
	pthread_mutex_lock(&held.mutex);
	list_remove(&io->image_link);
	held.count--;
	pthread_mutex_unlock(&held.mutex);
	image_io_done(io, 0);
}

static inline void held_end_first(struct rig *rig)
{
	struct lun_io *io = held_first();

	cr_assert_not_null(io, "the image has nothing");
	rig_call(io->loop, held_call_end_first, io);
	rig_settle(rig);
}

/* -- LUNs -- */

static inline struct lun_spec test_spec(const struct rig *rig, const char *type)
{
	return (struct lun_spec){
		.name = "test:lun 0",
		.type = type,
		.size_bytes = 16 << 20,
		.write_cache = true,
		.state_dir = rig->dir,
	};
}

/* A LUN over the holding image on loops that run. */
static inline struct lun *held_lun(struct rig *rig, enum loop_engine engine)
{
	struct lun_spec spec;
	struct lun *lun;

	rig_create(rig, engine, "/tmp");
	spec = test_spec(rig, "held");
	cr_assert_eq(lun_open_type(&spec, &rig->group, &held_ops, &lun), 0);
	cr_assert(lun_state(lun)->online, "%s", lun_state(lun)->offline_reason);
	rig_run(rig);
	return lun;
}

/* Everything has ended: nothing may be left anywhere. */
static inline void rig_close(struct rig *rig, struct lun *lun)
{
	rig_settle(rig);
	rig_halt(rig);
	lun_close(lun);
	rig_free(rig);
}

/* -- Both engines -- */

static inline bool test_engine_works(enum loop_engine engine)
{
	struct loop *loop = rig_loop(engine, 0);
	int res = loop_start(loop);

	if (!res) {
		loop_stop(loop);
		loop_join(loop);
	}
	loop_free(loop, false);
	if (res)
		cr_log_warn("skipped: the uring engine is refused here (%d)", -res);
	return !res;
}

#define TEST_ON_ENGINES(suite, name)                                \
	static void body_##suite##_##name(enum loop_engine engine); \
	Test(suite, name##_uring)                                   \
	{                                                           \
		if (test_engine_works(LOOP_ENGINE_URING))           \
			body_##suite##_##name(LOOP_ENGINE_URING);   \
	}                                                           \
	Test(suite, name##_aio)                                     \
	{                                                           \
		body_##suite##_##name(LOOP_ENGINE_AIO);             \
	}                                                           \
	static void body_##suite##_##name(enum loop_engine engine)

#endif
