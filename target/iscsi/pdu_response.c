/*
 * The codecs of what the target sends: each struct's fields at their places in the header.
 *
 * It judges nothing and follows no lengths. Pure functions, any thread. Read next: frame.c.
 */
#include "target/iscsi/pdu.h"

#include <string.h>

#include "base/bytes.h"
#include "target/iscsi/pdu_internal.h"

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

void pdu_tmf_response_decode(struct pdu_tmf_response *out, const uint8_t bhs[static PDU_BHS_BYTES])
{
	*out = (struct pdu_tmf_response){
		.response = bhs[2],
		.itt = get_be32(bhs + AT_ITT),
	};
	memcpy(out->additional, bhs + AT_ADDITIONAL, sizeof(out->additional));
	sns_decode(&out->sns, bhs);
}

void pdu_tmf_response_encode(const struct pdu_tmf_response *in, uint8_t bhs[static PDU_BHS_BYTES])
{
	begin(bhs, PDU_TMF_RESPONSE, PDU_FINAL);
	bhs[2] = in->response;
	memcpy(bhs + AT_ADDITIONAL, in->additional, sizeof(in->additional));
	put_be32(bhs + AT_ITT, in->itt);
	sns_encode(&in->sns, bhs);
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
