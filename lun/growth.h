/*
 * A LUN whose image becomes larger only while it is closed (qcow2): its file is made larger in a
 * switch. Hosts are not told by this: the LUN has its old size until lun_grow.
 *
 * Read next: growth.c, switch.h, lun/qcow2/grow.h.
 */
#ifndef LUN_GROWTH_H
#define LUN_GROWTH_H

#include "lun/switch.h"

/* Make the closed qcow2 image at `path` larger, durably; nothing where it is large enough. Negative
 * errno and a sentence in `why` (LUN_WHY_MAX), -EBUSY where somebody has it open; with `unsure`
 * nobody knows its size. Any thread but a loop's. */
int MUST_CHECK image_grow(const char *path, uint64_t size_bytes, bool *unsure, char *why);

/* Its owner's until lun_growth_start and from `done` on. LUNs must not be closed meanwhile. */
struct lun_growth {
	/* Set before lun_growth_start. */
	struct lun *lun;
	struct loop *control;
	uint64_t size_bytes; /* As lun_measure answered. */
	uint64_t deadline_ms;
	/* Control loop, never from inside start. As of lun_switch; change.why says it. */
	void (*done)(struct lun_growth *growth, int res);
	struct lun_switch change;
};

/* True where lun_grow has to be preceded by this. Any thread. */
bool lun_grows_closed(const struct lun *lun);
LOOP_ONLY void lun_growth_start(struct lun_growth *growth);

#endif
