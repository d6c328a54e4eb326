/*
 * The images of a folder and how they belong together: who is based on whom, what are the snapshots
 * of an image, what may be written or removed. Told from the headers of the folder's files each
 * time it is asked, so there is no second record that could disagree. Not here: changes
 * (family_change.h) and I/O.
 *
 * Snapshot S of vm1.qcow2 is the file vm1@S.qcow2 in the same folder. A LUN's configured path
 * always is the active file: a snapshot moves the old content to the snapshot's name, and puts an
 * overlay in its place.
 *
 * A file is raw because somebody says so, the caller or a child; what stands in it is never asked.
 * A header whose file nobody calls raw is believed as far as it says what the file is based on: at
 * worst too much is refused.
 *
 * Any thread but a loop's; it blocks. Read next: README.md, family_read.c, family.c.
 */
#ifndef LUN_FAMILY_H
#define LUN_FAMILY_H

#include "base/attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of one folder; more are refused. */
#define FAMILY_FILES_MAX 65536u
#define FAMILY_NAME_BYTES 256u
#define FAMILY_SNAPSHOT_MAX 64u

/* -- Places -- */

/* A folder and the plain name of a file in it ("" where the folder itself was named), symbolic
 * links resolved. */
struct family_place {
	int folder; /* A descriptor, or -1. */
	char name[FAMILY_NAME_BYTES];
};

/* The file need not be there, its folder has to. Negative errno and a sentence in `why`. */
int MUST_CHECK family_place_open(const char *path, struct family_place *out, char *why,
				 size_t why_bytes);
void family_place_close(struct family_place *place);
/*
 * Whoever changes which files a folder has, or what they are based on, does it alone: flock(2) on
 * `folder`, waited for some seconds; until family_unlock, or the descriptor is closed. -EBUSY, or
 * what flock says, with a sentence in `why`.
 */
int MUST_CHECK family_lock(int folder, char *why, size_t why_bytes);
void family_unlock(int folder);

/* -- Names -- */

/* vm1@S.qcow2 for vm1.qcow2 and S; -EINVAL for no name of a snapshot (1 to 64 of A-Z a-z 0-9 . _ -,
 * the first no dot), -ENAMETOOLONG. */
int MUST_CHECK family_snapshot_name(const char *active, const char *snapshot,
				    char out[FAMILY_NAME_BYTES]);
/* Whether `name` is a snapshot of `active`, by name; then which one. */
bool family_is_snapshot_of(const char *active, const char *name,
			   char snapshot[FAMILY_SNAPSHOT_MAX + 1]);

/*
 * What a base is where nobody tells: "qcow2" by its name, anything else is "raw". Never by what
 * stands in it: a guest may write a header of qcow2 into a raw disk.
 */
const char *family_format_of(const char *name);

/* -- The catalogue -- */

enum family_kind {
	FAMILY_OTHER,   /* No image, as far as anybody says. */
	FAMILY_RAW,     /* The caller or a child says so. */
	FAMILY_QCOW2,   /* Its header holds together. */
	FAMILY_REFUSED, /* It cannot be read, or its header is refused: see `why`. */
};

struct family_image {
	const char *name;
	enum family_kind kind;
	uint64_t device, inode;
	unsigned links;      /* Its names, in this folder and elsewhere. */
	bool may_be_base;    /* Of one with several names: it is, or was, or cannot say so. */
	uint64_t size_bytes; /* Of the guest's disk; of others than qcow2 that of the file. */
	uint64_t file_bytes, used_bytes;
	int64_t modified_ns; /* Since the epoch. */
	uint32_t cluster_bits;
	bool extended;
	const char *backing_name;   /* As it stands in the header; "": none. */
	const char *backing_format; /* "": not told. */
	/* NULL: it has none, or it is not in this folder, or not named by a plain name. */
	const struct family_image *parent;
	unsigned children; /* Images that are based on it. */
	unsigned depth;    /* Files of its chain, itself included; 0: it has no end. */
	const char *why;   /* What is wrong with it, or "". */
};

struct family {
	struct family_image *images; /* By name. */
	size_t count;
};

/* What the caller knows to be raw: names in the folder, up to a NULL; or NULL: nothing. */
struct family_words {
	const char *const *raw;
};

/*
 * Read a folder. A file that cannot be read or has a hostile header is reported in its `why` and
 * stops nothing. Negative errno and a sentence in `why` where the folder cannot be read, has too
 * many files, or memory is short.
 */
int MUST_CHECK family_read(int folder, const struct family_words *words, struct family **out,
			   char *why, size_t why_bytes);
void family_free(struct family *family);

/* NULL: none of that name. */
const struct family_image *family_find(const struct family *family, const char *name);
/* The children of a file in order, whatever name of it they use, never itself; NULL begins, and
 * ends. */
const struct family_image *family_next_child(const struct family *family,
					     const struct family_image *image,
					     const struct family_image *after);
/* Nothing is based on it by name: it may be replaced, or removed. -EBUSY and a sentence that names
 * the children. */
int MUST_CHECK family_may_remove(const struct family *family, const struct family_image *image,
				 char *why, size_t why_bytes);
/* Nothing is based on its content either, as far as that can be known: it may be written, resized,
 * rebased. */
int MUST_CHECK family_may_change(const struct family *family, const struct family_image *image,
				 char *why, size_t why_bytes);
/* Hard links of a base in other folders, where images may be based on it that nobody sees here. */
unsigned family_names_elsewhere(const struct family *family, const struct family_image *image);
/* The snapshots of an image, those with the shorter chains first, then the older ones. *out is the
 * caller's to free. -ENOMEM. */
int MUST_CHECK family_snapshots(const struct family *family, const struct family_image *image,
				const struct family_image ***out, size_t *count);
/* Whether `below` is in the chain of `image`. */
bool family_is_below(const struct family_image *below, const struct family_image *image);

#endif
