/*
 * CHAP within login: both directions, all algorithms, what must fail, and the ways around it.
 *
 * The arithmetic alone is in iscsi_chap.c. Read next: target/iscsi/login_security.c.
 */
#include "tests/unit/iscsi_login_peer.h"

TestSuite(iscsi_login_chap, .init = setup, .fini = teardown);

static void note_challenge(void)
{
	int algorithm = 0;
	int identifier = 0;
	char hex[2 * CHAP_CHALLENGE_BYTES + 3] = "";

	cr_assert_eq(sscanf(peer->text, "CHAP_A=%d|CHAP_I=%d|CHAP_C=%66[^|]|", &algorithm,
			    &identifier, hex),
		     3, "%s", peer->text);
	peer->algorithm = (enum chap_algorithm)algorithm;
	peer->identifier = (uint8_t)identifier;
	peer->challenge_len = text_binary(hex, peer->challenge, sizeof(peer->challenge));
	cr_assert_eq(peer->challenge_len, CHAP_CHALLENGE_BYTES);
}

/* Up to the challenge. */
static void challenge_with(const char *algorithms)
{
	char text[64];

	send_text(0, 1, NAMES "AuthMethod=CHAP,None|");
	assert_answer(0, "TargetPortalGroupTag=7|AuthMethod=CHAP|");
	(void)snprintf(text, sizeof(text), "CHAP_A=%s|", algorithms);
	send_text(0, 0, text);
	cr_assert_eq(peer->step, LOGIN_ANSWER, "%s", login_reason(&peer->login));
	cr_assert(!peer->response.transit);
	note_challenge();
}

static size_t put_response(char *out, const char *name, const char *secret)
{
	struct chap_secret known = secret_of(secret);
	struct chap_question question = {.algorithm = peer->algorithm,
					 .identifier = peer->identifier,
					 .challenge = peer->challenge,
					 .challenge_len_bytes = (size_t)peer->challenge_len};
	struct chap_response response;
	size_t len = (size_t)sprintf(out, "CHAP_N=%s|CHAP_R=0x", name);

	cr_assert_eq(chap_respond(&question, &known, &response), 0);
	for (unsigned i = 0; i < response.len_bytes; i++)
		len += (size_t)sprintf(out + len, "%02x", response.bytes[i]);
	out[len++] = '|';
	out[len] = '\0';
	return len;
}

static void respond(const char *name, const char *secret, const char *more)
{
	char text[4096];
	size_t len = put_response(text, name, secret);

	(void)strcpy(text + len, more);
	send_text(0, 1, text);
}

static const char *const offers[] = {"5", "6", "7", "8", "8,7,6,5", "7,5", "9,5"};

Test(iscsi_login_chap, chap_one_way)
{
	static const enum chap_algorithm expected[] = {CHAP_MD5,      CHAP_SHA1,     CHAP_SHA256,
						       CHAP_SHA3_256, CHAP_SHA3_256, CHAP_SHA256,
						       CHAP_MD5};

	peer->target.chap_required = true;
	for (unsigned i = 0; i < sizeof(offers) / sizeof(offers[0]); i++) {
		peer_begin();
		challenge_with(offers[i]);
		cr_assert_eq(peer->algorithm, expected[i]);
		respond("alice", INITIATOR_SECRET, "");
		assert_answer(1, "");
		send_text(1, 3, "InitialR2T=No|");
		assert_answer(3, "InitialR2T=No|" OURS);
		cr_assert_str_eq(login_result(&peer->login)->user_name, "alice");
	}
}

/* VirtualBox skips nothing: T is set only once CHAP is over, and the response is base64. */
Test(iscsi_login_chap, chap_response_in_base64)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	struct chap_secret secret = secret_of(INITIATOR_SECRET);
	struct chap_response response;
	char text[128];
	size_t len;

	peer->target.chap_required = true;
	challenge_with("5");
	cr_assert_eq(chap_respond(&(struct chap_question){CHAP_MD5, peer->identifier,
							  peer->challenge, CHAP_CHALLENGE_BYTES},
				  &secret, &response),
		     0);
	len = (size_t)sprintf(text, "CHAP_N=alice|CHAP_R=0b");
	for (unsigned i = 0; i < 18; i += 3) {
		uint32_t bits = (uint32_t)response.bytes[i] << 16 |
				(uint32_t)response.bytes[i + 1] << 8 | response.bytes[i + 2];

		for (int shift = 18; shift >= 0; shift -= 6)
			text[len++] = digits[bits >> shift & 63];
	}
	(void)strcpy(text + len - 2, "==|");
	send_text(0, 1, text);
	assert_answer(1, "");
}

struct chap_failure {
	const char *name;
	const char *user;
	const char *secret;
	const char *more;
	enum pdu_login_status status;
};

static const struct chap_failure chap_failures[] = {
	{"wrong secret", "alice", "initiator-secreT", "", PDU_LOGIN_AUTHENTICATION_FAILURE},
	{"prefix of the secret", "alice", "initiator-secre", "", PDU_LOGIN_AUTHENTICATION_FAILURE},
	{"unknown name", "mallory", INITIATOR_SECRET, "", PDU_LOGIN_AUTHENTICATION_FAILURE},
	{"prefix of the name", "alic", INITIATOR_SECRET, "", PDU_LOGIN_AUTHENTICATION_FAILURE},
	{"name and more", "alice2", INITIATOR_SECRET, "", PDU_LOGIN_AUTHENTICATION_FAILURE},
	{"empty name", "", INITIATOR_SECRET, "", PDU_LOGIN_AUTHENTICATION_FAILURE},
	{"empty secret", "alice", "", "", PDU_LOGIN_AUTHENTICATION_FAILURE},
	{"mutual, not configured", "alice", INITIATOR_SECRET, "CHAP_I=1|CHAP_C=0x0102|",
	 PDU_LOGIN_AUTHENTICATION_FAILURE},
	{"half of mutual", "alice", INITIATOR_SECRET, "CHAP_I=1|", PDU_LOGIN_INITIATOR_ERROR},
	{"other half", "alice", INITIATOR_SECRET, "CHAP_C=0x01|", PDU_LOGIN_INITIATOR_ERROR},
	{"identifier over a byte", "alice", INITIATOR_SECRET, "CHAP_I=256|CHAP_C=0x01|",
	 PDU_LOGIN_INITIATOR_ERROR},
	{"empty challenge", "alice", INITIATOR_SECRET, "CHAP_I=1|CHAP_C=0x|",
	 PDU_LOGIN_INITIATOR_ERROR},
	{"another AuthMethod", "alice", INITIATOR_SECRET, "AuthMethod=None|",
	 PDU_LOGIN_INITIATOR_ERROR},
};

Test(iscsi_login_chap, chap_failures)
{
	peer->target.chap_required = true;
	for (unsigned i = 0; i < sizeof(chap_failures) / sizeof(chap_failures[0]); i++) {
		const struct chap_failure *failure = &chap_failures[i];

		printf("%s\n", failure->name);
		peer_begin();
		challenge_with("5");
		respond(failure->user, failure->secret, failure->more);
		assert_refused(failure->status);
		cr_assert_str_eq(peer->text, "");
		cr_assert_str_eq(login_result(&peer->login)->user_name, "");
	}
}

/* Nobody learns from the answer whether the name or the secret was wrong. */
Test(iscsi_login_chap, unknown_name_and_wrong_secret_look_alike)
{
	struct pdu_login_response first;
	const char *reason;

	peer->target.chap_required = true;
	challenge_with("5");
	respond("mallory", "guess", "");
	first = peer->response;
	reason = login_reason(&peer->login);
	peer_begin();
	challenge_with("5");
	respond("alice", "guess", "");
	cr_assert_eq(memcmp(&first, &peer->response, sizeof(first)), 0);
	cr_assert_str_eq(login_reason(&peer->login), reason);
}

Test(iscsi_login_chap, chap_response_of_any_length)
{
	char text[8192];

	peer->target.chap_required = true;
	for (size_t digits = 0; digits < 8000; digits = digits < 80 ? digits + 1 : digits * 2) {
		size_t len;

		peer_begin();
		challenge_with("5");
		len = (size_t)sprintf(text, "CHAP_N=alice|CHAP_R=0x");
		memset(text + len, 'a', digits);
		(void)strcpy(text + len + digits, "|");
		send_text(0, 1, text);
		assert_refused(digits == 0 || digits > 64 ? PDU_LOGIN_INITIATOR_ERROR
							  : PDU_LOGIN_AUTHENTICATION_FAILURE);
	}
}

Test(iscsi_login_chap, chap_mutual)
{
	static const char counter[] = "0x000102030405060708090a0b0c0d0e0f";
	struct chap_secret ours = secret_of(TARGET_SECRET);
	uint8_t bytes[16];
	char expected[256];

	peer->target.chap_required = true;
	peer->mutual_secret = TARGET_SECRET;
	for (unsigned i = 0; i < sizeof(offers) / sizeof(offers[0]); i++) {
		struct chap_response response;
		size_t len = (size_t)sprintf(expected, "CHAP_N=ringsan|CHAP_R=0x");
		char more[128];

		peer_begin();
		challenge_with(offers[i]);
		(void)sprintf(more, "CHAP_I=200|CHAP_C=%s|", counter);
		cr_assert_eq(text_binary(counter, bytes, sizeof(bytes)), 16);
		cr_assert_eq(chap_respond(&(struct chap_question){peer->algorithm, 200, bytes, 16},
					  &ours, &response),
			     0);
		for (unsigned b = 0; b < response.len_bytes; b++)
			len += (size_t)sprintf(expected + len, "%02x", response.bytes[b]);
		(void)strcpy(expected + len, "|");
		respond("alice", INITIATOR_SECRET, more);
		assert_answer(1, expected);
	}
}

Test(iscsi_login_chap, chap_reflection)
{
	char more[256];
	size_t len = (size_t)sprintf(more, "CHAP_I=1|CHAP_C=0x");

	peer->target.chap_required = true;
	peer->mutual_secret = TARGET_SECRET;
	challenge_with("7");
	for (int i = 0; i < peer->challenge_len; i++)
		len += (size_t)sprintf(more + len, "%02X", peer->challenge[i]);
	(void)strcpy(more + len, "|");
	respond("alice", INITIATOR_SECRET, more);
	assert_refused(PDU_LOGIN_AUTHENTICATION_FAILURE);
	cr_assert_str_eq(login_reason(&peer->login), "our own CHAP challenge came back");
}

/* The challenge of another open login, which only the policy can know. */
static bool is_other_challenge(void *context, const uint8_t *bytes, size_t len_bytes)
{
	cr_assert_eq(context, peer);
	return len_bytes == 4 && memcmp(bytes, "abcd", 4) == 0;
}

Test(iscsi_login_chap, reflection_across_connections)
{
	peer->target.chap_required = true;
	peer->mutual_secret = TARGET_SECRET;
	peer->policy.is_our_challenge = is_other_challenge;
	challenge_with("7");
	respond("alice", INITIATOR_SECRET, "CHAP_I=1|CHAP_C=0x61626364|");
	assert_refused(PDU_LOGIN_AUTHENTICATION_FAILURE);
	peer_begin();
	challenge_with("7");
	respond("alice", INITIATOR_SECRET, "CHAP_I=1|CHAP_C=0x61626365|");
	cr_assert_eq(peer->step, LOGIN_ANSWER);
}

Test(iscsi_login_chap, same_secret_in_both_directions)
{
	peer->target.chap_required = true;
	peer->mutual_secret = INITIATOR_SECRET;
	challenge_with("7");
	respond("alice", INITIATOR_SECRET, "CHAP_I=1|CHAP_C=0x0102030405060708|");
	assert_refused(PDU_LOGIN_AUTHENTICATION_FAILURE);
	cr_assert_str_eq(login_reason(&peer->login), "the same CHAP secret in both directions");
}

Test(iscsi_login_chap, counter_challenge_lengths)
{
	char more[8192];

	peer->target.chap_required = true;
	peer->mutual_secret = TARGET_SECRET;
	for (size_t bytes = CHAP_CHALLENGE_BYTES_MAX; bytes <= CHAP_CHALLENGE_BYTES_MAX + 1;
	     bytes++) {
		size_t len = (size_t)sprintf(more, "CHAP_I=1|CHAP_C=0x");
		bool fits = bytes == CHAP_CHALLENGE_BYTES_MAX;

		memset(more + len, 'b', 2 * bytes);
		(void)strcpy(more + len + 2 * bytes, "|");
		peer_begin();
		challenge_with("5");
		respond("alice", INITIATOR_SECRET, more);
		cr_assert_eq(peer->step, fits ? LOGIN_ANSWER : LOGIN_REFUSED);
	}
}

Test(iscsi_login_chap, policy_forbids_algorithms)
{
	peer->target.chap_required = true;
	peer->target.chap_algorithms = CHAP_ALGORITHM_BIT(CHAP_SHA256);
	challenge_with("5,7");
	cr_assert_eq(peer->algorithm, CHAP_SHA256);
	peer_begin();
	send_text(0, 1, NAMES "AuthMethod=CHAP|");
	send_text(0, 0, "CHAP_A=5|");
	assert_refused(PDU_LOGIN_AUTHENTICATION_FAILURE);
}

Test(iscsi_login_chap, no_randomness_no_challenge)
{
	peer->target.chap_required = true;
	peer->random_rc = -EIO;
	send_text(0, 1, NAMES "AuthMethod=CHAP|");
	send_text(0, 0, "CHAP_A=5|");
	assert_refused(PDU_LOGIN_TARGET_ERROR);
}

/* Ways around a required authentication. */
Test(iscsi_login_chap, authentication_cannot_be_skipped)
{
	peer->target.chap_required = true;
	send_text(1, 3, NAMES);
	assert_refused(PDU_LOGIN_AUTHENTICATION_FAILURE);
	peer_begin();
	send_text(0, 3, NAMES);
	assert_refused(PDU_LOGIN_AUTHENTICATION_FAILURE);
	peer_begin();
	send_text(0, 3, NAMES "AuthMethod=None|");
	assert_refused(PDU_LOGIN_AUTHENTICATION_FAILURE);
	peer_begin();
	send_text(0, 3, NAMES "AuthMethod=CHAP|");
	assert_answer(0, "TargetPortalGroupTag=7|AuthMethod=CHAP|");
	send_text(0, 3, "");
	assert_refused(PDU_LOGIN_INITIATOR_ERROR);
	peer_begin();
	send_text(0, 3, NAMES "AuthMethod=CHAP|");
	send_text(1, 3, "");
	assert_refused(PDU_LOGIN_INITIATOR_ERROR);
	peer_begin();
	challenge_with("5");
	send_text(0, 3, "");
	assert_refused(PDU_LOGIN_INITIATOR_ERROR);
	peer_begin();
	challenge_with("5");
	send_text(0, 3, "CHAP_A=5|");
	assert_refused(PDU_LOGIN_INITIATOR_ERROR);
	peer_begin();
	send_text(0, 0, "InitiatorName=iqn.a|SessionType=Discovery|AuthMethod=None|");
	assert_refused(PDU_LOGIN_AUTHENTICATION_FAILURE);
}
