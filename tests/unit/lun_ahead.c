/*
 * Look-ahead on real files: it comes with a stream and goes with it, data is never touched, and
 * what others allocated stays. And what an image is asked for, with an image that answers as the
 * test wants: a pool that is low, errors, a closed gate.
 */
#include "tests/unit/lun_testing.h"

#define SIZE_BYTES (256ull << 20)
#define PIECE 65536u
#define MIB (1ull << 20)

/* -- On a disk -- */

static void image_path(const struct rig *rig, char path[80])
{
	snprintf(path, 80, "%s/image", rig->dir);
}

static struct lun *ahead_lun(struct rig *rig, enum loop_engine engine, bool allocated)
{
	char path[80];
	struct lun_spec spec;
	struct lun *lun;

	rig_create(rig, engine, "/var/tmp");
	image_path(rig, path);
	if (allocated) {
		int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

		cr_assert_eq(ftruncate(fd, SIZE_BYTES), 0);
		cr_assert_eq(fallocate(fd, 0, 0, SIZE_BYTES), 0);
		close(fd);
	}
	spec = test_spec(rig, "raw");
	spec.path = path;
	spec.size_bytes = SIZE_BYTES;
	spec.look_ahead_bytes = LUN_LOOK_AHEAD_MAX;
	cr_assert_eq(lun_open(&spec, &rig->group, &lun), 0);
	cr_assert(lun_state(lun)->online, "%s", lun_state(lun)->offline_reason);
	lun->ahead_rest_ms = 400;
	rig_run(rig);
	return lun;
}

/* Without look-ahead on this file system there is nothing to see here. */
static bool has_ahead(const struct lun *lun)
{
	if (!lun->aheads)
		cr_log_warn("skipped: this file system has no look-ahead");
	return lun->aheads != NULL;
}

static uint64_t space_used(const struct rig *rig)
{
	char path[80];
	struct stat st;

	image_path(rig, path);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_eq(st.st_size, SIZE_BYTES, "the size never changes");
	return (uint64_t)st.st_blocks * 512;
}

/* The space of the image comes to be at most so much; metadata may add a little. */
static void wait_for_space(const struct rig *rig, uint64_t bytes)
{
	struct timespec pause = {.tv_nsec = 50000000};
	unsigned left = PATIENCE_S * 20;

	while (space_used(rig) > bytes + PIECE && left-- > 0)
		nanosleep(&pause, NULL);
	cr_assert_leq(space_used(rig), bytes + PIECE, "it was not given back");
	cr_assert_geq(space_used(rig), bytes, "more was given back than was taken");
}

static uint64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* True: without a pause that may have been taken for a rest, as on a busy machine. */
static bool write_all(struct lun *lun, struct loop *loop, uint64_t offset, uint64_t bytes)
{
	uint64_t last_ms = now_ms();
	bool is_steady = true;

	for (uint64_t at = offset; at < offset + bytes; at += PIECE) {
		cr_assert_eq(tio_run(lun, loop, LUN_WRITE, at, PIECE), 0);
		is_steady = is_steady && now_ms() - last_ms < lun->ahead_rest_ms / 4;
		last_ms = now_ms();
	}
	return is_steady;
}

static void check_filled(struct lun *lun, struct loop *loop, uint64_t offset, uint64_t bytes,
			 uint8_t with)
{
	for (uint64_t at = offset; at < offset + bytes; at += PIECE) {
		struct tio *t = tio_new(LUN_READ, at, PIECE);

		tio_submit(t, lun, loop);
		cr_assert_eq(tio_wait(t), 0);
		for (unsigned i = 0; i < PIECE; i++)
			cr_assert_eq(t->data[i], with, "at %llu", (unsigned long long)at + i);
		tio_free(t);
	}
}

static void on_drained(struct lun *lun, int res, void *arg)
{
	(void)lun;
	cr_assert_eq(res, 0);
	sem_post(arg);
}

struct drain_call {
	struct lun *lun;
	struct loop *control;
	sem_t *drained;
};

static void call_drain(void *arg)
{
	struct drain_call *call = arg;

	loop_role_assume();
	lun_drain(call->lun, call->control, 5000, on_drained, call->drained);
}

static void call_resume(void *arg)
{
	struct drain_call *call = arg;

	loop_role_assume();
	lun_resume(call->lun, call->control);
}

static void drain(struct rig *rig, struct lun *lun)
{
	sem_t drained;
	struct drain_call call = {.lun = lun, .control = rig->control, .drained = &drained};

	sem_init(&drained, 0, 0);
	rig_call(rig->control, call_drain, &call);
	cr_assert(wait_for(&drained, PATIENCE_S * 1000));
	sem_destroy(&drained);
}

static void resume(struct rig *rig, struct lun *lun)
{
	struct drain_call call = {.lun = lun, .control = rig->control};

	rig_call(rig->control, call_resume, &call);
}

/* As the daemon ends. */
static void end(struct rig *rig, struct lun *lun)
{
	drain(rig, lun);
	rig_halt(rig);
	lun_close(lun);
}

TEST_ON_ENGINES(ahead, space_comes_before_a_stream_and_goes_when_it_rests)
{
	struct rig rig;
	struct lun *lun = ahead_lun(&rig, engine, false);
	struct loop *loop = rig.group.loops[0];

	if (has_ahead(lun)) {
		bool is_steady = write_all(lun, loop, 0, 24 * MIB);

		cr_assert(space_used(&rig) > 25 * MIB || !is_steady, "nothing was allocated ahead");
		cr_assert_leq(space_used(&rig), (24 + 16) * MIB + PIECE);
		wait_for_space(&rig, 24 * MIB);
		check_filled(lun, loop, 0, 24 * MIB, 0x5A);
		check_filled(lun, loop, 24 * MIB, MIB, 0);
		/* And again. */
		is_steady = write_all(lun, loop, 24 * MIB, 8 * MIB);
		cr_assert(space_used(&rig) > 33 * MIB || !is_steady);
		wait_for_space(&rig, 32 * MIB);
	}
	end(&rig, lun);
	rig_free(&rig);
}

TEST_ON_ENGINES(ahead, closing_gives_it_back_at_once)
{
	struct rig rig;
	struct lun *lun = ahead_lun(&rig, engine, false);
	bool works = has_ahead(lun);

	bool is_steady = write_all(lun, rig.group.loops[0], 0, 8 * MIB);

	is_steady = write_all(lun, rig.group.loops[1], 128 * MIB, 8 * MIB) && is_steady;
	if (works && is_steady)
		cr_assert_gt(space_used(&rig), 18 * MIB);
	end(&rig, lun);
	cr_assert_leq(space_used(&rig), 16 * MIB + PIECE);
	rig_free(&rig);
}

/* Gaps that the stream left, writes of another loop, and an UNMAP, all inside of look-ahead. */
TEST_ON_ENGINES(ahead, what_others_wrote_into_it_stays)
{
	struct rig rig;
	struct lun *lun = ahead_lun(&rig, engine, false);
	struct loop *loop = rig.group.loops[0];
	struct loop *other = rig.group.loops[1];

	if (has_ahead(lun)) {
		write_all(lun, loop, 0, 16 * MIB);
		cr_assert_eq(tio_run(lun, loop, LUN_WRITE, 16 * MIB + 4 * PIECE, PIECE), 0);
		cr_assert_eq(tio_run(lun, other, LUN_WRITE, 20 * MIB, PIECE), 0);
		cr_assert_eq(tio_run(lun, other, LUN_WRITE, 20 * MIB + 4 * PIECE, PIECE), 0);
		cr_assert_eq(tio_run(lun, other, LUN_UNMAP, 20 * MIB - MIB, MIB + PIECE), 0);
		wait_for_space(&rig, 16 * MIB + 2 * PIECE);
		check_filled(lun, other, 0, 16 * MIB, 0x5A);
		check_filled(lun, loop, 16 * MIB, 4 * PIECE, 0);
		check_filled(lun, loop, 16 * MIB + 4 * PIECE, PIECE, 0x5A);
		check_filled(lun, loop, 20 * MIB, PIECE, 0);
		check_filled(lun, loop, 20 * MIB + 4 * PIECE, PIECE, 0x5A);
	}
	end(&rig, lun);
	rig_free(&rig);
}

/* WRITE SAME and ANCHOR take space that is unwritten, too, and promise that it stays. */
TEST_ON_ENGINES(ahead, what_hosts_had_zeroed_keeps_its_space)
{
	for (unsigned closes = 0; closes < 2; closes++) {
		struct rig rig;
		struct lun *lun = ahead_lun(&rig, engine, false);
		struct loop *loop = rig.group.loops[0];
		struct loop *other = rig.group.loops[1];
		bool works = has_ahead(lun);

		/* An old one, in front of what is taken ahead. */
		cr_assert_eq(tio_run(lun, other, LUN_ZERO, 128 * MIB, MIB), 0);
		write_all(lun, loop, 0, 8 * MIB);
		cr_assert_eq(tio_run(lun, other, LUN_ZERO, 10 * MIB, MIB), 0);
		cr_assert_eq(tio_run(lun, other, LUN_ZERO, 11 * MIB, MIB), 0);
		cr_assert_eq(tio_run(lun, loop, LUN_ZERO, 9 * MIB, 512 * 1024), 0);
		if (works && closes == 0)
			wait_for_space(&rig, 11 * MIB + 512 * 1024);
		end(&rig, lun);
		if (works) {
			cr_assert_geq(space_used(&rig), 11 * MIB + 512 * 1024);
			cr_assert_leq(space_used(&rig), 11 * MIB + 512 * 1024 + PIECE);
		}
		rig_free(&rig);
	}
}

/* More of them than are remembered: then nothing is given back that might be theirs. */
TEST_ON_ENGINES(ahead, what_many_had_zeroed_keeps_its_space)
{
	struct rig rig;
	struct lun *lun = ahead_lun(&rig, engine, false);
	struct loop *loop = rig.group.loops[0];

	if (has_ahead(lun)) {
		write_all(lun, loop, 0, 8 * MIB);
		for (unsigned i = 0; i < 20; i++)
			cr_assert_eq(tio_run(lun, loop, LUN_ZERO, 8 * MIB + i * 2 * PIECE, PIECE),
				     0);
		rig_settle(&rig);
		end(&rig, lun);
		cr_assert_geq(space_used(&rig), 8 * MIB + 20 * PIECE);
		cr_assert_leq(space_used(&rig), (8 + 16) * MIB + PIECE);
	} else {
		end(&rig, lun);
	}
	rig_free(&rig);
}

/* An administrator's allocation is neither counted as ours nor given back. */
TEST_ON_ENGINES(ahead, an_allocated_image_stays_allocated)
{
	struct rig rig;
	struct lun *lun = ahead_lun(&rig, engine, true);
	uint64_t before = space_used(&rig);
	struct timespec rest = {.tv_sec = 1};

	write_all(lun, rig.group.loops[0], 0, 24 * MIB);
	nanosleep(&rest, NULL);
	cr_assert_geq(space_used(&rig), before);
	end(&rig, lun);
	cr_assert_geq(space_used(&rig), before);
	rig_free(&rig);
}

TEST_ON_ENGINES(ahead, it_ends_with_the_image)
{
	struct rig rig;
	struct lun *lun = ahead_lun(&rig, engine, false);

	write_all(lun, rig.group.loops[0], SIZE_BYTES - 8 * MIB, 7 * MIB);
	cr_assert_leq(space_used(&rig), 8 * MIB + PIECE);
	write_all(lun, rig.group.loops[0], SIZE_BYTES - MIB, MIB);
	wait_for_space(&rig, 8 * MIB);
	end(&rig, lun);
	rig_free(&rig);
}

TEST_ON_ENGINES(ahead, scattered_writes_take_no_more_than_they_need)
{
	struct rig rig;
	struct lun *lun = ahead_lun(&rig, engine, false);
	uint32_t seed = 4711;
	uint64_t before;

	for (unsigned i = 0; i < 200; i++) {
		seed = seed * 1664525 + 1013904223;
		cr_assert_eq(tio_run(lun, rig.group.loops[i % RIG_LOOPS], LUN_WRITE,
				     (seed >> 8) % (SIZE_BYTES / PIECE / 8) * 8 * PIECE, PIECE),
			     0);
	}
	before = space_used(&rig);
	end(&rig, lun);
	cr_assert_eq(space_used(&rig), before, "something was allocated ahead");
	rig_free(&rig);
}

/* Nothing happens behind a closed gate; afterwards all goes on. */
TEST_ON_ENGINES(ahead, a_closed_gate_stops_it_and_an_open_one_lets_it_go_on)
{
	struct rig rig;
	struct lun *lun = ahead_lun(&rig, engine, false);
	struct timespec rest = {.tv_sec = 1};

	if (has_ahead(lun)) {
		uint64_t before;

		write_all(lun, rig.group.loops[0], 0, 8 * MIB);
		drain(&rig, lun);
		before = space_used(&rig);
		nanosleep(&rest, NULL);
		cr_assert_eq(space_used(&rig), before);
		resume(&rig, lun);
		wait_for_space(&rig, 8 * MIB);
	}
	end(&rig, lun);
	rig_free(&rig);
}

/* -- With an image that only counts -- */

struct counting {
	atomic_int allocate_res;
	atomic_uint allocations;
	atomic_uint releases;
	atomic_ullong given_begin, given_end;
};

static struct counting counting;

static int counting_open(const struct lun_spec *spec, struct image **out, struct image_info *info,
			 char *why UNUSED, size_t why_size UNUSED)
{
	*out = (struct image *)&counting;
	*info = (struct image_info){
		.size_bytes = spec->size_bytes,
		.io_align_bytes = 512,
		.allocation_unit_bytes = 4096,
		.thin = true,
		.zeroes_after_unmap = true,
		.look_ahead = true,
	};
	return 0;
}

static void counting_close(struct image *image UNUSED)
{
}

static void counting_submit(struct image *image UNUSED, struct lun_io *io)
{
	int res = 0;

	loop_role_assume();
	if (io->op == LUN_ALLOCATE) {
		atomic_fetch_add(&counting.allocations, 1);
		io->image_word[IMAGE_WORD_BEGIN] = io->offset_bytes;
		io->image_word[IMAGE_WORD_END] = io->offset_bytes + io->length_bytes;
		res = atomic_load(&counting.allocate_res);
	} else if (io->op == LUN_RELEASE) {
		atomic_store(&counting.given_begin, io->offset_bytes);
		atomic_store(&counting.given_end, io->offset_bytes + io->length_bytes);
		atomic_fetch_add(&counting.releases, 1);
	}
	image_io_done_later(io, res);
}

static int counting_release_now(struct image *image UNUSED, uint64_t offset UNUSED,
				uint64_t length UNUSED)
{
	return -EIO;
}

static int counting_fd(const struct image *image UNUSED)
{
	return -1;
}

static const struct image_ops counting_ops = {
	.type = "counting",
	.open = counting_open,
	.close = counting_close,
	.submit = counting_submit,
	.release_now = counting_release_now,
	.fd = counting_fd,
};

static struct lun *counting_lun(struct rig *rig, enum loop_engine engine, uint32_t look_ahead)
{
	struct lun_spec spec;
	struct lun *lun;

	rig_create(rig, engine, "/tmp");
	spec = test_spec(rig, "counting");
	spec.size_bytes = SIZE_BYTES;
	spec.look_ahead_bytes = look_ahead;
	cr_assert_eq(lun_open_type(&spec, &rig->group, &counting_ops, &lun), 0);
	rig_run(rig);
	return lun;
}

TEST_ON_ENGINES(ahead, errors_of_allocation_are_not_the_hosts)
{
	static const int errors[] = {-EIO, -ENOSPC, -EOPNOTSUPP};

	for (unsigned i = 0; i < ARRAY_SIZE(errors); i++) {
		struct rig rig;
		struct lun *lun = counting_lun(&rig, engine, 16 << 20);

		atomic_store(&counting.allocations, 0);
		atomic_store(&counting.allocate_res, errors[i]);
		write_all(lun, rig.group.loops[0], 0, 32 * MIB);
		cr_assert_eq(atomic_load(&counting.allocations), 1, "it was asked again and again");
		end(&rig, lun);
		rig_free(&rig);
	}
}

/* What was taken before the pool became low is given back although the stream goes on. */
TEST_ON_ENGINES(ahead, a_low_pool_gets_all_of_it_back)
{
	struct rig rig;
	struct lun *lun = counting_lun(&rig, engine, 16 << 20);

	write_all(lun, rig.group.loops[0], 0, 4 * MIB);
	cr_assert_geq(atomic_load(&counting.allocations), 1);
	atomic_store(&counting.allocate_res, -ENOSPC);
	write_all(lun, rig.group.loops[0], 4 * MIB, 24 * MIB);
	rig_settle(&rig);
	cr_assert_eq(atomic_load(&counting.releases), 1);
	cr_assert_eq(atomic_load(&counting.given_begin), MIB);
	end(&rig, lun);
	rig_free(&rig);
}

TEST_ON_ENGINES(ahead, none_is_configured_and_none_is_made)
{
	struct rig rig;
	struct lun *lun = counting_lun(&rig, engine, 0);

	write_all(lun, rig.group.loops[0], 0, 32 * MIB);
	cr_assert_eq(atomic_load(&counting.allocations), 0);
	end(&rig, lun);
	rig_free(&rig);
}

/* Behind a stream that goes on for long, what it left out is given back meanwhile. */
TEST_ON_ENGINES(ahead, a_long_stream_leaves_nothing_behind)
{
	struct rig rig;
	struct lun *lun = counting_lun(&rig, engine, 16 << 20);

	write_all(lun, rig.group.loops[0], 0, 160 * MIB);
	rig_settle(&rig);
	cr_assert_geq(atomic_load(&counting.releases), 2);
	cr_assert_geq(atomic_load(&counting.given_end), 64 * MIB);
	end(&rig, lun);
	rig_free(&rig);
}
