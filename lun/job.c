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
	job_pump_clear(job);
	free(job);
	if (stopped)
		stopped(arg);
}

static int call_forget(struct loop_op *op)
{
	struct job *job = CONTAINER_OF(op, struct job, op);

	if (!job->has_pushed)
		job_files_unmark(&job->order, &job->files);
	job_record_forget(job->state_dir, &job->order);
	return 0;
}

static void on_forgotten(struct loop_op *op, int res UNUSED)
{
	loop_role_assume();
	end_job(CONTAINER_OF(op, struct job, op));
}

LOOP_ONLY static void save_rate(struct job *job);

/* The record goes, unless it is to be resumed; none is being written then. */
LOOP_ONLY static void conclude(struct job *job)
{
	job->is_concluding = true;
	save_rate(job);
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
	save_rate(job);
	if (job->is_concluding)
		conclude(job);
}

/* Once there is a record at all, and until it goes. */
LOOP_ONLY static void save_rate(struct job *job)
{
	bool goes = job->is_concluding && job->res != -EINTR;

	if (!job->is_found || goes || job->is_saving || job->saved.rate_bytes == job->rate_bytes)
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
	if (is_passing(job, res) && job->hold.stage == HOLD_HELD) {
		job_hold_drop(job, job_push_later);
		return;
	}
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

LOOP_ONLY static void give_up(struct job *job)
{
	/* What was canceled is not resumed. */
	if (job->stopped && !job->canceled)
		job->res = -EINTR;
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
	job->res = job->canceled ? -ECANCELED : res;
	job->state = JOB_STOPPING;
	job_hold_drop(job, give_up);
}

/* True: it does not go on, and has been told so. */
bool job_is_over(struct job *job)
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

/* -- The header, or the names -- */

static int change_header(struct lun_switch *change, char why[LUN_WHY_MAX])
{
	struct job *job = CONTAINER_OF(change, struct job, change);
	int res = job_pushes(job) ? job_files_exchange(&job->order, &job->files, false, why)
				  : job_files_rebase(&job->order, &job->files, false, why);

	change->unsure = job->files.unsure;
	if (res == 0)
		job->lun->spec.writable_inode = 0;
	return res;
}

static void undo_header(struct lun_switch *change)
{
	struct job *job = CONTAINER_OF(change, struct job, change);
	char why[LUN_WHY_MAX];
	int res = job_pushes(job) ? job_files_exchange(&job->order, &job->files, true, why)
				  : job_files_rebase(&job->order, &job->files, true, why);

	if (res != 0)
		log_error("job", "%s: %s could not be changed back: %s", lun_name(job->lun),
			  job->files.layer, why);
	change->unsure = job->files.unsure;
	job->lun->spec.writable_inode = job->is_open_below ? job->files.layer_inode : 0;
}

LOOP_ONLY static void after_header(struct job *job, int res)
{
	const char *layer = job_pushes(job) ? job->files.pushed : job->files.layer;

	if (res != 0)
		(void)snprintf(job->why, sizeof(job->why), "%s", job->change.why);
	if (res != 0 && job_pushes(job)) {
		job_hold_drop(job, job_turn_up);
		return;
	}
	if (res != 0) {
		job_fail(job, res);
		return;
	}
	log_info("job", "%s: %s: %s is based on %s now; I/O paused for %llu ms", lun_name(job->lun),
		 job_kind_name(job->order.kind), layer,
		 job->files.base[0] != '\0' ? job->files.base : "nothing",
		 (unsigned long long)(job->change.paused_ns / CLOCK_NS_PER_MS));
	job->is_open_below = false;
	job_hold_drop(job, remove_files);
}

void job_finish(struct job *job)
{
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
		job_unmoved(job, res);
		return;
	}
	job->is_open_below = true;
	if (!job_is_over(job))
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
	/* Found again for the way up, the order is the same, and a helper thread may be reading. */
	if (!job->has_begun)
		job->saved = job->order;
	save_rate(job);
	if (res == 0 && job->begun && !job->has_begun)
		job->begun(job, job->arg);
	job->has_begun = true;
	if (res == 0 && job_pushes(job))
		log_info("job", "%s: %s: what %s has goes down into %s", lun_name(job->lun),
			 job_kind_name(job->order.kind), job->files.pushed, job->files.layer);
	if (res != 0) {
		job_fail(job, res);
	} else if (job_is_over(job)) {
		return;
	} else if (job->files.is_merged) {
		remove_files(job);
	} else if (job->files.is_top) {
		job_pump_start(job);
	} else {
		open_layer(job);
	}
}

/* The mark comes behind the record: what nobody knows to go on with is not marked. */
static int choose_way(struct job *job)
{
	int res = job_files_check(&job->order, &job->files, job->why);

	if (res != 0)
		log_warn("job", "%s: %s: nothing is written into %s: %s", lun_name(job->lun),
			 job_kind_name(job->order.kind), job->files.layer, job->why);
	if (res == 0)
		res = job_files_mark(&job->order, &job->files, job->why);
	else
		res = -ENOTSUP;
	if (res != -ENOTSUP)
		return res;
	job->why[0] = '\0';
	return job_files_find(&job->order, false, &job->files, job->why);
}

/* What is refused leaves no record of its own, and that of before is forgotten. */
static int call_find(struct loop_op *op)
{
	struct job *job = CONTAINER_OF(op, struct job, op);
	int res;

	if (!job->has_pushed)
		job_files_unmark(&job->order, &job->files);
	res = job_files_find(&job->order, !job->goes_up, &job->files, job->why);
	if (res == 0 && !job->goes_up)
		res = job_record_save(job->state_dir, &job->order, job->why);
	if (res == 0 && job_pushes(job))
		res = choose_way(job);
	/* From now on it is that file, or none. */
	job->order.is_resumed = job->order.is_resumed || res == 0;
	return res;
}

/* -- Up instead of down -- */

LOOP_ONLY static void find_again(struct job *job)
{
	job->is_found = false;
	loop_op_init(&job->op);
	loop_call(job->control, &job->op, call_find, on_found);
}

LOOP_ONLY static void after_down(struct job *job, int res)
{
	if (res != 0) {
		(void)snprintf(job->why, sizeof(job->why), "%s", job->change.why);
		job_fail(job, res);
		return;
	}
	job->is_open_below = false;
	if (!job_is_over(job))
		find_again(job);
}

/* Whatever has gone down, what it is a copy of hides it. */
void job_turn_up(struct job *job)
{
	if (job_is_over(job))
		return;
	log_info("job", "%s: %s: data go up, not down: %s", lun_name(job->lun),
		 job_kind_name(job->order.kind), job->why);
	job->goes_up = true;
	job->why[0] = '\0';
	job->state = JOB_STARTING;
	job->rounds = 0;
	job->at = 0;
	if (!job->is_open_below) {
		find_again(job);
		return;
	}
	job->change.change = change_back;
	job->change.undo = NULL;
	job->after_switch = after_down;
	start_switch(job);
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
		.spoiled = job->has_pushed ? job->order.image : "",
		.why = has_why ? job->why : "",
	};
	/* Rounds behind the first are short. */
	if (job->rounds > 0)
		out->done_bytes = done = total;
	if (done > 0 && done < total)
		out->left_ns =
			(uint64_t)((double)out->elapsed_ns / (double)done * (double)(total - done));
}
