/*
 * The set of clusters that hold metadata: see metadata.c. The image's loop; filled while it is
 * opened.
 */
#ifndef LUN_QCOW2_METADATA_H
#define LUN_QCOW2_METADATA_H

#include "base/attr.h"

#include <stdbool.h>
#include <stdint.h>

struct metadata {
	uint64_t *places; /* Open addressing; 0 is free. */
	uint32_t mask, used;
};

int MUST_CHECK metadata_init(struct metadata *set, uint64_t clusters_max);
/* False: it is there already. */
bool MUST_CHECK metadata_add(struct metadata *set, uint64_t cluster);
void metadata_remove(struct metadata *set, uint64_t cluster);
bool metadata_has(const struct metadata *set, uint64_t cluster);
void metadata_clear(struct metadata *set);

#endif
