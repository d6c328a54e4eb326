/*
 * SendTargets (RFC 7143 4.3, Appendix C): which targets and portals an initiator may see, as text,
 * in pieces of any size. Pure: reads the server's tables, no I/O, any loop.
 */
#ifndef TARGET_ISCSI_DISCOVERY_H
#define TARGET_ISCSI_DISCOVERY_H

#include "target/iscsi/server.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* A walk through one answer. The caller keeps it across PDUs; the strings must stay valid. */
struct discovery_walk {
	/* Set by discovery_begin. */
	const struct iscsi_server *server;
	const char *initiator_name;
	struct sockaddr_storage local;
	struct sockaddr_storage peer;
	const struct iscsi_target *only; /* Just this one, or NULL for all; of `generation`. */
	uint64_t generation;             /* Of the view that it walks through. */
	/* Private: how far the walk is. */
	unsigned target_index;
	unsigned portal_index;
	uint32_t skip_bytes; /* Of the current line, already delivered. */
	bool done;
	bool stale; /* The view was replaced in the middle: what is left to tell is not known. */
};

/*
 * Begin the answer to SendTargets=`value` ("All" in a discovery session; empty for the session's
 * own target; or a target's name). `own` names the session's target, or is NULL. False: the value
 * is not allowed here; answer SendTargets=Reject.
 */
struct discovery_request {
	const struct iscsi_server *server;
	const char *initiator_name;
	const struct sockaddr_storage *local;
	const struct sockaddr_storage *peer;
	const char *own;
	const char *value;
};
bool discovery_begin(struct discovery_walk *walk, const struct discovery_request *request);
/* Write up to `size` bytes of "key=value\0" lines (a line may be split between calls: the C bit
 * allows it, RFC 7143 6.2); returns the count. walk->done is set with the last byte, walk->stale
 * when there is no going on. */
size_t discovery_fill(struct discovery_walk *walk, uint8_t *out, size_t size);

#endif
