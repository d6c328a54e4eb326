/*
 * ORWRITE(16): SBC-3 5.8. Each bit of the data-out that is set is set on the medium, with nobody
 * in between; so all data must be in hand at once, which limits the length: nothing of the
 * standard announces that, and 256 blocks are what READ(6) has.
 *
 * Threads: the loop of the command. Read next: rewrite.c.
 */
#include <assert.h>

#include "target/scsi/op_table.h"
#include "target/scsi/rewrite.h"

#define BLOCKS_MAX 256u

static_assert(BLOCKS_MAX * 4096u <= SCSI_GATHER_MAX, "its data can be gathered");

bool scsi_refine_orwrite(struct scsi_cmd *cmd)
{
	if (cmd->block_count == 0)
		return true;
	if (cmd->block_count > BLOCKS_MAX)
		return scsi_cmd_fail_field(cmd, cmd->op->length.at, 7);
	scsi_rewrite_reserve(cmd, cmd->data_bytes);
	if (cmd->expected_bytes < cmd->data_bytes)
		return scsi_cmd_fail(cmd, SENSE_INVALID_FIELD_IN_INFORMATION_UNIT);
	return true;
}

static bool look_or(struct scsi_cmd *cmd UNUSED, uint64_t data_at UNUSED, const uint8_t *data,
		    uint8_t *blocks, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes; i++)
		blocks[i] |= data[i];
	return true;
}

static bool or_all(struct scsi_cmd *cmd)
{
	return scsi_rewrite_walk(cmd, 0, look_or);
}

bool scsi_execute_orwrite(struct scsi_cmd *cmd)
{
	if (cmd->block_count == 0)
		return true;
	return scsi_rewrite_start(cmd, or_all);
}
