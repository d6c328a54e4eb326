/*
 * COMPARE AND WRITE: SBC-3 5.3. The first half of the data-out is compared with the blocks; where
 * all of it is the same, the second half takes their place. Hosts build locks of it, so three
 * things must hold whatever happens: nobody changes the blocks in between, GOOD comes after a
 * comparison done for this very command, and a command that was given up has happened wholly or
 * not at all (rewrite.h).
 *
 * Threads: the loop of the command. Read next: rewrite.c.
 */
#include <string.h>

#include "target/scsi/op_table.h"
#include "target/scsi/rewrite.h"
#include "target/scsi/verify.h"

bool scsi_refine_compare_and_write(struct scsi_cmd *cmd)
{
	bool announces = cmd->expected_bytes != SCSI_EXPECTED_UNKNOWN;

	/* 0 blocks compare and write nothing, and are no error; but data for them are: somebody
	 * meant 256, which the field cannot say. */
	if (cmd->block_count == 0 && announces && cmd->expected_bytes > 0)
		return scsi_cmd_fail_field(cmd, cmd->op->length.at, 7);
	if (cmd->block_count == 0)
		return true;
	scsi_rewrite_reserve(cmd, 2 * cmd->data_bytes);
	/* Half a comparison must not end in GOOD, and data left over say that host and we do not
	 * mean the same command. */
	if (announces && cmd->expected_bytes != cmd->data_bytes)
		return scsi_cmd_fail(cmd, SENSE_INVALID_FIELD_IN_INFORMATION_UNIT);
	return true;
}

static bool look_compare(struct scsi_cmd *cmd, uint64_t data_at, const uint8_t *data,
			 uint8_t *blocks, uint32_t bytes)
{
	return scsi_verify_compare(cmd, data_at, data, blocks, bytes);
}

static bool look_replace(struct scsi_cmd *cmd UNUSED, uint64_t data_at UNUSED, const uint8_t *data,
			 uint8_t *blocks, uint32_t bytes)
{
	memcpy(blocks, data, bytes);
	return true;
}

static bool compare_and_replace(struct scsi_cmd *cmd)
{
	if (!scsi_rewrite_walk(cmd, 0, look_compare))
		return false;
	return scsi_rewrite_walk(cmd, cmd->data_bytes / 2, look_replace);
}

bool scsi_execute_compare_and_write(struct scsi_cmd *cmd)
{
	if (cmd->block_count == 0)
		return true;
	return scsi_rewrite_start(cmd, compare_and_replace);
}
