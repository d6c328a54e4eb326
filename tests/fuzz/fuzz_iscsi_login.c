/*
 * Fuzz the login machine with a sequence of login requests.
 *
 * Input: one byte of policy, then records: a byte for the header (stages, T, C), a byte of kind,
 * two bytes of length, the text. A record of the honest kind answers our last challenge correctly;
 * its text follows. An unreadable one announces too much. What must hold: no decision on full
 * feature where CHAP is required and nobody answered honestly; every answer within its bounds. The
 * challenge depends on the whole input, so that no right answer can be learnt from the corpus. Read
 * next: target/iscsi/login.h.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "target/iscsi/login.h"

enum {
	CHAP_REQUIRED = 1 << 0,
	MUTUAL = 1 << 1,
	SAME_SECRET = 1 << 2,
	NO_RANDOMNESS = 1 << 3,
	MOVED = 1 << 4,
	NO_MD5 = 1 << 5,
};

enum {
	KIND_TEXT = 0,
	KIND_HONEST = 1,
	KIND_OTHER_ITT = 2,
	KIND_UNREADABLE = 3,
	KIND_COUNT = 4,
};

#define RECORD_BYTES 4u

struct peer {
	struct login login;
	uint8_t flags;
	uint32_t random;
	bool honest;
	enum login_step step;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static enum pdu_login_status find_target(void *context, const struct login_who *who,
					 struct login_target *out)
{
	const struct peer *peer = context;

	require(strlen(who->initiator_name) <= LOGIN_NAME_BYTES_MAX);
	require(!who->target_name || strlen(who->target_name) <= LOGIN_NAME_BYTES_MAX);
	out->alias = "alias";
	out->chap_required = peer->flags & CHAP_REQUIRED;
	if (peer->flags & NO_MD5)
		out->chap_algorithms = CHAP_ALGORITHMS_ALL & ~CHAP_ALGORITHM_BIT(CHAP_MD5);
	out->redirect_address = "192.0.2.1:3260,1";
	return peer->flags & MOVED ? PDU_LOGIN_MOVED_TEMPORARILY : PDU_LOGIN_SUCCESS;
}

static const struct chap_secret known_secret = {12, "twelve bytes"};
static const struct chap_secret other_secret = {12, "bytes twelve"};

static int find_secret(void *context, const struct login_target *target, const char *name,
		       struct chap_secret *out)
{
	(void)context;
	(void)target;
	if (strcmp(name, "user") != 0)
		return -ENOENT;
	*out = known_secret;
	return 0;
}

static int own_credentials(void *context, const struct login_target *target,
			   struct chap_credentials *out)
{
	const struct peer *peer = context;

	(void)target;
	if (!(peer->flags & MUTUAL))
		return -ENOENT;
	(void)snprintf(out->name, sizeof(out->name), "target");
	out->secret = peer->flags & SAME_SECRET ? known_secret : other_secret;
	return 0;
}

static int next_random(void *context, void *out, size_t len_bytes)
{
	struct peer *peer = context;

	for (size_t i = 0; i < len_bytes; i++) {
		peer->random = peer->random * 1664525u + 1013904223u;
		((uint8_t *)out)[i] = (uint8_t)(peer->random >> 24);
	}
	return peer->flags & NO_RANDOMNESS ? -EIO : 0;
}

static const struct login_policy policy = {
	.find_target = find_target,
	.find_secret = find_secret,
	.own_credentials = own_credentials,
	.random = next_random,
	.limits =
		{
			.max_recv_data_segment_length = 262144,
			.max_burst_length = 262144,
			.first_burst_length = 65536,
			.max_outstanding_r2t = 4,
			.header_digest = true,
			.data_digest = true,
		},
};

/* The right answer to the challenge that is out, in front of the record's text. */
static size_t put_honest(struct peer *peer, uint8_t *out, size_t size)
{
	const struct chap_challenge *challenge = &peer->login.challenge;
	const struct chap_question question = {challenge->algorithm, challenge->identifier,
					       challenge->bytes, sizeof(challenge->bytes)};
	struct chap_response response;
	struct text_writer writer;

	if (peer->login.security != LOGIN_SECURITY_CHALLENGED)
		return 0;
	peer->honest = true;
	require(chap_respond(&question, &known_secret, &response) == 0);
	text_writer_init(&writer, out, size);
	text_put(&writer, "CHAP_N", "user");
	text_put_binary(&writer, "CHAP_R", response.bytes, response.len_bytes);
	return text_written_bytes(&writer);
}

static void check_answer(const struct peer *peer)
{
	require(!(peer->flags & NO_MD5) || peer->login.security != LOGIN_SECURITY_CHALLENGED ||
		peer->login.challenge.algorithm != CHAP_MD5);
	struct login_answer answer;
	struct pdu_login_response response;

	login_answer(&peer->login, &answer);
	pdu_login_response_decode(&response, answer.bhs);
	require(pdu_opcode(answer.bhs) == PDU_LOGIN_RESPONSE);
	require(answer.data_len_bytes <= LOGIN_LANDING_BYTES);
	require(answer.data_len_bytes == response.data_len_bytes);
	require(!(response.transit && response.cont));
	require((response.status != 0) == (peer->step == LOGIN_REFUSED));
	require((peer->step == LOGIN_DONE) ==
		(response.transit && response.nsg == PDU_STAGE_FULL_FEATURE));
	/* Touch every byte that would be sent. */
	require(crc32c(0, answer.data, answer.padded_len_bytes) != 1 || answer.data_len_bytes > 0);
}

/* A header that announces more than there may be. */
static void send_unreadable(struct peer *peer, uint8_t bhs[static PDU_BHS_BYTES], uint8_t version)
{
	bool begun = login_has_begun(&peer->login);

	bhs[3] = version;
	put_be24(bhs + 5, LOGIN_LANDING_BYTES + 1u);
	if (login_refuse_request(&peer->login, bhs, "unreadable", &peer->step)) {
		require(peer->step == LOGIN_REFUSED);
		check_answer(peer);
	} else {
		require(!begun && version != PDU_VERSION);
		peer->step = LOGIN_REFUSED;
	}
}

static void send_record(struct peer *peer, const uint8_t *record, const uint8_t *text, size_t len)
{
	uint8_t bhs[PDU_BHS_BYTES] = {PDU_LOGIN_REQUEST | PDU_IMMEDIATE, record[0]};
	uint8_t *landing = login_landing(&peer->login);
	unsigned kind = record[1] % KIND_COUNT;
	size_t at = kind == KIND_HONEST ? put_honest(peer, landing, LOGIN_LANDING_BYTES) : 0;

	if (len > LOGIN_LANDING_BYTES - at)
		len = LOGIN_LANDING_BYTES - at;
	memcpy(landing + at, text, len);
	put_be24(bhs + 5, (uint32_t)(at + len));
	put_be32(bhs + 16, kind == KIND_OTHER_ITT ? 7 : 1);
	if (kind == KIND_UNREADABLE) {
		send_unreadable(peer, bhs, len > 0 ? text[0] : 0);
		return;
	}
	peer->step = login_request(&peer->login, bhs, (uint32_t)(at + len));
	if (peer->step == LOGIN_DECIDE) {
		require(!(peer->flags & CHAP_REQUIRED) || peer->honest);
		require(!(peer->flags & MOVED));
		require((login_result(&peer->login)->user_name[0] != '\0') ==
			((peer->flags & CHAP_REQUIRED) != 0));
		peer->step = login_admit(&peer->login, 1, 8);
	}
	check_answer(peer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct peer peer = {.step = LOGIN_ANSWER, .random = crc32c(0, data, size)};
	uint8_t *work;

	if (size < 1)
		return 0;
	work = malloc(LOGIN_WORK_BYTES);
	peer.flags = *data++;
	size--;
	login_init(&peer.login, &policy, &peer, work);
	while (size >= RECORD_BYTES && peer.step == LOGIN_ANSWER) {
		size_t len = get_be16(data + 2);

		if (len > size - RECORD_BYTES)
			len = size - RECORD_BYTES;
		send_record(&peer, data, data + RECORD_BYTES, len);
		data += RECORD_BYTES + len;
		size -= RECORD_BYTES + len;
	}
	login_release(&peer.login);
	free(work);
	return 0;
}
