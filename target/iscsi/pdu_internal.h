/*
 * What the codecs share: offsets in the basic header segment and accessors for its odd fields.
 *
 * Offsets are those of the figures in RFC 7143 chapter 11; one place has several names where PDUs
 * use it for several things. For pdu_request.c and pdu_response.c alone.
 */
#ifndef TARGET_ISCSI_PDU_INTERNAL_H
#define TARGET_ISCSI_PDU_INTERNAL_H

#include <string.h>

#include "base/bytes.h"
#include "target/iscsi/pdu.h"

/* Offsets in the basic header segment, RFC 7143 11.2.1. */
enum {
	AT_FLAGS = 1,
	AT_AHS_WORDS = 4,
	AT_DATA_LENGTH = 5,
	AT_LUN = 8,
	AT_ISID = 8,
	AT_ADDITIONAL = 8, /* Task management response, 3 bytes: RFC 7144. */
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

static inline bool flag(const uint8_t *bhs, unsigned bit)
{
	return (bhs[AT_FLAGS] & bit) != 0;
}

static inline uint8_t flag_if(bool set, unsigned bit)
{
	return set ? (uint8_t)bit : 0;
}

static inline bool is_immediate(const uint8_t *bhs)
{
	return (bhs[0] & PDU_IMMEDIATE) != 0;
}

static inline void sns_decode(struct pdu_sns *out, const uint8_t *bhs)
{
	out->stat_sn = get_be32(bhs + AT_STAT_SN);
	out->exp_cmd_sn = get_be32(bhs + AT_EXP_CMD_SN);
	out->max_cmd_sn = get_be32(bhs + AT_MAX_CMD_SN);
}

static inline void sns_encode(const struct pdu_sns *in, uint8_t *bhs)
{
	put_be32(bhs + AT_STAT_SN, in->stat_sn);
	put_be32(bhs + AT_EXP_CMD_SN, in->exp_cmd_sn);
	put_be32(bhs + AT_MAX_CMD_SN, in->max_cmd_sn);
}

/* Clear the header, so that what an encoder does not mention is zero. */
static inline void begin(uint8_t *bhs, enum pdu_opcode opcode, uint8_t flags)
{
	memset(bhs, 0, PDU_BHS_BYTES);
	bhs[0] = (uint8_t)opcode;
	bhs[AT_FLAGS] = flags;
}

static inline void begin_request(uint8_t *bhs, enum pdu_opcode opcode, bool immediate,
				 uint8_t flags)
{
	begin(bhs, opcode, flags);
	bhs[0] |= flag_if(immediate, PDU_IMMEDIATE);
}

#endif
