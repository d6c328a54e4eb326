/*
 * Exclusive ranges: requests, their order, their grant and their end. Not here: the set in which
 * lanes see them (range.c).
 *
 * Order. A request takes a ticket when it enters the set, an ordinary write when it first has to
 * wait. A waiting write waits for entries with earlier tickets only; a request waits for
 * overlapping writes that the image has, for waiting writes with earlier tickets, and for earlier
 * entries. So everything waits for what came before it, or for the image: first come, first served
 * on overlap, and no circle. Orphans stand before everybody; they wait for nothing but the kernel.
 *
 * A request is granted when every lane has acknowledged (overlapping writes ended, on that lane, at
 * the top of a turn or later; newcomers see the entry and wait) and then no earlier entry and no
 * orphan is left in the set. The orphan check is for a former holder that abandoned its write and
 * gave the range back.
 *
 * Threads: a request belongs to its loop. Its stage is under the LUN's mutex, because another loop
 * may move it from the queue into the set.
 *
 * Read next: rmw.c, a user of it.
 */
#include "lun/lun_internal.h"

#include <assert.h>

enum exclusive_stage {
	EXCLUSIVE_IDLE,
	EXCLUSIVE_QUEUED,     /* No room in the set. */
	EXCLUSIVE_COLLECTING, /* In the set; acknowledgements are coming. */
	EXCLUSIVE_BEHIND,     /* All acknowledged; behind an earlier entry or an orphan. */
	EXCLUSIVE_GRANTING,   /* Its message is on the way. */
	EXCLUSIVE_HELD,
	EXCLUSIVE_LEAVING, /* Out of the set; released runs soon. */
};

static struct byte_range exclusive_range(const struct lun_exclusive *exclusive)
{
	return (struct byte_range){.begin = exclusive->begin, .end = exclusive->end};
}

/* -- Leaving -- */

static void exclusive_on_left(struct loop_msg *msg)
{
	struct lun_exclusive *exclusive = CONTAINER_OF(msg, struct lun_exclusive, msg);

	exclusive->stage = EXCLUSIVE_IDLE;
	exclusive->released(exclusive);
}

/* No lane knows it any more. */
static void exclusive_leave_locked(struct lun_exclusive *exclusive)
{
	struct ranges *ranges = &exclusive->lun->ranges;

	if (exclusive->stage != EXCLUSIVE_QUEUED) {
		ranges->slots[exclusive->slot] = NULL;
		ranges->slots_used &= ~(1u << exclusive->slot);
	}
	exclusive->stage = EXCLUSIVE_LEAVING;
	loop_post(exclusive->loop, &exclusive->msg, exclusive_on_left);
}

static void exclusive_leave(struct lun_exclusive *exclusive)
{
	struct lun *lun = exclusive->lun;

	pthread_mutex_lock(&lun->mutex);
	exclusive_leave_locked(exclusive);
	exclusive_start_queued_locked(lun, exclusive->loop);
	pthread_mutex_unlock(&lun->mutex);
}

/* -- The grant -- */

static void exclusive_set_stage(struct lun_exclusive *exclusive, enum exclusive_stage stage)
{
	pthread_mutex_lock(&exclusive->lun->mutex);
	exclusive->stage = (uint8_t)stage;
	pthread_mutex_unlock(&exclusive->lun->mutex);
}

static bool exclusive_is_canceled(const struct lun_exclusive *exclusive)
{
	return atomic_load_explicit(&exclusive->canceled, memory_order_acquire);
}

static void exclusive_on_granted(struct loop_msg *msg)
{
	struct lun_exclusive *exclusive = CONTAINER_OF(msg, struct lun_exclusive, msg);

	if (exclusive_is_canceled(exclusive)) {
		exclusive_leave(exclusive);
		return;
	}
	exclusive_set_stage(exclusive, EXCLUSIVE_HELD);
	exclusive->granted(exclusive);
}

static bool entry_precedes(const struct range_entry *entry, const struct lun_exclusive *exclusive)
{
	return entry->kind == RANGE_ORPHAN || entry->ticket < exclusive->ticket;
}

static bool exclusive_is_behind(const struct lun_exclusive *exclusive)
{
	const struct range_set *set =
		atomic_load_explicit(&exclusive->lun->ranges.current, memory_order_acquire);
	unsigned count = atomic_load_explicit(&set->count, memory_order_acquire);

	for (unsigned i = 0; i < count; i++) {
		const struct range_entry *entry = &set->entries[i];

		if (byte_range_overlaps(entry->range, exclusive_range(exclusive)) &&
		    entry_precedes(entry, exclusive))
			return true;
	}
	return false;
}

void exclusive_try_grants(struct lun_lane *lane)
{
	LIST_FOREACH (node, &lane->granting) {
		struct lun_exclusive *exclusive = CONTAINER_OF(node, struct lun_exclusive, link);

		if (exclusive_is_behind(exclusive))
			continue;
		list_remove(node);
		exclusive_set_stage(exclusive, EXCLUSIVE_GRANTING);
		loop_post(lane->loop, &exclusive->msg, exclusive_on_granted);
	}
}

/* -- Acknowledgements -- */

static bool lane_has_overlapping_write(const struct lun_lane *lane,
				       const struct lun_exclusive *exclusive)
{
	LIST_FOREACH (node, &lane->writes) {
		struct lun_io *io = CONTAINER_OF(node, struct lun_io, link);

		if (byte_range_overlaps(lun_io_range(io), exclusive_range(exclusive)))
			return true;
	}
	return false;
}

static bool lane_has_earlier_waiter(const struct lun_lane *lane,
				    const struct lun_exclusive *exclusive)
{
	LIST_FOREACH (node, &lane->waiting) {
		struct lun_io *io = CONTAINER_OF(node, struct lun_io, link);

		if (lun_op_writes(io->op) && !io->exclusive && io->ticket < exclusive->ticket &&
		    byte_range_overlaps(lun_io_range(io), exclusive_range(exclusive)))
			return true;
	}
	return false;
}

static bool lane_can_acknowledge(const struct lun_lane *lane, const struct lun_exclusive *exclusive)
{
	return exclusive_is_canceled(exclusive) || (!lane_has_overlapping_write(lane, exclusive) &&
						    !lane_has_earlier_waiter(lane, exclusive));
}

static bool exclusive_on_each_loop(struct loop_round *round, struct loop *loop)
{
	struct lun_exclusive *exclusive = CONTAINER_OF(round, struct lun_exclusive, round);
	struct lun_lane *lane = lun_lane(exclusive->lun, loop);

	if (lane_can_acknowledge(lane, exclusive))
		return true;
	lane->acks_owed |= 1u << exclusive->slot;
	return false;
}

/* A request whose acknowledgement is owed cannot leave its slot, so reading it needs no mutex. */
void exclusive_pay_acks(struct lun_lane *lane)
{
	for (uint32_t owed = lane->acks_owed; owed; owed &= owed - 1) {
		unsigned slot = (unsigned)__builtin_ctz(owed);
		struct lun_exclusive *exclusive = lane->lun->ranges.slots[slot];

		if (!lane_can_acknowledge(lane, exclusive))
			continue;
		lane->acks_owed &= ~(1u << slot);
		loop_round_ack(&exclusive->round);
	}
}

static void exclusive_on_acknowledged(struct loop_round *round)
{
	struct lun_exclusive *exclusive = CONTAINER_OF(round, struct lun_exclusive, round);
	struct lun_lane *lane = lun_lane(exclusive->lun, exclusive->loop);

	loop_role_assume();
	if (exclusive_is_canceled(exclusive)) {
		exclusive_leave(exclusive);
		return;
	}
	exclusive_set_stage(exclusive, EXCLUSIVE_BEHIND);
	list_append(&lane->granting, &exclusive->link);
	exclusive_try_grants(lane);
}

/* -- Entering -- */

static bool exclusive_enter_locked(struct lun *lun, struct lun_exclusive *exclusive,
				   struct loop *origin)
{
	struct ranges *ranges = &lun->ranges;
	struct range_entry entry = {
		.range = exclusive_range(exclusive),
		.ticket = ranges_take_ticket(lun),
		.kind = RANGE_EXCLUSIVE,
	};

	if (ranges->slots_used == UINT32_MAX || !ranges_append_locked(lun, entry, origin))
		return false;
	exclusive->ticket = entry.ticket;
	exclusive->slot = (uint8_t)__builtin_ctz(~ranges->slots_used);
	ranges->slots_used |= 1u << exclusive->slot;
	ranges->slots[exclusive->slot] = exclusive;
	exclusive->stage = EXCLUSIVE_COLLECTING;
	return true;
}

void exclusive_start_queued_locked(struct lun *lun, struct loop *origin)
{
	_Static_assert(LUN_EXCLUSIVES_MAX == 32, "slots_used and acks_owed have a bit for each");

	for (struct list_node *node; (node = list_first(&lun->ranges.queue));) {
		struct lun_exclusive *exclusive = CONTAINER_OF(node, struct lun_exclusive, link);

		if (!exclusive_enter_locked(lun, exclusive, origin))
			return;
		list_remove(node);
		loop_round_start(&exclusive->round, lun->group, exclusive->loop,
				 exclusive_on_each_loop, exclusive_on_acknowledged);
	}
}

void lun_exclusive_acquire(struct lun *lun, struct loop *loop, struct lun_exclusive *exclusive)
{
	uint64_t align = lun->io_align_bytes;
	uint64_t end = exclusive->offset_bytes + exclusive->length_bytes;

	assert(exclusive->length_bytes > 0 && end > exclusive->offset_bytes);
	exclusive->lun = lun;
	exclusive->loop = loop;
	exclusive->begin = exclusive->offset_bytes - exclusive->offset_bytes % align;
	exclusive->end = end + (align - end % align) % align;
	exclusive->io_count = 0;
	atomic_store_explicit(&exclusive->canceled, false, memory_order_relaxed);
	pthread_mutex_lock(&lun->mutex);
	assert(exclusive->stage == EXCLUSIVE_IDLE);
	exclusive->stage = EXCLUSIVE_QUEUED;
	list_append(&lun->ranges.queue, &exclusive->link);
	exclusive_start_queued_locked(lun, loop);
	pthread_mutex_unlock(&lun->mutex);
}

/* -- Release, or withdrawal -- */

/* Out of the set; true when no lane and no message knows it any more. */
static bool exclusive_withdraw_locked(struct lun_exclusive *exclusive)
{
	enum exclusive_stage stage = (enum exclusive_stage)exclusive->stage;

	if (stage == EXCLUSIVE_QUEUED || stage == EXCLUSIVE_BEHIND)
		list_remove(&exclusive->link);
	if (stage != EXCLUSIVE_QUEUED) {
		atomic_store_explicit(&exclusive->canceled, true, memory_order_release);
		ranges_end_locked(exclusive->lun, exclusive->ticket, exclusive->loop);
	}
	return stage != EXCLUSIVE_COLLECTING && stage != EXCLUSIVE_GRANTING;
}

void lun_exclusive_release(struct lun_exclusive *exclusive)
{
	struct lun *lun = exclusive->lun;

	assert(exclusive->io_count == 0);
	pthread_mutex_lock(&lun->mutex);
	assert(exclusive->stage > EXCLUSIVE_IDLE && exclusive->stage < EXCLUSIVE_LEAVING);
	assert(!exclusive_is_canceled(exclusive));
	if (exclusive_withdraw_locked(exclusive))
		exclusive_leave_locked(exclusive);
	exclusive_start_queued_locked(lun, exclusive->loop);
	pthread_mutex_unlock(&lun->mutex);
}
