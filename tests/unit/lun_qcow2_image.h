/*
 * An image in memory, made by create.c, that tests fill by hand: 4 KiB clusters, header at 0,
 * refcount table at 0x1000, its block at 0x2000, the L1 table at 0x3000, then what is added.
 */
#ifndef TESTS_UNIT_LUN_QCOW2_IMAGE_H
#define TESTS_UNIT_LUN_QCOW2_IMAGE_H

#include <criterion/criterion.h>
#include <stdlib.h>

#include "lun/qcow2/create.h"
#include "tests/unit/lun_qcow2_testing.h"

#define CLUSTER 4096u
#define CLUSTERS_MAX 64u
#define COPIED QCOW2_COPIED

/* An image of 4 KiB clusters: header, refcount table, block, L1; then what a test adds. */
struct image {
	struct memory_file memory;
	struct qcow2_layout layout;
	uint8_t *bytes;
	uint32_t clusters;
};

static inline struct image image_make(uint64_t size_bytes)
{
	struct qcow2_create create = {.size_bytes = size_bytes, .cluster_bits = 12};
	struct image image = {.bytes = calloc(CLUSTERS_MAX, CLUSTER)};
	char why[WHY_BYTES];

	cr_assert_eq(qcow2_layout_make(&create, &image.layout, why, sizeof(why)), 0, "%s", why);
	for (uint32_t i = 0; i < image.layout.pieces; i++)
		qcow2_layout_piece(&image.layout, i, image.bytes + i * CLUSTER);
	image.clusters = (uint32_t)(image.layout.file_bytes / CLUSTER);
	return image;
}

static inline void set_refcount(struct image *image, uint32_t cluster, uint64_t refcount)
{
	qcow2_refcount_set(image->bytes + 2 * CLUSTER, cluster, 4, refcount);
}

static inline uint32_t add_cluster(struct image *image)
{
	set_refcount(image, image->clusters, 1);
	return image->clusters++;
}

static inline uint8_t *l1_entry(struct image *image, uint32_t index)
{
	return image->bytes + image->layout.header.l1_offset + index * 8;
}

/* An L2 table and `count` clusters of data from guest cluster 0 on. Returns the table's cluster. */
static inline uint32_t add_data(struct image *image, uint32_t count)
{
	uint32_t l2 = add_cluster(image);

	put_be64(l1_entry(image, 0), (uint64_t)l2 * CLUSTER | COPIED);
	for (uint32_t i = 0; i < count; i++)
		put_be64(image->bytes + l2 * CLUSTER + i * 8,
			 (uint64_t)add_cluster(image) * CLUSTER | COPIED);
	return l2;
}

#endif
