/*
 * The numbers of the full feature phase (CmdSN, StatSN, DataSN, R2TSN, offsets, F bits), where they
 * wrap round and where an initiator gets them wrong, and text exchanges. After each of them every
 * slot and buffer must be back (rig_end).
 */
#include "tests/unit/iscsi_peer.h"

#define MIB (1u << 20)

static struct rig rig;
static struct peer peer;
static struct rig_pdu pdu;

static void begin(const char *type, uint32_t buffers)
{
	rig_begin(&rig, type, LOOP_ENGINE_AUTO, buffers);
	peer_begin(&peer, &rig, 0, &rig_params);
	peer_clear_attention(&peer, 0);
	peer_clear_attention(&peer, RIG_LUN_1);
}

static void end(void)
{
	peer_end(&peer);
	rig_end(&rig);
}

static uint8_t manage(uint8_t function, uint64_t lun, uint32_t referenced)
{
	return peer_manage(&peer, &pdu, (struct rig_tmf){function, lun, referenced, 0});
}

/* -- numbers -- */

/* An early command that is aborted must not leave a gap behind (RFC 7143 4.2.2.1). */
static void abort_early_command(uint8_t function)
{
	begin("raw", 128);
	uint32_t due = peer.cmd_sn;

	peer.cmd_sn = due + 1;
	uint32_t early = peer_start_read(&peer, 0, 4096);

	cr_assert_eq(manage(function, 0, early), PDU_TMF_FUNCTION_COMPLETE);
	peer.cmd_sn = due;
	peer_read_is_good(&peer, RIG_LUN_1);
	peer.cmd_sn = due + 2;
	peer_read_is_good(&peer, RIG_LUN_1);
	end();
}

Test(numbers, aborted_early_command_uses_its_cmd_sn)
{
	abort_early_command(PDU_TMF_ABORT_TASK);
	abort_early_command(PDU_TMF_ABORT_TASK_SET);
}

Test(numbers, early_command_that_is_aborted_and_whose_connection_ends)
{
	begin("raw", 128);
	peer.cmd_sn++;
	uint32_t early = peer_start_read(&peer, 0, 4096);

	cr_assert_eq(manage(PDU_TMF_ABORT_TASK, 0, early), PDU_TMF_FUNCTION_COMPLETE);
	cr_assert_eq(manage(PDU_TMF_ABORT_TASK, 0, early), PDU_TMF_TASK_DOES_NOT_EXIST);
	end();
}

/* Its number would be missing for ever. */
Test(numbers, early_command_that_is_wrong_ends_the_connection)
{
	struct rig_command both = {.read = true, .write = true, .expected_bytes = 512};

	begin("raw", 128);
	peer.cmd_sn++;
	peer_command(&peer, &both);
	peer_expect_close(&peer);
	end();
}

Test(numbers, numbers_wrap_round)
{
	static uint8_t got[4096];

	rig_begin(&rig, "raw", LOOP_ENGINE_AUTO, 128);
	rig.first_cmd_sn = 0xfffffffa;
	peer_begin(&peer, &rig, 0, &rig_params);
	peer_clear_attention(&peer, 0);
	for (int i = 0; i < 10; i++) {
		uint32_t due = peer.cmd_sn;

		peer.cmd_sn = due + 1;
		uint32_t second = peer_start_read(&peer, 0, 4096);

		peer.cmd_sn = due - 1;
		peer_start_read(&peer, 0, 4096);
		peer.cmd_sn = due + 100;
		peer_start_read(&peer, 0, 4096);
		peer.cmd_sn = due;
		uint32_t first = peer_start_read(&peer, 0, 4096);

		cr_assert_eq(peer_finish_read(&peer, first, got).status, SCSI_GOOD);
		cr_assert_eq(peer_finish_read(&peer, second, got).status, SCSI_GOOD);
		peer.cmd_sn = due + 2;
	}
	end();
}

/* DataSN, offsets, F at MaxBurstLength (RFC 7143 11.7, 13.13) with the smallest segments. */
Test(numbers, long_read_in_small_segments)
{
	struct iscsi_params params = rig_params;
	struct pdu_data_in in = {0};
	uint32_t at = 0;
	uint32_t data_sn = 0;

	params.max_send_data_segment_length = 512;
	params.max_burst_length = 1000;
	rig_begin(&rig, "raw", LOOP_ENGINE_AUTO, 128);
	peer_begin(&peer, &rig, 0, &params);
	peer_clear_attention(&peer, 0);
	uint32_t itt = peer_start_read(&peer, 0, MIB);
	uint32_t stat_sn = peer.exp_stat_sn + 1;

	while (!in.has_status) {
		peer_expect(&peer, &pdu, PDU_DATA_IN);
		pdu_data_in_decode(&in, pdu.bhs);
		cr_assert_eq(in.itt, itt);
		cr_assert_eq(in.data_sn, data_sn++);
		cr_assert_eq(in.buffer_offset, at);
		at += pdu.data_len_bytes;
		bool burst_ends = at % 1000 == 0 || at == MIB;

		cr_assert_eq(in.final, burst_ends, "at %u", at);
		cr_assert_eq(get_be32(pdu.bhs + 24), in.has_status ? stat_sn : 0);
	}
	cr_assert_eq(at, MIB);
	end();
}

/* R2TSN and StatSN of R2Ts, ExpDataSN and StatSN of the response (RFC 7143 11.8, 11.4.8). */
Test(numbers, numbers_of_a_long_write)
{
	static uint8_t data[MIB];
	struct rig_command command = {.write = true, .expected_bytes = MIB};
	struct pdu_scsi_response response;
	struct pdu_r2t r2t;

	begin("raw", 128);
	rig_cdb10(command.cdb, 0x2a, 0, MIB / 512);
	peer_command(&peer, &command);
	uint32_t stat_sn = peer.exp_stat_sn + 2;

	for (uint32_t i = 0; i < 4; i++) {
		peer_expect(&peer, &pdu, PDU_R2T);
		pdu_r2t_decode(&r2t, pdu.bhs);
		cr_assert_eq(r2t.r2t_sn, i);
		cr_assert_eq(r2t.buffer_offset, i * 262144);
		cr_assert_eq(r2t.desired_data_len_bytes, 262144);
		cr_assert_eq(get_be32(pdu.bhs + 24), stat_sn);
		peer_data_out(&peer,
			      (struct rig_burst){r2t.itt, r2t.ttt, r2t.buffer_offset,
						 r2t.desired_data_len_bytes, 65536},
			      data);
	}
	peer_expect(&peer, &pdu, PDU_SCSI_RESPONSE);
	pdu_scsi_response_decode(&response, pdu.bhs);
	cr_assert_eq(response.exp_data_sn, 4);
	cr_assert_eq(get_be32(pdu.bhs + 24), stat_sn);
	end();
}

/* -- text -- */

static void send_text(struct pdu_text_request request, const char *text, uint32_t bytes)
{
	uint8_t bhs[PDU_BHS_BYTES];

	request.itt = 9;
	request.immediate = true;
	pdu_text_request_encode(&request, bhs);
	peer_send(&peer, bhs, text, bytes);
}

static struct pdu_text_response expect_text(void)
{
	struct pdu_text_response response;

	peer_expect(&peer, &pdu, PDU_TEXT_RESPONSE);
	pdu_text_response_decode(&response, pdu.bhs);
	return response;
}

/* RFC 7143 11.11.1: F in answer to a request without F is a protocol error. */
Test(numbers, text_goes_on_until_the_initiator_ends_it)
{
	static const char text[] = "SendTargets=";

	begin("raw", 128);
	send_text((struct pdu_text_request){.ttt = PDU_TAG_RESERVED}, text, sizeof(text));
	struct pdu_text_response response = expect_text();

	cr_assert(!response.final);
	cr_assert_neq(response.ttt, PDU_TAG_RESERVED);
	cr_assert_str_eq((const char *)pdu.data, "TargetName=" RIG_TARGET);
	send_text((struct pdu_text_request){.ttt = response.ttt, .final = true}, NULL, 0);
	response = expect_text();
	cr_assert(response.final);
	cr_assert_eq(response.ttt, PDU_TAG_RESERVED);
	cr_assert_eq(pdu.data_len_bytes, 0);
	end();
}

Test(numbers, text_in_pieces)
{
	begin("raw", 128);
	send_text((struct pdu_text_request){.ttt = PDU_TAG_RESERVED, .cont = true}, "SendTar", 7);
	struct pdu_text_response response = expect_text();

	cr_assert(!response.final);
	cr_assert_eq(pdu.data_len_bytes, 0);
	send_text((struct pdu_text_request){.ttt = response.ttt, .final = true}, "gets=", 6);
	response = expect_text();
	cr_assert(response.final);
	cr_assert_str_eq((const char *)pdu.data, "TargetName=" RIG_TARGET);
	end();
}

static void expect_reject(uint8_t reason)
{
	struct pdu_reject reject;

	peer_expect(&peer, &pdu, PDU_REJECT);
	pdu_reject_decode(&reject, pdu.bhs);
	cr_assert_eq(reject.reason, reason);
}

/* However long it goes on: what is collected is bounded, and what is refused leaves the session. */
Test(numbers, text_without_end_is_refused)
{
	static char junk[8192];
	uint32_t ttt = PDU_TAG_RESERVED;
	int taken = 0;

	begin("raw", 128);
	memset(junk, 'x', sizeof(junk));
	for (; taken < 100; taken++) {
		send_text((struct pdu_text_request){.ttt = ttt, .cont = true}, junk, sizeof(junk));
		cr_assert(peer_receive(&peer, &pdu));
		if (pdu.opcode != PDU_TEXT_RESPONSE)
			break;
		ttt = get_be32(pdu.bhs + 20);
	}
	cr_assert_eq(pdu.opcode, PDU_REJECT);
	cr_assert_leq(taken, 8);
	/* No exchange of that tag. */
	send_text((struct pdu_text_request){.ttt = ttt + 1, .final = true}, NULL, 0);
	expect_reject(PDU_REJECT_PROTOCOL_ERROR);
	/* F and C together. */
	send_text((struct pdu_text_request){.ttt = PDU_TAG_RESERVED, .final = true, .cont = true},
		  "a=b", 4);
	expect_reject(PDU_REJECT_PROTOCOL_ERROR);
	peer_read_is_good(&peer, 0);
	end();
}

/* RFC 7143 13.12: the one number that may change in the full feature phase. */
Test(numbers, segment_length_is_declared_anew)
{
	static const char text[] = "MaxRecvDataSegmentLength=1024";

	begin("raw", 128);
	send_text((struct pdu_text_request){.ttt = PDU_TAG_RESERVED, .final = true}, text,
		  sizeof(text));
	cr_assert(expect_text().final);
	peer.params.max_send_data_segment_length = 1024;
	peer_read_is_good(&peer, 0);
	end();
}
