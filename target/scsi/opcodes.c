/*
 * REPORT SUPPORTED OPERATION CODES (SPC-4 6.35): the table of commands as the initiator sees it;
 * and REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (6.36).
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

/* What a host should wait for at least, and what it may well wait for before it gives up; disks
 * that are stuck apart. A transfer's is the 60 s that hosts with many paths are set to. */
static const struct {
	uint32_t nominal_s;
	uint32_t recommended_s;
} timeouts[] = {
	[TIMEOUTS_ANSWER] = {1, 10},
	[TIMEOUTS_TRANSFER] = {1, 60},
	[TIMEOUTS_RANGE] = {10, 180},
};

/* SPC-4 6.35.4 */
static void write_timeouts(const struct scsi_cmd *cmd, const struct scsi_op *op,
			   struct byte_writer *writer)
{
	if (!wants_timeouts(cmd))
		return;
	byte_writer_be16(writer, TIMEOUTS_BYTES - 2);
	byte_writer_be16(writer, 0);
	byte_writer_be32(writer, timeouts[op->timeouts].nominal_s);
	byte_writer_be32(writer, timeouts[op->timeouts].recommended_s);
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
	write_timeouts(cmd, op, writer);
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
	write_timeouts(cmd, op, writer);
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

/* What iSCSI asks of us by task management; target/iscsi/tmf.c has the functions. */
#define ATS 0x80u
#define ATSS 0x40u
#define CTSS 0x10u
#define LURS 0x08u
#define QTS 0x04u
#define TRS 0x02u
#define FUNCTIONS (ATS | ATSS | CTSS | LURS | QTS | TRS)
/* In the second byte. */
#define QAES 0x04u
#define QTSS 0x02u
#define ITNRS 0x01u
#define MORE_FUNCTIONS (QAES | QTSS | ITNRS)
/* In units of 100 ms. No function waits for a disk. */
#define FUNCTIONS_LONG 100u
#define FUNCTIONS_SHORT 50u

void scsi_answer_task_management(struct scsi_cmd *cmd, struct byte_writer *writer)
{
	bool extended = (cmd->cdb[2] & 0x80) != 0; /* REPD */

	byte_writer_u8(writer, FUNCTIONS);
	byte_writer_u8(writer, MORE_FUNCTIONS);
	byte_writer_u8(writer, 0);
	byte_writer_u8(writer, extended ? 12 : 0);
	if (!extended)
		return;
	byte_writer_be16(writer, 0x0100); /* TMFTMOV: the times are valid. */
	/* A bit for each function that is done within the short time; the standard has none for a
	 * target reset any more, so that has the long one. */
	byte_writer_u8(writer, FUNCTIONS & ~TRS);
	byte_writer_u8(writer, MORE_FUNCTIONS);
	byte_writer_be32(writer, FUNCTIONS_LONG);
	byte_writer_be32(writer, FUNCTIONS_SHORT);
}
