/*
 * Many sessions from one thread: logs hundreds of hosts in at once, lets some be idle and some
 * work, and tells what each session got. An initiator on plain sockets that knows just enough of
 * RFC 7143 to read and write zeroes; it checks order and status, not data. Not a benchmark (that is
 * `ringsan bench`): what counts here is how sessions share a target.
 *
 * usage: scale_load HOST PORT SECONDS GROUP...
 * GROUP: NAME,SESSIONS,DEPTH,BLOCKS,read|write|idle,TARGET,LUN
 *
 * Each session comes from an address of its own, 127.1.0.1 and upwards, as hosts do. When all are
 * logged in, one line says so; after SECONDS, one line for each group. One thread. Read next:
 * scale.py, which runs it.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BHS 48u
#define BLOCK 512u
#define SCRATCH_BYTES (256u * 1024u)
#define NO_TAG 0xffffffffu
#define RETRY_NS 100000000ull
#define LOGIN_SECONDS_MAX 60u
/* Latencies in steps of an eighth of a power of two: 64 powers are more than any. */
#define STEPS 512u
/* The part of the image that is used: what a small one has, too. */
#define AREA_BLOCKS 65536u

enum kind {
	READS,
	WRITES,
	IDLE
};

enum stage {
	CONNECTING,
	LOGGING_IN,
	RUNNING,
	WAITING, /* It was closed while it logged in; tries again. */
};

struct group {
	const char *name;
	unsigned count;
	unsigned depth;
	unsigned blocks;
	enum kind kind;
	const char *target;
	unsigned lun;
	uint64_t busy; /* TASK SET FULL and BUSY. */
	uint64_t errors;
	uint64_t steps[STEPS];
};

struct session {
	struct group *group;
	unsigned number;
	int fd;
	enum stage stage;
	uint64_t retry_ns;
	uint8_t head[BHS];
	unsigned have;    /* Of head. */
	uint64_t to_skip; /* Data and padding behind it. */
	uint8_t *out;     /* What is still to be sent. */
	size_t out_length;
	size_t out_room;
	uint32_t cmd_sn;
	uint32_t max_cmd_sn;
	uint32_t exp_stat_sn;
	unsigned in_flight;
	uint64_t *sent_ns; /* By task tag; 0: free. */
	uint64_t random;
	uint64_t done;
	bool warm; /* The unit attention that greets a new nexus has been seen. */
};

static struct sockaddr_in server;
static int poller;
static struct session *sessions;
static unsigned session_count;
static unsigned running_count;
static unsigned retries;
static bool measuring;
static uint8_t scratch[SCRATCH_BYTES];

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void die(const char *what)
{
	(void)fprintf(stderr, "scale_load: %s: %s\n", what, strerrordesc_np(errno));
	exit(2);
}

static void put32(uint8_t *at, uint32_t value)
{
	value = htobe32(value);
	memcpy(at, &value, sizeof(value));
}

static uint32_t get32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return be32toh(value);
}

/* -- Sending -- */

static void watch(const struct session *session)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = session->number};

	if (session->stage == CONNECTING || session->out_length > 0)
		event.events |= EPOLLOUT;
	if (epoll_ctl(poller, EPOLL_CTL_MOD, session->fd, &event) != 0)
		die("epoll_ctl");
}

static void append(struct session *session, const void *bytes, size_t count)
{
	if (session->out_length + count > session->out_room) {
		session->out_room = (session->out_length + count) * 2;
		session->out = realloc(session->out, session->out_room);
		if (!session->out)
			die("realloc");
	}
	if (bytes)
		memcpy(session->out + session->out_length, bytes, count);
	else
		memset(session->out + session->out_length, 0, count);
	session->out_length += count;
}

static void flush(struct session *session)
{
	bool was_waiting = session->out_length > 0;
	ssize_t sent = send(session->fd, session->out, session->out_length, MSG_NOSIGNAL);

	if (sent > 0) {
		session->out_length -= (size_t)sent;
		memmove(session->out, session->out + sent, session->out_length);
	}
	if (was_waiting)
		watch(session);
}

static void send_login(struct session *session)
{
	uint8_t head[BHS] = {0x43, 0x87}; /* Immediate; transit from operational to full feature. */
	char text[1024];
	/* Keys end in NUL; a newline stands for it here. */
	int length =
		snprintf(text, sizeof(text),
			 "InitiatorName=iqn.2026-11.io.ringsan:host%d-%u\nTargetName=%s\n"
			 "SessionType=Normal\nHeaderDigest=None\nDataDigest=None\nInitialR2T=No\n"
			 "ImmediateData=Yes\nMaxRecvDataSegmentLength=262144\n"
			 "FirstBurstLength=65536\nMaxBurstLength=1048576\n",
			 (int)getpid(), session->number, session->group->target);

	for (int i = 0; i < length; i++)
		text[i] = (char)(text[i] == '\n' ? '\0' : text[i]);
	put32(head + 4, (uint32_t)length);
	head[8] = 0x80; /* ISID of type 10b, random. */
	head[13] = 1;
	put32(head + 24, session->cmd_sn);
	append(session, head, sizeof(head));
	append(session, text, (size_t)length);
	append(session, NULL, -(size_t)length % 4);
	flush(session);
}

static void put_cdb(struct session *session, uint8_t *cdb)
{
	const struct group *group = session->group;
	uint32_t places = AREA_BLOCKS / group->blocks;

	session->random = session->random * 6364136223846793005u + 1442695040888963407u;
	cdb[0] = group->kind == WRITES ? 0x8a : 0x88;
	put32(cdb + 6, (uint32_t)(session->random >> 33) % places * group->blocks);
	put32(cdb + 10, group->blocks);
}

static void send_command(struct session *session, unsigned tag)
{
	const struct group *group = session->group;
	uint32_t bytes = group->blocks * BLOCK;
	uint8_t head[BHS] = {0x01, group->kind == WRITES ? 0xa1 : 0xc1};

	head[8] = (uint8_t)(group->lun < 256 ? 0 : 0x40 | group->lun >> 8);
	head[9] = (uint8_t)group->lun;
	put32(head + 16, tag);
	put32(head + 20, bytes);
	put32(head + 24, session->cmd_sn++);
	put32(head + 28, session->exp_stat_sn);
	put_cdb(session, head + 32);
	if (group->kind == WRITES)
		put32(head + 4, bytes);
	append(session, head, sizeof(head));
	if (group->kind == WRITES)
		append(session, NULL, bytes);
	session->sent_ns[tag] = now_ns();
	session->in_flight++;
}

static void fill(struct session *session)
{
	const struct group *group = session->group;
	unsigned before = session->in_flight;

	for (unsigned tag = 0; tag < group->depth && session->in_flight < group->depth; tag++) {
		if ((int32_t)(session->max_cmd_sn - session->cmd_sn) < 0)
			break;
		if (session->sent_ns[tag] == 0)
			send_command(session, tag);
	}
	if (session->in_flight > before)
		flush(session);
}

/* -- Receiving -- */

static unsigned step_of(uint64_t ns)
{
	unsigned power = 63u - (unsigned)__builtin_clzll(ns | 8u);

	return power * 8u + (unsigned)(ns >> (power - 3u) & 7u);
}

static uint64_t step_ns(unsigned step)
{
	unsigned power = step / 8u;

	return (8ull + step % 8u) << (power - 3u);
}

static void finish(struct session *session, uint32_t tag, uint8_t status)
{
	struct group *group = session->group;

	if (tag >= group->depth || session->sent_ns[tag] == 0) {
		errno = EPROTO;
		die("status for a command that is not in flight");
	}
	if (status == 0x28 || status == 0x08) {
		group->busy++;
	} else if (status != 0 && session->warm) {
		group->errors++;
	} else if (status == 0 && measuring) {
		session->done++;
		group->steps[step_of(now_ns() - session->sent_ns[tag])]++;
	}
	session->warm = true;
	session->sent_ns[tag] = 0;
	session->in_flight--;
}

static void answer_ping(struct session *session)
{
	uint8_t head[BHS] = {0x40, 0x80};

	memcpy(head + 8, session->head + 8, 8);
	put32(head + 16, NO_TAG);
	memcpy(head + 20, session->head + 20, 4);
	put32(head + 24, session->cmd_sn);
	put32(head + 28, session->exp_stat_sn);
	append(session, head, sizeof(head));
	flush(session);
}

static void take_login(struct session *session)
{
	/* Not now (RFC 7143 11.13.5, status class 3): as others do, close and try again. */
	if (session->head[36] == 3) {
		(void)shutdown(session->fd, SHUT_RDWR);
		return;
	}
	if (session->head[0] != 0x23 || session->head[36] != 0 ||
	    (session->head[1] & 0x83) != 0x83) {
		errno = EPROTO;
		(void)fprintf(stderr, "scale_load: status %02x%02x\n", session->head[36],
			      session->head[37]);
		die("login refused");
	}
	session->stage = RUNNING;
	running_count++;
}

static void take_head(struct session *session)
{
	const uint8_t *head = session->head;
	bool with_status = head[0] == 0x21 || (head[0] == 0x25 && (head[1] & 1));

	session->to_skip = ((get32(head + 4) & 0xffffff) + 3u) & ~3ull;
	session->max_cmd_sn = get32(head + 32);
	/* A ping's StatSN is shown, not used up. */
	if (head[0] == 0x20 && get32(head + 16) == NO_TAG)
		session->exp_stat_sn = get32(head + 24);
	else if (head[0] != 0x25 || with_status)
		session->exp_stat_sn = get32(head + 24) + 1;
	if (session->stage == LOGGING_IN)
		take_login(session);
	else if (head[0] == 0x20 && get32(head + 20) != NO_TAG)
		answer_ping(session);
	else if (with_status)
		finish(session, get32(head + 16), head[3]);
	else if (head[0] != 0x20 && head[0] != 0x25)
		session->group->errors++;
}

static void take(struct session *session, const uint8_t *bytes, size_t count)
{
	while (count > 0) {
		size_t part = session->have < BHS ? BHS - session->have : session->to_skip;

		part = part < count ? part : count;
		if (session->have < BHS) {
			memcpy(session->head + session->have, bytes, part);
			session->have += (unsigned)part;
			if (session->have == BHS)
				take_head(session);
		} else {
			session->to_skip -= part;
		}
		if (session->have == BHS && session->to_skip == 0)
			session->have = 0;
		bytes += part;
		count -= part;
	}
}

/* Large data are dropped by the kernel, unseen, so that we are not what is measured. */
static ssize_t receive(struct session *session)
{
	ssize_t got;

	if (session->have == BHS && session->to_skip > BHS) {
		got = recv(session->fd, scratch,
			   session->to_skip < SCRATCH_BYTES ? session->to_skip : SCRATCH_BYTES,
			   MSG_TRUNC);
		if (got > 0)
			session->to_skip -= (uint64_t)got;
		if (session->to_skip == 0)
			session->have = 0;
		return got;
	}
	got = recv(session->fd, scratch, 4096, 0);
	if (got > 0)
		take(session, scratch, (size_t)got);
	return got;
}

/* -- A session's beginning -- */

static void start(struct session *session)
{
	struct sockaddr_in self = {
		.sin_family = AF_INET,
		.sin_addr.s_addr =
			htobe32(0x7f010001u + ((uint32_t)getpid() % 250u << 16) + session->number),
	};
	struct epoll_event event = {.events = EPOLLOUT, .data.u32 = session->number};
	int one = 1;

	session->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (session->fd < 0 || bind(session->fd, (struct sockaddr *)&self, sizeof(self)) != 0)
		die("socket");
	(void)setsockopt(session->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	session->stage = CONNECTING;
	session->have = 0;
	session->out_length = 0;
	session->cmd_sn = 1;
	if (connect(session->fd, (struct sockaddr *)&server, sizeof(server)) != 0 &&
	    errno != EINPROGRESS)
		die("connect");
	if (epoll_ctl(poller, EPOLL_CTL_ADD, session->fd, &event) != 0)
		die("epoll_ctl");
}

static void closed(struct session *session)
{
	if (session->stage == RUNNING) {
		errno = ECONNRESET;
		die("the target closed a session");
	}
	(void)close(session->fd);
	session->stage = WAITING;
	session->retry_ns = now_ns() + RETRY_NS;
	retries++;
}

static void on_event(struct session *session, uint32_t events)
{
	ssize_t got = 1;

	if (session->stage == CONNECTING && !(events & (EPOLLERR | EPOLLHUP))) {
		session->stage = LOGGING_IN;
		send_login(session);
		return;
	}
	if (events & EPOLLOUT)
		flush(session);
	for (unsigned i = 0; i < 16 && got > 0 && (events & ~(uint32_t)EPOLLOUT); i++)
		got = receive(session);
	if (got == 0 || (got < 0 && errno != EAGAIN)) {
		closed(session);
		return;
	}
	if (session->stage == RUNNING && measuring)
		fill(session);
}

static void retry(void)
{
	for (unsigned i = 0; i < session_count; i++) {
		if (sessions[i].stage == WAITING && sessions[i].retry_ns < now_ns())
			start(&sessions[i]);
	}
}

static void turn(void)
{
	struct epoll_event events[128];
	int count = epoll_wait(poller, events, 128, 50);

	for (int i = 0; i < count; i++)
		on_event(&sessions[events[i].data.u32], events[i].events);
}

/* -- The whole -- */

static enum kind kind_of(const char *word)
{
	return strcmp(word, "read") == 0 ? READS : strcmp(word, "write") == 0 ? WRITES : IDLE;
}

/* NAME,SESSIONS,DEPTH,BLOCKS,KIND,TARGET,LUN; the words stay in `text`. */
static void parse_group(struct group *group, char *text)
{
	char *words[7] = {NULL};

	for (unsigned i = 0; i < 7; i++)
		words[i] = strsep(&text, ",");
	if (!words[6]) {
		(void)fprintf(stderr, "scale_load: a group has seven words\n");
		exit(2);
	}
	group->name = words[0];
	group->count = (unsigned)strtoul(words[1], NULL, 10);
	group->depth = (unsigned)strtoul(words[2], NULL, 10);
	group->blocks = (unsigned)strtoul(words[3], NULL, 10);
	group->kind = kind_of(words[4]);
	group->target = words[5];
	group->lun = (unsigned)strtoul(words[6], NULL, 10);
}

static void make_sessions(struct group *groups, unsigned group_count)
{
	for (unsigned i = 0; i < group_count; i++)
		session_count += groups[i].count;
	sessions = calloc(session_count, sizeof(*sessions));
	if (!sessions)
		die("calloc");
	for (unsigned i = 0, n = 0; i < group_count; i++) {
		for (unsigned j = 0; j < groups[i].count; j++, n++) {
			sessions[n].group = &groups[i];
			sessions[n].number = n;
			sessions[n].random = n;
			sessions[n].sent_ns = calloc(groups[i].depth + 1u, sizeof(uint64_t));
			if (!sessions[n].sent_ns)
				die("calloc");
			start(&sessions[n]);
		}
	}
}

static void log_in_all(void)
{
	uint64_t began = now_ns();

	while (running_count < session_count) {
		turn();
		retry();
		if (now_ns() - began > LOGIN_SECONDS_MAX * 1000000000ull) {
			errno = ETIMEDOUT;
			die("login");
		}
	}
	(void)printf("login sessions=%u seconds=%.3f retries=%u\n", session_count,
		     (double)(now_ns() - began) / 1e9, retries);
	(void)fflush(stdout);
}

static void work(unsigned seconds)
{
	uint64_t end = now_ns() + seconds * 1000000000ull;

	measuring = true;
	for (unsigned i = 0; i < session_count; i++) {
		if (sessions[i].group->kind != IDLE)
			fill(&sessions[i]);
	}
	while (now_ns() < end)
		turn();
}

static double quantile_us(const struct group *group, double part)
{
	uint64_t total = 0;
	uint64_t sum = 0;

	for (unsigned i = 0; i < STEPS; i++)
		total += group->steps[i];
	for (unsigned i = 24; i < STEPS; i++) {
		sum += group->steps[i];
		if (total > 0 && (double)sum >= part * (double)total)
			return (double)step_ns(i) / 1e3;
	}
	return 0;
}

static void report(const struct group *group, unsigned seconds)
{
	uint64_t least = UINT64_MAX;
	uint64_t most = 0;
	uint64_t sum = 0;

	for (unsigned i = 0; i < session_count; i++) {
		uint64_t done = sessions[i].done;

		if (sessions[i].group != group)
			continue;
		least = done < least ? done : least;
		most = done > most ? done : most;
		sum += done;
	}
	(void)printf("group name=%s sessions=%u done=%llu iops=%llu min=%llu max=%llu p50_us=%.0f "
		     "p99_us=%.0f worst_us=%.0f busy=%llu errors=%llu\n",
		     group->name, group->count, (unsigned long long)sum,
		     (unsigned long long)(sum / seconds), (unsigned long long)least,
		     (unsigned long long)most, quantile_us(group, 0.5), quantile_us(group, 0.99),
		     quantile_us(group, 1), (unsigned long long)group->busy,
		     (unsigned long long)group->errors);
}

int main(int argc, char **argv)
{
	unsigned seconds = argc > 4 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
	unsigned group_count = argc > 4 ? (unsigned)argc - 4u : 0;
	struct group *groups = calloc(group_count + 1u, sizeof(*groups));

	if (!groups || seconds == 0) {
		(void)fprintf(stderr, "usage: scale_load HOST PORT SECONDS GROUP...\n");
		return 2;
	}
	server = (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htobe16((uint16_t)strtoul(argv[2], NULL, 10)),
	};
	poller = epoll_create1(EPOLL_CLOEXEC);
	if (poller < 0 || inet_pton(AF_INET, argv[1], &server.sin_addr) != 1)
		die("cannot begin");
	for (unsigned i = 0; i < group_count; i++)
		parse_group(&groups[i], argv[4 + i]);
	make_sessions(groups, group_count);
	log_in_all();
	work(seconds);
	for (unsigned i = 0; i < group_count; i++)
		report(&groups[i], seconds);
	return 0;
}
