/*
 * PULL: an image gets what shows through it, from its top or from a layer below, with guests at
 * work; what it reads as stays, and qemu-img finds the same without the layers that were between.
 * Power cuts are not here: tests/crash.
 */
#include "tests/unit/lun_qcow2_bench.h"

static void on_pull(struct loop_msg *msg)
{
	struct bench *bench = CONTAINER_OF(msg, struct bench, msg);

	loop_role_assume();
	qcow2_submit(bench->iov.iov_base, &bench->request);
}

/* Into images[layer] from what is above images[base]; base < 0: all. Something of below_bytes comes
 * below it. */
static int pull_above(struct bench *bench, unsigned layer, int base, uint32_t flags,
		      uint64_t below_bytes)
{
	bench->iov.iov_base = bench->images[layer];
	bench->request.op = LUN_PULL;
	bench->request.flags = flags;
	bench->request.offset = 0;
	bench->request.length = 64 * MIB;
	bench->request.iov_count = 0;
	bench->request.base = base < 0 ? NULL : bench->images[base];
	bench->request.below_bytes = below_bytes;
	bench->request.done = on_done;
	loop_post(bench->loop, &bench->msg, on_pull);
	wait_done(bench);
	return bench->res;
}

static int pull(struct bench *bench, unsigned layer, int base, uint32_t flags)
{
	return pull_above(bench, layer, base, flags, 0);
}

/* c is raw and shorter, b ends before a does, has zeroes over c's data, and data of its own; with
 * compressed clusters where `compressed`. */
static void make_chain(const struct bench *bench, const char *options, bool compressed)
{
	shell("cd %s; yes abcdefg | head -c 7000000 >c.raw; truncate -s 7000064 c.raw; "
	      "qemu-img create -q -f qcow2 -b c.raw -F raw b 6M; "
	      "qemu-io -f qcow2 -c 'write -P 9 2M 77k' -c 'write -z 3M 1M' -c 'write -P 3 5M 4k' "
	      "%s b >/dev/null; "
	      "qemu-img create -q -f qcow2 -o %s -b b -F qcow2 a 8M; "
	      "qemu-io -f qcow2 -c 'write -P 7 2080k 8k' -c 'write -z 2100k 4k' -c 'discard 1M "
	      "64k' "
	      "a >/dev/null; qemu-img convert -O raw a before",
	      bench->dir, compressed ? "-c 'write -c -P 5 1M 64k' -c 'write -c -P 6 4M 64k'" : "",
	      options);
}

/* As `before`, alone or above c. */
static void compare_rebased(const struct bench *bench, const char *rebase)
{
	shell("cd %s; qemu-img rebase -u %s a; qemu-img check -q a; "
	      "qemu-img compare -q -f qcow2 -F raw a before",
	      bench->dir, rebase);
}

static const char *const kinds[] = {
	"cluster_size=64k",
	"cluster_size=4k",
	"cluster_size=64k,extended_l2=on",
	"cluster_size=2M",
};

TEST_ON_ENGINES(qcow2_pull, pulls_the_whole_chain)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct bench bench;

		bench_make(&bench, engine, 1);
		make_chain(&bench, kinds[i], true);
		bench_open(&bench, "c.raw", false);
		bench_open(&bench, "b", false);
		bench_open(&bench, "a", true);
		cr_assert_eq(pull(&bench, 2, -1, LUN_IO_DURABLE), 0);
		cr_assert_gt(bench.request.moved, MIB);
		compare_with_raw(&bench, "a");
		/* What is done is passed by. */
		cr_assert_eq(pull(&bench, 2, -1, 0), 0);
		cr_assert_eq(bench.request.moved, 0);
		cr_assert_eq(bench_stop(&bench), 0);
		compare_rebased(&bench, "-b ''");
		bench_end(&bench);
	}
}

/* b goes, c stays: zeroes of b, and those behind its end, hide what c has there. */
TEST_ON_ENGINES(qcow2_pull, pulls_down_to_a_base)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct bench bench;

		bench_make(&bench, engine, 1);
		make_chain(&bench, kinds[i], i % 2 == 0);
		bench_open(&bench, "c.raw", false);
		bench_open(&bench, "b", false);
		bench_open(&bench, "a", true);
		cr_assert_eq(pull(&bench, 2, 0, 0), 0);
		cr_assert_lt(bench.request.moved, i == 3 ? 9 * MIB : MIB);
		compare_with_raw(&bench, "a");
		cr_assert_eq(bench_stop(&bench), 0);
		compare_rebased(&bench, "-b c.raw -F raw");
		bench_end(&bench);
	}
}

/* -- A layer that is read through -- */

static void bench_open_layer(struct bench *bench, const char *name)
{
	bench_open(bench, name, true);
	bench_top(bench)->holds_frees = true;
}

/* t is above a, which gets all of b and c; then each is stopped, from above to below. */
TEST_ON_ENGINES(qcow2_pull, pulls_into_a_layer_below)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		static uint8_t bytes[MIB] __attribute__((aligned(4096)));
		struct bench bench;

		bench_make(&bench, engine, MIB);
		make_chain(&bench, kinds[i], true);
		shell("cd %s; qemu-img create -q -f qcow2 -b a -F qcow2 t 8M", bench.dir);
		bench_open(&bench, "c.raw", false);
		bench_open(&bench, "b", false);
		bench_open_layer(&bench, "a");
		bench_open(&bench, "t", true);
		compare_with_raw(&bench, "t");
		(void)memset(bytes, 0x77, sizeof(bytes));
		cr_assert_eq(bench_do(&bench, LUN_WRITE, 0, at(MIB / 2, MIB), bytes), 0);
		cr_assert_eq(pull(&bench, 2, -1, LUN_IO_DURABLE), 0);
		cr_assert_eq(bench_do(&bench, LUN_READ, 0, at(2 * MIB, MIB), bytes), 0);
		cr_assert_eq(bench_stop(&bench), 0);
		check(&bench, "t");
		cr_assert_eq(bench_stop(&bench), 0);
		compare_rebased(&bench, "-b ''");
		bench_end(&bench);
	}
}

/* What one frees stays until it is stopped, and comes back then. */
TEST_ON_ENGINES(qcow2_pull, holds_what_is_freed_until_the_end)
{
	static uint8_t bytes[MIB] __attribute__((aligned(4096)));
	struct bench bench;

	bench_make(&bench, engine, MIB);
	shell("qemu-img create -q -f qcow2 %s/a 8M", bench.dir);
	bench_open_layer(&bench, "a");
	cr_assert_eq(bench_do(&bench, LUN_WRITE, 0, at(0, MIB), bytes), 0);
	cr_assert_eq(bench_do(&bench, LUN_UNMAP, 0, at(0, MIB), NULL), 0);
	cr_assert_eq(bench_do(&bench, LUN_FLUSH, 0, at(0, 0), NULL), 0);
	cr_assert(!list_is_empty(&bench_top(&bench)->quarantine.freed));
	cr_assert_eq(bench_stop(&bench), 0);
	check(&bench, "a");
	bench_end(&bench);
}

TEST_ON_ENGINES(qcow2_pull, refuses_what_is_not_below)
{
	struct bench bench;

	bench_make(&bench, engine, MIB);
	make_chain(&bench, kinds[0], false);
	bench_open(&bench, "c.raw", false);
	bench_open(&bench, "b", false);
	bench_open(&bench, "a", true);
	cr_assert_eq(pull(&bench, 2, 2, 0), -ESTALE);
	cr_assert_eq(pull(&bench, 1, 2, 0), -ESTALE);
	cr_assert_eq(pull(&bench, 1, 0, 0), -EROFS);
	bench_end(&bench);
}

/* -- Zeroes that the chain has as data -- */

static uint64_t allocated_bytes(const struct bench *bench, const char *name)
{
	char path[128];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/%s", bench->dir, name);
	cr_assert_eq(stat(path, &st), 0);
	return (uint64_t)st.st_blocks * SECTOR;
}

/* Of a raw file the engine knows no holes. */
TEST_ON_ENGINES(qcow2_pull, takes_no_space_for_holes)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct bench bench;

		bench_make(&bench, engine, MIB);
		shell("cd %s; truncate -s 60M c.raw; "
		      "qemu-io -f raw -c 'write -P 3 5M 64k' -c 'write -P 4 59M 4k' c.raw "
		      ">/dev/null; qemu-img create -q -f qcow2 -o %s -b c.raw -F raw a 64M; "
		      "qemu-io -f qcow2 -c 'write -P 5 41M 4k' a >/dev/null; "
		      "qemu-img convert -O raw a before",
		      bench.dir, kinds[i]);
		bench_open(&bench, "c.raw", false);
		bench_open(&bench, "a", true);
		cr_assert_eq(pull(&bench, 1, -1, LUN_IO_DURABLE), 0);
		cr_assert_leq(bench.request.moved, 6 * MIB);
		cr_assert_eq(pull(&bench, 1, -1, 0), 0);
		cr_assert_eq(bench.request.moved, 0);
		compare_with_raw(&bench, "a");
		cr_assert_eq(bench_stop(&bench), 0);
		cr_assert_lt(allocated_bytes(&bench, "a"), i == 3 ? 24 * MIB : 2 * MIB);
		compare_rebased(&bench, "-b ''");
		bench_end(&bench);
	}
}

/* They hide what a base has that stays. */
TEST_ON_ENGINES(qcow2_pull, keeps_zeroes_over_a_base)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct bench bench;

		bench_make(&bench, engine, MIB);
		shell("cd %s; yes abcdefg | head -c 8M >c.raw; "
		      "qemu-img create -q -f qcow2 -b c.raw -F raw b 8M; "
		      "qemu-io -f qcow2 -c 'write -P 0 2M 3M' -c 'write -P 0 6M 4k' b >/dev/null; "
		      "qemu-img create -q -f qcow2 -o %s -b b -F qcow2 a 8M; "
		      "qemu-io -f qcow2 -c 'write -P 7 2100k 4k' a >/dev/null; "
		      "qemu-img convert -O raw a before",
		      bench.dir, kinds[i]);
		bench_open(&bench, "c.raw", false);
		bench_open(&bench, "b", false);
		bench_open(&bench, "a", true);
		cr_assert_eq(pull(&bench, 2, 0, 0), 0);
		compare_with_raw(&bench, "a");
		cr_assert_eq(bench_stop(&bench), 0);
		compare_rebased(&bench, "-b c.raw -F raw");
		bench_end(&bench);
	}
}

/* -- Another image is to come below -- */

/* Which has data everywhere, and is longer than what was there. */
TEST_ON_ENGINES(qcow2_pull, keeps_zeroes_over_what_comes_below)
{
	for (size_t i = 0; i < 2 * ARRAY_SIZE(kinds); i++) {
		bool is_alone = i % 2 == 0;
		struct bench bench;

		bench_make(&bench, engine, MIB);
		make_chain(&bench, kinds[i / 2], false);
		if (is_alone)
			shell("cd %s; qemu-img rebase -u -b '' a; qemu-img convert -O raw a before",
			      bench.dir);
		shell("cd %s; yes 1234567 | head -c 7340032 >d.raw", bench.dir);
		if (!is_alone) {
			bench_open(&bench, "c.raw", false);
			bench_open(&bench, "b", false);
		}
		bench_open(&bench, "a", true);
		cr_assert_eq(pull_above(&bench, is_alone ? 0 : 2, -1, 0, 7 * MIB), 0);
		compare_with_raw(&bench, "a");
		cr_assert_eq(bench_stop(&bench), 0);
		compare_rebased(&bench, "-b d.raw -F raw");
		bench_end(&bench);
	}
}
