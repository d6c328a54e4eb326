/*
 * Pools: the arithmetic of reserves and guards, what a look finds, and which I/O goes on while a
 * pool is guarded, on real files of every kind. What hosts hear of it is in scsi_threshold.c.
 */
#include "tests/unit/lun_testing.h"

#include "lun/space.h"

#define SIZE_BYTES (16u << 20)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

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

static struct lun_pool pool;
static atomic_uint notes;

static void on_note(struct lun_pool *which)
{
	cr_assert_eq(which, &pool);
	atomic_fetch_add(&notes, 1);
}

Test(lun_space, reserve)
{
	cr_expect_eq(lun_pool_reserve(0, 100 * GIB), 0);
	cr_expect_eq(lun_pool_reserve(5, 100 * GIB), 5 * GIB);
	cr_expect_eq(lun_pool_reserve(100, 100 * GIB), 100 * GIB);
	cr_expect_eq(lun_pool_reserve(256 * MIB, 100 * GIB), 256 * MIB);
	cr_expect_eq(lun_pool_reserve(256 * MIB, GIB), GIB / 10, "a tenth at most");
	cr_expect_eq(lun_pool_reserve(GIB, 0), 0);
	cr_expect_eq(lun_pool_reserve(100, UINT64_MAX), UINT64_MAX / 100 * 100, "no overflow");
}

Test(lun_space, guard)
{
	static const struct {
		bool guarded;
		uint64_t free_bytes, reserve_bytes;
		bool expected;
	} rows[] = {
		{false, 0, 0, false},         {false, 800, 800, false}, {false, 799, 800, true},
		{true, 800, 800, true},       {true, 899, 800, true},   {true, 900, 800, false},
		{true, 0, 0, false},          {true, 7, 7, false},      {false, 6, 7, true},
		{true, UINT64_MAX, 8, false},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		cr_expect_eq(
			lun_pool_judge(rows[i].guarded, rows[i].free_bytes, rows[i].reserve_bytes),
			rows[i].expected, "row %u", i);
}

static struct lun *open_lun(struct rig *rig, enum loop_engine engine, const struct kind *kind)
{
	char path[80];
	struct lun_spec spec;
	struct lun *lun;

	rig_create(rig, engine, kind->where);
	snprintf(path, sizeof(path), "%s/image", rig->dir);
	spec = test_spec(rig, "raw");
	spec.path = path;
	spec.size_bytes = SIZE_BYTES;
	spec.page_cache = kind->page_cache;
	spec.write_cache = true;
	cr_assert_eq(lun_open(&spec, &rig->group, &lun), 0);
	cr_assert(lun_state(lun)->online, "%s: %s", kind->what, lun_state(lun)->offline_reason);
	pool = (struct lun_pool){
		.name = "p", .path = kind->where, .reserve = 5, .on_note = on_note};
	atomic_store(&notes, 0);
	lun_set_pool(lun, &pool);
	return lun;
}

static void guard(bool on)
{
	atomic_store(&pool.guarded, on);
	lun_pool_listen(&pool);
	atomic_store(&notes, 0);
}

static void expect(struct lun *lun, const struct kind *kind, enum lun_op op, uint64_t offset,
		   uint64_t length, int expected)
{
	struct loop *loop = lun->group->loops[offset / MIB % RIG_LOOPS];
	int res = tio_run(lun, loop, op, offset, length);

	cr_expect_eq(res, expected, "%s: op %u at %llu, %llu bytes: %d", kind->what, op,
		     (unsigned long long)offset, (unsigned long long)length, res);
}

/* Allocating is refused, all else goes on; each refusal is worth one note until somebody looks. */
TEST_ON_ENGINES(lun_space, guarded_pool)
{
	for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct rig rig;
		struct lun *lun = open_lun(&rig, engine, &kinds[k]);

		rig_run(&rig);
		expect(lun, &kinds[k], LUN_WRITE, 0, MIB, 0);
		guard(true);
		expect(lun, &kinds[k], LUN_WRITE, 0, MIB, 0);
		expect(lun, &kinds[k], LUN_WRITE, 64 * 1024, 4096, 0);
		expect(lun, &kinds[k], LUN_ZERO, 0, 64 * 1024, 0);
		cr_expect_eq(atomic_load(&notes), 0);
		expect(lun, &kinds[k], LUN_WRITE, 4 * MIB, 4096, -ENOSPC);
		expect(lun, &kinds[k], LUN_WRITE, 5 * MIB, MIB, -ENOSPC);
		expect(lun, &kinds[k], LUN_WRITE, MIB - 4096, 8192, -ENOSPC);
		expect(lun, &kinds[k], LUN_ZERO, 8 * MIB, MIB, -ENOSPC);
		cr_expect_eq(tio_run_flags(lun, lun->group->loops[0], LUN_ZERO, LUN_IO_KEEP_HOLES,
					   0, 9 * MIB),
			     0, "%s: zeroes over a hole", kinds[k].what);
		cr_expect_eq(atomic_load(&notes), 1, "told once");
		expect(lun, &kinds[k], LUN_READ, 4 * MIB, 4096, 0);
		expect(lun, &kinds[k], LUN_READ, 0, MIB, 0);
		expect(lun, &kinds[k], LUN_FLUSH, 0, 0, 0);
		guard(true);
		expect(lun, &kinds[k], LUN_UNMAP, 0, MIB, 0);
		cr_expect_eq(atomic_load(&notes), 1, "space may be back");
		guard(false);
		expect(lun, &kinds[k], LUN_WRITE, 4 * MIB, 4096, 0);
		expect(lun, &kinds[k], LUN_UNMAP, 4 * MIB, MIB, 0);
		cr_expect_eq(atomic_load(&notes), 0);
		rig_close(&rig, lun);
	}
}

/* Blocks smaller than the medium's take the way of read-modify-write. */
TEST_ON_ENGINES(lun_space, guarded_pool_and_small_blocks)
{
	struct rig rig;
	struct lun *lun = open_lun(&rig, engine, &kinds[0]);

	rig_run(&rig);
	expect(lun, &kinds[0], LUN_WRITE, 0, 4096, 0);
	guard(true);
	expect(lun, &kinds[0], LUN_WRITE, 512, 512, 0);
	expect(lun, &kinds[0], LUN_WRITE, 512 * 1024 + 512, 512, -ENOSPC);
	guard(false);
	expect(lun, &kinds[0], LUN_WRITE, 512 * 1024 + 512, 512, 0);
	rig_close(&rig, lun);
}

/* Space that is allocated though never written is the LUN's own. */
TEST_ON_ENGINES(lun_space, guarded_pool_and_allocated_space)
{
	char path[80];
	struct rig rig;
	struct lun *lun = open_lun(&rig, engine, &kinds[0]);
	int fd;

	snprintf(path, sizeof(path), "%s/image", rig.dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	cr_assert(fd >= 0);
	if (fallocate(fd, FALLOC_FL_KEEP_SIZE, MIB, MIB) == 0) {
		rig_run(&rig);
		guard(true);
		expect(lun, &kinds[0], LUN_WRITE, MIB, MIB, 0);
		expect(lun, &kinds[0], LUN_WRITE, 2 * MIB - 4096, 8192, -ENOSPC);
	} else {
		rig_run(&rig);
	}
	(void)close(fd);
	rig_close(&rig, lun);
}

/* An abort while the file system is asked ends the write, one way or the other. */
TEST_ON_ENGINES(lun_space, guarded_pool_and_aborts)
{
	struct rig rig;
	struct lun *lun = open_lun(&rig, engine, &kinds[0]);

	rig_run(&rig);
	expect(lun, &kinds[0], LUN_WRITE, 0, MIB, 0);
	guard(true);
	for (unsigned i = 0; i < 50; i++) {
		struct tio *t = tio_new(LUN_WRITE, i % 2 * MIB, 64 * 1024);
		int res;

		memset(t->data, 0x5A, 64 * 1024);
		tio_submit(t, lun, rig.group.loops[i % RIG_LOOPS]);
		tio_abandon(t);
		res = tio_wait(t);
		cr_expect(res == 0 || res == -ECANCELED || res == -ENOSPC);
		cr_expect(res != 0 || i % 2 == 0);
		tio_free(t);
	}
	expect(lun, &kinds[0], LUN_READ, 0, MIB, 0);
	rig_close(&rig, lun);
}

TEST_ON_ENGINES(lun_space, looks)
{
	struct rig rig;
	struct lun *lun = open_lun(&rig, engine, &kinds[0]);
	struct lun_space space;
	uint64_t device;
	struct stat st;

	cr_assert_eq(stat(rig.dir, &st), 0);
	cr_expect(lun_device(lun, &device) && device == st.st_dev);
	cr_expect_eq(lun_pool(lun), &pool);
	rig_run(&rig);
	expect(lun, &kinds[0], LUN_WRITE, 0, MIB, 0);
	expect(lun, &kinds[0], LUN_FLUSH, 0, 0, 0);
	cr_expect_eq(lun_pool_look(&pool), 0);
	lun_space_look(lun);
	cr_expect(lun_space(lun, &space));
	cr_expect(space.used_bytes >= MIB && space.used_bytes < 2 * MIB);
	cr_expect(space.total_bytes > space.available_bytes);
	/* All of a pool is its reserve: it is guarded from the next look on, and not with none. */
	pool.reserve = 100;
	cr_expect_eq(lun_pool_look(&pool), 0);
	cr_expect(lun_pool_is_guarded(&pool) && lun_space(lun, &space));
	cr_expect_eq(space.available_bytes, 0);
	expect(lun, &kinds[0], LUN_WRITE, 8 * MIB, 4096, -ENOSPC);
	pool.reserve = 0;
	cr_expect_eq(lun_pool_look(&pool), 0);
	cr_expect(!lun_pool_is_guarded(&pool));
	expect(lun, &kinds[0], LUN_WRITE, 8 * MIB, 4096, 0);
	pool.path = "/nonexistent/pool";
	cr_expect_eq(lun_pool_look(&pool), -ENOENT);
	lun_set_pool(lun, NULL);
	cr_expect(!lun_space(lun, &space) && !lun_pool_is_guarded(NULL));
	rig_close(&rig, lun);
}
