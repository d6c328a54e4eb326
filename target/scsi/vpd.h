/*
 * Vital product data pages of INQUIRY. Read next: vpd.c.
 */
#ifndef TARGET_SCSI_VPD_H
#define TARGET_SCSI_VPD_H

#include "target/scsi/op_table.h"

/* Answer the page that the CDB names; 05/24/00 for one that is not there. */
void scsi_vpd_answer(struct scsi_cmd *cmd, struct byte_writer *writer);
/* PERIPHERAL QUALIFIER and TYPE of the command's logical unit, or of none. */
uint8_t scsi_peripheral(const struct scsi_cmd *cmd);

/* Contents of page 83h (designators.c). */
void scsi_vpd_designators(const struct scsi_cmd *cmd, struct byte_writer *writer);

#endif
