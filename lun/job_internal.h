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
	struct lun_push push;
	void *buffer; /* Of a push. */
	struct lun_io io;
	struct loop_msg msg;
};

/* Of hosts' writes; see job_hold.c. */
struct job_hold {
	enum {
		HOLD_NONE,
		HOLD_TAKING,
		HOLD_HELD,
		HOLD_DROPPING,
	} stage; /* The control loop's. */
	struct lun_exclusive range;
	struct loop_msg msg, drop, answer;
	void (*then)(struct job *job);
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
	bool has_begun;
	bool canceled;
	bool goes_up;    /* Down it did not come to its end. */
	bool has_pushed; /* Something may have gone down. */
	struct job_hold hold;
	uint64_t left_bytes, round_bytes; /* Still to be pushed; so much when the round began. */
	unsigned rounds, in_vain;
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
void job_pump_clear(struct job *job);
/* Move all, and make it durable; then job_pumped or job_unmoved. */
LOOP_ONLY void job_pump_start(struct job *job);
/* Something has changed: whether it goes on, how fast. */
LOOP_ONLY void job_pump_wake(struct job *job);

/* -- job_hold.c -- */

/* Hosts' writes end and wait; then job_held, with false where one does not end in time: to be
 * dropped in either case. */
LOOP_ONLY void job_hold_take(struct job *job);
/* They go on; then `then`, at once where none are held. */
LOOP_ONLY void job_hold_drop(struct job *job, void (*then)(struct job *job));

/* -- job.c -- */

static inline bool job_pushes(const struct job *job)
{
	return job->files.pushed[0] != '\0';
}

LOOP_ONLY void job_fail(struct job *job, int res);
/* True: it does not go on, and has been told so. */
LOOP_ONLY bool job_is_over(struct job *job);
/* All is where it is to be: the header, or the names. */
LOOP_ONLY void job_finish(struct job *job);
/* Up instead of down; `why` says why. No writes are held. */
LOOP_ONLY void job_turn_up(struct job *job);

/* -- job_rounds.c -- */

LOOP_ONLY void job_pumped(struct job *job);
LOOP_ONLY void job_unmoved(struct job *job, int res);
LOOP_ONLY void job_held(struct job *job, bool is_held);
/* Another round, in a while. */
LOOP_ONLY void job_push_later(struct job *job);

#endif
