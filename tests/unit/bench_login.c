/*
 * Login of the benchmark's initiator against scripted answers: what it asks, what it makes of the
 * answers, and that every refusal ends in a message that says what to do.
 *
 * All answers are written before the login begins; the requests are read after it has ended.
 */
#include "target/bench/conn.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/attr.h"
#include "base/bytes.h"
#include "target/iscsi/chap.h"
#include "target/iscsi/text.h"

/* One login response. Texts are written with | for the NUL behind each pair. */
struct answer {
	uint8_t csg;
	uint8_t nsg;
	bool transit;
	bool cont;
	uint16_t status;
	const char *text;
};

#define SECURITY_NONE                                                           \
	{                                                                       \
		.csg = 0, .nsg = 1, .transit = true, .text = "AuthMethod=None|" \
	}
#define ANSWERS_MAX 20

struct peer {
	struct bench_options options;
	struct bench_conn conn;
	int fd;
};

static struct peer peer;

static void peer_start(void)
{
	int ends[2];

	peer.options = bench_option_defaults;
	peer.options.timeout_ms = 300;
	strcpy(peer.options.url.target, "iqn.t");
	cr_assert_eq(bench_conn_init(&peer.conn, &peer.options, 0), 0);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	peer.conn.fd = ends[0];
	peer.fd = ends[1];
}

static void peer_end(void)
{
	bench_conn_release(&peer.conn);
	(void)close(peer.fd);
}

static void put_answer(const struct answer *answer, uint32_t stat_sn)
{
	static uint8_t bytes[PDU_BHS_BYTES + FRAMER_LOGIN_DATA_BYTES_MAX];
	const char *text = answer->text ? answer->text : "";
	size_t len_bytes = strlen(text);
	struct pdu_login_response pdu = {
		.itt = 1,
		.sns = {.stat_sn = stat_sn, .exp_cmd_sn = 5, .max_cmd_sn = 36},
		.data_len_bytes = (uint32_t)len_bytes,
		.tsih = 1,
		.status = answer->status,
		.csg = answer->csg,
		.nsg = answer->nsg,
		.transit = answer->transit,
		.cont = answer->cont,
	};

	memset(bytes, 0, sizeof(bytes));
	pdu_login_response_encode(&pdu, bytes);
	for (size_t i = 0; i < len_bytes; i++)
		bytes[PDU_BHS_BYTES + i] = text[i] == '|' ? 0 : (uint8_t)text[i];
	len_bytes = PDU_BHS_BYTES + pdu_padded((uint32_t)len_bytes);
	cr_assert_eq(send(peer.fd, bytes, len_bytes, 0), (ssize_t)len_bytes);
}

static int login(const struct answer *answers, size_t count)
{
	for (size_t i = 0; i < count; i++)
		put_answer(&answers[i], 100 + (uint32_t)i);
	return bench_conn_login(&peer.conn);
}

/* One request as it was sent; its text as a string with | for NUL. */
struct login_request {
	struct pdu_login_request pdu;
	char text[FRAMER_LOGIN_DATA_BYTES_MAX + 1];
};
static struct login_request request;

static void next_request(void)
{
	uint8_t bhs[PDU_BHS_BYTES];
	uint8_t pad[4];
	uint32_t len_bytes;

	cr_assert_eq(recv(peer.fd, bhs, sizeof(bhs), MSG_DONTWAIT), (ssize_t)sizeof(bhs));
	cr_assert_eq(pdu_opcode(bhs), PDU_LOGIN_REQUEST);
	pdu_login_request_decode(&request.pdu, bhs);
	len_bytes = request.pdu.data_len_bytes;
	memset(request.text, 0, sizeof(request.text));
	if (len_bytes > 0)
		cr_assert_eq(recv(peer.fd, request.text, len_bytes, MSG_DONTWAIT),
			     (ssize_t)len_bytes);
	if (pdu_padded(len_bytes) > len_bytes)
		cr_assert_gt(recv(peer.fd, pad, pdu_padded(len_bytes) - len_bytes, 0), 0);
	for (uint32_t i = 0; i < len_bytes; i++) {
		if (request.text[i] == '\0')
			request.text[i] = '|';
	}
}

static void expect_text(const char *pair)
{
	cr_assert(strstr(request.text, pair) != NULL, "'%s' lacks %s", request.text, pair);
}

Test(bench_login, without_authentication)
{
	static const struct answer answers[] = {
		SECURITY_NONE,
		{.csg = 1,
		 .nsg = 3,
		 .transit = true,
		 .text = "HeaderDigest=None|DataDigest=None|InitialR2T=Yes|ImmediateData=No|"
			 "MaxRecvDataSegmentLength=65536|MaxBurstLength=262144|"
			 "FirstBurstLength=8192|MaxOutstandingR2T=1|TargetPortalGroupTag=1|"},
	};
	const struct iscsi_params *params = &peer.conn.params;

	peer_start();
	cr_assert_eq(login(answers, 2), 0, "%s", peer.conn.error);
	cr_assert(params->initial_r2t && !params->immediate_data && !params->header_digest);
	cr_assert_eq(params->max_send_data_segment_length, 65536);
	cr_assert_eq(params->max_recv_data_segment_length, 256 << 10);
	cr_assert_eq(params->max_burst_length, 262144);
	cr_assert_eq(params->first_burst_length, 8192);
	cr_assert_eq(params->max_outstanding_r2t, 1);
	cr_assert_eq(peer.conn.exp_stat_sn, 102);
	cr_assert_eq(peer.conn.window.max_cmd_sn, 36);

	next_request();
	cr_assert(request.pdu.csg == 0 && request.pdu.nsg == 1 && request.pdu.transit);
	cr_assert_eq(request.pdu.tsih, 0);
	cr_assert_eq(request.pdu.isid[0], 0x80);
	expect_text("InitiatorName=iqn.2026-11.io.ringsan:bench|");
	expect_text("SessionType=Normal|");
	expect_text("TargetName=iqn.t|");
	expect_text("AuthMethod=None|");
	next_request();
	cr_assert(request.pdu.csg == 1 && request.pdu.nsg == 3 && request.pdu.transit);
	cr_assert_eq(request.pdu.exp_stat_sn, 101);
	cr_assert_eq(request.pdu.cmd_sn, peer.conn.window.cmd_sn);
	expect_text("InitialR2T=No|");
	expect_text("ImmediateData=Yes|");
	expect_text("MaxRecvDataSegmentLength=262144|");
	expect_text("ErrorRecoveryLevel=0|");
	peer_end();
}

Test(bench_login, keys_without_an_answer_keep_their_defaults)
{
	static const struct answer answers[] = {SECURITY_NONE,
						{.csg = 1, .nsg = 3, .transit = true}};
	const struct iscsi_params *params = &peer.conn.params;

	peer_start();
	cr_assert_eq(login(answers, 2), 0, "%s", peer.conn.error);
	/* RFC 7143 13.12 to 13.17. */
	cr_assert_eq(params->max_send_data_segment_length, 8192);
	cr_assert_eq(params->max_burst_length, 262144);
	cr_assert_eq(params->first_burst_length, 65536);
	cr_assert_eq(params->max_outstanding_r2t, 1);
	peer_end();
}

Test(bench_login, text_in_several_parts_and_keys_nobody_offered)
{
	static const struct answer answers[] = {
		SECURITY_NONE,
		{.csg = 1, .cont = true, .text = "MaxBurstLength=2621"},
		{.csg = 1,
		 .text = "44|X-com.example.key=1|IFMarker=No|FirstBurstLength=Irrelevant|"},
		{.csg = 1, .nsg = 3, .transit = true, .text = "MaxOutstandingR2T=2|"},
	};

	peer_start();
	cr_assert_eq(login(answers, 4), 0, "%s", peer.conn.error);
	cr_assert_eq(peer.conn.params.max_burst_length, 262144);
	cr_assert_eq(peer.conn.params.max_outstanding_r2t, 2);
	next_request();
	next_request();
	next_request();
	cr_assert_eq(request.pdu.data_len_bytes, 0);
	next_request();
	cr_assert_str_eq(request.text, "X-com.example.key=NotUnderstood|IFMarker=Reject|");
	peer_end();
}

static void with_user(void)
{
	peer_start();
	strcpy(peer.options.url.user, "host1");
	strcpy(peer.options.url.secret, "correct horse");
}

Test(bench_login, chap)
{
	static const struct answer answers[] = {
		{.csg = 0, .text = "AuthMethod=CHAP|"},
		{.csg = 0, .text = "CHAP_A=7|CHAP_I=23|CHAP_C=0x000102030405|"},
		{.csg = 0, .nsg = 1, .transit = true},
		{.csg = 1, .nsg = 3, .transit = true},
	};
	const uint8_t challenge[] = {0, 1, 2, 3, 4, 5};
	const struct chap_question question = {.algorithm = CHAP_SHA256,
					       .identifier = 23,
					       .challenge = challenge,
					       .challenge_len_bytes = sizeof(challenge)};
	struct chap_secret secret = {.len_bytes = 13, .bytes = "correct horse"};
	struct chap_response response;
	struct text_writer writer;
	char expected[128] = "";

	with_user();
	cr_assert_eq(login(answers, 4), 0, "%s", peer.conn.error);
	next_request();
	expect_text("AuthMethod=CHAP|");
	cr_assert(!request.pdu.transit);
	next_request();
	cr_assert_str_eq(request.text, "CHAP_A=7,5|");
	next_request();
	cr_assert(request.pdu.transit);
	expect_text("CHAP_N=host1|");
	cr_assert_eq(chap_respond(&question, &secret, &response), 0);
	text_writer_init(&writer, expected, sizeof(expected) - 1);
	text_put_binary(&writer, "CHAP_R", response.bytes, response.len_bytes);
	expect_text(expected);
	peer_end();
}

struct refusal {
	const char *name;
	struct answer answers[4];
	const char *reason;
	bool with_chap;
};

static const struct refusal refusals[] = {
	{"no such target", {{.status = PDU_LOGIN_NOT_FOUND}}, "there is no such target", false},
	{"authentication",
	 {{.status = PDU_LOGIN_AUTHENTICATION_FAILURE}},
	 "check the user and the secret",
	 false},
	{"access", {{.status = PDU_LOGIN_AUTHORIZATION_FAILURE}}, "has no access", false},
	{"unknown status", {{.status = 0x02ff}}, "status 02ffh", false},
	{"another stage", {{.csg = 1}}, "another stage", false},
	{"does not go on", {{.csg = 0, .text = "AuthMethod=None|"}}, "security stage", false},
	{"CHAP refused", {{.csg = 0, .text = "AuthMethod=None|"}}, "AuthMethod=None", true},
	{"CHAP wanted", {{.csg = 0, .text = "AuthMethod=Reject|"}}, "AuthMethod=Reject", false},
	{"no challenge",
	 {{.csg = 0, .text = "AuthMethod=CHAP|"}, {.csg = 0, .text = "CHAP_A=5|CHAP_I=1|"}},
	 "challenge is incomplete",
	 true},
	{"identifier too large",
	 {{.csg = 0, .text = "AuthMethod=CHAP|"},
	  {.csg = 0, .text = "CHAP_A=5|CHAP_I=256|CHAP_C=0x00|"}},
	 "challenge is incomplete",
	 true},
	{"malformed challenge",
	 {{.csg = 0, .text = "AuthMethod=CHAP|"},
	  {.csg = 0, .text = "CHAP_A=5|CHAP_I=1|CHAP_C=zz|"}},
	 "challenge is malformed",
	 true},
	{"unknown algorithm",
	 {{.csg = 0, .text = "AuthMethod=CHAP|"},
	  {.csg = 0, .text = "CHAP_A=99|CHAP_I=1|CHAP_C=0x00|"}},
	 "CHAP algorithm 99",
	 true},
	{"value out of bounds",
	 {SECURITY_NONE, {.csg = 1, .nsg = 3, .transit = true, .text = "MaxBurstLength=1|"}},
	 "MaxBurstLength=1",
	 false},
	{"value that is no boolean",
	 {SECURITY_NONE, {.csg = 1, .nsg = 3, .transit = true, .text = "InitialR2T=yes|"}},
	 "InitialR2T=yes",
	 false},
	{"more R2Ts than offered",
	 {SECURITY_NONE, {.csg = 1, .nsg = 3, .transit = true, .text = "MaxOutstandingR2T=9|"}},
	 "MaxOutstandingR2T",
	 false},
	{"a digest that was not asked for",
	 {SECURITY_NONE, {.csg = 1, .nsg = 3, .transit = true, .text = "DataDigest=CRC32C|"}},
	 "digests",
	 false},
	{"malformed text",
	 {SECURITY_NONE, {.csg = 1, .nsg = 3, .transit = true, .text = "NoEqualsSign|"}},
	 "login text",
	 false},
};

Test(bench_login, refusals)
{
	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
		const struct refusal *refusal = &refusals[i];

		if (refusal->with_chap)
			with_user();
		else
			peer_start();
		cr_assert_lt(login(refusal->answers, 4), 0, "%s", refusal->name);
		cr_assert(strstr(peer.conn.error, refusal->reason) != NULL, "%s: %s", refusal->name,
			  peer.conn.error);
		peer_end();
	}
}

Test(bench_login, endless_texts_and_negotiations_end)
{
	struct answer answers[ANSWERS_MAX] = {SECURITY_NONE};

	for (size_t i = 1; i < ANSWERS_MAX; i++)
		answers[i] = (struct answer){.csg = 1, .cont = true};
	peer_start();
	cr_assert_lt(login(answers, ANSWERS_MAX), 0);
	cr_assert(strstr(peer.conn.error, "endless login text") != NULL, "%s", peer.conn.error);
	peer_end();
	for (size_t i = 1; i < ANSWERS_MAX; i++)
		answers[i].cont = false;
	peer_start();
	cr_assert_lt(login(answers, ANSWERS_MAX), 0);
	cr_assert(strstr(peer.conn.error, "endless negotiation") != NULL, "%s", peer.conn.error);
	peer_end();
}

Test(bench_login, silence_and_hang_up)
{
	peer_start();
	cr_assert_eq(login(NULL, 0), -ETIMEDOUT);
	cr_assert(strstr(peer.conn.error, "no answer within 300 ms") != NULL);
	peer_end();
	peer_start();
	cr_assert_eq(shutdown(peer.fd, SHUT_WR), 0);
	cr_assert_eq(login(NULL, 0), -ECONNRESET);
	cr_assert(strstr(peer.conn.error, "closed the connection") != NULL);
	peer_end();
}

Test(bench_login, answers_that_are_none)
{
	static const char http[] = "HTTP/1.1 400 Bad Request\r\nServer: x\r\nConnection: close"
				   "\r\nContent-Length: 0\r\n\r\n";

	peer_start();
	cr_assert_gt(send(peer.fd, http, sizeof(http), 0), 0);
	cr_assert_lt(login(NULL, 0), 0);
	cr_assert(strstr(peer.conn.error, "protocol error") != NULL, "%s", peer.conn.error);
	peer_end();
}
