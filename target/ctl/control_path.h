/*
 * The socket's place in the file system: taken so that of two daemons one gets it, and given back.
 * Not what is said through it: control.h.
 *
 * Threads: the control thread, before the loops run and after they have ended.
 */
#ifndef TARGET_CTL_CONTROL_PATH_H
#define TARGET_CTL_CONTROL_PATH_H

#include "base/attr.h"

#include <sys/types.h>

struct control_path {
	const char *name; /* Borrowed. */
	int fd;           /* Listening, non-blocking; -1: none. */
	dev_t device;     /* Of the file, by which it is known again. */
	ino_t inode;
};

#define CONTROL_WHY_BYTES 512u

/*
 * Listen at `name`, mode 0600; the folder is made, with mode 0700, if it is missing. What is left
 * of a daemon that was killed is replaced; where somebody listens nothing is touched. Negative
 * errno, and a sentence in `why` that says what would mend it. `name` must outlive it.
 */
int MUST_CHECK control_path_claim(const char *name, struct control_path *out,
				  char why[CONTROL_WHY_BYTES]);
/* Remove the file, if it is still the same, and close the socket. Any number of times. */
void control_path_release(struct control_path *path);

#endif
