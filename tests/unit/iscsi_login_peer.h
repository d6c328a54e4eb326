/*
 * The initiator that the login tests play, and the policy that the login asks.
 *
 * It sends text with '|' for NUL bytes and notes what comes back in the same form; what every
 * answer must have (StatSN, ISID, padding, limits) is asserted on the way. Read next:
 * iscsi_login.c.
 */
#ifndef TESTS_UNIT_ISCSI_LOGIN_PEER_H
#define TESTS_UNIT_ISCSI_LOGIN_PEER_H

#include "target/iscsi/login.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TARGET "iqn.2026-11.io.ringsan:disk"
#define NAMES "InitiatorName=iqn.1993-08.org.debian:01:a1|TargetName=" TARGET "|"
#define INITIATOR_SECRET "initiator-secret"
#define TARGET_SECRET "targets-own-secret"

struct peer {
	struct login login;
	struct login_policy policy;
	struct login_target target; /* What find_target answers. */
	enum pdu_login_status find_status;
	const char *mutual_secret;
	int random_rc;
	uint8_t random_next;
	uint8_t *work;
	bool discovery_seen;
	/* Of the last response. */
	enum login_step step;
	struct pdu_login_response response;
	char text[LOGIN_ANSWER_BYTES + 1];
	/* What CHAP said. */
	uint8_t challenge[CHAP_CHALLENGE_BYTES_MAX];
	int challenge_len;
	uint8_t identifier;
	enum chap_algorithm algorithm;
	uint32_t stat_sn;
	uint32_t itt;
};

/* One for each test; a Criterion test is a process of its own. */
static struct peer *peer;

static inline enum pdu_login_status find_target(void *context, const struct login_who *who,
						struct login_target *out)
{
	struct peer *p = context;

	cr_assert_not_null(who->initiator_name);
	p->discovery_seen = who->session_type == LOGIN_DISCOVERY;
	cr_assert_eq(who->target_name == NULL, p->discovery_seen);
	*out = p->target;
	if (who->target_name && strcmp(who->target_name, TARGET) != 0)
		return PDU_LOGIN_NOT_FOUND;
	return p->find_status;
}

static inline struct chap_secret secret_of(const char *text)
{
	struct chap_secret secret = {.len_bytes = (uint16_t)strlen(text)};

	memcpy(secret.bytes, text, secret.len_bytes);
	return secret;
}

static inline int find_secret(void *context, const struct login_target *target, const char *name,
			      struct chap_secret *out)
{
	struct peer *p = context;

	cr_assert_eq(target->target, p->target.target);
	if (strcmp(name, "alice") != 0)
		return -ENOENT;
	*out = secret_of(INITIATOR_SECRET);
	return 0;
}

static inline int own_credentials(void *context, const struct login_target *target,
				  struct chap_credentials *out)
{
	struct peer *p = context;

	(void)target;
	if (!p->mutual_secret)
		return -ENOENT;
	(void)strcpy(out->name, "ringsan");
	out->secret = secret_of(p->mutual_secret);
	return 0;
}

static inline int next_random(void *context, void *out, size_t len_bytes)
{
	struct peer *p = context;

	for (size_t i = 0; i < len_bytes; i++)
		((uint8_t *)out)[i] = p->random_next++;
	return p->random_rc;
}

static const uint8_t isid[PDU_ISID_BYTES] = {0x80, 0x12, 0x34, 0x56, 0x00, 0x01};

static inline void peer_begin(void)
{
	login_init(&peer->login, &peer->policy, peer, peer->work);
	peer->stat_sn = 0;
}

static inline void setup(void)
{
	peer = calloc(1, sizeof(*peer));
	peer->work = malloc(LOGIN_WORK_BYTES);
	peer->policy = (struct login_policy){
		.find_target = find_target,
		.find_secret = find_secret,
		.own_credentials = own_credentials,
		.random = next_random,
		.limits = negotiate_limits_default,
	};
	peer->target.target = peer;
	peer->target.portal_group_tag = 7;
	peer_begin();
}

static inline void teardown(void)
{
	login_release(&peer->login);
	free(peer->work);
	free(peer);
}

/* Take the response that the login has for us. */
static inline void take_answer(void)
{
	struct login_answer answer;
	size_t i;

	login_answer(&peer->login, &answer);
	pdu_login_response_decode(&peer->response, answer.bhs);
	cr_assert_eq(peer->response.data_len_bytes, answer.data_len_bytes);
	cr_assert_leq(answer.data_len_bytes, LOGIN_LANDING_BYTES);
	cr_assert_eq(answer.padded_len_bytes, pdu_padded(answer.data_len_bytes));
	for (i = answer.data_len_bytes; i < answer.padded_len_bytes; i++)
		cr_assert_eq(answer.data[i], 0);
	for (i = 0; i < answer.data_len_bytes; i++)
		peer->text[i] = answer.data[i] == '\0' ? '|' : (char)answer.data[i];
	peer->text[i] = '\0';
	cr_assert_eq(peer->response.itt, peer->itt);
	cr_assert_eq(peer->response.sns.stat_sn, peer->stat_sn++);
	cr_assert_arr_eq(peer->response.isid, isid, sizeof(isid));
	cr_assert(!(peer->response.transit && peer->response.cont));
}

static inline struct pdu_login_request header(uint8_t csg, uint8_t nsg)
{
	struct pdu_login_request request = {
		.itt = 0x1234,
		.cmd_sn = 100,
		.exp_stat_sn = peer->stat_sn,
		.cid = 1,
		.csg = csg,
		.nsg = nsg,
		.transit = nsg != 0,
	};

	memcpy(request.isid, isid, sizeof(isid));
	return request;
}

/* Send `text` with this header and take what comes. */
static inline void send_with(const struct pdu_login_request *request, const char *text, size_t len)
{
	uint8_t bhs[PDU_BHS_BYTES];

	pdu_login_request_encode(request, bhs);
	for (size_t i = 0; i < len; i++)
		login_landing(&peer->login)[i] = text[i] == '|' ? '\0' : (uint8_t)text[i];
	peer->itt = request->itt;
	peer->step = login_request(&peer->login, bhs, (uint32_t)len);
	if (peer->step == LOGIN_DECIDE)
		peer->step = login_admit(&peer->login, 0x4711, 8);
	take_answer();
}

static inline void send_text(uint8_t csg, uint8_t nsg, const char *text)
{
	struct pdu_login_request request = header(csg, nsg);

	send_with(&request, text, strlen(text));
}

static inline void assert_refused(enum pdu_login_status status)
{
	cr_assert_eq(peer->step, LOGIN_REFUSED);
	cr_assert_eq(peer->response.status, status, "%04x", peer->response.status);
	cr_assert(!peer->response.transit);
	cr_assert_not_null(login_reason(&peer->login));
}

static inline void assert_answer(uint8_t nsg, const char *text)
{
	cr_assert_eq(peer->step, nsg == 3 ? LOGIN_DONE : LOGIN_ANSWER, "%s",
		     login_reason(&peer->login));
	cr_assert_eq(peer->response.status, PDU_LOGIN_SUCCESS);
	cr_assert_eq(peer->response.transit, nsg != 0);
	cr_assert_eq(peer->response.nsg, nsg);
	cr_assert(!peer->response.cont, "plain initiators know no C bit");
	cr_assert_leq(peer->response.data_len_bytes, 4096);
	cr_assert_str_eq(peer->text, text, "%s", peer->text);
}

#define OURS "MaxRecvDataSegmentLength=262144|"

#endif
