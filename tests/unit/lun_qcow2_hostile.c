/*
 * Images made to hurt: each is refused with a sentence, by the header, by the name of its backing
 * file, or by the check that an import makes. The cases are those of qemu's tests 080 (headers) and
 * 060 (overlaps) and of the classes behind CVE-2014-0142 to -0148, -0222, -0223 and CVE-2024-4467.
 */
#include <errno.h>
#include <stdio.h>

#include "base/attr.h"
#include "lun/qcow2/check.h"
#include "lun/qcow2/plain.h"
#include "tests/unit/lun_qcow2_image.h"

#define SNAPSHOTS 0x8000u
#define SNAPSHOT_L1 0x9000u
#define PATCHES_MAX 4u

/* The good image: an L2 table at 0x4000, data at 0x5000 to 0x7fff, one snapshot in the table at
 * 0x8000 with the L1 table at 0x9000, which shares the L2 table. */
static struct image good_image(void)
{
	struct image image = image_make(1 << 20);
	uint32_t l2 = add_data(&image, 3);
	uint8_t *snapshot = image.bytes + SNAPSHOTS;

	cr_assert_eq(l2, 4);
	cr_assert_eq(add_cluster(&image), SNAPSHOTS / CLUSTER);
	cr_assert_eq(add_cluster(&image), SNAPSHOT_L1 / CLUSTER);
	put_be32(image.bytes + AT_SNAPSHOT_COUNT, 1);
	put_be64(image.bytes + AT_SNAPSHOTS_OFFSET, SNAPSHOTS);
	put_be64(snapshot, SNAPSHOT_L1);
	put_be32(snapshot + 8, 1);
	put_be16(snapshot + 12, 1); /* Length of the identifier. */
	put_be16(snapshot + 14, 4); /* And of the name. */
	put_be32(snapshot + 36, 16);
	memcpy(snapshot + 56, "1snap", 5);
	put_be64(image.bytes + SNAPSHOT_L1, 0x4000);
	put_be64(l1_entry(&image, 0), 0x4000);
	set_refcount(&image, 4, 2);
	for (uint32_t i = 0; i < 3; i++) {
		put_be64(image.bytes + 0x4000 + i * 8, 0x5000 + i * CLUSTER);
		set_refcount(&image, 5 + i, 2);
	}
	return image;
}

/* What an import does with a file: 0, or an errno and a sentence. */
static int import(const struct image *image, char *why)
{
	struct memory_file memory =
		memory_file_make(image->bytes, (uint64_t)image->clusters * CLUSTER);
	static struct qcow2_check found;
	struct qcow2_header header;
	const char *wrong = NULL;
	int res = qcow2_header_read(&memory.file, &header, why, WHY_BYTES);

	if (res != 0)
		return res;
	if (header.backing_name[0] != '\0')
		wrong = qcow2_backing_name_wrong(header.backing_name);
	if (wrong == NULL) {
		res = qcow2_check(&(struct qcow2_check_spec){.file = &memory.file}, &found, why,
				  WHY_BYTES);
		if (res != 0)
			return res;
		if (qcow2_check_verdict(&found) == QCOW2_CORRUPT)
			wrong = found.findings[0];
		else if (found.marked_corrupt || found.dirty)
			wrong = "it is marked as dirty or corrupt";
	}
	(void)snprintf(why, WHY_BYTES, "%s", wrong != NULL ? wrong : "");
	return wrong != NULL ? -EINVAL : 0;
}

struct patch {
	uint32_t at, bytes;
	uint64_t value;
};

struct hostile {
	const char *name;
	const char *why; /* A part of the sentence; NULL: nothing is wrong. */
	struct patch patches[PATCHES_MAX];
};

static const struct hostile table[] = {
	{"nothing", NULL, {{0}}},
	/* 080: the header. */
	{"huge header", "header_length", {{AT_HEADER_LENGTH, 4, 0xfffffff8}}},
	{"header of more than a cluster", "header_length", {{AT_HEADER_LENGTH, 4, 0x1008}}},
	{"huge extension", "header extension", {{112, 4, 0x12345678}, {116, 4, 0x7fffffff}}},
	{"extension over all of the cluster",
	 "header extension",
	 {{112, 4, 0x12345678}, {116, 4, 4096 - 112 - 7}}},
	{"extension that wraps", "header extension", {{112, 4, 0x12345678}, {116, 4, UINT32_MAX}}},
	{"huge refcount table", "8 MiB", {{AT_REFCOUNT_TABLE_CLUSTERS, 4, UINT32_MAX}}},
	{"refcount table of 8 MiB and a cluster", "8 MiB", {{AT_REFCOUNT_TABLE_CLUSTERS, 4, 2049}}},
	{"refcount table of 8 MiB", "not lie in the file", {{AT_REFCOUNT_TABLE_CLUSTERS, 4, 2048}}},
	{"misaligned refcount table", "not aligned", {{AT_REFCOUNT_TABLE_OFFSET, 8, 0x12345678}}},
	{"refcount table far away",
	 "not lie in the file",
	 {{AT_REFCOUNT_TABLE_OFFSET, 8, UINT64_C(0x8000000000000000)}}},
	{"refcount table that wraps",
	 "not lie in the file",
	 {{AT_REFCOUNT_TABLE_OFFSET, 8, UINT64_C(0xfffffffffffff000)}}},
	{"no refcount table", "no refcount table", {{AT_REFCOUNT_TABLE_CLUSTERS, 4, 0}}},
	{"refcount table in the header", "in the header", {{AT_REFCOUNT_TABLE_OFFSET, 8, 0}}},
	{"too many snapshots", "snapshots", {{AT_SNAPSHOT_COUNT, 4, UINT32_MAX}}},
	{"65537 snapshots", "snapshots", {{AT_SNAPSHOT_COUNT, 4, 65537}}},
	{"65536 snapshots", "snapshot table does not lie", {{AT_SNAPSHOT_COUNT, 4, 65536}}},
	{"misaligned snapshots", "not aligned", {{AT_SNAPSHOTS_OFFSET, 8, 0x12345678}}},
	{"snapshots far away",
	 "not lie in the file",
	 {{AT_SNAPSHOTS_OFFSET, 8, UINT64_C(0xffffffffffff0000)}}},
	{"huge L1 table", "32 MiB", {{AT_L1_ENTRIES, 4, UINT32_MAX}}},
	{"L1 table of 32 MiB and an entry", "32 MiB", {{AT_L1_ENTRIES, 4, 0x400001}}},
	{"L1 table of 32 MiB", "not lie in the file", {{AT_L1_ENTRIES, 4, 0x400000}}},
	{"no L1 table", "its disk needs", {{AT_L1_ENTRIES, 4, 0}}},
	{"misaligned L1 table", "not aligned", {{AT_L1_OFFSET, 8, 0x12345678}}},
	{"L1 table far away",
	 "not lie in the file",
	 {{AT_L1_OFFSET, 8, UINT64_C(0x8000000000000000)}}},
	{"L1 table in the header", "in the header", {{AT_L1_OFFSET, 8, 0}}},
	{"a disk beyond the L1 table", "its disk needs", {{AT_SIZE, 8, 0x400000}}},
	{"a huge disk", "64 TiB", {{AT_SIZE, 8, UINT64_C(0x7ffffffffffffe00)}}},
	{"a disk of 2^64", "64 TiB", {{AT_SIZE, 8, UINT64_MAX}}},
	{"clusters of no size", "cluster_bits", {{AT_CLUSTER_BITS, 4, 0}}},
	{"clusters of 2^64 bytes", "cluster_bits", {{AT_CLUSTER_BITS, 4, 64}}},
	{"clusters of 2^32 bytes", "cluster_bits", {{AT_CLUSTER_BITS, 4, 32}}},
	{"refcounts of 2^32 bits", "refcount_order", {{AT_REFCOUNT_ORDER, 4, 32}}},
	{"huge backing name",
	 "4294967295 bytes",
	 {{AT_BACKING_OFFSET, 8, 0x400}, {AT_BACKING_BYTES, 4, UINT32_MAX}}},
	{"backing name of 1024",
	 "1024 bytes",
	 {{AT_BACKING_OFFSET, 8, 0x400}, {AT_BACKING_BYTES, 4, 1024}}},
	{"backing name behind the cluster",
	 "outside of the first cluster",
	 {{AT_BACKING_OFFSET, 8, 0x1000}, {AT_BACKING_BYTES, 4, 8}}},
	{"backing name that wraps",
	 "outside of the first cluster",
	 {{AT_BACKING_OFFSET, 8, UINT64_MAX - 3}, {AT_BACKING_BYTES, 4, 8}}},
	/* 080: a snapshot's L1 table. */
	{"misaligned L1 table of a snapshot", "snapshot 0 is not valid", {{SNAPSHOTS, 8, 0x9200}}},
	{"no L1 table of a snapshot", "snapshot 0 is not valid", {{SNAPSHOTS, 8, 0}}},
	{"L1 table of a snapshot far away",
	 "L1 table at 0x7ffffffffffff000 lies beyond",
	 {{SNAPSHOTS, 8, UINT64_C(0x7ffffffffffff000)}}},
	{"huge L1 table of a snapshot",
	 "snapshot 0 is not valid",
	 {{SNAPSHOTS + 8, 4, 0x10000000}}},
	{"long L1 table of a snapshot", "beyond the end", {{SNAPSHOTS + 8, 4, 0x10000}}},
	{"huge extra data of a snapshot",
	 "snapshot 0 is not valid",
	 {{SNAPSHOTS + 36, 4, UINT32_MAX}}},
	{"a second snapshot that is none", "snapshot 1 is not valid", {{AT_SNAPSHOT_COUNT, 4, 2}}},
	{"two snapshots with one L1 table",
	 "L1 table at 0x9000: the cluster is also something else",
	 {{AT_SNAPSHOT_COUNT, 4, 2}, {SNAPSHOTS + 64, 8, SNAPSHOT_L1}, {SNAPSHOTS + 72, 4, 1}}},
	{"snapshots on data", "snapshot 0 is not valid", {{AT_SNAPSHOTS_OFFSET, 8, 0x5000}}},
	/* 060: overlaps. */
	{"L2 table at the L1 table", "something else", {{0x3000, 8, 0x3000}}},
	{"L2 table at the refcount block", "something else", {{0x3000, 8, 0x2000}}},
	{"L2 table at the refcount table", "something else", {{0x3000, 8, 0x1000}}},
	{"L2 table at a snapshot's L1 table", "something else", {{0x3000, 8, SNAPSHOT_L1}}},
	{"L2 table at the snapshots", "is not valid", {{0x3000, 8, SNAPSHOTS}}},
	{"L2 table at data", "something else", {{0x3000, 8, 0x5000}}},
	{"data at the header", "something else", {{0x4000, 8, UINT64_C(0x4000000000000200)}}},
	{"data at the L1 table", "something else", {{0x4000, 8, 0x3000}}},
	{"data at the L2 table", "something else", {{0x4000, 8, 0x4000}}},
	{"data at the refcount table", "something else", {{0x4000, 8, 0x1000}}},
	{"data at the refcount block", "something else", {{0x4000, 8, 0x2000}}},
	{"data at a snapshot's L1 table", "something else", {{0x4000, 8, SNAPSHOT_L1}}},
	{"preallocated zeroes at the L1 table", "something else", {{0x4000, 8, 0x3001}}},
	{"refcount block at the L2 table", "something else", {{0x1000, 8, 0x4000}}},
	{"refcount block at the refcount table", "something else", {{0x1000, 8, 0x1000}}},
	{"refcount table at the L1 table", "overlap", {{AT_REFCOUNT_TABLE_OFFSET, 8, 0x3000}}},
	{"one refcount block twice", "something else", {{0x1008, 8, 0x2000}}},
	{"cluster at offset 0", "L2 entry 0x8000000000000000", {{0x4000, 8, QCOW2_COPIED}}},
	{"misaligned L1 entry", "L1 entry 0", {{0x3000, 8, 0x4200}}},
	{"misaligned L2 entry", "L2 entry 0x5200", {{0x4000, 8, 0x5200}}},
	{"misaligned preallocated zeroes", "L2 entry 0x5201", {{0x4000, 8, 0x5201}}},
	{"misaligned refcount block", "refcount table entry 0", {{0x1000, 8, 0x2200}}},
	{"refcount block far away",
	 "refcount block at 0xfffffffffffff000",
	 {{0x1000, 8, UINT64_C(0xfffffffffffff000)}}},
	{"L2 table far away",
	 "L2 table at 0xfffffffffff000",
	 {{0x3000, 8, UINT64_C(0x00fffffffffff000)}}},
	{"data far away", "data at 0xfffffffffff000", {{0x4000, 8, UINT64_C(0x00fffffffffff000)}}},
	{"compressed data far away",
	 "compressed data at 0xfffffffffffe00",
	 {{0x4000, 8, UINT64_C(0x40fffffffffffe01)}}},
	{"empty refcount table", "refcount 0", {{0x1000, 8, 0}}},
	{"refcounts of metadata 0", "refcount 0", {{0x2000, 8, 0}}},
	{"dirty", "dirty or corrupt", {{AT_INCOMPATIBLE, 8, 1}}},
	{"corrupt", "dirty or corrupt", {{AT_INCOMPATIBLE, 8, 2}}},
	{"dirty, and corrupt indeed",
	 "something else",
	 {{AT_INCOMPATIBLE, 8, 1}, {0x3000, 8, 0x3000}}},
	/* CVE-2024-4467: opened by whoever only looks. */
	{"data file", "external file", {{AT_INCOMPATIBLE, 8, 4}}},
	{"name of a data file", "names a data file", {{112, 4, 0x44415441}}},
};

Test(qcow2_hostile, images)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct image image = good_image();
		char why[WHY_BYTES] = "";
		int res;

		for (const struct patch *p = table[i].patches; p->bytes > 0; p++) {
			for (unsigned b = 0; b < p->bytes; b++)
				image.bytes[p->at + b] =
					(uint8_t)(p->value >> 8 * (p->bytes - 1 - b));
		}
		res = import(&image, why);
		cr_expect_eq(res == 0, table[i].why == NULL, "%s: %d %s", table[i].name, res, why);
		cr_expect(table[i].why == NULL || strstr(why, table[i].why) != NULL, "%s: %s",
			  table[i].name, why);
		free(image.bytes);
	}
}

/* Each byte of the metadata, once wrong: no crash, no endless loop, and reading does not go on
 * where the check would not. */
Test(qcow2_hostile, each_byte_once_wrong)
{
	static const uint8_t values[] = {0xff, 0x01, 0x80};
	static const struct {
		uint32_t at, bytes;
	} areas[] = {{0, 200},     {0x1000, 16},    {0x2000, 32},     {0x3000, 16},
		     {0x4000, 32}, {SNAPSHOTS, 64}, {SNAPSHOT_L1, 16}};
	struct image image = good_image();
	char why[WHY_BYTES];

	for (size_t area = 0; area < ARRAY_SIZE(areas); area++) {
		for (uint32_t i = 0; i < areas[area].bytes * ARRAY_SIZE(values); i++) {
			uint8_t *byte = image.bytes + areas[area].at + i / ARRAY_SIZE(values);
			uint8_t before = *byte;
			int res;

			*byte ^= values[i % ARRAY_SIZE(values)];
			res = import(&image, why);
			cr_expect(res == 0 || why[0] != '\0');
			*byte = before;
		}
	}
	cr_expect_eq(import(&image, why), 0);
	free(image.bytes);
}

Test(qcow2_hostile, names_of_backing_files)
{
	static char long_name[257];
	static const struct {
		const char *name;
		const char *wrong;
	} rows[] = {
		{"golden.qcow2", NULL},
		{"golden image (1).raw", NULL},
		{"...", NULL},
		{"g\xc3\xb6lden", NULL},
		{"", "no or more"},
		{long_name, "no or more"},
		{long_name + 1, NULL},
		{".", "path"},
		{"..", "path"},
		{"../golden", "path"},
		{"/etc/shadow", "path"},
		{"a/b", "path"},
		{"json:{\"file.filename\":\"x\"}", "colon"},
		{"nbd:unix:socket", "colon"},
		{"fat:rw:.", "colon"},
		{"file:golden", "colon"},
		{"a\nb", "control"},
		{"a\x1b[2J", "control"},
		{"a\x7f", "control"},
	};

	memset(long_name, 'n', sizeof(long_name) - 1);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *wrong = qcow2_backing_name_wrong(rows[i].name);

		cr_expect_eq(wrong == NULL, rows[i].wrong == NULL, "%s: %s", rows[i].name, wrong);
		cr_expect(wrong == NULL || strstr(wrong, rows[i].wrong) != NULL, "%s: %s",
			  rows[i].name, wrong);
	}
}
