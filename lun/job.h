/*
 * Work on a chain of qcow2 images that takes long and goes on while hosts read and write: data move
 * from lower layers into one above them, and then those leave the chain. One job at a time for each
 * LUN, which claims it: nobody else changes the chain meanwhile.
 *
 *   stream    a layer, the active file or one below it, gets all that shows in it from layers above
 *             `base`; then `base`, or nothing, is its backing file. The others stay as they are.
 *   remove    a snapshot on which one image is based: that is streamed down to what is below the
 *             snapshot, which is then removed. Or, where that moves less, what the image has of
 *             its own goes down into the snapshot, which takes its place.
 *
 *     up    resolve -> open the layer for writing (switch) -> pull, with flush -> rebase (switch)
 *           -> remove
 *     down  resolve, mark the snapshot -> open it for writing (switch) -> push, with flush, in
 *           rounds while hosts write -> hold their writes, push the rest -> exchange names (switch)
 *           -> remove
 *
 * Wherever it is cut short every file is valid and reads as before: until the rebase the chain is
 * what it was, and what was pulled is what showed there anyway. A record in the state directory has
 * what was asked for; resumed, the job passes by what is done. One that finds no space waits and
 * tries again; one that is canceled leaves its chain as it was, a little longer than needed.
 * Down, too, the LUN and all images above the snapshot read as before at all times; but that is no
 * snapshot any more from the first write on. It is marked before, and then nobody goes back to it:
 * to be removed, in either direction, is what is left. What does not come to its end downwards goes
 * up.
 *
 * Threads: the control loop's, but for job_record_each. Read next: job.c, job_files.h.
 */
#ifndef LUN_JOB_H
#define LUN_JOB_H

#include "lun/lun.h"

struct job;

enum job_kind {
	JOB_STREAM,
	JOB_REMOVE,
	JOB_KINDS
};

enum job_state {
	JOB_STARTING,
	JOB_RUNNING,
	JOB_NO_SPACE, /* It tries again now and then. */
	JOB_FINISHING,
	JOB_STOPPING, /* Canceled, failed, or told to stop. */
	JOB_ENDED,
};

#define JOB_NAME_BYTES 256u
#define JOB_PATH_BYTES 1024u

/* What is asked for, and what a record keeps. */
struct job_order {
	enum job_kind kind;
	char path[JOB_PATH_BYTES];  /* The LUN's active file. */
	char image[JOB_NAME_BYTES]; /* STREAM: the layer, "": the active file. REMOVE: the snapshot.
				       A plain name of a file beside it. */
	char base[JOB_NAME_BYTES];  /* STREAM: a plain name; "": all of the chain is streamed. */
	uint64_t rate_bytes;        /* At first; for each second; 0: as fast as it goes. */
	bool is_resumed;            /* From a record: it was found right once. */
	/* Which files had these names when it was asked for; by now others may, and those are left
	 * alone. Of a STREAM of the active file that one is the image, too. */
	struct job_identity {
		uint64_t inode;
		uint64_t born_ns; /* An inode is used again. 0: not known here. */
	} image_was, base_was;
	/* REMOVE: what is written down, and gets the image's name at the end. 0: nothing is. */
	struct job_identity pushed_was;
};

/* For those who show it. */
struct job_view {
	enum job_kind kind;
	enum job_state state;
	const char *path, *image, *base, *layer; /* As long as the job. `layer` is written to. */
	uint64_t done_bytes, total_bytes;        /* Of the layer. */
	uint64_t moved_bytes;                    /* What was copied. */
	uint64_t rate_bytes;
	uint64_t elapsed_ns, left_ns; /* left_ns: an estimate; 0: not known. */
	const char *spoiled;          /* The snapshot that is none any more, whatever comes; "". */
	const char *why;              /* NO_SPACE, STOPPING, ENDED: a sentence, or "". */
};

struct job_spec {
	const struct job_order *order; /* Copied. */
	struct lun *lun;               /* Not closed before the job has ended. */
	struct loop *control;
	const char *state_dir; /* Outlives the job. NULL: no record is kept. */
	/* What was asked for is possible, and recorded; NULL: nobody wants to know. */
	void (*begun)(struct job *job, void *arg);
	/* It has ended, and is freed when this returns: 0, -ECANCELED, -EINTR (job_stop; it is
	 * resumed), or why it has failed. Never from inside job_start. */
	void (*ended)(struct job *job, int res, void *arg);
	void *arg;
};

/* -EBUSY: the LUN has one, or its files are being changed (lun_claim). -ENOMEM. What is wrong with
 * the order is told by `ended`. */
LOOP_ONLY int MUST_CHECK job_start(const struct job_spec *spec, struct job **out);
/* The LUN's, or NULL. */
struct job *job_of(const struct lun *lun);
/* It ends with -ECANCELED, unless it is over before. False: it is at its end already. */
LOOP_ONLY bool job_cancel(struct job *job);
/* Also when it is resumed. */
LOOP_ONLY void job_set_rate(struct job *job, uint64_t rate_bytes);
/* The LUN is about to be closed: nothing of the job is under way when `stopped` runs, after `ended`
 * or instead of it, later. Its record stays. One at a time. */
LOOP_ONLY void job_stop(struct job *job, void (*stopped)(void *arg), void *arg);
void job_look(const struct job *job, struct job_view *out);
const char *job_kind_name(enum job_kind kind);
const char *job_state_name(enum job_state state);

/* Each order that has a record. Blocks; any thread, no job begins meanwhile. Records that mean
 * nothing are logged and passed by, half-written ones removed. */
void job_record_each(const char *state_dir, void (*visit)(const struct job_order *order, void *arg),
		     void *arg);

/*
 * Which of the active files `candidates` an image belongs to: it is one of them, in the chain of
 * one, or a snapshot by name; and its plain name. Negative errno and a sentence in `why`. Blocks;
 * any thread.
 */
struct job_search {
	const char *path;
	const char *const *candidates;
	size_t count;
	size_t found;
	char name[JOB_NAME_BYTES];
	char parent[JOB_NAME_BYTES]; /* What it is based on; "": nothing. */
	bool is_active;
	bool parent_is_snapshot; /* Of the active file. */
};
int MUST_CHECK job_search(struct job_search *search, char why[LUN_WHY_MAX]);

#endif
