/*
 * The set of clusters that hold metadata: header, L1 table, refcount table, refcount blocks, L2
 * tables. Each write of data asks it first (invariant 7). A table with open addressing, as large as
 * the image's tables can ever become, so that it never has to grow.
 *
 * The image's loop; filled while it is opened. Read next: mapping.c.
 */
#include "lun/qcow2/metadata.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* A place whose cluster is metadata no more. */
#define PLACE_LEFT UINT64_MAX

int metadata_init(struct metadata *set, uint64_t clusters_max)
{
	uint64_t places = 64;

	while (places < 2 * clusters_max)
		places *= 2;
	if (places > UINT32_MAX / 2)
		return -ENOMEM;
	*set = (struct metadata){.mask = (uint32_t)(places - 1)};
	set->places = calloc(places, sizeof(*set->places));
	return set->places ? 0 : -ENOMEM;
}

void metadata_clear(struct metadata *set)
{
	free(set->places);
	*set = (struct metadata){0};
}

/* Where it is, or the free place where it would be. Clusters are numbered from 1 here: 0 is free.
 */
static uint32_t place_of(const struct metadata *set, uint64_t key)
{
	uint32_t at = (uint32_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 32) & set->mask;

	while (set->places[at] != 0 && set->places[at] != key)
		at = (at + 1) & set->mask;
	return at;
}

bool metadata_has(const struct metadata *set, uint64_t cluster)
{
	return set->places[place_of(set, cluster + 1)] != 0;
}

bool metadata_add(struct metadata *set, uint64_t cluster)
{
	uint32_t at = place_of(set, cluster + 1);

	if (set->places[at] != 0)
		return false;
	/* Half of it is always free: who adds has counted before. */
	assert(set->used <= set->mask / 2);
	set->places[at] = cluster + 1;
	set->used++;
	return true;
}

void metadata_remove(struct metadata *set, uint64_t cluster)
{
	uint32_t at = place_of(set, cluster + 1);

	/* The place stays taken, so that what lies behind it is found. */
	if (set->places[at] != 0)
		set->places[at] = PLACE_LEFT;
}
