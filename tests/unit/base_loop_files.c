/*
 * Files through the loop, on both engines and on each kind of file: what was written is read, ends
 * of files, durability flags, NOWAIT, discard and zero, errors.
 */
#include "tests/unit/base_testing.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define FILE_BYTES (1u << 20)
#define BLOCK 4096u

/* Run one operation on a loop of its own: begin submits it. */
struct job {
	struct test_op test;
	int fd;
	void (*begin)(struct loop *loop, struct job *job);
	struct loop_rw rw;
	struct loop_range range;
	struct iovec iov[4];
};

LOOP_ONLY static int run_job(enum loop_engine engine, struct job *job)
{
	struct loop *loop = test_loop(engine);

	job->test = (struct test_op){.res = -1};
	job->begin(loop, job);
	test_run(loop);
	cr_assert_eq(job->test.done_count, 1);
	return job->test.res;
}

LOOP_ONLY static void begin_read(struct loop *loop, struct job *job)
{
	loop_read(loop, &job->test.op, &job->rw, test_on_op);
}

LOOP_ONLY static void begin_write(struct loop *loop, struct job *job)
{
	loop_write(loop, &job->test.op, &job->rw, test_on_op);
}

LOOP_ONLY static void begin_sync(struct loop *loop, struct job *job)
{
	loop_sync(loop, &job->test.op, job->fd, test_on_op);
}

LOOP_ONLY static void begin_discard(struct loop *loop, struct job *job)
{
	loop_discard(loop, &job->test.op, job->fd, job->range, test_on_op);
}

LOOP_ONLY static void begin_zero(struct loop *loop, struct job *job)
{
	loop_zero(loop, &job->test.op, job->fd, job->range, test_on_op);
}

LOOP_ONLY static void begin_allocate(struct loop *loop, struct job *job)
{
	loop_allocate(loop, &job->test.op, job->fd, job->range, test_on_op);
}

/* One vector element over `bytes`. */
static void set_rw(struct job *job, int fd, void *bytes, size_t count, uint64_t offset_bytes)
{
	job->iov[0] = (struct iovec){bytes, count};
	job->rw = (struct loop_rw){
		.fd = fd, .iov = job->iov, .iov_count = 1, .offset_bytes = offset_bytes};
}

LOOP_ONLY static int do_write(enum loop_engine engine, int fd, void *bytes, size_t count,
			      uint64_t offset_bytes)
{
	struct job job = {.begin = begin_write};

	set_rw(&job, fd, bytes, count, offset_bytes);
	return run_job(engine, &job);
}

LOOP_ONLY static int do_read(enum loop_engine engine, int fd, void *bytes, size_t count,
			     uint64_t offset_bytes)
{
	struct job job = {.begin = begin_read};

	set_rw(&job, fd, bytes, count, offset_bytes);
	return run_job(engine, &job);
}

LOOP_ONLY static int do_simple(enum loop_engine engine, int fd,
			       void (*begin)(struct loop *, struct job *), uint64_t offset_bytes,
			       uint64_t length_bytes)
{
	struct job job = {.begin = begin, .fd = fd, .range = {offset_bytes, length_bytes}};

	return run_job(engine, &job);
}

static uint8_t *pages(size_t count)
{
	void *at = NULL;

	cr_assert_eq(posix_memalign(&at, BLOCK, count), 0);
	(void)memset(at, 0, count);
	return at;
}

/* A test body that goes through the kinds of files. */
#define TEST_ON_FILES(name, size_bytes)                                                  \
	LOOP_ONLY static void on_file_##name(enum loop_engine engine,                    \
					     const struct test_file_kind *kind, int fd); \
	TEST_ON_ENGINES(files, name)                                                     \
	{                                                                                \
		for (size_t i = 0; i < ARRAY_SIZE(test_file_kinds); i++) {               \
			int fd = test_file(&test_file_kinds[i], size_bytes);             \
                                                                                         \
			if (fd < 0)                                                      \
				continue;                                                \
			on_file_##name(engine, &test_file_kinds[i], fd);                 \
			cr_assert_eq(close(fd), 0);                                      \
		}                                                                        \
	}                                                                                \
	LOOP_ONLY static void on_file_##name(enum loop_engine engine,                    \
					     const struct test_file_kind *kind, int fd)

TEST_ON_FILES(what_is_written_is_read, FILE_BYTES)
{
	uint8_t *out = pages(8 * BLOCK);
	uint8_t *in = pages(8 * BLOCK);
	struct job job = {.begin = begin_write};

	test_fill(out, 8 * BLOCK, 3);
	job.iov[0] = (struct iovec){out, 0};
	job.iov[1] = (struct iovec){out, BLOCK};
	job.iov[2] = (struct iovec){out + BLOCK, 5 * BLOCK};
	job.iov[3] = (struct iovec){out + 6 * BLOCK, 2 * BLOCK};
	job.rw = (struct loop_rw){.fd = fd, .iov = job.iov, .iov_count = 4, .offset_bytes = BLOCK};
	cr_assert_eq(run_job(engine, &job), 8 * BLOCK, "%s: %d", kind->what, job.test.res);
	cr_assert_eq(job.test.op.transferred_bytes, 8 * BLOCK);
	cr_assert_eq(do_read(engine, fd, in, 8 * BLOCK, BLOCK), 8 * BLOCK);
	cr_assert_eq(memcmp(in, out, 8 * BLOCK), 0, "%s", kind->what);
	cr_assert_eq(do_read(engine, fd, in, BLOCK, 0), BLOCK);
	cr_assert_eq(in[0], 0);
	free(out);
	free(in);
}

/* The end of the file is not on a block boundary: direct I/O answers an odd count there. */
TEST_ON_FILES(read_ends_with_the_file, 3 * BLOCK + 1000)
{
	uint8_t *in = pages(8 * BLOCK);

	cr_assert_eq(do_read(engine, fd, in, 8 * BLOCK, 0), 3 * BLOCK + 1000, "%s", kind->what);
	cr_assert_eq(do_read(engine, fd, in, 8 * BLOCK, 3 * BLOCK), 1000, "%s", kind->what);
	cr_assert_eq(do_read(engine, fd, in, 8 * BLOCK, 4 * BLOCK), 0, "%s", kind->what);
	cr_assert_eq(do_read(engine, fd, in, 8 * BLOCK, 1ull << 40), 0, "%s", kind->what);
	free(in);
}

TEST_ON_FILES(durable_write_and_sync, FILE_BYTES)
{
	uint8_t *out = pages(BLOCK);
	struct job job = {.begin = begin_write};

	set_rw(&job, fd, out, BLOCK, 0);
	job.rw.flags = LOOP_DSYNC;
	cr_assert_eq(run_job(engine, &job), BLOCK, "%s: %d", kind->what, job.test.res);
	cr_assert_eq(do_simple(engine, fd, begin_sync, 0, 0), 0, "%s", kind->what);
	free(out);
}

/* Whatever this kernel can do without waiting: all of it, or a refusal that left the vector. */
LOOP_ONLY static void expect_nowait(enum loop_engine engine, struct job *job, const char *what)
{
	const void *base = job->iov[0].iov_base;
	int res;

	job->rw.flags = LOOP_NOWAIT;
	res = run_job(engine, job);
	if (res == BLOCK)
		return;
	cr_assert(res == -EAGAIN || res == -EOPNOTSUPP, "%s: %d", what, res);
	cr_assert_eq(job->iov[0].iov_base, base);
	cr_assert_eq(job->iov[0].iov_len, BLOCK);
	job->rw.flags = 0;
	cr_assert_eq(run_job(engine, job), BLOCK, "%s: %d", what, job->test.res);
}

TEST_ON_FILES(nowait_moves_all_or_nothing, FILE_BYTES)
{
	uint8_t *bytes = pages(BLOCK);
	struct job job = {.begin = begin_write};

	set_rw(&job, fd, bytes, BLOCK, 0); /* Into a hole. */
	expect_nowait(engine, &job, kind->what);
	set_rw(&job, fd, bytes, BLOCK, 0); /* Over what is there. */
	expect_nowait(engine, &job, kind->what);
	job.begin = begin_read;
	set_rw(&job, fd, bytes, BLOCK, 0);
	expect_nowait(engine, &job, kind->what);
	free(bytes);
}

/* A direct write into a hole needs an allocation, which waits; ext4 and XFS both say so. */
TEST_ON_ENGINES(files, nowait_is_refused_for_a_hole)
{
	int fd = test_file(&test_file_kinds[0], FILE_BYTES);
	uint8_t *bytes = pages(BLOCK);
	struct job job = {.begin = begin_write};
	struct stat about;

	if (fd >= 0) {
		set_rw(&job, fd, bytes, BLOCK, 0);
		job.rw.flags = LOOP_NOWAIT;
		cr_assert_eq(run_job(engine, &job), -EAGAIN);
		cr_assert_eq(fstat(fd, &about), 0);
		cr_assert_eq(about.st_blocks, 0);
		(void)close(fd);
	}
	free(bytes);
}

static void expect_blocks(int fd, blkcnt_t at_least, blkcnt_t at_most)
{
	struct stat about;

	cr_assert_eq(fsync(fd), 0);
	cr_assert_eq(fstat(fd, &about), 0);
	cr_assert_geq(about.st_blocks, at_least);
	cr_assert_leq(about.st_blocks, at_most);
	cr_assert_eq(about.st_size, FILE_BYTES);
}

TEST_ON_FILES(discard_gives_space_back_and_reads_zero, FILE_BYTES)
{
	uint8_t *bytes = pages(16 * BLOCK);

	test_fill(bytes, 16 * BLOCK, 9);
	cr_assert_eq(do_write(engine, fd, bytes, 16 * BLOCK, 0), 16 * BLOCK);
	expect_blocks(fd, 128, 144);
	cr_assert_eq(do_simple(engine, fd, begin_discard, 0, 8 * BLOCK), 0, "%s", kind->what);
	expect_blocks(fd, 64, 80);
	cr_assert_eq(do_read(engine, fd, bytes, 8 * BLOCK, 0), 8 * BLOCK);
	for (size_t i = 0; i < 8 * BLOCK; i++)
		cr_assert_eq(bytes[i], 0);
	cr_assert_eq(do_simple(engine, fd, begin_discard, 0, 0), 0);
	free(bytes);
}

/* tmpfs cannot; who asks is told. */
TEST_ON_FILES(zero_keeps_space_and_reads_zero, FILE_BYTES)
{
	uint8_t *bytes = pages(16 * BLOCK);
	int res;

	test_fill(bytes, 16 * BLOCK, 9);
	cr_assert_eq(do_write(engine, fd, bytes, 16 * BLOCK, 0), 16 * BLOCK);
	res = do_simple(engine, fd, begin_zero, 0, 8 * BLOCK);
	if (res == 0) {
		expect_blocks(fd, 128, 144);
		cr_assert_eq(do_read(engine, fd, bytes, 8 * BLOCK, 0), 8 * BLOCK);
		for (size_t i = 0; i < 8 * BLOCK; i++)
			cr_assert_eq(bytes[i], 0, "%s", kind->what);
	} else {
		cr_assert_eq(res, -EOPNOTSUPP, "%s: %d", kind->what, res);
	}
	free(bytes);
}

TEST_ON_FILES(allocate_keeps_data_and_grows_the_file, FILE_BYTES)
{
	uint8_t *out = pages(BLOCK);
	uint8_t *in = pages(2 * BLOCK);
	struct stat about;

	test_fill(out, BLOCK, 5);
	cr_assert_eq(do_write(engine, fd, out, BLOCK, FILE_BYTES - BLOCK), BLOCK);
	cr_assert_eq(do_simple(engine, fd, begin_allocate, FILE_BYTES - 8 * BLOCK, 16 * BLOCK), 0,
		     "%s", kind->what);
	cr_assert_eq(fsync(fd), 0);
	cr_assert_eq(fstat(fd, &about), 0);
	cr_assert_eq(about.st_size, FILE_BYTES + 8 * BLOCK);
	cr_assert_geq(about.st_blocks, 128);
	cr_assert_eq(do_read(engine, fd, in, 2 * BLOCK, FILE_BYTES - BLOCK), 2 * BLOCK);
	cr_assert_eq(memcmp(in, out, BLOCK), 0, "%s", kind->what);
	for (size_t i = BLOCK; i < 2 * BLOCK; i++)
		cr_assert_eq(in[i], 0, "%s", kind->what);
	free(out);
	free(in);
}

TEST_ON_ENGINES(files, errors_reach_the_caller)
{
	uint8_t *bytes = pages(2 * BLOCK);
	int direct_fd = test_file(&test_file_kinds[0], FILE_BYTES);
	int full_fd = open("/dev/full", O_RDWR | O_CLOEXEC);
	int read_only_fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	cr_assert_eq(do_read(engine, -1, bytes, BLOCK, 0), -EBADF);
	cr_assert_eq(do_write(engine, read_only_fd, bytes, BLOCK, 0), -EBADF);
	cr_assert_eq(do_write(engine, full_fd, bytes, BLOCK, 0), -ENOSPC);
	cr_assert_eq(do_simple(engine, -1, begin_sync, 0, 0), -EBADF);
	cr_assert_eq(do_simple(engine, full_fd, begin_sync, 0, 0), -EINVAL);
	cr_assert_eq(do_simple(engine, -1, begin_discard, 0, BLOCK), -EBADF);
	cr_assert_eq(do_simple(engine, full_fd, begin_zero, 0, BLOCK), -ENODEV);
	cr_assert_eq(do_simple(engine, full_fd, begin_allocate, 0, BLOCK), -ENODEV);
	if (direct_fd >= 0)
		cr_assert_eq(do_write(engine, direct_fd, bytes + 1, BLOCK, 0), -EINVAL);
	free(bytes);
}

/* The kernel shortens the write at the limit and refuses the rest: the rest is tried, and its
 * error is the answer. */
TEST_ON_FILES(short_write_goes_on_to_the_error, 0)
{
	uint8_t *bytes = pages(4 * BLOCK);
	struct job job = {.begin = begin_write};
	struct rlimit limit = {.rlim_cur = 2 * BLOCK, .rlim_max = RLIM_INFINITY};
	struct rlimit kept;

	(void)signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(getrlimit(RLIMIT_FSIZE, &kept), 0);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	set_rw(&job, fd, bytes, 4 * BLOCK, 0);
	cr_assert_eq(run_job(engine, &job), -EFBIG, "%s: %d", kind->what, job.test.res);
	cr_assert_eq(job.test.op.transferred_bytes, 2 * BLOCK);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &kept), 0);
	free(bytes);
}

/* -- Many at once ---------------------------------------------------------------------------- */

#define MANY 5000u

struct many {
	struct test_op test;
	struct iovec iov;
};

LOOP_ONLY static void submit_many(struct loop *loop, int fd, struct many *many, uint8_t *bytes)
{
	for (unsigned i = 0; i < MANY; i++) {
		struct loop_rw rw = {.fd = fd, .iov = &many[i].iov, .iov_count = 1};

		many[i].iov = (struct iovec){bytes + (size_t)(i % 16) * BLOCK, BLOCK};
		rw.offset_bytes = i % 256 * BLOCK;
		loop_read(loop, &many[i].test.op, &rw, test_on_op);
	}
}

/* The submission queue holds 8, libaio's ring hardly more. */
TEST_ON_FILES(thousands_at_once_wait_their_turn, FILE_BYTES)
{
	struct loop_config config = {.name = "small", .engine = engine, .ring_entries = 8};
	struct many *many = calloc(MANY, sizeof(*many));
	uint8_t *bytes = pages(16 * BLOCK);
	unsigned left = MANY;
	struct loop *loop;

	cr_assert_eq(loop_create(&config, &loop), 0);
	for (unsigned i = 0; i < MANY; i++)
		many[i].test.left = &left;
	submit_many(loop, fd, many, bytes);
	test_run(loop);
	for (unsigned i = 0; i < MANY; i++)
		cr_assert_eq(many[i].test.res, BLOCK, "%s: %d", kind->what, many[i].test.res);
	free(many);
	free(bytes);
}
