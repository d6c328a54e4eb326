/*
 * Images in memory on a loop whose turns the test makes, with as few workers as the test says: what
 * waits for a worker, what a stuck file keeps from the others, and what failures leave can be told
 * without a clock. Not a test.
 */
#ifndef TESTS_UNIT_LUN_QCOW2_HAND_H
#define TESTS_UNIT_LUN_QCOW2_HAND_H

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/loop_engine.h"
#include "lun/qcow2/check.h"
#include "lun/qcow2/engine.h"
#include "tests/unit/lun_qcow2_image.h"

#define HAND_FILES 4u
#define HAND_FILE_BYTES (UINT64_C(4) << 20)
#define HAND_FD 1000000 /* No kernel's. */
#define HAND_WORKERS 8u
#define HAND_CARRIED_MAX 512u
#define HAND_TURNS_MAX 20000u

struct hand_file {
	struct memory_file memory; /* First: its size is the file's. */
	bool is_stuck;
	int error; /* What all its operations of these kinds answer. */
	unsigned error_kinds;
	unsigned count[LOOP_OP_COUNT]; /* Of what ended. */
};

struct hand {
	struct loop *loop;
	struct qcow2_cache *cache;
	struct hand_file files[HAND_FILES];
	/* What waits for a worker or has one, in order of arrival. */
	struct loop_op *carried[HAND_CARRIED_MAX];
	unsigned carried_count;
	unsigned workers_most; /* That were ever wanted at once. */
	int stuck_fd;          /* Of a file that the kernel has. */
};

/* -- The engine of the loop -- */

static inline struct hand_file *hand_file_of(struct hand *hand, const struct loop_op *op)
{
	return &hand->files[op->fd - HAND_FD];
}

static inline bool hand_is_stuck(struct hand *hand, const struct loop_op *op)
{
	if (op->kind == LOOP_OP_CALL)
		return false;
	return op->fd < HAND_FD ? op->fd == hand->stuck_fd : hand_file_of(hand, op)->is_stuck;
}

static inline int hand_ask_kernel(const struct loop_op *op)
{
	off_t at = (off_t)(op->offset_bytes + op->transferred_bytes);
	ssize_t res;

	if (op->kind == LOOP_OP_READ)
		res = preadv(op->fd, op->iov, (int)op->iov_count, at);
	else if (op->kind == LOOP_OP_WRITE)
		res = pwritev(op->fd, op->iov, (int)op->iov_count, at);
	else if (op->kind == LOOP_OP_SYNC)
		res = fdatasync(op->fd);
	else if (op->kind == LOOP_OP_ALLOCATE)
		res = fallocate(op->fd, 0, at, (off_t)op->length_bytes);
	else
		res = fallocate(op->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at,
				(off_t)op->length_bytes);
	return res < 0 ? -errno : (int)res;
}

static inline bool hand_submit(struct loop *loop, struct loop_op *op)
{
	struct hand *hand = loop->engine_state;

	cr_assert_lt(hand->carried_count, HAND_CARRIED_MAX);
	if ((op->flags & LOOP_NOWAIT) != 0) {
		loop_op_complete(op, -EAGAIN);
		return true;
	}
	hand->carried[hand->carried_count++] = op;
	if (hand->carried_count > hand->workers_most)
		hand->workers_most = hand->carried_count;
	return true;
}

static inline int hand_transfer(struct hand_file *file, const struct loop_op *op)
{
	uint64_t at = op->offset_bytes + op->transferred_bytes;
	int sum = 0;

	for (uint32_t i = 0; i < op->iov_count; i++) {
		uint64_t size = file->memory.file.size_bytes;
		uint64_t length = op->iov[i].iov_len;

		if (op->kind == LOOP_OP_READ) {
			length = at >= size ? 0 : length < size - at ? length : size - at;
			memcpy(op->iov[i].iov_base, file->memory.bytes + at, length);
		} else {
			cr_assert_leq(at + length, HAND_FILE_BYTES);
			memcpy(file->memory.bytes + at, op->iov[i].iov_base, length);
			if (at + length > size)
				file->memory.file.size_bytes = at + length;
		}
		at += length;
		sum += (int)length;
	}
	return sum;
}

static inline int hand_range(struct hand_file *file, const struct loop_op *op)
{
	uint64_t end = op->offset_bytes + op->length_bytes;
	uint64_t size = file->memory.file.size_bytes;

	if (op->kind == LOOP_OP_ALLOCATE) {
		if (end > HAND_FILE_BYTES)
			return -ENOSPC;
		file->memory.file.size_bytes = end > size ? end : size;
	} else if (op->offset_bytes < size) {
		memset(file->memory.bytes + op->offset_bytes, 0,
		       (end < size ? end : size) - op->offset_bytes);
	}
	return 0;
}

static inline int hand_perform(struct hand *hand, struct loop_op *op)
{
	struct hand_file *file;

	if (op->kind == LOOP_OP_CALL)
		return op->call(op);
	if (op->fd < HAND_FD)
		return hand_ask_kernel(op);
	file = hand_file_of(hand, op);
	file->count[op->kind]++;
	if ((file->error_kinds & 1u << op->kind) != 0)
		return file->error;
	if (op->kind == LOOP_OP_SYNC)
		return 0;
	if (op->kind == LOOP_OP_READ || op->kind == LOOP_OP_WRITE)
		return hand_transfer(file, op);
	return hand_range(file, op);
}

/* One of those that have a worker and are not stuck. */
static inline void hand_wait(struct loop *loop, uint64_t timeout_ns UNUSED)
{
	struct hand *hand = loop->engine_state;

	loop_role_assume();
	for (unsigned i = 0; i < hand->carried_count && i < HAND_WORKERS; i++) {
		struct loop_op *op = hand->carried[i];

		if (hand_is_stuck(hand, op))
			continue;
		hand->carried_count--;
		memmove(&hand->carried[i], &hand->carried[i + 1],
			(hand->carried_count - i) * sizeof(struct loop_op *));
		if (loop_op_step(op, hand_perform(hand, op)) == OP_NEXT_MORE)
			loop_op_carry(op);
		return;
	}
}

static inline unsigned hand_punt_limit(const struct loop *loop UNUSED)
{
	return HAND_WORKERS / 2;
}

static const struct loop_engine_ops hand_ops = {
	.name = "hand",
	.submit = hand_submit,
	.wait = hand_wait,
	.punt_limit = hand_punt_limit,
};

/* -- Images -- */

LOOP_ONLY static inline struct hand *hand_make(uint64_t cache_bytes)
{
	struct loop_config config = {.name = "hand"};
	struct hand *hand = calloc(1, sizeof(*hand));

	cr_assert(hand);
	hand->stuck_fd = -1;
	cr_assert_eq(loop_create_on(&config, &hand_ops, hand, &hand->loop), 0);
	cr_assert_eq(qcow2_cache_create(cache_bytes, &hand->cache), 0);
	for (unsigned i = 0; i < HAND_FILES; i++)
		hand->files[i].memory = memory_file_make(calloc(1, HAND_FILE_BYTES), 0);
	return hand;
}

/* Some may still be under way on a file that is stuck. */
LOOP_ONLY static inline void hand_end(struct hand *hand)
{
	loop_free(hand->loop, true);
	qcow2_cache_free(hand->cache);
	for (unsigned i = 0; i < HAND_FILES; i++)
		free(hand->files[i].memory.bytes);
	free(hand);
}

static inline struct qcow2_spec hand_spec(struct hand *hand, unsigned file, struct qcow2 *backing)
{
	return (struct qcow2_spec){
		.name = "hand",
		.loop = hand->loop,
		.cache = hand->cache,
		.file = &hand->files[file].memory.file,
		.fd = HAND_FD + (int)file,
		.sync_fd = HAND_FD + (int)file,
		.direct = true,
		.io_align_bytes = 512,
		.backing = backing,
	};
}

/* An empty image of 4 KiB clusters in a file. */
static inline void hand_format(struct hand *hand, unsigned file, uint64_t size_bytes)
{
	struct memory_file *memory = &hand->files[file].memory;
	struct image image = image_make(size_bytes);

	memcpy(memory->bytes, image.bytes, image.layout.file_bytes);
	memory->file.size_bytes = image.layout.file_bytes;
	free(image.bytes);
}

static inline struct qcow2 *hand_open(struct hand *hand, unsigned file, struct qcow2 *backing)
{
	struct qcow2_spec spec = hand_spec(hand, file, backing);
	char why[WHY_BYTES] = "";
	struct qcow2 *image;

	cr_assert_eq(qcow2_open(&spec, &image, why, sizeof(why)), 0, "%s", why);
	return image;
}

static inline struct qcow2_check hand_check(const struct hand *hand, unsigned file)
{
	static struct qcow2_check check;
	struct qcow2_check_spec spec = {.file = &hand->files[file].memory.file};
	char why[WHY_BYTES];

	cr_assert_eq(qcow2_check(&spec, &check, why, sizeof(why)), 0, "%s", why);
	cr_assert_neq(qcow2_check_verdict(&check), QCOW2_CORRUPT, "%s", check.findings[0]);
	return check;
}

/* -- Requests -- */

struct hand_request {
	struct qcow2_request request;
	struct iovec iov;
	bool is_done;
	int res;
};

static inline void hand_on_done(struct qcow2_request *of, int res)
{
	struct hand_request *request = CONTAINER_OF(of, struct hand_request, request);

	request->is_done = true;
	request->res = res;
}

LOOP_ONLY static inline void hand_submit_to(struct qcow2 *image, struct hand_request *request,
					    enum lun_op op, struct byte_range range, void *bytes)
{
	request->iov = (struct iovec){bytes, range.end - range.begin};
	request->request.op = op;
	request->request.flags = 0;
	request->request.offset = range.begin;
	request->request.length = range.end - range.begin;
	request->request.iov = &request->iov;
	request->request.iov_count = 1;
	request->request.done = hand_on_done;
	request->is_done = false;
	qcow2_submit(image, &request->request);
}

/* False: it does not end. */
LOOP_ONLY static inline bool hand_turn_until(struct hand *hand, const bool *is_done)
{
	for (unsigned i = 0; i < HAND_TURNS_MAX && !*is_done; i++)
		loop_turn(hand->loop);
	return *is_done;
}

/* Submit it and wait. */
LOOP_ONLY static inline int hand_do(struct hand *hand, struct qcow2 *image, enum lun_op op,
				    struct byte_range range, void *bytes)
{
	struct hand_request *request = calloc(1, sizeof(*request));
	int res;

	cr_assert(request);
	hand_submit_to(image, request, op, range, bytes);
	cr_assert(hand_turn_until(hand, &request->is_done), "it does not end");
	res = request->res;
	free(request);
	return res;
}

struct hand_stop {
	bool is_done;
	int res;
};

static inline void hand_on_stopped(void *arg, int res)
{
	struct hand_stop *stop = arg;

	stop->is_done = true;
	stop->res = res;
}

LOOP_ONLY static inline int hand_close(struct hand *hand, struct qcow2 *image)
{
	struct hand_stop stop = {0};

	qcow2_stop(image, hand_on_stopped, &stop);
	cr_assert(hand_turn_until(hand, &stop.is_done), "it does not stop");
	qcow2_close(image);
	return stop.res;
}

#endif
