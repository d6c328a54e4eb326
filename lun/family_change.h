/*
 * Changes of families on closed files: snapshots, rollback, clones, removal, and what is left of
 * those that were cut short. Each is one rename or link; before it everything is as it was, after
 * it everything is done. Operations on one folder exclude each other by flock on it, and leave
 * files alone that qemu or a server has open.
 *
 * A running LUN does the same in three parts: prepare while it is served, commit while it is
 * closed, end when it is served again:
 *
 *     family_snapshot_prepare(path, "monday", FAMILY_SERVED, &change, why, sizeof(why));
 *     ... drain and close ...
 *     res = family_commit(&change, 1, why, sizeof(why));
 *     ... open; if that fails: family_undo(&change, 1, why, sizeof(why)), open as before ...
 *     family_end(change);
 *
 * Any thread but a loop's, one at a time for each change; it blocks. All give 0 or negative errno,
 * and then a sentence in `why` that says what is wrong and what would mend it: -EBUSY where
 * somebody uses a file or is based on it, -EEXIST, -ENOENT, -EINVAL for names and sizes, -ENOTSUP,
 * and what the file system says.
 *
 * Read next: family.h, README.md, family_change.c, family_undo.c.
 */
#ifndef LUN_FAMILY_CHANGE_H
#define LUN_FAMILY_CHANGE_H

#include <stdatomic.h>

#include "lun/family.h"

/* An overlay that is about to take the place of an image's active file. */
struct family_change;

/* Whether the caller itself has the image open while it prepares. */
enum family_use {
	FAMILY_CLOSED, /* Anybody who has it open is a reason to refuse. */
	FAMILY_SERVED,
};

/*
 * Make an overlay over what `path` (a qcow2 image; the caller's word) holds, durable under a
 * temporary name. When it is committed the old content has the name of `snapshot`. The overlay has
 * the owner, mode and identity of the active file.
 */
int MUST_CHECK family_snapshot_prepare(const char *path, const char *snapshot, enum family_use use,
				       struct family_change **out, char *why, size_t why_bytes);
/*
 * The same over a snapshot of it: what was written since goes away, or gets the name of the
 * snapshot `keep` (NULL: none). It does not become smaller.
 */
int MUST_CHECK family_rollback_prepare(const char *path, const char *snapshot, const char *keep,
				       enum family_use use, struct family_change **out, char *why,
				       size_t why_bytes);
/* Put all in force, or none. The images are closed. Milliseconds. After an error every file is as
 * it was before, and the changes are only to be ended. */
int MUST_CHECK family_commit(struct family_change *const changes[], unsigned count, char *why,
			     size_t why_bytes);
/* Take them back: only what was committed, and not written to since. Where that fails, old content
 * that was to go away is kept as the snapshot "undo-" and the time in UTC; the log names it. */
int MUST_CHECK family_undo(struct family_change *const changes[], unsigned count, char *why,
			   size_t why_bytes);
/* The name in the image's own folder that its old content gets, as long as the change is; NULL: it
 * is not kept. */
const char *family_kept_name(const struct family_change *change);
/* Remove what is needed no more: the overlay of what was not committed, the old content of a
 * rollback. Frees. May take long, for large files. */
void family_end(struct family_change *change);

struct family_clone {
	const char *base;        /* A path. */
	const char *base_format; /* "raw" or "qcow2". */
	const char *name;        /* Of the new file, a path in the same folder. */
	uint64_t size_bytes;     /* 0: that of the base; not less. */
	uint32_t cluster_bits;   /* 0: 128 KiB, in subclusters. */
	bool standard;           /* Without extended L2 entries; 64 KiB where nothing is said. */
};

/* An overlay with a name of its own over a base that nobody writes. The base is one for good:
 * nobody opens it for writing as long as it has children. */
int MUST_CHECK family_clone(const struct family_clone *clone, char *why, size_t why_bytes);
/* Remove a file on which none is based. */
int MUST_CHECK family_remove(const char *path, char *why, size_t why_bytes);
/* Remove a file that nobody needs, whose only descriptor is `fd`; the folder is locked, and not any
 * more afterwards: neither the unlinking nor the last close keeps others waiting. Negative errno.
 */
int MUST_CHECK family_unlink(int folder, const char *name, int fd);
/* Remove what operations that were cut short left in the folder of `path`. It ends soon when
 * *stopping becomes true (-EINTR, or 0), and leaves the rest to the next; NULL: it does not. */
int MUST_CHECK family_recover(const char *path, const atomic_bool *stopping, char *why,
			      size_t why_bytes);

/*
 * What a cut leaves for a moment, until the folder is cleaned: nobody is to take a snapshot for its
 * disk. `path` is a snapshot by its name; and has the identity of the active file beside it, or is
 * that file, which has not got its overlay.
 */
bool family_has_identity_of_active(const char *path);
bool family_is_active_itself(const char *path);

/* -- Bases: user.ringsan.base (family_base.c) -- */

/* Mark the file as one that others are based on, durably. -ENOTSUP: it can have no attributes;
 * -EACCES: its owner can; others of fsetxattr(2). */
int MUST_CHECK family_mark_base(int fd);
/* Whether it is marked; its children may have gone since. */
bool family_is_marked_base(int fd);
/*
 * Who has opened and locked a file to write to it asks whether that may be: nothing is based on it,
 * and an operation that was cut short is brought to its end. Where the mark says so, or there can
 * be none, its folder is looked through; where there are no children any more the mark goes.
 * -EBUSY, and a sentence that names the children. Not while holding the folder's lock.
 */
int MUST_CHECK family_admit_writer(int fd, char *why, size_t why_bytes);

/* -- Snapshots that are none any more: user.ringsan.merge (family_merge.c) -- */

#define FAMILY_MERGE_REMEDY \
	"what was above it has gone into it in part; remove it, or commit what is above it"

/*
 * What is above a snapshot is about to be written into it, so that nobody may go back to it, or
 * base anything on it. The mark is the name that it will have when it is whole again. *was_there:
 * it was marked before. Durable. -ENOTSUP: it can have no attributes; -EIO.
 */
int MUST_CHECK family_merge_mark(int fd, const char *whole_as, bool *was_there);
void family_merge_unmark(int folder, const char *name);
/* The mark goes where the file has the name that it names. */
void family_merge_settle(int folder, const char *name);
/* Marked, and not whole. */
bool family_merge_is_marked(int folder, const char *name);
/* The same of a path. */
bool family_merge_is_spoiled(const char *path);
/* The file of `name` is open as `fd`: -EBUSY, and a sentence, where that is so. */
int MUST_CHECK family_merge_refuse(int fd, const char *name, char *why, size_t why_bytes);
/* `below` is to have the name of `above`: owner, mode and identity become its, durably. */
int MUST_CHECK family_merge_take_over(int above, int below);

#endif
