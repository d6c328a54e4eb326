/*
 * What the tests of the qcow2 engine share: a loop with a chain of images on real files, requests
 * that can be waited for, and qemu-img to make and check them. Not a test.
 */
#ifndef TESTS_UNIT_LUN_QCOW2_BENCH_H
#define TESTS_UNIT_LUN_QCOW2_BENCH_H

#include "lun/qcow2/engine.h"
#include "tests/unit/lun_testing.h"

#include "lun/qcow2/qcow2.h"
#include "tests/unit/lun_shell.h"

#define MIB (UINT64_C(1) << 20)
#define IMAGE_BYTES (8 * MIB)
#define SECTOR 512u
#define CHAIN 4u
#define WHY_BYTES 256u

/* -- Files -- */

struct disk_file {
	struct qcow2_file file;
	int fd;
};

static inline int disk_read(const struct qcow2_file *file, void *buffer, size_t length,
			    uint64_t offset)
{
	const struct disk_file *disk = (const void *)file; /* Its first member. */
	size_t done = 0;

	(void)memset(buffer, 0, length);
	while (done < length) {
		ssize_t res = pread(disk->fd, (char *)buffer + done, length - done,
				    (off_t)(offset + done));

		if (res <= 0)
			return res < 0 ? -errno : 0;
		done += (size_t)res;
	}
	return 0;
}

/* -- A rig: one loop, one chain of images -- */

struct bench {
	struct loop *loop;
	struct qcow2_cache *cache;
	struct qcow2 *images[CHAIN];
	struct disk_file files[CHAIN];
	unsigned count;
	bool in_memory; /* Images opened from now on are asked to copy on the spot. */
	char dir[64];
	sem_t done;
	int res;
	struct qcow2_request request;
	struct iovec iov;
	struct loop_msg msg;
};

static inline void bench_make(struct bench *bench, enum loop_engine engine, uint64_t cache_bytes)
{
	*bench = (struct bench){0};
	bench->loop = rig_loop(engine, 0);
	cr_assert_eq(qcow2_cache_create(cache_bytes, &bench->cache), 0);
	cr_assert_eq(sem_init(&bench->done, 0, 0), 0);
	/* In memory where that can be had: thousands of flushes. */
	(void)snprintf(bench->dir, sizeof(bench->dir), "%s/ringsan-qcow2-XXXXXX",
		       access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	cr_assert_not_null(mkdtemp(bench->dir));
	cr_assert_eq(loop_start(bench->loop), 0);
}

static inline void bench_end(struct bench *bench)
{
	loop_stop(bench->loop);
	loop_join(bench->loop);
	for (unsigned i = bench->count; i > 0; i--) {
		qcow2_close(bench->images[i - 1]);
		close(bench->files[i - 1].fd);
	}
	qcow2_cache_free(bench->cache);
	loop_free(bench->loop, false);
	nftw(bench->dir, rig_on_remove, 8, FTW_DEPTH | FTW_PHYS);
}

/* Open a file of the folder on top of those opened before. */
static inline int bench_try_open(struct bench *bench, const char *name, bool writable, char *why)
{
	struct disk_file *file = &bench->files[bench->count];
	char path[128];
	struct stat st;
	struct qcow2_spec spec = {
		.name = name,
		.loop = bench->loop,
		.cache = bench->cache,
		.file = &file->file,
		.read_only = !writable,
		.direct = !bench->in_memory,
		.in_memory = bench->in_memory,
		.io_align_bytes = SECTOR,
		.backing = bench->count > 0 ? bench->images[bench->count - 1] : NULL,
	};
	int res;

	(void)snprintf(path, sizeof(path), "%s/%s", bench->dir, name);
	file->fd = open(path, writable ? O_RDWR | O_CLOEXEC : O_RDONLY | O_CLOEXEC);
	cr_assert_geq(file->fd, 0, "%s", path);
	cr_assert_eq(fstat(file->fd, &st), 0);
	file->file = (struct qcow2_file){.read = disk_read, .size_bytes = (uint64_t)st.st_size};
	spec.fd = spec.sync_fd = file->fd;
	if (strstr(name, ".raw") != NULL)
		res = qcow2_open_raw(&spec, &bench->images[bench->count]);
	else
		res = qcow2_open(&spec, &bench->images[bench->count], why, WHY_BYTES);
	if (res == 0)
		bench->count++;
	else
		close(file->fd);
	return res;
}

static inline void bench_open(struct bench *bench, const char *name, bool writable)
{
	char why[WHY_BYTES] = "";
	int res = bench_try_open(bench, name, writable, why);

	cr_assert_eq(res, 0, "%s: %s", name, why);
}

static inline struct qcow2 *bench_top(const struct bench *bench)
{
	return bench->images[bench->count - 1];
}

static inline void on_done(struct qcow2_request *request, int res)
{
	struct bench *bench = CONTAINER_OF(request, struct bench, request);

	bench->res = res;
	sem_post(&bench->done);
}

static inline void on_submit(struct loop_msg *msg)
{
	struct bench *bench = CONTAINER_OF(msg, struct bench, msg);

	loop_role_assume();
	qcow2_submit(bench_top(bench), &bench->request);
}

static inline void wait_done(struct bench *bench)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_S * 6;
	cr_assert_eq(sem_timedwait(&bench->done, &until), 0, "nothing ended");
}

static inline int bench_do(struct bench *bench, enum lun_op op, uint32_t flags,
			   struct byte_range range, void *bytes)
{
	bench->iov = (struct iovec){bytes, range.end - range.begin};
	bench->request.op = op;
	bench->request.flags = flags;
	bench->request.offset = range.begin;
	bench->request.length = range.end - range.begin;
	bench->request.iov = &bench->iov;
	bench->request.iov_count = 1;
	bench->request.done = on_done;
	loop_post(bench->loop, &bench->msg, on_submit);
	wait_done(bench);
	return bench->res;
}

static inline void on_stopped(void *arg, int res)
{
	struct bench *bench = arg;

	bench->res = res;
	sem_post(&bench->done);
}

static inline void on_stop(struct loop_msg *msg)
{
	struct bench *bench = CONTAINER_OF(msg, struct bench, msg);

	loop_role_assume();
	qcow2_stop(bench_top(bench), on_stopped, bench);
}

/* Stop the uppermost image and close it. */
static inline int bench_stop(struct bench *bench)
{
	loop_post(bench->loop, &bench->msg, on_stop);
	wait_done(bench);
	bench->count--;
	qcow2_close(bench->images[bench->count]);
	close(bench->files[bench->count].fd);
	return bench->res;
}

static inline struct byte_range at(uint64_t offset, uint64_t length)
{
	return (struct byte_range){offset, offset + length};
}

/* Nothing is wrong, and nothing leaked. */
static inline void check(const struct bench *bench, const char *name)
{
	shell("qemu-img check -q %s/%s", bench->dir, name);
}

static inline void compare_with_raw(struct bench *bench, const char *name)
{
	static uint8_t ours[IMAGE_BYTES] __attribute__((aligned(4096)));
	static uint8_t theirs[IMAGE_BYTES];
	struct disk_file raw = {.fd = -1};
	char path[128];

	shell("qemu-img convert -O raw %s/%s %s/flat", bench->dir, name, bench->dir);
	(void)snprintf(path, sizeof(path), "%s/flat", bench->dir);
	raw.fd = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert_eq(disk_read(&raw.file, theirs, IMAGE_BYTES, 0), 0);
	close(raw.fd);
	/* In pieces of all sizes. */
	for (uint64_t begin = 0, length = SECTOR; begin < IMAGE_BYTES;
	     length = length * 2 + SECTOR) {
		uint64_t end = begin + length % (3 * MIB / 2);

		end = end < IMAGE_BYTES ? end : IMAGE_BYTES;
		if (end == begin)
			continue;
		cr_assert_eq(
			bench_do(bench, LUN_READ, 0, (struct byte_range){begin, end}, ours + begin),
			0);
		begin = end;
	}
	cr_assert_eq(memcmp(ours, theirs, IMAGE_BYTES), 0);
}

#endif
