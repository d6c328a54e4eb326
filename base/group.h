/*
 * All data loops together: rounds over every loop, and published snapshots.
 *
 * A round runs a function at the top of a turn of each loop and, when all have acknowledged, a
 * second one on the origin loop. Because no snapshot pointer crosses turns, a round that began
 * after a pointer was swapped proves, when it ends, that nobody holds the old one.
 */
#ifndef BASE_GROUP_H
#define BASE_GROUP_H

#include "base/loop.h"

struct loop_group {
	struct loop *loops[LOOPS_MAX];
	unsigned count;
};

struct loop_round;

/* Runs on each loop of the group. True: acknowledged. False: the function keeps the round and
 * answers later, exactly once, with loop_round_ack from that same loop. */
typedef bool loop_round_each_fn(struct loop_round *round, struct loop *loop);
/* Runs on the origin when all have acknowledged; the round may be reused or freed from here on. */
typedef void loop_round_done_fn(struct loop_round *round);

/* Embed it in the object that the round is about (CONTAINER_OF); owned by base/ until done. */
struct loop_round {
	loop_round_each_fn *each;
	loop_round_done_fn *done;
	struct loop *origin;
	atomic_uint pending;
	struct loop_msg finish;
	struct loop_round_slot {
		struct loop_msg msg;
		struct loop_round *round;
		struct loop *loop;
	} slots[LOOPS_MAX];
};

/* Start a round. `origin` is any running loop, the control loop too. Any thread. */
void loop_round_start(struct loop_round *round, const struct loop_group *group, struct loop *origin,
		      loop_round_each_fn *each, loop_round_done_fn *done);
LOOP_ONLY void loop_round_ack(struct loop_round *round);

/*
 * A published snapshot: an immutable object behind one pointer that loops load once a turn or once
 * a command (acquire) and never keep across turns. published_swap stores the new one (release) and
 * starts a round on swap->round; when that ends, on_retired runs on `origin` with the old object,
 * which is then its caller's alone.
 */
struct published {
	_Atomic(const void *) current;
};

struct published_swap;
typedef void published_retired_fn(struct published_swap *swap, const void *old);

struct published_swap {
	struct loop_round round;
	published_retired_fn *on_retired;
	const void *old;
};

static inline const void *published_load(const struct published *p)
{
	return atomic_load_explicit(&p->current, memory_order_acquire);
}

void published_swap(struct published *p, const void *next, struct published_swap *swap,
		    const struct loop_group *group, struct loop *origin,
		    published_retired_fn *on_retired);

#endif
