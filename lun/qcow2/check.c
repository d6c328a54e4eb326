/*
 * The passes of a check: mark what everything refers to, then compare with the refcounts. Read
 * next: check_mark.c, check_l2.c.
 */
#include "lun/qcow2/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "lun/qcow2/check_internal.h"
#include "lun/qcow2/plain.h"

#define MEMORY_BYTES (UINT64_C(256) << 20)
#define PASSES_MAX 64u

/* -- Tables -- */

static bool read_chunk(struct check_walk *walk)
{
	struct check *check = walk->check;
	uint64_t left = walk->entries - walk->next;
	uint32_t fit = check->chunk_bytes / walk->entry_bytes;

	walk->in_chunk = 0;
	walk->chunk_entries = left < fit ? (uint32_t)left : fit;
	if (left == 0)
		return false;
	walk->res = check->file->read(check->file, check->chunks[walk->depth],
				      (size_t)walk->chunk_entries * walk->entry_bytes,
				      walk->offset + walk->next * walk->entry_bytes);
	return walk->res == 0;
}

static bool is_zero(const uint8_t *entry, uint32_t entry_bytes)
{
	uint64_t low;
	uint64_t high = 0;

	memcpy(&low, entry, sizeof(low));
	if (entry_bytes > ENTRY_BYTES)
		memcpy(&high, entry + ENTRY_BYTES, sizeof(high));
	return (low | high) == 0;
}

struct check_walk check_walk_table(struct check *check, uint64_t offset, uint64_t entries)
{
	return (struct check_walk){
		.check = check,
		.depth = DEPTH_L1,
		.offset = offset,
		.entries = entries,
		.entry_bytes = ENTRY_BYTES,
	};
}

struct check_walk check_walk_l2(struct check *check, uint64_t offset)
{
	return (struct check_walk){
		.check = check,
		.depth = DEPTH_L2,
		.offset = offset,
		.entries = check->geometry.l2_entries,
		.entry_bytes = check->geometry.l2_entry_bytes,
	};
}

const uint8_t *check_walk_next(struct check_walk *walk, uint64_t *index)
{
	for (;;) {
		const uint8_t *at = walk->check->chunks[walk->depth] +
				    (size_t)walk->in_chunk * walk->entry_bytes;

		if (walk->in_chunk == walk->chunk_entries) {
			if (!read_chunk(walk))
				return NULL;
			continue;
		}
		walk->in_chunk++;
		walk->next++;
		if (!is_zero(at, walk->entry_bytes)) {
			*index = walk->next - 1;
			return at;
		}
	}
}

/* -- Passes -- */

int check_mark_all(struct check *check)
{
	const struct check_l1 active = {
		.offset = check->header.l1_offset,
		.entries = check->header.l1_entries,
		.active = true,
	};
	int res;

	check->first_pass = check->window_first == 0;
	memset(check->marks, 0, check->window_count * sizeof(*check->marks));
	(void)check_refer(check, 0, check->geometry.cluster_bytes, MARK_METADATA, "the header");
	res = check->without_refcounts ? 0 : check_refer_to_refcounts(check);
	if (res == 0)
		res = check_mapping(check, &active);
	if (res == 0)
		res = check_snapshots(check);
	if (res == 0)
		res = check_bitmaps(check);
	return res;
}

/* The room for findings is not touched. */
static void clear(struct qcow2_check *out, const struct qcow2_header *header)
{
	out->misplaced = 0;
	out->corruptions = out->beyond_repair = out->leaks = out->referenced = 0;
	out->guest_clusters = out->guest_compressed = out->finding_count = 0;
	out->dirty = (header->incompatible & QCOW2_INCOMPATIBLE_DIRTY) != 0;
	out->marked_corrupt = (header->incompatible & QCOW2_INCOMPATIBLE_CORRUPT) != 0;
}

static void start(struct check *check, struct qcow2_check *out)
{
	const struct qcow2_geometry *g = &check->geometry;

	qcow2_geometry_of(&check->header, &check->geometry);
	check->clusters = (check->file->size_bytes + g->cluster_bytes - 1) >> g->cluster_bits;
	check->chunk_bytes = g->cluster_bytes < CHUNK_BYTES ? g->cluster_bytes : CHUNK_BYTES;
	check->out = out;
	clear(out, &check->header);
	out->clusters = check->clusters;
}

int check_run(struct check *check, check_pass_fn *pass)
{
	uint64_t at_once = check->window_count;
	int res = 0;

	for (uint64_t first = 0; res == 0 && first < check->clusters; first += at_once) {
		uint64_t left = check->clusters - first;

		check->window_first = first;
		check->window_count = left < at_once ? left : at_once;
		res = pass(check);
	}
	return res;
}

int check_begin(struct check *check, const struct qcow2_check_spec *spec, struct qcow2_check *out,
		char *why, size_t why_bytes)
{
	uint64_t memory_bytes = spec->memory_bytes != 0 ? spec->memory_bytes : MEMORY_BYTES;
	uint64_t at_once = memory_bytes / sizeof(*check->marks);
	int res;

	*check = (struct check){.file = spec->file};
	res = qcow2_header_read(spec->file, &check->header, why, why_bytes);
	if (res != 0)
		return res;
	start(check, out);
	if (check->clusters < at_once)
		at_once = check->clusters;
	if (at_once == 0 || check->clusters / at_once > PASSES_MAX) {
		(void)snprintf(why, why_bytes, "the file has too many clusters to be counted");
		return -EFBIG;
	}
	check->window_count = at_once;
	check->marks =
		malloc(at_once * sizeof(*check->marks) + (size_t)DEPTH_COUNT * check->chunk_bytes);
	if (check->marks == NULL) {
		(void)snprintf(why, why_bytes, "no memory to count its clusters");
		return -ENOMEM;
	}
	for (unsigned i = 0; i < DEPTH_COUNT; i++)
		check->chunks[i] =
			(uint8_t *)(check->marks + at_once) + (size_t)i * check->chunk_bytes;
	return 0;
}

void check_end(struct check *check)
{
	free(check->marks);
}

static int pass(struct check *check)
{
	int res = check_mark_all(check);

	return res == 0 ? check_refcounts(check, check_compare) : res;
}

int qcow2_check(const struct qcow2_check_spec *spec, struct qcow2_check *out, char *why,
		size_t why_bytes)
{
	struct check check;
	int res = check_begin(&check, spec, out, why, why_bytes);

	if (res != 0)
		return res;
	res = check_run(&check, pass);
	if (res != 0)
		(void)snprintf(why, why_bytes, "a table cannot be read");
	check_end(&check);
	return res;
}

enum qcow2_verdict qcow2_check_verdict(const struct qcow2_check *check)
{
	if (check->corruptions > 0)
		return QCOW2_CORRUPT;
	return check->leaks > 0 ? QCOW2_LEAKS : QCOW2_CLEAN;
}
