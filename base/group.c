/*
 * Rounds over all loops, and snapshot swaps built on them. Nothing here waits or allocates: a round
 * is messages out of the round's own slots. Read next: group.h.
 */
#include "base/group.h"

#include <assert.h>

static void on_finished(struct loop_msg *msg)
{
	struct loop_round *round = CONTAINER_OF(msg, struct loop_round, finish);

	round->done(round);
}

/* The last one tells the origin; from then on the round is the origin's. Acquire and release: what
 * the loops did before they acknowledged, `done` sees. */
static void acknowledge(struct loop_round *round)
{
	if (atomic_fetch_sub_explicit(&round->pending, 1, memory_order_acq_rel) == 1)
		loop_post(round->origin, &round->finish, on_finished);
}

static void on_slot(struct loop_msg *msg)
{
	struct loop_round_slot *slot = CONTAINER_OF(msg, struct loop_round_slot, msg);
	struct loop_round *round = slot->round;

	if (round->each(round, slot->loop))
		acknowledge(round);
}

void loop_round_start(struct loop_round *round, const struct loop_group *group, struct loop *origin,
		      loop_round_each_fn *each, loop_round_done_fn *done)
{
	unsigned count = group->count;

	assert(count <= LOOPS_MAX);
	round->each = each;
	round->done = done;
	round->origin = origin;
	/* One more for ourselves: the round must not end, and be freed, while we still post. */
	atomic_store_explicit(&round->pending, count + 1, memory_order_relaxed);
	for (unsigned i = 0; i < count; i++) {
		round->slots[i].round = round;
		round->slots[i].loop = group->loops[i];
		loop_post(group->loops[i], &round->slots[i].msg, on_slot);
	}
	acknowledge(round);
}

void loop_round_ack(struct loop_round *round)
{
	acknowledge(round);
}

static bool pass_turn(struct loop_round *round, struct loop *loop)
{
	(void)round; /* Being at the top of a turn is the answer. */
	(void)loop;
	return true;
}

static void on_all_passed(struct loop_round *round)
{
	struct published_swap *swap = CONTAINER_OF(round, struct published_swap, round);

	swap->on_retired(swap, swap->old);
}

void published_swap(struct published *p, const void *next, struct published_swap *swap,
		    const struct loop_group *group, struct loop *origin,
		    published_retired_fn *on_retired)
{
	swap->on_retired = on_retired;
	swap->old = atomic_exchange_explicit(&p->current, next, memory_order_acq_rel);
	loop_round_start(&swap->round, group, origin, pass_turn, on_all_passed);
}
