/*
 * Repair in three steps, each durable before the next: no entry says COPIED of what is shared,
 * refcounts are what the references are, entries say COPIED of what is not shared. So at no point
 * an entry allows overwriting what another refers to.
 */
#include "lun/qcow2/repair.h"

#include <errno.h>
#include <stdio.h>

#include "base/bytes.h"
#include "lun/qcow2/check_internal.h"
#include "lun/qcow2/header_bytes.h"

static int write_number(struct check *check, uint64_t value, uint64_t offset)
{
	uint8_t bytes[8];

	put_be64(bytes, value);
	return check->repair->writable->write(check->repair->writable, bytes, sizeof(bytes),
					      offset);
}

static int sync_all(struct check *check)
{
	return check->repair->writable->sync(check->repair->writable);
}

/* -- COPIED -- */

/* One entry: COPIED as its cluster's count asks, if that is the step's matter. Clusters of other
 * windows have no count here, and zeroes without a cluster are not the header's. */
static int mend_entry(struct check *check, uint64_t entry, uint64_t at, bool copied)
{
	uint64_t offset = entry & QCOW2_OFFSET_MASK;
	uint32_t count = offset != 0 ? check_count(check, offset) : 0;

	if (count == 0 || copied != (count == 1) || copied == ((entry & QCOW2_COPIED) != 0))
		return 0;
	check->repair->entries++;
	return write_number(check, entry ^ QCOW2_COPIED, at);
}

static int mend_l2(struct check *check, uint64_t offset, bool copied)
{
	struct check_walk walk = check_walk_l2(check, offset);
	const uint8_t *bytes;
	uint64_t index;
	int res = 0;

	while (res == 0 && (bytes = check_walk_next(&walk, &index)) != NULL) {
		uint64_t entry = get_be64(bytes);

		if ((entry & QCOW2_COMPRESSED) == 0)
			res = mend_entry(check, entry, offset + index * walk.entry_bytes, copied);
	}
	return res != 0 ? res : walk.res;
}

static int mend_copied(struct check *check, bool copied)
{
	struct check_walk walk =
		check_walk_table(check, check->header.l1_offset, check->header.l1_entries);
	const uint8_t *bytes;
	uint64_t index;
	int res = 0;

	while (res == 0 && (bytes = check_walk_next(&walk, &index)) != NULL) {
		uint64_t entry = get_be64(bytes);

		res = mend_l2(check, entry & QCOW2_OFFSET_MASK, copied);
		if (res == 0)
			res = mend_entry(check, entry, walk.offset + index * ENTRY_BYTES, copied);
	}
	return res != 0 ? res : walk.res;
}

/* -- Refcounts -- */

static uint64_t count_at(const struct check *check, const struct check_chunk *chunk, uint32_t i)
{
	return check->marks[chunk->first + i - check->window_first] & MARK_COUNT;
}

/* Before anything is changed: has each count its place? */
static int try_chunk(struct check *check, const struct check_chunk *chunk)
{
	uint64_t largest = chunk->bytes != NULL ? check_largest_refcount(check) : 0;

	for (uint32_t i = 0; i < chunk->count; i++) {
		uint64_t count = count_at(check, chunk, i);

		if (count > largest || count == MARK_COUNT)
			check->no_place = true;
	}
	return 0;
}

static int mend_chunk(struct check *check, const struct check_chunk *chunk)
{
	uint32_t order = check->geometry.refcount_order;
	struct qcow2_writable *writable = check->repair->writable;
	uint64_t before = check->repair->refcounts;

	for (uint32_t i = 0; chunk->bytes != NULL && i < chunk->count; i++) {
		uint64_t count = count_at(check, chunk, i);

		if (qcow2_refcount_get(chunk->bytes, chunk->index + i, order) == count)
			continue;
		qcow2_refcount_set(chunk->bytes, chunk->index + i, order, count);
		check->repair->refcounts++;
	}
	if (check->repair->refcounts == before)
		return 0;
	return writable->write(writable, chunk->bytes, check->chunk_bytes, chunk->offset);
}

/* -- Passes -- */

static int try_pass(struct check *check)
{
	int res = check_mark_all(check);

	if (res == 0)
		res = check_refcounts(check, check_compare);
	return res == 0 ? check_refcounts(check, try_chunk) : res;
}

static int mend_pass(struct check *check)
{
	int res = check_mark_all(check);

	if (res == 0)
		res = mend_copied(check, false);
	if (res == 0)
		res = sync_all(check);
	if (res == 0)
		res = check_refcounts(check, mend_chunk);
	if (res == 0)
		res = sync_all(check);
	return res == 0 ? mend_copied(check, true) : res;
}

/* The last step: from here on refcounts are to be trusted. */
static int clear_marks_of_header(struct check *check)
{
	const struct qcow2_header *h = &check->header;
	uint64_t marks = QCOW2_INCOMPATIBLE_DIRTY | QCOW2_INCOMPATIBLE_CORRUPT;
	int res = sync_all(check);

	if (res != 0 || (h->incompatible & marks) == 0)
		return res;
	res = write_number(check, h->incompatible & ~marks, AT_INCOMPATIBLE);
	return res == 0 ? sync_all(check) : res;
}

static int mend(struct check *check, struct qcow2_check *again, char *why, size_t why_bytes)
{
	uint64_t at_once = check->window_count;
	int res = check_run(check, try_pass);

	(void)snprintf(why, why_bytes, "it cannot be read or written");
	if (res == 0 && check->out->beyond_repair > 0) {
		(void)snprintf(why, why_bytes, "%s", check->out->findings[0]);
		return -ENOTSUP;
	}
	if (res == 0 && (check->no_place || check->out->misplaced > 0))
		return -EAGAIN;
	if (res != 0)
		return res;
	check->window_count = at_once;
	/* The next passes find all of it once more. */
	*again = *check->out;
	check->out = again;
	res = check_run(check, mend_pass);
	return res == 0 ? clear_marks_of_header(check) : res;
}

/* -EAGAIN: refcounts have no place, and nothing was changed. */
static int repair_in_place(struct qcow2_repair *repair, struct qcow2_check *found, char *why,
			   size_t why_bytes)
{
	const struct qcow2_check_spec spec = {
		.file = &repair->writable->file,
		.memory_bytes = repair->memory_bytes,
	};
	struct qcow2_check again;
	struct check check;
	int res = check_begin(&check, &spec, found, why, why_bytes);

	if (res != 0)
		return res;
	check.repair = repair;
	res = mend(&check, &again, why, why_bytes);
	check_end(&check);
	return res;
}

int qcow2_repair(struct qcow2_repair *repair, char *why, size_t why_bytes)
{
	struct qcow2_check rebuilt;
	int res;

	repair->refcounts = repair->entries = 0;
	repair->rebuilt = false;
	res = repair_in_place(repair, &repair->before, why, why_bytes);
	if (res != -EAGAIN)
		return res;
	res = repair_rebuild(repair, why, why_bytes);
	if (res != 0)
		return res;
	repair->rebuilt = true;
	return repair_in_place(repair, &rebuilt, why, why_bytes);
}
