/*
 * The codecs of pdu.h: each struct's fields at their places in the basic header segment.
 *
 * It judges nothing and follows no lengths. Offsets are those of the figures in RFC 7143 chapter
 * 11; the ones that several PDUs share have names. Pure functions, any thread. Read next: frame.c.
 */
#include "target/iscsi/pdu.h"

#include <string.h>

#include "base/bytes.h"

/* Offsets in the basic header segment, RFC 7143 11.2.1. */
enum {
	AT_FLAGS = 1,
	AT_AHS_WORDS = 4,
	AT_DATA_LENGTH = 5,
	AT_LUN = 8,
	AT_ISID = 8,
	AT_TSIH = 14,
	AT_ITT = 16,
	AT_TTT = 20,
	AT_SNACK_TAG = 20,
	AT_EXPECTED_LENGTH = 20,
	AT_REFERENCED_TAG = 20,
	AT_CID = 20,
	AT_CMD_SN = 24,
	AT_STAT_SN = 24,
	AT_EXP_STAT_SN = 28,
	AT_EXP_CMD_SN = 28,
	AT_CDB = 32,
	AT_REF_CMD_SN = 32,
	AT_MAX_CMD_SN = 32,
	AT_DATA_SN = 36,
	AT_EXP_DATA_SN = 36,
	AT_R2T_SN = 36,
	AT_STATUS = 36, /* Login: class, then detail. */
	AT_OFFSET = 40,
	AT_BIDI_RESIDUAL = 40,
	AT_BEG_RUN = 40,
	AT_RESIDUAL = 44,
	AT_DESIRED_LENGTH = 44,
	AT_RUN_LENGTH = 44,
};

static bool flag(const uint8_t *bhs, unsigned bit)
{
	return (bhs[AT_FLAGS] & bit) != 0;
}

static uint8_t flag_if(bool set, unsigned bit)
{
	return set ? (uint8_t)bit : 0;
}

static bool is_immediate(const uint8_t *bhs)
{
	return (bhs[0] & PDU_IMMEDIATE) != 0;
}

static void sns_decode(struct pdu_sns *out, const uint8_t *bhs)
{
	out->stat_sn = get_be32(bhs + AT_STAT_SN);
	out->exp_cmd_sn = get_be32(bhs + AT_EXP_CMD_SN);
	out->max_cmd_sn = get_be32(bhs + AT_MAX_CMD_SN);
}

static void sns_encode(const struct pdu_sns *in, uint8_t *bhs)
{
	put_be32(bhs + AT_STAT_SN, in->stat_sn);
	put_be32(bhs + AT_EXP_CMD_SN, in->exp_cmd_sn);
	put_be32(bhs + AT_MAX_CMD_SN, in->max_cmd_sn);
}

/* Clear the header, so that what an encoder does not mention is zero. */
static void begin(uint8_t *bhs, enum pdu_opcode opcode, uint8_t flags)
{
	memset(bhs, 0, PDU_BHS_BYTES);
	bhs[0] = (uint8_t)opcode;
	bhs[AT_FLAGS] = flags;
}

static void begin_request(uint8_t *bhs, enum pdu_opcode opcode, bool immediate, uint8_t flags)
{
	begin(bhs, opcode, flags);
	bhs[0] |= flag_if(immediate, PDU_IMMEDIATE);
}

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

void pdu_nop_in_decode(struct pdu_nop_in *out, const uint8_t bhs[static PDU_BHS_BYTES])
{
	*out = (struct pdu_nop_in){
		.lun = get_be64(bhs + AT_LUN),
		.itt = get_be32(bhs + AT_ITT),
		.ttt = get_be32(bhs + AT_TTT),
		.data_len_bytes = get_be24(bhs + AT_DATA_LENGTH),
	};
	sns_decode(&out->sns, bhs);
}

void pdu_nop_in_encode(const struct pdu_nop_in *in, uint8_t bhs[static PDU_BHS_BYTES])
{
	begin(bhs, PDU_NOP_IN, PDU_FINAL);
	put_be64(bhs + AT_LUN, in->lun);
	put_be32(bhs + AT_ITT, in->itt);
	put_be32(bhs + AT_TTT, in->ttt);
	sns_encode(&in->sns, bhs);
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

void pdu_scsi_response_decode(struct pdu_scsi_response *out,
			      const uint8_t bhs[static PDU_BHS_BYTES])
{
	*out = (struct pdu_scsi_response){
		.bidi_overflow = flag(bhs, PDU_BIDI_OVERFLOW),
		.bidi_underflow = flag(bhs, PDU_BIDI_UNDERFLOW),
		.overflow = flag(bhs, PDU_OVERFLOW),
		.underflow = flag(bhs, PDU_UNDERFLOW),
		.response = bhs[2],
		.status = bhs[3],
		.data_len_bytes = get_be24(bhs + AT_DATA_LENGTH),
		.itt = get_be32(bhs + AT_ITT),
		.snack_tag = get_be32(bhs + AT_SNACK_TAG),
		.exp_data_sn = get_be32(bhs + AT_EXP_DATA_SN),
		.bidi_residual_count = get_be32(bhs + AT_BIDI_RESIDUAL),
		.residual_count = get_be32(bhs + AT_RESIDUAL),
	};
	sns_decode(&out->sns, bhs);
}

void pdu_scsi_response_encode(const struct pdu_scsi_response *in, uint8_t bhs[static PDU_BHS_BYTES])
{
	begin(bhs, PDU_SCSI_RESPONSE,
	      (uint8_t)(PDU_FINAL | flag_if(in->bidi_overflow, PDU_BIDI_OVERFLOW) |
			flag_if(in->bidi_underflow, PDU_BIDI_UNDERFLOW) |
			flag_if(in->overflow, PDU_OVERFLOW) |
			flag_if(in->underflow, PDU_UNDERFLOW)));
	bhs[2] = in->response;
	bhs[3] = in->status;
	put_be24(bhs + AT_DATA_LENGTH, in->data_len_bytes);
	put_be32(bhs + AT_ITT, in->itt);
	put_be32(bhs + AT_SNACK_TAG, in->snack_tag);
	sns_encode(&in->sns, bhs);
	put_be32(bhs + AT_EXP_DATA_SN, in->exp_data_sn);
	put_be32(bhs + AT_BIDI_RESIDUAL, in->bidi_residual_count);
	put_be32(bhs + AT_RESIDUAL, in->residual_count);
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

void pdu_tmf_response_decode(struct pdu_tmf_response *out, const uint8_t bhs[static PDU_BHS_BYTES])
{
	*out = (struct pdu_tmf_response){
		.response = bhs[2],
		.itt = get_be32(bhs + AT_ITT),
	};
	sns_decode(&out->sns, bhs);
}

void pdu_tmf_response_encode(const struct pdu_tmf_response *in, uint8_t bhs[static PDU_BHS_BYTES])
{
	begin(bhs, PDU_TMF_RESPONSE, PDU_FINAL);
	bhs[2] = in->response;
	put_be32(bhs + AT_ITT, in->itt);
	sns_encode(&in->sns, bhs);
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

void pdu_data_in_decode(struct pdu_data_in *out, const uint8_t bhs[static PDU_BHS_BYTES])
{
	*out = (struct pdu_data_in){
		.final = flag(bhs, PDU_FINAL),
		.acknowledge = flag(bhs, PDU_DATA_IN_ACKNOWLEDGE),
		.overflow = flag(bhs, PDU_OVERFLOW),
		.underflow = flag(bhs, PDU_UNDERFLOW),
		.has_status = flag(bhs, PDU_DATA_IN_STATUS),
		.status = bhs[3],
		.data_len_bytes = get_be24(bhs + AT_DATA_LENGTH),
		.lun = get_be64(bhs + AT_LUN),
		.itt = get_be32(bhs + AT_ITT),
		.ttt = get_be32(bhs + AT_TTT),
		.data_sn = get_be32(bhs + AT_DATA_SN),
		.buffer_offset = get_be32(bhs + AT_OFFSET),
		.residual_count = get_be32(bhs + AT_RESIDUAL),
	};
	sns_decode(&out->sns, bhs);
}

void pdu_data_in_encode(const struct pdu_data_in *in, uint8_t bhs[static PDU_BHS_BYTES])
{
	begin(bhs, PDU_DATA_IN,
	      (uint8_t)(flag_if(in->final, PDU_FINAL) |
			flag_if(in->acknowledge, PDU_DATA_IN_ACKNOWLEDGE) |
			flag_if(in->overflow, PDU_OVERFLOW) |
			flag_if(in->underflow, PDU_UNDERFLOW) |
			flag_if(in->has_status, PDU_DATA_IN_STATUS)));
	put_be24(bhs + AT_DATA_LENGTH, in->data_len_bytes);
	put_be64(bhs + AT_LUN, in->lun);
	put_be32(bhs + AT_ITT, in->itt);
	put_be32(bhs + AT_TTT, in->ttt);
	put_be32(bhs + AT_EXP_CMD_SN, in->sns.exp_cmd_sn);
	put_be32(bhs + AT_MAX_CMD_SN, in->sns.max_cmd_sn);
	put_be32(bhs + AT_DATA_SN, in->data_sn);
	put_be32(bhs + AT_OFFSET, in->buffer_offset);
	/* Reserved without the S bit, RFC 7143 11.7. */
	if (in->has_status) {
		bhs[3] = in->status;
		put_be32(bhs + AT_STAT_SN, in->sns.stat_sn);
		put_be32(bhs + AT_RESIDUAL, in->residual_count);
	}
}

void pdu_r2t_decode(struct pdu_r2t *out, const uint8_t bhs[static PDU_BHS_BYTES])
{
	*out = (struct pdu_r2t){
		.lun = get_be64(bhs + AT_LUN),
		.itt = get_be32(bhs + AT_ITT),
		.ttt = get_be32(bhs + AT_TTT),
		.r2t_sn = get_be32(bhs + AT_R2T_SN),
		.buffer_offset = get_be32(bhs + AT_OFFSET),
		.desired_data_len_bytes = get_be32(bhs + AT_DESIRED_LENGTH),
	};
	sns_decode(&out->sns, bhs);
}

void pdu_r2t_encode(const struct pdu_r2t *in, uint8_t bhs[static PDU_BHS_BYTES])
{
	begin(bhs, PDU_R2T, PDU_FINAL);
	put_be64(bhs + AT_LUN, in->lun);
	put_be32(bhs + AT_ITT, in->itt);
	put_be32(bhs + AT_TTT, in->ttt);
	sns_encode(&in->sns, bhs);
	put_be32(bhs + AT_R2T_SN, in->r2t_sn);
	put_be32(bhs + AT_OFFSET, in->buffer_offset);
	put_be32(bhs + AT_DESIRED_LENGTH, in->desired_data_len_bytes);
}

void pdu_async_message_decode(struct pdu_async_message *out,
			      const uint8_t bhs[static PDU_BHS_BYTES])
{
	*out = (struct pdu_async_message){
		.data_len_bytes = get_be24(bhs + AT_DATA_LENGTH),
		.lun = get_be64(bhs + AT_LUN),
		.async_event = bhs[36],
		.async_vcode = bhs[37],
		.parameter1 = get_be16(bhs + 38),
		.parameter2 = get_be16(bhs + 40),
		.parameter3 = get_be16(bhs + 42),
	};
	sns_decode(&out->sns, bhs);
}

void pdu_async_message_encode(const struct pdu_async_message *in, uint8_t bhs[static PDU_BHS_BYTES])
{
	begin(bhs, PDU_ASYNC_MESSAGE, PDU_FINAL);
	put_be24(bhs + AT_DATA_LENGTH, in->data_len_bytes);
	put_be64(bhs + AT_LUN, in->lun);
	put_be32(bhs + AT_ITT, PDU_TAG_RESERVED);
	sns_encode(&in->sns, bhs);
	bhs[36] = in->async_event;
	bhs[37] = in->async_vcode;
	put_be16(bhs + 38, in->parameter1);
	put_be16(bhs + 40, in->parameter2);
	put_be16(bhs + 42, in->parameter3);
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

void pdu_text_response_decode(struct pdu_text_response *out,
			      const uint8_t bhs[static PDU_BHS_BYTES])
{
	*out = (struct pdu_text_response){
		.final = flag(bhs, PDU_FINAL),
		.cont = flag(bhs, PDU_CONTINUE),
		.data_len_bytes = get_be24(bhs + AT_DATA_LENGTH),
		.lun = get_be64(bhs + AT_LUN),
		.itt = get_be32(bhs + AT_ITT),
		.ttt = get_be32(bhs + AT_TTT),
	};
	sns_decode(&out->sns, bhs);
}

void pdu_text_response_encode(const struct pdu_text_response *in, uint8_t bhs[static PDU_BHS_BYTES])
{
	begin(bhs, PDU_TEXT_RESPONSE,
	      (uint8_t)(flag_if(in->final, PDU_FINAL) | flag_if(in->cont, PDU_CONTINUE)));
	put_be24(bhs + AT_DATA_LENGTH, in->data_len_bytes);
	put_be64(bhs + AT_LUN, in->lun);
	put_be32(bhs + AT_ITT, in->itt);
	put_be32(bhs + AT_TTT, in->ttt);
	sns_encode(&in->sns, bhs);
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

void pdu_login_response_decode(struct pdu_login_response *out,
			       const uint8_t bhs[static PDU_BHS_BYTES])
{
	*out = (struct pdu_login_response){
		.transit = flag(bhs, PDU_TRANSIT),
		.cont = flag(bhs, PDU_CONTINUE),
		.csg = bhs[AT_FLAGS] >> 2 & 3u,
		.nsg = bhs[AT_FLAGS] & 3u,
		.version_max = bhs[2],
		.version_active = bhs[3],
		.data_len_bytes = get_be24(bhs + AT_DATA_LENGTH),
		.tsih = get_be16(bhs + AT_TSIH),
		.itt = get_be32(bhs + AT_ITT),
		.status = get_be16(bhs + AT_STATUS),
	};
	memcpy(out->isid, bhs + AT_ISID, sizeof(out->isid));
	sns_decode(&out->sns, bhs);
}

void pdu_login_response_encode(const struct pdu_login_response *in,
			       uint8_t bhs[static PDU_BHS_BYTES])
{
	begin(bhs, PDU_LOGIN_RESPONSE,
	      (uint8_t)(flag_if(in->transit, PDU_TRANSIT) | flag_if(in->cont, PDU_CONTINUE) |
			(in->csg & 3u) << 2 | (in->nsg & 3u)));
	bhs[2] = in->version_max;
	bhs[3] = in->version_active;
	put_be24(bhs + AT_DATA_LENGTH, in->data_len_bytes);
	memcpy(bhs + AT_ISID, in->isid, sizeof(in->isid));
	put_be16(bhs + AT_TSIH, in->tsih);
	put_be32(bhs + AT_ITT, in->itt);
	sns_encode(&in->sns, bhs);
	put_be16(bhs + AT_STATUS, in->status);
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

void pdu_logout_response_decode(struct pdu_logout_response *out,
				const uint8_t bhs[static PDU_BHS_BYTES])
{
	*out = (struct pdu_logout_response){
		.response = bhs[2],
		.itt = get_be32(bhs + AT_ITT),
		.time2wait_s = get_be16(bhs + 40),
		.time2retain_s = get_be16(bhs + 42),
	};
	sns_decode(&out->sns, bhs);
}

void pdu_logout_response_encode(const struct pdu_logout_response *in,
				uint8_t bhs[static PDU_BHS_BYTES])
{
	begin(bhs, PDU_LOGOUT_RESPONSE, PDU_FINAL);
	bhs[2] = in->response;
	put_be32(bhs + AT_ITT, in->itt);
	sns_encode(&in->sns, bhs);
	put_be16(bhs + 40, in->time2wait_s);
	put_be16(bhs + 42, in->time2retain_s);
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

void pdu_reject_decode(struct pdu_reject *out, const uint8_t bhs[static PDU_BHS_BYTES])
{
	*out = (struct pdu_reject){
		.reason = bhs[2],
		.data_len_bytes = get_be24(bhs + AT_DATA_LENGTH),
		.data_sn = get_be32(bhs + AT_DATA_SN),
	};
	sns_decode(&out->sns, bhs);
}

void pdu_reject_encode(const struct pdu_reject *in, uint8_t bhs[static PDU_BHS_BYTES])
{
	begin(bhs, PDU_REJECT, PDU_FINAL);
	bhs[2] = in->reason;
	put_be24(bhs + AT_DATA_LENGTH, in->data_len_bytes);
	put_be32(bhs + AT_ITT, PDU_TAG_RESERVED);
	sns_encode(&in->sns, bhs);
	put_be32(bhs + AT_DATA_SN, in->data_sn);
}
