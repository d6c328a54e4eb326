/*
 * The engine of commands in steps: next, submit, done, again. It knows no command.
 *
 * Threads: the loop of the command. Read next: write_same.c, unmap.c, verify.c.
 */
#include "target/scsi/steps.h"

#include <assert.h>
#include <errno.h>

#include "base/checked.h"
#include "target/scsi/port_groups.h"
#include "target/scsi/reservation.h"

bool scsi_cmd_take_scratch(struct scsi_cmd *cmd)
{
	cmd->scratch = loop_buffer_acquire(cmd->loop);
	if (cmd->scratch != NULL)
		return true;
	/* Not TASK SET FULL: that speaks of too many commands, and hosts then send fewer. */
	scsi_cmd_set_status(cmd, SCSI_BUSY);
	return false;
}

void scsi_cmd_give_scratch(struct scsi_cmd *cmd)
{
	if (cmd->scratch == NULL)
		return;
	loop_buffer_release(cmd->loop, cmd->scratch);
	cmd->scratch = NULL;
}

void scsi_io_repeat(struct lun_io *io, uint8_t *buffer, uint64_t length_bytes)
{
	assert(length_bytes <= STEP_MOVE_BYTES_MAX);
	io->iov_count = 0;
	while (length_bytes > 0) {
		struct iovec *iov = &io->iov[io->iov_count++];

		iov->iov_base = buffer;
		iov->iov_len =
			length_bytes < LOOP_BUFFER_BYTES ? (size_t)length_bytes : LOOP_BUFFER_BYTES;
		length_bytes -= iov->iov_len;
	}
}

void scsi_io_next_range(const struct scsi_cmd *cmd, struct lun_io *io, uint64_t total_bytes,
			uint64_t max)
{
	uint64_t left = total_bytes - cmd->progress_bytes;

	io->offset_bytes = cmd->lba * cmd->lu->block_bytes + cmd->progress_bytes;
	io->length_bytes = left < max ? left : max;
}

static bool op_changes_medium(enum lun_op op)
{
	return op == LUN_WRITE || op == LUN_UNMAP || op == LUN_ZERO;
}

int scsi_cmd_admit(const struct scsi_cmd *cmd, const struct lun_io *io)
{
	const struct lun_state *state = lun_state(cmd->lu->lun);

	if (cmd->aborted)
		return -ECANCELED;
	if (scsi_reservation_conflicts(cmd))
		return -EACCES;
	if (!scsi_access_serves(cmd))
		return -EHOSTUNREACH;
	if (!state->online)
		return -ENODEV;
	if (state->read_only && op_changes_medium(io->op))
		return -EROFS;
	if (scsi_lu_mode(cmd->lu)->write_protect && op_changes_medium(io->op))
		return -EPERM;
	/* The LUN may have shrunk since the CDB was checked. */
	if (io->op != LUN_FLUSH &&
	    !checked_range(io->offset_bytes, io->length_bytes, state->size_bytes))
		return -ERANGE;
	return 0;
}

LOOP_ONLY static int admit_step(struct lun_io *io)
{
	return scsi_cmd_admit(CONTAINER_OF(io, struct scsi_cmd, io), io);
}

LOOP_ONLY static void on_step_done(struct lun_io *io, int res);

/* The last step, where one before it was late. */
static bool next_late_flush(struct scsi_cmd *cmd, struct lun_io *io)
{
	bool late = cmd->late;

	cmd->late = false;
	io->op = LUN_FLUSH;
	return late;
}

/* True: a step is under way. False: there is none, or the command has failed. */
LOOP_ONLY static bool submit_next(struct scsi_cmd *cmd)
{
	struct lun_io *io = &cmd->io;
	int res;

	if (scsi_cmd_has_failed(cmd))
		return false;
	lun_io_init(io);
	io->admit = admit_step;
	io->done = on_step_done;
	if (!cmd->steps->next(cmd, io) && !next_late_flush(cmd, io))
		return false;
	if (op_changes_medium(io->op) && scsi_cmd_is_durable(cmd))
		io->flags |= LUN_IO_DURABLE;
	res = scsi_cmd_admit(cmd, io);
	if (res != 0)
		return scsi_cmd_fail_io(cmd, io->op, res);
	cmd->running = true;
	lun_io_submit(cmd->lu->lun, cmd->loop, io);
	return true;
}

static void on_step_done(struct lun_io *io, int res)
{
	struct scsi_cmd *cmd = CONTAINER_OF(io, struct scsi_cmd, io);

	cmd->running = false;
	if (res < 0) {
		scsi_cmd_fail_io(cmd, io->op, res);
	} else if (cmd->steps->check == NULL || cmd->steps->check(cmd)) {
		cmd->progress_bytes += io->length_bytes;
		cmd->late |= op_changes_medium(io->op) && scsi_io_is_late(cmd, io);
	}
	if (submit_next(cmd))
		return;
	scsi_cmd_give_scratch(cmd);
	cmd->done(cmd);
}

bool scsi_steps_start(struct scsi_cmd *cmd, const struct scsi_steps *steps)
{
	cmd->steps = steps;
	if (submit_next(cmd))
		return false;
	scsi_cmd_give_scratch(cmd);
	return true;
}

static bool next_flush(struct scsi_cmd *cmd, struct lun_io *io)
{
	io->op = LUN_FLUSH;
	return cmd->step++ == 0;
}

static const struct scsi_steps flush_steps = {.next = next_flush};

/*
 * SYNCHRONIZE CACHE. The range is checked and then all of the LUN is flushed: nothing below knows
 * what of it is dirty. IMMED is accepted and the status comes when the data are durable all the
 * same (SBC-3 5.22 lets it come at once, and a status that means nothing helps nobody).
 */
bool scsi_execute_flush(struct scsi_cmd *cmd)
{
	return scsi_steps_start(cmd, &flush_steps);
}
