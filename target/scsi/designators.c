/*
 * VPD page 83h, Device Identification (SPC-4 7.8.5): by what hosts know that two paths lead to one
 * logical unit. The NAA designator comes first because Linux, multipath and ESXi take the first
 * good one; it is the identity of the LUN, never made from numbers or names.
 *
 * Threads: the loop of the command.
 */
#include <string.h>

#include "target/scsi/vpd.h"

/* Byte 0: the protocol identifier in its high half (iSCSI, SPC-4 7.6.1), the code set in its low.
 */
enum {
	BINARY = 0x01,
	ASCII = 0x02,
	UTF8 = 0x03,
	ISCSI = 0x50,
};

/* Byte 1: PIV, association and type. */
enum {
	TYPE_T10_VENDOR = 0x01,
	TYPE_NAA = 0x03,
	TYPE_RELATIVE_PORT = 0x04,
	TYPE_PORT_GROUP = 0x05,
	TYPE_SCSI_NAME = 0x08,
	OF_LU = 0x00,
	OF_TARGET_PORT = 0x90,   /* With PIV. */
	OF_TARGET_DEVICE = 0xA0, /* With PIV. */
};

static void write_header(struct byte_writer *writer, uint8_t byte0, uint8_t byte1, size_t length)
{
	byte_writer_u8(writer, byte0);
	byte_writer_u8(writer, byte1);
	byte_writer_u8(writer, 0);
	byte_writer_u8(writer, (uint8_t)length);
}

/* A name ends in at least one zero byte and is a multiple of four long, SPC-4 7.8.5.11. */
static void write_name(struct byte_writer *writer, uint8_t of, const char *name)
{
	size_t length = strlen(name);
	size_t padded = (length + 4) / 4 * 4;

	write_header(writer, ISCSI | UTF8, of | TYPE_SCSI_NAME, padded);
	byte_writer_bytes(writer, name, length);
	byte_writer_zero(writer, padded - length);
}

static void write_lu(struct byte_writer *writer, const struct scsi_lu *lu)
{
	const struct lun_identity *identity = lun_identity(lu->lun);
	size_t serial_length = strlen(identity->serial);

	/* A LUN that is offline and of which nothing is known has no identity to show. */
	if (identity->naa[0] == 0)
		return;
	write_header(writer, BINARY, OF_LU | TYPE_NAA, sizeof(identity->naa));
	byte_writer_bytes(writer, identity->naa, sizeof(identity->naa));
	write_header(writer, ASCII, OF_LU | TYPE_T10_VENDOR, sizeof(lu->vendor) + serial_length);
	byte_writer_bytes(writer, lu->vendor, sizeof(lu->vendor));
	byte_writer_bytes(writer, identity->serial, serial_length);
}

/* A number of the target port that the command came through, SPC-4 7.8.5.7 and 7.8.5.8. */
static void write_number(struct byte_writer *writer, uint8_t type, uint16_t number)
{
	write_header(writer, ISCSI | BINARY, OF_TARGET_PORT | type, 4);
	byte_writer_be16(writer, 0);
	byte_writer_be16(writer, number);
}

void scsi_vpd_designators(const struct scsi_cmd *cmd, struct byte_writer *writer)
{
	const struct scsi_nexus *nexus = cmd->nexus;

	write_lu(writer, cmd->lu);
	write_number(writer, TYPE_RELATIVE_PORT, nexus->relative_target_port);
	/* A group has one port, and its number. */
	write_number(writer, TYPE_PORT_GROUP, nexus->relative_target_port);
	write_name(writer, OF_TARGET_PORT, nexus->target_port_name);
	write_name(writer, OF_TARGET_DEVICE, nexus->target->name);
}
