/*
 * `ringsan image rebase --unsafe`: another backing file in a closed image's header, and nothing
 * else. What the disk shows where it has nothing of its own is what the new one has.
 */
#include <errno.h>
#include <string.h>

#include "lun/family_change.h"
#include "lun/qcow2/rebase.h"
#include "target/image/closed.h"

/* The file need not be there: often it comes later, or was named wrongly before. */
static int take_backing(struct image_order *order, struct qcow2_rebase *rebase)
{
	const char *name = order->values[IMAGE_BACKING];
	const char *wrong;
	enum closed_format format;
	int res = closed_format_told(order, IMAGE_BACKING_FORMAT, &format);

	if (res != 0 || name[0] == '\0')
		return res;
	wrong = qcow2_backing_name_wrong(name);
	if (wrong != NULL)
		return image_refuse(order, -EINVAL, "name a file beside the image, without a path",
				    "--backing: '%s': %s", name, wrong);
	if (format == CLOSED_FORMATS)
		format = closed_format_of(name);
	if (format == CLOSED_FORMATS)
		return image_refuse(order, -EINVAL, "say --backing-format", "is %s raw or qcow2?",
				    name);
	rebase->backing_name = name;
	rebase->backing_format = closed_format_names[format];
	return 0;
}

/* If it is there, and can be: whoever opens it for writing looks for children anyway. */
static void mark_base(const char *path, const char *name)
{
	char folder[FILES_PATH_MAX];
	int CLEANUP(files_close) fd =
		name != NULL ? files_parent(path, folder, sizeof(folder)) : -ENOENT;

	if (fd == 0)
		fd = files_open_beneath(folder, name);
	if (fd >= 0)
		(void)!family_mark_base(fd);
}

static int change_header(struct image_order *order, struct closed_layer *layer)
{
	struct qcow2_rebase rebase = {.writable = &layer->file.disk.writable};
	char why[IMAGE_WHY_BYTES] = "";
	int res = take_backing(order, &rebase);

	if (res == 0 && layer->file.format != CLOSED_QCOW2)
		res = image_refuse(order, -ENOTSUP, "name the overlay",
				   "%s is raw, and has no backing file", layer->file.path);
	if (res != 0)
		return res;
	mark_base(layer->file.path, rebase.backing_name);
	res = qcow2_rebase(&rebase, why, sizeof(why));
	if (res != 0)
		return image_refuse(order, res, NULL, "%s: %s", layer->file.path, why);
	order->result = json_pack(
		"{s:o, s:o}", "filename", image_text(layer->file.path), "backing-filename",
		rebase.backing_name != NULL ? image_text(rebase.backing_name) : json_null());
	return 0;
}

int image_run_rebase(struct image_order *order)
{
	struct closed_chain *chain;
	int res;

	if (!image_has(order, IMAGE_BACKING))
		return image_refuse(order, -EINVAL, "say --backing NAME; '' is none",
				    "on what is it to stand?");
	if (!image_has(order, IMAGE_UNSAFE))
		return image_refuse(order, -EINVAL,
				    "'ringsan image stream' copies what it needs; say --unsafe if "
				    "both are equal",
				    "only the name in the header changes");
	res = closed_chain_open_alone(order, order->operands[0], order->values[IMAGE_FORMAT],
				      CLOSED_WRITE, &chain);
	if (res != 0)
		return res;
	res = change_header(order, &chain->layers[0]);
	closed_chain_close(chain);
	return res;
}
