/*
 * A job, for job.c and job_pump.c. Read next: job.c.
 */
#ifndef LUN_JOB_INTERNAL_H
#define LUN_JOB_INTERNAL_H

#include "lun/job.h"
#include "lun/job_files.h"
#include "lun/lun_internal.h"
#include "lun/switch.h"

/* Under way at once: one is read while another is written. */
#define JOB_IOS 2u

struct job_io {
	struct job *job;
	bool busy; /* Control loop. */
	uint64_t offset, length;
	int res;
	struct lun_pull pull;
	struct lun_io io;
	struct loop_msg msg;
};

struct job {
	/* Fixed. */
	struct job_order order; /* But its rate. */
	struct lun *lun;
	struct loop *control;
	const char *state_dir;
	void (*begun)(struct job *job, void *arg);
	void (*ended)(struct job *job, int res, void *arg);
	void *arg;
	uint64_t began_ns;
	/* A helper thread's while it is under way, then fixed. */
	struct job_files files;
	/* The control loop's. */
	enum job_state state;
	char why[LUN_WHY_MAX];
	int res;
	bool is_found; /* `files` are fixed. */
	bool canceled;
	bool is_open_below; /* The layer is below the top, and open for writing. */
	void (*stopped)(void *arg);
	void *stopped_arg;
	struct lun_switch change;
	void (*after_switch)(struct job *job, int res);
	struct loop_op op;
	struct loop_timer timer;
	/* job_pump.c */
	struct job_io ios[JOB_IOS];
	unsigned ios_running;
	bool is_pumping;
	bool is_flushing; /* The last one, which makes all durable. */
	uint64_t at;      /* All before it has been asked for. */
	uint64_t moved_bytes;
	uint64_t pull_bytes;     /* Of the next one. */
	uint64_t pause_until_ns; /* Because of its rate. */
	int pump_res;
	bool is_waiting; /* To try again what failed with pump_res. */
};

/* -- job_pump.c -- */

void job_pump_init(struct job *job);
/* Move all, and make it durable; then job_pumped or job_fail. */
LOOP_ONLY void job_pump_start(struct job *job);
/* Something has changed: whether it goes on, how fast. */
LOOP_ONLY void job_pump_wake(struct job *job);

/* -- job.c -- */

LOOP_ONLY void job_pumped(struct job *job);
LOOP_ONLY void job_fail(struct job *job, int res);

#endif
