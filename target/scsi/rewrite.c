/*
 * Read, look, write, as one against all other changes of the same blocks; see rewrite.h.
 *
 * Two things can be under way at a time: the range (asked for, held, or on its way back) and one
 * I/O. The command ends when neither is. An abort gives the range back at once, behind the orphan
 * that protects a write which the image still has, so nobody waits for it longer than for any
 * other aborted write.
 */
#include "target/scsi/rewrite.h"

#include <assert.h>
#include <string.h>

#include "target/scsi/steps.h"

#define PAGE_BYTES 4096u

struct scsi_rewrite {
	struct scsi_cmd *cmd;
	scsi_rewrite_fn *rewrite;
	struct lun_exclusive range;
	uint64_t blocks_at; /* Where in the command's memory the blocks stand that were read. */
	bool holds;         /* The range was asked for and not given back. */
	bool leaves;        /* It was given back and `released` has not run. */
};

static_assert(sizeof(struct scsi_rewrite) <= PAGE_BYTES, "the record fits its page");

static uint64_t whole_pages(uint64_t bytes)
{
	return (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
}

static uint64_t range_bytes(const struct scsi_cmd *cmd)
{
	return cmd->block_count * cmd->lu->block_bytes;
}

void scsi_rewrite_reserve(struct scsi_cmd *cmd, uint64_t data_bytes)
{
	/* On both sides less than what the image moves at once. */
	uint64_t edges = 2ull * (cmd->lu->limits->io_align_bytes - cmd->lu->block_bytes);

	cmd->data_bytes = data_bytes;
	cmd->reserve_bytes = whole_pages(data_bytes) + PAGE_BYTES + range_bytes(cmd) + edges;
	assert(cmd->reserve_bytes <= SCSI_RESERVE_MAX);
}

/* -- Memory -- */

/* How far the memory at an offset is contiguous. */
static uint64_t room_at(uint64_t offset)
{
	return LOOP_BUFFER_BYTES - offset % LOOP_BUFFER_BYTES;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

bool scsi_rewrite_walk(struct scsi_cmd *cmd, uint64_t data_at, scsi_rewrite_look_fn *look)
{
	const struct scsi_rewrite *rewrite = cmd->rewrite;
	uint64_t at = rewrite->blocks_at + rewrite->range.offset_bytes - rewrite->range.begin;
	uint64_t left = range_bytes(cmd);

	while (left > 0) {
		uint64_t bytes = min_u64(left, min_u64(room_at(at), room_at(data_at)));

		if (!look(cmd, data_at, cmd->at(cmd, data_at), cmd->at(cmd, at), (uint32_t)bytes))
			return false;
		at += bytes;
		data_at += bytes;
		left -= bytes;
	}
	return true;
}

/* The whole range, rounded out, between the image and the command's memory. */
static void fill_io(struct scsi_cmd *cmd, struct lun_io *io)
{
	const struct scsi_rewrite *rewrite = cmd->rewrite;
	uint64_t at = rewrite->blocks_at;
	uint64_t left = rewrite->range.end - rewrite->range.begin;

	io->offset_bytes = rewrite->range.begin;
	io->length_bytes = left;
	assert(at + left <= cmd->reserve_bytes);
	while (left > 0) {
		struct iovec *iov = &io->iov[io->iov_count++];

		assert(io->iov_count <= LUN_IOV_MAX);
		iov->iov_base = cmd->at(cmd, at);
		iov->iov_len = (size_t)min_u64(left, room_at(at));
		at += iov->iov_len;
		left -= iov->iov_len;
	}
}

/* -- The end -- */

LOOP_ONLY static void end_if_idle(struct scsi_cmd *cmd)
{
	if (cmd->running || cmd->rewrite->holds || cmd->rewrite->leaves)
		return;
	cmd->rewrite = NULL;
	cmd->done(cmd);
}

LOOP_ONLY static void give_range_back(struct scsi_rewrite *rewrite)
{
	if (!rewrite->holds)
		return;
	rewrite->holds = false;
	rewrite->leaves = true;
	lun_exclusive_release(&rewrite->range);
}

static void on_released(struct lun_exclusive *range)
{
	struct scsi_rewrite *rewrite = CONTAINER_OF(range, struct scsi_rewrite, range);

	loop_role_assume();
	rewrite->leaves = false;
	end_if_idle(rewrite->cmd);
}

/* -- The two I/Os, and a flush if the write was late -- */

LOOP_ONLY static int admit(struct lun_io *io)
{
	return scsi_cmd_admit(CONTAINER_OF(io, struct scsi_cmd, io), io);
}

LOOP_ONLY static void on_io_done(struct lun_io *io, int res);

/* True: it is under way. False: the command has failed. */
LOOP_ONLY static bool submit(struct scsi_cmd *cmd, enum lun_op op)
{
	struct lun_io *io = &cmd->io;
	int res;

	lun_io_init(io);
	io->op = op;
	io->flags = op == LUN_WRITE && scsi_cmd_is_durable(cmd) ? LUN_IO_DURABLE : 0;
	io->admit = admit;
	io->done = on_io_done;
	if (op != LUN_FLUSH)
		fill_io(cmd, io);
	res = scsi_cmd_admit(cmd, io);
	if (res != 0)
		return scsi_cmd_fail_io(cmd, op, res);
	cmd->running = true;
	lun_io_submit_exclusive(&cmd->rewrite->range, io);
	return true;
}

/* What comes after an I/O that went well. True: another one is under way. */
LOOP_ONLY static bool go_on(struct scsi_cmd *cmd, enum lun_op done)
{
	if (scsi_cmd_has_failed(cmd))
		return false;
	if (done == LUN_WRITE && scsi_io_is_late(cmd, &cmd->io))
		return submit(cmd, LUN_FLUSH);
	return done == LUN_READ && cmd->rewrite->rewrite(cmd) && submit(cmd, LUN_WRITE);
}

static void on_io_done(struct lun_io *io, int res)
{
	struct scsi_cmd *cmd = CONTAINER_OF(io, struct scsi_cmd, io);

	cmd->running = false;
	if (res < 0) {
		scsi_cmd_fail_io(cmd, io->op, res);
	} else if (go_on(cmd, io->op)) {
		return;
	}
	give_range_back(cmd->rewrite);
	end_if_idle(cmd);
}

/* -- The beginning -- */

static void on_granted(struct lun_exclusive *range)
{
	struct scsi_rewrite *rewrite = CONTAINER_OF(range, struct scsi_rewrite, range);

	loop_role_assume();
	if (!submit(rewrite->cmd, LUN_READ))
		give_range_back(rewrite);
}

bool scsi_rewrite_start(struct scsi_cmd *cmd, scsi_rewrite_fn *rewrite)
{
	uint64_t record_at = whole_pages(cmd->data_bytes);
	struct scsi_rewrite *record = (void *)cmd->at(cmd, record_at);

	memset(record, 0, sizeof(*record));
	record->cmd = cmd;
	record->rewrite = rewrite;
	record->blocks_at = record_at + PAGE_BYTES;
	record->range.offset_bytes = cmd->lba * cmd->lu->block_bytes;
	record->range.length_bytes = range_bytes(cmd);
	record->range.granted = on_granted;
	record->range.released = on_released;
	record->holds = true;
	cmd->rewrite = record;
	lun_exclusive_acquire(cmd->lu->lun, cmd->loop, &record->range);
	return false;
}

void scsi_rewrite_abort(struct scsi_cmd *cmd)
{
	give_range_back(cmd->rewrite);
}
