/*
 * `ringsan image info`: what a header says, under qemu-img's names. It looks without a lock, so it
 * answers for images that are in use.
 */
#include <string.h>

#include "lun/family_change.h"
#include "lun/image_lock.h"
#include "target/image/closed.h"

static void set(json_t *to, const char *name, json_t *value)
{
	(void)json_object_set_new(to, name, value);
}

static json_t *specific_of(const struct qcow2_header *h)
{
	return json_pack("{s:s, s:{s:s, s:s, s:b, s:i, s:b, s:b}}", "type", "qcow2", "data",
			 "compat", h->version == 2 ? "0.10" : "1.1", "compression-type",
			 h->compression == QCOW2_ZSTD ? "zstd" : "zlib", "lazy-refcounts",
			 (h->compatible & QCOW2_COMPATIBLE_LAZY_REFCOUNTS) != 0, "refcount-bits",
			 1 << h->refcount_order, "corrupt",
			 (h->incompatible & QCOW2_INCOMPATIBLE_CORRUPT) != 0, "extended-l2",
			 (h->incompatible & QCOW2_INCOMPATIBLE_EXTENDED_L2) != 0);
}

static void describe_backing(json_t *to, const struct closed_layer *layer)
{
	const struct qcow2_header *h = &layer->plain.header;
	char full[FILES_PATH_MAX];

	if (h->backing_name[0] == '\0')
		return;
	set(to, "backing-filename", image_text(h->backing_name));
	if (h->backing_format[0] != '\0')
		set(to, "backing-filename-format", image_text(h->backing_format));
	if (qcow2_backing_name_wrong(h->backing_name) == NULL &&
	    closed_path_beside(layer->file.path, h->backing_name, full) == 0)
		set(to, "full-backing-filename", image_text(full));
}

/* What a canceled removal leaves of a snapshot. */
static void describe_problem(json_t *to, const struct closed_layer *layer)
{
	struct family_place place;
	char why[IMAGE_WHY_BYTES] = "";

	if (family_place_open(layer->file.path, &place, why, sizeof(why)) != 0)
		return;
	if (family_merge_is_marked(place.folder, place.name))
		set(to, "problem", image_text("no snapshot any more: " FAMILY_MERGE_REMEDY));
	family_place_close(&place);
}

static json_t *describe(const struct closed_layer *layer)
{
	const struct qcow2_header *h = &layer->plain.header;
	json_t *out = json_pack("{s:o, s:s, s:I, s:I}", "filename", image_text(layer->file.path),
				"format", closed_format_names[layer->file.format], "virtual-size",
				(json_int_t)closed_layer_size(layer), "actual-size",
				(json_int_t)closed_allocated_bytes(&layer->file));

	if (out == NULL)
		return out;
	/* Somebody may be writing to it: what it occupies is as of now. */
	set(out, "in-use", json_boolean(image_lock_is_held(layer->file.fd)));
	if (layer->file.format == CLOSED_RAW)
		return out;
	set(out, "cluster-size", json_integer((json_int_t)(1u << h->cluster_bits)));
	set(out, "dirty-flag", json_boolean((h->incompatible & QCOW2_INCOMPATIBLE_DIRTY) != 0));
	describe_backing(out, layer);
	describe_problem(out, layer);
	set(out, "format-specific", specific_of(h));
	if (h->snapshot_count > 0)
		set(out, "internal-snapshots", json_integer((json_int_t)h->snapshot_count));
	return out;
}

static json_t *describe_all(const struct closed_chain *chain)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < chain->count; i++)
		(void)json_array_append_new(list, describe(&chain->layers[i]));
	return list;
}

static int open_all(struct image_order *order, bool all, struct closed_chain **out)
{
	const char *path = order->operands[0];
	const char *told = order->values[IMAGE_FORMAT];

	return all ? closed_chain_open(order, path, told, CLOSED_LOOK, out)
		   : closed_chain_open_alone(order, path, told, CLOSED_LOOK, out);
}

int image_run_info(struct image_order *order)
{
	bool all = image_has(order, IMAGE_BACKING_CHAIN);
	struct closed_chain *chain;
	int res = open_all(order, all, &chain);

	if (res != 0)
		return res;
	order->result = all ? describe_all(chain) : describe(&chain->layers[0]);
	closed_chain_close(chain);
	return 0;
}
