/*
 * The full feature phase apart from data: command window, rejects, pings, text, logout, task
 * management beside a stuck LUN, and every way a session may end.
 */
#include "tests/unit/iscsi_peer.h"

static struct rig rig;
static struct peer peer;
static struct rig_pdu pdu;

static void begin(const char *type)
{
	rig_begin(&rig, type, LOOP_ENGINE_AUTO, 128);
	peer_begin(&peer, &rig, 0, &rig_params);
	peer_clear_attention(&peer, 0);
}

static void end(void)
{
	peer_end(&peer);
	rig_end(&rig);
}

static void faults(const char *what)
{
	rig_faults(&rig, what);
}

static uint32_t start_read(uint64_t lun)
{
	return peer_start_read(&peer, lun, 4096);
}

static void read_is_good(uint64_t lun)
{
	peer_read_is_good(&peer, lun);
}

static void ping(void)
{
	peer_ping(&peer, &pdu);
}

static uint8_t manage(struct rig_tmf tmf)
{
	return peer_manage(&peer, &pdu, tmf);
}

Test(session, ping_is_echoed)
{
	begin("raw");
	ping();
	end();
}

Test(session, window_grows_under_use)
{
	begin("fault");
	cr_assert_eq(peer.max_cmd_sn - peer.cmd_sn + 1, 8);
	faults("delay all 100\n");
	for (int i = 0; i < 8; i++)
		start_read(0);
	for (int i = 0; i < 8; i++)
		peer_expect(&peer, &pdu, PDU_DATA_IN);
	cr_assert_gt(peer.max_cmd_sn - peer.cmd_sn + 1, 8);
	end();
}

Test(session, command_outside_window_is_ignored)
{
	begin("raw");
	uint32_t due = peer.cmd_sn;

	peer.cmd_sn = peer.max_cmd_sn + 1;
	start_read(0);
	peer.cmd_sn = due - 1;
	start_read(0);
	peer.cmd_sn = due;
	read_is_good(0);
	end();
}

Test(session, early_command_waits_for_its_predecessor)
{
	static uint8_t got[4096];

	begin("raw");
	uint32_t due = peer.cmd_sn;

	peer.cmd_sn = due + 1;
	uint32_t second = start_read(0);

	peer.cmd_sn = due;
	uint32_t first = start_read(0);

	cr_assert_eq(peer_finish_read(&peer, first, got).status, SCSI_GOOD);
	cr_assert_eq(peer_finish_read(&peer, second, got).status, SCSI_GOOD);
	peer.cmd_sn = due + 2;
	read_is_good(0);
	end();
}

static void expect_reject(uint8_t reason)
{
	struct pdu_reject reject;

	peer_expect(&peer, &pdu, PDU_REJECT);
	pdu_reject_decode(&reject, pdu.bhs);
	cr_assert_eq(reject.reason, reason, "reason 0x%02x", reject.reason);
	cr_assert_eq(pdu.data_len_bytes, PDU_BHS_BYTES);
}

Test(session, malformed_requests_are_rejected_and_life_goes_on)
{
	uint8_t bhs[PDU_BHS_BYTES] = {0x1d, 0x80};
	static const uint8_t junk[600];

	begin("raw");
	memset(bhs + 16, 0x55, 4);
	peer_send(&peer, bhs, junk, sizeof(junk));
	expect_reject(PDU_REJECT_COMMAND_NOT_SUPPORTED);

	/* Read and write at once. */
	struct rig_command both = {.read = true, .write = true, .expected_bytes = 512};

	peer_command(&peer, &both);
	expect_reject(PDU_REJECT_INVALID_PDU_FIELD);

	/* More immediate data than expected. */
	struct rig_command fat = {
		.write = true, .expected_bytes = 512, .immediate_bytes = 600, .data = junk};

	peer_command(&peer, &fat);
	expect_reject(PDU_REJECT_INVALID_PDU_FIELD);

	/* Unsolicited data although InitialR2T=Yes. */
	struct rig_command loose = {.write = true, .expected_bytes = 512, .not_final = true};

	peer_command(&peer, &loose);
	expect_reject(PDU_REJECT_INVALID_PDU_FIELD);
	read_is_good(0);
	end();
}

Test(session, wrong_data_sn_fails_the_command_alone)
{
	static uint8_t data[4096];
	struct rig_command command = {.write = true, .expected_bytes = 4096};
	struct pdu_scsi_response response;
	uint8_t bhs[PDU_BHS_BYTES];
	struct pdu_r2t r2t;

	begin("raw");
	rig_cdb10(command.cdb, 0x2a, 0, 8);
	uint32_t itt = peer_command(&peer, &command);

	peer_expect(&peer, &pdu, PDU_R2T);
	pdu_r2t_decode(&r2t, pdu.bhs);
	struct pdu_data_out out = {
		.itt = itt, .ttt = r2t.ttt, .data_sn = 27, .final = true, .data_len_bytes = 4096};

	pdu_data_out_encode(&out, bhs);
	peer_send(&peer, bhs, data, sizeof(data));
	peer_send(&peer, bhs, data, sizeof(data));
	peer_finish_write(&peer, data, &response);
	cr_assert_eq(response.status, SCSI_CHECK_CONDITION);
	cr_assert_eq(response.snack_tag, 0x4b00);
	read_is_good(0);
	end();
}

Test(session, initiator_that_owes_data_is_closed)
{
	struct rig_command command = {.write = true, .expected_bytes = 4096};

	begin("raw");
	rig_cdb10(command.cdb, 0x2a, 0, 8);
	peer_command(&peer, &command);
	peer_expect(&peer, &pdu, PDU_R2T);
	peer_expect_close(&peer);
	end();
}

Test(session, disconnect_in_the_middle_of_everything_leaks_nothing)
{
	static uint8_t data[65536];

	for (uint32_t cut = 0; cut < 3; cut++) {
		begin("raw");
		struct rig_command command = {.write = true,
					      .expected_bytes = 1u << 20,
					      .immediate_bytes = cut * 4096,
					      .data = data};

		rig_cdb10(command.cdb, 0x2a, 0, 2048);
		peer_command(&peer, &command);
		for (int i = 0; i < 4; i++)
			start_read(0);
		peer_write(&peer, data, 20 * cut);
		end();
	}
}

Test(session, logout_is_answered_then_the_connection_ends)
{
	uint8_t bhs[PDU_BHS_BYTES];
	struct pdu_logout_request logout = {.itt = 77, .immediate = true, .cmd_sn = 100};

	begin("raw");
	pdu_logout_request_encode(&logout, bhs);
	peer_send(&peer, bhs, NULL, 0);
	peer_expect(&peer, &pdu, PDU_LOGOUT_RESPONSE);
	peer_expect_close(&peer);
	end();
}

Test(session, text_request_lists_its_own_target)
{
	static const char text[] = "SendTargets=";
	uint8_t bhs[PDU_BHS_BYTES];
	struct pdu_text_request request = {
		.itt = 9, .ttt = PDU_TAG_RESERVED, .final = true, .immediate = true, .cmd_sn = 100};

	begin("raw");
	pdu_text_request_encode(&request, bhs);
	peer_send(&peer, bhs, text, sizeof(text));
	peer_expect(&peer, &pdu, PDU_TEXT_RESPONSE);
	cr_assert_str_eq((const char *)pdu.data, "TargetName=" RIG_TARGET);
	end();
}

Test(session, idle_initiator_is_pinged_and_closed_if_silent)
{
	rig_begin(&rig, "raw", LOOP_ENGINE_AUTO, 128);
	rig.server.limits.nop_interval_ms = 200;
	peer_begin(&peer, &rig, 0, &rig_params);
	peer_expect(&peer, &pdu, PDU_NOP_IN);
	cr_assert_eq(get_be32(pdu.bhs + 16), PDU_TAG_RESERVED);
	peer_expect_close(&peer);
	end();
}

Test(session, peer_that_never_reads_is_closed)
{
	begin("raw");
	for (int i = 0; i < 8; i++) {
		struct rig_command command = {.expected_bytes = 4u << 20, .read = true};

		rig_cdb10(command.cdb, 0x28, 0, 8192);
		peer_command(&peer, &command);
	}
	rig_wait_ended(&rig, 1);
	close(peer.fd);
	rig_end(&rig);
}

Test(session, stuck_lun_leaves_the_other_ping_and_task_management_alive)
{
	begin("fault");
	peer_clear_attention(&peer, RIG_LUN_1);
	faults("stick all\n");
	uint32_t first = start_read(0);

	start_read(0);
	read_is_good(RIG_LUN_1);
	ping();
	cr_assert_eq(manage((struct rig_tmf){PDU_TMF_ABORT_TASK, 0, first, 0}),
		     PDU_TMF_FUNCTION_COMPLETE);
	cr_assert_eq(manage((struct rig_tmf){PDU_TMF_ABORT_TASK, 0, first, 0}),
		     PDU_TMF_TASK_DOES_NOT_EXIST);
	cr_assert_eq(manage((struct rig_tmf){PDU_TMF_ABORT_TASK_SET, 0, 0, 0}),
		     PDU_TMF_FUNCTION_COMPLETE);
	cr_assert_eq(manage((struct rig_tmf){PDU_TMF_LOGICAL_UNIT_RESET, 0, 0, 0}),
		     PDU_TMF_FUNCTION_COMPLETE);
	cr_assert_eq(
		manage((struct rig_tmf){PDU_TMF_LOGICAL_UNIT_RESET, 0x0055000000000000ull, 0, 0}),
		PDU_TMF_LUN_DOES_NOT_EXIST);
	read_is_good(RIG_LUN_1);
	faults("");
	cr_assert_eq(peer_finish_read(&peer, start_read(0), NULL).asc, 0x2903);
	read_is_good(0);
	end();
}

Test(session, reset_reaches_the_other_loops_session)
{
	struct peer other;
	static uint8_t got[4096];

	begin("fault");
	peer_begin(&other, &rig, 1, &rig_params);
	peer_clear_attention(&other, 0);
	faults("stick all\n");
	struct rig_command command = {.expected_bytes = 4096, .read = true};

	rig_cdb10(command.cdb, 0x28, 0, 8);
	uint32_t lost = peer_command(&other, &command);

	usleep(50000);
	cr_assert_eq(manage((struct rig_tmf){PDU_TMF_LOGICAL_UNIT_RESET, 0, 0, 0}),
		     PDU_TMF_FUNCTION_COMPLETE);
	faults("");
	/* Its read ends; the next command hears of the reset. */
	struct rig_result result = peer_finish_read(&other, lost, got);

	cr_assert_eq(result.status, SCSI_TASK_ABORTED);
	result = peer_finish_read(&other, peer_command(&other, &command), got);

	cr_assert_eq(result.status, SCSI_CHECK_CONDITION);
	cr_assert_eq(result.asc, 0x2903);
	result = peer_finish_read(&other, peer_command(&other, &command), got);
	cr_assert_eq(result.status, SCSI_GOOD);
	result = peer_finish_read(&peer, start_read(0), got);
	cr_assert_eq(result.asc, 0x2903, "and so does that of who asked for it");
	read_is_good(0);
	peer_end(&other);
	end();
}

Test(session, cold_reset_ends_every_session)
{
	struct peer other;

	begin("raw");
	peer_begin(&other, &rig, 1, &rig_params);
	cr_assert_eq(manage((struct rig_tmf){PDU_TMF_TARGET_COLD_RESET, 0, 0, 0}),
		     PDU_TMF_FUNCTION_COMPLETE);
	peer_expect_close(&other);
	peer_expect_close(&peer);
	rig_wait_ended(&rig, 2);
	close(peer.fd);
	close(other.fd);
	rig_end(&rig);
}

Test(session, failing_disk_fails_one_command)
{
	static uint8_t got[4096];

	begin("fault");
	faults("fail read EIO\n");
	struct rig_result result = peer_finish_read(&peer, start_read(0), got);

	cr_assert_eq(result.status, SCSI_CHECK_CONDITION);
	cr_assert_eq(result.asc, 0x1100);
	faults("");
	read_is_good(0);
	end();
}

static void close_twice(struct loop_msg *msg)
{
	(void)msg;
	session_close(peer.session, SESSION_CLOSE_ADMIN);
	session_close(peer.session, SESSION_CLOSE_SHUTDOWN);
}

/* From the control loop, where the session cannot end between the two. */
Test(session, close_from_the_control_side)
{
	static struct loop_msg msg;

	begin("raw");
	loop_post(rig.control, &msg, close_twice);
	peer_expect_close(&peer);
	end();
}
