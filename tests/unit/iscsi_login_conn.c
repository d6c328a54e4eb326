/*
 * One connection's way through login: what it may send, what it is answered, and what is closed.
 */
#include "tests/unit/iscsi_login_rig.h"

TestSuite(iscsi_login_conn, .init = rig_begin, .fini = rig_end);

Test(iscsi_login_conn, plain)
{
	struct guest guest = guest_connect();
	const struct session_spec *spec;
	struct sockaddr_in peer;
	struct sockaddr_in name;
	socklen_t len = sizeof(name);

	guest_expect(&guest, RIG_NAMES, PDU_LOGIN_SUCCESS);
	cr_expect(guest.response.transit);
	cr_expect_eq(guest.response.nsg, PDU_STAGE_FULL_FEATURE);
	cr_expect_neq(guest.response.tsih, 0);
	cr_expect_str_eq(guest_value(&guest, "TargetPortalGroupTag"), "1");
	spec = session_spec(rig_session(0));
	cr_expect_str_eq(spec->initiator_name, RIG_HOST);
	cr_expect_str_eq(spec->target_name, RIG_TARGET);
	cr_expect_eq(spec->target, rig.targets[0].scsi);
	cr_expect_not(spec->discovery);
	cr_expect_not_null(spec->nexus);
	cr_expect_eq(spec->tsih, guest.response.tsih);
	cr_expect_eq(spec->cid, 1);
	cr_expect_eq(memcmp(spec->isid, guest.request.isid, sizeof(spec->isid)), 0);
	cr_expect_eq(spec->exp_cmd_sn, 77);
	cr_expect_eq(spec->stat_sn, guest.response.sns.stat_sn + 1);
	cr_expect_eq(guest.response.sns.exp_cmd_sn, 77);
	cr_expect_eq(guest.response.sns.max_cmd_sn, 77 + ISCSI_FLOOR_COMMANDS - 1);
	cr_expect_eq(spec->portal_group_tag, 1);
	cr_expect_eq(spec->params.max_recv_data_segment_length, ISCSI_RECV_DATA_BYTES);
	memcpy(&peer, &spec->peer, sizeof(peer));
	cr_assert_eq(getsockname(guest.fd, (struct sockaddr *)&name, &len), 0);
	cr_expect_eq(peer.sin_port, name.sin_port);
	cr_expect_eq(address_port(&spec->local), address_port(&rig.portal.address));
}

/* The bytes behind the last login request are the session's, all of them. */
Test(iscsi_login_conn, what_follows_is_left_for_the_session)
{
	struct guest guest = guest_connect();
	uint8_t bytes[9000];
	size_t len = guest_encode(&guest, RIG_NAMES, bytes);
	char rest[6] = "";

	memcpy(bytes + len, "COMMAND", 6);
	cr_assert_eq(send(guest.fd, bytes, len + 6, 0), (ssize_t)len + 6);
	cr_assert(guest_receive(&guest));
	cr_assert_eq(recv(session_spec(rig_session(0))->fd, rest, 6, MSG_WAITALL), 6);
	cr_expect_eq(memcmp(rest, "COMMAND", 6), 0);
}

Test(iscsi_login_conn, byte_by_byte)
{
	struct guest guest = guest_connect();
	uint8_t bytes[9000];
	size_t len = guest_encode(&guest, RIG_NAMES, bytes);

	for (size_t i = 0; i < len; i++) {
		cr_assert_eq(send(guest.fd, bytes + i, 1, 0), 1);
		if (i % 16 == 0)
			(void)poll(NULL, 0, 1);
	}
	cr_assert(guest_receive(&guest));
	cr_expect_eq(guest.response.status, PDU_LOGIN_SUCCESS);
}

Test(iscsi_login_conn, text_over_several_requests)
{
	struct guest guest = guest_connect();

	guest.request.transit = false;
	guest.request.nsg = 0;
	guest.request.cont = true;
	guest_expect(&guest, "InitiatorName=" RIG_HOST "|Target", PDU_LOGIN_SUCCESS);
	cr_expect_eq(guest.text_len, 0);
	guest.request.transit = true;
	guest.request.nsg = 3;
	guest.request.cont = false;
	guest_expect(&guest, "Name=" RIG_TARGET "|SessionType=Normal|", PDU_LOGIN_SUCCESS);
	cr_expect(guest.response.transit);
}

Test(iscsi_login_conn, discovery)
{
	struct guest guest = guest_connect();
	const struct session_spec *spec;

	guest_expect(&guest, "InitiatorName=" RIG_HOST "|SessionType=Discovery|",
		     PDU_LOGIN_SUCCESS);
	spec = session_spec(rig_session(0));
	cr_expect(spec->discovery);
	cr_expect_null(spec->target);
	cr_expect_null(spec->target_name);
	cr_expect_null(spec->nexus);
}

Test(iscsi_login_conn, statuses)
{
	static const struct {
		const char *text;
		uint16_t status;
	} rows[] = {
		{"InitiatorName=" RIG_HOST "|TargetName=iqn.none|SessionType=Normal|",
		 PDU_LOGIN_NOT_FOUND},
		{"InitiatorName=iqn.not-this-one|TargetName=" RIG_TARGET "|SessionType=Normal|",
		 PDU_LOGIN_AUTHORIZATION_FAILURE},
		{"InitiatorName=" RIG_HOST "|SessionType=Normal|", PDU_LOGIN_MISSING_PARAMETER},
		{"TargetName=" RIG_TARGET "|SessionType=Normal|", PDU_LOGIN_MISSING_PARAMETER},
		{RIG_CHAP_NAMES, PDU_LOGIN_AUTHENTICATION_FAILURE},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct guest guest = guest_connect();

		guest_expect(&guest, rows[i].text, rows[i].status);
		cr_expect(guest_is_closed(&guest), "row %zu", i);
		(void)close(guest.fd);
	}
	cr_expect_eq(atomic_load(&fake_session_count), 0);
}

/* -- Strangers -- */

Test(iscsi_login_conn, strangers_are_closed_at_once)
{
	static const struct {
		const char *bytes;
		size_t len;
	} rows[] = {
		{"GET / HTTP/1.1\r\n\r\n", 18}, {"POST", 4}, {"\x16\x03\x01\x02\x00\x01", 6},
		{"SSH-2.0-x\r\n", 11},          {"\x00", 1}, {"\x01\xc1", 2},
		{"\xff\xff\xff\xff", 4},        {"\x44", 1}, {"\x23", 1},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct guest guest = guest_connect();

		cr_assert_eq(send(guest.fd, rows[i].bytes, rows[i].len, 0), (ssize_t)rows[i].len);
		cr_expect(guest_is_closed(&guest), "row %zu", i);
		(void)close(guest.fd);
	}
}

/* Every first byte that is no login request's. */
Test(iscsi_login_conn, first_bytes)
{
	for (unsigned byte = 0; byte < 256; byte++) {
		struct guest guest = guest_connect();
		uint8_t first = (uint8_t)byte;

		if ((byte & PDU_OPCODE_MASK) == PDU_LOGIN_REQUEST) {
			(void)close(guest.fd);
			continue;
		}
		cr_assert_eq(send(guest.fd, &first, 1, 0), 1);
		cr_expect(guest_is_closed(&guest), "byte %02x", byte);
		(void)close(guest.fd);
	}
}

static void send_head(struct guest *guest, void (*spoil)(uint8_t *bhs))
{
	uint8_t bytes[9000];

	(void)guest_encode(guest, "", bytes);
	spoil(bytes);
	cr_assert_eq(send(guest->fd, bytes, PDU_BHS_BYTES, 0), PDU_BHS_BYTES);
}

static void spoil_length(uint8_t *bhs)
{
	memset(bhs + 5, 0xff, 3);
}

static void spoil_length_by_one(uint8_t *bhs)
{
	bhs[6] = 0x20;
	bhs[7] = 0x01;
}

static void spoil_ahs(uint8_t *bhs)
{
	bhs[4] = 1;
}

static void spoil_opcode(uint8_t *bhs)
{
	bhs[0] = PDU_SCSI_COMMAND;
}

/* RFC 7143 6.3: the login phase begins with the first login request, so that is answered, too. */
Test(iscsi_login_conn, a_malformed_header_first_is_answered)
{
	static void (*const spoils[])(uint8_t * bhs) = {spoil_length, spoil_length_by_one,
							spoil_ahs};

	for (size_t i = 0; i < ARRAY_SIZE(spoils); i++) {
		struct guest guest = guest_connect();

		guest.request.itt = 0x1234 + (uint32_t)i;
		send_head(&guest, spoils[i]);
		cr_assert(guest_receive(&guest), "row %zu", i);
		cr_expect_eq(guest.response.status, PDU_LOGIN_INITIATOR_ERROR);
		cr_expect_eq(guest.response.itt, 0x1234 + i);
		cr_expect_arr_eq(guest.response.isid, guest.request.isid, PDU_ISID_BYTES);
		cr_expect(guest_is_closed(&guest));
		(void)close(guest.fd);
	}
}

static void spoil_version_and_length(uint8_t *bhs)
{
	spoil_length(bhs);
	bhs[2] = 2;
	bhs[3] = 1;
}

/* "CONNECT", the method of HTTP, begins with the opcode of a login request. */
static void spoil_all(uint8_t *bhs)
{
	memset(bhs, 'C', PDU_BHS_BYTES);
}

/* Of another version nothing else in the header is known. */
Test(iscsi_login_conn, an_incredible_header_first_is_closed)
{
	static void (*const spoils[])(uint8_t * bhs) = {spoil_version_and_length, spoil_all};

	for (size_t i = 0; i < ARRAY_SIZE(spoils); i++) {
		struct guest guest = guest_connect();

		send_head(&guest, spoils[i]);
		cr_expect(guest_is_closed(&guest), "row %zu", i);
		(void)close(guest.fd);
	}
}

/* RFC 7143 6.3: once login has begun, a refusal is answered. */
Test(iscsi_login_conn, a_malformed_header_later_is_answered)
{
	static void (*const spoils[])(uint8_t * bhs) = {spoil_length, spoil_ahs, spoil_opcode};
	static const enum pdu_login_status statuses[] = {PDU_LOGIN_INITIATOR_ERROR,
							 PDU_LOGIN_INITIATOR_ERROR,
							 PDU_LOGIN_INVALID_DURING_LOGIN};

	for (size_t i = 0; i < ARRAY_SIZE(spoils); i++) {
		struct guest guest = guest_connect();

		guest.request.transit = false;
		guest.request.nsg = 0;
		guest_expect(&guest, RIG_NAMES, PDU_LOGIN_SUCCESS);
		send_head(&guest, spoils[i]);
		cr_assert(guest_receive(&guest), "row %zu", i);
		cr_expect_eq(guest.response.status, statuses[i]);
		cr_expect(guest_is_closed(&guest));
		(void)close(guest.fd);
	}
}

Test(iscsi_login_conn, hanging_up_in_the_middle)
{
	static const size_t lens[] = {0, 1, 47, 48, 49, 60};
	uint8_t bytes[9000];

	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		struct guest guest = guest_connect();

		(void)guest_encode(&guest, RIG_NAMES, bytes);
		cr_assert_eq(send(guest.fd, bytes, lens[i], 0), (ssize_t)lens[i]);
		(void)shutdown(guest.fd, SHUT_WR);
		cr_expect(guest_is_closed(&guest), "after %zu bytes", lens[i]);
		(void)close(guest.fd);
	}
}

/* -- CHAP -- */

Test(iscsi_login_conn, chap)
{
	struct guest guest = guest_connect();

	cr_assert(guest_login_chap(&guest, &rig_users[0], PDU_LOGIN_SUCCESS));
	cr_expect_eq(session_spec(rig_session(0))->target, rig.targets[1].scsi);
}

Test(iscsi_login_conn, chap_with_a_wrong_secret)
{
	const struct iscsi_user wrong = {"alice", (const uint8_t *)"not her secret", 14};
	const struct iscsi_user unknown = {"mallory", (const uint8_t *)"alice's secret", 14};
	struct guest guest = guest_connect();

	(void)guest_login_chap(&guest, &wrong, PDU_LOGIN_AUTHENTICATION_FAILURE);
	cr_expect(guest_is_closed(&guest));
	guest = guest_connect();
	(void)guest_login_chap(&guest, &unknown, PDU_LOGIN_AUTHENTICATION_FAILURE);
	cr_expect(guest_is_closed(&guest));
	cr_expect_eq(atomic_load(&fake_session_count), 0);
}

/* Not by the length of the one that is known, as LIO did. */
Test(iscsi_login_conn, chap_names_match_exactly)
{
	static const char *const names[] = {"alic", "alice2", "alice ", "Alice", "a"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const struct iscsi_user other = {names[i], (const uint8_t *)"alice's secret", 14};
		struct guest guest = guest_connect();

		(void)guest_login_chap(&guest, &other, PDU_LOGIN_AUTHENTICATION_FAILURE);
		cr_expect(guest_is_closed(&guest), "%s", names[i]);
	}
	cr_expect_eq(atomic_load(&fake_session_count), 0);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	cr_assert_eq(clock_gettime(CLOCK_MONOTONIC, &now), 0);
	return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

/* Who guesses secrets waits, and stands in the doorway while he does. */
Test(iscsi_login_conn, a_guess_costs_time)
{
	const struct iscsi_user wrong = {"alice", (const uint8_t *)"not her secret", 14};
	struct guest guest = guest_connect();
	uint64_t begin = now_ms();

	rig.server.limits.refusal_delay_ms = 500;
	(void)guest_login_chap(&guest, &wrong, PDU_LOGIN_AUTHENTICATION_FAILURE);
	cr_expect_geq(now_ms() - begin, 400);
	guest = guest_connect();
	begin = now_ms();
	(void)guest_login_chap(&guest, &rig_users[0], PDU_LOGIN_SUCCESS);
	cr_expect_lt(now_ms() - begin, 400);
}

Test(iscsi_login_conn, the_end_does_not_wait_for_who_guessed)
{
	struct guest guest = guest_connect();

	rig.server.limits.refusal_delay_ms = 500;
	(void)guest_ask_challenge(&guest);
	guest.request.nsg = 3;
	guest.request.transit = true;
	guest_send(&guest, "CHAP_N=alice|CHAP_R=0x00|");
	cr_expect(guest_hears_nothing(&guest));
	/* The fixture stops everything, and that everything came back is asserted there. */
}

Test(iscsi_login_conn, chap_of_discovery)
{
	struct guest guest = guest_connect();

	rig.view.discovery_auth = rig.targets[1].auth;
	guest_expect(&guest, "InitiatorName=" RIG_HOST "|SessionType=Discovery|",
		     PDU_LOGIN_AUTHENTICATION_FAILURE);
}

Test(iscsi_login_conn, mutual_chap)
{
	struct guest guest = guest_connect();
	struct chap_question_bytes asked = guest_ask_challenge(&guest);
	struct chap_question_bytes ours = {.identifier = 9, .len = 16};
	char text[1024];
	char wanted[512];

	chap_text(&asked, &rig_users[0], text);
	(void)strcat(text, "CHAP_I=9|CHAP_C=0x00000000000000000000000000000000|");
	guest.request.nsg = 3;
	guest.request.transit = true;
	guest_expect(&guest, text, PDU_LOGIN_SUCCESS);
	chap_text(&ours, &rig_users[2], wanted);
	cr_expect_not_null(strstr(guest.text, wanted), "%s", guest.text);
}

/* RFC 7143 9.2.1: the challenge of another open login, presented as one's own. */
Test(iscsi_login_conn, a_challenge_of_another_login_is_not_answered)
{
	struct guest victim = guest_connect();
	struct guest guest = guest_connect();
	struct chap_question_bytes theirs = guest_ask_challenge(&victim);
	struct chap_question_bytes asked = guest_ask_challenge(&guest);
	char text[1024];
	size_t at;

	chap_text(&asked, &rig_users[0], text);
	at = strlen(text);
	at += (size_t)snprintf(text + at, sizeof(text) - at, "CHAP_I=%u|CHAP_C=0x",
			       theirs.identifier);
	for (int i = 0; i < theirs.len; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%02x", theirs.bytes[i]);
	(void)snprintf(text + at, sizeof(text) - at, "|");
	guest.request.nsg = 3;
	guest.request.transit = true;
	guest_expect(&guest, text, PDU_LOGIN_AUTHENTICATION_FAILURE);
	cr_expect(guest_is_closed(&guest));
}

/* -- Limits -- */

static void begin_impatient(void)
{
	rig.server.limits = (struct iscsi_limits){.sessions_max = 2,
						  .login_timeout_ms = 200,
						  /* One more than come: a full doorway has
						   * limits of its own. */
						  .logins_max = 4,
						  .logins_per_source_max = 4};
	rig_begin();
}

TestSuite(iscsi_login_limits, .init = begin_impatient, .fini = rig_end);

Test(iscsi_login_limits, deadline)
{
	struct guest silent = guest_connect();
	struct guest slow = guest_connect();
	struct guest begun = guest_connect();

	cr_assert_eq(send(slow.fd, "\x43", 1, 0), 1);
	begun.request.transit = false;
	begun.request.nsg = 0;
	guest_expect(&begun, RIG_NAMES, PDU_LOGIN_SUCCESS);
	cr_expect(guest_is_closed(&silent));
	cr_expect(guest_is_closed(&slow));
	cr_expect(guest_is_closed(&begun));
}

Test(iscsi_login_limits, a_place_is_free_again_after_login)
{
	for (unsigned i = 0; i < 2; i++) {
		struct guest guests[3];

		for (unsigned j = 0; j < 3; j++) {
			guests[j] = guest_connect();
			guests[j].request.isid[5] = (uint8_t)(i * 3 + j);
		}
		guest_expect(&guests[0], RIG_NAMES, PDU_LOGIN_SUCCESS);
		for (unsigned j = 1; j < 3; j++)
			cr_expect(guest_is_closed(&guests[j]));
	}
}

Test(iscsi_login_limits, more_sessions_than_allowed)
{
	for (unsigned i = 0; i < 3; i++) {
		struct guest guest = guest_connect();

		guest.request.isid[5] = (uint8_t)i;
		guest_expect(&guest, RIG_NAMES,
			     i < 2 ? PDU_LOGIN_SUCCESS : PDU_LOGIN_OUT_OF_RESOURCES);
	}
}

Test(iscsi_login_conn, no_memory_for_a_session)
{
	struct guest guest = guest_connect();

	atomic_store(&fake_create_result, -ENOMEM);
	guest_expect(&guest, RIG_NAMES, PDU_LOGIN_OUT_OF_RESOURCES);
	cr_expect(guest_is_closed(&guest));
	atomic_store(&fake_create_result, 0);
	guest = guest_connect();
	guest_expect(&guest, RIG_NAMES, PDU_LOGIN_SUCCESS);
}
