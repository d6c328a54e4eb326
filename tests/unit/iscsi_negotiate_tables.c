/*
 * Negotiation by tables that repeat none of ours: which key may come when, each value at and beyond
 * its bounds, lists of all shapes, words that are no offers, and all keys at once in any order.
 *
 * Clauses: RFC 7143 6.1, 6.2 and chapter 13; RFC 7144 7.1.1. Read next: iscsi_negotiate.c.
 */
#include "tests/unit/iscsi_negotiate_rig.h"

#include <inttypes.h>
#include <stdio.h>

static void offer(enum key_phase phase, const char *key, const char *value)
{
	static char text[TEXT_KEY_BYTES_MAX + TEXT_VALUE_BYTES_MAX + 3];
	int len = snprintf(text, sizeof(text), "%s=%s", key, value);

	exchange(phase, text, (size_t)len + 1);
}

static void assert_answer(const char *key, const char *value, const char *expected)
{
	char line[256] = "";

	cr_assert_null(refusal, "%s=%s: %s", key, value, refusal);
	if (expected)
		(void)snprintf(line, sizeof(line), "%s=%s\n", key, expected);
	cr_assert_str_eq(answer_text, line, "%s=%.60s is answered %s", key, value, answer_text);
}

/*
 * When.
 */

struct admitted {
	const char *key;
	const char *value;
	/* s: security stage, o: operational stage, f: full feature phase; l: leading connection
	 * only. */
	const char *when;
};

static const struct admitted admitted[] = {
	{"SessionType", "Normal", "so"},
	{"InitiatorName", "iqn.a", "so"},
	{"InitiatorAlias", "a", "sof"},
	{"TargetName", "iqn.b", "so"},
	{"TargetAlias", "a", ""},
	{"TargetAddress", "127.0.0.1:3260,1", ""},
	{"TargetPortalGroupTag", "1", ""},
	{"AuthMethod", "None", "s"},
	{"CHAP_A", "5", "s"},
	{"CHAP_N", "alice", "s"},
	{"CHAP_R", "0x00", "s"},
	{"CHAP_I", "1", "s"},
	{"CHAP_C", "0x00", "s"},
	{"HeaderDigest", "None", "o"},
	{"DataDigest", "None", "o"},
	{"MaxConnections", "1", "ol"},
	{"ErrorRecoveryLevel", "0", "ol"},
	{"InitialR2T", "Yes", "ol"},
	{"ImmediateData", "Yes", "ol"},
	{"MaxRecvDataSegmentLength", "512", "of"},
	{"MaxBurstLength", "512", "ol"},
	{"FirstBurstLength", "512", "ol"},
	{"MaxOutstandingR2T", "1", "ol"},
	{"DefaultTime2Wait", "0", "ol"},
	{"DefaultTime2Retain", "0", "ol"},
	{"DataPDUInOrder", "Yes", "ol"},
	{"DataSequenceInOrder", "Yes", "ol"},
	{"TaskReporting", "RFC3720", "ol"},
	{"iSCSIProtocolLevel", "1", "ol"},
	{"IFMarker", "No", "o"},
	{"OFMarker", "No", "o"},
	{"IFMarkInt", "2048", "o"},
	{"OFMarkInt", "2048", "o"},
	{"SendTargets", "All", "f"},
	{"X-com.example.unknown", "1", "sof"},
};

static const struct {
	enum key_phase phase;
	char letter;
} phases[] = {
	{KEY_IN_SECURITY, 's'},
	{KEY_IN_OPERATIONAL, 'o'},
	{KEY_IN_FULL_FEATURE, 'f'},
};

Test(iscsi_negotiate_tables, every_key_in_every_phase)
{
	cr_assert_eq(ARRAY_SIZE(admitted), KEY_COUNT + 1u,
		     "a row for each key, and an unknown one");
	for (unsigned i = 0; i < 2 * 3 * ARRAY_SIZE(admitted); i++) {
		const struct admitted *row = &admitted[i / 6];
		unsigned phase = i / 2 % 3;
		bool leading = i % 2 == 0;
		bool expected = strchr(row->when, phases[phase].letter) &&
				(leading || !strchr(row->when, 'l'));

		begin();
		negotiation.leading = leading;
		offer(phases[phase].phase, row->key, row->value);
		cr_assert_eq(refusal == NULL, expected, "%s in %c: %s", row->key,
			     phases[phase].letter, refusal ? refusal : "admitted");
	}
}

/* Twice in one text and in two; where a new exchange begins, it may come again. */
Test(iscsi_negotiate_tables, every_key_twice)
{
	char text[256];

	for (unsigned i = 0; i < ARRAY_SIZE(admitted) - 1; i++) {
		const struct admitted *row = &admitted[i];

		for (unsigned p = 0; p < 3; p++) {
			if (!strchr(row->when, phases[p].letter))
				continue;
			int len = snprintf(text, sizeof(text), "%s=%s", row->key, row->value);

			memcpy(text + len + 1, text, (size_t)len + 1);
			begin();
			exchange(phases[p].phase, text, 2 * ((size_t)len + 1));
			cr_assert_str_eq(refusal, "key negotiated twice", "%s", row->key);
			begin();
			offer(phases[p].phase, row->key, row->value);
			cr_assert_null(refusal);
			offer(phases[p].phase, row->key, row->value);
			cr_assert_str_eq(refusal, "key negotiated twice", "%s", row->key);
			negotiation_restart(&negotiation);
			offer(phases[p].phase, row->key, row->value);
			cr_assert_null(refusal);
		}
	}
}

/* RFC 7143 6.1: they answer offers of ours, and we make none: nothing is said, nothing changes. */
Test(iscsi_negotiate_tables, answer_words)
{
	static const char *const words[] = {"NotUnderstood", "Irrelevant", "Reject"};
	struct iscsi_params before, after;

	begin();
	negotiate_params(&negotiation, &before);
	for (unsigned i = 0; i < 9 * ARRAY_SIZE(admitted); i++) {
		begin();
		offer(phases[i % 3].phase, admitted[i / 9].key, words[i / 3 % 3]);
		assert_answer(admitted[i / 9].key, words[i / 3 % 3], NULL);
		negotiate_params(&negotiation, &after);
		cr_assert_eq(memcmp(&before, &after, sizeof(after)), 0);
	}
}

/*
 * Values.
 */

struct numeric {
	const char *key;
	uint32_t min, max;
	uint32_t least, most; /* What may be the outcome: ours and theirs together. */
	bool declares;        /* Has no answer. */
};

static const struct numeric numerics[] = {
	{"MaxConnections", 1, 65535, 1, 1, false},
	{"ErrorRecoveryLevel", 0, 2, 0, 0, false},
	{"MaxRecvDataSegmentLength", 512, 16777215, 0, 0, true},
	{"MaxBurstLength", 512, 16777215, 512, 262144, false},
	{"FirstBurstLength", 512, 16777215, 512, 65536, false},
	{"MaxOutstandingR2T", 1, 65535, 1, 4, false},
	{"DefaultTime2Wait", 0, 3600, 0, 3600, false},
	{"DefaultTime2Retain", 0, 3600, 0, 0, false},
	{"iSCSIProtocolLevel", 0, 31, 0, 2, false},
};

static void assert_number(const struct numeric *row, const char *value, uint32_t outcome)
{
	char expected[16];

	begin();
	offer(KEY_IN_OPERATIONAL, row->key, value);
	(void)snprintf(expected, sizeof(expected), "%" PRIu32, outcome);
	assert_answer(row->key, value, row->declares ? NULL : expected);
}

static void assert_rejected(const char *key, const char *value)
{
	struct iscsi_params before, after;

	begin();
	negotiate_params(&negotiation, &before);
	offer(KEY_IN_OPERATIONAL, key, value);
	assert_answer(key, value, "Reject");
	negotiate_params(&negotiation, &after);
	cr_assert_eq(memcmp(&before, &after, sizeof(after)), 0, "%s=%s", key, value);
}

/* Long integers keep their high bits: 2^32 and more are no small numbers (6.1). */
static void assert_beyond(const struct numeric *row)
{
	const uint64_t beyond[] = {row->max + UINT64_C(1), (UINT64_C(1) << 32) + row->min,
				   (UINT64_C(1) << 63) + row->max, UINT64_MAX,
				   row->min - UINT64_C(1)};
	char value[64];

	for (unsigned i = 0; i < ARRAY_SIZE(beyond); i++) {
		(void)snprintf(value, sizeof(value), "%" PRIu64, beyond[i]);
		assert_rejected(row->key, value);
		(void)snprintf(value, sizeof(value), "0x%" PRIx64, beyond[i]);
		assert_rejected(row->key, value);
		(void)snprintf(value, sizeof(value), "000%" PRIu64, beyond[i]);
		assert_rejected(row->key, value);
	}
}

Test(iscsi_negotiate_tables, numbers)
{
	static const char *const malformed[] = {"",
						"0x",
						"-1",
						"+1",
						" 1",
						"1 ",
						"1,2",
						"1~2",
						"1.0",
						"1e3",
						"x10",
						"0b1",
						"Yes",
						"18446744073709551616",
						"0x10000000000000001",
						"340282366920938463463374607431768211457"};
	char value[64];

	for (unsigned i = 0; i < ARRAY_SIZE(numerics); i++) {
		const struct numeric *row = &numerics[i];

		(void)snprintf(value, sizeof(value), "%" PRIu32, row->min);
		assert_number(row, value, row->least);
		(void)snprintf(value, sizeof(value), "0X%" PRIX32, row->min);
		assert_number(row, value, row->least);
		(void)snprintf(value, sizeof(value), "%" PRIu32, row->max);
		assert_number(row, value, row->most);
		(void)snprintf(value, sizeof(value), "0x00000000000000000000%" PRIx32, row->max);
		assert_number(row, value, row->most);
		assert_beyond(row);
		for (unsigned j = 0; j < ARRAY_SIZE(malformed); j++)
			assert_rejected(row->key, malformed[j]);
	}
}

Test(iscsi_negotiate_tables, booleans)
{
	static const char *const keys[] = {"InitialR2T",          "ImmediateData", "DataPDUInOrder",
					   "DataSequenceInOrder", "IFMarker",      "OFMarker"};
	static const char *const malformed[] = {"",       "yes",  "NO",  "Y",    "1",   "0",
						"Yes,No", "Yes ", " No", "true", "None"};

	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
		for (unsigned j = 0; j < ARRAY_SIZE(malformed); j++)
			assert_rejected(keys[i], malformed[j]);
	}
}

struct list_case {
	const char *key;
	const char *value;
	const char *answer;
};

static const struct list_case lists[] = {
	{"HeaderDigest", "", "Reject"},
	{"HeaderDigest", ",", "Reject"},
	{"HeaderDigest", "none", "Reject"},
	{"HeaderDigest", "None;CRC32C", "Reject"},
	{"HeaderDigest", " None", "Reject"},
	{"HeaderDigest", "NoneCRC32C", "Reject"},
	{"HeaderDigest", "Non", "Reject"},
	{"HeaderDigest", "CRC32", "Reject"},
	{"HeaderDigest", "None,", "None"},
	{"HeaderDigest", ",None", "None"},
	{"HeaderDigest", ",,,CRC32C,,None", "CRC32C"},
	{"HeaderDigest", "CRC32C,CRC32C", "CRC32C"},
	{"HeaderDigest", "CRC32C ,None", "None"},
	{"DataDigest", "CRC32C,None", "CRC32C"},
	{"DataDigest", "None,CRC32C", "None"},
	{"DataDigest", "Reject,None", "None"},
	{"TaskReporting", "RFC3720", "RFC3720"},
	{"TaskReporting", "ResponseFence,RFC3720", "ResponseFence"},
	{"TaskReporting", "RFC3720,ResponseFence", "RFC3720"},
	{"TaskReporting", "FastAbort,ResponseFence", "ResponseFence"},
	{"TaskReporting", "FastAbort", "Reject"},
	{"TaskReporting", "ResponseFence", "ResponseFence"},
	{"TaskReporting", "rfc3720", "Reject"},
};

Test(iscsi_negotiate_tables, lists)
{
	for (unsigned i = 0; i < ARRAY_SIZE(lists); i++) {
		begin();
		offer(KEY_IN_OPERATIONAL, lists[i].key, lists[i].value);
		assert_answer(lists[i].key, lists[i].value, lists[i].answer);
	}
}

/* The right item behind one of any length, up to the longest value. */
Test(iscsi_negotiate_tables, long_lists)
{
	static const size_t lengths[] = {1, 62, 63, 64, 254, 255, 256, 4096, 8192 - 5};
	static char value[TEXT_VALUE_BYTES_MAX + 2];

	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
		memset(value, 'x', lengths[i]);
		(void)snprintf(value + lengths[i], 6, ",None");
		begin();
		offer(KEY_IN_OPERATIONAL, "DataDigest", value);
		assert_answer("DataDigest", value, "None");
	}
	memset(value, 'x', TEXT_VALUE_BYTES_MAX + 1);
	begin();
	offer(KEY_IN_OPERATIONAL, "DataDigest", value);
	cr_assert_str_eq(refusal, "value over 8192 bytes");
}

/*
 * All at once.
 */

static uint32_t random_state = 7143;

static uint32_t random_below(uint32_t bound)
{
	random_state = random_state * 1664525u + 1013904223u;
	return (random_state >> 8) % bound;
}

/* All that is admitted in the operational stage, in a random order; returns its length. */
static size_t put_all(char *out)
{
	unsigned order[ARRAY_SIZE(admitted)];
	unsigned count = 0;
	size_t len = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(admitted); i++) {
		if (strchr(admitted[i].when, 'o'))
			order[count++] = i;
	}
	for (unsigned i = count; i > 1; i--) {
		unsigned other = random_below(i);
		unsigned swapped = order[i - 1];

		order[i - 1] = order[other];
		order[other] = swapped;
	}
	for (unsigned i = 0; i < count; i++) {
		const struct admitted *row = &admitted[order[i]];

		len += (size_t)sprintf(out + len, "%s=%s", row->key, row->value) + 1;
	}
	return len;
}

static void assert_order_does_not_matter(bool discovery)
{
	static char text[8192], first[sizeof(answer_text)];
	struct iscsi_params before = {0}, params;

	for (unsigned turn = 0; turn < 300; turn++) {
		size_t len = put_all(text);

		begin();
		negotiation.declared = false;
		negotiation.discovery = discovery;
		exchange(KEY_IN_OPERATIONAL, text, len);
		cr_assert_null(refusal);
		negotiate_params(&negotiation, &params);
		if (turn == 0) {
			(void)strcpy(first, answer_text);
			before = params;
		}
		cr_assert_str_eq(answer_text, first);
		cr_assert_eq(memcmp(&before, &params, sizeof(params)), 0);
	}
	cr_assert_lt(strlen(first), 4096u, "%zu bytes", strlen(first));
}

Test(iscsi_negotiate_tables, order_does_not_matter)
{
	assert_order_does_not_matter(false);
	assert_order_does_not_matter(true);
}
