/*
 * The parameter list of MODE SELECT. Pure but for the sense data of the command. Read next:
 * mode_list.c.
 */
#ifndef TARGET_SCSI_MODE_LIST_H
#define TARGET_SCSI_MODE_LIST_H

#include "target/scsi/mode.h"

/*
 * Check the list in cmd->buffer against the logical unit and put its pages into an image. False:
 * the command has failed, and what the image holds is of no use.
 */
bool MUST_CHECK scsi_mode_list_apply(struct scsi_cmd *cmd, uint8_t image[SCSI_MODE_BYTES_MAX]);

#endif
