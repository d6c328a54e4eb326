/*
 * `ringsan image resize`: a closed image's disk becomes larger.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/units.h"
#include "lun/qcow2/grow.h"
#include "target/image/closed.h"
#include "target/image/forward.h"

#define SECTOR_BYTES 512u

/* "20G", or "+5G": more than there is. */
static int take_size(struct image_order *order, uint64_t before, uint64_t *out)
{
	const char *text = order->operands[1];
	bool more = text[0] == '+';

	if (units_parse_size(text + more, out) != 0 ||
	    __builtin_add_overflow(*out, more ? before : 0, out))
		return image_refuse(order, -EINVAL,
				    "give bytes, or a number with K, M, G or T; + adds",
				    "'%s' is no size", text);
	if (*out % SECTOR_BYTES != 0 || *out > QCOW2_SIZE_MAX)
		return image_refuse(order, -EINVAL, "choose another size",
				    "'%s' is no multiple of 512, or above 64 TiB", text);
	if (*out < before)
		return image_refuse(order, -ENOTSUP,
				    "create a smaller one, and copy what the disk holds",
				    "it has %llu bytes, and does not become smaller",
				    (unsigned long long)before);
	return 0;
}

static int grow_qcow2(struct image_order *order, struct closed_chain *chain, uint64_t size)
{
	struct qcow2_grow grow = {
		.writable = &chain->layers[0].file.disk.writable,
		.size_bytes = size,
		.backing_bytes = chain->count > 1 ? closed_layer_size(&chain->layers[1]) : 0,
	};
	char why[IMAGE_WHY_BYTES] = "";
	int res = qcow2_grow(&grow, why, sizeof(why));

	return res == 0 ? 0 : image_refuse(order, res, NULL, "%s: %s", order->operands[0], why);
}

static int grow_raw(struct image_order *order, const struct closed_file *file, uint64_t size)
{
	struct stat now;

	if (!S_ISREG(file->st.st_mode))
		return image_refuse(order, -ENOTSUP, "enlarge the device itself",
				    "%s is no regular file", file->path);
	/* It was looked at before it was locked. */
	if (fstat(file->fd, &now) != 0)
		return image_refuse_errno(order, -errno, "cannot be looked at", file->path);
	if ((uint64_t)now.st_size > size)
		return image_refuse(order, -EAGAIN, "try again", "%s is longer by now", file->path);
	if (ftruncate(file->fd, (off_t)size) != 0 || fsync(file->fd) != 0)
		return image_refuse_errno(order, -errno, "cannot be made larger", file->path);
	return 0;
}

static int resize(struct image_order *order, struct closed_chain *chain)
{
	uint64_t before = closed_layer_size(&chain->layers[0]);
	uint64_t size;
	int res = take_size(order, before, &size);

	if (res != 0)
		return res;
	res = chain->layers[0].file.format == CLOSED_RAW
		      ? grow_raw(order, &chain->layers[0].file, size)
		      : grow_qcow2(order, chain, size);
	if (res == 0)
		order->result =
			json_pack("{s:o, s:I, s:I}", "filename", image_text(order->operands[0]),
				  "virtual-size", (json_int_t)size, "before", (json_int_t)before);
	return res;
}

/* The daemon knows the format; where a size is added to another, somebody has to know that. */
static int ask(struct image_order *order)
{
	const char *path = order->operands[0];
	struct closed_chain *chain;
	uint64_t size;
	int res = closed_chain_open_alone(order, path, order->values[IMAGE_FORMAT], CLOSED_LOOK,
					  &chain);

	if (res != 0)
		return res;
	res = take_size(order, closed_layer_size(&chain->layers[0]), &size);
	closed_chain_close(chain);
	if (res != 0)
		return res;
	return forward_ask(
		order, "image-resize",
		json_pack("{s:o, s:I}", "image", forward_path(path), "size", (json_int_t)size),
		path);
}

int image_run_resize(struct image_order *order)
{
	struct closed_chain *chain;
	int res;

	if (forward_is_wanted(order->operands[0]))
		return ask(order);
	res = closed_chain_open(order, order->operands[0], order->values[IMAGE_FORMAT],
				CLOSED_WRITE, &chain);
	if (res == 0)
		res = resize(order, chain);
	if (chain != NULL)
		closed_chain_close(chain);
	return res;
}
