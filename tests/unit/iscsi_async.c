/*
 * SCSI events (RFC 7143 11.9.1, event 0): what hosts hear of changed logical units before they ask.
 */
#include "tests/unit/iscsi_manage.h"

/* What is done on the control loop, and that it has been done. */
struct order {
	struct loop_msg msg;
	struct scsi_lun_change list;
	struct scsi_lu_news news;
	atomic_uint left;
};

static void on_listed(struct scsi_lun_change *change)
{
	atomic_fetch_sub(&CONTAINER_OF(change, struct order, list)->left, 1);
}

static void on_told(struct scsi_lu_news *news)
{
	atomic_fetch_sub(&CONTAINER_OF(news, struct order, news)->left, 1);
}

/* Nothing comes and nothing goes, but hosts are told of a change all the same. */
static void change_list(struct loop_msg *msg)
{
	struct order *order = CONTAINER_OF(msg, struct order, msg);

	loop_role_assume();
	order->list = (struct scsi_lun_change){
		.target = rig.target.scsi, .control = rig.control, .done = on_listed};
	cr_assert_eq(scsi_lun_change_prepare(&order->list), 0);
	scsi_lun_change_start(&order->list);
}

static void grow(struct loop_msg *msg)
{
	struct order *order = CONTAINER_OF(msg, struct order, msg);

	loop_role_assume();
	order->news = (struct scsi_lu_news){.lu = scsi_target_find_lu(rig.target.scsi, 1),
					    .grown = true,
					    .control = rig.control,
					    .done = on_told};
	scsi_lu_renew(&order->news);
}

static void carry_out(void (*what)(struct loop_msg *msg))
{
	struct order order = {.left = 1};

	loop_post(rig.control, &order.msg, what);
	while (atomic_load(&order.left) > 0)
		usleep(1000);
}

static void begin_told(bool told)
{
	begin("raw");
	rig.target.scsi_events = told;
}

/* The next PDU is an event of that LUN, with that sense data, and takes a StatSN of its own. */
static void expect_event(uint32_t stat_sn, uint64_t lun, uint16_t asc)
{
	struct pdu_async_message message;

	peer_expect(&peer, &pdu, PDU_ASYNC_MESSAGE);
	pdu_async_message_decode(&message, pdu.bhs);
	cr_expect_eq(message.async_event, PDU_ASYNC_SCSI_EVENT);
	cr_expect_eq(message.sns.stat_sn, stat_sn);
	cr_expect_eq(message.lun, lun);
	cr_expect_eq(get_be32(pdu.bhs + 16), PDU_TAG_RESERVED);
	cr_expect_eq(message.async_vcode | message.parameter1 | message.parameter2 |
			     message.parameter3,
		     0);
	/* SenseLength, then sense data of fixed format: unit attention. */
	cr_assert_eq(pdu.data_len_bytes, 2 + 18);
	cr_expect_eq(get_be16(pdu.data), 18);
	cr_expect_eq(pdu.data[2], 0x70);
	cr_expect_eq(pdu.data[2 + 2], 6);
	cr_expect_eq(get_be16(pdu.data + 2 + 12), asc);
}

/* The StatSN that comes next. */
static uint32_t next_stat_sn(void)
{
	peer_ping(&peer, &pdu);
	return get_be32(pdu.bhs + 24) + 1;
}

static uint16_t attention(uint64_t lun)
{
	struct rig_command tur = {.lun = lun};

	return peer_finish_read(&peer, peer_command(&peer, &tur), NULL).asc;
}

Test(async, a_changed_list_is_told_at_once)
{
	begin_told(true);
	uint32_t stat_sn = next_stat_sn();

	carry_out(change_list);
	expect_event(stat_sn, 0, 0x3F0E);
	/* Whether it was told or not: the next command hears of it. */
	cr_expect_eq(attention(RIG_LUN_1), 0x3F0E);
	peer_read_is_good(&peer, RIG_LUN_1);
	end();
}

Test(async, a_new_size_is_told_at_once)
{
	begin_told(true);
	uint32_t stat_sn = next_stat_sn();

	carry_out(grow);
	expect_event(stat_sn, RIG_LUN_1, 0x2A09);
	cr_expect_eq(attention(RIG_LUN_1), 0x2A09);
	peer_read_is_good(&peer, 0);
	end();
}

Test(async, nobody_is_told_who_did_not_want_it)
{
	begin_told(false);
	carry_out(change_list);
	carry_out(grow);
	/* Its answer would come behind theirs. */
	peer_ping(&peer, &pdu);
	cr_expect_eq(attention(RIG_LUN_1), 0x2A09);
	cr_expect_eq(attention(RIG_LUN_1), 0x3F0E);
	end();
}

/* Events are no reason to keep memory for a peer that takes nothing: some are lost. */
Test(async, a_deaf_peer_misses_some)
{
	struct rig_command read = {.read = true, .expected_bytes = 1u << 20};
	unsigned events = 0;
	bool pinged = false;

	begin_told(true);
	rig.server.limits.write_stall_timeout_ms = 3600 * 1000;
	rig_cdb10(read.cdb, 0x28, 0, 2048);
	for (unsigned i = 0; i < 4; i++)
		peer_command(&peer, &read);
	usleep(50000);
	for (unsigned i = 0; i < 2 * CONN_REPLIES_MAX; i++)
		carry_out(grow);
	peer_nop(&peer);
	while (!pinged) {
		cr_assert(peer_receive(&peer, &pdu));
		events += pdu.opcode == PDU_ASYNC_MESSAGE;
		pinged = pdu.opcode == PDU_NOP_IN;
	}
	cr_expect_eq(events, CONN_REPLIES_MAX);
	end();
}

/* Who is on the way out hears no more of it. */
Test(async, nothing_is_told_behind_the_last_message)
{
	begin_told(true);
	session_close(peer.session, SESSION_CLOSE_ADMIN);
	peer_expect(&peer, &pdu, PDU_ASYNC_MESSAGE);
	carry_out(change_list);
	cr_expect_not(peer_receive(&peer, &pdu));
	end();
}
