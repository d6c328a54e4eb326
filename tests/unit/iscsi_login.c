/*
 * Logins: golden sequences of the initiators in use, every status, C bits, bounds.
 *
 * Read next: iscsi_login_chap.c.
 */
#include "tests/unit/iscsi_login_peer.h"

TestSuite(iscsi_login, .init = setup, .fini = teardown);

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
 * C bits and bounds.
 */

/* An initiator that says all it can, and sixteen keys of its own: one answer, without C bit. */
Test(iscsi_login, all_keys_in_one_request)
{
	static char text[LOGIN_LANDING_BYTES];
	size_t len = (size_t)sprintf(
		text, "%s",
		NAMES "SessionType=Normal|InitiatorAlias=host|HeaderDigest=CRC32C,None|"
		      "DataDigest=CRC32C,None|MaxConnections=8|ErrorRecoveryLevel=2|"
		      "InitialR2T=No|ImmediateData=Yes|MaxRecvDataSegmentLength=262144|"
		      "MaxBurstLength=16776192|FirstBurstLength=262144|MaxOutstandingR2T=16|"
		      "DefaultTime2Wait=2|DefaultTime2Retain=20|DataPDUInOrder=No|"
		      "DataSequenceInOrder=No|TaskReporting=FastAbort,RFC3720|"
		      "iSCSIProtocolLevel=2|IFMarker=Yes|OFMarker=Yes|IFMarkInt=2048|"
		      "OFMarkInt=2048|");

	for (unsigned i = 0; i < 16; i++)
		len += (size_t)sprintf(text + len, "X-com.example.%049u=x|", i);
	send_text(1, 3, text);
	cr_assert_eq(peer->step, LOGIN_DONE);
	cr_assert(peer->response.transit && !peer->response.cont);
	cr_assert_leq(peer->response.data_len_bytes, 4096);
}

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
