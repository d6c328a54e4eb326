/*
 * A new image that is filled while it is made, from front to back: header and L1 table, then
 * clusters and L2 tables as they come, at the end refcounts, and last the header. Until then the
 * file is no image. Thin ones without content are create.h's.
 *
 * Any thread, one at a time. It writes, synchronously, but syncs nothing; whether the file becomes
 * durable is its caller's matter. Read next: build.c.
 */
#ifndef LUN_QCOW2_BUILD_H
#define LUN_QCOW2_BUILD_H

#include "lun/qcow2/create.h"
#include "lun/qcow2/writable.h"

struct qcow2_build;

/* `to` is an empty file, written beyond its end. -ENOMEM, or as qcow2_layout_make. */
int MUST_CHECK qcow2_build_begin(const struct qcow2_create *create, struct qcow2_writable *to,
				 struct qcow2_build **out, char *why, size_t why_bytes);
const struct qcow2_geometry *qcow2_build_geometry(const struct qcow2_build *build);
/* The host offset of so many clusters in a row, which nobody has. */
uint64_t qcow2_build_take(struct qcow2_build *build, uint64_t clusters);
/* A guest cluster lies there; of an image with extended L2 entries so much of it as `allocated`
 * says. What is not mapped reads as zeroes, or as the backing file. Once for each cluster, and not
 * below what qcow2_build_pass was told. -ENOMEM. */
int MUST_CHECK qcow2_build_map(struct qcow2_build *build, uint64_t guest_cluster,
			       uint64_t host_offset, uint32_t allocated);
/* All before this guest offset is mapped: tables that are complete are written. */
int MUST_CHECK qcow2_build_pass(struct qcow2_build *build, uint64_t guest_offset);
/* Write what is left. Now it is an image, and *file_bytes its size. */
int MUST_CHECK qcow2_build_end(struct qcow2_build *build, uint64_t *file_bytes);
void qcow2_build_free(struct qcow2_build *build);

#endif
