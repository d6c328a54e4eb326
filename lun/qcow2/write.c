/*
 * WRITE, and the parts of ZERO and UNMAP that have to be written: rounds of transfers into host
 * clusters that are there or that come from the reservation, and then the changes of the mapping.
 * All that a round needs is had before anything is changed; nothing is waited for while a round
 * holds a busy cluster whose data are not on their way (invariants 5, 6).
 *
 * Runs on the image's loop. Read next: cow.c, mapping.c.
 */
#include "lun/qcow2/cow.h"

#include "lun/image.h"

#define ALL_SUBCLUSTERS UINT32_MAX

/* The next part of a request, inside one cluster, and what it takes. */
struct piece {
	struct byte_range range; /* Guest offsets. */
	uint64_t cluster;        /* Index, guest. */
	struct byte_range whole; /* The cluster, as far as the image reaches. */
	struct slice *slice;
	struct qcow2_l2_entry entry;
	uint32_t subclusters;
	struct byte_range copy; /* What is written with it: around `range`. */
	bool moves;             /* It goes to another host cluster than the entry's. */
	bool durable_first;
};

/* The cluster of an offset, as far as the image reaches. */
static struct byte_range cluster_range(const struct qcow2 *image, uint64_t offset)
{
	uint64_t end = offset_of(image, cluster_of(image, offset) + 1);

	return (struct byte_range){offset_of(image, cluster_of(image, offset)),
				   end < image->size_bytes ? end : image->size_bytes};
}

LOOP_ONLY static struct piece next_piece(const struct qcow2_request *request)
{
	const struct qcow2 *image = request->image;
	uint64_t begin = request->round_end;
	uint64_t cluster_end = offset_of(image, cluster_of(image, begin) + 1);
	uint64_t end = request->offset + request->length;
	struct piece piece = {
		.cluster = cluster_of(image, begin),
		.whole = cluster_range(image, begin),
		.range = {begin, cluster_end < end ? cluster_end : end},
	};

	if (request->op != LUN_WRITE) {
		end = begin + ZERO_WRITE_BYTES;
		end = end < request->part_end ? end : request->part_end;
		piece.range.end = end < piece.range.end ? end : piece.range.end;
	}
	piece.subclusters = mapping_subclusters(image, piece.range);
	piece.copy = piece.range;
	return piece;
}

/* May it be written where it is, with no change of the mapping? */
static bool is_in_place(const struct piece *piece)
{
	return piece->entry.copied && (piece->subclusters & ~piece->entry.allocated) == 0;
}

/* Its host cluster holds more than this guest cluster's data: it gets another. */
static bool is_shared(const struct piece *piece)
{
	return piece->entry.compressed || (piece->entry.host_offset != 0 && !piece->entry.copied);
}

/* -- What has to be copied -- */

/* Does what is not written of a part of the cluster read as zeroes, the cluster being new? */
LOOP_ONLY static int reads_zero(struct qcow2_request *request, struct byte_range range, bool *out)
{
	struct extent extent;
	int res = mapping_find(request->image, range, round_waiter(request), &extent);

	*out = res == 0 && extent.kind == EXTENT_ZERO && extent.length == range.end - range.begin;
	return res;
}

/*
 * Zeroes in a cluster of the reservation need not be written, and may be exposed before the data
 * are durable (rule O1). Everything else is copied first and durable first.
 */
LOOP_ONLY static int look_at_old(struct qcow2_request *request, struct piece *piece,
				 struct byte_range around, bool fresh)
{
	bool zero = false;
	int res = fresh ? reads_zero(request, around, &zero) : 0;

	if (res != 0)
		return res;
	if (fresh && zero)
		return 0;
	piece->durable_first = true;
	piece->copy = around;
	return 0;
}

/* The subcluster at one end of the range is written in part: its rest, unless it has data there. */
static struct byte_range widened(const struct qcow2 *image, const struct piece *piece)
{
	uint64_t mask = (UINT64_C(1) << image->geometry.subcluster_bits) - 1;
	struct byte_range head = {piece->range.begin, piece->range.begin + 1};
	struct byte_range tail = {piece->range.end - 1, piece->range.end};
	struct byte_range out = piece->range;

	if ((mapping_subclusters(image, head) & piece->entry.allocated) == 0)
		out.begin &= ~mask;
	if ((mapping_subclusters(image, tail) & piece->entry.allocated) == 0)
		out.end = (out.end + mask) & ~mask;
	out.end = out.end < piece->whole.end ? out.end : piece->whole.end;
	return out;
}

LOOP_ONLY static int plan_copy(struct qcow2_request *request, struct piece *piece,
			       const struct busy *busy)
{
	struct qcow2 *image = request->image;
	bool has_host = piece->entry.host_offset != 0 && !piece->moves;
	bool fresh = busy ? busy->fresh && !busy->spoiled : !has_host;
	struct byte_range around = piece->whole;

	if (image->geometry.extended && !piece->moves)
		around = widened(image, piece);
	return look_at_old(request, piece, around, fresh && !piece->moves);
}

static bool is_copying(const struct piece *piece)
{
	return piece->copy.begin < piece->range.begin || piece->copy.end > piece->range.end;
}

/* -- Having what it needs -- */

/* True: it may go on with `busy`, or with an entry of its own where that is NULL. */
LOOP_ONLY static bool may_join(struct qcow2_request *request, const struct piece *piece,
			       struct busy *busy)
{
	if (!busy || (busy->subclusters & piece->subclusters) == 0)
		return true;
	REACHED(busy_wait);
	if (round_waiter(request))
		request_wait(request, &busy->waiting);
	return false;
}

LOOP_ONLY static bool has_busy_room(struct qcow2_request *request)
{
	struct qcow2 *image = request->image;

	if (!list_is_empty(&image->busy_unused))
		return true;
	if (round_waiter(request))
		request_wait(request, &image->busy_waiting);
	return false;
}

/* Become a holder of the cluster: join, or begin with the host cluster there is, or a new one. */
LOOP_ONLY static int hold(struct qcow2_request *request, struct piece *piece, struct busy **busy)
{
	struct qcow2 *image = request->image;
	bool needs_new = !*busy && (piece->moves || piece->entry.host_offset == 0);
	uint64_t first = 0, count;

	if (!*busy && !has_busy_room(request))
		return QCOW2_WAIT;
	if (needs_new && !reserve_take(image, 1, round_waiter(request), &first, &count))
		return QCOW2_WAIT;
	if (*busy) {
		(*busy)->holders++;
	} else {
		*busy = busy_begin(image, piece->cluster);
		(*busy)->fresh = needs_new;
		(*busy)->linked = !needs_new;
		(*busy)->host_offset =
			needs_new ? offset_of(image, first) : piece->entry.host_offset;
	}
	(*busy)->subclusters |= piece->subclusters;
	return 0;
}

/* Where the piece's bytes, with what is copied around them, go. */
static struct extent target_of(struct qcow2 *image, const struct piece *piece, uint64_t host_offset)
{
	return (struct extent){
		.kind = EXTENT_DATA,
		.image = image,
		.host_offset = host_offset + (piece->copy.begin - piece->whole.begin),
		.length = piece->copy.end - piece->copy.begin,
	};
}

LOOP_ONLY static int add_in_place(struct qcow2_request *request, const struct piece *piece)
{
	struct qcow2 *image = request->image;
	struct extent target = target_of(image, piece, piece->entry.host_offset);

	if (!mapping_may_write(image, target.host_offset, target.length))
		return image_corrupt(image, "data would be written over metadata",
				     target.host_offset);
	/* The entry is not on the disk yet: it is with the group that has it. */
	if (piece->slice->state != SLICE_CLEAN || !image->direct)
		request->needs_flush = true;
	return round_add(request, &target) ? 0 : QCOW2_WAIT;
}

LOOP_ONLY static int add_linked(struct qcow2_request *request, struct piece *piece)
{
	struct qcow2 *image = request->image;
	struct busy *busy = busy_find(image, piece->cluster);
	struct extent target;
	int res;

	piece->moves = is_shared(piece);
	if (request->link_count == QCOW2_LINKS || request->transfer_count == QCOW2_TRANSFERS)
		return QCOW2_WAIT;
	/* Once more when it is known what is copied: here, so that nothing is looked up in vain. */
	if (!may_join(request, piece, busy))
		return QCOW2_WAIT;
	res = plan_copy(request, piece, busy);
	if (res != 0)
		return res;
	if (is_copying(piece)) {
		if (!image->geometry.extended || piece->moves)
			piece->subclusters = ALL_SUBCLUSTERS;
		if (!round_waiter(request) || !may_join(request, piece, busy))
			return QCOW2_WAIT;
		if (!copy_is_there(request))
			return QCOW2_WAIT;
	}
	res = hold(request, piece, &busy);
	if (res != 0)
		return res;
	target = target_of(image, piece, busy->host_offset);
	request->needs_flush = true;
	request->links[request->link_count++] = (struct qcow2_link){
		busy, piece->subclusters, piece->durable_first && !PLANTED(no_data_first), false};
	if (!mapping_may_write(image, target.host_offset, target.length))
		return image_corrupt(image, "data would be written over metadata",
				     target.host_offset);
	if (is_copying(piece) && !PLANTED(no_copy)) {
		copy_begin(request, piece->copy, piece->range, target.host_offset);
		return QCOW2_WAIT;
	}
	target.host_offset += piece->range.begin - piece->copy.begin;
	target.length = piece->range.end - piece->range.begin;
	return round_add(request, &target) ? 0 : -EIO;
}

/* What the copy needs, and its place; the round is empty. */
LOOP_ONLY static int begin_pulled(struct qcow2_request *request, struct piece *piece)
{
	struct qcow2 *image = request->image;
	struct busy *busy = busy_find(image, piece->cluster);
	struct byte_range nothing = {piece->copy.end, piece->copy.end};
	struct extent target;
	int res;

	if (!PLANTED(pull_overwrites) && !may_join(request, piece, busy))
		return QCOW2_WAIT;
	if (!copy_is_there(request))
		return QCOW2_WAIT;
	res = hold(request, piece, &busy);
	if (res != 0)
		return res;
	target = target_of(image, piece, busy->host_offset);
	request->links[request->link_count++] =
		(struct qcow2_link){busy, piece->subclusters, !PLANTED(pull_exposes_early), false};
	if (!mapping_may_write(image, target.host_offset, target.length))
		return image_corrupt(image, "data would be written over metadata",
				     target.host_offset);
	copy_begin(request, piece->copy, nothing, target.host_offset);
	return QCOW2_WAIT;
}

int write_pulled(struct qcow2_request *request, struct byte_range around)
{
	struct qcow2 *image = request->image;
	struct piece piece = {
		.cluster = cluster_of(image, around.begin),
		.whole = cluster_range(image, around.begin),
		.subclusters = mapping_subclusters(image, around),
		.copy = around,
	};
	int res = mapping_entry(image, around.begin, request, &piece.slice, &piece.entry);

	if (res != 0)
		return res;
	if (!piece.slice)
		return mapping_need_table(image, around.begin, request);
	piece.moves = is_shared(&piece);
	if (!image->geometry.extended || piece.moves) {
		piece.copy = piece.whole;
		piece.subclusters = ALL_SUBCLUSTERS;
	}
	return begin_pulled(request, &piece);
}

/* QCOW2_WAIT: what is in the round is to be written first, or it waits. */
LOOP_ONLY static int write_piece(struct qcow2_request *request)
{
	struct qcow2 *image = request->image;
	struct piece piece = next_piece(request);
	int res;

	if (!image_started(image, round_waiter(request)))
		return QCOW2_WAIT;
	res = mapping_entry(image, piece.range.begin, round_waiter(request), &piece.slice,
			    &piece.entry);
	if (res != 0)
		return res;
	if (piece.slice && is_in_place(&piece))
		return add_in_place(request, &piece);
	if (piece.slice)
		return add_linked(request, &piece);
	return mapping_need_table(image, piece.range.begin, round_waiter(request));
}

bool write_is_in_place(struct qcow2 *image, struct byte_range range, uint64_t *host_offset)
{
	uint64_t cluster = cluster_of(image, range.begin);
	struct piece piece = {.range = range};

	if (image->failed || image->start != START_DONE ||
	    cluster_of(image, range.end - 1) != cluster)
		return false;
	piece.subclusters = mapping_subclusters(image, range);
	if (mapping_entry(image, range.begin, NULL, &piece.slice, &piece.entry) != 0 ||
	    !piece.slice || (!is_in_place(&piece) && !PLANTED(copied_out_of_place)))
		return false;
	*host_offset = piece.entry.host_offset + (range.begin - offset_of(image, cluster));
	return mapping_may_write(image, *host_offset, range.end - range.begin);
}

/* -- Rounds -- */

LOOP_ONLY static void release_links(struct qcow2_request *request)
{
	struct qcow2 *image = request->image;

	for (uint32_t i = request->links_done; i < request->link_count; i++) {
		request->links[i].busy->spoiled = true;
		busy_end(image, request->links[i].busy);
	}
	request->link_count = request->links_done = 0;
	copy_end(request);
}

void write_finish(struct qcow2_request *request)
{
	if ((request->flags & LUN_IO_DURABLE) && request->needs_flush && request->res == 0) {
		commit_flush(request);
	} else {
		request_end(request, request->res);
	}
}

void write_fail(struct qcow2_request *request, int res)
{
	request->res = res;
	release_links(request);
	request_end(request, res);
}

void write_plan(struct qcow2_request *request)
{
	uint64_t end = request->offset + request->length;
	int res = request->image->failed ? -EROFS : 0;

	round_begin(request);
	while (res == 0 && request->round_end < end)
		res = write_piece(request);
	if (request->waiting || request->stage != QCOW2_PLAN)
		return;
	if (res < 0) {
		write_fail(request, res);
	} else if (!round_waiter(request)) {
		round_submit(request);
	} else {
		assert(res == 0);
		write_finish(request);
	}
}

void write_plan_piece(struct qcow2_request *request)
{
	int res;

	round_begin(request);
	do {
		res = write_piece(request);
	} while (res == 0 && round_waiter(request));
	if (request->waiting || request->stage != QCOW2_PLAN)
		return;
	if (res < 0) {
		write_fail(request, res);
	} else {
		round_submit(request);
	}
}

void write_round_done(struct qcow2_request *request)
{
	if (request->res < 0) {
		write_fail(request, request->res);
		return;
	}
	request_stage(request, QCOW2_LINK);
	list_append(&request->image->cache->runnable, &request->link);
}

/* The data are written: now the mapping leads to them, one cluster after the other. */
void write_link(struct qcow2_request *request)
{
	struct qcow2 *image = request->image;
	int res = image->failed ? -EROFS : request->res;

	while (res == 0 && request->links_done < request->link_count) {
		struct qcow2_link *link = &request->links[request->links_done];

		res = mapping_link(image, link, request);
		if (res != 0)
			break;
		busy_end(image, link->busy);
		request->links_done++;
	}
	if (request->waiting)
		return;
	if (res < 0) {
		write_fail(request, res);
		return;
	}
	copy_end(request);
	request->at = request->round_end;
	request_stage(request, QCOW2_PLAN);
	list_append(&image->cache->runnable, &request->link);
}
