/*
 * Logical blocks of 512 bytes where the image moves 4 KiB: content, neighbours in one 4 KiB block
 * from two loops at once, abort at each step, and the holder of a range who writes less than it.
 * With a raw image that is told to want 4 KiB, with a loop device that really does, and with an
 * image that holds every I/O.
 */
/* The kernel's loop devices and our event loops share a word. */
#define loop_config loop_device_config
#include <linux/loop.h>
#undef loop_config

#include "tests/unit/lun_testing.h"

#include <sys/ioctl.h>
#include <sys/stat.h>

#define SIZE_BYTES (1u << 20)
#define SECTOR 512u

/* -- Content -- */

static int coarse_open(const struct lun_spec *spec, struct image **out, struct image_info *info,
		       char *why, size_t why_size)
{
	int res = image_raw_ops.open(spec, out, info, why, why_size);

	info->io_align_bytes = 4096;
	return res;
}

static struct lun *coarse_lun(struct rig *rig, enum loop_engine engine, const char *device)
{
	struct image_ops ops = image_raw_ops;
	static struct image_ops coarse;
	char path[80];
	struct lun_spec spec;
	struct lun *lun;

	ops.open = coarse_open;
	coarse = ops;
	rig_create(rig, engine, "/var/tmp");
	snprintf(path, sizeof(path), "%s/image", rig->dir);
	spec = test_spec(rig, "raw");
	spec.path = device ? device : path;
	spec.size_bytes = SIZE_BYTES;
	cr_assert_eq(lun_open_type(&spec, &rig->group, device ? &image_raw_ops : &coarse, &lun), 0);
	cr_assert(lun_state(lun)->online, "%s", lun_state(lun)->offline_reason);
	cr_assert_eq(lun->io_align_bytes, 4096);
	rig_run(rig);
	return lun;
}

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

static void check_bytes(struct lun *lun, struct loop *loop, const uint8_t *model, uint64_t offset,
			uint64_t length)
{
	struct tio *t = tio_new(LUN_READ, offset, length);

	tio_submit(t, lun, loop);
	cr_assert_eq(tio_wait(t), 0);
	cr_assert_eq(memcmp(t->data, model + offset, length), 0, "at sector %llu, %llu sectors",
		     (unsigned long long)(offset / SECTOR), (unsigned long long)(length / SECTOR));
	tio_free(t);
}

static void storm_step(struct lun *lun, struct loop *loop, uint8_t *model, uint32_t *seed)
{
	static const enum lun_op ops[] = {LUN_WRITE, LUN_READ, LUN_UNMAP, LUN_ZERO, LUN_WRITE};
	enum lun_op op = ops[next_random(seed) % ARRAY_SIZE(ops)];
	uint64_t sector = next_random(seed) % (SIZE_BYTES / SECTOR);
	uint64_t room = SIZE_BYTES / SECTOR - sector < 300 ? SIZE_BYTES / SECTOR - sector : 300;
	uint64_t offset = sector * SECTOR;
	uint64_t length = (next_random(seed) % room + 1) * SECTOR;

	if (op == LUN_READ) {
		check_bytes(lun, loop, model, offset, length);
		return;
	}
	struct tio *t = tio_new(op, offset, length);
	if (op == LUN_WRITE)
		memset(t->data, (int)(next_random(seed) & 0xFF), length);
	tio_submit(t, lun, loop);
	cr_assert_eq(tio_wait(t), 0);
	if (op == LUN_WRITE)
		memcpy(model + offset, t->data, length);
	else
		memset(model + offset, 0, length);
	tio_free(t);
}

static void storm(struct rig *rig, struct lun *lun)
{
	uint8_t *model = calloc(1, SIZE_BYTES);
	uint32_t seed = 99;

	for (unsigned i = 0; i < 300; i++)
		storm_step(lun, rig->group.loops[i % RIG_LOOPS], model, &seed);
	for (uint64_t at = 0; at < SIZE_BYTES; at += 512 * 1024)
		check_bytes(lun, rig->group.loops[0], model, at, 512 * 1024);
	free(model);
}

TEST_ON_ENGINES(rmw, content_is_what_was_written)
{
	struct rig rig;
	struct lun *lun = coarse_lun(&rig, engine, NULL);

	storm(&rig, lun);
	rig_close(&rig, lun);
}

/* All sectors of a few 4 KiB blocks at once, from both loops: no neighbour may be lost. */
TEST_ON_ENGINES(rmw, neighbours_from_both_loops_keep_their_data)
{
	enum {
		SECTORS = 128
	};
	struct tio *all[SECTORS];
	struct rig rig;
	struct lun *lun = coarse_lun(&rig, engine, NULL);
	uint8_t model[SECTORS * SECTOR];

	for (unsigned round = 1; round < 4; round++) {
		for (unsigned i = 0; i < SECTORS; i++) {
			all[i] = tio_new(LUN_WRITE, i * SECTOR, SECTOR);
			memset(all[i]->data, (int)(i + round), SECTOR);
			memset(model + i * SECTOR, (int)(i + round), SECTOR);
			tio_submit(all[i], lun, rig.group.loops[i % RIG_LOOPS]);
		}
		for (unsigned i = 0; i < SECTORS; i++) {
			cr_assert_eq(tio_wait(all[i]), 0);
			tio_free(all[i]);
		}
		check_bytes(lun, rig.group.loops[0], model, 0, sizeof(model));
	}
	rig_close(&rig, lun);
}

/* -- A device that wants 4 KiB by itself -- */

/* A loop device with 4 KiB sectors over an unlinked file; it goes with its last close. -1: none. */
static int loop_device(char *path, size_t room)
{
	char file[] = "/var/tmp/ringsan-lun-loop-XXXXXX";
	struct loop_device_config config = {
		.block_size = 4096,
		.info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO,
	};
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int backing = mkostemp(file, O_CLOEXEC);
	int device = -1;

	cr_assert(backing >= 0 && !unlink(file) && !ftruncate(backing, SIZE_BYTES));
	config.fd = (uint32_t)backing;
	for (unsigned tries = 0; control >= 0 && device < 0 && tries < 4; tries++) {
		int number = ioctl(control, LOOP_CTL_GET_FREE);

		snprintf(path, room, "/dev/loop%d", number);
		device = number < 0 ? -1 : open(path, O_RDWR | O_CLOEXEC);
		if (device >= 0 && ioctl(device, LOOP_CONFIGURE, &config)) {
			close(device);
			device = -1;
		}
	}
	close(backing);
	if (control >= 0)
		close(control);
	return device;
}

TEST_ON_ENGINES(rmw, on_a_loop_device_with_4_kib_sectors)
{
	char path[32];
	int device = loop_device(path, sizeof(path));

	if (device < 0) {
		cr_log_warn("skipped: no loop device can be made here (needs root)");
		return;
	}
	struct rig rig;
	struct lun *lun = coarse_lun(&rig, engine, path);
	cr_assert_eq(lun_limits(lun)->logical_block_bytes, 512);
	storm(&rig, lun);
	cr_assert_eq(tio_run(lun, rig.group.loops[0], LUN_FLUSH, 0, 0), 0);
	rig_close(&rig, lun);
	close(device);
}

/* -- Steps, over the holding image -- */

static struct lun *coarse_held_lun(struct rig *rig, enum loop_engine engine)
{
	held.io_align_bytes = 4096;
	return held_lun(rig, engine);
}

static struct tio *begin(struct rig *rig, struct lun *lun, unsigned loop, enum lun_op op,
			 uint64_t sector, uint64_t sectors)
{
	struct tio *t = tio_new(op, sector * SECTOR, sectors * SECTOR);

	tio_submit(t, lun, rig->group.loops[loop]);
	rig_settle(rig);
	return t;
}

TEST_ON_ENGINES(rmw, reads_the_block_and_writes_it)
{
	struct rig rig;
	struct lun *lun = coarse_held_lun(&rig, engine);
	struct tio *write = begin(&rig, lun, 0, LUN_WRITE, 9, 1);
	struct lun_io *step = held_first();

	cr_assert(step && step->op == LUN_READ);
	cr_assert(step->offset_bytes == 4096 && step->length_bytes == 4096);
	held_end_first(&rig);
	step = held_first();
	cr_assert(step && step->op == LUN_WRITE);
	cr_assert(step->offset_bytes == 4096 && step->length_bytes == 4096);
	cr_assert_eq(write->io.stage, LUN_IO_SUBMITTED);
	held_end_first(&rig);
	cr_assert_eq(tio_wait(write), 0);
	tio_free(write);
	cr_assert_null((void *)lun->ranges.newest);
	rig_close(&rig, lun);
}

/* A sector of a hole: nothing is written, so nothing is allocated, and a full file system is no
 * reason to fail. Of written space the sector is zeroed and the rest stays. */
static void take_no_space(enum loop_engine engine, enum lun_op op, uint32_t flags)
{
	struct rig rig;
	struct lun *lun = coarse_lun(&rig, engine, NULL);
	struct loop *loop = rig.group.loops[0];
	uint8_t model[8192] = {0};
	struct stat before;
	struct stat after;

	cr_assert_eq(fstat(lun->ops->fd(lun->image), &before), 0);
	cr_assert_eq(tio_run_flags(lun, loop, op, flags, 3 * SECTOR, 2 * SECTOR), 0);
	cr_assert_eq(tio_run_flags(lun, loop, op, flags, SECTOR, 65536), 0);
	cr_assert_eq(fstat(lun->ops->fd(lun->image), &after), 0);
	cr_expect_eq(before.st_blocks, after.st_blocks);
	cr_assert_eq(tio_run(lun, loop, LUN_WRITE, 0, 8192), 0);
	cr_assert_eq(tio_run_flags(lun, loop, op, flags, 3 * SECTOR, 2 * SECTOR), 0);
	memset(model, 0x5A, sizeof(model));
	memset(model + 3 * SECTOR, 0, 2 * SECTOR);
	check_bytes(lun, rig.group.loops[1], model, 0, sizeof(model));
	rig_close(&rig, lun);
}

TEST_ON_ENGINES(rmw, unmap_of_a_part_takes_no_space)
{
	take_no_space(engine, LUN_UNMAP, 0);
}

TEST_ON_ENGINES(rmw, zero_that_keeps_holes_takes_no_space)
{
	take_no_space(engine, LUN_ZERO, LUN_IO_KEEP_HOLES);
}

/* They may stem from an UNMAP that no flush has covered yet. */
static void flush_zeroes(enum loop_engine engine, bool write_cache, uint32_t flags)
{
	struct rig rig;
	struct lun *lun = coarse_held_lun(&rig, engine);
	struct tio *unmap = tio_new(LUN_UNMAP, 9 * SECTOR, SECTOR);

	lun->limits.write_cache = write_cache;
	unmap->io.flags = flags;
	tio_submit(unmap, lun, rig.group.loops[0]);
	rig_settle(&rig);
	cr_assert_eq(held_first()->op, LUN_READ);
	held_end_first(&rig);
	cr_assert_eq(held.count, 1);
	cr_assert_eq(held_first()->op, LUN_FLUSH);
	held_end_first(&rig);
	cr_assert_eq(tio_wait(unmap), 0);
	tio_free(unmap);
	rig_close(&rig, lun);
}

TEST_ON_ENGINES(rmw, a_durable_unmap_of_zeroes_flushes_them)
{
	flush_zeroes(engine, true, LUN_IO_DURABLE);
}

TEST_ON_ENGINES(rmw, without_a_write_cache_zeroes_are_flushed_too)
{
	flush_zeroes(engine, false, 0);
}

TEST_ON_ENGINES(rmw, abandoned_before_its_write_it_ends_at_once)
{
	struct rig rig;
	struct lun *lun = coarse_held_lun(&rig, engine);
	struct tio *whole = begin(&rig, lun, 1, LUN_WRITE, 8, 8);
	struct tio *asking = begin(&rig, lun, 0, LUN_WRITE, 9, 1);
	struct tio *reading = begin(&rig, lun, 0, LUN_WRITE, 17, 1);

	tio_abandon(asking);
	cr_assert_eq(tio_wait(asking), -ECANCELED, "while it asked for the range");
	tio_abandon(reading);
	cr_assert_eq(tio_wait(reading), -ECANCELED, "while its block was read");
	cr_assert_eq(held.count, 2);
	held_end_first(&rig);
	held_end_first(&rig);
	cr_assert_eq(held.count, 0, "nothing was written for them");
	cr_assert_eq(tio_wait(whole), 0);
	struct tio *next = begin(&rig, lun, 1, LUN_WRITE, 16, 8);
	cr_assert(held_has(next), "their ranges are free");
	cr_assert_eq(held_end(next, 0), 0);
	tio_free(whole);
	tio_free(asking);
	tio_free(reading);
	tio_free(next);
	rig_close(&rig, lun);
}

TEST_ON_ENGINES(rmw, abandoned_in_its_write_it_is_an_orphan)
{
	struct rig rig;
	struct lun *lun = coarse_held_lun(&rig, engine);
	struct tio *write = begin(&rig, lun, 0, LUN_WRITE, 9, 1);

	held_end_first(&rig);
	cr_assert_eq(held_first()->op, LUN_WRITE);
	tio_abandon(write);
	cr_assert_eq(write->io.stage, LUN_IO_ORPHANED);
	cr_assert_eq(lun->ranges.orphans, 1);
	struct tio *read = begin(&rig, lun, 1, LUN_READ, 8, 8);
	cr_assert_not(held_has(read), "the whole block is in the kernel's hands");
	held_end_first(&rig);
	cr_assert_eq(tio_wait(write), 0);
	rig_settle(&rig);
	cr_assert(held_has(read));
	cr_assert_eq(held_end(read, 0), 0);
	tio_free(write);
	tio_free(read);
	rig_close(&rig, lun);
}

static int refuse(struct lun_io *io)
{
	(void)io;
	return -EROFS;
}

TEST_ON_ENGINES(rmw, the_callers_check_runs_at_the_write)
{
	struct rig rig;
	struct lun *lun = coarse_held_lun(&rig, engine);
	struct tio *write = begin(&rig, lun, 0, LUN_WRITE, 9, 1);

	write->io.admit = refuse; /* Preempted while its block was read. */
	held_end_first(&rig);
	cr_assert_eq(tio_wait(write), -EROFS);
	cr_assert_eq(held.count, 0);
	tio_free(write);
	rig_close(&rig, lun);
}

struct holder {
	struct lun_exclusive exclusive;
	struct lun *lun;
	struct loop *loop;
	sem_t granted, released;
};

static void on_granted(struct lun_exclusive *exclusive)
{
	sem_post(&CONTAINER_OF(exclusive, struct holder, exclusive)->granted);
}

static void on_released(struct lun_exclusive *exclusive)
{
	sem_post(&CONTAINER_OF(exclusive, struct holder, exclusive)->released);
}

static void call_acquire(void *arg)
{
	struct holder *h = arg;

	loop_role_assume();
	lun_exclusive_acquire(h->lun, h->loop, &h->exclusive);
}

static void call_release(void *arg)
{
	struct holder *h = arg;

	loop_role_assume();
	lun_exclusive_release(&h->exclusive);
}

/* COMPARE AND WRITE of one sector: the range is rounded out, and its write is a step inside
 * it. */
TEST_ON_ENGINES(rmw, inside_a_range_that_is_held)
{
	struct rig rig;
	struct lun *lun = coarse_held_lun(&rig, engine);
	struct holder h = {
		.exclusive = {.offset_bytes = 9 * SECTOR,
			      .length_bytes = SECTOR,
			      .granted = on_granted,
			      .released = on_released},
		.lun = lun,
		.loop = rig.group.loops[0],
	};
	struct tio *write = tio_new(LUN_WRITE, 9 * SECTOR, SECTOR);

	sem_init(&h.granted, 0, 0);
	sem_init(&h.released, 0, 0);
	rig_call(h.loop, call_acquire, &h);
	cr_assert(wait_for(&h.granted, PATIENCE_S * 1000));
	cr_assert(h.exclusive.begin == 4096 && h.exclusive.end == 8192);
	write->inside = &h.exclusive;
	tio_submit(write, lun, h.loop);
	rig_settle(&rig);
	struct tio *other = begin(&rig, lun, 1, LUN_WRITE, 8, 8);
	cr_assert_not(held_has(other), "the other sectors of the block are taken, too");
	held_end_first(&rig);
	held_end_first(&rig);
	cr_assert_eq(tio_wait(write), 0);
	cr_assert_eq(h.exclusive.io_count, 0);
	rig_call(h.loop, call_release, &h);
	cr_assert(wait_for(&h.released, PATIENCE_S * 1000));
	rig_settle(&rig);
	cr_assert_eq(held_end(other, 0), 0);
	tio_free(write);
	tio_free(other);
	rig_close(&rig, lun);
}

/* Enough others to take every record wait for the range; its holder must get one all the
 * same. */
TEST_ON_ENGINES(rmw, the_holder_of_a_range_finds_a_record)
{
	struct tio *others[LUN_RMW_PER_LANE + 2];
	struct rig rig;
	struct lun *lun = coarse_held_lun(&rig, engine);
	struct holder h = {
		.exclusive = {.offset_bytes = 9 * SECTOR,
			      .length_bytes = SECTOR,
			      .granted = on_granted,
			      .released = on_released},
		.lun = lun,
		.loop = rig.group.loops[0],
	};
	struct tio *read = tio_new(LUN_READ, 9 * SECTOR, SECTOR);
	struct tio *write = tio_new(LUN_WRITE, 9 * SECTOR, SECTOR);

	sem_init(&h.granted, 0, 0);
	sem_init(&h.released, 0, 0);
	rig_call(h.loop, call_acquire, &h);
	cr_assert(wait_for(&h.granted, PATIENCE_S * 1000));
	for (unsigned i = 0; i < ARRAY_SIZE(others); i++)
		others[i] = begin(&rig, lun, 0, LUN_WRITE, 10, 1);
	cr_assert_eq(held.count, 0);
	read->inside = write->inside = &h.exclusive;
	tio_submit(read, lun, h.loop);
	tio_submit(write, lun, h.loop);
	rig_settle(&rig);
	for (unsigned step = 0; step < 3; step++)
		held_end_first(&rig);
	cr_assert_eq(tio_wait(read), 0);
	cr_assert_eq(tio_wait(write), 0);
	rig_call(h.loop, call_release, &h);
	cr_assert(wait_for(&h.released, PATIENCE_S * 1000));
	rig_settle(&rig);
	while (held.count)
		held_end_first(&rig);
	for (unsigned i = 0; i < ARRAY_SIZE(others); i++) {
		cr_assert_eq(tio_wait(others[i]), 0);
		tio_free(others[i]);
	}
	tio_free(read);
	tio_free(write);
	rig_close(&rig, lun);
}

/* More than there are records for: the rest waits, and can be aborted there. */
TEST_ON_ENGINES(rmw, more_at_once_than_there_are_records)
{
	struct tio *all[LUN_RMW_PER_LANE + 2];
	struct rig rig;
	struct lun *lun = coarse_held_lun(&rig, engine);

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		all[i] = begin(&rig, lun, 0, LUN_WRITE, i * 8 + 1, 1);
	cr_assert_eq(held.count, LUN_RMW_PER_LANE);
	tio_abandon(all[LUN_RMW_PER_LANE]);
	cr_assert_eq(tio_wait(all[LUN_RMW_PER_LANE]), -ECANCELED);
	while (held.count)
		held_end_first(&rig);
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		if (i != LUN_RMW_PER_LANE)
			cr_assert_eq(tio_wait(all[i]), 0);
		tio_free(all[i]);
	}
	rig_close(&rig, lun);
}
