/*
 * WRITE AND VERIFY(10), (12), (16): SBC-3 5.38. Each piece is written durably, so that there is a
 * medium to verify, then read back, and with BYTCHK compared with what was sent (medium.c).
 *
 * The blocks are not kept from others meanwhile: of two hosts that write the same blocks at once,
 * one may be told of a MISCOMPARE, and rightly, since what it wrote is not there any more.
 *
 * Threads: the loop of the command. Read next: medium.c.
 */
#include "target/scsi/op_table.h"

bool scsi_refine_write_and_verify(struct scsi_cmd *cmd)
{
	cmd->byte_check = cmd->cdb[1] >> 1 & 0x1;
	cmd->reads_back = true;
	cmd->durable = true;
	return true;
}
