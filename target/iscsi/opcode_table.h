/*
 * The iSCSI opcode table: what each of the 64 opcodes may look like and when it may come.
 *
 * It has no handlers (the connection keeps a table of its own, indexed alike) and does not measure
 * PDUs on the wire (frame.h does). It answers the four generic questions, in this order: is the
 * opcode known, may it come now, may it be immediate, do its lengths make sense. An absent row is
 * all zeros and so "unknown".
 *
 * Threads: constant data and a pure function, any thread. Read next: opcode_table.c, frame.h.
 */
#ifndef TARGET_ISCSI_OPCODE_TABLE_H
#define TARGET_ISCSI_OPCODE_TABLE_H

#include "target/iscsi/pdu.h"

/* Phases of a connection, as bits of a row. */
enum opcode_phase {
	OPCODE_IN_LOGIN = 1 << 0,
	OPCODE_IN_DISCOVERY = 1 << 1,    /* Full feature phase of a discovery session. */
	OPCODE_IN_FULL_FEATURE = 1 << 2, /* Full feature phase of a normal session. */
};

/* Largest AHS of any row: an extended CDB of 260 bytes (248) and a bidirectional length (8). */
#define OPCODE_AHS_BYTES_MAX 256u

struct opcode_row {
	const char *name;    /* As RFC 7143 spells it; NULL in an absent row. */
	uint8_t phases;      /* enum opcode_phase bits. */
	bool from_target;    /* A response; never legal from an initiator. */
	bool carries_cmd_sn; /* Bytes 24-27 are CmdSN and take part in the command window. */
	bool may_be_immediate;
	bool may_have_data; /* Up to the receiver's declared MaxRecvDataSegmentLength. */
	uint16_t ahs_len_bytes_max;
};

/* Why a PDU is refused: for the log line, and for the Reject PDU (RFC 7143 11.17.1). */
struct opcode_refusal {
	const char *why; /* A constant sentence without full stop. */
	enum pdu_reject_reason reason;
};

extern const struct opcode_row opcode_table[PDU_OPCODE_COUNT];

/*
 * Judge a request by its row. `phase` is one bit. Returns NULL if the PDU may go to its handler,
 * else a constant refusal. In the login phase a refusal ends the connection (RFC 7143 6.3): with a
 * Login Response from the first login request on, without a word before.
 */
const struct opcode_refusal *opcode_check(const struct pdu_common *head, enum opcode_phase phase);

#endif
