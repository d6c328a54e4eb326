/*
 * Sense data: every reason a command can fail for is a row of sense_table.c, and what a row cannot
 * know (where in the CDB, at which byte) goes along in a struct scsi_sense_data. Both formats of
 * SPC-4 4.5 are written here; nobody else knows a sense byte.
 *
 * Pure but for scsi_cmd_fail*, which end a command. Read next: sense_table.c, sense.c.
 */
#ifndef TARGET_SCSI_SENSE_H
#define TARGET_SCSI_SENSE_H

#include "target/scsi/scsi.h"

/* Rows of sense_table.c. */
enum scsi_sense {
	SENSE_NONE,
	SENSE_NOT_READY_MANUAL_INTERVENTION,
	SENSE_NOT_READY_OPERATION_IN_PROGRESS,
	SENSE_ACCESS_TRANSITION,
	SENSE_ACCESS_STANDBY,
	SENSE_ACCESS_UNAVAILABLE,
	SENSE_ACCESS_OFFLINE,
	SENSE_UNRECOVERED_READ_ERROR,
	SENSE_WRITE_ERROR,
	SENSE_INTERNAL_TARGET_FAILURE,
	SENSE_PARAMETER_LIST_LENGTH,
	SENSE_INVALID_COMMAND_OPERATION_CODE,
	SENSE_LBA_OUT_OF_RANGE,
	SENSE_INVALID_FIELD_IN_CDB,
	SENSE_LOGICAL_UNIT_NOT_SUPPORTED,
	SENSE_INVALID_FIELD_IN_PARAMETER_LIST,
	SENSE_INVALID_FIELD_IN_INFORMATION_UNIT,
	SENSE_INVALID_RELEASE,
	SENSE_INVALID_MESSAGE,
	SENSE_SAVING_PARAMETERS_NOT_SUPPORTED,
	SENSE_INSUFFICIENT_REGISTRATION_RESOURCES,
	SENSE_POWER_ON,
	SENSE_BUS_DEVICE_RESET,
	SENSE_MODE_PARAMETERS_CHANGED,
	SENSE_RESERVATIONS_PREEMPTED,
	SENSE_RESERVATIONS_RELEASED,
	SENSE_REGISTRATIONS_PREEMPTED,
	SENSE_ASYMMETRIC_ACCESS_CHANGED,
	SENSE_CAPACITY_CHANGED,
	SENSE_MEDIUM_CHANGED,
	SENSE_COMMANDS_CLEARED,
	SENSE_THRESHOLD_REACHED,
	SENSE_POOL_THRESHOLD_REACHED,
	SENSE_REPORTED_LUNS_CHANGED,
	SENSE_WRITE_PROTECTED,
	SENSE_SOFTWARE_WRITE_PROTECTED,
	SENSE_SPACE_ALLOCATION_FAILED,
	SENSE_NO_ADDITIONAL_ABORTED,
	SENSE_DATA_PHASE_ERROR,
	SENSE_MISCOMPARE_DURING_VERIFY,
	SENSE_COUNT
};

/* SPC-4 4.5.6 */
enum scsi_sense_key {
	SENSE_KEY_NO_SENSE = 0x0,
	SENSE_KEY_NOT_READY = 0x2,
	SENSE_KEY_MEDIUM_ERROR = 0x3,
	SENSE_KEY_HARDWARE_ERROR = 0x4,
	SENSE_KEY_ILLEGAL_REQUEST = 0x5,
	SENSE_KEY_UNIT_ATTENTION = 0x6,
	SENSE_KEY_DATA_PROTECT = 0x7,
	SENSE_KEY_ABORTED_COMMAND = 0xB,
	SENSE_KEY_MISCOMPARE = 0xE,
};

struct scsi_sense_row {
	uint8_t key; /* enum scsi_sense_key */
	uint8_t asc;
	uint8_t ascq;
	const char *name;
};
extern const struct scsi_sense_row scsi_sense_table[SENSE_COUNT];

enum scsi_sense_format {
	SENSE_FORMAT_FIXED,
	SENSE_FORMAT_DESCRIPTOR,
};

#define SENSE_NO_BIT 0xFFu

/* A reason and what goes with it. */
struct scsi_sense_data {
	enum scsi_sense reason;
	bool has_information;
	bool has_field;
	bool field_in_cdb;   /* Else in the parameter list. */
	uint8_t field_bit;   /* The leftmost bit in error, or SENSE_NO_BIT. */
	uint16_t field_byte; /* SPC-4 4.5.2.4.2, field pointer. */
	uint64_t information;
};

/* Longest of what sense_write answers: header, information, sense-key specific. */
#define SENSE_DESCRIPTOR_MAX (8u + 12u + 8u)

/* Write sense data to `out` (SENSE_DESCRIPTOR_MAX bytes); answers the length. */
uint8_t sense_write(uint8_t *out, enum scsi_sense_format format,
		    const struct scsi_sense_data *data);

/*
 * End a command with CHECK CONDITION, unless it has failed before: the first failure wins. Answers
 * false, so that a check can say `return scsi_cmd_fail(...)`.
 */
bool scsi_cmd_fail_with(struct scsi_cmd *cmd, const struct scsi_sense_data *data);
bool scsi_cmd_fail(struct scsi_cmd *cmd, enum scsi_sense reason);
/* With what a unit attention of that reason has to say besides. */
struct scsi_sense_data scsi_sense_of(enum scsi_sense reason);
/* 05/24/00 that points to a CDB byte, and to a bit of it unless that is SENSE_NO_BIT. */
bool scsi_cmd_fail_field(struct scsi_cmd *cmd, uint16_t byte, uint8_t bit);
/* 05/26/00 that points to a byte of the parameter list. */
bool scsi_cmd_fail_parameter(struct scsi_cmd *cmd, uint16_t byte);
/* The same, and to a bit of it. */
bool scsi_cmd_fail_parameter_bit(struct scsi_cmd *cmd, uint16_t byte, uint8_t bit);
/* What a lun_io's negative errno means to the initiator. */
bool scsi_cmd_fail_io(struct scsi_cmd *cmd, enum lun_op op, int res);

static inline bool scsi_cmd_has_failed(const struct scsi_cmd *cmd)
{
	return cmd->status != SCSI_GOOD;
}

#endif
