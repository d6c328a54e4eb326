/*
 * Images whose fdatasync failed: they keep nothing of the cache that they share with others, and
 * reads show what the file holds, now and when it is opened again (lun/qcow2/ORDER.md).
 */
#include "tests/unit/lun_qcow2_hand.h"

/* A slice of entries maps so much. */
#define STEP (UINT64_C(2) << 20)
#define SLICES 24u
#define BLOCK 4096u

static struct hand_request requests[SLICES];
static uint8_t blocks[SLICES][BLOCK];

static struct byte_range block(unsigned i)
{
	return (struct byte_range){i * STEP, i * STEP + BLOCK};
}

LOOP_ONLY static void write_all(struct hand *hand, struct qcow2 *image, uint8_t value)
{
	for (unsigned i = 0; i < SLICES; i++) {
		memset(blocks[i], value, BLOCK);
		hand_submit_to(image, &requests[i], LUN_WRITE, block(i), blocks[i]);
	}
	for (unsigned i = 0; i < SLICES; i++)
		cr_assert(hand_turn_until(hand, &requests[i].is_done));
}

LOOP_ONLY static void read_all(struct hand *hand, struct qcow2 *image, uint8_t *values)
{
	static uint8_t found[BLOCK];

	for (unsigned i = 0; i < SLICES; i++) {
		cr_assert_eq(hand_do(hand, image, LUN_READ, block(i), found), 0);
		values[i] = found[0];
	}
}

/* What was flushed is 1, what came after it 2, until the fdatasync that fails. */
LOOP_ONLY static struct qcow2 *fail(struct hand *hand, unsigned file)
{
	struct qcow2 *image;

	hand_format(hand, file, SLICES * STEP);
	image = hand_open(hand, file, NULL);
	write_all(hand, image, 1);
	cr_assert_eq(hand_do(hand, image, LUN_FLUSH, block(0), NULL), 0);
	for (unsigned i = 0; i < SLICES; i++)
		cr_assert_eq(hand_do(hand, image, LUN_UNMAP, block(i), NULL), 0);
	hand->files[file].error = -EIO;
	hand->files[file].error_kinds = 1u << LOOP_OP_SYNC;
	write_all(hand, image, 2);
	cr_assert_eq(hand_do(hand, image, LUN_FLUSH, block(0), NULL), -EIO);
	cr_assert(qcow2_has_failed(image));
	return image;
}

LOOP_ONLY static void test_failed(uint64_t cache_bytes)
{
	struct hand *hand = hand_make(cache_bytes);
	uint8_t values[2][SLICES];
	struct qcow2 *failed[3];
	struct qcow2 *good;

	for (unsigned k = 0; k < ARRAY_SIZE(failed); k++)
		failed[k] = fail(hand, k);
	/* Another has all of the cache. */
	hand_format(hand, 3, SLICES * STEP);
	good = hand_open(hand, 3, NULL);
	write_all(hand, good, 3);
	cr_assert_eq(hand_do(hand, good, LUN_FLUSH, block(0), NULL), 0);
	read_all(hand, good, values[0]);
	for (unsigned i = 0; i < SLICES; i++)
		cr_assert_eq(values[0][i], 3);
	cr_assert_eq(hand_close(hand, good), 0);
	for (unsigned k = 0; k < ARRAY_SIZE(failed); k++) {
		read_all(hand, failed[k], values[0]);
		cr_assert_eq(hand_close(hand, failed[k]), -EIO);
		hand->files[k].error_kinds = 0;
		failed[k] = hand_open(hand, k, NULL);
		read_all(hand, failed[k], values[1]);
		cr_assert_eq(memcmp(values[0], values[1], SLICES), 0);
		cr_assert_eq(hand_close(hand, failed[k]), 0);
	}
	hand_end(hand);
}

/* A file system without holes: what is freed is free, but not used again. */
Test(qcow2_failed, lowers_what_cannot_be_cleared)
{
	struct hand *hand = hand_make(UINT64_C(1) << 20);
	static uint8_t zeroes[SLICES];
	uint8_t values[SLICES];
	struct qcow2 *image;

	loop_role_assume();
	hand_format(hand, 0, SLICES * STEP);
	hand->files[0].error = -EOPNOTSUPP;
	hand->files[0].error_kinds = 1u << LOOP_OP_DISCARD | 1u << LOOP_OP_ZERO;
	image = hand_open(hand, 0, NULL);
	for (unsigned round = 0; round < 4; round++) {
		write_all(hand, image, 1);
		for (unsigned i = 0; i < SLICES; i++)
			cr_assert_eq(hand_do(hand, image, LUN_UNMAP, block(i), NULL), 0);
		cr_assert_eq(hand_do(hand, image, LUN_FLUSH, block(0), NULL), 0);
	}
	read_all(hand, image, values);
	cr_assert_eq(memcmp(values, zeroes, SLICES), 0);
	cr_assert_eq(hand_close(hand, image), 0);
	cr_assert_eq(hand_check(hand, 0).leaks, 0);
	hand_end(hand);
}

Test(qcow2_failed, leaves_a_small_cache_to_others)
{
	loop_role_assume();
	test_failed(1);
}

Test(qcow2_failed, shows_what_the_file_holds)
{
	loop_role_assume();
	test_failed(UINT64_C(1) << 20);
}
