/*
 * Task management (RFC 7143 11.5, RFC 7144): what is waited for, what others are told, what is
 * answered, and how the target says farewell. After each of them every slot and buffer must be back
 * (rig_end).
 */
#include "tests/unit/iscsi_manage.h"

/* -- data that were asked for (RFC 7143 4.2.3.3) -- */

static void waits_for_data(uint8_t function)
{
	begin("raw");
	struct rig_burst burst = write_that_owes(&peer, 0);

	peer_send_tmf(&peer, (struct rig_tmf){.function = function});
	cr_assert(!has_answer(&peer, 50), "function %u did not wait", function);
	/* Another LUN's commands go on meanwhile. */
	peer_read_is_good(&peer, RIG_LUN_1);
	peer_data_out(&peer, burst, data);
	cr_assert_eq(manage_answer(), PDU_TMF_FUNCTION_COMPLETE);
	if (function == PDU_TMF_LOGICAL_UNIT_RESET)
		hear_of_reset(&peer);
	nothing_was_written(0);
	end();
}

Test(manage, abort_task_set_waits_for_data)
{
	waits_for_data(PDU_TMF_ABORT_TASK_SET);
}

Test(manage, clear_task_set_waits_for_data)
{
	waits_for_data(PDU_TMF_CLEAR_TASK_SET);
}

Test(manage, resets_wait_for_data)
{
	waits_for_data(PDU_TMF_LOGICAL_UNIT_RESET);
}

Test(manage, target_reset_waits_for_data)
{
	begin("raw");
	struct rig_burst burst = write_that_owes(&peer, 0);

	peer_send_tmf(&peer, (struct rig_tmf){.function = PDU_TMF_TARGET_WARM_RESET});
	peer_data_out(&peer, burst, data);
	cr_assert_eq(manage_answer(), PDU_TMF_FUNCTION_COMPLETE);
	hear_of_reset(&peer);
	nothing_was_written(0);
	end();
}

/* Not for ever, and data that come too late change nothing and are not answered. */
Test(manage, waits_for_data_only_so_long)
{
	begin("raw");
	struct rig_burst burst = write_that_owes(&peer, 0);

	cr_assert_eq(manage((struct rig_tmf){.function = PDU_TMF_ABORT_TASK_SET}),
		     PDU_TMF_FUNCTION_COMPLETE);
	peer_data_out(&peer, burst, data);
	nothing_was_written(0);
	end();
}

/* Two functions wait for the same data; the second one's tasks do not exist any more. */
Test(manage, two_functions_wait_together)
{
	begin("raw");
	struct rig_burst burst = write_that_owes(&peer, 0);

	peer_send_tmf(&peer, (struct rig_tmf){.function = PDU_TMF_ABORT_TASK_SET});
	peer_send_tmf(&peer, (struct rig_tmf){.function = PDU_TMF_LOGICAL_UNIT_RESET});
	cr_assert_eq(
		manage((struct rig_tmf){.function = PDU_TMF_ABORT_TASK, .referenced = burst.itt}),
		PDU_TMF_TASK_DOES_NOT_EXIST);
	peer_data_out(&peer, burst, data);
	cr_assert_eq(manage_answer(), PDU_TMF_FUNCTION_COMPLETE);
	cr_assert_eq(manage_answer(), PDU_TMF_FUNCTION_COMPLETE);
	hear_of_reset(&peer);
	nothing_was_written(0);
	end();
}

/* Data that break their sequence are all that will come. */
Test(manage, wrong_data_end_the_wait)
{
	begin("raw");
	struct rig_burst burst = write_that_owes(&peer, 0);

	peer_send_tmf(&peer, (struct rig_tmf){.function = PDU_TMF_ABORT_TASK_SET});
	burst.offset = 512;
	burst.length -= 512;
	peer_data_out(&peer, burst, data);
	cr_assert_eq(manage_answer(), PDU_TMF_FUNCTION_COMPLETE);
	nothing_was_written(0);
	end();
}

Test(manage, connection_that_is_lost_while_data_are_due)
{
	begin("raw");
	write_that_owes(&peer, 0);
	write_that_owes(&peer, RIG_LUN_1);
	peer_send_tmf(&peer, (struct rig_tmf){.function = PDU_TMF_TARGET_WARM_RESET});
	peer_send_tmf(&peer, (struct rig_tmf){.function = PDU_TMF_ABORT_TASK_SET});
	usleep(20000);
	end();
}

/* A cold reset answers before it closes. */
Test(manage, cold_reset_while_data_are_due)
{
	begin("raw");
	write_that_owes(&peer, 0);
	cr_assert_eq(manage((struct rig_tmf){.function = PDU_TMF_TARGET_COLD_RESET}),
		     PDU_TMF_FUNCTION_COMPLETE);
	peer_expect_close(&peer);
	end();
}

/* -- tasks of others -- */

/* TAS: each of the other's commands ends in TASK ABORTED, at a stuck disk, too. */
Test(manage, others_are_told)
{
	begin_two("fault");
	rig_faults(&rig, "stick read\n");
	peer_start_read(&other, 0, sizeof(got));
	struct rig_burst burst = write_that_owes(&other, 0);

	peer_ping(&other, &pdu);
	cr_assert_eq(manage((struct rig_tmf){.function = PDU_TMF_LOGICAL_UNIT_RESET}),
		     PDU_TMF_FUNCTION_COMPLETE);
	cr_assert_eq(response_status(&other), SCSI_TASK_ABORTED);
	cr_assert_eq(response_status(&other), SCSI_TASK_ABORTED);
	/* Late, and unheard. */
	peer_data_out(&other, burst, data);
	rig_faults(&rig, "");
	hear_of_reset(&other);
	hear_of_reset(&peer);
	peer_read_is_good(&other, 0);
	nothing_was_written(0);
	end_two();
}

/* Their session may end while a disk still holds what was aborted. */
Test(manage, others_end_beside_a_stuck_disk)
{
	begin_two("fault");
	rig_faults(&rig, "stick all\n");
	peer_start_read(&other, 0, sizeof(got));
	peer_start_read(&other, 0, sizeof(got));
	peer_ping(&other, &pdu);
	cr_assert_eq(manage((struct rig_tmf){.function = PDU_TMF_TARGET_WARM_RESET}),
		     PDU_TMF_FUNCTION_COMPLETE);
	cr_assert_eq(response_status(&other), SCSI_TASK_ABORTED);
	end_two();
}

/* MODE SELECT(6) of the Control page with TAS = 0. */
static void set_no_tas(void)
{
	static const uint8_t list[] = {0, 0, 0, 0, 0x0A, 10,   0x22, 0x10,
				       0, 0, 0, 0, 0xFF, 0xFF, 0,    0};
	struct rig_command select = {.write = true,
				     .expected_bytes = sizeof(list),
				     .immediate_bytes = sizeof(list),
				     .data = list,
				     .cdb = {0x15, 0x10, 0, 0, sizeof(list)}};

	peer_command(&peer, &select);
	cr_assert_eq(response_status(&peer), SCSI_GOOD);
	cr_assert_eq(peer_finish_read(&other, peer_start_read(&other, 0, 512), got).asc, 0x2A01);
}

Test(manage, others_are_not_told_without_tas)
{
	begin_two("fault");
	set_no_tas();
	rig_faults(&rig, "stick read\n");
	peer_start_read(&other, 0, 4096);
	peer_ping(&other, &pdu);
	cr_assert_eq(manage((struct rig_tmf){.function = PDU_TMF_LOGICAL_UNIT_RESET}),
		     PDU_TMF_FUNCTION_COMPLETE);
	rig_faults(&rig, "");
	hear_of_reset(&other);
	end_two();
}

/* Twenty times an initiator goes away beside a stuck disk: neighbours do not notice. */
Test(manage, twenty_sessions_end_beside_a_stuck_disk)
{
	begin("fault");
	rig_faults(&rig, "stick read\n");
	for (unsigned i = 0; i < 20; i++) {
		peer_begin(&other, &rig, i % RIG_LOOPS, &rig_params);
		peer_clear_attention(&other, 0);
		peer_clear_attention(&other, RIG_LUN_1);
		peer_start_read(&other, 0, sizeof(got));
		write_that_owes(&other, RIG_LUN_1);
		peer_end(&other);
		peer_read_is_good(&peer, RIG_LUN_1);
	}
	cr_assert_eq(manage((struct rig_tmf){.function = PDU_TMF_LOGICAL_UNIT_RESET}),
		     PDU_TMF_FUNCTION_COMPLETE);
	end();
}

/* Two sessions use up what functions are kept in; each other one still has one of its own. */
Test(manage, others_leave_room_for_a_reset)
{
	struct peer busy[2];

	begin("raw");
	for (unsigned i = 0; i < ARRAY_SIZE(busy); i++) {
		peer_begin(&busy[i], &rig, 0, &rig_params);
		peer_clear_attention(&busy[i], RIG_LUN_1);
		write_that_owes(&busy[i], RIG_LUN_1);
		for (unsigned n = 0; n < CONN_REPLIES_MAX; n++)
			peer_send_tmf(&busy[i], (struct rig_tmf){.function = PDU_TMF_ABORT_TASK_SET,
								 .lun = RIG_LUN_1});
	}
	usleep(20000);
	cr_assert_eq(manage((struct rig_tmf){.function = PDU_TMF_LOGICAL_UNIT_RESET}),
		     PDU_TMF_FUNCTION_COMPLETE);
	for (unsigned i = 0; i < ARRAY_SIZE(busy); i++)
		peer_end(&busy[i]);
	end();
}

/* The answer to a logout is the last that is heard, whatever a reset has still to say. */
Test(manage, nothing_follows_the_answer_to_a_logout)
{
	uint8_t bhs[PDU_BHS_BYTES];
	uint8_t last = 0;

	begin("raw");
	for (unsigned i = 0; i < 10; i++) {
		peer_begin(&other, &rig, i % RIG_LOOPS, &rig_params);
		const struct pdu_logout_request logout = {.itt = 77, .cmd_sn = other.cmd_sn};

		peer_send_tmf(&other, (struct rig_tmf){.function = PDU_TMF_LOGICAL_UNIT_RESET});
		pdu_logout_request_encode(&logout, bhs);
		peer_send(&other, bhs, NULL, 0);
		while (peer_receive(&other, &pdu))
			last = pdu.opcode;
		cr_assert_eq(last, PDU_LOGOUT_RESPONSE, "opcode 0x%02x", last);
		peer_end(&other);
	}
	end();
}

static uint8_t reserve(struct peer *of)
{
	const struct rig_command command = {.cdb = {0x16}};

	return peer_finish_read(of, peer_command(of, &command), NULL).status;
}

/* Who has the answer to a logout can tell another host, which then finds nothing reserved. */
Test(manage, reservation_ends_before_the_answer_to_a_logout)
{
	const struct rig_command release = {.cdb = {0x17}};
	uint8_t bhs[PDU_BHS_BYTES];

	begin("raw");
	for (unsigned i = 0; i < 300; i++) {
		peer_begin(&other, &rig, i % RIG_LOOPS, &rig_params);
		peer_clear_attention(&other, 0);
		cr_assert_eq(reserve(&other), SCSI_GOOD);
		cr_assert_eq(reserve(&peer), SCSI_RESERVATION_CONFLICT);
		const struct pdu_logout_request logout = {.itt = 77, .cmd_sn = other.cmd_sn};

		pdu_logout_request_encode(&logout, bhs);
		peer_send(&other, bhs, NULL, 0);
		peer_expect(&other, &pdu, PDU_LOGOUT_RESPONSE);
		cr_assert_eq(reserve(&peer), SCSI_GOOD, "in round %u", i);
		peer_finish_read(&peer, peer_command(&peer, &release), NULL);
		peer_end(&other);
	}
	end();
}

/* -- questions (RFC 7144) -- */

Test(manage, query_task)
{
	begin("fault");
	rig_faults(&rig, "stick read\n");
	uint32_t itt = peer_start_read(&peer, 0, 4096);

	cr_assert_eq(manage((struct rig_tmf){.function = PDU_TMF_QUERY_TASK, .referenced = itt}),
		     PDU_TMF_FUNCTION_SUCCEEDED);
	cr_assert_eq(
		manage((struct rig_tmf){.function = PDU_TMF_QUERY_TASK, .referenced = itt + 9}),
		PDU_TMF_FUNCTION_COMPLETE);
	cr_assert_eq(manage((struct rig_tmf){.function = PDU_TMF_QUERY_TASK_SET}),
		     PDU_TMF_FUNCTION_SUCCEEDED);
	cr_assert_eq(manage((struct rig_tmf){.function = PDU_TMF_QUERY_TASK_SET, .lun = RIG_LUN_1}),
		     PDU_TMF_FUNCTION_COMPLETE);
	cr_assert_eq(manage((struct rig_tmf){.function = PDU_TMF_QUERY_TASK_SET,
					     .lun = UINT64_C(0x0055) << 48}),
		     PDU_TMF_LUN_DOES_NOT_EXIST);
	cr_assert_eq(manage((struct rig_tmf){.function = PDU_TMF_ABORT_TASK_SET}),
		     PDU_TMF_FUNCTION_COMPLETE);
	cr_assert_eq(manage((struct rig_tmf){.function = PDU_TMF_QUERY_TASK, .referenced = itt}),
		     PDU_TMF_FUNCTION_COMPLETE);
	end();
}

Test(manage, query_asynchronous_event)
{
	struct pdu_tmf_response response;

	begin_two("raw");
	cr_assert_eq(manage((struct rig_tmf){.function = PDU_TMF_QUERY_ASYNC_EVENT}),
		     PDU_TMF_FUNCTION_COMPLETE);
	cr_assert_eq(
		peer_manage(&other, &pdu, (struct rig_tmf){.function = PDU_TMF_LOGICAL_UNIT_RESET}),
		PDU_TMF_FUNCTION_COMPLETE);
	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(manage((struct rig_tmf){.function = PDU_TMF_QUERY_ASYNC_EVENT}),
			     PDU_TMF_FUNCTION_SUCCEEDED);
		pdu_tmf_response_decode(&response, pdu.bhs);
		cr_assert_arr_eq(response.additional, "\x06\x29\x03", 3);
	}
	hear_of_reset(&peer);
	end_two();
}

Test(manage, nexus_reset)
{
	begin("fault");
	rig_faults(&rig, "stick read\n");
	peer_start_read(&peer, 0, 4096);
	cr_assert_eq(manage((struct rig_tmf){.function = PDU_TMF_I_T_NEXUS_RESET}),
		     PDU_TMF_FUNCTION_COMPLETE);
	peer_clear_attention(&peer, 0);
	peer_clear_attention(&peer, RIG_LUN_1);
	end();
}

/* Who did not agree to RFC 7144 does not get it; CLEAR ACA is not to be had at all. */
Test(manage, functions_by_protocol_level)
{
	begin_two("raw");
	for (uint8_t i = PDU_TMF_QUERY_TASK; i <= PDU_TMF_QUERY_ASYNC_EVENT + 1; i++)
		cr_assert_eq(peer_manage(&other, &pdu, (struct rig_tmf){.function = i}),
			     PDU_TMF_NOT_SUPPORTED);
	cr_assert_eq(manage((struct rig_tmf){.function = PDU_TMF_CLEAR_ACA}),
		     PDU_TMF_NOT_SUPPORTED);
	cr_assert_eq(manage((struct rig_tmf){.function = 127}), PDU_TMF_NOT_SUPPORTED);
	cr_assert_eq(manage((struct rig_tmf){.function = PDU_TMF_TASK_REASSIGN}),
		     PDU_TMF_REASSIGN_NOT_SUPPORTED);
	end_two();
}

/* -- commands that never came (RFC 7143 11.5.5) -- */

Test(manage, holes_in_cmd_sn_are_filled)
{
	begin("raw");
	uint32_t hole = peer.cmd_sn;

	/* Two commands are missing before this one, one behind it. */
	peer.cmd_sn = hole + 2;
	uint32_t first = peer_start_read(&peer, 0, 4096);

	peer.cmd_sn = hole + 4;
	uint32_t second = peer_start_read(&peer, 0, 4096);
	static const struct {
		uint32_t distance;
		uint8_t response;
	} cases[] = {
		{1, PDU_TMF_FUNCTION_COMPLETE},
		/* Filled already, and what is not in the window. */
		{1, PDU_TMF_TASK_DOES_NOT_EXIST},
		{2000, PDU_TMF_TASK_DOES_NOT_EXIST},
		{UINT32_MAX, PDU_TMF_TASK_DOES_NOT_EXIST},
		/* As new as the function itself. */
		{5, PDU_TMF_TASK_DOES_NOT_EXIST},
		{3, PDU_TMF_FUNCTION_COMPLETE},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++)
		cr_assert_eq(manage((struct rig_tmf){.function = PDU_TMF_ABORT_TASK,
						     .referenced = 5000 + i,
						     .ref_cmd_sn = hole + cases[i].distance}),
			     cases[i].response, "case %u", i);
	cr_assert(!has_answer(&peer, 20));
	peer_send_tmf(&peer, (struct rig_tmf){.function = PDU_TMF_ABORT_TASK,
					      .referenced = 6000,
					      .ref_cmd_sn = hole});
	for (unsigned answers = 0; answers < 3; answers++) {
		cr_assert(peer_receive(&peer, &pdu));
		while (pdu.opcode == PDU_DATA_IN && (pdu.bhs[1] & 1) == 0)
			cr_assert(peer_receive(&peer, &pdu));
		if (pdu.opcode == PDU_TMF_RESPONSE)
			cr_assert_eq(pdu.bhs[2], PDU_TMF_FUNCTION_COMPLETE);
		else
			cr_assert(get_be32(pdu.bhs + 16) == first ||
				  get_be32(pdu.bhs + 16) == second);
	}
	peer_read_is_good(&peer, 0);
	end();
}

/* -- ends that the target wants (RFC 7143 11.9) -- */

static void is_dismissed(enum session_close_reason reason)
{
	struct pdu_async_message message;

	begin("fault");
	rig_faults(&rig, "stick read\n");
	start(PDU_ATTR_SIMPLE, 0x28, 0);
	start(PDU_ATTR_ORDERED, 0x00, 0);
	write_that_owes(&peer, RIG_LUN_1);
	session_close(peer.session, reason);
	peer_expect(&peer, &pdu, PDU_ASYNC_MESSAGE);
	pdu_async_message_decode(&message, pdu.bhs);
	cr_assert_eq(message.async_event, PDU_ASYNC_ALL_CONNECTIONS_DROP);
	/* Come back at once. */
	cr_assert_eq(message.parameter2, 0);
	cr_assert_eq(get_be64(pdu.bhs + 16) >> 32, PDU_TAG_RESERVED);
	cr_assert_not(peer_receive(&peer, &pdu));
	end();
}

Test(manage, shutdown_is_announced)
{
	is_dismissed(SESSION_CLOSE_SHUTDOWN);
}

Test(manage, dismissal_is_announced)
{
	is_dismissed(SESSION_CLOSE_ADMIN);
}

/* A peer that takes nothing does not keep the daemon from ending. */
Test(manage, dismissal_does_not_wait_for_a_deaf_peer)
{
	begin("raw");
	rig.server.limits.write_stall_timeout_ms = 3600 * 1000;
	for (unsigned i = 0; i < 8; i++) {
		struct rig_command read = {.read = true, .expected_bytes = 1u << 20};

		rig_cdb10(read.cdb, 0x28, 0, 2048);
		peer_command(&peer, &read);
	}
	usleep(50000);
	session_close(peer.session, SESSION_CLOSE_SHUTDOWN);
	rig_wait_ended(&rig, 1);
	close(peer.fd);
	rig_end(&rig);
}
