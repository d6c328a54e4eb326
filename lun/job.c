/*
 * The life of a job, see job.h: its stages, and when it goes from one to the next. Not here: what a
 * stage does with files (job_files.c), how data are moved (job_pump.c).
 *
 * Runs on the control loop, but for what it calls on helper threads. Read next: job_pump.c.
 */
#include "lun/job_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

/* For a drain; and how soon it is tried again where hosts' I/O did not end in time. */
#define SWITCH_MS 5000u
#define SWITCH_AGAIN_MS 1000u
/* At its end: how long it waits for what a crash leaked in its layer, and how often it looks. */
#define RECOVERY_MS_MAX 60000u
#define RECOVERY_LOOK_MS 50u

static const char *const kind_names[JOB_KINDS] = {
	[JOB_STREAM] = "stream",
	[JOB_REMOVE] = "remove",
};

static const char *const state_names[] = {
	[JOB_STARTING] = "starting",   [JOB_RUNNING] = "running",   [JOB_NO_SPACE] = "no-space",
	[JOB_FINISHING] = "finishing", [JOB_STOPPING] = "stopping", [JOB_ENDED] = "ended",
};

const char *job_kind_name(enum job_kind kind)
{
	return kind_names[kind];
}

const char *job_state_name(enum job_state state)
{
	return state_names[state];
}

struct job *job_of(const struct lun *lun)
{
	return lun->job;
}

/* -- The end -- */

/* Who waits for a stop runs after the owner has been told. */
LOOP_ONLY static void end_job(struct job *job)
{
	void (*stopped)(void *arg) = job->stopped;
	void *arg = job->stopped_arg;

	job->state = JOB_ENDED;
	job->lun->job = NULL;
	lun_unclaim(job->lun);
	loop_timer_stop(job->control, &job->timer);
	job->ended(job, job->res, job->arg);
	free(job);
	if (stopped)
		stopped(arg);
}

static int call_forget(struct loop_op *op)
{
	struct job *job = CONTAINER_OF(op, struct job, op);

	job_record_forget(job->state_dir, &job->order);
	return 0;
}

static void on_forgotten(struct loop_op *op, int res UNUSED)
{
	loop_role_assume();
	end_job(CONTAINER_OF(op, struct job, op));
}

/* The record goes, unless it is to be resumed; none is being written then. */
LOOP_ONLY static void conclude(struct job *job)
{
	job->is_concluding = true;
	if (job->is_saving)
		return;
	if (job->res == -EINTR) {
		end_job(job);
		return;
	}
	loop_op_init(&job->op);
	loop_call(job->control, &job->op, call_forget, on_forgotten);
}

/* -- The rate, and the record that tells it -- */

LOOP_ONLY static void save_rate(struct job *job);

static int call_save(struct loop_op *op)
{
	struct job *job = CONTAINER_OF(op, struct job, saving);
	char why[LUN_WHY_MAX];
	int res = job_record_save(job->state_dir, &job->saved, why);

	if (res != 0)
		log_warn("job", "%s: resumed, it will have its old rate: %s", lun_name(job->lun),
			 why);
	return 0;
}

static void on_saved(struct loop_op *op, int res UNUSED)
{
	struct job *job = CONTAINER_OF(op, struct job, saving);

	loop_role_assume();
	job->is_saving = false;
	if (job->is_concluding)
		conclude(job);
	else
		save_rate(job);
}

/* Once there is a record at all, and until it goes. */
LOOP_ONLY static void save_rate(struct job *job)
{
	if (!job->is_found || job->is_concluding || job->is_saving ||
	    job->saved.rate_bytes == job->rate_bytes)
		return;
	job->is_saving = true;
	job->saved.rate_bytes = job->rate_bytes;
	loop_op_init(&job->saving);
	loop_call(job->control, &job->saving, call_save, on_saved);
}

void job_set_rate(struct job *job, uint64_t rate_bytes)
{
	job->rate_bytes = rate_bytes;
	save_rate(job);
	job_pump_wake(job);
}

/* -- Switches -- */

LOOP_ONLY static void start_switch(struct job *job);

static void on_switch_again(struct loop_timer *timer)
{
	struct job *job = CONTAINER_OF(timer, struct job, timer);

	loop_role_assume();
	start_switch(job);
}

/* Somebody else's, or hosts' I/O that takes its time: once more, unless the LUN is at its end. What
 * the helper thread met is no passing matter, and hosts' I/O has waited for it. */
static bool is_passing(const struct job *job, int res)
{
	bool is_wanted = !job->canceled || job->state == JOB_STOPPING;

	return (res == -EBUSY || res == -ETIMEDOUT) && job->change.changing_ns == 0 && is_wanted &&
	       !job->stopped;
}

static void on_switched(struct lun_switch *change, int res)
{
	struct job *job = CONTAINER_OF(change, struct job, change);

	loop_role_assume();
	if (is_passing(job, res)) {
		loop_timer_start(job->control, &job->timer, SWITCH_AGAIN_MS, on_switch_again);
		return;
	}
	job->after_switch(job, res);
}

LOOP_ONLY static void start_switch(struct job *job)
{
	job->change.luns = &job->lun;
	job->change.count = 1;
	job->change.control = job->control;
	job->change.deadline_ms = SWITCH_MS;
	job->change.done = on_switched;
	lun_switch_start(&job->change);
}

/* -- Giving up -- */

static int change_back(struct lun_switch *change, char why[LUN_WHY_MAX] UNUSED)
{
	change->luns[0]->spec.writable_inode = 0;
	return 0;
}

LOOP_ONLY static void after_back(struct job *job, int res)
{
	/* The layer stays open for writing, which does no harm, until the LUN is opened again. */
	if (res != 0)
		log_warn("job", "%s: %s: its layer stays open for writing: %s", lun_name(job->lun),
			 job_kind_name(job->order.kind), job->change.why);
	job->lun->spec.writable_inode = 0;
	conclude(job);
}

LOOP_ONLY static void give_up(struct job *job, int res)
{
	/* What was canceled is not resumed. */
	job->res = job->stopped && !job->canceled ? -EINTR : res;
	job->state = JOB_STOPPING;
	if (!job->is_open_below || job->stopped) {
		conclude(job);
		return;
	}
	job->change.change = change_back;
	job->change.undo = NULL;
	job->after_switch = after_back;
	start_switch(job);
}

void job_fail(struct job *job, int res)
{
	if (job->canceled)
		res = -ECANCELED;
	give_up(job, res);
}

/* True: it does not go on, and has been told so. */
LOOP_ONLY static bool is_over(struct job *job)
{
	if (!job->canceled && !job->stopped)
		return false;
	job_fail(job, -ECANCELED);
	return true;
}

/* -- Removing -- */

static int call_remove(struct loop_op *op)
{
	struct job *job = CONTAINER_OF(op, struct job, op);

	return job_files_remove(&job->order, job->why);
}

static void on_removed(struct loop_op *op, int res)
{
	struct job *job = CONTAINER_OF(op, struct job, op);

	loop_role_assume();
	job->res = job->stopped && res != 0 ? -EINTR : res;
	conclude(job);
}

LOOP_ONLY static void remove_files(struct job *job)
{
	job->state = JOB_FINISHING;
	loop_op_init(&job->op);
	loop_call(job->control, &job->op, call_remove, on_removed);
}

/* -- The header -- */

static int change_header(struct lun_switch *change, char why[LUN_WHY_MAX])
{
	struct job *job = CONTAINER_OF(change, struct job, change);
	int res = job_files_rebase(&job->order, &job->files, false, why);

	change->unsure = job->files.unsure;
	if (res == 0)
		job->lun->spec.writable_inode = 0;
	return res;
}

static void undo_header(struct lun_switch *change)
{
	struct job *job = CONTAINER_OF(change, struct job, change);
	char why[LUN_WHY_MAX];

	if (job_files_rebase(&job->order, &job->files, true, why) != 0)
		log_error("job", "%s: the header of %s could not be changed back: %s",
			  lun_name(job->lun), job->files.layer, why);
	change->unsure = job->files.unsure;
	job->lun->spec.writable_inode = job->is_open_below ? job->files.layer_inode : 0;
}

LOOP_ONLY static void after_header(struct job *job, int res)
{
	if (res != 0) {
		(void)snprintf(job->why, sizeof(job->why), "%s", job->change.why);
		job_fail(job, res);
		return;
	}
	log_info("job", "%s: %s: %s is based on %s now; I/O paused for %llu ms", lun_name(job->lun),
		 job_kind_name(job->order.kind), job->files.layer,
		 job->files.base[0] != '\0' ? job->files.base : "nothing",
		 (unsigned long long)(job->change.paused_ns / CLOCK_NS_PER_MS));
	job->is_open_below = false;
	remove_files(job);
}

static void on_recovery_look(struct loop_timer *timer)
{
	struct job *job = CONTAINER_OF(timer, struct job, timer);

	loop_role_assume();
	job->recovery_looks++;
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

void job_pumped(struct job *job)
{
	if (is_over(job) || waits_for_recovery(job))
		return;
	job->state = JOB_FINISHING;
	job->change.change = change_header;
	job->change.undo = undo_header;
	job->after_switch = after_header;
	start_switch(job);
}

/* -- The beginning -- */

static int change_open(struct lun_switch *change, char why[LUN_WHY_MAX] UNUSED)
{
	struct job *job = CONTAINER_OF(change, struct job, change);

	job->lun->spec.writable_inode = job->files.layer_inode;
	return 0;
}

static void undo_open(struct lun_switch *change)
{
	change->luns[0]->spec.writable_inode = 0;
}

LOOP_ONLY static void after_open(struct job *job, int res)
{
	if (res != 0) {
		(void)snprintf(job->why, sizeof(job->why), "%s", job->change.why);
		job_fail(job, res);
		return;
	}
	job->is_open_below = true;
	if (!is_over(job))
		job_pump_start(job);
}

LOOP_ONLY static void open_layer(struct job *job)
{
	job->change.change = change_open;
	job->change.undo = undo_open;
	job->after_switch = after_open;
	start_switch(job);
}

static void on_found(struct loop_op *op, int res)
{
	struct job *job = CONTAINER_OF(op, struct job, op);

	loop_role_assume();
	job->is_found = res == 0;
	job->saved = job->order;
	save_rate(job);
	if (res == 0 && job->begun)
		job->begun(job, job->arg);
	if (res != 0) {
		job_fail(job, res);
	} else if (is_over(job)) {
		return;
	} else if (job->files.is_merged) {
		remove_files(job);
	} else if (job->files.is_top) {
		job_pump_start(job);
	} else {
		open_layer(job);
	}
}

/* What is refused leaves no record of its own, and that of before is forgotten. */
static int call_find(struct loop_op *op)
{
	struct job *job = CONTAINER_OF(op, struct job, op);
	int res = job_files_find(&job->order, &job->files, job->why);

	return res == 0 ? job_record_save(job->state_dir, &job->order, job->why) : res;
}

int job_start(const struct job_spec *spec, struct job **out)
{
	struct job *job;

	if (!lun_claim(spec->lun))
		return -EBUSY;
	job = calloc(1, sizeof(*job));
	if (!job) {
		lun_unclaim(spec->lun);
		return -ENOMEM;
	}
	job->order = *spec->order;
	job->rate_bytes = job->order.rate_bytes;
	job->lun = spec->lun;
	job->control = spec->control;
	job->state_dir = spec->state_dir;
	job->begun = spec->begun;
	job->ended = spec->ended;
	job->arg = spec->arg;
	job->began_ns = clock_now_ns();
	job->lun->job = job;
	job_pump_init(job);
	loop_op_init(&job->op);
	loop_call(job->control, &job->op, call_find, on_found);
	*out = job;
	return 0;
}

/* -- While it is there -- */

bool job_cancel(struct job *job)
{
	if (job->state == JOB_FINISHING || job->state == JOB_STOPPING)
		return false;
	job->canceled = true;
	job_pump_wake(job);
	return true;
}

void job_stop(struct job *job, void (*stopped)(void *arg), void *arg)
{
	job->stopped = stopped;
	job->stopped_arg = arg;
	job_pump_wake(job);
}

void job_look(const struct job *job, struct job_view *out)
{
	uint64_t total = job->is_found ? job->files.layer_bytes : 0;
	uint64_t now_ns = clock_now_ns();
	uint64_t done = job->at;
	bool has_why;

	for (unsigned i = 0; i < JOB_IOS; i++)
		done -= job->ios[i].busy ? job->ios[i].length : 0;
	/* A helper thread may be writing `why`, and `files` until they are found. */
	has_why =
		job->state == JOB_NO_SPACE || job->state == JOB_STOPPING || job->state == JOB_ENDED;
	*out = (struct job_view){
		.kind = job->order.kind,
		.state = job->state,
		.path = job->order.path,
		.image = job->order.image,
		.base = job->order.base,
		.layer = job->is_found ? job->files.layer : "",
		.done_bytes = done,
		.total_bytes = total,
		.moved_bytes = job->moved_bytes,
		.rate_bytes = job->rate_bytes,
		.elapsed_ns = now_ns - job->began_ns,
		.why = has_why ? job->why : "",
	};
	if (done > 0 && done < total)
		out->left_ns =
			(uint64_t)((double)out->elapsed_ns / (double)done * (double)(total - done));
}
