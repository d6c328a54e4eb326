/*
 * The published state of a LUN and its swap. Who wants a change edits `wanted` under the LUN's
 * mutex and calls states_publish_locked; several loops may do so at once. Not here: why it changes
 * (drain.c, io.c for a failed flush).
 *
 * One version at a time is on its way back: a change that comes meanwhile is published, together
 * with all others, when that round has ended. The round is also the wake-up of whatever waited for
 * the change, as in range.c.
 *
 * A round goes over the data loops and not over the control loop, which may read states too. Its
 * pointers stay good for its turn because versions are reused in a ring of four: changes come from
 * the control loop itself, except for one in a LUN's life (a failed flush) and at most one of the
 * control loop's own that was waiting when its turn began. That is two, and a version is reused by
 * the fourth after it.
 *
 * Read next: drain.c.
 */
#include "lun/lun_internal.h"

#include <assert.h>

static bool state_on_each_loop(struct loop_round *round, struct loop *loop)
{
	struct lun_states *states = CONTAINER_OF(round, struct lun_states, round);

	loop_role_assume();
	lane_rescan(lun_lane(CONTAINER_OF(states, struct lun, states), loop));
	return true;
}

static void state_on_returned(struct loop_round *round)
{
	struct lun_states *states = CONTAINER_OF(round, struct lun_states, round);
	struct lun *lun = CONTAINER_OF(states, struct lun, states);

	pthread_mutex_lock(&lun->mutex);
	states->swapping = false;
	if (states->dirty)
		states_publish_locked(lun, states->origin);
	pthread_mutex_unlock(&lun->mutex);
}

void states_publish_locked(struct lun *lun, struct loop *origin)
{
	struct lun_states *states = &lun->states;
	struct lun_state *next = &states->versions[(states->newest + 1) % LUN_STATES];

	states->dirty = states->swapping;
	states->origin = origin;
	if (states->swapping)
		return;
	*next = states->wanted;
	states->newest = (states->newest + 1) % LUN_STATES;
	states->swapping = true;
	atomic_store_explicit(&states->current.current, next, memory_order_release);
	loop_round_start(&states->round, lun->group, origin, state_on_each_loop, state_on_returned);
	drain_on_published_locked(lun);
}

void states_init(struct lun *lun, const struct lun_state *first)
{
	lun->states.wanted = *first;
	lun->states.versions[lun->states.newest] = *first;
	atomic_store_explicit(&lun->states.current.current,
			      &lun->states.versions[lun->states.newest], memory_order_release);
}
