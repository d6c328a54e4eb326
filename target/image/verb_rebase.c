/*
 * `ringsan image rebase`: another backing file below a closed image. What the disk shows stays;
 * with
 * --unsafe nothing but the header changes, and where it has nothing of its own it shows what the
 * new one has.
 */
#include <errno.h>
#include <string.h>

#include "lun/family_change.h"
#include "lun/qcow2/rebase.h"
#include "target/image/forward.h"
#include "target/image/rebase_data.h"

/* With --unsafe the file need not be there: often it comes later, or was named wrongly before. */
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
static void mark_base(int above, const char *name)
{
	int CLEANUP(files_close) fd = name != NULL ? files_open_beside(above, name) : -ENOENT;

	if (fd >= 0)
		(void)!family_mark_base(fd);
}

/* -- The data -- */

/* On itself, or on what stands on it. */
static int check_below(struct image_order *order, const struct closed_chain *below)
{
	const char *path = order->operands[0];
	struct stat st;

	if (stat(path, &st) != 0)
		return image_refuse_errno(order, -errno, "cannot be found", path);
	for (unsigned i = 0; i < below->count; i++) {
		if (below->layers[i].file.st.st_ino == st.st_ino &&
		    below->layers[i].file.st.st_dev == st.st_dev)
			return image_refuse(order, -ELOOP, "choose another backing file",
					    "%s would be its own backing file", path);
	}
	if (below->count == CLOSED_LAYERS_MAX)
		return image_refuse(order, -ELOOP, "'ringsan image stream' makes it shorter",
				    "the chain of backing files would be longer than %u",
				    CLOSED_LAYERS_MAX);
	return 0;
}

/* What is to be below, read by us until the header names it. NULL: nothing. */
static int open_below(struct image_order *order, const struct qcow2_rebase *rebase,
		      struct closed_chain **out)
{
	char path[FILES_PATH_MAX];
	int res;

	*out = NULL;
	if (rebase->backing_name == NULL)
		return 0;
	if (closed_path_beside(order->operands[0], rebase->backing_name, path) != 0)
		return image_refuse(order, -EINVAL, "go into its folder first",
				    "the path is too long");
	res = closed_require_whole(order, path);
	if (res == 0)
		res = closed_chain_open(order, path, rebase->backing_format, CLOSED_READ, out);
	return res == 0 ? check_below(order, *out) : res;
}

/* -- The header -- */

/* Nobody had the file open in between, or it is as it was. */
static int check_seen(struct image_order *order, const struct closed_layer *layer,
		      const struct rebase_seen *seen)
{
	if (closed_layer_size(layer) == seen->size_bytes &&
	    strcmp(layer->plain.header.backing_name, seen->backing_name) == 0)
		return 0;
	return image_refuse(order, -EAGAIN, "run it again", "%s was changed meanwhile",
			    layer->file.path);
}

static int change_header(struct image_order *order, struct closed_layer *layer,
			 struct qcow2_rebase *rebase, const struct rebase_seen *seen)
{
	char why[IMAGE_WHY_BYTES] = "";
	int res = 0;

	if (layer->file.format != CLOSED_QCOW2)
		return image_refuse(order, -ENOTSUP, "name the overlay",
				    "%s is raw, and has no backing file", layer->file.path);
	if (seen != NULL)
		res = check_seen(order, layer, seen);
	if (res != 0)
		return res;
	mark_base(layer->file.fd, rebase->backing_name);
	rebase->writable = &layer->file.disk.writable;
	res = qcow2_rebase(rebase, why, sizeof(why));
	if (res != 0)
		return image_refuse(order, res, NULL, "%s: %s", layer->file.path, why);
	order->result = json_pack(
		"{s:o, s:o, s:I}", "filename", image_text(layer->file.path), "backing-filename",
		rebase->backing_name != NULL ? image_text(rebase->backing_name) : json_null(),
		"moved_bytes", seen != NULL ? (json_int_t)seen->moved_bytes : 0);
	return 0;
}

static int open_and_change(struct image_order *order, struct qcow2_rebase *rebase,
			   const struct rebase_seen *seen)
{
	struct closed_chain *chain;
	int res = closed_chain_open_alone(order, order->operands[0], order->values[IMAGE_FORMAT],
					  CLOSED_WRITE, &chain);

	if (res != 0)
		return res;
	res = change_header(order, &chain->layers[0], rebase, seen);
	closed_chain_close(chain);
	return res;
}

/* -- The verb -- */

static int run_safe(struct image_order *order, struct qcow2_rebase *rebase)
{
	const char *path = order->operands[0];
	struct rebase_seen seen = {0};
	struct closed_chain *below = NULL;
	int res = closed_require_qcow2(order, path);

	if (res == 0 && forward_is_wanted(path))
		res = image_refuse(order, -EBUSY,
				   "take it out of its server's configuration first, or let "
				   "'ringsan image stream' copy beside hosts what it needs",
				   "%s is in use", path);
	if (res == 0)
		res = open_below(order, rebase, &below);
	if (res == 0)
		res = rebase_data(order, path, below, &seen);
	if (res == 0)
		res = open_and_change(order, rebase, &seen);
	closed_chain_close(below);
	return res;
}

int image_run_rebase(struct image_order *order)
{
	struct qcow2_rebase rebase = {0};
	int res;

	if (!image_has(order, IMAGE_BACKING))
		return image_refuse(order, -EINVAL, "say --backing NAME; '' is none",
				    "on what is it to stand?");
	res = take_backing(order, &rebase);
	if (res != 0)
		return res;
	return image_has(order, IMAGE_UNSAFE) ? open_and_change(order, &rebase, NULL)
					      : run_safe(order, &rebase);
}
