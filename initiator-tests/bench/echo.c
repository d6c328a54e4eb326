/*
 * The physical limit: request and reply over loopback TCP with the byte shapes of iSCSI, and
 * nothing else. No target can be cheaper on the same sockets.
 *
 *     echo epoll|ring REQUEST_BYTES REPLY_BYTES CONNECTIONS DEPTH MILLISECONDS SERVER_CPU
 * CLIENT_CPU
 *
 * A 4 KiB read is 48/4144: a command header there, a Data-In header with its data and status back;
 * a write with immediate data is 4144/48. The server is a process of its own with one thread, so
 * that its CPU time can be told; it uses epoll, or a ring as the best servers do. The client is
 * like that of `ringsan bench` and the same for both. Prints one JSON object.
 *
 * It stands alone on purpose and shares no code with what it is compared to. This file starts and
 * ends things, in the one thread of either process. Read next: echo.h.
 */
#include "initiator-tests/bench/echo.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	REQUEST_BYTES,
	REPLY_BYTES,
	CONNECTIONS,
	DEPTH,
	RAMP_MS,
	MEASURED_MS,
	SERVER_CPU,
	CLIENT_CPU,
	NUMBERS
};

static const struct {
	unsigned long min;
	unsigned long max;
} bounds[NUMBERS] = {
	[REQUEST_BYTES] = {1, ECHO_MESSAGE_BYTES_MAX},
	[REPLY_BYTES] = {1, ECHO_MESSAGE_BYTES_MAX},
	[CONNECTIONS] = {1, ECHO_CONNECTIONS_MAX},
	[DEPTH] = {1, ECHO_DEPTH_MAX},
	[RAMP_MS] = {0, ECHO_MS_MAX},
	[MEASURED_MS] = {1, ECHO_MS_MAX},
	[SERVER_CPU] = {0, CPU_SETSIZE - 1},
	[CLIENT_CPU] = {0, CPU_SETSIZE - 1},
};

static const struct {
	const char *name;
	echo_serve_fn *serve;
} servers[] = {
	{"epoll", echo_serve_epoll},
	{"ring", echo_serve_ring},
};

void echo_die(const char *what)
{
	(void)fprintf(stderr, "echo: %s: %s\n", what, strerrordesc_np(errno));
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread. */
	exit(EXIT_FAILURE);
}

uint64_t echo_now_ns(clockid_t clock)
{
	struct timespec now = {0};

	(void)clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void echo_pin(unsigned cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) != 0)
		echo_die("cannot run on that CPU");
}

void echo_no_delay(int fd)
{
	const int one = 1;

	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0)
		echo_die("TCP_NODELAY");
}

static int listen_anywhere(struct sockaddr_in *address)
{
	socklen_t address_bytes = sizeof(*address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*address = (struct sockaddr_in){.sin_family = AF_INET,
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (fd < 0 || bind(fd, (const void *)address, sizeof(*address)) != 0 ||
	    listen(fd, ECHO_CONNECTIONS_MAX) != 0 ||
	    getsockname(fd, (void *)address, &address_bytes) != 0)
		echo_die("listen");
	return fd;
}

static void serve(const struct echo_job *job, int listener, echo_serve_fn *how, pid_t client)
{
	static struct echo_end ends[ECHO_CONNECTIONS_MAX];

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Too late for a client that has died already: nobody will ever connect. */
	if (getppid() != client)
		return;
	echo_pin(job->server_cpu);
	for (unsigned i = 0; i < job->connections; i++) {
		ends[i].fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (ends[i].fd < 0)
			echo_die("accept");
		echo_no_delay(ends[i].fd);
		ends[i].in_whole = job->request_bytes;
		ends[i].out_whole = job->reply_bytes;
	}
	how(ends, job->connections);
}

static echo_serve_fn *parse_server(const char *name)
{
	for (size_t i = 0; i < sizeof(servers) / sizeof(servers[0]); i++) {
		if (strcmp(name, servers[i].name) == 0)
			return servers[i].serve;
	}
	return NULL;
}

static bool parse_number(const char *text, unsigned long *number)
{
	char *end = NULL;

	*number = strtoul(text, &end, 10);
	return end != text && *end == '\0';
}

static bool parse_job(char **argv, struct echo_job *job)
{
	unsigned long number[NUMBERS];

	for (int i = 0; i < NUMBERS; i++) {
		if (!parse_number(argv[i], &number[i]) || number[i] < bounds[i].min ||
		    number[i] > bounds[i].max)
			return false;
	}
	*job = (struct echo_job){
		.request_bytes = number[REQUEST_BYTES],
		.reply_bytes = number[REPLY_BYTES],
		.connections = (unsigned)number[CONNECTIONS],
		.depth = (unsigned)number[DEPTH],
		.ramp_ms = number[RAMP_MS],
		.measured_ms = number[MEASURED_MS],
		.server_cpu = (unsigned)number[SERVER_CPU],
		.client_cpu = (unsigned)number[CLIENT_CPU],
	};
	return true;
}

int main(int argc, char **argv)
{
	echo_serve_fn *how = argc == NUMBERS + 2 ? parse_server(argv[1]) : NULL;
	struct sockaddr_in address;
	struct echo_job job;
	int listener;
	pid_t client = getpid();
	pid_t pid;

	if (!how || !parse_job(argv + 2, &job)) {
		(void)fputs("usage: echo epoll|ring REQUEST_BYTES REPLY_BYTES CONNECTIONS DEPTH "
			    "RAMP_MS MEASURED_MS SERVER_CPU CLIENT_CPU\n",
			    stderr);
		return 2;
	}
	listener = listen_anywhere(&address);
	pid = fork();
	if (pid < 0)
		echo_die("fork");
	if (pid == 0) {
		serve(&job, listener, how, client);
		return EXIT_SUCCESS;
	}
	/* Should the server die before it has accepted, connecting must fail. */
	(void)close(listener);
	echo_drive(&job, &address, pid);
	(void)kill(pid, SIGTERM);
	(void)waitpid(pid, NULL, 0);
	return EXIT_SUCCESS;
}
