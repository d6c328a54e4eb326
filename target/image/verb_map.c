/*
 * `ringsan image map`: the extents of a disk, as `qemu-img map --output=json` has them.
 */
#include <errno.h>
#include <stdlib.h>

#include "target/image/extent.h"

struct mapping {
	struct extent_walk walk;
	struct extent pending, found;
};

static json_t *describe(const struct closed_chain *chain, const struct extent *e)
{
	json_t *out = json_pack("{s:I, s:I, s:i, s:b, s:b, s:b, s:b}", "start",
				(json_int_t)e->start, "length", (json_int_t)e->length, "depth",
				(int)e->depth, "present", e->present, "zero", e->zero, "data",
				e->data, "compressed", e->compressed);

	if (out != NULL && e->has_offset) {
		(void)json_object_set_new(out, "offset", json_integer((json_int_t)e->offset));
		(void)json_object_set_new(out, "filename",
					  image_text(chain->layers[e->depth].file.path));
	}
	return out;
}

static int list_extents(struct image_order *order, struct mapping *m,
			const struct closed_chain *chain)
{
	int res;

	extent_walk_begin(&m->walk, chain, 0, closed_layer_size(&chain->layers[0]));
	while ((res = extent_next_merged(&m->walk, &m->pending, &m->found)) == 1)
		(void)json_array_append_new(order->result, describe(chain, &m->found));
	return res == 0 ? 0
			: image_refuse(order, res, "'ringsan image check' says more",
				       "%s: the mapping at %llu cannot be read",
				       chain->layers[0].file.path, (unsigned long long)m->walk.at);
}

int image_run_map(struct image_order *order)
{
	struct closed_chain *chain;
	struct mapping *m;
	int res = closed_chain_open(order, order->operands[0], order->values[IMAGE_FORMAT],
				    CLOSED_READ, &chain);

	if (res != 0)
		return res;
	m = calloc(1, sizeof(*m));
	order->result = json_array();
	res = m != NULL ? list_extents(order, m, chain)
			: image_refuse(order, -ENOMEM, NULL, "memory is short");
	free(m);
	closed_chain_close(chain);
	return res;
}
