/*
 * The end of one LUN: everything written is made durable, then nothing of it is under way any more.
 * Of the daemon's end (stop.h) and of a LUN's that is removed (retire.h).
 *
 * Threads: the control loop's, but for the flush, which runs on a data loop. Read next: lun_end.c.
 */
#ifndef TARGET_CTL_LUN_END_H
#define TARGET_CTL_LUN_END_H

#include "lun/lun.h"

enum lun_end_stage {
	LUN_END_IDLE, /* Not begun, or done. */
	LUN_END_FLUSHING,
	LUN_END_DRAINING,
};

/* Its owner's until lun_end_start and from `done` on; then it may be started again. */
struct lun_end {
	/* Set before lun_end_start. */
	struct lun *lun;
	struct loop *control;
	struct loop *loop;    /* That flushes it. */
	uint64_t deadline_ns; /* When the drain gives up, by the control loop's time. */
	void (*done)(struct lun_end *end);
	/* The results. With drain_res 0 the gate stays closed: nothing is under way. */
	int flush_res;
	int drain_res;
	enum lun_end_stage stage;
	/* Private to lun_end.c. */
	struct loop_msg msg;
	struct lun_io io;
	struct loop_timer again; /* The data loop's. */
	struct loop_timer drain_again;
};

/* `done` runs later. A flush that the disk does not end has no deadline. */
LOOP_ONLY void lun_end_start(struct lun_end *end);

#endif
