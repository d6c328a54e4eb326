/*
 * The small pieces of base/ that need no loop: bytes, checked arithmetic, lists, pools, crc32c.
 */
#include "base/aligned.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/crc32c.h"
#include "base/crc32c_table.h"
#include "base/list.h"
#include "base/pool.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

/* -- Memory ---------------------------------------------------------------------------------- */

Test(aligned, memory_is_zero_and_has_its_lines_alone)
{
	for (size_t bytes = 1; bytes < 100000; bytes = bytes * 3 + 1) {
		uint8_t *first = aligned_calloc(bytes);
		uint8_t *second = aligned_calloc(bytes);

		cr_assert(first != NULL && second != NULL);
		cr_assert_eq((uintptr_t)first % CACHE_LINE_BYTES, 0);
		cr_assert_eq((uintptr_t)second % CACHE_LINE_BYTES, 0);
		for (size_t i = 0; i < bytes; i++)
			cr_assert_eq(first[i], 0);
		memset(first, 0xff, (bytes + CACHE_LINE_BYTES - 1) & ~(CACHE_LINE_BYTES - 1ul));
		cr_assert_eq(second[0], 0);
		aligned_free(first);
		aligned_free(second);
	}
	aligned_free(NULL);
	cr_assert_null(aligned_calloc(SIZE_MAX - 100));
}

/* Sessions and LUNs are counted in thousands, and most of what each has is for bad days. */
Test(aligned, large_memory_is_not_touched)
{
	uint8_t *memory;
	unsigned char resident[16];

	/* What was used and came back is not handed out again, either. */
	for (unsigned round = 0; round < 3; round++) {
		memory = aligned_calloc(65536);
		cr_assert_not_null(memory);
		cr_assert_eq(
			mincore((uint8_t *)((uintptr_t)memory & ~4095ul) + 4096, 61440, resident),
			0);
		for (unsigned i = 0; i < 15; i++)
			cr_expect_eq(resident[i] & 1, 0, "page %u", i + 1);
		memset(memory, 0xff, 65536);
		aligned_free(memory);
	}
}

/* -- Bytes ----------------------------------------------------------------------------------- */

static const uint8_t foreign[] = {0xf1, 0xe2, 0xd3, 0xc4, 0xb5, 0xa6, 0x97, 0x88};

Test(bytes, getters_and_putters_agree_on_the_order)
{
	uint8_t out[8];

	cr_assert_eq(get_be16(foreign), 0xf1e2);
	cr_assert_eq(get_be24(foreign), 0xf1e2d3);
	cr_assert_eq(get_be32(foreign), 0xf1e2d3c4);
	cr_assert_eq(get_be64(foreign), 0xf1e2d3c4b5a69788);
	cr_assert_eq(get_le16(foreign), 0xe2f1);
	cr_assert_eq(get_le32(foreign), 0xc4d3e2f1);
	cr_assert_eq(get_le64(foreign), 0x8897a6b5c4d3e2f1);
	put_be64(out, 0xf1e2d3c4b5a69788);
	cr_assert_eq(memcmp(out, foreign, 8), 0);
	put_le64(out, 0x8897a6b5c4d3e2f1);
	cr_assert_eq(memcmp(out, foreign, 8), 0);
	put_be24(out, 0x123456);
	put_be16(out + 3, 0x789a);
	put_le16(out + 5, 0xbcde);
	cr_assert_eq(memcmp(out, "\x12\x34\x56\x78\x9a\xde\xbc", 7), 0);
}

Test(bytes, reader_fails_once_and_for_good)
{
	struct byte_reader reader = byte_reader_make(foreign, 8);

	cr_assert_eq(byte_reader_u8(&reader), 0xf1);
	cr_assert_eq(byte_reader_be16(&reader), 0xe2d3);
	cr_assert_eq(byte_reader_be24(&reader), 0xc4b5a6);
	cr_assert_not(reader.failed);
	cr_assert_eq(byte_reader_be24(&reader), 0); /* Two are left. */
	cr_assert(reader.failed);
	cr_assert_eq(byte_reader_u8(&reader), 0);
	cr_assert_null(byte_reader_take(&reader, 0));
	cr_assert_eq(reader.left, 2);
}

Test(bytes, reader_takes_exactly_what_there_is)
{
	struct byte_reader reader = byte_reader_make(foreign, 8);

	byte_reader_skip(&reader, 0);
	cr_assert_eq(byte_reader_be64(&reader), 0xf1e2d3c4b5a69788);
	cr_assert_eq(byte_reader_take(&reader, 0), foreign + 8);
	cr_assert_not(reader.failed);
	byte_reader_skip(&reader, SIZE_MAX);
	cr_assert(reader.failed);
	reader = byte_reader_make(NULL, 0);
	cr_assert_eq(byte_reader_be32(&reader), 0);
	cr_assert(reader.failed);
}

Test(bytes, writer_cuts_and_goes_on_counting)
{
	uint8_t area[8];
	struct byte_writer writer = byte_writer_make(area, 6);

	(void)memset(area, 0xee, sizeof(area));
	byte_writer_u8(&writer, 0xf1);
	byte_writer_be16(&writer, 0xe2d3);
	byte_writer_zero(&writer, 1);
	cr_assert_not(byte_writer_overran(&writer));
	byte_writer_be32(&writer, 0x01020304);
	byte_writer_be64(&writer, 5);
	byte_writer_be24(&writer, 6);
	byte_writer_zero(&writer, 4);
	cr_assert(byte_writer_overran(&writer));
	cr_assert_eq(byte_writer_count(&writer), 6);
	cr_assert_eq(writer.wanted, 23);
	cr_assert_eq(memcmp(area, "\xf1\xe2\xd3\x00\x01\x02\xee\xee", 8), 0);
}

Test(bytes, writer_never_wraps)
{
	struct byte_writer writer = byte_writer_make(NULL, 0);

	byte_writer_zero(&writer, SIZE_MAX - 1);
	byte_writer_zero(&writer, 3);
	cr_assert_eq(writer.wanted, SIZE_MAX);
	byte_writer_u8(&writer, 1);
	cr_assert(byte_writer_overran(&writer));
}

Test(checked, arithmetic_tells_what_does_not_fit)
{
	uint64_t out;

	cr_assert(checked_add(UINT64_MAX - 1, 1, &out) && out == UINT64_MAX);
	cr_assert_not(checked_add(UINT64_MAX, 1, &out));
	cr_assert(checked_sub(1, 1, &out) && out == 0);
	cr_assert_not(checked_sub(0, 1, &out));
	cr_assert(checked_mul(1ull << 32, (1ull << 32) - 1, &out));
	cr_assert_not(checked_mul(1ull << 32, 1ull << 32, &out));
	cr_assert(checked_range(0, 10, 10) && checked_range(10, 0, 10));
	cr_assert_not(checked_range(1, 10, 10));
	cr_assert_not(checked_range(11, 0, 10));
	cr_assert_not(checked_range(UINT64_MAX, 2, UINT64_MAX));
}

/* -- Lists ----------------------------------------------------------------------------------- */

Test(list, keeps_order_and_lets_go)
{
	struct list_node list;
	struct list_node nodes[4];
	unsigned seen = 0;

	list_init(&list);
	cr_assert(list_is_empty(&list));
	cr_assert_null(list_first(&list));
	for (unsigned i = 0; i < 3; i++)
		list_append(&list, &nodes[i]);
	list_prepend(&list, &nodes[3]);
	cr_assert_eq(list_first(&list), &nodes[3]);
	list_remove(&nodes[1]);
	cr_assert_not(list_is_linked(&nodes[1]));
	cr_assert(list_is_linked(&nodes[2]));
	LIST_FOREACH (node, &list) {
		static const unsigned order[] = {3, 0, 2};

		cr_assert_eq(node, &nodes[order[seen++]]);
		list_remove(node);
	}
	cr_assert_eq(seen, 3);
	cr_assert(list_is_empty(&list));
}

Test(list, splice_moves_all_to_the_end)
{
	struct list_node to;
	struct list_node from;
	struct list_node nodes[3];

	list_init(&to);
	list_init(&from);
	list_splice(&to, &from);
	cr_assert(list_is_empty(&to));
	list_append(&to, &nodes[0]);
	list_append(&from, &nodes[1]);
	list_append(&from, &nodes[2]);
	list_splice(&to, &from);
	cr_assert(list_is_empty(&from));
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(list_take_first(&to), &nodes[i]);
	cr_assert(list_is_empty(&to));
}

/* -- Pools ----------------------------------------------------------------------------------- */

Test(pool, gives_each_object_once_and_warm_ones_first)
{
	struct pool pool;
	uint64_t *objects[3];

	cr_assert_eq(pool_init(&pool, 3, 24, 64), 0);
	for (unsigned i = 0; i < 3; i++) {
		objects[i] = pool_acquire(&pool);
		cr_assert_not_null(objects[i]);
		cr_assert_eq((uintptr_t)objects[i] % 64, 0);
		cr_assert_eq(*objects[i], 0);
		cr_assert_eq(pool_index(&pool, objects[i]), i);
		cr_assert_eq(pool_at(&pool, i), objects[i]);
		*objects[i] = i + 1;
	}
	cr_assert_null(pool_acquire(&pool));
	cr_assert_eq(pool_used_count(&pool), 3);
	pool_release(&pool, objects[0]);
	pool_release(&pool, objects[2]);
	cr_assert_eq(pool_free_count(&pool), 2);
	cr_assert_eq(pool_acquire(&pool), objects[2]);
	cr_assert_eq(*objects[2], 3);
	pool_release(&pool, objects[2]);
	pool_release(&pool, objects[1]);
	pool_clear(&pool, false);
	pool_clear(&pool, false);
}

/* The pages of objects that were never used, or lie free, cost nothing. */
Test(pool, unused_objects_stay_untouched)
{
	struct pool pool;
	unsigned char resident[64];
	unsigned touched = 0;
	char *object;

	cr_assert_eq(pool_init(&pool, 64, 4096, 4096), 0);
	object = pool_acquire(&pool);
	*object = 1;
	cr_assert_eq(pool_acquire(&pool), object + 4096);
	pool_release(&pool, object + 4096);
	cr_assert_eq(mincore(pool.objects, sizeof(resident) * 4096, resident), 0);
	for (unsigned i = 0; i < sizeof(resident); i++)
		touched += resident[i] & 1;
	cr_assert_eq(touched, 1);
	pool_release(&pool, object);
	pool_clear(&pool, false);
}

Test(pool, may_be_empty_and_may_be_too_big)
{
	struct pool pool;

	cr_assert_eq(pool_init(&pool, 0, 8, 0), 0);
	cr_assert_null(pool_acquire(&pool));
	pool_clear(&pool, false);
	cr_assert_eq(pool_init(&pool, UINT32_MAX, SIZE_MAX / 2, 0), -ENOMEM);
	cr_assert_eq(pool_init(&pool, 2, SIZE_MAX, 4096), -ENOMEM);
	pool_clear(&pool, false);
}

/* An index is found without a division, whatever the distance of objects. */
Test(pool, index_is_exact_for_every_distance)
{
	static const uint32_t counts[] = {1, 2, 3, 63, 64, 1000, 100000};
	static const size_t large[] = {4095, 4097, 12345, 65536, 65537, 1000003};

	for (size_t bytes = 1; bytes < 700 + ARRAY_SIZE(large); bytes++) {
		uint32_t count = counts[bytes % ARRAY_SIZE(counts)];
		struct pool pool;

		cr_assert_eq(pool_init(&pool, count, bytes < 700 ? bytes : large[bytes - 700],
				       1u << bytes % 8),
			     0);
		for (uint32_t i = 0; i < count; i += 1 + i / 16)
			cr_assert_eq(pool_index(&pool, pool_at(&pool, i)), i, "%zu bytes", bytes);
		cr_assert_eq(pool_index(&pool, pool_at(&pool, count - 1)), count - 1);
		pool_clear(&pool, false);
	}
}

static void look_beside(size_t bytes)
{
	struct pool pool;

	cr_assert_eq(pool_init(&pool, 1000, bytes, 2), 0);
	(void)pool_index(&pool, (uint8_t *)pool_at(&pool, 999) + 1);
}

Test(pool, place_inside_an_object_is_a_bug, .signal = SIGABRT)
{
	look_beside(24);
}

Test(pool, place_inside_the_smallest_object_is_a_bug, .signal = SIGABRT)
{
	look_beside(1);
}

Test(pool, double_release_is_a_bug, .signal = SIGABRT)
{
	struct pool pool;
	void *object;

	cr_assert_eq(pool_init(&pool, 2, 8, 0), 0);
	object = pool_acquire(&pool);
	pool_release(&pool, object);
	pool_release(&pool, object);
}

Test(pool, foreign_object_is_a_bug, .signal = SIGABRT)
{
	struct pool pool;

	cr_assert_eq(pool_init(&pool, 2, 8, 0), 0);
	pool_release(&pool, &pool);
}

Test(pool, object_that_did_not_come_back_is_a_bug, .signal = SIGABRT)
{
	struct pool pool;

	cr_assert_eq(pool_init(&pool, 2, 8, 0), 0);
	cr_assert_not_null(pool_acquire(&pool));
	pool_clear(&pool, false);
}

/* -- CRC32C ---------------------------------------------------------------------------------- */

static const uint8_t scsi_read_10[48] = {
	0x01, 0xc0, 0, 0,    0, 0, 0, 0,    0,    0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0,
	0,    0,    0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 2,    0, 0, 0, 0, 0, 0,    0,
};

/* RFC 7143 appendix A.4: the digests as they go on the wire. */
static void expect_crc(const uint8_t *bytes, size_t count, const char *on_wire)
{
	uint8_t out[4];

	put_le32(out, crc32c(0, bytes, count));
	cr_assert_eq(memcmp(out, on_wire, 4), 0);
	put_le32(out, crc32c_by_table(0, bytes, count));
	cr_assert_eq(memcmp(out, on_wire, 4), 0);
}

Test(crc32c, answers_of_the_standard)
{
	uint8_t bytes[32] = {0};

	expect_crc(bytes, 32, "\xaa\x36\x91\x8a");
	(void)memset(bytes, 0xff, 32);
	expect_crc(bytes, 32, "\x43\xab\xa8\x62");
	for (uint8_t i = 0; i < 32; i++)
		bytes[i] = i;
	expect_crc(bytes, 32, "\x4e\x79\xdd\x46");
	for (uint8_t i = 0; i < 32; i++)
		bytes[i] = 31 - i;
	expect_crc(bytes, 32, "\x5c\xdb\x3f\x11");
	expect_crc(scsi_read_10, 48, "\x56\x3a\x96\xd9");
}

Test(crc32c, goes_on_where_it_stopped)
{
	uint8_t bytes[1000];
	uint32_t whole;

	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + i / 9);
	whole = crc32c(0, bytes, sizeof(bytes));
	cr_assert_eq(whole, crc32c_by_table(0, bytes, sizeof(bytes)));
	for (unsigned at = 0; at <= sizeof(bytes); at += 13)
		cr_assert_eq(crc32c(crc32c(0, bytes, at), bytes + at, sizeof(bytes) - at), whole);
	cr_assert_eq(crc32c(0, NULL, 0), 0);
}
