/*
 * What the files of families share. Nobody else's: see family.h and family_change.h.
 *
 * Any thread but a loop's. Read next: family_read.c, family_change.c.
 */
#ifndef LUN_FAMILY_INTERNAL_H
#define LUN_FAMILY_INTERNAL_H

#include "lun/family.h"
#include "lun/family_change.h"

/* Where the sentence for the operator goes. */
struct family_why {
	char *text;
	size_t bytes;
};

/* -- family_place.c -- */

/* Temporary files: overlays that wait for their rename, old content that waits for its removal.
 * Nobody's child, nobody's base. */
#define FAMILY_TEMPORARY_BYTES 32u

/* -EIO: no random numbers. */
int MUST_CHECK family_temporary_name(char out[FAMILY_TEMPORARY_BYTES]);
bool family_is_temporary(const char *name);

int PRINTF_LIKE(3, 4) family_refuse(const struct family_why *why, int res, const char *format, ...);

/* -- family.c -- */

/* Sort the images, and find out what they are to each other. -ENOMEM. */
int MUST_CHECK family_link(struct family *family);

#endif
