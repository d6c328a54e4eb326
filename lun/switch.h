/*
 * Changing what lies under LUNs that are in use: a snapshot, a way back, the end of a job, growth.
 * Their I/O waits, their images are closed, files are changed by code that needs to know nothing of
 * I/O, images are opened again by the names they had, and I/O goes on. Of several LUNs all are
 * closed before anything is changed: that is one instant for all of them. Hosts see a pause, of
 * milliseconds where disks are well.
 *
 *     drain all -> admit -> flush, close (helper thread) -> change -> open -> publish, resume all
 *
 * All or nothing. A LUN that cannot be drained in time, a change that is not admitted, or an image
 * that fails to be flushed: nothing is touched. `change` fails: images are opened as they were. An
 * image does not open afterwards, or is not what hosts know: `undo`, and they are opened as they
 * were. Only what does not open then either goes offline, with the reason: hosts get an error,
 * never other data. So does what nobody knows, because making it durable has failed.
 *
 * Not here: what is changed in files. Read next: switch.c, drain.c.
 */
#ifndef LUN_SWITCH_H
#define LUN_SWITCH_H

#include "lun/lun.h"

/*
 * Its owner's until lun_switch_start and from `done` on. LUNs must not be closed meanwhile: who can
 * be removed (retire.h) is kept by holding its generation. A LUN that somebody else drains (its
 * removal, the daemon's end, another switch) fails it with -EBUSY; who wants to drain one that is
 * switched gets that too, and may try again.
 */
struct lun_switch {
	/* Set before lun_switch_start. */
	struct lun **luns; /* Each once. */
	unsigned count;
	struct loop *control;
	uint64_t deadline_ms; /* For the drain; what follows ends when the disk lets it. */
	/* When all went well, LUNs whose configuration does not fix their size take that of their
	 * images, and whoever began it tells hosts. Else they keep their own. */
	bool grows;
	/* Control loop, gates closed, nothing under way: whether it may still be. Negative errno,
	 * and a sentence: nothing is touched. NULL: it may. */
	int (*admit)(struct lun_switch *change, char why[LUN_WHY_MAX]);
	/* Helper thread, images closed. After an error (negative errno, and a sentence) all files
	 * are as they were before, or `unsure` is set. */
	int (*change)(struct lun_switch *change, char why[LUN_WHY_MAX]);
	/* Helper thread, images closed: `change` went well, but one did not open. NULL: nothing has
	 * to be undone. */
	void (*undo)(struct lun_switch *change);
	/* Set by one that failed: what it wrote may not be durable (a failed fdatasync is final),
	 * so what is read may be lost later. LUNs go offline. */
	bool unsure;
	/*
	 * Control loop, never from inside start; the new state is published. -EBUSY: drained by
	 * somebody else. -ETIMEDOUT: not drained in time. -ENODEV: a LUN is offline. -EIO: one's
	 * flush has failed. Others: of `admit`, `change`, or of opening afterwards. `why` says it
	 * in a sentence without the LUN's name.
	 */
	void (*done)(struct lun_switch *change, int res);
	char why[LUN_WHY_MAX];
	unsigned failed; /* The LUN that `why` speaks of, where it is one: its place in `luns`. */
	/* Results, for logs: how long I/O waited, and of that the helper thread. */
	uint64_t paused_ns, changing_ns;
	/* Private to switch.c. */
	unsigned pending;
	int res;
	uint64_t began_ns;
	struct loop_msg msg;
	struct loop_op op;
	struct loop_timer timer;
};

LOOP_ONLY void lun_switch_start(struct lun_switch *change);

/*
 * Who changes a LUN's files in steps, of which switches are some, claims it, and nobody else does
 * so until it is given up. False: somebody has. Control loop.
 */
LOOP_ONLY bool MUST_CHECK lun_claim(struct lun *lun);
LOOP_ONLY void lun_unclaim(struct lun *lun);

#endif
