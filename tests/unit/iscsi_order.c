/*
 * Task attributes (SAM-5 8): who begins before whom.
 */
#include "tests/unit/iscsi_manage.h"

#include <errno.h>

static uint32_t answered(void)
{
	cr_assert(peer_receive(&peer, &pdu));
	cr_assert(pdu.opcode == PDU_SCSI_RESPONSE || (pdu.bhs[1] & 1) != 0);
	return get_be32(pdu.bhs + 16);
}

/* Reads are slow, all else is fast: without order all else would be answered first. */
Test(manage, ordered_commands_keep_their_place)
{
	begin("fault");
	rig_faults(&rig, "delay read 150\n");
	uint32_t read = start(PDU_ATTR_SIMPLE, 0x28, 0);
	uint32_t ordered = start(PDU_ATTR_ORDERED, 0x00, 0);
	uint32_t simple = start(PDU_ATTR_SIMPLE, 0x00, 0);
	uint32_t neighbour = start(PDU_ATTR_ORDERED, 0x00, RIG_LUN_1);
	uint32_t head = start(PDU_ATTR_HEAD_OF_QUEUE, 0x00, 0);
	const uint32_t order[] = {neighbour, head, read, ordered, simple};

	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		cr_assert_eq(answered(), order[i], "answer %u", i);
	end();
}

/* What is behind an ordered command, or a head of the queue, waits for it. */
static void holds_up(uint8_t attr)
{
	begin("fault");
	rig_faults(&rig, "delay read 150\n");
	uint32_t fence = start(attr, 0x28, 0);
	uint32_t simple = start(PDU_ATTR_SIMPLE, 0x00, 0);
	uint32_t ordered = start(PDU_ATTR_ORDERED, 0x00, 0);

	cr_assert_eq(answered(), fence);
	cr_assert_eq(answered(), simple);
	cr_assert_eq(answered(), ordered);
	end();
}

Test(manage, ordered_commands_hold_up_the_next)
{
	holds_up(PDU_ATTR_ORDERED);
}

Test(manage, heads_of_the_queue_hold_up_the_next)
{
	holds_up(PDU_ATTR_HEAD_OF_QUEUE);
}

/* An aborted command holds up nobody; those that wait can be aborted, too. */
Test(manage, aborts_among_ordered_commands)
{
	begin("fault");
	rig_faults(&rig, "stick read\n");
	uint32_t stuck = start(PDU_ATTR_SIMPLE, 0x28, 0);
	uint32_t first = start(PDU_ATTR_ORDERED, 0x00, 0);
	uint32_t second = start(PDU_ATTR_SIMPLE, 0x00, 0);

	cr_assert_eq(manage((struct rig_tmf){.function = PDU_TMF_QUERY_TASK, .referenced = first}),
		     PDU_TMF_FUNCTION_SUCCEEDED);
	cr_assert_eq(manage((struct rig_tmf){.function = PDU_TMF_ABORT_TASK, .referenced = first}),
		     PDU_TMF_FUNCTION_COMPLETE);
	cr_assert_eq(answered(), second);
	first = start(PDU_ATTR_ORDERED, 0x00, 0);
	peer_send_tmf(&peer, (struct rig_tmf){.function = PDU_TMF_ABORT_TASK, .referenced = stuck});
	cr_assert_eq(manage_answer(), PDU_TMF_FUNCTION_COMPLETE);
	cr_assert_eq(answered(), first);
	start(PDU_ATTR_SIMPLE, 0x28, 0);
	start(PDU_ATTR_ORDERED, 0x00, 0);
	start(PDU_ATTR_ORDERED, 0x00, 0);
	cr_assert_eq(manage((struct rig_tmf){.function = PDU_TMF_ABORT_TASK_SET}),
		     PDU_TMF_FUNCTION_COMPLETE);
	start(PDU_ATTR_SIMPLE, 0x28, 0);
	start(PDU_ATTR_ORDERED, 0x00, 0);
	peer_ping(&peer, &pdu);
	end();
}

/* Others' resets reach those that wait. */
Test(manage, waiting_commands_of_others_are_told)
{
	begin_two("fault");
	rig_faults(&rig, "stick read\n");
	start(PDU_ATTR_SIMPLE, 0x28, 0);
	start(PDU_ATTR_ORDERED, 0x00, 0);
	peer_ping(&peer, &pdu);
	cr_assert_eq(
		peer_manage(&other, &pdu, (struct rig_tmf){.function = PDU_TMF_LOGICAL_UNIT_RESET}),
		PDU_TMF_FUNCTION_COMPLETE);
	cr_assert_eq(response_status(&peer), SCSI_TASK_ABORTED);
	cr_assert_eq(response_status(&peer), SCSI_TASK_ABORTED);
	end_two();
}

struct looks {
	struct loop_round round;
	uint64_t sum;
	atomic_bool done;
};

static bool look_on_loop(struct loop_round *round, struct loop *loop)
{
	CONTAINER_OF(round, struct looks, round)->sum += iscsi_loop_of(loop)->order_looks;
	return true;
}

static void looked(struct loop_round *round)
{
	atomic_store(&CONTAINER_OF(round, struct looks, round)->done, true);
}

/* How often a waiting command was looked at so far. */
static uint64_t count_looks(void)
{
	struct looks looks = {0};

	loop_round_start(&looks.round, &rig.server.group, rig.control, look_on_loop, looked);
	while (!atomic_load(&looks.done))
		usleep(1000);
	return looks.sum;
}

/* Start a command as soon as the window has room for it. */
static uint32_t start_in_window(uint8_t attr)
{
	while ((int32_t)(peer.max_cmd_sn - peer.cmd_sn) < 0)
		peer_ping(&peer, &pdu);
	return start(attr, 0x00, 0);
}

/* Many that wait cost nothing while others come and go, and each is looked at a time or two. */
Test(manage, waiting_commands_are_seldom_looked_at)
{
	enum {
		WAITING = 150,
		OTHERS = 50,
	};
	uint32_t itts[WAITING];

	begin("fault");
	rig.server.limits.queue_depth_max = 256;
	rig_faults(&rig, "stick read\n");
	uint32_t stuck = start(PDU_ATTR_SIMPLE, 0x28, 0);

	itts[0] = start(PDU_ATTR_ORDERED, 0x00, 0);
	for (unsigned i = 1; i < WAITING; i++)
		itts[i] = start_in_window(PDU_ATTR_SIMPLE);
	for (unsigned i = 0; i < OTHERS; i++)
		peer_read_is_good(&peer, RIG_LUN_1);
	cr_assert_eq(count_looks(), 0);
	cr_assert_eq(manage((struct rig_tmf){.function = PDU_TMF_ABORT_TASK, .referenced = stuck}),
		     PDU_TMF_FUNCTION_COMPLETE);
	for (unsigned i = 0; i < WAITING; i++)
		cr_assert_eq(answered(), itts[i], "answer %u", i);
	cr_assert_leq(count_looks(), 2 * WAITING);
	end();
}

/* Writes with their data behind an ordered command: they may be refused, but nothing hangs. */
Test(manage, waiting_writes_leave_room_for_those_before_them)
{
	struct rig_command write = {.write = true, .expected_bytes = sizeof(data), .data = data};
	struct rig_burst slow;
	unsigned good = 0;

	begin("raw");
	rig_cdb10(write.cdb, 0x2A, 256, sizeof(data) / 512);
	slow = write_that_owes(&peer, 0);
	start(PDU_ATTR_ORDERED, 0x00, 0);
	write.immediate_bytes = sizeof(data);
	for (unsigned i = 0; i < 5; i++)
		peer_command(&peer, &write);
	peer_data_out(&peer, slow, data);
	for (unsigned i = 0; i < 7; i++) {
		uint8_t status = response_status(&peer);

		cr_assert(status == SCSI_GOOD || status == SCSI_TASK_SET_FULL);
		good += status == SCSI_GOOD;
	}
	cr_assert_geq(good, 2);
	end();
}

/* A command with a gap before it takes nothing from the floor: whom it will wait for is not known,
 * and those may need the floor to end. */
Test(manage, early_commands_leave_the_floor_alone)
{
	struct rig_command write = {.write = true, .expected_bytes = 4096, .data = data};

	rig_begin(&rig, "raw", LOOP_ENGINE_AUTO, 40);
	rig.server.limits.data_out_timeout_ms = 3600 * 1000;
	peer_begin(&peer, &rig, 0, &rig_params);
	peer_clear_attention(&peer, 0);
	peer_begin(&other, &rig, 0, &rig_params);
	peer_clear_attention(&other, 0);
	peer_clear_attention(&other, RIG_LUN_1);
	/* All buffers but the floors. */
	for (unsigned i = 0; i < 16; i++)
		write_that_owes(&other, i % 2 == 0 ? 0 : RIG_LUN_1);
	rig_cdb10(write.cdb, 0x2A, 256, 8);
	write.immediate_bytes = write.expected_bytes;
	peer.cmd_sn++;
	for (unsigned i = 0; i < 4; i++)
		peer_command(&peer, &write);
	uint32_t next = peer.cmd_sn;

	peer.cmd_sn -= 5;
	peer_command(&peer, &write);
	peer.cmd_sn = next;
	unsigned good = 0;

	for (unsigned i = 0; i < 5; i++)
		good += response_status(&peer) == SCSI_GOOD;
	cr_assert_eq(good, 1);
	end_two();
}

/* There is no ACA, so no command can be part of one. */
Test(manage, aca_is_refused)
{
	begin("raw");
	struct rig_result result = peer_finish_read(&peer, start(PDU_ATTR_ACA, 0x28, 0), got);

	cr_assert_eq(result.key, 5);
	cr_assert_eq(result.asc, 0x4900);
	peer_read_is_good(&peer, 0);
	end();
}

/* -- data that are on their way while their command waits -- */

/* One unsolicited Data-Out, and of the next one the header and the first part of its data. */
static void begin_data_out(uint32_t itt, uint32_t part_bytes)
{
	uint8_t bhs[PDU_BHS_BYTES];
	struct pdu_data_out out = {.itt = itt, .ttt = PDU_TAG_RESERVED};

	pdu_data_out_encode(&out, bhs);
	peer_send(&peer, bhs, data, part_bytes);
	out.data_sn = 1;
	out.buffer_offset = part_bytes;
	out.data_len_bytes = (uint32_t)sizeof(data) - part_bytes;
	out.final = true;
	pdu_data_out_encode(&out, bhs);
	peer_write(&peer, bhs, sizeof(bhs));
	peer_write(&peer, data + part_bytes, part_bytes);
}

/* Data-Out for an R2T, PDUs `from` to `to`. */
static void send_segments(struct peer *of, struct rig_burst burst, const uint8_t *from_data,
			  uint32_t from, uint32_t to)
{
	uint8_t bhs[PDU_BHS_BYTES];

	for (uint32_t i = from; i < to; i++) {
		const struct pdu_data_out out = {.itt = burst.itt,
						 .ttt = burst.ttt,
						 .data_sn = i,
						 .buffer_offset = i * burst.segment,
						 .data_len_bytes = burst.segment,
						 .final = (i + 1) * burst.segment == burst.length};

		pdu_data_out_encode(&out, bhs);
		peer_send(of, bhs, from_data + i * burst.segment, burst.segment);
	}
}

/*
 * A command's turn comes in the middle of a Data-Out. The buffer that it is being received into
 * must stay the command's, also where the command has no use for the data, or for less of them:
 * or else the rest would land in what the next one, of another session, has taken.
 */
static void keeps_what_is_landing(uint8_t opcode)
{
	struct iscsi_params params = rig_params;
	struct rig_command command = {.write = true,
				      .expected_bytes = sizeof(data),
				      .not_final = true,
				      .attr = PDU_ATTR_ORDERED};
	static uint8_t pattern[sizeof(data)];
	struct rig_burst bursts[3];

	begin("fault");
	peer_end(&peer);
	params.initial_r2t = false;
	peer_begin(&peer, &rig, 0, &params);
	peer_begin(&other, &rig, 0, &rig_params);
	peer_clear_attention(&peer, 0);
	peer_clear_attention(&other, RIG_LUN_1);
	rig_faults(&rig, "delay read 150\n");
	uint32_t slow = start(PDU_ATTR_SIMPLE, 0x28, 0);

	rig_cdb10(command.cdb, opcode, 0, opcode == 0 ? 0 : 1);
	uint32_t itt = peer_command(&peer, &command);

	begin_data_out(itt, 4096);
	cr_assert_eq(answered(), slow);
	usleep(20000);
	/* Buffers that went back last are taken first. */
	memset(pattern, 0x5A, sizeof(pattern));
	for (unsigned i = 0; i < ARRAY_SIZE(bursts); i++) {
		bursts[i] = write_that_owes(&other, RIG_LUN_1);
		send_segments(&other, bursts[i], pattern, 0, 7);
	}
	peer_ping(&other, &pdu);
	peer_write(&peer, data + 8192, sizeof(data) - 8192);
	cr_assert_eq(answered(), itt);
	for (unsigned i = 0; i < ARRAY_SIZE(bursts); i++) {
		send_segments(&other, bursts[i], pattern, 7, 8);
		cr_assert_eq(response_status(&other), SCSI_GOOD);
		peer_finish_read(&other, peer_start_read(&other, RIG_LUN_1, sizeof(got)), got);
		cr_assert_arr_eq(got, pattern, sizeof(got), "write %u", i);
	}
	end_two();
}

Test(manage, waiting_commands_keep_what_is_landing)
{
	keeps_what_is_landing(0x00);
}

Test(manage, waiting_writes_keep_what_is_landing)
{
	keeps_what_is_landing(0x2A);
}

/* Unsolicited data are due in time, though their command has not begun. */
Test(manage, waiting_commands_owe_their_data)
{
	struct iscsi_params params = rig_params;
	struct rig_command write = {.write = true,
				    .expected_bytes = sizeof(data),
				    .not_final = true,
				    .attr = PDU_ATTR_ORDERED};

	begin("fault");
	peer_end(&peer);
	rig.server.limits.data_out_timeout_ms = 200;
	params.initial_r2t = false;
	peer_begin(&peer, &rig, 0, &params);
	peer_clear_attention(&peer, 0);
	rig_faults(&rig, "stick read\n");
	start(PDU_ATTR_SIMPLE, 0x28, 0);
	rig_cdb10(write.cdb, 0x2A, 0, sizeof(data) / 512);
	uint32_t itt = peer_command(&peer, &write);

	begin_data_out(itt, 4096);
	peer_expect_close(&peer);
	end();
}

/* Each flood blocks the receiver for a moment, which must not be taken for time in which it was the
 * target that did not listen. */
static bool flood_of_pings(void)
{
	uint8_t pings[8 * CONN_REPLIES_MAX][PDU_BHS_BYTES];
	struct pdu_nop_out nop = {
		.itt = 0x7000, .ttt = PDU_TAG_RESERVED, .immediate = true, .cmd_sn = peer.cmd_sn};
	uint8_t answers[4096];
	ssize_t res;

	for (size_t i = 0; i < ARRAY_SIZE(pings); i++)
		pdu_nop_out_encode(&nop, pings[i]);
	(void)send(peer.fd, pings, sizeof(pings), MSG_NOSIGNAL);
	do
		res = recv(peer.fd, answers, sizeof(answers), MSG_DONTWAIT);
	while (res > 0);
	return res < 0 && errno == EAGAIN;
}

Test(manage, who_owes_data_gains_no_time_by_pings)
{
	unsigned floods = 0;

	begin("raw");
	peer_end(&peer);
	rig.server.limits.data_out_timeout_ms = 400;
	peer_begin(&peer, &rig, 0, &rig_params);
	peer_clear_attention(&peer, 0);
	write_that_owes(&peer, 0);
	while (flood_of_pings() && floods++ < 500)
		usleep(20000);
	cr_expect_lt(floods, 500);
	end();
}
