/*
 * The catalogue: folders as qemu-img leaves them, and as strangers do.
 */
#include "tests/unit/lun_family.h"

#include <time.h>

#include "base/attr.h"
#include "base/bytes.h"
#include "lun/qcow2/format.h"

#define QUIET ">/dev/null 2>&1"

static char folder[64];

static void begin(void)
{
	enter_folder(folder);
}

static void end(void)
{
	leave_folder(folder);
}

TestSuite(family_read, .init = begin, .fini = end);

static void expect_refused(const struct family *family, const char *name, const char *sentence)
{
	char why[WHY_BYTES] = "";

	cr_expect_eq(family_may_change(family, expect_image(family, name), why, sizeof(why)),
		     -EBUSY);
	cr_expect_not_null(strstr(why, sentence), "%s: \"%s\"", name, why);
}

static void expect_free(const struct family *family, const char *name)
{
	char why[WHY_BYTES] = "";

	cr_expect_eq(family_may_change(family, expect_image(family, name), why, sizeof(why)), 0,
		     "%s", why);
}

Test(family_read, names)
{
	static char long_name[FAMILY_NAME_BYTES];
	static const struct {
		const char *active, *snapshot, *name;
	} rows[] = {
		{"vm1.qcow2", "monday", "vm1@monday.qcow2"},
		{"vm1", "a.b", "vm1@a.b"},
		{"vm.1.qcow2", "2026-11-23_08.30", "vm.1@2026-11-23_08.30.qcow2"},
		{".vm", "S", ".vm@S"},
		{"a@b.img", "c", "a@b@c.img"},
	};
	static const char *const wrong[] = {"", ".a", "a/b", "a b", "a@b", "\xc3\xa4", NULL};
	char name[FAMILY_NAME_BYTES];
	char snapshot[FAMILY_SNAPSHOT_MAX + 1];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		cr_expect_eq(family_snapshot_name(rows[i].active, rows[i].snapshot, name), 0);
		cr_expect_str_eq(name, rows[i].name);
		cr_assert(family_is_snapshot_of(rows[i].active, name, snapshot), "%s", name);
		cr_expect_str_eq(snapshot, rows[i].snapshot);
	}
	for (size_t i = 0; wrong[i]; i++)
		cr_expect_eq(family_snapshot_name("vm1.qcow2", wrong[i], name), -EINVAL);
	memset(long_name, 'n', sizeof(long_name) - 1);
	cr_expect_eq(family_snapshot_name(long_name, "s", name), -ENAMETOOLONG);
	cr_expect_eq(family_snapshot_name("vm1", long_name, name), -EINVAL);
	cr_expect_not(family_is_snapshot_of("vm1.qcow2", "vm1.qcow2", snapshot));
	cr_expect_not(family_is_snapshot_of("vm1.qcow2", "vm1@.qcow2", snapshot));
	cr_expect_not(family_is_snapshot_of("vm1.qcow2", "vm1@a.img", snapshot));
	cr_expect_not(family_is_snapshot_of("vm1.qcow2", "vm2@a.qcow2", snapshot));
	cr_expect_not(family_is_snapshot_of("vm1.qcow2", "vm1@a@b.qcow2", snapshot));
}

Test(family_read, chains)
{
	struct family *family;
	const struct family_image *image;

	cr_assert_eq(
		shell_status("set -e; exec " QUIET ";"
			     "truncate -s 10M golden.raw; q='qemu-img create -f qcow2'; $q "
			     "one.qcow2 64M;"
			     "$q -b golden.raw -F raw a.qcow2 20M;"
			     "$q -o cluster_size=128k,extended_l2=on -b a.qcow2 -F qcow2 b.qcow2;"
			     "$q -b a.qcow2 -F qcow2 c.qcow2; echo hello >notes.txt"),
		0);
	family = read_here(NULL);
	cr_expect_eq(family->count, 6);
	image = expect_image(family, "golden.raw");
	cr_expect_eq(image->kind, FAMILY_RAW);
	cr_expect_eq(image->size_bytes, 10 * MIB);
	cr_expect_eq(image->used_bytes, 0);
	cr_expect_eq(image->depth, 1);
	cr_expect_eq(expect_image(family, "notes.txt")->kind, FAMILY_OTHER);
	image = expect_image(family, "b.qcow2");
	cr_expect_eq(image->kind, FAMILY_QCOW2);
	cr_expect_eq(image->size_bytes, 20 * MIB);
	cr_expect_eq(image->cluster_bits, 17);
	cr_expect(image->extended);
	cr_expect_eq(image->depth, 3);
	cr_expect_str_eq(image->parent->name, "a.qcow2");
	cr_expect_str_eq(image->why, "");
	cr_expect(family_is_below(expect_image(family, "golden.raw"), image));
	cr_expect_not(family_is_below(expect_image(family, "one.qcow2"), image));
	image = expect_image(family, "a.qcow2");
	cr_expect_eq(image->children, 2);
	cr_expect_str_eq(family_next_child(family, image, NULL)->name, "b.qcow2");
	cr_expect_null(family_next_child(family, image, expect_image(family, "c.qcow2")));
	expect_refused(family, "a.qcow2", "2 images are based on it: b.qcow2, c.qcow2");
	expect_refused(family, "golden.raw", "1 image is based on it: a.qcow2");
	expect_free(family, "c.qcow2");
	expect_free(family, "one.qcow2");
	family_free(family);
}

/* A base has its children under every name that it has. */
Test(family_read, second_links)
{
	struct family *family;

	cr_assert_eq(
		shell_status(
			"set -e; exec " QUIET "; qemu-img create -f qcow2 a.qcow2 64M;"
			"qemu-img create -f qcow2 -b a.qcow2 -F qcow2 b.qcow2; ln a.qcow2 z.qcow2"),
		0);
	family = read_here(NULL);
	expect_refused(family, "z.qcow2", "1 image is based on it: b.qcow2");
	expect_refused(family, "a.qcow2", "1 image is based on it: b.qcow2");
	family_free(family);
}

Test(family_read, snapshots_in_order)
{
	static const char *const order[] = {"vm1@z.qcow2", "vm1@a.qcow2", "vm1@b.qcow2"};
	const struct family_image **found;
	struct family *family;
	size_t count;

	cr_assert_eq(
		shell_status(
			"set -e; exec " QUIET "; q='qemu-img create -f qcow2'; $q vm1@z.qcow2 1M;"
			"$q -b vm1@z.qcow2 -F qcow2 vm1@b.qcow2; touch -d '1 hour' vm1@b.qcow2;"
			"$q -b vm1@z.qcow2 -F qcow2 vm1@a.qcow2; touch -d '2 hours ago' "
			"vm1@a.qcow2;"
			"$q -b vm1@b.qcow2 -F qcow2 vm1.qcow2; $q vm2@a.qcow2 1M"),
		0);
	family = read_here(NULL);
	cr_assert_eq(family_snapshots(family, expect_image(family, "vm1.qcow2"), &found, &count),
		     0);
	cr_assert_eq(count, ARRAY_SIZE(order));
	for (size_t i = 0; i < count; i++)
		cr_expect_str_eq(found[i]->name, order[i]);
	free(found);
	family_free(family);
}

/* -- What strangers leave -- */

static void make_header(const char *name, void (*change)(uint8_t *bytes))
{
	uint8_t bytes[4096];
	int fd CLEANUP(files_close) = -1;

	cr_assert_eq(
		shell_status("qemu-img create -f qcow2 -b golden.qcow2 -F qcow2 %s 64M -u " QUIET,
			     name),
		0);
	fd = open(name, O_RDWR);
	cr_assert_eq(pread(fd, bytes, sizeof(bytes), 0), (ssize_t)sizeof(bytes));
	change(bytes);
	cr_assert_eq(pwrite(fd, bytes, sizeof(bytes), 0), (ssize_t)sizeof(bytes));
}

static void huge_l1(uint8_t *bytes)
{
	put_be32(bytes + 36, 0x7fffffff);
}

static void unknown_feature(uint8_t *bytes)
{
	put_be64(bytes + 72, UINT64_C(1) << 40);
}

static void name_far_away(uint8_t *bytes)
{
	put_be64(bytes + 8, UINT64_MAX - 3);
}

static void large_clusters(uint8_t *bytes)
{
	put_be32(bytes + 20, 63);
}

static void long_extension(uint8_t *bytes)
{
	put_be32(bytes + get_be32(bytes + 100) + 4, 0xfffffff0);
}

/* Each is reported, with its reason, and the rest of the folder is read; what seems to be based on
 * something protects it, however broken it is. */
Test(family_read, hostile_headers)
{
	static const struct {
		const char *name;
		void (*change)(uint8_t *bytes);
		bool is_child;
	} rows[] = {
		{"huge_l1", huge_l1, true},
		{"unknown_feature", unknown_feature, true},
		{"name_far_away", name_far_away, false},
		{"large_clusters", large_clusters, true},
		{"long_extension", long_extension, true},
	};
	struct family *family;
	unsigned children = 0;

	cr_assert_eq(shell_status("qemu-img create -f qcow2 golden.qcow2 64M " QUIET), 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		make_header(rows[i].name, rows[i].change);
	cr_assert_eq(shell_status("mkfifo fifo; mkdir folder; ln -s golden.qcow2 link; : >empty;"
				  "printf 'QFI\\xfb' >magic; head -c 65536 /dev/zero >zeroes"),
		     0);
	family = read_here(NULL);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct family_image *image = expect_image(family, rows[i].name);

		cr_expect_eq(image->kind, FAMILY_REFUSED, "%s", image->name);
		cr_expect_str_neq(image->why, "", "%s", image->name);
		cr_expect_eq(image->parent != NULL, rows[i].is_child, "%s", image->name);
		children += rows[i].is_child;
	}
	cr_expect_eq(expect_image(family, "golden.qcow2")->children, children);
	cr_expect_eq(expect_image(family, "magic")->kind, FAMILY_REFUSED);
	cr_expect_eq(expect_image(family, "empty")->kind, FAMILY_OTHER);
	cr_expect_eq(expect_image(family, "zeroes")->kind, FAMILY_OTHER);
	cr_expect_null(family_find(family, "fifo"));
	cr_expect_null(family_find(family, "folder"));
	cr_expect_null(family_find(family, "link"));
	family_free(family);
}

Test(family_read, loops_and_names_that_lead_away)
{
	struct family *family;
	const struct family_image *image;

	cr_assert_eq(
		shell_status("set -e; exec " QUIET "; q='qemu-img create -f qcow2 -u -F qcow2';"
			     "$q -b b a 1M; $q -b a b 1M; $q -b a self 1M; qemu-img rebase -u -F "
			     "qcow2 -b self self; $q -b gone orphan 1M;"
			     "qemu-img create -f qcow2 golden 1M; $q -b ../x/golden outside 1M;"
			     "$q -b \"$PWD/golden\" absolute 1M"),
		0);
	family = read_here(NULL);
	cr_expect_eq(expect_image(family, "a")->depth, 0);
	cr_expect_eq(expect_image(family, "self")->depth, 0);
	cr_expect_not_null(strstr(expect_image(family, "self")->why, "no end"));
	/* Whoever wrote that is not to keep it from being written. */
	expect_free(family, "self");
	image = expect_image(family, "orphan");
	cr_expect_null(image->parent);
	cr_expect_not_null(strstr(image->why, "not there"));
	cr_expect_not_null(strstr(expect_image(family, "outside")->why, "plain name"));
	/* It may be meant, so it is not written. */
	expect_refused(family, "golden", "2 images are based on it: absolute, outside");
	family_free(family);
}

/* A guest may write what it likes into its raw disk: whoever knows that it is one is believed. */
Test(family_read, raw_by_word)
{
	static const char *const raw[] = {"disk.img", NULL};
	struct family *family;

	cr_assert_eq(shell_status("set -e; exec " QUIET
				  "; qemu-img create -f qcow2 golden.qcow2 64M;"
				  "qemu-img create -f qcow2 -b golden.qcow2 -F qcow2 disk.img"),
		     0);
	family = read_here(NULL);
	expect_refused(family, "golden.qcow2", "disk.img");
	family_free(family);
	family = read_here(&(struct family_words){.raw = raw});
	cr_expect_eq(expect_image(family, "disk.img")->kind, FAMILY_RAW);
	expect_free(family, "golden.qcow2");
	family_free(family);
}

/* Nor does a child's word for it, which may be forged, too, take a protection away. */
Test(family_read, raw_by_child)
{
	struct family *family;

	cr_assert_eq(shell_status("set -e; exec " QUIET
				  "; qemu-img create -f qcow2 golden.qcow2 64M;"
				  "qemu-img create -f qcow2 -b golden.qcow2 -F qcow2 a.qcow2;"
				  "qemu-img create -f qcow2 -b a.qcow2 -F raw forged"),
		     0);
	family = read_here(NULL);
	cr_expect_eq(expect_image(family, "a.qcow2")->kind, FAMILY_RAW);
	expect_refused(family, "golden.qcow2", "a.qcow2");
	family_free(family);
}

/* A name beyond the first 4 KiB, and one that is too long for any folder. */
Test(family_read, strange_but_valid)
{
	struct family *family;

	cr_assert_eq(shell_status("set -e; exec " QUIET
				  "; qemu-img create -f qcow2 golden.qcow2 64M;"
				  "qemu-img create -f qcow2 -b golden.qcow2 -F qcow2 far.qcow2"),
		     0);
	{
		static const char name[] = "golden.qcow2";
		uint8_t place[12];
		int fd CLEANUP(files_close) = open("far.qcow2", O_RDWR);

		put_be64(place, 40000);
		put_be32(place + 8, sizeof(name) - 1);
		cr_assert_eq(pwrite(fd, place, sizeof(place), 8), (ssize_t)sizeof(place));
		cr_assert_eq(pwrite(fd, name, sizeof(name) - 1, 40000), (ssize_t)sizeof(name) - 1);
	}
	family = read_here(NULL);
	cr_expect_str_eq(expect_image(family, "far.qcow2")->why, "");
	cr_expect_str_eq(expect_image(family, "far.qcow2")->parent->name, "golden.qcow2");
	family_free(family);
}

/* A figure for lun/README.md, and that many files are read at all. */
Test(family_read, thousand)
{
	struct timespec times[2];
	struct family *family;

	cr_assert_eq(shell_status("set -e; exec " QUIET
				  "; qemu-img create -f qcow2 -o cluster_size=128k,"
				  "extended_l2=on golden.qcow2 10G;"
				  "qemu-img create -f qcow2 -o cluster_size=128k,extended_l2=on "
				  "-b golden.qcow2 -F qcow2 c0;"
				  "tee $(seq -f c%%g 999) <c0"),
		     0);
	family_free(read_here(NULL));
	clock_gettime(CLOCK_MONOTONIC, &times[0]);
	family = read_here(NULL);
	clock_gettime(CLOCK_MONOTONIC, &times[1]);
	cr_log_info("1001 files: %.1f ms",
		    (double)(times[1].tv_sec - times[0].tv_sec) * 1e3 +
			    (double)(times[1].tv_nsec - times[0].tv_nsec) / 1e6);
	cr_expect_eq(expect_image(family, "golden.qcow2")->children, 1000);
	expect_refused(family, "golden.qcow2", "1000 images are based on it: c0, c1, c10 ...");
	family_free(family);
}
