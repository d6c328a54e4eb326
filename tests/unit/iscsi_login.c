/*
 * Logins: golden sequences of the initiators in use, every status, CHAP both ways, C bits, bounds.
 *
 * The peer here is the initiator: it sends text with '|' for NUL bytes and notes what comes back in
 * the same form.
 */
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

static struct peer *peer;

static enum pdu_login_status find_target(void *context, const struct login_who *who,
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

static struct chap_secret secret_of(const char *text)
{
	struct chap_secret secret = {.len_bytes = (uint16_t)strlen(text)};

	memcpy(secret.bytes, text, secret.len_bytes);
	return secret;
}

static int find_secret(void *context, const struct login_target *target, const char *name,
		       struct chap_secret *out)
{
	struct peer *p = context;

	cr_assert_eq(target->target, p->target.target);
	if (strcmp(name, "alice") != 0)
		return -ENOENT;
	*out = secret_of(INITIATOR_SECRET);
	return 0;
}

static int own_credentials(void *context, const struct login_target *target,
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

static int next_random(void *context, void *out, size_t len_bytes)
{
	struct peer *p = context;

	for (size_t i = 0; i < len_bytes; i++)
		((uint8_t *)out)[i] = p->random_next++;
	return p->random_rc;
}

static const uint8_t isid[PDU_ISID_BYTES] = {0x80, 0x12, 0x34, 0x56, 0x00, 0x01};

static void peer_begin(void)
{
	login_init(&peer->login, &peer->policy, peer, peer->work);
	peer->stat_sn = 0;
}

static void setup(void)
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

static void teardown(void)
{
	login_release(&peer->login);
	free(peer->work);
	free(peer);
}

TestSuite(iscsi_login, .init = setup, .fini = teardown);

/* Take the response that the login has for us. */
static void take_answer(void)
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

static struct pdu_login_request header(uint8_t csg, uint8_t nsg)
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
static void send_with(const struct pdu_login_request *request, const char *text, size_t len)
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

static void send_text(uint8_t csg, uint8_t nsg, const char *text)
{
	struct pdu_login_request request = header(csg, nsg);

	send_with(&request, text, strlen(text));
}

static void assert_refused(enum pdu_login_status status)
{
	cr_assert_eq(peer->step, LOGIN_REFUSED);
	cr_assert_eq(peer->response.status, status, "%04x", peer->response.status);
	cr_assert(!peer->response.transit);
	cr_assert_not_null(login_reason(&peer->login));
}

static void assert_answer(uint8_t nsg, const char *text)
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

/*
 * Golden sequences without authentication: what each initiator sends, and our exact answer.
 */

struct golden_step {
	uint8_t csg, nsg;
	const char *text;
	const char *answer;
};

struct golden {
	const char *initiator;
	struct golden_step steps[3];
	bool discovery;
	bool initial_r2t;
	uint32_t first_burst, max_burst, send_max;
};

#define OURS "MaxRecvDataSegmentLength=262144|"

static const struct golden goldens[] = {
	{.initiator = "open-iscsi",
	 .steps = {{0, 1, NAMES "InitiatorAlias=host|SessionType=Normal|AuthMethod=None|",
		    "TargetPortalGroupTag=7|AuthMethod=None|"},
		   {1, 3,
		    "HeaderDigest=None|DataDigest=None|DefaultTime2Wait=2|DefaultTime2Retain=0|"
		    "IFMarker=No|OFMarker=No|ErrorRecoveryLevel=0|InitialR2T=No|ImmediateData=Yes|"
		    "MaxBurstLength=16776192|FirstBurstLength=262144|MaxOutstandingR2T=1|"
		    "MaxConnections=1|DataPDUInOrder=Yes|DataSequenceInOrder=Yes|"
		    "MaxRecvDataSegmentLength=262144|",
		    "HeaderDigest=None|DataDigest=None|MaxConnections=1|ErrorRecoveryLevel=0|"
		    "InitialR2T=No|ImmediateData=Yes|MaxBurstLength=262144|FirstBurstLength=65536|"
		    "MaxOutstandingR2T=1|DefaultTime2Wait=2|DefaultTime2Retain=0|"
		    "DataPDUInOrder=Yes|DataSequenceInOrder=Yes|IFMarker=No|OFMarker=No|" OURS}},
	 .first_burst = 65536,
	 .max_burst = 262144,
	 .send_max = 262144},
	{.initiator = "open-iscsi discovery",
	 .steps = {{0, 1,
		    "InitiatorName=iqn.1993-08.org.debian:01:a1|InitiatorAlias=host|"
		    "SessionType=Discovery|AuthMethod=None|",
		    "AuthMethod=None|"},
		   {1, 3,
		    "HeaderDigest=None|DataDigest=None|DefaultTime2Wait=2|DefaultTime2Retain=0|"
		    "IFMarker=No|OFMarker=No|ErrorRecoveryLevel=0|MaxRecvDataSegmentLength=32768|",
		    "HeaderDigest=None|DataDigest=None|ErrorRecoveryLevel=0|DefaultTime2Wait=2|"
		    "DefaultTime2Retain=0|IFMarker=No|OFMarker=No|" OURS}},
	 .discovery = true,
	 .initial_r2t = true,
	 .first_burst = 65536,
	 .max_burst = 262144,
	 .send_max = 32768},
	{.initiator = "libiscsi",
	 .steps = {{0, 1, NAMES "SessionType=Normal|AuthMethod=None|",
		    "TargetPortalGroupTag=7|AuthMethod=None|"},
		   {1, 3,
		    "HeaderDigest=None,CRC32C|DataDigest=None|InitialR2T=No|ImmediateData=Yes|"
		    "MaxBurstLength=262144|FirstBurstLength=262144|"
		    "MaxRecvDataSegmentLength=262144|DataPDUInOrder=Yes|MaxConnections=1|"
		    "MaxOutstandingR2T=1|DefaultTime2Wait=2|DefaultTime2Retain=0|IFMarker=No|"
		    "OFMarker=No|ErrorRecoveryLevel=0|DataSequenceInOrder=Yes|",
		    "HeaderDigest=None|DataDigest=None|MaxConnections=1|ErrorRecoveryLevel=0|"
		    "InitialR2T=No|ImmediateData=Yes|MaxBurstLength=262144|FirstBurstLength=65536|"
		    "MaxOutstandingR2T=1|DefaultTime2Wait=2|DefaultTime2Retain=0|"
		    "DataPDUInOrder=Yes|DataSequenceInOrder=Yes|IFMarker=No|OFMarker=No|" OURS}},
	 .first_burst = 65536,
	 .max_burst = 262144,
	 .send_max = 262144},
	{.initiator = "VirtualBox",
	 .steps = {{0, 1, "SessionType=Normal|" NAMES "AuthMethod=CHAP,None|",
		    "TargetPortalGroupTag=7|AuthMethod=None|"},
		   {1, 3,
		    "HeaderDigest=None|DataDigest=None|MaxConnections=1|InitialR2T=No|"
		    "ImmediateData=Yes|MaxRecvDataSegmentLength=262144|MaxBurstLength=262144|"
		    "FirstBurstLength=262144|DefaultTime2Wait=0|DefaultTime2Retain=60|"
		    "DataPDUInOrder=Yes|DataSequenceInOrder=Yes|ErrorRecoveryLevel=0|"
		    "MaxOutstandingR2T=1|",
		    "HeaderDigest=None|DataDigest=None|MaxConnections=1|ErrorRecoveryLevel=0|"
		    "InitialR2T=No|ImmediateData=Yes|MaxBurstLength=262144|FirstBurstLength=65536|"
		    "MaxOutstandingR2T=1|DefaultTime2Wait=0|DefaultTime2Retain=0|"
		    "DataPDUInOrder=Yes|DataSequenceInOrder=Yes|" OURS}},
	 .first_burst = 65536,
	 .max_burst = 262144,
	 .send_max = 262144},
	{.initiator = "Windows",
	 .steps = {{0, 1,
		    "InitiatorName=iqn.1991-05.com.microsoft:host|SessionType=Normal|"
		    "TargetName=" TARGET "|AuthMethod=None|",
		    "TargetPortalGroupTag=7|AuthMethod=None|"},
		   {1, 3,
		    "HeaderDigest=None,CRC32C|DataDigest=None,CRC32C|ErrorRecoveryLevel=2|"
		    "InitialR2T=No|ImmediateData=Yes|MaxRecvDataSegmentLength=262144|"
		    "MaxBurstLength=262144|FirstBurstLength=65536|MaxConnections=1|"
		    "DataPDUInOrder=Yes|DataSequenceInOrder=Yes|DefaultTime2Wait=0|"
		    "DefaultTime2Retain=60|MaxOutstandingR2T=16|",
		    "HeaderDigest=None|DataDigest=None|MaxConnections=1|ErrorRecoveryLevel=0|"
		    "InitialR2T=No|ImmediateData=Yes|MaxBurstLength=262144|FirstBurstLength=65536|"
		    "MaxOutstandingR2T=4|DefaultTime2Wait=0|DefaultTime2Retain=0|"
		    "DataPDUInOrder=Yes|DataSequenceInOrder=Yes|" OURS}},
	 .first_burst = 65536,
	 .max_burst = 262144,
	 .send_max = 262144},
	{.initiator = "one that says the least",
	 .steps = {{1, 3, NAMES, "TargetPortalGroupTag=7|" OURS}},
	 .initial_r2t = true,
	 .first_burst = 65536,
	 .max_burst = 262144,
	 .send_max = 8192},
	{.initiator = "one without an operational stage",
	 .steps = {{0, 3, NAMES, "TargetPortalGroupTag=7|"}},
	 .initial_r2t = true,
	 .first_burst = 65536,
	 .max_burst = 262144,
	 .send_max = 8192},
};

static void run_golden(const struct golden *golden)
{
	const struct login_result *result = login_result(&peer->login);

	for (const struct golden_step *step = golden->steps; step->text; step++) {
		send_text(step->csg, step->nsg, step->text);
		assert_answer(step->nsg, step->answer);
		cr_assert_eq(peer->response.csg, step->csg);
	}
	cr_assert_eq(peer->response.tsih, 0x4711);
	cr_assert_eq(peer->response.sns.exp_cmd_sn, 100);
	cr_assert_eq(peer->response.sns.max_cmd_sn, 107);
	cr_assert_eq(result->session_type, golden->discovery ? LOGIN_DISCOVERY : LOGIN_NORMAL);
	cr_assert_eq(peer->discovery_seen, golden->discovery);
	cr_assert_eq(result->target, peer);
	cr_assert_eq(result->portal_group_tag, 7);
	cr_assert_eq(result->cmd_sn, 100);
	cr_assert_eq(result->stat_sn, peer->stat_sn);
	cr_assert_eq(result->cid, 1);
	cr_assert_eq(result->tsih, 0);
	cr_assert_str_eq(result->target_name, golden->discovery ? "" : TARGET);
	cr_assert_str_eq(result->user_name, "");
	cr_assert_eq(result->params.initial_r2t, golden->initial_r2t);
	cr_assert_eq(result->params.first_burst_length, golden->first_burst);
	cr_assert_eq(result->params.max_burst_length, golden->max_burst);
	cr_assert_eq(result->params.max_send_data_segment_length, golden->send_max);
}

Test(iscsi_login, golden_sequences)
{
	for (unsigned i = 0; i < sizeof(goldens) / sizeof(goldens[0]); i++) {
		printf("%s\n", goldens[i].initiator);
		peer_begin();
		run_golden(&goldens[i]);
	}
}

Test(iscsi_login, alias_and_names_in_the_result)
{
	peer->target.alias = "the disk";
	send_text(1, 0, NAMES "InitiatorAlias=host %n|");
	assert_answer(0, "TargetPortalGroupTag=7|TargetAlias=the disk|" OURS);
	cr_assert_str_eq(login_result(&peer->login)->initiator_name,
			 "iqn.1993-08.org.debian:01:a1");
	cr_assert_str_eq(login_result(&peer->login)->initiator_alias, "host %n");
	send_text(1, 3, "");
	assert_answer(3, "");
}

Test(iscsi_login, digests_that_the_initiator_prefers)
{
	send_text(1, 3, NAMES "HeaderDigest=CRC32C,None|DataDigest=CRC32C,None|");
	assert_answer(3, "TargetPortalGroupTag=7|HeaderDigest=CRC32C|DataDigest=CRC32C|" OURS);
	cr_assert(login_result(&peer->login)->params.header_digest);
	cr_assert(login_result(&peer->login)->params.data_digest);
}

/*
 * Every way to be refused.
 */

struct refusal {
	const char *name;
	struct pdu_login_request with; /* On top of header(csg, nsg). */
	const char *text;
	enum pdu_login_status status;
};

#define LONG_NAME                                                                                 \
	"iqn.2026-11.io.ringsan:0123456789012345678901234567890123456789012345678901234567890123" \
	"45678901234567890123456789012345678901234567890123456789012345678901234567890123456789"  \
	"012345678901234567890123456789012345678901234567890123"

static const struct refusal refusals[] = {
	{"version", {.csg = 1, .version_min = 1}, NAMES, PDU_LOGIN_UNSUPPORTED_VERSION},
	{"stage 2", {.csg = 2}, NAMES, PDU_LOGIN_INITIATOR_ERROR},
	{"stage 3", {.csg = 3}, NAMES, PDU_LOGIN_INITIATOR_ERROR},
	{"back", {.csg = 1, .nsg = 0, .transit = true}, NAMES, PDU_LOGIN_INITIATOR_ERROR},
	{"to itself", {.csg = 1, .nsg = 1, .transit = true}, NAMES, PDU_LOGIN_INITIATOR_ERROR},
	{"to stage 2", {.csg = 1, .nsg = 2, .transit = true}, NAMES, PDU_LOGIN_INITIATOR_ERROR},
	{"T and C", {.nsg = 1, .transit = true, .cont = true}, NAMES, PDU_LOGIN_INITIATOR_ERROR},
	{"no text", {.csg = 1}, "", PDU_LOGIN_MISSING_PARAMETER},
	{"no InitiatorName", {.csg = 1}, "TargetName=" TARGET "|", PDU_LOGIN_MISSING_PARAMETER},
	{"no TargetName", {.csg = 1}, "InitiatorName=iqn.a|", PDU_LOGIN_MISSING_PARAMETER},
	{"empty InitiatorName",
	 {.csg = 1},
	 "InitiatorName=|TargetName=" TARGET "|",
	 PDU_LOGIN_INITIATOR_ERROR},
	{"long InitiatorName",
	 {.csg = 1},
	 "InitiatorName=" LONG_NAME "|TargetName=" TARGET "|",
	 PDU_LOGIN_INITIATOR_ERROR},
	{"blank in InitiatorName",
	 {.csg = 1},
	 "InitiatorName=iqn a|TargetName=" TARGET "|",
	 PDU_LOGIN_INITIATOR_ERROR},
	{"unknown target",
	 {.csg = 1},
	 "InitiatorName=iqn.a|TargetName=iqn.b|",
	 PDU_LOGIN_NOT_FOUND},
	{"long TargetName",
	 {.csg = 1},
	 "InitiatorName=iqn.a|TargetName=" LONG_NAME "|",
	 PDU_LOGIN_NOT_FOUND},
	{"session type",
	 {.csg = 1},
	 NAMES "SessionType=Festive|",
	 PDU_LOGIN_SESSION_TYPE_NOT_SUPPORTED},
	{"malformed text", {.csg = 1}, NAMES "InitialR2T|", PDU_LOGIN_INITIATOR_ERROR},
	{"text without end", {.csg = 1}, NAMES "InitialR2T=No", PDU_LOGIN_INITIATOR_ERROR},
	{"key twice", {.csg = 1}, NAMES "InitialR2T=No|InitialR2T=No|", PDU_LOGIN_INITIATOR_ERROR},
	{"operational key in security", {0}, NAMES "InitialR2T=No|", PDU_LOGIN_INITIATOR_ERROR},
	{"CHAP before AuthMethod", {0}, NAMES "CHAP_A=5|", PDU_LOGIN_INITIATOR_ERROR},
	{"only unknown methods",
	 {0},
	 NAMES "AuthMethod=KRB5,SRP|",
	 PDU_LOGIN_AUTHENTICATION_FAILURE},
	{"only CHAP where none is set up",
	 {0},
	 NAMES "AuthMethod=CHAP|",
	 PDU_LOGIN_AUTHENTICATION_FAILURE},
};

Test(iscsi_login, refusals_of_the_first_request)
{
	for (unsigned i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		const struct refusal *refusal = &refusals[i];
		struct pdu_login_request request = header(refusal->with.csg, refusal->with.nsg);

		printf("%s\n", refusal->name);
		peer_begin();
		request.transit = refusal->with.transit;
		request.cont = refusal->with.cont;
		request.version_min = refusal->with.version_min;
		request.exp_stat_sn = 0;
		send_with(&request, refusal->text, strlen(refusal->text));
		assert_refused(refusal->status);
		cr_assert_str_eq(peer->text, "");
	}
}

/* RFC 7143 4.2.7.1: 223 bytes and not one more. */
Test(iscsi_login, name_lengths)
{
	for (int len = LOGIN_NAME_BYTES_MAX; len <= (int)LOGIN_NAME_BYTES_MAX + 1; len++) {
		char text[512];

		peer_begin();
		(void)snprintf(text, sizeof(text), "InitiatorName=%.*s|TargetName=" TARGET "|", len,
			       LONG_NAME);
		send_text(1, 3, text);
		cr_assert_eq(peer->step,
			     len > (int)LOGIN_NAME_BYTES_MAX ? LOGIN_REFUSED : LOGIN_DONE);
	}
}

static const enum pdu_login_status policy_statuses[] = {
	PDU_LOGIN_AUTHORIZATION_FAILURE, PDU_LOGIN_NOT_FOUND,
	PDU_LOGIN_TARGET_REMOVED,        PDU_LOGIN_SESSION_TYPE_NOT_SUPPORTED,
	PDU_LOGIN_SERVICE_UNAVAILABLE,   PDU_LOGIN_OUT_OF_RESOURCES,
	PDU_LOGIN_TARGET_ERROR,          PDU_LOGIN_TOO_MANY_CONNECTIONS,
};

Test(iscsi_login, refusals_of_the_policy)
{
	for (unsigned i = 0; i < sizeof(policy_statuses) / sizeof(policy_statuses[0]); i++) {
		peer_begin();
		peer->find_status = policy_statuses[i];
		send_text(0, 1, NAMES "AuthMethod=None|");
		assert_refused(policy_statuses[i]);
	}
}

Test(iscsi_login, redirection_names_the_address)
{
	peer->find_status = PDU_LOGIN_MOVED_TEMPORARILY;
	peer->target.redirect_address = "[2001:db8::1]:3260,2";
	send_text(0, 1, NAMES "AuthMethod=None|");
	assert_refused(PDU_LOGIN_MOVED_TEMPORARILY);
	cr_assert_str_eq(peer->text, "TargetAddress=[2001:db8::1]:3260,2|");
}

static const enum pdu_login_status decisions[] = {
	PDU_LOGIN_TOO_MANY_CONNECTIONS,
	PDU_LOGIN_CANNOT_INCLUDE_IN_SESSION,
	PDU_LOGIN_SESSION_DOES_NOT_EXIST,
	PDU_LOGIN_OUT_OF_RESOURCES,
};

Test(iscsi_login, refusals_instead_of_admission)
{
	for (unsigned i = 0; i < sizeof(decisions) / sizeof(decisions[0]); i++) {
		struct pdu_login_request request = header(1, 3);
		uint8_t bhs[PDU_BHS_BYTES];
		size_t len = strlen(NAMES);

		peer_begin();
		request.tsih = 9;
		request.exp_stat_sn = 0;
		pdu_login_request_encode(&request, bhs);
		for (size_t at = 0; at < len; at++)
			peer->work[at] = NAMES[at] == '|' ? 0 : (uint8_t)NAMES[at];
		peer->itt = request.itt;
		cr_assert_eq(login_request(&peer->login, bhs, (uint32_t)len), LOGIN_DECIDE);
		cr_assert_eq(login_result(&peer->login)->tsih, 9);
		peer->step = login_refuse(&peer->login, decisions[i], "as the registry says");
		take_answer();
		assert_refused(decisions[i]);
		cr_assert_eq(peer->response.tsih, 9);
		cr_assert_str_eq(login_reason(&peer->login), "as the registry says");
	}
}

Test(iscsi_login, other_pdu_during_login)
{
	cr_assert(!login_has_begun(&peer->login));
	send_text(0, 0, NAMES "AuthMethod=None|");
	cr_assert(login_has_begun(&peer->login));
	peer->step = login_refuse(&peer->login, PDU_LOGIN_INVALID_DURING_LOGIN, "a NOP-Out");
	take_answer();
	assert_refused(PDU_LOGIN_INVALID_DURING_LOGIN);
}

struct change {
	const char *name;
	struct pdu_login_request with;
};

static const struct change changes[] = {
	{"ISID", {.isid = {1}}},
	{"TSIH", {.tsih = 1}},
	{"CID", {.cid = 1}},
	{"stage", {.csg = 1}},
};

Test(iscsi_login, later_requests_must_belong_to_the_first)
{
	for (unsigned i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		struct pdu_login_request request;

		peer_begin();
		send_text(0, 0, NAMES "AuthMethod=None|");
		request = header(0, 0);
		request.isid[0] ^= changes[i].with.isid[0];
		request.tsih ^= changes[i].with.tsih;
		request.cid ^= changes[i].with.cid;
		request.csg ^= changes[i].with.csg;
		send_with(&request, "", 0);
		assert_refused(PDU_LOGIN_INITIATOR_ERROR);
	}
}

/*
 * CHAP.
 */

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

Test(iscsi_login, chap_one_way)
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
Test(iscsi_login, chap_response_in_base64)
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

Test(iscsi_login, chap_failures)
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
Test(iscsi_login, unknown_name_and_wrong_secret_look_alike)
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

Test(iscsi_login, chap_response_of_any_length)
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

Test(iscsi_login, chap_mutual)
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

Test(iscsi_login, chap_reflection)
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

Test(iscsi_login, same_secret_in_both_directions)
{
	peer->target.chap_required = true;
	peer->mutual_secret = INITIATOR_SECRET;
	challenge_with("7");
	respond("alice", INITIATOR_SECRET, "CHAP_I=1|CHAP_C=0x0102030405060708|");
	assert_refused(PDU_LOGIN_AUTHENTICATION_FAILURE);
	cr_assert_str_eq(login_reason(&peer->login), "the same CHAP secret in both directions");
}

Test(iscsi_login, counter_challenge_lengths)
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

Test(iscsi_login, policy_forbids_algorithms)
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

Test(iscsi_login, no_randomness_no_challenge)
{
	peer->target.chap_required = true;
	peer->random_rc = -EIO;
	send_text(0, 1, NAMES "AuthMethod=CHAP|");
	send_text(0, 0, "CHAP_A=5|");
	assert_refused(PDU_LOGIN_TARGET_ERROR);
}

/* Ways around a required authentication. */
Test(iscsi_login, authentication_cannot_be_skipped)
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
	assert_answer(0, "");
	send_text(1, 3, "");
	assert_refused(PDU_LOGIN_INITIATOR_ERROR);
	peer_begin();
	challenge_with("5");
	send_text(0, 3, "");
	assert_answer(0, "");
	send_text(0, 3, "CHAP_A=5|");
	assert_refused(PDU_LOGIN_INITIATOR_ERROR);
	peer_begin();
	send_text(0, 0, "InitiatorName=iqn.a|SessionType=Discovery|AuthMethod=None|");
	assert_refused(PDU_LOGIN_AUTHENTICATION_FAILURE);
}

/*
 * C bits and bounds.
 */

Test(iscsi_login, text_in_pieces)
{
	static const char text[] = NAMES "HeaderDigest=None|InitialR2T=No|";

	for (size_t split = 0; split <= strlen(text); split++) {
		struct pdu_login_request first;
		struct pdu_login_request second;

		peer_begin();
		first = header(1, 0);
		first.cont = true;
		send_with(&first, text, split);
		assert_answer(0, "");
		second = header(1, 3);
		send_with(&second, text + split, strlen(text) - split);
		assert_answer(3, "TargetPortalGroupTag=7|HeaderDigest=None|InitialR2T=No|" OURS);
	}
}

Test(iscsi_login, text_over_limit)
{
	static char piece[LOGIN_LANDING_BYTES];
	struct pdu_login_request request = header(1, 0);
	unsigned pieces = 0;

	memset(piece, 'x', sizeof(piece));
	request.cont = true;
	do {
		send_with(&request, piece, sizeof(piece));
		pieces++;
	} while (peer->step == LOGIN_ANSWER && pieces < 100);
	assert_refused(PDU_LOGIN_INITIATOR_ERROR);
	cr_assert_eq(pieces, LOGIN_TEXT_BYTES / sizeof(piece) + 1);
}

Test(iscsi_login, requests_are_counted)
{
	unsigned requests = 1;

	send_text(1, 0, NAMES);
	while (peer->step == LOGIN_ANSWER && requests < 1000) {
		send_text(1, 0, "");
		requests++;
	}
	assert_refused(PDU_LOGIN_INITIATOR_ERROR);
	cr_assert_eq(requests, LOGIN_REQUESTS_MAX + 1);
}

/* 120 unknown keys of 60 bytes: the answer needs two responses, the transition waits for both. */
static void offer_long_text(void)
{
	static char text[LOGIN_LANDING_BYTES];
	size_t len = (size_t)sprintf(text, "%s", NAMES);

	for (unsigned i = 0; i < 120; i++)
		len += (size_t)sprintf(text + len, "K%059u=|", i);
	send_text(1, 3, text);
	cr_assert_eq(peer->step, LOGIN_ANSWER);
	cr_assert(peer->response.cont);
	cr_assert(!peer->response.transit);
	cr_assert_eq(peer->response.data_len_bytes, LOGIN_LANDING_BYTES);
}

Test(iscsi_login, answer_in_pieces)
{
	size_t len;

	offer_long_text();
	len = peer->response.data_len_bytes;
	send_text(1, 3, "");
	cr_assert_eq(peer->step, LOGIN_ANSWER);
	cr_assert(!peer->response.cont);
	len += peer->response.data_len_bytes;
	cr_assert_eq(len, strlen("TargetPortalGroupTag=7|") +
				  120 * (60 + strlen("=NotUnderstood|")) + strlen(OURS));
	cr_assert_not_null(strstr(peer->text, OURS));
	send_text(1, 3, "");
	assert_answer(3, "");
}

Test(iscsi_login, text_before_the_end_of_ours)
{
	offer_long_text();
	send_text(1, 3, "InitialR2T=No|");
	assert_refused(PDU_LOGIN_INITIATOR_ERROR);
}
