/*
 * Inconsistencies that show only while an image is used (invariant 8): the corrupt bit is on the
 * disk, nothing is written any more, who asks gets an error, and the image is not opened for
 * writing again. And what is leaked because there is no place to remember it.
 */
#include "tests/unit/lun_qcow2_hand.h"

#define L1_AT 0x3000u
#define COUNTS_AT 0x2000u
#define SIZE (UINT64_C(4) << 20)

static uint8_t block[CLUSTER];

static struct byte_range cluster(uint64_t i)
{
	return (struct byte_range){i * CLUSTER, (i + 1) * CLUSTER};
}

static uint8_t *bytes_of(struct hand *hand)
{
	return hand->files[0].memory.bytes;
}

/* The entry of the first guest cluster. */
static uint8_t *first_entry(struct hand *hand)
{
	return bytes_of(hand) + (get_be64(bytes_of(hand) + L1_AT) & QCOW2_OFFSET_MASK);
}

/* An image with two clusters, closed. */
LOOP_ONLY static struct hand *make(void)
{
	struct hand *hand = hand_make(UINT64_C(1) << 20);
	struct qcow2 *image;

	memset(block, 1, sizeof(block));
	hand_format(hand, 0, SIZE);
	image = hand_open(hand, 0, NULL);
	cr_assert_eq(hand_do(hand, image, LUN_WRITE, cluster(0), block), 0);
	cr_assert_eq(hand_do(hand, image, LUN_WRITE, cluster(1), block), 0);
	cr_assert_eq(hand_close(hand, image), 0);
	return hand;
}

/* Whatever is done with it: it has failed, says so on the disk, and stays closed to writers. */
LOOP_ONLY static void end_corrupt(struct hand *hand, struct qcow2 *image)
{
	struct qcow2_spec spec = hand_spec(hand, 0, NULL);
	unsigned writes;
	char why[WHY_BYTES] = "";

	/* The header's write may still be under way. */
	for (unsigned i = 0; i < 100; i++)
		loop_turn(hand->loop);
	cr_assert(qcow2_has_failed(image));
	cr_assert(get_be64(bytes_of(hand) + AT_INCOMPATIBLE) & QCOW2_INCOMPATIBLE_CORRUPT);
	writes = hand->files[0].count[LOOP_OP_WRITE];
	cr_assert_lt(hand_do(hand, image, LUN_WRITE, cluster(2), block), 0);
	cr_assert_lt(hand_do(hand, image, LUN_UNMAP, cluster(1), NULL), 0);
	cr_assert_lt(hand_do(hand, image, LUN_FLUSH, cluster(0), NULL), 0);
	cr_assert_eq(hand_close(hand, image), -EIO);
	cr_assert_eq(hand->files[0].count[LOOP_OP_WRITE], writes);
	cr_assert_neq(qcow2_open(&spec, &image, why, sizeof(why)), 0);
	cr_assert(why[0]);
	hand_end(hand);
}

Test(qcow2_corrupt, an_entry_that_means_nothing)
{
	struct hand *hand;
	struct qcow2 *image;

	loop_role_assume();
	hand = make();
	put_be64(first_entry(hand), get_be64(first_entry(hand)) + 512);
	image = hand_open(hand, 0, NULL);
	cr_assert_eq(hand_do(hand, image, LUN_READ, cluster(0), block), -EIO);
	end_corrupt(hand, image);
}

Test(qcow2_corrupt, data_over_metadata)
{
	static uint8_t before[CLUSTER];
	struct hand *hand;
	struct qcow2 *image;

	loop_role_assume();
	hand = make();
	put_be64(first_entry(hand), L1_AT | COPIED);
	memcpy(before, bytes_of(hand) + L1_AT, CLUSTER);
	image = hand_open(hand, 0, NULL);
	cr_assert_eq(hand_do(hand, image, LUN_WRITE, cluster(0), block), -EIO);
	cr_assert_eq(memcmp(before, bytes_of(hand) + L1_AT, CLUSTER), 0);
	end_corrupt(hand, image);
}

/* It is freed: its refcount would become less than none. */
Test(qcow2_corrupt, a_cluster_in_use_without_refcount)
{
	struct hand *hand;
	struct qcow2 *image;
	uint64_t host;

	loop_role_assume();
	hand = make();
	host = (get_be64(first_entry(hand)) & QCOW2_OFFSET_MASK) / CLUSTER;
	qcow2_refcount_set(bytes_of(hand) + COUNTS_AT, (uint32_t)host, 4, 0);
	image = hand_open(hand, 0, NULL);
	cr_assert_eq(hand_do(hand, image, LUN_UNMAP, cluster(0), NULL), 0);
	cr_assert_eq(hand_do(hand, image, LUN_FLUSH, cluster(0), NULL), 0);
	end_corrupt(hand, image);
}

enum {
	CLUSTERS = 500
};

/* A layer that holds what it frees; so much of it has data, and all records are in use then but
 * those that are kept for the reservation. */
LOOP_ONLY static struct qcow2 *open_full(struct hand *hand)
{
	struct qcow2_spec spec;
	struct qcow2 *image;
	char why[WHY_BYTES] = "";

	hand_format(hand, 0, SIZE);
	spec = hand_spec(hand, 0, NULL);
	spec.holds_frees = true;
	cr_assert_eq(qcow2_open(&spec, &image, why, sizeof(why)), 0, "%s", why);
	for (unsigned i = 0; i < CLUSTERS + 100; i++)
		cr_assert_eq(hand_do(hand, image, LUN_WRITE, cluster(i), block), 0);
	cr_assert_not(qcow2_may_leak(image));
	/* Backwards, so that each is one of its own. */
	for (unsigned i = CLUSTERS + 100; i-- > 100;)
		cr_assert_eq(hand_do(hand, image, LUN_UNMAP, cluster(i), NULL), 0);
	cr_assert(qcow2_may_leak(image));
	return image;
}

/* More than there are records for: none of it waits, and none of it is used again. */
Test(qcow2_corrupt, leaks_what_a_layer_cannot_hold)
{
	struct hand *hand;
	struct qcow2 *image;
	uint64_t leaks;

	loop_role_assume();
	hand = hand_make(UINT64_C(1) << 20);
	image = open_full(hand);
	cr_assert_eq(hand_close(hand, image), 0);
	leaks = hand_check(hand, 0).leaks;
	cr_assert_gt(leaks, 0);
	cr_assert_lt(leaks, 100);
	hand_end(hand);
}

/* New clusters that could not be written have nowhere to go, not even into what is kept. */
Test(qcow2_corrupt, leaks_what_failed_without_a_record)
{
	struct hand *hand;
	struct qcow2 *image;

	loop_role_assume();
	hand = hand_make(UINT64_C(1) << 20);
	image = open_full(hand);
	for (unsigned i = 0; i < 20; i++) {
		cr_assert_eq(hand_do(hand, image, LUN_FLUSH, cluster(0), NULL), 0);
		hand->files[0].error = -EIO;
		hand->files[0].error_kinds = 1u << LOOP_OP_WRITE;
		cr_assert_eq(hand_do(hand, image, LUN_WRITE, cluster(200 + i), block), -EIO);
		hand->files[0].error_kinds = 0;
		cr_assert_eq(hand_do(hand, image, LUN_UNMAP, cluster(99 - i), NULL), 0);
	}
	cr_assert_not(qcow2_has_failed(image));
	cr_assert_eq(hand_do(hand, image, LUN_WRITE, cluster(200), block), 0);
	cr_assert_eq(hand_close(hand, image), 0);
	(void)hand_check(hand, 0);
	hand_end(hand);
}

/* No fallocate, and no write that makes the file longer: there is no space, until there is. */
Test(qcow2_corrupt, a_file_that_cannot_become_longer)
{
	struct hand *hand;
	struct qcow2 *image;

	loop_role_assume();
	hand = hand_make(UINT64_C(1) << 20);
	hand_format(hand, 0, SIZE);
	image = hand_open(hand, 0, NULL);
	hand->files[0].error = -EOPNOTSUPP;
	hand->files[0].error_kinds = 1u << LOOP_OP_ALLOCATE | 1u << LOOP_OP_WRITE;
	cr_assert_eq(hand_do(hand, image, LUN_WRITE, cluster(0), block), -ENOSPC);
	cr_assert_not(qcow2_has_failed(image));
	hand->files[0].error_kinds = 1u << LOOP_OP_ALLOCATE;
	cr_assert_eq(hand_do(hand, image, LUN_WRITE, cluster(0), block), 0);
	cr_assert_eq(hand_close(hand, image), 0);
	cr_assert_eq(hand_check(hand, 0).leaks, 0);
	hand_end(hand);
}
