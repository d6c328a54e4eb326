/*
 * The codecs of what the initiator sends: each struct's fields at their places in the header.
 *
 * It judges nothing and follows no lengths. Pure functions, any thread. Read next: pdu_response.c,
 * frame.c.
 */
#include "target/iscsi/pdu.h"

#include <string.h>

#include "base/bytes.h"
#include "target/iscsi/pdu_internal.h"

void pdu_common_decode(struct pdu_common *out, const uint8_t bhs[static PDU_BHS_BYTES])
{
	*out = (struct pdu_common){
		.data_len_bytes = get_be24(bhs + AT_DATA_LENGTH),
		.itt = get_be32(bhs + AT_ITT),
		.ahs_len_bytes = (uint16_t)(bhs[AT_AHS_WORDS] * 4u),
		.opcode = pdu_opcode(bhs),
		.immediate = is_immediate(bhs),
		.final = flag(bhs, PDU_FINAL),
	};
}

void pdu_nop_out_decode(struct pdu_nop_out *out, const uint8_t bhs[static PDU_BHS_BYTES])
{
	*out = (struct pdu_nop_out){
		.immediate = is_immediate(bhs),
		.lun = get_be64(bhs + AT_LUN),
		.itt = get_be32(bhs + AT_ITT),
		.ttt = get_be32(bhs + AT_TTT),
		.cmd_sn = get_be32(bhs + AT_CMD_SN),
		.exp_stat_sn = get_be32(bhs + AT_EXP_STAT_SN),
		.data_len_bytes = get_be24(bhs + AT_DATA_LENGTH),
	};
}

void pdu_nop_out_encode(const struct pdu_nop_out *in, uint8_t bhs[static PDU_BHS_BYTES])
{
	begin_request(bhs, PDU_NOP_OUT, in->immediate, PDU_FINAL);
	put_be64(bhs + AT_LUN, in->lun);
	put_be32(bhs + AT_ITT, in->itt);
	put_be32(bhs + AT_TTT, in->ttt);
	put_be32(bhs + AT_CMD_SN, in->cmd_sn);
	put_be32(bhs + AT_EXP_STAT_SN, in->exp_stat_sn);
	put_be24(bhs + AT_DATA_LENGTH, in->data_len_bytes);
}

void pdu_scsi_command_decode(struct pdu_scsi_command *out, const uint8_t bhs[static PDU_BHS_BYTES])
{
	*out = (struct pdu_scsi_command){
		.immediate = is_immediate(bhs),
		.final = flag(bhs, PDU_FINAL),
		.read = flag(bhs, PDU_COMMAND_READ),
		.write = flag(bhs, PDU_COMMAND_WRITE),
		.attr = bhs[AT_FLAGS] & PDU_COMMAND_ATTR_MASK,
		.ahs_len_bytes = (uint16_t)(bhs[AT_AHS_WORDS] * 4u),
		.data_len_bytes = get_be24(bhs + AT_DATA_LENGTH),
		.lun = get_be64(bhs + AT_LUN),
		.itt = get_be32(bhs + AT_ITT),
		.expected_data_len_bytes = get_be32(bhs + AT_EXPECTED_LENGTH),
		.cmd_sn = get_be32(bhs + AT_CMD_SN),
		.exp_stat_sn = get_be32(bhs + AT_EXP_STAT_SN),
	};
	memcpy(out->cdb, bhs + AT_CDB, sizeof(out->cdb));
}

void pdu_scsi_command_encode(const struct pdu_scsi_command *in, uint8_t bhs[static PDU_BHS_BYTES])
{
	begin_request(bhs, PDU_SCSI_COMMAND, in->immediate,
		      (uint8_t)(flag_if(in->final, PDU_FINAL) |
				flag_if(in->read, PDU_COMMAND_READ) |
				flag_if(in->write, PDU_COMMAND_WRITE) |
				(in->attr & PDU_COMMAND_ATTR_MASK)));
	bhs[AT_AHS_WORDS] = (uint8_t)(in->ahs_len_bytes / 4u);
	put_be24(bhs + AT_DATA_LENGTH, in->data_len_bytes);
	put_be64(bhs + AT_LUN, in->lun);
	put_be32(bhs + AT_ITT, in->itt);
	put_be32(bhs + AT_EXPECTED_LENGTH, in->expected_data_len_bytes);
	put_be32(bhs + AT_CMD_SN, in->cmd_sn);
	put_be32(bhs + AT_EXP_STAT_SN, in->exp_stat_sn);
	memcpy(bhs + AT_CDB, in->cdb, sizeof(in->cdb));
}

void pdu_tmf_request_decode(struct pdu_tmf_request *out, const uint8_t bhs[static PDU_BHS_BYTES])
{
	*out = (struct pdu_tmf_request){
		.immediate = is_immediate(bhs),
		.function = bhs[AT_FLAGS] & PDU_FUNCTION_MASK,
		.lun = get_be64(bhs + AT_LUN),
		.itt = get_be32(bhs + AT_ITT),
		.referenced_task_tag = get_be32(bhs + AT_REFERENCED_TAG),
		.cmd_sn = get_be32(bhs + AT_CMD_SN),
		.exp_stat_sn = get_be32(bhs + AT_EXP_STAT_SN),
		.ref_cmd_sn = get_be32(bhs + AT_REF_CMD_SN),
		.exp_data_sn = get_be32(bhs + AT_EXP_DATA_SN),
	};
}

void pdu_tmf_request_encode(const struct pdu_tmf_request *in, uint8_t bhs[static PDU_BHS_BYTES])
{
	begin_request(bhs, PDU_TMF_REQUEST, in->immediate,
		      (uint8_t)(PDU_FINAL | (in->function & PDU_FUNCTION_MASK)));
	put_be64(bhs + AT_LUN, in->lun);
	put_be32(bhs + AT_ITT, in->itt);
	put_be32(bhs + AT_REFERENCED_TAG, in->referenced_task_tag);
	put_be32(bhs + AT_CMD_SN, in->cmd_sn);
	put_be32(bhs + AT_EXP_STAT_SN, in->exp_stat_sn);
	put_be32(bhs + AT_REF_CMD_SN, in->ref_cmd_sn);
	put_be32(bhs + AT_EXP_DATA_SN, in->exp_data_sn);
}

void pdu_data_out_decode(struct pdu_data_out *out, const uint8_t bhs[static PDU_BHS_BYTES])
{
	*out = (struct pdu_data_out){
		.final = flag(bhs, PDU_FINAL),
		.data_len_bytes = get_be24(bhs + AT_DATA_LENGTH),
		.lun = get_be64(bhs + AT_LUN),
		.itt = get_be32(bhs + AT_ITT),
		.ttt = get_be32(bhs + AT_TTT),
		.exp_stat_sn = get_be32(bhs + AT_EXP_STAT_SN),
		.data_sn = get_be32(bhs + AT_DATA_SN),
		.buffer_offset = get_be32(bhs + AT_OFFSET),
	};
}

void pdu_data_out_encode(const struct pdu_data_out *in, uint8_t bhs[static PDU_BHS_BYTES])
{
	begin(bhs, PDU_DATA_OUT, flag_if(in->final, PDU_FINAL));
	put_be24(bhs + AT_DATA_LENGTH, in->data_len_bytes);
	put_be64(bhs + AT_LUN, in->lun);
	put_be32(bhs + AT_ITT, in->itt);
	put_be32(bhs + AT_TTT, in->ttt);
	put_be32(bhs + AT_EXP_STAT_SN, in->exp_stat_sn);
	put_be32(bhs + AT_DATA_SN, in->data_sn);
	put_be32(bhs + AT_OFFSET, in->buffer_offset);
}

void pdu_text_request_decode(struct pdu_text_request *out, const uint8_t bhs[static PDU_BHS_BYTES])
{
	*out = (struct pdu_text_request){
		.immediate = is_immediate(bhs),
		.final = flag(bhs, PDU_FINAL),
		.cont = flag(bhs, PDU_CONTINUE),
		.data_len_bytes = get_be24(bhs + AT_DATA_LENGTH),
		.lun = get_be64(bhs + AT_LUN),
		.itt = get_be32(bhs + AT_ITT),
		.ttt = get_be32(bhs + AT_TTT),
		.cmd_sn = get_be32(bhs + AT_CMD_SN),
		.exp_stat_sn = get_be32(bhs + AT_EXP_STAT_SN),
	};
}

void pdu_text_request_encode(const struct pdu_text_request *in, uint8_t bhs[static PDU_BHS_BYTES])
{
	begin_request(bhs, PDU_TEXT_REQUEST, in->immediate,
		      (uint8_t)(flag_if(in->final, PDU_FINAL) | flag_if(in->cont, PDU_CONTINUE)));
	put_be24(bhs + AT_DATA_LENGTH, in->data_len_bytes);
	put_be64(bhs + AT_LUN, in->lun);
	put_be32(bhs + AT_ITT, in->itt);
	put_be32(bhs + AT_TTT, in->ttt);
	put_be32(bhs + AT_CMD_SN, in->cmd_sn);
	put_be32(bhs + AT_EXP_STAT_SN, in->exp_stat_sn);
}

void pdu_login_request_decode(struct pdu_login_request *out,
			      const uint8_t bhs[static PDU_BHS_BYTES])
{
	*out = (struct pdu_login_request){
		.transit = flag(bhs, PDU_TRANSIT),
		.cont = flag(bhs, PDU_CONTINUE),
		.csg = bhs[AT_FLAGS] >> 2 & 3u,
		.nsg = bhs[AT_FLAGS] & 3u,
		.version_max = bhs[2],
		.version_min = bhs[3],
		.data_len_bytes = get_be24(bhs + AT_DATA_LENGTH),
		.tsih = get_be16(bhs + AT_TSIH),
		.itt = get_be32(bhs + AT_ITT),
		.cid = get_be16(bhs + AT_CID),
		.cmd_sn = get_be32(bhs + AT_CMD_SN),
		.exp_stat_sn = get_be32(bhs + AT_EXP_STAT_SN),
	};
	memcpy(out->isid, bhs + AT_ISID, sizeof(out->isid));
}

void pdu_login_request_encode(const struct pdu_login_request *in, uint8_t bhs[static PDU_BHS_BYTES])
{
	begin_request(bhs, PDU_LOGIN_REQUEST, true,
		      (uint8_t)(flag_if(in->transit, PDU_TRANSIT) |
				flag_if(in->cont, PDU_CONTINUE) | (in->csg & 3u) << 2 |
				(in->nsg & 3u)));
	bhs[2] = in->version_max;
	bhs[3] = in->version_min;
	put_be24(bhs + AT_DATA_LENGTH, in->data_len_bytes);
	memcpy(bhs + AT_ISID, in->isid, sizeof(in->isid));
	put_be16(bhs + AT_TSIH, in->tsih);
	put_be32(bhs + AT_ITT, in->itt);
	put_be16(bhs + AT_CID, in->cid);
	put_be32(bhs + AT_CMD_SN, in->cmd_sn);
	put_be32(bhs + AT_EXP_STAT_SN, in->exp_stat_sn);
}

void pdu_logout_request_decode(struct pdu_logout_request *out,
			       const uint8_t bhs[static PDU_BHS_BYTES])
{
	*out = (struct pdu_logout_request){
		.immediate = is_immediate(bhs),
		.reason = bhs[AT_FLAGS] & PDU_FUNCTION_MASK,
		.itt = get_be32(bhs + AT_ITT),
		.cid = get_be16(bhs + AT_CID),
		.cmd_sn = get_be32(bhs + AT_CMD_SN),
		.exp_stat_sn = get_be32(bhs + AT_EXP_STAT_SN),
	};
}

void pdu_logout_request_encode(const struct pdu_logout_request *in,
			       uint8_t bhs[static PDU_BHS_BYTES])
{
	begin_request(bhs, PDU_LOGOUT_REQUEST, in->immediate,
		      (uint8_t)(PDU_FINAL | (in->reason & PDU_FUNCTION_MASK)));
	put_be32(bhs + AT_ITT, in->itt);
	put_be16(bhs + AT_CID, in->cid);
	put_be32(bhs + AT_CMD_SN, in->cmd_sn);
	put_be32(bhs + AT_EXP_STAT_SN, in->exp_stat_sn);
}

void pdu_snack_request_decode(struct pdu_snack_request *out,
			      const uint8_t bhs[static PDU_BHS_BYTES])
{
	*out = (struct pdu_snack_request){
		.type = bhs[AT_FLAGS] & PDU_SNACK_TYPE_MASK,
		.lun = get_be64(bhs + AT_LUN),
		.itt = get_be32(bhs + AT_ITT),
		.ttt = get_be32(bhs + AT_TTT),
		.exp_stat_sn = get_be32(bhs + AT_EXP_STAT_SN),
		.beg_run = get_be32(bhs + AT_BEG_RUN),
		.run_length = get_be32(bhs + AT_RUN_LENGTH),
	};
}

void pdu_snack_request_encode(const struct pdu_snack_request *in, uint8_t bhs[static PDU_BHS_BYTES])
{
	begin(bhs, PDU_SNACK_REQUEST, (uint8_t)(PDU_FINAL | (in->type & PDU_SNACK_TYPE_MASK)));
	put_be64(bhs + AT_LUN, in->lun);
	put_be32(bhs + AT_ITT, in->itt);
	put_be32(bhs + AT_TTT, in->ttt);
	put_be32(bhs + AT_EXP_STAT_SN, in->exp_stat_sn);
	put_be32(bhs + AT_BEG_RUN, in->beg_run);
	put_be32(bhs + AT_RUN_LENGTH, in->run_length);
}
