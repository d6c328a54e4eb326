/*
 * A connection to a daemon's control socket; see client.h. What the daemon says is checked as far
 * as a mistake could mislead us, no further: it is root's.
 */
#include "target/cli/client.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

struct client {
	const struct client_question *question;
	int fd;
	FILE *from; /* The same descriptor. */
	char *line;
	size_t size;
	char *error;
};

static int PRINTF_LIKE(3, 4) fail(const struct client *client, int res, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
	(void)vsnprintf(client->error, CLIENT_ERROR_BYTES, format, args);
	va_end(args);
	return res;
}

/* -- Connecting -- */

struct advice {
	int error;
	const char *text;
};

static const struct advice advice[] = {
	{ENOENT, "no ringsand serves it: start one, or name its control-socket with --socket"},
	{ECONNREFUSED, "the ringsand that made it is gone: start one, or name another's "
		       "control-socket with --socket"},
	{EACCES, "only root and the daemon's user may: run this as one of them"},
	{EAGAIN, "too many others ask at once: try again"},
};

static const char *advice_for(int error)
{
	for (size_t i = 0; i < ARRAY_SIZE(advice); i++) {
		if (advice[i].error == error)
			return advice[i].text;
	}
	return strerrordesc_np(error);
}

static int connect_to(struct client *client)
{
	const char *path = client->question->socket;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = (time_t)client->question->timeout_s};

	if (strlen(path) >= sizeof(address.sun_path))
		return fail(client, -ENAMETOOLONG, "%s: longer than a socket's name can be", path);
	memcpy(address.sun_path, path, strlen(path) + 1);
	client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (client->fd < 0 ||
	    setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) != 0 ||
	    setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) != 0 ||
	    connect(client->fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
		return fail(client, -errno, "%s: %s", path, advice_for(errno));
	client->from = fdopen(client->fd, "r");
	return client->from != NULL ? 0 : fail(client, -ENOMEM, "memory is short");
}

static void leave(struct client *client)
{
	if (client->from != NULL) {
		(void)fclose(client->from);
	} else if (client->fd >= 0) {
		(void)close(client->fd);
	}
	free(client->line);
}

/* -- Speaking -- */

static int read_message(struct client *client, json_t **out)
{
	ssize_t length;

	errno = 0;
	length = getline(&client->line, &client->size, client->from);
	if (length <= 0 && errno == EAGAIN) {
		return fail(client, -ETIMEDOUT,
			    "ringsand has not answered in %u s: a disk may be stuck; wait longer "
			    "(--timeout), or look at its log",
			    client->question->timeout_s);
	}
	if (length <= 0)
		return fail(client, -EPIPE, "ringsand ended the connection; look at its log");
	*out = json_loadb(client->line, (size_t)length, 0, NULL);
	if (json_is_object(*out))
		return 0;
	json_decref(*out);
	return fail(client, -EPROTO,
		    "%s does not speak as ringsand does; name another with --socket",
		    client->question->socket);
}

/* `hello`, or why we are not let in. */
static int read_hello(struct client *client, json_t **answer)
{
	json_t *hello = NULL;
	int protocol;
	int res = read_message(client, &hello);

	if (res != 0)
		return res;
	if (json_object_get(hello, "error") != NULL) {
		*answer = hello;
		return 0;
	}
	protocol = (int)json_integer_value(
		json_object_get(json_object_get(hello, "hello"), "protocol"));
	json_decref(hello);
	if (protocol == CLIENT_PROTOCOL)
		return 0;
	return fail(client, -EPROTO,
		    "ringsand speaks protocol %d and this ringsan %d; install the same version of "
		    "both",
		    protocol, CLIENT_PROTOCOL);
}

static int write_all(const struct client *client, const char *text, size_t length)
{
	while (length > 0) {
		ssize_t sent = send(client->fd, text, length, MSG_NOSIGNAL);

		if (sent < 0)
			return fail(client, -errno, "cannot ask ringsand: %s",
				    strerrordesc_np(errno));
		text += sent;
		length -= (size_t)sent;
	}
	return 0;
}

static int send_question(const struct client *client)
{
	json_t *message = json_pack("{s:s, s:O}", "request", client->question->request,
				    "parameters", client->question->parameters);
	char *text = message != NULL ? json_dumps(message, JSON_COMPACT) : NULL;
	int res = text != NULL ? write_all(client, text, strlen(text))
			       : fail(client, -ENOMEM, "memory is short");

	if (res == 0)
		res = write_all(client, "\n", 1);
	free(text);
	json_decref(message);
	return res;
}

static int read_answer(struct client *client, json_t **answer)
{
	int res;

	while ((res = read_message(client, answer)) == 0) {
		const json_t *progress = json_object_get(*answer, "progress");

		if (progress == NULL)
			return 0;
		if (client->question->on_progress != NULL)
			client->question->on_progress(progress);
		json_decref(*answer);
	}
	return res;
}

/* `error` is written by fail(). */
int client_ask(const struct client_question *question, json_t **answer,
	       /* NOLINTNEXTLINE(readability-non-const-parameter) */
	       char error[CLIENT_ERROR_BYTES])
{
	struct client client = {.question = question, .fd = -1, .error = error};
	int res = connect_to(&client);

	*answer = NULL;
	if (res == 0)
		res = read_hello(&client, answer);
	if (res == 0 && *answer == NULL)
		res = send_question(&client);
	if (res == 0 && *answer == NULL)
		res = read_answer(&client, answer);
	leave(&client);
	return res;
}
