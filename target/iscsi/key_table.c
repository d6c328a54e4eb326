/*
 * The rows of keys.h: RFC 7143 chapter 13, CHAP from RFC 7143 12.1.3; RFC 7144 adds no key, but
 * level 2 of iSCSIProtocolLevel. Bounds and defaults are the RFC's; what we agree to within them is
 * negotiate.c's.
 *
 * Constant data, any thread. Read next: negotiate.c.
 */
#include "target/iscsi/keys.h"

#include <string.h>

/* clang-format off */
#define LENGTH_MAX 16777215u /* 2^24 - 1 */
#define TIME_MAX 3600u

/* Declarations of names: in whichever stage login begins. */
#define DECLARED(key, who, when) \
	{ .name = (key), .type = KEY_TEXT, .senders = (who), .phases = (when) }
#define CHAP(key) \
	{ .name = (key), .type = KEY_TEXT, .senders = KEY_BY_BOTH, .phases = KEY_IN_SECURITY }

const struct key_row key_table[KEY_COUNT] = {
	[KEY_SESSION_TYPE] = DECLARED("SessionType", KEY_BY_INITIATOR, KEY_IN_LOGIN),
	[KEY_INITIATOR_NAME] = DECLARED("InitiatorName", KEY_BY_INITIATOR, KEY_IN_LOGIN),
	[KEY_INITIATOR_ALIAS] = DECLARED("InitiatorAlias", KEY_BY_INITIATOR,
					 KEY_IN_LOGIN | KEY_IN_FULL_FEATURE),
	[KEY_TARGET_NAME] = DECLARED("TargetName", KEY_BY_BOTH, KEY_IN_LOGIN),
	[KEY_TARGET_ALIAS] = DECLARED("TargetAlias", KEY_BY_TARGET,
				      KEY_IN_LOGIN | KEY_IN_FULL_FEATURE),
	[KEY_TARGET_ADDRESS] = DECLARED("TargetAddress", KEY_BY_TARGET,
					KEY_IN_LOGIN | KEY_IN_FULL_FEATURE),
	[KEY_TARGET_PORTAL_GROUP_TAG] = DECLARED("TargetPortalGroupTag", KEY_BY_TARGET,
						 KEY_IN_LOGIN),
	[KEY_AUTH_METHOD] = {
		.name = "AuthMethod", .type = KEY_TEXT, .senders = KEY_BY_BOTH,
		.phases = KEY_IN_SECURITY,
	},
	[KEY_CHAP_A] = CHAP("CHAP_A"),
	[KEY_CHAP_N] = CHAP("CHAP_N"),
	[KEY_CHAP_R] = CHAP("CHAP_R"),
	[KEY_CHAP_I] = CHAP("CHAP_I"),
	[KEY_CHAP_C] = CHAP("CHAP_C"),
	[KEY_HEADER_DIGEST] = {
		.name = "HeaderDigest", .type = KEY_LIST, .senders = KEY_BY_BOTH,
		.phases = KEY_IN_OPERATIONAL, .items = { "None", "CRC32C" },
	},
	[KEY_DATA_DIGEST] = {
		.name = "DataDigest", .type = KEY_LIST, .senders = KEY_BY_BOTH,
		.phases = KEY_IN_OPERATIONAL, .items = { "None", "CRC32C" },
	},
	[KEY_MAX_CONNECTIONS] = {
		.name = "MaxConnections", .type = KEY_NUMBER_MIN, .senders = KEY_BY_BOTH,
		.phases = KEY_IN_OPERATIONAL, .irrelevant_in_discovery = true,
		.leading_only = true, .min = 1, .max = 65535, .default_value = 1,
	},
	[KEY_ERROR_RECOVERY_LEVEL] = {
		.name = "ErrorRecoveryLevel", .type = KEY_NUMBER_MIN, .senders = KEY_BY_BOTH,
		.phases = KEY_IN_OPERATIONAL, .leading_only = true,
		.min = 0, .max = 2, .default_value = 0,
	},
	[KEY_INITIAL_R2T] = {
		.name = "InitialR2T", .type = KEY_BOOLEAN_OR, .senders = KEY_BY_BOTH,
		.phases = KEY_IN_OPERATIONAL, .irrelevant_in_discovery = true,
		.leading_only = true, .max = 1, .default_value = 1,
	},
	[KEY_IMMEDIATE_DATA] = {
		.name = "ImmediateData", .type = KEY_BOOLEAN_AND, .senders = KEY_BY_BOTH,
		.phases = KEY_IN_OPERATIONAL, .irrelevant_in_discovery = true,
		.leading_only = true, .max = 1, .default_value = 1,
	},
	[KEY_MAX_RECV_DATA_SEGMENT_LENGTH] = {
		.name = "MaxRecvDataSegmentLength", .type = KEY_NUMBER, .senders = KEY_BY_BOTH,
		.phases = KEY_IN_OPERATIONAL | KEY_IN_FULL_FEATURE,
		.min = 512, .max = LENGTH_MAX, .default_value = 8192,
	},
	[KEY_MAX_BURST_LENGTH] = {
		.name = "MaxBurstLength", .type = KEY_NUMBER_MIN, .senders = KEY_BY_BOTH,
		.phases = KEY_IN_OPERATIONAL, .irrelevant_in_discovery = true,
		.leading_only = true, .min = 512, .max = LENGTH_MAX, .default_value = 262144,
	},
	[KEY_FIRST_BURST_LENGTH] = {
		.name = "FirstBurstLength", .type = KEY_NUMBER_MIN, .senders = KEY_BY_BOTH,
		.phases = KEY_IN_OPERATIONAL, .irrelevant_in_discovery = true,
		.leading_only = true, .min = 512, .max = LENGTH_MAX, .default_value = 65536,
	},
	[KEY_MAX_OUTSTANDING_R2T] = {
		.name = "MaxOutstandingR2T", .type = KEY_NUMBER_MIN, .senders = KEY_BY_BOTH,
		.phases = KEY_IN_OPERATIONAL, .irrelevant_in_discovery = true,
		.leading_only = true, .min = 1, .max = 65535, .default_value = 1,
	},
	[KEY_DEFAULT_TIME2WAIT] = {
		.name = "DefaultTime2Wait", .type = KEY_NUMBER_MAX, .senders = KEY_BY_BOTH,
		.phases = KEY_IN_OPERATIONAL, .leading_only = true,
		.min = 0, .max = TIME_MAX, .default_value = 2,
	},
	[KEY_DEFAULT_TIME2RETAIN] = {
		.name = "DefaultTime2Retain", .type = KEY_NUMBER_MIN, .senders = KEY_BY_BOTH,
		.phases = KEY_IN_OPERATIONAL, .leading_only = true,
		.min = 0, .max = TIME_MAX, .default_value = 20,
	},
	[KEY_DATA_PDU_IN_ORDER] = {
		.name = "DataPDUInOrder", .type = KEY_BOOLEAN_OR, .senders = KEY_BY_BOTH,
		.phases = KEY_IN_OPERATIONAL, .irrelevant_in_discovery = true,
		.leading_only = true, .max = 1, .default_value = 1,
	},
	[KEY_DATA_SEQUENCE_IN_ORDER] = {
		.name = "DataSequenceInOrder", .type = KEY_BOOLEAN_OR, .senders = KEY_BY_BOTH,
		.phases = KEY_IN_OPERATIONAL, .irrelevant_in_discovery = true,
		.leading_only = true, .max = 1, .default_value = 1,
	},
	[KEY_TASK_REPORTING] = {
		.name = "TaskReporting", .type = KEY_LIST, .senders = KEY_BY_BOTH,
		.phases = KEY_IN_OPERATIONAL, .irrelevant_in_discovery = true,
		.leading_only = true, .items = { "RFC3720", "ResponseFence", "FastAbort" },
	},
	[KEY_PROTOCOL_LEVEL] = {
		.name = "iSCSIProtocolLevel", .type = KEY_NUMBER_MIN, .senders = KEY_BY_BOTH,
		.phases = KEY_IN_OPERATIONAL, .irrelevant_in_discovery = true,
		.leading_only = true, .min = 0, .max = 31, .default_value = 1,
	},
	[KEY_IF_MARKER] = {
		.name = "IFMarker", .type = KEY_BOOLEAN_AND, .senders = KEY_BY_BOTH,
		.phases = KEY_IN_OPERATIONAL, .max = 1,
	},
	[KEY_OF_MARKER] = {
		.name = "OFMarker", .type = KEY_BOOLEAN_AND, .senders = KEY_BY_BOTH,
		.phases = KEY_IN_OPERATIONAL, .max = 1,
	},
	[KEY_IF_MARK_INT] = {
		.name = "IFMarkInt", .type = KEY_OBSOLETE, .senders = KEY_BY_BOTH,
		.phases = KEY_IN_OPERATIONAL,
	},
	[KEY_OF_MARK_INT] = {
		.name = "OFMarkInt", .type = KEY_OBSOLETE, .senders = KEY_BY_BOTH,
		.phases = KEY_IN_OPERATIONAL,
	},
	[KEY_SEND_TARGETS] = DECLARED("SendTargets", KEY_BY_INITIATOR, KEY_IN_FULL_FEATURE),
};
/* clang-format on */

enum key_id key_find(const char *name, size_t len_bytes)
{
	for (unsigned key = 0; key < KEY_COUNT; key++) {
		const char *row_name = key_table[key].name;

		if (strlen(row_name) == len_bytes && memcmp(row_name, name, len_bytes) == 0)
			return (enum key_id)key;
	}
	return KEY_COUNT;
}
