/*
 * SendTargets (RFC 7143 Appendix C); see discovery.h.
 *
 * The answer is a list of lines, made one at a time from the tables and the place of the walk: for
 * each target that the initiator may use its name, then one line for each portal that it can reach.
 * A piece of the answer is the rest of one line, whole lines, and the beginning of another.
 *
 * An announced address is one that a host will dial for months. So a wildcard address, the loopback
 * and a link-local address are announced only to those for whom they mean what they mean to us.
 *
 * Runs on any loop. Read next: target.h.
 */
#include "target/iscsi/discovery.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "target/iscsi/session.h"
#include "target/net/address.h"

/* A host name has at most 255 bytes (RFC 1035 2.3.4); brackets, ":65535,65535" and a zero. */
#define ANNOUNCED_BYTES (255u + 2u + 12u + 1u)
#define LINE_BYTES (sizeof("TargetAddress=") + ANNOUNCED_BYTES)

static_assert(LINE_BYTES >= sizeof("TargetName=") + ISCSI_NAME_MAX, "a name fits into a line");

/* Does the address mean to this initiator what it means to us? */
static bool is_meant_for(const struct sockaddr_storage *address,
			 const struct sockaddr_storage *local)
{
	if (address_is_wildcard(address))
		return address->ss_family == local->ss_family;
	if (address_is_loopback(address))
		return address_is_loopback(local);
	if (address_is_link_local(address))
		return address_same_host(address, local);
	return true;
}

static bool announce_advertised(const struct iscsi_portal *portal, char out[ANNOUNCED_BYTES])
{
	bool is_ipv6 = strchr(portal->advertise, ':');

	(void)snprintf(out, ANNOUNCED_BYTES, "%s%s%s:%u,%u", is_ipv6 ? "[" : "", portal->advertise,
		       is_ipv6 ? "]" : "", (unsigned)portal->advertise_port, (unsigned)portal->tag);
	return true;
}

/* "address:port,tag" of a portal as this initiator should dial it. False: not at all. */
static bool announce(const struct discovery_walk *walk, const struct iscsi_portal *portal,
		     char out[ANNOUNCED_BYTES])
{
	char text[ADDRESS_TEXT_MAX];

	if (portal->advertise)
		return announce_advertised(portal, out);
	if (!is_meant_for(&portal->address, &walk->local))
		return false;
	address_format_for_peer(address_is_wildcard(&portal->address) ? &walk->local
								      : &portal->address,
				address_port(&portal->address), text);
	(void)snprintf(out, ANNOUNCED_BYTES, "%s,%u", text, (unsigned)portal->tag);
	return true;
}

static bool announce_for(const struct discovery_walk *walk, const struct iscsi_target *target,
			 unsigned index, char out[ANNOUNCED_BYTES])
{
	const struct iscsi_portal *portal = &walk->server->portals[index];

	return iscsi_target_in_group(target, portal->tag) && announce(walk, portal, out);
}

/* Two portals behind one advertised address are one to the initiator: the first is announced, for
 * a host that dials one address twice has one path that it counts as two. */
static bool announce_once(const struct discovery_walk *walk, const struct iscsi_target *target,
			  unsigned index, char out[ANNOUNCED_BYTES])
{
	char earlier[ANNOUNCED_BYTES];

	if (!announce_for(walk, target, index, out))
		return false;
	for (unsigned i = 0; i < index; i++) {
		if (announce_for(walk, target, i, earlier) && strcmp(earlier, out) == 0)
			return false;
	}
	return true;
}

/* A target without a portal to dial would be looked for at the address of the discovery (RFC 7143
 * Appendix C), where it is not. */
static bool is_visible(const struct discovery_walk *walk, const struct iscsi_target *target)
{
	char unused[ANNOUNCED_BYTES];

	if (walk->only && walk->only != target)
		return false;
	if (!iscsi_target_permits(target, walk->initiator_name, &walk->peer))
		return false;
	for (unsigned i = 0; i < walk->server->portal_count; i++) {
		if (announce_for(walk, target, i, unused))
			return true;
	}
	return false;
}

/* -- The walk: portal_index 0 stands at the target's name, i + 1 at its portal i. -- */

static bool line_at(const struct discovery_walk *walk, char out[LINE_BYTES])
{
	const struct iscsi_target *target =
		iscsi_view_now(walk->server)->targets[walk->target_index];
	char address[ANNOUNCED_BYTES];

	if (walk->portal_index == 0) {
		(void)snprintf(out, LINE_BYTES, "TargetName=%s", target->name);
		return is_visible(walk, target);
	}
	if (!announce_once(walk, target, walk->portal_index - 1, address))
		return false;
	(void)snprintf(out, LINE_BYTES, "TargetAddress=%s", address);
	return true;
}

static void next_target(struct discovery_walk *walk)
{
	walk->target_index++;
	walk->portal_index = 0;
	walk->done = walk->target_index >= iscsi_view_now(walk->server)->target_count;
}

static void next_portal(struct discovery_walk *walk)
{
	walk->portal_index++;
	if (walk->portal_index > walk->server->portal_count)
		next_target(walk);
}

/* Go on to the next place that has a line, which is left in `line`; or to the end. Bounded by
 * targets times portals. */
static void settle(struct discovery_walk *walk, char line[LINE_BYTES])
{
	while (!walk->done && !line_at(walk, line)) {
		if (walk->portal_index == 0) {
			next_target(walk);
		} else {
			next_portal(walk);
		}
	}
}

bool discovery_begin(struct discovery_walk *walk, const struct discovery_request *request)
{
	bool all = strcmp(request->value, "All") == 0;
	const struct iscsi_view *view = iscsi_view_now(request->server);
	const struct iscsi_target *only = NULL;
	bool named = !all && request->value[0] != '\0';
	char line[LINE_BYTES];

	/* RFC 7143 Appendix C: "All" belongs to discovery sessions alone, the empty value to the
	 * others; neither is shown what it did not log in to. */
	if (request->own ? all : request->value[0] == '\0')
		return false;
	if (request->own && named && strcasecmp(request->value, request->own) != 0)
		return false;
	if (named)
		only = iscsi_target_find(view, request->value);
	else if (request->own)
		only = iscsi_target_find(view, request->own);
	*walk = (struct discovery_walk){
		.server = request->server,
		.initiator_name = request->initiator_name,
		.local = *request->local,
		.peer = *request->peer,
		.only = only,
		.generation = view->generation,
		.done = view->target_count == 0 || (!all && !only),
	};
	settle(walk, line);
	return true;
}

size_t discovery_fill(struct discovery_walk *walk, uint8_t *out, size_t size)
{
	char line[LINE_BYTES];
	size_t filled = 0;

	walk->stale = iscsi_view_now(walk->server)->generation != walk->generation;
	while (!walk->done && !walk->stale && filled < size) {
		size_t left;
		size_t count;

		/* The walk always rests at a line. */
		(void)line_at(walk, line);
		left = strlen(line) + 1 - walk->skip_bytes;
		count = left < size - filled ? left : size - filled;
		memcpy(out + filled, line + walk->skip_bytes, count);
		filled += count;
		walk->skip_bytes += (uint32_t)count;
		if (count == left) {
			walk->skip_bytes = 0;
			next_portal(walk);
			settle(walk, line);
		}
	}
	return filled;
}
