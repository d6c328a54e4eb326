/*
 * The raw image's I/O on real files: direct, through the page cache, and on tmpfs. Content after
 * every operation against a model in memory, space really given back, large ranges in steps, a punt
 * queue longer than its workers. Blocks of 512 bytes on a medium with 4 KiB are in lun_rmw.c.
 */
#include "tests/unit/lun_testing.h"

#include "lun/raw.h"

#define SIZE_BYTES (16u << 20)
#define BLOCK 4096u

struct kind {
	const char *what;
	const char *where;
	bool page_cache;
};

static const struct kind kinds[] = {
	{"direct, on a disk", "/var/tmp", false},
	{"page cache, on a disk", "/var/tmp", true},
	{"tmpfs", "/dev/shm", false},
};

static struct lun *raw_lun(struct rig *rig, enum loop_engine engine, const struct kind *kind,
			   uint64_t size_bytes, bool write_cache)
{
	char path[80];
	struct lun_spec spec;
	struct lun *lun;

	rig_create(rig, engine, kind->where);
	snprintf(path, sizeof(path), "%s/image", rig->dir);
	spec = test_spec(rig, "raw");
	spec.path = path;
	spec.size_bytes = size_bytes;
	spec.page_cache = kind->page_cache;
	spec.write_cache = write_cache;
	cr_assert_eq(lun_open(&spec, &rig->group, &lun), 0);
	cr_assert(lun_state(lun)->online, "%s: %s", kind->what, lun_state(lun)->offline_reason);
	rig_run(rig);
	return lun;
}

static uint64_t space_used(const struct rig *rig)
{
	char path[80];
	struct stat st;

	snprintf(path, sizeof(path), "%s/image", rig->dir);
	cr_assert_eq(stat(path, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void fill(uint8_t *bytes, size_t count, uint32_t seed)
{
	for (size_t i = 0; i < count; i++) {
		seed = seed * 1664525 + 1013904223;
		bytes[i] = (uint8_t)(seed >> 24);
	}
}

static int write_pattern(struct lun *lun, struct loop *loop, uint64_t offset, uint64_t length,
			 uint32_t flags)
{
	struct tio *t = tio_new(LUN_WRITE, offset, length);
	int res;

	fill(t->data, length, (uint32_t)offset);
	t->io.flags = flags;
	tio_submit(t, lun, loop);
	res = tio_wait(t);
	tio_free(t);
	return res;
}

static void check_bytes(struct lun *lun, struct loop *loop, const uint8_t *model, uint64_t offset,
			uint64_t length)
{
	struct tio *t = tio_new(LUN_READ, offset, length);

	tio_submit(t, lun, loop);
	cr_assert_eq(tio_wait(t), 0);
	cr_assert_eq(memcmp(t->data, model + offset, length), 0, "at %llu, %llu bytes",
		     (unsigned long long)offset, (unsigned long long)length);
	tio_free(t);
}

static void check_all(struct lun *lun, struct rig *rig, const uint8_t *model)
{
	for (uint64_t at = 0; at < SIZE_BYTES; at += 512 * 1024)
		check_bytes(lun, rig->group.loops[at / (512 * 1024) % RIG_LOOPS], model, at,
			    512 * 1024);
}

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

static void storm_step(struct lun *lun, struct loop *loop, uint8_t *model, uint32_t *seed)
{
	static const enum lun_op ops[] = {LUN_WRITE, LUN_READ,  LUN_WRITE,
					  LUN_UNMAP, LUN_WRITE, LUN_ZERO};
	enum lun_op op = ops[next_random(seed) % ARRAY_SIZE(ops)];
	uint64_t offset = next_random(seed) % (SIZE_BYTES / 512 - 1024) * 512ull;
	uint64_t length = (next_random(seed) % 1024 + 1) * 512ull;

	if (op == LUN_READ) {
		check_bytes(lun, loop, model, offset, length);
	} else if (op == LUN_WRITE) {
		cr_assert_eq(write_pattern(lun, loop, offset, length, next_random(seed) % 2), 0);
		fill(model + offset, length, (uint32_t)offset);
	} else {
		cr_assert_eq(tio_run(lun, loop, op, offset, length), 0);
		memset(model + offset, 0, length);
	}
}

/* Random operations in 512-byte blocks, one at a time, from both loops. */
TEST_ON_ENGINES(raw, content_is_what_was_written)
{
	uint8_t *model = malloc(SIZE_BYTES);

	for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct rig rig;
		struct lun *lun = raw_lun(&rig, engine, &kinds[k], SIZE_BYTES, true);
		uint32_t seed = 4711;

		cr_assert(lun_limits(lun)->thin && lun_limits(lun)->zeroes_after_unmap);
		memset(model, 0, SIZE_BYTES);
		for (unsigned i = 0; i < 200; i++)
			storm_step(lun, rig.group.loops[i % RIG_LOOPS], model, &seed);
		check_all(lun, &rig, model);
		cr_assert_eq(tio_run(lun, rig.group.loops[1], LUN_FLUSH, 0, 0), 0);
		rig_close(&rig, lun);
	}
	free(model);
}

TEST_ON_ENGINES(raw, space_comes_with_writes_and_goes_with_unmap)
{
	for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct rig rig;
		struct lun *lun = raw_lun(&rig, engine, &kinds[k], SIZE_BYTES, true);
		struct loop *loop = rig.group.loops[0];

		cr_assert_leq(space_used(&rig), 4096, "%s: made thin", kinds[k].what);
		for (uint64_t at = 0; at < 4 << 20; at += 512 * 1024)
			cr_assert_eq(write_pattern(lun, loop, at, 512 * 1024, 0), 0);
		cr_assert_eq(tio_run(lun, loop, LUN_FLUSH, 0, 0), 0);
		cr_assert_geq(space_used(&rig), 4 << 20, "%s", kinds[k].what);
		cr_assert_eq(tio_run(lun, loop, LUN_UNMAP, 1 << 20, 3 << 20), 0);
		cr_assert_leq(space_used(&rig), (1 << 20) + 65536, "%s", kinds[k].what);
		rig_close(&rig, lun);
	}
}

/* 4 TiB, thin: more than one step, in one I/O. */
TEST_ON_ENGINES(raw, a_whole_large_image_is_unmapped_in_steps)
{
	static const uint64_t size = 4ull << 40;

	for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct rig rig;
		struct lun *lun = raw_lun(&rig, engine, &kinds[k], size, true);
		struct loop *loop = rig.group.loops[0];

		cr_assert_eq(write_pattern(lun, loop, 0, BLOCK, 0), 0);
		cr_assert_eq(write_pattern(lun, loop, size - BLOCK, BLOCK, 0), 0);
		cr_assert_eq(tio_run(lun, loop, LUN_UNMAP, 0, size), 0);
		cr_assert_leq(space_used(&rig), 65536, "%s", kinds[k].what);
		rig_close(&rig, lun);
	}
}

/* An aborted one stops at the next step; the rest keeps its data. */
Test(raw, steps_grow_and_shrink)
{
	const uint64_t most = RAW_STEP_MAX_BYTES;
	const uint64_t least = RAW_STEP_MIN_BYTES;
	const struct {
		uint64_t now_bytes, step_bytes, took_ms, expected_bytes;
	} rows[] = {
		{most, most, 0, most},
		{most, most, 500, most},
		{most, most, 501, most / 4},
		{most / 4, most / 4, 1000000, most / 16},
		{2 * least, 2 * least, 501, least},
		{least, least, 1000000, least},
		{least, least, 250, least},
		{least, least, 249, 2 * least},
		{most / 2, most / 2, 0, most},
		/* A short one tells nothing. */
		{least, 4096, 0, least},
		{most, 4096, 1000000, most},
		{most, 8 * least, 1000, 2 * least},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t next = raw_range_step(rows[i].now_bytes, rows[i].step_bytes,
					       rows[i].took_ms * 1000000);

		cr_expect(next == rows[i].expected_bytes, "row %u: %llu", i,
			  (unsigned long long)next);
	}
}

TEST_ON_ENGINES(raw, small_steps_do_the_same)
{
	const uint64_t size = 8 * RAW_STEP_MIN_BYTES;

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct rig rig;
		struct lun *lun = raw_lun(&rig, engine, &kinds[i], size, true);
		struct loop *loop = rig.group.loops[0];

		for (uint64_t at = 0; at < size; at += RAW_STEP_MIN_BYTES)
			cr_assert_eq(tio_run(lun, loop, LUN_WRITE, at, 65536), 0);
		lun->image->lanes[0].range_step = RAW_STEP_MIN_BYTES;
		cr_assert_eq(tio_run(lun, loop, LUN_UNMAP, 4096, size - 4096), 0);
		cr_assert_leq(space_used(&rig), 65536, "%s", kinds[i].what);
		rig_close(&rig, lun);
	}
}

TEST_ON_ENGINES(raw, an_abandoned_large_unmap_stops)
{
	static const uint64_t size = 4ull << 40;
	struct rig rig;
	struct lun *lun = raw_lun(&rig, engine, &kinds[0], size, true);
	struct tio *unmap = tio_new(LUN_UNMAP, 0, size);

	cr_assert_eq(write_pattern(lun, rig.group.loops[0], size - BLOCK, BLOCK, 0), 0);
	tio_submit(unmap, lun, rig.group.loops[0]);
	tio_abandon(unmap);
	int res = tio_wait(unmap);
	if (res == -ECANCELED)
		cr_assert_geq(space_used(&rig), BLOCK);
	else
		cr_assert_eq(res, 0, "it was over before the abort came");
	tio_free(unmap);
	rig_close(&rig, lun);
}

struct workers {
	struct lun *lun;
	struct loop *loop;
	unsigned running;
};

static void call_count_workers(void *arg)
{
	struct workers *w = arg;

	w->running = w->lun->image->lanes[loop_index(w->loop)].running;
}

/* However much is asked of it, a LUN takes its share of workers and no more. */
static void check_workers(struct lun *lun, struct loop *loop)
{
	struct workers w = {.lun = lun, .loop = loop};

	rig_call(loop, call_count_workers, &w);
	cr_assert_leq(w.running, loop_punt_limit(loop));
}

/* Far more than there are workers for: holes and buffered writes all have to wait their turn. */
TEST_ON_ENGINES(raw, many_at_once_from_both_loops)
{
	enum {
		COUNT = 400
	};
	struct tio *all[COUNT];

	for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct rig rig;
		struct lun *lun = raw_lun(&rig, engine, &kinds[k], SIZE_BYTES, true);

		for (unsigned i = 0; i < COUNT; i++) {
			all[i] = tio_new(LUN_WRITE, i * 8ull * BLOCK, BLOCK);
			fill(all[i]->data, BLOCK, i);
			tio_submit(all[i], lun, rig.group.loops[i % RIG_LOOPS]);
			check_workers(lun, rig.group.loops[i % RIG_LOOPS]);
		}
		for (unsigned i = 0; i < COUNT; i++) {
			cr_assert_eq(tio_wait(all[i]), 0);
			tio_free(all[i]);
		}
		for (unsigned i = 0; i < COUNT; i++) {
			uint8_t expected[BLOCK];
			struct tio *read = tio_new(LUN_READ, i * 8ull * BLOCK, BLOCK);

			fill(expected, BLOCK, i);
			tio_submit(read, lun, rig.group.loops[i % RIG_LOOPS]);
			cr_assert_eq(tio_wait(read), 0);
			cr_assert_eq(memcmp(read->data, expected, BLOCK), 0);
			tio_free(read);
		}
		rig_settle(&rig);
		cr_assert_eq(lun_in_flight(lun, rig.group.loops[0]), 0);
		rig_close(&rig, lun);
	}
}

/* Many flushes from both loops while writes go on: each is answered, none is lost. */
TEST_ON_ENGINES(raw, flushes_from_both_loops)
{
	enum {
		COUNT = 60
	};
	struct tio *all[COUNT];

	for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct rig rig;
		struct lun *lun = raw_lun(&rig, engine, &kinds[k], SIZE_BYTES, true);

		for (unsigned i = 0; i < COUNT; i++) {
			all[i] = tio_new(i % 3 ? LUN_FLUSH : LUN_WRITE, i * BLOCK, BLOCK);
			tio_submit(all[i], lun, rig.group.loops[i % RIG_LOOPS]);
		}
		for (unsigned i = 0; i < COUNT; i++) {
			cr_assert_eq(tio_wait(all[i]), 0);
			tio_free(all[i]);
		}
		rig_close(&rig, lun);
	}
}

/* Without a write cache every change is durable, whoever asked for what. */
TEST_ON_ENGINES(raw, without_write_cache_every_change_is_durable)
{
	for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct rig rig;
		struct lun *lun = raw_lun(&rig, engine, &kinds[k], SIZE_BYTES, false);
		struct tio *write = tio_new(LUN_WRITE, 0, BLOCK);

		tio_submit(write, lun, rig.group.loops[0]);
		cr_assert_eq(tio_wait(write), 0);
		cr_assert(write->io.flags & LUN_IO_DURABLE);
		tio_free(write);
		cr_assert_eq(tio_run(lun, rig.group.loops[0], LUN_UNMAP, 0, BLOCK), 0);
		cr_assert_eq(tio_run(lun, rig.group.loops[0], LUN_ZERO, 0, BLOCK), 0);
		rig_close(&rig, lun);
	}
}

/* fdatasync that fails: a descriptor that has nothing to sync stands for a disk that lost its
 * cache. */
TEST_ON_ENGINES(raw, a_flush_that_fails_is_final_on_every_loop)
{
	for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct rig rig;
		struct lun *lun = raw_lun(&rig, engine, &kinds[k], SIZE_BYTES, true);
		int pipes[2];

		cr_assert_eq(write_pattern(lun, rig.group.loops[0], 0, BLOCK, 0), 0);
		cr_assert_eq(pipe(pipes), 0);
		cr_assert_geq(dup2(pipes[0], lun->image->sync_fd), 0);
		/* A durable write through the page cache stands on the same call. */
		if (kinds[k].page_cache)
			cr_assert_eq(
				write_pattern(lun, rig.group.loops[1], 0, BLOCK, LUN_IO_DURABLE),
				-EIO);
		else
			cr_assert_eq(tio_run(lun, rig.group.loops[1], LUN_FLUSH, 0, 0), -EIO);
		for (unsigned i = 0; i < RIG_LOOPS; i++) {
			struct loop *loop = rig.group.loops[i];

			cr_assert_eq(write_pattern(lun, loop, 0, BLOCK, 0), -EROFS);
			cr_assert_eq(tio_run(lun, loop, LUN_FLUSH, 0, 0), -EIO);
			cr_assert_eq(tio_run(lun, loop, LUN_READ, 0, BLOCK), 0);
		}
		close(pipes[0]);
		close(pipes[1]);
		rig_close(&rig, lun);
	}
}

/* Somebody truncates the image behind our back: an error, never silence. */
TEST_ON_ENGINES(raw, a_file_that_became_shorter_reads_as_an_error)
{
	for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
		char path[80];
		struct rig rig;
		struct lun *lun = raw_lun(&rig, engine, &kinds[k], SIZE_BYTES, true);

		snprintf(path, sizeof(path), "%s/image", rig.dir);
		cr_assert_eq(truncate(path, SIZE_BYTES / 2), 0);
		cr_assert_eq(tio_run(lun, rig.group.loops[0], LUN_READ, SIZE_BYTES / 2 - BLOCK,
				     2 * BLOCK),
			     -EIO);
		cr_assert_eq(tio_run(lun, rig.group.loops[0], LUN_READ, 0, BLOCK), 0);
		rig_close(&rig, lun);
	}
}
