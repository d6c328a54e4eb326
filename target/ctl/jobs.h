/*
 * Jobs on images of LUNs (lun/job.h), as the daemon has them: begun by requests of the control
 * socket, resumed at its start from the state directory, told to the log, stopped with it.
 *
 * Threads: the control loop's. Read next: jobs.c, order_jobs.c.
 */
#ifndef TARGET_CTL_JOBS_H
#define TARGET_CTL_JOBS_H

#include "lun/job.h"
#include "target/ctl/build.h"

struct jobs;

/* One that runs, or is about to. */
struct running_job {
	struct list_node link;
	struct jobs *jobs;
	struct generation *generation; /* Held. */
	struct lun *lun;
	struct job_order order;
	char path[JOB_PATH_BYTES]; /* Of the active file, symbolic links resolved; "": not known. */
	struct job *job;           /* NULL: it is about to be resumed. */
	struct control_request
		*request; /* Answered when it has begun, or with `waits` at its end; or NULL. */
	struct control_request *canceler; /* Answered at its end; or NULL. */
	bool waits;
	bool has_begun;
	struct loop_timer timer; /* Progress, for who waits. */
};

/* -ENOMEM. `runtime` outlives it. */
int MUST_CHECK jobs_create(struct runtime *runtime, struct jobs **out);
/* No loop runs. NULL is allowed. */
void jobs_free(struct jobs *jobs);
/* Clean the images' folders (leftovers.h), and resume what the state directory has records of. */
LOOP_ONLY void jobs_start(struct jobs *jobs);
/* The daemon ends: none is begun any more. Those that run are stopped by the end of their LUNs
 * (lun_end.h). `done` runs, perhaps inside, when no helper thread uses what is of `jobs`. */
LOOP_ONLY void jobs_stop(struct jobs *jobs, void (*done)(void *arg), void *arg);
/* Begin one, for `request` or for nobody (NULL). `generation` is held, and released when it has
 * ended. Negative errno: it has not begun, nothing was answered or released; -EBUSY, -ENOMEM,
 * -ENODEV: the LUN is not one that can be written, or goes. */
LOOP_ONLY int MUST_CHECK jobs_begin(struct jobs *jobs, const struct running_job *from);
/* All of them. */
struct list_node *jobs_list(struct jobs *jobs);
/* That whose LUN, layer, or image this path means; NULL: none. */
struct running_job *jobs_find(struct jobs *jobs, const char *path);
/* Find out `path`, of the order's. Blocks: a helper thread. */
void jobs_resolve(struct running_job *running);
json_t *jobs_json(const struct running_job *running);

#endif
