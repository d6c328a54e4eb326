/*
 * All LUNs of a configuration, opened several at a time: what an open waits for is a disk, or a
 * server of files, and a first start makes images and identities durable one by one. Not their
 * place in targets (build.c) nor what a LUN is (lun.h).
 *
 * Threads: called by the control thread before the loops run, or by a helper thread of it; threads
 * of its own, which have ended when it returns. Read next: luns.c.
 */
#ifndef TARGET_CTL_LUNS_H
#define TARGET_CTL_LUNS_H

#include "conf/model.h"
#include "lun/lun.h"

/*
 * Open every LUN whose place in `out` is NULL; places are target by target in the order of the
 * configuration, all of them. A bad image makes a LUN that is offline. Of two LUNs with one image
 * the first gets it, whichever name it goes by. On failure (-ENOMEM) none is left open. `group`
 * must outlive the LUNs.
 */
int MUST_CHECK luns_open(const struct conf *conf, const struct loop_group *group, struct lun **out);

#endif
