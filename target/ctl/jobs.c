/*
 * The daemon's jobs; see jobs.h. What they do is lun/job.h's; here they get a LUN, a log, and
 * whoever waits.
 *
 * Runs on the control loop, but for the cleaning of folders, which runs on a helper thread.
 */
#include "target/ctl/jobs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "lun/switch.h"
#include "target/ctl/leftovers.h"
#include "target/ctl/requests.h"
#include "target/ctl/retire.h"

/* How often who waits is told. */
#define PROGRESS_MS 500u
/* Records that are looked at: a LUN has one. */
#define RECORDS_MAX 4096u

struct jobs {
	struct runtime *runtime;
	struct list_node running;
	atomic_bool stopping; /* The control loop's; the helper thread looks at it. */
	bool cleaning;        /* `op` is under way: the helper thread has `leftovers`. */
	void (*on_stopped)(void *arg);
	void *arg;
	struct loop_op op;
	struct running_job *records; /* To be resumed: their LUNs are claimed. */
	size_t record_count;
	struct leftovers leftovers;
};

static struct loop *control_of(const struct jobs *jobs)
{
	return jobs->runtime->server.control;
}

static bool is_stopping(const struct jobs *jobs)
{
	return atomic_load_explicit(&jobs->stopping, memory_order_relaxed);
}

struct list_node *jobs_list(struct jobs *jobs)
{
	return &jobs->running;
}

/* -- For people -- */

static json_t *seconds(uint64_t ns)
{
	return ns > 0 ? json_real((double)ns / (double)CLOCK_NS_PER_S) : json_null();
}

/* One that is to be resumed has begun long ago, for people. */
static void look(const struct running_job *running, struct job_view *out)
{
	const struct job_order *order = &running->order;

	if (running->job != NULL) {
		job_look(running->job, out);
		return;
	}
	*out = (struct job_view){.kind = order->kind,
				 .state = JOB_STARTING,
				 .path = order->path,
				 .image = order->image,
				 .base = order->base,
				 .layer = "",
				 .why = "",
				 .rate_bytes = order->rate_bytes};
}

json_t *jobs_json(const struct running_job *running)
{
	struct job_view view;

	look(running, &view);
	return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:o, s:o, s:o}",
			 "lun", lun_name(running->lun), "image", view.path, "kind",
			 job_kind_name(view.kind), "state", job_state_name(view.state), "what",
			 control_json_text(view.image[0] != '\0' ? view.image : NULL), "layer",
			 control_json_text(view.layer[0] != '\0' ? view.layer : NULL), "base",
			 control_json_text(view.base[0] != '\0' ? view.base : NULL), "done_bytes",
			 (json_int_t)view.done_bytes, "total_bytes", (json_int_t)view.total_bytes,
			 "moved_bytes", (json_int_t)view.moved_bytes, "rate_bytes",
			 (json_int_t)view.rate_bytes, "elapsed_s", seconds(view.elapsed_ns),
			 "left_s", seconds(view.left_ns), "why",
			 control_json_text(view.why[0] != '\0' ? view.why : NULL));
}

static bool is_beside(const char *path, const char *active, const char *name)
{
	const char *slash = strrchr(active, '/');
	size_t folder = slash ? (size_t)(slash - active) + 1 : 0;

	return name[0] != '\0' && strncmp(path, active, folder) == 0 &&
	       strcmp(path + folder, name) == 0;
}

static bool is_meant(const struct job_view *view, const char *active, const char *path)
{
	return strcmp(active, path) == 0 || is_beside(path, active, view->layer) ||
	       is_beside(path, active, view->image);
}

struct running_job *jobs_find(struct jobs *jobs, const char *path)
{
	LIST_FOREACH (node, &jobs->running) {
		struct running_job *running = CONTAINER_OF(node, struct running_job, link);
		struct job_view view;

		look(running, &view);
		if (is_meant(&view, view.path, path) || is_meant(&view, running->path, path))
			return running;
	}
	return NULL;
}

/* -- One job -- */

static LOOP_ONLY void on_progress(struct loop_timer *timer)
{
	struct running_job *running = CONTAINER_OF(timer, struct running_job, timer);

	control_progress(running->request, jobs_json(running));
	loop_timer_start(control_of(running->jobs), timer, PROGRESS_MS, on_progress);
}

static void on_begun(struct job *job UNUSED, void *arg)
{
	struct running_job *running = arg;
	const struct job_order *order = &running->order;

	loop_role_assume();
	running->has_begun = true;
	log_info("ctl", "%s: job: %s of %s%s%s begins", lun_name(running->lun),
		 job_kind_name(order->kind), order->image[0] != '\0' ? order->image : order->path,
		 order->base[0] != '\0' ? " down to " : "", order->base);
	if (running->request && running->waits) {
		on_progress(&running->timer);
	} else if (running->request) {
		control_answer(running->request, jobs_json(running));
		running->request = NULL;
	}
}

static void log_end(const struct running_job *running, const struct job_view *view, int res)
{
	const char *kind = job_kind_name(view->kind);
	double s = (double)view->elapsed_ns / (double)CLOCK_NS_PER_S;

	if (res == 0) {
		log_info("ctl", "%s: job: %s is done: %" PRIu64 " bytes moved in %.1f s",
			 lun_name(running->lun), kind, view->moved_bytes, s);
	} else if (res == -ECANCELED) {
		log_info("ctl", "%s: job: %s was canceled", lun_name(running->lun), kind);
	} else if (res == -EINTR) {
		log_info("ctl", "%s: job: %s is resumed when its LUN is served again",
			 lun_name(running->lun), kind);
	} else {
		log_error("ctl", "%s: job: %s has failed: %s", lun_name(running->lun), kind,
			  view->why);
	}
}

static LOOP_ONLY void answer_end(struct running_job *running, const struct job_view *view, int res)
{
	if (res == 0) {
		control_answer(running->request, jobs_json(running));
	} else if (res == -ECANCELED) {
		control_refuse(running->request, CONTROL_FAILED,
			       view->spoiled[0] != '\0'
				       ? "The image is what it was; the snapshot is none any more, "
					 "and can only be removed."
				       : "Nothing was changed.",
			       "it was canceled");
	} else if (res == -EINTR) {
		control_refuse(running->request, CONTROL_FAILED,
			       "It is resumed when the LUN is served again.",
			       "the daemon, or the LUN, is at its end");
	} else {
		control_refuse(running->request,
			       res == -ENOENT ? CONTROL_NOT_FOUND : CONTROL_REFUSED,
			       "`ringsan image list` shows images and what is based on them.", "%s",
			       view->why[0] != '\0' ? view->why : strerrordesc_np(-res));
	}
}

/* Now, when it will not be resumed. */
static LOOP_ONLY void answer_canceler(struct control_request *request, int res)
{
	if (res == -ECANCELED)
		control_answer(request, json_pack("{s:b}", "canceled", 1));
	else
		control_refuse(request, CONTROL_REFUSED, "Nothing is to be done.",
			       "the job was at its end already");
}

static void on_ended(struct job *job, int res, void *arg)
{
	struct running_job *running = arg;
	struct job_view view;

	loop_role_assume();
	job_look(job, &view);
	loop_timer_stop(control_of(running->jobs), &running->timer);
	if (running->has_begun || !running->request)
		log_end(running, &view, res);
	if (running->request)
		answer_end(running, &view, res);
	if (running->canceler)
		answer_canceler(running->canceler, res);
	list_remove(&running->link);
	retire_release(running->jobs->runtime, running->generation);
	free(running);
}

/* It has it, and it is served. */
static bool has_lun(const struct runtime *runtime, struct lun *lun)
{
	struct lun_state state;

	for (size_t i = 0; i < runtime->now->lun_count; i++) {
		if (runtime->now->luns[i] != lun)
			continue;
		lun_state_copy(lun, &state);
		return state.online && !state.read_only;
	}
	return false;
}

int jobs_begin(struct jobs *jobs, const struct running_job *from)
{
	struct running_job *running;
	struct job_spec spec;
	int res;

	if (is_stopping(jobs) || !has_lun(jobs->runtime, from->lun))
		return -ENODEV;
	running = calloc(1, sizeof(*running));
	if (running == NULL)
		return -ENOMEM;
	*running = *from;
	running->jobs = jobs;
	spec = (struct job_spec){
		.order = &running->order,
		.lun = running->lun,
		.control = control_of(jobs),
		.state_dir = jobs->runtime->state_dir,
		.begun = on_begun,
		.ended = on_ended,
		.arg = running,
	};
	res = job_start(&spec, &running->job);
	if (res != 0) {
		free(running);
		return res;
	}
	list_append(&jobs->running, &running->link);
	return 0;
}

/* -- Records -- */

void jobs_resolve(struct running_job *running)
{
	char *path = realpath(running->order.path, NULL);

	if (path != NULL && strlen(path) < sizeof(running->path))
		(void)snprintf(running->path, sizeof(running->path), "%s", path);
	free(path);
}

static void on_record(const struct job_order *order, void *arg)
{
	struct jobs *jobs = arg;
	struct running_job *records;

	if (jobs->record_count == RECORDS_MAX)
		return;
	records = reallocarray(jobs->records, jobs->record_count + 1, sizeof(*records));
	if (records == NULL)
		return;
	jobs->records = records;
	records[jobs->record_count] = (struct running_job){.order = *order};
	jobs_resolve(&records[jobs->record_count++]);
}

static struct lun *find_lun(struct runtime *runtime, const char *path)
{
	struct lun_walk walk = {.runtime = runtime};
	struct named_lun named;

	while (lun_walk_next(&walk, &named))
		if (named.conf->type == CONF_LUN_QCOW2 && named.conf->image != NULL &&
		    strcmp(named.conf->image, path) == 0)
			return named.lun;
	return NULL;
}

/* Nobody else changes its chain, or begins another job on it, until it is resumed. */
LOOP_ONLY static bool claim_for(struct jobs *jobs, struct running_job *record)
{
	record->lun = find_lun(jobs->runtime, record->order.path);
	if (record->lun == NULL) {
		log_warn("ctl", "a job for %s is recorded, and no LUN has that image",
			 record->order.path);
		return false;
	}
	if (!lun_claim(record->lun))
		return false;
	record->generation = retire_hold(jobs->runtime);
	return true;
}

LOOP_ONLY static void claim_all(struct jobs *jobs)
{
	size_t claimed = 0;

	for (size_t i = 0; i < jobs->record_count; i++)
		if (claim_for(jobs, &jobs->records[i]))
			jobs->records[claimed++] = jobs->records[i];
	jobs->record_count = claimed;
	for (size_t i = 0; i < claimed; i++)
		list_append(&jobs->running, &jobs->records[i].link);
}

/* The record of one that cannot go on now stays. */
LOOP_ONLY static void resume(struct jobs *jobs, struct running_job *record)
{
	int res;

	list_remove(&record->link);
	lun_unclaim(record->lun);
	res = is_stopping(jobs) ? -EINTR : jobs_begin(jobs, record);
	if (res == 0)
		return;
	retire_release(jobs->runtime, record->generation);
	if (res != -EINTR)
		log_warn("ctl", "%s: its job cannot be resumed now: %s", lun_name(record->lun),
			 res == -ENODEV ? "the LUN is offline" : strerrordesc_np(-res));
}

static int call_clean(struct loop_op *op)
{
	struct jobs *jobs = CONTAINER_OF(op, struct jobs, op);

	leftovers_remove(&jobs->leftovers, &jobs->stopping);
	return 0;
}

static void on_cleaned(struct loop_op *op, int res UNUSED)
{
	struct jobs *jobs = CONTAINER_OF(op, struct jobs, op);

	loop_role_assume();
	jobs->cleaning = false;
	for (size_t i = 0; i < jobs->record_count; i++)
		resume(jobs, &jobs->records[i]);
	free(jobs->records);
	jobs->records = NULL;
	jobs->record_count = 0;
	if (is_stopping(jobs))
		jobs->on_stopped(jobs->arg);
}

/* -- All of them -- */

void jobs_start(struct jobs *jobs)
{
	leftovers_find(&jobs->leftovers, jobs->runtime);
	/* Here, where requests cannot come in between: small files, few, once. */
	job_record_each(jobs->runtime->state_dir, on_record, jobs);
	claim_all(jobs);
	/* First, so that a job finds no names that mean nothing. */
	jobs->cleaning = true;
	loop_op_init(&jobs->op);
	loop_call(control_of(jobs), &jobs->op, call_clean, on_cleaned);
}

void jobs_stop(struct jobs *jobs, void (*done)(void *arg), void *arg)
{
	jobs->on_stopped = done;
	jobs->arg = arg;
	atomic_store_explicit(&jobs->stopping, true, memory_order_relaxed);
	if (!jobs->cleaning)
		done(arg);
}

int jobs_create(struct runtime *runtime, struct jobs **out)
{
	struct jobs *jobs = calloc(1, sizeof(*jobs));

	if (jobs == NULL)
		return -ENOMEM;
	jobs->runtime = runtime;
	list_init(&jobs->running);
	*out = jobs;
	return 0;
}

void jobs_free(struct jobs *jobs)
{
	if (jobs != NULL) {
		leftovers_free(&jobs->leftovers);
		free(jobs->records);
	}
	free(jobs);
}
