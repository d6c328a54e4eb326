/*
 * The workers of a loop are few, and operations of a stuck file keep theirs: an image leaves some
 * to the others, whatever is asked of it (lun/qcow2/op.c).
 */
#include "tests/unit/lun_qcow2_hand.h"

#define BYTES (UINT64_C(1) << 20)
#define REQUESTS 100u

static struct hand_request requests[REQUESTS];
static uint8_t bytes[BYTES];

static struct byte_range block(unsigned i)
{
	return (struct byte_range){i * UINT64_C(4096), (i + 1) * UINT64_C(4096)};
}

/* Whatever an image does: new clusters, groups, holes, the way back of all of it. */
LOOP_ONLY static void use(struct hand *hand, unsigned file)
{
	static uint8_t found[BYTES];
	struct byte_range part = {3 * 512, BYTES / 4};
	struct qcow2 *image;

	hand_format(hand, file, BYTES);
	image = hand_open(hand, file, NULL);
	memset(bytes, 7, sizeof(bytes));
	cr_assert_eq(hand_do(hand, image, LUN_WRITE, part, bytes), 0);
	cr_assert_eq(hand_do(hand, image, LUN_FLUSH, block(0), NULL), 0);
	cr_assert_eq(hand_do(hand, image, LUN_READ, part, found), 0);
	cr_assert_eq(memcmp(found, bytes, part.end - part.begin), 0);
	cr_assert_eq(hand_do(hand, image, LUN_UNMAP, block(9), NULL), 0);
	cr_assert_eq(hand_do(hand, image, LUN_FLUSH, block(0), NULL), 0);
	cr_assert_eq(hand_close(hand, image), 0);
}

/* Reads of what only the file below has: many at once, and none of them ends. */
Test(qcow2_workers, a_stuck_chain_leaves_workers_to_others)
{
	struct hand *hand = hand_make(1);
	struct qcow2_spec below;
	struct qcow2 *base, *top;

	loop_role_assume();
	hand->files[0].memory.file.size_bytes = BYTES;
	below = hand_spec(hand, 0, NULL);
	below.read_only = true;
	cr_assert_eq(qcow2_open_raw(&below, &base), 0);
	hand_format(hand, 1, BYTES);
	top = hand_open(hand, 1, base);
	hand->files[0].is_stuck = true;
	for (unsigned i = 0; i < REQUESTS; i++)
		hand_submit_to(top, &requests[i], LUN_READ, block(i), bytes + block(i).begin);
	use(hand, 2);
	cr_assert_leq(hand->workers_most, HAND_WORKERS);
	hand->files[0].is_stuck = false;
	for (unsigned i = 0; i < REQUESTS; i++) {
		cr_assert(hand_turn_until(hand, &requests[i].is_done));
		cr_assert_eq(requests[i].res, 0);
	}
	cr_assert_eq(hand_close(hand, top), 0);
	qcow2_close(base);
	hand_end(hand);
}

/* Two of them, and the engine's own operations: refcounts, fdatasync, holes. */
Test(qcow2_workers, stuck_writers_leave_workers_to_others)
{
	struct hand *hand = hand_make(UINT64_C(1) << 20);
	struct qcow2 *images[2];

	loop_role_assume();
	for (unsigned k = 0; k < ARRAY_SIZE(images); k++) {
		hand_format(hand, k, BYTES);
		images[k] = hand_open(hand, k, NULL);
		cr_assert_eq(hand_do(hand, images[k], LUN_WRITE, (struct byte_range){0, BYTES / 2},
				     bytes),
			     0);
		hand->files[k].is_stuck = true;
	}
	for (unsigned i = 0; i < REQUESTS; i++) {
		static const enum lun_op ops[] = {LUN_WRITE, LUN_READ, LUN_UNMAP, LUN_FLUSH};

		hand_submit_to(images[i % 2], &requests[i], ops[i / 2 % 4], block(i + 28),
			       bytes + block(i + 28).begin);
	}
	use(hand, 2);
	cr_assert_leq(hand->workers_most, HAND_WORKERS);
	for (unsigned k = 0; k < ARRAY_SIZE(images); k++)
		hand->files[k].is_stuck = false;
	for (unsigned i = 0; i < REQUESTS; i++) {
		cr_assert(hand_turn_until(hand, &requests[i].is_done));
		cr_assert_eq(requests[i].res, 0);
	}
	for (unsigned k = 0; k < ARRAY_SIZE(images); k++)
		cr_assert_eq(hand_close(hand, images[k]), 0);
	hand_end(hand);
}
