/*
 * What loop.c, loop_op.c and the two engines share. Private to base/; others include loop.h.
 *
 * An engine carries operations to the kernel and brings results back; it decides nothing about
 * them. Each result goes through loop_op_step, which answers whether the operation is done (and
 * then queues its callback) or has to be carried once more.
 */
#ifndef BASE_LOOP_ENGINE_H
#define BASE_LOOP_ENGINE_H

#include "base/aligned.h"
#include "base/loop.h"
#include "base/mailbox.h"
#include "base/pool.h"
#include "base/timers.h"

#include <pthread.h>

#define LOOP_NAME_BYTES 16u /* The kernel keeps no more of a thread's name. */
#define LOOP_FOREVER UINT64_MAX

/* loop_op.state: who holds the record. */
enum op_state {
	OP_IDLE,    /* The caller. The only state in which it may be submitted. */
	OP_WAITING, /* A list: the loop's `waiting`, or an engine's own. */
	OP_CARRIED, /* The kernel, a helper thread, or a socket that is not ready. */
	OP_DONE,    /* The loop's `done` list: the callback is due. */
};

/* loop_op.flags beside LOOP_DSYNC and LOOP_NOWAIT: how it goes on. */
enum {
	OP_DUE = 1 << 5,    /* A receive: to be made right before the callback. */
	OP_POLL = 1 << 6,   /* Wait for the socket to be ready before trying again. */
	OP_WORKER = 1 << 7, /* Give it to a kernel worker at once. */
};

/* One row for each engine. All run on the loop's thread. */
struct loop_engine_ops {
	const char *name;
	/* Set loop->engine_state. On failure, nothing is left; the caller logs explain(error). */
	int (*setup)(struct loop *loop);
	/* Ends the engine; operations still carried never come back. Never waits for a disk. */
	void (*clear)(struct loop *loop);
	/* Carry an operation, or carry it on. False: no room now, keep it in `waiting`. */
	bool (*submit)(struct loop *loop, struct loop_op *op);
	/* Hand what was submitted to the kernel, and take results, for at most timeout_ns when
	 * there are none; LOOP_FOREVER, or 0 to only look. A write to wake_fd ends the wait. */
	void (*wait)(struct loop *loop, uint64_t timeout_ns);
	void (*forget)(struct loop *loop, int fd);
	unsigned (*punt_limit)(const struct loop *loop);
	/* Cause and remedy for an error of setup. */
	const char *(*explain)(int error);
};

/*
 * For tests: a loop on an engine that stands already, whose state is `state` (neither setup nor
 * clear is called), and that no thread runs: its creator makes its turns, one by one. LOOP_ONLY of
 * such a loop is its creator's thread. loop_free ends it.
 */
int MUST_CHECK loop_create_on(const struct loop_config *config,
			      const struct loop_engine_ops *engine, void *state, struct loop **out);
LOOP_ONLY void loop_turn(struct loop *loop);

extern const struct loop_engine_ops loop_uring_ops;
extern const struct loop_engine_ops loop_aio_ops;

enum loop_phase {
	LOOP_PHASE_NEW,
	LOOP_PHASE_UP,
	LOOP_PHASE_FAILED,
	LOOP_PHASE_ENDED,
};

/* struct loop_stats, written by the loop's thread alone. */
struct loop_counters {
	_Atomic uint64_t turns;
	_Atomic uint64_t sleeps;
	_Atomic uint64_t messages;
	_Atomic uint64_t timers;
	_Atomic uint64_t completions;
	_Atomic uint64_t continued;
};

struct loop {
	/* Set at creation, constant. */
	char name[LOOP_NAME_BYTES];
	struct loop_config config;
	int wake_fd; /* An eventfd that ends the engine's wait. */
	void *user;

	/* The loop's thread's alone. */
	/* NULL until it is set up; then constant. */
	const struct loop_engine_ops *engine CACHE_LINE_ALIGNED;
	void *engine_state;
	unsigned punt_limit;
	unsigned punts; /* Counted by loop_punt_begin. */
	uint64_t now_ns;
	uint64_t inline_bytes; /* Granted by loop_inline_begin in this turn. */
	struct timers timers;
	struct list_node waiting; /* Operations that found no room in the engine, in order. */
	struct list_node done;    /* Operations whose callbacks are due, in order. */
	uint32_t in_flight;       /* Operations between submission and callback. */
	uint32_t disk_in_flight;  /* Those of them that no shutdown(2) can end. */
	struct pool buffers;

	/* Any thread. The line that others write has nothing but what is read once a turn. */
	struct mailbox mailbox CACHE_LINE_ALIGNED;
	struct loop_msg stop_msg;
	atomic_bool stopping;
	struct loop_counters counters CACHE_LINE_ALIGNED;

	/* Between the thread and those who start and join it; under `lock`. */
	pthread_mutex_t lock CACHE_LINE_ALIGNED;
	pthread_cond_t changed;
	enum loop_phase phase;
	int error;
	pthread_t thread;
	bool has_thread;
};

/* Add to a counter: only the loop's thread writes, so this needs no locked instruction. */
static inline void loop_count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

enum op_next {
	OP_NEXT_DONE, /* The callback is queued: hands off. */
	OP_NEXT_MORE, /* Carry it on: the vector and offset say what is left. */
};

/* Take one result of the kernel for an operation. */
LOOP_ONLY enum op_next loop_op_step(struct loop_op *op, int res);
/* Give an operation to the engine, or keep it in `waiting` until there is room. */
LOOP_ONLY void loop_op_carry(struct loop_op *op);
/* Give the engine what waits, as far as there is room. */
LOOP_ONLY void loop_op_flush_waiting(struct loop *loop);
/* Queue the callback. */
LOOP_ONLY void loop_op_complete(struct loop_op *op, int res);
/* The steps of submission: fill the record in; its vector; carry it, unless nothing is to move. */
LOOP_ONLY void loop_op_begin(struct loop *loop, struct loop_op *op, enum loop_op_kind kind, int fd,
			     loop_done_fn *done);
LOOP_ONLY void loop_op_set_vector(struct loop_op *op, struct iovec *iov, uint32_t iov_count);
LOOP_ONLY void loop_op_carry_transfer(struct loop_op *op);
/* `count` bytes moved: count them and consume the vector. Elements used up are left behind. */
void loop_op_advance(struct loop_op *op, size_t count);

/* Try an accept or a send with a plain call. False: the socket is not ready for (all of) it. */
LOOP_ONLY bool loop_socket_try(struct loop_op *op);
/* The socket of a receive has something: queue its callback, and before it the receive. */
LOOP_ONLY void loop_socket_set_due(struct loop_op *op);
/* Make a receive that is due. False: there was nothing after all, and it waits again. */
LOOP_ONLY bool loop_socket_receive(struct loop_op *op);

static inline bool loop_op_is_socket(const struct loop_op *op)
{
	return op->kind <= LOOP_OP_SEND;
}

/* Where the rest of a transfer begins. */
static inline int64_t loop_op_position(const struct loop_op *op)
{
	return (int64_t)(op->offset_bytes + op->transferred_bytes);
}

#endif
