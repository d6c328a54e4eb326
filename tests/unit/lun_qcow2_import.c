/*
 * Images that are opened for writing: one that is new here is checked whole, one that was here
 * before is not, and a dirty one has its refcounts counted anew.
 */
#include "tests/unit/lun_testing.h"

#include "base/bytes.h"
#include "lun/qcow2/check.h"
#include "lun/qcow2/writable.h"
#include "lun/qcow2_import.h"

#include <sys/xattr.h>

#define SIZE_BYTES (UINT64_C(1) << 30)
#define CLUSTER 65536u
#define AT_INCOMPATIBLE 72
/* As create.c lays it out: header, refcount table, block, L1 table; and what is added. */
#define AT_BLOCK (2 * CLUSTER)
#define AT_L1 (3 * CLUSTER)
#define AT_L2 (4 * CLUSTER)

/* Loops that never run: open and close are the control thread's. */
struct scene {
	struct rig rig;
	struct lun_spec spec;
	char path[96];
};

static void put(const struct scene *s, uint64_t offset, const void *bytes, size_t length)
{
	int fd = open(s->path, O_RDWR);

	cr_assert_eq(pwrite(fd, bytes, length, (off_t)offset), (ssize_t)length);
	close(fd);
}

static void put_number(const struct scene *s, uint64_t offset, uint64_t value)
{
	uint8_t bytes[8];

	put_be64(bytes, value);
	put(s, offset, bytes, sizeof(bytes));
}

static void put_refcount(const struct scene *s, uint32_t cluster, uint16_t refcount)
{
	uint8_t bytes[2];

	put_be16(bytes, refcount);
	put(s, AT_BLOCK + cluster * 2, bytes, sizeof(bytes));
}

/* With one cluster of data, at the sixth place. */
static void scene_init(struct scene *s)
{
	struct qcow2_create create = {SIZE_BYTES, 16, false, NULL, NULL};
	struct qcow2_descriptor file;
	struct qcow2_layout layout;
	char why[LUN_WHY_MAX];
	int fd;

	rig_create(&s->rig, LOOP_ENGINE_AIO, "/var/tmp");
	(void)snprintf(s->path, sizeof(s->path), "%s/image.qcow2", s->rig.dir);
	s->spec = test_spec(&s->rig, "qcow2");
	s->spec.path = s->path;
	s->spec.size_bytes = SIZE_BYTES;
	fd = open(s->path, O_RDWR | O_CREAT | O_EXCL, 0600);
	cr_assert_eq(qcow2_layout_make(&create, &layout, why, sizeof(why)), 0);
	cr_assert(fd >= 0 && qcow2_descriptor_make(fd, &file) == 0);
	cr_assert_eq(qcow2_layout_write(&layout, &file.writable), 0);
	cr_assert_eq(ftruncate(fd, 6 * CLUSTER), 0);
	close(fd);
	put_number(s, AT_L1, AT_L2 | QCOW2_COPIED);
	put_number(s, AT_L2, (5 * CLUSTER) | QCOW2_COPIED);
	put_refcount(s, 4, 1);
	put_refcount(s, 5, 1);
}

static void expect_online(const struct scene *s)
{
	struct lun *lun;

	cr_assert_eq(lun_open(&s->spec, &s->rig.group, &lun), 0);
	cr_expect(lun_state(lun)->online, "%s", lun_state(lun)->offline_reason);
	lun_close(lun);
}

static void expect_offline(const struct scene *s, const char *words)
{
	struct lun *lun;

	cr_assert_eq(lun_open(&s->spec, &s->rig.group, &lun), 0);
	cr_expect(!lun_state(lun)->online, "expected: %s", words);
	cr_expect_not_null(strstr(lun_state(lun)->offline_reason, words), "\"%s\" lacks \"%s\"",
			   lun_state(lun)->offline_reason, words);
	lun_close(lun);
}

static enum qcow2_verdict verdict_of(const struct scene *s)
{
	static struct qcow2_check found;
	struct qcow2_descriptor file;
	char why[LUN_WHY_MAX] = "";
	int fd = open(s->path, O_RDONLY);

	cr_assert(fd >= 0 && qcow2_descriptor_make(fd, &file) == 0);
	cr_assert_eq(qcow2_check(&(struct qcow2_check_spec){.file = &file.writable.file}, &found,
				 why, sizeof(why)),
		     0, "%s", why);
	close(fd);
	return qcow2_check_verdict(&found);
}

Test(qcow2_import, what_is_new_is_checked)
{
	struct scene s;

	scene_init(&s);
	put_refcount(&s, 5, 0);
	cr_assert_eq(verdict_of(&s), QCOW2_CORRUPT);
	expect_offline(&s, "damaged in 2 places; see `ringsan image check --repair`");
	expect_offline(&s, "ringsan image check --repair");
	cr_expect_eq(verdict_of(&s), QCOW2_CORRUPT, "nothing was changed");
	/* Who only reads does no harm. */
	s.spec.read_only = true;
	expect_online(&s);
	s.spec.read_only = false;
	expect_offline(&s, "damaged");
	put_refcount(&s, 5, 1);
	expect_online(&s);
	rig_free(&s.rig);
}

Test(qcow2_import, what_only_leaks_is_served)
{
	struct scene s;

	scene_init(&s);
	put_number(&s, AT_L2, 0);
	cr_assert_eq(verdict_of(&s), QCOW2_LEAKS);
	expect_online(&s);
	rig_free(&s.rig);
}

/* A crash leaves nothing that a check would have to find; and a thousand of them would take long.
 */
Test(qcow2_import, what_was_here_before_is_not)
{
	struct scene s;

	scene_init(&s);
	expect_online(&s);
	put_refcount(&s, 5, 2);
	put_number(&s, AT_L2, 5 * CLUSTER);
	put_number(&s, AT_L2 + 8, 5 * CLUSTER);
	put_number(&s, AT_L2 + 16, 77);
	cr_assert_eq(verdict_of(&s), QCOW2_CORRUPT);
	expect_online(&s);
	/* A copy without its attributes is new again. */
	cr_assert_eq(removexattr(s.path, "user.ringsan.identity"), 0);
	expect_offline(&s, "damaged");
	rig_free(&s.rig);
}

Test(qcow2_import, dirty_ones_are_counted_anew)
{
	struct scene s;

	for (unsigned met = 0; met < 2; met++) {
		scene_init(&s);
		if (met)
			expect_online(&s);
		put_refcount(&s, 5, 0);
		put_number(&s, AT_INCOMPATIBLE, QCOW2_INCOMPATIBLE_DIRTY);
		cr_assert_eq(verdict_of(&s), QCOW2_CORRUPT);
		expect_online(&s);
		cr_expect_eq(verdict_of(&s), QCOW2_CLEAN);
		/* What is not refcounts alone is nobody's to guess. */
		put_number(&s, AT_L2 + 8, 77);
		put_number(&s, AT_INCOMPATIBLE, QCOW2_INCOMPATIBLE_DIRTY);
		expect_offline(&s, "cannot be counted anew; see `ringsan image check --repair`");
		rig_free(&s.rig);
	}
}

/* They lie behind what was the end of the file when it was opened. */
Test(qcow2_import, refcounts_get_a_new_place)
{
	struct scene s;

	scene_init(&s);
	put_number(&s, CLUSTER, 0);
	put_number(&s, AT_INCOMPATIBLE, QCOW2_INCOMPATIBLE_DIRTY);
	expect_online(&s);
	cr_expect_eq(verdict_of(&s), QCOW2_CLEAN);
	rig_free(&s.rig);
}

Test(qcow2_import, what_says_that_it_is_corrupt_is_left_alone)
{
	struct scene s;

	scene_init(&s);
	put_number(&s, AT_INCOMPATIBLE, QCOW2_INCOMPATIBLE_CORRUPT | QCOW2_INCOMPATIBLE_DIRTY);
	expect_offline(&s, "marked as corrupt; see `ringsan image check --repair`");
	rig_free(&s.rig);
}

/* The daemon ends: it does not wait for what takes long, and nothing is damaged by that. */
Test(qcow2_import, ends_with_the_server)
{
	struct scene s;

	scene_init(&s);
	qcow2_import_stop();
	expect_offline(&s, "the server ends");
	cr_expect_eq(verdict_of(&s), QCOW2_CLEAN);
	put_number(&s, AT_INCOMPATIBLE, QCOW2_INCOMPATIBLE_DIRTY);
	put_refcount(&s, 5, 0);
	expect_offline(&s, "the server ends");
	cr_expect_eq(verdict_of(&s), QCOW2_CORRUPT);
	rig_free(&s.rig);
}
