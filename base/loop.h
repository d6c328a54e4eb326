/*
 * The event loop: a proactor. An operation is submitted with a completion record that the caller
 * owns; later, from the loop and never from inside the submitting call, its callback runs with the
 * result. Two engines stand behind it, io_uring and epoll with libaio; nothing here shows which.
 *
 * Threads: a loop belongs to the thread that runs it. Everything marked LOOP_ONLY may be called
 * from that thread alone (before loop_run or loop_start: from the creating thread). Only loop_post,
 * loop_stop and the loop_index/loop_count getters may be called from any thread.
 *
 * Results are byte counts or 0 on success, negative errno on failure. No call allocates memory.
 *
 * Read next: loop.c (turn, timers, messages), loop_uring.c, loop_aio.c, group.h.
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include "base/attr.h"
#include "base/list.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

struct loop;
struct loop_op;
struct loop_msg;
struct loop_timer;

enum loop_engine {
	LOOP_ENGINE_AUTO, /* io_uring, or epoll with libaio where io_uring is refused. */
	LOOP_ENGINE_URING,
	LOOP_ENGINE_AIO,
};

/* One I/O buffer of the loop's buffer pool: page-aligned, fit for direct I/O. */
#define LOOP_BUFFER_BYTES 65536u
/* More loops than this make no sense on the machines in view; it bounds arrays in group.h. */
#define LOOPS_MAX 64u
/* An operation's I/O vector may have this many elements at most. */
#define LOOP_IOV_MAX 256u

struct loop_config {
	const char *name; /* For logs and the thread's name; copied. */
	enum loop_engine engine;
	unsigned index;        /* What loop_index() answers. */
	unsigned ring_entries; /* Submission entries; 0 chooses 1024. */
	uint32_t buffer_count; /* Buffers of LOOP_BUFFER_BYTES; mapped, touched only when used. */
};

typedef void loop_done_fn(struct loop_op *op, int res);
typedef int loop_call_fn(struct loop_op *op);
typedef void loop_msg_fn(struct loop_msg *msg);
typedef void loop_timer_fn(struct loop_timer *timer);

enum loop_op_kind {
	LOOP_OP_ACCEPT,
	LOOP_OP_RECV,
	LOOP_OP_SEND,
	LOOP_OP_READ,
	LOOP_OP_WRITE,
	LOOP_OP_SYNC,
	LOOP_OP_DISCARD,
	LOOP_OP_ZERO,
	LOOP_OP_ALLOCATE,
	LOOP_OP_CALL,
	LOOP_OP_COUNT
};

/* Flags of loop_read and loop_write. */
enum {
	LOOP_DSYNC = 1 << 0, /* Write: durable when it completes (RWF_DSYNC). */
	/* Never wait and never go to a worker: all of it at once, or -EAGAIN (it would wait) or
	 * -EOPNOTSUPP (this file cannot tell). The caller then repeats the whole transfer without
	 * the flag: the vector is as it was, but some of the bytes may have moved already. */
	LOOP_NOWAIT = 1 << 1,
};

/*
 * A completion record. The caller embeds it in its own object, zeroes it (or calls loop_op_init)
 * before it is first submitted, and must keep it, the vector and the memory the vector points to
 * until `done` has run. It may be submitted again from inside `done`; submitting it while it is in
 * flight is asserted against. All fields but transferred_bytes (which may be read any time on the
 * loop's thread) are private to base/. A vector's elements must not add up to more than INT_MAX
 * bytes.
 */
struct loop_op {
	loop_done_fn *done;
	struct loop *loop;
	union {
		struct iovec *iov;  /* Consumed in place as bytes move. */
		loop_call_fn *call; /* Of LOOP_OP_CALL. */
	};
	uint64_t offset_bytes;
	uint64_t length_bytes; /* All of it: the vector's sum, or the range of DISCARD, ZERO ... */
	uint64_t transferred_bytes;
	struct msghdr msg;
	struct list_node link; /* Engine's queues: waiting to be submitted, ready sockets, done. */
	int fd;
	int res;
	uint32_t iov_count;
	enum loop_op_kind kind;
	uint8_t flags;
	uint8_t state; /* enum op_state of loop_engine.h. */
};

/* Zeroing for the hurried: what submission does not set itself. */
static inline void loop_op_init(struct loop_op *op)
{
	op->kind = LOOP_OP_ACCEPT;
	op->state = 0;
}

/* A message to a loop. Intrusive, so posting cannot fail. Owned by the loop until its fn has run.
 */
struct loop_msg {
	struct loop_msg *next;
	loop_msg_fn *fn;
};

/* A timer. Zero-initialise before the first loop_timer_start. */
struct loop_timer {
	loop_timer_fn *fn;
	uint64_t expires_ns;
	struct loop_timer *child, *sibling, *prev; /* The loop's heap: timers.c. */
	bool armed;
};

/*
 * Create a loop. Nothing runs yet. On failure returns negative errno and logs one line naming the
 * cause and the remedy (sysctl kernel.io_uring_disabled, seccomp, RLIMIT_MEMLOCK, fs.aio-max-nr).
 * The ring itself is made on the thread that will run the loop; with ENGINE_AUTO a refused ring
 * falls back to the aio engine and says so once.
 */
int MUST_CHECK loop_create(const struct loop_config *config, struct loop **out);
/* Start a thread that runs the loop; returns once the engine is up, or with its error. */
int MUST_CHECK loop_start(struct loop *loop);
/* Run the loop on the calling thread until loop_stop; same result as loop_start. */
int MUST_CHECK loop_run(struct loop *loop);
/* Ask the loop to end after the current turn. Operations in flight are not waited for, and their
 * callbacks never run: a caller that wants them finished stops the loop when they are. Any thread,
 * and signal handlers. */
void loop_stop(struct loop *loop);
/* Wait for a loop that loop_start started. It returns beside a stuck disk too: when a disk
 * operation is in flight, the thread, which the kernel may hold, is left behind. */
void loop_join(struct loop *loop);
/*
 * Free a loop that does not run (any more). Asserts that all its buffers came back unless `abandon`
 * is set (exit beside a stuck disk). The kernel may go on using the memory of disk operations that
 * were in flight: abandoned buffers stay mapped, and records and memory of the caller's own must
 * stay until the process ends.
 */
void loop_free(struct loop *loop, bool abandon);

/* "uring" or "aio": the engine in use, known once the loop runs. Any thread after loop_start. */
const char *loop_engine_name(const struct loop *loop);
unsigned loop_index(const struct loop *loop);
/* The loop's time, CLOCK_MONOTONIC, read once a turn. */
LOOP_ONLY uint64_t loop_now_ns(const struct loop *loop);
/* True when called on the loop's own thread while it runs. Any thread; for assertions. */
bool loop_is_current(const struct loop *loop);
/* Processor time that the loop's thread has taken: 0 without a thread of loop_start. Only for the
 * thread that starts and joins the loop. */
uint64_t loop_cpu_ns(const struct loop *loop);

/*
 * Operations that the kernel cannot complete inline (holes, buffered transfers, discards: whatever
 * LOOP_NOWAIT refuses) take a worker each. Workers are few, so whoever is about to start one asks
 * first: true when a user (a LUN) that has `mine` under way on this loop may have another, which is
 * then counted until loop_punt_end. The answer is yes while `mine` is less than what is free: one
 * user alone gets half of the workers, and a user that is stuck leaves half of the rest to the
 * next. With none under way it is always yes, so nobody waits for the workers of others.
 */
LOOP_ONLY bool MUST_CHECK loop_punt_begin(struct loop *loop, unsigned mine);
LOOP_ONLY void loop_punt_end(struct loop *loop);
/* The most that loop_punt_begin grants one user, at least 1. Known once the loop runs; any thread
 * after loop_start. */
unsigned loop_punt_limit(const struct loop *loop);

/*
 * Work on the spot (copies of at most LOOP_BUFFER_BYTES) is bounded for each turn, all users of the
 * loop together, so that what waits for the turn's end does not wait long. True: so many bytes may
 * be copied now. False: not in this turn.
 */
LOOP_ONLY bool MUST_CHECK loop_inline_begin(struct loop *loop, uint64_t bytes);

/* Counters since the loop started. Any thread; each is exact, together they are not a snapshot. */
struct loop_stats {
	uint64_t turns;
	uint64_t sleeps; /* Turns that could not go on at once: waited for an event or a timer. */
	uint64_t messages;
	uint64_t timers;
	uint64_t completions;
	uint64_t continued; /* Transfers that the kernel cut short, each time. */
};
void loop_stats_read(const struct loop *loop, struct loop_stats *out);

/* One pointer for the loop's user (its per-loop pools); set before the loop starts. */
void loop_set_user(struct loop *loop, void *user);
void *loop_user(const struct loop *loop);

/*
 * Sockets (non-blocking or not, the loop does not care). accept: res is the new descriptor,
 * CLOEXEC. recv: one receive, res is the count that came, 0 at end of stream; its memory is written
 * to immediately before `done` and not earlier, so several may name the same. send: all of it,
 * short sends are finished here; transferred_bytes shows progress meanwhile. shutdown(2) on the
 * descriptor makes operations in flight end; there is no other cancellation. A socket may have one
 * recv and one send in flight, a listening socket one accept. Before the descriptor is closed all
 * its operations must have completed, then loop_forget_fd must be called.
 */
LOOP_ONLY void loop_accept(struct loop *loop, struct loop_op *op, int fd, loop_done_fn *done);
LOOP_ONLY void loop_recv(struct loop *loop, struct loop_op *op, int fd, struct iovec *iov,
			 uint32_t iov_count, loop_done_fn *done);
LOOP_ONLY void loop_send(struct loop *loop, struct loop_op *op, int fd, struct iovec *iov,
			 uint32_t iov_count, loop_done_fn *done);
LOOP_ONLY void loop_forget_fd(struct loop *loop, int fd);

/* A disk transfer: descriptor, vector (at most LOOP_IOV_MAX elements), place, LOOP_* flags. */
struct loop_rw {
	int fd;
	uint32_t iov_count;
	struct iovec *iov;
	uint64_t offset_bytes;
	uint8_t flags;
};

/*
 * Disk. read and write move everything or fail: short transfers are finished here; a read that
 * meets the end of the file ends with the count so far; a write that the kernel shortens to 0 is
 * -ENOSPC. sync is fdatasync. discard deallocates (FALLOC_FL_PUNCH_HOLE, size kept; on a block
 * device it guarantees zeroes or fails); zero writes zeroes keeping space (FALLOC_FL_ZERO_RANGE);
 * allocate takes space for what has none, and a file that ends before the range does grows
 * (fallocate without flags): what was there stays, what is new reads as zeroes.
 */
LOOP_ONLY void loop_read(struct loop *loop, struct loop_op *op, const struct loop_rw *rw,
			 loop_done_fn *done);
LOOP_ONLY void loop_write(struct loop *loop, struct loop_op *op, const struct loop_rw *rw,
			  loop_done_fn *done);
LOOP_ONLY void loop_sync(struct loop *loop, struct loop_op *op, int fd, loop_done_fn *done);

struct loop_range {
	uint64_t offset_bytes;
	uint64_t length_bytes;
};

LOOP_ONLY void loop_discard(struct loop *loop, struct loop_op *op, int fd, struct loop_range range,
			    loop_done_fn *done);
LOOP_ONLY void loop_zero(struct loop *loop, struct loop_op *op, int fd, struct loop_range range,
			 loop_done_fn *done);
LOOP_ONLY void loop_allocate(struct loop *loop, struct loop_op *op, int fd, struct loop_range range,
			     loop_done_fn *done);
/* For what has no operation of its own: `call` runs on a helper thread and may block; what it
 * returns is the result. It counts as a disk operation, and as one that takes a worker. */
LOOP_ONLY void loop_call(struct loop *loop, struct loop_op *op, loop_call_fn *call,
			 loop_done_fn *done);

/* Timers. start re-arms an armed timer; stop on an idle one does nothing. Resolution 1 ms; a delay
 * of 0 fires in the next turn, never in this one. The delay counts from loop_now_ns. */
LOOP_ONLY void loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms,
				loop_timer_fn *fn);
LOOP_ONLY void loop_timer_stop(struct loop *loop, struct loop_timer *timer);

static inline bool loop_timer_is_armed(const struct loop_timer *timer)
{
	return timer->armed;
}

/*
 * Post: run msg->fn at the top of a turn of `to`, in posting order per sender. Any thread, the
 * loop's own included (which is how work is deferred to the next turn). Release/acquire: what the
 * sender wrote before, the receiver sees.
 */
void loop_post(struct loop *to, struct loop_msg *msg, loop_msg_fn *fn);

/* The buffer pool. acquire answers NULL when it is empty: refuse or wait, never abort. */
LOOP_ONLY void *loop_buffer_acquire(struct loop *loop);
LOOP_ONLY void loop_buffer_release(struct loop *loop, void *buffer);
/* 0 .. buffer_count - 1: lets a user keep a record per buffer. */
LOOP_ONLY uint32_t loop_buffer_index(const struct loop *loop, const void *buffer);
LOOP_ONLY uint32_t loop_buffers_free(const struct loop *loop);
uint32_t loop_buffer_count(const struct loop *loop);

#endif
