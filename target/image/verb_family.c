/*
 * `ringsan image snapshot`, `rollback`, `clone` and `remove`: lun/family_change.h on images that
 * nobody has open, a request where a daemon serves them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lun/family_change.h"
#include "target/image/closed.h"
#include "target/image/forward.h"
#include "target/image/own_job.h"

static int refuse_why(struct image_order *order, int res, const char *why)
{
	return image_refuse(order, res, NULL, "%s", why);
}

/* A snapshot has to be named somehow: when it was made, in UTC. */
static const char *name_of(const struct image_order *order, char made[FAMILY_SNAPSHOT_MAX + 1])
{
	time_t now = time(NULL);
	struct tm utc;

	if (image_has(order, IMAGE_NAME))
		return order->values[IMAGE_NAME];
	if (gmtime_r(&now, &utc) == NULL ||
	    strftime(made, FAMILY_SNAPSHOT_MAX + 1, "%Y%m%d-%H%M%SZ", &utc) == 0)
		(void)snprintf(made, FAMILY_SNAPSHOT_MAX + 1, "snapshot");
	return made;
}

/* -- Snapshots, at one instant -- */

struct snapshots {
	struct image_order *order;
	const char *name;
	struct family_change *changes[IMAGE_OPERANDS_MAX];
	unsigned count;
	char why[IMAGE_WHY_BYTES];
};

static int prepare_all(struct snapshots *s)
{
	int res = 0;

	while (res == 0 && s->count < s->order->operand_count) {
		const char *path = s->order->operands[s->count];

		res = closed_require_qcow2(s->order, path);
		if (res == 0)
			res = family_snapshot_prepare(path, s->name, FAMILY_CLOSED,
						      &s->changes[s->count], s->why,
						      sizeof(s->why));
		if (res == 0)
			s->count++;
	}
	return res;
}

static json_t *describe_all(const struct snapshots *s)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < s->count; i++)
		(void)json_array_append_new(list, json_pack("{s:o, s:s}", "filename",
							    image_text(s->order->operands[i]),
							    "snapshot", s->name));
	return list;
}

static int snapshot_here(struct image_order *order, const char *name)
{
	struct snapshots s = {.order = order, .name = name};
	int res = prepare_all(&s);

	if (res == 0)
		res = family_commit(s.changes, s.count, s.why, sizeof(s.why));
	if (res == 0)
		order->result = describe_all(&s);
	for (unsigned i = 0; i < s.count; i++)
		family_end(s.changes[i]);
	return res == 0 ? 0 : refuse_why(order, res, s.why);
}

static json_t *paths_of(const struct image_order *order)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < order->operand_count; i++)
		(void)json_array_append_new(list, forward_path(order->operands[i]));
	return list;
}

/* All of them, or none: one that is not there must not be passed by. */
static int snapshot_there(struct image_order *order, const char *name, const char *served)
{
	json_t *paths = paths_of(order);

	if (json_array_size(paths) == order->operand_count)
		return forward_ask(order, "image-snapshot",
				   json_pack("{s:o, s:s}", "images", paths, "name", name), served);
	json_decref(paths);
	return image_refuse(order, -ENOENT, NULL, "not all of these files are there");
}

int image_run_snapshot(struct image_order *order)
{
	char made[FAMILY_SNAPSHOT_MAX + 1];
	const char *name = name_of(order, made);

	for (unsigned i = 0; i < order->operand_count; i++) {
		if (forward_is_wanted(order->operands[i]))
			return snapshot_there(order, name, order->operands[i]);
	}
	return snapshot_here(order, name);
}

/* -- Rollback -- */

static int rollback_here(struct image_order *order)
{
	struct family_change *change = NULL;
	char why[IMAGE_WHY_BYTES] = "";
	int res = closed_require_qcow2(order, order->operands[0]);

	if (res == 0)
		res = family_rollback_prepare(order->operands[0], order->operands[1],
					      order->values[IMAGE_KEEP], FAMILY_CLOSED, &change,
					      why, sizeof(why));
	if (res == 0)
		res = family_commit(&change, 1, why, sizeof(why));
	if (change != NULL)
		family_end(change);
	if (res != 0)
		return refuse_why(order, res, why);
	order->result = json_pack("{s:o, s:s}", "filename", image_text(order->operands[0]),
				  "snapshot", order->operands[1]);
	return 0;
}

int image_run_rollback(struct image_order *order)
{
	json_t *parameters;

	if (!forward_is_wanted(order->operands[0]))
		return rollback_here(order);
	parameters = json_pack("{s:o, s:s}", "image", forward_path(order->operands[0]), "snapshot",
			       order->operands[1]);
	if (image_has(order, IMAGE_KEEP))
		(void)json_object_set_new(parameters, "keep",
					  json_string(order->values[IMAGE_KEEP]));
	if (image_has(order, IMAGE_FORCE))
		(void)json_object_set_new(parameters, "force", json_true());
	return forward_ask(order, "image-rollback", parameters, order->operands[0]);
}

/* -- Clones -- */

/* A disk may be larger than what it stands on. */
static int take_clone(struct image_order *order, struct family_clone *clone)
{
	enum closed_format format;
	int res = closed_format_told(order, IMAGE_FORMAT, &format);

	if (res == 0 && format == CLOSED_FORMATS)
		format = closed_format_of(clone->base);
	if (res == 0 && format == CLOSED_FORMATS)
		res = image_refuse(order, -EINVAL, "say --format", "%s: is it raw or qcow2?",
				   clone->base);
	if (res == 0)
		clone->base_format = closed_format_names[format];
	if (res == 0 && image_has(order, IMAGE_SIZE))
		res = image_take_size(order, IMAGE_SIZE, &clone->size_bytes);
	return res;
}

int image_run_clone(struct image_order *order)
{
	struct family_clone clone = {.base = order->operands[0], .name = order->operands[1]};
	char why[IMAGE_WHY_BYTES] = "";
	int res = take_clone(order, &clone);

	if (res == 0) {
		res = family_clone(&clone, why, sizeof(why));
		if (res != 0)
			(void)refuse_why(order, res, why);
	}
	if (res == 0)
		order->result = json_pack("{s:o, s:o}", "filename", image_text(clone.name),
					  "backing-filename", image_text(clone.base));
	return res;
}

/* -- Removal -- */

static int remove_alone(struct image_order *order)
{
	const char *path = order->operands[0];
	char why[IMAGE_WHY_BYTES] = "";
	int res = family_remove(path, why, sizeof(why));

	if (res != 0)
		return refuse_why(order, res, why);
	order->result = json_pack("{s:o}", "filename", image_text(path));
	return 0;
}

/* Of those that stand on an image one on which none does; itself, if it is one. */
static const struct family_image *uppermost(const struct family *family,
					    const struct family_image *image)
{
	const struct family_image *child = image;

	for (size_t i = 0; child != NULL && i < family->count; i++) {
		image = child;
		child = family_next_child(family, image, NULL);
	}
	return image;
}

/* `whole` is the image's path without links; the other one lies beside it. */
static int name_merge(struct image_order *order, const char *whole,
		      const struct family_image *image, const struct family_image *top,
		      struct job_order *what)
{
	int folder = (int)(strrchr(whole, '/') - whole) + 1;
	int length = snprintf(what->path, sizeof(what->path), "%.*s%s", folder, whole, top->name);

	(void)snprintf(what->image, sizeof(what->image), "%s", image->name);
	return length < (int)sizeof(what->path)
		       ? 0
		       : image_refuse(order, -EINVAL,
				      "move the images to a folder with a shorter path",
				      "the path of %s is too long", top->name);
}

/* Which file's chain the job works on: `what` is told, or its path stays "", as there is none. */
static int find_merge(struct image_order *order, const struct family_place *place,
		      struct job_order *what)
{
	const struct family_image *image, *top;
	struct family *family = NULL;
	char why[IMAGE_WHY_BYTES] = "";
	char *whole = realpath(order->operands[0], NULL);
	int res = family_read(place->folder, NULL, &family, why, sizeof(why));

	if (res != 0)
		(void)refuse_why(order, res, why);
	image = res == 0 ? family_find(family, place->name) : NULL;
	if (res == 0 && (whole == NULL || image == NULL))
		res = image_refuse(order, -ENOENT, NULL, "there is no %s", order->operands[0]);
	top = res == 0 ? uppermost(family, image) : NULL;
	if (top != NULL && top != image)
		res = name_merge(order, whole, image, top, what);
	free(whole);
	family_free(family);
	return res;
}

/* The one image that is based on it takes its data first. */
static int remove_and_merge(struct image_order *order)
{
	struct job_order what = {.kind = JOB_REMOVE};
	char why[IMAGE_WHY_BYTES] = "";
	struct family_place place;
	int res = family_place_open(order->operands[0], &place, why, sizeof(why));

	if (res != 0)
		return refuse_why(order, res, why);
	res = find_merge(order, &place, &what);
	family_place_close(&place);
	if (res != 0)
		return res;
	if (what.path[0] == '\0')
		return remove_alone(order);
	res = closed_require_qcow2(order, what.path);
	return res == 0 ? own_job_run(order, &what) : res;
}

int image_run_remove(struct image_order *order)
{
	const char *path = order->operands[0];

	if (forward_is_wanted(path))
		return forward_ask(order, "image-remove",
				   json_pack("{s:o*, s:b}", "image", forward_path(path), "wait", 1),
				   path);
	return image_has(order, IMAGE_MERGE) ? remove_and_merge(order) : remove_alone(order);
}
