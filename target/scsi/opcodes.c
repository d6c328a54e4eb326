/*
 * REPORT SUPPORTED OPERATION CODES (SPC-4 6.35): the table of commands as the initiator sees it.
 *
 * Threads: the loop of the command. Read next: op_table.c.
 */
#include "target/scsi/op_table.h"

#define TIMEOUTS_BYTES 12u

/* REPORTING OPTIONS */
enum {
	REPORT_ALL = 0,
	REPORT_OPCODE = 1,
	REPORT_ACTION = 2,
	REPORT_EITHER = 3,
};

/* SUPPORT */
enum {
	NOT_SUPPORTED = 1,
	SUPPORTED = 3,
};

static bool wants_timeouts(const struct scsi_cmd *cmd)
{
	return (cmd->cdb[2] & 0x80) != 0;
}

/* A descriptor that names no time: SPC-4 6.35.4, zero is "no indication". */
static void write_timeouts(const struct scsi_cmd *cmd, struct byte_writer *writer)
{
	if (!wants_timeouts(cmd))
		return;
	byte_writer_be16(writer, TIMEOUTS_BYTES - 2);
	byte_writer_zero(writer, TIMEOUTS_BYTES - 2);
}

static void write_command(const struct scsi_cmd *cmd, const struct scsi_op *op,
			  struct byte_writer *writer)
{
	bool action = (op->flags & OP_SERVICE_ACTION) != 0;

	byte_writer_u8(writer, op->opcode);
	byte_writer_u8(writer, 0);
	byte_writer_be16(writer, op->service_action);
	byte_writer_u8(writer, 0);
	byte_writer_u8(writer, (uint8_t)((wants_timeouts(cmd) ? 0x02 : 0) | (action ? 0x01 : 0)));
	byte_writer_be16(writer, op->cdb_bytes);
	write_timeouts(cmd, writer);
}

static void answer_all(const struct scsi_cmd *cmd, struct byte_writer *writer)
{
	uint32_t each = 8 + (wants_timeouts(cmd) ? TIMEOUTS_BYTES : 0);
	const struct scsi_op *op;
	uint32_t count = 0;
	unsigned at = 0;

	while ((op = scsi_op_next(&at)) != NULL)
		count += scsi_op_supported(op, cmd->lu) ? 1 : 0;
	byte_writer_be32(writer, count * each);
	at = 0;
	while ((op = scsi_op_next(&at)) != NULL) {
		if (scsi_op_supported(op, cmd->lu))
			write_command(cmd, op, writer);
	}
}

/* The usage map names opcode and service action and has a bit for each bit that is looked at. */
static void write_usage(const struct scsi_cmd *cmd, const struct scsi_op *op,
			struct byte_writer *writer)
{
	byte_writer_u8(writer, op->opcode);
	for (unsigned at = 1; at < op->cdb_bytes; at++) {
		uint8_t usage = scsi_op_usage(op, cmd->lu, at);

		if (at == 1 && (op->flags & OP_SERVICE_ACTION) != 0)
			usage = (uint8_t)((usage & 0xE0) | op->service_action);
		byte_writer_u8(writer, usage);
	}
}

static void answer_one(const struct scsi_cmd *cmd, const struct scsi_op *op,
		       struct byte_writer *writer)
{
	bool known = op != NULL && scsi_op_supported(op, cmd->lu);

	byte_writer_u8(writer, 0);
	byte_writer_u8(writer, known ? (uint8_t)((wants_timeouts(cmd) ? 0x80 : 0) | SUPPORTED)
				     : NOT_SUPPORTED);
	byte_writer_be16(writer, known ? op->cdb_bytes : 0);
	if (!known)
		return;
	write_usage(cmd, op, writer);
	write_timeouts(cmd, writer);
}

/* False: the reporting option does not go with an opcode of this kind, SPC-4 table 246. */
static bool option_suits(uint8_t options, bool has_actions, bool known)
{
	if (options == REPORT_OPCODE)
		return !has_actions;
	if (options == REPORT_ACTION)
		return has_actions || !known;
	return options == REPORT_ALL || options == REPORT_EITHER;
}

void scsi_answer_opcodes(struct scsi_cmd *cmd, struct byte_writer *writer)
{
	uint8_t options = cmd->cdb[2] & 0x07;
	uint8_t opcode = cmd->cdb[3];
	uint16_t action = get_be16(cmd->cdb + 4);
	bool has_actions = scsi_op_has_actions(opcode);
	const struct scsi_op *op = scsi_op_find_action(opcode, action);

	if (!option_suits(options, has_actions, op != NULL)) {
		scsi_cmd_fail_field(cmd, 2, 2);
		return;
	}
	/* An opcode without service actions has nothing but service action 0. */
	if (options == REPORT_EITHER && !has_actions && action != 0)
		op = NULL;
	if (options == REPORT_ALL) {
		answer_all(cmd, writer);
		return;
	}
	answer_one(cmd, op, writer);
}
