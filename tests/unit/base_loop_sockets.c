/*
 * Sockets through the loop, on both engines: accept, echo with sends that the kernel cuts short,
 * end of stream, shutdown under a receive, receives that the kernel hears of late.
 */
#include "tests/unit/base_testing.h"

#define ECHO_BYTES (1u << 20)

static void make_pair(int fds[2])
{
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

static void make_pair_small(int fds[2])
{
	int bytes = 1; /* The kernel raises it to its minimum. */

	make_pair(fds);
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
	}
}

/* One side sends a megabyte in three pieces, the other receives it in odd pieces. */
struct stream {
	struct test_op send;
	struct loop_op recv;
	struct iovec out[4];
	struct iovec in[2];
	uint8_t *sent;
	uint8_t *got;
	size_t got_count;
	unsigned left;
	int fd;
};

LOOP_ONLY static void receive_more(struct loop *loop, struct stream *stream);

LOOP_ONLY static void on_received(struct loop_op *op, int res)
{
	struct stream *stream = CONTAINER_OF(op, struct stream, recv);

	cr_assert_gt(res, 0);
	cr_assert_eq((uint64_t)res, op->transferred_bytes);
	stream->got_count += (size_t)res;
	if (stream->got_count < ECHO_BYTES)
		receive_more(op->loop, stream);
	else if (--stream->left == 0)
		loop_stop(op->loop);
}

LOOP_ONLY static void receive_more(struct loop *loop, struct stream *stream)
{
	size_t room = ECHO_BYTES - stream->got_count;
	size_t first = room < 1000 ? room : 1000;
	size_t second = room - first < 3001 ? room - first : 3001;

	stream->in[0] = (struct iovec){stream->got + stream->got_count, first};
	stream->in[1] = (struct iovec){stream->got + stream->got_count + first, second};
	loop_recv(loop, &stream->recv, stream->fd, stream->in, second > 0 ? 2 : 1, on_received);
}

LOOP_ONLY static void stream_through(enum loop_engine engine, int type_flags)
{
	struct loop *loop = test_loop(engine);
	struct stream stream = {.left = 2};
	int fds[2];

	make_pair_small(fds);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(fcntl(fds[i], F_SETFL, type_flags), 0);
	stream.sent = malloc(ECHO_BYTES);
	stream.got = calloc(1, ECHO_BYTES);
	test_fill(stream.sent, ECHO_BYTES, 1);
	stream.send.left = &stream.left;
	stream.fd = fds[1];
	stream.out[1] = (struct iovec){stream.sent, 7};
	stream.out[2] = (struct iovec){stream.sent + 7, 100000};
	stream.out[3] = (struct iovec){stream.sent + 100007, ECHO_BYTES - 100007};
	loop_send(loop, &stream.send.op, fds[0], stream.out, 4, test_on_op);
	receive_more(loop, &stream);
	test_run(loop);
	cr_assert_eq(stream.send.res, (int)ECHO_BYTES);
	cr_assert_eq(stream.send.op.transferred_bytes, ECHO_BYTES);
	cr_assert_eq(memcmp(stream.sent, stream.got, ECHO_BYTES), 0);
	cr_assert_eq(close(fds[0]) | close(fds[1]), 0);
	free(stream.sent);
	free(stream.got);
}

TEST_ON_ENGINES(sockets, long_send_is_finished)
{
	stream_through(engine, 0);
}

TEST_ON_ENGINES(sockets, non_blocking_descriptors_do_as_well)
{
	stream_through(engine, O_NONBLOCK);
}

TEST_ON_ENGINES(sockets, end_of_stream_is_zero)
{
	struct loop *loop = test_loop(engine);
	struct test_op recv = {.res = -1};
	uint8_t byte[1];
	struct iovec iov = {byte, sizeof(byte)};
	int fds[2];

	make_pair(fds);
	cr_assert_eq(close(fds[0]), 0);
	loop_recv(loop, &recv.op, fds[1], &iov, 1, test_on_op);
	test_run(loop);
	cr_assert_eq(recv.res, 0);
	cr_assert_eq(close(fds[1]), 0);
}

/* Receives that name the same memory: each callback finds there what came for it. */
#define SHARERS 3u

struct sharer {
	struct loop_op recv;
	struct iovec iov;
	uint8_t *memory;
	uint8_t expected;
	unsigned count;
	unsigned *left;
	int fds[2];
};

LOOP_ONLY static void share_more(struct loop *loop, struct sharer *sharer);

LOOP_ONLY static void on_shared(struct loop_op *op, int res)
{
	struct sharer *sharer = CONTAINER_OF(op, struct sharer, recv);

	cr_assert_eq(res, 2);
	cr_assert_eq(sharer->memory[0], sharer->expected);
	cr_assert_eq(sharer->memory[1], sharer->expected);
	sharer->memory[0] = 0xff;
	/* The second receive of each begins after one that was filled, before there is more. */
	if (++sharer->count < 3) {
		share_more(op->loop, sharer);
		if (sharer->count == 2)
			cr_assert_eq(write(sharer->fds[0],
					   (uint8_t[2]){sharer->expected, sharer->expected}, 2),
				     2);
	} else if (--*sharer->left == 0) {
		loop_stop(op->loop);
	}
}

LOOP_ONLY static void share_more(struct loop *loop, struct sharer *sharer)
{
	sharer->iov = (struct iovec){sharer->memory, 2};
	loop_recv(loop, &sharer->recv, sharer->fds[1], &sharer->iov, 1, on_shared);
}

TEST_ON_ENGINES(sockets, receives_share_memory)
{
	struct loop *loop = test_loop(engine);
	struct sharer sharers[SHARERS] = {0};
	uint8_t memory[2];
	unsigned left = SHARERS;

	for (unsigned i = 0; i < SHARERS; i++) {
		uint8_t byte = (uint8_t)(i + 1);

		sharers[i].memory = memory;
		sharers[i].expected = byte;
		sharers[i].left = &left;
		make_pair(sharers[i].fds);
		cr_assert_eq(write(sharers[i].fds[0], (uint8_t[4]){byte, byte, byte, byte}, 4), 4);
		share_more(loop, &sharers[i]);
	}
	test_run(loop);
	for (unsigned i = 0; i < SHARERS; i++)
		cr_assert_eq(close(sharers[i].fds[0]) | close(sharers[i].fds[1]), 0);
}

/* Nobody sends; a timer shuts the socket down under the receive, or under the full send. */
struct interrupted {
	struct loop_timer timer;
	int fd;
};

static void on_shutdown_time(struct loop_timer *timer)
{
	struct interrupted *interrupted = CONTAINER_OF(timer, struct interrupted, timer);

	cr_assert_eq(shutdown(interrupted->fd, SHUT_RDWR), 0);
}

TEST_ON_ENGINES(sockets, shutdown_ends_a_receive)
{
	struct loop *loop = test_loop(engine);
	struct test_op recv = {.res = -1};
	struct interrupted interrupted = {0};
	uint8_t byte[1];
	struct iovec iov = {byte, sizeof(byte)};
	int fds[2];

	make_pair(fds);
	interrupted.fd = fds[1];
	loop_recv(loop, &recv.op, fds[1], &iov, 1, test_on_op);
	loop_timer_start(loop, &interrupted.timer, 20, on_shutdown_time);
	test_run(loop);
	cr_assert_eq(recv.res, 0);
	cr_assert_eq(close(fds[0]) | close(fds[1]), 0);
}

TEST_ON_ENGINES(sockets, shutdown_ends_a_send)
{
	struct loop *loop = test_loop(engine);
	struct test_op send = {.res = -1};
	struct interrupted interrupted = {0};
	static uint8_t bytes[ECHO_BYTES];
	struct iovec iov = {bytes, sizeof(bytes)};
	int fds[2];

	make_pair_small(fds);
	interrupted.fd = fds[1];
	loop_send(loop, &send.op, fds[1], &iov, 1, test_on_op);
	loop_timer_start(loop, &interrupted.timer, 20, on_shutdown_time);
	test_run(loop);
	cr_assert_eq(send.res, -EPIPE); /* And no SIGPIPE, or we were not here. */
	cr_assert_gt(send.op.transferred_bytes, 0);
	cr_assert_lt(send.op.transferred_bytes, sizeof(bytes));
	cr_assert_eq(close(fds[0]) | close(fds[1]), 0);
}

/* -- Receives that the kernel has not heard of yet --------------------------------------------- */

/* Keeps the loop busy until the receive is done, with turns as long as a large transfer makes them.
 */
#define SLOW_TURN_US 2000u
/* The turn that submits it, one in which it may be spared, the kernel's answer, the callback. */
#define SLOW_TURNS_MAX 4u

struct slow {
	struct loop_msg msg;
	struct loop *loop;
	struct test_op recv;
	struct iovec iov;
	unsigned turns;
	int fd;
};

static void on_slow(struct loop_msg *msg)
{
	struct slow *slow = CONTAINER_OF(msg, struct slow, msg);

	loop_role_assume();
	if (slow->turns++ == 0)
		loop_recv(slow->loop, &slow->recv.op, slow->fd, &slow->iov, 1, test_on_op);
	(void)usleep(SLOW_TURN_US);
	if (slow->recv.done_count == 0)
		loop_post(slow->loop, msg, on_slow);
}

TEST_ON_ENGINES(sockets, slow_turns_hold_up_no_receive)
{
	struct loop *loop = test_loop(engine);
	char byte;
	struct slow slow = {.loop = loop, .iov = {&byte, 1}};
	int fds[2];

	make_pair(fds);
	slow.fd = fds[1];
	cr_assert_eq(write(fds[0], "x", 1), 1);
	loop_post(loop, &slow.msg, on_slow);
	test_run(loop);
	cr_assert_eq(slow.recv.res, 1);
	cr_assert_leq(slow.turns, SLOW_TURNS_MAX, "%u turns", slow.turns);
	cr_assert_eq(close(fds[0]) | close(fds[1]), 0);
}

/* More receives than the ring has entries, and behind them something else. */
#define CROWD 64u
#define CROWD_ENTRIES 4u

TEST_ON_ENGINES(sockets, receives_that_fill_the_ring_hold_up_nobody)
{
	struct loop_config config = {
		.name = "crowd", .engine = engine, .ring_entries = CROWD_ENTRIES};
	static struct test_op recvs[CROWD];
	static struct iovec iov[CROWD];
	struct test_op sync = {0};
	struct loop_stats stats;
	struct loop *loop;
	char byte;
	int fds[2 * CROWD];

	cr_assert_eq(loop_create(&config, &loop), 0);
	for (unsigned i = 0; i < CROWD; i++) {
		make_pair(&fds[2 * i]);
		iov[i] = (struct iovec){&byte, 1};
		loop_recv(loop, &recvs[i].op, fds[2 * i], &iov[i], 1, test_on_op);
	}
	loop_sync(loop, &sync.op, -1, test_on_op);
	cr_assert_eq(loop_run(loop), 0);
	cr_assert_eq(sync.res, -EBADF);
	loop_stats_read(loop, &stats);
	cr_assert_leq(stats.turns, CROWD / CROWD_ENTRIES + 4, "%lu turns",
		      (unsigned long)stats.turns);
	loop_free(loop, true);
	for (unsigned i = 0; i < 2 * CROWD; i++)
		cr_assert_eq(close(fds[i]), 0);
}

/* -- Accept ---------------------------------------------------------------------------------- */

static int listen_somewhere(struct sockaddr_in *at)
{
	socklen_t length = sizeof(*at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*at = (struct sockaddr_in){.sin_family = AF_INET,
				   .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
	cr_assert_geq(fd, 0);
	cr_assert_eq(bind(fd, (struct sockaddr *)at, sizeof(*at)), 0);
	cr_assert_eq(listen(fd, 8), 0);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)at, &length), 0);
	return fd;
}

struct caller {
	struct loop_timer timer;
	struct sockaddr_in to;
	int fd;
};

static void on_call_time(struct loop_timer *timer)
{
	struct caller *caller = CONTAINER_OF(timer, struct caller, timer);

	caller->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(connect(caller->fd, (struct sockaddr *)&caller->to, sizeof(caller->to)), 0);
}

TEST_ON_ENGINES(sockets, accept_waits_and_gives_a_descriptor)
{
	struct loop *loop = test_loop(engine);
	struct test_op accept = {.res = -1};
	struct caller caller = {0};
	int fd = listen_somewhere(&caller.to);

	loop_accept(loop, &accept.op, fd, test_on_op);
	loop_timer_start(loop, &caller.timer, 20, on_call_time);
	test_run(loop);
	cr_assert_geq(accept.res, 0);
	cr_assert_eq(fcntl(accept.res, F_GETFD), FD_CLOEXEC);
	cr_assert_eq(close(accept.res) | close(fd) | close(caller.fd), 0);
}

TEST_ON_ENGINES(sockets, shutdown_ends_an_accept)
{
	struct loop *loop = test_loop(engine);
	struct test_op accept = {.res = 1};
	struct interrupted interrupted = {0};
	struct sockaddr_in at;
	int fd = listen_somewhere(&at);

	interrupted.fd = fd;
	loop_accept(loop, &accept.op, fd, test_on_op);
	loop_timer_start(loop, &interrupted.timer, 20, on_shutdown_time);
	test_run(loop);
	cr_assert_eq(accept.res, -EINVAL);
	cr_assert_eq(close(fd), 0);
}
