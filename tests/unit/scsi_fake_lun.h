/*
 * A LUN in memory and a loop without a thread, for tests of the device server alone: nothing
 * happens until fake_step or fake_message, so a test decides what is under way when. It defines the
 * functions of lun.h and loop.h that scsi/ calls; a program includes it once, through scsi_fake.h.
 */
#ifndef TESTS_UNIT_SCSI_FAKE_LUN_H
#define TESTS_UNIT_SCSI_FAKE_LUN_H

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "lun/space.h"

#ifndef FAKE_BUFFERS
#define FAKE_BUFFERS 4u
#endif
/* Of a buffer that is given or comes back; a fuzzer cannot afford all. */
#ifndef FAKE_POISON_BYTES
#define FAKE_POISON_BYTES LOOP_BUFFER_BYTES
#endif

/* What memory holds that nobody may read. */
static uint8_t fake_poison = 0xEE;

struct loop {
	uint8_t *buffers;
	bool taken[FAKE_BUFFERS];
	struct loop_msg *first_msg;
	struct loop_msg **last_msg;
	struct list_node calls; /* loop_call: what may block, done when a test lets it. */
};

struct lun {
	struct lun_limits limits;
	struct lun_identity identity;
	struct lun_state state;
	bool overrun;
	bool has_space;
	struct lun_space space;
	uint8_t *states;             /* enum lun_extent_state by block; NULL like bytes. */
	unsigned map_extents;        /* An answer of LUN_MAP has no more; 0: as there is room. */
	uint8_t *bytes;              /* NULL: data are not kept (a LUN too large for that). */
	struct list_node queue;      /* Submitted. */
	struct list_node exclusives; /* In order of arrival. */
	unsigned count[LUN_OP_COUNT];
	uint64_t range_bytes[LUN_OP_COUNT]; /* Sum of lengths. */
	uint64_t longest_bytes[LUN_OP_COUNT];
	unsigned durable_count;
	unsigned abandoned_count;
	struct lun_orphan_wait *wait; /* For the orphans in the queue. */
	/* The I/O of this op after so many others fails with res. */
	enum lun_op fail_op;
	unsigned fail_after;
	int fail_res;
	/* Called before each I/O is admitted. */
	void (*before)(struct lun *lun);
};

/* -- loop.h -- */

static inline void fake_loop_init(struct loop *loop)
{
	*loop = (struct loop){.last_msg = &loop->first_msg};
	list_init(&loop->calls);
	loop->buffers = aligned_alloc(4096, FAKE_BUFFERS * LOOP_BUFFER_BYTES);
	assert(loop->buffers != NULL);
}

void *loop_buffer_acquire(struct loop *loop)
{
	for (unsigned i = 0; i < FAKE_BUFFERS; i++)
		if (!loop->taken[i]) {
			uint8_t *buffer = loop->buffers + (size_t)i * LOOP_BUFFER_BYTES;

			loop->taken[i] = true;
			return memset(buffer, fake_poison, FAKE_POISON_BYTES);
		}
	return NULL;
}

void loop_buffer_release(struct loop *loop, void *buffer)
{
	size_t i = (size_t)((uint8_t *)buffer - loop->buffers) / LOOP_BUFFER_BYTES;

	assert(i < FAKE_BUFFERS && loop->taken[i]);
	memset(buffer, fake_poison, FAKE_POISON_BYTES);
	loop->taken[i] = false;
}

static inline unsigned fake_buffers_taken(const struct loop *loop)
{
	unsigned count = 0;

	for (unsigned i = 0; i < FAKE_BUFFERS; i++)
		count += loop->taken[i];
	return count;
}

void loop_post(struct loop *to, struct loop_msg *msg, loop_msg_fn *fn)
{
	msg->next = NULL;
	msg->fn = fn;
	*to->last_msg = msg;
	to->last_msg = &msg->next;
}

void loop_call(struct loop *loop, struct loop_op *op, loop_call_fn *call, loop_done_fn *done)
{
	op->call = call;
	op->done = done;
	list_append(&loop->calls, &op->link);
}

unsigned loop_index(const struct loop *loop)
{
	(void)loop;
	return 0;
}

/* -- lun.h -- */

/* On memory of the caller's, or NULL. */
static inline void fake_lun_set(struct lun *lun, uint64_t block_count, uint32_t block_bytes,
				uint8_t *bytes)
{
	*lun = (struct lun){
		.limits =
			{
				.logical_block_bytes = block_bytes,
				.physical_block_bytes = 4096,
				.io_align_bytes = block_bytes,
				.allocation_unit_bytes = 65536,
				.thin = true,
				.zeroes_after_unmap = true,
				.anchors = true,
				.write_cache = true,
			},
		.identity =
			{
				.naa = {0x65, 0x25, 0x34, 0xE0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
					12},
				.serial = "1234ABCD",
			},
		.state = {.size_bytes = block_count * block_bytes, .online = true},
		.bytes = bytes,
	};
	list_init(&lun->queue);
	list_init(&lun->exclusives);
}

static inline void fake_lun_init(struct lun *lun, uint64_t block_count, uint32_t block_bytes)
{
	uint64_t size = block_count * block_bytes;

	fake_lun_set(lun, block_count, block_bytes,
		     size <= UINT64_C(64) << 20 ? calloc(1, (size_t)size) : NULL);
	if (lun->bytes != NULL) {
		lun->states = malloc((size_t)block_count);
		memset(lun->states, LUN_DEALLOCATED, (size_t)block_count);
	}
}

const char *lun_name(const struct lun *lun)
{
	(void)lun;
	return "fake";
}

const struct lun_identity *lun_identity(const struct lun *lun)
{
	return &lun->identity;
}

const struct lun_limits *lun_limits(const struct lun *lun)
{
	return &lun->limits;
}

const struct lun_state *lun_state(const struct lun *lun)
{
	return &lun->state;
}

void lun_set_offline(struct lun *lun, const char *reason)
{
	lun->state.online = false;
	snprintf(lun->state.offline_reason, sizeof(lun->state.offline_reason), "%s", reason);
}

static inline void fake_on_waited(struct loop_msg *msg)
{
	struct lun_orphan_wait *wait = CONTAINER_OF(msg, struct lun_orphan_wait, msg);

	wait->done(wait);
}

static inline void fake_check_wait(struct lun *lun)
{
	struct lun_orphan_wait *wait = lun->wait;

	LIST_FOREACH (node, &lun->queue) {
		if (CONTAINER_OF(node, struct lun_io, link)->stage == LUN_IO_ORPHANED)
			return;
	}
	lun->wait = NULL;
	if (wait != NULL)
		loop_post(wait->loop, &wait->msg, fake_on_waited);
}

void lun_wait_for_orphans(struct lun *lun, struct loop *loop, struct lun_orphan_wait *wait)
{
	assert(lun->wait == NULL);
	lun->wait = wait;
	wait->loop = loop;
	fake_check_wait(lun);
}

bool lun_space(const struct lun *lun, struct lun_space *out)
{
	*out = lun->space;
	return lun->has_space;
}

bool lun_is_overrun(const struct lun *lun)
{
	return lun->overrun;
}

static inline void fake_check_io(const struct lun *lun, const struct lun_io *io)
{
	uint64_t total = 0;

	assert(io->offset_bytes <= lun->state.size_bytes);
	assert(io->length_bytes <= lun->state.size_bytes - io->offset_bytes);
	assert(io->offset_bytes % lun->limits.logical_block_bytes == 0);
	assert(io->length_bytes % lun->limits.logical_block_bytes == 0);
	assert(io->iov_count <= LUN_IOV_MAX && io->done != NULL && io->admit != NULL);
	for (unsigned i = 0; i < io->iov_count; i++)
		total += io->iov[i].iov_len;
	if (io->op == LUN_READ || io->op == LUN_WRITE)
		assert(total == io->length_bytes && total > 0);
	else if (io->op == LUN_MAP)
		assert(io->iov_count == 1 &&
		       total >= sizeof(struct lun_map) + sizeof(struct lun_extent));
	else
		assert(io->iov_count == 0);
}

void lun_io_submit(struct lun *lun, struct loop *loop, struct lun_io *io)
{
	fake_check_io(lun, io);
	assert(io->stage == LUN_IO_IDLE);
	io->lun = lun;
	io->loop = loop;
	io->stage = LUN_IO_SUBMITTED;
	io->exclusive = NULL;
	lun->count[io->op]++;
	lun->range_bytes[io->op] += io->length_bytes;
	if (io->length_bytes > lun->longest_bytes[io->op])
		lun->longest_bytes[io->op] = io->length_bytes;
	lun->durable_count += (io->flags & LUN_IO_DURABLE) != 0;
	list_append(&lun->queue, &io->link);
}

/* -- Exclusive ranges: granted from the loop, in order of arrival where they overlap -- */

static inline bool fake_is_behind(const struct lun *lun, const struct lun_exclusive *exclusive)
{
	LIST_FOREACH (node, &lun->exclusives) {
		struct lun_exclusive *earlier = CONTAINER_OF(node, struct lun_exclusive, link);

		if (earlier == exclusive)
			return false;
		if (earlier->begin < exclusive->end && exclusive->begin < earlier->end)
			return true;
	}
	abort();
}

enum {
	FAKE_ASKED,
	FAKE_GRANTING,
	FAKE_HELD,
};

static inline void fake_on_granted(struct loop_msg *msg)
{
	struct lun_exclusive *exclusive = CONTAINER_OF(msg, struct lun_exclusive, msg);

	if (atomic_load(&exclusive->canceled)) {
		exclusive->released(exclusive);
		return;
	}
	exclusive->stage = FAKE_HELD;
	exclusive->granted(exclusive);
}

static inline void fake_on_released(struct loop_msg *msg)
{
	struct lun_exclusive *exclusive = CONTAINER_OF(msg, struct lun_exclusive, msg);

	exclusive->released(exclusive);
}

static inline void fake_grant(struct lun *lun)
{
	LIST_FOREACH (node, &lun->exclusives) {
		struct lun_exclusive *exclusive = CONTAINER_OF(node, struct lun_exclusive, link);

		if (exclusive->stage != FAKE_ASKED || fake_is_behind(lun, exclusive))
			continue;
		exclusive->stage = FAKE_GRANTING;
		loop_post(exclusive->loop, &exclusive->msg, fake_on_granted);
	}
}

void lun_exclusive_acquire(struct lun *lun, struct loop *loop, struct lun_exclusive *exclusive)
{
	uint64_t align = lun->limits.io_align_bytes;

	assert(exclusive->length_bytes > 0 && exclusive->stage == FAKE_ASKED);
	exclusive->lun = lun;
	exclusive->loop = loop;
	exclusive->begin = exclusive->offset_bytes / align * align;
	exclusive->end =
		(exclusive->offset_bytes + exclusive->length_bytes + align - 1) / align * align;
	exclusive->io_count = 0;
	atomic_store(&exclusive->canceled, false);
	list_append(&lun->exclusives, &exclusive->link);
	fake_grant(lun);
}

void lun_exclusive_release(struct lun_exclusive *exclusive)
{
	assert(exclusive->io_count == 0 && !atomic_load(&exclusive->canceled));
	list_remove(&exclusive->link);
	atomic_store(&exclusive->canceled, true);
	if (exclusive->stage != FAKE_GRANTING)
		loop_post(exclusive->loop, &exclusive->msg, fake_on_released);
	fake_grant(exclusive->lun);
}

void lun_io_submit_exclusive(struct lun_exclusive *exclusive, struct lun_io *io)
{
	assert(exclusive->stage == FAKE_HELD && !atomic_load(&exclusive->canceled));
	assert(io->op == LUN_FLUSH || (io->offset_bytes >= exclusive->begin &&
				       io->offset_bytes + io->length_bytes <= exclusive->end));
	lun_io_submit(exclusive->lun, exclusive->loop, io);
	io->exclusive = exclusive;
	exclusive->io_count++;
}

static inline void fake_leave_exclusive(struct lun_io *io)
{
	if (io->exclusive != NULL)
		io->exclusive->io_count--;
	io->exclusive = NULL;
}

void lun_io_abandon(struct lun_io *io)
{
	if (io->stage != LUN_IO_SUBMITTED)
		return;
	fake_leave_exclusive(io);
	io->stage = LUN_IO_ORPHANED;
	io->lun->abandoned_count++;
}

static inline void fake_set_state(uint8_t *states, uint64_t count, uint8_t state, bool keep_holes)
{
	for (uint64_t i = 0; i < count; i++)
		if (!keep_holes || states[i] != LUN_DEALLOCATED)
			states[i] = state;
}

static inline void fake_set_states(struct lun *lun, const struct lun_io *io)
{
	static const uint8_t after[LUN_OP_COUNT] = {
		[LUN_WRITE] = LUN_MAPPED, [LUN_UNMAP] = LUN_DEALLOCATED, [LUN_ZERO] = LUN_ANCHORED};
	uint32_t block = lun->limits.logical_block_bytes;

	if (lun->states != NULL &&
	    (io->op == LUN_WRITE || io->op == LUN_UNMAP || io->op == LUN_ZERO))
		fake_set_state(lun->states + io->offset_bytes / block, io->length_bytes / block,
			       after[io->op],
			       io->op == LUN_ZERO && (io->flags & LUN_IO_KEEP_HOLES));
}

/* Where a run of blocks of one state ends. Without states everything is a hole. */
static inline uint64_t fake_run_end(const struct lun *lun, uint64_t block, uint64_t end)
{
	uint64_t at = block;

	if (lun->states == NULL)
		return end;
	while (at < end && lun->states[at] == lun->states[block])
		at++;
	return at;
}

static inline void fake_map(const struct lun *lun, struct lun_io *io)
{
	uint32_t size = lun->limits.logical_block_bytes;
	uint64_t end = (io->offset_bytes + io->length_bytes) / size;
	size_t room = (io->iov[0].iov_len - sizeof(struct lun_map)) / sizeof(struct lun_extent);
	struct lun_map *map = io->iov[0].iov_base;

	if (lun->map_extents != 0 && lun->map_extents < room)
		room = lun->map_extents;
	map->count = 0;
	for (uint64_t at = io->offset_bytes / size; at < end && map->count < room;) {
		uint64_t next = fake_run_end(lun, at, end);

		map->extents[map->count++] = (struct lun_extent){
			.offset_bytes = at * size,
			.length_bytes = (next - at) * size,
			.state = lun->states ? (enum lun_extent_state)lun->states[at]
					     : LUN_DEALLOCATED,
		};
		at = next;
	}
}

static inline void fake_transfer(struct lun *lun, struct lun_io *io)
{
	uint8_t *at;

	if (io->op == LUN_MAP)
		fake_map(lun, io);
	if (lun->bytes == NULL || io->op == LUN_MAP)
		return;
	fake_set_states(lun, io);
	at = lun->bytes + io->offset_bytes;
	if (io->op == LUN_ZERO || io->op == LUN_UNMAP)
		memset(at, lun->limits.zeroes_after_unmap || io->op == LUN_ZERO ? 0 : 0xDD,
		       (size_t)io->length_bytes);
	for (unsigned i = 0; i < io->iov_count; at += io->iov[i].iov_len, i++)
		if (io->op == LUN_READ)
			memcpy(io->iov[i].iov_base, at, io->iov[i].iov_len);
		else
			memcpy(at, io->iov[i].iov_base, io->iov[i].iov_len);
}

static inline int fake_perform(struct lun *lun, struct lun_io *io)
{
	int res;

	if (lun->before != NULL)
		lun->before(lun);
	/* What was abandoned counts as the image's already. */
	res = io->stage == LUN_IO_ORPHANED ? 0 : io->admit(io);
	if (res != 0)
		return res;
	if (lun->fail_res != 0 && io->op == lun->fail_op && lun->fail_after-- == 0)
		return lun->fail_res;
	fake_transfer(lun, io);
	return 0;
}

/* Let the oldest I/O end. False: there is none. */
static inline bool fake_step(struct lun *lun)
{
	struct list_node *node = list_first(&lun->queue);
	struct lun_io *io;
	int res;

	if (node == NULL)
		return false;
	io = CONTAINER_OF(node, struct lun_io, link);
	list_remove(node);
	res = fake_perform(lun, io);
	fake_leave_exclusive(io);
	io->stage = LUN_IO_IDLE;
	io->done(io, res);
	fake_check_wait(lun);
	return true;
}

static inline bool fake_message(struct loop *loop)
{
	struct loop_msg *msg = loop->first_msg;

	if (msg == NULL)
		return false;
	loop->first_msg = msg->next;
	if (loop->first_msg == NULL)
		loop->last_msg = &loop->first_msg;
	msg->fn(msg);
	return true;
}

static inline bool fake_call(struct loop *loop)
{
	struct list_node *node = list_first(&loop->calls);
	struct loop_op *op;

	if (node == NULL)
		return false;
	op = CONTAINER_OF(node, struct loop_op, link);
	list_remove(node);
	op->done(op, op->call(op));
	return true;
}

#endif
