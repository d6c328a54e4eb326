/*
 * The security stage: AuthMethod, and CHAP in one or both directions.
 *
 * It does no arithmetic (chap.c) and knows no stages (login.c). What it may be told is decided by
 * where it stands: a key of another step refuses the login. Each failure ends the login, so that
 * there is one attempt a connection, and the answer is the same whatever was wrong: unknown name,
 * wrong secret. Runs on the connection's loop. RFC 7143 12.1.3, 9.2.1.
 *
 * Read next: chap.h.
 */
#include <assert.h>
#include <openssl/crypto.h>
#include <string.h>

#include "target/iscsi/login_internal.h"

#define KEY_BIT(key) (UINT64_C(1) << (key))
#define CHAP_KEYS                                                               \
	(KEY_BIT(KEY_AUTH_METHOD) | KEY_BIT(KEY_CHAP_A) | KEY_BIT(KEY_CHAP_N) | \
	 KEY_BIT(KEY_CHAP_R) | KEY_BIT(KEY_CHAP_I) | KEY_BIT(KEY_CHAP_C))

static enum pdu_login_status authentication_failed(struct login *login, const char *reason)
{
	return login_fail(login, PDU_LOGIN_AUTHENTICATION_FAILURE, reason);
}

static enum pdu_login_status protocol_failed(struct login *login, const char *reason)
{
	return login_fail(login, PDU_LOGIN_INITIATOR_ERROR, reason);
}

/* The first method offered that the policy has (RFC 7143 12): None or CHAP, never both. */
static enum pdu_login_status security_open(struct login *login, const struct negotiate_text *text,
					   struct text_writer *answer)
{
	const char *wanted = login->target.chap_required ? "CHAP" : "None";
	const char *at = text->value[KEY_AUTH_METHOD];
	struct text_item item;

	while (text_list_next(&at, &item)) {
		if (!text_item_is(&item, wanted))
			continue;
		login->security =
			login->target.chap_required ? LOGIN_SECURITY_CHAP : LOGIN_SECURITY_NONE;
		text_put(answer, key_table[KEY_AUTH_METHOD].name, wanted);
		return PDU_LOGIN_SUCCESS;
	}
	return authentication_failed(login, "no AuthMethod in common");
}

static enum pdu_login_status security_chap(struct login *login, const struct negotiate_text *text,
					   struct text_writer *answer)
{
	uint32_t allowed =
		login->target.chap_algorithms ? login->target.chap_algorithms : CHAP_ALGORITHMS_ALL;
	struct chap_challenge *challenge = &login->challenge;
	const char *why;
	int algorithm = chap_choose(text->value[KEY_CHAP_A], allowed, &why);

	if (algorithm < 0)
		return authentication_failed(login, why);
	if (chap_challenge_make(challenge, (enum chap_algorithm)algorithm, login->policy->random,
				login->context) != 0)
		return login_fail(login, PDU_LOGIN_TARGET_ERROR, "no randomness for CHAP");
	text_put_number(answer, key_table[KEY_CHAP_A].name, challenge->algorithm);
	text_put_number(answer, key_table[KEY_CHAP_I].name, challenge->identifier);
	text_put_binary(answer, key_table[KEY_CHAP_C].name, challenge->bytes,
			sizeof(challenge->bytes));
	login->security = LOGIN_SECURITY_CHALLENGED;
	return PDU_LOGIN_SUCCESS;
}

/* The initiator's challenge to us, in its decoded form. */
struct counter_challenge {
	uint8_t identifier;
	uint32_t len_bytes;
	uint8_t bytes[CHAP_CHALLENGE_BYTES_MAX];
};

static bool counter_challenge_parse(const struct negotiate_text *text,
				    struct counter_challenge *out)
{
	uint64_t identifier;
	int len_bytes;

	if (!text->value[KEY_CHAP_I] || !text->value[KEY_CHAP_C])
		return false;
	if (text_number(text->value[KEY_CHAP_I], &identifier) != 0 || identifier > UINT8_MAX)
		return false;
	len_bytes = text_binary(text->value[KEY_CHAP_C], out->bytes, sizeof(out->bytes));
	if (len_bytes <= 0)
		return false;
	out->identifier = (uint8_t)identifier;
	out->len_bytes = (uint32_t)len_bytes;
	return true;
}

bool login_sent_challenge(const struct login *login, const uint8_t *bytes, size_t len_bytes)
{
	return login->security == LOGIN_SECURITY_CHALLENGED &&
	       len_bytes == sizeof(login->challenge.bytes) &&
	       CRYPTO_memcmp(bytes, login->challenge.bytes, len_bytes) == 0;
}

/* Somebody who returns a challenge of ours wants us to answer it for him. */
static bool is_reflected(const struct login *login, const struct counter_challenge *counter)
{
	const struct login_policy *policy = login->policy;

	if (login_sent_challenge(login, counter->bytes, counter->len_bytes))
		return true;
	return policy->is_our_challenge &&
	       policy->is_our_challenge(login->context, counter->bytes, counter->len_bytes);
}

/*
 * Prove ourselves. `secret` is the initiator's: with the same secret in both directions, answers to
 * one side's challenges would be answers to the other's (RFC 7143 9.2.1).
 */
static enum pdu_login_status answer_counter(struct login *login,
					    const struct counter_challenge *counter,
					    const struct chap_secret *secret,
					    struct text_writer *answer)
{
	const struct chap_question question = {
		.algorithm = login->challenge.algorithm,
		.identifier = counter->identifier,
		.challenge = counter->bytes,
		.challenge_len_bytes = counter->len_bytes,
	};
	struct chap_credentials ours;
	struct chap_response response = {0};
	enum pdu_login_status status = PDU_LOGIN_SUCCESS;

	memset(&ours, 0, sizeof(ours));
	if (login->policy->own_credentials(login->context, &login->target, &ours) != 0 ||
	    ours.secret.len_bytes == 0) {
		status = authentication_failed(login, "mutual CHAP asked for but not configured");
	} else if (chap_secret_equal(&ours.secret, secret)) {
		status = authentication_failed(login, "the same CHAP secret in both directions");
	} else if (chap_respond(&question, &ours.secret, &response) != 0) {
		status = login_fail(login, PDU_LOGIN_TARGET_ERROR, "libcrypto failed");
	}
	if (status == PDU_LOGIN_SUCCESS) {
		text_put(answer, key_table[KEY_CHAP_N].name, ours.name);
		text_put_binary(answer, key_table[KEY_CHAP_R].name, response.bytes,
				response.len_bytes);
	}
	OPENSSL_cleanse(&ours, sizeof(ours));
	return status;
}

static enum pdu_login_status security_mutual(struct login *login, const struct negotiate_text *text,
					     const struct chap_secret *secret,
					     struct text_writer *answer)
{
	struct counter_challenge counter;

	if (!text->value[KEY_CHAP_I] && !text->value[KEY_CHAP_C])
		return PDU_LOGIN_SUCCESS;
	if (!counter_challenge_parse(text, &counter))
		return protocol_failed(login, "malformed CHAP_I or CHAP_C");
	if (is_reflected(login, &counter))
		return authentication_failed(login, "our own CHAP challenge came back");
	return answer_counter(login, &counter, secret, answer);
}

/* False only for what is not a response at all; one of a wrong length is merely wrong. */
static bool response_parse(const char *value, struct chap_response *out)
{
	int len_bytes;

	*out = (struct chap_response){0};
	len_bytes = text_binary(value, out->bytes, sizeof(out->bytes));
	out->len_bytes = len_bytes > 0 ? (uint8_t)len_bytes : 0;
	return len_bytes > 0;
}

static enum pdu_login_status security_prove(struct login *login, const struct negotiate_text *text,
					    const char *name, const struct chap_response *given,
					    struct text_writer *answer)
{
	struct chap_secret secret;
	enum pdu_login_status status;
	bool known;

	memset(&secret, 0, sizeof(secret));
	known = login->policy->find_secret(login->context, &login->target, name, &secret) == 0;
	assert(secret.len_bytes <= CHAP_SECRET_BYTES_MAX);
	if (!chap_verify(&login->challenge, known ? &secret : NULL, given)) {
		status = authentication_failed(login, "wrong CHAP name or secret");
	} else {
		status = security_mutual(login, text, &secret, answer);
	}
	chap_secret_wipe(&secret);
	return status;
}

static enum pdu_login_status security_challenged(struct login *login,
						 const struct negotiate_text *text,
						 struct text_writer *answer)
{
	const char *name = text->value[KEY_CHAP_N];
	enum pdu_login_status status;
	struct chap_response given;

	if (!name || !text->value[KEY_CHAP_R])
		return protocol_failed(login, "CHAP_N or CHAP_R is missing");
	if (strlen(name) > CHAP_NAME_BYTES_MAX || !response_parse(text->value[KEY_CHAP_R], &given))
		return protocol_failed(login, "malformed CHAP_N or CHAP_R");
	status = security_prove(login, text, name, &given, answer);
	/* A challenge is used once, whatever came of it. */
	OPENSSL_cleanse(&login->challenge, sizeof(login->challenge));
	if (status != PDU_LOGIN_SUCCESS)
		return status;
	login_copy(login->result.user_name, sizeof(login->result.user_name), name);
	login->security = LOGIN_SECURITY_DONE;
	return PDU_LOGIN_SUCCESS;
}

/*
 * What each standing expects: any of `keys`, none of the other security keys. In the midst of CHAP
 * a text without them is refused as well (RFC 7143 9.2: keys not according to the step definition).
 */
struct security_row {
	uint64_t keys;
	bool needed;
	enum pdu_login_status (*step)(struct login *login, const struct negotiate_text *text,
				      struct text_writer *answer);
};

/* clang-format off */
static const struct security_row security_rows[] = {
	[LOGIN_SECURITY_OPEN] = { .keys = KEY_BIT(KEY_AUTH_METHOD), .step = security_open },
	[LOGIN_SECURITY_CHAP] = {
		.keys = KEY_BIT(KEY_CHAP_A), .needed = true, .step = security_chap,
	},
	[LOGIN_SECURITY_CHALLENGED] = {
		.keys = KEY_BIT(KEY_CHAP_N) | KEY_BIT(KEY_CHAP_R) | KEY_BIT(KEY_CHAP_I) |
			KEY_BIT(KEY_CHAP_C),
		.needed = true, .step = security_challenged,
	},
	/* Nothing more to say. */
	[LOGIN_SECURITY_NONE] = { .keys = 0 },
	[LOGIN_SECURITY_DONE] = { .keys = 0 },
};
/* clang-format on */

static uint64_t security_keys(const struct negotiate_text *text)
{
	uint64_t keys = 0;

	for (unsigned key = 0; key < KEY_COUNT; key++) {
		if (text->value[key])
			keys |= KEY_BIT(key);
	}
	return keys & CHAP_KEYS;
}

enum pdu_login_status login_security_text(struct login *login, const struct negotiate_text *text,
					  struct text_writer *answer)
{
	const struct security_row *row = &security_rows[login->security];
	uint64_t keys = security_keys(text);

	if (keys & ~row->keys)
		return protocol_failed(login, "security key out of order");
	if (!keys && row->needed)
		return protocol_failed(login, "the key of this CHAP step is missing");
	return keys ? row->step(login, text, answer) : PDU_LOGIN_SUCCESS;
}
