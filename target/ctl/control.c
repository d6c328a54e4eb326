/*
 * The control socket's server; see control.h.
 *
 * A connection has one request under way at a time. While that is so, and while its answer has not
 * been taken, nothing is received: who sends many requests finds them answered in their order, and
 * his buffer is the kernel's. Whatever has happened to a connection, it is woken, and step() looks
 * at the top of the next turn what comes next. It lives until it was closed and nothing of it is
 * under way: request, receive, send.
 *
 * Runs on the control loop.
 */
#include "target/ctl/control.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

/* How long to wait when no descriptor or memory is left to accept with. */
#define BACK_OFF_MS 100u

struct control_request {
	struct control_call call;
	bool pending; /* Its handler has not answered. */
};

struct connection {
	struct list_node link;
	struct control *control;
	int fd;
	bool closing; /* Shut down; goes when nothing is under way. */
	bool ended;   /* The peer sends nothing any more. */
	bool parting; /* Closed when all that there is has been sent. */
	bool receiving;
	bool sending;
	bool woken;
	struct loop_msg wake;
	struct control_request request;
	struct loop_op recv;
	struct loop_op send;
	struct iovec recv_iov;
	struct iovec send_iov;
	char *out;      /* Being sent. */
	char *answer;   /* Sent next. */
	char *progress; /* Sent before the answer, unless that overtakes it. */
	struct loop_timer timer;
	uint64_t taken_bytes; /* Of `out`, when the timer last looked. */
	size_t used;
	char line[CONTROL_LINE_BYTES];
};

struct control {
	struct control_config config;
	struct control_path path;
	struct list_node connections;
	unsigned count;
	bool accepting;
	bool stopped;
	struct loop_op accept;
	struct loop_timer back_off;
	void (*on_empty)(void *arg);
	void *on_empty_arg;
};

static struct log_limit refused_limit = LOG_LIMIT(5, 10000);

/* -- A connection's end -- */

static void connection_clear(struct connection *connection)
{
	list_remove(&connection->link);
	(void)close(connection->fd);
	free(connection->out);
	free(connection->answer);
	free(connection->progress);
	control_call_clear(&connection->request.call);
	free(connection);
}

static LOOP_ONLY void connection_free(struct connection *connection)
{
	struct control *control = connection->control;

	loop_timer_stop(control->config.loop, &connection->timer);
	loop_forget_fd(control->config.loop, connection->fd);
	connection_clear(connection);
	control->count--;
	if (control->stopped && control->count == 0)
		control->on_empty(control->on_empty_arg);
}

static void connection_close(struct connection *connection)
{
	if (connection->closing)
		return;
	connection->closing = true;
	/* What is under way ends by that. */
	(void)shutdown(connection->fd, SHUT_RDWR);
}

static void on_wake(struct loop_msg *msg);

static void wake(struct connection *connection)
{
	if (connection->woken)
		return;
	connection->woken = true;
	loop_post(connection->control->config.loop, &connection->wake, on_wake);
}

/* -- Time -- */

static LOOP_ONLY void on_timer(struct loop_timer *timer)
{
	struct connection *connection = CONTAINER_OF(timer, struct connection, timer);
	const struct control *control = connection->control;

	if (connection->sending && connection->send.transferred_bytes != connection->taken_bytes) {
		connection->taken_bytes = connection->send.transferred_bytes;
		loop_timer_start(control->config.loop, timer, control->config.stall_ms, on_timer);
		return;
	}
	connection_close(connection);
	wake(connection);
}

/* -- Sending -- */

static LOOP_ONLY void on_sent(struct loop_op *op, int res)
{
	struct connection *connection = CONTAINER_OF(op, struct connection, send);

	connection->sending = false;
	free(connection->out);
	connection->out = NULL;
	loop_timer_stop(connection->control->config.loop, &connection->timer);
	if (res < 0)
		connection_close(connection);
	wake(connection);
}

/* Takes `text` over. */
static LOOP_ONLY void send_text(struct connection *connection, char *text)
{
	const struct control_config *config = &connection->control->config;

	connection->out = text;
	connection->taken_bytes = 0;
	connection->sending = true;
	connection->send_iov = (struct iovec){.iov_base = text, .iov_len = strlen(text)};
	loop_timer_start(config->loop, &connection->timer, config->stall_ms, on_timer);
	loop_send(config->loop, &connection->send, connection->fd, &connection->send_iov, 1,
		  on_sent);
}

static char *take_text(char **from)
{
	char *text = *from;

	*from = NULL;
	return text;
}

/* The server ends: whoever does not take his answer now does not get it. */
static void send_parting(struct connection *connection)
{
	if (connection->answer != NULL && !connection->sending) {
		(void)send(connection->fd, connection->answer, strlen(connection->answer),
			   MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	connection_close(connection);
}

/* -- Requests -- */

static LOOP_ONLY void settle(struct connection *connection, char *answer)
{
	assert(connection->request.pending && connection->answer == NULL);
	control_call_clear(&connection->request.call);
	connection->request.pending = false;
	connection->answer = answer;
	/* Short of memory for an answer, it is better to part than to say nothing. */
	if (answer == NULL)
		connection_close(connection);
	if (connection->control->stopped)
		send_parting(connection);
	wake(connection);
}

static LOOP_ONLY void dispatch(struct connection *connection, size_t length)
{
	struct control_request *request = &connection->request;
	struct control_error error;
	bool good = control_parse(connection->control->config.table, connection->line, length,
				  &request->call, &error);

	connection->used -= length + 1;
	memmove(connection->line, connection->line + length + 1, connection->used);
	request->pending = true;
	loop_timer_stop(connection->control->config.loop, &connection->timer);
	if (good) {
		request->call.row->handler(request);
	} else {
		control_fail(request, &error);
	}
}

static LOOP_ONLY void refuse_length(struct connection *connection)
{
	struct control_error error;

	control_error_set(&error, CONTROL_BAD_REQUEST, "Send less.",
			  "a request has more than %u bytes", CONTROL_LINE_BYTES - 1);
	connection->answer = control_print_error(NULL, &error);
	/* Where the next one begins is not to be known. */
	connection->parting = true;
	connection->used = 0;
}

/* -- Receiving -- */

static LOOP_ONLY void on_received(struct loop_op *op, int res)
{
	struct connection *connection = CONTAINER_OF(op, struct connection, recv);

	connection->receiving = false;
	if (res > 0)
		connection->used += (size_t)res;
	connection->ended = res <= 0;
	wake(connection);
}

static LOOP_ONLY void receive(struct connection *connection)
{
	struct loop *loop = connection->control->config.loop;

	connection->receiving = true;
	connection->recv_iov = (struct iovec){.iov_base = connection->line + connection->used,
					      .iov_len = CONTROL_LINE_BYTES - connection->used};
	/* The time for one request, however many pieces it comes in. */
	if (!loop_timer_is_armed(&connection->timer)) {
		loop_timer_start(loop, &connection->timer, connection->control->config.idle_ms,
				 on_timer);
	}
	loop_recv(loop, &connection->recv, connection->fd, &connection->recv_iov, 1, on_received);
}

/* Nothing is to be sent, and no request is under way. */
static LOOP_ONLY void next_request(struct connection *connection)
{
	const char *newline = memchr(connection->line, '\n', connection->used);

	if (newline != NULL) {
		dispatch(connection, (size_t)(newline - connection->line));
	} else if (connection->ended || connection->parting) {
		connection_close(connection);
		wake(connection);
	} else if (connection->used == CONTROL_LINE_BYTES) {
		refuse_length(connection);
		wake(connection);
	} else if (!connection->receiving) {
		receive(connection);
	}
}

/* What comes next; the connection may be gone afterwards. */
static LOOP_ONLY void step(struct connection *connection)
{
	if (connection->closing) {
		if (!connection->receiving && !connection->sending && !connection->request.pending)
			connection_free(connection);
		return;
	}
	if (connection->sending)
		return;
	if (connection->answer != NULL) {
		free(take_text(&connection->progress));
		send_text(connection, take_text(&connection->answer));
	} else if (connection->progress != NULL) {
		send_text(connection, take_text(&connection->progress));
	} else if (!connection->request.pending) {
		next_request(connection);
	}
}

static void on_wake(struct loop_msg *msg)
{
	struct connection *connection = CONTAINER_OF(msg, struct connection, wake);

	loop_role_assume();
	connection->woken = false;
	step(connection);
}

/* -- Accepting -- */

/* NULL, or a sentence for who is not let in. */
static const char *judge_peer(const struct control *control, int fd)
{
	struct ucred peer = {.uid = (uid_t)-1};
	socklen_t length = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0 ||
	    (peer.uid != 0 && peer.uid != geteuid()))
		return "only root and the user that ringsand runs as may use the control socket";
	if (control->count >= CONTROL_CONNECTIONS_MAX)
		return "too many connections to the control socket";
	return NULL;
}

static void turn_away(int fd, const char *why)
{
	struct control_error error;
	char *text;

	control_error_set(&error, CONTROL_REFUSED, "Run this as root, or try again later.", "%s",
			  why);
	text = control_print_error(NULL, &error);
	if (text != NULL)
		(void)send(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
	free(text);
	(void)close(fd);
	log_limited(&refused_limit, LOG_LEVEL_WARN, "ctl", "control socket: refused: %s", why);
}

static LOOP_ONLY void welcome(struct control *control, int fd)
{
	const char *why = judge_peer(control, fd);
	struct connection *connection = why == NULL ? calloc(1, sizeof(*connection)) : NULL;

	if (connection == NULL) {
		turn_away(fd, why != NULL ? why : "no memory");
		return;
	}
	connection->control = control;
	connection->fd = fd;
	connection->answer = control_print_hello();
	list_append(&control->connections, &connection->link);
	control->count++;
	wake(connection);
}

static LOOP_ONLY void on_accepted(struct loop_op *op, int res);

static LOOP_ONLY void accept_next(struct control *control)
{
	control->accepting = true;
	loop_accept(control->config.loop, &control->accept, control->path.fd, on_accepted);
}

static LOOP_ONLY void on_back_off_over(struct loop_timer *timer)
{
	accept_next(CONTAINER_OF(timer, struct control, back_off));
}

static void on_accepted(struct loop_op *op, int res)
{
	struct control *control = CONTAINER_OF(op, struct control, accept);

	control->accepting = false;
	if (control->stopped) {
		if (res >= 0)
			(void)close(res);
		return;
	}
	if (res >= 0)
		welcome(control, res);
	if (res >= 0 || res == -ECONNABORTED || res == -EAGAIN || res == -EINTR) {
		accept_next(control);
	} else {
		loop_timer_start(control->config.loop, &control->back_off, BACK_OFF_MS,
				 on_back_off_over);
	}
}

/* -- The server -- */

int control_create(const struct control_config *config, struct control_path *path,
		   struct control **out)
{
	struct control *control = calloc(1, sizeof(*control));

	if (control == NULL) {
		control_path_release(path);
		return -ENOMEM;
	}
	control->config = *config;
	control->path = *path;
	path->fd = -1;
	list_init(&control->connections);
	*out = control;
	return 0;
}

void control_start(struct control *control)
{
	accept_next(control);
}

void control_stop(struct control *control, void (*on_empty)(void *arg), void *arg)
{
	control->stopped = true;
	control->on_empty = on_empty;
	control->on_empty_arg = arg;
	loop_timer_stop(control->config.loop, &control->back_off);
	if (control->accepting)
		(void)shutdown(control->path.fd, SHUT_RDWR);
	LIST_FOREACH (node, &control->connections) {
		struct connection *connection = CONTAINER_OF(node, struct connection, link);

		if (!connection->request.pending) {
			send_parting(connection);
			wake(connection);
		}
	}
	if (control->count == 0)
		on_empty(arg);
}

void control_free(struct control *control)
{
	if (control == NULL)
		return;
	LIST_FOREACH (node, &control->connections) {
		connection_clear(CONTAINER_OF(node, struct connection, link));
	}
	control_path_release(&control->path);
	free(control);
}

unsigned control_pending(const struct control *control)
{
	unsigned count = 0;

	LIST_FOREACH (node, &control->connections) {
		const struct connection *connection = CONTAINER_OF(node, struct connection, link);

		count += connection->request.pending;
	}
	return count;
}

/* -- For handlers -- */

static struct connection *connection_of(struct control_request *request)
{
	return CONTAINER_OF(request, struct connection, request);
}

void *control_context(struct control_request *request)
{
	return connection_of(request)->control->config.context;
}

struct loop *control_loop(struct control_request *request)
{
	return connection_of(request)->control->config.loop;
}

const struct control_value *control_value(struct control_request *request, size_t at)
{
	assert(at < request->call.row->parameter_count);
	return &request->call.values[at];
}

void control_answer(struct control_request *request, json_t *body)
{
	struct control_error error;

	if (body != NULL) {
		settle(connection_of(request), control_print_result(request->call.id, body));
		return;
	}
	control_error_set(&error, CONTROL_BUSY, "Try again later.", "memory is short");
	control_fail(request, &error);
}

void control_fail(struct control_request *request, const struct control_error *error)
{
	settle(connection_of(request), control_print_error(request->call.id, error));
}

void control_refuse(struct control_request *request, enum control_error_code code,
		    const char *remedy, const char *format, ...)
{
	struct control_error error;
	char message[CONTROL_TEXT_BYTES];
	va_list args;

	va_start(args, format);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
	(void)vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	control_error_set(&error, code, remedy, "%s", message);
	control_fail(request, &error);
}

void control_progress(struct control_request *request, json_t *body)
{
	struct connection *connection = connection_of(request);

	free(connection->progress);
	connection->progress = control_print_progress(request->call.id, body);
	wake(connection);
}
