/*
 * Pieces of READ, WRITE and VERIFY: one stretch of a command's data each, between a buffer of the
 * transport and the medium. Several are under way at once; the first failure is the command's.
 *
 * Threads: the loop of the command. Read next: steps.h, verify.h.
 */
#include <assert.h>

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

LOOP_ONLY static bool start_transfer(struct scsi_piece *piece);
LOOP_ONLY static bool start_flush(struct scsi_piece *piece);

LOOP_ONLY static void on_piece_done(struct lun_io *io, int res)
{
	struct scsi_piece *piece = CONTAINER_OF(io, struct scsi_piece, io);
	struct scsi_cmd *cmd = piece->cmd;

	if (res < 0) {
		scsi_cmd_fail_io(cmd, io->op, res);
	} else if (io->op == LUN_WRITE && scsi_io_is_late(cmd, io) && start_flush(piece)) {
		return;
	} else if (io->op == LUN_FLUSH && cmd->data == SCSI_DATA_IN_MEDIUM &&
		   start_transfer(piece)) {
		return;
	} else if (piece->scratch != NULL) {
		scsi_verify_compare(cmd, piece->offset_bytes, piece->buffer, piece->scratch,
				    piece->length_bytes);
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

/* VERIFY compares with what was read, so it wants all of it in memory. */
static uint32_t transfer_flags(const struct scsi_piece *piece)
{
	const struct scsi_cmd *cmd = piece->cmd;

	if ((cmd->op->flags & OP_WRITES) != 0)
		return scsi_cmd_is_durable(cmd) ? LUN_IO_DURABLE : 0;
	return piece->scratch == NULL ? LUN_IO_ZEROES_SUFFICE : 0;
}

static bool start_transfer(struct scsi_piece *piece)
{
	struct scsi_cmd *cmd = piece->cmd;
	struct lun_io *io = &piece->io;
	bool writes = (cmd->op->flags & OP_WRITES) != 0;

	if (scsi_cmd_has_failed(cmd))
		return false;
	io->op = writes ? LUN_WRITE : LUN_READ;
	io->flags = transfer_flags(piece);
	io->offset_bytes = cmd->lba * cmd->lu->block_bytes + piece->offset_bytes;
	io->length_bytes = piece->length_bytes;
	io->iov_count = 1;
	io->iov[0].iov_base = piece->scratch != NULL ? piece->scratch : piece->buffer;
	io->iov[0].iov_len = piece->length_bytes;
	return submit_io(piece);
}

/* FUA of a read, SBC-3 5.9: what a volatile cache holds goes to the medium before it is read. And a
 * write that is late, after it. */
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

	if (scsi_cmd_has_failed(cmd))
		return false;
	if (cmd->byte_check != 0) {
		piece->scratch = loop_buffer_acquire(cmd->loop);
		if (piece->scratch == NULL) {
			scsi_cmd_set_status(cmd, SCSI_BUSY);
			return false;
		}
	}
	if (cmd->data == SCSI_DATA_IN_MEDIUM && cmd->durable && cmd->lu->limits->write_cache &&
	    !lun_state(cmd->lu->lun)->read_only)
		return start_flush(piece);
	return start_transfer(piece);
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
