/*
 * The table of image types. Any thread.
 *
 * Read next: image_raw.c.
 */
#include "lun/image.h"

#include <string.h>

static const struct image_ops *const types[] = {
	&image_raw_ops,
	&image_qcow2_ops,
	&image_null_ops,
	&image_fault_ops,
};

const struct image_ops *image_ops_find(const char *type)
{
	for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
		if (type && !strcmp(types[i]->type, type))
			return types[i];
	}
	return NULL;
}
