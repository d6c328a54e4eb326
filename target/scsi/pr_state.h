/*
 * Persistent reservations of one logical unit as a value: who is registered, what is reserved, and
 * what one PERSISTENT RESERVE OUT makes of it (SPC-4 5.13). Pure: no I/O, no thread, no clock, no
 * allocation, so it is tested against tables and a model, and fuzzed.
 *
 * Not here: parameter lists (pr_list.h), answers (pr_in.h), the file (pr_text.h), and the commands
 * themselves with their publishing and telling (reservation.h).
 *
 * Any thread; a state is its owner's. Read next: pr_out.c.
 */
#ifndef TARGET_SCSI_PR_STATE_H
#define TARGET_SCSI_PR_STATE_H

#include "base/attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* RFC 7143 4.2.7.1, and ",i,0x" with an ISID. */
#define PR_NAME_BYTES_MAX (223u + 17u)
/* Registrations of a logical unit: 256 hosts on four paths each. Beyond them a registration is
 * refused with INSUFFICIENT REGISTRATION RESOURCES. */
#define PR_REGISTRANTS_MAX 1024u
#define PR_NOBODY UINT32_MAX

/* SPC-4 6.15.3.4; RO: registrants only, AR: all registrants. */
enum pr_type {
	PR_NONE = 0, /* Nothing is reserved. */
	PR_WRITE_EXCLUSIVE = 1,
	PR_EXCLUSIVE_ACCESS = 3,
	PR_WRITE_EXCLUSIVE_RO = 5,
	PR_EXCLUSIVE_ACCESS_RO = 6,
	PR_WRITE_EXCLUSIVE_AR = 7,
	PR_EXCLUSIVE_ACCESS_AR = 8,
	PR_TYPE_COUNT
};

/* SPC-4 6.16.2 */
enum pr_action {
	PR_REGISTER = 0,
	PR_RESERVE = 1,
	PR_RELEASE = 2,
	PR_CLEAR = 3,
	PR_PREEMPT = 4,
	PR_PREEMPT_AND_ABORT = 5,
	PR_REGISTER_AND_IGNORE = 6,
	PR_REGISTER_AND_MOVE = 7,
	PR_ACTION_COUNT
};

/* What a reservation keeps a nexus from doing. Rows of op_table.c have a column for each. */
enum scsi_guard {
	SCSI_GUARD_NONE,
	SCSI_GUARD_WRITE_EXCLUSIVE,  /* Others write. */
	SCSI_GUARD_EXCLUSIVE_ACCESS, /* Others read and write. */
	SCSI_GUARD_RESERVED,         /* RESERVE(6) or (10) of another nexus. */
	SCSI_GUARD_COUNT,
	SCSI_GUARD_UNKNOWN = SCSI_GUARD_COUNT /* The next command of the nexus finds out. */
};

/* An I_T nexus by its names, which outlive sessions. */
struct pr_nexus {
	uint64_t hash;                         /* Of the rest; compared first. */
	uint16_t target_port;                  /* Relative target port identifier. */
	char initiator[PR_NAME_BYTES_MAX + 1]; /* "iqn...,i,0x<isid>", lower case. */
};

struct pr_registrant {
	struct pr_nexus nexus;
	uint64_t key; /* Never 0. */
};

struct pr_state {
	uint32_t generation;
	enum pr_type type;
	bool persists;   /* The last valid APTPL bit: survives the loss of power. */
	uint32_t holder; /* PR_NOBODY where nothing is reserved, or for all registrants. */
	uint32_t count;
	uint32_t capacity;
	struct pr_registrant *registrants; /* In the order of their registration. */
};

/* A PERSISTENT RESERVE OUT command, parsed. What it borrows must live as long as it. */
struct pr_request {
	enum pr_action action;
	uint8_t scope;
	uint8_t type;
	bool persists;       /* APTPL */
	bool all_ports;      /* ALL_TG_PT */
	bool spec_ports;     /* SPEC_I_PT */
	bool unregister;     /* UNREG */
	uint16_t move_port;  /* RELATIVE TARGET PORT IDENTIFIER */
	uint64_t key;        /* RESERVATION KEY */
	uint64_t action_key; /* SERVICE ACTION RESERVATION KEY */
	/* TransportIDs, checked by pr_list_parse. */
	const uint8_t *ids;
	size_t ids_bytes;
	/* Set by the caller. */
	const struct pr_nexus *from;
	const uint16_t *ports; /* All target ports. */
	uint32_t port_count;
};

enum pr_result {
	PR_GOOD,
	PR_CONFLICT,
	PR_BAD_ACTION,    /* INVALID FIELD IN CDB: the service action, as things stand. */
	PR_BAD_TYPE,      /* INVALID FIELD IN CDB: scope or type. */
	PR_BAD_LENGTH,    /* PARAMETER LIST LENGTH ERROR */
	PR_BAD_PARAMETER, /* INVALID FIELD IN PARAMETER LIST, pr_effect.field */
	PR_BAD_RELEASE,   /* INVALID RELEASE OF PERSISTENT RESERVATION */
	PR_NO_ROOM,       /* INSUFFICIENT REGISTRATION RESOURCES */
	PR_RESULT_COUNT
};

/* What becomes of those who were registered before. */
enum {
	PR_LOST_RESERVATION = 1 << 0,  /* Unit attention RESERVATIONS PREEMPTED (CLEAR). */
	PR_LOST_REGISTRATION = 1 << 1, /* REGISTRATIONS PREEMPTED */
	PR_SAW_RELEASE = 1 << 2,       /* RESERVATIONS RELEASED */
	PR_ABORTED = 1 << 3,           /* PREEMPT AND ABORT: its commands are aborted. */
};

struct pr_effect {
	bool changed;
	bool aborts;                       /* Some mark has PR_ABORTED. */
	uint16_t field;                    /* PR_BAD_PARAMETER: the byte of the list. */
	uint8_t marks[PR_REGISTRANTS_MAX]; /* By place in the old state. */
};

/* -- pr_state.c -- */

/* Set the names; letters become lower case, so that equal names compare equal (RFC 7143 4.2.7.1).
 * `length` is at most PR_NAME_BYTES_MAX. */
void pr_nexus_set(struct pr_nexus *nexus, const char *initiator, size_t length,
		  uint16_t target_port);
bool pr_nexus_is(const struct pr_nexus *a, const struct pr_nexus *b);
/* The place of a nexus among the registrants, or PR_NOBODY. */
uint32_t pr_find(const struct pr_state *state, const struct pr_nexus *nexus);
bool pr_type_is_valid(uint8_t type);
bool pr_type_is_all_registrants(enum pr_type type);
/* True where being registered is enough: registrants only, and all registrants. */
bool pr_type_admits_registrants(enum pr_type type);
/* Whether that registrant (or PR_NOBODY) holds the reservation. */
bool pr_is_holder(const struct pr_state *state, uint32_t at);
/* What the reservation keeps that registrant (or PR_NOBODY) from doing. */
enum scsi_guard pr_guard(const struct pr_state *state, uint32_t at);
/* All but the array; `to` has the room. */
void pr_copy(struct pr_state *to, const struct pr_state *from);
/* True if it is what pr_out could have made: for states from elsewhere. */
bool pr_is_sound(const struct pr_state *state);

/* -- pr_out.c -- */

/* Registrants that `next` of pr_out needs room for, more than PR_REGISTRANTS_MAX never. */
uint32_t pr_room(const struct pr_state *old, const struct pr_request *request);
/*
 * What the command makes of `old`. With PR_GOOD and effect->changed `next` is the new state, else
 * it means nothing. next->registrants and next->capacity are set by the caller.
 */
enum pr_result MUST_CHECK pr_out(const struct pr_state *old, const struct pr_request *request,
				 struct pr_state *next, struct pr_effect *effect);

#endif
