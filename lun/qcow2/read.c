/*
 * READ: rounds of transfers from wherever in the chain the data are. Reads wait for slices and for
 * nobody else: a cluster that is being allocated shows what it had before (the entry changes when
 * the data are there). Also MAP, which looks up and transfers nothing.
 *
 * Runs on the image's loop. Read next: mapping.c, inflate.c.
 */
#include "lun/qcow2/cow.h"

/* What MAP looks up in one turn. */
#define MAP_EXTENTS 256u

LOOP_ONLY static struct byte_range rest_of(const struct qcow2_request *request)
{
	return (struct byte_range){request->round_end, request->offset + request->length};
}

/* Zeroes: into the buffer, unless all so far is and that suffices. */
LOOP_ONLY static void add_zeroes(struct qcow2_request *request, uint64_t length)
{
	request->round_end += length;
	if (request->all_zero && (request->flags & LUN_IO_ZEROES_SUFFICE) != 0)
		return;
	vector_clear(request, length);
}

/* Data after zeroes that were left out: those are made up for. */
LOOP_ONLY static void end_all_zero(struct qcow2_request *request)
{
	uint64_t before = request->round_end - request->offset;

	if (!request->all_zero)
		return;
	request->all_zero = false;
	if (before > 0 && (request->flags & LUN_IO_ZEROES_SUFFICE) != 0) {
		request->round_end = request->offset;
		add_zeroes(request, before);
	}
}

/* QCOW2_WAIT: the round is full, or something has to be loaded first. */
LOOP_ONLY static int read_piece(struct qcow2_request *request)
{
	struct extent extent;
	int res = mapping_find(request->image, rest_of(request), round_waiter(request), &extent);

	if (res != 0)
		return res;
	switch (extent.kind) {
	case EXTENT_ZERO:
		add_zeroes(request, extent.length);
		return 0;
	case EXTENT_DATA:
		end_all_zero(request);
		return round_add(request, &extent) ? 0 : QCOW2_WAIT;
	case EXTENT_DEFLATED:
		if (request->transfer_count > 0)
			return QCOW2_WAIT;
		end_all_zero(request);
		return inflate_begin(request, &extent);
	case EXTENT_BELOW:
	default:
		assert(false);
		return -EIO;
	}
}

LOOP_ONLY static void read_finish(struct qcow2_request *request)
{
	request->zeroes = request->all_zero && (request->flags & LUN_IO_ZEROES_SUFFICE) != 0;
	request_end(request, 0);
}

void read_plan(struct qcow2_request *request)
{
	uint64_t end = request->offset + request->length;
	int res = 0;

	round_begin(request);
	while (res == 0 && request->round_end < end)
		res = read_piece(request);
	if (request->waiting || request->stage != QCOW2_PLAN) {
		request->at = request->round_end;
	} else if (res < 0) {
		request_end(request, res);
	} else if (request->transfer_count > 0) {
		round_submit(request);
	} else {
		read_finish(request);
	}
}

void read_round_done(struct qcow2_request *request)
{
	request->at = request->round_end;
	if (request->res < 0) {
		request_end(request, request->res);
		return;
	}
	request_stage(request, QCOW2_PLAN);
	if (request->at == request->offset + request->length) {
		read_finish(request);
	} else {
		list_append(&request->image->cache->runnable, &request->link);
	}
}

/* -- MAP -- */

static enum lun_extent_state map_state(const struct extent *extent)
{
	if (extent->kind != EXTENT_ZERO)
		return LUN_MAPPED;
	return extent->anchored ? LUN_ANCHORED : LUN_DEALLOCATED;
}

void map_plan(struct qcow2_request *request)
{
	uint64_t end = request->offset + request->length;
	bool goes_on = true;

	for (unsigned i = 0; i < MAP_EXTENTS && goes_on && request->at < end; i++) {
		struct byte_range rest = {request->at, end};
		struct extent extent;
		int res = mapping_find(request->image, rest, request, &extent);

		if (res != 0) {
			if (res < 0)
				request_end(request, res);
			return;
		}
		request->at += extent.length;
		goes_on = map_add(request->map, request->at, map_state(&extent));
	}
	/* What is beyond that is asked for again. */
	request_end(request, 0);
}
