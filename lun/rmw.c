/*
 * Read-modify-write: I/O in logical blocks that are smaller than what the image moves (512 bytes on
 * a medium with 4 KiB blocks). Not here: exclusive ranges themselves (exclusive.c).
 *
 * Such an I/O, the parent, borrows a record of its lane. A change takes its whole range, rounded
 * out, exclusively (or uses the range that its issuer holds already) and then goes in steps of at
 * most one bounce buffer: read the step, put the parent's bytes over it, write it. Every read and
 * write is an I/O of its own that passes admission like any other, with the parent's own check at
 * each write. The whole blocks inside an UNMAP or ZERO go down as they are.
 *
 * Bounce buffers belong to the records, not to the loop's pool: the pool may be empty because all
 * of it waits for this very file.
 *
 * Runs on the lane's loop.
 *
 * Read next: image_raw.c.
 */
#include "lun/lun_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/aligned.h"
#include "base/reach.h"

#define BOUNCE_BYTES 65536u

struct lun_rmw {
	struct list_node link; /* The lane's free records. */
	struct lun_lane *lane;
	struct lun_io *parent;      /* NULL: abandoned before anything of this step was written. */
	struct lun_exclusive *held; /* The range in force; NULL for a read. */
	struct lun_exclusive exclusive;
	struct lun_io io; /* The step's. */
	uint8_t *bounce;
	uint64_t position;   /* Bytes of the parent that are done. */
	uint64_t step_bytes; /* Of the parent, in this step. */
};

LOOP_ONLY static void rmw_step(struct lun_rmw *rmw);
LOOP_ONLY static void rmw_begin(struct lun_lane *lane, struct lun_io *parent);

bool rmw_is_needed(const struct lun *lun, const struct lun_io *io)
{
	uint64_t mask = lun->io_align_bytes - 1;

	return lun->rmws && io->op != LUN_FLUSH && io->op != LUN_MAP &&
	       ((io->offset_bytes | io->length_bytes) & mask);
}

/* -- The end -- */

/* The next record of the lane that was never used: so far its memory is not touched either. */
static void rmw_freshen(struct lun_lane *lane)
{
	struct lun *lun = lane->lun;
	size_t number = loop_index(lane->loop) * (size_t)LUN_RMW_RECORDS + lane->rmw_fresh++;
	struct lun_rmw *rmw = &lun->rmws[number];

	rmw->bounce = lun->bounces + number * BOUNCE_BYTES;
	rmw->lane = lane;
	list_append(&lane->rmw_free, &rmw->link);
}

/* A record that this parent may have, or NULL. The last one is for those who hold a range: the
 * parents of all others may be waiting for that very range. */
static struct lun_rmw *rmw_find_free(struct lun_lane *lane, const struct lun_io *parent)
{
	if (list_is_empty(&lane->rmw_free) && lane->rmw_fresh < LUN_RMW_RECORDS)
		rmw_freshen(lane);

	struct list_node *node = list_first(&lane->rmw_free);
	bool is_last = lane->rmw_fresh == LUN_RMW_RECORDS && node && node->next == &lane->rmw_free;

	if (!node || (is_last && !parent->exclusive))
		return NULL;
	return CONTAINER_OF(node, struct lun_rmw, link);
}

LOOP_ONLY static void rmw_put_back(struct lun_rmw *rmw)
{
	struct lun_lane *lane = rmw->lane;
	struct list_node *node = list_first(&lane->rmw_waiting);
	struct lun_io *next = node ? CONTAINER_OF(node, struct lun_io, link) : NULL;

	list_append(&lane->rmw_free, &rmw->link);
	if (!next || !rmw_find_free(lane, next))
		return;
	list_remove(node);
	rmw_begin(lane, next);
}

/* Holders go before all others, so that whoever may go on stands first. */
LOOP_ONLY static void rmw_queue(struct lun_lane *lane, struct lun_io *parent)
{
	if (parent->exclusive) {
		list_prepend(&lane->rmw_waiting, &parent->link);
	} else {
		list_append(&lane->rmw_waiting, &parent->link);
	}
}

static void rmw_on_released(struct lun_exclusive *exclusive)
{
	loop_role_assume();
	rmw_put_back(CONTAINER_OF(exclusive, struct lun_rmw, exclusive));
}

/* End the parent, if it is still there. */
LOOP_ONLY static void rmw_end_parent(struct lun_rmw *rmw, int res)
{
	struct lun_io *parent = rmw->parent;

	rmw->parent = NULL;
	if (!parent)
		return;
	parent->rmw = NULL;
	io_leave_exclusive(parent);
	io_end_later(rmw->lane, parent, res);
}

LOOP_ONLY static void rmw_finish(struct lun_rmw *rmw, int res)
{
	rmw_end_parent(rmw, res);
	if (rmw->held == &rmw->exclusive) {
		lun_exclusive_release(&rmw->exclusive);
	} else {
		rmw_put_back(rmw);
	}
}

/* -- A step -- */

static uint64_t rmw_align_down(const struct lun_rmw *rmw, uint64_t offset)
{
	return offset - offset % rmw->lane->lun->io_align_bytes;
}

static uint64_t rmw_align_up(const struct lun_rmw *rmw, uint64_t offset)
{
	return rmw_align_down(rmw, offset + rmw->lane->lun->io_align_bytes - 1);
}

static uint64_t rmw_place(const struct lun_rmw *rmw)
{
	return rmw->parent->offset_bytes + rmw->position;
}

/* Copy between the bounce buffer and the parent's vector, which must stay as the caller set it. */
static void rmw_copy(const struct lun_rmw *rmw, bool to_parent)
{
	const struct lun_io *parent = rmw->parent;
	uint8_t *bounce = rmw->bounce + (rmw_place(rmw) - rmw->io.offset_bytes);
	uint64_t skip = rmw->position;
	uint64_t left = rmw->step_bytes;

	for (uint32_t i = 0; left; i++) {
		uint8_t *base = parent->iov[i].iov_base;
		uint64_t length = parent->iov[i].iov_len;
		uint64_t from = skip < length ? skip : length;
		uint64_t count = length - from < left ? length - from : left;

		if (to_parent) {
			memcpy(base + from, bounce, count);
		} else {
			memcpy(bounce, base + from, count);
		}
		skip -= from;
		bounce += count;
		left -= count;
	}
}

static void rmw_merge(const struct lun_rmw *rmw)
{
	if (rmw->parent->op == LUN_WRITE) {
		rmw_copy(rmw, false);
	} else {
		memset(rmw->bounce + (rmw_place(rmw) - rmw->io.offset_bytes), 0, rmw->step_bytes);
	}
}

LOOP_ONLY static void rmw_submit(struct lun_rmw *rmw)
{
	if (rmw->held) {
		lun_io_submit_exclusive(rmw->held, &rmw->io);
	} else {
		lun_io_submit(rmw->lane->lun, rmw->lane->loop, &rmw->io);
	}
}

/* The parent's own check, in the turn of the write (or of the read that it asked for). */
static int rmw_admit(struct lun_io *io)
{
	struct lun_rmw *rmw = CONTAINER_OF(io, struct lun_rmw, io);
	struct lun_io *parent = rmw->parent;
	int res;

	if (!parent)
		return -ECANCELED;
	res = parent->admit ? parent->admit(parent) : 0;
	if (!res && lun_op_writes(io->op))
		io_set_stage(parent, LUN_IO_SUBMITTED);
	return res;
}

static void rmw_on_step_done(struct lun_io *io, int res)
{
	struct lun_rmw *rmw = CONTAINER_OF(io, struct lun_rmw, io);
	struct lun_io *parent = rmw->parent;

	loop_role_assume();
	if (!parent || res) {
		rmw_finish(rmw, res);
		return;
	}
	rmw->position += rmw->step_bytes;
	if (rmw->position == parent->length_bytes || parent->stage == LUN_IO_ORPHANED) {
		rmw_finish(rmw, rmw->position == parent->length_bytes ? 0 : -ECANCELED);
		return;
	}
	if (parent->stage == LUN_IO_SUBMITTED)
		io_set_stage(parent, LUN_IO_WAITING);
	rmw_step(rmw);
}

/* What would become zero in this step is so: a hole perhaps, and a write would allocate it. */
static bool rmw_is_zero_already(const struct lun_rmw *rmw)
{
	const uint8_t *bytes = rmw->bounce + (rmw_place(rmw) - rmw->io.offset_bytes);
	bool may_be_hole =
		rmw->parent->op == LUN_UNMAP ||
		(rmw->parent->op == LUN_ZERO && (rmw->parent->flags & LUN_IO_KEEP_HOLES));

	return may_be_hole && bytes[0] == 0 && !memcmp(bytes, bytes + 1, rmw->step_bytes - 1);
}

LOOP_ONLY static void rmw_write(struct lun_rmw *rmw)
{
	rmw_merge(rmw);
	rmw->io.op = LUN_WRITE;
	rmw->io.flags = PLANTED(rmw_is_not_durable) ? 0 : rmw->parent->flags;
	rmw->io.iov[0] = (struct iovec){rmw->bounce, rmw->io.length_bytes};
	rmw->io.iov_count = 1;
	rmw->io.admit = rmw_admit;
	rmw->io.done = rmw_on_step_done;
	rmw_submit(rmw);
}

/* Nothing to write, but what made the zeroes may not be durable yet, and this change has to be. */
LOOP_ONLY static void rmw_flush(struct lun_rmw *rmw)
{
	rmw->io.op = LUN_FLUSH;
	rmw->io.flags = 0;
	rmw->io.iov_count = 0;
	rmw->io.admit = rmw_admit;
	rmw->io.done = rmw_on_step_done;
	rmw_submit(rmw);
}

/* Zeroes that are there may be another's, whose fdatasync has not ended, or has failed. */
static bool rmw_needs_flush(const struct lun_rmw *rmw)
{
	return (rmw->parent->flags & LUN_IO_DURABLE) && !PLANTED(rmw_trusts_zeroes);
}

static void rmw_on_read(struct lun_io *io, int res)
{
	struct lun_rmw *rmw = CONTAINER_OF(io, struct lun_rmw, io);

	loop_role_assume();
	if (res || !rmw->parent) {
		rmw_finish(rmw, res);
		return;
	}
	if (rmw->parent->op == LUN_READ)
		rmw_copy(rmw, true);
	if (rmw->parent->op == LUN_READ) {
		rmw_on_step_done(io, 0);
	} else if (!rmw_is_zero_already(rmw)) {
		rmw_write(rmw);
	} else if (rmw_needs_flush(rmw)) {
		REACHED(rmw_flushes_zeroes);
		rmw_flush(rmw);
	} else {
		rmw_on_step_done(io, 0);
	}
}

/* The step's blocks into the bounce buffer. */
LOOP_ONLY static void rmw_read(struct lun_rmw *rmw)
{
	rmw->io.op = LUN_READ;
	rmw->io.flags = 0;
	rmw->io.iov[0] = (struct iovec){rmw->bounce, rmw->io.length_bytes};
	rmw->io.iov_count = 1;
	rmw->io.admit = rmw->parent->op == LUN_READ ? rmw_admit : NULL;
	rmw->io.done = rmw_on_read;
	rmw_submit(rmw);
}

/* Whole blocks of an UNMAP or ZERO: as many as there are. */
LOOP_ONLY static void rmw_pass_down(struct lun_rmw *rmw, uint64_t end)
{
	rmw->io.op = rmw->parent->op;
	rmw->io.flags = rmw->parent->flags;
	rmw->io.iov_count = 0;
	rmw->io.offset_bytes = rmw_place(rmw);
	rmw->io.length_bytes = rmw_align_down(rmw, end) - rmw->io.offset_bytes;
	rmw->io.admit = rmw_admit;
	rmw->io.done = rmw_on_step_done;
	rmw->step_bytes = rmw->io.length_bytes;
	rmw_submit(rmw);
}

/* A bounce buffer's worth of a transfer, one block of an UNMAP or ZERO. */
LOOP_ONLY static void rmw_bounce(struct lun_rmw *rmw, uint64_t end)
{
	bool moves_data = rmw->parent->op == LUN_READ || rmw->parent->op == LUN_WRITE;
	uint64_t room = moves_data ? BOUNCE_BYTES : rmw->lane->lun->io_align_bytes;
	uint64_t place = rmw_place(rmw);
	uint64_t begin = rmw_align_down(rmw, place);
	uint64_t stop = begin + room < end ? begin + room : end;

	rmw->step_bytes = stop - place;
	rmw->io.offset_bytes = begin;
	rmw->io.length_bytes = rmw_align_up(rmw, stop) - begin;
	if (rmw->parent->op == LUN_WRITE &&
	    (rmw->io.length_bytes == rmw->step_bytes || PLANTED(rmw_loses_neighbours))) {
		rmw_write(rmw);
	} else {
		rmw_read(rmw);
	}
}

static void rmw_step(struct lun_rmw *rmw)
{
	const struct lun_io *parent = rmw->parent;
	uint64_t end = parent->offset_bytes + parent->length_bytes;
	uint64_t place = rmw_place(rmw);
	bool whole = place == rmw_align_down(rmw, place) && rmw_align_down(rmw, end) > place;

	if (whole && (parent->op == LUN_UNMAP || parent->op == LUN_ZERO)) {
		rmw_pass_down(rmw, end);
	} else {
		rmw_bounce(rmw, end);
	}
}

/* -- The beginning -- */

static void rmw_on_granted(struct lun_exclusive *exclusive)
{
	struct lun_rmw *rmw = CONTAINER_OF(exclusive, struct lun_rmw, exclusive);

	loop_role_assume();
	rmw_step(rmw);
}

LOOP_ONLY static void rmw_take_range(struct lun_rmw *rmw)
{
	rmw->held = &rmw->exclusive;
	rmw->exclusive.offset_bytes = rmw->parent->offset_bytes;
	rmw->exclusive.length_bytes = rmw->parent->length_bytes;
	rmw->exclusive.granted = rmw_on_granted;
	rmw->exclusive.released = rmw_on_released;
	lun_exclusive_acquire(rmw->lane->lun, rmw->lane->loop, &rmw->exclusive);
}

static void rmw_begin(struct lun_lane *lane, struct lun_io *parent)
{
	struct lun_rmw *rmw = rmw_find_free(lane, parent);

	if (!rmw) {
		REACHED(rmw_waits_for_record);
		rmw_queue(lane, parent);
		return;
	}
	list_remove(&rmw->link);
	parent->rmw = rmw;
	rmw->parent = parent;
	rmw->position = 0;
	rmw->held = parent->exclusive;
	if (lun_op_writes(parent->op) && !rmw->held && !PLANTED(rmw_without_range)) {
		rmw_take_range(rmw);
	} else {
		rmw_step(rmw);
	}
}

void rmw_start(struct lun_lane *lane, struct lun_io *io)
{
	io_set_stage(io, LUN_IO_WAITING);
	io->rmw = NULL;
	rmw_begin(lane, io);
}

/* -- Abort -- */

/* Waiting for the range, the gate or a read: the parent goes, the record winds down behind it. A
 * read that the image has needs no range any more; its issuer may give that back. */
LOOP_ONLY static void rmw_detach(struct lun_rmw *rmw)
{
	bool asking = rmw->held == &rmw->exclusive && rmw->io.stage == LUN_IO_IDLE;

	rmw_end_parent(rmw, -ECANCELED);
	if (asking) {
		lun_exclusive_release(&rmw->exclusive);
	} else if (rmw->io.stage == LUN_IO_WAITING) {
		lun_io_abandon(&rmw->io);
	} else {
		io_leave_exclusive(&rmw->io);
	}
}

void rmw_abandon(struct lun_io *io)
{
	struct lun_rmw *rmw = io->rmw;

	if (io->stage == LUN_IO_WAITING) {
		rmw_detach(rmw);
		return;
	}
	io_set_stage(io, LUN_IO_ORPHANED);
	io_leave_exclusive(io);
	lun_io_abandon(&rmw->io);
}

/* -- Memory -- */

static size_t rmw_count(const struct lun *lun)
{
	return (size_t)lun->group->count * LUN_RMW_RECORDS;
}

int rmw_init(struct lun *lun)
{
	if (lun->io_align_bytes == lun->limits.logical_block_bytes)
		return 0;
	/* Both are touched when they are used. The buffers are whole pages, for direct I/O. */
	lun->rmws = aligned_calloc(rmw_count(lun) * sizeof(*lun->rmws));
	lun->bounces = mmap(NULL, rmw_count(lun) * BOUNCE_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (lun->bounces == MAP_FAILED)
		lun->bounces = NULL;
	return lun->rmws && lun->bounces ? 0 : -ENOMEM;
}

void rmw_destroy(struct lun *lun)
{
	aligned_free(lun->rmws);
	if (lun->bounces)
		(void)munmap(lun->bounces, rmw_count(lun) * BOUNCE_BYTES);
}
