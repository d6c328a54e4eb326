/*
 * `ringsan image stream`, `commit`, `jobs` and `cancel`: long work on the chain of an image. Where
 * a daemon serves it, that does it beside its hosts' I/O; else it is done here.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lun/family.h"
#include "target/image/closed.h"
#include "target/image/forward.h"
#include "target/image/own_job.h"

/* -- Where it is served -- */

static json_t *parameters_of(struct image_order *order)
{
	json_t *parameters = json_pack("{s:o*, s:b}", "image", forward_path(order->operands[0]),
				       "wait", !image_has(order, IMAGE_BACKGROUND));
	uint64_t rate;

	if (image_has(order, IMAGE_RATE)) {
		if (image_take_size(order, IMAGE_RATE, &rate) != 0) {
			json_decref(parameters);
			return NULL;
		}
		(void)json_object_set_new(parameters, "rate", json_integer((json_int_t)rate));
	}
	if (image_has(order, IMAGE_BASE))
		(void)json_object_set_new(parameters, "base",
					  forward_path(order->values[IMAGE_BASE]));
	return parameters;
}

static int ask(struct image_order *order, const char *request)
{
	json_t *parameters = parameters_of(order);

	if (parameters == NULL)
		return image_refuse(order, -EINVAL, NULL, "that cannot be asked for");
	return forward_ask(order, request, parameters, order->operands[0]);
}

/* -- Here -- */

/* The active file, by the path that others know it by. */
static int take_path(struct image_order *order, struct job_order *what)
{
	char *whole = realpath(order->operands[0], NULL);
	int res = whole != NULL ? 0 : -errno;

	if (res == 0 &&
	    snprintf(what->path, sizeof(what->path), "%s", whole) >= (int)sizeof(what->path))
		res = -ENAMETOOLONG;
	free(whole);
	if (res == 0 && image_has(order, IMAGE_RATE))
		return image_take_size(order, IMAGE_RATE, &what->rate_bytes);
	return res == 0 ? 0 : image_refuse_errno(order, res, "cannot be found", order->operands[0]);
}

static const char *plain_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? slash + 1 : path;
}

static int stream_here(struct image_order *order)
{
	struct job_order what = {.kind = JOB_STREAM};
	int res = closed_require_qcow2(order, order->operands[0]);

	if (res == 0)
		res = take_path(order, &what);

	if (res == 0 && image_has(order, IMAGE_BASE))
		(void)snprintf(what.base, sizeof(what.base), "%s",
			       plain_name(order->values[IMAGE_BASE]));
	return res == 0 ? own_job_run(order, &what) : res;
}

/* Only a snapshot of its own may go. */
static int take_parent(struct image_order *order, struct job_order *what)
{
	char snapshot[FAMILY_SNAPSHOT_MAX + 1];
	struct closed_chain *chain;
	const char *name;
	int res = closed_chain_open_alone(order, what->path, closed_format_names[CLOSED_QCOW2],
					  CLOSED_READ, &chain);

	if (res != 0)
		return res;
	name = chain->layers[0].plain.header.backing_name;
	if (family_is_snapshot_of(plain_name(what->path), name, snapshot))
		(void)snprintf(what->image, sizeof(what->image), "%.*s", (int)JOB_NAME_BYTES - 1,
			       name);
	else
		res = image_refuse(order, -EINVAL, "'ringsan image list' shows what it is based on",
				   "%s is based on no snapshot of its own", order->operands[0]);
	closed_chain_close(chain);
	return res;
}

static int commit_here(struct image_order *order)
{
	struct job_order what = {.kind = JOB_REMOVE};
	int res = closed_require_qcow2(order, order->operands[0]);

	if (res == 0)
		res = take_path(order, &what);

	if (res == 0)
		res = take_parent(order, &what);
	return res == 0 ? own_job_run(order, &what) : res;
}

/* -- The verbs -- */

int image_run_stream(struct image_order *order)
{
	return forward_is_wanted(order->operands[0]) ? ask(order, "image-stream")
						     : stream_here(order);
}

int image_run_commit(struct image_order *order)
{
	return forward_is_wanted(order->operands[0]) ? ask(order, "image-commit")
						     : commit_here(order);
}

int image_run_cancel(struct image_order *order)
{
	/* Of a file that is not there no daemon can be asked. */
	if (access(order->operands[0], F_OK) != 0)
		return image_refuse_errno(order, -errno, "cannot be found", order->operands[0]);
	return forward_ask(order, "job-cancel",
			   json_pack("{s:o*}", "image", forward_path(order->operands[0])),
			   order->operands[0]);
}

int image_run_jobs(struct image_order *order)
{
	return forward_ask(order, "jobs", json_object(), order->common.socket);
}
