/*
 * Listening sockets that outlive the daemon; see handover.h.
 */
#include "target/ctl/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "target/ctl/notify.h"

/* sd_listen_fds(3): the first descriptor that is handed over. */
#define FIRST_FD 3
/* All have one name, by which those of the daemon before are taken out of the store. */
#define NAME "FDNAME=portal"

static unsigned env_number(const char *name)
{
	const char *text = getenv(name); /* NOLINT(concurrency-mt-unsafe) */
	char *end;
	unsigned long value = text ? strtoul(text, &end, 10) : 0;

	return text && *text && !*end && value <= INT32_MAX ? (unsigned)value : 0;
}

static int option(int fd, int name)
{
	socklen_t len = sizeof(int);
	int value = -1;

	return getsockopt(fd, SOL_SOCKET, name, &value, &len) == 0 ? value : -1;
}

/* False also for what is no address of a portal. */
static bool address_of(int fd, struct sockaddr_storage *out)
{
	socklen_t len = sizeof(*out);

	memset(out, 0, sizeof(*out));
	return getsockname(fd, (struct sockaddr *)out, &len) == 0 && address_len(out) != 0;
}

static bool is_portal(int fd)
{
	struct sockaddr_storage address;

	return option(fd, SO_TYPE) == SOCK_STREAM && option(fd, SO_ACCEPTCONN) == 1 &&
	       address_of(fd, &address);
}

void handover_take(struct handover *out)
{
	unsigned count = env_number("LISTEN_FDS");

	out->count = 0;
	if (env_number("LISTEN_PID") != (unsigned)getpid())
		return;
	for (unsigned i = 0; i < count; i++) {
		int fd = FIRST_FD + (int)i;

		/* More than that are no descriptors of ours. */
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
			break;
		if (out->count < PORTALS_MAX && is_portal(fd))
			out->fds[out->count++] = fd;
		else
			(void)close(fd);
	}
}

static bool same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	return address_same_host(a, b) && address_port(a) == address_port(b);
}

int handover_claim(struct handover *handover, const struct sockaddr_storage *address)
{
	for (unsigned i = 0; i < handover->count; i++) {
		struct sockaddr_storage its;
		int fd = handover->fds[i];

		if (fd < 0 || !address_of(fd, &its) || !same_address(&its, address))
			continue;
		handover->fds[i] = -1;
		return fd;
	}
	return -1;
}

void handover_end(struct handover *handover)
{
	for (unsigned i = 0; i < handover->count; i++) {
		struct sockaddr_storage address;
		char text[ADDRESS_TEXT_MAX];

		if (handover->fds[i] < 0)
			continue;
		if (address_of(handover->fds[i], &address)) {
			address_format(&address, text);
			log_info("ctl", "portal %s is no longer configured: closed", text);
		}
		/* The supervisor has a copy, which goes when we are ready. */
		(void)shutdown(handover->fds[i], SHUT_RDWR);
		(void)close(handover->fds[i]);
	}
	handover->count = 0;
}

bool handover_offer(const struct portal_set *set)
{
	/* NOLINTNEXTLINE(concurrency-mt-unsafe) */
	int res = getenv("NOTIFY_SOCKET") ? notify_send("FDSTOREREMOVE=1\n" NAME) : -ENOENT;

	for (unsigned i = 0; res == 0 && i < portal_set_count(set); i++)
		res = notify_send_fd("FDSTORE=1\n" NAME, portal_set_fd(set, i));
	if (res != 0 && res != -ENOENT) {
		log_warn("ctl", "cannot leave the portals with the supervisor: %s",
			 strerrordesc_np(-res));
	}
	return res == 0;
}
