/*
 * What each service action of PERSISTENT RESERVE OUT makes of a state: SPC-4 5.13.7 to 5.13.11. An
 * action works on a copy of the old state, which is thrown away when it fails half way, and marks
 * in the effect what becomes of those who were registered before.
 *
 * Pure; see pr_state.h.
 */
#include "target/scsi/pr_state.h"

#include <assert.h>
#include <string.h>

#include "target/scsi/pr_list.h"

/* One command at work. `self` is the place of the nexus that sent it in the new state, PR_NOBODY
 * where it is not (or no more) registered. */
struct work {
	const struct pr_request *request;
	const struct pr_state *old;
	struct pr_state *next;
	struct pr_effect *effect;
	uint32_t self;
};

/* -- Small steps -- */

static void mark(const struct work *work, uint32_t at, uint8_t marks)
{
	uint32_t was = pr_find(work->old, &work->next->registrants[at].nexus);

	if (was != PR_NOBODY)
		work->effect->marks[was] |= marks;
}

static void mark_others(const struct work *work, uint8_t marks)
{
	for (uint32_t i = 0; i < work->next->count; i++) {
		if (i != work->self)
			mark(work, i, marks);
	}
}

/* A registration came, changed or went: PRGENERATION counts it (SPC-4 6.15.2). */
static enum pr_result changed(const struct work *work)
{
	work->next->generation++;
	work->effect->changed = true;
	return PR_GOOD;
}

static enum pr_result bad_parameter(const struct work *work, uint16_t field)
{
	work->effect->field = field;
	return PR_BAD_PARAMETER;
}

static void release(struct work *work)
{
	work->next->type = PR_NONE;
	work->next->holder = PR_NOBODY;
}

/* The reservation is the sender's from now on, or that of all. */
static void reserve(struct work *work, uint32_t holder, enum pr_type type)
{
	work->next->type = type;
	work->next->holder = pr_type_is_all_registrants(type) ? PR_NOBODY : holder;
}

static void drop(struct work *work, uint32_t at)
{
	struct pr_state *next = work->next;
	uint32_t behind = --next->count - at;

	memmove(&next->registrants[at], &next->registrants[at + 1],
		behind * sizeof(next->registrants[0]));
	if (next->holder != PR_NOBODY && next->holder > at)
		next->holder--;
	if (work->self == at)
		work->self = PR_NOBODY;
	else if (work->self != PR_NOBODY && work->self > at)
		work->self--;
}

/* Take a registration away, and with it what it held (SPC-4 5.13.10, table 71). */
static void remove_registrant(struct work *work, uint32_t at)
{
	struct pr_state *next = work->next;
	bool held = next->holder == at;

	if (held)
		release(work);
	drop(work, at);
	if (next->count == 0)
		release(work);
}

/* Add a registration; `key` is not 0. */
static enum pr_result add(struct work *work, const struct pr_nexus *nexus, uint64_t key)
{
	struct pr_state *next = work->next;

	if (next->count == next->capacity)
		return PR_NO_ROOM;
	next->registrants[next->count++] = (struct pr_registrant){.nexus = *nexus, .key = key};
	return PR_GOOD;
}

static bool scope_and_type_are_valid(const struct pr_request *request)
{
	return request->scope == 0 && pr_type_is_valid(request->type);
}

/* -- REGISTER, REGISTER AND IGNORE EXISTING KEY: tables 67 to 69 -- */

/* Table 71 and 5.13.11.2.3: those who shared the reservation learn of its end. */
static void unregister(struct work *work, uint32_t at)
{
	bool tells = work->next->holder == at && pr_type_admits_registrants(work->next->type);

	remove_registrant(work, at);
	if (tells)
		mark_others(work, PR_SAW_RELEASE);
}

/* One nexus of the sender's initiator port. `own`: the one that the command came through. */
static enum pr_result register_port(struct work *work, const struct pr_nexus *nexus, bool own)
{
	const struct pr_request *request = work->request;
	uint32_t at = pr_find(work->next, nexus);
	bool judged = request->action == PR_REGISTER;

	if (at == PR_NOBODY) {
		/* An own nexus that is new is no reason to refuse a change of the others. */
		if (judged && own && request->key != 0)
			return PR_CONFLICT;
		if (request->action_key == 0)
			return PR_GOOD;
		work->effect->changed = true;
		return add(work, nexus, request->action_key);
	}
	if (judged && request->key != work->next->registrants[at].key)
		return PR_CONFLICT;
	work->effect->changed = true;
	if (request->action_key == 0)
		unregister(work, at);
	else
		work->next->registrants[at].key = request->action_key;
	return PR_GOOD;
}

/* ALL_TG_PT: "as if received individually through each target port". */
static enum pr_result register_all_ports(struct work *work)
{
	const struct pr_request *request = work->request;
	struct pr_nexus nexus;
	enum pr_result result = PR_GOOD;

	for (uint32_t i = 0; result == PR_GOOD && i < request->port_count; i++) {
		if (request->ports[i] == request->from->target_port)
			continue;
		pr_nexus_set(&nexus, request->from->initiator, strlen(request->from->initiator),
			     request->ports[i]);
		result = register_port(work, &nexus, false);
	}
	return result;
}

/* One that a TransportID names; table 67 note b: it must not be registered. */
static enum pr_result register_named(struct work *work, const struct pr_nexus *nexus)
{
	if (strcmp(nexus->initiator, work->request->from->initiator) == 0)
		return PR_GOOD; /* The sender has registered itself. */
	if (pr_find(work->next, nexus) != PR_NOBODY)
		return bad_parameter(work, 28);
	return add(work, nexus, work->request->action_key);
}

/* All TransportIDs with one target port. */
static enum pr_result register_ids(struct work *work, uint16_t target_port)
{
	struct byte_reader ids = byte_reader_make(work->request->ids, work->request->ids_bytes);
	struct pr_nexus nexus;
	enum pr_result result = PR_GOOD;

	while (result == PR_GOOD && pr_id_next(&ids, target_port, &nexus))
		result = register_named(work, &nexus);
	return result;
}

static enum pr_result register_spec_ports(struct work *work)
{
	const struct pr_request *request = work->request;
	enum pr_result result = PR_GOOD;

	if (!request->all_ports)
		return register_ids(work, request->from->target_port);
	for (uint32_t i = 0; result == PR_GOOD && i < request->port_count; i++)
		result = register_ids(work, request->ports[i]);
	return result;
}

static enum pr_result do_register(struct work *work)
{
	const struct pr_request *request = work->request;
	bool was_registered = work->self != PR_NOBODY;
	enum pr_result result = register_port(work, request->from, true);

	if (result == PR_GOOD && request->spec_ports && was_registered)
		return bad_parameter(work, 20);
	if (result == PR_GOOD && request->all_ports)
		result = register_all_ports(work);
	if (result == PR_GOOD && request->spec_ports && work->effect->changed)
		result = register_spec_ports(work);
	if (result != PR_GOOD || !work->effect->changed)
		return result;
	work->next->persists = request->persists;
	return changed(work);
}

/* -- RESERVE, RELEASE: 5.13.9, 5.13.11.2.2 -- */

static enum pr_result do_reserve(struct work *work)
{
	const struct pr_request *request = work->request;
	struct pr_state *next = work->next;

	if (!scope_and_type_are_valid(request))
		return PR_BAD_TYPE;
	if (next->type != PR_NONE) {
		return pr_is_holder(next, work->self) && next->type == request->type ? PR_GOOD
										     : PR_CONFLICT;
	}
	reserve(work, work->self, (enum pr_type)request->type);
	work->effect->changed = true;
	return PR_GOOD;
}

static enum pr_result do_release(struct work *work)
{
	const struct pr_request *request = work->request;
	struct pr_state *next = work->next;

	if (next->type == PR_NONE || !pr_is_holder(next, work->self))
		return PR_GOOD;
	if (request->scope != 0 || request->type != next->type)
		return PR_BAD_RELEASE;
	if (pr_type_admits_registrants(next->type))
		mark_others(work, PR_SAW_RELEASE);
	release(work);
	work->effect->changed = true;
	return PR_GOOD;
}

/* -- CLEAR: 5.13.11.2.7 -- */

static enum pr_result do_clear(struct work *work)
{
	mark_others(work, PR_LOST_RESERVATION);
	release(work);
	work->next->count = 0;
	return changed(work);
}

/* -- PREEMPT, PREEMPT AND ABORT: 5.13.11.2.4 to 5.13.11.2.6, table 72 -- */

/* 5.13.11.2.6: the commands of all whom the key names, the sender's others included. */
static void mark_aborted(struct work *work, bool all)
{
	if (work->request->action != PR_PREEMPT_AND_ABORT)
		return;
	for (uint32_t i = 0; i < work->old->count; i++) {
		if (all || work->old->registrants[i].key == work->request->action_key) {
			work->effect->marks[i] |= PR_ABORTED;
			work->effect->aborts = true;
		}
	}
}

/* Remove the registrations that the key names, or all; the sender's if `self_too`. Answers how
 * many there were. */
static uint32_t remove_named(struct work *work, bool all, bool self_too)
{
	uint32_t removed = 0;

	for (uint32_t i = work->next->count; i-- > 0;) {
		bool self = i == work->self;

		if ((!all && work->next->registrants[i].key != work->request->action_key) ||
		    (self && !self_too))
			continue;
		if (!self)
			mark(work, i, PR_LOST_REGISTRATION);
		remove_registrant(work, i);
		removed++;
	}
	return removed;
}

static enum pr_result preempt_registrations(struct work *work)
{
	mark_aborted(work, false);
	return remove_named(work, false, true) > 0 ? changed(work) : PR_CONFLICT;
}

static enum pr_result preempt_reservation(struct work *work, bool all)
{
	const struct pr_request *request = work->request;

	if (!scope_and_type_are_valid(request))
		return PR_BAD_TYPE;
	mark_aborted(work, all);
	(void)remove_named(work, all, false);
	if (request->type != work->old->type)
		mark_others(work, PR_SAW_RELEASE);
	reserve(work, work->self, (enum pr_type)request->type);
	return changed(work);
}

static enum pr_result do_preempt(struct work *work)
{
	const struct pr_state *old = work->old;
	uint64_t key = work->request->action_key;

	if (pr_type_is_all_registrants(old->type)) {
		return key == 0 ? preempt_reservation(work, true) : preempt_registrations(work);
	}
	if (key == 0)
		return bad_parameter(work, 8);
	if (old->type != PR_NONE && old->registrants[old->holder].key == key)
		return preempt_reservation(work, false);
	return preempt_registrations(work);
}

/* -- REGISTER AND MOVE: 5.13.8, table 70 -- */

static bool is_a_port(const struct pr_request *request, uint16_t port)
{
	for (uint32_t i = 0; i < request->port_count; i++) {
		if (request->ports[i] == port)
			return true;
	}
	return false;
}

static enum pr_result judge_move(struct work *work, const struct pr_nexus *to)
{
	const struct pr_request *request = work->request;
	const struct pr_state *next = work->next;

	if (next->type == PR_NONE)
		return PR_BAD_ACTION;
	if (next->holder != work->self)
		return PR_CONFLICT;
	if (request->action_key == 0)
		return bad_parameter(work, 8);
	if (!is_a_port(request, request->move_port))
		return bad_parameter(work, 18);
	return strcmp(to->initiator, request->from->initiator) == 0 ? bad_parameter(work, 24)
								    : PR_GOOD;
}

static enum pr_result do_move(struct work *work)
{
	const struct pr_request *request = work->request;
	struct byte_reader ids = byte_reader_make(request->ids, request->ids_bytes);
	struct pr_state *next = work->next;
	struct pr_nexus to;
	bool found = pr_id_next(&ids, request->move_port, &to);
	enum pr_result result = judge_move(work, &to);
	uint32_t at;

	assert(found);
	if (result != PR_GOOD)
		return result;
	at = pr_find(next, &to);
	if (at == PR_NOBODY) {
		at = next->count;
		result = add(work, &to, request->action_key);
	} else {
		next->registrants[at].key = request->action_key;
	}
	if (result != PR_GOOD)
		return result;
	next->holder = at;
	next->persists = request->persists;
	if (request->unregister)
		remove_registrant(work, work->self);
	return changed(work);
}

/* -- The table -- */

static const struct {
	enum pr_result (*act)(struct work *work);
	bool registered; /* For registrants that name their key (6.16.3). */
} actions[PR_ACTION_COUNT] = {
	[PR_REGISTER] = {do_register, false},
	[PR_RESERVE] = {do_reserve, true},
	[PR_RELEASE] = {do_release, true},
	[PR_CLEAR] = {do_clear, true},
	[PR_PREEMPT] = {do_preempt, true},
	[PR_PREEMPT_AND_ABORT] = {do_preempt, true},
	[PR_REGISTER_AND_IGNORE] = {do_register, false},
	[PR_REGISTER_AND_MOVE] = {do_move, true},
};

static uint32_t count_ids(const struct pr_request *request)
{
	struct byte_reader ids = byte_reader_make(request->ids, request->ids_bytes);
	struct pr_nexus nexus;
	uint32_t count = 0;

	while (pr_id_next(&ids, 0, &nexus))
		count++;
	return count;
}

uint32_t pr_room(const struct pr_state *old, const struct pr_request *request)
{
	uint64_t ports = request->all_ports ? (uint64_t)request->port_count + 1 : 1;
	uint64_t room = old->count + ports * (1 + (uint64_t)count_ids(request));

	return room < PR_REGISTRANTS_MAX ? (uint32_t)room : PR_REGISTRANTS_MAX;
}

enum pr_result pr_out(const struct pr_state *old, const struct pr_request *request,
		      struct pr_state *next, struct pr_effect *effect)
{
	struct work work = {
		.request = request,
		.old = old,
		.next = next,
		.effect = effect,
		.self = pr_find(old, request->from),
	};

	memset(effect, 0, sizeof(*effect));
	pr_copy(next, old);
	if (actions[request->action].registered &&
	    (work.self == PR_NOBODY || old->registrants[work.self].key != request->key))
		return PR_CONFLICT;
	return actions[request->action].act(&work);
}
