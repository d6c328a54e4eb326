/*
 * What an initiator knows of the commands it has sent, and what it must not hear: the judge of
 * fuzz_iscsi_session.c. Not a test.
 */
#ifndef TESTS_FUZZ_FUZZ_ISCSI_JUDGE_H
#define TESTS_FUZZ_FUZZ_ISCSI_JUDGE_H

#include "tests/fuzz/iscsi_fake.h"

#include "base/crc32c.h"

#define TAGS 8u
#define FIRST_CMD_SN 0xFFFFFFF8u
#define COMMAND_TAG 0x100u
#define FUNCTION_TAG 0x200u
#define OTHER_TAG 0x300u
#define DATA_MAX 8192u

/* Commands of one tag. */
struct record {
	unsigned sent, answered;
	unsigned dead; /* Aborted: they have no answer any more. */
	uint32_t expected_bytes;
	uint64_t lun;
	bool many_luns;
};

struct function {
	bool pending;
	uint8_t function;
	uint64_t lun;
	uint32_t referenced;
	unsigned sent[TAGS]; /* When it was sent. */
};

struct initiator {
	struct wire *wire;
	struct iscsi_params params;
	uint32_t cmd_sn, stat_sn, exp_cmd_sn, max_cmd_sn;
	struct record records[TAGS];
	struct function functions[TAGS];
	struct pdu_r2t r2t;
	uint32_t data_sn;
	uint32_t data_max; /* That the target may send in one segment. */
	uint8_t heard[PDU_BHS_BYTES + 2 * PDU_DIGEST_BYTES + DATA_MAX + 4];
	size_t heard_bytes;
	bool closed;
};

static struct initiator initiators[WIRES];

/* -- What the target says -- */

static inline struct record *record_of(struct initiator *self, uint32_t itt)
{
	check(itt >= COMMAND_TAG && itt < COMMAND_TAG + TAGS);
	return &self->records[itt - COMMAND_TAG];
}

static inline void on_answer(struct initiator *self, uint32_t itt)
{
	struct record *record = record_of(self, itt);

	record->answered++;
	check(record->answered + record->dead <= record->sent);
}

static inline void on_data_in(struct initiator *self, const uint8_t *bhs)
{
	struct pdu_data_in in;
	const struct record *record;

	pdu_data_in_decode(&in, bhs);
	record = record_of(self, in.itt);
	check((uint64_t)in.buffer_offset + in.data_len_bytes <= record->expected_bytes);
	check(in.data_len_bytes > 0);
	if (in.has_status)
		on_answer(self, in.itt);
}

static inline void on_r2t(struct initiator *self, const uint8_t *bhs)
{
	pdu_r2t_decode(&self->r2t, bhs);
	check(self->r2t.desired_data_len_bytes > 0 &&
	      self->r2t.desired_data_len_bytes <= self->params.max_burst_length);
	check((uint64_t)self->r2t.buffer_offset + self->r2t.desired_data_len_bytes <=
	      record_of(self, self->r2t.itt)->expected_bytes);
	self->data_sn = 0;
}

static inline bool reaches(const struct function *function, const struct record *record,
			   unsigned tag)
{
	if (function->function == PDU_TMF_ABORT_TASK)
		return function->referenced == COMMAND_TAG + tag;
	if (function->function == PDU_TMF_ABORT_TASK_SET ||
	    function->function == PDU_TMF_CLEAR_TASK_SET ||
	    function->function == PDU_TMF_LOGICAL_UNIT_RESET)
		return !record->many_luns && record->lun == function->lun;
	return function->function == PDU_TMF_TARGET_WARM_RESET ||
	       function->function == PDU_TMF_TARGET_COLD_RESET ||
	       function->function == PDU_TMF_I_T_NEXUS_RESET;
}

/* What was sent before it and has no answer by now has none at all. */
static inline void on_function(struct initiator *self, const uint8_t *bhs)
{
	struct pdu_tmf_response response;
	struct function *function;

	pdu_tmf_response_decode(&response, bhs);
	check(response.itt >= FUNCTION_TAG && response.itt < FUNCTION_TAG + TAGS);
	function = &self->functions[response.itt - FUNCTION_TAG];
	check(function->pending);
	function->pending = false;
	for (unsigned i = 0; i < TAGS && response.response == PDU_TMF_FUNCTION_COMPLETE; i++) {
		struct record *record = &self->records[i];

		if (!reaches(function, record, i) || function->sent[i] <= record->answered)
			continue;
		if (function->sent[i] - record->answered > record->dead)
			record->dead = function->sent[i] - record->answered;
	}
}

/* Of which the header is all there is to check. */
static inline void on_other(struct initiator *self UNUSED, const uint8_t *bhs UNUSED)
{
}

static inline void on_response(struct initiator *self, const uint8_t *bhs)
{
	struct pdu_scsi_response response;

	pdu_scsi_response_decode(&response, bhs);
	on_answer(self, response.itt);
	check(response.status != SCSI_CHECK_CONDITION || response.data_len_bytes > 2);
}

static const struct heard_row {
	void (*take)(struct initiator *self, const uint8_t *bhs);
	enum tx_stat_sn stat_sn;
} heard_table[PDU_OPCODE_COUNT] = {
	[PDU_NOP_IN] = {on_other, TX_STAT_SN_USE},
	[PDU_SCSI_RESPONSE] = {on_response, TX_STAT_SN_USE},
	[PDU_TMF_RESPONSE] = {on_function, TX_STAT_SN_USE},
	[PDU_TEXT_RESPONSE] = {on_other, TX_STAT_SN_USE},
	[PDU_DATA_IN] = {on_data_in, TX_STAT_SN_NONE},
	[PDU_LOGOUT_RESPONSE] = {on_other, TX_STAT_SN_USE},
	[PDU_R2T] = {on_r2t, TX_STAT_SN_SHOW},
	[PDU_ASYNC_MESSAGE] = {on_other, TX_STAT_SN_USE},
	[PDU_REJECT] = {on_other, TX_STAT_SN_USE},
};

static inline void check_numbers(struct initiator *self, const uint8_t *bhs, enum tx_stat_sn rule)
{
	uint32_t exp = get_be32(bhs + 28);
	uint32_t max = get_be32(bhs + 32);

	/* A NOP-In that asks, and Data-In that carries the status. */
	if (pdu_opcode(bhs) == PDU_NOP_IN && get_be32(bhs + 16) == PDU_TAG_RESERVED)
		rule = TX_STAT_SN_SHOW;
	if (pdu_opcode(bhs) == PDU_DATA_IN && (bhs[1] & 1) != 0)
		rule = TX_STAT_SN_USE;
	if (rule != TX_STAT_SN_NONE)
		check(get_be32(bhs + 24) == self->stat_sn);
	if (rule == TX_STAT_SN_USE)
		self->stat_sn++;
	check((int32_t)(exp - self->exp_cmd_sn) >= 0 && (int32_t)(max - self->max_cmd_sn) >= 0);
	check((int32_t)(max - exp) >= -1 && (int32_t)(max - exp) < 32);
	self->exp_cmd_sn = exp;
	self->max_cmd_sn = max;
}

/* Bytes of a whole PDU at the front, digests included; 0: more are needed. */
static inline size_t whole_pdu(const struct initiator *self)
{
	uint32_t data = self->heard_bytes < PDU_BHS_BYTES ? 0 : get_be24(self->heard + 5);
	size_t bytes = PDU_BHS_BYTES + pdu_padded(data);

	if (self->heard_bytes < PDU_BHS_BYTES)
		return 0;
	check(self->heard[4] == 0 && data <= self->data_max);
	bytes += self->params.header_digest ? PDU_DIGEST_BYTES : 0;
	bytes += self->params.data_digest && data > 0 ? PDU_DIGEST_BYTES : 0;
	return self->heard_bytes < bytes ? 0 : bytes;
}

static inline void check_digests(const struct initiator *self, size_t bytes)
{
	uint32_t data = get_be24(self->heard + 5);
	size_t at = PDU_BHS_BYTES;

	if (self->params.header_digest) {
		check(get_le32(self->heard + at) == crc32c(0, self->heard, PDU_BHS_BYTES));
		at += PDU_DIGEST_BYTES;
	}
	if (self->params.data_digest && data > 0)
		check(get_le32(self->heard + bytes - PDU_DIGEST_BYTES) ==
		      crc32c(0, self->heard + at, pdu_padded(data)));
}

static inline void on_pdu(struct initiator *self, size_t bytes)
{
	const struct heard_row *row = &heard_table[pdu_opcode(self->heard)];

	check(row->take != NULL);
	check_digests(self, bytes);
	check_numbers(self, self->heard, row->stat_sn);
	row->take(self, self->heard);
}

static inline void on_heard(struct wire *wire, const uint8_t *bytes, size_t count)
{
	struct initiator *self = &initiators[wire - scene.wires];

	while (count > 0) {
		size_t room = sizeof(self->heard) - self->heard_bytes;
		size_t taken = count < room ? count : room;
		size_t pdu;

		check(room > 0);
		memcpy(self->heard + self->heard_bytes, bytes, taken);
		self->heard_bytes += taken;
		bytes += taken;
		count -= taken;
		while ((pdu = whole_pdu(self)) > 0) {
			on_pdu(self, pdu);
			self->heard_bytes -= pdu;
			memmove(self->heard, self->heard + pdu, self->heard_bytes);
		}
	}
}

#endif
