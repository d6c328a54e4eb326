/*
 * Changes of closed images: another backing file, a larger disk. Wherever they are cut, and
 * whichever call fails, the image is the old one or the new one. tests/qcow2/images.py has qemu-img
 * look at the outcome.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <zlib.h>

#include "base/attr.h"
#include "lun/qcow2/check.h"
#include "lun/qcow2/create.h"
#include "lun/qcow2/grow.h"
#include "lun/qcow2/plain.h"
#include "lun/qcow2/rebase.h"
#include "tests/unit/lun_qcow2_journal.h"

#define KIB UINT64_C(1024)
#define MIB (KIB << 10)
#define GIB (MIB << 10)

static void create(const struct qcow2_create *create, uint64_t room, struct journal *out)
{
	struct qcow2_layout layout;
	char why[WHY_BYTES];

	cr_assert_eq(qcow2_layout_make(create, &layout, why, sizeof(why)), 0, "%s", why);
	journal_make(out, NULL, 0, room);
	for (uint32_t i = 0; i < layout.pieces; i++)
		qcow2_layout_piece(&layout, i, out->bytes + (size_t)i * layout.piece_bytes);
	out->size = out->writable.file.size_bytes = layout.file_bytes;
}

static struct qcow2_header header_of(const struct journal *journal)
{
	struct memory_file memory = memory_file_make(journal->bytes, journal->size);
	struct qcow2_header header;
	char why[WHY_BYTES] = "";

	cr_assert_eq(qcow2_header_read(&memory.file, &header, why, sizeof(why)), 0, "%s", why);
	return header;
}

static enum qcow2_verdict verdict_of(const struct journal *journal)
{
	static struct qcow2_check found;
	struct memory_file memory = memory_file_make(journal->bytes, journal->size);
	char why[WHY_BYTES];

	cr_assert_eq(qcow2_check(&(struct qcow2_check_spec){.file = &memory.file}, &found, why,
				 sizeof(why)),
		     0);
	cr_expect_neq(qcow2_check_verdict(&found), QCOW2_CORRUPT, "%s", found.findings[0]);
	return qcow2_check_verdict(&found);
}

/* -- Another backing file -- */

struct names {
	const char *name, *format; /* NULL: none. */
};

static bool has_names(const struct qcow2_header *header, const struct names *names)
{
	return strcmp(header->backing_name, names->name ? names->name : "") == 0 &&
	       strcmp(header->backing_format, names->format ? names->format : "") == 0;
}

struct rebase_cut {
	const struct names *from, *to;
	bool switched;
};

static void see_rebase(struct journal *state, void *arg)
{
	struct rebase_cut *cut = arg;
	struct qcow2_header header = header_of(state);

	cr_expect(has_names(&header, cut->from) || has_names(&header, cut->to), "%s (%s)",
		  header.backing_name, header.backing_format);
	cr_expect_eq(verdict_of(state), QCOW2_CLEAN);
}

static int rebase(struct journal *journal, const struct names *to)
{
	struct qcow2_rebase order = {&journal->writable, to->name, to->format, false};
	char why[WHY_BYTES] = "";

	return qcow2_rebase(&order, why, sizeof(why));
}

static char name_of_255[256];

static const struct names names[] = {
	{NULL, NULL}, {"golden.qcow2", "qcow2"}, {"golden.raw", "raw"}, {name_of_255, "qcow2"},
	{"g", "raw"},
};

/* What is behind the extensions of `journal`, of the last and of the first sector. */
static bool has_names_of_features(const struct journal *journal)
{
	struct qcow2_header header = header_of(journal);

	return memmem(journal->bytes, header.extensions_end, "extended L2 entries", 19) != NULL;
}

static void rebase_once(const struct journal *before, const struct names *from,
			const struct names *to)
{
	struct rebase_cut cut = {from, to, false};
	struct journal journal;
	struct qcow2_header header;
	int res = -EIO;

	for (unsigned left = 0; res != 0; left++) {
		cr_assert_lt(left, 20);
		journal_make(&journal, before->bytes, before->size, before->room);
		journal.left = left;
		res = rebase(&journal, to);
		cr_assert(res == 0 || res == -EIO);
		see_rebase(&journal, &cut);
		if (res != 0)
			journal_clear(&journal);
	}
	header = header_of(&journal);
	cr_expect(has_names(&header, to));
	cr_expect(has_names_of_features(&journal));
	cr_expect_eq(header.size_bytes, GIB);
	cr_expect_gt(journal_cut(&journal, before, see_rebase, &cut), 2);
	journal_clear(&journal);
}

Test(qcow2_rebase, each_to_each_cut_anywhere)
{
	memset(name_of_255, 'n', sizeof(name_of_255) - 1);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct qcow2_create spec = {GIB, 12, false, names[i].name, names[i].format};
		struct journal before;

		create(&spec, MIB, &before);
		for (size_t j = 0; j < ARRAY_SIZE(names); j++)
			rebase_once(&before, &names[i], &names[j]);
		journal_clear(&before);
	}
}

Test(qcow2_rebase, one_after_the_other_there_is_always_room)
{
	struct qcow2_create spec = {GIB, 12, false, NULL, NULL};
	struct journal journal;

	memset(name_of_255, 'n', sizeof(name_of_255) - 1);
	create(&spec, MIB, &journal);
	for (unsigned i = 0; i < 100; i++) {
		journal.left = 100;
		for (unsigned k = 0; k < journal.count; k++)
			free(journal.steps[k].bytes);
		journal.count = 0;
		cr_assert_eq(rebase(&journal, &names[i * 7 / 3 % ARRAY_SIZE(names)]), 0, "%u", i);
	}
	cr_expect_eq(verdict_of(&journal), QCOW2_CLEAN);
	journal_clear(&journal);
}

Test(qcow2_rebase, other_extensions_and_features_stay)
{
	static const uint8_t other[16] = {0x12, 0x34, 0x56, 0x78, 0,   0,  0,
					  5,    'o',  't',  'h',  'e', 'r'};
	struct qcow2_create spec = {GIB, 12, false, NULL, NULL};
	struct journal journal;
	uint32_t at;

	create(&spec, MIB, &journal);
	at = header_of(&journal).extensions_end - 8;
	memset(journal.bytes + at, 0, 64);
	memcpy(journal.bytes + at, other, sizeof(other));
	put_be64(journal.bytes + AT_COMPATIBLE, UINT64_C(1) << 40);
	put_be64(journal.bytes + AT_AUTOCLEAR, UINT64_C(1) << 40);
	cr_assert_eq(rebase(&journal, &names[1]), 0);
	cr_expect_not_null(
		memmem(journal.bytes, header_of(&journal).extensions_end, other, sizeof(other)));
	cr_expect(has_names_of_features(&journal));
	cr_expect_eq(get_be64(journal.bytes + AT_COMPATIBLE), UINT64_C(1) << 40);
	cr_expect_eq(get_be64(journal.bytes + AT_AUTOCLEAR), 0);
	journal_clear(&journal);
}

Test(qcow2_rebase, refusals)
{
	static const struct {
		const char *name, *format;
		uint32_t at;
		uint64_t value;
		int res;
	} rows[] = {
		{"golden", NULL, 0, 0, -EINVAL},
		{"golden", "vmdk", 0, 0, -EINVAL},
		{NULL, "raw", 0, 0, -EINVAL},
		{"", "raw", 0, 0, -EINVAL},
		{"../golden", "raw", 0, 0, -EINVAL},
		{"json:{}", "raw", 0, 0, -EINVAL},
		{"golden", "raw", AT_INCOMPATIBLE, QCOW2_INCOMPATIBLE_CORRUPT, -ENOTSUP},
		{"golden", "raw", AT_INCOMPATIBLE, 1 << 20, -ENOTSUP},
		/* An extension of 500 bytes that nobody knows. */
		{"golden", "raw", 112, UINT64_C(0x12345678000001f4), -ENOTSUP},
		{"golden", "raw", 0, 0, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct qcow2_create spec = {GIB, 12, false, NULL, NULL};
		const struct names to = {rows[i].name, rows[i].format};
		struct journal journal;

		create(&spec, MIB, &journal);
		if (rows[i].at != 0)
			put_be64(journal.bytes + rows[i].at, rows[i].value);
		cr_expect_eq(rebase(&journal, &to), rows[i].res, "row %zu", i);
		cr_expect(rows[i].res == 0 || journal.count == 0, "row %zu", i);
		journal_clear(&journal);
	}
}

/* -- A larger disk -- */

struct growing {
	const char *name;
	uint32_t cluster_bits;
	bool extended;
	uint64_t from, to;
	uint64_t file_bytes; /* 0: as it was made. */
	bool moves;          /* The L1 table. */
	bool moves_refcounts;
};

static int grow(struct journal *journal, uint64_t to)
{
	struct qcow2_grow order = {.writable = &journal->writable, .size_bytes = to};
	char why[WHY_BYTES] = "";
	int res = qcow2_grow(&order, why, sizeof(why));

	cr_expect(res != 0 || journal->left == 0 || order.leaked == 0);
	return res;
}

/* The first and the last guest cluster have an L2 table of their own, with nothing in it, at the
 * end of the file; it may be longer than that. */
static void make_growing(const struct growing *row, uint64_t room, struct journal *out)
{
	struct qcow2_create spec = {.size_bytes = row->from,
				    .cluster_bits = row->cluster_bits,
				    .extended = row->extended};
	uint32_t cluster = UINT32_C(1) << row->cluster_bits;
	struct qcow2_header header;

	create(&spec, room, out);
	header = header_of(out);
	/* What stands behind the L1 table is nothing. */
	memset(out->bytes + header.l1_offset + (size_t)header.l1_entries * 8, 0xee,
	       (size_t)-header.l1_entries * 8 % cluster);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t at = out->size;
		uint32_t index = i == 0 ? 0 : header.l1_entries - 1;
		uint8_t *entry = out->bytes + header.l1_offset + (size_t)index * 8;

		if (get_be64(entry) != 0)
			continue;
		put_be64(entry, at | QCOW2_COPIED);
		qcow2_refcount_set(out->bytes + get_be64(out->bytes + header.refcount_table_offset),
				   (uint32_t)(at / cluster), 4, 1);
		out->size += cluster;
	}
	if (out->size < row->file_bytes)
		out->size = row->file_bytes;
	out->writable.file.size_bytes = out->size;
}

static void see_grown(struct journal *state, void *arg)
{
	const struct growing *row = *(const struct growing **)arg;
	struct qcow2_header header = header_of(state);

	cr_expect(header.size_bytes == row->from || header.size_bytes == row->to);
	(void)verdict_of(state);
	/* Both tables are still there. */
	cr_expect_neq(get_be64(state->bytes + header.l1_offset), 0);
}

static void grow_once(const struct growing *row, const struct journal *before)
{
	struct qcow2_header old = header_of(before);
	struct qcow2_header header;
	struct journal journal;

	for (unsigned left = 0;; left++) {
		int res;

		cr_assert_lt(left, 60);
		journal_make(&journal, before->bytes, before->size, before->room);
		journal.left = left;
		res = grow(&journal, row->to);
		cr_assert(res == 0 || res == -EIO, "%s", row->name);
		see_grown(&journal, &row);
		header = header_of(&journal);
		/* Once it is larger it is not an error any more, whatever leaks. */
		if (res == 0)
			cr_expect_eq(header.size_bytes, row->to);
		if (res == 0 && journal.left > 0)
			break;
		journal_clear(&journal);
	}
	cr_expect_eq(verdict_of(&journal), QCOW2_CLEAN, "%s", row->name);
	cr_expect_eq(header.l1_offset != old.l1_offset, row->moves, "%s", row->name);
	cr_expect_eq(header.refcount_table_offset != old.refcount_table_offset,
		     row->moves_refcounts, "%s", row->name);
	cr_expect_gt(journal_cut(&journal, before, see_grown, &row), 2);
	journal_clear(&journal);
}

Test(qcow2_grow, cut_anywhere)
{
	static const struct growing rows[] = {
		{"a bit", 16, false, GIB, GIB + 512, 0, false, false},
		{"within the L1 table's cluster", 16, false, GIB, 3 * GIB, 0, false, false},
		{"extended", 14, true, 512 * KIB, 2 * MIB, 0, false, false},
		{"a new L1 table", 9, false, MIB, 16 * MIB, 0, true, false},
		{"with a refcount block", 9, false, MIB, 4 * MIB, 256 * 512 - 1024, true, false},
		{"and one only of it", 9, false, MIB, 4 * MIB, 256 * 512, true, false},
		{"with several blocks", 9, false, MIB, 1280 * MIB, 200 * 512, true, false},
		{"with a refcount table", 9, false, MIB, 4 * MIB, 64 * 256 * 512 - 512, true, true},
		{"a file that ends in a cluster", 9, false, MIB, 16 * MIB, 9000, true, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t room = rows[i].file_bytes + MIB;
		struct journal before;

		make_growing(&rows[i], room, &before);
		grow_once(&rows[i], &before);
		journal_clear(&before);
	}
}

/* -- What stands behind the end of a disk that ends inside a cluster -- */

#define TAILED_CLUSTER (4 * KIB)
#define TAILED_END (3 * TAILED_CLUSTER + 1536)

/* One more cluster of the file, in use. */
static uint64_t add_cluster(struct journal *journal)
{
	struct qcow2_header header = header_of(journal);
	uint64_t at = journal->size;

	qcow2_refcount_set(journal->bytes + get_be64(journal->bytes + header.refcount_table_offset),
			   (uint32_t)(at / TAILED_CLUSTER), 4, 1);
	journal->size += TAILED_CLUSTER;
	journal->writable.file.size_bytes = journal->size;
	return at;
}

/* The guest's cluster `index`, full of 0xaa up to its end. Where it lies in the file. */
static uint64_t make_tailed(unsigned index, struct journal *out)
{
	struct qcow2_create spec = {TAILED_END, 12, false, NULL, NULL};
	uint64_t table, data;

	create(&spec, MIB, out);
	table = add_cluster(out);
	data = add_cluster(out);
	put_be64(out->bytes + header_of(out).l1_offset, table | QCOW2_COPIED);
	put_be64(out->bytes + table + (size_t)index * 8, data | QCOW2_COPIED);
	memset(out->bytes + data, 0xaa, TAILED_CLUSTER);
	return data;
}

static void see_tail(struct journal *state, void *arg)
{
	uint64_t data = *(const uint64_t *)arg;
	bool grown = header_of(state).size_bytes != TAILED_END;

	for (uint64_t i = 0; i < TAILED_CLUSTER; i++) {
		if (i < 1536)
			cr_assert_eq(state->bytes[data + i], 0xaa);
		else if (grown)
			cr_assert_eq(state->bytes[data + i], 0);
	}
}

Test(qcow2_grow, the_rest_of_the_last_cluster_reads_as_zeroes)
{
	struct journal before, journal;
	uint64_t data = make_tailed(3, &before);

	/* Within the L1 table, and with a new one. */
	for (uint64_t to = 2 * MIB; to <= 2 * GIB; to <<= 10) {
		journal_make(&journal, before.bytes, before.size, before.room);
		cr_assert_eq(grow(&journal, to), 0);
		cr_expect_eq(verdict_of(&journal), QCOW2_CLEAN);
		see_tail(&journal, &data);
		cr_expect_gt(journal_cut(&journal, &before, see_tail, &data), 2);
		journal_clear(&journal);
	}
	journal_clear(&before);
}

/* The last one is compressed by now, to what stands at `at`. */
static void compress_last(struct journal *journal, uint64_t at, const uint8_t *content)
{
	uint8_t *entry = journal->bytes + get_be64(journal->bytes + header_of(journal).l1_offset) %
						  (UINT64_C(1) << 63);
	z_stream z = {.next_in = (uint8_t *)(uintptr_t)content,
		      .avail_in = TAILED_CLUSTER,
		      .next_out = journal->bytes + at,
		      .avail_out = TAILED_CLUSTER};

	cr_assert_eq(deflateInit2(&z, 6, Z_DEFLATED, -12, 8, Z_DEFAULT_STRATEGY), Z_OK);
	cr_assert_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
	cr_assert_eq(deflateEnd(&z), Z_OK);
	put_be64(entry + 3 * 8, QCOW2_COMPRESSED | at);
}

Test(qcow2_grow, what_would_show_and_cannot_be_cleared_is_refused)
{
	uint8_t content[TAILED_CLUSTER] = {0xaa};
	struct journal journal;
	uint64_t data;

	(void)make_tailed(4, &journal);
	cr_expect_eq(grow(&journal, 2 * MIB), -ENOTSUP);
	cr_expect_eq(journal.count, 0);
	journal_clear(&journal);
	/* An old compressed one is fine as long as nothing stands there. */
	data = make_tailed(3, &journal);
	compress_last(&journal, data, content);
	cr_expect_eq(grow(&journal, 2 * MIB), 0);
	journal_clear(&journal);
	content[1536] = 1;
	data = make_tailed(3, &journal);
	compress_last(&journal, data, content);
	cr_expect_eq(grow(&journal, 2 * MIB), -ENOTSUP);
	cr_expect_eq(journal.count, 0);
	journal_clear(&journal);
}

static unsigned syncs, failing_sync;

static int sync_or_fail(struct qcow2_writable *writable)
{
	(void)writable;
	return ++syncs == failing_sync ? -EIO : 0;
}

/* After a failed fdatasync the switch is written anew: a later one would not say that it is not
 * durable. That holds for a disk that seems to have its size already, too. */
Test(qcow2_grow, a_switch_whose_sync_failed_is_written_anew)
{
	struct qcow2_create spec = {.size_bytes = MIB, .cluster_bits = 12};
	struct journal journal;

	create(&spec, MIB, &journal);
	journal.writable.sync = sync_or_fail;
	failing_sync = 1;
	cr_assert_eq(grow(&journal, 2 * MIB), 0);
	cr_assert_eq(syncs, 2);
	cr_assert_eq(grow(&journal, 2 * MIB), 0);
	cr_assert_eq(syncs, 3);
	cr_assert_eq(header_of(&journal).size_bytes, 2 * MIB);
	journal_clear(&journal);
}

/* And where that fails as well, nobody knows. */
Test(qcow2_grow, says_that_it_is_unsure)
{
	struct qcow2_create spec = {.size_bytes = MIB, .cluster_bits = 12};
	struct qcow2_grow order = {.size_bytes = 2 * MIB};
	struct qcow2_rebase names_golden = {.backing_name = "golden", .backing_format = "raw"};
	char why[WHY_BYTES];
	struct journal journal;

	create(&spec, MIB, &journal);
	order.writable = names_golden.writable = &journal.writable;
	journal.left = 0;
	cr_expect_eq(qcow2_grow(&order, why, sizeof(why)), -EIO);
	cr_expect(order.unsure);
	cr_expect_eq(qcow2_rebase(&names_golden, why, sizeof(why)), -EIO);
	cr_expect(!names_golden.unsure);
	journal.left = 3;
	cr_expect_eq(qcow2_rebase(&names_golden, why, sizeof(why)), -EIO);
	cr_expect(names_golden.unsure);
	journal.left = 100;
	cr_expect_eq(qcow2_rebase(&names_golden, why, sizeof(why)), 0);
	cr_expect(!names_golden.unsure);
	cr_expect_eq(qcow2_grow(&order, why, sizeof(why)), 0);
	cr_expect(!order.unsure);
	order.size_bytes = 0;
	cr_expect_eq(qcow2_grow(&order, why, sizeof(why)), -EINVAL);
	cr_expect(!order.unsure);
	journal_clear(&journal);
}

Test(qcow2_grow, refusals)
{
	static const struct {
		uint32_t at;
		uint64_t value;
		uint64_t size, backing;
		const char *why;
	} rows[] = {
		{0, 0, GIB - 512, 0, "not made smaller"},
		{0, 0, GIB + 1, 0, "multiple of 512"},
		{0, 0, 65536 * GIB + 512, 0, "64 TiB"},
		{0, 0, 65536 * GIB, 0, "32 MiB"},
		{0, 0, 2 * GIB, GIB + 512, "would show"},
		{AT_INCOMPATIBLE, QCOW2_INCOMPATIBLE_CORRUPT, 2 * GIB, 0, "check --repair"},
		{AT_INCOMPATIBLE, QCOW2_INCOMPATIBLE_DIRTY, 2 * GIB, 0, "check --repair"},
		{AT_SNAPSHOT_COUNT, UINT64_C(1) << 32, 2 * GIB, 0, "internal snapshots"},
		/* What is believed, but has to be right. */
		{4096, 0, 16 * GIB, 0, "refcounts of its tables"},
		{4096, 1, 16 * GIB, 0, "refcount table is not valid"},
		{4096, UINT64_C(1) << 40, 16 * GIB, 0, "refcount table is not valid"},
		{8192, 0, 16 * GIB, 0, "refcounts of its tables"},
		{8192, UINT64_C(0x0001000100010002), 16 * GIB, 0, "refcounts of its tables"},
		{0, 0, 16 * GIB, GIB, ""},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct qcow2_create spec = {GIB, 12, false, NULL, NULL};
		struct journal journal;
		struct qcow2_grow order = {.writable = &journal.writable,
					   .size_bytes = rows[i].size,
					   .backing_bytes = rows[i].backing};
		char why[WHY_BYTES] = "";
		int res;

		create(&spec, MIB, &journal);
		if (rows[i].at == AT_SNAPSHOT_COUNT)
			put_be64(journal.bytes + AT_SNAPSHOTS_OFFSET, 4096);
		if (rows[i].at != 0)
			put_be64(journal.bytes + rows[i].at, rows[i].value);
		res = qcow2_grow(&order, why, sizeof(why));
		cr_expect_eq(res == 0, rows[i].why[0] == '\0', "row %zu: %s", i, why);
		cr_expect_not_null(strstr(why, rows[i].why), "row %zu: %s", i, why);
		cr_expect(res == 0 || journal.count == 0, "row %zu", i);
		journal_clear(&journal);
	}
}
