/*
 * One plain struct for each iSCSI PDU, with its decoder and its encoder.
 *
 * Both directions are here: the target decodes requests and encodes responses, the benchmark's
 * initiator does the reverse. A struct holds the fields of the 48-byte basic header segment, in
 * host byte order, named as in RFC 7143 chapter 11; nothing points into the wire bytes. Nothing is
 * judged here: whether a PDU may come now is opcode_table.h, its lengths are frame.h.
 *
 * Decoders read all 48 bytes and cannot fail; reserved bits are ignored (RFC 7143 11.2). Encoders
 * write all 48 bytes; reserved ones are zero. The opcode is set by the encoder and not checked by
 * the decoder, which the caller chose by pdu_opcode().
 *
 * data_len_bytes is the DataSegmentLength without padding, below 2^24; ahs_len_bytes is a multiple
 * of four, at most 1020. Where a struct has neither, the encoder writes zero.
 *
 * Threads: pure functions, any thread. Read next: pdu_codes.h, frame.h.
 */
#ifndef TARGET_ISCSI_PDU_H
#define TARGET_ISCSI_PDU_H

#include "target/iscsi/pdu_codes.h"

#include <stdbool.h>
#include <stdint.h>

/* The basic header segment, RFC 7143 11.2.1. */
#define PDU_BHS_BYTES 48u
/* A one-byte count of four-byte words, RFC 7143 11.2.1.5. */
#define PDU_AHS_BYTES_MAX 1020u
/* DataSegmentLength has 24 bits. */
#define PDU_DATA_BYTES_MAX 0xffffffu
#define PDU_DIGEST_BYTES 4u
#define PDU_CDB_BYTES 16u
#define PDU_ISID_BYTES 6u

/* The three numbers that every PDU of the target but Data-In without status and R2T stamps alike.
 */
struct pdu_sns {
	uint32_t stat_sn;
	uint32_t exp_cmd_sn;
	uint32_t max_cmd_sn;
};

/* The fields that all PDUs share, enough to frame one. */
struct pdu_common {
	uint32_t data_len_bytes;
	uint32_t itt;
	uint16_t ahs_len_bytes;
	uint8_t opcode; /* Six bits. */
	bool immediate;
	bool final; /* Bit 7 of byte 1. */
};

/* 11.18. A ping when itt is set; an answer when ttt is. */
struct pdu_nop_out {
	uint64_t lun;
	uint32_t itt;
	uint32_t ttt;
	uint32_t cmd_sn;
	uint32_t exp_stat_sn;
	uint32_t data_len_bytes;
	bool immediate;
};

/* 11.19 */
struct pdu_nop_in {
	uint64_t lun;
	uint32_t itt;
	uint32_t ttt;
	struct pdu_sns sns;
	uint32_t data_len_bytes;
};

/* 11.3 */
struct pdu_scsi_command {
	uint64_t lun;
	uint32_t itt;
	uint32_t expected_data_len_bytes;
	uint32_t cmd_sn;
	uint32_t exp_stat_sn;
	uint32_t data_len_bytes;
	uint16_t ahs_len_bytes;
	uint8_t attr; /* enum pdu_attr; 5 to 7 are reserved but possible. */
	bool immediate;
	bool final;
	bool read;
	bool write;
	uint8_t cdb[PDU_CDB_BYTES];
};

/* 11.4 */
struct pdu_scsi_response {
	uint32_t itt;
	uint32_t snack_tag;
	struct pdu_sns sns;
	uint32_t exp_data_sn;
	uint32_t bidi_residual_count;
	uint32_t residual_count;
	uint32_t data_len_bytes;
	uint8_t response; /* enum pdu_scsi_response_code */
	uint8_t status;   /* SAM status */
	bool bidi_overflow;
	bool bidi_underflow;
	bool overflow;
	bool underflow;
};

/* 11.5 */
struct pdu_tmf_request {
	uint64_t lun;
	uint32_t itt;
	uint32_t referenced_task_tag;
	uint32_t cmd_sn;
	uint32_t exp_stat_sn;
	uint32_t ref_cmd_sn;
	uint32_t exp_data_sn;
	uint8_t function; /* enum pdu_tmf_function */
	bool immediate;
};

/* 11.6 */
struct pdu_tmf_response {
	uint32_t itt;
	struct pdu_sns sns;
	uint8_t response;      /* enum pdu_tmf_response_code */
	uint8_t additional[3]; /* Of QUERY ASYNCHRONOUS EVENT, else 0. */
};

/* 11.7. Unsolicited when ttt is PDU_TAG_RESERVED. */
struct pdu_data_out {
	uint64_t lun;
	uint32_t itt;
	uint32_t ttt;
	uint32_t exp_stat_sn;
	uint32_t data_sn;
	uint32_t buffer_offset;
	uint32_t data_len_bytes;
	bool final;
};

/* 11.7. status, residual_count and sns.stat_sn mean something only when has_status is set. */
struct pdu_data_in {
	uint64_t lun;
	uint32_t itt;
	uint32_t ttt;
	struct pdu_sns sns;
	uint32_t data_sn;
	uint32_t buffer_offset;
	uint32_t residual_count;
	uint32_t data_len_bytes;
	uint8_t status;
	bool final;
	bool acknowledge;
	bool overflow;
	bool underflow;
	bool has_status;
};

/* 11.8. sns.stat_sn is the next number, which R2T does not use up. */
struct pdu_r2t {
	uint64_t lun;
	uint32_t itt;
	uint32_t ttt;
	struct pdu_sns sns;
	uint32_t r2t_sn;
	uint32_t buffer_offset;
	uint32_t desired_data_len_bytes;
};

/* 11.9 */
struct pdu_async_message {
	uint64_t lun;
	struct pdu_sns sns;
	uint32_t data_len_bytes;
	uint16_t parameter1;
	uint16_t parameter2;
	uint16_t parameter3;
	uint8_t async_event; /* enum pdu_async_event */
	uint8_t async_vcode;
};

/* 11.10 */
struct pdu_text_request {
	uint64_t lun;
	uint32_t itt;
	uint32_t ttt;
	uint32_t cmd_sn;
	uint32_t exp_stat_sn;
	uint32_t data_len_bytes;
	bool immediate;
	bool final;
	bool cont; /* The C bit. */
};

/* 11.11 */
struct pdu_text_response {
	uint64_t lun;
	uint32_t itt;
	uint32_t ttt;
	struct pdu_sns sns;
	uint32_t data_len_bytes;
	bool final;
	bool cont;
};

/* 11.12. A login request is always immediate. */
struct pdu_login_request {
	uint32_t itt;
	uint32_t cmd_sn;
	uint32_t exp_stat_sn;
	uint32_t data_len_bytes;
	uint16_t tsih;
	uint16_t cid;
	uint8_t isid[PDU_ISID_BYTES];
	uint8_t version_max;
	uint8_t version_min;
	uint8_t csg; /* enum pdu_login_stage; 2 is reserved but possible. */
	uint8_t nsg;
	bool transit;
	bool cont;
};

/* 11.13 */
struct pdu_login_response {
	uint32_t itt;
	struct pdu_sns sns;
	uint32_t data_len_bytes;
	uint16_t tsih;
	uint16_t status; /* enum pdu_login_status: class << 8 | detail */
	uint8_t isid[PDU_ISID_BYTES];
	uint8_t version_max;
	uint8_t version_active;
	uint8_t csg;
	uint8_t nsg;
	bool transit;
	bool cont;
};

/* 11.14 */
struct pdu_logout_request {
	uint32_t itt;
	uint32_t cmd_sn;
	uint32_t exp_stat_sn;
	uint16_t cid;
	uint8_t reason; /* enum pdu_logout_reason */
	bool immediate;
};

/* 11.15 */
struct pdu_logout_response {
	uint32_t itt;
	struct pdu_sns sns;
	uint16_t time2wait_s;
	uint16_t time2retain_s;
	uint8_t response; /* enum pdu_logout_response_code */
};

/* 11.16. ttt is the SNACK Tag for R-Data SNACK. */
struct pdu_snack_request {
	uint64_t lun;
	uint32_t itt;
	uint32_t ttt;
	uint32_t exp_stat_sn;
	uint32_t beg_run;
	uint32_t run_length;
	uint8_t type; /* enum pdu_snack_type */
};

/* 11.17. The data segment is the complete header of the rejected PDU: 48 bytes and its AHS. */
struct pdu_reject {
	struct pdu_sns sns;
	uint32_t data_sn;
	uint32_t data_len_bytes;
	uint8_t reason; /* enum pdu_reject_reason */
};

/* The opcode of a header: six bits, perhaps of no PDU in enum pdu_opcode. */
static inline uint8_t pdu_opcode(const uint8_t bhs[static PDU_BHS_BYTES])
{
	return bhs[0] & PDU_OPCODE_MASK;
}

/* Data segments are padded to four bytes, RFC 7143 11.2.3. len_bytes is below 2^24. */
static inline uint32_t pdu_padded(uint32_t len_bytes)
{
	return (len_bytes + 3u) & ~3u;
}

void pdu_common_decode(struct pdu_common *out, const uint8_t bhs[static PDU_BHS_BYTES]);

#define PDU_CODEC(pdu)                                                                           \
	void pdu_##pdu##_decode(struct pdu_##pdu *out, const uint8_t bhs[static PDU_BHS_BYTES]); \
	void pdu_##pdu##_encode(const struct pdu_##pdu *in, uint8_t bhs[static PDU_BHS_BYTES])

PDU_CODEC(nop_out);
PDU_CODEC(nop_in);
PDU_CODEC(scsi_command);
PDU_CODEC(scsi_response);
PDU_CODEC(tmf_request);
PDU_CODEC(tmf_response);
PDU_CODEC(data_out);
PDU_CODEC(data_in);
PDU_CODEC(r2t);
PDU_CODEC(async_message);
PDU_CODEC(text_request);
PDU_CODEC(text_response);
PDU_CODEC(login_request);
PDU_CODEC(login_response);
PDU_CODEC(logout_request);
PDU_CODEC(logout_response);
PDU_CODEC(snack_request);
PDU_CODEC(reject);
#undef PDU_CODEC

#endif
