/*
 * A loop's helper threads: they make the system calls that libaio would block on, and on either
 * engine what loop_call is given. Private to base/. Read next: aio_helpers.c.
 */
#ifndef BASE_AIO_HELPERS_H
#define BASE_AIO_HELPERS_H

#include "base/loop.h"

#include <libaio.h>

/* Threads of a loop, started as they are needed. As many as make a disk busy with writes to holes,
 * in each of which a thread waits for the disk. */
#define AIO_HELPERS_MAX 32u

struct aio_helpers;

/* No thread starts yet. -ENOMEM. */
int MUST_CHECK aio_helpers_create(struct loop *loop, struct aio_helpers **out);
/* Ends the threads; when one is inside a system call they are left behind instead, with the memory
 * that they look at. The loop's thread, and the loop hears nothing of them afterwards. */
void aio_helpers_free(struct aio_helpers *helpers);
/*
 * The context to which direct transfers that might wait are submitted (those with OP_WORKER), so
 * that only the submission keeps a thread: a write to a hole holds the file's lock until it is on
 * the disk when it is made by pwritev, and only until it is under way when it is made by io_submit.
 * Such an operation comes back through the context. Before the first is carried.
 */
void aio_helpers_set_context(struct aio_helpers *helpers, io_context_t context, int event_fd);
/* After taking results from the context: what helpers did with these operations has been done. */
LOOP_ONLY void aio_helpers_see_given(struct aio_helpers *helpers);
/* Carry a disk operation; its results go to loop_op_step until it is done. The loop's thread. */
LOOP_ONLY void aio_helpers_carry(struct aio_helpers *helpers, struct loop_op *op);

#endif
