/*
 * Commands that read blocks, look at them and write them back with nobody in between: COMPARE AND
 * WRITE, ORWRITE. All their data are in hand before they begin. Then they take the range
 * exclusively (lun.h), read it with one I/O, and write it with one I/O, both rounded out to what
 * the image moves at once; so an abort finds the write not begun or as a whole on its way, and no
 * half of it is ever left.
 *
 * The memory for that is the transport's, reserved with the room for the data: behind them a page
 * with the record, then the blocks as they were read.
 *
 * Threads: the loop of the command. Read next: rewrite.c, compare_and_write.c.
 */
#ifndef TARGET_SCSI_REWRITE_H
#define TARGET_SCSI_REWRITE_H

#include "target/scsi/scsi.h"

/* `bytes` bytes of the data-out and of the blocks that were read. False: stop. `data_at` is where
 * in the data-out they stand. */
typedef bool scsi_rewrite_look_fn(struct scsi_cmd *cmd, uint64_t data_at, const uint8_t *data,
				  uint8_t *blocks, uint32_t bytes);
/* The blocks have been read: change them, or end the command. False: it has failed. */
typedef bool scsi_rewrite_fn(struct scsi_cmd *cmd);

/* For refine: the command's data are gathered, `data_bytes` of them. */
void scsi_rewrite_reserve(struct scsi_cmd *cmd, uint64_t data_bytes);
/* Start; answers as scsi_cmd_execute does. */
LOOP_ONLY bool scsi_rewrite_start(struct scsi_cmd *cmd, scsi_rewrite_fn *rewrite);
/* Walk the blocks from the first to the last beside the data-out from `data_at` on, in stretches
 * that are contiguous in both. False: `look` said stop. */
bool scsi_rewrite_walk(struct scsi_cmd *cmd, uint64_t data_at, scsi_rewrite_look_fn *look);
/* Part of scsi_cmd_abort: give up the range; the I/O under way was abandoned before. */
LOOP_ONLY void scsi_rewrite_abort(struct scsi_cmd *cmd);

#endif
