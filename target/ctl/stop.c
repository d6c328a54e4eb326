/*
 * The orderly end; see stop.h.
 *
 * A flush covers what completed before it, so it comes after the last command of the last session.
 * What an aborted command left with the kernel may end later still; the drain waits for that.
 */
#include "target/ctl/stop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

/* How long a flush waits that was refused because of too many orphans. */
#define FLUSH_AGAIN_MS 20u

enum lun_stop_stage {
	LUN_STOP_WAITING, /* For the sessions to end. */
	LUN_STOP_FLUSHING,
	LUN_STOP_DRAINING,
	LUN_STOP_DONE,
};

struct lun_stop {
	struct stop *stop;
	struct lun *lun;
	struct loop *loop; /* That flushes it. */
	struct loop_msg msg;
	struct lun_io io;
	struct loop_timer again; /* The data loop's. */
	enum lun_stop_stage stage;
	int res; /* Of the flush. Written on the data loop before msg comes back. */
};

struct stop {
	struct runtime *runtime;
	stop_done_fn *on_done;
	void *context;
	struct loop_timer timer;
	uint64_t deadline_ns;
	unsigned closing; /* Of logins and sessions: who has not reported yet. */
	size_t busy_luns;
	/* Both may wait for a disk, which is no reason not to flush the others. */
	bool space_stopped;  /* No pool is being looked at. */
	bool requests_ended; /* Of the control socket: all have been answered. */
	bool failed;
	bool over;
	struct lun_stop luns[];
};

static struct loop *control_of(const struct stop *stop)
{
	return stop->runtime->server.control;
}

static LOOP_ONLY void finish(struct stop *stop, bool ok)
{
	if (stop->over)
		return;
	stop->over = true;
	loop_timer_stop(control_of(stop), &stop->timer);
	stop->on_done(stop->context, ok);
}

static LOOP_ONLY void finish_if_all(struct stop *stop)
{
	if (stop->closing == 0 && stop->busy_luns == 0 && stop->space_stopped &&
	    stop->requests_ended)
		finish(stop, !stop->failed);
}

/* -- One LUN -- */

static LOOP_ONLY void lun_stopped(struct lun_stop *item)
{
	struct stop *stop = item->stop;

	item->stage = LUN_STOP_DONE;
	stop->busy_luns--;
	finish_if_all(stop);
}

static LOOP_ONLY void on_drained(struct lun *lun, int res, void *arg)
{
	struct lun_stop *item = arg;

	if (res != 0) {
		item->stop->failed = true;
		log_error("ctl",
			  "%s: stuck: its disk still holds I/O that was begun before the end",
			  lun_name(lun));
	}
	lun_stopped(item);
}

/* The rest of the time, but for what it takes to say so if it was not enough. */
static LOOP_ONLY uint64_t drain_deadline_ms(const struct stop *stop)
{
	uint64_t now = loop_now_ns(control_of(stop));
	uint64_t left_ms = stop->deadline_ns > now ? (stop->deadline_ns - now) / 1000000u : 0;

	return left_ms > 200 ? left_ms - 100 : 100;
}

static LOOP_ONLY void on_flushed(struct loop_msg *msg)
{
	struct lun_stop *item = CONTAINER_OF(msg, struct lun_stop, msg);
	struct stop *stop = item->stop;

	if (stop->over)
		return;
	if (item->res != 0) {
		stop->failed = true;
		log_error("ctl", "%s: the last flush failed: %s; writes may be lost",
			  lun_name(item->lun), strerrordesc_np(-item->res));
	}
	item->stage = LUN_STOP_DRAINING;
	lun_drain(item->lun, control_of(stop), drain_deadline_ms(stop), on_drained, item);
}

static LOOP_ONLY void flush(struct lun_stop *item);

static LOOP_ONLY void on_again(struct loop_timer *timer)
{
	flush(CONTAINER_OF(timer, struct lun_stop, again));
}

static void on_flush_done(struct lun_io *io, int res)
{
	struct lun_stop *item = CONTAINER_OF(io, struct lun_stop, io);

	loop_role_assume();
	/* The sessions that have just ended left more with the disk than the LUN's account of
	 * orphans holds. A disk that is well ends them soon; the deadline is for one that is not.
	 */
	if (res == -EBUSY) {
		loop_timer_start(item->loop, &item->again, FLUSH_AGAIN_MS, on_again);
		return;
	}
	item->res = res;
	loop_post(control_of(item->stop), &item->msg, on_flushed);
}

static void flush(struct lun_stop *item)
{
	item->io = (struct lun_io){.op = LUN_FLUSH, .done = on_flush_done};
	lun_io_submit(item->lun, item->loop, &item->io);
}

static LOOP_ONLY void on_flush(struct loop_msg *msg)
{
	flush(CONTAINER_OF(msg, struct lun_stop, msg));
}

/* A LUN that is offline or never written has nothing to flush. */
static bool needs_flush(struct lun *lun)
{
	struct lun_state state;

	lun_state_copy(lun, &state);
	return state.online && !state.read_only;
}

static LOOP_ONLY void flush_all(struct stop *stop)
{
	size_t count = stop->runtime->lun_count;

	stop->busy_luns = count;
	finish_if_all(stop);
	for (size_t i = 0; i < count; i++) {
		struct lun_stop *item = &stop->luns[i];

		item->stage = LUN_STOP_FLUSHING;
		if (needs_flush(item->lun)) {
			loop_post(item->loop, &item->msg, on_flush);
		} else {
			loop_post(control_of(stop), &item->msg, on_flushed);
		}
	}
}

/* -- All of it -- */

static LOOP_ONLY void on_closed(void *arg)
{
	struct stop *stop = arg;

	stop->closing--;
	if (stop->closing == 0 && !stop->over)
		flush_all(stop);
}

static LOOP_ONLY void on_space_stopped(void *arg)
{
	struct stop *stop = arg;

	stop->space_stopped = true;
	finish_if_all(stop);
}

static LOOP_ONLY void on_requests_ended(void *arg)
{
	struct stop *stop = arg;

	stop->requests_ended = true;
	finish_if_all(stop);
}

static LOOP_ONLY void on_deadline(struct loop_timer *timer)
{
	struct stop *stop = CONTAINER_OF(timer, struct stop, timer);

	if (stop->closing > 0) {
		log_error("ctl", "%u sessions have not ended in time; no LUN was flushed",
			  registry_count(stop->runtime->server.registry));
	}
	if (!stop->requests_ended) {
		log_error("ctl", "stuck: %u requests of the control socket have not ended in time",
			  control_pending(stop->runtime->control));
	}
	if (!stop->space_stopped)
		log_error("ctl", "stuck: a file system does not tell how full it is");
	for (size_t i = 0; i < stop->runtime->lun_count; i++) {
		const struct lun_stop *item = &stop->luns[i];

		if (item->stage == LUN_STOP_FLUSHING) {
			log_error("ctl",
				  "%s: stuck: its disk does not end a flush; writes may "
				  "be lost",
				  lun_name(item->lun));
		} else if (item->stage == LUN_STOP_DRAINING) {
			log_error("ctl", "%s: stuck: its disk still holds I/O",
				  lun_name(item->lun));
		}
	}
	finish(stop, false);
}

void stop_begin(struct stop *stop)
{
	struct runtime *runtime = stop->runtime;

	stop->deadline_ns = loop_now_ns(control_of(stop)) + STOP_DEADLINE_MS * UINT64_C(1000000);
	loop_timer_start(control_of(stop), &stop->timer, STOP_DEADLINE_MS, on_deadline);
	portal_set_stop(runtime->portal_set);
	stop->closing = 2;
	control_stop(runtime->control, on_requests_ended, stop);
	login_service_stop(runtime->logins, on_closed, stop);
	registry_close_all(runtime->server.registry, SESSION_CLOSE_SHUTDOWN, on_closed, stop);
	space_stop(runtime->space, on_space_stopped, stop);
}

int stop_create(struct runtime *runtime, stop_done_fn *on_done, void *context, struct stop **out)
{
	const struct loop_group *group = &runtime->server.group;
	struct stop *stop = calloc(1, sizeof(*stop) + runtime->lun_count * sizeof(struct lun_stop));

	if (!stop)
		return -ENOMEM;
	stop->runtime = runtime;
	stop->on_done = on_done;
	stop->context = context;
	for (size_t i = 0; i < runtime->lun_count; i++) {
		stop->luns[i].stop = stop;
		stop->luns[i].lun = runtime->luns[i];
		stop->luns[i].loop = group->loops[i % group->count];
	}
	*out = stop;
	return 0;
}

void stop_free(struct stop *stop)
{
	free(stop);
}
