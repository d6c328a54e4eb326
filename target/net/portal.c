/*
 * Listening sockets; see portal.h.
 *
 * Each portal keeps one accept in flight. Its completion either hands the connection on or closes
 * it, and submits the next one; where the cause of a failure will not be gone at once (no
 * descriptors, no memory), a timer does that a little later, so that a full daemon does not spin.
 *
 * While as many guests as allowed are in the doorway, nothing is accepted: whoever comes stands in
 * the kernel's queue, first come, first served. A thousand hosts that log in again after a switch
 * was restarted get in one after the other, where those sent away would try again seconds later.
 *
 * Runs on the control loop.
 */
#include "target/net/portal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

/* Connections that the kernel holds until they are accepted: a boot storm of some thousand hosts.
 */
#define PORTAL_BACKLOG 4096
/* Keep-alive finds a dead peer within a minute where iSCSI's own pings are switched off. */
#define KEEP_ALIVE_IDLE_S 30
#define KEEP_ALIVE_INTERVAL_S 10
#define KEEP_ALIVE_PROBES 3

static struct log_limit refused_limit = LOG_LIMIT(5, 10000);
static struct log_limit full_limit = LOG_LIMIT(1, 10000);
static struct log_limit failed_limit = LOG_LIMIT(5, 10000);

struct portal {
	struct portal_set *set;
	struct loop_op accept;
	struct loop_timer back_off;
	struct sockaddr_storage address;
	int fd;   /* -1 once closed. */
	int held; /* A connection that was accepted when the doorway was full; -1: none. */
	bool accepting;
};

struct portal_set {
	struct loop *loop;
	struct portal_limits limits;
	portal_arrived_fn *on_arrival;
	void *context;
	struct list_node guests;
	uint32_t guest_count;
	unsigned count;
	bool stopped;
	bool kept; /* The listening sockets are not ours alone. */
	bool resume_posted;
	struct loop_msg resume;
	unsigned first; /* The portal that is served first at a resume. */
	struct portal portals[PORTALS_MAX];
};

/* -- Opening -- */

struct open_advice {
	int error;
	const char *text;
};

static const struct open_advice open_advice[] = {
	{EADDRINUSE, "the address is in use by another program (`ss -ltnp` shows which one): "
		     "stop it, or choose another port"},
	{EADDRNOTAVAIL, "no interface of this machine has that address: correct it, or start after "
			"the network is up"},
	{EACCES, "ports below 1024 need CAP_NET_BIND_SERVICE: grant it, or choose another port"},
	{EAFNOSUPPORT, "this machine has that address family switched off: remove the portal"},
	{ENODEV, "the interface behind the % does not exist: correct its name"},
};

static const char *open_advice_for(int error)
{
	for (size_t i = 0; i < ARRAY_SIZE(open_advice); i++) {
		if (open_advice[i].error == error)
			return open_advice[i].text;
	}
	return strerrordesc_np(error);
}

static int set_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) == 0 ? 0 : -errno;
}

static int listen_on(int fd, struct sockaddr_storage *address)
{
	socklen_t len = sizeof(*address);
	int error = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);

	/* One socket, one family: an IPv6 wildcard must not take IPv4 connections from the portal
	 * that is configured for them. */
	if (error == 0 && address->ss_family == AF_INET6)
		error = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	if (error != 0)
		return error;
	if (bind(fd, (const struct sockaddr *)address, address_len(address)) != 0 ||
	    listen(fd, PORTAL_BACKLOG) != 0 ||
	    getsockname(fd, (struct sockaddr *)address, &len) != 0)
		return -errno;
	return 0;
}

static int open_listener(struct sockaddr_storage *address, int *out)
{
	int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
	int error;

	if (fd < 0)
		return -errno;
	error = listen_on(fd, address);
	if (error != 0) {
		(void)close(fd);
		return error;
	}
	*out = fd;
	return 0;
}

static void add_portal(struct portal_set *set, int fd, const struct sockaddr_storage *address)
{
	struct portal *portal = &set->portals[set->count++];

	portal->set = set;
	portal->fd = fd;
	portal->held = -1;
	portal->address = *address;
}

int portal_set_open(struct portal_set *set, struct sockaddr_storage *address,
		    char why[PORTAL_WHY_BYTES])
{
	char text[ADDRESS_TEXT_MAX];
	int fd = -1;
	int error;

	assert(set->count < PORTALS_MAX);
	address_format(address, text);
	error = open_listener(address, &fd);
	if (error != 0) {
		(void)snprintf(why, PORTAL_WHY_BYTES, "portal %s: %s", text,
			       open_advice_for(-error));
		return error;
	}
	add_portal(set, fd, address);
	return 0;
}

int portal_set_adopt(struct portal_set *set, int fd, const struct sockaddr_storage *address)
{
	assert(set->count < PORTALS_MAX);
	/* Whoever made it may have had less room in mind. */
	if (listen(fd, PORTAL_BACKLOG) != 0)
		return -errno;
	add_portal(set, fd, address);
	return 0;
}

unsigned portal_set_count(const struct portal_set *set)
{
	return set->count;
}

int portal_set_fd(const struct portal_set *set, unsigned index)
{
	assert(index < set->count);
	return set->portals[index].fd;
}

void portal_set_keep(struct portal_set *set)
{
	set->kept = true;
}

/* -- Accepting -- */

static LOOP_ONLY void portal_accept(struct portal *portal);

static bool is_full(const struct portal_set *set)
{
	return set->guest_count >= set->limits.guests_max;
}

/* NULL, or why this peer may not come in. */
static const char *refusal(const struct portal_set *set, const struct sockaddr_storage *peer)
{
	uint32_t same = 0;

	LIST_FOREACH (node, &set->guests) {
		const struct portal_guest *guest = CONTAINER_OF(node, struct portal_guest, link);

		same += address_same_source(&guest->peer, peer) ? 1 : 0;
	}
	return same >= set->limits.guests_per_source_max
		       ? "too many connections of this source that have not logged in"
		       : NULL;
}

static int prepare(struct portal_arrival *arrival)
{
	socklen_t local_len = sizeof(arrival->local);
	socklen_t peer_len = sizeof(arrival->peer);

	if (getsockname(arrival->fd, (struct sockaddr *)&arrival->local, &local_len) != 0 ||
	    getpeername(arrival->fd, (struct sockaddr *)&arrival->peer, &peer_len) != 0)
		return -errno;
	address_normalise(&arrival->local);
	address_normalise(&arrival->peer);
	/* Answers are whole PDUs, gathered by us: waiting for more to send would only add delay. */
	if (set_option(arrival->fd, IPPROTO_TCP, TCP_NODELAY, 1) != 0 ||
	    set_option(arrival->fd, SOL_SOCKET, SO_KEEPALIVE, 1) != 0 ||
	    set_option(arrival->fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEP_ALIVE_IDLE_S) != 0 ||
	    set_option(arrival->fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEP_ALIVE_INTERVAL_S) != 0 ||
	    set_option(arrival->fd, IPPROTO_TCP, TCP_KEEPCNT, KEEP_ALIVE_PROBES) != 0)
		return -errno;
	return 0;
}

static LOOP_ONLY void portal_arrival(struct portal *portal, int fd)
{
	struct portal_set *set = portal->set;
	struct portal_arrival arrival = {.fd = fd,
					 .portal_index = (unsigned)(portal - set->portals)};
	char text[ADDRESS_TEXT_MAX];
	const char *why;

	why = prepare(&arrival) == 0 ? refusal(set, &arrival.peer)
				     : "the peer was gone before it was looked at";
	if (!why) {
		set->on_arrival(set->context, &arrival);
		return;
	}
	address_format(&arrival.peer, text);
	log_limited(&refused_limit, LOG_LEVEL_WARN, "net", "%s: closed: %s", text, why);
	(void)close(fd);
}

/* Take the next connection, unless the doorway is full: then on_resume goes on here. */
static LOOP_ONLY void portal_next(struct portal *portal)
{
	const struct portal_set *set = portal->set;
	int held = portal->held;

	if (is_full(set)) {
		log_limited(&full_limit, LOG_LEVEL_WARN, "net",
			    "%" PRIu32 " connections have not logged in, as many as "
			    "connections-before-login allows: others wait",
			    set->guest_count);
		return;
	}
	portal->held = -1;
	if (held >= 0)
		portal_arrival(portal, held);
	portal_accept(portal);
}

static LOOP_ONLY void on_resume(struct loop_msg *msg)
{
	struct portal_set *set = CONTAINER_OF(msg, struct portal_set, resume);

	set->resume_posted = false;
	/* Each time another portal comes first, or a crowd at one would shut the others out. */
	set->first = (set->first + 1) % set->count;
	for (unsigned i = 0; i < set->count && !set->stopped; i++) {
		struct portal *portal = &set->portals[(set->first + i) % set->count];

		if (!portal->accepting && !loop_timer_is_armed(&portal->back_off))
			portal_next(portal);
	}
}

static LOOP_ONLY void on_back_off_over(struct loop_timer *timer)
{
	portal_next(CONTAINER_OF(timer, struct portal, back_off));
}

static LOOP_ONLY void portal_accept_failed(struct portal *portal, int error)
{
	char text[ADDRESS_TEXT_MAX];

	/* The connection died while it waited for us: take the next one. */
	if (error == -ECONNABORTED || error == -EPROTO || error == -EINTR || error == -EAGAIN) {
		portal_next(portal);
		return;
	}
	address_format(&portal->address, text);
	log_limited(&failed_limit, LOG_LEVEL_ERROR, "net", "portal %s: cannot accept: %s%s", text,
		    strerrordesc_np(-error),
		    error == -EMFILE ? " (raise LimitNOFILE= or `ulimit -n`)" : "");
	loop_timer_start(portal->set->loop, &portal->back_off, PORTAL_BACK_OFF_MS,
			 on_back_off_over);
}

static void close_fds(struct portal *portal)
{
	(void)close(portal->fd);
	portal->fd = -1;
	if (portal->held >= 0)
		(void)close(portal->held);
	portal->held = -1;
}

static LOOP_ONLY void portal_close(struct portal *portal)
{
	if (portal->fd < 0)
		return;
	loop_timer_stop(portal->set->loop, &portal->back_off);
	loop_forget_fd(portal->set->loop, portal->fd);
	close_fds(portal);
}

static LOOP_ONLY void on_accepted(struct loop_op *op, int res)
{
	struct portal *portal = CONTAINER_OF(op, struct portal, accept);

	portal->accepting = false;
	if (res >= 0)
		portal->held = res;
	if (portal->set->stopped) {
		portal_close(portal);
	} else if (res >= 0) {
		portal_next(portal);
	} else {
		portal_accept_failed(portal, res);
	}
}

static void portal_accept(struct portal *portal)
{
	portal->accepting = true;
	loop_accept(portal->set->loop, &portal->accept, portal->fd, on_accepted);
}

/* -- The set -- */

int portal_set_create(struct loop *loop, const struct portal_limits *limits,
		      portal_arrived_fn *on_arrival, void *context, struct portal_set **out)
{
	struct portal_set *set = calloc(1, sizeof(*set));

	if (!set)
		return -ENOMEM;
	set->loop = loop;
	set->limits = *limits;
	set->on_arrival = on_arrival;
	set->context = context;
	list_init(&set->guests);
	*out = set;
	return 0;
}

void portal_set_start(struct portal_set *set)
{
	for (unsigned i = 0; i < set->count; i++)
		portal_accept(&set->portals[i]);
}

void portal_set_stop(struct portal_set *set)
{
	if (set->stopped)
		return;
	set->stopped = true;
	for (unsigned i = 0; i < set->count; i++) {
		/* Shutting a listening socket down makes its accept end, also for those who hold
		 * it, too. Then the accept may take one more who comes and is sent away. */
		if (!set->portals[i].accepting) {
			portal_close(&set->portals[i]);
		} else if (!set->kept) {
			(void)shutdown(set->portals[i].fd, SHUT_RDWR);
		}
	}
}

void portal_set_free(struct portal_set *set)
{
	if (!set)
		return;
	assert(list_is_empty(&set->guests));
	for (unsigned i = 0; i < set->count; i++) {
		if (set->portals[i].fd >= 0)
			close_fds(&set->portals[i]);
	}
	free(set);
}

void portal_guest_enter(struct portal_set *set, struct portal_guest *guest,
			const struct sockaddr_storage *peer)
{
	guest->set = set;
	guest->peer = *peer;
	list_append(&set->guests, &guest->link);
	set->guest_count++;
}

void portal_guest_leave(struct portal_guest *guest)
{
	if (!guest->set)
		return;
	list_remove(&guest->link);
	/* Not at once: our caller may be about to give back what the next one needs. */
	if (is_full(guest->set) && !guest->set->stopped && !guest->set->resume_posted) {
		guest->set->resume_posted = true;
		loop_post(guest->set->loop, &guest->set->resume, on_resume);
	}
	guest->set->guest_count--;
	guest->set = NULL;
}

uint32_t portal_set_guests(const struct portal_set *set)
{
	return set->guest_count;
}
