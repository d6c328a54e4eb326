/*
 * At the daemon's start: what a daemon that was killed in the middle of a snapshot, or another
 * change of images' files, has left in their folders is removed (lun/family_change.h).
 *
 * Read next: leftovers.c.
 */
#ifndef TARGET_CTL_LEFTOVERS_H
#define TARGET_CTL_LEFTOVERS_H

#include <stdatomic.h>

#include "target/ctl/build.h"

struct leftovers {
	char **paths; /* Of images; owned. */
	size_t count;
};

/* Whose folders are meant: those of the qcow2 LUNs. Without memory: fewer. */
LOOP_ONLY void leftovers_find(struct leftovers *leftovers, struct runtime *runtime);
/* Look into each folder once, until `stopping`. Blocks; any thread but a loop's. Frees the paths.
 */
void leftovers_remove(struct leftovers *leftovers, const atomic_bool *stopping);
void leftovers_free(struct leftovers *leftovers);

#endif
