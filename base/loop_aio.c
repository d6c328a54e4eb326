/*
 * The engine for kernels where io_uring is switched off: epoll for sockets, libaio for direct disk
 * transfers and syncs, helper threads for what libaio would block on.
 *
 * Sockets are tried and only then waited for, edge-triggered; each wait is for one operation, so an
 * edge that nobody waits for is of no interest. Direct transfers go to libaio with RWF_NOWAIT, and
 * those that the kernel then refuses (holes, file systems that cannot tell) are submitted again by
 * a helper: io_submit never blocks the loop. Runs on the loop's thread. Read next: aio_helpers.c,
 * loop_op.c.
 */
#include "base/loop_engine.h"

#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <limits.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/aio_helpers.h"
#include "base/aligned.h"
#include "base/clock.h"
#include "base/log.h"

/* Descriptors above this get -EMFILE: fs.nr_open's default. Only the table's used pages cost. */
#define FDS_MAX (1u << 20)
/* Taken from the kernel, or given to it, at a time. */
#define BATCH 64
/* io_submit found no room though nothing of ours is in the kernel: look again this much later. */
#define RETRY_NS CLOCK_NS_PER_MS

struct aio_fd {
	struct loop_op *in;  /* Accept or receive that waits. */
	struct loop_op *out; /* Send that waits. */
	bool registered;
};

struct aio {
	int epoll_fd;
	int event_fd; /* libaio counts completions here. */
	io_context_t context;
	unsigned kernel_count; /* Operations inside libaio, but for those that a helper gave it. */
	bool no_room;          /* The last io_submit was refused for want of room. */
	struct list_node
		pending;    /* Operations that libaio gets at the end of the turn, in order. */
	struct aio_fd *fds; /* By descriptor. */
	struct aio_helpers *helpers;
	struct iocb blocks[BATCH]; /* submit_batch's; too big for a stack. */
	struct iocb *pointers[BATCH];
};

static struct aio *state(const struct loop *loop)
{
	return loop->engine_state;
}

/* -- Set-up ---------------------------------------------------------------------------------- */

static const char *explain(int error)
{
	switch (error) {
	case EAGAIN:
		return "raise sysctl fs.aio-max-nr, or use fewer loops";
	case EMFILE:
		return "descriptors are used up: raise RLIMIT_NOFILE (LimitNOFILE=)";
	case ENOSYS:
		return "this kernel was built without CONFIG_AIO, or seccomp filters it";
	default:
		return "no other engine is left";
	}
}

static int watch(struct aio *aio, int fd, uint32_t events)
{
	struct epoll_event event = {.events = events, .data = {.fd = fd}};

	return epoll_ctl(aio->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

static int open_fds(struct aio *aio, const struct loop *loop)
{
	int res;

	aio->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	aio->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (aio->epoll_fd < 0 || aio->event_fd < 0)
		return -errno;
	res = watch(aio, aio->event_fd, EPOLLIN);
	if (res == 0)
		res = watch(aio, loop->wake_fd, EPOLLIN);
	return res;
}

static int map_table(struct aio *aio)
{
	void *at = mmap(NULL, FDS_MAX * sizeof(*aio->fds), PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		return -errno;
	aio->fds = at;
	return 0;
}

/* Gives back whatever setup got so far. */
static void release(struct aio *aio, bool is_idle)
{
	if (aio->helpers != NULL)
		aio_helpers_free(aio->helpers);
	/* io_destroy waits for what is in flight; beside a stuck disk the context is left behind.
	 */
	if (aio->context != NULL && is_idle)
		(void)io_destroy(aio->context);
	if (aio->fds != NULL)
		(void)munmap(aio->fds, FDS_MAX * sizeof(*aio->fds));
	if (aio->event_fd >= 0)
		(void)close(aio->event_fd);
	if (aio->epoll_fd >= 0)
		(void)close(aio->epoll_fd);
	aligned_free(aio);
}

static int setup(struct loop *loop)
{
	struct aio *aio = aligned_calloc(sizeof(*aio));
	int res;

	if (aio == NULL)
		return -ENOMEM;
	aio->epoll_fd = -1;
	aio->event_fd = -1;
	list_init(&aio->pending);
	res = open_fds(aio, loop);
	if (res == 0)
		res = map_table(aio);
	if (res == 0)
		res = io_setup((int)loop->config.ring_entries, &aio->context);
	if (res == 0)
		res = aio_helpers_create(loop, &aio->helpers);
	if (res == 0) {
		aio_helpers_set_context(aio->helpers, aio->context, aio->event_fd);
		loop->engine_state = aio;
	} else {
		release(aio, true);
	}
	return res;
}

static void clear(struct loop *loop)
{
	release(state(loop), loop->disk_in_flight == 0);
	loop->engine_state = NULL;
}

static unsigned punt_limit(const struct loop *loop)
{
	(void)loop;
	return AIO_HELPERS_MAX / 2;
}

/* -- Sockets --------------------------------------------------------------------------------- */

static struct loop_op **waiting_place(struct aio *aio, const struct loop_op *op)
{
	struct aio_fd *entry = &aio->fds[op->fd];

	return op->kind == LOOP_OP_SEND ? &entry->out : &entry->in;
}

/* Wait for the socket. When it became ready before it was registered, registering says so. */
static int park(struct aio *aio, struct loop_op *op)
{
	struct aio_fd *entry = &aio->fds[op->fd];
	int res = 0;

	if (!entry->registered)
		res = watch(aio, op->fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
	if (res != 0)
		return res;
	entry->registered = true;
	*waiting_place(aio, op) = op;
	return 0;
}

LOOP_ONLY static void wait_for_socket(struct aio *aio, struct loop_op *op)
{
	int res = park(aio, op);

	if (res != 0)
		loop_op_complete(op, res);
}

/* An edge says nothing about a receive that was not waiting then: it is tried before it waits. */
LOOP_ONLY static void try_socket(struct aio *aio, struct loop_op *op)
{
	if (op->kind == LOOP_OP_RECV && (op->flags & OP_POLL) == 0) {
		loop_socket_set_due(op);
	} else if (op->kind == LOOP_OP_RECV || !loop_socket_try(op)) {
		wait_for_socket(aio, op);
	}
}

LOOP_ONLY static void start_socket(struct aio *aio, struct loop_op *op)
{
	if (op->fd < 0 || (unsigned)op->fd >= FDS_MAX) {
		loop_op_complete(op, op->fd < 0 ? -EBADF : -EMFILE);
	} else {
		try_socket(aio, op);
	}
}

LOOP_ONLY static void wake_place(struct aio *aio, struct loop_op **place)
{
	struct loop_op *op = *place;

	*place = NULL;
	if (op == NULL)
		return;
	op->flags &= (uint8_t)~OP_POLL;
	try_socket(aio, op);
}

LOOP_ONLY static void on_socket_event(struct aio *aio, const struct epoll_event *event)
{
	struct aio_fd *entry = &aio->fds[event->data.fd];

	if ((event->events & ~(uint32_t)EPOLLOUT) != 0)
		wake_place(aio, &entry->in);
	if ((event->events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0)
		wake_place(aio, &entry->out);
}

static void forget(struct loop *loop, int fd)
{
	struct aio *aio = state(loop);

	if (fd < 0 || (unsigned)fd >= FDS_MAX || !aio->fds[fd].registered)
		return;
	(void)epoll_ctl(aio->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	aio->fds[fd] = (struct aio_fd){0};
}

/* -- Disk ------------------------------------------------------------------------------------ */

static int rw_flags(const struct loop_op *op)
{
	return RWF_NOWAIT | ((op->flags & LOOP_DSYNC) != 0 ? RWF_DSYNC : 0);
}

/* From the page cache, on this thread: RWF_NOWAIT promises that it takes no longer than a copy. */
LOOP_ONLY static void transfer_inline(struct loop_op *op)
{
	enum op_next next = OP_NEXT_MORE;

	while (next == OP_NEXT_MORE) {
		int count = (int)op->iov_count;
		int64_t at = loop_op_position(op);
		ssize_t res = op->kind == LOOP_OP_READ
				      ? preadv2(op->fd, op->iov, count, at, rw_flags(op))
				      : pwritev2(op->fd, op->iov, count, at, rw_flags(op));

		next = loop_op_step(op, res < 0 ? -errno : (int)res);
	}
}

static void start_pending(struct aio *aio, struct loop_op *op)
{
	op->state = OP_WAITING;
	list_append(&aio->pending, &op->link);
}

/* Asked each time: a cheap call, and a cached answer would outlive the descriptor. */
LOOP_ONLY static void start_transfer(struct aio *aio, struct loop_op *op)
{
	int flags = fcntl(op->fd, F_GETFL);

	if (flags < 0) {
		loop_op_complete(op, -errno);
	} else if ((flags & O_DIRECT) != 0) {
		start_pending(aio, op);
	} else if ((op->flags & LOOP_NOWAIT) != 0) {
		transfer_inline(op);
	} else {
		aio_helpers_carry(aio->helpers, op);
	}
}

LOOP_ONLY static void start_helper(struct aio *aio, struct loop_op *op)
{
	aio_helpers_carry(aio->helpers, op);
}

typedef void start_fn(struct aio *aio, struct loop_op *op);

static start_fn *const starts[] = {
	[LOOP_OP_ACCEPT] = start_socket,   [LOOP_OP_RECV] = start_socket,
	[LOOP_OP_SEND] = start_socket,     [LOOP_OP_READ] = start_transfer,
	[LOOP_OP_WRITE] = start_transfer,  [LOOP_OP_SYNC] = start_pending,
	[LOOP_OP_DISCARD] = start_helper,  [LOOP_OP_ZERO] = start_helper,
	[LOOP_OP_ALLOCATE] = start_helper, [LOOP_OP_CALL] = start_helper,
};
_Static_assert(ARRAY_SIZE(starts) == LOOP_OP_COUNT, "an operation lacks its start");

static bool submit(struct loop *loop, struct loop_op *op)
{
	starts[op->kind](state(loop), op);
	return true;
}

/* What the kernel refuses to do without waiting, or does not do through libaio at all. */
static bool is_for_helper(const struct loop_op *op, int res)
{
	if (op->kind == LOOP_OP_SYNC)
		return res == -EINVAL;
	return (op->flags & LOOP_NOWAIT) == 0 && (res == -EAGAIN || res == -EOPNOTSUPP);
}

LOOP_ONLY static void on_disk_result(struct aio *aio, struct loop_op *op, int res)
{
	/* A transfer is submitted again by a helper; refused even so, it is made by a plain call.
	 */
	bool was_helped = (op->flags & OP_WORKER) != 0;

	op->flags &= (uint8_t)~OP_WORKER;
	if (is_for_helper(op, res)) {
		if (op->kind != LOOP_OP_SYNC && !was_helped)
			op->flags |= OP_WORKER;
		aio_helpers_carry(aio->helpers, op);
	} else if (loop_op_step(op, res) == OP_NEXT_MORE) {
		start_pending(aio, op);
	}
}

static void prep_control_block(const struct aio *aio, struct iocb *block, struct loop_op *op)
{
	static const short opcodes[LOOP_OP_COUNT] = {
		[LOOP_OP_READ] = IO_CMD_PREADV,
		[LOOP_OP_WRITE] = IO_CMD_PWRITEV,
		[LOOP_OP_SYNC] = IO_CMD_FDSYNC,
	};

	*block = (struct iocb){
		.data = op,
		.aio_lio_opcode = opcodes[op->kind],
		.aio_fildes = op->fd,
	};
	if (op->kind != LOOP_OP_SYNC) {
		block->aio_rw_flags = (unsigned)rw_flags(op);
		block->u.c.buf = op->iov;
		block->u.c.nbytes = op->iov_count;
		block->u.c.offset = loop_op_position(op);
	}
	io_set_eventfd(block, aio->event_fd);
}

/* Take the first `count` off the pending list: libaio has them. */
static void drop_submitted(struct aio *aio, int count)
{
	aio->kernel_count += (unsigned)count;
	for (int i = 0; i < count; i++) {
		struct list_node *node = list_take_first(&aio->pending);

		CONTAINER_OF(node, struct loop_op, link)->state = OP_CARRIED;
	}
}

LOOP_ONLY static void fail_first(struct aio *aio, int res)
{
	struct list_node *node = list_take_first(&aio->pending);

	on_disk_result(aio, CONTAINER_OF(node, struct loop_op, link), res);
}

/* Give libaio one batch. False when it takes no more now. */
LOOP_ONLY static bool submit_batch(struct aio *aio)
{
	int count = 0;
	int res;

	LIST_FOREACH (node, &aio->pending) {
		if (count == BATCH)
			break;
		prep_control_block(aio, &aio->blocks[count],
				   CONTAINER_OF(node, struct loop_op, link));
		aio->pointers[count] = &aio->blocks[count];
		count++;
	}
	res = io_submit(aio->context, count, aio->pointers);
	if (res >= 0) {
		drop_submitted(aio, res);
	} else if (res != -EAGAIN) {
		fail_first(aio, res); /* The error is about the first one alone. */
	}
	aio->no_room = res == -EAGAIN || res == 0;
	return !aio->no_room;
}

LOOP_ONLY static void submit_pending(struct aio *aio)
{
	while (!list_is_empty(&aio->pending) && submit_batch(aio))
		continue;
}

LOOP_ONLY static void take_disk_results(struct aio *aio)
{
	struct io_event events[BATCH];
	struct timespec at_once = {0};
	int count;

	do {
		count = io_getevents(aio->context, 0, BATCH, events, &at_once);
		aio_helpers_see_given(aio->helpers);
		for (int i = 0; i < count; i++) {
			struct loop_op *op = events[i].data;

			/* What a helper submitted was not counted. */
			if ((op->flags & OP_WORKER) == 0)
				aio->kernel_count--;
			on_disk_result(aio, op, (int)(long)events[i].res);
		}
	} while (count == BATCH);
}

/* -- Waiting --------------------------------------------------------------------------------- */

static void drain_eventfd(int fd)
{
	uint64_t count;

	/* It is readable; and if it were not, the next wait would only end early. */
	if (read(fd, &count, sizeof(count)) < 0)
		return;
}

LOOP_ONLY static void on_event(struct loop *loop, const struct epoll_event *event)
{
	struct aio *aio = state(loop);

	if (event->data.fd == loop->wake_fd) {
		drain_eventfd(loop->wake_fd);
	} else if (event->data.fd == aio->event_fd) {
		drain_eventfd(aio->event_fd);
		take_disk_results(aio);
	} else {
		on_socket_event(aio, event);
	}
}

/* Rounded up, so that a timer that is due in less than this does not spin. */
static int timeout_ms(const struct aio *aio, uint64_t timeout_ns)
{
	uint64_t ms;

	if (aio->no_room && aio->kernel_count == 0 && timeout_ns > RETRY_NS)
		timeout_ns = RETRY_NS;
	if (timeout_ns == LOOP_FOREVER)
		return -1;
	ms = timeout_ns / CLOCK_NS_PER_MS + (timeout_ns % CLOCK_NS_PER_MS != 0 ? 1 : 0);
	return ms < INT_MAX ? (int)ms : INT_MAX;
}

LOOP_ONLY static void wait(struct loop *loop, uint64_t timeout_ns)
{
	struct aio *aio = state(loop);
	struct epoll_event events[BATCH];
	int count;

	submit_pending(aio);
	/* Submitting may have finished something: then look only. */
	if (!list_is_empty(&loop->done))
		timeout_ns = 0;
	count = epoll_wait(aio->epoll_fd, events, BATCH, timeout_ms(aio, timeout_ns));
	for (int i = 0; i < count; i++)
		on_event(loop, &events[i]);
}

const struct loop_engine_ops loop_aio_ops = {
	.name = "aio",
	.setup = setup,
	.clear = clear,
	.submit = submit,
	.wait = wait,
	.forget = forget,
	.punt_limit = punt_limit,
	.explain = explain,
};
