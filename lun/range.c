/*
 * The published set of ranges: exclusive ones and those of orphans. Not here: who asks for
 * exclusive ranges and when they are granted (exclusive.c).
 *
 * Readers are the loops, at every I/O: one acquire load of ranges.current, which is normally NULL.
 * A set's entries never change while it is published. Writers are rare and take the LUN's mutex.
 * They append to the newest set in place, so that publishing a range never has to wait for memory;
 * taking an entry away needs a successor without it. The set that was replaced goes round all loops
 * at the top of their turns and is free after that; the same round is what wakes those who waited
 * for the entry, so a wake-up cannot be lost: whoever saw the old set did so before its loop's part
 * of the round, and looks again in it.
 *
 * An orphan must always find room, because it is published before task management is answered:
 *  - a set has LUN_ORPHANS_MAX entries that only orphans may use;
 *  - "there is a newest set, or a free one" holds always: entries that ended stay, and their ranges
 *    blocked, for the moment in which no set is free to leave them out;
 *  - beyond LUN_ORPHANS_MAX, and as long as one orphan has no entry, the LUN is overrun and admits
 *    nothing at all, which protects every range.
 *
 * Read next: exclusive.c.
 */
#include "lun/lun_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define SETS_BYTES (LUN_SETS * sizeof(struct range_set))

static const unsigned entries_max[] = {
	[RANGE_EXCLUSIVE] = LUN_EXCLUSIVES_MAX,
	[RANGE_ORPHAN] = LUN_ORPHANS_MAX,
};

/* -- Readers -- */

static bool entry_is_sound(const struct range_entry *entry)
{
	return entry->kind <= RANGE_ORPHAN && entry->range.begin < entry->range.end;
}

/* An io without a ticket is a newcomer: everything published stands before it. */
static bool entry_blocks(const struct range_entry *entry, const struct lun_io *io)
{
	if (entry->kind == RANGE_ORPHAN)
		return true;
	if (io->exclusive || !lun_op_writes(io->op))
		return false;
	return !io->ticket || entry->ticket < io->ticket;
}

bool range_set_blocks(const struct range_set *set, const struct lun_io *io)
{
	unsigned count = atomic_load_explicit(&set->count, memory_order_acquire);
	struct byte_range range = lun_io_range(io);

	for (unsigned i = 0; i < count; i++) {
		const struct range_entry *entry = &set->entries[i];

		assert(entry_is_sound(entry));
		if (byte_range_overlaps(entry->range, range) && entry_blocks(entry, io))
			return true;
	}
	return false;
}

uint64_t ranges_take_ticket(struct lun *lun)
{
	return atomic_fetch_add_explicit(&lun->ranges.next_ticket, 1, memory_order_acq_rel);
}

/* -- Writers, all under the mutex -- */

static void ranges_settle_locked(struct lun *lun, struct loop *origin);

static struct range_set *set_take_free(struct ranges *ranges)
{
	struct range_set *set = ranges->free;

	assert(ranges->free_count);
	if (set) {
		ranges->free = set->next;
	} else {
		set = &ranges->sets[ranges->fresh++];
		set->lun = CONTAINER_OF(ranges, struct lun, ranges);
	}
	ranges->free_count--;
	atomic_store_explicit(&set->count, 0, memory_order_relaxed);
	set->gone_count = 0;
	memset(set->used, 0, sizeof(set->used));
	return set;
}

/* A reader that kept the set too long runs into entry_is_sound. */
static void set_poison(struct range_set *set)
{
	unsigned count = atomic_load_explicit(&set->count, memory_order_relaxed);

	memset(set->entries, 0xA5, (count ? count : 1) * sizeof(set->entries[0]));
	atomic_store_explicit(&set->count, 1, memory_order_relaxed);
}

static void set_free(struct ranges *ranges, struct range_set *set)
{
	set_poison(set);
	set->next = ranges->free;
	ranges->free = set;
	ranges->free_count++;
}

/* The entry first, then the count that shows it. */
static void set_append(struct range_set *set, struct range_entry entry)
{
	unsigned count = atomic_load_explicit(&set->count, memory_order_relaxed);

	set->entries[count] = entry;
	set->gone[count] = false;
	set->used[entry.kind]++;
	atomic_store_explicit(&set->count, count + 1, memory_order_release);
}

static void set_copy_living(struct range_set *to, const struct range_set *from)
{
	unsigned count = atomic_load_explicit(&from->count, memory_order_relaxed);

	for (unsigned i = 0; i < count; i++) {
		if (!from->gone[i])
			set_append(to, from->entries[i]);
	}
}

static bool set_on_each_loop(struct loop_round *round, struct loop *loop)
{
	struct range_set *set = CONTAINER_OF(round, struct range_set, round);

	loop_role_assume();
	lane_rescan(lun_lane(set->lun, loop));
	return true;
}

static void set_on_returned(struct loop_round *round)
{
	struct range_set *set = CONTAINER_OF(round, struct range_set, round);
	struct lun *lun = set->lun;

	pthread_mutex_lock(&lun->mutex);
	set_free(&lun->ranges, set);
	ranges_settle_locked(lun, round->origin);
	pthread_mutex_unlock(&lun->mutex);
}

/* Publish `next` (or nothing at all) and send the old set round. */
static void set_replace(struct lun *lun, struct range_set *next, struct loop *origin)
{
	struct ranges *ranges = &lun->ranges;
	struct range_set *old = ranges->newest;

	ranges->newest = next;
	atomic_store_explicit(&ranges->current, next, memory_order_release);
	if (old) {
		loop_round_start(&old->round, lun->group, origin, set_on_each_loop,
				 set_on_returned);
	}
}

/* Leave out what has gone, if a set is free for it. Even going back to no set at all keeps one in
 * hand: the next orphan must find it. */
static bool set_renew(struct lun *lun, struct loop *origin)
{
	struct ranges *ranges = &lun->ranges;
	struct range_set *old = ranges->newest;
	struct range_set *next = NULL;

	if (!old || !old->gone_count || !ranges->free_count)
		return false;
	if (old->gone_count < atomic_load_explicit(&old->count, memory_order_relaxed)) {
		next = set_take_free(ranges);
		set_copy_living(next, old);
	}
	set_replace(lun, next, origin);
	return true;
}

static bool set_has_room(const struct range_set *set, enum range_kind kind)
{
	return set->used[kind] < entries_max[kind];
}

bool ranges_append_locked(struct lun *lun, struct range_entry entry, struct loop *origin)
{
	struct ranges *ranges = &lun->ranges;

	if (ranges->newest && !set_has_room(ranges->newest, entry.kind))
		set_renew(lun, origin);
	if (!ranges->newest)
		set_replace(lun, set_take_free(ranges), origin);
	if (!set_has_room(ranges->newest, entry.kind))
		return false;
	set_append(ranges->newest, entry);
	return true;
}

static void set_mark_gone(struct range_set *set, uint64_t ticket)
{
	unsigned count = atomic_load_explicit(&set->count, memory_order_relaxed);
	unsigned i = 0;

	while (i < count && set->entries[i].ticket != ticket)
		i++;
	assert(i < count && !set->gone[i]);
	set->gone[i] = true;
	set->gone_count++;
}

/* Whatever could not be done for want of a set, or of room in it. */
static void ranges_settle_locked(struct lun *lun, struct loop *origin)
{
	set_renew(lun, origin);
	exclusive_start_queued_locked(lun, origin);
}

void ranges_end_locked(struct lun *lun, uint64_t ticket, struct loop *origin)
{
	set_mark_gone(lun->ranges.newest, ticket);
	ranges_settle_locked(lun, origin);
}

/* -- Orphans -- */

static void orphans_judge_overrun(struct ranges *ranges)
{
	bool overrun = ranges->orphans >= LUN_ORPHANS_MAX || ranges->unlisted_orphans > 0;

	atomic_store_explicit(&ranges->overrun, overrun, memory_order_release);
}

static void orphan_publish_locked(struct lun *lun, struct lun_io *io)
{
	struct range_entry entry = {.range = lun_io_range(io), .kind = RANGE_ORPHAN};

	/* From when on it is an orphan, also where it finds no entry. */
	io->ticket = ranges_take_ticket(lun);
	entry.ticket = io->ticket;
	lun->ranges.orphan_writes++;
	if (ranges_append_locked(lun, entry, io->loop)) {
		io->orphan_ticket = entry.ticket;
	} else {
		lun->ranges.unlisted_orphans++;
	}
}

void ranges_add_orphan(struct lun *lun, struct lun_io *io)
{
	pthread_mutex_lock(&lun->mutex);
	lun->ranges.orphans++;
	if (lun_op_writes(io->op))
		orphan_publish_locked(lun, io);
	orphans_judge_overrun(&lun->ranges);
	pthread_mutex_unlock(&lun->mutex);
}

static void on_waited(struct loop_msg *msg)
{
	struct lun_orphan_wait *wait = CONTAINER_OF(msg, struct lun_orphan_wait, msg);

	wait->done(wait);
}

void lun_wait_for_orphans(struct lun *lun, struct loop *loop, struct lun_orphan_wait *wait)
{
	list_init(&wait->link);
	wait->loop = loop;
	pthread_mutex_lock(&lun->mutex);
	wait->ticket = ranges_take_ticket(lun);
	wait->left = lun->ranges.orphan_writes;
	if (wait->left > 0)
		list_append(&lun->ranges.waits, &wait->link);
	else
		loop_post(loop, &wait->msg, on_waited);
	pthread_mutex_unlock(&lun->mutex);
}

static void orphan_tell_waits_locked(struct ranges *ranges, const struct lun_io *io)
{
	ranges->orphan_writes--;
	LIST_FOREACH (node, &ranges->waits) {
		struct lun_orphan_wait *wait = CONTAINER_OF(node, struct lun_orphan_wait, link);

		if (io->ticket > wait->ticket || --wait->left > 0)
			continue;
		list_remove(node);
		loop_post(wait->loop, &wait->msg, on_waited);
	}
}

void ranges_end_orphan(struct lun *lun, struct lun_io *io)
{
	pthread_mutex_lock(&lun->mutex);
	assert(lun->ranges.orphans > 0);
	lun->ranges.orphans--;
	if (lun_op_writes(io->op))
		orphan_tell_waits_locked(&lun->ranges, io);
	if (io->orphan_ticket) {
		ranges_end_locked(lun, io->orphan_ticket, io->loop);
	} else if (lun_op_writes(io->op)) {
		lun->ranges.unlisted_orphans--;
	}
	orphans_judge_overrun(&lun->ranges);
	pthread_mutex_unlock(&lun->mutex);
}

int ranges_init(struct lun *lun)
{
	struct ranges *ranges = &lun->ranges;

	void *sets = mmap(NULL, SETS_BYTES, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (sets == MAP_FAILED)
		return -ENOMEM;
	/* A large page would be touched as a whole. */
	(void)madvise(sets, SETS_BYTES, MADV_NOHUGEPAGE);
	ranges->sets = sets;
	atomic_store_explicit(&ranges->next_ticket, 1, memory_order_relaxed);
	list_init(&ranges->queue);
	list_init(&ranges->waits);
	ranges->free_count = LUN_SETS;
	return 0;
}

void ranges_destroy(struct lun *lun)
{
	if (lun->ranges.sets)
		(void)munmap(lun->ranges.sets, SETS_BYTES);
}
