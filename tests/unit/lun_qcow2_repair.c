/*
 * Repair of refcounts: what it mends, what it refuses untouched, and that it may be cut short
 * anywhere. tests/qcow2/images.py has qemu-img look at the outcome.
 */
#include "lun/qcow2/repair.h"

#include <criterion/criterion.h>
#include <errno.h>

#include "base/attr.h"
#include "tests/unit/lun_qcow2_image.h"

struct writable_image {
	struct qcow2_writable writable; /* First. */
	struct image *image;
	unsigned left; /* Writes and syncs that succeed. */
};

static int image_read(const struct qcow2_file *file, void *buffer, size_t length, uint64_t offset)
{
	const struct writable_image *to = (const void *)file;

	to->image->memory.file.size_bytes = (uint64_t)to->image->clusters * CLUSTER;
	return memory_file_read(&to->image->memory.file, buffer, length, offset);
}

static int image_write(struct qcow2_writable *writable, const void *bytes, size_t length,
		       uint64_t offset)
{
	struct writable_image *to = (void *)writable;

	if (to->left == 0)
		return -EIO;
	to->left--;
	cr_assert_leq(offset + length, CLUSTERS_MAX * CLUSTER);
	memcpy(to->image->bytes + offset, bytes, length);
	if (offset + length > (uint64_t)to->image->clusters * CLUSTER)
		to->image->clusters = (uint32_t)((offset + length + CLUSTER - 1) / CLUSTER);
	return 0;
}

static int image_sync(struct qcow2_writable *writable)
{
	struct writable_image *to = (void *)writable;

	if (to->left == 0)
		return -EIO;
	to->left--;
	return 0;
}

static int repair_with(struct image *image, unsigned writes, uint64_t memory_bytes,
		       struct qcow2_repair *out, char *why)
{
	struct writable_image to = {.image = image, .left = writes};

	image->memory = memory_file_make(image->bytes, (uint64_t)image->clusters * CLUSTER);
	to.writable = (struct qcow2_writable){
		.file = {.read = image_read, .size_bytes = image->memory.file.size_bytes},
		.write = image_write,
		.sync = image_sync,
	};
	*out = (struct qcow2_repair){.writable = &to.writable, .memory_bytes = memory_bytes};
	return qcow2_repair(out, why, WHY_BYTES);
}

static enum qcow2_verdict verdict_of(const struct image *image)
{
	static struct qcow2_check found;
	struct memory_file memory =
		memory_file_make(image->bytes, (uint64_t)image->clusters * CLUSTER);
	char why[WHY_BYTES];

	cr_assert_eq(qcow2_check(&(struct qcow2_check_spec){.file = &memory.file}, &found, why,
				 sizeof(why)),
		     0);
	return qcow2_check_verdict(&found);
}

/* A bit of everything that refcounts can have: too low, too high, two references that each believe
 * to be alone, one that does not, and a dirty bit. Data at clusters 5 to 14. */
static struct image wrong_image(void)
{
	struct image image = image_make(1 << 20);
	uint32_t l2 = add_data(&image, 10);
	uint8_t *entries = image.bytes + l2 * CLUSTER;

	set_refcount(&image, 0, 0);
	set_refcount(&image, l2, 7);
	set_refcount(&image, 5, 0);
	set_refcount(&image, 6, 3);
	put_be64(entries + 2 * 8, 0);                         /* Cluster 7 leaks. */
	put_be64(entries + 3 * 8, get_be64(entries + 4 * 8)); /* So does 8; 9 has two. */
	put_be64(entries + 5 * 8, get_be64(entries + 5 * 8) & ~COPIED);
	put_be64(l1_entry(&image, 0), get_be64(l1_entry(&image, 0)) & ~COPIED);
	put_be64(entries + 20 * 8, QCOW2_ZERO); /* Without a cluster. */
	put_be64(image.bytes + AT_INCOMPATIBLE, QCOW2_INCOMPATIBLE_DIRTY);
	return image;
}

Test(qcow2_repair, refcounts_and_entries)
{
	struct image image = wrong_image();
	uint8_t *entries = image.bytes + 4 * CLUSTER;
	struct qcow2_repair repair;
	char why[WHY_BYTES] = "";

	cr_assert_eq(repair_with(&image, 1000, 0, &repair, why), 0, "%s", why);
	cr_expect_eq(repair.refcounts, 7);
	cr_expect_eq(repair.entries, 4);
	cr_expect_gt(repair.before.corruptions, 0);
	cr_expect_eq(repair.before.leaks, 4);
	cr_expect_eq(repair.before.guest_clusters, 9);
	cr_expect_eq(verdict_of(&image), QCOW2_CLEAN);
	cr_expect_eq(get_be64(image.bytes + AT_INCOMPATIBLE), 0);
	cr_expect_eq(qcow2_refcount_get(image.bytes + 2 * CLUSTER, 9, 4), 2);
	cr_expect_eq(get_be64(entries + 3 * 8), 9 * CLUSTER);
	cr_expect_eq(get_be64(entries + 5 * 8), 10 * CLUSTER | COPIED);
	/* And nothing is left to be done. */
	cr_assert_eq(repair_with(&image, 1000, 0, &repair, why), 0);
	cr_expect_eq(repair.refcounts + repair.entries, 0);
	free(image.bytes);
}

Test(qcow2_repair, cut_short_anywhere)
{
	for (uint64_t memory_bytes = 0; memory_bytes <= 24; memory_bytes += 12) {
		int res = -EIO;

		for (unsigned writes = 0; res != 0; writes++) {
			struct image image = wrong_image();
			uint8_t *entries = image.bytes + 4 * CLUSTER;
			struct qcow2_repair repair;
			char why[WHY_BYTES];

			cr_assert_lt(writes, 200);
			res = repair_with(&image, writes, memory_bytes, &repair, why);
			cr_expect(res == 0 || res == -EIO);
			/* Of what is shared nobody says any more that it is not, once a refcount
			 * was changed. */
			if (repair.refcounts > 0 && memory_bytes == 0)
				cr_expect_eq(get_be64(entries + 3 * 8) & COPIED, 0);
			/* The dirty bit goes last. */
			if (get_be64(image.bytes + AT_INCOMPATIBLE) == 0)
				cr_expect_eq(verdict_of(&image), QCOW2_CLEAN);
			cr_assert_eq(repair_with(&image, 1000, memory_bytes, &repair, why), 0, "%s",
				     why);
			cr_expect_eq(verdict_of(&image), QCOW2_CLEAN);
			free(image.bytes);
		}
	}
}

Test(qcow2_repair, what_is_refused_is_not_touched)
{
	static const struct {
		const char *name;
		uint32_t at;
		uint64_t value;
		const char *why;
	} rows[] = {
		{"data at the L1 table", 4 * CLUSTER, 3 * CLUSTER, "something else"},
		{"an entry that is not valid", 4 * CLUSTER, 2, "not valid"},
		{"data beyond the end", 4 * CLUSTER, 1 << 30, "beyond the end"},
		{"a refcount block at the L2 table", CLUSTER, 4 * CLUSTER, "something else"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct image image = wrong_image();
		uint8_t *before = malloc((size_t)image.clusters * CLUSTER);
		struct qcow2_repair repair;
		char why[WHY_BYTES];

		put_be64(image.bytes + rows[i].at, rows[i].value);
		memcpy(before, image.bytes, (size_t)image.clusters * CLUSTER);
		cr_expect_eq(repair_with(&image, 1000, 0, &repair, why), -ENOTSUP, "%s",
			     rows[i].name);
		cr_expect_not_null(strstr(why, rows[i].why), "%s: %s", rows[i].name, why);
		cr_expect_eq(memcmp(before, image.bytes, (size_t)image.clusters * CLUSTER), 0);
		free(before);
		free(image.bytes);
	}
}

/* Refcounts without a place get a new one; wherever it is cut, it can be done again. */
Test(qcow2_repair, refcounts_get_a_new_place)
{
	static const struct {
		const char *name;
		uint64_t entry;
	} rows[] = {
		{"none", 0},
		{"beyond the end", 1 << 30},
		{"not aligned", 2 * CLUSTER + 512},
		{"reserved bits", 2 * CLUSTER | 1},
	};

	for (size_t i = 0; i < 3 * ARRAY_SIZE(rows); i++) {
		uint64_t memory_bytes = i % 3 * 12;
		int res = -EIO;

		for (unsigned writes = 0; res != 0; writes++) {
			struct image image = wrong_image();
			struct qcow2_repair repair;
			char why[WHY_BYTES] = "";

			cr_assert_lt(writes, 200);
			put_be64(image.bytes + CLUSTER, rows[i / 3].entry);
			res = repair_with(&image, writes, memory_bytes, &repair, why);
			cr_expect(res == 0 || res == -EIO, "%s: %s", rows[i / 3].name, why);
			cr_expect(res != 0 || repair.rebuilt);
			cr_assert_eq(repair_with(&image, 1000, memory_bytes, &repair, why), 0, "%s",
				     why);
			cr_expect_eq(verdict_of(&image), QCOW2_CLEAN, "%s, %u writes",
				     rows[i / 3].name, writes);
			cr_expect_eq(get_be64(image.bytes + AT_INCOMPATIBLE), 0);
			free(image.bytes);
		}
	}
}
