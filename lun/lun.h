/*
 * A LUN as the layers above see it: a range of bytes that many loops read and write at once, with
 * an identity that never changes. Not SCSI: no sense codes, no blocks of a protocol, no initiators.
 *
 * Concurrency (DESIGN.md 4), all of it owned by this layer:
 *  - an I/O belongs to the loop that submitted it and completes there;
 *  - what loops share is one published lun_state and one published set of exclusive ranges;
 *  - a switch publishes and never waits for I/O; a drain waits for it, with a deadline;
 *  - a write of an abandoned I/O that the kernel still holds is an orphan: its range stays
 * published until the kernel lets go, and later I/O on those bytes waits for it.
 *
 * Read next: README.md (invariants), image.h (what an image type provides), io.c (admission),
 * range.c.
 */
#ifndef LUN_LUN_H
#define LUN_LUN_H

#include "base/group.h"
#include "base/list.h"
#include "base/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

struct lun;
struct lun_exclusive;
struct lun_rmw;
struct image;

enum lun_op {
	LUN_READ,
	LUN_WRITE,
	LUN_FLUSH, /* Makes every write that completed before, on any loop, durable. No range. */
	LUN_UNMAP, /* Deallocate; afterwards the range reads as zeroes where zeroes_after_unmap. */
	LUN_ZERO,  /* Reads as zeroes afterwards, and has space where the store can. */
	LUN_MAP,   /* Where is space allocated? See struct lun_map. Waits for no other I/O. */
	LUN_OP_COUNT,
	/* lun/'s own, see ahead.c: space allocated before it is written, and that given back. */
	LUN_ALLOCATE = LUN_OP_COUNT,
	LUN_RELEASE,
	LUN_PULL, /* For jobs: see struct lun_pull. Waits for the gate only. */
	LUN_PUSH, /* The same: struct lun_push. */
	LUN_OP_ALL
};

/* Flags of an I/O. */
enum {
	LUN_IO_DURABLE =
		1 << 0, /* Durable when it completes. Implied when the write cache is off. */
	/* READ: where the image knows that all of the range is zeroes, it may set `zeroes` and
	 * leave the buffer alone. */
	LUN_IO_ZEROES_SUFFICE = 1 << 1,
	/* ZERO: what has space keeps it, and what has none needs none. */
	LUN_IO_KEEP_HOLES = 1 << 2,
};

/* Elements an I/O's vector may have: the pieces of 64 KiB of a little more than 1 MiB, because what
 * must be written as a whole (COMPARE AND WRITE of 255 blocks of 4 KiB) has to be one I/O. */
#define LUN_IOV_MAX 20u

enum lun_extent_state {
	LUN_MAPPED,      /* Has data, or nobody knows. */
	LUN_ANCHORED,    /* Space without data: reads as zeroes, and a write needs no new space. */
	LUN_DEALLOCATED, /* No space: reads as zeroes. */
};

struct lun_extent {
	uint64_t offset_bytes;
	uint64_t length_bytes;
	enum lun_extent_state state;
};

/*
 * The answer of LUN_MAP, in memory of the caller's that iov[0] names: room for it and some extents,
 * not necessarily page-aligned. Extents in order, without gaps, from offset_bytes on, in whole
 * logical blocks; neighbours differ in their state. At least one, at most as many as there is room
 * for; they may end before the range does, because the room, or what one call may ask of a file
 * system, is used up: ask again from there. Of a block with several states it answers the one that
 * promises least.
 *
 * What was written and answered before the question is MAPPED. For what is written, unmapped or
 * allocated while it is answered, the state before, after, or MAPPED is answered, for each block by
 * itself.
 */
struct lun_map {
	uint32_t count;
	struct lun_extent extents[];
};

/*
 * LUN_PULL, of a qcow2 image: in the range, as far as the layer reaches, what shows in the layer
 * from those between it and the base becomes its own. Nobody reads anything else than before.
 * Memory of the caller's that iov[0] names. Layers are named by their files' inodes, so that who
 * asks after the chain has changed is told (-ESTALE). With LUN_IO_DURABLE, all that was pulled into
 * the layer so far is durable afterwards.
 */
struct lun_pull {
	uint64_t layer;       /* The top, or the one that the LUN was opened with as writable. */
	uint64_t base;        /* Below it; 0: all of the chain. */
	uint64_t moved_bytes; /* The answer: what was copied. */
	/* Another image of that size is to come below the layer: up to there it gets entries also
	 * for what reads as zeroes because nobody has anything. 0: none is. */
	uint64_t below_bytes;
};

/*
 * LUN_PUSH, of a qcow2 image: what a layer has of its own in the range is written into the one
 * below it, `to`, which the LUN was opened with as writable; but for what has gone down since, and
 * has not changed. Nobody reads anything else than before; but `to` does not show any more what it
 * did. Memory of the caller's that iov[0] names; iov[1] is a buffer, aligned to pages. Else as
 * LUN_PULL. -ENOTSUP: their sizes or units do not go
 * together.
 */
struct lun_push {
	uint64_t layer, to;
	/* The answer: what was copied; what of the layer is still to be pushed, or has changed. */
	uint64_t moved_bytes, left_bytes;
};

struct lun_io;
/* res is 0 or negative errno: -EIO, -ENOSPC, -EROFS (read-only, or closed by a failed flush),
 * -ENODEV (offline), -EBUSY (too many orphans), -ECANCELED (abandoned while it waited), or what
 * `admit` answered. All bytes moved, or an error: there is no short transfer. Runs on the io's
 * loop, never inside lun_io_submit. */
typedef void lun_io_done_fn(struct lun_io *io, int res);
/* Runs on the io's loop in the very turn in which the io is handed to the image, after its range
 * was found free and the gate open. Non-zero (negative errno) ends the io with that result. */
typedef int lun_io_admit_fn(struct lun_io *io);

enum lun_io_stage {
	LUN_IO_IDLE,      /* The caller's. */
	LUN_IO_WAITING,   /* On a waiting list of its loop: gate closed, range taken, or image busy.
			   */
	LUN_IO_SUBMITTED, /* The image's; on the loop's list of submitted I/O. */
	LUN_IO_ORPHANED,  /* The image's, abandoned by its caller; its range is published. */
	LUN_IO_ENDING,    /* The loop's; done runs soon. */
};

/*
 * One I/O. Caller-owned memory, valid until done has run. Zero-initialise, or call lun_io_init; set
 * the first group, then submit. Several I/Os of one command may be in flight.
 */
struct lun_io {
	/* Set by the caller before submit. */
	enum lun_op op;
	uint32_t flags;
	uint64_t offset_bytes; /* Multiple of the logical block size for READ and WRITE. */
	uint64_t length_bytes;
	uint32_t iov_count;
	struct iovec iov[LUN_IOV_MAX]; /* Page-aligned starts for direct I/O; consumed in place.
					* MAP: iov[0] alone, the memory of the answer. */
	lun_io_admit_fn *admit;        /* NULL: always. */
	lun_io_done_fn *done;
	/* A result, of LUN_IO_ZEROES_SUFFICE: the data are zeroes, and the buffer holds others. */
	bool zeroes;
	/* Set by lun_io_submit, readable by callbacks. */
	struct lun *lun;
	struct loop *loop;
	/* Private to lun/, the membrane's part. */
	enum lun_io_stage stage;
	int res;                /* Result on its way to done. */
	uint64_t ticket;        /* Its place among those that wait; 0 until it first waits. */
	uint64_t orphan_ticket; /* Its entry in the set of ranges; 0: none. */
	struct lun_exclusive *exclusive; /* Submitted inside this range. */
	struct lun_rmw *rmw; /* Its read-modify-write; NULL for what goes straight to the image. */
	struct list_node link; /* The lane's list for its stage. */
	struct loop_msg msg;
	/* Private to lun/, the image's part while SUBMITTED or ORPHANED. */
	struct loop_op loop_op;
	struct image *image;
	struct list_node image_link;
	union {
		uint64_t image_word[4];
		struct loop_msg image_msg; /* In place of the first two. */
	};
};

/* Make memory a record that is idle and whose first group is zero, the vector apart. The rest, most
 * of it, is set when it is needed and not touched before. Not while the record is lun/'s. */
static inline void lun_io_init(struct lun_io *io)
{
	memset(io, 0, offsetof(struct lun_io, iov));
	io->admit = NULL;
	io->done = NULL;
	io->stage = LUN_IO_IDLE;
	loop_op_init(&io->loop_op);
}

/* What a LUN consists of, from the configuration; strings are borrowed during lun_open only. */
struct lun_spec {
	const char *name;               /* For logs: "iqn...:lun 3". */
	const char *type;               /* "raw", "qcow2", "null", "fault". */
	const char *path;               /* The image; NULL for null. */
	uint64_t size_bytes;            /* 0: that of the existing image. */
	uint32_t logical_block_bytes;   /* 512 or 4096; 0: the image's own, 512 for a new one. */
	uint32_t physical_block_bytes;  /* 512 or 4096; 0: 4096. */
	uint32_t allocation_unit_bytes; /* 0: the image's own, the file system's for a new one. */
	const char *backing_name;       /* qcow2: what an image that is made shows; or NULL. */
	uint32_t cluster_bytes;         /* qcow2: of an image that is made; 0: 128 KiB. */
	uint64_t qcow2_cache_bytes;     /* Of all images together; 0: 1 GiB. */
	uint32_t look_ahead_bytes;      /* At most LUN_LOOK_AHEAD_MAX for each stream; 0: none. */
	bool page_cache;                /* Page-cache mode instead of direct I/O. */
	bool write_cache;               /* false: every write is durable. */
	bool read_only;
	uint64_t writable_inode;   /* qcow2: the layer below the top that a job writes; 0: none. */
	const char *fault_control; /* type fault: the control file. */
	const char *identity;      /* "naa.6..." or NULL. */
	const char *serial;        /* NULL: derived from the identity. */
	uint32_t company_id;       /* 24 bits; 0: LUN_COMPANY_ID. */
	const char *state_dir;     /* NULL: an identity that finds no other place is not kept. */
	/* For image types: lun_open sets them, to its own. */
	const struct loop_group *group;
	unsigned loops;
	struct image_recovery *recovery;
};

#define LUN_LOOK_AHEAD_MAX (16u << 20)
/* "RSN": a locally assigned value, not a registered OUI (DESIGN.md 7). */
#define LUN_COMPANY_ID 0x52534Eu
#define LUN_NAA_BYTES 16u
#define LUN_SERIAL_MAX 64u

/* Made once per LUN and kept for ever (DESIGN.md 7). */
struct lun_identity {
	uint8_t naa[LUN_NAA_BYTES];
	char serial[LUN_SERIAL_MAX + 1];
};

/* Fixed while the LUN is open. */
struct lun_limits {
	uint32_t logical_block_bytes;
	uint32_t physical_block_bytes;
	uint32_t io_align_bytes; /* What the image moves at once; what is not is read and modified.
				  */
	uint32_t allocation_unit_bytes;
	bool thin;               /* UNMAP is worth announcing. */
	bool zeroes_after_unmap; /* Guaranteed, else do not announce LBPRZ. */
	bool anchors;            /* ZERO leaves all of its range ANCHORED, or MAPPED. */
	bool write_cache;
};

/* Published: immutable, one turn's use. */
struct lun_state {
	uint64_t size_bytes;
	bool online;
	bool read_only;   /* By configuration, or for ever after a failed flush. */
	bool gate_closed; /* A drain is under way: new I/O waits. */
	char offline_reason[128];
};

/*
 * Open (and where there is none, create) the image and find or make the identity. Never fails for a
 * bad image: the LUN is then offline with a reason, and the daemon goes on; negative errno only
 * when memory is short. Control thread, may block. `group` must outlive the LUN and its loops be
 * created.
 */
int MUST_CHECK lun_open(const struct lun_spec *spec, const struct loop_group *group,
			struct lun **out);
/* Close and free. No I/O may be in flight or waiting on any loop and no exclusive request be held:
 * after a drain that ended with 0, or when the loops have been stopped. Control thread. */
void lun_close(struct lun *lun);

/* It is open, nobody closes it without a drain any more, and the loops run: what its image does
 * without hosts may begin. Once. Control loop. */
LOOP_ONLY void lun_begin(struct lun *lun);

/* Clusters that a crash leaked in a thin image are looked for in the background, and go back. */
struct lun_recovery {
	bool running;
	uint64_t clusters; /* That have gone back since the LUN was opened. */
};
/* Any thread. */
void lun_recovery(const struct lun *lun, struct lun_recovery *out);

/* Lines for the log and for operators. Any thread. */
const char *lun_name(const struct lun *lun);
/* naa[0] is 0 where there is none: offline, and nothing known of it. */
const struct lun_identity *lun_identity(const struct lun *lun);
const struct lun_limits *lun_limits(const struct lun *lun);
/* The current snapshot; do not keep it across turns. Any loop of the group, and any thread before
 * the loops run; others take a copy. */
const struct lun_state *lun_state(const struct lun *lun);
/* The current state for those whose turns no round waits for: the control loop. Any thread. */
void lun_state_copy(struct lun *lun, struct lun_state *out);
/* True when the account of orphans is full: answer NOT READY. Any loop. */
bool lun_is_overrun(const struct lun *lun);
/*
 * How large it could be by now, never less than it is: `configured_bytes`, or with 0 all that its
 * image has. A file that is shorter than that is made longer; an image that can grow only while it
 * is closed is left as it is (growth.h). Negative errno with a sentence in `why` where that cannot
 * be. Blocks; any thread but a loop's.
 */
#define LUN_WHY_MAX 128u
int MUST_CHECK lun_measure(struct lun *lun, uint64_t configured_bytes, uint64_t *out,
			   char why[LUN_WHY_MAX]);
/* Publish that it has this size (measured), soon: lun_state_copy tells when. Control loop. */
void lun_grow(struct lun *lun, struct loop *control, uint64_t size_bytes);
/* Take the LUN offline with a reason. Before the loops run. */
void lun_set_offline(struct lun *lun, const char *reason);
/*
 * Of LUNs with one identity, or serial number, all but the first are taken offline, loudly, and
 * show no identity any more, so that no host takes them for paths to the first. Before the loops
 * run, with all LUNs, in the order of the configuration. -ENOMEM.
 */
int MUST_CHECK lun_check_identities(struct lun *const luns[], size_t count);

/* Submit an I/O on its loop; done runs later, exactly once. Range must lie within size_bytes. */
LOOP_ONLY void lun_io_submit(struct lun *lun, struct loop *loop, struct lun_io *io);
/*
 * The command behind the io was aborted. A waiting io ends with -ECANCELED; one that the image
 * holds becomes an orphan, its range published before this returns, so that task management may be
 * answered at once. done still runs, later. Idle and ending ios are left alone.
 */
LOOP_ONLY void lun_io_abandon(struct lun_io *io);

/* Somebody who waits for orphans; the caller's until done has run. */
struct lun_orphan_wait {
	void (*done)(struct lun_orphan_wait *wait);
	/* Private to lun/. */
	struct loop *loop;
	struct list_node link;
	struct loop_msg msg;
	uint64_t ticket; /* Orphans with an earlier one are waited for. */
	unsigned left;
};

/*
 * done runs later, on `loop`, when every write that now is an orphan has ended: nothing of what was
 * abandoned before, on whatever loop, changes the image any more. I/O that began since is not
 * waited for and does not wait.
 */
LOOP_ONLY void lun_wait_for_orphans(struct lun *lun, struct loop *loop,
				    struct lun_orphan_wait *wait);
/* I/Os of this LUN that this loop has submitted and not got back. */
LOOP_ONLY uint32_t lun_in_flight(const struct lun *lun, const struct loop *loop);

/*
 * Exclusive use of a range (COMPARE AND WRITE, read-modify-write, copies). granted runs on the
 * request's loop once every loop has acknowledged that its overlapping writes have ended; ordinary
 * I/O that overlaps then waits. The holder submits its own I/O with lun_io_submit_exclusive. First
 * come, first served on overlap. The request is caller-owned until released has run.
 */
struct lun_exclusive {
	uint64_t offset_bytes;
	uint64_t length_bytes;
	void (*granted)(struct lun_exclusive *exclusive);
	void (*released)(struct lun_exclusive *exclusive);
	/* Set by lun_exclusive_acquire: the range rounded out to what the image moves at once. All
	 * of it is the holder's, so who wants one I/O for it may read and write it whole. */
	uint64_t begin, end;
	/* Private to lun/. */
	struct lun *lun;
	struct loop *loop;
	uint64_t ticket;
	struct list_node
		link; /* The LUN's queue, then its lane's list of those that wait their turn. */
	struct loop_round round;
	struct loop_msg msg;
	atomic_bool canceled;
	uint32_t io_count; /* I/O of its holder on the way. */
	uint8_t slot;
	uint8_t stage; /* enum exclusive_stage of exclusive.c; under the LUN's mutex. */
};

LOOP_ONLY void lun_exclusive_acquire(struct lun *lun, struct loop *loop,
				     struct lun_exclusive *exclusive);
/*
 * Give the range back, or withdraw a request that is not granted yet (an aborted command): granted
 * then does not run any more. Never waits for I/O. When it is called, the holder's own I/O must
 * have ended or have been abandoned; what was abandoned protects itself as an orphan.
 */
LOOP_ONLY void lun_exclusive_release(struct lun_exclusive *exclusive);
/* As lun_io_submit, for I/O inside a range that its issuer holds. */
LOOP_ONLY void lun_io_submit_exclusive(struct lun_exclusive *exclusive, struct lun_io *io);

/*
 * Drain: close the gate on every loop and wait until no submitted I/O is left, orphans included.
 * On expiry the gate opens again and done gets -ETIMEDOUT; on 0 the gate stays closed until
 * lun_resume. One at a time per LUN: for a second one done runs at once, with -EBUSY. Control loop.
 */
typedef void lun_drain_done_fn(struct lun *lun, int res, void *arg);
LOOP_ONLY void lun_drain(struct lun *lun, struct loop *control, uint64_t deadline_ms,
			 lun_drain_done_fn *done, void *arg);
LOOP_ONLY void lun_resume(struct lun *lun, struct loop *control);

#endif
