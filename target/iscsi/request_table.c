/*
 * What the full feature phase does with each opcode. Whether a PDU may come at all was decided by
 * opcode_table.c; a row is missing exactly where that table lets nothing through.
 */
#include "target/iscsi/conn.h"

LOOP_ONLY static void nothing_on_end(struct conn *conn UNUSED)
{
}

/* clang-format off */
const struct request_row request_table[PDU_OPCODE_COUNT] = {
	[PDU_NOP_OUT]        = {nop_out_on_header,  nop_out_on_landing,  nop_out_on_end},
	[PDU_SCSI_COMMAND]   = {command_on_header,  command_on_landing,  command_on_end},
	[PDU_TMF_REQUEST]    = {tmf_on_header,      NULL,                tmf_on_end},
	[PDU_TEXT_REQUEST]   = {text_on_header,     text_on_landing,     text_on_end},
	[PDU_DATA_OUT]       = {data_out_on_header, data_out_on_landing, data_out_on_end},
	[PDU_LOGOUT_REQUEST] = {logout_on_header,   NULL,                logout_on_end},
	[PDU_SNACK_REQUEST]  = {snack_on_header,    NULL,                nothing_on_end},
};
/* clang-format on */
