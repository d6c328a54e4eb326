/*
 * The echo server with io_uring, as the best servers use it: one issuer with deferred task work,
 * one multishot receive for each connection into provided buffers, one sendmsg in flight for each,
 * which carries all the replies that were due. Runs until a connection ends, in the one thread of
 * its process. Read next: echo_end.c; echo_epoll.c does the same with epoll.
 */
#include "initiator-tests/bench/echo.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>

#define ENTRIES 256u
#define GROUP 0
/* Few and used in turn, so that they stay in the processor's cache. A power of two. */
#define BUFFERS 16u
#define BUFFER_BYTES (64u << 10)
/* In a completion's user data: the number of the end, and whether it is of a send. */
#define SEND_FLAG 0x10000u

struct line {
	struct echo_end *end;
	struct msghdr msg;
	struct iovec iov[ECHO_GATHER_MAX];
	bool sending;
	bool receiving;
};

struct server {
	struct io_uring ring;
	struct io_uring_buf_ring *buffers;
	struct line lines[ECHO_CONNECTIONS_MAX];
	unsigned count;
	bool ended;
};

static uint8_t buffer_area[BUFFERS][BUFFER_BYTES] __attribute__((aligned(4096)));

static _Noreturn void fail(const char *what, int err)
{
	errno = -err;
	echo_die(what);
}

static void give_buffer(struct server *server, unsigned index)
{
	io_uring_buf_ring_add(server->buffers, buffer_area[index], BUFFER_BYTES,
			      (unsigned short)index, io_uring_buf_ring_mask(BUFFERS), 0);
	io_uring_buf_ring_advance(server->buffers, 1);
}

static void open_ring(struct server *server)
{
	struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER |
						  IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
					 .cq_entries = 4 * ENTRIES};
	struct io_uring_buf_reg reg = {.ring_entries = BUFFERS, .bgid = GROUP};
	int err = io_uring_queue_init_params(ENTRIES, &server->ring, &params);

	if (err)
		fail("cannot set up a ring", err);
	server->buffers = aligned_alloc(4096, 4096);
	if (!server->buffers)
		echo_die("no memory");
	reg.ring_addr = (uintptr_t)server->buffers;
	io_uring_buf_ring_init(server->buffers);
	err = io_uring_register_buf_ring(&server->ring, &reg, 0);
	if (err)
		fail("cannot register a ring of buffers", err);
	for (unsigned i = 0; i < BUFFERS; i++)
		give_buffer(server, i);
}

/* There is room: each line has one receive and one send at most. */
static struct io_uring_sqe *take_sqe(struct server *server)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&server->ring);

	if (!sqe)
		fail("the ring is full", -ENOSPC);
	return sqe;
}

static void start_receive(struct server *server, unsigned index)
{
	struct line *line = &server->lines[index];
	struct io_uring_sqe *sqe = take_sqe(server);

	io_uring_prep_recv_multishot(sqe, line->end->fd, NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = GROUP;
	io_uring_sqe_set_data64(sqe, index);
	line->receiving = true;
}

static void start_send(struct server *server, unsigned index)
{
	struct line *line = &server->lines[index];
	struct io_uring_sqe *sqe = take_sqe(server);

	line->msg = (struct msghdr){.msg_iov = line->iov,
				    .msg_iovlen = echo_gather(line->end, line->iov)};
	io_uring_prep_sendmsg(sqe, line->end->fd, &line->msg, MSG_NOSIGNAL | MSG_WAITALL);
	io_uring_sqe_set_data64(sqe, index | SEND_FLAG);
	line->sending = true;
}

static void on_sent(struct server *server, struct line *line, const struct io_uring_cqe *cqe)
{
	line->sending = false;
	if (cqe->res < 0)
		server->ended = true;
	else
		line->end->out_bytes -= (size_t)cqe->res;
}

static void on_received(struct server *server, struct line *line, const struct io_uring_cqe *cqe)
{
	line->receiving = cqe->flags & IORING_CQE_F_MORE;
	if (cqe->flags & IORING_CQE_F_BUFFER)
		give_buffer(server, cqe->flags >> IORING_CQE_BUFFER_SHIFT);
	if (cqe->res > 0)
		line->end->out_bytes +=
			echo_take(line->end, (size_t)cqe->res) * line->end->out_whole;
	else if (cqe->res != -ENOBUFS)
		server->ended = true;
}

static void on_completion(struct server *server, const struct io_uring_cqe *cqe)
{
	uint64_t data = io_uring_cqe_get_data64(cqe);
	struct line *line = &server->lines[data & (SEND_FLAG - 1)];

	if (data & SEND_FLAG)
		on_sent(server, line, cqe);
	else
		on_received(server, line, cqe);
}

static void reap(struct server *server)
{
	struct io_uring_cqe *cqe;
	unsigned head;
	unsigned seen = 0;

	io_uring_for_each_cqe (&server->ring, head, cqe) {
		on_completion(server, cqe);
		seen++;
	}
	io_uring_cq_advance(&server->ring, seen);
}

/* What has become due on any line, after a batch of completions. */
static void issue(struct server *server)
{
	for (unsigned i = 0; i < server->count; i++) {
		struct line *line = &server->lines[i];

		if (!line->receiving)
			start_receive(server, i);
		if (!line->sending && line->end->out_bytes > 0)
			start_send(server, i);
	}
}

void echo_serve_ring(struct echo_end *ends, unsigned count)
{
	static struct server server;

	server.count = count;
	for (unsigned i = 0; i < count; i++)
		server.lines[i].end = &ends[i];
	open_ring(&server);
	while (!server.ended) {
		int err;

		issue(&server);
		err = io_uring_submit_and_wait(&server.ring, 1);
		if (err < 0 && err != -EINTR)
			fail("cannot enter the ring", err);
		reap(&server);
	}
}
