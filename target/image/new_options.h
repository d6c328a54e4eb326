/*
 * Options of verbs that make images: format, clusters. Main thread. Read next: new_options.c.
 */
#ifndef TARGET_IMAGE_NEW_OPTIONS_H
#define TARGET_IMAGE_NEW_OPTIONS_H

#include "lun/qcow2/create.h"
#include "target/image/closed.h"

/* From an option, or else from the name of what is to be made. All answer as image_refuse. */
int MUST_CHECK new_options_format(struct image_order *order, enum image_option option,
				  const char *path, enum closed_format *out);
/* cluster_bits and extended, where the options say so or not. */
int MUST_CHECK new_options_clusters(struct image_order *order, struct qcow2_create *out);
/* A raw image has none of these. */
int MUST_CHECK new_options_for_raw(struct image_order *order, enum closed_format format);

#endif
