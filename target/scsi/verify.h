/*
 * Comparing what the initiator sent with what the medium holds. Read next: verify.c.
 */
#ifndef TARGET_SCSI_VERIFY_H
#define TARGET_SCSI_VERIFY_H

#include "target/scsi/scsi.h"

/*
 * Compare `length_bytes` bytes that stand at `offset_bytes` of the command's data. On a difference
 * the command fails with MISCOMPARE and the offset of the first byte that differs; of several such
 * calls, in any order, the lowest offset stays. False: it differs.
 */
bool scsi_verify_compare(struct scsi_cmd *cmd, uint64_t offset_bytes, const uint8_t *sent,
			 const uint8_t *read, uint32_t length_bytes);

#endif
