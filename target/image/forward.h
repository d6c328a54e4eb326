/*
 * Verbs on images that a daemon serves become requests on its control socket (../ctl/CONTROL.md).
 *
 * Main thread. Read next: forward.c.
 */
#ifndef TARGET_IMAGE_FORWARD_H
#define TARGET_IMAGE_FORWARD_H

#include "target/image/verb.h"

/* Somebody has the file open for writing. */
bool forward_is_wanted(const char *path);
/* The path as a daemon knows it, which works elsewhere. NULL where there is no such file. */
json_t *forward_path(const char *path);
/*
 * Ask the daemon; `parameters` is taken over. 0 with its answer in `result`; what it refused, in
 * its words; or that `path` is locked by another program, if no daemon serves it.
 */
int MUST_CHECK forward_ask(struct image_order *order, const char *request, json_t *parameters,
			   const char *path);

#endif
