/*
 * A job, for job.c and job_pump.c.
 *
 * It belongs to the control loop. What a helper thread, a switch's or of an operation, has
 * meanwhile nobody else looks at before that has ended; job_look knows by `is_found` and the state.
 * There is no lock. Read next: job.c.
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
	/* The control loop's. */
	struct job *job; /* Fixed. */
	bool busy;
	uint64_t offset, length;
	/* Of the loop that has the I/O while it is busy. */
	int res;
	struct lun_pull pull;
	struct lun_io io;
	struct loop_msg msg;
};

struct job {
	/* Fixed. */
	struct lun *lun;
	struct loop *control;
	const char *state_dir;
	void (*begun)(struct job *job, void *arg);
	void (*ended)(struct job *job, int res, void *arg);
	void *arg;
	uint64_t began_ns;
	/* Helper threads' from the start until `is_found`, then fixed. Of `order` those only add
	 * which files it means, which nobody else reads. */
	struct job_order order;
	struct job_files files;
	/* Helper threads' while `op` is under way, the control loop's else. */
	char why[LUN_WHY_MAX];
	/* The control loop's. */
	enum job_state state;
	int res;
	uint64_t rate_bytes;
	bool is_found; /* `files` are fixed. */
	bool canceled;
	bool is_open_below; /* The layer is below the top, and open for writing. */
	unsigned recovery_looks;
	void (*stopped)(void *arg);
	void *stopped_arg;
	struct lun_switch change; /* Its own, and its helper thread's, while it is under way. */
	void (*after_switch)(struct job *job, int res);
	struct loop_op op;
	struct loop_timer timer;
	/* The record with another rate. A helper thread has `saved` while it is saving. */
	bool is_saving;
	bool is_concluding; /* When it is saved. */
	struct job_order saved;
	struct loop_op saving;
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
