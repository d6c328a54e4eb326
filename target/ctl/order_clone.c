/*
 * The request `image-clone`: a file beside those that are served, which no LUN has to be closed
 * for. The call runs on a helper thread, the rest on the control loop. Read next:
 * ../../lun/family_change.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "lun/family_change.h"
#include "target/ctl/order_image.h"

struct order {
	struct control_request *request;
	struct loop_op op;
	struct family_clone clone;
	char why[CONTROL_TEXT_BYTES / 2];
};

static int call(struct loop_op *op)
{
	struct order *order = CONTAINER_OF(op, struct order, op);

	return family_clone(&order->clone, order->why, sizeof(order->why));
}

static void on_done(struct loop_op *op, int res)
{
	struct order *order = CONTAINER_OF(op, struct order, op);
	const struct family_clone *clone = &order->clone;

	loop_role_assume();
	if (res != 0) {
		control_refuse(order->request, image_error_code(res),
			       "Nothing has changed. Mend that, or try again.", "%s: %s",
			       clone->base, order->why);
	} else {
		log_info("ctl", "image %s cloned as %s", clone->base, clone->name);
		control_answer(order->request,
			       json_pack("{s:o}", "image", control_json_text(clone->name)));
	}
	free(order);
}

LOOP_ONLY static void start(struct control_request *request, const struct family_clone *clone)
{
	struct order *order;

	if (clone->base[0] != '/' || clone->name[0] != '/') {
		control_refuse(request, CONTROL_BAD_REQUEST, "Give absolute paths.",
			       "a path does not begin with '/'");
		return;
	}
	order = calloc(1, sizeof(*order));
	if (order == NULL) {
		control_answer(request, NULL);
		return;
	}
	order->request = request;
	order->clone = *clone;
	loop_call(control_loop(request), &order->op, call, on_done);
}

void request_image_clone(struct control_request *request)
{
	const char *format = control_value(request, 2)->text;
	const char *base = control_value(request, 0)->text;
	const struct family_clone clone = {.base = base,
					   .name = control_value(request, 1)->text,
					   .base_format = format ? format : family_format_of(base)};

	if (strcmp(clone.base_format, "raw") != 0 && strcmp(clone.base_format, "qcow2") != 0)
		control_refuse(request, CONTROL_BAD_REQUEST, "Give raw or qcow2.",
			       "there is no format '%s'", clone.base_format);
	else
		start(request, &clone);
}
