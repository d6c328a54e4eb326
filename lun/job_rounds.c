/*
 * What comes behind a pass of a job over its layer: its end, or, on the way down, another round for
 * what hosts wrote meanwhile, and the last one while their writes are held.
 *
 * Runs on the control loop. Read next: job.c, job_hold.c.
 */
#include "lun/job_internal.h"

#include <errno.h>
#include <stdio.h>

/* At its end: how long it waits for what a crash leaked in its layer, and how often it looks. */
#define RECOVERY_MS_MAX 60000u
#define RECOVERY_LOOK_MS 50u
/* What is left to be pushed while hosts' writes are held: a fraction of a second where disks are
 * well. */
#define HELD_BYTES (UINT64_C(4) << 20)
/* Rounds that left nearly as much as they found, and holds in vain, until it goes up. */
#define VAIN_MAX 3u
#define ROUND_AGAIN_MS 1000u

/* -- What a crash leaked -- */

LOOP_ONLY static bool waits_for_recovery(struct job *job);

static void on_recovery_look(struct loop_timer *timer)
{
	struct job *job = CONTAINER_OF(timer, struct job, timer);

	loop_role_assume();
	job->recovery_looks++;
	if (job_is_over(job) || waits_for_recovery(job))
		return;
	/* Hosts wrote meanwhile: how much is left is known after another round. */
	if (job_pushes(job) && job->files.pushes_top)
		job_pump_start(job);
	else
		job_pumped(job);
}

/* Whoever was killed in the middle of the job may have leaked clusters of its layer, and this may
 * be the last time for long that it is written. Nobody waits for the end of a job. */
LOOP_ONLY static bool waits_for_recovery(struct job *job)
{
	struct lun_recovery recovery;

	lun_recovery(job->lun, &recovery);
	if (!job->is_open_below || !recovery.running ||
	    job->recovery_looks >= RECOVERY_MS_MAX / RECOVERY_LOOK_MS)
		return false;
	loop_timer_start(job->control, &job->timer, RECOVERY_LOOK_MS, on_recovery_look);
	return true;
}

/* -- Rounds -- */

static void on_round_again(struct loop_timer *timer)
{
	loop_role_assume();
	job_pump_start(CONTAINER_OF(timer, struct job, timer));
}

void job_push_later(struct job *job)
{
	job->state = JOB_RUNNING;
	loop_timer_start(job->control, &job->timer, ROUND_AGAIN_MS, on_round_again);
}

/* Hosts write what is pushed: what they wrote meanwhile is the next round's. */
LOOP_ONLY static void next_round(struct job *job)
{
	uint64_t before = job->rounds == 0 ? UINT64_MAX : job->round_bytes;

	job->rounds++;
	job->round_bytes = job->left_bytes;
	if (job->left_bytes <= HELD_BYTES) {
		job_hold_take(job);
		return;
	}
	if (job->left_bytes > before - before / 8 && ++job->in_vain == VAIN_MAX) {
		(void)snprintf(job->why, sizeof(job->why), "hosts write faster than that goes");
		job_turn_up(job);
		return;
	}
	job_pump_start(job);
}

void job_pumped(struct job *job)
{
	bool is_written = job_pushes(job) && job->files.pushes_top;

	if (job_is_over(job) || (job->hold.stage == HOLD_NONE && waits_for_recovery(job)))
		return;
	if (is_written && job->hold.stage == HOLD_NONE) {
		next_round(job);
	} else if (is_written && job->left_bytes > 0) {
		/* No write of hosts passes a hold; it would be lost. */
		job_unmoved(job, -EBUSY);
	} else {
		job_finish(job);
	}
}

void job_held(struct job *job, bool is_held)
{
	if (job_is_over(job))
		return;
	if (is_held)
		job_pump_start(job);
	else
		job_unmoved(job, -EBUSY);
}

/* A hold ends at once where something has to be waited for. */
void job_unmoved(struct job *job, int res)
{
	bool ends = job->canceled || job->stopped || !job_pushes(job);
	bool is_held = job->hold.stage != HOLD_NONE;

	if (ends) {
		job_fail(job, res);
	} else if (is_held && ++job->in_vain < VAIN_MAX) {
		job->why[0] = '\0';
		job_hold_drop(job, job_push_later);
	} else {
		job_hold_drop(job, job_turn_up);
	}
}
