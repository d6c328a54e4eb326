/*
 * One end of a connection: messages of known sizes on a byte stream whose contents nobody reads.
 * It decides nothing about when to wait. Runs in the one thread of either process. Read next:
 * echo.h.
 */
#include "initiator-tests/bench/echo.h"

#include <errno.h>

/* A message of up to 1 MiB goes from bytes of its own, a longer one from the same again. All
 * connections share them, and what is received: a limit has no data of its own to take care of. */
#define SEND_BYTES ((1u << 20) + 48)

static uint8_t receive_area[ECHO_RECEIVE_BYTES];
static uint8_t send_area[SEND_BYTES];

size_t echo_take(struct echo_end *end, size_t bytes)
{
	size_t whole;

	end->in_bytes += bytes;
	whole = end->in_bytes / end->in_whole;
	end->in_bytes %= end->in_whole;
	return whole;
}

static size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

size_t echo_gather(const struct echo_end *end, struct iovec *iov)
{
	size_t left = end->out_bytes;
	size_t message = left > 0 ? (left - 1) % end->out_whole + 1 : 0;
	size_t count = 0;

	while (left > 0 && count < ECHO_GATHER_MAX) {
		size_t piece = min_size(message, sizeof(send_area));

		iov[count++] = (struct iovec){.iov_base = send_area, .iov_len = piece};
		left -= piece;
		message -= piece;
		if (message == 0)
			message = end->out_whole;
	}
	return count;
}

static bool send_some(struct echo_end *end)
{
	struct iovec iov[ECHO_GATHER_MAX];
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = echo_gather(end, iov)};
	ssize_t sent = sendmsg(end->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent < 0 && errno != EAGAIN)
		echo_die("sendmsg");
	if (sent > 0)
		end->out_bytes -= (size_t)sent;
	return sent > 0;
}

void echo_send(struct echo_end *end)
{
	end->blocked = false;
	while (end->out_bytes > 0 && !end->blocked)
		end->blocked = !send_some(end);
}

long echo_receive(struct echo_end *end, int flags)
{
	ssize_t received = recv(end->fd, receive_area, sizeof(receive_area), flags);

	if (received < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (received <= 0)
		return -1;
	return (long)echo_take(end, (size_t)received);
}
