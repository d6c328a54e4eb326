/*
 * The table of text keys: RFC 7143 chapter 13, one row a key.
 *
 * A row is policy as data: what kind of value, its bounds and default, in which phase and by whom
 * it may be sent, when it means nothing. The functions that act on rows are in negotiate.c; what to
 * do with the values of names and of CHAP is login's. A new key is a new enum value and a row.
 *
 * Threads: constant data. Read next: key_table.c, negotiate.h.
 */
#ifndef TARGET_ISCSI_KEYS_H
#define TARGET_ISCSI_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Keys are acted upon in this order, whatever their order in the text. */
enum key_id {
	KEY_SESSION_TYPE,
	KEY_INITIATOR_NAME,
	KEY_INITIATOR_ALIAS,
	KEY_TARGET_NAME,
	KEY_TARGET_ALIAS,
	KEY_TARGET_ADDRESS,
	KEY_TARGET_PORTAL_GROUP_TAG,
	KEY_AUTH_METHOD,
	KEY_CHAP_A,
	KEY_CHAP_N,
	KEY_CHAP_R,
	KEY_CHAP_I,
	KEY_CHAP_C,
	KEY_HEADER_DIGEST,
	KEY_DATA_DIGEST,
	KEY_MAX_CONNECTIONS,
	KEY_ERROR_RECOVERY_LEVEL,
	KEY_INITIAL_R2T,
	KEY_IMMEDIATE_DATA,
	KEY_MAX_RECV_DATA_SEGMENT_LENGTH,
	KEY_MAX_BURST_LENGTH,
	KEY_FIRST_BURST_LENGTH, /* After MaxBurstLength, which bounds it. */
	KEY_MAX_OUTSTANDING_R2T,
	KEY_DEFAULT_TIME2WAIT,
	KEY_DEFAULT_TIME2RETAIN,
	KEY_DATA_PDU_IN_ORDER,
	KEY_DATA_SEQUENCE_IN_ORDER,
	KEY_TASK_REPORTING,
	KEY_PROTOCOL_LEVEL,
	KEY_IF_MARKER,
	KEY_OF_MARKER,
	KEY_IF_MARK_INT,
	KEY_OF_MARK_INT,
	KEY_SEND_TARGETS,
	KEY_COUNT
};

enum key_type {
	KEY_TYPE_NONE, /* An absent row. */
	KEY_TEXT, /* A declaration, or CHAP: the value is login's to judge, no automatic answer. */
	KEY_NUMBER,     /* A declaration of a number. */
	KEY_NUMBER_MIN, /* Negotiated: the smaller of both wins. */
	KEY_NUMBER_MAX,
	KEY_BOOLEAN_AND,
	KEY_BOOLEAN_OR,
	KEY_LIST,     /* The first offered element that we allow. */
	KEY_OBSOLETE, /* Always answered Reject, RFC 7143 13.25. */
};

enum key_phase {
	KEY_IN_SECURITY = 1 << 0,
	KEY_IN_OPERATIONAL = 1 << 1,
	KEY_IN_FULL_FEATURE = 1 << 2,
	KEY_IN_LOGIN = KEY_IN_SECURITY | KEY_IN_OPERATIONAL,
};

enum key_sender {
	KEY_BY_INITIATOR = 1 << 0,
	KEY_BY_TARGET = 1 << 1,
	KEY_BY_BOTH = KEY_BY_INITIATOR | KEY_BY_TARGET,
};

/* Elements of a list key, as bits of what we allow. */
#define KEY_LIST_ITEMS_MAX 4u

struct key_row {
	const char *name;
	enum key_type type;
	uint8_t phases;               /* enum key_phase bits */
	uint8_t senders;              /* enum key_sender bits */
	bool irrelevant_in_discovery; /* Answered Irrelevant in a discovery session. */
	bool leading_only;            /* Only on the first connection of a session. */
	uint32_t min;                 /* Of numbers, both inclusive. */
	uint32_t max;
	uint32_t default_value;                /* Number; 0 or 1 of a boolean; index of a list. */
	const char *items[KEY_LIST_ITEMS_MAX]; /* Of a list, ended by NULL unless full. */
};

extern const struct key_row key_table[KEY_COUNT];

/* The key of that name, or KEY_COUNT. `name` need not be NUL-terminated. Case counts. */
enum key_id key_find(const char *name, size_t len_bytes);

#endif
