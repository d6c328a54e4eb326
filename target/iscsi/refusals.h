/*
 * How long a refused login waits for its answer, and how often its source was refused before.
 *
 * Who guesses secrets, or asks which targets there are, learns one answer per delay and source,
 * however many connections he opens: each refusal of a source waits for the one before it. What is
 * our own fault (status class 3) waits the delay and nothing else, so that many hosts behind one
 * address may come again at once.
 *
 * The table is of fixed size. A source that has waited longest makes room; it gets no quicker
 * answers by that, because its refusals that still wait hold their connections.
 *
 * Pure: the time is given. Threads: the control loop's.
 */
#ifndef TARGET_ISCSI_REFUSALS_H
#define TARGET_ISCSI_REFUSALS_H

#include "target/iscsi/pdu_codes.h"

#include <stdint.h>
#include <sys/socket.h>

/* Sources that are remembered; 40 KiB. */
#define REFUSAL_SOURCES 256u
/* An initiator waits 15 s for a login (open-iscsi, login_timeout); nobody waits longer. */
#define REFUSAL_WAIT_MS_MAX 14000u
/* A source that was quiet for so long is a new one. */
#define REFUSAL_MEMORY_MS 3600000u

struct refusal_source {
	struct sockaddr_storage address;
	uint64_t due_ns; /* When the last of its answers is due, or was. */
	uint32_t count;  /* Refusals within REFUSAL_MEMORY_MS of one another. */
};

/* Zero-initialise. */
struct refusals {
	struct refusal_source sources[REFUSAL_SOURCES];
	uint32_t used;
};

struct refusal {
	const struct sockaddr_storage *peer; /* Normalised. */
	enum pdu_login_status status;
	uint64_t now_ns;
	uint32_t delay_ms; /* 0: answers are given at once, and only counted. */
};

/* Note a refusal: how many ms until its answer may be sent; `count` is how many of its source there
 * were, this one among them. */
uint32_t refusals_note(struct refusals *refusals, const struct refusal *refusal, uint32_t *count);

#endif
