/*
 * Tasks in trouble: a stuck LUN beside healthy ones, aborts and resets in every stage, pools that
 * are used up, and initiators that go away or do not read. After each of them every slot and buffer
 * must be back (rig_end).
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
	rig_faults(&rig, "");
	rig_end(&rig);
}

static uint8_t manage(uint8_t function, uint64_t lun, uint32_t referenced)
{
	return peer_manage(&peer, &pdu, (struct rig_tmf){function, lun, referenced, 0});
}

static uint32_t start_flush(uint64_t lun, bool immediate)
{
	struct rig_command command = {.lun = lun, .immediate = immediate, .cdb = {0x35}};

	return peer_command(&peer, &command);
}

/* A ping learns how far the window has come. */
static void wait_for_window(void)
{
	while ((int32_t)(peer.max_cmd_sn - peer.cmd_sn) < 0)
		peer_ping(&peer, &pdu);
}

/* -- a stuck LUN takes nothing from the others (DESIGN.md 5) -- */

Test(tasks, reads_that_are_stuck_hold_up_no_others)
{
	begin("fault", 256);
	rig_faults(&rig, "stick read\n");
	for (int i = 0; i < 3; i++)
		peer_start_read(&peer, 0, MIB);
	for (int i = 0; i < 3; i++)
		peer_read_is_good(&peer, RIG_LUN_1);
	end();
}

Test(tasks, stuck_lun_leaves_buffers_to_the_others)
{
	static uint8_t data[8192];
	struct pdu_scsi_response response;
	struct rig_command write = {.lun = RIG_LUN_1,
				    .write = true,
				    .expected_bytes = sizeof(data),
				    .immediate_bytes = sizeof(data),
				    .data = data};

	begin("fault", 128);
	rig_faults(&rig, "stick read\n");
	for (int i = 0; i < 20; i++) {
		wait_for_window();
		peer_start_read(&peer, 0, MIB);
	}
	wait_for_window();
	peer_ping(&peer, &pdu);
	peer_read_is_good(&peer, RIG_LUN_1);
	rig_cdb10(write.cdb, 0x2a, 0, sizeof(data) / 512);
	peer_command(&peer, &write);
	peer_finish_write(&peer, data, &response);
	cr_assert_eq(response.status, SCSI_GOOD, "status %02x", response.status);
	end();
}

/* A LUN that has its share of buffers waits for its own, and is woken when an abort frees some. */
Test(tasks, abort_wakes_who_waits_for_the_aborted_buffers)
{
	static uint8_t got[4096];
	uint32_t first = peer.next_itt;

	begin("fault", 512);
	first = peer.next_itt;
	/* Its share of what is common, its share of the session's floor, and then none. */
	rig_faults(&rig, "stick read count 200\n");
	for (unsigned i = 0; i < SESSION_LUN_WINDOWS_MAX / 8; i++) {
		wait_for_window();
		peer_start_read(&peer, 0, MIB / 2);
	}
	for (unsigned i = 0; i < ISCSI_FLOOR_COMMANDS; i++) {
		wait_for_window();
		peer_start_read(&peer, 0, 4096);
	}
	wait_for_window();
	uint32_t waiting = peer_start_read(&peer, 0, sizeof(got));

	peer_ping(&peer, &pdu);
	cr_assert_eq(manage(PDU_TMF_ABORT_TASK, 0, first), PDU_TMF_FUNCTION_COMPLETE);
	cr_assert_eq(peer_finish_read(&peer, waiting, got).status, SCSI_GOOD);
	end();
}

/* Count answers of TASK SET FULL until a ping comes back. */
static unsigned count_refused(void)
{
	unsigned refused = 0;
	uint8_t bhs[PDU_BHS_BYTES];
	struct pdu_nop_out nop = {.itt = 1u << 20, .ttt = PDU_TAG_RESERVED, .immediate = true};

	pdu_nop_out_encode(&nop, bhs);
	peer_send(&peer, bhs, NULL, 0);
	for (;; refused++) {
		cr_assert(peer_receive(&peer, &pdu));
		if (pdu.opcode == PDU_NOP_IN)
			return refused;
		cr_assert_eq(pdu.opcode, PDU_SCSI_RESPONSE);
		cr_assert_eq(pdu.bhs[3], SCSI_TASK_SET_FULL);
	}
}

/* More commands than there are slots: who finds none is told so, and Data-Out, pings and other
 * sessions are not held up. */
Test(tasks, commands_beyond_the_slots_are_refused)
{
	static uint8_t data[65536];
	struct rig_command write = {.write = true, .expected_bytes = sizeof(data)};
	struct pdu_scsi_response response;
	struct peer other;
	struct pdu_r2t r2t;
	unsigned refused = 0;

	rig_begin(&rig, "fault", LOOP_ENGINE_AUTO, 128);
	rig.server.limits.queue_depth_max = 1024;
	peer_begin(&peer, &rig, 0, &rig_params);
	peer_begin(&other, &rig, 0, &rig_params);
	peer_clear_attention(&peer, 0);
	rig_cdb10(write.cdb, 0x2a, 0, sizeof(data) / 512);
	peer_command(&peer, &write);
	peer_expect(&peer, &pdu, PDU_R2T);
	pdu_r2t_decode(&r2t, pdu.bhs);
	rig_faults(&rig, "stick flush\n");
	for (int i = 0; i < 700; i++) {
		if ((int32_t)(peer.max_cmd_sn - peer.cmd_sn) < 0)
			refused += count_refused();
		start_flush(0, false);
	}
	refused += count_refused();
	cr_assert(refused > 100 && refused < 600, "%u refused", refused);
	peer_data_out(&peer, (struct rig_burst){r2t.itt, r2t.ttt, 0, sizeof(data), 65536}, data);
	peer_finish_write(&peer, data, &response);
	cr_assert_eq(response.status, SCSI_GOOD);
	peer_clear_attention(&other, RIG_LUN_1);
	peer_read_is_good(&other, RIG_LUN_1);
	peer_end(&other);
	end();
}

/* -- aborts and resets -- */

/* Another session's reset meets the middle of a Data-Out PDU, of a command with immediate data. */
static void reset_in_the_middle(bool immediate)
{
	struct pdu_scsi_response response;

	static uint8_t data[65536];
	uint8_t bhs[PDU_BHS_BYTES];
	struct rig_command command = {.write = true, .expected_bytes = sizeof(data)};
	struct peer other;
	struct pdu_r2t r2t;

	begin("raw", 128);
	peer_begin(&other, &rig, 1, &rig_params);
	if (immediate) {
		struct pdu_scsi_command raw = {.itt = peer.next_itt++,
					       .expected_data_len_bytes = sizeof(data),
					       .cmd_sn = peer.cmd_sn++,
					       .final = true,
					       .write = true,
					       .attr = PDU_ATTR_SIMPLE};

		rig_cdb10(raw.cdb, 0x2a, 0, sizeof(data) / 512);
		pdu_scsi_command_encode(&raw, bhs);
	} else {
		rig_cdb10(command.cdb, 0x2a, 0, sizeof(data) / 512);
		uint32_t itt = peer_command(&peer, &command);

		peer_expect(&peer, &pdu, PDU_R2T);
		pdu_r2t_decode(&r2t, pdu.bhs);
		struct pdu_data_out out = {.itt = itt, .ttt = r2t.ttt, .final = true};

		pdu_data_out_encode(&out, bhs);
	}
	put_be24(bhs + 5, sizeof(data));
	peer_write(&peer, bhs, sizeof(bhs));
	peer_write(&peer, data, 30000);
	usleep(20000);
	cr_assert_eq(
		peer_manage(&other, &pdu, (struct rig_tmf){PDU_TMF_LOGICAL_UNIT_RESET, 0, 0, 0}),
		PDU_TMF_FUNCTION_COMPLETE);
	peer_write(&peer, data + 30000, sizeof(data) - 30000);
	/* A command that was there already is told of its end, one that came after it of the reset.
	 */
	peer_expect(&peer, &pdu, PDU_SCSI_RESPONSE);
	pdu_scsi_response_decode(&response, pdu.bhs);
	cr_assert_eq(response.status, immediate ? SCSI_CHECK_CONDITION : SCSI_TASK_ABORTED);
	if (!immediate)
		cr_assert_eq(peer_finish_read(&peer, peer_start_read(&peer, 0, 4096), pdu.data).asc,
			     0x2903);
	peer_read_is_good(&peer, 0);
	peer_end(&other);
	end();
}

Test(tasks, reset_in_the_middle_of_data_out)
{
	reset_in_the_middle(false);
}

Test(tasks, reset_in_the_middle_of_immediate_data)
{
	reset_in_the_middle(true);
}

/* The burst of an aborted write arrives all the same and changes nothing; the tag is used anew. */
Test(tasks, data_out_after_an_abort_is_dropped)
{
	static uint8_t data[65536];
	static uint8_t got[4096];
	struct rig_command command = {.write = true, .expected_bytes = sizeof(data)};
	struct pdu_r2t r2t;

	begin("raw", 128);
	memset(data, 0xee, sizeof(data));
	rig_cdb10(command.cdb, 0x2a, 0, sizeof(data) / 512);
	uint32_t itt = peer_command(&peer, &command);

	peer_expect(&peer, &pdu, PDU_R2T);
	pdu_r2t_decode(&r2t, pdu.bhs);
	cr_assert_eq(manage(PDU_TMF_ABORT_TASK, 0, itt), PDU_TMF_FUNCTION_COMPLETE);
	peer_data_out(&peer, (struct rig_burst){itt, r2t.ttt, 0, sizeof(data), 8192}, data);
	peer.next_itt = itt;
	struct rig_result result =
		peer_finish_read(&peer, peer_start_read(&peer, 0, sizeof(got)), got);

	cr_assert_eq(result.status, SCSI_GOOD);
	for (unsigned i = 0; i < sizeof(got); i++)
		cr_assert_eq(got[i], 0);
	end();
}

Test(tasks, tag_in_use_is_rejected)
{
	struct pdu_reject reject;

	begin("fault", 128);
	rig_faults(&rig, "stick all\n");
	uint32_t itt = peer_start_read(&peer, 0, 4096);

	peer.next_itt = itt;
	peer_start_read(&peer, RIG_LUN_1, 4096);
	peer_expect(&peer, &pdu, PDU_REJECT);
	pdu_reject_decode(&reject, pdu.bhs);
	cr_assert_eq(reject.reason, PDU_REJECT_TASK_IN_PROGRESS);
	/* The rejected command's CmdSN is used up. */
	peer_read_is_good(&peer, RIG_LUN_1);
	end();
}

/* Who asks in one form of the number ends what was asked for in the other. */
Test(tasks, both_forms_of_a_number)
{
	const uint64_t flat = UINT64_C(0x4000) << 48, flat_1 = UINT64_C(0x4001) << 48;

	begin("fault", 128);
	rig_faults(&rig, "stick all\n");
	uint32_t itt = peer_start_read(&peer, 0, 4096);

	cr_assert_eq(manage(PDU_TMF_ABORT_TASK, flat_1, itt), PDU_TMF_TASK_DOES_NOT_EXIST);
	cr_assert_eq(manage(PDU_TMF_ABORT_TASK, flat, itt), PDU_TMF_FUNCTION_COMPLETE);
	for (int i = 0; i < 2; i++) {
		itt = peer_start_read(&peer, i == 0 ? flat : 0, 4096);
		cr_assert_eq(manage(PDU_TMF_ABORT_TASK_SET, i == 0 ? 0 : flat, 0),
			     PDU_TMF_FUNCTION_COMPLETE);
		cr_assert_eq(manage(PDU_TMF_ABORT_TASK, 0, itt), PDU_TMF_TASK_DOES_NOT_EXIST);
	}
	cr_assert_eq(manage(PDU_TMF_ABORT_TASK_SET, UINT64_C(0xC101) << 48, 0),
		     PDU_TMF_LUN_DOES_NOT_EXIST);
	peer_read_is_good(&peer, flat_1);
	end();
}

Test(tasks, immediate_commands_are_few)
{
	struct pdu_reject reject;

	begin("fault", 128);
	rig_faults(&rig, "stick flush\n");
	for (unsigned i = 0; i <= ISCSI_IMMEDIATE_COMMANDS; i++)
		start_flush(0, true);
	peer_expect(&peer, &pdu, PDU_REJECT);
	pdu_reject_decode(&reject, pdu.bhs);
	cr_assert_eq(reject.reason, PDU_REJECT_TOO_MANY_IMMEDIATE);
	cr_assert_eq(manage(PDU_TMF_ABORT_TASK_SET, 0, 0), PDU_TMF_FUNCTION_COMPLETE);
	rig_faults(&rig, "");
	uint32_t itt = start_flush(0, true);

	cr_assert_eq(peer_finish_read(&peer, itt, NULL).status, SCSI_GOOD);
	end();
}

/* -- ends -- */

static void logout(uint8_t reason, uint16_t cid)
{
	uint8_t bhs[PDU_BHS_BYTES];
	struct pdu_logout_request request = {
		.itt = 77, .reason = reason, .cid = cid, .immediate = true};

	pdu_logout_request_encode(&request, bhs);
	peer_send(&peer, bhs, NULL, 0);
}

Test(tasks, logout_beside_a_stuck_disk)
{
	begin("fault", 128);
	rig_faults(&rig, "stick all\n");
	peer_start_read(&peer, 0, MIB);
	start_flush(0, false);
	struct rig_command write = {.write = true, .expected_bytes = MIB};

	rig_cdb10(write.cdb, 0x2a, 0, MIB / 512);
	peer_command(&peer, &write);
	peer_expect(&peer, &pdu, PDU_R2T);
	logout(PDU_LOGOUT_CLOSE_SESSION, 0);
	peer_expect(&peer, &pdu, PDU_LOGOUT_RESPONSE);
	peer_expect_close(&peer);
	end();
}

Test(tasks, logout_that_cannot_be_granted_changes_nothing)
{
	struct pdu_logout_response response;

	begin("raw", 128);
	logout(PDU_LOGOUT_CLOSE_CONNECTION, 99);
	peer_expect(&peer, &pdu, PDU_LOGOUT_RESPONSE);
	pdu_logout_response_decode(&response, pdu.bhs);
	cr_assert_eq(response.response, PDU_LOGOUT_CID_NOT_FOUND);
	logout(PDU_LOGOUT_REMOVE_CONNECTION, 0);
	peer_expect(&peer, &pdu, PDU_LOGOUT_RESPONSE);
	pdu_logout_response_decode(&response, pdu.bhs);
	cr_assert_eq(response.response, PDU_LOGOUT_RECOVERY_NOT_SUPPORTED);
	peer_read_is_good(&peer, 0);
	end();
}

/* Everything at once, then the end, without a look at the answers. */
Test(tasks, disconnect_with_everything_on_its_way)
{
	for (int round = 0; round < 6; round++) {
		begin("fault", 64);
		rig_faults(&rig, round % 2 ? "stick write\n" : "delay all 20\n");
		static uint8_t data[65536];
		struct rig_command write = {.write = true,
					    .expected_bytes = MIB,
					    .immediate_bytes = sizeof(data),
					    .data = data};

		rig_cdb10(write.cdb, 0x2a, 0, MIB / 512);
		peer_command(&peer, &write);
		peer_start_read(&peer, 0, MIB);
		start_flush(0, round % 3 == 0);
		for (int i = 0; i < 3; i++)
			peer_send_tmf(&peer, (struct rig_tmf){PDU_TMF_LOGICAL_UNIT_RESET, 0, 0, 0});
		peer_start_read(&peer, RIG_LUN_1, MIB);
		if (round % 3 == 1)
			session_close(peer.session, SESSION_CLOSE_ADMIN);
		usleep((useconds_t)round * 3000);
		end();
	}
}

/* Pings that nobody reads the answers of cost their sender only. */
Test(tasks, flood_of_pings_ends_in_a_stall)
{
	static uint8_t junk[65536];
	uint8_t bhs[PDU_BHS_BYTES];
	struct pdu_nop_out nop = {.itt = 5, .ttt = PDU_TAG_RESERVED, .immediate = true};

	begin("raw", 16);
	pdu_nop_out_encode(&nop, bhs);
	put_be24(bhs + 5, 8192);
	for (int sent = 0; sent < 4000; sent++) {
		struct iovec iov[2] = {{bhs, sizeof(bhs)}, {junk, 8192}};
		struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};

		if (sendmsg(peer.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) <= 0)
			usleep(1000);
		if (atomic_load(&rig.ended) > 0)
			break;
	}
	rig_wait_ended(&rig, 1);
	peer.rig->closed = 0;
	end();
}

/* Blocked by its own pings, with a reset round under way: the end comes all the same, at once. */
Test(tasks, close_of_a_blocked_connection)
{
	static uint8_t junk[8192];
	uint8_t bhs[PDU_BHS_BYTES];
	struct pdu_nop_out nop = {.itt = 5, .ttt = PDU_TAG_RESERVED, .immediate = true};
	int refused = 0;

	begin("raw", 64);
	rig.server.limits.write_stall_timeout_ms = 60000;
	pdu_nop_out_encode(&nop, bhs);
	put_be24(bhs + 5, sizeof(junk));
	while (refused < 20) {
		struct iovec iov[2] = {{bhs, sizeof(bhs)}, {junk, sizeof(junk)}};
		struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};

		if (sendmsg(peer.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) <= 0) {
			refused++;
			usleep(1000);
		}
	}
	session_close(peer.session, SESSION_CLOSE_ADMIN);
	rig_wait_ended(&rig, 1);
	end();
}

/* What failed did not move (RFC 7143 11.4.5), whatever of the rest did. */
Test(tasks, residual_of_a_read_that_fails)
{
	static uint8_t got[4 * 65536];

	begin("fault", 128);
	for (uint32_t bad = 0; bad < 4; bad++) {
		char rule[64];

		snprintf(rule, sizeof(rule), "fail read EIO lba %u 1\n", bad * 128);
		rig_faults(&rig, rule);
		struct rig_result result =
			peer_finish_read(&peer, peer_start_read(&peer, 0, sizeof(got)), got);

		cr_assert_eq(result.status, SCSI_CHECK_CONDITION);
		cr_assert_eq(result.asc, 0x1100);
		cr_assert(result.underflow && !result.overflow);
		cr_assert_leq(result.bytes, bad * 65536);
		cr_assert_eq(result.bytes + result.residual, sizeof(got));
	}
	end();
}

/* -- TASK SET FULL -- */

/* A write that finds no buffer still has its unsolicited data read, dropped, and answered once. */
Test(tasks, unsolicited_data_without_a_buffer)
{
	static uint8_t data[65536];
	struct iscsi_params params = rig_params;
	struct pdu_scsi_response response;
	unsigned full = 0;

	params.initial_r2t = false;
	rig_begin(&rig, "fault", LOOP_ENGINE_AUTO, 9);
	peer_begin(&peer, &rig, 0, &params);
	peer_clear_attention(&peer, 0);
	rig_faults(&rig, "delay all 300\n");
	for (int i = 0; i < 8; i++)
		start_flush(0, false);
	for (int i = 0; i < 8; i++)
		cr_assert(peer_receive(&peer, &pdu));
	for (uint32_t i = 0; i < 12; i++) {
		struct rig_command write = {.write = true,
					    .not_final = true,
					    .expected_bytes = sizeof(data),
					    .immediate_bytes = 4096,
					    .data = data};

		rig_cdb10(write.cdb, 0x2a, i * 128, 128);
		uint32_t itt = peer_command(&peer, &write);

		peer_data_out(
			&peer,
			(struct rig_burst){itt, PDU_TAG_RESERVED, 4096, sizeof(data) - 4096, 3000},
			data);
	}
	for (int i = 0; i < 12; i++) {
		peer_finish_write(&peer, data, &response);
		full += response.status == SCSI_TASK_SET_FULL;
		cr_assert(response.status == SCSI_GOOD || response.status == SCSI_TASK_SET_FULL);
	}
	cr_assert_gt(full, 0);
	cr_assert_leq(full, 12 - ISCSI_FLOOR_COMMANDS);
	end();
}

/* A stray Data-Out for a read, which may be answered already: one answer, and life goes on. */
Test(tasks, data_out_for_a_read)
{
	begin("raw", 128);
	for (uint32_t i = 1; i < 20; i++) {
		uint32_t itt = peer_start_read(&peer, 0, i * 65536);
		uint8_t bhs[PDU_BHS_BYTES];
		struct pdu_data_out out = {.itt = itt, .ttt = PDU_TAG_RESERVED, .final = true};
		static uint8_t got[20 * 65536];

		usleep(i * 100);
		pdu_data_out_encode(&out, bhs);
		peer_send(&peer, bhs, "data", 4);
		struct rig_result result = peer_finish_read(&peer, itt, got);

		if (result.bytes == i * 65536)
			cr_assert_eq(result.status, SCSI_GOOD);
		else
			cr_assert_eq(result.status, SCSI_CHECK_CONDITION);
	}
	end();
}
