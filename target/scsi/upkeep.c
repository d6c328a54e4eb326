/*
 * Commands that ask for a device's mechanics, of which there are none: START STOP UNIT, PREVENT
 * ALLOW MEDIUM REMOVAL, READ DEFECT DATA. (PREVENT ALLOW needs no function: its row of op_table.c
 * lets both values pass, and there is no medium to be kept from being removed.)
 *
 * Threads: the loop of the command.
 */
#include "target/scsi/op_table.h"
#include "target/scsi/steps.h"

#define START 0x01u
#define NO_FLUSH 0x04u

/*
 * SBC-3 5.25. A unit that many hosts share is not one host's to stop: START = 0 makes durable what
 * was written, as it should, and then the unit stays ready. IMMED is accepted and the status comes
 * when that is done all the same, as of SYNCHRONIZE CACHE.
 */
bool scsi_execute_start_stop(struct scsi_cmd *cmd)
{
	if ((cmd->cdb[4] & (START | NO_FLUSH)) != 0)
		return true;
	return scsi_execute_flush(cmd);
}

/* DEFECT LIST FORMAT, SBC-3 6.2: an empty list can be called any of 000b to 101b; the vendor's own
 * format, 110b, does not exist here. */
#define FORMATS 6u

/* REQ_PLIST, REQ_GLIST and the format stand in one byte of either CDB, and again in the answer,
 * where they say that these lists follow: both are empty. */
static bool take_format(struct scsi_cmd *cmd, unsigned at, uint8_t *lists)
{
	*lists = cmd->cdb[at] & 0x1F;
	if ((*lists & 0x07) < FORMATS)
		return true;
	return scsi_cmd_fail_field(cmd, (uint16_t)at, 2);
}

/* SBC-3 5.16 */
void scsi_answer_defects_10(struct scsi_cmd *cmd, struct byte_writer *writer)
{
	uint8_t lists;

	if (!take_format(cmd, 2, &lists))
		return;
	byte_writer_u8(writer, 0);
	byte_writer_u8(writer, lists);
	byte_writer_be16(writer, 0);
}

/* SBC-3 5.17 */
void scsi_answer_defects_12(struct scsi_cmd *cmd, struct byte_writer *writer)
{
	uint8_t lists;

	if (!take_format(cmd, 1, &lists))
		return;
	byte_writer_u8(writer, 0);
	byte_writer_u8(writer, lists);
	byte_writer_be16(writer, 0); /* GENERATION CODE: not supported. */
	byte_writer_be32(writer, 0);
}
