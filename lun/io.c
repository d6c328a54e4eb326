/*
 * Admission and completion: the membrane between those who want I/O and the image that does it.
 * Here every I/O passes, in one turn, its range, the gate, the checks of the LUN's state and its
 * caller's own check, and only then reaches the image. Not here: what stands in the set of ranges
 * (range.c) and why a gate closes (drain.c).
 *
 * Runs on the loop of the lane. Callers' callbacks run from the loop with no list of ours half
 * walked, so that they may submit and abandon as they like; `admit` alone runs inside a walk and
 * must not call back into lun/.
 *
 * Read next: range.c.
 */
#include "lun/lun_internal.h"

#include <assert.h>
#include <errno.h>

#include "base/log.h"
#include "base/reach.h"

/* The legal moves: a bit for each stage that may follow. */
static const uint8_t stage_edges[] = {
	[LUN_IO_IDLE] = 1 << LUN_IO_WAITING | 1 << LUN_IO_SUBMITTED | 1 << LUN_IO_ENDING,
	[LUN_IO_WAITING] = 1 << LUN_IO_SUBMITTED | 1 << LUN_IO_ENDING,
	[LUN_IO_SUBMITTED] = 1 << LUN_IO_IDLE | 1 << LUN_IO_ORPHANED | 1 << LUN_IO_ENDING |
			     1 << LUN_IO_WAITING, /* The last two: between the steps of rmw.c. */
	[LUN_IO_ORPHANED] = 1 << LUN_IO_IDLE | 1 << LUN_IO_ENDING,
	[LUN_IO_ENDING] = 1 << LUN_IO_IDLE,
};

void io_set_stage(struct lun_io *io, enum lun_io_stage stage)
{
	assert(stage_edges[io->stage] & 1 << stage);
	io->stage = stage;
}

/* -- What never was the image's, or ended inside submit -- */

static void io_done(struct lun_io *io, int res)
{
	io_set_stage(io, LUN_IO_IDLE);
	io->done(io, res);
}

static void lane_on_ending(struct loop_msg *msg)
{
	struct lun_lane *lane = CONTAINER_OF(msg, struct lun_lane, ending_msg);
	struct list_node ending;
	struct list_node late;

	loop_role_assume();
	list_init(&ending);
	list_init(&late);
	list_splice(&ending, &lane->ending);
	list_splice(&late, &lane->late);
	lane->ending_posted = false;
	for (struct list_node *node; (node = list_first(&ending));) {
		struct lun_io *io = CONTAINER_OF(node, struct lun_io, link);

		list_remove(node);
		io_done(io, io->res);
	}
	for (struct list_node *node; (node = list_first(&late));) {
		struct lun_io *io = CONTAINER_OF(node, struct lun_io, image_link);

		list_remove(node);
		image_io_done(io, io->res);
	}
}

LOOP_ONLY static void lane_post_ending(struct lun_lane *lane)
{
	if (lane->ending_posted)
		return;
	lane->ending_posted = true;
	loop_post(lane->loop, &lane->ending_msg, lane_on_ending);
}

void io_end_later(struct lun_lane *lane, struct lun_io *io, int res)
{
	io_set_stage(io, LUN_IO_ENDING);
	io->res = res;
	list_append(&lane->ending, &io->link);
	lane_post_ending(lane);
}

void image_io_done_later(struct lun_io *io, int res)
{
	struct lun_lane *lane = lun_lane(io->lun, io->loop);

	io->res = res;
	list_append(&lane->late, &io->image_link);
	lane_post_ending(lane);
}

/* -- Admission -- */

static bool io_must_wait(const struct lun_io *io)
{
	return ranges_block(io->lun, io) || lun_state(io->lun)->gate_closed;
}

/* What a LUN that can no longer write, or never could, answers. */
static int io_refuse_change(const struct lun_io *io, const struct lun_state *state)
{
	if (!lun_op_needs_sound_image(io->op))
		return 0;
	if (atomic_load_explicit(&io->lun->failed, memory_order_acquire))
		return io->op == LUN_FLUSH ? -EIO : -EROFS;
	return state->read_only && lun_op_writes(io->op) ? -EROFS : 0;
}

static int io_refuse(struct lun_io *io)
{
	const struct lun_state *state = lun_state(io->lun);
	int res;

	if (atomic_load_explicit(&io->lun->ranges.overrun, memory_order_acquire))
		return -EBUSY;
	if (!state->online)
		return -ENODEV;
	res = io_refuse_change(io, state);
	if (res)
		return res;
	/* A layer may be larger than the LUN. */
	assert(io->op == LUN_FLUSH || io->op == LUN_PULL || io->op == LUN_PUSH ||
	       io->offset_bytes + io->length_bytes <= state->size_bytes);
	return io->admit ? io->admit(io) : 0;
}

LOOP_ONLY static void io_hand_down(struct lun_lane *lane, struct lun_io *io)
{
	bool is_write = io->op == LUN_WRITE;

	space_mark(io);
	io_set_stage(io, LUN_IO_SUBMITTED);
	list_append(lun_op_writes(io->op) ? &lane->writes : &lane->others, &io->link);
	lane->in_flight++;
	io->lun->ops->submit(io->lun->image, io);
	if (is_write && lane->ahead)
		ahead_note_write(lane, io);
}

void io_leave_exclusive(struct lun_io *io)
{
	if (!io->exclusive)
		return;
	assert(io->exclusive->io_count > 0);
	io->exclusive->io_count--;
	io->exclusive = NULL;
}

/* Its range is free and the gate open, in this turn. */
LOOP_ONLY static void io_admit(struct lun_lane *lane, struct lun_io *io)
{
	int res = io_refuse(io);

	if (!res) {
		io_hand_down(lane, io);
		return;
	}
	io_leave_exclusive(io);
	io_end_later(lane, io, res);
}

LOOP_ONLY static void io_wait(struct lun_lane *lane, struct lun_io *io)
{
	io_set_stage(io, LUN_IO_WAITING);
	io->ticket = ranges_take_ticket(io->lun);
	list_append(&lane->waiting, &io->link);
}

void io_start(struct lun_lane *lane, struct lun_io *io)
{
	if (io_must_wait(io)) {
		io_wait(lane, io);
	} else {
		io_admit(lane, io);
	}
}

static uint64_t io_vector_bytes(const struct lun_io *io)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < io->iov_count; i++)
		sum += io->iov[i].iov_len;
	return sum;
}

/* A vector longer than the range would write beyond what was checked. */
static void io_assert_sound(const struct lun *lun, const struct lun_io *io)
{
	uint32_t block = lun->limits.logical_block_bytes;

	assert(io->stage == LUN_IO_IDLE && io->done && io->iov_count <= LUN_IOV_MAX);
	if (io->op == LUN_FLUSH)
		return;
	assert(io->length_bytes > 0 && io->offset_bytes + io->length_bytes > io->offset_bytes);
	assert((io->offset_bytes | io->length_bytes) % block == 0);
	assert((io->op != LUN_READ && io->op != LUN_WRITE) ||
	       io_vector_bytes(io) == io->length_bytes);
	assert(io->op != LUN_MAP || (io->iov_count == 1 && map_extents_max(io) > 0));
	assert(io->op != LUN_PULL || io->iov_count == 1);
	assert(io->op != LUN_PUSH || io->iov_count == 2);
}

static void io_prepare(struct lun *lun, struct loop *loop, struct lun_io *io)
{
	io_assert_sound(lun, io);
	io->lun = lun;
	io->loop = loop;
	io->ticket = 0;
	io->orphan_ticket = 0;
	io->exclusive = NULL;
	io->rmw = NULL;
	io->zeroes = false;
	if (!lun->limits.write_cache && lun_op_writes(io->op) &&
	    !PLANTED(lun_without_write_cache_is_lazy))
		io->flags |= LUN_IO_DURABLE;
}

/* Whole blocks of the image go straight to it, others through a read-modify-write. */
LOOP_ONLY static void io_route(struct lun_lane *lane, struct lun_io *io)
{
	if (rmw_is_needed(lane->lun, io)) {
		rmw_start(lane, io);
	} else {
		io_start(lane, io);
	}
}

void lun_io_submit(struct lun *lun, struct loop *loop, struct lun_io *io)
{
	io_prepare(lun, loop, io);
	io_route(lun_lane(lun, loop), io);
}

void lun_io_submit_exclusive(struct lun_exclusive *exclusive, struct lun_io *io)
{
	io_prepare(exclusive->lun, exclusive->loop, io);
	assert(io->op == LUN_FLUSH || (io->offset_bytes >= exclusive->begin &&
				       io->offset_bytes + io->length_bytes <= exclusive->end));
	io->exclusive = exclusive;
	exclusive->io_count++;
	io_route(lun_lane(exclusive->lun, exclusive->loop), io);
}

void lane_rescan(struct lun_lane *lane)
{
	LIST_FOREACH (node, &lane->waiting) {
		struct lun_io *io = CONTAINER_OF(node, struct lun_io, link);

		if (!io_must_wait(io)) {
			list_remove(node);
			io_admit(lane, io);
		}
	}
	exclusive_pay_acks(lane);
	exclusive_try_grants(lane);
	drain_pay_ack(lane);
	ahead_resume(lane);
}

/* -- Abort -- */

LOOP_ONLY static void io_abandon_waiting(struct lun_lane *lane, struct lun_io *io)
{
	list_remove(&io->link);
	io_leave_exclusive(io);
	io_end_later(lane, io, -ECANCELED);
	exclusive_pay_acks(lane);
}

LOOP_ONLY static void io_abandon_submitted(struct lun_io *io)
{
	io_set_stage(io, LUN_IO_ORPHANED);
	ranges_add_orphan(io->lun, io);
	io_leave_exclusive(io);
}

void lun_io_abandon(struct lun_io *io)
{
	if (io->stage != LUN_IO_WAITING && io->stage != LUN_IO_SUBMITTED)
		return;
	if (io->rmw) {
		rmw_abandon(io);
	} else if (io->stage == LUN_IO_WAITING) {
		io_abandon_waiting(lun_lane(io->lun, io->loop), io);
	} else {
		io_abandon_submitted(io);
	}
}

/* -- Completion -- */

/* The errors that lun.h promises; whatever else a kernel or library answers is an I/O error. */
static int io_result(int res)
{
	static const int known[] = {-ENOSPC, -EROFS, -ENODEV, -EBUSY, -ECANCELED, -ESTALE};

	for (unsigned i = 0; i < ARRAY_SIZE(known); i++) {
		if (res == known[i])
			return res;
	}
	if (res == -EDQUOT)
		return -ENOSPC;
	return res < 0 ? -EIO : 0;
}

void lun_note_failure(struct lun *lun, struct loop *origin, int res)
{
	if (PLANTED(lun_forgets_failed_flush))
		return;
	if (atomic_exchange_explicit(&lun->failed, true, memory_order_acq_rel))
		return;
	log_error("lun",
		  "%s: a flush failed with errno %d; writes that were not flushed may be lost; "
		  "the LUN is read-only until the image is opened again",
		  lun->name, -res);
	pthread_mutex_lock(&lun->mutex);
	lun->states.wanted.read_only = true;
	states_publish_locked(lun, origin);
	pthread_mutex_unlock(&lun->mutex);
}

void image_failed(struct lun_io *io, int res)
{
	lun_note_failure(io->lun, io->loop, res);
}

/* Nothing is acknowledged against a generation that failed meanwhile. */
LOOP_ONLY static int io_judge(struct lun_io *io, int res)
{
	if (res < 0 && io->op == LUN_FLUSH)
		image_failed(io, res);
	if (lun_op_needs_sound_image(io->op) &&
	    atomic_load_explicit(&io->lun->failed, memory_order_acquire))
		return -EIO;
	return io_result(res);
}

LOOP_ONLY static void lane_forget(struct lun_lane *lane, struct lun_io *io)
{
	assert(lane->in_flight > 0);
	lane->in_flight--;
	list_remove(&io->link);
	if (io->stage == LUN_IO_ORPHANED)
		ranges_end_orphan(lane->lun, io);
	io_leave_exclusive(io);
	if (lun_op_writes(io->op))
		exclusive_pay_acks(lane);
	drain_pay_ack(lane);
}

void image_io_done(struct lun_io *io, int res)
{
	struct lun_lane *lane = lun_lane(io->lun, io->loop);

	assert(io->stage == LUN_IO_SUBMITTED || io->stage == LUN_IO_ORPHANED);
	assert(loop_is_current(io->loop));
	res = io_judge(io, res);
	/* While its range still keeps out who would give it back. */
	if (io->op == LUN_ZERO && lane->ahead)
		ahead_note_zeroed(io->lun, io);
	lane_forget(lane, io);
	space_note_end(io, res);
	if (res == -ENOSPC && io->op == LUN_WRITE)
		ahead_note_full(lane);
	io_done(io, res);
}

void lane_init(struct lun_lane *lane, struct lun *lun, struct loop *loop)
{
	lane->lun = lun;
	lane->loop = loop;
	list_init(&lane->waiting);
	list_init(&lane->writes);
	list_init(&lane->others);
	list_init(&lane->granting);
	list_init(&lane->ending);
	list_init(&lane->late);
	list_init(&lane->rmw_free);
	list_init(&lane->rmw_waiting);
}
