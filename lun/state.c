/*
 * The published state of a LUN and its swap. Who wants a change edits `wanted` under the LUN's
 * mutex and calls states_publish_locked; several loops may do so at once. Not here: why it changes
 * (drain.c, io.c for a failed flush).
 *
 * One version at a time is on its way back: a change that comes meanwhile is published, together
 * with all others, when that round has ended. The round is also the wake-up of whatever waited for
 * the change, as in range.c.
 *
 * There are two versions: a round goes over every loop that may read, so when it has ended the old
 * one is nobody's. The control loop is in no round and takes copies under the mutex.
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

void lun_state_copy(struct lun *lun, struct lun_state *out)
{
	pthread_mutex_lock(&lun->mutex);
	*out = lun->states.versions[lun->states.newest];
	pthread_mutex_unlock(&lun->mutex);
}

void states_init(struct lun *lun, const struct lun_state *first)
{
	lun->states.wanted = *first;
	lun->states.versions[lun->states.newest] = *first;
	atomic_store_explicit(&lun->states.current.current,
			      &lun->states.versions[lun->states.newest], memory_order_release);
}
