/*
 * Clusters that a crash leaked are found and go back while the image is used (lun/qcow2/recover.c);
 * what cannot be told stays as it is. That nothing in use is ever taken for leaked is for
 * tests/crash.
 */
#include "tests/unit/lun_qcow2_hand.h"

#define BYTES (UINT64_C(1) << 20)
#define BLOCK 4096u
#define TURNS 3000u

static uint8_t bytes[BYTES];

static struct byte_range blocks(unsigned first, unsigned count)
{
	return (struct byte_range){first * UINT64_C(4096), (first + count) * UINT64_C(4096)};
}

LOOP_ONLY static struct qcow2 *open_left(struct hand *hand, unsigned file)
{
	struct qcow2_spec spec = hand_spec(hand, file, NULL);
	char why[WHY_BYTES] = "";
	struct qcow2 *image;

	spec.recovers = true;
	cr_assert_eq(qcow2_open(&spec, &image, why, sizeof(why)), 0, "%s", why);
	return image;
}

/* Half of the image is written, and then the power goes. */
LOOP_ONLY static void leave(struct hand *hand, unsigned file)
{
	struct memory_file *memory = &hand->files[file].memory;
	uint8_t *left = malloc(HAND_FILE_BYTES);
	uint64_t left_bytes;
	struct qcow2 *image;

	hand_format(hand, file, BYTES);
	image = hand_open(hand, file, NULL);
	memset(bytes, 5, sizeof(bytes));
	cr_assert_eq(hand_do(hand, image, LUN_WRITE, blocks(0, 128), bytes), 0);
	cr_assert_eq(hand_do(hand, image, LUN_FLUSH, blocks(0, 1), NULL), 0);
	memcpy(left, memory->bytes, HAND_FILE_BYTES);
	left_bytes = memory->file.size_bytes;
	cr_assert_eq(hand_close(hand, image), 0);
	memcpy(memory->bytes, left, HAND_FILE_BYTES);
	memory->file.size_bytes = left_bytes;
	free(left);
	cr_assert_gt(hand_check(hand, file).leaks, 0);
}

/* All images, as far as they do. */
LOOP_ONLY static void let_recover(struct hand *hand)
{
	struct timespec pause = {.tv_nsec = 1000000};

	for (unsigned i = 0; i < TURNS && (i == 0 || hand->cache->recovery.image); i++) {
		loop_turn(hand->loop);
		(void)nanosleep(&pause, NULL);
	}
}

LOOP_ONLY static void compare(struct hand *hand, struct qcow2 *image)
{
	static uint8_t found[BYTES];

	cr_assert_eq(hand_do(hand, image, LUN_READ, blocks(0, 128), found), 0);
	cr_assert_eq(memcmp(found, bytes, 128 * BLOCK), 0);
}

/* Three at once, one after the other. */
Test(qcow2_recover, takes_back_what_was_reserved)
{
	struct hand *hand = hand_make(BYTES);
	struct qcow2 *images[3];

	loop_role_assume();
	for (unsigned k = 0; k < ARRAY_SIZE(images); k++) {
		leave(hand, k);
		images[k] = open_left(hand, k);
		compare(hand, images[k]);
	}
	cr_assert(qcow2_may_leak(images[2]));
	let_recover(hand);
	for (unsigned k = 0; k < ARRAY_SIZE(images); k++) {
		cr_assert_not(qcow2_may_leak(images[k]));
		compare(hand, images[k]);
		cr_assert_eq(hand_close(hand, images[k]), 0);
		cr_assert_eq(hand_check(hand, k).leaks, 0);
	}
	hand_end(hand);
}

/* The refcounts were durable, the size of the file was not. */
Test(qcow2_recover, takes_back_what_lies_behind_the_end)
{
	struct hand *hand = hand_make(BYTES);
	struct memory_file *memory = &hand->files[0].memory;
	struct qcow2 *image;
	uint64_t end;

	loop_role_assume();
	leave(hand, 0);
	end = memory->file.size_bytes / BLOCK;
	/* The refcounts lie in the third cluster. */
	for (uint64_t i = end + 5; i < end + 9; i++)
		qcow2_refcount_set(memory->bytes + 2 * BLOCK, (uint32_t)i, 4, 1);
	image = open_left(hand, 0);
	compare(hand, image);
	let_recover(hand);
	compare(hand, image);
	cr_assert_eq(hand_close(hand, image), 0);
	cr_assert_eq(memory->file.size_bytes, end * BLOCK);
	cr_assert_eq(hand_check(hand, 0).leaks, 0);
	hand_end(hand);
}

/* More pieces than may be under way at once, and nobody else asks for an fdatasync. */
Test(qcow2_recover, goes_on_while_hosts_are_silent)
{
	struct hand *hand = hand_make(BYTES);
	struct memory_file *memory = &hand->files[0].memory;
	struct qcow2 *image;

	loop_role_assume();
	leave(hand, 0);
	for (uint64_t i = memory->file.size_bytes / BLOCK + 1; i < HAND_FILE_BYTES / BLOCK; i += 2)
		qcow2_refcount_set(memory->bytes + 2 * BLOCK, (uint32_t)i, 4, 1);
	memory->file.size_bytes = HAND_FILE_BYTES;
	cr_assert_gt(hand_check(hand, 0).leaks, 600);
	image = open_left(hand, 0);
	compare(hand, image);
	let_recover(hand);
	cr_assert_not(qcow2_may_leak(image));
	cr_assert_eq(hand_close(hand, image), 0);
	cr_assert_eq(hand_check(hand, 0).leaks, 0);
	hand_end(hand);
}

static unsigned length_of(const struct list_node *list)
{
	unsigned count = 0;

	LIST_FOREACH (node, list)
		count++;
	return count;
}

/* A rest, which hosts wait for, has to wait for what is on its way: that is little at any time. */
Test(qcow2_recover, has_little_on_its_way)
{
	struct hand *hand = hand_make(BYTES);
	struct memory_file *memory = &hand->files[0].memory;
	struct qcow2 *image;
	unsigned most;

	loop_role_assume();
	leave(hand, 0);
	for (uint64_t i = memory->file.size_bytes / BLOCK + 1; i < HAND_FILE_BYTES / BLOCK; i += 2)
		qcow2_refcount_set(memory->bytes + 2 * BLOCK, (uint32_t)i, 4, 1);
	memory->file.size_bytes = HAND_FILE_BYTES;
	image = open_left(hand, 0);
	cr_assert(qcow2_begin(image));
	for (unsigned i = 0; i < TURNS && hand->cache->recovery.stage != RECOVER_FREE; i++) {
		loop_turn(hand->loop);
		(void)usleep(1000);
	}
	/* The disk takes its time. */
	hand->files[0].is_stuck = true;
	for (unsigned i = 0; i < 40; i++) {
		loop_turn(hand->loop);
		(void)usleep(3000);
	}
	most = length_of(&image->quarantine.unlinked) + length_of(&image->reserve.lower);
	cr_assert_gt(most, 0);
	cr_assert_leq(most, 32);
	hand->files[0].is_stuck = false;
	let_recover(hand);
	cr_assert_not(qcow2_may_leak(image));
	cr_assert_eq(hand_close(hand, image), 0);
	cr_assert_eq(hand_check(hand, 0).leaks, 0);
	hand_end(hand);
}

/* An entry that cannot be read may lead to anything. */
Test(qcow2_recover, takes_nothing_where_an_entry_means_nothing)
{
	struct hand *hand = hand_make(BYTES);
	struct memory_file *memory = &hand->files[0].memory;
	uint64_t leaks, table;
	struct qcow2 *image;

	loop_role_assume();
	leave(hand, 0);
	leaks = (uint64_t)hand_check(hand, 0).leaks;
	table = get_be64(memory->bytes + 3 * BLOCK) & QCOW2_OFFSET_MASK;
	put_be64(memory->bytes + table + 200 * 8, UINT64_C(1) << 57);
	image = open_left(hand, 0);
	compare(hand, image);
	/* Until it has given up. */
	let_recover(hand);
	cr_assert(qcow2_may_leak(image));
	cr_assert_eq(hand_close(hand, image), 0);
	put_be64(memory->bytes + table + 200 * 8, 0);
	cr_assert_eq((uint64_t)hand_check(hand, 0).leaks, leaks);
	hand_end(hand);
}

/* Written below another, as a job does, which may be cut in the middle of it. */
Test(qcow2_recover, takes_back_what_leaked_in_a_layer_below)
{
	struct hand *hand = hand_make(BYTES);
	struct image_recovery recovery = {0};
	struct qcow2_spec spec;
	struct qcow2 *layer, *top;
	char why[WHY_BYTES];

	loop_role_assume();
	leave(hand, 0);
	hand_format(hand, 1, BYTES);
	spec = hand_spec(hand, 0, NULL);
	spec.recovers = spec.holds_frees = true;
	spec.recovery = &recovery;
	cr_assert_eq(qcow2_open(&spec, &layer, why, sizeof(why)), 0, "%s", why);
	top = hand_open(hand, 1, layer);
	cr_assert(qcow2_begin(top));
	cr_assert_eq(atomic_load(&recovery.running), 1);
	let_recover(hand);
	cr_assert_eq(atomic_load(&recovery.running), 0);
	cr_assert_gt(atomic_load(&recovery.clusters), 0);
	cr_assert_not(qcow2_may_leak(layer));
	compare(hand, top);
	cr_assert_eq(hand_close(hand, top), 0);
	cr_assert_eq(hand_close(hand, layer), 0);
	cr_assert_eq(hand_check(hand, 0).leaks, 0);
	hand_end(hand);
}

/* Nothing begins where there is nothing to do, and who has done nothing else has taken no space. */
Test(qcow2_recover, leaves_an_idle_image_as_it_is)
{
	struct hand *hand = hand_make(BYTES);
	struct qcow2 *image;

	loop_role_assume();
	leave(hand, 0);
	hand->files[0].count[LOOP_OP_ALLOCATE] = 0;
	image = open_left(hand, 0);
	cr_assert(qcow2_begin(image));
	let_recover(hand);
	cr_assert_not(qcow2_may_leak(image));
	cr_assert_not(qcow2_begin(image));
	cr_assert(list_is_empty(&image->reserve.free));
	cr_assert_eq(hand->files[0].count[LOOP_OP_ALLOCATE], 0);
	cr_assert_eq(hand_close(hand, image), 0);
	hand_end(hand);
}

/* Whether it waits for its turn or has it. */
Test(qcow2_recover, is_over_when_the_image_is_stopped)
{
	struct hand *hand = hand_make(BYTES);
	struct image_recovery recovery = {0};
	struct qcow2 *images[2];

	loop_role_assume();
	for (unsigned k = 0; k < ARRAY_SIZE(images); k++) {
		leave(hand, k);
		images[k] = open_left(hand, k);
		images[k]->recovery = &recovery;
	}
	/* Nothing turns the loop in between, so that none has ended. */
	for (unsigned k = 0; k < ARRAY_SIZE(images); k++)
		cr_assert(qcow2_begin(images[k]));
	cr_assert_eq(atomic_load(&recovery.running), 2);
	for (unsigned k = ARRAY_SIZE(images); k > 0; k--) {
		cr_assert_eq(hand_close(hand, images[k - 1]), 0);
		cr_assert_leq(atomic_load(&recovery.running), k - 1);
	}
	cr_assert_null(hand->cache->recovery.image);
	hand_end(hand);
}

/* Of an image that is only read no list of what is freed or changed is more than empty. */
Test(qcow2_recover, has_nothing_to_do_where_nothing_is_written)
{
	struct hand *hand = hand_make(BYTES);
	struct qcow2_spec spec;
	char why[WHY_BYTES];
	struct qcow2 *image;

	loop_role_assume();
	leave(hand, 0);
	spec = hand_spec(hand, 0, NULL);
	spec.recovers = spec.read_only = true;
	cr_assert_eq(qcow2_open(&spec, &image, why, sizeof(why)), 0, "%s", why);
	cr_assert_not(qcow2_begin(image));
	cr_assert(list_is_empty(&image->quarantine.freed));
	cr_assert(list_is_empty(&image->quarantine.unlinked));
	cr_assert(list_is_empty(&image->quarantine.punched));
	cr_assert(list_is_empty(&image->quarantine.waiting));
	cr_assert(list_is_empty(&image->busy_waiting));
	compare(hand, image);
	cr_assert_eq(hand_close(hand, image), 0);
	hand_end(hand);
}
