/*
 * The rows of opcode_table.h and the four questions asked of them.
 *
 * Phases: RFC 7143 4.2.3 and 6.3 (nothing but login requests before the full feature phase), 4.3
 * (a discovery session takes text and logout, nothing else). CmdSN: 4.2.2.1 (Data-Out and SNACK
 * have none). AHS: 11.2.2 (extended CDB and bidirectional length belong to a SCSI command). The
 * immediate bit where it is not defined is reserved (11.2.1.1), but a sender that sets it means a
 * delivery that those PDUs do not have, so it is refused. Constant data, any thread. Read next:
 * pdu.h.
 */
#include "target/iscsi/opcode_table.h"

#include <stddef.h>

/* clang-format off */
#define ANY_FULL_FEATURE (OPCODE_IN_DISCOVERY | OPCODE_IN_FULL_FEATURE)

const struct opcode_row opcode_table[PDU_OPCODE_COUNT] = {
	[PDU_NOP_OUT] = {
		.name = "NOP-Out", .phases = OPCODE_IN_FULL_FEATURE, .carries_cmd_sn = true,
		.may_be_immediate = true, .may_have_data = true,
	},
	[PDU_SCSI_COMMAND] = {
		.name = "SCSI Command", .phases = OPCODE_IN_FULL_FEATURE, .carries_cmd_sn = true,
		.may_be_immediate = true, .may_have_data = true,
		.ahs_len_bytes_max = OPCODE_AHS_BYTES_MAX,
	},
	[PDU_TMF_REQUEST] = {
		.name = "Task Management Function Request", .phases = OPCODE_IN_FULL_FEATURE,
		.carries_cmd_sn = true, .may_be_immediate = true,
	},
	[PDU_LOGIN_REQUEST] = {
		.name = "Login Request", .phases = OPCODE_IN_LOGIN, .carries_cmd_sn = true,
		.may_be_immediate = true, .may_have_data = true,
	},
	[PDU_TEXT_REQUEST] = {
		.name = "Text Request", .phases = ANY_FULL_FEATURE, .carries_cmd_sn = true,
		.may_be_immediate = true, .may_have_data = true,
	},
	[PDU_DATA_OUT] = {
		.name = "SCSI Data-Out", .phases = OPCODE_IN_FULL_FEATURE, .may_have_data = true,
	},
	[PDU_LOGOUT_REQUEST] = {
		.name = "Logout Request", .phases = ANY_FULL_FEATURE, .carries_cmd_sn = true,
		.may_be_immediate = true,
	},
	[PDU_SNACK_REQUEST] = {
		.name = "SNACK Request", .phases = OPCODE_IN_FULL_FEATURE,
	},
	[PDU_NOP_IN] = { .name = "NOP-In", .from_target = true, .may_have_data = true },
	[PDU_SCSI_RESPONSE] = {
		.name = "SCSI Response", .from_target = true, .may_have_data = true,
	},
	[PDU_TMF_RESPONSE] = {
		.name = "Task Management Function Response", .from_target = true,
	},
	[PDU_LOGIN_RESPONSE] = {
		.name = "Login Response", .from_target = true, .may_have_data = true,
	},
	[PDU_TEXT_RESPONSE] = {
		.name = "Text Response", .from_target = true, .may_have_data = true,
	},
	[PDU_DATA_IN] = { .name = "SCSI Data-In", .from_target = true, .may_have_data = true },
	[PDU_LOGOUT_RESPONSE] = { .name = "Logout Response", .from_target = true },
	[PDU_R2T] = { .name = "Ready To Transfer", .from_target = true },
	[PDU_ASYNC_MESSAGE] = {
		.name = "Asynchronous Message", .from_target = true, .may_have_data = true,
	},
	[PDU_REJECT] = { .name = "Reject", .from_target = true, .may_have_data = true },
};
/* clang-format on */

static const struct opcode_refusal unknown = {
	"unknown opcode",
	PDU_REJECT_COMMAND_NOT_SUPPORTED,
};
static const struct opcode_refusal from_target = {
	"opcode of a target's response",
	PDU_REJECT_PROTOCOL_ERROR,
};
static const struct opcode_refusal wrong_phase = {
	"PDU not allowed in this phase",
	PDU_REJECT_PROTOCOL_ERROR,
};
static const struct opcode_refusal not_immediate = {
	"immediate bit on a PDU without CmdSN",
	PDU_REJECT_INVALID_PDU_FIELD,
};
static const struct opcode_refusal has_data = {
	"data segment on a PDU that has none",
	PDU_REJECT_INVALID_PDU_FIELD,
};
static const struct opcode_refusal has_ahs = {
	"additional header segment where none makes sense",
	PDU_REJECT_INVALID_PDU_FIELD,
};

const struct opcode_refusal *opcode_check(const struct pdu_common *head, enum opcode_phase phase)
{
	const struct opcode_row *row = &opcode_table[head->opcode & PDU_OPCODE_MASK];

	if (!row->name)
		return &unknown;
	if (row->from_target)
		return &from_target;
	if (!(row->phases & (unsigned)phase))
		return &wrong_phase;
	if (head->immediate && !row->may_be_immediate)
		return &not_immediate;
	if (head->data_len_bytes > 0 && !row->may_have_data)
		return &has_data;
	return head->ahs_len_bytes > row->ahs_len_bytes_max ? &has_ahs : NULL;
}
