/*
 * qcow2 images by configuration: made where there is none. Control thread; it blocks. Read next:
 * qcow2_new.c.
 */
#ifndef LUN_QCOW2_NEW_H
#define LUN_QCOW2_NEW_H

#include "lun/lun.h"

/* Clusters of so many bytes and more have extended L2 entries, where nobody says otherwise. */
#define QCOW2_NEW_EXTENDED_FROM (128u << 10)

/* Make the image that `spec` describes, thin and durable, at its path, where there is nothing.
 * Negative errno and a sentence in `why`. */
int MUST_CHECK qcow2_new(const struct lun_spec *spec, char *why, size_t why_bytes);

#endif
