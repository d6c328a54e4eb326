/*
 * Groups: how changes of the mapping reach the disk (ORDER.md). One group is open, one at most is
 * on its way; this file moves it through its stages and answers who waited for it. With sync.c the
 * only place where the order of writes is decided.
 *
 * Runs on the image's loop. Read next: ORDER.md, sync.c, quarantine.c.
 */
#include "lun/qcow2/engine.h"

#include "base/bytes.h"
#include "base/log.h"

#define EDGE(to) (1u << (to))

static const uint32_t edges[COMMIT_STAGES] = {
	[COMMIT_IDLE] = EDGE(COMMIT_PRE),
	[COMMIT_PRE] = EDGE(COMMIT_F1) | EDGE(COMMIT_MAP) | EDGE(COMMIT_IDLE),
	[COMMIT_F1] = EDGE(COMMIT_MAP) | EDGE(COMMIT_IDLE),
	[COMMIT_MAP] = EDGE(COMMIT_F2) | EDGE(COMMIT_IDLE),
	[COMMIT_F2] = EDGE(COMMIT_IDLE),
};

LOOP_ONLY static void commit_stage(struct commit *commit, enum commit_stage to)
{
	assert((edges[commit->stage] & EDGE(to)) != 0);
	commit->stage = to;
}

void commit_init(struct qcow2 *image)
{
	struct commit *commit = &image->commit;

	commit->open = 1;
	list_init(&commit->dirty);
	list_init(&commit->sealed);
	list_init(&commit->written);
	list_init(&commit->flushing);
	list_init(&commit->answered);
	list_init(&commit->waiting);
	list_init(&commit->free_ios);
	for (uint32_t i = 0; i < COMMIT_IOS; i++) {
		commit->ios[i].image = image;
		list_append(&commit->free_ios, &commit->ios[i].link);
	}
}

uint32_t commit_seal_count(const struct qcow2 *image)
{
	/* A quarter of the cache, so that there are slices for others, and for copies. */
	uint32_t share = pool_count(&image->cache->pool) / 4;

	return share < DIRTY_SEAL ? share : DIRTY_SEAL;
}

/* -- Joining the open group -- */

static void on_timer(struct loop_timer *timer)
{
	struct commit *commit = CONTAINER_OF(timer, struct commit, timer);
	struct qcow2 *image = CONTAINER_OF(commit, struct qcow2, commit);

	loop_role_assume();
	REACHED(commit_timer);
	commit_want(image);
	requests_run(image->cache, image->loop);
}

void commit_note(struct qcow2 *image)
{
	struct commit *commit = &image->commit;

	commit->changed = true;
	if (commit->dirty_count >= commit_seal_count(image))
		commit_want(image);
	else if (!loop_timer_is_armed(&commit->timer))
		loop_timer_start(image->loop, &commit->timer, COMMIT_MS, on_timer);
}

void commit_want(struct qcow2 *image)
{
	if (image->commit.wanted)
		return;
	image->commit.wanted = true;
	image_kick(image);
}

void commit_flush(struct qcow2_request *request)
{
	struct qcow2 *image = request->image;
	struct commit *commit = &image->commit;

	request_stage(request, QCOW2_FLUSH);
	if (PLANTED(flush_joins_running) && commit->stage != COMMIT_IDLE)
		list_append(&commit->answered, &request->link);
	else
		list_append(&commit->flushing, &request->link);
	commit_want(image);
}

/* -- One group -- */

/* True when no durable L1 entry leads to the slice's table. */
static bool is_early(const struct slice *slice)
{
	const struct qcow2 *image = slice->image;
	uint64_t durable = get_be64(image->l1_bytes + (size_t)slice->l1_index * sizeof(uint64_t));

	return durable != image->l1[slice->l1_index];
}

/* The bytes of the L1 table that this group writes, and no later one changes meanwhile. */
LOOP_ONLY static void seal_l1(struct qcow2 *image)
{
	uint32_t per_unit = image->l1_unit_entries;

	for (uint32_t word = 0; word < image->l1_words; word++) {
		uint64_t bits = image->l1_dirty[word];

		image->l1_sealed[word] = bits;
		image->l1_dirty[word] = 0;
		for (; bits != 0; bits &= bits - 1) {
			uint32_t unit = word * 64 + (uint32_t)__builtin_ctzll(bits);
			uint32_t first = unit * per_unit;

			for (uint32_t i = first; i < first + per_unit && i < image->l1_count; i++)
				put_be64(image->l1_bytes + (size_t)i * sizeof(uint64_t),
					 image->l1[i]);
		}
	}
}

LOOP_ONLY static void seal(struct qcow2 *image)
{
	struct commit *commit = &image->commit;

	LIST_FOREACH (node, &commit->dirty) {
		struct slice *slice = CONTAINER_OF(node, struct slice, link);

		slice->state = SLICE_SEALED;
		slice->early = is_early(slice);
		commit->sealed_needs_f1 |= slice->early;
	}
	list_splice(&commit->sealed, &commit->dirty);
	seal_l1(image);
	list_splice(&commit->answered, &commit->flushing);
	commit->sealed_needs_f1 |= commit->needs_f1;
	commit->needs_f1 = commit->changed = commit->wanted = false;
	commit->dirty_count = 0;
	commit->open++;
	commit->res = 0;
	loop_timer_stop(image->loop, &commit->timer);
}

LOOP_ONLY static void commit_pump(struct qcow2 *image);

static void on_written(struct qcow2_op *op, int res)
{
	struct commit_io *io = CONTAINER_OF(op, struct commit_io, op);
	struct qcow2 *image = io->image;
	struct commit *commit = &image->commit;

	loop_role_assume();
	list_append(&commit->free_ios, &io->link);
	commit->ios_running--;
	if (res < 0 || image->failed)
		commit->res = res < 0 ? res : image->failed;
	commit_pump(image);
	requests_run(image->cache, image->loop);
}

LOOP_ONLY static void write_bytes(struct qcow2 *image, void *bytes, uint32_t length,
				  uint64_t offset)
{
	struct commit *commit = &image->commit;
	struct commit_io *io =
		CONTAINER_OF(list_take_first(&commit->free_ios), struct commit_io, link);
	struct loop_rw rw = {.iov = &io->iov, .iov_count = 1, .offset_bytes = offset};

	io->iov = (struct iovec){bytes, length};
	commit->ios_running++;
	op_write(image, &io->op, &rw, on_written);
}

/* PRE: tables that are new. MAP: all that is left. */
LOOP_ONLY static struct slice *next_slice(struct commit *commit)
{
	LIST_FOREACH (node, &commit->sealed) {
		struct slice *slice = CONTAINER_OF(node, struct slice, link);

		if (commit->stage == COMMIT_MAP || slice->early) {
			list_remove(&slice->link);
			list_append(&commit->written, &slice->link);
			return slice;
		}
	}
	return NULL;
}

LOOP_ONLY static bool write_next_l1(struct qcow2 *image)
{
	struct commit *commit = &image->commit;

	for (; commit->l1_at < image->l1_words * 64; commit->l1_at++) {
		uint64_t bit = UINT64_C(1) << commit->l1_at % 64;
		uint64_t inside = (uint64_t)commit->l1_at * image->unit_bytes;

		if ((image->l1_sealed[commit->l1_at / 64] & bit) == 0)
			continue;
		image->l1_sealed[commit->l1_at / 64] &= ~bit;
		write_bytes(image, image->l1_bytes + inside, image->unit_bytes,
			    image->header.l1_offset + inside);
		return true;
	}
	return false;
}

/* False: all of the stage is under way. */
LOOP_ONLY static bool write_next(struct qcow2 *image)
{
	struct slice *slice = next_slice(&image->commit);

	if (slice) {
		write_bytes(image, slice->bytes, image->geometry.slice_bytes, slice->file_offset);
		return true;
	}
	return (image->commit.stage == COMMIT_MAP || PLANTED(early_l1)) && write_next_l1(image);
}

LOOP_ONLY static void commit_end(struct qcow2 *image)
{
	struct commit *commit = &image->commit;

	commit_stage(commit, COMMIT_IDLE);
	commit->done = commit->open - 1;
	commit->sealed_needs_f1 = false;
	while (!list_is_empty(&commit->written))
		slice_settle(CONTAINER_OF(list_first(&commit->written), struct slice, link));
	while (!list_is_empty(&commit->answered))
		request_end(CONTAINER_OF(list_take_first(&commit->answered), struct qcow2_request,
					 link),
			    0);
	request_wake_all(&commit->waiting, 0);
	quarantine_advance(image);
	image_kick(image);
}

/* What it has written stays as it is: nobody knows what of it the disk has. */
LOOP_ONLY static void commit_fail(struct qcow2 *image, int res)
{
	commit_stage(&image->commit, COMMIT_IDLE);
	image_fail(image, res, "a group of changes could not be written");
	image_kick(image);
}

/* After PRE. False: F1 has to come first. */
LOOP_ONLY static bool may_enter_map(struct qcow2 *image)
{
	struct commit *commit = &image->commit;

	if (!commit->sealed_needs_f1 || PLANTED(no_f1)) {
		commit_stage(commit, COMMIT_MAP);
		return true;
	}
	REACHED(commit_f1);
	commit_stage(commit, COMMIT_F1);
	sync_add(image, &commit->sync);
	return false;
}

LOOP_ONLY static void enter_f2(struct qcow2 *image)
{
	commit_stage(&image->commit, COMMIT_F2);
	if (PLANTED(no_f2)) {
		commit_end(image);
	} else {
		sync_add(image, &image->commit.sync);
	}
}

/* Keep writing, and go on when all of the stage is written. */
LOOP_ONLY static void commit_pump(struct qcow2 *image)
{
	struct commit *commit = &image->commit;
	bool goes_on = true;

	while (goes_on) {
		while (commit->res == 0 && !list_is_empty(&commit->free_ios) && write_next(image))
			;
		if (commit->ios_running > 0)
			return;
		if (commit->res < 0) {
			commit_fail(image, commit->res);
			return;
		}
		goes_on = commit->stage == COMMIT_PRE && may_enter_map(image);
	}
	if (commit->stage == COMMIT_MAP)
		enter_f2(image);
}

static void on_synced(struct qcow2 *image, int res)
{
	loop_role_assume();
	if (res < 0) {
		commit_fail(image, res);
	} else if (image->commit.stage == COMMIT_F1) {
		commit_stage(&image->commit, COMMIT_MAP);
		commit_pump(image);
	} else {
		commit_end(image);
	}
}

/* Of an image that failed: what it changed stays unwritten, and reads show the disk again. */
LOOP_ONLY static void commit_drop(struct qcow2 *image)
{
	struct commit *commit = &image->commit;

	slices_drop(image->cache, &commit->dirty);
	slices_drop(image->cache, &commit->sealed);
	slices_drop(image->cache, &commit->written);
	commit->dirty_count = 0;
}

void commit_run(struct qcow2 *image)
{
	struct commit *commit = &image->commit;

	if (commit->stage != COMMIT_IDLE)
		return;
	if (image->failed)
		commit_drop(image);
	if (image->failed || !commit->wanted)
		return;
	seal(image);
	commit->l1_at = 0;
	commit->sync.done = on_synced;
	commit_stage(commit, COMMIT_PRE);
	commit_pump(image);
}

void flush_plan(struct qcow2_request *request)
{
	struct qcow2 *image = request->image;

	if (image->failed) {
		request_end(request, -EIO);
	} else if (image->read_only) {
		request_end(request, 0);
	} else {
		commit_flush(request);
	}
}
