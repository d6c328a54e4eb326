/*
 * What the files of families share. Nobody else's: see family.h and family_change.h.
 *
 * Any thread but a loop's. Read next: family_read.c, family_change.c.
 */
#ifndef LUN_FAMILY_INTERNAL_H
#define LUN_FAMILY_INTERNAL_H

#include <sys/stat.h>

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

/* -- family_change.c, family_undo.c -- */

enum change_stage {
	CHANGE_PREPARED,
	CHANGE_LINKED,  /* What is behind has its second name. */
	CHANGE_RENAMED, /* Not durable yet. */
	CHANGE_COMMITTED,
	CHANGE_UNDONE,
	CHANGE_STUCK, /* Neither: it could not be taken back. */
};

struct family_change {
	struct family_place place;
	struct stat folder; /* Tells folders apart. */
	char behind[FAMILY_NAME_BYTES];
	bool keeps; /* `behind` is a snapshot's name. */
	struct family_overlay overlay;
	uint64_t size_bytes; /* Of the active file's disk. */
	struct stat active;
	struct family_base base; /* Of a rollback: locked as one that is only read. */
	int old;                 /* During a commit: the active file, locked. */
	int held; /* What is behind, where the name is temporary: nobody's to clean up. */
	enum change_stage stage;
};

/* Changes in the order of their folders, so that all who take several take them alike. */
struct family_group {
	struct family_change **changes;
	unsigned count;
	unsigned locked; /* Changes whose folder is. */
	const struct family_why *why;
};

/* All their folders. */
int MUST_CHECK family_group_lock(struct family_change *const changes[], unsigned count,
				 struct family_group *group, const struct family_why *why);
void family_group_unlock(struct family_group *group);
int family_group_sync(const struct family_group *group);

static inline bool family_is_same_file(const struct stat *one, const struct stat *other)
{
	return one->st_dev == other->st_dev && one->st_ino == other->st_ino;
}

/* Open what has the active name now, and lock it as who writes it would. Who has just closed it may
 * be waited for: the kernel lets go of a file when the last I/O has been accounted for. */
int MUST_CHECK family_change_lock(const struct family_change *change, bool waits, int *out,
				  const struct family_why *why);
/* What is behind is nobody's to clean up meanwhile. */
void family_change_hold(struct family_change *change);
/* Back to what was before its rename. */
int family_change_take_back(struct family_change *change);

/* family_mark_base, where that can be. */
int MUST_CHECK family_become_base(int fd, const struct family_why *why);

/* -- family_base.c -- */

/* It has the mark of bases; what is no answer is taken for yes. */
bool family_may_be_base(int fd);

/* -- family_merge.c -- */

/* It has the mark, whatever that says. */
bool family_merge_may_be(int fd);

/* -- family_recover.c -- */

/* Leftovers that are to be removed: held, so that nobody else does. Of more the rest stays. */
struct family_temporaries {
	struct {
		int fd;
		char name[FAMILY_TEMPORARY_BYTES];
	} files[64];
	unsigned count;
};

/* What has a temporary name and nobody's hand on it. The folder is locked, which removing large
 * files would take long for; second names of others go at once. */
void family_find_temporaries(int folder, struct family_temporaries *found);
/* Remove them, until *stopping; the folder is not locked any more afterwards. */
void family_remove_temporaries(int folder, struct family_temporaries *found,
			       const atomic_bool *stopping);
static inline bool family_is_stopping(const atomic_bool *stopping)
{
	return stopping && atomic_load_explicit(stopping, memory_order_relaxed);
}
/* As family_lock, until *stopping: -EINTR. */
int MUST_CHECK family_lock_until(int folder, const atomic_bool *stopping,
				 const struct family_why *why);
/* Names of a snapshot that an active file got beside its own. True: there were some, and `family`
 * is not what there is any more. The folder is locked. */
bool family_recover_links(int folder, const struct family *family);
/* From the snapshot, where it has that of the active file. Neither has to be open. */
void family_take_identity(int active, int snapshot, const char *name);
/* The identity of an image that a snapshot of it still has; of one image's, or (NULL) of all. The
 * folder is locked. */
void family_recover_identities(int folder, const struct family *family, const char *only);

/* -- family.c -- */

/* Sort the images, and find out what they are to each other. -ENOMEM. */
int MUST_CHECK family_link(struct family *family);

#endif
