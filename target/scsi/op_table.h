/*
 * The table of commands: what a row says about a command is all that the checks of command.c need,
 * so policy is data. REPORT SUPPORTED OPERATION CODES and the CDB fuzzer read the same rows.
 * Constant; any thread. Read next: op_table.c.
 */
#ifndef TARGET_SCSI_OP_TABLE_H
#define TARGET_SCSI_OP_TABLE_H

#include "base/bytes.h"
#include "target/scsi/device.h"

/* What the length field of a CDB counts. */
enum scsi_length {
	LENGTH_NONE,
	LENGTH_BLOCKS,         /* 0: none */
	LENGTH_BLOCKS_6,       /* 0: 256 (READ(6), WRITE(6)) */
	LENGTH_ALLOCATION,     /* bytes the initiator takes at most */
	LENGTH_PARAMETER_LIST, /* bytes it sends */
};

enum {
	OP_NO_LU = 1 << 0,            /* Works where the LUN number has no logical unit. */
	OP_PASSES_ATTENTION = 1 << 1, /* Runs with a unit attention pending (SAM-5 5.14). */
	OP_MEDIUM = 1 << 2,           /* NOT READY while the LUN is offline or overrun. */
	OP_WRITES = 1 << 3,           /* Refused on what is read-only. */
	OP_THIN = 1 << 4,             /* Only where the LUN is thinly provisioned. */
	OP_FUA = 1 << 5,              /* Byte 1 bit 3 is FUA. */
	OP_SERVICE_ACTION = 1 << 6,
	OP_PORT_GROUPS = 1 << 7,      /* Only where INQUIRY announces access states (TPGS). */
	OP_SETS_PORT_GROUPS = 1 << 8, /* Only where hosts may change them. */
};

/*
 * In which access states of the target port a command is served that is not so in all (SPC-4
 * 5.15.2.4.4 to 5.15.2.4.7, 5.15.2.5). In the two active states every command is.
 */
enum {
	SERVED_STANDBY = 1 << 0,
	SERVED_UNAVAILABLE = 1 << 1,
	SERVED_OFFLINE = 1 << 2,
	SERVED_TRANSITION = 1 << 3,
	SERVED_ALWAYS = SERVED_STANDBY | SERVED_UNAVAILABLE | SERVED_OFFLINE | SERVED_TRANSITION,
};

/* How long a command takes on a sound unit that has nothing else to do; opcodes.c has the times. */
enum scsi_timeouts {
	TIMEOUTS_ANSWER,
	TIMEOUTS_TRANSFER,
	TIMEOUTS_RANGE, /* As long as the range is, or what a cache holds. */
};

/*
 * Which reservations of other nexuses a command may pass, a bit for each of enum scsi_guard: the
 * tables of SPC-4 5.13.1 and SBC-3 4.17, and for RESERVE(6) and (10) those of SPC-2 5.5.1 and SBC.
 * What a row does not say conflicts.
 */
enum {
	PASS_WRITE_EXCLUSIVE = 1 << SCSI_GUARD_WRITE_EXCLUSIVE,
	PASS_EXCLUSIVE_ACCESS = 1 << SCSI_GUARD_EXCLUSIVE_ACCESS,
	PASS_RESERVED = 1 << SCSI_GUARD_RESERVED,
	PASS_PERSISTENT = PASS_WRITE_EXCLUSIVE | PASS_EXCLUSIVE_ACCESS,
	PASS_ALL = PASS_PERSISTENT | PASS_RESERVED,
};

/* A big-endian field of a CDB: `bytes` 0 means there is none. */
struct scsi_field {
	uint8_t at;
	uint8_t bytes;
};

struct scsi_op {
	const char *name;
	uint8_t opcode;
	uint8_t service_action;
	uint8_t cdb_bytes;
	uint16_t flags;
	uint8_t served; /* SERVED_* */
	/* PASS_*; where the mask is not 0, for CDBs whose byte 4 has those bits like that only. */
	uint8_t passes;
	uint8_t passes_mask;
	uint8_t passes_value;
	/* How data move when there are any. */
	enum scsi_data data;
	enum scsi_length length_rule;
	struct scsi_field lba;
	struct scsi_field length;
	uint8_t fixed_bytes; /* LENGTH_NONE: how much is answered. */
	/* Bits of CDB byte 1 that only a thin logical unit understands. */
	uint8_t thin_bits;
	/* The same for one that can anchor blocks. */
	uint8_t anchor_bits;
	uint8_t timeouts; /* enum scsi_timeouts */
	/* Bits that may be set, from byte 1 on; of a service action all five of its field. */
	uint8_t usage[SCSI_CDB_MAX];
	/* Checks of its own, after all the general ones; false: the command has ended. */
	bool (*refine)(struct scsi_cmd *cmd);
	/* IN_PARAM: write the answer. */
	void (*answer)(struct scsi_cmd *cmd, struct byte_writer *writer);
	/* Others: as scsi_cmd_execute. NULL: nothing is left to be done. */
	bool (*execute)(struct scsi_cmd *cmd);
};

/* The row of a CDB, or NULL. */
const struct scsi_op *scsi_op_find(const uint8_t *cdb);
/* The row of an opcode and, where it has those, service action; any values. */
const struct scsi_op *scsi_op_find_action(uint8_t opcode, uint16_t service_action);
/* True when commands of the opcode are told apart by service actions. */
bool scsi_op_has_actions(uint8_t opcode);
/* The rows in order of opcode and service action: the one at or after *at; *at is moved on behind
 * it. NULL at the end. Start with 0. */
const struct scsi_op *scsi_op_next(unsigned *at);
/* True where the logical unit knows the command; NULL is none, which knows those it must. */
bool scsi_op_supported(const struct scsi_op *op, const struct scsi_lu *lu);
/* The bits of CDB byte `at` (1 and up) that may be set. */
uint8_t scsi_op_usage(const struct scsi_op *op, const struct scsi_lu *lu, unsigned at);

static inline uint64_t scsi_cdb_field(const uint8_t *cdb, struct scsi_field field)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < field.bytes; i++)
		value = value << 8 | cdb[field.at + i];
	return value;
}

/* The rows' functions: inquiry.c, mode_sense.c, mode_select.c, log_sense.c, opcodes.c, status.c,
 * steps.c, write_same.c, unmap.c, verify.c, compare_and_write.c, orwrite.c, write_and_verify.c,
 * upkeep.c, port_groups.c, lba_status.c. */
void scsi_answer_inquiry(struct scsi_cmd *cmd, struct byte_writer *writer);
void scsi_answer_request_sense(struct scsi_cmd *cmd, struct byte_writer *writer);
void scsi_answer_report_luns(struct scsi_cmd *cmd, struct byte_writer *writer);
void scsi_answer_read_capacity_10(struct scsi_cmd *cmd, struct byte_writer *writer);
void scsi_answer_read_capacity_16(struct scsi_cmd *cmd, struct byte_writer *writer);
void scsi_answer_mode_sense_6(struct scsi_cmd *cmd, struct byte_writer *writer);
void scsi_answer_mode_sense_10(struct scsi_cmd *cmd, struct byte_writer *writer);
void scsi_answer_log_sense(struct scsi_cmd *cmd, struct byte_writer *writer);
bool scsi_refine_mode_select(struct scsi_cmd *cmd);
LOOP_ONLY bool scsi_execute_mode_select(struct scsi_cmd *cmd);
void scsi_answer_opcodes(struct scsi_cmd *cmd, struct byte_writer *writer);
void scsi_answer_task_management(struct scsi_cmd *cmd, struct byte_writer *writer);
LOOP_ONLY bool scsi_execute_flush(struct scsi_cmd *cmd);
bool scsi_refine_write_same(struct scsi_cmd *cmd);
LOOP_ONLY bool scsi_execute_write_same(struct scsi_cmd *cmd);
LOOP_ONLY bool scsi_execute_unmap(struct scsi_cmd *cmd);
bool scsi_refine_pr_out(struct scsi_cmd *cmd);
LOOP_ONLY bool scsi_execute_pr_in(struct scsi_cmd *cmd);
LOOP_ONLY bool scsi_execute_pr_out(struct scsi_cmd *cmd);
LOOP_ONLY bool scsi_execute_reserve(struct scsi_cmd *cmd);
LOOP_ONLY bool scsi_execute_release(struct scsi_cmd *cmd);
bool scsi_refine_get_lba_status(struct scsi_cmd *cmd);
LOOP_ONLY bool scsi_execute_get_lba_status(struct scsi_cmd *cmd);
bool scsi_refine_verify(struct scsi_cmd *cmd);
LOOP_ONLY bool scsi_execute_verify(struct scsi_cmd *cmd);
bool scsi_refine_compare_and_write(struct scsi_cmd *cmd);
LOOP_ONLY bool scsi_execute_compare_and_write(struct scsi_cmd *cmd);
bool scsi_refine_orwrite(struct scsi_cmd *cmd);
LOOP_ONLY bool scsi_execute_orwrite(struct scsi_cmd *cmd);
void scsi_answer_port_groups(struct scsi_cmd *cmd, struct byte_writer *writer);
bool scsi_refine_set_port_groups(struct scsi_cmd *cmd);
LOOP_ONLY bool scsi_execute_set_port_groups(struct scsi_cmd *cmd);
bool scsi_refine_write_and_verify(struct scsi_cmd *cmd);
LOOP_ONLY bool scsi_execute_start_stop(struct scsi_cmd *cmd);
void scsi_answer_defects_10(struct scsi_cmd *cmd, struct byte_writer *writer);
void scsi_answer_defects_12(struct scsi_cmd *cmd, struct byte_writer *writer);

#endif
