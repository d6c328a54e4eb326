/*
 * What a new image is to be. See new_options.h.
 */
#include "target/image/new_options.h"

#include <errno.h>

int new_options_format(struct image_order *order, enum image_option option, const char *path,
		       enum closed_format *out)
{
	int res = closed_format_told(order, option, out);

	if (res == 0 && *out == CLOSED_FORMATS)
		*out = closed_format_of(path);
	if (res == 0 && *out == CLOSED_FORMATS)
		res = image_refuse(order, -EINVAL, "name it .qcow2 or .raw, or say which",
				   "%s: is it to be raw or qcow2?", path);
	return res;
}

static int take_cluster_size(struct image_order *order, uint64_t *bytes)
{
	int res = image_take_size(order, IMAGE_CLUSTER_SIZE, bytes);

	if (res == 0 && (*bytes == 0 || (*bytes & (*bytes - 1)) != 0))
		res = image_refuse(order, -EINVAL, "take 64K, 128K or another up to 2M",
				   "--cluster-size: '%s' is no power of two",
				   order->values[IMAGE_CLUSTER_SIZE]);
	return res;
}

int new_options_clusters(struct image_order *order, struct qcow2_create *out)
{
	static const char *const words[] = {"off", "on"};
	uint64_t bytes = UINT64_C(1) << QCOW2_CREATE_CLUSTER_BITS;
	unsigned extended;
	int res = 0;

	if (image_has(order, IMAGE_CLUSTER_SIZE))
		res = take_cluster_size(order, &bytes);
	if (res != 0)
		return res;
	out->cluster_bits = (uint32_t)__builtin_ctzll(bytes);
	extended = out->cluster_bits >= QCOW2_CREATE_CLUSTER_BITS;
	if (image_has(order, IMAGE_EXTENDED_L2))
		res = image_take_word(order, IMAGE_EXTENDED_L2, words, ARRAY_SIZE(words),
				      &extended);
	out->extended = extended == 1;
	return res;
}

static const enum image_option not_raw[] = {IMAGE_CLUSTER_SIZE, IMAGE_EXTENDED_L2, IMAGE_BACKING,
					    IMAGE_BACKING_FORMAT};

int new_options_for_raw(struct image_order *order, enum closed_format format)
{
	for (size_t i = 0; format == CLOSED_RAW && i < ARRAY_SIZE(not_raw); i++) {
		if (image_has(order, not_raw[i]))
			return image_refuse(order, -EINVAL, "make it qcow2, or leave that away",
					    "a raw image has no --%s",
					    image_options[not_raw[i]].name);
	}
	return 0;
}
