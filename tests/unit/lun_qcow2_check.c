/*
 * The check of closed images, on images in memory: what it counts, what it finds, and that it stays
 * within its bounds. tests/qcow2/images.py compares it with qemu-img.
 */
#include "lun/qcow2/check.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>

#include "base/attr.h"
#include "lun/qcow2/plain.h"
#include "tests/unit/lun_qcow2_image.h"

static int check_with(struct image *image, uint64_t memory_bytes, struct qcow2_check *out)
{
	char why[WHY_BYTES] = "";

	image->memory = memory_file_make(image->bytes, (uint64_t)image->clusters * CLUSTER);
	return qcow2_check(&(struct qcow2_check_spec){.file = &image->memory.file,
						      .memory_bytes = memory_bytes},
			   out, why, sizeof(why));
}

static enum qcow2_verdict check(struct image *image, struct qcow2_check *out)
{
	cr_assert_eq(check_with(image, 0, out), 0);
	return qcow2_check_verdict(out);
}

Test(qcow2_check, a_new_image_is_clean)
{
	struct image image = image_make(1 << 20);
	struct qcow2_check found;

	cr_expect_eq(check(&image, &found), QCOW2_CLEAN);
	cr_expect_eq(found.clusters, 4);
	cr_expect_eq(found.referenced, 4);
	cr_expect_eq(found.guest_clusters, 0);
	cr_expect_eq(found.finding_count, 0);
	free(image.bytes);
}

Test(qcow2_check, data_are_counted)
{
	struct image image = image_make(1 << 20);
	struct qcow2_check found;

	(void)add_data(&image, 7);
	cr_expect_eq(check(&image, &found), QCOW2_CLEAN);
	cr_expect_eq(found.clusters, 12);
	cr_expect_eq(found.referenced, 12);
	cr_expect_eq(found.guest_clusters, 7);
	free(image.bytes);
}

Test(qcow2_check, compressed_clusters_share_a_host_cluster)
{
	struct image image = image_make(1 << 20);
	uint32_t l2 = add_data(&image, 1), shared = add_cluster(&image), next = add_cluster(&image);
	uint64_t at = (uint64_t)shared * CLUSTER;
	uint32_t x = 62 - (12 - 8);
	struct qcow2_check found;

	/* The second begins in the first one's last sector, the third ends in the next cluster. */
	put_be64(image.bytes + l2 * CLUSTER + 8, QCOW2_COMPRESSED | UINT64_C(2) << x | at);
	put_be64(image.bytes + l2 * CLUSTER + 16,
		 QCOW2_COMPRESSED | UINT64_C(1) << x | (at + 1400));
	put_be64(image.bytes + l2 * CLUSTER + 24,
		 QCOW2_COMPRESSED | UINT64_C(1) << x | (at + 3900));
	set_refcount(&image, shared, 3);
	cr_expect_eq(check(&image, &found), QCOW2_CLEAN);
	cr_expect_eq(found.guest_clusters, 4);
	cr_expect_eq(found.guest_compressed, 3);
	/* The file may end within the last sectors. */
	image.clusters--;
	set_refcount(&image, next, 0);
	cr_expect_eq(check(&image, &found), QCOW2_CLEAN);
	set_refcount(&image, shared, 2);
	cr_expect_eq(check(&image, &found), QCOW2_CORRUPT);
	free(image.bytes);
}

Test(qcow2_check, corruptions_are_told_before_leaks)
{
	struct image image = image_make(1 << 20);
	struct qcow2_check found;
	uint32_t l2 = add_data(&image, 20);

	for (uint32_t i = 0; i < 12; i++)
		put_be64(image.bytes + l2 * CLUSTER + i * 8, 0);
	cr_expect_eq(check(&image, &found), QCOW2_LEAKS);
	cr_expect_eq(found.leaks, 12);
	cr_expect_eq(found.finding_count, QCOW2_FINDINGS_MAX);
	/* Data where the L1 table is, which is found while marking, and a refcount of 0 at the
	 * end. */
	put_be64(image.bytes + l2 * CLUSTER, image.layout.header.l1_offset);
	set_refcount(&image, image.clusters - 1, 0);
	cr_expect_eq(check(&image, &found), QCOW2_CORRUPT);
	cr_expect_eq(found.leaks, 12);
	cr_expect_geq(found.corruptions, 4);
	cr_expect_eq(found.finding_count, QCOW2_FINDINGS_MAX);
	cr_expect_str_eq(found.findings[0], "data at 0x3000: the cluster is also something else");
	cr_expect_str_eq(found.findings[1], "the cluster at 0x3000 has 2 references, refcount 1");
	cr_expect_not_null(strstr(found.findings[QCOW2_FINDINGS_MAX - 1], "leaks"));
	free(image.bytes);
}

Test(qcow2_check, an_l2_table_is_walked_once)
{
	struct image image = image_make(64 << 20);
	struct qcow2_check found;
	uint32_t l2 = add_data(&image, 3);

	put_be64(l1_entry(&image, 1), (uint64_t)l2 * CLUSTER);
	set_refcount(&image, l2, 2);
	cr_expect_eq(check(&image, &found), QCOW2_CORRUPT);
	cr_expect_eq(found.guest_clusters, 3);
	cr_expect_not_null(strstr(found.findings[0], "of another"), "%s", found.findings[0]);
	free(image.bytes);
}

Test(qcow2_check, little_memory_takes_more_passes_and_finds_the_same)
{
	struct image image = image_make(1 << 20);
	struct qcow2_check whole, parts;
	uint32_t l2 = add_data(&image, 30);

	put_be64(image.bytes + l2 * CLUSTER, 0);               /* A leak. */
	put_be64(image.bytes + l2 * CLUSTER + 8, 3 * CLUSTER); /* At the L1 table. */
	put_be64(image.bytes + l2 * CLUSTER + 16, 2);          /* None. */
	set_refcount(&image, 30, 0);
	cr_assert_eq(check_with(&image, 0, &whole), 0);
	for (uint64_t clusters = 1; clusters < 40; clusters++) {
		cr_assert_eq(check_with(&image, clusters * 4, &parts), 0);
		cr_expect_eq(parts.corruptions, whole.corruptions, "%u", (unsigned)clusters);
		cr_expect_eq(parts.leaks, whole.leaks);
		cr_expect_eq(parts.referenced, whole.referenced);
		cr_expect_eq(parts.guest_clusters, whole.guest_clusters);
	}
	cr_expect_eq(check_with(&image, 3, &parts), -EFBIG);
	free(image.bytes);
}

Test(qcow2_check, a_huge_sparse_file_is_refused)
{
	struct image image = image_make(1 << 20);
	struct memory_file memory = memory_file_make(image.bytes, UINT64_C(1) << 62);
	struct qcow2_check found;
	char why[WHY_BYTES] = "";

	cr_expect_eq(qcow2_check(&(struct qcow2_check_spec){.file = &memory.file}, &found, why,
				 sizeof(why)),
		     -EFBIG);
	cr_expect_str_eq(why, "the file has too many clusters to be counted");
	free(image.bytes);
}

/* -- Errors of reading -- */

struct failing_file {
	struct qcow2_file file; /* First. */
	const struct memory_file *memory;
	unsigned left; /* Reads that succeed. */
};

static int failing_read(const struct qcow2_file *file, void *buffer, size_t length, uint64_t offset)
{
	struct failing_file *failing;

	memcpy(&failing, &(const void *){file}, sizeof(failing));
	if (failing->left == 0)
		return -EIO;
	failing->left--;
	return failing->memory->file.read(&failing->memory->file, buffer, length, offset);
}

Test(qcow2_check, each_read_may_fail)
{
	struct image image = image_make(1 << 20);
	struct qcow2_check found;
	int res = -EIO;

	(void)add_data(&image, 5);
	cr_assert_eq(check(&image, &found), QCOW2_CLEAN);
	for (unsigned reads = 0; res != 0; reads++) {
		struct failing_file failing = {
			.file = {.read = failing_read, .size_bytes = image.memory.file.size_bytes},
			.memory = &image.memory,
			.left = reads,
		};
		char why[WHY_BYTES] = "";

		cr_assert_lt(reads, 100);
		res = qcow2_check(&(struct qcow2_check_spec){.file = &failing.file}, &found, why,
				  sizeof(why));
		cr_expect(res == -EIO ? strstr(why, "cannot be read") != NULL : reads >= 6, "%s",
			  why);
	}
	free(image.bytes);
}

/* -- The plain reader -- */

Test(qcow2_check, plain_reading_of_all_states)
{
	struct image image = image_make(1 << 20);
	uint8_t backing_bytes[6000], out[6 * CLUSTER], wanted[6 * CLUSTER];
	struct memory_file backing = memory_file_make(backing_bytes, sizeof(backing_bytes));
	uint32_t l2 = add_data(&image, 2);
	struct qcow2_plain plain;
	char why[WHY_BYTES] = "";

	memset(backing_bytes, 'b', sizeof(backing_bytes));
	memset(image.bytes + (l2 + 1) * CLUSTER, 'd', CLUSTER);
	/* Data, nothing (the backing file, which ends here), zeroes. */
	memset(wanted, 0, sizeof(wanted));
	memset(wanted, 'd', CLUSTER);
	memset(wanted + CLUSTER, 'b', 6000 - CLUSTER);
	put_be64(image.bytes + l2 * CLUSTER + 8, 0);
	put_be64(image.bytes + l2 * CLUSTER + 16, QCOW2_ZERO);
	image.memory = memory_file_make(image.bytes, (uint64_t)image.clusters * CLUSTER);
	cr_assert_eq(qcow2_plain_open(&plain, &image.memory.file, &backing.file, why, sizeof(why)),
		     0, "%s", why);
	cr_expect_eq(plain.guest.read(&plain.guest, out, sizeof(out), 0), 0);
	cr_expect_eq(memcmp(out, wanted, sizeof(out)), 0);
	for (size_t at = 1; at < sizeof(out); at += 997) {
		cr_expect_eq(plain.guest.read(&plain.guest, out, 5000, at), 0);
		cr_expect_eq(
			memcmp(out, wanted + at, sizeof(out) - at < 5000 ? sizeof(out) - at : 5000),
			0);
	}
	/* Behind its end there is nothing. */
	memset(out, 1, sizeof(out));
	cr_expect_eq(plain.guest.read(&plain.guest, out, 1024, (1 << 20) - 512), 0);
	cr_expect_eq(out[1023], 0);
	/* And where an entry is none: an error. */
	put_be64(image.bytes + l2 * CLUSTER, 2);
	cr_expect_eq(plain.guest.read(&plain.guest, out, 1, 0), -EIO);
	put_be64(image.bytes + l2 * CLUSTER, (uint64_t)image.clusters * CLUSTER);
	cr_expect_eq(plain.guest.read(&plain.guest, out, 1, 0), -EIO);
	free(image.bytes);
}
