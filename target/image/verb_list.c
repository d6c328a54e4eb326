/*
 * `ringsan image list`: the images of a folder as trees, each below what it is based on. Without
 * locks, so for images in use as well.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "lun/family_change.h"
#include "lun/files.h"
#include "lun/image_lock.h"
#include "target/image/verb.h"

struct listing {
	const struct family *family;
	int folder;
	const struct family_image *top; /* Only what stands on this, or NULL. */
	json_t *to;
};

static bool is_image(const struct family_image *image)
{
	return image->kind != FAMILY_OTHER;
}

/* One whose chain has no end stands alone, as nothing can be said of it. */
static bool is_root(const struct family_image *image)
{
	return image->parent == NULL || image->depth == 0;
}

static const struct family_image *next_root(const struct listing *list,
					    const struct family_image *after)
{
	size_t i = after == NULL ? 0 : (size_t)(after - list->family->images) + 1;

	for (; list->top == NULL && i < list->family->count; i++) {
		const struct family_image *image = &list->family->images[i];

		if (is_image(image) && is_root(image))
			return image;
	}
	return after == NULL ? list->top : NULL;
}

/* A parent before its children, and they before its siblings. */
static const struct family_image *next_image(const struct listing *list,
					     const struct family_image *image, unsigned *level)
{
	const struct family_image *next = NULL;

	if (image->depth != 0)
		next = family_next_child(list->family, image, NULL);
	if (next != NULL) {
		(*level)++;
		return next;
	}
	while (next == NULL && *level > 0) {
		next = family_next_child(list->family, image->parent, image);
		if (next == NULL) {
			image = image->parent;
			(*level)--;
		}
	}
	return next != NULL ? next : next_root(list, image);
}

/* vm1@monday.qcow2 is of vm1.qcow2. */
static void describe_snapshot(json_t *to, const char *name)
{
	char snapshot[FAMILY_SNAPSHOT_MAX + 1];
	char active[FAMILY_NAME_BYTES];
	const char *at = strchr(name, '@');
	const char *dot = strrchr(name, '.');

	for (; at != NULL; at = strchr(at + 1, '@')) {
		(void)snprintf(active, sizeof(active), "%.*s%s", (int)(at - name), name,
			       dot != NULL && dot > at ? dot : "");
		if (!family_is_snapshot_of(active, name, snapshot))
			continue;
		(void)json_object_set_new(to, "snapshot-of", image_text(active));
		(void)json_object_set_new(to, "snapshot", image_text(snapshot));
		return;
	}
}

static bool is_in_use(int folder, const char *name)
{
	int CLEANUP(files_close) fd =
		openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);

	return fd >= 0 && image_lock_is_held(fd);
}

static json_t *describe(const struct listing *list, const struct family_image *image,
			unsigned level)
{
	static const char *const formats[] = {
		[FAMILY_OTHER] = "unknown",
		[FAMILY_RAW] = "raw",
		[FAMILY_QCOW2] = "qcow2",
		[FAMILY_REFUSED] = "refused",
	};
	json_t *out = json_pack("{s:o, s:s, s:I, s:I, s:i, s:i, s:b, s:b}", "filename",
				image_text(image->name), "format", formats[image->kind],
				"virtual-size", (json_int_t)image->size_bytes, "actual-size",
				(json_int_t)image->used_bytes, "children", (int)image->children,
				"level", (int)level, "active", image->children == 0, "in-use",
				is_in_use(list->folder, image->name));

	if (image->backing_name[0] != '\0')
		(void)json_object_set_new(out, "backing-filename", image_text(image->backing_name));
	/* What is about to be removed may name itself: that says less. */
	if (family_merge_is_marked(list->folder, image->name))
		(void)json_object_set_new(out, "problem",
					  image_text("no snapshot any more: " FAMILY_MERGE_REMEDY));
	else if (image->why[0] != '\0')
		(void)json_object_set_new(out, "problem", image_text(image->why));
	describe_snapshot(out, image->name);
	return out;
}

static void describe_all(const struct listing *list)
{
	const struct family_image *image = next_root(list, NULL);
	unsigned level = 0;

	while (image != NULL) {
		(void)json_array_append_new(list->to, describe(list, image, level));
		image = next_image(list, image, &level);
	}
}

/* Of a file: all of its family, from what has no parent. */
static int find_top(struct image_order *order, struct listing *list, const char *name)
{
	const struct family_image *image = name[0] != '\0' ? family_find(list->family, name) : NULL;

	if (name[0] != '\0' && image == NULL)
		return image_refuse(order, -ENOENT, NULL, "there is no %s", order->operands[0]);
	while (image != NULL && !is_root(image))
		image = image->parent;
	list->top = image;
	return 0;
}

static int read_and_describe(struct image_order *order, const struct family_place *place)
{
	struct listing list = {.folder = place->folder};
	char why[IMAGE_WHY_BYTES] = "";
	struct family *family = NULL;
	int res = family_read(place->folder, NULL, &family, why, sizeof(why));

	if (res != 0)
		return image_refuse(order, res, NULL, "%s: %s", order->operands[0], why);
	list.family = family;
	res = find_top(order, &list, place->name);
	if (res == 0) {
		list.to = order->result = json_array();
		describe_all(&list);
	}
	family_free(family);
	return res;
}

int image_run_list(struct image_order *order)
{
	struct family_place place;
	char why[IMAGE_WHY_BYTES] = "";
	int res = family_place_open(order->operands[0], &place, why, sizeof(why));

	if (res != 0)
		return image_refuse(order, res, NULL, "%s", why);
	res = read_and_describe(order, &place);
	family_place_close(&place);
	return res;
}
