/*
 * Drain: the gate closes on all loops, and when no I/O is the image's any more, orphans included,
 * the control loop is told. On expiry all is rolled back and the gate opens. Not here: how a state
 * is published (state.c).
 *
 * A lane acknowledges when it has seen the closed gate and its last I/O has ended. The gate is
 * published before the drain's round starts, and a lane admits nothing after it has seen it, so
 * what a lane acknowledged stays true until the gate opens.
 *
 * Threads: the control loop, but for drain_pay_ack, which runs on the lane's loop.
 *
 * Read next: lun.c.
 */
#include "lun/lun_internal.h"

#include <assert.h>
#include <errno.h>

/* More turns of each loop than anything needs that goes on without I/O; see drain_settle. */
#define SETTLE_ROUNDS 8u

static bool drain_is_canceled(const struct lun_drain *drain)
{
	return atomic_load_explicit(&drain->canceled, memory_order_acquire);
}

/* -- Lanes -- */

static bool drain_on_each_loop(struct loop_round *round, struct loop *loop)
{
	struct lun_drain *drain = CONTAINER_OF(round, struct lun_drain, round);
	struct lun_lane *lane = lun_lane(CONTAINER_OF(drain, struct lun, drain), loop);

	loop_role_assume();
	ahead_pause(lane);
	if (!lane->in_flight || drain_is_canceled(drain))
		return true;
	lane->drain_ack_owed = true;
	return false;
}

void drain_pay_ack(struct lun_lane *lane)
{
	struct lun_drain *drain = &lane->lun->drain;

	if (!lane->drain_ack_owed || (lane->in_flight && !drain_is_canceled(drain)))
		return;
	lane->drain_ack_owed = false;
	loop_round_ack(&drain->round);
}

/* -- The control loop -- */

static enum drain_stage drain_stage(struct lun *lun)
{
	enum drain_stage stage;

	pthread_mutex_lock(&lun->mutex);
	stage = lun->drain.stage;
	pthread_mutex_unlock(&lun->mutex);
	return stage;
}

static void drain_set_stage(struct lun *lun, enum drain_stage stage)
{
	pthread_mutex_lock(&lun->mutex);
	lun->drain.stage = stage;
	pthread_mutex_unlock(&lun->mutex);
}

static bool drain_on_each_settling_loop(struct loop_round *round, struct loop *loop);
static void drain_on_settled(struct loop_round *round);
static void drain_on_expired(struct loop_timer *timer);

LOOP_ONLY static void drain_finish(struct lun *lun, enum drain_stage stage, int res)
{
	struct lun_drain *drain = &lun->drain;

	loop_timer_stop(drain->control, &drain->timer);
	drain_set_stage(lun, stage);
	drain->done(lun, res, drain->arg);
}

static void gate_set_locked(struct lun *lun, bool closed)
{
	lun->states.wanted.gate_closed = closed;
	states_publish_locked(lun, lun->drain.control);
}

static void drain_on_rested(struct loop_msg *msg)
{
	struct lun_drain *drain = CONTAINER_OF(msg, struct lun_drain, rest.msg);
	struct lun *lun = CONTAINER_OF(drain, struct lun, drain);

	loop_role_assume();
	if (drain->rest.res < 0)
		lun_note_failure(lun, drain->control, drain->rest.res);
	if (drain_stage(lun) == DRAIN_LATE) {
		drain_set_stage(lun, DRAIN_IDLE);
		lun_begin(lun);
	} else {
		drain_finish(lun, DRAIN_CLOSED, 0);
	}
}

LOOP_ONLY static void drain_rest(struct lun *lun)
{
	struct lun_drain *drain = &lun->drain;

	if (!lun->image || !lun->ops->rest) {
		drain_finish(lun, DRAIN_CLOSED, 0);
		return;
	}
	drain_set_stage(lun, DRAIN_RESTING);
	loop_timer_start(drain->control, &drain->timer, drain->deadline_ms, drain_on_expired);
	drain->rest.loop = drain->control;
	drain->rest.fn = drain_on_rested;
	drain->rest.res = 0;
	lun->ops->rest(lun->image, &drain->rest);
}

/*
 * The lanes are empty, but their loops may still be busy with what came last: callbacks, a read-
 * modify-write that winds down, rounds on their way back. Whoever closes the LUN when the drain is
 * done must not find those. Each of them ends within a few turns, without any I/O, and a round
 * takes each loop through a turn at least.
 */
LOOP_ONLY static void drain_settle(struct lun *lun)
{
	struct lun_drain *drain = &lun->drain;

	if (drain->settle_rounds++ < SETTLE_ROUNDS) {
		loop_round_start(&drain->round, lun->group, drain->control,
				 drain_on_each_settling_loop, drain_on_settled);
	} else {
		drain_rest(lun);
	}
}

static bool drain_on_each_settling_loop(struct loop_round *round UNUSED, struct loop *loop UNUSED)
{
	return true;
}

static void drain_on_settled(struct loop_round *round)
{
	struct lun_drain *drain = CONTAINER_OF(round, struct lun_drain, round);

	loop_role_assume();
	drain_settle(CONTAINER_OF(drain, struct lun, drain));
}

static void drain_on_acknowledged(struct loop_round *round)
{
	struct lun_drain *drain = CONTAINER_OF(round, struct lun_drain, round);
	struct lun *lun = CONTAINER_OF(drain, struct lun, drain);

	loop_role_assume();
	if (drain_stage(lun) == DRAIN_EXPIRED) {
		drain_finish(lun, DRAIN_IDLE, -ETIMEDOUT);
		return;
	}
	drain_set_stage(lun, DRAIN_SETTLING);
	loop_timer_stop(drain->control, &drain->timer);
	drain->settle_rounds = 0;
	drain_settle(lun);
}

/* True: the drain's round is on its way and will end the drain, as lanes give up their part. */
static bool drain_roll_back(struct lun *lun)
{
	struct lun_drain *drain = &lun->drain;
	bool started;

	pthread_mutex_lock(&lun->mutex);
	started = drain->stage == DRAIN_WAITING;
	drain->stage = DRAIN_EXPIRED;
	atomic_store_explicit(&drain->canceled, true, memory_order_release);
	gate_set_locked(lun, false);
	pthread_mutex_unlock(&lun->mutex);
	return started;
}

/* The image goes on coming to rest; until then there is no other drain. */
LOOP_ONLY static void drain_stop_resting(struct lun *lun)
{
	pthread_mutex_lock(&lun->mutex);
	gate_set_locked(lun, false);
	pthread_mutex_unlock(&lun->mutex);
	drain_finish(lun, DRAIN_LATE, -ETIMEDOUT);
}

static void drain_on_expired(struct loop_timer *timer)
{
	struct lun_drain *drain = CONTAINER_OF(timer, struct lun_drain, timer);
	struct lun *lun = CONTAINER_OF(drain, struct lun, drain);

	loop_role_assume();
	if (drain_stage(lun) == DRAIN_RESTING) {
		drain_stop_resting(lun);
	} else if (!drain_roll_back(lun)) {
		drain_finish(lun, DRAIN_IDLE, -ETIMEDOUT);
	}
}

void drain_on_published_locked(struct lun *lun)
{
	struct lun_drain *drain = &lun->drain;

	if (drain->stage != DRAIN_CLOSING)
		return;
	drain->stage = DRAIN_WAITING;
	loop_round_start(&drain->round, lun->group, drain->control, drain_on_each_loop,
			 drain_on_acknowledged);
}

/* The stage and the wish to close go together: the next publication, whoever makes it, has both. */
static bool drain_claim(struct lun *lun, struct loop *control)
{
	struct lun_drain *drain = &lun->drain;
	bool claimed;

	pthread_mutex_lock(&lun->mutex);
	claimed = drain->stage == DRAIN_IDLE;
	if (claimed) {
		drain->stage = DRAIN_CLOSING;
		drain->control = control;
		atomic_store_explicit(&drain->canceled, false, memory_order_release);
		gate_set_locked(lun, true);
	}
	pthread_mutex_unlock(&lun->mutex);
	return claimed;
}

void lun_drain(struct lun *lun, struct loop *control, uint64_t deadline_ms, lun_drain_done_fn *done,
	       void *arg)
{
	if (!drain_claim(lun, control)) {
		done(lun, -EBUSY, arg);
		return;
	}
	/* A switch whose gate was to open, and has not been seen open, waits for it no longer. */
	lun->switching = NULL;
	lun->drain.deadline_ms = deadline_ms;
	lun->drain.done = done;
	lun->drain.arg = arg;
	loop_timer_start(control, &lun->drain.timer, deadline_ms, drain_on_expired);
}

void lun_resume(struct lun *lun, struct loop *control)
{
	pthread_mutex_lock(&lun->mutex);
	assert(lun->drain.stage == DRAIN_CLOSED && lun->drain.control == control);
	lun->drain.stage = DRAIN_IDLE;
	gate_set_locked(lun, false);
	pthread_mutex_unlock(&lun->mutex);
	lun_begin(lun);
}
