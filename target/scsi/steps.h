/*
 * Commands that execute in steps, one LUN I/O after the other, each of bounded size so that an
 * abort takes effect between two: WRITE SAME, UNMAP, VERIFY without data, SYNCHRONIZE CACHE.
 * Read next: steps.c.
 */
#ifndef TARGET_SCSI_STEPS_H
#define TARGET_SCSI_STEPS_H

#include "target/scsi/device.h"
#include "target/scsi/op_table.h"

/* The most that one step deallocates or zeroes: it moves no data, but the kernel may be long. */
#define STEP_RANGE_BYTES_MAX (UINT64_C(1) << 30)
/* The most that one step moves: every element of the vector is the same buffer. */
#define STEP_MOVE_BYTES_MAX (UINT64_C(8) * LOOP_BUFFER_BYTES)

struct scsi_steps {
	/* Fill cmd->io's op, range and vector for the next step. False: there is none. */
	bool (*next)(struct scsi_cmd *cmd, struct lun_io *io);
	/* A step has succeeded; NULL: nothing to look at. False: the command has failed. */
	bool (*check)(struct scsi_cmd *cmd);
};

/* Start; answers as scsi_cmd_execute does. */
LOOP_ONLY bool scsi_steps_start(struct scsi_cmd *cmd, const struct scsi_steps *steps);
/* Give the command a scratch buffer. False: none is left, and the command has ended with BUSY. */
LOOP_ONLY bool scsi_cmd_take_scratch(struct scsi_cmd *cmd);
/* Give it back, if there is one; scsi_steps do so at their end. */
LOOP_ONLY void scsi_cmd_give_scratch(struct scsi_cmd *cmd);
/* Point the io's vector again and again at one buffer of a whole number of blocks, for a length of
 * at most STEP_MOVE_BYTES_MAX. */
void scsi_io_repeat(struct lun_io *io, uint8_t *buffer, uint64_t length_bytes);
/* The range of the next step: what is left of `total_bytes` behind the progress, at most `max`. */
void scsi_io_next_range(const struct scsi_cmd *cmd, struct lun_io *io, uint64_t total_bytes,
			uint64_t max);

/* Has a write to be durable before it is answered: FUA, or WCE turned off by a host. */
static inline bool scsi_cmd_is_durable(const struct scsi_cmd *cmd)
{
	return cmd->durable || scsi_lu_mode(cmd->lu)->write_through;
}

/* Was it written to the cache and WCE turned off meanwhile? Then it needs a flush, because whoever
 * turned it off takes what is answered from now on for durable. */
static inline bool scsi_io_is_late(const struct scsi_cmd *cmd, const struct lun_io *io)
{
	return (io->flags & LUN_IO_DURABLE) == 0 && scsi_lu_mode(cmd->lu)->write_through;
}

/* What a volatile cache holds goes to the medium before it is read: FUA of a read (SBC-3 5.9) and
 * VERIFY, which looks at the medium (SBC-4: as by SYNCHRONIZE CACHE). */
static inline bool scsi_cmd_flushes_first(const struct scsi_cmd *cmd)
{
	return cmd->durable && (cmd->op->flags & OP_WRITES) == 0 && cmd->lu->limits->write_cache &&
	       !lun_state(cmd->lu->lun)->read_only;
}

/*
 * May this io go to the medium now? 0 or negative errno: the state of the LUN is looked at again
 * when the io is submitted and, by the admit callbacks, in the very turn in which the image gets
 * it. -EACCES: a reservation forbids it.
 */
LOOP_ONLY int scsi_cmd_admit(const struct scsi_cmd *cmd, const struct lun_io *io);

#endif
