/*
 * Pieces of READ, WRITE, VERIFY and WRITE AND VERIFY: one stretch of a command's data each, between
 * a buffer of the transport and the medium. Several are under way at once; the first failure is the
 * command's.
 *
 * Threads: the loop of the command. Read next: steps.h, verify.h.
 */
#include <assert.h>
#include <errno.h>

#include "target/scsi/steps.h"
#include "target/scsi/verify.h"

LOOP_ONLY static void end_piece(struct scsi_piece *piece)
{
	piece->ok = !scsi_cmd_has_failed(piece->cmd) && !piece->cmd->aborted;
	piece->zeroes = piece->io.zeroes;
	if (piece->scratch != NULL)
		loop_buffer_release(piece->cmd->loop, piece->scratch);
	piece->scratch = NULL;
	list_remove(&piece->link);
	piece->done(piece);
}

LOOP_ONLY static void on_piece_refused(struct loop_msg *msg)
{
	end_piece(CONTAINER_OF(msg, struct scsi_piece, msg));
}

LOOP_ONLY static int admit_piece(struct lun_io *io)
{
	return scsi_cmd_admit(CONTAINER_OF(io, struct scsi_piece, io)->cmd, io);
}

LOOP_ONLY static bool start_transfer(struct scsi_piece *piece, enum lun_op op);
LOOP_ONLY static bool start_flush(struct scsi_piece *piece);

/* What comes after an I/O that went well. True: another one is under way. */
LOOP_ONLY static bool go_on(struct scsi_piece *piece)
{
	struct scsi_cmd *cmd = piece->cmd;
	enum lun_op done = piece->io.op;

	if (done == LUN_WRITE && scsi_io_is_late(cmd, &piece->io) && !cmd->reads_back)
		return start_flush(piece);
	if ((done == LUN_FLUSH && (cmd->op->flags & OP_WRITES) == 0) ||
	    (done == LUN_WRITE && cmd->reads_back))
		return start_transfer(piece, LUN_READ);
	if (done == LUN_READ && cmd->byte_check != 0) {
		scsi_verify_compare(cmd, piece->offset_bytes, piece->buffer, piece->scratch,
				    piece->length_bytes);
	}
	return false;
}

LOOP_ONLY static void on_piece_done(struct lun_io *io, int res)
{
	struct scsi_piece *piece = CONTAINER_OF(io, struct scsi_piece, io);

	if (res < 0) {
		scsi_cmd_fail_io(piece->cmd, io->op, res);
	} else if (go_on(piece)) {
		return;
	}
	end_piece(piece);
}

/* True: the LUN has it. False: the command has failed, or had. */
LOOP_ONLY static bool submit_io(struct scsi_piece *piece)
{
	struct scsi_cmd *cmd = piece->cmd;
	int res = scsi_cmd_admit(cmd, &piece->io);

	if (res != 0)
		return scsi_cmd_fail_io(cmd, piece->io.op, res);
	lun_io_submit(cmd->lu->lun, cmd->loop, &piece->io);
	return true;
}

/* Nothing more is to be done for it. Where a difference was found, one at a lower offset is still
 * looked for: the lowest is told. */
static bool is_over(const struct scsi_piece *piece)
{
	const struct scsi_cmd *cmd = piece->cmd;

	return scsi_cmd_has_failed(cmd) &&
	       (cmd->miscompare_bytes == UINT64_MAX || piece->offset_bytes > cmd->miscompare_bytes);
}

/* What is compared is wanted in memory. */
static uint32_t transfer_flags(const struct scsi_piece *piece, enum lun_op op)
{
	if (op == LUN_WRITE)
		return scsi_cmd_is_durable(piece->cmd) ? LUN_IO_DURABLE : 0;
	return piece->scratch == NULL ? LUN_IO_ZEROES_SUFFICE : 0;
}

static bool start_transfer(struct scsi_piece *piece, enum lun_op op)
{
	struct scsi_cmd *cmd = piece->cmd;
	struct lun_io *io = &piece->io;
	bool checks = op == LUN_READ && piece->scratch != NULL;

	if (is_over(piece))
		return false;
	io->op = op;
	io->flags = transfer_flags(piece, op);
	io->offset_bytes = cmd->lba * cmd->lu->block_bytes + piece->offset_bytes;
	io->length_bytes = piece->length_bytes;
	io->iov_count = 1;
	io->iov[0].iov_base = checks ? piece->scratch : piece->buffer;
	io->iov[0].iov_len = piece->length_bytes;
	return submit_io(piece);
}

/* Before what is to be read from the medium, and after a write that is late. */
static bool start_flush(struct scsi_piece *piece)
{
	piece->io.op = LUN_FLUSH;
	piece->io.flags = 0;
	piece->io.offset_bytes = 0;
	piece->io.length_bytes = 0;
	piece->io.iov_count = 0;
	return submit_io(piece);
}

LOOP_ONLY static bool start_piece(struct scsi_piece *piece)
{
	struct scsi_cmd *cmd = piece->cmd;

	if (is_over(piece))
		return false;
	if (cmd->byte_check != 0 || cmd->reads_back) {
		piece->scratch = loop_buffer_acquire(cmd->loop);
		if (piece->scratch == NULL)
			return scsi_cmd_fail_io(cmd, LUN_READ, -ENOMEM);
	}
	if (scsi_cmd_flushes_first(cmd))
		return start_flush(piece);
	return start_transfer(piece, (cmd->op->flags & OP_WRITES) != 0 ? LUN_WRITE : LUN_READ);
}

void scsi_piece_submit(struct scsi_piece *piece)
{
	struct scsi_cmd *cmd = piece->cmd;

	assert(cmd->data == SCSI_DATA_IN_MEDIUM || cmd->data == SCSI_DATA_OUT_MEDIUM);
	assert(piece->length_bytes > 0 && piece->length_bytes <= LOOP_BUFFER_BYTES);
	assert(piece->length_bytes % cmd->lu->block_bytes == 0);
	assert(piece->offset_bytes % cmd->lu->block_bytes == 0);
	assert(piece->offset_bytes <= cmd->data_bytes &&
	       piece->length_bytes <= cmd->data_bytes - piece->offset_bytes);
	piece->ok = false;
	piece->io.zeroes = false;
	piece->scratch = NULL;
	lun_io_init(&piece->io);
	piece->io.admit = admit_piece;
	piece->io.done = on_piece_done;
	list_append(&cmd->pieces, &piece->link);
	if (!start_piece(piece))
		loop_post(cmd->loop, &piece->msg, on_piece_refused);
}
