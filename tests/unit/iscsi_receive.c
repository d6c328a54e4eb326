/*
 * Connections of one loop receive into one area. One floods the target with pings and reads no
 * answer, so that its receiver stops in the middle of what came; another one writes and reads
 * meanwhile. Every byte of both must be what was sent. On both engines.
 */
#include "tests/unit/iscsi_peer.h"

#include <errno.h>

/* More than both directions of the socket hold, of the area's size several times. */
#define PINGS 12000u
#define PING_BYTES_MAX 200u

static struct rig rig;
static struct peer flooder;
static struct peer worker;
static struct rig_pdu pdu;

/* All that the flooder sends, made beforehand, and how much of it has been sent. */
static struct {
	uint8_t *bytes;
	size_t count;
	size_t sent;
} flood;

static uint32_t ping_bytes(uint32_t number)
{
	return number * 7u % PING_BYTES_MAX + 1u;
}

static uint8_t ping_byte(uint32_t number, uint32_t at)
{
	return (uint8_t)(number * 31u + at * 3u + (number >> 8));
}

static void flood_add(const void *bytes, size_t count)
{
	memcpy(flood.bytes + flood.count, bytes, count);
	flood.count += count;
}

static void flood_add_ping(uint32_t number)
{
	uint8_t data[PING_BYTES_MAX + 3] = {0};
	uint32_t data_len_bytes = ping_bytes(number);
	uint8_t bhs[PDU_BHS_BYTES];
	struct pdu_nop_out nop = {.itt = number,
				  .ttt = PDU_TAG_RESERVED,
				  .immediate = true,
				  .cmd_sn = flooder.cmd_sn,
				  .data_len_bytes = data_len_bytes};

	for (uint32_t i = 0; i < data_len_bytes; i++)
		data[i] = ping_byte(number, i);
	pdu_nop_out_encode(&nop, bhs);
	flood_add(bhs, sizeof(bhs));
	flood_add(data, pdu_padded(data_len_bytes));
}

/* As much as the socket takes now. True: something went. */
static bool flood_push(void)
{
	ssize_t n = send(flooder.fd, flood.bytes + flood.sent, flood.count - flood.sent,
			 MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n <= 0)
		return false;
	flood.sent += (size_t)n;
	return true;
}

/* Until the target has stopped receiving: nothing goes for a while. */
static void flood_until_blocked(void)
{
	for (unsigned refused = 0; refused < 20;) {
		if (flood_push()) {
			refused = 0;
		} else {
			refused++;
			usleep(2000);
		}
	}
	cr_assert(flood.sent < flood.count, "the flood was not long enough");
}

static void expect_ping(uint32_t number)
{
	peer_expect(&flooder, &pdu, PDU_NOP_IN);
	cr_assert_eq(get_be32(pdu.bhs + 16), number);
	cr_assert_eq(pdu.data_len_bytes, ping_bytes(number));
	for (uint32_t i = 0; i < pdu.data_len_bytes; i++)
		cr_assert_eq(pdu.data[i], ping_byte(number, i), "ping %u, byte %u", number, i);
}

/* -- what the loop holds for a connection -- */

struct look {
	struct loop_msg msg;
	const struct conn *conn;
	uint32_t left_bytes;
	uint32_t all_bytes; /* Of all connections of the loop. */
	bool apart;
	atomic_bool done;
};

static void on_look(struct loop_msg *msg)
{
	struct look *look = CONTAINER_OF(msg, struct look, msg);

	look->left_bytes = framer_left_bytes(&look->conn->framer);
	look->all_bytes = look->conn->session->home->left_over_bytes;
	look->apart = look->conn->left_over != NULL;
	atomic_store(&look->done, true);
}

static struct look look_at(struct peer *peer)
{
	struct look look = {.conn = &peer->session->conn};

	loop_post(peer->session->spec.loop, &look.msg, on_look);
	while (!atomic_load(&look.done))
		usleep(1000);
	return look;
}

/* -- the other one -- */

/* Writes that land from the area, writes that land directly, and reads of both. */
static void work(uint32_t seed)
{
	static uint8_t data[65536];
	static uint8_t got[65536];
	uint32_t count = seed % 3u == 0 ? sizeof(data) : 4096u;
	struct rig_command write = {.write = true,
				    .expected_bytes = count,
				    .immediate_bytes = count < 8192u ? count : 8192u,
				    .data = data};
	struct pdu_scsi_response response;

	for (uint32_t i = 0; i < count; i++)
		data[i] = (uint8_t)(seed * 13u + i * 5u + (i >> 8));
	rig_cdb10(write.cdb, 0x2a, 0, (uint16_t)(count / 512u));
	peer_command(&worker, &write);
	peer_finish_write(&worker, data, &response);
	cr_assert_eq(response.status, SCSI_GOOD);
	struct rig_result result =
		peer_finish_read(&worker, peer_start_read(&worker, 0, count), got);

	cr_assert_eq(result.status, SCSI_GOOD);
	cr_assert_arr_eq(got, data, count);
}

static void begin(enum loop_engine engine)
{
	rig_begin(&rig, "raw", engine, 64);
	rig.server.limits.write_stall_timeout_ms = 60000;
	peer_begin(&flooder, &rig, 0, &rig_params);
	peer_begin(&worker, &rig, 0, &rig_params);
	peer_clear_attention(&worker, 0);
	flood.bytes = malloc((PINGS + 2u) * (PDU_BHS_BYTES + PING_BYTES_MAX + 3u));
	cr_assert_not_null(flood.bytes);
	flood.count = 0;
	flood.sent = 0;
	for (uint32_t i = 0; i < PINGS; i++)
		flood_add_ping(i);
}

static void end(void)
{
	peer_end(&worker);
	rig_end(&rig);
	free(flood.bytes);
}

static void pause_and_go_on(enum loop_engine engine)
{
	struct look look;

	begin(engine);
	flood_until_blocked();
	look = look_at(&flooder);
	cr_assert(look.left_bytes > 0 && look.apart, "nothing was left over");
	for (uint32_t i = 0; i < PINGS; i++) {
		if (i % 400u == 0)
			work(i / 400u);
		flood_push();
		expect_ping(i);
	}
	look = look_at(&flooder);
	cr_assert(look.left_bytes == 0 && !look.apart, "memory was kept");
	peer_end(&flooder);
	end();
}

Test(receive, paused_connection_keeps_its_bytes)
{
	pause_and_go_on(LOOP_ENGINE_AUTO);
	pause_and_go_on(LOOP_ENGINE_AIO);
}

/* The end comes while bytes are left over: cut off by the peer, or by the administrator. */
static void end_while_paused(enum loop_engine engine, bool by_peer)
{
	begin(engine);
	flood_until_blocked();
	cr_assert(look_at(&flooder).apart);
	work(1);
	if (!by_peer)
		session_close(flooder.session, SESSION_CLOSE_ADMIN);
	peer_end(&flooder);
	work(2);
	end();
}

Test(receive, connection_may_end_while_bytes_are_left)
{
	end_while_paused(LOOP_ENGINE_AUTO, true);
	end_while_paused(LOOP_ENGINE_AUTO, false);
	end_while_paused(LOOP_ENGINE_AIO, true);
	end_while_paused(LOOP_ENGINE_AIO, false);
}

/* A logout in the middle of what is left over: what stands behind it is never looked at. */
static void log_out_while_paused(enum loop_engine engine)
{
	uint8_t junk[4 * PDU_BHS_BYTES];
	uint8_t bhs[PDU_BHS_BYTES];
	struct pdu_logout_request logout = {.itt = 1, .cid = 0, .immediate = true};

	begin(engine);
	logout.cmd_sn = flooder.cmd_sn;
	pdu_logout_request_encode(&logout, bhs);
	memset(junk, 0xff, sizeof(junk));
	flood_add(bhs, sizeof(bhs));
	flood_add(junk, sizeof(junk));
	flood_until_blocked();
	for (uint32_t i = 0; i < PINGS; i++) {
		flood_push();
		expect_ping(i);
	}
	while (flood_push())
		continue;
	peer_expect(&flooder, &pdu, PDU_LOGOUT_RESPONSE);
	work(3);
	peer_expect_close(&flooder);
	peer_end(&flooder);
	end();
}

Test(receive, nothing_behind_a_logout_is_looked_at)
{
	log_out_while_paused(LOOP_ENGINE_AUTO);
	log_out_while_paused(LOOP_ENGINE_AIO);
}

/* -- many of them -- */

#define FLOODERS 48u

/* The same as one sends, but to its own socket; nobody reads. */
static void flood_blindly(const struct peer *peer)
{
	size_t sent = 0;

	for (unsigned refused = 0; refused < 5 && sent < flood.count;) {
		ssize_t n = send(peer->fd, flood.bytes + sent, flood.count - sent,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			return; /* Closed: one too many. */
		if (n > 0) {
			sent += (size_t)n;
		} else {
			refused++;
			usleep(2000);
		}
	}
}

static void flood_by_many(enum loop_engine engine)
{
	static struct peer flooders[FLOODERS];
	struct look look;

	begin(engine);
	for (unsigned i = 0; i < FLOODERS; i++) {
		peer_begin(&flooders[i], &rig, 0, &rig_params);
		flood_blindly(&flooders[i]);
	}
	look = look_at(&flooder);
	cr_assert_gt(look.all_bytes, 0);
	cr_assert_leq(look.all_bytes, LOOP_LEFT_OVER_BYTES_MAX);
	cr_assert_gt(atomic_load(&rig.ended), 0, "nobody was closed");
	work(4);
	for (unsigned i = 0; i < FLOODERS; i++)
		peer_end(&flooders[i]);
	look = look_at(&flooder);
	cr_assert_eq(look.all_bytes, 0);
	peer_end(&flooder);
	end();
}

/* All of the share is theirs, and has been for a while. */
Test(receive, who_has_just_come_does_not_go_for_those_who_never_read)
{
	static struct peer flooders[FLOODERS];

	begin(LOOP_ENGINE_AUTO);
	for (unsigned i = 0; i < FLOODERS; i++) {
		peer_begin(&flooders[i], &rig, 0, &rig_params);
		flood_blindly(&flooders[i]);
	}
	usleep(1100000);
	flood_until_blocked();
	cr_assert(!atomic_load(&flooder.ended));
	cr_assert(look_at(&flooder).apart);
	for (unsigned i = 0; i < FLOODERS; i++)
		peer_end(&flooders[i]);
	peer_end(&flooder);
	end();
}

Test(receive, many_floods_take_no_more_than_a_share)
{
	flood_by_many(LOOP_ENGINE_AUTO);
	flood_by_many(LOOP_ENGINE_AIO);
}

/* -- a gather send that is as full as it gets -- */

/* PDUs with padding and both digests fill what a send makes of its own to the last byte, and with
 * data between them every element of its vector. */
Test(receive, fullest_gather_send)
{
	static uint8_t data[65536];
	static uint8_t got[65536];
	struct iscsi_params params = rig_params;
	struct rig_command write = {.write = true, .expected_bytes = sizeof(data), .data = data};
	struct pdu_scsi_response response;

	params.max_send_data_segment_length = 513;
	params.header_digest = true;
	params.data_digest = true;
	for (uint32_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7u + (i >> 8));
	rig_begin(&rig, "raw", LOOP_ENGINE_AUTO, 64);
	peer_begin(&worker, &rig, 0, &params);
	peer_clear_attention(&worker, 0);
	rig_cdb10(write.cdb, 0x2a, 0, sizeof(data) / 512);
	peer_command(&worker, &write);
	peer_finish_write(&worker, data, &response);
	cr_assert_eq(response.status, SCSI_GOOD);
	struct rig_result result =
		peer_finish_read(&worker, peer_start_read(&worker, 0, sizeof(got)), got);

	cr_assert_eq(result.bytes, sizeof(got));
	cr_assert_arr_eq(got, data, sizeof(got));
	peer_end(&worker);
	rig_end(&rig);
}
