/*
 * The requests `image-snapshot` and `image-rollback`, of LUNs that are served.
 * Functions of image_work run on a helper thread, the rest on the control loop. Read next:
 * order_image.h, ../../lun/family_change.h.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "lun/family_change.h"
#include "target/ctl/order_image.h"

/* -- Families -- */

static int require_qcow2(struct image_order *order)
{
	for (unsigned i = 0; i < order->count; i++) {
		order->failed = i;
		if (order->luns[i].conf->type != CONF_LUN_QCOW2)
			return image_order_refuse(order, -ENOTSUP,
						  "only images of type qcow2 have snapshots; "
						  "`ringsan image convert` makes one of it");
	}
	order->failed = order->count;
	return 0;
}

static int commit(struct image_order *order)
{
	return family_commit(order->changes, order->prepared, order->why, sizeof(order->why));
}

static void undo(struct image_order *order)
{
	char why[CONTROL_TEXT_BYTES / 2];

	if (family_undo(order->changes, order->prepared, why, sizeof(why)) == 0)
		return;
	log_error("ctl", "images are not as they were before: %s", why);
	order->stuck = true;
}

static void end(struct image_order *order)
{
	for (unsigned i = 0; i < order->prepared; i++)
		family_end(order->changes[i]);
}

/* -- image-snapshot -- */

static int prepare_snapshot(struct image_order *order)
{
	int res = require_qcow2(order);

	for (unsigned i = 0; i < order->count && res == 0; i++) {
		order->failed = i;
		res = family_snapshot_prepare(order->luns[i].conf->image, order->snapshot,
					      FAMILY_SERVED, &order->changes[i], order->why,
					      sizeof(order->why));
		if (res != 0)
			break;
		order->prepared++;
		(void)snprintf(order->kept[i], sizeof(order->kept[i]), "%s",
			       family_kept_name(order->changes[i]));
	}
	return res;
}

static json_t *snapshot_answer(const struct image_order *order)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < order->count; i++) {
		json_t *one = image_order_json(order, i);

		(void)json_object_set_new(one, "file", control_json_text(order->kept[i]));
		(void)json_array_append_new(list, one);
		log_info("ctl", "%s: snapshot %s, I/O waited for %.1f ms",
			 lun_name(order->luns[i].lun), order->snapshot,
			 image_order_paused_ms(order));
	}
	return json_pack("{s:s, s:f, s:o}", "snapshot", order->snapshot, "paused_ms",
			 image_order_paused_ms(order), "images", list);
}

/* UTC, so that names are in the order of time. */
static void name_by_time(char out[FAMILY_SNAPSHOT_MAX + 1])
{
	time_t now = time(NULL);
	struct tm parts;

	(void)gmtime_r(&now, &parts);
	(void)strftime(out, FAMILY_SNAPSHOT_MAX + 1, "%Y%m%dT%H%M%SZ", &parts);
}

void request_image_snapshot(struct control_request *request)
{
	static const struct image_work work = {.prepare = prepare_snapshot,
					       .commit = commit,
					       .undo = undo,
					       .end = end,
					       .answer = snapshot_answer};
	const struct control_value *images = control_value(request, 0);
	const char *name = control_value(request, 1)->text;
	struct image_order *order = image_order_make(request, &work);

	if (order == NULL)
		return;
	order->count = (unsigned)images->number;
	for (unsigned i = 0; i < order->count; i++)
		order->paths[i] = control_text_at(images, i);
	if (name != NULL)
		(void)snprintf(order->snapshot, sizeof(order->snapshot), "%s", name);
	else
		name_by_time(order->snapshot);
	image_order_begin(order);
}

/* -- image-rollback -- */

/* With force, what hosts have under way may have read the old content, and be written to the new.
 */

static int prepare_rollback(struct image_order *order)
{
	int res = require_qcow2(order);

	if (res == 0)
		res = family_rollback_prepare(order->luns[0].conf->image, order->snapshot,
					      order->keep, FAMILY_SERVED, &order->changes[0],
					      order->why, sizeof(order->why));
	order->prepared = res == 0;
	return res;
}

static json_t *rollback_answer(const struct image_order *order)
{
	json_t *body = image_order_json(order, 0);

	log_warn("ctl", "%s: rolled back to snapshot %s by the administrator",
		 lun_name(order->luns[0].lun), order->snapshot);
	(void)json_object_set_new(body, "snapshot", json_string(order->snapshot));
	(void)json_object_set_new(body, "paused_ms", json_real(image_order_paused_ms(order)));
	return body;
}

void request_image_rollback(struct control_request *request)
{
	static const struct image_work work = {.prepare = prepare_rollback,
					       .commit = commit,
					       .undo = undo,
					       .end = end,
					       .answer = rollback_answer,
					       .replaces = true};
	struct image_order *order = image_order_make(request, &work);

	if (order == NULL)
		return;
	order->count = 1;
	order->paths[0] = control_value(request, 0)->text;
	(void)snprintf(order->snapshot, sizeof(order->snapshot), "%s",
		       control_value(request, 1)->text);
	order->keep = control_value(request, 2)->text;
	order->force = control_value(request, 3)->number != 0;
	image_order_begin(order);
}
