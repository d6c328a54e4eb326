/*
 * One logical block that stands for many: WRITE SAME, and VERIFY with BYTCHK 11b. Read next:
 * write_same.c.
 */
#ifndef TARGET_SCSI_PATTERN_H
#define TARGET_SCSI_PATTERN_H

#include "target/scsi/scsi.h"

/* False: less than a block arrived, and the command has failed. */
bool scsi_block_arrived(struct scsi_cmd *cmd);
/* Repeat the block that arrived until cmd->buffer is full of it. */
void scsi_pattern_fill(struct scsi_cmd *cmd);

#endif
