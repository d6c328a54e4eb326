/*
 * A job, looked at now and then. See own_job.h. It happens on the control loop; the main thread
 * waits for its end.
 */
#include "target/image/own_job.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "lun/files.h"
#include "target/image/interrupt.h"
#include "target/image/own_lun.h"
#include "target/image/progress.h"

#define LOOK_NS 100000000

struct own_job {
	struct own_lun own; /* First. */
	struct image_order *order;
	const struct job_order *what;
	sem_t ended;
	/* The control loop's, and the main thread's when it waits for none. */
	struct job *job;
	int res;
	uint64_t done_bytes, total_bytes, moved_bytes;
	char why[IMAGE_WHY_BYTES];
	bool has_spoiled;
};

static struct own_job *of_msg(struct loop_msg *msg)
{
	return CONTAINER_OF(own_lun_of(msg), struct own_job, own);
}

/* -- On the control loop -- */

static void look(struct own_job *run, const struct job *job)
{
	struct job_view view;

	job_look(job, &view);
	run->done_bytes = view.done_bytes;
	run->total_bytes = view.total_bytes;
	run->moved_bytes = view.moved_bytes;
	run->has_spoiled = view.spoiled[0] != '\0';
	(void)snprintf(run->why, sizeof(run->why), "%s", view.why);
}

static void on_ended(struct job *job, int res, void *arg)
{
	struct own_job *run = arg;

	look(run, job);
	run->job = NULL;
	run->res = res;
	(void)sem_post(&run->ended);
}

static void on_start(struct loop_msg *msg)
{
	struct own_job *run = of_msg(msg);
	const struct job_spec spec = {
		.order = run->what,
		.lun = run->own.lun,
		.control = run->own.control,
		.ended = on_ended,
		.arg = run,
	};

	loop_role_assume();
	run->res = job_start(&spec, &run->job);
	own_lun_called(&run->own);
}

static void on_look(struct loop_msg *msg)
{
	struct own_job *run = of_msg(msg);

	loop_role_assume();
	if (run->job != NULL)
		look(run, run->job);
	if (run->job != NULL && interrupted())
		(void)job_cancel(run->job);
	own_lun_called(&run->own);
}

/* -- Running -- */

static bool has_ended(struct own_job *run)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += LOOK_NS;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	return sem_timedwait(&run->ended, &until) == 0;
}

static void wait_for_end(struct own_job *run)
{
	struct progress progress;

	progress_begin(run->order, &progress);
	while (!has_ended(run)) {
		own_lun_call(&run->own, on_look);
		progress_show(&progress, run->done_bytes, run->total_bytes);
	}
	progress_end(&progress);
}

static int answer(struct own_job *run)
{
	const char *path = run->what->path;

	if (run->res == -ECANCELED)
		return image_refuse(run->order, -EINTR, NULL,
				    run->has_spoiled
					    ? "interrupted; the image is what it was, the snapshot "
					      "below it is none any more: commit once more"
					    : "interrupted; the chain is what it was");
	if (run->res != 0)
		return image_refuse(run->order, run->res, NULL, "%s: %s", path,
				    run->why[0] != '\0' ? run->why : files_error(run->res));
	run->order->result = json_pack("{s:o, s:s, s:I}", "image", image_text(path), "kind",
				       job_kind_name(run->what->kind), "moved_bytes",
				       (json_int_t)run->moved_bytes);
	return 0;
}

static int run_job(struct own_job *run)
{
	int res = own_lun_open(run->order, run->what->path, &run->own);

	if (res != 0)
		return res;
	own_lun_call(&run->own, on_start);
	if (run->res == 0)
		wait_for_end(run);
	res = own_lun_close(&run->own);
	if (run->res == 0)
		run->res = res;
	return answer(run);
}

int own_job_run(struct image_order *order, const struct job_order *what)
{
	struct own_job *run = calloc(1, sizeof(*run));
	int res;

	if (run == NULL)
		return image_refuse(order, -ENOMEM, NULL, "memory is short");
	run->order = order;
	run->what = what;
	(void)sem_init(&run->ended, 0, 0);
	res = run_job(run);
	(void)sem_destroy(&run->ended);
	free(run);
	return res;
}
