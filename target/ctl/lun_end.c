/*
 * Flush, then drain; see lun_end.h.
 */
#include "target/ctl/lun_end.h"

#include <errno.h>

#include "base/clock.h"
#include "lun/job.h"

/* How long a flush waits that was refused because of too many orphans, a drain because of another.
 */
#define AGAIN_MS 20u
/* However late it is, a disk that is well gets so much time. */
#define DRAIN_MS_MIN 100u

static LOOP_ONLY void drain(struct lun_end *end);

static LOOP_ONLY void on_drain_again(struct loop_timer *timer)
{
	drain(CONTAINER_OF(timer, struct lun_end, drain_again));
}

static LOOP_ONLY void on_drained(struct lun *lun UNUSED, int res, void *arg)
{
	struct lun_end *end = arg;

	/* Its image is being changed (lun/switch.h), or has not come to rest since another drain
	 * expired. The flush has waited behind the same gate, if there was one. */
	if (res == -EBUSY && loop_now_ns(end->control) < end->deadline_ns) {
		loop_timer_start(end->control, &end->drain_again, AGAIN_MS, on_drain_again);
		return;
	}
	end->drain_res = res;
	end->stage = LUN_END_IDLE;
	end->done(end);
}

static LOOP_ONLY uint64_t left_ms(const struct lun_end *end)
{
	uint64_t now_ns = loop_now_ns(end->control);
	uint64_t ms = end->deadline_ns > now_ns ? (end->deadline_ns - now_ns) / CLOCK_NS_PER_MS : 0;

	return ms > DRAIN_MS_MIN ? ms : DRAIN_MS_MIN;
}

static void drain(struct lun_end *end)
{
	lun_drain(end->lun, end->control, left_ms(end), on_drained, end);
}

static LOOP_ONLY void on_flushed(struct loop_msg *msg)
{
	struct lun_end *end = CONTAINER_OF(msg, struct lun_end, msg);

	end->stage = LUN_END_DRAINING;
	drain(end);
}

static LOOP_ONLY void flush(struct lun_end *end);

static LOOP_ONLY void on_again(struct loop_timer *timer)
{
	flush(CONTAINER_OF(timer, struct lun_end, again));
}

static void on_flush_done(struct lun_io *io, int res)
{
	struct lun_end *end = CONTAINER_OF(io, struct lun_end, io);

	loop_role_assume();
	/* The sessions that have just ended left more with the disk than the LUN's account of
	 * orphans holds. A disk that is well ends them soon; the deadline is for one that is not.
	 */
	if (res == -EBUSY) {
		loop_timer_start(end->loop, &end->again, AGAIN_MS, on_again);
		return;
	}
	end->flush_res = res;
	loop_post(end->control, &end->msg, on_flushed);
}

static void flush(struct lun_end *end)
{
	end->io = (struct lun_io){.op = LUN_FLUSH, .done = on_flush_done};
	lun_io_submit(end->lun, end->loop, &end->io);
}

static LOOP_ONLY void on_flush(struct loop_msg *msg)
{
	flush(CONTAINER_OF(msg, struct lun_end, msg));
}

/* A LUN that is offline or never written has nothing to flush. */
static bool needs_flush(struct lun *lun)
{
	struct lun_state state;

	lun_state_copy(lun, &state);
	return state.online && !state.read_only;
}

static LOOP_ONLY void begin(struct lun_end *end)
{
	if (needs_flush(end->lun))
		loop_post(end->loop, &end->msg, on_flush);
	else
		loop_post(end->control, &end->msg, on_flushed);
}

static void on_job_stopped(void *arg)
{
	struct lun_end *end = arg;

	loop_role_assume();
	begin(end);
}

/* What a job has under way would meet a closed image. */
void lun_end_start(struct lun_end *end)
{
	struct job *job = job_of(end->lun);

	end->flush_res = 0;
	end->stage = LUN_END_FLUSHING;
	if (job)
		job_stop(job, on_job_stopped, end);
	else
		begin(end);
}
