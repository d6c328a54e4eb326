/*
 * The qcow2 header and the entries of its tables: what qemu-img wrote, what each clause forbids,
 * and the way back.
 */
#include "lun/qcow2/format.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>

#include "base/attr.h"
#include "tests/unit/lun_qcow2_golden.h"
#include "tests/unit/lun_qcow2_testing.h"

#define MIB (UINT64_C(1) << 20)
#define CLUSTER 65536u

/* -- What qemu-img wrote -- */

static size_t from_hex(const char *hex, uint8_t *out)
{
	size_t count = 0;

	for (unsigned byte; sscanf(hex + 2 * count, "%2x", &byte) == 1; count++)
		out[count] = (uint8_t)byte;
	return count;
}

/* The number behind `key=` in the options, or `otherwise`. */
static unsigned option(const char *options, const char *key, unsigned otherwise)
{
	const char *at = strstr(options, key);

	return at != NULL ? (unsigned)strtoul(at + strlen(key) + 1, NULL, 10) : otherwise;
}

static uint64_t size_of(const char *text)
{
	char *unit;
	uint64_t number = strtoull(text, &unit, 10);

	return number << (*unit == 'G' ? 30 : *unit == 'T' ? 40 : 0);
}

static void expect_golden(const struct golden *row, const struct qcow2_header *h)
{
	unsigned cluster_bytes = option(row->options, "cluster_size", 65536);
	bool extended = strstr(row->options, "extended_l2") != NULL;
	bool zstd = strstr(row->options, "zstd") != NULL;
	struct qcow2_geometry g;

	qcow2_geometry_of(h, &g);
	cr_expect_eq(h->version, strstr(row->options, "0.10") != NULL ? 2 : 3);
	cr_expect_eq(h->size_bytes, size_of(row->size));
	cr_expect_eq(1u << h->refcount_order, option(row->options, "refcount_bits", 16));
	cr_expect_eq(h->compression, zstd ? QCOW2_ZSTD : QCOW2_ZLIB);
	cr_expect_eq(h->incompatible, (zstd ? QCOW2_INCOMPATIBLE_COMPRESSION : 0u) |
					      (extended ? QCOW2_INCOMPATIBLE_EXTENDED_L2 : 0u));
	cr_expect_eq(h->compatible, strstr(row->options, "lazy") != NULL);
	cr_expect_eq(h->refcount_table_clusters, 1);
	cr_expect_eq(g.cluster_bytes, cluster_bytes);
	cr_expect_eq(g.extended, extended);
	cr_expect_eq(g.zero_flag, h->version == 3 && !extended);
	cr_expect_eq(1u << g.subcluster_bits, extended ? cluster_bytes / 32 : cluster_bytes);
	cr_expect_eq(g.l2_entries, cluster_bytes / (extended ? 16 : 8));
	cr_expect_eq(UINT64_C(1) << g.l1_shift, (uint64_t)g.l2_entries * cluster_bytes);
	cr_expect_eq(g.refcount_block_entries, cluster_bytes * 8 >> h->refcount_order);
	cr_expect_eq(g.slice_bytes, cluster_bytes < 4096 ? cluster_bytes : 4096);
	cr_expect_eq(g.slice_entries, g.slice_bytes / g.l2_entry_bytes);
	/* qemu-img makes the L1 table no larger than it has to be. */
	cr_expect_eq(h->l1_entries,
		     (h->size_bytes + (UINT64_C(1) << g.l1_shift) - 1) >> g.l1_shift);
}

Test(qcow2_format, headers_of_qemu_img)
{
	uint8_t *bytes = calloc(1, 2 * MIB);

	for (size_t i = 0; i < ARRAY_SIZE(golden); i++) {
		const struct golden *row = &golden[i];
		char why[WHY_BYTES] = "";
		struct qcow2_header header;
		uint32_t cluster_bits;
		size_t count, length;

		memset(bytes, 0, 2 * MIB);
		count = from_hex(row->header, bytes);
		cr_assert_eq(count, bytes[7] == 2 ? 72 : 112);
		cr_assert_eq(qcow2_header_peek(bytes, &cluster_bits), 0);
		length = QCOW2_HEADER_READ_BYTES(cluster_bits);
		cr_assert_eq(
			qcow2_header_parse(bytes, length, row->file_bytes, &header, why, WHY_BYTES),
			0, "%s %s: %s", row->options, row->size, why);
		cr_expect_eq(header.extensions_end, count + 8);
		expect_golden(row, &header);
	}
	free(bytes);
}

/* -- What the clauses forbid -- */

/* A good image's start: 1 GiB, header, refcount table, its block, L1 table of two entries. */
static struct qcow2_header good_header(void)
{
	return (struct qcow2_header){
		.version = 3,
		.cluster_bits = 16,
		.size_bytes = 1024 * MIB,
		.l1_offset = 3 * CLUSTER,
		.l1_entries = 2,
		.refcount_table_offset = CLUSTER,
		.refcount_table_clusters = 1,
		.refcount_order = 4,
		.backing_name = "golden.img",
		.backing_format = "raw",
	};
}

#define GOOD_FILE_BYTES (UINT64_C(4) * CLUSTER)

struct refusal {
	const char *name;
	unsigned at, bytes;
	uint64_t value;
	int error;
	const char *why; /* A part of the sentence. */
};

static void put_field(uint8_t *bytes, const struct refusal *row)
{
	for (unsigned i = 0; i < row->bytes; i++)
		bytes[row->at + i] = (uint8_t)(row->value >> 8 * (row->bytes - 1 - i));
}

#define BEHIND_BACKING_FORMAT (112u + 16u)

static const struct refusal refusals[] = {
	{"magic", 0, 4, 0x514649fc, -EINVAL, "no qcow2"},
	{"version 1", AT_VERSION, 4, 1, -ENOTSUP, "version 1"},
	{"version 4", AT_VERSION, 4, 4, -ENOTSUP, "version 4"},
	{"clusters too small", AT_CLUSTER_BITS, 4, 8, -ENOTSUP, "cluster_bits is 8"},
	{"clusters too large", AT_CLUSTER_BITS, 4, 22, -ENOTSUP, "cluster_bits is 22"},
	{"clusters of 2^64", AT_CLUSTER_BITS, 4, 64, -ENOTSUP, "cluster_bits is 64"},
	{"AES", AT_ENCRYPTION, 4, 1, -ENOTSUP, "encrypted, by method 1"},
	{"LUKS", AT_ENCRYPTION, 4, 2, -ENOTSUP, "encrypted, by method 2"},
	{"header too short", AT_HEADER_LENGTH, 4, 96, -EINVAL, "header_length is 96"},
	{"header of odd length", AT_HEADER_LENGTH, 4, 108, -EINVAL, "header_length is 108"},
	{"header of more than a cluster", AT_HEADER_LENGTH, 4, CLUSTER + 8, -EINVAL,
	 "beyond the first cluster"},
	{"header of 4 GiB", AT_HEADER_LENGTH, 4, 0xfffffff8, -EINVAL, "beyond the first cluster"},
	{"refcounts of 128 bits", AT_REFCOUNT_ORDER, 4, 7, -EINVAL, "refcount_order is 7"},
	{"refcount order of 2^32-1", AT_REFCOUNT_ORDER, 4, UINT32_MAX, -EINVAL,
	 "refcount_order is"},
	{"unknown incompatible feature", AT_INCOMPATIBLE, 8, 1 << 5, -ENOTSUP,
	 "not known here: incompatible feature bit 5"},
	{"highest incompatible feature", AT_INCOMPATIBLE, 8, UINT64_C(1) << 63, -ENOTSUP, "bit 63"},
	{"data file", AT_INCOMPATIBLE, 8, QCOW2_INCOMPATIBLE_DATA_FILE, -ENOTSUP, "external file"},
	{"raw data file alone", AT_AUTOCLEAR, 8, QCOW2_AUTOCLEAR_RAW_DATA, -EINVAL, "raw external"},
	{"bitmaps without extension", AT_AUTOCLEAR, 8, QCOW2_AUTOCLEAR_BITMAPS, -EINVAL,
	 "no bitmaps extension"},
	{"compression bit alone", AT_INCOMPATIBLE, 8, QCOW2_INCOMPATIBLE_COMPRESSION, -EINVAL,
	 "compression_type is 0"},
	{"compression type alone", AT_COMPRESSION, 1, 1, -EINVAL, "compression_type is 1"},
	{"size beyond the L1 table", AT_SIZE, 8, 1024 * MIB + 512, -EINVAL, "needs 3"},
	{"size of 2^64-512", AT_SIZE, 8, UINT64_MAX - 511, -ENOTSUP, "64 TiB"},
	{"size of no sectors", AT_SIZE, 8, 1000, -ENOTSUP, "multiple of 512"},
	{"L1 of 32 GiB", AT_L1_ENTRIES, 4, UINT32_MAX, -ENOTSUP, "32 MiB"},
	{"L1 of 32 MiB and an entry", AT_L1_ENTRIES, 4, (4 << 20) + 1, -ENOTSUP, "32 MiB"},
	{"L1 beyond the file", AT_L1_ENTRIES, 4, 8193, -EINVAL, "not lie in the file"},
	{"L1 too short", AT_L1_ENTRIES, 4, 1, -EINVAL, "has 1 entries"},
	{"L1 not aligned", AT_L1_OFFSET, 8, 3 * CLUSTER + 512, -EINVAL, "L1 table is not"},
	{"L1 in the header", AT_L1_OFFSET, 8, 0, -EINVAL, "L1 table lies in the header"},
	{"L1 at 2^63", AT_L1_OFFSET, 8, UINT64_C(1) << 63, -EINVAL, "L1 table does not"},
	{"L1 at the last cluster", AT_L1_OFFSET, 8, UINT64_MAX - CLUSTER + 1, -EINVAL,
	 "L1 table does not"},
	{"L1 on the refcount table", AT_L1_OFFSET, 8, CLUSTER, -EINVAL, "overlap"},
	{"no refcount table", AT_REFCOUNT_TABLE_CLUSTERS, 4, 0, -EINVAL, "no refcount"},
	{"refcount table too large", AT_REFCOUNT_TABLE_CLUSTERS, 4, 129, -ENOTSUP, "8 MiB"},
	{"refcount table of 2^48", AT_REFCOUNT_TABLE_CLUSTERS, 4, UINT32_MAX, -ENOTSUP, "8 MiB"},
	{"refcount table not aligned", AT_REFCOUNT_TABLE_OFFSET, 8, CLUSTER + 8, -EINVAL,
	 "refcount table is not"},
	{"refcount table in the header", AT_REFCOUNT_TABLE_OFFSET, 8, 0, -EINVAL,
	 "refcount table lies in the header"},
	{"refcount table beyond the file", AT_REFCOUNT_TABLE_OFFSET, 8, 4 * CLUSTER, -EINVAL,
	 "refcount table does not"},
	{"65537 snapshots", AT_SNAPSHOT_COUNT, 4, 65537, -ENOTSUP, "snapshots"},
	{"snapshots in the header", AT_SNAPSHOT_COUNT, 4, 1, -EINVAL,
	 "snapshot table lies in the header"},
	{"backing name too long", AT_BACKING_BYTES, 4, 1024, -EINVAL, "1024 bytes"},
	{"backing name of 4 GiB", AT_BACKING_BYTES, 4, UINT32_MAX, -EINVAL, "4294967295"},
	{"backing name behind the cluster", AT_BACKING_OFFSET, 8, CLUSTER - 9, -EINVAL,
	 "outside of the first cluster"},
	{"backing name at 2^64", AT_BACKING_OFFSET, 8, UINT64_MAX, -EINVAL,
	 "outside of the first cluster"},
	{"backing name in the header", AT_BACKING_OFFSET, 8, 64, -EINVAL,
	 "in the header or its extensions"},
	{"backing name in an extension", AT_BACKING_OFFSET, 8, 122, -EINVAL,
	 "longer than its room"},
	{"backing name in the padding", AT_BACKING_OFFSET, 8, 126, -EINVAL,
	 "in the header or its extensions"},
	{"backing name with a zero", AT_BACKING_BYTES, 4, 11, -EINVAL, "zero byte"},
	{"extension of 4 GiB", 116, 4, UINT32_MAX, -EINVAL, "longer than its room"},
	{"extension over the name", 116, 4, 8 + 392 + 8 + 11, -EINVAL, "longer than its room"},
	{"backing format too long", 116, 4, 16, -EINVAL, "format of its backing"},
	{"backing format with a zero", 116, 4, 4, -EINVAL, "format of its backing"},
	{"second backing format", BEHIND_BACKING_FORMAT, 4, 0xe2792aca, -EINVAL, "two times"},
	{"encryption header", 112, 4, 0x0537be77, -EINVAL, "encryption header"},
	{"name of a data file", 112, 4, 0x44415441, -EINVAL, "names a data file"},
};

Test(qcow2_format, refusals)
{
	static uint8_t good[CLUSTER], bytes[CLUSTER];
	struct qcow2_header header = good_header();

	cr_assert_eq(qcow2_header_encode(&header, good, CLUSTER), 0);
	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
		char why[WHY_BYTES] = "";
		int res;

		memcpy(bytes, good, CLUSTER);
		put_field(bytes, &refusals[i]);
		res = qcow2_header_parse(bytes, CLUSTER, GOOD_FILE_BYTES, &header, why, WHY_BYTES);
		cr_expect_eq(res, refusals[i].error, "%s: %d (%s)", refusals[i].name, res, why);
		cr_expect_not_null(strstr(why, refusals[i].why), "%s: %s", refusals[i].name, why);
	}
}

Test(qcow2_format, what_may_be_ignored)
{
	static const struct refusal rows[] = {
		{"unknown compatible features", AT_COMPATIBLE, 8, UINT64_MAX, 0, ""},
		{"unknown autoclear features", AT_AUTOCLEAR, 8, UINT64_MAX - 3, 0, ""},
		{"dirty and corrupt are for the caller", AT_INCOMPATIBLE, 8, 3, 0, ""},
		{"unknown extension", 112, 4, 0x12345678, 0, ""},
		{"padding of a longer header", 105, 1, 1, 0, ""},
		{"bitmaps that are out of date", 112, 4, 0x23852875, 0, ""},
		{"place of no snapshots", AT_SNAPSHOTS_OFFSET, 8, 12345, 0, ""},
		{"length of no backing name", AT_BACKING_BYTES, 4, 0, 0, ""},
		{"size 0", AT_SIZE, 8, 0, 0, ""},
		{"entries beyond the size", AT_L1_ENTRIES, 4, 8192, 0, ""},
	};
	static uint8_t good[CLUSTER], bytes[CLUSTER];
	struct qcow2_header header = good_header();

	cr_assert_eq(qcow2_header_encode(&header, good, CLUSTER), 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char why[WHY_BYTES] = "";

		memcpy(bytes, good, CLUSTER);
		put_field(bytes, &rows[i]);
		cr_expect_eq(qcow2_header_parse(bytes, CLUSTER, GOOD_FILE_BYTES, &header, why,
						WHY_BYTES),
			     0, "%s: %s", rows[i].name, why);
	}
}

Test(qcow2_format, a_file_cut_short_is_refused_at_each_length)
{
	static uint8_t bytes[CLUSTER];
	struct qcow2_header header = good_header();
	char why[WHY_BYTES];

	cr_assert_eq(qcow2_header_encode(&header, bytes, CLUSTER), 0);
	for (size_t length = 0; length < 1024; length++) {
		/* On the heap, so that a read beyond is seen. */
		uint8_t *copy = malloc(length + 1);

		memcpy(copy, bytes, length);
		why[0] = '\0';
		cr_expect_eq(qcow2_header_parse(copy, length, length, &header, why, WHY_BYTES),
			     -EINVAL);
		cr_expect_neq(why[0], '\0');
		free(copy);
	}
	cr_expect_eq(qcow2_header_parse(bytes, 4096, GOOD_FILE_BYTES, &header, why, WHY_BYTES),
		     -EINVAL);
	cr_expect_str_eq(why, "less than its first cluster was read");
}

Test(qcow2_format, an_unknown_feature_is_named_by_the_image)
{
	static uint8_t bytes[CLUSTER];
	struct qcow2_header header = good_header();
	char why[WHY_BYTES];

	cr_assert_eq(qcow2_header_encode(&header, bytes, CLUSTER), 0);
	put_be64(bytes + AT_INCOMPATIBLE, 1 << 7);
	/* The first row of our table of names: incompatible bit 0. */
	bytes[BEHIND_BACKING_FORMAT + 8 + 1] = 7;
	memcpy(bytes + BEHIND_BACKING_FORMAT + 10, "quantum\n\xff", 10);
	cr_expect_eq(qcow2_header_parse(bytes, CLUSTER, GOOD_FILE_BYTES, &header, why, WHY_BYTES),
		     -ENOTSUP);
	cr_expect_str_eq(why, "it needs a feature that is not known here: quantum??");
}

Test(qcow2_format, bitmaps_extension)
{
	static const struct {
		const char *name;
		uint32_t length, count, reserved;
		uint64_t directory_bytes, offset;
		int res;
	} rows[] = {
		{"good", 24, 2, 0, 64, 2 * CLUSTER, 0},
		{"none", 24, 0, 0, 64, 2 * CLUSTER, -EINVAL},
		{"reserved", 24, 2, 1, 64, 2 * CLUSTER, -EINVAL},
		{"too many", 24, 65536, 0, 2 * MIB, 2 * CLUSTER, -ENOTSUP},
		{"short directory", 24, 2, 0, 47, 2 * CLUSTER, -EINVAL},
		{"not aligned", 24, 2, 0, 64, 2 * CLUSTER + 8, -EINVAL},
		{"beyond the file", 24, 2, 0, 2 * CLUSTER + 1, 2 * CLUSTER, -EINVAL},
		{"64 MiB and a byte", 24, 2, 0, 64 * MIB + 1, 2 * CLUSTER, -ENOTSUP},
		{"huge", 24, 2, 0, UINT64_MAX, 2 * CLUSTER, -ENOTSUP},
		{"in the header", 24, 2, 0, 64, 0, -EINVAL},
		{"short extension", 16, 2, 0, 64, 2 * CLUSTER, -EINVAL},
	};
	static uint8_t bytes[CLUSTER];
	char why[WHY_BYTES];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct qcow2_header header = good_header();
		uint8_t *extension = bytes + 112;

		header.autoclear = QCOW2_AUTOCLEAR_BITMAPS;
		header.backing_name[0] = header.backing_format[0] = '\0';
		cr_assert_eq(qcow2_header_encode(&header, bytes, CLUSTER), 0);
		memset(extension, 0, 512);
		put_be32(extension, 0x23852875);
		put_be32(extension + 4, rows[i].length);
		put_be32(extension + 8, rows[i].count);
		put_be32(extension + 12, rows[i].reserved);
		put_be64(extension + 16, rows[i].directory_bytes);
		put_be64(extension + 24, rows[i].offset);
		memset(extension + 8 + rows[i].length, 0, 64);
		cr_expect_eq(qcow2_header_parse(bytes, CLUSTER, GOOD_FILE_BYTES, &header, why,
						WHY_BYTES),
			     rows[i].res, "%s: %s", rows[i].name, why);
	}
}

Test(qcow2_format, extended_l2_needs_clusters_of_16_kib)
{
	static uint8_t bytes[16384];
	char why[WHY_BYTES];

	for (uint32_t bits = 12; bits <= 14; bits++) {
		struct qcow2_header header = {
			.version = 3,
			.cluster_bits = bits,
			.size_bytes = MIB,
			.l1_offset = 3 << bits,
			.l1_entries = 8,
			.refcount_table_offset = 1 << bits,
			.refcount_table_clusters = 1,
			.refcount_order = 4,
			.incompatible = QCOW2_INCOMPATIBLE_EXTENDED_L2,
		};

		cr_assert_eq(qcow2_header_encode(&header, bytes, 1 << bits), 0);
		cr_expect_eq(
			qcow2_header_parse(bytes, 1 << bits, 4 << bits, &header, why, WHY_BYTES),
			bits < 14 ? -EINVAL : 0);
	}
}

Test(qcow2_format, what_is_written_is_read_again)
{
	static uint8_t bytes[CLUSTER];
	struct qcow2_header in = good_header(), out;
	char why[WHY_BYTES];

	in.incompatible = QCOW2_INCOMPATIBLE_EXTENDED_L2 | QCOW2_INCOMPATIBLE_COMPRESSION |
			  QCOW2_INCOMPATIBLE_DIRTY;
	in.compression = QCOW2_ZSTD;
	in.compatible = QCOW2_COMPATIBLE_LAZY_REFCOUNTS;
	in.l1_entries = 4;
	in.refcount_order = 6;
	in.snapshot_count = 3;
	in.snapshots_offset = 2 * CLUSTER;
	cr_assert_eq(qcow2_header_encode(&in, bytes, CLUSTER), 0);
	cr_assert_eq(qcow2_header_parse(bytes, CLUSTER, GOOD_FILE_BYTES, &out, why, WHY_BYTES), 0,
		     "%s", why);
	in.header_bytes = out.header_bytes;
	in.extensions_end = out.extensions_end;
	cr_expect_eq(out.header_bytes, 112);
	cr_expect_eq(memcmp(&in, &out, sizeof(in)), 0);
}

Test(qcow2_format, small_clusters_have_room_for_the_name_or_not)
{
	static const struct {
		size_t name_bytes;
		int res;
	} rows[] = {{0, 0}, {10, 0}, {376, 0}, {377, -EINVAL}, {1023, -EINVAL}};
	uint8_t bytes[512];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct qcow2_header header = good_header();

		header.cluster_bits = 9;
		memset(header.backing_name, 0, sizeof(header.backing_name));
		memset(header.backing_name, 'n', rows[i].name_bytes);
		cr_expect_eq(qcow2_header_encode(&header, bytes, sizeof(bytes)), rows[i].res, "%zu",
			     rows[i].name_bytes);
	}
}
