/*
 * Hosts' writes are held for the last round of a job that writes the active file down, and for the
 * switch behind it: an exclusive range (exclusive.c) of all of the LUN. Reads go on.
 *
 * Runs on the control loop; the range belongs to the group's first loop. Read next: job.c.
 */
#include "lun/job_internal.h"

/* Longer than any write takes on a disk that is well. */
#define HOLD_MS 5000u

static struct job *job_of_range(struct lun_exclusive *range)
{
	return CONTAINER_OF(range, struct job, hold.range);
}

static struct loop *loop_of(const struct job *job)
{
	return job->lun->group->loops[0];
}

/* -- Taking -- */

static void on_held(struct loop_msg *msg)
{
	struct job *job = CONTAINER_OF(msg, struct job, hold.answer);

	loop_role_assume();
	if (job->hold.stage != HOLD_TAKING)
		return;
	job->hold.stage = HOLD_HELD;
	loop_timer_stop(job->control, &job->timer);
	job_held(job, true);
}

static void on_granted(struct lun_exclusive *range)
{
	struct job *job = job_of_range(range);

	loop_post(job->control, &job->hold.answer, on_held);
}

static void on_take(struct loop_msg *msg)
{
	struct job *job = CONTAINER_OF(msg, struct job, hold.msg);

	loop_role_assume();
	lun_exclusive_acquire(job->lun, loop_of(job), &job->hold.range);
}

/* A write that does not end must not keep all others. */
static void on_late(struct loop_timer *timer)
{
	struct job *job = CONTAINER_OF(timer, struct job, timer);

	loop_role_assume();
	job_held(job, false);
}

static void on_released(struct lun_exclusive *range);

void job_hold_take(struct job *job)
{
	struct lun_state state;

	lun_state_copy(job->lun, &state);
	job->hold.range.offset_bytes = 0;
	job->hold.range.length_bytes = state.size_bytes;
	job->hold.range.granted = on_granted;
	job->hold.range.released = on_released;
	job->hold.stage = HOLD_TAKING;
	loop_timer_start(job->control, &job->timer, HOLD_MS, on_late);
	loop_post(loop_of(job), &job->hold.msg, on_take);
}

/* -- Letting go -- */

static void on_let_go(struct loop_msg *msg)
{
	struct job *job = CONTAINER_OF(msg, struct job, hold.msg);

	loop_role_assume();
	job->hold.stage = HOLD_NONE;
	job->hold.then(job);
}

static void on_released(struct lun_exclusive *range)
{
	struct job *job = job_of_range(range);

	loop_post(job->control, &job->hold.msg, on_let_go);
}

static void on_drop(struct loop_msg *msg)
{
	struct job *job = CONTAINER_OF(msg, struct job, hold.drop);

	loop_role_assume();
	lun_exclusive_release(&job->hold.range);
}

void job_hold_drop(struct job *job, void (*then)(struct job *job))
{
	if (job->hold.stage == HOLD_NONE) {
		then(job);
		return;
	}
	job->hold.then = then;
	job->hold.stage = HOLD_DROPPING;
	loop_timer_stop(job->control, &job->timer);
	loop_post(loop_of(job), &job->hold.drop, on_drop);
}
