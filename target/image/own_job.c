/*
 * Loops, a LUN, a job, and their end. See own_job.h. The main thread waits; all else happens on the
 * control loop, to which it posts one message at a time.
 */
#include "target/image/own_job.h"

#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "lun/files.h"
#include "target/image/interrupt.h"
#include "target/image/progress.h"

#define LOOK_NS 100000000
#define REST_MS 60000u
#define BUFFERS 8u

struct own_job {
	struct image_order *order;
	const struct job_order *what;
	struct loop_group group;
	struct loop *control;
	struct lun *lun;
	sem_t called, ended;
	struct loop_msg msg;
	/* The control loop's, and the main thread's when it waits for none. */
	struct job *job;
	int res;
	uint64_t done_bytes, total_bytes, moved_bytes;
	char why[IMAGE_WHY_BYTES];
};

static struct own_job *of_msg(struct loop_msg *msg)
{
	return CONTAINER_OF(msg, struct own_job, msg);
}

/* Have it run on the control loop, and wait. */
static void call(struct own_job *own, loop_msg_fn *fn)
{
	loop_post(own->control, &own->msg, fn);
	while (sem_wait(&own->called) != 0)
		continue;
}

/* -- On the control loop -- */

static void look(struct own_job *own, const struct job *job)
{
	struct job_view view;

	job_look(job, &view);
	own->done_bytes = view.done_bytes;
	own->total_bytes = view.total_bytes;
	own->moved_bytes = view.moved_bytes;
	(void)snprintf(own->why, sizeof(own->why), "%s", view.why);
}

static void on_ended(struct job *job, int res, void *arg)
{
	struct own_job *own = arg;

	look(own, job);
	own->job = NULL;
	own->res = res;
	(void)sem_post(&own->ended);
}

static void on_start(struct loop_msg *msg)
{
	struct own_job *own = of_msg(msg);
	const struct job_spec spec = {
		.order = own->what,
		.lun = own->lun,
		.control = own->control,
		.ended = on_ended,
		.arg = own,
	};

	loop_role_assume();
	own->res = job_start(&spec, &own->job);
	(void)sem_post(&own->called);
}

static void on_look(struct loop_msg *msg)
{
	struct own_job *own = of_msg(msg);

	loop_role_assume();
	if (own->job != NULL)
		look(own, own->job);
	if (own->job != NULL && interrupted())
		(void)job_cancel(own->job);
	(void)sem_post(&own->called);
}

static void on_drained(struct lun *lun UNUSED, int res, void *arg)
{
	struct own_job *own = arg;

	if (own->res == 0)
		own->res = res;
	(void)sem_post(&own->called);
}

static void on_drain(struct loop_msg *msg)
{
	struct own_job *own = of_msg(msg);

	loop_role_assume();
	lun_drain(own->lun, own->control, REST_MS, on_drained, own);
}

/* -- Setting up -- */

static int make_loops(struct own_job *own)
{
	struct loop_config config = {.name = "image", .index = 0, .buffer_count = BUFFERS};
	int res = loop_create(&config, &own->group.loops[0]);

	if (res != 0)
		return res;
	own->group.count = 1;
	config.name = "control";
	config.index = 1;
	return loop_create(&config, &own->control);
}

static int open_lun(struct own_job *own)
{
	const struct lun_spec spec = {
		.name = own->what->path,
		.type = "qcow2",
		.path = own->what->path,
		.write_cache = true,
	};
	const struct lun_state *state;
	int res = lun_open(&spec, &own->group, &own->lun);

	if (res != 0)
		return image_refuse(own->order, res, NULL, "%s: %s", spec.path, files_error(res));
	state = lun_state(own->lun);
	if (!state->online)
		return image_refuse(own->order, -EINVAL, "mend that first", "%s: %s", spec.path,
				    state->offline_reason);
	return 0;
}

static int start_loops(struct own_job *own)
{
	int res = loop_start(own->group.loops[0]);

	if (res != 0)
		return res;
	res = loop_start(own->control);
	if (res != 0) {
		loop_stop(own->group.loops[0]);
		loop_join(own->group.loops[0]);
	}
	return res;
}

static void stop_loops(struct own_job *own)
{
	loop_stop(own->control);
	loop_join(own->control);
	loop_stop(own->group.loops[0]);
	loop_join(own->group.loops[0]);
}

static void free_all(struct own_job *own)
{
	if (own->lun != NULL)
		lun_close(own->lun);
	if (own->group.loops[0] != NULL)
		loop_free(own->group.loops[0], false);
	if (own->control != NULL)
		loop_free(own->control, false);
	(void)sem_destroy(&own->called);
	(void)sem_destroy(&own->ended);
	free(own);
}

/* -- Running -- */

static bool has_ended(struct own_job *own)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += LOOK_NS;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	return sem_timedwait(&own->ended, &until) == 0;
}

static void wait_for_end(struct own_job *own)
{
	struct progress progress;

	progress_begin(own->order, &progress);
	while (!has_ended(own)) {
		call(own, on_look);
		progress_show(&progress, own->done_bytes, own->total_bytes);
	}
	progress_end(&progress);
}

static int answer(struct own_job *own)
{
	const char *path = own->what->path;

	if (own->res == -ECANCELED)
		return image_refuse(own->order, -EINTR, NULL,
				    "interrupted; the chain is what it was");
	if (own->res != 0)
		return image_refuse(own->order, own->res, NULL, "%s: %s", path,
				    own->why[0] != '\0' ? own->why : files_error(own->res));
	own->order->result = json_pack("{s:o, s:s, s:I}", "image", image_text(path), "kind",
				       job_kind_name(own->what->kind), "moved_bytes",
				       (json_int_t)own->moved_bytes);
	return 0;
}

static int run(struct own_job *own)
{
	int res = make_loops(own);

	if (res == 0)
		res = open_lun(own);
	if (res == 0)
		res = start_loops(own);
	if (res != 0)
		return image_refuse(own->order, res, NULL, "the work cannot begin: %s",
				    files_error(res));
	call(own, on_start);
	if (own->res == 0)
		wait_for_end(own);
	call(own, on_drain);
	stop_loops(own);
	return answer(own);
}

int own_job_run(struct image_order *order, const struct job_order *what)
{
	struct own_job *own = calloc(1, sizeof(*own));
	int res;

	if (own == NULL)
		return image_refuse(order, -ENOMEM, NULL, "memory is short");
	own->order = order;
	own->what = what;
	(void)sem_init(&own->called, 0, 0);
	(void)sem_init(&own->ended, 0, 0);
	log_set_level(LOG_LEVEL_ERROR);
	res = run(own);
	free_all(own);
	return res;
}
