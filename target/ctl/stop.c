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
#include "lun/qcow2_import.h"
#include "target/ctl/jobs.h"
#include "target/ctl/lun_end.h"
#include "target/ctl/reload.h"
#include "target/ctl/retire.h"

/* Of the deadline. */
#define SAYING_NS (100 * UINT64_C(1000000))

struct lun_stop {
	struct stop *stop;
	struct lun_end end;
};

struct stop {
	struct runtime *runtime;
	stop_done_fn *on_done;
	void *context;
	struct loop_timer timer;
	uint64_t deadline_ns;
	unsigned closing; /* Of logins and sessions: who has not reported yet. */
	size_t busy_luns;
	/* These may wait for a disk, which is no reason not to flush the others. */
	bool jobs_stopped;   /* No folder of images is being cleaned. */
	bool space_stopped;  /* No pool is being looked at. */
	bool requests_ended; /* Of the control socket: all have been answered. */
	bool failed;
	bool over;
	bool reload_ended; /* And nothing of removed LUNs is under way. */
	struct lun_stop *luns;
	size_t room;
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
	if (stop->closing == 0 && stop->busy_luns == 0 && stop->jobs_stopped &&
	    stop->space_stopped && stop->requests_ended && stop->reload_ended)
		finish(stop, !stop->failed);
}

/* -- One LUN -- */

static LOOP_ONLY void on_lun_ended(struct lun_end *end)
{
	struct stop *stop = CONTAINER_OF(end, struct lun_stop, end)->stop;

	if (stop->over)
		return;
	if (end->flush_res != 0) {
		stop->failed = true;
		log_error("ctl", "%s: the last flush failed: %s; writes may be lost",
			  lun_name(end->lun), strerrordesc_np(-end->flush_res));
	}
	if (end->drain_res != 0) {
		stop->failed = true;
		log_error("ctl",
			  "%s: stuck: its disk still holds I/O that was begun before the end",
			  lun_name(end->lun));
	}
	stop->busy_luns--;
	finish_if_all(stop);
}

static LOOP_ONLY void flush_all(struct stop *stop)
{
	const struct loop_group *group = &stop->runtime->server.group;
	size_t count = stop->runtime->now->lun_count;

	stop->busy_luns = count;
	finish_if_all(stop);
	for (size_t i = 0; i < count; i++) {
		struct lun_stop *item = &stop->luns[i];

		item->stop = stop;
		item->end = (struct lun_end){
			.lun = stop->runtime->now->luns[i],
			.control = control_of(stop),
			.loop = group->loops[i % group->count],
			/* But for what it takes to say so if it was not enough. */
			.deadline_ns = stop->deadline_ns - SAYING_NS,
			.done = on_lun_ended,
		};
		lun_end_start(&item->end);
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

static LOOP_ONLY void on_jobs_stopped(void *arg)
{
	struct stop *stop = arg;

	stop->jobs_stopped = true;
	finish_if_all(stop);
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

static LOOP_ONLY void on_reload_ended(void *arg)
{
	struct stop *stop = arg;

	stop->reload_ended = true;
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
	if (!stop->jobs_stopped)
		log_error("ctl", "stuck: a folder of images is locked by another process, or a "
				 "file in it takes long to remove");
	if (!stop->space_stopped)
		log_error("ctl", "stuck: a file system does not tell how full it is");
	retire_tell_stuck(stop->runtime->retire);
	for (size_t i = 0; i < stop->runtime->now->lun_count; i++) {
		const struct lun_end *item = &stop->luns[i].end;

		if (item->stage == LUN_END_FLUSHING) {
			log_error("ctl",
				  "%s: stuck: its disk does not end a flush; writes may "
				  "be lost",
				  lun_name(item->lun));
		} else if (item->stage == LUN_END_DRAINING) {
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
	qcow2_import_stop();
	jobs_stop(runtime->jobs, on_jobs_stopped, stop);
	reload_stop(runtime->reload, on_reload_ended, stop);
	stop->closing = 2;
	control_stop(runtime->control, on_requests_ended, stop);
	login_service_stop(runtime->logins, on_closed, stop);
	registry_close_all(runtime->server.registry, SESSION_CLOSE_SHUTDOWN, on_closed, stop);
	space_stop(runtime->space, on_space_stopped, stop);
}

int stop_create(struct runtime *runtime, stop_done_fn *on_done, void *context, struct stop **out)
{
	struct stop *stop = calloc(1, sizeof(*stop));

	if (!stop)
		return -ENOMEM;
	stop->runtime = runtime;
	stop->on_done = on_done;
	stop->context = context;
	if (stop_make_room(stop, runtime->now->lun_count) != 0) {
		free(stop);
		return -ENOMEM;
	}
	*out = stop;
	return 0;
}

int stop_make_room(struct stop *stop, size_t lun_count)
{
	struct lun_stop *luns;

	if (lun_count <= stop->room && stop->luns)
		return 0;
	luns = calloc(lun_count + 1, sizeof(*luns));
	if (!luns)
		return -ENOMEM;
	free(stop->luns);
	stop->luns = luns;
	stop->room = lun_count;
	return 0;
}

void stop_free(struct stop *stop)
{
	if (!stop)
		return;
	free(stop->luns);
	free(stop);
}
