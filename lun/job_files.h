/*
 * What jobs do with files: find out which are meant, change a header, remove one, and keep records.
 * Of job.c alone.
 *
 * Helper threads: all of it blocks. Read next: job_files.c, job_push.c, job_record.c, family.h.
 */
#ifndef LUN_JOB_FILES_H
#define LUN_JOB_FILES_H

#include "lun/job.h"

/* What an order means now. */
struct job_files {
	char layer[JOB_NAME_BYTES]; /* Written to; "": there is nothing to be done but removing. */
	char base[JOB_NAME_BYTES];  /* Below it afterwards; "": nothing. */
	bool base_is_raw;
	char before[JOB_NAME_BYTES]; /* Below it now. */
	bool before_is_raw;
	uint64_t layer_inode, base_inode;
	uint64_t layer_bytes;
	bool is_top;    /* The layer is the active file. */
	bool is_merged; /* Its header is as it is to be. */
	bool unsure;    /* A change has failed, and nobody knows what a crash would leave. */
	/* REMOVE: what this one has goes down into the layer, the snapshot, and then they change
	 * names; "": up, as above. `layer_bytes` is its size then. */
	char pushed[JOB_NAME_BYTES];
	uint64_t pushed_inode;
	bool pushes_top;  /* It is the active file. */
	bool marked_here; /* It is by this that the layer has its mark. */
};

/* All with negative errno and a sentence in `why` (LUN_WHY_MAX). */
/* Notes which files an order means that is not resumed; -ESTALE: a resumed one's have gone, and
 * others have their names. */
int MUST_CHECK job_files_find(struct job_order *order, bool may_push, struct job_files *out,
			      char *why);
/* Data are to go down: whether the snapshot, which nobody may have written yet, is in order. */
int MUST_CHECK job_files_check(const struct job_order *order, const struct job_files *files,
			       char *why);
/* Data are about to go down: the snapshot is marked, durably. -ENOTSUP: that cannot be, they go up.
 */
int MUST_CHECK job_files_mark(const struct job_order *order, struct job_files *files, char *why);
/* Nothing has gone down: the snapshot is one again. */
void job_files_unmark(const struct job_order *order, const struct job_files *files);
/* The layer and the image that was pushed change names, and change back with `back`. The LUN's
 * images are closed. */
int MUST_CHECK job_files_exchange(const struct job_order *order, struct job_files *files, bool back,
				  char *why);
/* Let the layer's header name `base`, or with `back` what it named before. The LUN's images are
 * closed. */
int MUST_CHECK job_files_rebase(const struct job_order *order, struct job_files *files, bool back,
				char *why);
/* REMOVE: the file. One that has gone already is fine; -ESTALE: another one has its name. */
int MUST_CHECK job_files_remove(const struct job_order *order, char *why);

/* A record is there or not, whole, after a crash too. */
int MUST_CHECK job_record_save(const char *state_dir, const struct job_order *order, char *why);
void job_record_forget(const char *state_dir, const struct job_order *order);

#endif
