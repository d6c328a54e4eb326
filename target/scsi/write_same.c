/*
 * WRITE SAME(10), (16): SBC-3 5.43, 5.44. A block of zeroes, sent or meant by NDOB, becomes an
 * unmap where the initiator allows that and unmapped blocks read as zeroes, else a zeroing by which
 * what has space keeps it, and with ANCHOR gets it. All cost nothing of the size. Any other block
 * is written again and again, UNMAP bit or not: after the command the blocks must read as what was
 * sent.
 *
 * Without UNMAP, too, zeroes bring no space to blocks that have none: with LBPRZ a mapped block of
 * zeroes may become deallocated at any time (SBC-4 4.7.3.5), so this is the same as a write. Linux
 * sends it for `blkdiscard -z`, by which hypervisors wipe whole disks; one that is nearly empty
 * must not fill the pool by that, nor need what a full pool has not.
 *
 * Threads: the loop of the command. Read next: steps.c.
 */
#include <string.h>

#include "target/scsi/pattern.h"
#include "target/scsi/steps.h"

#define UNMAP_BIT 0x08u
#define ANCHOR_BIT 0x10u
#define NDOB_BIT 0x01u

bool scsi_refine_write_same(struct scsi_cmd *cmd)
{
	bool no_data = (cmd->cdb[1] & NDOB_BIT) != 0;

	/* SBC-3 table 117: without UNMAP there is nothing to anchor. */
	if ((cmd->cdb[1] & ANCHOR_BIT) != 0 && (cmd->cdb[1] & UNMAP_BIT) == 0)
		return scsi_cmd_fail_field(cmd, 1, 4);
	/* WSNZ is set in the Block Limits page: 0 does not mean "to the end". */
	if (cmd->block_count == 0)
		return scsi_cmd_fail_field(cmd, cmd->op->length.at, 7);
	cmd->data = no_data ? SCSI_DATA_NONE : SCSI_DATA_OUT_PARAM;
	cmd->data_bytes = no_data ? 0 : cmd->lu->block_bytes;
	if (!no_data && cmd->expected_bytes != SCSI_EXPECTED_UNKNOWN &&
	    cmd->expected_bytes != cmd->data_bytes)
		return scsi_cmd_fail(cmd, SENSE_INVALID_FIELD_IN_INFORMATION_UNIT);
	return true;
}

bool scsi_block_arrived(struct scsi_cmd *cmd)
{
	if (cmd->buffer_bytes >= cmd->lu->block_bytes)
		return true;
	return scsi_cmd_fail(cmd, SENSE_INVALID_FIELD_IN_INFORMATION_UNIT);
}

void scsi_pattern_fill(struct scsi_cmd *cmd)
{
	size_t block = cmd->lu->block_bytes;

	for (size_t at = block; at < LOOP_BUFFER_BYTES; at += block)
		memcpy(cmd->buffer + at, cmd->buffer, block);
}

/* All bytes are zero when the first one is and each equals the one before it. */
static bool is_zero(const uint8_t *bytes, uint32_t count)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0;
}

static enum lun_op choose_op(const struct scsi_cmd *cmd)
{
	if (cmd->data != SCSI_DATA_NONE && !is_zero(cmd->buffer, cmd->lu->block_bytes))
		return LUN_WRITE;
	if ((cmd->cdb[1] & (UNMAP_BIT | ANCHOR_BIT)) == UNMAP_BIT &&
	    cmd->lu->limits->zeroes_after_unmap)
		return LUN_UNMAP;
	return LUN_ZERO;
}

static bool next_same(struct scsi_cmd *cmd, struct lun_io *io)
{
	uint64_t total = cmd->block_count * cmd->lu->block_bytes;
	bool writes = cmd->medium_op == LUN_WRITE;

	if (cmd->progress_bytes == total)
		return false;
	io->op = cmd->medium_op;
	if ((cmd->cdb[1] & ANCHOR_BIT) == 0)
		io->flags |= LUN_IO_KEEP_HOLES;
	scsi_io_next_range(cmd, io, total, writes ? STEP_MOVE_BYTES_MAX : STEP_RANGE_BYTES_MAX);
	if (writes)
		scsi_io_repeat(io, cmd->buffer, io->length_bytes);
	return true;
}

static const struct scsi_steps same_steps = {.next = next_same};

bool scsi_execute_write_same(struct scsi_cmd *cmd)
{
	if (cmd->data != SCSI_DATA_NONE && !scsi_block_arrived(cmd))
		return true;
	cmd->medium_op = choose_op(cmd);
	if (cmd->medium_op == LUN_WRITE)
		scsi_pattern_fill(cmd);
	return scsi_steps_start(cmd, &same_steps);
}
