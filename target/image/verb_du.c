/*
 * `ringsan image du`: what the files of a chain occupy: its own, and what it shares with all that
 * stand on the same files. Without a lock, so for images in use as well.
 */
#include "target/image/closed.h"

static json_t *describe(const struct closed_chain *chain)
{
	json_t *files = json_array();
	uint64_t shared = 0;

	for (unsigned i = 0; i < chain->count; i++) {
		uint64_t bytes = closed_allocated_bytes(&chain->layers[i].file);

		shared += i > 0 ? bytes : 0;
		(void)json_array_append_new(
			files, json_pack("{s:o, s:I, s:I}", "filename",
					 image_text(chain->layers[i].file.path), "virtual-size",
					 (json_int_t)closed_layer_size(&chain->layers[i]),
					 "actual-size", (json_int_t)bytes));
	}
	return json_pack("{s:o, s:I, s:I, s:I, s:o}", "filename",
			 image_text(chain->layers[0].file.path), "virtual-size",
			 (json_int_t)closed_layer_size(&chain->layers[0]), "own-size",
			 (json_int_t)closed_allocated_bytes(&chain->layers[0].file), "shared-size",
			 (json_int_t)shared, "files", files);
}

int image_run_du(struct image_order *order)
{
	struct closed_chain *chain;
	int res;

	order->result = json_array();
	for (unsigned i = 0; i < order->operand_count; i++) {
		res = closed_chain_open(order, order->operands[i], order->values[IMAGE_FORMAT],
					CLOSED_LOOK, &chain);
		if (res != 0)
			return res;
		(void)json_array_append_new(order->result, describe(chain));
		closed_chain_close(chain);
	}
	return 0;
}
