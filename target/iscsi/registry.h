/*
 * The list of sessions: who is logged in, where they live, and what happens when one must make room
 * for its own successor. Not a session's life itself (session.h), nor login (login_conn.h).
 *
 * An entry is made when a login was admitted and goes away when its session has ended completely;
 * between the two its key and its TSIH are taken. Entries are of fixed number: sessions_max.
 *
 * Threads: all of it on the control loop, so there is no lock.
 * Read next: registry.c, admission.c.
 */
#ifndef TARGET_ISCSI_REGISTRY_H
#define TARGET_ISCSI_REGISTRY_H

#include "base/attr.h"
#include "target/iscsi/session.h"

struct registry;
struct registry_entry;

#define REGISTRY_USER_MAX 255u

/* Somebody who waits for an entry's end; embedded in a login. Zero-initialise. */
typedef void registry_waiter_fn(void *arg);
struct registry_waiter {
	struct registry_entry *entry;      /* Private: for which it waits, or NULL. */
	registry_waiter_fn *on_ended;      /* The session has ended and its entry is gone. */
	registry_waiter_fn *on_superseded; /* A later login waits in its place; it waits no more. */
	void *arg;
};

/* An I_T nexus: initiator port and target port (RFC 7143 4.4.1). */
struct registry_key {
	const char *initiator_name;
	const uint8_t *isid;
	const struct scsi_target *target;
	uint16_t portal_group_tag;
};

/* -ENOMEM. The server's loops and limits must be set; it must outlive the registry. */
int MUST_CHECK registry_create(const struct iscsi_server *server, struct registry **out);
/* All sessions must have ended, unless `abandon` is set. NULL is allowed. */
void registry_free(struct registry *registry, bool abandon);

uint32_t registry_count(const struct registry *registry);
uint32_t registry_loop_count(const struct registry *registry, const struct loop *loop);

/*
 * The loop where a new session should live: the one with the least load (placement.h) among those
 * that can hold one more. NULL: all are full, or sessions_max is reached.
 */
struct loop *registry_place(struct registry *registry);
/* A TSIH (RFC 7143 11.12.6) that is not 0, unpredictable, and no other session's. 0 when the
 * machine has no randomness. */
uint16_t registry_new_tsih(const struct registry *registry);

/*
 * Make the session and list it. The spec's on_ended and arg are the registry's to fill. `user` is
 * as whom the initiator proved itself by CHAP, or "". There must be room: registry_place answered a
 * loop in this same turn. -ENOMEM.
 */
int MUST_CHECK registry_open(struct registry *registry, struct session_spec *spec, const char *user,
			     struct registry_entry **out);
/* Hand the session to its loop. Asked to close before, it is closed as its first act. */
LOOP_ONLY void registry_start(struct registry_entry *entry);
/* Ask the session to end. Any number of times; the first reason counts. */
void registry_close(struct registry_entry *entry, enum session_close_reason reason);

/* Normal sessions only: discovery sessions have no target port and so no key. NULL: none. */
struct registry_entry *registry_find(const struct registry *registry,
				     const struct registry_key *key);
struct registry_entry *registry_find_tsih(const struct registry *registry, uint16_t tsih);
/* The oldest discovery session that nobody has asked to close yet; or NULL. */
struct registry_entry *registry_find_discovery(const struct registry *registry);
bool registry_matches(const struct registry_entry *entry, const struct registry_key *key);
const struct session_spec *registry_spec(const struct registry_entry *entry);
const char *registry_user(const struct registry_entry *entry);
/* When it was made, CLOCK_MONOTONIC. */
uint64_t registry_since_ns(const struct registry_entry *entry);
/* The entry that was listed after this one, or the first (NULL); NULL: there is none. Entries are
 * good for this turn. */
struct registry_entry *registry_next(const struct registry *registry,
				     const struct registry_entry *entry);

/* Wait for the entry's end. A waiter that was there before is superseded: the last one counts. */
void registry_wait(struct registry_entry *entry, struct registry_waiter *waiter);
/* Wait no more; one that does not wait is left alone. */
void registry_wait_cancel(struct registry_waiter *waiter);

/* Close all sessions; on_empty runs when the last has ended, at once if there is none. */
LOOP_ONLY void registry_close_all(struct registry *registry, enum session_close_reason reason,
				  void (*on_empty)(void *arg), void *arg);

#endif
