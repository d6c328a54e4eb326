/*
 * The rows. A new command is a row here and its functions elsewhere; what is not in a usage mask is
 * refused before any function sees it: protection information (RDPROTECT and its kin), group
 * numbers (but see PRE-FETCH), and NACA and the vendor's bits of the CONTROL byte.
 *
 * Constant; any thread. Read next: command.c.
 */
#include "target/scsi/op_table.h"

#include <assert.h>

#include "target/scsi/port_groups.h"

#define OPCODES 256u
#define ACTIONS 32u

/* A row of 256: a command, or the service actions of one opcode. */
struct opcode {
	struct scsi_op op;
	const struct scsi_op *actions;
};

/* clang-format off */
#define FF2 0xFF, 0xFF
#define FF4 FF2, FF2
#define FF8 FF4, FF4

#define DPO_FUA 0x18
#define DPO_BYTCHK 0x12
#define GROUP 0x1F
#define ACTION 0x1F

#define FLAGS_READ (OP_MEDIUM | OP_FUA)
#define FLAGS_WRITE (OP_MEDIUM | OP_WRITES | OP_FUA)

static const struct scsi_op maintenance_in[ACTIONS] = {
	[0x0A] = {
		.name = "REPORT TARGET PORT GROUPS", .passes = PASS_ALL, .served = SERVED_ALWAYS, .opcode = 0xA3, .service_action = 0x0A,
		.cdb_bytes = 12, .flags = OP_SERVICE_ACTION | OP_PORT_GROUPS, .data = SCSI_DATA_IN_PARAM,
		.length_rule = LENGTH_ALLOCATION, .length = { 6, 4 },
		.usage = { 0, 0xFF, 0, 0, 0, 0, FF4 },
		.answer = scsi_answer_port_groups,
	},
	[0x0C] = {
		.name = "REPORT SUPPORTED OPERATION CODES", .served = SERVED_STANDBY, .passes = PASS_WRITE_EXCLUSIVE, .opcode = 0xA3, .service_action = 0x0C,
		.cdb_bytes = 12, .flags = OP_SERVICE_ACTION, .data = SCSI_DATA_IN_PARAM,
		.length_rule = LENGTH_ALLOCATION, .length = { 6, 4 },
		.usage = { 0, ACTION, 0x87, 0xFF, FF2, FF4 },
		.answer = scsi_answer_opcodes,
	},
	[0x0D] = {
		.name = "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", .served = SERVED_STANDBY, .passes = PASS_WRITE_EXCLUSIVE, .opcode = 0xA3,
		.service_action = 0x0D, .cdb_bytes = 12, .flags = OP_SERVICE_ACTION,
		.data = SCSI_DATA_IN_PARAM, .length_rule = LENGTH_ALLOCATION, .length = { 6, 4 },
		.usage = { 0, ACTION, 0x80, 0, 0, 0, FF4 },
		.answer = scsi_answer_task_management,
	},
};

static const struct scsi_op maintenance_out[ACTIONS] = {
	[0x0A] = {
		.name = "SET TARGET PORT GROUPS", .served = SERVED_STANDBY | SERVED_UNAVAILABLE, .opcode = 0xA4, .service_action = 0x0A,
		.cdb_bytes = 12, .flags = OP_SERVICE_ACTION | OP_PORT_GROUPS | OP_SETS_PORT_GROUPS,
		.data = SCSI_DATA_OUT_PARAM, .length_rule = LENGTH_PARAMETER_LIST, .length = { 6, 4 },
		.usage = { 0, ACTION, 0, 0, 0, 0, FF4 },
		.refine = scsi_refine_set_port_groups, .execute = scsi_execute_set_port_groups,
	},
};

static const struct scsi_op service_action_in_16[ACTIONS] = {
	[0x10] = {
		.name = "READ CAPACITY(16)", .served = SERVED_STANDBY, .passes = PASS_ALL, .opcode = 0x9E, .service_action = 0x10,
		.cdb_bytes = 16, .flags = OP_SERVICE_ACTION | OP_MEDIUM, .data = SCSI_DATA_IN_PARAM,
		.length_rule = LENGTH_ALLOCATION, .length = { 10, 4 },
		.usage = { 0, ACTION, 0, 0, 0, 0, 0, 0, 0, 0, FF4 },
		.answer = scsi_answer_read_capacity_16,
	},
	[0x12] = {
		.name = "GET LBA STATUS(16)", .passes = PASS_WRITE_EXCLUSIVE, .opcode = 0x9E, .service_action = 0x12,
		.cdb_bytes = 16, .flags = OP_SERVICE_ACTION | OP_MEDIUM, .data = SCSI_DATA_IN_PARAM,
		.length_rule = LENGTH_ALLOCATION, .lba = { 2, 8 }, .length = { 10, 4 },
		.timeouts = TIMEOUTS_RANGE,
		.usage = { 0, ACTION, FF8, FF4, 0xFF },
		.refine = scsi_refine_get_lba_status, .execute = scsi_execute_get_lba_status,
	},
};

/* RESERVE and RELEASE judge persistent reservations themselves, and PERSISTENT RESERVE OUT its own
 * conflicts (SPC-4 table 66); RESERVE keeps even its own nexus from them. */
#define PR_IN(name_, action_)                                                                      \
	[action_] = {                                                                              \
		.name = name_, .opcode = 0x5E, .service_action = action_, .cdb_bytes = 10,         \
		.flags = OP_SERVICE_ACTION, .passes = PASS_PERSISTENT, .served = SERVED_STANDBY,   \
		.data = SCSI_DATA_IN_PARAM, .length_rule = LENGTH_ALLOCATION, .length = { 7, 2 },  \
		.usage = { 0, ACTION, 0, 0, 0, 0, 0, FF2 }, .execute = scsi_execute_pr_in,         \
	}
#define PR_OUT(name_, action_)                                                                     \
	[action_] = {                                                                              \
		.name = name_, .opcode = 0x5F, .service_action = action_, .cdb_bytes = 10,         \
		.flags = OP_SERVICE_ACTION, .passes = PASS_PERSISTENT, .served = SERVED_STANDBY,   \
		.data = SCSI_DATA_OUT_PARAM, .length_rule = LENGTH_PARAMETER_LIST,                 \
		.length = { 5, 4 }, .usage = { 0, ACTION, 0xFF, 0, 0, FF4 },                       \
		.refine = scsi_refine_pr_out, .execute = scsi_execute_pr_out,                      \
	}

static const struct scsi_op persistent_reserve_in[ACTIONS] = {
	PR_IN("READ KEYS", 0x00),
	PR_IN("READ RESERVATION", 0x01),
	PR_IN("REPORT CAPABILITIES", 0x02),
	PR_IN("READ FULL STATUS", 0x03),
};

static const struct scsi_op persistent_reserve_out[ACTIONS] = {
	PR_OUT("REGISTER", 0x00),
	PR_OUT("RESERVE", 0x01),
	PR_OUT("RELEASE", 0x02),
	PR_OUT("CLEAR", 0x03),
	PR_OUT("PREEMPT", 0x04),
	PR_OUT("PREEMPT AND ABORT", 0x05),
	PR_OUT("REGISTER AND IGNORE EXISTING KEY", 0x06),
	PR_OUT("REGISTER AND MOVE", 0x07),
};

static const struct opcode opcodes[OPCODES] = {
	[0x00] = { .op = {
		.name = "TEST UNIT READY", .passes = PASS_PERSISTENT, .opcode = 0x00, .cdb_bytes = 6, .flags = OP_MEDIUM,
	} },
	[0x03] = { .op = {
		.name = "REQUEST SENSE", .served = SERVED_ALWAYS, .passes = PASS_ALL, .opcode = 0x03, .cdb_bytes = 6,
		.flags = OP_NO_LU | OP_PASSES_ATTENTION, .data = SCSI_DATA_IN_PARAM,
		.length_rule = LENGTH_ALLOCATION, .length = { 4, 1 },
		.usage = { 0, 0x01, 0, 0, 0xFF },
		.answer = scsi_answer_request_sense,
	} },
	[0x08] = { .op = {
		.name = "READ(6)", .passes = PASS_WRITE_EXCLUSIVE, .opcode = 0x08, .cdb_bytes = 6, .flags = OP_MEDIUM,
		.data = SCSI_DATA_IN_MEDIUM, .length_rule = LENGTH_BLOCKS_6,
		.lba = { 1, 3 }, .length = { 4, 1 },
		.timeouts = TIMEOUTS_TRANSFER,
		.usage = { 0, 0x1F, FF2, 0xFF },
	} },
	[0x0A] = { .op = {
		.name = "WRITE(6)", .opcode = 0x0A, .cdb_bytes = 6, .flags = OP_MEDIUM | OP_WRITES,
		.data = SCSI_DATA_OUT_MEDIUM, .length_rule = LENGTH_BLOCKS_6,
		.lba = { 1, 3 }, .length = { 4, 1 },
		.timeouts = TIMEOUTS_TRANSFER,
		.usage = { 0, 0x1F, FF2, 0xFF },
	} },
	[0x12] = { .op = {
		.name = "INQUIRY", .served = SERVED_ALWAYS, .passes = PASS_ALL, .opcode = 0x12, .cdb_bytes = 6,
		.flags = OP_NO_LU | OP_PASSES_ATTENTION, .data = SCSI_DATA_IN_PARAM,
		.length_rule = LENGTH_ALLOCATION, .length = { 3, 2 },
		.usage = { 0, 0x01, 0xFF, FF2 },
		.answer = scsi_answer_inquiry,
	} },
	[0x15] = { .op = {
		.name = "MODE SELECT(6)", .served = SERVED_STANDBY, .opcode = 0x15, .cdb_bytes = 6,
		.data = SCSI_DATA_OUT_PARAM, .length_rule = LENGTH_PARAMETER_LIST,
		.length = { 4, 1 }, .usage = { 0, 0x13, 0, 0, 0xFF },
		.refine = scsi_refine_mode_select, .execute = scsi_execute_mode_select,
	} },
	[0x16] = { .op = {
		.name = "RESERVE(6)", .opcode = 0x16, .cdb_bytes = 6, .passes = PASS_ALL,
		.usage = { 0, 0, 0xFF }, .execute = scsi_execute_reserve,
	} },
	[0x17] = { .op = {
		.name = "RELEASE(6)", .opcode = 0x17, .cdb_bytes = 6, .passes = PASS_ALL,
		.usage = { 0, 0, 0xFF }, .execute = scsi_execute_release,
	} },
	[0x1A] = { .op = {
		.name = "MODE SENSE(6)", .served = SERVED_STANDBY, .passes = PASS_WRITE_EXCLUSIVE, .opcode = 0x1A, .cdb_bytes = 6,
		.data = SCSI_DATA_IN_PARAM, .length_rule = LENGTH_ALLOCATION, .length = { 4, 1 },
		.usage = { 0, 0x08, FF2, 0xFF },
		.answer = scsi_answer_mode_sense_6,
	} },
	[0x1B] = { .op = {
		/* LOEJ is for media that can be ejected, POWER CONDITION for units that have some. */
		.name = "START STOP UNIT", .passes = PASS_ALL,
		.passes_mask = 0xF1, .passes_value = 0x01, .opcode = 0x1B, .cdb_bytes = 6, .flags = OP_MEDIUM,
		.timeouts = TIMEOUTS_RANGE,
		.usage = { 0, 0x01, 0, 0, 0x05 },
		.execute = scsi_execute_start_stop,
	} },
	[0x1E] = { .op = {
		.name = "PREVENT ALLOW MEDIUM REMOVAL", .passes = PASS_ALL,
		.passes_mask = 0x03, .opcode = 0x1E, .cdb_bytes = 6,
		.usage = { 0, 0, 0, 0, 0x01 },
	} },
	[0x25] = { .op = {
		.name = "READ CAPACITY(10)", .served = SERVED_STANDBY, .passes = PASS_ALL, .opcode = 0x25, .cdb_bytes = 10, .flags = OP_MEDIUM,
		.data = SCSI_DATA_IN_PARAM, .fixed_bytes = 8,
		.answer = scsi_answer_read_capacity_10,
	} },
	[0x28] = { .op = {
		.name = "READ(10)", .passes = PASS_WRITE_EXCLUSIVE, .opcode = 0x28, .cdb_bytes = 10, .flags = FLAGS_READ,
		.data = SCSI_DATA_IN_MEDIUM, .length_rule = LENGTH_BLOCKS,
		.lba = { 2, 4 }, .length = { 7, 2 },
		.timeouts = TIMEOUTS_TRANSFER,
		.usage = { 0, DPO_FUA, FF4, 0, FF2 },
	} },
	[0x2A] = { .op = {
		.name = "WRITE(10)", .opcode = 0x2A, .cdb_bytes = 10, .flags = FLAGS_WRITE,
		.data = SCSI_DATA_OUT_MEDIUM, .length_rule = LENGTH_BLOCKS,
		.lba = { 2, 4 }, .length = { 7, 2 },
		.timeouts = TIMEOUTS_TRANSFER,
		.usage = { 0, DPO_FUA, FF4, 0, FF2 },
	} },
	[0x2E] = { .op = {
		.name = "WRITE AND VERIFY(10)", .opcode = 0x2E, .cdb_bytes = 10,
		.flags = OP_MEDIUM | OP_WRITES, .data = SCSI_DATA_OUT_MEDIUM,
		.length_rule = LENGTH_BLOCKS, .lba = { 2, 4 }, .length = { 7, 2 },
		.timeouts = TIMEOUTS_TRANSFER,
		.usage = { 0, DPO_BYTCHK, FF4, 0, FF2 },
		.refine = scsi_refine_write_and_verify,
	} },
	[0x2F] = { .op = {
		.name = "VERIFY(10)", .passes = PASS_WRITE_EXCLUSIVE, .opcode = 0x2F, .cdb_bytes = 10, .flags = OP_MEDIUM,
		.data = SCSI_DATA_OUT_MEDIUM, .length_rule = LENGTH_BLOCKS,
		.lba = { 2, 4 }, .length = { 7, 2 },
		.timeouts = TIMEOUTS_RANGE,
		.usage = { 0, 0x16, FF4, 0, FF2 },
		.refine = scsi_refine_verify, .execute = scsi_execute_verify,
	} },
	[0x34] = { .op = {
		/* GOOD says that not all of the blocks fit into a cache: there is none of ours.
		 * Groups are accepted where they have no effect either. */
		.name = "PRE-FETCH(10)", .passes = PASS_WRITE_EXCLUSIVE, .opcode = 0x34, .cdb_bytes = 10, .flags = OP_MEDIUM,
		.length_rule = LENGTH_BLOCKS, .lba = { 2, 4 }, .length = { 7, 2 },
		.usage = { 0, 0x02, FF4, GROUP, FF2 },
	} },
	[0x35] = { .op = {
		.name = "SYNCHRONIZE CACHE(10)", .opcode = 0x35, .cdb_bytes = 10,
		.flags = OP_MEDIUM, .length_rule = LENGTH_BLOCKS,
		.lba = { 2, 4 }, .length = { 7, 2 },
		.timeouts = TIMEOUTS_RANGE,
		.usage = { 0, 0x02, FF4, 0, FF2 },
		.execute = scsi_execute_flush,
	} },
	[0x37] = { .op = {
		.name = "READ DEFECT DATA(10)", .passes = PASS_WRITE_EXCLUSIVE, .opcode = 0x37, .cdb_bytes = 10, .flags = OP_MEDIUM,
		.data = SCSI_DATA_IN_PARAM, .length_rule = LENGTH_ALLOCATION, .length = { 7, 2 },
		.usage = { 0, 0, 0x1F, 0, 0, 0, 0, FF2 },
		.answer = scsi_answer_defects_10,
	} },
	[0x41] = { .op = {
		.name = "WRITE SAME(10)", .opcode = 0x41, .cdb_bytes = 10,
		.flags = OP_MEDIUM | OP_WRITES, .data = SCSI_DATA_OUT_PARAM,
		.length_rule = LENGTH_BLOCKS, .lba = { 2, 4 }, .length = { 7, 2 },
		.timeouts = TIMEOUTS_RANGE,
		.usage = { 0, 0x18, FF4, 0, FF2 }, .thin_bits = 0x08, .anchor_bits = 0x10,
		.refine = scsi_refine_write_same, .execute = scsi_execute_write_same,
	} },
	[0x42] = { .op = {
		.name = "UNMAP", .opcode = 0x42, .cdb_bytes = 10,
		.flags = OP_MEDIUM | OP_WRITES | OP_THIN, .data = SCSI_DATA_OUT_PARAM,
		.length_rule = LENGTH_PARAMETER_LIST, .length = { 7, 2 },
		.timeouts = TIMEOUTS_RANGE,
		.usage = { 0, 0x01, 0, 0, 0, 0, 0, FF2 }, .anchor_bits = 0x01,
		.execute = scsi_execute_unmap,
	} },
	[0x4D] = { .op = {
		.name = "LOG SENSE", .served = SERVED_STANDBY, .passes = PASS_ALL, .opcode = 0x4D, .cdb_bytes = 10,
		.data = SCSI_DATA_IN_PARAM, .length_rule = LENGTH_ALLOCATION, .length = { 7, 2 },
		.usage = { 0, 0, FF2, 0, FF4 },
		.answer = scsi_answer_log_sense,
	} },
	[0x55] = { .op = {
		.name = "MODE SELECT(10)", .served = SERVED_STANDBY, .opcode = 0x55, .cdb_bytes = 10,
		.data = SCSI_DATA_OUT_PARAM, .length_rule = LENGTH_PARAMETER_LIST,
		.length = { 7, 2 }, .usage = { 0, 0x13, 0, 0, 0, 0, 0, FF2 },
		.refine = scsi_refine_mode_select, .execute = scsi_execute_mode_select,
	} },
	[0x56] = { .op = {
		.name = "RESERVE(10)", .opcode = 0x56, .cdb_bytes = 10, .passes = PASS_ALL,
		.usage = { 0, 0, 0xFF }, .execute = scsi_execute_reserve,
	} },
	[0x57] = { .op = {
		.name = "RELEASE(10)", .opcode = 0x57, .cdb_bytes = 10, .passes = PASS_ALL,
		.usage = { 0, 0, 0xFF }, .execute = scsi_execute_release,
	} },
	[0x5A] = { .op = {
		.name = "MODE SENSE(10)", .served = SERVED_STANDBY, .passes = PASS_WRITE_EXCLUSIVE, .opcode = 0x5A, .cdb_bytes = 10,
		.data = SCSI_DATA_IN_PARAM, .length_rule = LENGTH_ALLOCATION, .length = { 7, 2 },
		.usage = { 0, 0x18, FF2, 0, 0, 0, FF2 },
		.answer = scsi_answer_mode_sense_10,
	} },
	[0x5E] = { .actions = persistent_reserve_in },
	[0x5F] = { .actions = persistent_reserve_out },
	[0x88] = { .op = {
		.name = "READ(16)", .passes = PASS_WRITE_EXCLUSIVE, .opcode = 0x88, .cdb_bytes = 16, .flags = FLAGS_READ,
		.data = SCSI_DATA_IN_MEDIUM, .length_rule = LENGTH_BLOCKS,
		.lba = { 2, 8 }, .length = { 10, 4 },
		.timeouts = TIMEOUTS_TRANSFER,
		.usage = { 0, DPO_FUA, FF8, FF4 },
	} },
	[0x8A] = { .op = {
		.name = "WRITE(16)", .opcode = 0x8A, .cdb_bytes = 16, .flags = FLAGS_WRITE,
		.data = SCSI_DATA_OUT_MEDIUM, .length_rule = LENGTH_BLOCKS,
		.lba = { 2, 8 }, .length = { 10, 4 },
		.timeouts = TIMEOUTS_TRANSFER,
		.usage = { 0, DPO_FUA, FF8, FF4 },
	} },
	[0x89] = { .op = {
		.name = "COMPARE AND WRITE", .opcode = 0x89, .cdb_bytes = 16, .flags = FLAGS_WRITE,
		.data = SCSI_DATA_OUT_GATHER, .length_rule = LENGTH_BLOCKS,
		.lba = { 2, 8 }, .length = { 13, 1 }, .timeouts = TIMEOUTS_TRANSFER,
		.usage = { 0, DPO_FUA, FF8, 0, 0, 0, 0xFF },
		.refine = scsi_refine_compare_and_write, .execute = scsi_execute_compare_and_write,
	} },
	[0x8B] = { .op = {
		.name = "ORWRITE(16)", .opcode = 0x8B, .cdb_bytes = 16, .flags = FLAGS_WRITE,
		.data = SCSI_DATA_OUT_GATHER, .length_rule = LENGTH_BLOCKS,
		.lba = { 2, 8 }, .length = { 10, 4 }, .timeouts = TIMEOUTS_TRANSFER,
		.usage = { 0, DPO_FUA, FF8, FF4 },
		.refine = scsi_refine_orwrite, .execute = scsi_execute_orwrite,
	} },
	[0x8E] = { .op = {
		.name = "WRITE AND VERIFY(16)", .opcode = 0x8E, .cdb_bytes = 16,
		.flags = OP_MEDIUM | OP_WRITES, .data = SCSI_DATA_OUT_MEDIUM,
		.length_rule = LENGTH_BLOCKS, .lba = { 2, 8 }, .length = { 10, 4 },
		.timeouts = TIMEOUTS_TRANSFER,
		.usage = { 0, DPO_BYTCHK, FF8, FF4 },
		.refine = scsi_refine_write_and_verify,
	} },
	[0x8F] = { .op = {
		.name = "VERIFY(16)", .passes = PASS_WRITE_EXCLUSIVE, .opcode = 0x8F, .cdb_bytes = 16, .flags = OP_MEDIUM,
		.data = SCSI_DATA_OUT_MEDIUM, .length_rule = LENGTH_BLOCKS,
		.lba = { 2, 8 }, .length = { 10, 4 },
		.timeouts = TIMEOUTS_RANGE,
		.usage = { 0, 0x16, FF8, FF4 },
		.refine = scsi_refine_verify, .execute = scsi_execute_verify,
	} },
	[0x90] = { .op = {
		.name = "PRE-FETCH(16)", .passes = PASS_WRITE_EXCLUSIVE, .opcode = 0x90, .cdb_bytes = 16, .flags = OP_MEDIUM,
		.length_rule = LENGTH_BLOCKS, .lba = { 2, 8 }, .length = { 10, 4 },
		.usage = { 0, 0x02, FF8, FF4, GROUP },
	} },
	[0x91] = { .op = {
		.name = "SYNCHRONIZE CACHE(16)", .opcode = 0x91, .cdb_bytes = 16,
		.flags = OP_MEDIUM, .length_rule = LENGTH_BLOCKS,
		.lba = { 2, 8 }, .length = { 10, 4 },
		.timeouts = TIMEOUTS_RANGE,
		.usage = { 0, 0x02, FF8, FF4 },
		.execute = scsi_execute_flush,
	} },
	[0x93] = { .op = {
		.name = "WRITE SAME(16)", .opcode = 0x93, .cdb_bytes = 16,
		.flags = OP_MEDIUM | OP_WRITES, .data = SCSI_DATA_OUT_PARAM,
		.length_rule = LENGTH_BLOCKS, .lba = { 2, 8 }, .length = { 10, 4 },
		.timeouts = TIMEOUTS_RANGE,
		.usage = { 0, 0x19, FF8, FF4 }, .thin_bits = 0x08, .anchor_bits = 0x10,
		.refine = scsi_refine_write_same, .execute = scsi_execute_write_same,
	} },
	[0x9E] = { .actions = service_action_in_16 },
	[0xA0] = { .op = {
		.name = "REPORT LUNS", .served = SERVED_ALWAYS, .passes = PASS_ALL, .opcode = 0xA0, .cdb_bytes = 12,
		.flags = OP_NO_LU | OP_PASSES_ATTENTION, .data = SCSI_DATA_IN_PARAM,
		.length_rule = LENGTH_ALLOCATION, .length = { 6, 4 },
		.usage = { 0, 0, 0xFF, 0, 0, 0, FF4 },
		.answer = scsi_answer_report_luns,
	} },
	[0xA3] = { .actions = maintenance_in },
	[0xA4] = { .actions = maintenance_out },
	[0xA8] = { .op = {
		.name = "READ(12)", .passes = PASS_WRITE_EXCLUSIVE, .opcode = 0xA8, .cdb_bytes = 12, .flags = FLAGS_READ,
		.data = SCSI_DATA_IN_MEDIUM, .length_rule = LENGTH_BLOCKS,
		.lba = { 2, 4 }, .length = { 6, 4 },
		.timeouts = TIMEOUTS_TRANSFER,
		.usage = { 0, DPO_FUA, FF4, FF4 },
	} },
	[0xAA] = { .op = {
		.name = "WRITE(12)", .opcode = 0xAA, .cdb_bytes = 12, .flags = FLAGS_WRITE,
		.data = SCSI_DATA_OUT_MEDIUM, .length_rule = LENGTH_BLOCKS,
		.lba = { 2, 4 }, .length = { 6, 4 },
		.timeouts = TIMEOUTS_TRANSFER,
		.usage = { 0, DPO_FUA, FF4, FF4 },
	} },
	[0xAE] = { .op = {
		.name = "WRITE AND VERIFY(12)", .opcode = 0xAE, .cdb_bytes = 12,
		.flags = OP_MEDIUM | OP_WRITES, .data = SCSI_DATA_OUT_MEDIUM,
		.length_rule = LENGTH_BLOCKS, .lba = { 2, 4 }, .length = { 6, 4 },
		.timeouts = TIMEOUTS_TRANSFER,
		.usage = { 0, DPO_BYTCHK, FF4, FF4 },
		.refine = scsi_refine_write_and_verify,
	} },
	[0xAF] = { .op = {
		.name = "VERIFY(12)", .passes = PASS_WRITE_EXCLUSIVE, .opcode = 0xAF, .cdb_bytes = 12, .flags = OP_MEDIUM,
		.data = SCSI_DATA_OUT_MEDIUM, .length_rule = LENGTH_BLOCKS,
		.lba = { 2, 4 }, .length = { 6, 4 },
		.timeouts = TIMEOUTS_RANGE,
		.usage = { 0, 0x16, FF4, FF4 },
		.refine = scsi_refine_verify, .execute = scsi_execute_verify,
	} },
	[0xB7] = { .op = {
		.name = "READ DEFECT DATA(12)", .passes = PASS_WRITE_EXCLUSIVE, .opcode = 0xB7, .cdb_bytes = 12, .flags = OP_MEDIUM,
		.data = SCSI_DATA_IN_PARAM, .length_rule = LENGTH_ALLOCATION, .length = { 6, 4 },
		.usage = { 0, 0x1F, FF4, FF4 },
		.answer = scsi_answer_defects_12,
	} },
};
/* clang-format on */

const struct scsi_op *scsi_op_find_action(uint8_t opcode, uint16_t service_action)
{
	const struct opcode *row = &opcodes[opcode];
	const struct scsi_op *op = &row->op;

	if (row->actions != NULL) {
		if (service_action >= ACTIONS)
			return NULL;
		op = &row->actions[service_action];
	}
	return op->name != NULL ? op : NULL;
}

const struct scsi_op *scsi_op_find(const uint8_t *cdb)
{
	return scsi_op_find_action(cdb[0], cdb[1] & (ACTIONS - 1));
}

bool scsi_op_has_actions(uint8_t opcode)
{
	return opcodes[opcode].actions != NULL;
}

const struct scsi_op *scsi_op_next(unsigned *at)
{
	while (*at < OPCODES * ACTIONS) {
		uint8_t opcode = (uint8_t)(*at / ACTIONS);
		uint16_t action = (uint16_t)(*at % ACTIONS);

		(*at)++;
		if (action == 0 || scsi_op_has_actions(opcode)) {
			const struct scsi_op *op = scsi_op_find_action(opcode, action);

			if (op != NULL)
				return op;
		}
	}
	return NULL;
}

bool scsi_op_supported(const struct scsi_op *op, const struct scsi_lu *lu)
{
	if (lu == NULL)
		return (op->flags & OP_NO_LU) != 0;
	if ((op->flags & OP_PORT_GROUPS) != 0 && scsi_alua_support(lu->target) == 0)
		return false;
	if ((op->flags & OP_SETS_PORT_GROUPS) != 0 && !lu->target->alua.spec.by_hosts)
		return false;
	return (op->flags & OP_THIN) == 0 || lu->limits->thin;
}

uint8_t scsi_op_usage(const struct scsi_op *op, const struct scsi_lu *lu, unsigned at)
{
	uint8_t lacks = 0;

	assert(at > 0 && at < SCSI_CDB_MAX);
	if (at == 1 && lu != NULL) {
		lacks |= lu->limits->thin ? 0 : op->thin_bits;
		lacks |= lu->limits->thin && lu->limits->anchors ? 0 : op->anchor_bits;
	}
	return (uint8_t)(op->usage[at] & ~lacks);
}
