/*
 * Operations of the engine on its files, all of them: the loop's, but for the workers, which are
 * few (loop_punt_begin). What takes one waits here until one is granted to the LUN, so that an
 * image that is stuck leaves workers to the others; transfers are tried without one first, and
 * small ones that are copies in memory are done on the spot, as of raw images (../raw_transfer.c).
 *
 * The loop of the image. Read next: op.c.
 */
#ifndef LUN_QCOW2_OP_H
#define LUN_QCOW2_OP_H

#include "base/loop.h"

struct qcow2;
struct qcow2_op;
typedef void qcow2_op_fn(struct qcow2_op *op, int res);

/*
 * A completion record, as struct loop_op and with its rules: its owner's, zeroed once, kept with
 * the vector until `done` has run. All but `of`, which `done` may look at, is op.c's.
 */
struct qcow2_op {
	struct loop_op of;
	struct list_node link; /* It waits for a worker. */
	struct qcow2 *user;    /* Its worker is counted in this image's chain. */
	struct qcow2 *image;   /* Whose file it is. */
	qcow2_op_fn *done;
	enum loop_op_kind kind;
	bool has_worker;
	int res; /* Of what was done on the spot, and is about to be told. */
	struct loop_msg msg;
	union {
		struct loop_rw rw;
		struct loop_range range;
		loop_call_fn *call;
	};
};

/* A LUN's, of the lowest image of its chain. */
struct workers {
	struct list_node waiting; /* struct qcow2_op, in order of arrival. */
	unsigned running;         /* As granted by loop_punt_begin. */
};

/* Transfers in the image's file: rw.fd is set here. Of reads `user` is the image, or one above. */
LOOP_ONLY void op_read(struct qcow2 *user, struct qcow2_op *op, struct qcow2 *image,
		       const struct loop_rw *rw, qcow2_op_fn *done);
LOOP_ONLY void op_write(struct qcow2 *image, struct qcow2_op *op, const struct loop_rw *rw,
			qcow2_op_fn *done);
/* Of so many bytes, at once and with no record, where that is a copy in memory. -EBUSY: it may be
 * one, but this turn of the loop has had its share of them. -EAGAIN: it is none, or not for all of
 * it; then something of it may have been done. */
LOOP_ONLY int MUST_CHECK op_copy(struct loop *loop, struct qcow2 *image, enum loop_op_kind kind,
				 const struct loop_rw *rw, uint64_t bytes);
LOOP_ONLY void op_sync(struct qcow2 *image, struct qcow2_op *op, qcow2_op_fn *done);
/* DISCARD, ZERO, ALLOCATE. */
LOOP_ONLY void op_range(struct qcow2 *image, struct qcow2_op *op, enum loop_op_kind kind,
			struct loop_range range, qcow2_op_fn *done);
/* `call` finds its record by `of`. */
LOOP_ONLY void op_call(struct qcow2 *user, struct qcow2_op *op, loop_call_fn *call,
		       qcow2_op_fn *done);

#endif
