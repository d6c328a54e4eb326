/*
 * LUN_MAP: how spans become an answer, and what real files answer: holes, written and anchored
 * space, data that are in the page cache alone, and files of file systems that know less.
 */
#include "tests/unit/lun_testing.h"

#include <sys/vfs.h>

#include "lun/raw.h"

#define KIB 1024ull
#define MIB (KIB * KIB)

/* -- The builder -- */

struct span {
	uint64_t end;
	enum lun_extent_state state;
};

static union {
	struct lun_map map;
	uint8_t room[sizeof(struct lun_map) + 64 * sizeof(struct lun_extent)];
} answer;

static struct lun plain = {.limits.logical_block_bytes = 4096};

static struct map_builder build_begin(uint64_t offset, uint64_t length, uint32_t extents)
{
	struct lun_io io = {
		.lun = &plain,
		.offset_bytes = offset,
		.length_bytes = length,
		.iov[0] = {&answer, sizeof(struct lun_map) + extents * sizeof(struct lun_extent)},
	};
	struct map_builder builder;

	cr_assert(map_extents_max(&io) == extents);
	map_begin(&builder, &io);
	return builder;
}

static void expect_extents(const struct lun_extent *expected, unsigned count)
{
	cr_assert(answer.map.count == count, "%u extents", answer.map.count);
	for (unsigned i = 0; i < count; i++) {
		const struct lun_extent *found = &answer.map.extents[i];

		cr_assert(found->offset_bytes == expected[i].offset_bytes &&
				  found->length_bytes == expected[i].length_bytes &&
				  found->state == expected[i].state,
			  "%u: %llu + %llu is %d", i, (unsigned long long)found->offset_bytes,
			  (unsigned long long)found->length_bytes, (int)found->state);
	}
}

/* Blocks of 4 KiB on a file system with smaller ones. */
Test(lun_map, spans_become_whole_blocks)
{
	static const struct {
		struct span spans[6];
		unsigned count;
		struct lun_extent expected[3];
		const char *what;
	} cases[] = {
		{{{16384, LUN_MAPPED}}, 1, {{0, 16384, LUN_MAPPED}}, "one"},
		{{{1024, LUN_MAPPED}, {16384, LUN_DEALLOCATED}},
		 2,
		 {{0, 4096, LUN_MAPPED}, {4096, 12288, LUN_DEALLOCATED}},
		 "a block with some data"},
		{{{1024, LUN_DEALLOCATED}, {2048, LUN_ANCHORED}, {16384, LUN_DEALLOCATED}},
		 1,
		 {{0, 16384, LUN_DEALLOCATED}},
		 "a block with some space"},
		{{{5120, LUN_ANCHORED}, {8192, LUN_DEALLOCATED}, {16384, LUN_ANCHORED}},
		 3,
		 {{0, 4096, LUN_ANCHORED},
		  {4096, 4096, LUN_DEALLOCATED},
		  {8192, 8192, LUN_ANCHORED}},
		 "partly anchored is not anchored"},
		{{{7168, LUN_DEALLOCATED}, {7169, LUN_MAPPED}, {16384, LUN_DEALLOCATED}},
		 3,
		 {{0, 4096, LUN_DEALLOCATED},
		  {4096, 4096, LUN_MAPPED},
		  {8192, 8192, LUN_DEALLOCATED}},
		 "one byte of data"},
		{{{4096, LUN_MAPPED},
		  {4096, LUN_ANCHORED},
		  {3000, LUN_ANCHORED},
		  {99999, LUN_MAPPED}},
		 1,
		 {{0, 16384, LUN_MAPPED}},
		 "empty spans, spans behind, and one beyond the end"},
		{{{8192, LUN_ANCHORED}, {12288, LUN_ANCHORED}, {16384, LUN_ANCHORED}},
		 1,
		 {{0, 16384, LUN_ANCHORED}},
		 "neighbours of one state"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct map_builder builder = build_begin(0, 16384, 8);
		bool goes_on = true;

		for (unsigned s = 0; cases[i].spans[s].end && goes_on; s++) {
			const struct span *span = &cases[i].spans[s];

			goes_on = map_add(&builder, span->end, span->state);
			cr_expect(goes_on == (span->end < 16384), "%s", cases[i].what);
		}
		expect_extents(cases[i].expected, cases[i].count);
	}
}

/* A full answer ends with a whole block and says so; a state that goes on still fits. */
Test(lun_map, little_room)
{
	struct map_builder builder = build_begin(8192, 1 << 20, 2);

	cr_expect(map_add(&builder, 12288, LUN_MAPPED));
	cr_expect(map_add(&builder, 16384, LUN_ANCHORED));
	cr_expect(map_add(&builder, 21000, LUN_ANCHORED));
	cr_expect(!map_add(&builder, 30000, LUN_MAPPED));
	expect_extents((struct lun_extent[]){{8192, 4096, LUN_MAPPED}, {12288, 8192, LUN_ANCHORED}},
		       2);
}

/* -- Real files -- */

struct scene {
	struct rig rig;
	struct lun *lun;
	char path[128];
};

static void scene_open(struct scene *scene, enum loop_engine engine, const char *where,
		       bool page_cache)
{
	struct lun_spec spec;

	rig_create(&scene->rig, engine, where);
	snprintf(scene->path, sizeof(scene->path), "%s/image", scene->rig.dir);
	spec = test_spec(&scene->rig, "raw");
	spec.path = scene->path;
	spec.page_cache = page_cache;
	cr_assert(lun_open(&spec, &scene->rig.group, &scene->lun) == 0);
	cr_assert(lun_state(scene->lun)->online, "%s", lun_state(scene->lun)->offline_reason);
	rig_run(&scene->rig);
}

static void scene_close(struct scene *scene)
{
	rig_close(&scene->rig, scene->lun);
}

static int map_range(struct scene *scene, uint64_t offset, uint64_t length, uint32_t extents)
{
	struct tio *t = tio_new(LUN_MAP, offset, length);
	int res;

	memset(&answer, 0xA5, sizeof(answer));
	t->io.iov[0] = (struct iovec){&answer,
				      sizeof(struct lun_map) + extents * sizeof(struct lun_extent)};
	t->io.iov_count = 1;
	tio_submit(t, scene->lun, scene->rig.group.loops[0]);
	res = tio_wait(t);
	tio_free(t);
	return res;
}

static void expect_map(struct scene *scene, const struct lun_extent *expected, unsigned count)
{
	cr_assert(map_range(scene, 0, 16 * MIB, 64) == 0);
	expect_extents(expected, count);
}

static void run(struct scene *scene, enum lun_op op, uint64_t offset, uint64_t length)
{
	cr_assert(tio_run(scene->lun, scene->rig.group.loops[0], op, offset, length) == 0);
}

/* /tmp may be anything; what follows is known of these. */
static bool knows_unwritten(const char *path)
{
	struct statfs fs;

	return !statfs(path, &fs) && (fs.f_type == 0xEF53 || fs.f_type == 0x58465342);
}

static void written_zeroed_unmapped(enum loop_engine engine, bool page_cache)
{
	struct scene scene;

	scene_open(&scene, engine, "/tmp", page_cache);
	if (!knows_unwritten(scene.path)) {
		cr_log_warn("skipped: /tmp is neither ext4 nor XFS");
		scene_close(&scene);
		return;
	}
	cr_expect(lun_limits(scene.lun)->anchors);
	expect_map(&scene, (struct lun_extent[]){{0, 16 * MIB, LUN_DEALLOCATED}}, 1);
	run(&scene, LUN_WRITE, 1 * MIB, 64 * KIB);
	/* In the page cache alone, so far. */
	expect_map(
		&scene,
		(struct lun_extent[]){{0, 1 * MIB, LUN_DEALLOCATED},
				      {1 * MIB, 64 * KIB, LUN_MAPPED},
				      {1 * MIB + 64 * KIB, 15 * MIB - 64 * KIB, LUN_DEALLOCATED}},
		3);
	run(&scene, LUN_FLUSH, 0, 0);
	run(&scene, LUN_ZERO, 2 * MIB, 1 * MIB);
	run(&scene, LUN_UNMAP, 1 * MIB, 32 * KIB);
	expect_map(&scene,
		   (struct lun_extent[]){{0, 1 * MIB + 32 * KIB, LUN_DEALLOCATED},
					 {1 * MIB + 32 * KIB, 32 * KIB, LUN_MAPPED},
					 {1 * MIB + 64 * KIB, 1 * MIB - 64 * KIB, LUN_DEALLOCATED},
					 {2 * MIB, 1 * MIB, LUN_ANCHORED},
					 {3 * MIB, 13 * MIB, LUN_DEALLOCATED}},
		   5);
	/* Data over anchored space: mapped, flushed or not. */
	run(&scene, LUN_WRITE, 2 * MIB + 256 * KIB, 64 * KIB);
	for (unsigned i = 0; i < 2; i++) {
		cr_assert(map_range(&scene, 2 * MIB, 1 * MIB, 64) == 0);
		expect_extents(
			(struct lun_extent[]){{2 * MIB, 256 * KIB, LUN_ANCHORED},
					      {2 * MIB + 256 * KIB, 64 * KIB, LUN_MAPPED},
					      {2 * MIB + 320 * KIB, 704 * KIB, LUN_ANCHORED}},
			3);
		run(&scene, LUN_FLUSH, 0, 0);
	}
	/* A sector of a block of the file system: the block stays. */
	run(&scene, LUN_UNMAP, 2 * MIB + 256 * KIB, 512);
	cr_assert(map_range(&scene, 2 * MIB + 256 * KIB, 512, 64) == 0);
	expect_extents((struct lun_extent[]){{2 * MIB + 256 * KIB, 512, LUN_MAPPED}}, 1);
	/* Little room: the answer is shorter, and goes on from where it ended. */
	cr_assert(map_range(&scene, 0, 16 * MIB, 1) == 0);
	expect_extents((struct lun_extent[]){{0, 1 * MIB + 32 * KIB, LUN_DEALLOCATED}}, 1);
	cr_assert(map_range(&scene, 1 * MIB + 32 * KIB, 15 * MIB - 32 * KIB, 1) == 0);
	expect_extents((struct lun_extent[]){{1 * MIB + 32 * KIB, 32 * KIB, LUN_MAPPED}}, 1);
	scene_close(&scene);
}

TEST_ON_ENGINES(lun_map, written_zeroed_unmapped_direct)
{
	written_zeroed_unmapped(engine, false);
}

TEST_ON_ENGINES(lun_map, written_zeroed_unmapped_page_cache)
{
	written_zeroed_unmapped(engine, true);
}

static void expect_zeroes(struct scene *scene, uint64_t at, uint64_t length)
{
	for (uint64_t end = at + length; at < end; at += 32 * KIB) {
		struct tio *t = tio_new(LUN_READ, at, 32 * KIB);

		tio_submit(t, scene->lun, scene->rig.group.loops[1]);
		cr_assert(tio_wait(t) == 0);
		cr_assert(t->data[0] == 0 && !memcmp(t->data, t->data + 1, 32 * KIB - 1));
		tio_free(t);
	}
}

/* A hole stays one, space stays space, whether or not the data have left the page cache. */
static void zero_keeps_holes(enum loop_engine engine, bool page_cache)
{
	struct scene scene;
	struct loop *loop;

	scene_open(&scene, engine, "/tmp", page_cache);
	loop = scene.rig.group.loops[0];
	for (unsigned i = 0; i < 80 && knows_unwritten(scene.path); i++) {
		run(&scene, i % 2 ? LUN_ZERO : LUN_WRITE, i * 128 * KIB, 64 * KIB);
		if (i == 40)
			run(&scene, LUN_FLUSH, 0, 0);
	}
	cr_assert(tio_run_flags(scene.lun, loop, LUN_ZERO, LUN_IO_KEEP_HOLES, 32 * KIB, 10 * MIB) ==
		  0);
	for (unsigned i = 0; i < 79 && knows_unwritten(scene.path); i++) {
		uint64_t at = i * 128 * KIB + 32 * KIB;

		cr_assert(map_range(&scene, at, 128 * KIB, 64) == 0);
		expect_extents((struct lun_extent[]){{at, 32 * KIB, LUN_ANCHORED},
						     {at + 32 * KIB, 64 * KIB, LUN_DEALLOCATED},
						     {at + 96 * KIB, 32 * KIB, LUN_ANCHORED}},
			       3);
	}
	expect_zeroes(&scene, 32 * KIB, 10 * MIB);
	scene_close(&scene);
}

TEST_ON_ENGINES(lun_map, zero_keeps_holes_direct)
{
	zero_keeps_holes(engine, false);
}

TEST_ON_ENGINES(lun_map, zero_keeps_holes_page_cache)
{
	zero_keeps_holes(engine, true);
}

/* More extents than one round of the file system's answers has. */
Test(lun_map, many_extents)
{
	struct scene scene;
	uint64_t at = 0;

	scene_open(&scene, LOOP_ENGINE_AIO, "/tmp", false);
	if (!knows_unwritten(scene.path)) {
		scene_close(&scene);
		return;
	}
	for (unsigned i = 0; i < 80; i++)
		run(&scene, LUN_WRITE, i * 128 * KIB, 64 * KIB);
	while (at < 80 * 128 * KIB) {
		cr_assert(map_range(&scene, at, 80 * 128 * KIB - at, 64) == 0);
		cr_assert(answer.map.count == 64 || at + 64 * 64 * KIB > 80 * 128 * KIB);
		for (unsigned i = 0; i < answer.map.count; i++, at += 64 * KIB) {
			cr_assert(answer.map.extents[i].offset_bytes == at);
			cr_assert(answer.map.extents[i].length_bytes == 64 * KIB);
			cr_assert(answer.map.extents[i].state ==
				  (at / (64 * KIB) % 2 ? LUN_DEALLOCATED : LUN_MAPPED));
		}
	}
	scene_close(&scene);
}

struct flood {
	struct scene *scene;
	struct tio *maps[40];
	unsigned running, most;
};

static void call_submit_all(void *arg)
{
	struct flood *flood = arg;
	struct raw_lane *lane = &flood->scene->lun->image->lanes[0];

	loop_role_assume();
	for (unsigned i = 0; i < ARRAY_SIZE(flood->maps); i++) {
		lun_io_submit(flood->scene->lun, flood->scene->rig.group.loops[0],
			      &flood->maps[i]->io);
		flood->running = lane->maps_running;
		if (flood->running > flood->most)
			flood->most = flood->running;
	}
}

static void call_abandon_all(void *arg)
{
	struct flood *flood = arg;

	loop_role_assume();
	for (unsigned i = 0; i < ARRAY_SIZE(flood->maps); i++)
		lun_io_abandon(&flood->maps[i]->io);
}

/* Many questions at once: few are asked of the file system together, all end, aborted ones too. */
static void flood(enum loop_engine engine, bool aborts)
{
	static uint8_t rooms[40][sizeof(struct lun_map) + 4 * sizeof(struct lun_extent)];
	struct scene scene;
	struct flood flood = {.scene = &scene};

	scene_open(&scene, engine, "/tmp", false);
	run(&scene, LUN_WRITE, 1 * MIB, 64 * KIB);
	for (unsigned i = 0; i < ARRAY_SIZE(flood.maps); i++) {
		flood.maps[i] = tio_new(LUN_MAP, 1 * MIB, 64 * KIB);
		flood.maps[i]->io.iov[0] = (struct iovec){rooms[i], sizeof(rooms[i])};
		flood.maps[i]->io.iov_count = 1;
	}
	rig_call(scene.rig.group.loops[0], call_submit_all, &flood);
	cr_expect(flood.running >= 1 && flood.most <= RAW_MAPS_MAX, "%u at once", flood.most);
	if (aborts)
		rig_call(scene.rig.group.loops[0], call_abandon_all, &flood);
	for (unsigned i = 0; i < ARRAY_SIZE(flood.maps); i++) {
		const struct lun_map *map = (const struct lun_map *)(const void *)rooms[i];
		int res = tio_wait(flood.maps[i]);

		cr_expect(res == 0 || (aborts && res == -ECANCELED));
		cr_expect(res != 0 || (map->count == 1 && map->extents[0].state == LUN_MAPPED));
		tio_free(flood.maps[i]);
	}
	cr_assert(map_range(&scene, 0, 16 * MIB, 64) == 0, "and it goes on");
	scene_close(&scene);
}

TEST_ON_ENGINES(lun_map, many_questions)
{
	flood(engine, false);
}

TEST_ON_ENGINES(lun_map, many_aborted_questions)
{
	flood(engine, true);
}

/* No FIEMAP: what is not data is a hole, and nothing is promised to be anchored. */
Test(lun_map, tmpfs)
{
	struct scene scene;

	scene_open(&scene, LOOP_ENGINE_AIO, "/dev/shm", false);
	cr_expect(!lun_limits(scene.lun)->anchors);
	run(&scene, LUN_WRITE, 1 * MIB, 64 * KIB);
	run(&scene, LUN_ZERO, 1 * MIB, 32 * KIB);
	expect_map(
		&scene,
		(struct lun_extent[]){{0, 1 * MIB + 32 * KIB, LUN_DEALLOCATED},
				      {1 * MIB + 32 * KIB, 32 * KIB, LUN_MAPPED},
				      {1 * MIB + 64 * KIB, 15 * MIB - 64 * KIB, LUN_DEALLOCATED}},
		3);
	scene_close(&scene);
}

/* Nothing is ever stored: a hole, whatever was written. */
Test(lun_map, null)
{
	struct scene scene;
	struct lun_spec spec;

	rig_create(&scene.rig, LOOP_ENGINE_AIO, "/tmp");
	spec = test_spec(&scene.rig, "null");
	cr_assert(lun_open(&spec, &scene.rig.group, &scene.lun) == 0);
	rig_run(&scene.rig);
	run(&scene, LUN_WRITE, 1 * MIB, 64 * KIB);
	expect_map(&scene, (struct lun_extent[]){{0, 16 * MIB, LUN_DEALLOCATED}}, 1);
	scene_close(&scene);
}

/* It waits neither for writes nor for the orphans that they may become, nor for exclusive ranges.
 */
Test(lun_map, waits_for_nobody)
{
	struct scene scene;
	struct tio *write;
	struct tio *map;

	held.io_align_bytes = 4096;
	scene.lun = held_lun(&scene.rig, LOOP_ENGINE_AIO);
	write = tio_new(LUN_WRITE, 0, 4096);
	tio_submit(write, scene.lun, scene.rig.group.loops[0]);
	tio_abandon(write);
	map = tio_new(LUN_MAP, 512, 512);
	map->io.iov[0] = (struct iovec){&answer, sizeof(answer)};
	map->io.iov_count = 1;
	tio_submit(map, scene.lun, scene.rig.group.loops[1]);
	cr_expect(held_has(map), "not behind the orphan, and no read-modify-write");
	cr_expect(held_end(map, 0) == 0);
	cr_expect(held_end(write, 0) == 0);
	tio_free(map);
	tio_free(write);
	scene_close(&scene);
}
