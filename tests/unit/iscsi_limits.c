/*
 * What one session may take, however much there is: commands, and buffers for their data. That it
 * leaves the floors of others alone is in iscsi_tasks.c.
 */
#include "tests/unit/iscsi_manage.h"

#define MIB (1u << 20)

struct count {
	struct loop_round round;
	atomic_uint buffers;
	atomic_bool done;
};

static bool count_on_loop(struct loop_round *round, struct loop *loop)
{
	loop_role_assume();
	atomic_fetch_add(&CONTAINER_OF(round, struct count, round)->buffers,
			 loop_buffer_count(loop) - loop_buffers_free(loop));
	return true;
}

static void counted(struct loop_round *round)
{
	atomic_store(&CONTAINER_OF(round, struct count, round)->done, true);
}

/* Buffers in use, when all that was sent has been looked at. */
static unsigned buffers_in_use(void)
{
	struct count count = {0};

	peer_ping(&peer, &pdu);
	loop_round_start(&count.round, &rig.server.group, rig.control, count_on_loop, counted);
	while (!atomic_load(&count.done))
		usleep(1000);
	return atomic_load(&count.buffers);
}

/* Room in the window for one more? A ping learns how far it has come. */
static bool has_room(void)
{
	if ((int32_t)(peer.max_cmd_sn - peer.cmd_sn) < 0)
		peer_ping(&peer, &pdu);
	return (int32_t)(peer.max_cmd_sn - peer.cmd_sn) >= 0;
}

static void begin_large(void)
{
	struct iscsi_params params = rig_params;

	params.max_burst_length = MIB;
	rig_begin(&rig, "fault", LOOP_ENGINE_AUTO, 1024);
	peer_begin(&peer, &rig, 0, &params);
	peer_begin(&other, &rig, 0, &rig_params);
	peer_clear_attention(&peer, 0);
	peer_clear_attention(&peer, RIG_LUN_1);
	peer_clear_attention(&other, RIG_LUN_1);
	rig.server.limits.data_out_timeout_ms = 3600 * 1000;
	rig_faults(&rig, "stick read\n");
}

/* It grows, but not beyond queue-depth, whatever the initiator has outstanding: reads that stick,
 * and writes that owe their data, because one LUN alone has three quarters of it. */
Test(limits, window_ends_at_the_queue_depth)
{
	unsigned sent = 0;

	begin_large();
	while (has_room() && sent <= 2 * rig.server.limits.queue_depth_max) {
		if (sent++ % 2 == 0)
			start(PDU_ATTR_SIMPLE, 0x28, 0);
		else
			write_that_owes(&peer, RIG_LUN_1);
	}
	cr_assert_eq(sent, rig.server.limits.queue_depth_max);
	peer_read_is_good(&other, RIG_LUN_1);
	end_two();
}

/* Reads that a stuck disk keeps: their LUN's share, and not what it could have. */
Test(limits, one_lun_has_its_share_of_buffers)
{
	begin_large();
	for (unsigned i = 0; i < 40 && has_room(); i++)
		peer_start_read(&peer, 0, MIB);
	unsigned used = buffers_in_use();

	cr_assert_geq(used, SESSION_LUN_WINDOWS_MAX);
	cr_assert_leq(used, SESSION_LUN_WINDOWS_MAX + ISCSI_FLOOR_BUFFERS);
	peer_read_is_good(&other, RIG_LUN_1);
	end_two();
}

/* With writes to another LUN, whose data do not come: the session's share. */
Test(limits, one_session_has_its_share_of_buffers)
{
	struct rig_command write = {.lun = RIG_LUN_1, .write = true, .expected_bytes = MIB};

	begin_large();
	for (unsigned i = 0; i < 32 && has_room(); i++)
		peer_start_read(&peer, 0, MIB);
	rig_cdb10(write.cdb, 0x2A, 0, MIB / 512);
	/* Room for all of them: what comes next are R2Ts. */
	peer_ping(&peer, &pdu);
	cr_assert_geq(peer.max_cmd_sn - peer.cmd_sn, 16);
	for (unsigned i = 0; i < 16; i++)
		peer_command(&peer, &write);
	peer_nop(&peer);
	do
		cr_assert(peer_receive(&peer, &pdu));
	while (pdu.opcode == PDU_R2T);
	cr_assert_eq(pdu.opcode, PDU_NOP_IN);
	unsigned used = buffers_in_use();

	cr_assert_geq(used, SESSION_WINDOWS_MAX);
	cr_assert_leq(used, SESSION_WINDOWS_MAX + ISCSI_FLOOR_BUFFERS);
	peer_read_is_good(&other, RIG_LUN_1);
	end_two();
}
