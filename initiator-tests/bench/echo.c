/*
 * The physical limit: request and reply over loopback TCP with the byte shapes of iSCSI, and
 * nothing else. No target can be cheaper on the same sockets.
 *
 *     echo REQUEST_BYTES REPLY_BYTES CONNECTIONS DEPTH MILLISECONDS SERVER_CPU CLIENT_CPU
 *
 * A 4 KiB read is 48/4144: a command header there, a Data-In header with its data and status back;
 * a write with immediate data is 4144/48. The server is a process of its own with one thread and
 * epoll, so that its CPU time can be told; the client is like that of `ringsan bench`: it sends all
 * that is due in one call and takes all that has come in one. Prints one line: messages per second,
 * CPU microseconds of the server per message, p50 and p99 in microseconds.
 *
 * It stands alone on purpose and shares no code with what it is compared to. Read next: run.sh.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 64
#define DEPTH_MAX 1024
#define MESSAGE_BYTES_MAX (2u << 20)
#define RECEIVE_BYTES (256u << 10)
/* Elements of one gather send. */
#define GATHER_MAX 128
/* Latencies kept; older ones are overwritten in a longer run. */
#define SAMPLES (1u << 22)
#define RAMP_MS 300

enum {
	REQUEST_BYTES,
	REPLY_BYTES,
	CONNECTIONS,
	DEPTH,
	MILLISECONDS,
	SERVER_CPU,
	CLIENT_CPU,
	ARGUMENTS
};
static unsigned long arguments[ARGUMENTS];

/* One end of a connection, the same for both sides. */
struct end {
	size_t in_bytes;  /* Received of the message in hand. */
	size_t out_bytes; /* Still to be sent, over all messages that are due. */
	size_t in_whole;  /* A message that comes has so many bytes, */
	size_t out_whole; /* and one that goes so many. */
	uint64_t sent_ns[DEPTH_MAX];
	unsigned first; /* Of sent_ns: the oldest message without a reply. */
	unsigned count;
	int fd;
	bool blocked; /* The socket takes nothing now. */
};

static struct end ends[CONNECTIONS_MAX];
static uint8_t receive_area[RECEIVE_BYTES];
static uint8_t send_area[MESSAGE_BYTES_MAX];
static uint32_t samples[SAMPLES];
static uint64_t sample_count;

static void die(const char *what)
{
	(void)fprintf(stderr, "echo: %s: %s\n", what, strerrordesc_np(errno));
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread. */
	exit(EXIT_FAILURE);
}

static uint64_t now_ns(clockid_t clock)
{
	struct timespec now = {0};

	(void)clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void pin(unsigned long cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) != 0)
		die("cannot run on that CPU");
}

static void watch(int epoll, struct end *end, int how)
{
	struct epoll_event event = {.events = end->blocked ? EPOLLIN | EPOLLOUT : EPOLLIN,
				    .data.ptr = end};

	if (epoll_ctl(epoll, how, end->fd, &event) != 0)
		die("epoll_ctl");
}

/* One gather send over the message that all are. False: the socket takes nothing now. */
static bool send_some(struct end *end)
{
	struct iovec iov[GATHER_MAX];
	struct msghdr msg = {.msg_iov = iov};
	size_t left = end->out_bytes;
	/* What is left of a message that was sent in part, then whole ones. */
	size_t piece = (left - 1) % end->out_whole + 1;
	ssize_t sent;

	while (left > 0 && msg.msg_iovlen < GATHER_MAX) {
		iov[msg.msg_iovlen].iov_base = send_area;
		iov[msg.msg_iovlen++].iov_len = piece;
		left -= piece;
		piece = end->out_whole;
	}
	sent = sendmsg(end->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN)
		die("sendmsg");
	if (sent > 0)
		end->out_bytes -= (size_t)sent;
	return sent > 0;
}

static void flush(int epoll, struct end *end)
{
	bool was_blocked = end->blocked;

	end->blocked = false;
	while (end->out_bytes > 0 && !end->blocked)
		end->blocked = !send_some(end);
	if (end->blocked != was_blocked)
		watch(epoll, end, EPOLL_CTL_MOD);
}

/* Receive once; how many messages are whole now. -1: the peer has gone. */
static long receive(struct end *end)
{
	ssize_t received = recv(end->fd, receive_area, sizeof(receive_area), MSG_DONTWAIT);
	long whole;

	if (received < 0 && errno == EAGAIN)
		return 0;
	if (received <= 0)
		return -1;
	end->in_bytes += (size_t)received;
	whole = (long)(end->in_bytes / end->in_whole);
	end->in_bytes %= end->in_whole;
	return whole;
}

/* ---- Server ---- */

/* Until the client ends this process, or a connection breaks. */
static void serve(int epoll)
{
	struct epoll_event events[CONNECTIONS_MAX];

	for (;;) {
		int count = epoll_wait(epoll, events, CONNECTIONS_MAX, -1);

		for (int i = 0; i < count; i++) {
			struct end *end = events[i].data.ptr;
			long whole = receive(end);

			if (whole < 0)
				return;
			end->out_bytes += (size_t)whole * end->out_whole;
			flush(epoll, end);
		}
	}
}

static void no_delay(int fd)
{
	const int one = 1;

	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0)
		die("TCP_NODELAY");
}

static void server(int listener)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin(arguments[SERVER_CPU]);
	for (unsigned long i = 0; i < arguments[CONNECTIONS]; i++) {
		ends[i].fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (ends[i].fd < 0)
			die("accept");
		no_delay(ends[i].fd);
		ends[i].in_whole = arguments[REQUEST_BYTES];
		ends[i].out_whole = arguments[REPLY_BYTES];
		watch(epoll, &ends[i], EPOLL_CTL_ADD);
	}
	serve(epoll);
}

/* ---- Client ---- */

static void ask(struct end *end, unsigned messages, uint64_t at_ns)
{
	for (unsigned i = 0; i < messages; i++)
		end->sent_ns[(end->first + end->count++) % DEPTH_MAX] = at_ns;
	end->out_bytes += messages * end->out_whole;
}

static void take_replies(struct end *end, long replies, uint64_t at_ns)
{
	for (long i = 0; i < replies; i++) {
		uint64_t ns = at_ns - end->sent_ns[end->first];

		samples[sample_count++ % SAMPLES] = ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
		end->first = (end->first + 1) % DEPTH_MAX;
		end->count--;
	}
}

static void drive(int epoll, uint64_t until_ns)
{
	struct epoll_event events[CONNECTIONS_MAX];

	while (now_ns(CLOCK_MONOTONIC) < until_ns) {
		int count = epoll_wait(epoll, events, CONNECTIONS_MAX, 100);

		for (int i = 0; i < count; i++) {
			struct end *end = events[i].data.ptr;
			long replies = receive(end);
			uint64_t at_ns = now_ns(CLOCK_MONOTONIC);

			if (replies < 0)
				die("the server has gone");
			take_replies(end, replies, at_ns);
			ask(end, (unsigned)replies, at_ns);
			flush(epoll, end);
		}
	}
}

static int by_size(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a;
	uint32_t right = *(const uint32_t *)b;

	return left < right ? -1 : left > right;
}

static void report(uint64_t measured_ns, uint64_t cpu_ns)
{
	size_t kept = sample_count < SAMPLES ? sample_count : SAMPLES;
	size_t median = kept / 2;
	size_t p99 = kept * 99 / 100;

	if (kept == 0) {
		errno = ETIME;
		die("no reply came");
	}
	qsort(samples, kept, sizeof(samples[0]), by_size);
	(void)printf("%.0f %.2f %.1f %.1f\n", (double)sample_count * 1e9 / (double)measured_ns,
		     (double)cpu_ns / 1e3 / (double)sample_count, (double)samples[median] / 1e3,
		     (double)samples[p99] / 1e3);
}

static void open_connections(const struct sockaddr_in *address, int epoll)
{
	for (unsigned long i = 0; i < arguments[CONNECTIONS]; i++) {
		struct end *end = &ends[i];

		end->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (end->fd < 0 || connect(end->fd, (const void *)address, sizeof(*address)) != 0)
			die("connect");
		no_delay(end->fd);
		end->in_whole = arguments[REPLY_BYTES];
		end->out_whole = arguments[REQUEST_BYTES];
		watch(epoll, end, EPOLL_CTL_ADD);
		ask(end, (unsigned)arguments[DEPTH], now_ns(CLOCK_MONOTONIC));
		flush(epoll, end);
	}
}

static void client(const struct sockaddr_in *address, pid_t server_pid)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	uint64_t begin_ns;
	uint64_t cpu_ns;
	clockid_t clock;

	pin(arguments[CLIENT_CPU]);
	if (clock_getcpuclockid(server_pid, &clock) != 0)
		die("clock_getcpuclockid");
	open_connections(address, epoll);
	drive(epoll, now_ns(CLOCK_MONOTONIC) + RAMP_MS * 1000000ull);
	sample_count = 0;
	cpu_ns = now_ns(clock);
	begin_ns = now_ns(CLOCK_MONOTONIC);
	drive(epoll, begin_ns + arguments[MILLISECONDS] * 1000000ull);
	report(now_ns(CLOCK_MONOTONIC) - begin_ns, now_ns(clock) - cpu_ns);
}

static int listen_anywhere(struct sockaddr_in *address)
{
	socklen_t address_bytes = sizeof(*address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*address = (struct sockaddr_in){.sin_family = AF_INET,
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (fd < 0 || bind(fd, (const void *)address, sizeof(*address)) != 0 ||
	    listen(fd, CONNECTIONS_MAX) != 0 ||
	    getsockname(fd, (void *)address, &address_bytes) != 0)
		die("listen");
	return fd;
}

static bool parse_arguments(int argc, char **argv)
{
	for (int i = 0; i < ARGUMENTS; i++) {
		char *end = NULL;

		if (i + 1 >= argc)
			return false;
		arguments[i] = strtoul(argv[i + 1], &end, 10);
		if (end == argv[i + 1] || *end != '\0')
			return false;
	}
	return arguments[REQUEST_BYTES] - 1 < MESSAGE_BYTES_MAX &&
	       arguments[REPLY_BYTES] - 1 < MESSAGE_BYTES_MAX &&
	       arguments[CONNECTIONS] - 1 < CONNECTIONS_MAX && arguments[DEPTH] - 1 < DEPTH_MAX &&
	       arguments[SERVER_CPU] < CPU_SETSIZE && arguments[CLIENT_CPU] < CPU_SETSIZE;
}

int main(int argc, char **argv)
{
	struct sockaddr_in address;
	pid_t pid;
	int listener;

	if (!parse_arguments(argc, argv)) {
		(void)fputs("usage: echo REQUEST_BYTES REPLY_BYTES CONNECTIONS DEPTH MILLISECONDS "
			    "SERVER_CPU CLIENT_CPU\n",
			    stderr);
		return 2;
	}
	listener = listen_anywhere(&address);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		server(listener);
		return EXIT_SUCCESS;
	}
	client(&address, pid);
	(void)kill(pid, SIGTERM);
	(void)waitpid(pid, NULL, 0);
	return EXIT_SUCCESS;
}
