/*
 * The client of the echo servers, as lean as that of `ringsan bench`: it takes all that has come in
 * one receive and sends all that is due in one call; with one connection it sleeps in the receive
 * itself, with several in epoll. Runs in the one thread of its process. Read next: echo_end.c.
 */
#include "initiator-tests/bench/echo.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

/* Latencies kept; older ones are overwritten in a longer run. */
#define DROP_BYTES_MIN 32768u
#define SAMPLES (1u << 22)
/* How late the end of a phase may be noticed when nothing comes. */
#define TICK_MS 20

struct line {
	struct echo_end end;
	uint64_t sent_ns[ECHO_DEPTH_MAX];
	unsigned first; /* Of sent_ns: the oldest message without a reply. */
	unsigned count;
};

struct client {
	struct line lines[ECHO_CONNECTIONS_MAX];
	unsigned count;
	int epoll;
	uint64_t replies;
	uint32_t samples[SAMPLES];
};

static void ask(struct line *line, size_t messages, uint64_t at_ns)
{
	for (size_t i = 0; i < messages; i++)
		line->sent_ns[(line->first + line->count++) % ECHO_DEPTH_MAX] = at_ns;
	line->end.out_bytes += messages * line->end.out_whole;
}

static void take_replies(struct client *client, struct line *line, size_t replies, uint64_t at_ns)
{
	for (size_t i = 0; i < replies; i++) {
		uint64_t ns = at_ns - line->sent_ns[line->first];

		client->samples[client->replies++ % SAMPLES] =
			ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
		line->first = (line->first + 1) % ECHO_DEPTH_MAX;
		line->count--;
	}
}

/* Long replies are dropped without a copy (tcp(7)), as `ringsan bench` drops the data of reads. */
static int drop_flag(const struct echo_end *end)
{
	return end->in_whole >= DROP_BYTES_MIN ? MSG_TRUNC : 0;
}

static void serve_line(struct client *client, struct line *line, int flags)
{
	long replies = echo_receive(&line->end, flags | drop_flag(&line->end));
	uint64_t at_ns = echo_now_ns(CLOCK_MONOTONIC);

	if (replies < 0)
		echo_die("the server has gone");
	take_replies(client, line, (size_t)replies, at_ns);
	ask(line, (size_t)replies, at_ns);
	echo_send(&line->end);
}

/* ---- One connection ---- */

static void drive_one(struct client *client, uint64_t until_ns)
{
	struct line *line = &client->lines[0];

	while (echo_now_ns(CLOCK_MONOTONIC) < until_ns) {
		struct pollfd ready = {.fd = line->end.fd, .events = POLLIN | POLLOUT};

		/* Asleep in a receive it would not see that it may send on. */
		if (line->end.blocked)
			(void)poll(&ready, 1, TICK_MS);
		serve_line(client, line, line->end.blocked ? MSG_DONTWAIT : 0);
	}
}

/* ---- Several ---- */

static void watch(struct client *client, struct line *line, int how)
{
	struct epoll_event event = {.events = line->end.blocked ? EPOLLIN | EPOLLOUT : EPOLLIN,
				    .data.ptr = line};

	if (epoll_ctl(client->epoll, how, line->end.fd, &event) != 0)
		echo_die("epoll_ctl");
}

static void drive_many(struct client *client, uint64_t until_ns)
{
	struct epoll_event events[ECHO_CONNECTIONS_MAX];

	while (echo_now_ns(CLOCK_MONOTONIC) < until_ns) {
		int ready = epoll_wait(client->epoll, events, ECHO_CONNECTIONS_MAX, TICK_MS);

		for (int i = 0; i < ready; i++) {
			struct line *line = events[i].data.ptr;
			bool was_blocked = line->end.blocked;

			serve_line(client, line, MSG_DONTWAIT);
			if (line->end.blocked != was_blocked)
				watch(client, line, EPOLL_CTL_MOD);
		}
	}
}

static void drive(struct client *client, unsigned long ms)
{
	uint64_t until_ns = echo_now_ns(CLOCK_MONOTONIC) + ms * 1000000u;

	if (client->count == 1)
		drive_one(client, until_ns);
	else
		drive_many(client, until_ns);
}

/* ---- The run ---- */

static void open_line(const struct echo_job *job, const struct sockaddr_in *address,
		      struct echo_end *end)
{
	const struct timeval tick = {.tv_usec = TICK_MS * 1000L};

	end->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (end->fd < 0 || connect(end->fd, (const void *)address, sizeof(*address)) != 0)
		echo_die("connect");
	echo_no_delay(end->fd);
	if (setsockopt(end->fd, SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof(tick)) != 0)
		echo_die("SO_RCVTIMEO");
	end->in_whole = job->reply_bytes;
	end->out_whole = job->request_bytes;
}

static void open_lines(struct client *client, const struct echo_job *job,
		       const struct sockaddr_in *address)
{
	client->epoll = epoll_create1(EPOLL_CLOEXEC);
	client->count = job->connections;
	for (unsigned i = 0; i < client->count; i++) {
		struct line *line = &client->lines[i];

		open_line(job, address, &line->end);
		ask(line, job->depth, echo_now_ns(CLOCK_MONOTONIC));
		echo_send(&line->end);
		watch(client, line, EPOLL_CTL_ADD);
	}
}

static int by_size(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a;
	uint32_t right = *(const uint32_t *)b;

	return left < right ? -1 : left > right;
}

static double percentile_us(const struct client *client, size_t kept, unsigned percent)
{
	size_t place = kept * percent / 100;

	return (double)client->samples[place] / 1e3;
}

static void report(struct client *client, uint64_t measured_ns, uint64_t server_ns,
		   uint64_t client_ns)
{
	size_t kept = client->replies < SAMPLES ? client->replies : SAMPLES;
	double replies = (double)client->replies;

	if (kept == 0) {
		errno = ETIME;
		echo_die("no reply came");
	}
	qsort(client->samples, kept, sizeof(client->samples[0]), by_size);
	(void)printf("{\"iops\": %.1f, \"cpu_us\": %.4f, \"client_cpu_us\": %.4f, "
		     "\"p50_us\": %.2f, \"p99_us\": %.2f}\n",
		     replies * 1e9 / (double)measured_ns, (double)server_ns / 1e3 / replies,
		     (double)client_ns / 1e3 / replies, percentile_us(client, kept, 50),
		     percentile_us(client, kept, 99));
}

void echo_drive(const struct echo_job *job, const struct sockaddr_in *address, pid_t server)
{
	static struct client client;
	clockid_t server_clock;
	uint64_t server_ns;
	uint64_t client_ns;
	uint64_t begin_ns;

	echo_pin(job->client_cpu);
	if (clock_getcpuclockid(server, &server_clock) != 0)
		echo_die("clock_getcpuclockid");
	open_lines(&client, job, address);
	drive(&client, job->ramp_ms);
	client.replies = 0;
	client_ns = echo_now_ns(CLOCK_PROCESS_CPUTIME_ID);
	server_ns = echo_now_ns(server_clock);
	begin_ns = echo_now_ns(CLOCK_MONOTONIC);
	drive(&client, job->measured_ms);
	report(&client, echo_now_ns(CLOCK_MONOTONIC) - begin_ns,
	       echo_now_ns(server_clock) - server_ns,
	       echo_now_ns(CLOCK_PROCESS_CPUTIME_ID) - client_ns);
}
