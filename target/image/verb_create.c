/*
 * `ringsan image create`: a new image, raw or qcow2, thin or with its clusters allocated.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lun/family_change.h"
#include "lun/new_file.h"
#include "lun/qcow2/build.h"
#include "target/image/new_options.h"

#define SECTOR_BYTES 512u

enum preallocation {
	PREALLOCATION_OFF,
	PREALLOCATION_METADATA,
	PREALLOCATION_FALLOC,
	PREALLOCATIONS
};

static const char *const preallocation_names[PREALLOCATIONS] = {
	[PREALLOCATION_OFF] = "off",
	[PREALLOCATION_METADATA] = "metadata",
	[PREALLOCATION_FALLOC] = "falloc",
};

struct creation {
	struct image_order *order;
	const char *path;
	enum closed_format format;
	enum preallocation preallocation;
	struct qcow2_create spec;
	struct closed_chain *backing;
	struct new_file file;
	struct qcow2_descriptor disk;
};

static int fail_errno(struct creation *c, int res)
{
	return image_refuse_errno(c->order, res, "cannot be written", c->path);
}

/* -- What is wanted -- */

static int take_format(struct creation *c)
{
	int res = new_options_format(c->order, IMAGE_FORMAT, c->path, &c->format);

	if (res == 0)
		res = new_options_for_raw(c->order, c->format);
	return res == 0 ? new_options_clusters(c->order, &c->spec) : res;
}

static int take_preallocation(struct creation *c)
{
	unsigned which = PREALLOCATION_OFF;
	int res = 0;

	if (image_has(c->order, IMAGE_PREALLOCATION))
		res = image_take_word(c->order, IMAGE_PREALLOCATION, preallocation_names,
				      PREALLOCATIONS, &which);
	c->preallocation = (enum preallocation)which;
	if (res == 0 && which == PREALLOCATION_METADATA && c->format == CLOSED_RAW)
		res = image_refuse(c->order, -EINVAL, "take falloc",
				   "a raw image has no metadata to preallocate");
	if (res == 0 && which != PREALLOCATION_OFF && image_has(c->order, IMAGE_BACKING))
		res = image_refuse(c->order, -EINVAL, "leave one of them away",
				   "what is preallocated would hide the backing file");
	return res;
}

/* Beside the image, as only there a daemon looks for it. */
static int open_backing(struct creation *c, const char *name, struct closed_chain **out)
{
	const char *wrong = qcow2_backing_name_wrong(name);
	char path[FILES_PATH_MAX];

	if (wrong != NULL)
		return image_refuse(c->order, -EINVAL,
				    "name a file in the folder of the image, without the folder",
				    "--backing: '%s': %s", name, wrong);
	if (closed_path_beside(c->path, name, path) != 0)
		return image_refuse(c->order, -EINVAL, "go into its folder first",
				    "the path is too long");
	if (closed_require_whole(c->order, path) != 0)
		return -EBUSY;
	return closed_chain_open(c->order, path, c->order->values[IMAGE_BACKING_FORMAT],
				 CLOSED_READ, out);
}

static int take_backing(struct creation *c)
{
	struct closed_chain *chain;
	int res;

	if (!image_has(c->order, IMAGE_BACKING))
		return 0;
	res = open_backing(c, c->order->values[IMAGE_BACKING], &chain);
	if (res != 0)
		return res;
	/* Read until the new image is there, which nobody may write meanwhile, and marked. */
	c->backing = chain;
	res = family_mark_base(chain->layers[0].file.fd);
	if (res != 0 && res != -ENOTSUP)
		return image_refuse_errno(c->order, res, "cannot be marked as a base",
					  chain->layers[0].file.path);
	c->spec.backing_name = c->order->values[IMAGE_BACKING];
	c->spec.backing_format = closed_format_names[chain->layers[0].file.format];
	if (c->spec.size_bytes == 0)
		c->spec.size_bytes = closed_layer_size(&chain->layers[0]);
	return 0;
}

static int take_size(struct creation *c)
{
	int res = 0;

	if (image_has(c->order, IMAGE_SIZE))
		res = image_take_size(c->order, IMAGE_SIZE, &c->spec.size_bytes);
	else if (!image_has(c->order, IMAGE_BACKING))
		res = image_refuse(c->order, -EINVAL, "say --size", "how large is it to be?");
	if (res == 0 && image_has(c->order, IMAGE_SIZE) &&
	    (c->spec.size_bytes == 0 || c->spec.size_bytes % SECTOR_BYTES != 0 ||
	     c->spec.size_bytes > QCOW2_SIZE_MAX))
		res = image_refuse(c->order, -EINVAL, "choose another size",
				   "--size: '%s' is 0, no multiple of 512, or above 64 TiB",
				   c->order->values[IMAGE_SIZE]);
	return res;
}

/* -- Writing it -- */

static int write_thin(struct creation *c)
{
	struct qcow2_layout layout;
	char why[IMAGE_WHY_BYTES];
	int res = qcow2_layout_make(&c->spec, &layout, why, sizeof(why));

	if (res != 0)
		return image_refuse(c->order, res, NULL, "%s", why);
	res = qcow2_layout_write(&layout, &c->disk.writable);
	return res == 0 ? 0 : fail_errno(c, res);
}

/* Every cluster has its place, in order. */
static int map_clusters(struct creation *c, struct qcow2_build *build)
{
	uint32_t bits = c->spec.cluster_bits;
	int res = 0;

	for (uint64_t i = 0; res == 0 && i << bits < c->spec.size_bytes; i++) {
		res = qcow2_build_map(build, i, qcow2_build_take(build, 1), UINT32_MAX);
		if (res == 0)
			res = qcow2_build_pass(build, i << bits);
	}
	return res;
}

static int write_preallocated(struct creation *c)
{
	struct qcow2_build *build;
	char why[IMAGE_WHY_BYTES];
	uint64_t file_bytes = 0;
	int res = qcow2_build_begin(&c->spec, &c->disk.writable, &build, why, sizeof(why));

	if (res != 0)
		return image_refuse(c->order, res, NULL, "%s", why);
	res = map_clusters(c, build);
	if (res == 0)
		res = qcow2_build_end(build, &file_bytes);
	qcow2_build_free(build);
	if (res == 0 && c->preallocation == PREALLOCATION_FALLOC &&
	    fallocate(c->file.fd, 0, 0, (off_t)file_bytes) != 0)
		res = -errno;
	return res == 0 ? 0 : fail_errno(c, res);
}

static int write_raw(struct creation *c)
{
	int res = ftruncate(c->file.fd, (off_t)c->spec.size_bytes) == 0 ? 0 : -errno;

	if (res == 0 && c->preallocation == PREALLOCATION_FALLOC &&
	    fallocate(c->file.fd, 0, 0, (off_t)c->spec.size_bytes) != 0)
		res = -errno;
	return res == 0 ? 0 : fail_errno(c, res);
}

static int write_image(struct creation *c)
{
	if (c->format == CLOSED_RAW)
		return write_raw(c);
	return c->preallocation == PREALLOCATION_OFF ? write_thin(c) : write_preallocated(c);
}

static int make(struct creation *c)
{
	int res = new_file_begin(c->path, &c->file);

	if (res == 0)
		res = qcow2_descriptor_make(c->file.fd, &c->disk);
	if (res != 0)
		return image_refuse_errno(c->order, res, "cannot be made", c->path);
	res = write_image(c);
	if (res != 0) {
		new_file_drop(&c->file);
		return res;
	}
	res = new_file_commit(&c->file, c->path);
	return res == 0 ? 0 : fail_errno(c, res);
}

static json_t *describe(const struct creation *c)
{
	json_t *result = json_pack("{s:o, s:s, s:I}", "filename", image_text(c->path), "format",
				   closed_format_names[c->format], "virtual-size",
				   (json_int_t)c->spec.size_bytes);

	if (result != NULL && c->format == CLOSED_QCOW2)
		(void)json_object_set_new(result, "cluster-size",
					  json_integer((json_int_t)(1u << c->spec.cluster_bits)));
	if (result != NULL && c->spec.backing_name != NULL)
		(void)json_object_set_new(result, "backing-filename",
					  image_text(c->spec.backing_name));
	return result;
}

int image_run_create(struct image_order *order)
{
	static int (*const steps[])(struct creation *) = {
		take_format, take_preallocation, take_size, take_backing, make,
	};
	struct creation *c = calloc(1, sizeof(*c));
	int res = c != NULL ? 0 : image_refuse(order, -ENOMEM, NULL, "memory is short");

	if (c == NULL)
		return res;
	c->order = order;
	c->path = order->operands[0];
	for (size_t i = 0; res == 0 && i < ARRAY_SIZE(steps); i++)
		res = steps[i](c);
	if (res == 0)
		order->result = describe(c);
	closed_chain_close(c->backing);
	free(c);
	return res;
}
