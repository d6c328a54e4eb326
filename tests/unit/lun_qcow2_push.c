/*
 * PUSH: what an image has of its own goes into the one below it, while both are read through; then
 * that one shows the same alone. qemu-img judges. Power cuts are not here: tests/crash.
 */
#include "tests/unit/lun_qcow2_bench.h"

/* Smaller than what lies in one piece. */
#define BUFFER_BYTES (192u << 10)

struct pushing {
	struct bench bench;
	struct qcow2_push push;
};

static uint8_t buffer[BUFFER_BYTES] __attribute__((aligned(4096)));

static void on_pushed(struct qcow2_push *push, int res)
{
	struct pushing *pushing = CONTAINER_OF(push, struct pushing, push);

	pushing->bench.res = res;
	sem_post(&pushing->bench.done);
}

static void on_push(struct loop_msg *msg)
{
	struct pushing *pushing = CONTAINER_OF(msg, struct pushing, bench.msg);

	loop_role_assume();
	qcow2_push(&pushing->push);
}

static int push(struct pushing *pushing, unsigned from, unsigned to)
{
	pushing->push = (struct qcow2_push){
		.from = pushing->bench.images[from],
		.to = pushing->bench.images[to],
		.length = 64 * MIB,
		.flags = LUN_IO_DURABLE,
		.buffer = buffer,
		.buffer_bytes = BUFFER_BYTES,
		.request = &pushing->bench.request,
		.done = on_pushed,
	};
	loop_post(pushing->bench.loop, &pushing->bench.msg, on_push);
	wait_done(&pushing->bench);
	return pushing->bench.res;
}

/* c is raw; s is over it, and c2 over s: each hides parts of what is below by data and by zeroes,
 * some less than a cluster. */
static void make_chain(const struct bench *bench, const char *below, const char *above)
{
	shell("cd %s; yes abcdefg | head -c 8388608 >c.raw; "
	      "qemu-img create -q -f qcow2 -o %s -b c.raw -F raw s; "
	      "qemu-io -f qcow2 -c 'write -P 9 2M 77k' -c 'write -z 3M 1M' -c 'write -P 3 5M 4k' "
	      "-c 'write -P 4 6M 1M' s >/dev/null; "
	      "qemu-img create -q -f qcow2 -o %s -b s -F qcow2 a 8M; "
	      "qemu-io -f qcow2 -c 'write -P 7 2080k 8k' -c 'write -z 2100k 4k' "
	      "-c 'write -P 5 3100k 300k' -c 'write -z 6200k 500k' -c 'write -P 8 8188k 4k' "
	      "-c 'write -z 8k 4k' a >/dev/null; qemu-img convert -O raw a before",
	      bench->dir, below, above);
}

static void open_below(struct bench *bench)
{
	bench_open(bench, "c.raw", false);
	bench_open(bench, "s", true);
	bench_top(bench)->holds_frees = true;
}

static const char *const kinds[] = {
	"cluster_size=64k",
	"cluster_size=4k",
	"cluster_size=64k,extended_l2=on",
	"cluster_size=2M",
};

/* All is closed, and both images show the same. */
static void end_alike(struct bench *bench)
{
	cr_assert_eq(bench_stop(bench), 0);
	cr_assert_eq(bench_stop(bench), 0);
	shell("cd %s; qemu-img compare -q s a", bench->dir);
	bench_end(bench);
}

/* The image above is only read, and then gone. */
TEST_ON_ENGINES(qcow2_push, leaves_the_same_below)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds) * ARRAY_SIZE(kinds); i++) {
		struct pushing pushing;
		struct bench *bench = &pushing.bench;

		bench_make(bench, engine, MIB);
		make_chain(bench, kinds[i / 4], kinds[i % 4]);
		open_below(bench);
		bench_open(bench, "a", false);
		compare_with_raw(bench, "a");
		cr_assert_eq(push(&pushing, 2, 1), 0);
		cr_assert_gt(pushing.push.moved, 300 << 10);
		cr_assert_eq(bench_do(bench, LUN_READ, 0, at(0, BUFFER_BYTES), buffer), 0);
		cr_assert_eq(bench_stop(bench), 0);
		cr_assert_eq(bench_stop(bench), 0);
		shell("cd %s; qemu-img compare -q -f qcow2 -F raw s before; "
		      "qemu-img compare -q -f qcow2 -F raw a before; qemu-img check -q s; "
		      "[ $? != 2 ]",
		      bench->dir);
		bench_end(bench);
	}
}

/* Twice: the second time nothing has changed. */
TEST_ON_ENGINES(qcow2_push, is_idempotent_under_a_third_image)
{
	static uint8_t bytes[MIB] __attribute__((aligned(4096)));
	struct pushing pushing;
	struct bench *bench = &pushing.bench;

	bench_make(bench, engine, MIB);
	make_chain(bench, kinds[0], kinds[2]);
	shell("cd %s; qemu-img create -q -f qcow2 -b a -F qcow2 t 8M", bench->dir);
	open_below(bench);
	bench_open(bench, "a", false);
	bench_open(bench, "t", true);
	(void)memset(bytes, 0x77, sizeof(bytes));
	cr_assert_eq(bench_do(bench, LUN_WRITE, 0, at(2 * MIB, MIB), bytes), 0);
	cr_assert_eq(push(&pushing, 2, 1), 0);
	cr_assert_eq(bench_do(bench, LUN_WRITE, 0, at(MIB / 2 + SECTOR, MIB), bytes), 0);
	cr_assert_eq(push(&pushing, 2, 1), 0);
	cr_assert_eq(pushing.push.moved, 0);
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(bench_stop(bench), 0);
	/* The image below takes the place of the one that was pushed. */
	shell("cd %s; qemu-img convert -O raw t with; mv s a; qemu-img check -q t; "
	      "qemu-img compare -q -f qcow2 -F raw t with; qemu-img compare -q a before",
	      bench->dir);
	bench_end(bench);
}

/* -- The image above is written meanwhile -- */

#define WRITERS 4u

struct writer {
	struct qcow2_request request;
	struct iovec iov;
	struct loop_msg msg;
	struct qcow2 *image;
	sem_t done;
	int res;
};

static uint8_t data[64u << 10] __attribute__((aligned(4096)));

static void on_written(struct qcow2_request *request, int res)
{
	struct writer *writer = CONTAINER_OF(request, struct writer, request);

	writer->res = res;
	sem_post(&writer->done);
}

static void on_write(struct loop_msg *msg)
{
	struct writer *writer = CONTAINER_OF(msg, struct writer, msg);

	loop_role_assume();
	qcow2_submit(writer->image, &writer->request);
}

/* Anything, anywhere in 2 MiB, so that pushes meet it often. */
static void begin_write(struct bench *bench, struct writer *writer)
{
	static const enum lun_op ops[] = {LUN_WRITE, LUN_WRITE, LUN_UNMAP, LUN_ZERO};

	writer->request.op = ops[(unsigned)rand() % 4];
	writer->request.offset = 2 * MIB + (uint64_t)rand() % (2 * MIB / SECTOR) * SECTOR;
	writer->request.length = ((uint64_t)rand() % (sizeof(data) / SECTOR) + 1) * SECTOR;
	writer->iov = (struct iovec){data, writer->request.length};
	writer->request.iov = &writer->iov;
	writer->request.iov_count = writer->request.op == LUN_WRITE ? 1 : 0;
	writer->request.done = on_written;
	loop_post(bench->loop, &writer->msg, on_write);
}

static void end_write(struct writer *writer)
{
	cr_assert(wait_for(&writer->done, PATIENCE_S * 6000));
	cr_assert_eq(writer->res, 0);
}

/* Whatever a push reads too early or half goes down with one of the next. */
TEST_ON_ENGINES(qcow2_push, follows_who_writes_above)
{
	struct writer writers[WRITERS] = {0};
	struct pushing pushing;
	struct bench *bench = &pushing.bench;

	bench_make(bench, engine, MIB);
	make_chain(bench, kinds[0], kinds[2]);
	open_below(bench);
	bench_open(bench, "a", true);
	srand(7);
	for (unsigned i = 0; i < WRITERS; i++) {
		writers[i].image = bench_top(bench);
		sem_init(&writers[i].done, 0, 0);
	}
	for (unsigned round = 0; round < 150; round++) {
		for (unsigned i = 0; i < sizeof(data); i++)
			data[i] = (uint8_t)(round + i / SECTOR);
		for (unsigned i = 0; i < WRITERS; i++)
			begin_write(bench, &writers[i]);
		cr_assert_eq(push(&pushing, 2, 1), 0);
		for (unsigned i = 0; i < WRITERS; i++)
			end_write(&writers[i]);
	}
	cr_assert_eq(push(&pushing, 2, 1), 0);
	cr_assert_eq(pushing.push.left, 0);
	cr_assert_eq(bench_stop(bench), 0);
	cr_assert_eq(bench_stop(bench), 0);
	shell("cd %s; qemu-img compare -q s a && qemu-img check -q a && qemu-img check -q s",
	      bench->dir);
	bench_end(bench);
}

struct copying {
	struct bench *bench;
	struct loop_msg msg;
	int res;
};

static void on_copy(struct loop_msg *msg)
{
	struct copying *copying = CONTAINER_OF(msg, struct copying, msg);
	struct iovec iov = {data, SECTOR};

	loop_role_assume();
	copying->res =
		qcow2_copy(bench_top(copying->bench), LUN_WRITE, at(6 * MIB, SECTOR), &iov, 1);
	sem_post(&copying->bench->done);
}

/* One that is no request. */
TEST_ON_ENGINES(qcow2_push, follows_who_writes_on_the_spot)
{
	struct pushing pushing;
	struct bench *bench = &pushing.bench;
	struct copying copying = {.bench = bench};

	bench_make(bench, engine, MIB);
	bench->in_memory = true;
	make_chain(bench, kinds[0], kinds[0]);
	open_below(bench);
	bench_open(bench, "a", true);
	(void)memset(data, 0x33, sizeof(data));
	cr_assert_eq(bench_do(bench, LUN_WRITE, 0, at(6 * MIB, sizeof(data)), data), 0);
	cr_assert_eq(push(&pushing, 2, 1), 0);
	(void)memset(data, 0x44, sizeof(data));
	loop_post(bench->loop, &copying.msg, on_copy);
	wait_done(bench);
	cr_assert_eq(copying.res, 0);
	cr_assert_eq(push(&pushing, 2, 1), 0);
	cr_assert_eq(pushing.push.moved, 4096);
	end_alike(bench);
}

/* One that failed has pushed nothing. */
TEST_ON_ENGINES(qcow2_push, takes_back_what_failed)
{
	struct pushing pushing;
	struct bench *bench = &pushing.bench;

	bench_make(bench, engine, MIB);
	make_chain(bench, kinds[0], kinds[1]);
	open_below(bench);
	bench_open(bench, "a", true);
	bench->images[1]->holds_frees = false;
	cr_assert_eq(push(&pushing, 2, 1), -EROFS);
	cr_assert_eq(pushing.push.left, 8 * MIB);
	bench->images[1]->holds_frees = true;
	cr_assert_eq(push(&pushing, 2, 1), 0);
	cr_assert_eq(pushing.push.left, 0);
	(void)memset(buffer, 0x55, SECTOR);
	cr_assert_eq(bench_do(bench, LUN_WRITE, 0, at(7 * MIB, SECTOR), buffer), 0);
	cr_assert_eq(push(&pushing, 2, 1), 0);
	cr_assert_eq(pushing.push.moved, 4096);
	end_alike(bench);
}

/* Its pieces do not fill the last word of what is known of them. */
TEST_ON_ENGINES(qcow2_push, knows_the_last_of_a_disk)
{
	struct pushing pushing;
	struct bench *bench = &pushing.bench;

	bench_make(bench, engine, MIB);
	make_chain(bench, kinds[0], kinds[0]);
	shell("cd %s; qemu-img resize -q s +12k; qemu-img resize -q a +12k; "
	      "qemu-io -f qcow2 -c 'write -P 6 8196k 8k' a >/dev/null",
	      bench->dir);
	open_below(bench);
	bench_open(bench, "a", true);
	bench->images[1]->holds_frees = false;
	cr_assert_eq(push(&pushing, 2, 1), -EROFS);
	cr_assert_eq(pushing.push.left, 8 * MIB + (12 << 10));
	bench->images[1]->holds_frees = true;
	cr_assert_eq(push(&pushing, 2, 1), 0);
	cr_assert_eq(pushing.push.left, 0);
	end_alike(bench);
}

TEST_ON_ENGINES(qcow2_push, refuses_what_does_not_go_together)
{
	struct pushing pushing;
	struct bench *bench = &pushing.bench;

	bench_make(bench, engine, MIB);
	make_chain(bench, kinds[0], kinds[0]);
	open_below(bench);
	bench_open(bench, "a", false);
	cr_assert_eq(push(&pushing, 2, 0), -ESTALE);
	cr_assert_eq(push(&pushing, 1, 2), -ESTALE);
	cr_assert_eq(push(&pushing, 1, 0), -EROFS);
	bench->images[1]->holds_frees = false;
	cr_assert_eq(push(&pushing, 2, 1), -EROFS);
	bench->images[1]->holds_frees = true;
	bench->images[1]->size_bytes -= MIB;
	cr_assert_eq(push(&pushing, 2, 1), -ENOTSUP);
	bench->images[1]->size_bytes += MIB;
	bench_end(bench);
}
