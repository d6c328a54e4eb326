/*
 * INQUIRY: who the logical unit is (SPC-4 6.6). The pages of vital product data are vpd.c's.
 *
 * Threads: the loop of the command.
 */
#include "target/scsi/op_table.h"
#include "target/scsi/port_groups.h"
#include "target/scsi/vpd.h"

#define STANDARD_BYTES 96u
#define SPC_4 0x06u
#define HISUP 0x10u
#define RESPONSE_FORMAT 0x02u
#define MULTIP 0x10u
#define CMDQUE 0x02u

/* SPC-4 table 143: any version of the standard, no revision claimed. */
static const uint16_t versions[] = {
	0x00A0, /* SAM-5 */
	0x0460, /* SPC-4 */
	0x04C0, /* SBC-3 */
	0x0960, /* iSCSI */
};

uint8_t scsi_peripheral(const struct scsi_cmd *cmd)
{
	/* Not capable of having a logical unit here, of no known type: SPC-4 6.6.2. */
	if (cmd->lu == NULL)
		return 0x7F;
	/* One that is not accessible through this port now: SPC-4 5.15.2.4.5. */
	return scsi_access_is_remote(cmd->nexus) ? 0x20 : 0x00;
}

static void answer_standard(const struct scsi_cmd *cmd, struct byte_writer *writer)
{
	const struct scsi_lu *lu = cmd->lu != NULL ? cmd->lu : &scsi_no_lu;
	uint8_t tpgs = cmd->lu != NULL ? scsi_alua_support(lu->target) : 0;

	byte_writer_u8(writer, scsi_peripheral(cmd));
	byte_writer_u8(writer, 0);
	byte_writer_u8(writer, SPC_4);
	byte_writer_u8(writer, HISUP | RESPONSE_FORMAT);
	byte_writer_u8(writer, STANDARD_BYTES - 5);
	/* No third-party copy, no protection. */
	byte_writer_u8(writer, (uint8_t)(tpgs << 4));
	byte_writer_u8(writer, MULTIP);
	byte_writer_u8(writer, CMDQUE);
	byte_writer_bytes(writer, lu->vendor, sizeof(lu->vendor));
	byte_writer_bytes(writer, lu->product, sizeof(lu->product));
	byte_writer_bytes(writer, lu->revision, sizeof(lu->revision));
	byte_writer_zero(writer, 58 - 36);
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++)
		byte_writer_be16(writer, versions[i]);
	byte_writer_zero(writer, STANDARD_BYTES - 58 - sizeof(versions));
}

void scsi_answer_inquiry(struct scsi_cmd *cmd, struct byte_writer *writer)
{
	if ((cmd->cdb[1] & 0x01) != 0) {
		scsi_vpd_answer(cmd, writer);
	} else if (cmd->cdb[2] != 0) {
		scsi_cmd_fail_field(cmd, 2, 7);
	} else {
		answer_standard(cmd, writer);
	}
}
