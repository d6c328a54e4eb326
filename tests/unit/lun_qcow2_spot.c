/*
 * What is copied on the spot, and what is not: anything that needs more than a copy, or that nobody
 * knows the place of. The model test of all of it at once is lun_qcow2_storm.c.
 */
#include "tests/unit/lun_qcow2_bench.h"

#define BLOCK 4096u

/* A turn of the loop in which one copy is tried. */
struct copying {
	struct bench *bench;
	enum lun_op op;
	struct byte_range range;
	struct iovec iov;
	unsigned times; /* It is done so often, or until it is not. */
	int res;
	struct loop_msg msg;
};

static void on_copy(struct loop_msg *msg)
{
	struct copying *copying = CONTAINER_OF(msg, struct copying, msg);

	loop_role_assume();
	do
		copying->res = qcow2_copy(bench_top(copying->bench), copying->op, copying->range,
					  &copying->iov, 1);
	while (copying->res == 0 && --copying->times > 0);
	sem_post(&copying->bench->done);
}

static int copy(struct bench *bench, enum lun_op op, struct byte_range range, void *bytes,
		unsigned times)
{
	struct copying copying = {.bench = bench,
				  .op = op,
				  .range = range,
				  .iov = {bytes, range.end - range.begin},
				  .times = times};

	loop_post(bench->loop, &copying.msg, on_copy);
	wait_done(bench);
	cr_assert(copying.res == 0 || copying.times == times || copying.res == -EBUSY);
	return copying.res;
}

static bool copies(struct bench *bench, enum lun_op op, struct byte_range range, void *bytes)
{
	int res = copy(bench, op, range, bytes, 1);

	cr_assert(res == 0 || res == -EAGAIN);
	return res == 0;
}

static uint8_t bytes[MIB] __attribute__((aligned(4096)));
static uint8_t found[MIB] __attribute__((aligned(4096)));

static void open_in_memory(struct bench *bench, enum loop_engine engine, const char *make)
{
	bench_make(bench, engine, MIB);
	bench->in_memory = true;
	shell("cd %s; %s", bench->dir, make);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i / 512 + 1);
}

/* The image has been read from, and its slices are in the cache. */
static void warm(struct bench *bench)
{
	cr_assert_eq(bench_do(bench, LUN_READ, 0, at(0, IMAGE_BYTES / 8), found), 0);
}

TEST_ON_ENGINES(qcow2_spot, copies_what_is_in_one_place)
{
	struct bench bench;

	open_in_memory(&bench, engine, "qemu-img create -q -f qcow2 -o cluster_size=64k a 8M");
	bench_open(&bench, "a", true);
	cr_assert_not(copies(&bench, LUN_READ, at(0, BLOCK), found), "before the first request");
	cr_assert_eq(bench_do(&bench, LUN_WRITE, 0, at(0, 128 * 1024), bytes), 0);
	cr_assert(copies(&bench, LUN_READ, at(BLOCK, BLOCK), found));
	cr_assert_eq(memcmp(found, bytes + BLOCK, BLOCK), 0);
	cr_assert(copies(&bench, LUN_WRITE, at(3 * BLOCK, 512), bytes));
	cr_assert(copies(&bench, LUN_READ, at(3 * BLOCK, 1024), found));
	cr_assert_eq(memcmp(found, bytes, 512), 0);
	cr_assert_eq(memcmp(found + 512, bytes + 3 * BLOCK + 512, 512), 0);
	cr_assert_eq(bench_do(&bench, LUN_FLUSH, 0, at(0, 0), NULL), 0);
	(void)memcpy(bytes + 3 * BLOCK, bytes, 512);
	cr_assert_eq(bench_stop(&bench), 0);
	check(&bench, "a");
	bench_open(&bench, "a", true);
	cr_assert_eq(bench_do(&bench, LUN_READ, 0, at(0, 128 * 1024), found), 0);
	cr_assert_eq(memcmp(found, bytes, 128 * 1024), 0);
	bench_end(&bench);
}

TEST_ON_ENGINES(qcow2_spot, leaves_what_needs_more_than_a_copy)
{
	struct bench bench;

	open_in_memory(&bench, engine,
		       "qemu-img create -q -f qcow2 -o cluster_size=64k,extended_l2=on a 8M");
	bench_open(&bench, "a", true);
	/* The second of two clusters first: they are neighbours for the guest alone. */
	cr_assert_eq(bench_do(&bench, LUN_WRITE, 0, at(65536, 32768), bytes), 0);
	cr_assert_eq(bench_do(&bench, LUN_WRITE, 0, at(32768, 32768), bytes), 0);
	cr_assert_not(copies(&bench, LUN_READ, at(65536 - 512, 1024), found), "two places");
	cr_assert_not(copies(&bench, LUN_WRITE, at(65536 - 512, 1024), bytes), "two places");
	cr_assert_not(copies(&bench, LUN_READ, at(0, BLOCK), found), "zeroes");
	cr_assert_not(copies(&bench, LUN_WRITE, at(0, BLOCK), bytes), "a subcluster without data");
	cr_assert_not(copies(&bench, LUN_WRITE, at(MIB, BLOCK), bytes), "a cluster without data");
	cr_assert_not(copies(&bench, LUN_READ, at(32768, 32768 + 65536), found), "too long");
	cr_assert(copies(&bench, LUN_READ, at(32768, BLOCK), found));
	cr_assert_eq(bench_stop(&bench), 0);
	check(&bench, "a");
	bench_open(&bench, "a", false);
	cr_assert_eq(bench_do(&bench, LUN_READ, 0, at(0, 32768), found), 0);
	for (size_t i = 0; i < 32768; i++)
		cr_assert_eq(found[i], 0);
	bench_end(&bench);
}

/* A turn has its share; what is no copy is told apart from what is too much. */
TEST_ON_ENGINES(qcow2_spot, tells_when_a_turn_has_had_its_share)
{
	struct bench bench;

	open_in_memory(&bench, engine, "qemu-img create -q -f qcow2 -o cluster_size=64k a 8M");
	bench_open(&bench, "a", true);
	cr_assert_eq(bench_do(&bench, LUN_WRITE, 0, at(0, 65536), bytes), 0);
	cr_assert_eq(copy(&bench, LUN_READ, at(0, BLOCK), found, 8), 0);
	cr_assert_eq(copy(&bench, LUN_READ, at(0, 65536), found, 1000), -EBUSY);
	cr_assert_eq(copy(&bench, LUN_WRITE, at(0, BLOCK), bytes, 1000), -EBUSY);
	cr_assert_eq(copy(&bench, LUN_READ, at(MIB, BLOCK), found, 1000), -EAGAIN);
	cr_assert(copies(&bench, LUN_READ, at(0, BLOCK), found), "the next turn");
	cr_assert_eq(bench_stop(&bench), 0);
	bench_end(&bench);
}

/* What is below is read and never written. */
TEST_ON_ENGINES(qcow2_spot, writes_nothing_below)
{
	struct bench bench;

	open_in_memory(&bench, engine,
		       "head -c 8M /dev/urandom >b.raw; cp b.raw c; "
		       "qemu-img create -q -f qcow2 -b b.raw -F raw a");
	bench_open(&bench, "b.raw", false);
	bench_open(&bench, "a", true);
	warm(&bench);
	cr_assert(copies(&bench, LUN_READ, at(BLOCK, BLOCK), found));
	cr_assert_eq(pread(bench.files[0].fd, bytes, BLOCK, BLOCK), BLOCK);
	cr_assert_eq(memcmp(found, bytes, BLOCK), 0);
	cr_assert_not(copies(&bench, LUN_WRITE, at(BLOCK, BLOCK), bytes));
	shell("cmp %s/b.raw %s/c", bench.dir, bench.dir);
	bench_end(&bench);
}

/* A compressed cluster is given up with the first write. */
TEST_ON_ENGINES(qcow2_spot, leaves_compressed_clusters)
{
	struct bench bench;

	open_in_memory(&bench, engine,
		       "seq 1000000 | head -c 6000000 >f; truncate -s 8M f; "
		       "qemu-img convert -c -O qcow2 -o cluster_size=64k f a");
	bench_open(&bench, "a", true);
	warm(&bench);
	cr_assert_not(copies(&bench, LUN_READ, at(0, BLOCK), found));
	cr_assert_not(copies(&bench, LUN_WRITE, at(0, BLOCK), bytes));
	cr_assert_eq(bench_do(&bench, LUN_WRITE, 0, at(0, BLOCK), bytes), 0);
	cr_assert(copies(&bench, LUN_WRITE, at(BLOCK, BLOCK), bytes), "its own cluster now");
	cr_assert_eq(bench_stop(&bench), 0);
	check(&bench, "a");
	bench_end(&bench);
}

/* A transfer that ended with its file leaves a rest of its vector, which reads as zeroes. The next
 * one that has its record, and is copied, leaves none: a whole L2 table was zeroes once. */
TEST_ON_ENGINES(qcow2_spot, keeps_no_rest_of_a_transfer_before)
{
	struct bench bench;

	open_in_memory(&bench, engine,
		       "qemu-img create -q -f qcow2 -o cluster_size=4k a 8M; "
		       "qemu-io -f qcow2 -c 'write -P 1 0 4k' -c 'write -P 2 4M 4k' "
		       "-c 'write -z 2M 4k' a >/dev/null; truncate -s -2048 a");
	bench_open(&bench, "a", false);
	cr_assert_eq(bench_do(&bench, LUN_READ, 0, at(2 * MIB, BLOCK), found), 0);
	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(bench_do(&bench, LUN_READ, 0, at(4 * MIB * i, BLOCK), found), 0);
		cr_assert_eq(found[0], 1 + i);
	}
	bench_end(&bench);
}
