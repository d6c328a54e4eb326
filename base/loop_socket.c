/*
 * Sockets: accept, receive and send by plain calls that do not wait, the same for both engines.
 * What waits for a socket that is not ready is the engine's.
 *
 * A receive is put off until its callback is due. So its bytes are in the cache when the callback
 * looks at them, and connections that nothing comes from hold no memory to receive into.
 *
 * Runs on the loop's thread. Read next: loop_uring.c, loop_aio.c.
 */
#include "base/loop_engine.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>

static ssize_t call_accept(struct loop_op *op)
{
	int flags = fcntl(op->fd, F_GETFL);

	/* accept4 has no flag for not waiting; the listening socket must be non-blocking. */
	if (flags < 0 ||
	    ((flags & O_NONBLOCK) == 0 && fcntl(op->fd, F_SETFL, flags | O_NONBLOCK) < 0))
		return -1;
	return accept4(op->fd, NULL, NULL, SOCK_CLOEXEC);
}

static void set_message(struct loop_op *op)
{
	op->msg = (struct msghdr){.msg_iov = op->iov, .msg_iovlen = op->iov_count};
}

static ssize_t call_recv(struct loop_op *op)
{
	if (op->iov_count == 1)
		return recv(op->fd, op->iov->iov_base, op->iov->iov_len, MSG_DONTWAIT);
	set_message(op);
	return recvmsg(op->fd, &op->msg, MSG_DONTWAIT);
}

static ssize_t call_send(struct loop_op *op)
{
	if (op->iov_count == 1) {
		return send(op->fd, op->iov->iov_base, op->iov->iov_len,
			    MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	set_message(op);
	return sendmsg(op->fd, &op->msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

typedef ssize_t socket_fn(struct loop_op *op);

static socket_fn *const calls[LOOP_OP_COUNT] = {
	[LOOP_OP_ACCEPT] = call_accept,
	[LOOP_OP_RECV] = call_recv,
	[LOOP_OP_SEND] = call_send,
};

static int call(struct loop_op *op)
{
	ssize_t res;

	do {
		res = calls[op->kind](op);
	} while (res < 0 && errno == EINTR);
	return res < 0 ? -errno : (int)res;
}

bool loop_socket_try(struct loop_op *op)
{
	int res;

	do {
		res = call(op);
		if (res == -EAGAIN)
			return false;
	} while (loop_op_step(op, res) == OP_NEXT_MORE);
	return true;
}

void loop_socket_set_due(struct loop_op *op)
{
	op->flags |= OP_DUE;
	op->state = OP_DONE;
	list_append(&op->loop->done, &op->link);
}

bool loop_socket_receive(struct loop_op *op)
{
	int res = call(op);

	op->flags &= (uint8_t)~OP_DUE;
	if (res == -EAGAIN) {
		op->flags |= OP_POLL;
		loop_op_carry(op);
		return false;
	}
	if (res > 0)
		loop_op_advance(op, (size_t)res);
	op->res = res;
	return true;
}

void loop_accept(struct loop *loop, struct loop_op *op, int fd, loop_done_fn *done)
{
	loop_op_begin(loop, op, LOOP_OP_ACCEPT, fd, done);
	loop_op_carry(op);
}

/* The last receive of the record took all that it had room for: more is likely to be there. */
static bool was_filled(const struct loop_op *op)
{
	return op->kind == LOOP_OP_RECV && op->length_bytes > 0 &&
	       op->transferred_bytes == op->length_bytes;
}

void loop_recv(struct loop *loop, struct loop_op *op, int fd, struct iovec *iov, uint32_t iov_count,
	       loop_done_fn *done)
{
	bool try_first = was_filled(op) && op->fd == fd;

	loop_op_begin(loop, op, LOOP_OP_RECV, fd, done);
	loop_op_set_vector(op, iov, iov_count);
	/* Receiving nothing could not be told from the end of the stream. */
	assert(op->length_bytes > 0);
	loop_op_advance(op, 0);
	if (try_first) {
		loop_socket_set_due(op);
	} else {
		loop_op_carry(op);
	}
}

void loop_send(struct loop *loop, struct loop_op *op, int fd, struct iovec *iov, uint32_t iov_count,
	       loop_done_fn *done)
{
	loop_op_begin(loop, op, LOOP_OP_SEND, fd, done);
	loop_op_set_vector(op, iov, iov_count);
	loop_op_carry_transfer(op);
}
