/*
 * How a session ends, or does not, over requests that are wrong: data digests, reserved codes,
 * holes in CmdSN that nobody fills. After each of them every slot and buffer must be back
 * (rig_end).
 *
 * The same from outside, and more: initiator-tests/rawpdu.
 */
#include "tests/unit/iscsi_peer.h"

static struct rig rig;
static struct peer peer;
static struct rig_pdu pdu;
static uint8_t data[65536];

static void begin(bool digests)
{
	struct iscsi_params params = rig_params;

	params.header_digest = params.data_digest = digests;
	rig_begin(&rig, "raw", LOOP_ENGINE_AUTO, 128);
	peer_begin(&peer, &rig, 0, &params);
	peer_clear_attention(&peer, 0);
}

static void end(void)
{
	peer_end(&peer);
	rig_end(&rig);
}

static void expect_reject(uint8_t reason)
{
	struct pdu_reject reject;

	peer_expect(&peer, &pdu, PDU_REJECT);
	pdu_reject_decode(&reject, pdu.bhs);
	cr_assert_eq(reject.reason, reason, "reason 0x%02x", reject.reason);
	cr_assert_eq(pdu.data_len_bytes, PDU_BHS_BYTES);
}

/* A PDU whose data digest is wrong. */
static void send_spoiled(uint8_t bhs[PDU_BHS_BYTES], uint32_t data_len_bytes)
{
	static const uint8_t wrong[4];

	peer.params.data_digest = false;
	peer_send(&peer, bhs, data, data_len_bytes);
	peer.params.data_digest = true;
	peer_write(&peer, wrong, sizeof(wrong));
}

static void spoil_ping(uint32_t data_len_bytes)
{
	uint8_t bhs[PDU_BHS_BYTES];
	struct pdu_nop_out nop = {
		.itt = 77, .ttt = PDU_TAG_RESERVED, .immediate = true, .cmd_sn = peer.cmd_sn};

	pdu_nop_out_encode(&nop, bhs);
	send_spoiled(bhs, data_len_bytes);
}

static void spoil_short_ping(void)
{
	spoil_ping(5);
}

/* Its data have a buffer of their own. */
static void spoil_long_ping(void)
{
	spoil_ping(8192);
}

static void spoil_text(void)
{
	uint8_t bhs[PDU_BHS_BYTES];
	struct pdu_text_request text = {.itt = 77,
					.ttt = PDU_TAG_RESERVED,
					.final = true,
					.immediate = true,
					.cmd_sn = peer.cmd_sn};

	pdu_text_request_encode(&text, bhs);
	send_spoiled(bhs, 12);
}

/* Immediate data of a command whose CmdSN is so far from being due. */
static void spoil_command(uint32_t distance)
{
	uint8_t bhs[PDU_BHS_BYTES];
	struct pdu_scsi_command command = {.itt = 77,
					   .final = true,
					   .write = true,
					   .expected_data_len_bytes = 4096,
					   .cmd_sn = peer.cmd_sn + distance,
					   .data_len_bytes = 4096};

	rig_cdb10(command.cdb, 0x2a, 0, 8);
	pdu_scsi_command_encode(&command, bhs);
	send_spoiled(bhs, 4096);
}

static void spoil_due_command(void)
{
	spoil_command(0);
}

static void spoil_early_command(void)
{
	spoil_command(1);
}

static void spoil_data_out(void)
{
	struct rig_command command = {.write = true, .expected_bytes = 8192};
	struct pdu_data_out out = {.data_len_bytes = 4096};
	uint8_t bhs[PDU_BHS_BYTES];

	rig_cdb10(command.cdb, 0x2a, 0, 16);
	out.itt = peer_command(&peer, &command);
	peer_expect(&peer, &pdu, PDU_R2T);
	out.ttt = get_be32(pdu.bhs + 20);
	pdu_data_out_encode(&out, bhs);
	send_spoiled(bhs, 4096);
}

/* Refused for another reason before its data come. */
static void spoil_unknown_opcode(void)
{
	uint8_t bhs[PDU_BHS_BYTES] = {0x1d, 0x80};

	send_spoiled(bhs, 100);
}

static void (*const spoilers[])(void) = {
	spoil_short_ping,    spoil_long_ping, spoil_text,           spoil_due_command,
	spoil_early_command, spoil_data_out,  spoil_unknown_opcode,
};

Test(refusals, wrong_data_digest_is_told_and_ends_the_session)
{
	for (unsigned i = 0; i < ARRAY_SIZE(spoilers); i++) {
		begin(true);
		spoilers[i]();
		expect_reject(PDU_REJECT_DATA_DIGEST_ERROR);
		peer_expect_close(&peer);
		end();
	}
}

/* When nothing is left to tell it with, the connection ends all the same. */
Test(refusals, wrong_data_digest_of_a_peer_that_reads_nothing)
{
	struct rig_command read = {.read = true, .expected_bytes = 4u << 20};
	struct rig_command write = {.write = true, .expected_bytes = 8192};
	struct pdu_data_out out = {.data_len_bytes = 4096};
	uint8_t bhs[PDU_BHS_BYTES];

	begin(true);
	rig.server.limits.write_stall_timeout_ms = 60000;
	rig_cdb10(write.cdb, 0x2a, 0, 16);
	out.itt = peer_command(&peer, &write);
	peer_expect(&peer, &pdu, PDU_R2T);
	out.ttt = get_be32(pdu.bhs + 20);
	rig_cdb10(read.cdb, 0x28, 0, 8192);
	peer_command(&peer, &read);
	for (unsigned i = 0; i < CONN_REPLIES_MAX; i++) {
		struct pdu_nop_out nop = {.itt = 900 + i,
					  .ttt = PDU_TAG_RESERVED,
					  .immediate = true,
					  .cmd_sn = peer.cmd_sn};

		pdu_nop_out_encode(&nop, bhs);
		peer_send(&peer, bhs, NULL, 0);
	}
	pdu_data_out_encode(&out, bhs);
	send_spoiled(bhs, 4096);
	rig_wait_ended(&rig, 1);
	close(peer.fd);
	rig_end(&rig);
}

/* The Reject was sent and given back; nothing gives it back again when the connection ends. */
Test(refusals, reject_is_given_back_once)
{
	uint8_t bhs[PDU_BHS_BYTES] = {0x1d, 0x80};

	begin(false);
	for (unsigned i = 0; i < 3 * CONN_REPLIES_MAX; i++) {
		peer_send(&peer, bhs, NULL, 0);
		expect_reject(PDU_REJECT_COMMAND_NOT_SUPPORTED);
	}
	end();
}

static void log_out(uint8_t reason, uint16_t cid)
{
	uint8_t bhs[PDU_BHS_BYTES];
	struct pdu_logout_request logout = {
		.itt = 77, .immediate = true, .reason = reason, .cid = cid, .cmd_sn = peer.cmd_sn};

	pdu_logout_request_encode(&logout, bhs);
	peer_send(&peer, bhs, NULL, 0);
}

Test(refusals, logouts_that_are_none)
{
	static const uint8_t reserved[] = {3, 4, 64, 127};

	begin(false);
	for (unsigned i = 0; i < ARRAY_SIZE(reserved); i++) {
		log_out(reserved[i], 0);
		expect_reject(PDU_REJECT_INVALID_PDU_FIELD);
	}
	log_out(PDU_LOGOUT_REMOVE_CONNECTION, 0);
	peer_expect(&peer, &pdu, PDU_LOGOUT_RESPONSE);
	cr_assert_eq(pdu.bhs[2], PDU_LOGOUT_RECOVERY_NOT_SUPPORTED);
	log_out(PDU_LOGOUT_CLOSE_CONNECTION, 4711);
	peer_expect(&peer, &pdu, PDU_LOGOUT_RESPONSE);
	cr_assert_eq(pdu.bhs[2], PDU_LOGOUT_CID_NOT_FOUND);
	peer_read_is_good(&peer, 0);
	end();
}

/* Early commands hold slots and buffers; so they may not wait for ever. */
Test(refusals, hole_that_nobody_fills_ends_the_session)
{
	begin(false);
	peer.cmd_sn++;
	peer_start_read(&peer, 0, 4096);
	peer_expect_close(&peer);
	end();
}

/* What was aborted, or never came, waits for nothing. */
Test(refusals, aborted_early_command_is_not_overdue)
{
	begin(false);
	uint32_t due = peer.cmd_sn++;
	uint32_t early = peer_start_read(&peer, 0, 4096);

	cr_assert_eq(peer_manage(&peer, &pdu, (struct rig_tmf){PDU_TMF_ABORT_TASK, 0, early, 0}),
		     PDU_TMF_FUNCTION_COMPLETE);
	usleep(1500 * 1000);
	peer.cmd_sn = due;
	peer_read_is_good(&peer, 0);
	end();
}
