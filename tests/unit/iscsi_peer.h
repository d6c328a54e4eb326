/*
 * An initiator that speaks in single PDUs to a session of iscsi_rig.h, and checks the numbers that
 * every answer carries. Not a test.
 *
 * Runs on the test's own thread.
 */
#ifndef TESTS_UNIT_ISCSI_PEER_H
#define TESTS_UNIT_ISCSI_PEER_H

#include "tests/unit/iscsi_rig.h"

/* -- bytes -- */

static inline void peer_write(struct peer *peer, const void *bytes, size_t count)
{
	const uint8_t *at = bytes;

	while (count > 0) {
		ssize_t n = send(peer->fd, at, count, MSG_NOSIGNAL);

		cr_assert_gt(n, 0, "the target closed the connection");
		at += n;
		count -= (size_t)n;
	}
}

/* False: the connection ended. Fails after 10 s of silence. */
static inline bool peer_read(struct peer *peer, void *bytes, size_t count)
{
	uint8_t *at = bytes;

	while (count > 0) {
		struct pollfd ready = {.fd = peer->fd, .events = POLLIN};

		cr_assert_eq(poll(&ready, 1, 10000), 1, "no answer for 10 s");
		ssize_t n = recv(peer->fd, at, count, 0);

		if (n <= 0)
			return false;
		at += n;
		count -= (size_t)n;
	}
	return true;
}

static inline void peer_send(struct peer *peer, uint8_t bhs[PDU_BHS_BYTES], const void *data,
			     uint32_t data_len_bytes)
{
	uint8_t digest[4];
	static const uint8_t zero[4];
	uint32_t pad = pdu_padded(data_len_bytes) - data_len_bytes;

	put_be24(bhs + 5, data_len_bytes);
	peer_write(peer, bhs, PDU_BHS_BYTES);
	put_le32(digest, crc32c(0, bhs, PDU_BHS_BYTES));
	if (peer->params.header_digest)
		peer_write(peer, digest, 4);
	peer_write(peer, data, data_len_bytes);
	peer_write(peer, zero, pad);
	put_le32(digest, crc32c(crc32c(0, data, data_len_bytes), zero, pad));
	if (peer->params.data_digest && data_len_bytes > 0)
		peer_write(peer, digest, 4);
}

/* RFC 7143 4.2.2: what every PDU of the target tells of its numbers. */
static inline void peer_take_sns(struct peer *peer, const struct rig_pdu *pdu)
{
	uint32_t max = get_be32(pdu->bhs + 32);

	cr_assert_geq((int32_t)(max - peer->max_cmd_sn), 0, "MaxCmdSN went back");
	peer->max_cmd_sn = max;
}

/* Receive one PDU into *pdu; digests are checked. False: the connection ended. */
static inline bool peer_receive(struct peer *peer, struct rig_pdu *pdu)
{
	uint8_t tail[8];
	uint32_t pad;

	if (!peer_read(peer, pdu->bhs, PDU_BHS_BYTES))
		return false;
	if (peer->params.header_digest) {
		cr_assert(peer_read(peer, tail, 4));
		cr_assert_eq(get_le32(tail), crc32c(0, pdu->bhs, PDU_BHS_BYTES));
	}
	pdu->opcode = pdu_opcode(pdu->bhs);
	pdu->data_len_bytes = get_be24(pdu->bhs + 5);
	cr_assert_leq(pdu->data_len_bytes, peer->params.max_send_data_segment_length);
	cr_assert(peer_read(peer, pdu->data, pdu->data_len_bytes));
	pad = pdu_padded(pdu->data_len_bytes) - pdu->data_len_bytes;
	cr_assert(peer_read(peer, tail, pad));
	if (peer->params.data_digest && pdu->data_len_bytes > 0) {
		uint32_t crc = crc32c(crc32c(0, pdu->data, pdu->data_len_bytes), tail, pad);

		cr_assert(peer_read(peer, tail, 4));
		cr_assert_eq(get_le32(tail), crc);
	}
	peer_take_sns(peer, pdu);
	return true;
}

static inline void peer_expect(struct peer *peer, struct rig_pdu *pdu, uint8_t opcode)
{
	cr_assert(peer_receive(peer, pdu), "closed instead of opcode 0x%02x", opcode);
	cr_assert_eq(pdu->opcode, opcode, "got opcode 0x%02x, not 0x%02x", pdu->opcode, opcode);
}

/* Nothing more comes and the connection ends. */
static inline void peer_expect_close(struct peer *peer)
{
	struct rig_pdu *pdu = malloc(sizeof(*pdu));

	while (peer_receive(peer, pdu))
		;
	free(pdu);
}

/* -- commands -- */

struct rig_command {
	uint64_t lun;
	uint8_t cdb[16];
	uint32_t expected_bytes;
	bool read, write, immediate;
	bool not_final;
	uint8_t attr; /* PDU_ATTR_UNTAGGED: a simple one. */
	uint32_t immediate_bytes;
	const void *data;
};

static inline uint32_t peer_command(struct peer *peer, const struct rig_command *command)
{
	uint8_t bhs[PDU_BHS_BYTES];
	struct pdu_scsi_command pdu = {
		.lun = command->lun,
		.itt = peer->next_itt++,
		.expected_data_len_bytes = command->expected_bytes,
		.cmd_sn = command->immediate ? peer->cmd_sn : peer->cmd_sn++,
		.immediate = command->immediate,
		.final = !command->not_final,
		.read = command->read,
		.write = command->write,
		.attr = command->attr == PDU_ATTR_UNTAGGED ? PDU_ATTR_SIMPLE : command->attr,
		.data_len_bytes = command->immediate_bytes,
	};

	memcpy(pdu.cdb, command->cdb, sizeof(pdu.cdb));
	pdu_scsi_command_encode(&pdu, bhs);
	peer_send(peer, bhs, command->data, command->immediate_bytes);
	return pdu.itt;
}

static inline void rig_cdb10(uint8_t cdb[16], uint8_t opcode, uint32_t lba, uint16_t blocks)
{
	memset(cdb, 0, 16);
	cdb[0] = opcode;
	put_be32(cdb + 2, lba);
	put_be16(cdb + 7, blocks);
}

struct rig_burst {
	uint32_t itt, ttt;
	uint32_t offset, length;
	uint32_t segment; /* Data-Out PDUs are of this size at most. */
};

/* Send a sequence of Data-Out PDUs; the last has the F bit. */
static inline void peer_data_out(struct peer *peer, struct rig_burst burst, const uint8_t *data)
{
	uint8_t bhs[PDU_BHS_BYTES];
	uint32_t sent = 0;
	uint32_t data_sn = 0;

	while (sent < burst.length) {
		uint32_t left = burst.length - sent;
		uint32_t length = left < burst.segment ? left : burst.segment;
		struct pdu_data_out pdu = {
			.itt = burst.itt,
			.ttt = burst.ttt,
			.data_sn = data_sn++,
			.buffer_offset = burst.offset + sent,
			.data_len_bytes = length,
			.final = length == left,
		};

		pdu_data_out_encode(&pdu, bhs);
		peer_send(peer, bhs, data + burst.offset + sent, length);
		sent += length;
	}
}

/* Serve R2Ts until the response comes. */
static inline void peer_finish_write(struct peer *peer, const uint8_t *data,
				     struct pdu_scsi_response *response)
{
	struct rig_pdu *pdu = malloc(sizeof(*pdu));

	for (;;) {
		struct pdu_r2t r2t;

		cr_assert(peer_receive(peer, pdu));
		if (pdu->opcode != PDU_R2T)
			break;
		pdu_r2t_decode(&r2t, pdu->bhs);
		cr_assert_leq(r2t.desired_data_len_bytes, peer->params.max_burst_length);
		peer_data_out(peer,
			      (struct rig_burst){r2t.itt, r2t.ttt, r2t.buffer_offset,
						 r2t.desired_data_len_bytes,
						 peer->params.max_recv_data_segment_length},
			      data);
	}
	cr_assert_eq(pdu->opcode, PDU_SCSI_RESPONSE, "got opcode 0x%02x", pdu->opcode);
	pdu_scsi_response_decode(response, pdu->bhs);
	if (pdu->data_len_bytes >= 2 + 14)
		response->snack_tag = get_be16(pdu->data + 2 + 12); /* ASC, ASCQ for the caller. */
	free(pdu);
}

/* What came of a command that reads. */
struct rig_result {
	uint8_t status;
	uint8_t key;
	uint16_t asc; /* ASC and ASCQ */
	bool overflow, underflow;
	uint32_t residual;
	uint32_t bytes;
};

static inline void rig_take_sense(struct rig_result *result, const struct rig_pdu *pdu)
{
	if (pdu->data_len_bytes < 2 + 14)
		return;
	result->key = pdu->data[2 + 2] & 0x0f;
	result->asc = get_be16(pdu->data + 2 + 12);
}

/* Collect Data-In until the status of `itt` comes; offsets must be in order. */
static inline struct rig_result peer_finish_read(struct peer *peer, uint32_t itt, uint8_t *out)
{
	struct rig_pdu *pdu = malloc(sizeof(*pdu));
	struct rig_result result = {0};
	bool done = false;

	while (!done) {
		struct pdu_data_in in;
		struct pdu_scsi_response response;

		cr_assert(peer_receive(peer, pdu));
		cr_assert_eq(get_be32(pdu->bhs + 16), itt, "opcode 0x%02x of another task",
			     pdu->opcode);
		if (pdu->opcode == PDU_DATA_IN) {
			pdu_data_in_decode(&in, pdu->bhs);
			cr_assert_eq(in.buffer_offset, result.bytes);
			memcpy(out + result.bytes, pdu->data, pdu->data_len_bytes);
			result.bytes += pdu->data_len_bytes;
			done = in.has_status;
			result.status = in.status;
			result.overflow = in.overflow;
			result.underflow = in.underflow;
			result.residual = in.residual_count;
			continue;
		}
		cr_assert_eq(pdu->opcode, PDU_SCSI_RESPONSE, "got opcode 0x%02x", pdu->opcode);
		pdu_scsi_response_decode(&response, pdu->bhs);
		done = true;
		result.status = response.status;
		result.overflow = response.overflow;
		result.underflow = response.underflow;
		result.residual = response.residual_count;
		rig_take_sense(&result, pdu);
	}
	free(pdu);
	return result;
}

/* The unit attention of a fresh nexus: TEST UNIT READY fails once. */
static inline void peer_clear_attention(struct peer *peer, uint64_t lun)
{
	struct rig_command tur = {.lun = lun};
	struct rig_result result = peer_finish_read(peer, peer_command(peer, &tur), NULL);

	cr_assert_eq(result.status, SCSI_CHECK_CONDITION);
	cr_assert_eq(result.asc, 0x2900);
}

static inline uint32_t peer_start_read(struct peer *peer, uint64_t lun, uint32_t bytes)
{
	struct rig_command command = {.lun = lun, .expected_bytes = bytes, .read = true};

	rig_cdb10(command.cdb, 0x28, 0, (uint16_t)(bytes / 512));
	return peer_command(peer, &command);
}

/* Nothing else must be on its way. */
static inline void peer_read_is_good(struct peer *peer, uint64_t lun)
{
	static uint8_t got[4096];
	struct rig_result result =
		peer_finish_read(peer, peer_start_read(peer, lun, sizeof(got)), got);

	cr_assert_eq(result.status, SCSI_GOOD, "status %02x, sense %04x", result.status,
		     result.asc);
}

static inline void peer_nop(struct peer *peer)
{
	uint8_t bhs[PDU_BHS_BYTES];
	struct pdu_nop_out nop = {
		.itt = 0x1234, .ttt = PDU_TAG_RESERVED, .immediate = true, .cmd_sn = peer->cmd_sn};

	pdu_nop_out_encode(&nop, bhs);
	peer_send(peer, bhs, "hello", 5);
}

static inline void peer_ping(struct peer *peer, struct rig_pdu *pdu)
{
	peer_nop(peer);
	peer_expect(peer, pdu, PDU_NOP_IN);
	cr_assert_eq(get_be32(pdu->bhs + 16), 0x1234);
	cr_assert_eq(pdu->data_len_bytes, 5);
	cr_assert_arr_eq(pdu->data, "hello", 5);
}

struct rig_tmf {
	uint8_t function;
	uint64_t lun;
	uint32_t referenced;
	uint32_t ref_cmd_sn;
};

static inline void peer_send_tmf(struct peer *peer, struct rig_tmf tmf)
{
	uint8_t bhs[PDU_BHS_BYTES];
	struct pdu_tmf_request request = {.function = tmf.function,
					  .lun = tmf.lun,
					  .itt = peer->next_itt++,
					  .referenced_task_tag = tmf.referenced,
					  .ref_cmd_sn = tmf.ref_cmd_sn,
					  .immediate = true,
					  .cmd_sn = peer->cmd_sn};

	pdu_tmf_request_encode(&request, bhs);
	peer_send(peer, bhs, NULL, 0);
}

/* Task management whose answer is the next PDU. */
static inline uint8_t peer_manage(struct peer *peer, struct rig_pdu *pdu, struct rig_tmf tmf)
{
	struct pdu_tmf_response response;
	uint32_t itt = peer->next_itt;

	peer_send_tmf(peer, tmf);
	peer_expect(peer, pdu, PDU_TMF_RESPONSE);
	pdu_tmf_response_decode(&response, pdu->bhs);
	cr_assert_eq(response.itt, itt);
	return response.response;
}

/* End a session from the initiator's side and wait until the target has noticed. */
static inline void peer_end(struct peer *peer)
{
	close(peer->fd);
	rig_wait_ended(peer->rig, ++peer->rig->closed);
}

/* LUN 1 in flat or peripheral addressing: the number stands in the second byte. */
#define RIG_LUN_1 0x0001000000000000ull

#endif
