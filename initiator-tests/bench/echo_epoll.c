/*
 * The echo server with epoll: one receive for each ready connection, one gather send for all the
 * replies that have become due. Runs until a connection ends, in the one thread of its process.
 * Read next: echo_end.c; echo_ring.c does the same with a ring.
 */
#include "initiator-tests/bench/echo.h"

#include <sys/epoll.h>

static void watch(int epoll, struct echo_end *end, int how)
{
	struct epoll_event event = {.events = end->blocked ? EPOLLIN | EPOLLOUT : EPOLLIN,
				    .data.ptr = end};

	if (epoll_ctl(epoll, how, end->fd, &event) != 0)
		echo_die("epoll_ctl");
}

/* False: the connection has ended. */
static bool answer(int epoll, struct echo_end *end)
{
	bool was_blocked = end->blocked;
	long whole = echo_receive(end, MSG_DONTWAIT);

	if (whole < 0)
		return false;
	end->out_bytes += (size_t)whole * end->out_whole;
	echo_send(end);
	if (end->blocked != was_blocked)
		watch(epoll, end, EPOLL_CTL_MOD);
	return true;
}

void echo_serve_epoll(struct echo_end *ends, unsigned count)
{
	struct epoll_event events[ECHO_CONNECTIONS_MAX];
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	for (unsigned i = 0; i < count; i++)
		watch(epoll, &ends[i], EPOLL_CTL_ADD);
	for (;;) {
		int ready = epoll_wait(epoll, events, ECHO_CONNECTIONS_MAX, -1);

		for (int i = 0; i < ready; i++) {
			if (!answer(epoll, events[i].data.ptr))
				return;
		}
	}
}
