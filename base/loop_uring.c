/*
 * The io_uring engine: fills submission entries, enters the kernel once a turn, takes completions.
 * It judges no result, except those that are the ring's own business (see on_result).
 *
 * The ring is made on the thread that runs the loop, which a single-issuer ring demands. Runs on
 * that thread. Read next: loop_op.c.
 */
#include "base/loop_engine.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/aio_helpers.h"
#include "base/aligned.h"
#include "base/clock.h"
#include "base/log.h"

/* Completions may pile up while callbacks run; the kernel keeps what does not fit. */
#define CQ_PER_SQ 4u
/* After an error of the kernel that is about memory, how long to leave it alone. */
#define PAUSE_NS CLOCK_NS_PER_MS

/* Polls alone are worth no entry to the kernel while the loop has other things to do, for so many
 * turns and so long (turns that move large transfers are slow): they go with what comes next, or
 * when the loop sleeps. */
#define LOOKS_SPARED_MAX 8u
#define LOOKS_SPARED_NS 100000u

struct uring {
	struct io_uring ring;
	struct aio_helpers *helpers; /* For loop_call; no thread before the first. */
	bool wake_armed;             /* A read of wake_fd is in the kernel. */
	bool urgent;                 /* Something beside polls is to be handed over, or no room. */
	unsigned looks_spared;       /* In a row. */
	uint64_t spared_since_ns;    /* The first of them. */
};

/* Where the kernel puts what it reads from wake_fd. Nobody looks, and a ring that is being torn
 * down may write late, so it belongs to no loop. */
static uint64_t wake_sink;

static struct uring *state(const struct loop *loop)
{
	return loop->engine_state;
}

/* -- Set-up ---------------------------------------------------------------------------------- */

static const struct {
	int error;
	const char *text;
} refusals[] = {
	{EPERM, "it is switched off (sysctl kernel.io_uring_disabled) or filtered (seccomp of a "
		"container): allow it, or set engine = aio"},
	{EACCES, "a security module forbids it: allow it, or set engine = aio"},
	{ENOSYS, "this kernel was built without it or is too old: set engine = aio"},
	{EOPNOTSUPP,
	 "this kernel's io_uring is too old (5.11 or later is needed): set engine = aio"},
	{ENOMEM,
	 "locked memory is used up: raise RLIMIT_MEMLOCK (LimitMEMLOCK=), or use fewer loops"},
	{EMFILE, "descriptors are used up: raise RLIMIT_NOFILE (LimitNOFILE=)"},
	{ENFILE, "the system's descriptors are used up: raise sysctl fs.file-max"},
};

static const char *explain(int error)
{
	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
		if (refusals[i].error == error)
			return refusals[i].text;
	}
	return "set engine = aio";
}

/* Best first. Kernels know them from 6.1, 5.19, 5.18 and 5.6 on. */
static const unsigned setup_flags[] = {
	IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
		IORING_SETUP_SUBMIT_ALL,
	IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
	IORING_SETUP_SUBMIT_ALL,
	0,
};

static int open_ring(struct uring *uring, unsigned entries)
{
	int res = -EINVAL;

	for (size_t i = 0; i < ARRAY_SIZE(setup_flags) && res == -EINVAL; i++) {
		struct io_uring_params params = {
			.flags = setup_flags[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
			.cq_entries = entries * CQ_PER_SQ,
		};

		res = io_uring_queue_init_params(entries, &uring->ring, &params);
	}
	return res;
}

static const int needed_opcodes[] = {
	IORING_OP_ACCEPT,    IORING_OP_SEND,     IORING_OP_SENDMSG, IORING_OP_READ,
	IORING_OP_READV,     IORING_OP_WRITE,    IORING_OP_WRITEV,  IORING_OP_FSYNC,
	IORING_OP_FALLOCATE, IORING_OP_POLL_ADD,
};

/* EXT_ARG: a wait takes a timeout. NODROP: completions are never lost. FAST_POLL: sockets wait
 * without a worker. */
static const unsigned needed_features =
	IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP | IORING_FEAT_FAST_POLL;

static int check_features(struct uring *uring)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(&uring->ring);
	int res = 0;

	if (probe == NULL || (uring->ring.features & needed_features) != needed_features)
		res = -EOPNOTSUPP;
	for (size_t i = 0; i < ARRAY_SIZE(needed_opcodes) && res == 0; i++) {
		if (!io_uring_opcode_supported(probe, needed_opcodes[i]))
			res = -EOPNOTSUPP;
	}
	io_uring_free_probe(probe);
	return res;
}

static int setup(struct loop *loop)
{
	struct uring *uring = aligned_calloc(sizeof(*uring));
	int res;

	if (uring == NULL)
		return -ENOMEM;
	res = open_ring(uring, loop->config.ring_entries);
	if (res != 0)
		goto fail;
	res = check_features(uring);
	if (res == 0)
		res = aio_helpers_create(loop, &uring->helpers);
	if (res != 0)
		goto fail_ring;
	/* Spares a table look-up on each entry to the kernel, where it is known (5.18). */
	(void)io_uring_register_ring_fd(&uring->ring);
	loop->engine_state = uring;
	return 0;
fail_ring:
	io_uring_queue_exit(&uring->ring);
fail:
	aligned_free(uring);
	return res;
}

static void clear(struct loop *loop)
{
	struct uring *uring = state(loop);

	aio_helpers_free(uring->helpers);
	io_uring_queue_exit(&uring->ring);
	aligned_free(uring);
	loop->engine_state = NULL;
}

/* Workers for what the kernel cannot do inline. Its own choice, 4 x CPUs, suits computing; most of
 * ours sleep: in a file system's locks, or until a write to a hole is on the disk. They are started
 * when they are needed and end when they are idle. */
#define WORKERS_WANTED 64u

/* The kernel's own choice, where it cannot be told ours: min(SQ entries, 4 x CPUs). */
static unsigned workers_by_rule(const struct loop *loop)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned workers = cpus > 0 ? 4 * (unsigned)cpus : 4;

	return workers < loop->config.ring_entries ? workers : loop->config.ring_entries;
}

static unsigned punt_limit(const struct loop *loop)
{
	unsigned workers[2] = {WORKERS_WANTED, 0}; /* Bounded; unbounded: 0 leaves it. */
	unsigned count = WORKERS_WANTED;

	if (io_uring_register_iowq_max_workers(&state(loop)->ring, workers) != 0)
		count = workers_by_rule(loop);
	return count >= 2 ? count / 2 : 1;
}

/* -- Submission ------------------------------------------------------------------------------ */

static void prep_accept(struct io_uring_sqe *sqe, struct loop_op *op)
{
	io_uring_prep_accept(sqe, op->fd, NULL, NULL, SOCK_CLOEXEC);
}

static void set_message(struct loop_op *op)
{
	op->msg = (struct msghdr){.msg_iov = op->iov, .msg_iovlen = op->iov_count};
}

/* The receive itself is made when its callback is due: loop_socket.c. */
static void prep_recv(struct io_uring_sqe *sqe, struct loop_op *op)
{
	io_uring_prep_poll_add(sqe, op->fd, POLLIN);
}

static void prep_send(struct io_uring_sqe *sqe, struct loop_op *op)
{
	if (op->iov_count == 1) {
		io_uring_prep_send(sqe, op->fd, op->iov->iov_base, op->iov->iov_len, MSG_NOSIGNAL);
		return;
	}
	set_message(op);
	io_uring_prep_sendmsg(sqe, op->fd, &op->msg, MSG_NOSIGNAL);
}

static int rw_flags(const struct loop_op *op)
{
	return ((op->flags & LOOP_DSYNC) != 0 ? RWF_DSYNC : 0) |
	       ((op->flags & LOOP_NOWAIT) != 0 ? RWF_NOWAIT : 0);
}

static void prep_read(struct io_uring_sqe *sqe, struct loop_op *op)
{
	uint64_t at = (uint64_t)loop_op_position(op);

	if (op->iov_count == 1) {
		io_uring_prep_read(sqe, op->fd, op->iov->iov_base, (unsigned)op->iov->iov_len, at);
	} else {
		io_uring_prep_readv(sqe, op->fd, op->iov, op->iov_count, at);
	}
	sqe->rw_flags = rw_flags(op);
}

static void prep_write(struct io_uring_sqe *sqe, struct loop_op *op)
{
	uint64_t at = (uint64_t)loop_op_position(op);

	if (op->iov_count == 1) {
		io_uring_prep_write(sqe, op->fd, op->iov->iov_base, (unsigned)op->iov->iov_len, at);
	} else {
		io_uring_prep_writev(sqe, op->fd, op->iov, op->iov_count, at);
	}
	sqe->rw_flags = rw_flags(op);
}

static void prep_sync(struct io_uring_sqe *sqe, struct loop_op *op)
{
	io_uring_prep_fsync(sqe, op->fd, IORING_FSYNC_DATASYNC);
}

static void prep_discard(struct io_uring_sqe *sqe, struct loop_op *op)
{
	io_uring_prep_fallocate(sqe, op->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				(off_t)op->offset_bytes, (off_t)op->length_bytes);
}

static void prep_zero(struct io_uring_sqe *sqe, struct loop_op *op)
{
	io_uring_prep_fallocate(sqe, op->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
				(off_t)op->offset_bytes, (off_t)op->length_bytes);
}

static void prep_allocate(struct io_uring_sqe *sqe, struct loop_op *op)
{
	io_uring_prep_fallocate(sqe, op->fd, 0, (off_t)op->offset_bytes, (off_t)op->length_bytes);
}

typedef void prep_fn(struct io_uring_sqe *sqe, struct loop_op *op);

static prep_fn *const preps[] = {
	[LOOP_OP_ACCEPT] = prep_accept,     [LOOP_OP_RECV] = prep_recv,
	[LOOP_OP_SEND] = prep_send,         [LOOP_OP_READ] = prep_read,
	[LOOP_OP_WRITE] = prep_write,       [LOOP_OP_SYNC] = prep_sync,
	[LOOP_OP_DISCARD] = prep_discard,   [LOOP_OP_ZERO] = prep_zero,
	[LOOP_OP_ALLOCATE] = prep_allocate, [LOOP_OP_CALL] = NULL, /* A helper thread's. */
};
_Static_assert(ARRAY_SIZE(preps) == LOOP_OP_COUNT, "an operation lacks its entry");

static unsigned poll_events(const struct loop_op *op)
{
	return op->kind == LOOP_OP_SEND ? POLLOUT : POLLIN;
}

/* True: what it was for needs no entry any more. Most sends go through at once, and a plain call is
 * cheaper than an entry and its completion. */
LOOP_ONLY static bool is_done_at_once(struct loop_op *op)
{
	return op->kind == LOOP_OP_SEND && (op->flags & OP_POLL) == 0 && loop_socket_try(op);
}

/* NULL: the ring is full, and what waits for room may be more urgent than what is in there. */
static struct io_uring_sqe *take_entry(struct uring *uring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);

	if (sqe == NULL)
		uring->urgent = true;
	return sqe;
}

LOOP_ONLY static bool submit(struct loop *loop, struct loop_op *op)
{
	struct io_uring_sqe *sqe;

	if (is_done_at_once(op))
		return true;
	if (op->kind == LOOP_OP_CALL) {
		aio_helpers_carry(state(loop)->helpers, op);
		return true;
	}
	sqe = take_entry(state(loop));
	if (sqe == NULL)
		return false;
	if ((op->flags & OP_POLL) != 0) {
		io_uring_prep_poll_add(sqe, op->fd, poll_events(op));
	} else {
		preps[op->kind](sqe, op);
	}
	if ((op->flags & OP_WORKER) != 0)
		sqe->flags |= IOSQE_ASYNC;
	if (sqe->opcode != IORING_OP_POLL_ADD)
		state(loop)->urgent = true;
	io_uring_sqe_set_data(sqe, op);
	return true;
}

/* -- Completion ------------------------------------------------------------------------------ */

/*
 * EAGAIN that the caller did not ask for. A non-blocking socket gets it where a blocking one would
 * have waited: wait by polling. A file gets it when the kernel could not set the waiting up: a
 * worker waits in its own context.
 */
LOOP_ONLY static bool carry_again(struct loop_op *op)
{
	uint8_t how = loop_op_is_socket(op) ? OP_POLL : OP_WORKER;

	if ((op->flags & (LOOP_NOWAIT | how)) != 0)
		return false;
	op->flags |= how;
	loop_op_carry(op);
	return true;
}

LOOP_ONLY static void on_result(struct loop_op *op, int res)
{
	bool was_poll = (op->flags & OP_POLL) != 0;

	op->flags &= (uint8_t)~OP_POLL;
	if (op->kind == LOOP_OP_RECV && res >= 0) {
		loop_socket_set_due(op);
		return;
	}
	if (was_poll && res >= 0) {
		loop_op_carry(op); /* Ready: now the operation itself. */
		return;
	}
	if (res == -EAGAIN && carry_again(op))
		return;
	if (loop_op_step(op, res) == OP_NEXT_MORE)
		loop_op_carry(op);
}

LOOP_ONLY static unsigned harvest(struct loop *loop)
{
	struct uring *uring = state(loop);
	struct io_uring_cqe *cqe;
	unsigned count = 0;
	unsigned head;

	io_uring_for_each_cqe (&uring->ring, head, cqe) {
		struct loop_op *op = io_uring_cqe_get_data(cqe);

		if (op == NULL) {
			uring->wake_armed = false;
		} else {
			on_result(op, cqe->res);
		}
		count++;
	}
	io_uring_cq_advance(&uring->ring, count);
	return count;
}

static bool arm_wake(struct loop *loop)
{
	struct uring *uring = state(loop);
	struct io_uring_sqe *sqe;

	if (uring->wake_armed)
		return true;
	sqe = take_entry(uring);
	if (sqe == NULL)
		return false;
	io_uring_prep_read(sqe, loop->wake_fd, &wake_sink, sizeof(wake_sink), 0);
	io_uring_sqe_set_data(sqe, NULL);
	uring->wake_armed = true;
	return true;
}

/* Polls are waiting to be handed over. True: they have been for long enough. */
static bool is_spared_too_long(struct uring *uring, uint64_t now_ns)
{
	if (uring->looks_spared++ == 0)
		uring->spared_since_ns = now_ns;
	return uring->looks_spared > LOOKS_SPARED_MAX ||
	       now_ns - uring->spared_since_ns > LOOKS_SPARED_NS;
}

static bool is_look_needed(struct uring *uring, uint64_t now_ns)
{
	unsigned flags = IO_URING_READ_ONCE(*uring->ring.sq.kflags);

	if (uring->urgent || (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0)
		return true;
	return io_uring_sq_ready(&uring->ring) > 0 && is_spared_too_long(uring, now_ns);
}

/* Enter only when there is something to hand over or to fetch. */
static int look(struct uring *uring, uint64_t now_ns)
{
	return is_look_needed(uring, now_ns) ? io_uring_submit_and_get_events(&uring->ring) : 0;
}

static int sleep_in_kernel(struct uring *uring, uint64_t timeout_ns)
{
	struct io_uring_cqe *cqe;
	struct __kernel_timespec timeout = {
		.tv_sec = (int64_t)(timeout_ns / CLOCK_NS_PER_S),
		.tv_nsec = (long long)(timeout_ns % CLOCK_NS_PER_S),
	};

	return io_uring_submit_and_wait_timeout(&uring->ring, &cqe, 1,
						timeout_ns != LOOP_FOREVER ? &timeout : NULL, NULL);
}

/* The kernel is short of something, and nothing came that would free it: do not spin. */
static void pause_after(const struct loop *loop, int error)
{
	static struct log_limit limit = LOG_LIMIT(1, 10000);
	struct timespec pause = {.tv_nsec = PAUSE_NS};

	/* Completions were lost; their operations would hang for ever. */
	if (error == EBADR) {
		log_error("loop", "%s: the kernel lost completions for want of memory", loop->name);
		abort();
	}
	log_limited(&limit, LOG_LEVEL_WARN, "loop", "%s: io_uring_enter: %s, trying again",
		    loop->name, strerrordesc_np(error));
	(void)nanosleep(&pause, NULL);
}

LOOP_ONLY static void wait(struct loop *loop, uint64_t timeout_ns)
{
	struct uring *uring = state(loop);
	bool may_sleep = timeout_ns > 0 && arm_wake(loop);
	int res = may_sleep ? sleep_in_kernel(uring, timeout_ns) : look(uring, loop->now_ns);

	if (io_uring_sq_ready(&uring->ring) == 0) {
		uring->urgent = false;
		uring->looks_spared = 0;
	}
	if (harvest(loop) == 0 && res < 0 && res != -ETIME && res != -EINTR)
		pause_after(loop, -res);
}

static void forget(struct loop *loop, int fd)
{
	(void)loop; /* The ring keeps nothing about a descriptor. */
	(void)fd;
}

const struct loop_engine_ops loop_uring_ops = {
	.name = "uring",
	.setup = setup,
	.clear = clear,
	.submit = submit,
	.wait = wait,
	.forget = forget,
	.punt_limit = punt_limit,
	.explain = explain,
};
