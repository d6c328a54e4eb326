/*
 * Signals that ask for an end: long work looks here, ends, and takes away what it has begun.
 *
 * Any thread asks. Read next: interrupt.c.
 */
#ifndef TARGET_IMAGE_INTERRUPT_H
#define TARGET_IMAGE_INTERRUPT_H

#include <stdbool.h>

/* From here on SIGINT, SIGTERM and SIGHUP are noted; a second one ends the program at once. */
void interrupt_watch(void);
bool interrupted(void);

#endif
