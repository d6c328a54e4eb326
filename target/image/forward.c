/*
 * Asking the daemon. See forward.h.
 */
#include "target/image/forward.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "lun/files.h"
#include "lun/image_lock.h"
#include "target/cli/client.h"
#include "target/image/progress.h"

bool forward_is_wanted(const char *path)
{
	int CLEANUP(files_close) fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	return fd >= 0 && image_lock_is_held(fd);
}

json_t *forward_path(const char *path)
{
	char *whole = realpath(path, NULL);
	json_t *value = json_string(whole);

	free(whole);
	return value;
}

/* No daemon has it, or none is there; `why` is the client's. */
static int refuse_here(struct image_order *order, const char *path, const char *why)
{
	if (forward_is_wanted(path))
		return image_refuse(
			order, -EBUSY,
			"end that first, or name the ringsand that serves it with --socket",
			"%s is locked by another program", path);
	return image_refuse(order, -ENOENT,
			    "jobs are a running daemon's; without one, work on images ends with "
			    "Ctrl-C",
			    "%s", why);
}

/* Its remedy is its own sentence, so it joins the message's. */
static int take_error(struct image_order *order, const json_t *error, const char *path)
{
	const char *code = json_string_value(json_object_get(error, "code"));
	const char *message = json_string_value(json_object_get(error, "message"));
	const char *remedy = json_string_value(json_object_get(error, "remedy"));

	if (code == NULL || message == NULL || remedy == NULL)
		return refuse_here(order, path, "ringsand gives no reason");
	if (strcmp(code, "not-found") == 0 && forward_is_wanted(path))
		return refuse_here(order, path, message);
	(void)snprintf(order->told_remedy, sizeof(order->told_remedy), "%s", remedy);
	(void)image_refuse(order, -EBUSY, order->told_remedy, "%s", message);
	(void)snprintf(order->told_code, sizeof(order->told_code), "%s", code);
	order->code = order->told_code;
	return -EBUSY;
}

/* Of long work, where it tells of its progress. */
static struct progress bar;

static void on_progress(const json_t *progress)
{
	json_int_t done = json_integer_value(json_object_get(progress, "done_bytes"));
	json_int_t total = json_integer_value(json_object_get(progress, "total_bytes"));

	if (total > 0)
		progress_show(&bar, (uint64_t)done, (uint64_t)total);
}

int forward_ask(struct image_order *order, const char *request, json_t *parameters,
		const char *path)
{
	const struct client_question question = {
		.socket = order->common.socket,
		.timeout_s = order->common.timeout_s,
		.request = request,
		.parameters = parameters,
		.on_progress = on_progress,
	};
	char why[CLIENT_ERROR_BYTES];
	json_t *answer = NULL;
	const json_t *error;
	int res = -ENOMEM;

	(void)snprintf(why, sizeof(why), "memory is short");
	progress_begin(order, &bar);
	if (parameters != NULL)
		res = client_ask(&question, &answer, why);
	progress_end(&bar);
	error = json_object_get(answer, "error");
	if (res != 0)
		res = refuse_here(order, path, why);
	else if (error != NULL)
		res = take_error(order, error, path);
	else
		order->result = json_incref(json_object_get(answer, "result"));
	json_decref(answer);
	json_decref(parameters);
	return res;
}
