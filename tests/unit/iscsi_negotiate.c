/*
 * Negotiation of operational keys: every row's bounds and answers, combinations, refusals.
 */
#include "tests/unit/iscsi_negotiate_rig.h"

#include <stdio.h>

static struct iscsi_params params;

static void exchange_in(enum key_phase phase, const char *text, size_t len)
{
	exchange(phase, text, len);
	negotiate_params(&negotiation, &params);
}

#define EXCHANGE(text) exchange_in(KEY_IN_OPERATIONAL, text, sizeof(text))

struct key_case {
	const char *text;   /* One pair, without its NUL. */
	const char *answer; /* With newlines for NUL bytes. */
};

static const struct key_case cases[] = {
	{"HeaderDigest=None", "HeaderDigest=None\n"},
	{"HeaderDigest=CRC32C", "HeaderDigest=CRC32C\n"},
	{"HeaderDigest=CRC32C,None", "HeaderDigest=CRC32C\n"},
	{"HeaderDigest=None,CRC32C", "HeaderDigest=None\n"},
	{"DataDigest=X-md5,CRC32C", "DataDigest=CRC32C\n"},
	{"DataDigest=crc32c", "DataDigest=Reject\n"},
	{"DataDigest=", "DataDigest=Reject\n"},
	{"MaxConnections=1", "MaxConnections=1\n"},
	{"MaxConnections=65535", "MaxConnections=1\n"},
	{"MaxConnections=0", "MaxConnections=Reject\n"},
	{"MaxConnections=65536", "MaxConnections=Reject\n"},
	{"ErrorRecoveryLevel=0", "ErrorRecoveryLevel=0\n"},
	{"ErrorRecoveryLevel=2", "ErrorRecoveryLevel=0\n"},
	{"ErrorRecoveryLevel=3", "ErrorRecoveryLevel=Reject\n"},
	{"InitialR2T=Yes", "InitialR2T=Yes\n"},
	{"InitialR2T=No", "InitialR2T=No\n"},
	{"InitialR2T=no", "InitialR2T=Reject\n"},
	{"ImmediateData=Yes", "ImmediateData=Yes\n"},
	{"ImmediateData=No", "ImmediateData=No\n"},
	{"ImmediateData=1", "ImmediateData=Reject\n"},
	{"MaxRecvDataSegmentLength=512", ""},
	{"MaxRecvDataSegmentLength=16777215", ""},
	{"MaxRecvDataSegmentLength=511", "MaxRecvDataSegmentLength=Reject\n"},
	{"MaxRecvDataSegmentLength=16777216", "MaxRecvDataSegmentLength=Reject\n"},
	{"MaxBurstLength=512", "MaxBurstLength=512\n"},
	{"MaxBurstLength=16776192", "MaxBurstLength=262144\n"},
	{"MaxBurstLength=511", "MaxBurstLength=Reject\n"},
	{"MaxBurstLength=16777216", "MaxBurstLength=Reject\n"},
	{"FirstBurstLength=512", "FirstBurstLength=512\n"},
	{"FirstBurstLength=65536", "FirstBurstLength=65536\n"},
	{"FirstBurstLength=0x40000", "FirstBurstLength=65536\n"},
	{"FirstBurstLength=511", "FirstBurstLength=Reject\n"},
	{"MaxOutstandingR2T=1", "MaxOutstandingR2T=1\n"},
	{"MaxOutstandingR2T=65535", "MaxOutstandingR2T=4\n"},
	{"MaxOutstandingR2T=0", "MaxOutstandingR2T=Reject\n"},
	{"DefaultTime2Wait=0", "DefaultTime2Wait=0\n"},
	{"DefaultTime2Wait=3600", "DefaultTime2Wait=3600\n"},
	{"DefaultTime2Wait=3601", "DefaultTime2Wait=Reject\n"},
	{"DefaultTime2Retain=60", "DefaultTime2Retain=0\n"},
	{"DefaultTime2Retain=3601", "DefaultTime2Retain=Reject\n"},
	{"DataPDUInOrder=No", "DataPDUInOrder=Yes\n"},
	{"DataPDUInOrder=Yes", "DataPDUInOrder=Yes\n"},
	{"DataSequenceInOrder=No", "DataSequenceInOrder=Yes\n"},
	{"TaskReporting=FastAbort,ResponseFence,RFC3720", "TaskReporting=ResponseFence\n"},
	{"TaskReporting=FastAbort", "TaskReporting=Reject\n"},
	{"iSCSIProtocolLevel=1", "iSCSIProtocolLevel=1\n"},
	{"iSCSIProtocolLevel=2", "iSCSIProtocolLevel=2\n"},
	{"iSCSIProtocolLevel=31", "iSCSIProtocolLevel=2\n"},
	{"iSCSIProtocolLevel=0", "iSCSIProtocolLevel=0\n"},
	{"iSCSIProtocolLevel=32", "iSCSIProtocolLevel=Reject\n"},
	{"IFMarker=Yes", "IFMarker=No\n"},
	{"OFMarker=No", "OFMarker=No\n"},
	{"IFMarkInt=2048~8192", "IFMarkInt=Reject\n"},
	{"OFMarkInt=2048", "OFMarkInt=Reject\n"},
	{"X-com.example.speed=warp", "X-com.example.speed=NotUnderstood\n"},
	{"Colour=blue", "Colour=NotUnderstood\n"},
	{"Colour=NotUnderstood", ""},
	{"TargetAlias=NotUnderstood", ""},
	{"InitiatorAlias=host", ""},
	{"MaxBurstLength=Reject", ""},
};

Test(iscsi_negotiate, every_key)
{
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		begin();
		exchange_in(KEY_IN_OPERATIONAL, cases[i].text, strlen(cases[i].text) + 1);
		cr_assert_null(refusal, "%s: %s", cases[i].text, refusal);
		cr_assert_str_eq(answer_text, cases[i].answer, "%s is answered %s", cases[i].text,
				 answer_text);
	}
}

/* A value that was answered Reject leaves the default. */
Test(iscsi_negotiate, rejected_values_change_nothing)
{
	struct iscsi_params before;

	begin();
	negotiate_params(&negotiation, &before);
	EXCHANGE("MaxBurstLength=1\0InitialR2T=maybe\0MaxOutstandingR2T=9999999\0"
		 "MaxRecvDataSegmentLength=1\0HeaderDigest=md5\0DefaultTime2Wait=-1");
	cr_assert_null(refusal);
	cr_assert_eq(memcmp(&before, &params, sizeof(params)), 0);
}

Test(iscsi_negotiate, defaults_of_the_standard)
{
	negotiation_init(&negotiation, &negotiate_limits_default);
	negotiate_params(&negotiation, &params);
	cr_assert_eq(params.max_recv_data_segment_length, 8192);
	cr_assert_eq(params.max_send_data_segment_length, 8192);
	cr_assert_eq(params.max_burst_length, 262144);
	cr_assert_eq(params.first_burst_length, 65536);
	cr_assert_eq(params.max_outstanding_r2t, 1);
	cr_assert_eq(params.max_connections, 1);
	cr_assert_eq(params.default_time2wait_s, 2);
	cr_assert_eq(params.default_time2retain_s, 20);
	cr_assert_eq(params.error_recovery_level, 0);
	cr_assert_eq(params.protocol_level, 1);
	cr_assert(params.initial_r2t && params.immediate_data);
	cr_assert(params.data_pdu_in_order && params.data_sequence_in_order);
	cr_assert(!params.header_digest && !params.data_digest);
}

static const char *const words[] = {NULL, "No", "Yes"};

/* All nine combinations of offered, refused and absent; the default of both keys is Yes. */
Test(iscsi_negotiate, initial_r2t_and_immediate_data)
{
	for (unsigned r2t = 0; r2t < 3; r2t++) {
		for (unsigned immediate = 0; immediate < 3; immediate++) {
			char text[64] = "";
			size_t len = 0;

			begin();
			if (words[r2t])
				len += (size_t)sprintf(text, "InitialR2T=%s", words[r2t]) + 1;
			if (words[immediate])
				len += (size_t)sprintf(text + len, "ImmediateData=%s",
						       words[immediate]) +
				       1;
			exchange_in(KEY_IN_OPERATIONAL, text, len);
			cr_assert_null(refusal);
			cr_assert_eq(params.initial_r2t, r2t != 1);
			cr_assert_eq(params.immediate_data, immediate != 1);
		}
	}
}

/* RFC 7143 13.14: a first burst is part of a burst, whatever the order of the keys. */
Test(iscsi_negotiate, first_burst_within_burst)
{
	begin();
	EXCHANGE("FirstBurstLength=65536\0MaxBurstLength=8192");
	cr_assert_str_eq(answer_text, "MaxBurstLength=8192\nFirstBurstLength=8192\n");
	cr_assert_eq(params.first_burst_length, 8192);

	begin();
	EXCHANGE("FirstBurstLength=65536");
	EXCHANGE("MaxBurstLength=4096");
	cr_assert_eq(params.first_burst_length, 4096);
	cr_assert_eq(params.max_burst_length, 4096);
}

Test(iscsi_negotiate, limits_of_the_policy)
{
	const struct negotiate_limits limits = {
		.max_recv_data_segment_length = 65536,
		.max_burst_length = 1048576,
		.first_burst_length = 262144,
		.max_outstanding_r2t = 1,
		.default_time2wait_s = 5,
		.default_time2retain_s = 30,
		.header_digest = false,
		.data_digest = true,
	};

	negotiation_init(&negotiation, &limits);
	EXCHANGE("HeaderDigest=CRC32C,None\0DataDigest=CRC32C,None\0MaxBurstLength=16776192\0"
		 "FirstBurstLength=524288\0MaxOutstandingR2T=8\0DefaultTime2Wait=2\0"
		 "DefaultTime2Retain=20");
	cr_assert_str_eq(answer_text, "HeaderDigest=None\nDataDigest=CRC32C\n"
				      "MaxBurstLength=1048576\nFirstBurstLength=262144\n"
				      "MaxOutstandingR2T=1\nDefaultTime2Wait=5\n"
				      "DefaultTime2Retain=20\nMaxRecvDataSegmentLength=65536\n");
	cr_assert_eq(params.max_recv_data_segment_length, 65536);
	cr_assert(!params.header_digest && params.data_digest);
}

Test(iscsi_negotiate, our_length_is_declared_once)
{
	negotiation_init(&negotiation, &negotiate_limits_default);
	EXCHANGE("InitialR2T=No");
	cr_assert_str_eq(answer_text, "InitialR2T=No\nMaxRecvDataSegmentLength=262144\n");
	EXCHANGE("ImmediateData=No");
	cr_assert_str_eq(answer_text, "ImmediateData=No\n");
	negotiation_init(&negotiation, &negotiate_limits_default);
	exchange_in(KEY_IN_SECURITY, "InitiatorName=iqn.2026-11.io.ringsan:a", 39);
	cr_assert_str_eq(answer_text, "");
	cr_assert_eq(params.max_recv_data_segment_length, 8192);
}

static const struct key_case discovery[] = {
	{"InitialR2T=No", "InitialR2T=Irrelevant\n"},
	{"ImmediateData=No", "ImmediateData=Irrelevant\n"},
	{"MaxConnections=4", "MaxConnections=Irrelevant\n"},
	{"MaxBurstLength=4", "MaxBurstLength=Irrelevant\n"},
	{"FirstBurstLength=4", "FirstBurstLength=Irrelevant\n"},
	{"MaxOutstandingR2T=4", "MaxOutstandingR2T=Irrelevant\n"},
	{"DataPDUInOrder=No", "DataPDUInOrder=Irrelevant\n"},
	{"TaskReporting=FastAbort", "TaskReporting=Irrelevant\n"},
	{"iSCSIProtocolLevel=1", "iSCSIProtocolLevel=Irrelevant\n"},
	{"HeaderDigest=CRC32C", "HeaderDigest=CRC32C\n"},
	{"ErrorRecoveryLevel=1", "ErrorRecoveryLevel=0\n"},
	{"DefaultTime2Wait=1", "DefaultTime2Wait=1\n"},
};

Test(iscsi_negotiate, irrelevant_in_discovery)
{
	for (unsigned i = 0; i < sizeof(discovery) / sizeof(discovery[0]); i++) {
		begin();
		negotiation.discovery = true;
		exchange_in(KEY_IN_OPERATIONAL, discovery[i].text, strlen(discovery[i].text) + 1);
		cr_assert_null(refusal);
		cr_assert_str_eq(answer_text, discovery[i].answer);
	}
}

struct refusal_case {
	const char *name;
	enum key_phase phase;
	bool not_leading;
	const char *text;
	size_t len;
	const char *why;
};

#define TEXT(s) s, sizeof(s)

static const struct refusal_case refusals[] = {
	{"twice in one text", KEY_IN_OPERATIONAL, false, TEXT("InitialR2T=No\0InitialR2T=No"),
	 "key negotiated twice"},
	{"operational in security", KEY_IN_SECURITY, false, TEXT("InitialR2T=No"),
	 "key not allowed in this stage"},
	{"security in operational", KEY_IN_OPERATIONAL, false, TEXT("AuthMethod=None"),
	 "key not allowed in this stage"},
	{"CHAP in operational", KEY_IN_OPERATIONAL, false, TEXT("CHAP_A=5"),
	 "key not allowed in this stage"},
	{"SendTargets in login", KEY_IN_OPERATIONAL, false, TEXT("SendTargets=All"),
	 "key not allowed in this stage"},
	{"digest in full feature", KEY_IN_FULL_FEATURE, false, TEXT("HeaderDigest=None"),
	 "key not allowed in this stage"},
	{"a target's key", KEY_IN_OPERATIONAL, false, TEXT("TargetPortalGroupTag=1"),
	 "key that only a target may send"},
	{"a leading key later", KEY_IN_OPERATIONAL, true, TEXT("MaxConnections=2"),
	 "key allowed only on a session's first connection"},
	{"malformed", KEY_IN_OPERATIONAL, false, TEXT("InitialR2T"), "text without an equals sign"},
};

Test(iscsi_negotiate, refusals)
{
	for (unsigned i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		const struct refusal_case *c = &refusals[i];

		begin();
		negotiation.leading = !c->not_leading;
		exchange_in(c->phase, c->text, c->len);
		cr_assert_not_null(refusal, "%s", c->name);
		cr_assert_str_eq(refusal, c->why, "%s", c->name);
	}
	begin();
	EXCHANGE("InitialR2T=No");
	EXCHANGE("InitialR2T=No");
	cr_assert_str_eq(refusal, "key negotiated twice");
}

/* Each pair of two bytes and a NUL asks for one of 15: the count is what bounds the answer. */
Test(iscsi_negotiate, pairs_are_counted)
{
	char text[(NEGOTIATE_PAIRS_MAX + 1) * 3];

	for (unsigned i = 0; i <= NEGOTIATE_PAIRS_MAX; i++)
		memcpy(text + 3 * i, "a=", 3);
	begin();
	exchange_in(KEY_IN_OPERATIONAL, text, NEGOTIATE_PAIRS_MAX * 3);
	cr_assert_null(refusal);
	cr_assert_eq(strlen(answer_text), NEGOTIATE_PAIRS_MAX * strlen("a=NotUnderstood\n"));
	begin();
	exchange_in(KEY_IN_OPERATIONAL, text, sizeof(text));
	cr_assert_str_eq(refusal, "over 128 keys in one text");
}

Test(iscsi_negotiate, full_feature)
{
	begin();
	EXCHANGE("MaxRecvDataSegmentLength=4096\0InitialR2T=No");
	cr_assert_eq(params.max_send_data_segment_length, 4096);
	negotiation_restart(&negotiation);
	exchange_in(KEY_IN_FULL_FEATURE, "MaxRecvDataSegmentLength=65536\0SendTargets=All", 47);
	cr_assert_null(refusal);
	cr_assert_str_eq(answer_text, "");
	cr_assert_eq(params.max_send_data_segment_length, 65536);
	cr_assert_eq(params.initial_r2t, false);
}

/* Every row is there, is found by its name and by no other spelling, and is consistent. */
Test(iscsi_negotiate, table)
{
	for (unsigned key = 0; key < KEY_COUNT; key++) {
		const struct key_row *row = &key_table[key];

		cr_assert_not_null(row->name, "row %u", key);
		cr_assert_neq(row->type, KEY_TYPE_NONE, "%s", row->name);
		cr_assert_neq(row->phases, 0, "%s", row->name);
		cr_assert_neq(row->senders, 0, "%s", row->name);
		cr_assert_leq(strlen(row->name), TEXT_KEY_BYTES_MAX);
		cr_assert_eq(key_find(row->name, strlen(row->name)), key);
		cr_assert_eq(key_find(row->name, strlen(row->name) - 1), KEY_COUNT);
		if (row->type == KEY_LIST) {
			cr_assert_not_null(row->items[row->default_value]);
		} else if (row->type != KEY_TEXT && row->type != KEY_OBSOLETE) {
			cr_assert_leq(row->min, row->default_value, "%s", row->name);
			cr_assert_leq(row->default_value, row->max, "%s", row->name);
		}
	}
	cr_assert_eq(key_find("initiatorname", 13), KEY_COUNT);
	_Static_assert(KEY_COUNT <= 64, "the keys seen are bits of one word");
}
