/*
 * Signals as events of the control loop; see signals.h.
 */
#include "target/ctl/signals.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static const int caught[] = {SIGTERM, SIGINT, SIGHUP};

struct signals {
	struct loop *loop;
	signals_fn *on_signal;
	void *context;
	struct loop_op op;
	struct iovec iov;
	int receive_fd;
	uint8_t number;
};

/* Where the handler writes; -1: nowhere. Set before the handler is installed. */
static int handler_fd = -1;

static void handler(int number)
{
	uint8_t byte = (uint8_t)number;
	int saved = errno;

	/* Full means that dozens wait already, which say the same. */
	(void)send(handler_fd, &byte, sizeof(byte), MSG_DONTWAIT | MSG_NOSIGNAL);
	errno = saved;
}

static LOOP_ONLY void receive(struct signals *signals);

static LOOP_ONLY void on_received(struct loop_op *op, int res)
{
	struct signals *signals = CONTAINER_OF(op, struct signals, op);

	if (res <= 0)
		return;
	signals->on_signal(signals->context, signals->number);
	receive(signals);
}

static void receive(struct signals *signals)
{
	signals->iov = (struct iovec){.iov_base = &signals->number, .iov_len = 1};
	loop_recv(signals->loop, &signals->op, signals->receive_fd, &signals->iov, 1, on_received);
}

static int set_actions(void (*action)(int))
{
	struct sigaction sa = {.sa_handler = action, .sa_flags = SA_RESTART};
	struct sigaction ignore = {.sa_handler = SIG_IGN};

	(void)sigemptyset(&sa.sa_mask);
	(void)sigemptyset(&ignore.sa_mask);
	for (size_t i = 0; i < ARRAY_SIZE(caught); i++) {
		if (sigaction(caught[i], &sa, NULL) != 0)
			return -errno;
	}
	/* A peer that is gone is an error of the send, not of the process. */
	return sigaction(SIGPIPE, &ignore, NULL) == 0 ? 0 : -errno;
}

int signals_create(struct loop *loop, signals_fn *on_signal, void *context, struct signals **out)
{
	struct signals *signals = calloc(1, sizeof(*signals));
	int pair[2];
	int error;

	assert(handler_fd < 0);
	if (!signals)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
		free(signals);
		return -errno;
	}
	signals->loop = loop;
	signals->on_signal = on_signal;
	signals->context = context;
	signals->receive_fd = pair[0];
	handler_fd = pair[1];
	error = set_actions(handler);
	if (error != 0)
		signals_free(signals);
	else
		*out = signals;
	return error;
}

void signals_start(struct signals *signals)
{
	receive(signals);
}

void signals_free(struct signals *signals)
{
	if (!signals)
		return;
	(void)set_actions(SIG_DFL);
	(void)close(handler_fd);
	(void)close(signals->receive_fd);
	handler_fd = -1;
	free(signals);
}
