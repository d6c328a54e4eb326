/*
 * `ringsan image convert`: a copy of what a disk shows, in one file, raw or qcow2.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "lun/new_file.h"
#include "target/image/copy.h"
#include "target/image/new_options.h"

struct conversion {
	struct image_order *order;
	const char *path; /* Of the copy. */
	enum closed_format format;
	struct qcow2_create spec;
	struct closed_chain *source;
	struct new_file file;
	struct qcow2_descriptor disk;
};

static int fail_errno(struct conversion *c, int res)
{
	return image_refuse_errno(c->order, res, "cannot be written", c->path);
}

static int take_options(struct conversion *c)
{
	int res = new_options_format(c->order, IMAGE_OUTPUT_FORMAT, c->path, &c->format);

	if (res == 0)
		res = new_options_for_raw(c->order, c->format);
	return res == 0 ? new_options_clusters(c->order, &c->spec) : res;
}

static int open_source(struct conversion *c)
{
	int res = closed_require_whole(c->order, c->order->operands[0]);

	if (res == 0)
		res = closed_chain_open(c->order, c->order->operands[0],
					c->order->values[IMAGE_FORMAT], CLOSED_READ, &c->source);
	if (res == 0)
		c->spec.size_bytes = closed_layer_size(&c->source->layers[0]);
	return res;
}

static int copy(struct conversion *c, struct qcow2_build *build)
{
	return copy_run(&(struct copy_spec){
		.order = c->order,
		.source = c->source,
		.size_bytes = c->spec.size_bytes,
		.to = &c->disk,
		.build = build,
	});
}

static int copy_raw(struct conversion *c)
{
	off_t size = (off_t)c->spec.size_bytes;
	int res = ftruncate(c->file.fd, size) == 0 ? copy(c, NULL) : fail_errno(c, -errno);

	/* The last block may have gone beyond. */
	if (res == 0 && ftruncate(c->file.fd, size) != 0)
		res = fail_errno(c, -errno);
	return res;
}

static int copy_qcow2(struct conversion *c)
{
	struct qcow2_build *build;
	char why[IMAGE_WHY_BYTES];
	uint64_t file_bytes;
	int res = qcow2_build_begin(&c->spec, &c->disk.writable, &build, why, sizeof(why));

	if (res != 0)
		return image_refuse(c->order, res, NULL, "%s", why);
	res = copy(c, build);
	if (res == 0) {
		res = qcow2_build_end(build, &file_bytes);
		if (res != 0)
			(void)fail_errno(c, res);
	}
	qcow2_build_free(build);
	return res;
}

static int make(struct conversion *c)
{
	int res = new_file_begin(c->path, &c->file);

	if (res == 0)
		res = qcow2_descriptor_make(c->file.fd, &c->disk);
	if (res != 0)
		return image_refuse_errno(c->order, res, "cannot be made", c->path);
	res = c->format == CLOSED_RAW ? copy_raw(c) : copy_qcow2(c);
	if (res != 0) {
		new_file_drop(&c->file);
		return res;
	}
	res = new_file_commit(&c->file, c->path);
	return res == 0 ? 0 : fail_errno(c, res);
}

int image_run_convert(struct image_order *order)
{
	static int (*const steps[])(struct conversion *) = {take_options, open_source, make};
	struct conversion *c = calloc(1, sizeof(*c));
	int res = 0;

	if (c == NULL)
		return image_refuse(order, -ENOMEM, NULL, "memory is short");
	c->order = order;
	c->path = order->operands[1];
	for (size_t i = 0; res == 0 && i < ARRAY_SIZE(steps); i++)
		res = steps[i](c);
	if (res == 0)
		order->result = json_pack("{s:o, s:s, s:I}", "filename", image_text(c->path),
					  "format", closed_format_names[c->format], "virtual-size",
					  (json_int_t)c->spec.size_bytes);
	closed_chain_close(c->source);
	free(c);
	return res;
}
