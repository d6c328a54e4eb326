/*
 * From a path to the LUN that serves it: by device and inode, so by whatever name, of the
 * configured active file. For requests that speak of images.
 *
 * Threads: said at each function. Read next: served.c, order_image.h.
 */
#ifndef TARGET_CTL_SERVED_H
#define TARGET_CTL_SERVED_H

#include "target/ctl/requests.h"

/*
 * The LUN of the generation, which the caller holds, whose image is the file at `path`. 0; -ENOENT:
 * nobody serves it; other negative errno: it cannot be looked at. `lu` is left alone. Blocks: a
 * helper thread.
 */
int MUST_CHECK served_find(const struct generation *generation, const char *path,
			   struct named_lun *out);
/* Its logical unit. Control loop. */
struct scsi_lu *served_lu(const struct generation *generation, const struct named_lun *lun);
/* Sessions that are logged in to the LUN's target. Control loop. */
unsigned served_sessions(const struct runtime *runtime, const struct generation *generation,
			 const struct named_lun *lun);

#endif
