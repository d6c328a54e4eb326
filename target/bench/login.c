/*
 * Login of the benchmark's initiator: security stage (CHAP or none), then the operational stage
 * with every key offered at once (RFC 7143 6.3, 13). The target's side of the same is
 * target/iscsi/login.h; text syntax, CHAP arithmetic and the bounds of keys are shared with it.
 *
 * Runs on the worker that owns the session, one exchange at a time. Read next: conn.h.
 */
#include "target/bench/conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target/iscsi/chap.h"
#include "target/iscsi/keys.h"
#include "target/iscsi/text.h"

/* Rounds of text in one stage, and parts of one continued answer; any sane target needs two. */
#define LOGIN_ROUNDS_MAX 16u
/* All the text of one answer, over its parts. */
#define LOGIN_TEXT_BYTES_MAX 16384u

/* One login, on the heap because of its texts. */
struct login {
	struct bench_conn *conn;
	uint32_t initial_cmd_sn;
	uint8_t stage; /* enum pdu_login_stage: the CSG of the next request. */
	struct pdu_login_response response;
	uint32_t text_bytes;
	char request[CONN_DATA_BYTES_MAX];
	char text[LOGIN_TEXT_BYTES_MAX];
};

struct status_name {
	uint16_t status;
	const char *name;
};

static const struct status_name status_names[] = {
	{PDU_LOGIN_MOVED_TEMPORARILY, "the target has moved temporarily"},
	{PDU_LOGIN_MOVED_PERMANENTLY, "the target has moved"},
	{PDU_LOGIN_INITIATOR_ERROR, "the target found the request wrong"},
	{PDU_LOGIN_AUTHENTICATION_FAILURE, "authentication failed: check the user and the secret"},
	{PDU_LOGIN_AUTHORIZATION_FAILURE, "this initiator name or address has no access"},
	{PDU_LOGIN_NOT_FOUND, "there is no such target"},
	{PDU_LOGIN_TARGET_REMOVED, "the target was removed"},
	{PDU_LOGIN_UNSUPPORTED_VERSION, "the target does not speak this version"},
	{PDU_LOGIN_TOO_MANY_CONNECTIONS, "too many connections"},
	{PDU_LOGIN_MISSING_PARAMETER, "the target misses a parameter"},
	{PDU_LOGIN_SESSION_TYPE_NOT_SUPPORTED, "the target refuses this type of session"},
	{PDU_LOGIN_TARGET_ERROR, "the target has an error of its own"},
	{PDU_LOGIN_SERVICE_UNAVAILABLE, "the target is not available now"},
	{PDU_LOGIN_OUT_OF_RESOURCES, "the target is out of resources"},
};

static int fail_status(struct bench_conn *conn, uint16_t status)
{
	const char *name = "an unknown status";

	for (size_t i = 0; i < ARRAY_SIZE(status_names); i++) {
		if (status_names[i].status == status)
			name = status_names[i].name;
	}
	return bench_conn_fail(conn, -EACCES, "login refused: %s (status %04xh)", name, status);
}

/* One request and its answer, which must be a successful login response of our stage. */
static int exchange(struct login *login, uint32_t text_bytes, uint8_t next_stage)
{
	struct bench_conn *conn = login->conn;
	uint8_t bhs[PDU_BHS_BYTES];
	struct pdu_login_request request = {
		.itt = 1,
		.cmd_sn = login->initial_cmd_sn,
		.exp_stat_sn = conn->exp_stat_sn,
		.data_len_bytes = text_bytes,
		.version_max = PDU_VERSION,
		.version_min = PDU_VERSION,
		.csg = login->stage,
		.nsg = next_stage,
		.transit = next_stage != login->stage,
	};
	int err;

	if (!request.transit)
		request.nsg = 0;
	memcpy(request.isid, conn->isid, sizeof(request.isid));
	pdu_login_request_encode(&request, bhs);
	err = bench_conn_exchange(conn, bhs, login->request, text_bytes);
	if (err)
		return err;
	if (pdu_opcode(conn->answer_bhs) != PDU_LOGIN_RESPONSE) {
		return bench_conn_fail(conn, -EPROTO,
				       "protocol error: opcode %02xh instead of a login "
				       "response",
				       pdu_opcode(conn->answer_bhs));
	}
	pdu_login_response_decode(&login->response, conn->answer_bhs);
	if (login->response.status != PDU_LOGIN_SUCCESS)
		return fail_status(conn, login->response.status);
	if (login->response.csg != login->stage) {
		return bench_conn_fail(conn, -EPROTO,
				       "protocol error: a login response of another stage");
	}
	conn->exp_stat_sn = login->response.sns.stat_sn + 1;
	return 0;
}

static int append_text(struct login *login)
{
	struct bench_conn *conn = login->conn;

	if (conn->answer_bytes > sizeof(login->text) - login->text_bytes) {
		return bench_conn_fail(conn, -EPROTO, "the login text is longer than %u bytes",
				       LOGIN_TEXT_BYTES_MAX);
	}
	memcpy(login->text + login->text_bytes, conn->answer, conn->answer_bytes);
	login->text_bytes += conn->answer_bytes;
	return 0;
}

/* Send `writer`'s text, then empty requests for as long as the answer says that it goes on. */
static int round_trip(struct login *login, const struct text_writer *writer, uint8_t next_stage)
{
	uint32_t request_bytes = (uint32_t)text_written_bytes(writer);

	if (writer->overflow)
		return bench_conn_fail(login->conn, -E2BIG, "the login request does not fit");
	login->text_bytes = 0;
	for (unsigned round = 0; round < LOGIN_ROUNDS_MAX; round++) {
		int err = exchange(login, request_bytes, next_stage);

		if (!err)
			err = append_text(login);
		if (err || !login->response.cont)
			return err;
		request_bytes = 0;
	}
	return bench_conn_fail(login->conn, -EPROTO, "protocol error: an endless login text");
}

/* The value of one key in the answer, or NULL. */
static const char *answered(const struct login *login, const char *key)
{
	struct text_reader reader;
	struct text_pair pair;

	text_reader_init(&reader, login->text, login->text_bytes);
	while (text_next(&reader, &pair)) {
		if (pair.key_len_bytes == strlen(key) &&
		    memcmp(pair.key, key, pair.key_len_bytes) == 0)
			return pair.value;
	}
	return NULL;
}

/* CHAP_N and CHAP_R for the challenge in the answer. */
static int put_chap_response(struct login *login, struct text_writer *writer)
{
	struct bench_conn *conn = login->conn;
	const struct bench_url *url = &conn->options->url;
	const char *algorithm_text = answered(login, "CHAP_A");
	const char *identifier_text = answered(login, "CHAP_I");
	const char *challenge_text = answered(login, "CHAP_C");
	uint8_t challenge[CHAP_CHALLENGE_BYTES_MAX];
	struct chap_question question = {.challenge = challenge};
	struct chap_secret secret = {.len_bytes = (uint16_t)strlen(url->secret)};
	struct chap_response response;
	uint64_t algorithm;
	uint64_t identifier;
	int len_bytes;
	int err;

	if (!algorithm_text || !identifier_text || !challenge_text ||
	    text_number(algorithm_text, &algorithm) || algorithm > UINT8_MAX ||
	    text_number(identifier_text, &identifier) || identifier > UINT8_MAX)
		return bench_conn_fail(conn, -EPROTO, "the target's CHAP challenge is incomplete");
	/* Only what was offered: the number goes to a table. */
	if (algorithm != CHAP_SHA256 && algorithm != CHAP_MD5) {
		return bench_conn_fail(conn, -EPROTO, "the target chose CHAP algorithm %u",
				       (unsigned)algorithm);
	}
	len_bytes = text_binary(challenge_text, challenge, sizeof(challenge));
	if (len_bytes <= 0)
		return bench_conn_fail(conn, -EPROTO, "the target's CHAP challenge is malformed");
	question.algorithm = (enum chap_algorithm)algorithm;
	question.identifier = (uint8_t)identifier;
	question.challenge_len_bytes = (size_t)len_bytes;
	memcpy(secret.bytes, url->secret, secret.len_bytes);
	err = chap_respond(&question, &secret, &response);
	chap_secret_wipe(&secret);
	if (err) {
		return bench_conn_fail(conn, err, "CHAP algorithm %u is not available here",
				       (unsigned)algorithm);
	}
	text_put(writer, "CHAP_N", url->user);
	text_put_binary(writer, "CHAP_R", response.bytes, response.len_bytes);
	return 0;
}

static int chap(struct login *login)
{
	struct text_writer writer;
	int err;

	text_writer_init(&writer, login->request, sizeof(login->request));
	/* SHA-256 first, then MD5: the numbers of enum chap_algorithm. */
	text_put(&writer, "CHAP_A", "7,5");
	err = round_trip(login, &writer, PDU_STAGE_SECURITY);
	if (err)
		return err;
	text_writer_init(&writer, login->request, sizeof(login->request));
	err = put_chap_response(login, &writer);
	return err ? err : round_trip(login, &writer, PDU_STAGE_OPERATIONAL);
}

static int security_stage(struct login *login)
{
	struct bench_conn *conn = login->conn;
	const struct bench_url *url = &conn->options->url;
	bool with_chap = url->user[0] != '\0';
	struct text_writer writer;
	const char *method;
	int err;

	login->stage = PDU_STAGE_SECURITY;
	text_writer_init(&writer, login->request, sizeof(login->request));
	text_put(&writer, "InitiatorName", conn->options->initiator_name);
	text_put(&writer, "SessionType", "Normal");
	text_put(&writer, "TargetName", url->target);
	text_put(&writer, "AuthMethod", with_chap ? "CHAP" : "None");
	err = round_trip(login, &writer, with_chap ? PDU_STAGE_SECURITY : PDU_STAGE_OPERATIONAL);
	if (err)
		return err;
	method = answered(login, "AuthMethod");
	if (method && strcmp(method, with_chap ? "CHAP" : "None") != 0) {
		return bench_conn_fail(conn, -EACCES, "the target answers AuthMethod=%.32s",
				       method);
	}
	if (with_chap)
		err = chap(login);
	if (!err && !login->response.transit)
		err = bench_conn_fail(conn, -EACCES, "the target does not end the security stage");
	return err;
}

static void put_yes_no(struct text_writer *writer, const char *key, bool yes)
{
	text_put(writer, key, yes ? "Yes" : "No");
}

static void put_offers(const struct bench_options *options, struct text_writer *writer)
{
	text_put(writer, "HeaderDigest",
		 options->digests & BENCH_DIGEST_HEADER ? "CRC32C" : "None");
	text_put(writer, "DataDigest", options->digests & BENCH_DIGEST_DATA ? "CRC32C" : "None");
	text_put_number(writer, "MaxConnections", 1);
	text_put_number(writer, "ErrorRecoveryLevel", 0);
	put_yes_no(writer, "InitialR2T", options->initial_r2t);
	put_yes_no(writer, "ImmediateData", options->immediate_data);
	text_put_number(writer, "MaxRecvDataSegmentLength", options->max_recv_segment_bytes);
	text_put_number(writer, "MaxBurstLength", options->max_burst_bytes);
	text_put_number(writer, "FirstBurstLength", options->first_burst_bytes);
	text_put_number(writer, "MaxOutstandingR2T", options->max_r2t);
	text_put_number(writer, "DefaultTime2Wait", 2);
	text_put_number(writer, "DefaultTime2Retain", 0);
	put_yes_no(writer, "DataPDUInOrder", true);
	put_yes_no(writer, "DataSequenceInOrder", true);
}

/* Where the outcome of a key goes. */
enum outcome_type {
	OUTCOME_ABSENT, /* Not offered: a declaration, or the target's own idea. */
	OUTCOME_FIXED,  /* Offered with the one value that cannot be changed. */
	OUTCOME_NUMBER,
	OUTCOME_YES_NO,
	OUTCOME_DIGEST,
};

struct outcome {
	enum outcome_type type;
	size_t offset; /* In struct iscsi_params: uint32_t or bool. */
};

#define OUTCOME(kind, field)                                         \
	{                                                            \
		OUTCOME_##kind, offsetof(struct iscsi_params, field) \
	}
static const struct outcome outcomes[KEY_COUNT] = {
	[KEY_MAX_CONNECTIONS] = {OUTCOME_FIXED, 0},
	[KEY_ERROR_RECOVERY_LEVEL] = {OUTCOME_FIXED, 0},
	[KEY_DEFAULT_TIME2WAIT] = {OUTCOME_FIXED, 0},
	[KEY_DEFAULT_TIME2RETAIN] = {OUTCOME_FIXED, 0},
	[KEY_DATA_PDU_IN_ORDER] = {OUTCOME_FIXED, 0},
	[KEY_DATA_SEQUENCE_IN_ORDER] = {OUTCOME_FIXED, 0},
	[KEY_HEADER_DIGEST] = OUTCOME(DIGEST, header_digest),
	[KEY_DATA_DIGEST] = OUTCOME(DIGEST, data_digest),
	[KEY_INITIAL_R2T] = OUTCOME(YES_NO, initial_r2t),
	[KEY_IMMEDIATE_DATA] = OUTCOME(YES_NO, immediate_data),
	[KEY_MAX_RECV_DATA_SEGMENT_LENGTH] = OUTCOME(NUMBER, max_send_data_segment_length),
	[KEY_MAX_BURST_LENGTH] = OUTCOME(NUMBER, max_burst_length),
	[KEY_FIRST_BURST_LENGTH] = OUTCOME(NUMBER, first_burst_length),
	[KEY_MAX_OUTSTANDING_R2T] = OUTCOME(NUMBER, max_outstanding_r2t),
};

/* Answers that leave a key at its default. */
static bool is_no_value(const char *value)
{
	return strcmp(value, "Irrelevant") == 0 || strcmp(value, "Reject") == 0 ||
	       strcmp(value, "NotUnderstood") == 0;
}

/* One pair of the answer into params. False: the value makes no sense. */
static bool take_outcome(struct iscsi_params *params, enum key_id id, const char *value)
{
	const struct outcome *outcome = &outcomes[id];
	void *field = (char *)params + outcome->offset;
	uint64_t number;

	if (outcome->type <= OUTCOME_FIXED || is_no_value(value))
		return true;
	if (outcome->type == OUTCOME_NUMBER) {
		if (text_number(value, &number) || number < key_table[id].min ||
		    number > key_table[id].max)
			return false;
		*(uint32_t *)field = (uint32_t)number;
		return true;
	}
	*(bool *)field = strcmp(value, outcome->type == OUTCOME_DIGEST ? "CRC32C" : "Yes") == 0;
	return *(bool *)field ||
	       strcmp(value, outcome->type == OUTCOME_DIGEST ? "None" : "No") == 0;
}

/* What to say to a key that nobody offered: NULL where it is a declaration and needs no answer. */
static const char *reply_to(enum key_id id)
{
	if (id == KEY_COUNT)
		return "NotUnderstood";
	if (outcomes[id].type != OUTCOME_ABSENT || key_table[id].type == KEY_TEXT ||
	    key_table[id].type == KEY_NUMBER)
		return NULL;
	return "Reject";
}

/* The whole answer into params; keys that nobody offered are answered in `replies`. */
static int take_answers(struct login *login, struct iscsi_params *params,
			struct text_writer *replies)
{
	struct text_reader reader;
	struct text_pair pair;

	text_reader_init(&reader, login->text, login->text_bytes);
	while (text_next(&reader, &pair)) {
		enum key_id id = key_find(pair.key, pair.key_len_bytes);
		const char *reply = reply_to(id);

		if (!reply && !take_outcome(params, id, pair.value)) {
			return bench_conn_fail(login->conn, -EPROTO,
					       "the target answers %.*s=%.32s",
					       (int)pair.key_len_bytes, pair.key, pair.value);
		}
		if (reply && !is_no_value(pair.value)) {
			pair.value = reply;
			pair.value_len_bytes = (uint32_t)strlen(reply);
			text_put_pair(replies, &pair);
		}
	}
	return reader.error ? bench_conn_fail(login->conn, -EPROTO, "login text: %s", reader.error)
			    : 0;
}

/* What holds unless the answers say otherwise: RFC 7143 chapter 13, and our own declaration. */
static void default_params(const struct bench_options *options, struct iscsi_params *out)
{
	*out = (struct iscsi_params){
		.max_recv_data_segment_length = (uint32_t)options->max_recv_segment_bytes,
		.initial_r2t = options->initial_r2t,
		.immediate_data = options->immediate_data,
		.data_pdu_in_order = true,
		.data_sequence_in_order = true,
		.max_connections = 1,
	};
	for (enum key_id id = 0; id < KEY_COUNT; id++) {
		if (outcomes[id].type == OUTCOME_NUMBER) {
			*(uint32_t *)(void *)((char *)out + outcomes[id].offset) =
				key_table[id].default_value;
		}
	}
}

/* The agreement must be one that the data path can keep. */
static int check_params(struct bench_conn *conn, struct iscsi_params *params)
{
	const struct bench_options *options = conn->options;

	if (params->header_digest != ((options->digests & BENCH_DIGEST_HEADER) != 0) ||
	    params->data_digest != ((options->digests & BENCH_DIGEST_DATA) != 0)) {
		return bench_conn_fail(conn, -ENOTSUP,
				       "the target does not agree to these digests");
	}
	if (params->max_outstanding_r2t > BENCH_R2T_MAX) {
		return bench_conn_fail(conn, -EPROTO, "the target raises MaxOutstandingR2T to %u",
				       params->max_outstanding_r2t);
	}
	if (params->first_burst_length > params->max_burst_length)
		params->first_burst_length = params->max_burst_length;
	return 0;
}

static int operational_stage(struct login *login, struct iscsi_params *params)
{
	struct text_writer writer;
	int err;

	login->stage = PDU_STAGE_OPERATIONAL;
	text_writer_init(&writer, login->request, sizeof(login->request));
	put_offers(login->conn->options, &writer);
	for (unsigned round = 0; round < LOGIN_ROUNDS_MAX; round++) {
		err = round_trip(login, &writer, PDU_STAGE_FULL_FEATURE);
		if (err)
			return err;
		text_writer_init(&writer, login->request, sizeof(login->request));
		err = take_answers(login, params, &writer);
		if (err || login->response.transit)
			return err;
	}
	return bench_conn_fail(login->conn, -EPROTO, "protocol error: an endless negotiation");
}

int bench_conn_login(struct bench_conn *conn)
{
	struct login *login = calloc(1, sizeof(*login));
	struct iscsi_params params;
	int err;

	if (!login)
		return bench_conn_fail(conn, -ENOMEM, "out of memory");
	login->conn = conn;
	/* Just before the wrap, so that every longer run tests serial number arithmetic. */
	login->initial_cmd_sn = UINT32_MAX - 99;
	default_params(conn->options, &params);
	err = security_stage(login);
	if (!err)
		err = operational_stage(login, &params);
	if (!err)
		err = check_params(conn, &params);
	if (!err) {
		conn->params = params;
		conn->window.cmd_sn = login->initial_cmd_sn;
		conn->window.exp_cmd_sn = login->response.sns.exp_cmd_sn;
		conn->window.max_cmd_sn = login->response.sns.max_cmd_sn;
	}
	free(login);
	return err;
}
