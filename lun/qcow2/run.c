/*
 * Making clusters ready for the reservation (ORDER.md), a run at a time, and the way back: the only
 * code that writes refcounts, and after opening the only one that moves the refcount table. One
 * state machine for both, so that nobody else changes refcounts while it works.
 *
 * Runs on the image's loop. Read next: counts.c.
 */
#include "lun/qcow2/engine.h"

#include "base/bytes.h"

#define EDGE(to) (1u << (to))
#define TABLE_ENTRY_BYTES 8u

static const uint32_t edges[RESERVE_STAGES] = {
	[RESERVE_IDLE] = EDGE(RESERVE_SEARCH) | EDGE(RESERVE_LOWER_READ) | EDGE(RESERVE_PUNCH) |
			 EDGE(RESERVE_LOOK),
	[RESERVE_SEARCH] = EDGE(RESERVE_SEARCH) | EDGE(RESERVE_PUNCH) | EDGE(RESERVE_IDLE),
	[RESERVE_PUNCH] = EDGE(RESERVE_PUNCH) | EDGE(RESERVE_ALLOCATE) | EDGE(RESERVE_IDLE) |
			  EDGE(RESERVE_SEARCH),
	[RESERVE_ALLOCATE] = EDGE(RESERVE_ALLOCATE) | EDGE(RESERVE_COVER) | EDGE(RESERVE_COUNT) |
			     EDGE(RESERVE_IDLE),
	[RESERVE_COVER] = EDGE(RESERVE_COUNT) | EDGE(RESERVE_IDLE),
	[RESERVE_COUNT] = EDGE(RESERVE_TABLE) | EDGE(RESERVE_SYNC) | EDGE(RESERVE_IDLE),
	[RESERVE_TABLE] = EDGE(RESERVE_SYNC) | EDGE(RESERVE_IDLE),
	[RESERVE_SYNC] = EDGE(RESERVE_ENTRY) | EDGE(RESERVE_IDLE),
	[RESERVE_ENTRY] = EDGE(RESERVE_ENTRY_SYNC) | EDGE(RESERVE_IDLE),
	[RESERVE_ENTRY_SYNC] = EDGE(RESERVE_IDLE),
	[RESERVE_LOWER_READ] = EDGE(RESERVE_LOWER_WRITE) | EDGE(RESERVE_IDLE),
	[RESERVE_LOWER_WRITE] = EDGE(RESERVE_IDLE),
	[RESERVE_LOOK] = EDGE(RESERVE_IDLE),
};

LOOP_ONLY static void reserve_stage(struct reserve *reserve, enum reserve_stage to)
{
	assert((edges[reserve->stage] & EDGE(to)) != 0);
	reserve->stage = to;
}

/* -- The run -- */

LOOP_ONLY static void end_run(struct qcow2 *image)
{
	reserve_stage(&image->reserve, RESERVE_IDLE);
	image_kick(image);
}

/* No space: reserve_run tells those who wait, unless clusters are about to come back. */
LOOP_ONLY static void run_out(struct qcow2 *image)
{
	struct reserve *reserve = &image->reserve;

	REACHED(no_space);
	reserve->exhausted = true;
	reserve_run_size(image, 0);
	end_run(image);
}

LOOP_ONLY static void run_failed(struct qcow2 *image, int res)
{
	reserve_stage(&image->reserve, RESERVE_IDLE);
	image_fail(image, res, "refcounts could not be written");
}

static void on_step(struct qcow2_op *op, int res);

LOOP_ONLY static void transfer(struct qcow2 *image, enum reserve_stage stage, void *bytes,
			       uint64_t length, uint64_t offset)
{
	struct reserve *reserve = &image->reserve;
	struct loop_rw rw = {.iov = &reserve->iov, .iov_count = 1, .offset_bytes = offset};

	reserve_stage(reserve, stage);
	reserve->iov = (struct iovec){bytes, length};
	if (stage == RESERVE_SEARCH || stage == RESERVE_LOWER_READ || stage == RESERVE_LOOK) {
		op_read(image, &reserve->op, image, &rw, on_step);
	} else {
		op_write(image, &reserve->op, &rw, on_step);
	}
}

static struct loop_range run_range(const struct qcow2 *image)
{
	return (struct loop_range){offset_of(image, image->reserve.first),
				   offset_of(image, image->reserve.count)};
}

LOOP_ONLY static void enter_count(struct qcow2 *image)
{
	struct reserve *reserve = &image->reserve;
	struct loop_range range = run_range(image);
	uint64_t end = range.offset_bytes + range.length_bytes;

	image->file_bytes = image->file_bytes > end ? image->file_bytes : end;
	counts_raise(image);
	if (PLANTED(no_refcount))
		(void)memset(reserve->counts, 0, image->geometry.slice_bytes);
	transfer(image, RESERVE_COUNT, reserve->counts, image->geometry.slice_bytes,
		 reserve->slice_offset);
}

LOOP_ONLY static void enter_allocate(struct qcow2 *image)
{
	reserve_stage(&image->reserve, RESERVE_ALLOCATE);
	if (PLANTED(size_not_extended)) {
		enter_count(image);
		return;
	}
	op_range(image, &image->reserve.op, LOOP_OP_ALLOCATE, run_range(image), on_step);
}

/* What lies inside the file may hold anything. */
LOOP_ONLY static void enter_punch(struct qcow2 *image)
{
	struct loop_range range = run_range(image);

	reserve_stage(&image->reserve, RESERVE_PUNCH);
	if (range.offset_bytes >= image->file_bytes) {
		enter_allocate(image);
		return;
	}
	REACHED(run_inside_file);
	op_range(image, &image->reserve.op, LOOP_OP_DISCARD, range, on_step);
}

LOOP_ONLY static void search(struct qcow2 *image)
{
	struct reserve *reserve = &image->reserve;
	int res = -EAGAIN;

	if (!counts_locate(image, reserve->first))
		res = counts_lay_out(image);
	if (res == 0) {
		REACHED(refcount_block_new);
		enter_punch(image);
	} else if (res == -EAGAIN) {
		transfer(image, RESERVE_SEARCH, reserve->counts, image->geometry.slice_bytes,
			 reserve->slice_offset);
	} else {
		run_out(image);
	}
}

LOOP_ONLY static void on_searched(struct qcow2 *image, int res)
{
	struct reserve *reserve = &image->reserve;

	if (res < 0) {
		run_failed(image, res);
		return;
	}
	vector_zero(reserve->op.of.iov, reserve->op.of.iov_count);
	if (counts_find_run(image)) {
		enter_punch(image);
	} else {
		search(image);
	}
}

/* Without holes only what is behind the end of the file is known to be zero. */
LOOP_ONLY static void on_punched(struct qcow2 *image, int res)
{
	struct reserve *reserve = &image->reserve;
	uint64_t end = cluster_of(image, image->file_bytes);

	if (res == 0) {
		enter_allocate(image);
	} else if (reserve->first < end) {
		REACHED(punch_refused);
		reserve->first = end;
		search(image);
	} else {
		run_failed(image, res);
	}
}

LOOP_ONLY static void on_allocated(struct qcow2 *image, int res)
{
	struct reserve *reserve = &image->reserve;
	struct loop_range range = run_range(image);
	uint64_t end = range.offset_bytes + range.length_bytes;
	uint64_t needed = reserve->new_block ? 1u + reserve->new_table_clusters : 0;

	if (res == 0) {
		enter_count(image);
	} else if ((res == -ENOSPC || res == -EDQUOT || res == -EFBIG) &&
		   reserve->count > needed + 1) {
		reserve->count = needed + 1;
		enter_allocate(image);
	} else if (res == -EOPNOTSUPP || res == -ENOSYS) {
		/* The file system has no fallocate: the size is what counts. */
		transfer(image, RESERVE_COVER, zero_bytes, image->unit_bytes,
			 end - image->unit_bytes);
	} else {
		run_out(image);
	}
}

LOOP_ONLY static void on_covered(struct qcow2 *image, int res)
{
	if (res < 0) {
		run_out(image);
	} else {
		enter_count(image);
	}
}

/* The new block's entry, in memory: it is in the table that is about to be written. */
static uint8_t *table_entry(struct qcow2 *image)
{
	struct reserve *reserve = &image->reserve;
	uint64_t index = reserve->first / image->geometry.refcount_block_entries;
	uint8_t *at = image->table_bytes + index * TABLE_ENTRY_BYTES;

	put_be64(at, reserve->block_offset);
	return at;
}

static void on_synced(struct qcow2 *image, int res);

LOOP_ONLY static void sync_now(struct qcow2 *image, enum reserve_stage stage)
{
	reserve_stage(&image->reserve, stage);
	image->reserve.sync.done = on_synced;
	sync_add(image, &image->reserve.sync);
}

LOOP_ONLY static void enter_entry(struct qcow2 *image);

LOOP_ONLY static void enter_sync(struct qcow2 *image)
{
	if ((image->reserve.new_block && PLANTED(entry_with_refcount_block)) ||
	    (image->reserve.new_table_clusters > 0 && PLANTED(header_with_refcount_table))) {
		reserve_stage(&image->reserve, RESERVE_SYNC);
		enter_entry(image);
	} else {
		sync_now(image, RESERVE_SYNC);
	}
}

LOOP_ONLY static void on_table_written(struct qcow2 *image, int res)
{
	if (res < 0) {
		run_failed(image, res);
	} else {
		enter_sync(image);
	}
}

LOOP_ONLY static void on_counted(struct qcow2 *image, int res)
{
	struct reserve *reserve = &image->reserve;
	uint64_t bytes = (uint64_t)reserve->new_table_clusters * image->geometry.cluster_bytes;

	if (res < 0) {
		run_failed(image, res);
	} else if (reserve->new_table_clusters > 0) {
		REACHED(refcount_table_relocated);
		(void)table_entry(image);
		transfer(image, RESERVE_TABLE, image->table_bytes, bytes,
			 reserve->new_table_offset);
	} else {
		enter_sync(image);
	}
}

/* -- Durable -- */

LOOP_ONLY static void remember_tables(struct qcow2 *image)
{
	struct reserve *reserve = &image->reserve;
	bool is_new = true;

	for (uint64_t i = 0; i <= reserve->new_table_clusters; i++)
		is_new &= metadata_add(&image->metadata, reserve->first + i);
	assert(is_new);
	if (reserve->new_table_clusters == 0)
		return;
	for (uint64_t i = 0; i < reserve->old_table_clusters; i++)
		metadata_remove(&image->metadata, cluster_of(image, reserve->old_table_offset) + i);
	quarantine_free(image, cluster_of(image, reserve->old_table_offset),
			reserve->old_table_clusters, false);
}

LOOP_ONLY static void ready(struct qcow2 *image)
{
	struct reserve *reserve = &image->reserve;
	uint64_t needed = reserve->new_block ? 1u + reserve->new_table_clusters : 0;
	struct hosts *hosts = hosts_take(image);

	if (reserve->new_block)
		remember_tables(image);
	reserve->search_from = reserve->first + reserve->count;
	/* Some are kept for this. */
	assert(hosts);
	hosts->first = reserve->first + needed;
	hosts->count = reserve->count - needed;
	reserve_run_size(image, 2 * reserve->run_clusters);
	reserve_give(image, hosts);
	end_run(image);
}

/* The header names the larger table: its first sector is written at once. */
LOOP_ONLY static void enter_header(struct qcow2 *image)
{
	struct reserve *reserve = &image->reserve;

	reserve->old_table_offset = image->header.refcount_table_offset;
	reserve->old_table_clusters = image->header.refcount_table_clusters;
	image->header.refcount_table_offset = reserve->new_table_offset;
	image->header.refcount_table_clusters = reserve->new_table_clusters;
	header_set_refcount_table(image);
	reserve_stage(reserve, RESERVE_ENTRY);
	reserve->sync.done = on_synced;
	header_write(image, &reserve->sync);
}

LOOP_ONLY static void enter_entry(struct qcow2 *image)
{
	uint64_t inside;

	if (image->reserve.new_table_clusters > 0) {
		enter_header(image);
		return;
	}
	inside = (uint64_t)(table_entry(image) - image->table_bytes);
	inside -= inside % image->unit_bytes;
	transfer(image, RESERVE_ENTRY, image->table_bytes + inside, image->unit_bytes,
		 image->header.refcount_table_offset + inside);
}

LOOP_ONLY static void on_entry_written(struct qcow2 *image, int res)
{
	if (res < 0) {
		run_failed(image, res);
		return;
	}
	sync_now(image, RESERVE_ENTRY_SYNC);
}

static void on_synced(struct qcow2 *image, int res)
{
	struct reserve *reserve = &image->reserve;

	loop_role_assume();
	if (res < 0) {
		reserve_stage(reserve, RESERVE_IDLE);
	} else if (reserve->stage == RESERVE_SYNC && reserve->new_block) {
		enter_entry(image);
	} else if (reserve->stage == RESERVE_ENTRY) {
		/* The header, which brings its fdatasync with it. */
		reserve_stage(reserve, RESERVE_ENTRY_SYNC);
		ready(image);
	} else {
		ready(image);
	}
}

/* -- Clusters that go back -- */

void lower_begin(struct qcow2 *image)
{
	struct reserve *reserve = &image->reserve;
	struct hosts *hosts = hosts_first(&reserve->lower);

	assert(hosts);
	if (!counts_locate(image, hosts->first)) {
		(void)image_corrupt(image, "a cluster in use without refcount",
				    offset_of(image, hosts->first));
		return;
	}
	transfer(image, RESERVE_LOWER_READ, reserve->counts, image->geometry.slice_bytes,
		 reserve->slice_offset);
}

LOOP_ONLY static void on_lower_read(struct qcow2 *image, int res)
{
	struct reserve *reserve = &image->reserve;
	struct hosts *hosts = hosts_first(&reserve->lower);
	uint64_t first;

	assert(hosts);
	first = hosts->first;
	if (res < 0) {
		run_failed(image, res);
		return;
	}
	vector_zero(reserve->op.of.iov, reserve->op.of.iov_count);
	if (counts_lower(image, hosts) != 0) {
		reserve_stage(reserve, RESERVE_IDLE);
		(void)image_corrupt(image, "a cluster in use with refcount 0",
				    offset_of(image, hosts->first));
		return;
	}
	reserve->search_from = first < reserve->search_from ? first : reserve->search_from;
	transfer(image, RESERVE_LOWER_WRITE, reserve->counts, image->geometry.slice_bytes,
		 reserve->slice_offset);
}

LOOP_ONLY static void on_lowered(struct qcow2 *image, int res)
{
	struct reserve *reserve = &image->reserve;
	struct hosts *hosts = hosts_first(&reserve->lower);

	if (res < 0) {
		run_failed(image, res);
		return;
	}
	assert(hosts);
	REACHED(refcount_lowered);
	if (hosts->count == 0)
		hosts_drop(image, hosts);
	reserve->exhausted = false;
	end_run(image);
}

/* -- For recovery -- */

void look_begin(struct qcow2 *image, uint64_t cluster)
{
	struct reserve *reserve = &image->reserve;
	uint64_t per_block = image->geometry.refcount_block_entries;

	if (counts_locate(image, cluster)) {
		transfer(image, RESERVE_LOOK, reserve->counts, image->geometry.slice_bytes,
			 reserve->slice_offset);
	} else {
		recover_no_counts(image, (cluster / per_block + 1) * per_block);
	}
}

LOOP_ONLY static void on_looked(struct qcow2 *image, int res)
{
	struct reserve *reserve = &image->reserve;

	vector_zero(reserve->op.of.iov, reserve->op.of.iov_count);
	recover_counts(image, res);
	end_run(image);
}

/* -- Steps -- */

static void (*const steps[RESERVE_STAGES])(struct qcow2 *image, int res) = {
	[RESERVE_SEARCH] = on_searched,     [RESERVE_PUNCH] = on_punched,
	[RESERVE_ALLOCATE] = on_allocated,  [RESERVE_COVER] = on_covered,
	[RESERVE_COUNT] = on_counted,       [RESERVE_TABLE] = on_table_written,
	[RESERVE_ENTRY] = on_entry_written, [RESERVE_LOWER_READ] = on_lower_read,
	[RESERVE_LOWER_WRITE] = on_lowered, [RESERVE_LOOK] = on_looked,
};

static void on_step(struct qcow2_op *op, int res)
{
	struct reserve *reserve = CONTAINER_OF(op, struct reserve, op);
	struct qcow2 *image = CONTAINER_OF(reserve, struct qcow2, reserve);

	loop_role_assume();
	if (image->failed) {
		end_run(image);
	} else {
		steps[reserve->stage](image, res);
	}
	requests_run(image->cache, image->loop);
}

void run_begin(struct qcow2 *image)
{
	image->reserve.first = image->reserve.search_from;
	image->reserve.new_block = false;
	search(image);
}
