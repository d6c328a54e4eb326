/*
 * What the tests of base/ share: both engines in turn, a loop on the test's own thread, and files
 * that vanish by themselves. Not a test. Each Criterion test is a process of its own.
 */
#ifndef TESTS_UNIT_BASE_TESTING_H
#define TESTS_UNIT_BASE_TESTING_H

#include "base/loop.h"

#include <criterion/criterion.h>
#include <criterion/logging.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Can this machine make a ring? Where it cannot, tests of that engine say so and pass. */
static inline bool test_engine_works(enum loop_engine engine)
{
	struct loop_config config = {.name = "probe", .engine = engine};
	struct loop *loop;
	int res;

	cr_assert_eq(loop_create(&config, &loop), 0);
	res = loop_start(loop);
	if (res == 0) {
		loop_stop(loop);
		loop_join(loop);
	}
	loop_free(loop, false);
	if (res != 0)
		cr_log_warn("skipped: the uring engine is refused here (%d)", -res);
	return res == 0;
}

/*
 * A test body that runs once for each engine: TEST_ON_ENGINES(suite, name) { ... engine ... }.
 */
#define TEST_ON_ENGINES(suite, name)                                \
	static void body_##suite##_##name(enum loop_engine engine); \
	Test(suite, name##_uring)                                   \
	{                                                           \
		loop_role_assume();                                 \
		if (test_engine_works(LOOP_ENGINE_URING))           \
			body_##suite##_##name(LOOP_ENGINE_URING);   \
	}                                                           \
	Test(suite, name##_aio)                                     \
	{                                                           \
		loop_role_assume();                                 \
		body_##suite##_##name(LOOP_ENGINE_AIO);             \
	}                                                           \
	LOOP_ONLY static void body_##suite##_##name(enum loop_engine engine)

/* A loop that the test runs on its own thread with test_run. */
static inline struct loop *test_loop(enum loop_engine engine)
{
	struct loop_config config = {.name = "test", .engine = engine, .buffer_count = 8};
	struct loop *loop;

	cr_assert_eq(loop_create(&config, &loop), 0);
	return loop;
}

LOOP_ONLY static inline void test_on_deadline(struct loop_timer *timer)
{
	(void)timer;
	cr_assert_fail("nothing happened for 10 s");
}

/* Run until something calls loop_stop; fails after 10 s. Then the loop is gone. */
LOOP_ONLY static inline void test_run(struct loop *loop)
{
	struct loop_timer deadline = {0};

	loop_timer_start(loop, &deadline, 10000, test_on_deadline);
	cr_assert_eq(loop_run(loop), 0);
	loop_free(loop, false);
}

/* An operation that stops its loop when it is done, and keeps the result. */
struct test_op {
	struct loop_op op;
	int res;
	unsigned done_count;
	unsigned *left; /* When set, the last of several stops the loop. */
};

static inline void test_on_op(struct loop_op *op, int res)
{
	struct test_op *test = CONTAINER_OF(op, struct test_op, op);

	test->res = res;
	test->done_count++;
	if (test->left == NULL || --*test->left == 0)
		loop_stop(op->loop);
}

/* Kinds of files that the loop has to serve; a test goes through those that this machine has. */
struct test_file_kind {
	const char *what;
	const char *template;
	int flags;
};

static const struct test_file_kind test_file_kinds[] = {
	{"direct, on a disk", "/var/tmp/ringsan-test-XXXXXX", O_DIRECT},
	{"buffered, on a disk", "/var/tmp/ringsan-test-XXXXXX", 0},
	{"buffered, tmpfs", "/dev/shm/ringsan-test-XXXXXX", 0},
};

/* A file without a name, or -1 when this machine has no such kind. */
static inline int test_file(const struct test_file_kind *kind, off_t size_bytes)
{
	char path[64];
	int fd;

	(void)strcpy(path, kind->template);
	fd = mkostemp(path, O_CLOEXEC | kind->flags);
	if (fd < 0) {
		cr_log_warn("skipped: no file %s (%d)", kind->what, errno);
		return -1;
	}
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(ftruncate(fd, size_bytes), 0);
	return fd;
}

/* What random bytes look like, the same each time. */
static inline void test_fill(uint8_t *bytes, size_t count, uint32_t seed)
{
	for (size_t i = 0; i < count; i++) {
		seed = seed * 1664525 + 1013904223;
		bytes[i] = (uint8_t)(seed >> 24);
	}
}

#endif
