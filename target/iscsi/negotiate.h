/*
 * Negotiation of operational text keys, by the rows of keys.h.
 *
 * It is the responder's side: the initiator offers or declares, we answer. It knows nothing of
 * stages, names and authentication (login.h), nor of PDUs. The outcome is struct iscsi_params.
 *
 * Threads: a negotiation belongs to its connection's loop. Read next: negotiate.c, key_table.c.
 */
#ifndef TARGET_ISCSI_NEGOTIATE_H
#define TARGET_ISCSI_NEGOTIATE_H

#include "base/attr.h"
#include "target/iscsi/keys.h"
#include "target/iscsi/pdu_codes.h"
#include "target/iscsi/text.h"

/* Pairs in one text, so that answers stay bounded: each costs at most 63 + 1 + 13 + 1 bytes. */
#define NEGOTIATE_PAIRS_MAX 128u

/* What a connection works with once login is over. Names as in RFC 7143 chapter 13. */
struct iscsi_params {
	uint32_t max_recv_data_segment_length; /* Ours, declared: what the initiator may send. */
	uint32_t max_send_data_segment_length; /* The initiator's, declared: what we may send. */
	uint32_t max_burst_length;
	uint32_t first_burst_length; /* Never above max_burst_length. */
	uint32_t max_outstanding_r2t;
	uint32_t max_connections;
	uint32_t default_time2wait_s;
	uint32_t default_time2retain_s;
	uint32_t error_recovery_level;
	uint32_t protocol_level; /* iSCSIProtocolLevel, RFC 7143 13.24: 2 is RFC 7144. */
	bool header_digest;      /* CRC32C, else none. */
	bool data_digest;
	bool initial_r2t;
	bool immediate_data;
	bool data_pdu_in_order;
	bool data_sequence_in_order;
};

/*
 * What we are willing to agree to. A burst limit may not be below the RFC's default (64 KiB and 256
 * KiB): the default holds when the initiator does not offer the key.
 */
struct negotiate_limits {
	uint32_t max_recv_data_segment_length; /* 512 .. 2^24 - 1 */
	uint32_t max_burst_length;
	uint32_t first_burst_length;
	uint32_t max_outstanding_r2t; /* 1 .. 65535 */
	uint32_t default_time2wait_s; /* At least this many; 0 .. 3600 */
	uint32_t default_time2retain_s;
	bool header_digest; /* Agree to CRC32C if the initiator prefers it. */
	bool data_digest;
};

/* DESIGN.md 5: 256 KiB segments, first burst 64 KiB, bursts of 256 KiB, four R2Ts, both digests. */
extern const struct negotiate_limits negotiate_limits_default;

/* Private to negotiate.c, embedded by login and by a session's text handling. */
struct negotiation {
	uint32_t ours[KEY_COUNT];   /* Limit, boolean, or bits of allowed list elements. */
	uint32_t result[KEY_COUNT]; /* Agreed or default. */
	uint64_t seen;              /* Keys that came in this negotiation, as bits. */
	bool discovery;
	bool leading;
	bool declared; /* We have sent our MaxRecvDataSegmentLength. */
};

void negotiation_init(struct negotiation *negotiation, const struct negotiate_limits *limits);

/* The text of one request, by key; pointers into the caller's bytes. */
struct negotiate_text {
	const char *value[KEY_COUNT]; /* NULL: not in this text. */
	struct text_reader whole;     /* From the start, for the unknown keys. */
};

/*
 * Sort a complete text by key. Refuses malformed text, more than NEGOTIATE_PAIRS_MAX pairs, a key
 * that came before in this negotiation, a key that may not come in `phase` (one bit) or from the
 * initiator. Returns NULL, or a constant reason; then the negotiation has failed for good.
 */
const char *MUST_CHECK negotiate_sort(struct negotiation *negotiation, enum key_phase phase,
				      const void *text, size_t len_bytes,
				      struct negotiate_text *out);

/*
 * Answer what does not need login: numbers, booleans, lists, obsolete keys, NotUnderstood for
 * unknown ones. Values out of bounds are answered Reject and change nothing (RFC 7143 6.2). In the
 * operational stage our MaxRecvDataSegmentLength is declared along with the first answer.
 */
void negotiate_answer(struct negotiation *negotiation, enum key_phase phase,
		      const struct negotiate_text *text, struct text_writer *answer);

/* The outcome so far. */
void negotiate_params(const struct negotiation *negotiation, struct iscsi_params *out);

/*
 * A full-feature negotiation begins: keys may come once more (RFC 7143 13, "ALL" and "FFPO" keys).
 * Call it at the first request of each text sequence, on the negotiation that login ended with.
 */
void negotiation_restart(struct negotiation *negotiation);

#endif
