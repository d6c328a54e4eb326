/*
 * `ringsan image stream`, `commit`, `jobs` and `cancel`: long work on the chain of an image that a
 * daemon serves, which does it beside its hosts' I/O.
 */
#include <errno.h>

#include "target/image/forward.h"
#include "target/image/verb.h"

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

int image_run_stream(struct image_order *order)
{
	return ask(order, "image-stream");
}

int image_run_commit(struct image_order *order)
{
	return ask(order, "image-commit");
}

int image_run_cancel(struct image_order *order)
{
	return forward_ask(order, "job-cancel",
			   json_pack("{s:o*}", "image", forward_path(order->operands[0])),
			   order->operands[0]);
}

int image_run_jobs(struct image_order *order)
{
	return forward_ask(order, "jobs", json_object(), order->socket);
}
