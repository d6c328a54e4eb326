/*
 * The engine on real files and a real loop: what it reads of images that qemu-img and qemu-io made,
 * and that they find what it wrote. Crashes are not here: tests/crash.
 */
#include "tests/unit/lun_qcow2_bench.h"

/* -- Reading what qemu made -- */

static void write_pattern(const struct bench *bench, const char *name)
{
	shell("qemu-io -f qcow2 -c 'write -P 1 0 1M' -c 'write -P 2 3M 4k' -c 'write -P 3 1500k "
	      "700k' "
	      "-c 'write -z 4M 1M' -c 'discard 5M 512k' -c 'write -P 4 7m 1000k' %s/%s >/dev/null",
	      bench->dir, name);
}

static const char *const made[] = {
	"cluster_size=64k",
	"cluster_size=4k",
	"cluster_size=512",
	"cluster_size=2M",
	"cluster_size=64k,extended_l2=on",
	"cluster_size=128k,extended_l2=on,preallocation=metadata",
	"compat=0.10",
};

TEST_ON_ENGINES(qcow2_engine, reads_what_qemu_made)
{
	for (size_t i = 0; i < ARRAY_SIZE(made); i++) {
		struct bench bench;

		bench_make(&bench, engine, 1);
		shell("qemu-img create -q -f qcow2 -o %s %s/a 8M", made[i], bench.dir);
		write_pattern(&bench, "a");
		bench_open(&bench, "a", false);
		compare_with_raw(&bench, "a");
		bench_end(&bench);
	}
}

/* Compressed clusters, which a write replaces, whole or in part. */
TEST_ON_ENGINES(qcow2_engine, reads_and_replaces_compressed_clusters)
{
	static const char *const options[] = {
		"cluster_size=64k",
		"cluster_size=64k,compression_type=zstd",
		"cluster_size=2M",
		"cluster_size=32k,extended_l2=on",
	};
	static uint8_t bytes[MIB] __attribute__((aligned(4096)));

	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		struct bench bench;

		bench_make(&bench, engine, 1);
		shell("cd %s; seq 1000000 | head -c 6000000 >f; truncate -s 8M f; "
		      "qemu-img convert -c -O qcow2 -o %s f a",
		      bench.dir, options[i]);
		bench_open(&bench, "a", true);
		compare_with_raw(&bench, "a");
		for (uint64_t place = 100 * SECTOR; place < 5 * MIB; place += 333 * SECTOR)
			cr_assert_eq(bench_do(&bench, LUN_WRITE, 0, at(place, 9 * SECTOR), bytes),
				     0);
		cr_assert_eq(bench_do(&bench, LUN_WRITE, 0, at(5 * MIB, MIB), bytes), 0);
		cr_assert_eq(bench_do(&bench, LUN_ZERO, 0, at(9 * SECTOR, 77 * SECTOR), NULL), 0);
		cr_assert_eq(bench_do(&bench, LUN_UNMAP, 0, at(4 * MIB, MIB), NULL), 0);
		cr_assert_eq(bench_stop(&bench), 0);
		check(&bench, "a");
		bench_open(&bench, "a", false);
		compare_with_raw(&bench, "a");
		bench_end(&bench);
	}
}

TEST_ON_ENGINES(qcow2_engine, reads_chains)
{
	struct bench bench;

	bench_make(&bench, engine, MIB);
	shell("cd %s; yes abcdefg | head -c 6000000 >c.raw; qemu-img create -q -f qcow2 -b c.raw "
	      "-F raw b; "
	      "qemu-img resize -q b 7M; qemu-img create -q -f qcow2 -o extended_l2=on -b b -F "
	      "qcow2 a 8M",
	      bench.dir);
	shell("qemu-io -f qcow2 -c 'write -P 9 2M 77k' -c 'write -z 3M 1M' %s/b >/dev/null",
	      bench.dir);
	write_pattern(&bench, "a");
	bench_open(&bench, "c.raw", false);
	bench_open(&bench, "b", false);
	bench_open(&bench, "a", false);
	compare_with_raw(&bench, "a");
	bench_end(&bench);
}

/* -- Writing -- */

TEST_ON_ENGINES(qcow2_engine, writes_and_stops)
{
	static uint8_t bytes[MIB] __attribute__((aligned(4096)));
	static uint8_t found[MIB] __attribute__((aligned(4096)));
	struct bench bench;

	bench_make(&bench, engine, MIB);
	shell("qemu-img create -q -f qcow2 %s/a 8M", bench.dir);
	bench_open(&bench, "a", true);
	(void)memset(bytes, 7, sizeof(bytes));
	cr_assert_eq(bench_do(&bench, LUN_WRITE, 0, at(3 * SECTOR, 9 * SECTOR), bytes), 0);
	cr_assert_eq(bench_do(&bench, LUN_WRITE, LUN_IO_DURABLE, at(MIB, MIB), bytes), 0);
	cr_assert_eq(bench_do(&bench, LUN_FLUSH, 0, at(0, 0), NULL), 0);
	cr_assert_eq(bench_do(&bench, LUN_READ, 0, at(MIB, MIB), found), 0);
	cr_assert_eq(memcmp(bytes, found, MIB), 0);
	cr_assert_eq(bench_do(&bench, LUN_UNMAP, 0, at(MIB, MIB / 2), NULL), 0);
	cr_assert_eq(bench_do(&bench, LUN_READ, LUN_IO_ZEROES_SUFFICE, at(MIB, MIB / 2), found), 0);
	cr_assert(bench.request.zeroes);
	cr_assert_eq(bench_stop(&bench), 0);
	check(&bench, "a");
	bench_open(&bench, "a", false);
	compare_with_raw(&bench, "a");
	bench_end(&bench);
}

/* So small clusters that refcount blocks and tables run out: a table of 64 blocks counts 8 MiB. */
TEST_ON_ENGINES(qcow2_engine, moves_the_refcount_table)
{
	static uint8_t bytes[MIB] __attribute__((aligned(4096)));
	static uint8_t found[MIB] __attribute__((aligned(4096)));
	struct bench bench;
	uint64_t table;

	bench_make(&bench, engine, MIB);
	shell("qemu-img create -q -f qcow2 -o cluster_size=512 %s/a 16M", bench.dir);
	bench_open(&bench, "a", true);
	table = qcow2_header(bench_top(&bench))->refcount_table_offset;
	for (uint64_t i = 0; i < 10; i++) {
		(void)memset(bytes, (int)i + 1, sizeof(bytes));
		cr_assert_eq(bench_do(&bench, LUN_WRITE, 0, at(i * MIB, MIB), bytes), 0);
	}
	cr_assert_neq(qcow2_header(bench_top(&bench))->refcount_table_offset, table);
	cr_assert_eq(bench_stop(&bench), 0);
	check(&bench, "a");
	bench_open(&bench, "a", true);
	for (uint64_t i = 0; i < 10; i++) {
		(void)memset(bytes, (int)i + 1, sizeof(bytes));
		cr_assert_eq(bench_do(&bench, LUN_READ, 0, at(i * MIB, MIB), found), 0);
		cr_assert_eq(memcmp(bytes, found, MIB), 0);
	}
	/* More frees than there is room for at once. */
	cr_assert_eq(bench_do(&bench, LUN_UNMAP, 0, at(0, 16 * MIB), NULL), 0);
	cr_assert_eq(bench_stop(&bench), 0);
	check(&bench, "a");
	bench_end(&bench);
}
