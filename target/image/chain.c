/*
 * A chain of closed images: each names the next by a plain name beside it, with its format. What a
 * stranger's header says leads nowhere else. See closed.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "target/image/closed.h"

#define SECTOR_BYTES 512u
#define NAME_BYTES 80u
#define RENAME_IT "'ringsan image rebase --unsafe' gives it a name beside it, with a format"

static const struct qcow2_header *header_of(const struct closed_layer *layer)
{
	return &layer->plain.header;
}

const struct qcow2_file *closed_layer_guest(const struct closed_layer *layer)
{
	return layer->file.format == CLOSED_RAW ? closed_reader(&layer->file) : &layer->plain.guest;
}

uint64_t closed_layer_size(const struct closed_layer *layer)
{
	uint64_t bytes = closed_layer_guest(layer)->size_bytes;

	return (bytes + SECTOR_BYTES - 1) / SECTOR_BYTES * SECTOR_BYTES;
}

static int read_header(struct image_order *order, struct closed_layer *layer)
{
	char why[IMAGE_WHY_BYTES] = "";
	int res;

	layer->last = true;
	if (layer->file.format == CLOSED_RAW)
		return 0;
	res = qcow2_plain_open(&layer->plain, closed_reader(&layer->file), NULL, why, sizeof(why));
	if (res != 0)
		return image_refuse(order, res,
				    "take a copy from a backup, or convert it with qemu-img",
				    "%s: %s", layer->file.path, why);
	layer->last = header_of(layer)->backing_name[0] == '\0';
	return 0;
}

/* Where the backing file's header name leads, or a refusal. */
static int find_below(struct image_order *order, const struct closed_layer *layer,
		      char path[FILES_PATH_MAX])
{
	const char *name = header_of(layer)->backing_name;
	const char *wrong = qcow2_backing_name_wrong(name);
	char shown[NAME_BYTES];
	int res = closed_path_beside(layer->file.path, name, path);

	(void)log_escape(shown, sizeof(shown), name, (uint32_t)strlen(name));
	if (wrong != NULL)
		return image_refuse(order, -EINVAL, RENAME_IT, "%s: its backing file %s: %s",
				    layer->file.path, shown, wrong);
	if (strcmp(header_of(layer)->backing_format, "raw") != 0 &&
	    strcmp(header_of(layer)->backing_format, "qcow2") != 0)
		return image_refuse(order, -EINVAL, RENAME_IT,
				    "%s does not say whether its backing file %s is raw or qcow2",
				    layer->file.path, shown);
	if (res != 0)
		return image_refuse(order, res, "go into its folder", "its path is too long");
	return 0;
}

static bool is_again(const struct closed_chain *chain, const struct stat *st)
{
	for (unsigned i = 0; i + 1 < chain->count; i++) {
		if (chain->layers[i].file.st.st_dev == st->st_dev &&
		    chain->layers[i].file.st.st_ino == st->st_ino)
			return true;
	}
	return false;
}

/* Links are not followed: it has to be a file in that folder. */
static int open_beside(struct image_order *order, const struct closed_layer *above,
		       enum closed_access access, struct closed_file *out)
{
	int fd = files_open_beside(above->file.fd, header_of(above)->backing_name);

	if (fd < 0)
		return image_refuse_errno(order, fd, "(a backing file) cannot be opened",
					  out->path);
	return closed_take(order, fd, header_of(above)->backing_format,
			   access == CLOSED_LOOK ? CLOSED_LOOK : CLOSED_READ, out);
}

static int add_layer(struct image_order *order, struct closed_chain *chain)
{
	struct closed_layer *layer = &chain->layers[chain->count++];

	if (is_again(chain, &layer->file.st))
		return image_refuse(order, -ELOOP, RENAME_IT, "%s is its own backing file",
				    layer->file.path);
	return read_header(order, layer);
}

static int open_below(struct image_order *order, struct closed_chain *chain,
		      enum closed_access access)
{
	const struct closed_layer *above = &chain->layers[chain->count - 1];
	struct closed_file *file;
	int res;

	if (chain->count == CLOSED_LAYERS_MAX)
		return image_refuse(order, -ELOOP, "'qemu-img convert' makes one file of it",
				    "%s: its chain of backing files is longer than %u",
				    chain->layers[0].file.path, CLOSED_LAYERS_MAX);
	file = &chain->layers[chain->count].file;
	res = find_below(order, above, file->path);
	if (res == 0)
		res = open_beside(order, above, access, file);
	return res == 0 ? add_layer(order, chain) : res;
}

/* Each reads what the next shows. */
static void connect_layers(struct closed_chain *chain)
{
	for (unsigned i = 0; i + 1 < chain->count; i++)
		chain->layers[i].plain.backing = closed_layer_guest(&chain->layers[i + 1]);
}

int closed_chain_open_alone(struct image_order *order, const char *path, const char *told,
			    enum closed_access access, struct closed_chain **out)
{
	struct closed_chain *chain = calloc(1, sizeof(*chain));
	int res;

	*out = NULL;
	if (chain == NULL)
		return image_refuse(order, -ENOMEM, NULL, "memory is short");
	res = closed_open(order, path, told, access, &chain->layers[0].file);
	if (res == 0) {
		chain->count = 1;
		res = read_header(order, &chain->layers[0]);
	}
	if (res == 0)
		*out = chain;
	else
		closed_chain_close(chain);
	return res;
}

int closed_chain_open(struct image_order *order, const char *path, const char *told,
		      enum closed_access access, struct closed_chain **out)
{
	struct closed_chain *chain;
	int res = closed_chain_open_alone(order, path, told, access, &chain);

	*out = NULL;
	if (res != 0)
		return res;
	while (res == 0 && !chain->layers[chain->count - 1].last)
		res = open_below(order, chain, access);
	connect_layers(chain);
	if (res == 0)
		*out = chain;
	else
		closed_chain_close(chain);
	return res;
}

void closed_chain_close(struct closed_chain *chain)
{
	for (unsigned i = 0; chain != NULL && i < chain->count; i++)
		closed_close(&chain->layers[i].file);
	free(chain);
}
