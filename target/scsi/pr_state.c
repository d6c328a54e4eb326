/*
 * Looking at a state of persistent reservations; see pr_state.h. Changing it is pr_out.c's.
 */
#include "target/scsi/pr_state.h"

#include <assert.h>
#include <ctype.h>
#include <string.h>

/* FNV-1a, 64 bits: tells names apart quickly; equal hashes are compared in full. */
static uint64_t hash_nexus(const struct pr_nexus *nexus)
{
	uint64_t hash = 0xcbf29ce484222325u ^ nexus->target_port;

	for (const char *at = nexus->initiator; *at != '\0'; at++)
		hash = (hash ^ (uint8_t)*at) * 0x100000001b3u;
	return hash;
}

void pr_nexus_set(struct pr_nexus *nexus, const char *initiator, size_t length,
		  uint16_t target_port)
{
	assert(length <= PR_NAME_BYTES_MAX);
	memset(nexus, 0, sizeof(*nexus));
	for (size_t i = 0; i < length; i++) {
		char letter = initiator[i];

		nexus->initiator[i] =
			letter >= 'A' && letter <= 'Z' ? (char)(letter - 'A' + 'a') : letter;
	}
	nexus->target_port = target_port;
	nexus->hash = hash_nexus(nexus);
}

bool pr_nexus_is(const struct pr_nexus *a, const struct pr_nexus *b)
{
	return a->hash == b->hash && a->target_port == b->target_port &&
	       strcmp(a->initiator, b->initiator) == 0;
}

uint32_t pr_find(const struct pr_state *state, const struct pr_nexus *nexus)
{
	for (uint32_t i = 0; i < state->count; i++) {
		if (pr_nexus_is(&state->registrants[i].nexus, nexus))
			return i;
	}
	return PR_NOBODY;
}

/* -- Types -- */

static const struct {
	bool valid;
	bool all_registrants;
	bool admits_registrants;
	enum scsi_guard guard;
} types[PR_TYPE_COUNT] = {
	[PR_WRITE_EXCLUSIVE] = {true, false, false, SCSI_GUARD_WRITE_EXCLUSIVE},
	[PR_EXCLUSIVE_ACCESS] = {true, false, false, SCSI_GUARD_EXCLUSIVE_ACCESS},
	[PR_WRITE_EXCLUSIVE_RO] = {true, false, true, SCSI_GUARD_WRITE_EXCLUSIVE},
	[PR_EXCLUSIVE_ACCESS_RO] = {true, false, true, SCSI_GUARD_EXCLUSIVE_ACCESS},
	[PR_WRITE_EXCLUSIVE_AR] = {true, true, true, SCSI_GUARD_WRITE_EXCLUSIVE},
	[PR_EXCLUSIVE_ACCESS_AR] = {true, true, true, SCSI_GUARD_EXCLUSIVE_ACCESS},
};

bool pr_type_is_valid(uint8_t type)
{
	return type < PR_TYPE_COUNT && types[type].valid;
}

bool pr_type_is_all_registrants(enum pr_type type)
{
	return types[type].all_registrants;
}

bool pr_type_admits_registrants(enum pr_type type)
{
	return types[type].admits_registrants;
}

bool pr_is_holder(const struct pr_state *state, uint32_t at)
{
	return at != PR_NOBODY && (types[state->type].all_registrants || at == state->holder);
}

enum scsi_guard pr_guard(const struct pr_state *state, uint32_t at)
{
	bool admitted =
		types[state->type].admits_registrants ? at != PR_NOBODY : pr_is_holder(state, at);

	return admitted ? SCSI_GUARD_NONE : types[state->type].guard;
}

/* -- States -- */

void pr_copy(struct pr_state *to, const struct pr_state *from)
{
	assert(from->count <= to->capacity);
	to->generation = from->generation;
	to->type = from->type;
	to->persists = from->persists;
	to->holder = from->holder;
	to->count = from->count;
	if (from->count > 0) {
		memcpy(to->registrants, from->registrants,
		       from->count * sizeof(from->registrants[0]));
	}
}

static bool holder_is_sound(const struct pr_state *state)
{
	if (state->type == PR_NONE || types[state->type].all_registrants)
		return state->holder == PR_NOBODY && (state->type == PR_NONE || state->count > 0);
	return state->holder < state->count;
}

static bool registrants_are_sound(const struct pr_state *state)
{
	for (uint32_t i = 0; i < state->count; i++) {
		const struct pr_registrant *one = &state->registrants[i];

		if (one->key == 0 || one->nexus.initiator[0] == '\0' ||
		    pr_find(state, &one->nexus) != i)
			return false;
	}
	return true;
}

bool pr_is_sound(const struct pr_state *state)
{
	return (state->type == PR_NONE || pr_type_is_valid((uint8_t)state->type)) &&
	       state->count <= PR_REGISTRANTS_MAX && holder_is_sound(state) &&
	       registrants_are_sound(state);
}
