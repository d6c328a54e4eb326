/*
 * UNMAP and ZERO by entries: whole clusters, or subclusters where the image has them, read as
 * zeroes from one turn to the next, and what UNMAP leaves without a use goes to the quarantine. Of
 * less the zeroes are written (write.c), of an UNMAP too: WRITE SAME with UNMAP relies on them.
 * What was unmapped never shows the backing file again: the entry says zero.
 *
 * Runs on the image's loop. Read next: mapping.c, quarantine.c.
 */
#include "lun/qcow2/engine.h"

#include "lun/image.h"

/* Entries changed, or passed by, in one turn. */
#define ENTRIES_A_TURN 512u

#define ALL_SUBCLUSTERS UINT32_MAX

/* The part of the rest that one entry, or a hole in the tables, is about. */
LOOP_ONLY static struct byte_range next_range(const struct qcow2_request *request)
{
	const struct qcow2 *image = request->image;
	uint64_t end = request->offset + request->length;
	uint64_t cluster_end = offset_of(image, cluster_of(image, request->at) + 1);

	return (struct byte_range){request->at, cluster_end < end ? cluster_end : end};
}

/* What of the range can be zero by an entry; the image's end ends its last part. */
static struct byte_range whole_of(const struct qcow2 *image, struct byte_range range,
				  const struct qcow2_l2_entry *entry)
{
	const struct qcow2_geometry *geometry = &image->geometry;
	/* A compressed cluster is all or nothing. */
	uint32_t bits = entry->compressed ? geometry->cluster_bits : geometry->subcluster_bits;
	uint64_t mask = (UINT64_C(1) << bits) - 1;
	struct byte_range whole = {(range.begin + mask) & ~mask, range.end & ~mask};

	if (range.end == image->size_bytes)
		whole.end = range.end;
	return whole;
}

/* How the entry is when these subclusters are zero. */
static struct qcow2_l2_entry zeroed(const struct qcow2 *image, const struct qcow2_l2_entry *old,
				    uint32_t subclusters, bool keeps_host)
{
	struct qcow2_l2_entry entry = *old;

	if (entry.compressed || !image->geometry.extended)
		subclusters = ALL_SUBCLUSTERS;
	entry.allocated &= ~subclusters;
	entry.zero |= subclusters;
	/* The host cluster has no use any more, or is not ours alone. */
	if (entry.compressed || (entry.allocated == 0 && (!keeps_host || !entry.copied))) {
		entry.host_offset = 0;
		entry.copied = entry.compressed = false;
		entry.deflated_bytes = 0;
	}
	if (PLANTED(discard_shows_backing))
		entry.zero = 0;
	return entry;
}

LOOP_ONLY static int zero_whole(struct qcow2_request *request, struct byte_range range,
				struct slice *slice, const struct qcow2_l2_entry *old)
{
	struct qcow2 *image = request->image;
	uint32_t subclusters = mapping_subclusters(image, range);
	struct qcow2_l2_entry entry = zeroed(image, old, subclusters, request->op == LUN_ZERO);
	int res = mapping_change(image, range.begin, slice, &entry, request);

	if (res == 0)
		request->at = range.end;
	return res;
}

/* A part of a subcluster, or of a compressed cluster. */
LOOP_ONLY static int zero_part(struct qcow2_request *request, uint64_t end)
{
	request->part_end = end;
	write_plan_piece(request);
	return QCOW2_WAIT;
}

/* The cluster is somebody's: it waits. */
LOOP_ONLY static bool is_busy(struct qcow2_request *request)
{
	struct qcow2 *image = request->image;
	struct busy *busy = busy_find(image, cluster_of(image, request->at));

	if (!busy)
		return false;
	REACHED(busy_wait);
	request_wait(request, &busy->waiting);
	return true;
}

LOOP_ONLY static int zero_entry(struct qcow2_request *request, struct byte_range range)
{
	struct qcow2 *image = request->image;
	struct qcow2_l2_entry entry;
	struct byte_range whole;
	struct slice *slice;
	int res = mapping_entry(image, range.begin, request, &slice, &entry);

	if (res != 0)
		return res;
	whole = whole_of(image, range, &entry);
	if (whole.begin >= whole.end)
		return zero_part(request, range.end);
	if (whole.begin > range.begin)
		return zero_part(request, whole.begin);
	if (is_busy(request))
		return QCOW2_WAIT;
	if (!slice)
		return mapping_need_table(image, range.begin, request);
	return zero_whole(request, whole, slice, &entry);
}

/*
 * Does all that the range shows come from nowhere already? Its length, as far as that is so. What
 * is being written there has not been answered, so that it may as well come later.
 */
LOOP_ONLY static int find_zeroes(struct qcow2_request *request, uint64_t *length)
{
	struct byte_range rest = {request->at, request->offset + request->length};
	struct extent extent;
	int res = mapping_find(request->image, rest, request, &extent);

	*length = 0;
	if (res != 0)
		return res;
	if (extent.kind == EXTENT_ZERO && (!extent.anchored || request->op == LUN_ZERO))
		*length = extent.length;
	return 0;
}

LOOP_ONLY static int zero_step(struct qcow2_request *request)
{
	uint64_t length;
	int res;

	if (!image_started(request->image, request))
		return QCOW2_WAIT;
	res = find_zeroes(request, &length);
	if (res != 0)
		return res;
	if (length == 0)
		return zero_entry(request, next_range(request));
	request->at += length;
	return 0;
}

void zero_plan(struct qcow2_request *request)
{
	uint64_t end = request->offset + request->length;
	int res = request->image->failed ? -EROFS : 0;

	round_begin(request);
	/* Also where nothing is changed: what made it zero may not be durable yet. */
	request->needs_flush = true;
	for (unsigned i = 0; i < ENTRIES_A_TURN && res == 0 && request->at < end; i++)
		res = zero_step(request);
	if (request->waiting || request->stage != QCOW2_PLAN)
		return;
	if (res < 0) {
		request_end(request, res);
	} else if (request->at < end) {
		request_yield(request);
	} else {
		write_finish(request);
	}
}
