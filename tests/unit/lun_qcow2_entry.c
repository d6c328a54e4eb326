/*
 * Entries of qcow2's tables and refcounts: each bit of the format's tables, for all sizes of
 * clusters.
 */
#include "lun/qcow2/format.h"

#include <criterion/criterion.h>
#include <errno.h>

#include "base/attr.h"
#include "base/bytes.h"

#define ALL UINT32_MAX

static struct qcow2_geometry geometry_of(uint32_t version, uint32_t cluster_bits, bool extended)
{
	struct qcow2_header header = {
		.version = version,
		.cluster_bits = cluster_bits,
		.refcount_order = 4,
		.incompatible = extended ? QCOW2_INCOMPATIBLE_EXTENDED_L2 : 0,
	};
	struct qcow2_geometry geometry;

	qcow2_geometry_of(&header, &geometry);
	return geometry;
}

Test(qcow2_entry, tables)
{
	static const struct {
		uint64_t entry;
		int l1, refcount_table;
	} rows[] = {
		{0, 0, 0},
		{0x10000, 0, 0},
		{QCOW2_COPIED | 0x10000, 0, 0}, /* To the refcount table an offset of 2^63. */
		{QCOW2_COPIED, -EINVAL, 0},
		{UINT64_C(0x00ffffffffff0000), 0, 0},
		{UINT64_C(0x0100000000010000), -EINVAL, 0},
		{UINT64_C(0x4000000000010000), -EINVAL, 0},
		{0x10001, -EINVAL, -EINVAL},
		{0x10100, -EINVAL, -EINVAL},
		{0x8000, -EINVAL, -EINVAL},
		{0x200, -EINVAL, -EINVAL},
		{1, -EINVAL, -EINVAL},
	};
	struct qcow2_geometry geometry = geometry_of(3, 16, false);
	uint64_t offset;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		cr_expect_eq(qcow2_l1_decode(rows[i].entry, &geometry, &offset), rows[i].l1, "%zu",
			     i);
		cr_expect_eq(offset, rows[i].entry & QCOW2_OFFSET_MASK);
		cr_expect_eq(qcow2_refcount_table_decode(rows[i].entry, &geometry, &offset),
			     rows[i].refcount_table, "%zu", i);
		cr_expect_eq(offset, rows[i].entry);
	}
}

enum kind {
	V2 = 1,
	V3 = 2,
	EXTENDED = 4,
	STANDARD = V2 | V3,
	ANY = STANDARD | EXTENDED,
};

static const struct entry_row {
	const char *name;
	unsigned tried; /* In which kinds of images. */
	uint64_t raw, bitmap;
	unsigned good; /* In which of them. */
	struct qcow2_l2_entry entry;
} entry_rows[] = {
	{"unallocated", ANY, 0, 0, ANY, {0}},
	{"data", STANDARD, QCOW2_COPIED | 0x20000, 0, STANDARD, {0x20000, true, false, ALL, 0, 0}},
	{"shared data", STANDARD, 0x20000, 0, STANDARD, {0x20000, false, false, ALL, 0, 0}},
	{"zero", ANY, 1, 0, V3, {0, false, false, 0, ALL, 0}},
	{"zero with a cluster",
	 ANY,
	 QCOW2_COPIED | 0x20001,
	 0,
	 V3,
	 {0x20000, true, false, 0, ALL, 0}},
	{"offset 0 with COPIED", ANY, QCOW2_COPIED, 0, 0, {0}},
	{"zero with COPIED, no cluster", ANY, QCOW2_COPIED | 1, 0, 0, {0}},
	{"reserved bit 1", ANY, 0x20002, 0, 0, {0}},
	{"reserved bit 8", ANY, 0x20100, 0, 0, {0}},
	{"reserved bit 56", ANY, UINT64_C(0x0100000000020000), 0, 0, {0}},
	{"reserved bit 61", ANY, UINT64_C(0x2000000000020000), 0, 0, {0}},
	{"not aligned", ANY, 0x20200, 0, 0, {0}},
	{"highest offset",
	 STANDARD,
	 UINT64_C(0x00ffffffffff0000),
	 0,
	 STANDARD,
	 {UINT64_C(0x00ffffffffff0000), false, false, ALL, 0, 0}},
	{"all subclusters",
	 EXTENDED,
	 QCOW2_COPIED | 0x20000,
	 ALL,
	 EXTENDED,
	 {0x20000, true, false, ALL, 0, 0}},
	{"one of each",
	 EXTENDED,
	 QCOW2_COPIED | 0x20000,
	 UINT64_C(0x80000000) << 32 | 1,
	 EXTENDED,
	 {0x20000, true, false, 1, 0x80000000, 0}},
	{"a cluster without data",
	 EXTENDED,
	 0x20000,
	 0,
	 EXTENDED,
	 {0x20000, false, false, 0, 0, 0}},
	{"zeroes without a cluster",
	 EXTENDED,
	 0,
	 (uint64_t)ALL << 32,
	 EXTENDED,
	 {0, false, false, 0, ALL, 0}},
	{"both states", EXTENDED, 0x20000, UINT64_C(0x1) << 32 | 1, 0, {0}},
	{"data without a cluster", EXTENDED, 0, 2, 0, {0}},
};

/* Standard images have no second half: it is given as 0. */
static void expect_decoded(const struct entry_row *row, enum kind kind,
			   const struct qcow2_geometry *geometry)
{
	bool good = (row->good & kind) != 0;
	struct qcow2_l2_entry entry;
	uint64_t raw, bitmap;
	int res;

	if ((row->tried & kind) == 0)
		return;
	res = qcow2_l2_decode(row->raw, row->bitmap, geometry, &entry);

	cr_expect_eq(res, good ? 0 : -EINVAL, "%s: %d", row->name, res);
	if (!good)
		return;
	cr_expect_eq(entry.host_offset, row->entry.host_offset, "%s", row->name);
	cr_expect_eq(entry.copied, row->entry.copied, "%s", row->name);
	cr_expect_eq(entry.compressed, row->entry.compressed, "%s", row->name);
	cr_expect_eq(entry.allocated, row->entry.allocated, "%s", row->name);
	cr_expect_eq(entry.zero, row->entry.zero, "%s", row->name);
	qcow2_l2_encode(&entry, geometry, &raw, &bitmap);
	cr_expect_eq(raw, row->raw, "%s", row->name);
	cr_expect_eq(bitmap, row->bitmap, "%s", row->name);
}

Test(qcow2_entry, l2)
{
	struct qcow2_geometry v2 = geometry_of(2, 16, false), v3 = geometry_of(3, 16, false),
			      extended = geometry_of(3, 16, true);

	for (size_t i = 0; i < ARRAY_SIZE(entry_rows); i++) {
		expect_decoded(&entry_rows[i], V2, &v2);
		expect_decoded(&entry_rows[i], V3, &v3);
		expect_decoded(&entry_rows[i], EXTENDED, &extended);
	}
}

Test(qcow2_entry, compressed)
{
	for (uint32_t bits = QCOW2_CLUSTER_BITS_MIN; bits <= QCOW2_CLUSTER_BITS_MAX; bits++) {
		struct qcow2_geometry geometry = geometry_of(2, bits, false);
		uint32_t x = 62 - (bits - 8), unused;
		uint64_t last = (UINT64_C(1) << (x < 56 ? x : 56)) - 1;
		uint64_t more = UINT64_MAX >> 2 >> x << x; /* All sectors that it can say. */
		struct qcow2_l2_entry entry;

		cr_assert_eq(qcow2_l2_decode(QCOW2_COMPRESSED | 0x12345, 0, &geometry, &entry), 0);
		cr_expect(entry.compressed && !entry.copied && !entry.allocated && !entry.zero);
		cr_expect_eq(entry.host_offset, 0x12345);
		cr_expect_eq(entry.deflated_bytes, 512 - 0x145);
		cr_expect_eq(qcow2_l2_state(&entry, 3, &unused), QCOW2_DEFLATED);
		cr_expect_eq(unused, 29);

		cr_assert_eq(qcow2_l2_decode(QCOW2_COMPRESSED | more | last, 0, &geometry, &entry),
			     0);
		cr_expect_eq(entry.host_offset, last);
		cr_expect_eq(entry.deflated_bytes, 2 * geometry.cluster_bytes - 511);

		/* "Those upper bits must be set to 0." */
		if (x > 56)
			cr_expect_eq(qcow2_l2_decode(QCOW2_COMPRESSED | UINT64_C(1) << 56 | 512, 0,
						     &geometry, &entry),
				     -EINVAL);
		cr_expect_eq(qcow2_l2_decode(QCOW2_COMPRESSED | QCOW2_COPIED | 512, 0, &geometry,
					     &entry),
			     -EINVAL);
		cr_expect_eq(qcow2_l2_decode(QCOW2_COMPRESSED | 512, 1, &geometry, &entry),
			     -EINVAL);
		cr_expect_eq(qcow2_l2_decode(QCOW2_COMPRESSED, 0, &geometry, &entry), -EINVAL);
	}
}

Test(qcow2_entry, states_in_runs)
{
	static const struct {
		uint32_t allocated, zero;
		unsigned subcluster, count;
		enum qcow2_state state;
	} rows[] = {
		{0, 0, 0, 32, QCOW2_UNALLOCATED},
		{0, 0, 31, 1, QCOW2_UNALLOCATED},
		{ALL, 0, 0, 32, QCOW2_ALLOCATED},
		{ALL, 0, 7, 25, QCOW2_ALLOCATED},
		{0, ALL, 31, 1, QCOW2_READS_ZERO},
		{0x000000ff, 0xffff0000, 0, 8, QCOW2_ALLOCATED},
		{0x000000ff, 0xffff0000, 8, 8, QCOW2_UNALLOCATED},
		{0x000000ff, 0xffff0000, 16, 16, QCOW2_READS_ZERO},
		{0x000000ff, 0xffff0000, 7, 1, QCOW2_ALLOCATED},
		{0x80000000, 0x7fffffff, 0, 31, QCOW2_READS_ZERO},
		{0x80000000, 0x7fffffff, 31, 1, QCOW2_ALLOCATED},
		{0x80000000, 0, 0, 31, QCOW2_UNALLOCATED},
		{0xaaaaaaaa, 0x55555555, 5, 1, QCOW2_ALLOCATED},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct qcow2_l2_entry entry = {.allocated = rows[i].allocated,
					       .zero = rows[i].zero};
		unsigned count;

		cr_expect_eq(qcow2_l2_state(&entry, rows[i].subcluster, &count), rows[i].state,
			     "%zu", i);
		cr_expect_eq(count, rows[i].count, "%zu: %u", i, count);
	}
}

Test(qcow2_entry, refcounts_of_all_widths)
{
	/* Of all widths, the second refcount of a block that holds 0x01 0x23 ... 0xef 0x01 ... */
	static const uint64_t second[] = {
		0, 0, 0, 0x23, 0x4567, UINT64_C(0x89abcdef), UINT64_C(0x0123456789abcdef)};
	static const uint64_t first[] = {
		1, 1, 1, 1, 0x123, UINT64_C(0x1234567), UINT64_C(0x0123456789abcdef)};

	for (uint32_t order = 0; order <= 6; order++) {
		uint32_t entries = 64 * 8 >> order;
		uint64_t largest = order == 6 ? UINT64_MAX : (UINT64_C(1) << (1u << order)) - 1;
		uint8_t block[64];

		for (uint32_t i = 0; i < sizeof(block); i += 8)
			put_be64(block + i, UINT64_C(0x0123456789abcdef));
		cr_expect_eq(qcow2_refcount_get(block, 0, order), first[order], "%u", order);
		cr_expect_eq(qcow2_refcount_get(block, 1, order), second[order], "%u", order);
		/* Each is its own: its neighbours do not change. */
		for (uint32_t i = 0; i < entries; i++) {
			uint8_t before[64];

			memset(block, i % 2 ? 0xff : 0, sizeof(block));
			memcpy(before, block, sizeof(block));
			qcow2_refcount_set(block, i, order, i % 2 ? 0 : largest);
			cr_expect_eq(qcow2_refcount_get(block, i, order), i % 2 ? 0 : largest);
			for (uint32_t k = 0; k < entries; k++)
				cr_expect(k == i || qcow2_refcount_get(block, k, order) ==
							    qcow2_refcount_get(before, k, order));
		}
	}
}
