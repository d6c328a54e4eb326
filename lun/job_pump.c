/*
 * How the data of a job are moved: LUN_PULLs from the layer's beginning to its end, a few at a time
 * and as fast as is allowed, then one that makes them durable. They are I/O of the LUN as hosts'
 * is: they wait behind a closed gate, so a switch finds none of them.
 *
 * Runs on the control loop; I/O on the group's first loop. Read next: qcow2/pull.c.
 */
#include "lun/job_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

/* Of one PULL: what is copied between two looks at the rate. */
#define PULL_BYTES (UINT64_C(1) << 20)
/* Where nothing had to be moved, they become longer. */
#define PULL_BYTES_MAX (UINT64_C(64) << 20)
#define BUFFER_ALIGN 4096u
#define LATER_PARTS 8u
#define SPACE_AGAIN_MS 2000u
/* The LUN has too many orphans. */
#define BUSY_AGAIN_MS 100u

LOOP_ONLY static void pump(struct job *job);

void job_pump_init(struct job *job)
{
	for (unsigned i = 0; i < JOB_IOS; i++)
		job->ios[i].job = job;
	job->pull_bytes = PULL_BYTES;
}

void job_pump_clear(struct job *job)
{
	for (unsigned i = 0; i < JOB_IOS; i++)
		free(job->ios[i].buffer);
}

static bool has_buffers(struct job *job)
{
	bool has_all = true;

	for (unsigned i = 0; i < JOB_IOS && job_pushes(job); i++) {
		if (!job->ios[i].buffer)
			job->ios[i].buffer = aligned_alloc(BUFFER_ALIGN, PULL_BYTES);
		has_all = has_all && job->ios[i].buffer;
	}
	return has_all;
}

static void on_timer(struct loop_timer *timer)
{
	struct job *job = CONTAINER_OF(timer, struct job, timer);

	loop_role_assume();
	if (job->is_waiting)
		job->pump_res = 0;
	job->is_waiting = false;
	pump(job);
}

/* -- One I/O -- */

LOOP_ONLY static void settle(struct job *job, const struct job_io *io)
{
	uint64_t now_ns = clock_now_ns();
	uint64_t from_ns = job->pause_until_ns > now_ns ? job->pause_until_ns : now_ns;
	uint64_t moved = job_pushes(job) ? io->push.moved_bytes : io->pull.moved_bytes;

	job->moved_bytes += moved;
	job->left_bytes = io->push.left_bytes;
	if (job->rate_bytes > 0)
		job->pause_until_ns =
			from_ns + (uint64_t)((double)moved * 1e9 / (double)job->rate_bytes);
	if (moved > 0 && job->rounds == 0) {
		job->pull_bytes = PULL_BYTES;
	} else if (job->pull_bytes < PULL_BYTES_MAX) {
		job->pull_bytes *= 2;
	}
	/* From the first that failed on, all is asked for again. */
	if (io->res < 0) {
		job->pump_res = io->res;
		job->at = io->offset < job->at ? io->offset : job->at;
	}
}

static void on_back(struct loop_msg *msg)
{
	struct job_io *io = CONTAINER_OF(msg, struct job_io, msg);
	struct job *job = io->job;

	loop_role_assume();
	io->busy = false;
	job->ios_running--;
	settle(job, io);
	pump(job);
}

static void on_done(struct lun_io *of, int res)
{
	struct job_io *io = CONTAINER_OF(of, struct job_io, io);

	io->res = res;
	loop_post(io->job->control, &io->msg, on_back);
}

static void on_arrived(struct loop_msg *msg)
{
	struct job_io *io = CONTAINER_OF(msg, struct job_io, msg);
	struct lun *lun = io->job->lun;

	loop_role_assume();
	lun_io_submit(lun, lun->group->loops[0], &io->io);
}

static uint64_t in_pulls(uint64_t bytes)
{
	return (bytes + PULL_BYTES - 1) / PULL_BYTES * PULL_BYTES;
}

/* What was pulled is passed by; what has changed would be pushed again, so that is behind the end.
 */
static uint64_t offset_of_flush(const struct job *job)
{
	return job_pushes(job) ? in_pulls(job->files.layer_bytes) : 0;
}

static void describe(const struct job *job, struct job_io *io)
{
	const struct job_files *files = &job->files;

	lun_io_init(&io->io);
	io->pull = (struct lun_pull){.layer = files->layer_inode, .base = files->base_inode};
	io->push = (struct lun_push){.layer = files->pushed_inode, .to = files->layer_inode};
	io->io.op = LUN_PULL;
	io->io.iov[0] = (struct iovec){&io->pull, sizeof(io->pull)};
	io->io.iov_count = 1;
	if (!job_pushes(job))
		return;
	io->io.op = LUN_PUSH;
	io->io.iov[0] = (struct iovec){&io->push, sizeof(io->push)};
	io->io.iov[1] = (struct iovec){io->buffer, PULL_BYTES};
	io->io.iov_count = 2;
}

LOOP_ONLY static void submit(struct job *job, struct job_io *io, uint64_t length, uint32_t flags)
{
	io->busy = true;
	io->offset = job->at;
	io->length = length;
	describe(job, io);
	io->io.flags = flags;
	/* In whole blocks of the LUN: the layer's end ends it anyway. */
	io->io.offset_bytes = length > 0 ? io->offset : offset_of_flush(job);
	io->io.length_bytes = job->pull_bytes;
	io->io.done = on_done;
	job->ios_running++;
	job->at += length;
	loop_post(job->lun->group->loops[0], &io->msg, on_arrived);
}

/* -- All of them -- */

static struct job_io *find_free(struct job *job)
{
	for (unsigned i = 0; i < JOB_IOS; i++)
		if (!job->ios[i].busy)
			return &job->ios[i];
	return NULL;
}

/* A rate lets it go on, or in a while. */
LOOP_ONLY static bool may_go_on(struct job *job)
{
	uint64_t now_ns = clock_now_ns();

	if (job->rate_bytes == 0 || job->pause_until_ns <= now_ns || job->hold.stage == HOLD_HELD)
		return true;
	loop_timer_start(job->control, &job->timer,
			 (job->pause_until_ns - now_ns) / CLOCK_NS_PER_MS + 1, on_timer);
	return false;
}

LOOP_ONLY static void submit_some(struct job *job)
{
	uint64_t end = job->files.layer_bytes;
	struct job_io *io;

	while (job->at < end && (io = find_free(job)) && may_go_on(job)) {
		uint64_t left = end - job->at;

		submit(job, io, left < job->pull_bytes ? left : job->pull_bytes, 0);
	}
	if (job->at < end || job->ios_running > 0 || job->is_flushing)
		return;
	job->is_flushing = true;
	submit(job, &job->ios[0], 0, LUN_IO_DURABLE);
}

LOOP_ONLY static void wait_for_space(struct job *job)
{
	if (job->state != JOB_NO_SPACE)
		log_warn("job", "%s: %s: no space is left; it goes on when there is some",
			 lun_name(job->lun), job_kind_name(job->order.kind));
	job->state = JOB_NO_SPACE;
	(void)snprintf(job->why, sizeof(job->why),
		       "no space is left in the pool; it goes on when there is some");
	job->is_waiting = true;
	loop_timer_start(job->control, &job->timer, SPACE_AGAIN_MS, on_timer);
}

LOOP_ONLY static void stop_pumping(struct job *job, int res)
{
	job->is_pumping = false;
	loop_timer_stop(job->control, &job->timer);
	if (res == 0) {
		job_pumped(job);
		return;
	}
	if (job->why[0] == '\0' || job->state == JOB_NO_SPACE)
		(void)snprintf(job->why, sizeof(job->why), "data could not be moved: %s",
			       strerrordesc_np(-res));
	job_unmoved(job, res);
}

/* All have ended, or none may begin. */
static void pump(struct job *job)
{
	bool is_over = job->canceled || job->stopped;

	if (!is_over && job->pump_res == 0) {
		if (job->is_flushing && job->ios_running == 0) {
			stop_pumping(job, 0);
			return;
		}
		if (job->state == JOB_NO_SPACE)
			job->why[0] = '\0';
		job->state = JOB_RUNNING;
		submit_some(job);
	} else if (job->ios_running == 0) {
		bool waits = !is_over && job->hold.stage == HOLD_NONE;

		job->is_flushing = false;
		if (waits && job->pump_res == -ENOSPC) {
			wait_for_space(job);
		} else if (waits && job->pump_res == -EBUSY) {
			job->is_waiting = true;
			loop_timer_start(job->control, &job->timer, BUSY_AGAIN_MS, on_timer);
		} else {
			stop_pumping(job, is_over ? -ECANCELED : job->pump_res);
		}
	}
}

void job_pump_wake(struct job *job)
{
	if (!job->is_pumping)
		return;
	job->pause_until_ns = 0;
	pump(job);
}

/* Rounds behind the first have little to do, anywhere. */
static uint64_t first_bytes(const struct job *job)
{
	return job->rounds == 0 ? PULL_BYTES : in_pulls(job->files.layer_bytes / LATER_PARTS);
}

void job_pump_start(struct job *job)
{
	job->at = 0;
	job->pump_res = 0;
	job->is_waiting = job->is_flushing = false;
	job->pull_bytes = first_bytes(job);
	job->has_pushed = job->has_pushed || job_pushes(job);
	job->is_pumping = true;
	if (has_buffers(job)) {
		pump(job);
	} else {
		stop_pumping(job, -ENOMEM);
	}
}
