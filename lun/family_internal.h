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

/* -- family_overlay.c -- */

/* A new image without a name that anybody knows. */
struct family_overlay {
	int fd;                            /* Keeps family_recover from removing it. */
	char name[FAMILY_TEMPORARY_BYTES]; /* "": it has another by now, or none. */
};

struct family_overlay_spec {
	int folder;
	const char *backing_name, *backing_format;
	uint64_t size_bytes;
	uint32_t cluster_bits; /* 0: the usual ones. */
	bool standard;
	int like;        /* Its owner and mode are those of this file. */
	bool takes_over; /* And its identity: it will have its name. */
};

/* Durable. */
int MUST_CHECK family_overlay_make(const struct family_overlay_spec *spec,
				   struct family_overlay *out, const struct family_why *why);
/* Remove it, where it still has its temporary name. */
void family_overlay_drop(int folder, struct family_overlay *overlay);
/* Nothing was written to it: no guest's data would be lost with it. */
bool family_overlay_is_empty(const struct family_overlay *overlay);

/* A file that is to be a backing file. */
struct family_base {
	char name[FAMILY_NAME_BYTES];
	char format[16];
	int fd;
	uint64_t size_bytes; /* Of the guest's disk. */
};

/* Open `name`, whose format the caller knows, and see that a chain over it can be opened. */
int MUST_CHECK family_base_open(int folder, const char *name, const char *format,
				struct family_base *out, const struct family_why *why);

/* -- family_change.c -- */

/* family_mark_base, where that can be. */
int MUST_CHECK family_become_base(int fd, const struct family_why *why);

/* -- family_recover.c -- */

/* What has a temporary name and nobody's hand on it. The folder is locked. */
void family_recover_temporaries(int folder);
/* Names of a snapshot that an active file got beside its own. True: there were some, and `family`
 * is not what there is any more. The folder is locked. */
bool family_recover_links(int folder, const struct family *family);
/* The identity of an image that a snapshot of it still has; of one image's, or (NULL) of all. The
 * folder is locked. */
void family_recover_identities(int folder, const struct family *family, const char *only);

/* -- family.c -- */

/* Sort the images, and find out what they are to each other. -ENOMEM. */
int MUST_CHECK family_link(struct family *family);

#endif
