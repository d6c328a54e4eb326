/*
 * Access states of target port groups: their table, their publication, and the administrator's
 * changes. Not the commands: port_groups.c.
 *
 * Threads: the control thread builds, loops read, a switch of the target changes. Read next:
 * switch.h.
 */
#include "target/scsi/alua.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "target/scsi/port_groups.h"

/* The states, SPC-4 5.15.2.4. A row without a name is none. */
static const struct access_state {
	const char *name;
	enum scsi_sense reason; /* Why commands are refused in it. */
	uint8_t served;         /* The bit of scsi_op.served; 0: all commands are. */
	uint8_t support;        /* The bit of RTPG that says that groups may be in it. */
	bool remote;            /* INQUIRY has the peripheral qualifier 001b. */
} states[SCSI_ACCESS_STATES] = {
	[SCSI_ACCESS_OPTIMIZED] = {.name = "optimized", .support = 0x01},
	[SCSI_ACCESS_NON_OPTIMIZED] = {.name = "non-optimized", .support = 0x02},
	[SCSI_ACCESS_STANDBY] = {.name = "standby",
				 .reason = SENSE_ACCESS_STANDBY,
				 .served = SERVED_STANDBY,
				 .support = 0x04},
	[SCSI_ACCESS_UNAVAILABLE] = {.name = "unavailable",
				     .reason = SENSE_ACCESS_UNAVAILABLE,
				     .served = SERVED_UNAVAILABLE,
				     .support = 0x08,
				     .remote = true},
	[SCSI_ACCESS_OFFLINE] = {.name = "offline",
				 .reason = SENSE_ACCESS_OFFLINE,
				 .served = SERVED_OFFLINE,
				 .support = 0x40,
				 .remote = true},
	[SCSI_ACCESS_TRANSITIONING] = {.name = "transitioning",
				       .reason = SENSE_ACCESS_TRANSITION,
				       .served = SERVED_TRANSITION,
				       .support = 0x80},
};

const char *scsi_access_name(unsigned state)
{
	return state < ARRAY_SIZE(states) ? states[state].name : NULL;
}

bool scsi_access_find(const char *name, enum scsi_access_state *state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(states); i++) {
		if (states[i].name != NULL && strcmp(states[i].name, name) == 0) {
			*state = (enum scsi_access_state)i;
			return true;
		}
	}
	return false;
}

uint8_t scsi_alua_supported_states(void)
{
	uint8_t support = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(states); i++)
		support |= states[i].support;
	return support;
}

enum scsi_sense scsi_access_reason(const struct scsi_nexus *nexus)
{
	return states[nexus->access].reason;
}

bool scsi_access_is_remote(const struct scsi_nexus *nexus)
{
	return states[nexus->access].remote;
}

bool scsi_access_allows(const struct scsi_op *op, enum scsi_access_state state)
{
	return states[state].served == 0 || (op->served & states[state].served) != 0;
}

/* -- Groups -- */

void scsi_alua_init(struct scsi_target *target)
{
	atomic_store_explicit(&target->alua.now.current, &target->alua.versions[0],
			      memory_order_release);
}

uint8_t scsi_alua_find(const struct scsi_target *target, uint16_t tag)
{
	for (unsigned i = 0; i < target->port_count; i++) {
		if (target->ports[i] == tag)
			return (uint8_t)i;
	}
	return SCSI_NO_GROUP;
}

uint8_t scsi_alua_support(const struct scsi_target *target)
{
	if (target->port_count < 2)
		return 0;
	return target->alua.spec.by_hosts ? 0x03 : 0x01;
}

void scsi_target_set_access(struct scsi_target *target, const struct scsi_access_spec *spec)
{
	target->alua.spec = *spec;
}

int scsi_target_set_group(struct scsi_target *target, uint16_t tag, enum scsi_access_state state,
			  bool preferred)
{
	uint8_t group = scsi_alua_find(target, tag);

	if (group == SCSI_NO_GROUP)
		return -ENOENT;
	if (scsi_access_name(state) == NULL)
		return -EINVAL;
	scsi_alua_prefer(&target->alua.versions[0], group, preferred);
	scsi_alua_set(&target->alua.versions[0], group, state, SCSI_ACCESS_UNCHANGED);
	return 0;
}

unsigned scsi_target_group_count(const struct scsi_target *target)
{
	return target->port_count;
}

void scsi_alua_view(const struct scsi_target *target, const struct scsi_access_states *states_now,
		    unsigned index, struct scsi_group_view *out)
{
	const struct scsi_group_state *group = &states_now->groups[index];

	assert(index < target->port_count);
	*out = (struct scsi_group_view){
		.tag = target->ports[index],
		.preferred = atomic_load_explicit(&group->preferred, memory_order_relaxed) != 0,
		.state = atomic_load_explicit(&group->access, memory_order_relaxed),
		.cause = atomic_load_explicit(&group->cause, memory_order_relaxed),
	};
}

void scsi_target_group(const struct scsi_target *target, unsigned index,
		       struct scsi_group_view *out)
{
	scsi_alua_view(target, scsi_alua_now(target), index, out);
}

/* -- Publication -- */

void scsi_alua_set(struct scsi_access_states *next, unsigned group, enum scsi_access_state state,
		   enum scsi_access_cause cause)
{
	atomic_store_explicit(&next->groups[group].access, (uint8_t)state, memory_order_relaxed);
	atomic_store_explicit(&next->groups[group].cause, (uint8_t)cause, memory_order_relaxed);
}

void scsi_alua_prefer(struct scsi_access_states *next, unsigned group, bool preferred)
{
	atomic_store_explicit(&next->groups[group].preferred, preferred, memory_order_relaxed);
}

struct scsi_access_states *scsi_alua_next(struct scsi_target *target)
{
	struct scsi_alua *alua = &target->alua;
	struct scsi_access_states *next = &alua->versions[scsi_alua_now(target) == alua->versions];
	struct scsi_group_view view;

	for (unsigned i = 0; i < target->port_count; i++) {
		scsi_target_group(target, i, &view);
		scsi_alua_set(next, i, view.state, view.cause);
		scsi_alua_prefer(next, i, view.preferred);
	}
	return next;
}

void scsi_alua_publish(struct scsi_target *target, const struct scsi_access_states *next)
{
	atomic_store_explicit(&target->alua.now.current, next, memory_order_release);
}

void scsi_alua_attach(struct scsi_nexus *nexus)
{
	struct scsi_group_view view;

	if (nexus->group == SCSI_NO_GROUP)
		return;
	scsi_target_group(nexus->target, nexus->group, &view);
	nexus->access = (uint8_t)view.state;
}

void scsi_alua_tell(struct scsi_nexus *nexus, bool asked)
{
	scsi_alua_attach(nexus);
	if (!asked)
		scsi_nexus_raise_all(nexus, SCSI_UA_ASYMMETRIC_ACCESS_CHANGED);
}

/* -- The administrator's changes -- */

static struct scsi_access_change *change_of(struct scsi_switch *change)
{
	return CONTAINER_OF(change, struct scsi_access_change, change);
}

static bool wanted_preference(const struct scsi_access_change *mine, bool now)
{
	if (mine->preference == SCSI_PREFERENCE_KEEP)
		return now;
	return mine->preference == SCSI_PREFERENCE_ON;
}

static enum scsi_switch_step begin(struct scsi_switch *change)
{
	struct scsi_access_change *mine = change_of(change);
	struct scsi_access_states *next;
	struct scsi_group_view view;
	bool preferred;

	scsi_target_group(mine->target, mine->group, &view);
	preferred = wanted_preference(mine, view.preferred);
	if (view.state == mine->state && view.preferred == preferred)
		return SCSI_SWITCH_END;
	next = scsi_alua_next(mine->target);
	/* STATUS CODE tells of states alone. */
	if (view.state != mine->state)
		scsi_alua_set(next, mine->group, mine->state, SCSI_ACCESS_BY_ADMINISTRATOR);
	scsi_alua_prefer(next, mine->group, preferred);
	scsi_alua_publish(mine->target, next);
	mine->changed = true;
	return SCSI_SWITCH_PUBLISH;
}

static void tell(struct scsi_switch *change, struct scsi_nexus *nexus)
{
	(void)change;
	loop_role_assume();
	scsi_alua_tell(nexus, false);
}

static void on_done(struct scsi_switch *change)
{
	struct scsi_access_change *mine = change_of(change);

	mine->done(mine);
}

int scsi_access_change_start(struct scsi_access_change *change)
{
	uint8_t group = scsi_alua_find(change->target, change->tag);

	if (group == SCSI_NO_GROUP)
		return -ENOENT;
	if (scsi_access_name(change->state) == NULL)
		return -EINVAL;
	change->group = group;
	change->changed = false;
	change->change = (struct scsi_switch){.target = change->target,
					      .loop = change->loop,
					      .begin = begin,
					      .each = tell,
					      .done = on_done};
	return scsi_switch_start(&change->change);
}
