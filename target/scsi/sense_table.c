/*
 * The reasons a command can fail for, with the codes of SPC-4 4.5.6 and annex F. Data only.
 * Read next: sense.c.
 */
#include "target/scsi/sense.h"

/* clang-format off */
const struct scsi_sense_row scsi_sense_table[SENSE_COUNT] = {
	[SENSE_NONE] = { SENSE_KEY_NO_SENSE, 0x00, 0x00, "no additional sense information" },
	[SENSE_NOT_READY_MANUAL_INTERVENTION] = { SENSE_KEY_NOT_READY, 0x04, 0x03,
		"logical unit not ready, manual intervention required" },
	[SENSE_NOT_READY_OPERATION_IN_PROGRESS] = { SENSE_KEY_NOT_READY, 0x04, 0x07,
		"logical unit not ready, operation in progress" },
	[SENSE_UNRECOVERED_READ_ERROR] = { SENSE_KEY_MEDIUM_ERROR, 0x11, 0x00,
		"unrecovered read error" },
	[SENSE_WRITE_ERROR] = { SENSE_KEY_MEDIUM_ERROR, 0x0C, 0x00, "write error" },
	[SENSE_INTERNAL_TARGET_FAILURE] = { SENSE_KEY_HARDWARE_ERROR, 0x44, 0x00,
		"internal target failure" },
	[SENSE_PARAMETER_LIST_LENGTH] = { SENSE_KEY_ILLEGAL_REQUEST, 0x1A, 0x00,
		"parameter list length error" },
	[SENSE_INVALID_COMMAND_OPERATION_CODE] = { SENSE_KEY_ILLEGAL_REQUEST, 0x20, 0x00,
		"invalid command operation code" },
	[SENSE_LBA_OUT_OF_RANGE] = { SENSE_KEY_ILLEGAL_REQUEST, 0x21, 0x00,
		"logical block address out of range" },
	[SENSE_INVALID_FIELD_IN_CDB] = { SENSE_KEY_ILLEGAL_REQUEST, 0x24, 0x00,
		"invalid field in CDB" },
	[SENSE_LOGICAL_UNIT_NOT_SUPPORTED] = { SENSE_KEY_ILLEGAL_REQUEST, 0x25, 0x00,
		"logical unit not supported" },
	[SENSE_INVALID_FIELD_IN_PARAMETER_LIST] = { SENSE_KEY_ILLEGAL_REQUEST, 0x26, 0x00,
		"invalid field in parameter list" },
	[SENSE_INVALID_FIELD_IN_INFORMATION_UNIT] = { SENSE_KEY_ILLEGAL_REQUEST, 0x0E, 0x03,
		"invalid field in command information unit" },
	[SENSE_SAVING_PARAMETERS_NOT_SUPPORTED] = { SENSE_KEY_ILLEGAL_REQUEST, 0x39, 0x00,
		"saving parameters not supported" },
	[SENSE_POWER_ON] = { SENSE_KEY_UNIT_ATTENTION, 0x29, 0x00,
		"power on, reset, or bus device reset occurred" },
	[SENSE_BUS_DEVICE_RESET] = { SENSE_KEY_UNIT_ATTENTION, 0x29, 0x03,
		"bus device reset function occurred" },
	[SENSE_CAPACITY_CHANGED] = { SENSE_KEY_UNIT_ATTENTION, 0x2A, 0x09,
		"capacity data has changed" },
	[SENSE_COMMANDS_CLEARED] = { SENSE_KEY_UNIT_ATTENTION, 0x2F, 0x00,
		"commands cleared by another initiator" },
	[SENSE_REPORTED_LUNS_CHANGED] = { SENSE_KEY_UNIT_ATTENTION, 0x3F, 0x0E,
		"reported LUNs data has changed" },
	[SENSE_WRITE_PROTECTED] = { SENSE_KEY_DATA_PROTECT, 0x27, 0x00, "write protected" },
	[SENSE_SPACE_ALLOCATION_FAILED] = { SENSE_KEY_DATA_PROTECT, 0x27, 0x07,
		"space allocation failed write protect" },
	[SENSE_NO_ADDITIONAL_ABORTED] = { SENSE_KEY_ABORTED_COMMAND, 0x00, 0x00,
		"command aborted" },
	[SENSE_DATA_PHASE_ERROR] = { SENSE_KEY_ABORTED_COMMAND, 0x4B, 0x00, "data phase error" },
	[SENSE_MISCOMPARE_DURING_VERIFY] = { SENSE_KEY_MISCOMPARE, 0x1D, 0x00,
		"miscompare during verify operation" },
};
/* clang-format on */
