/*
 * LUNs of type qcow2 that grow while hosts use them: what is made larger and when hosts see it;
 * and what is refused, after which all goes on as before.
 */
#include "tests/unit/lun_testing.h"

#include "base/bytes.h"
#include "lun/growth.h"
#include "lun/image_lock.h"
#include "lun/qcow2/check.h"
#include "lun/qcow2/writable.h"
#include "tests/unit/lun_header_fault.h"

#define BLOCK 4096u
#define MIB (UINT64_C(1) << 20)
#define SIZE_BYTES (64 * MIB)

struct scene {
	struct rig rig;
	struct lun *lun;
	char path[96], base[96];
};

/* Clusters of 4 KiB: one of L1 table maps 1 GiB. */
static void scene_open(struct scene *s, enum loop_engine engine, bool read_only)
{
	struct lun_spec spec;

	rig_create(&s->rig, engine, "/var/tmp");
	(void)snprintf(s->path, sizeof(s->path), "%s/image", s->rig.dir);
	(void)snprintf(s->base, sizeof(s->base), "%s/base", s->rig.dir);
	spec = test_spec(&s->rig, "qcow2");
	spec.path = s->path;
	spec.size_bytes = SIZE_BYTES;
	spec.cluster_bytes = BLOCK;
	spec.qcow2_cache_bytes = MIB;
	cr_assert_eq(lun_open(&spec, &s->rig.group, &s->lun), 0);
	if (read_only) {
		lun_close(s->lun);
		spec.read_only = true;
		cr_assert_eq(lun_open(&spec, &s->rig.group, &s->lun), 0);
	}
	cr_assert(lun_state(s->lun)->online, "%s", lun_state(s->lun)->offline_reason);
	rig_run(&s->rig);
}

static uint64_t size_of(struct scene *s)
{
	struct lun_state now;

	lun_state_copy(s->lun, &now);
	cr_expect(now.online && !now.gate_closed, "%s", now.offline_reason);
	return now.size_bytes;
}

static void expect_clean(const struct scene *s, uint64_t size_bytes)
{
	struct qcow2_descriptor file;
	static struct qcow2_check found;
	uint8_t header[32];
	char why[128] = "";
	int fd = open(s->path, O_RDONLY);

	cr_assert(fd >= 0 && qcow2_descriptor_make(fd, &file) == 0);
	cr_assert_eq(qcow2_check(&(struct qcow2_check_spec){.file = &file.writable.file}, &found,
				 why, sizeof(why)),
		     0, "%s", why);
	cr_expect_eq(qcow2_check_verdict(&found), QCOW2_CLEAN, "%s", found.findings[0]);
	cr_assert_eq(pread(fd, header, sizeof(header), 0), sizeof(header));
	cr_expect_eq(get_be64(header + 24), size_bytes);
	close(fd);
}

static void on_drained(struct lun *lun UNUSED, int res, void *arg)
{
	cr_assert_eq(res, 0);
	sem_post(arg);
}

struct draining {
	struct scene *s;
	sem_t done;
};

static void call_drain(void *arg)
{
	struct draining *draining = arg;

	loop_role_assume();
	lun_drain(draining->s->lun, draining->s->rig.control, PATIENCE_S * 1000, on_drained,
		  &draining->done);
}

/* In order; the file is then one of that size, without a leak. */
static void scene_close(struct scene *s, uint64_t size_bytes)
{
	struct draining draining = {.s = s};

	sem_init(&draining.done, 0, 0);
	rig_call(s->rig.control, call_drain, &draining);
	cr_assert(wait_for(&draining.done, PATIENCE_S * 1000));
	rig_settle(&s->rig);
	rig_halt(&s->rig);
	lun_close(s->lun);
	expect_clean(s, size_bytes);
	rig_free(&s->rig);
}

/* -- A growth that can be waited for -- */

struct tgrowth {
	struct lun_growth growth;
	sem_t done;
	int res;
};

static void on_done(struct lun_growth *growth, int res)
{
	struct tgrowth *t = CONTAINER_OF(growth, struct tgrowth, growth);

	t->res = res;
	sem_post(&t->done);
}

static void call_start(void *arg)
{
	struct tgrowth *t = arg;

	loop_role_assume();
	lun_growth_start(&t->growth);
}

static void call_grow(void *arg)
{
	struct tgrowth *t = arg;

	loop_role_assume();
	lun_grow(t->growth.lun, t->growth.control, t->growth.size_bytes);
}

static int grow(struct tgrowth *t, struct scene *s, uint64_t size_bytes)
{
	*t = (struct tgrowth){.growth = {.lun = s->lun,
					 .control = s->rig.control,
					 .size_bytes = size_bytes,
					 .deadline_ms = PATIENCE_S * 1000,
					 .done = on_done}};
	sem_init(&t->done, 0, 0);
	rig_call(s->rig.control, call_start, t);
	cr_assert(wait_for(&t->done, PATIENCE_S * 1000), "it does not end");
	return t->res;
}

static int write_at(struct scene *s, uint64_t offset)
{
	return tio_run(s->lun, s->rig.group.loops[1], LUN_WRITE, offset, BLOCK);
}

TEST_ON_ENGINES(growth, hosts_see_it_when_they_are_told)
{
	static const uint64_t sizes[] = {SIZE_BYTES + MIB, 3072 * MIB};
	struct scene s;
	struct tgrowth t;
	uint64_t measured;
	char why[LUN_WHY_MAX] = "";

	scene_open(&s, engine, false);
	cr_assert(lun_grows_closed(s.lun));
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint64_t before = size_of(&s);

		cr_assert_eq(write_at(&s, before - BLOCK), 0);
		cr_assert_eq(lun_measure(s.lun, sizes[i], &measured, why), 0, "%s", why);
		cr_expect_eq(measured, sizes[i]);
		cr_assert_eq(grow(&t, &s, measured), 0, "%s", t.growth.change.why);
		cr_expect_eq(size_of(&s), before);
		/* Once more it is large enough. */
		cr_assert_eq(grow(&t, &s, measured), 0, "%s", t.growth.change.why);
		rig_call(s.rig.control, call_grow, &t);
		rig_settle(&s.rig);
		cr_expect_eq(size_of(&s), sizes[i]);
		cr_assert_eq(write_at(&s, sizes[i] - BLOCK), 0);
		cr_assert_eq(tio_run(s.lun, s.rig.group.loops[0], LUN_READ, before - BLOCK, BLOCK),
			     0);
	}
	scene_close(&s, sizes[1]);
}

Test(growth, refusals_leave_it_as_it_was)
{
	struct scene s;
	struct tgrowth t;
	char why[LUN_WHY_MAX] = "";
	uint64_t measured;
	bool unsure;
	int fd;

	scene_open(&s, LOOP_ENGINE_AIO, false);
	cr_expect_eq(lun_measure(s.lun, SIZE_BYTES + 100, &measured, why), -EINVAL);
	cr_expect_eq(lun_measure(s.lun, SIZE_BYTES - MIB, &measured, why), 0);
	cr_expect_eq(measured, SIZE_BYTES);
	/* Beyond what an L1 table of clusters of 4 KiB can have. */
	cr_expect_eq(grow(&t, &s, 16 * 1024 * 1024 * MIB), -ENOTSUP);
	cr_expect_not_null(strstr(t.growth.change.why, "32 MiB"), "%s", t.growth.change.why);
	cr_expect_eq(size_of(&s), SIZE_BYTES);
	/* Somebody looks at it with qemu-img while it is closed for a moment. */
	fd = open(s.path, O_RDONLY);
	cr_expect_eq(image_lock_qemu(fd, false), -EBUSY);
	close(fd);
	cr_expect_eq(image_grow(s.path, 2 * SIZE_BYTES, &unsure, why), -EBUSY);
	cr_expect_eq(write_at(&s, 0), 0);
	scene_close(&s, SIZE_BYTES);
}

/* What the header says may be lost with the memory that it is read from: nothing is to rely on it.
 */
TEST_ON_ENGINES(growth, whose_last_fdatasync_fails_ends_offline)
{
	struct lun_state now;
	struct scene s;
	struct tgrowth t;

	scene_open(&s, engine, false);
	cr_assert_eq(write_at(&s, 0), 0);
	atomic_store(&headers_fail, true);
	cr_expect_eq(grow(&t, &s, 2 * SIZE_BYTES), -EIO);
	cr_expect_gt(atomic_load(&syncs_failed), 0);
	lun_state_copy(s.lun, &now);
	cr_expect(!now.online);
	cr_expect_eq(now.size_bytes, SIZE_BYTES);
	cr_expect_not_null(strstr(now.offline_reason, "restart ringsand"), "%s",
			   now.offline_reason);
	cr_expect_eq(write_at(&s, 0), -ENODEV);
	atomic_store(&headers_fail, false);
	atomic_store(&header_is_lost, false);
	scene_close(&s, 2 * SIZE_BYTES);
}

Test(growth, not_of_what_is_read_only)
{
	struct scene s;
	char why[LUN_WHY_MAX] = "";
	uint64_t measured;

	scene_open(&s, LOOP_ENGINE_AIO, true);
	cr_expect_eq(lun_measure(s.lun, 2 * SIZE_BYTES, &measured, why), -EROFS);
	cr_expect_not_null(strstr(why, "read-only"));
	scene_close(&s, SIZE_BYTES);
}

static int grow_clone(const struct scene *s, const char *format, char *why)
{
	struct qcow2_create create = {SIZE_BYTES, 16, false, "base", format};
	struct qcow2_descriptor file;
	struct qcow2_layout layout;
	int fd = open(s->path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	bool unsure;
	int res;

	cr_assert_eq(qcow2_layout_make(&create, &layout, why, LUN_WHY_MAX), 0);
	cr_assert(fd >= 0 && qcow2_descriptor_make(fd, &file) == 0);
	cr_assert_eq(qcow2_layout_write(&layout, &file.writable), 0);
	res = image_grow(s->path, 2 * SIZE_BYTES, &unsure, why);
	close(fd);
	return res;
}

/* Its backing file is the one beside it, not one beside a link to it. */
static void grow_behind_a_link(struct scene *s, char *why)
{
	struct scene linked = *s;
	char folder[96];
	char other[112];

	(void)snprintf(folder, sizeof(folder), "%.80s/luns", s->rig.dir);
	(void)snprintf(other, sizeof(other), "%s/base", folder);
	(void)snprintf(linked.path, sizeof(linked.path), "%.88s/link", folder);
	cr_assert(mkdir(folder, 0700) == 0 && symlink("../clone", linked.path) == 0);
	cr_assert(mknod(other, S_IFREG | 0600, 0) == 0 && truncate(other, 4 * SIZE_BYTES) == 0);
	cr_expect_eq(grow_clone(&linked, "raw", why), 0, "%s", why);
}

/* What is behind the end of a clone would show what is in its backing file there. */
Test(growth, of_a_clone)
{
	struct scene s;
	char why[LUN_WHY_MAX] = "";
	int fd;

	rig_create(&s.rig, LOOP_ENGINE_AIO, "/var/tmp");
	(void)snprintf(s.path, sizeof(s.path), "%s/clone", s.rig.dir);
	(void)snprintf(s.base, sizeof(s.base), "%s/base", s.rig.dir);
	cr_expect_eq(grow_clone(&s, "raw", why), -ENOENT, "%s", why);
	fd = open(s.base, O_RDWR | O_CREAT, 0600);
	cr_assert_eq(ftruncate(fd, (off_t)SIZE_BYTES), 0);
	cr_expect_eq(grow_clone(&s, "raw", why), 0, "%s", why);
	expect_clean(&s, 2 * SIZE_BYTES);
	grow_behind_a_link(&s, why);
	cr_assert_eq(ftruncate(fd, (off_t)SIZE_BYTES + 512), 0);
	cr_expect_eq(grow_clone(&s, "raw", why), -ENOTSUP);
	cr_expect_not_null(strstr(why, "would show"), "%s", why);
	cr_expect_neq(grow_clone(&s, "qcow2", why), 0);
	close(fd);
	rig_free(&s.rig);
}
