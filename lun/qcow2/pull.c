/*
 * PULL: what shows in an image from those between it and a base becomes its own, so that they can
 * leave the chain (ORDER.md). What it reads as does not change, so hosts may go on meanwhile.
 * Copies are those of write.c, of a writer without data; one cluster at a time for each request.
 *
 * Runs on the image's loop. Read next: write.c, cow.c.
 */
#include "lun/qcow2/engine.h"

/* Extents passed by, or zeroes written, in one turn. */
#define EXTENTS_A_TURN 256u

/* Inside one cluster, from where the request is: what of the extent whole subclusters can say
 * alone. */
LOOP_ONLY static struct byte_range whole_zeroes(const struct qcow2_request *request,
						const struct extent *extent)
{
	const struct qcow2 *image = request->image;
	uint64_t mask = (UINT64_C(1) << image->geometry.subcluster_bits) - 1;
	uint64_t cluster_end = offset_of(image, cluster_of(image, request->at) + 1);
	uint64_t end = request->at + extent->length;
	struct byte_range whole = {(request->at + mask) & ~mask, end & ~mask};

	if (end == image->size_bytes)
		whole.end = end;
	whole.end = whole.end < cluster_end ? whole.end : cluster_end;
	return whole;
}

/* Around the extent, in one cluster: the subclusters that it touches. One that has nothing has
 * nothing in all of its sectors. */
LOOP_ONLY static struct byte_range around_of(const struct qcow2_request *request,
					     const struct extent *extent)
{
	const struct qcow2 *image = request->image;
	uint64_t mask = (UINT64_C(1) << image->geometry.subcluster_bits) - 1;
	uint64_t cluster_end = offset_of(image, cluster_of(image, request->at) + 1);
	uint64_t end = (request->at + extent->length + mask) & ~mask;

	end = end < cluster_end ? end : cluster_end;
	end = end < image->size_bytes ? end : image->size_bytes;
	return (struct byte_range){request->at & ~mask, end};
}

LOOP_ONLY static bool is_busy(struct qcow2_request *request)
{
	struct busy *busy = busy_find(request->image, cluster_of(request->image, request->at));

	if (busy)
		request_wait(request, &busy->waiting);
	return busy != NULL;
}

/* They stay zero when only the base, or something else, is below. */
LOOP_ONLY static int pull_zeroes(struct qcow2_request *request, struct byte_range range)
{
	struct qcow2 *image = request->image;
	struct qcow2_l2_entry entry;
	struct slice *slice;
	int res = mapping_entry(image, range.begin, request, &slice, &entry);

	if (res != 0)
		return res;
	if (is_busy(request))
		return QCOW2_WAIT;
	if (!slice)
		return mapping_need_table(image, range.begin, request);
	REACHED(pull_zero);
	if (PLANTED(pull_leaves_zeroes)) {
		request->at = range.end;
		return 0;
	}
	entry.zero |= image->geometry.extended ? mapping_subclusters(image, range) : UINT32_MAX;
	res = mapping_change(image, range.begin, slice, &entry, request);
	if (res == 0)
		request->at = range.end;
	return res;
}

/* Would the base, or what is to come below, show anything there? */
static bool may_show_below(const struct qcow2_request *request)
{
	return request->at < request->below_bytes ||
	       (request->base && request->at < request->base->size_bytes);
}

LOOP_ONLY static int pull_extent(struct qcow2_request *request, const struct extent *extent)
{
	struct byte_range zeroes;

	if (extent->kind != EXTENT_ZERO) {
		REACHED(pull);
		return write_pulled(request, around_of(request, extent));
	}
	if (!may_show_below(request)) {
		request->at += extent->length;
		return 0;
	}
	zeroes = whole_zeroes(request, extent);
	if (zeroes.begin == request->at && zeroes.end > zeroes.begin)
		return pull_zeroes(request, zeroes);
	/* A part of a subcluster is zero, and its rest is not. */
	return write_pulled(request, around_of(request, extent));
}

LOOP_ONLY static int pull_step(struct qcow2_request *request, uint64_t end)
{
	struct byte_range rest = {request->at, end};
	struct extent extent;
	int res;

	if (!image_started(request->image, request))
		return QCOW2_WAIT;
	res = mapping_find_above(request->image, request->base, rest, request, &extent);
	if (res != 0)
		return res;
	/* With a base it is the base's to say. */
	if (extent.kind == EXTENT_BELOW && !request->base && may_show_below(request))
		extent = (struct extent){.kind = EXTENT_ZERO, .length = extent.length};
	if (extent.kind != EXTENT_BELOW && extent.image != request->image)
		return pull_extent(request, &extent);
	request->at += extent.length;
	return 0;
}

static bool is_below(const struct qcow2 *image, const struct qcow2 *base)
{
	do {
		image = image->backing;
	} while (image && image != base);
	return image == base;
}

static int refusal(const struct qcow2_request *request)
{
	const struct qcow2 *image = request->image;

	if (!is_below(image, request->base))
		return -ESTALE;
	return image->failed || image->read_only ? -EROFS : 0;
}

void pull_plan(struct qcow2_request *request)
{
	struct qcow2 *image = request->image;
	uint64_t end = request->offset + request->length;
	int res = refusal(request);

	end = end < image->size_bytes ? end : image->size_bytes;
	round_begin(request);
	request->needs_flush = true;
	for (unsigned i = 0; i < EXTENTS_A_TURN && res == 0 && request->at < end; i++)
		res = pull_step(request, end);
	if (request->waiting || request->stage != QCOW2_PLAN)
		return;
	if (res < 0) {
		write_fail(request, res);
	} else if (request->at < end) {
		request_yield(request);
	} else {
		write_finish(request);
	}
}
