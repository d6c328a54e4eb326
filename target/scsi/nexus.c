/*
 * I_T nexuses: what one session sees, which is its unit attentions (SAM-5 5.14, SPC-4 5.13).
 *
 * Threads: created and freed by any thread, used on the loop of its session.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/aligned.h"
#include "target/scsi/device.h"
#include "target/scsi/port_groups.h"
#include "target/scsi/reservation.h"

static_assert(SCSI_UA_COUNT <= SCSI_GUARD_SHIFT &&
		      SCSI_GUARD_UNKNOWN < 1 << (16 - SCSI_GUARD_SHIFT),
	      "what a nexus knows of a logical unit is two bytes");

#define UA_BIT(ua) ((uint16_t)(1u << (ua)))
/* A slot of which the nexus has heard nothing yet. */
#define FRESH ((uint16_t)(UA_BIT(SCSI_UA_POWER_ON) | SCSI_GUARD_UNKNOWN << SCSI_GUARD_SHIFT))

static const enum scsi_sense ua_sense[SCSI_UA_COUNT] = {
	[SCSI_UA_POWER_ON] = SENSE_POWER_ON,
	[SCSI_UA_BUS_DEVICE_RESET] = SENSE_BUS_DEVICE_RESET,
	[SCSI_UA_RESERVATIONS_PREEMPTED] = SENSE_RESERVATIONS_PREEMPTED,
	[SCSI_UA_REGISTRATIONS_PREEMPTED] = SENSE_REGISTRATIONS_PREEMPTED,
	[SCSI_UA_RESERVATIONS_RELEASED] = SENSE_RESERVATIONS_RELEASED,
	[SCSI_UA_ASYMMETRIC_ACCESS_CHANGED] = SENSE_ASYMMETRIC_ACCESS_CHANGED,
	[SCSI_UA_MODE_PARAMETERS_CHANGED] = SENSE_MODE_PARAMETERS_CHANGED,
	[SCSI_UA_THRESHOLD_REACHED] = SENSE_THRESHOLD_REACHED,
	[SCSI_UA_POOL_THRESHOLD_REACHED] = SENSE_POOL_THRESHOLD_REACHED,
	[SCSI_UA_MEDIUM_CHANGED] = SENSE_MEDIUM_CHANGED,
	[SCSI_UA_CAPACITY_CHANGED] = SENSE_CAPACITY_CHANGED,
	[SCSI_UA_LUNS_CHANGED] = SENSE_REPORTED_LUNS_CHANGED,
	[SCSI_UA_COMMANDS_CLEARED] = SENSE_COMMANDS_CLEARED,
};

int scsi_nexus_create(const struct scsi_nexus_spec *spec, struct scsi_nexus **out)
{
	static _Atomic uint64_t ids = 1;
	unsigned slots = spec->target->slot_end + SCSI_NEXUS_SPARE_SLOTS;
	/* `pending` is written while other nexuses' are read on other loops. */
	struct scsi_nexus *nexus =
		aligned_calloc(sizeof(*nexus) + slots * sizeof(nexus->pending[0]));

	if (nexus == NULL)
		return -ENOMEM;
	nexus->target = spec->target;
	nexus->id = atomic_fetch_add_explicit(&ids, 1, memory_order_relaxed);
	nexus->relative_target_port = spec->relative_target_port;
	nexus->group = scsi_alua_find(spec->target, spec->portal_group_tag);
	nexus->slot_count = slots;
	pr_nexus_set(&nexus->name, spec->initiator_port_name,
		     strnlen(spec->initiator_port_name, PR_NAME_BYTES_MAX),
		     spec->relative_target_port);
	(void)snprintf(nexus->target_port_name, sizeof(nexus->target_port_name), "%s,t,0x%04x",
		       spec->target->name, spec->portal_group_tag);
	list_init(&nexus->link);
	for (unsigned i = 0; i < slots; i++)
		nexus->pending[i] = FRESH;
	*out = nexus;
	return 0;
}

void scsi_nexus_free(struct scsi_nexus *nexus)
{
	aligned_free(nexus);
}

void scsi_nexus_on_abort(struct scsi_nexus *nexus, scsi_nexus_abort_fn *abort, void *arg)
{
	nexus->abort = abort;
	nexus->abort_arg = arg;
}

void scsi_nexus_attach(struct scsi_nexus *nexus, const struct loop *loop)
{
	list_append(&nexus->target->nexuses[loop_index(loop)], &nexus->link);
	scsi_alua_attach(nexus);
}

void scsi_nexus_detach(struct scsi_nexus *nexus)
{
	/* SPC-2 7.21: what RESERVE reserved ends with the nexus. */
	scsi_nexus_reset(nexus, NULL);
	list_remove(&nexus->link);
}

void scsi_nexus_set_guard(struct scsi_nexus *nexus, const struct scsi_lu *lu, enum scsi_guard guard)
{
	uint16_t *pending = &nexus->pending[lu->slot];

	if (!scsi_nexus_sees(nexus, lu))
		return;
	*pending = (uint16_t)((*pending & SCSI_UA_MASK) | (unsigned)guard << SCSI_GUARD_SHIFT);
}

const struct scsi_target *scsi_nexus_target(const struct scsi_nexus *nexus)
{
	return nexus->target;
}

bool scsi_nexus_sees(const struct scsi_nexus *nexus, const struct scsi_lu *lu)
{
	return lu->slot < nexus->slot_count;
}

struct scsi_lu *scsi_nexus_find_lu(const struct scsi_nexus *nexus, uint16_t number)
{
	struct scsi_lu *lu = scsi_target_find_lu(nexus->target, number);

	return lu != NULL && scsi_nexus_sees(nexus, lu) ? lu : NULL;
}

void scsi_nexus_clear_slot(struct scsi_nexus *nexus, uint16_t slot)
{
	if (slot < nexus->slot_count)
		nexus->pending[slot] = FRESH;
}

void scsi_nexus_raise(struct scsi_nexus *nexus, const struct scsi_lu *lu, enum scsi_ua ua)
{
	assert(ua < SCSI_UA_COUNT);
	if (scsi_nexus_sees(nexus, lu))
		nexus->pending[lu->slot] |= UA_BIT(ua);
}

void scsi_nexus_raise_all(struct scsi_nexus *nexus, enum scsi_ua ua)
{
	assert(ua < SCSI_UA_COUNT);
	for (unsigned i = 0; i < nexus->slot_count; i++)
		nexus->pending[i] |= UA_BIT(ua);
}

enum scsi_sense scsi_nexus_pending(const struct scsi_nexus *nexus, const struct scsi_lu *lu)
{
	unsigned pending;

	assert(lu->slot < nexus->slot_count);
	pending = nexus->pending[lu->slot] & SCSI_UA_MASK;
	return pending == 0 ? SENSE_NONE : ua_sense[__builtin_ctz(pending)];
}

bool scsi_nexus_describe_pending(const struct scsi_nexus *nexus, const struct scsi_lu *lu,
				 uint8_t out[3])
{
	const struct scsi_sense_row *row = &scsi_sense_table[scsi_nexus_pending(nexus, lu)];

	out[0] = row->key;
	out[1] = row->asc;
	out[2] = row->ascq;
	return row->key != 0;
}

/* What one nexus alone is to report, and another one has reported, is pending no more. */
LOOP_ONLY static void drop_claimed(struct scsi_nexus *nexus, struct scsi_lu *lu)
{
	enum scsi_sense reason = scsi_nexus_pending(nexus, lu);
	uint16_t *pending = &nexus->pending[lu->slot];

	while ((reason == SENSE_THRESHOLD_REACHED || reason == SENSE_POOL_THRESHOLD_REACHED) &&
	       !scsi_threshold_claim(lu, reason)) {
		*pending &= (uint16_t)(*pending - 1u);
		reason = scsi_nexus_pending(nexus, lu);
	}
}

enum scsi_sense scsi_nexus_take(struct scsi_nexus *nexus, struct scsi_lu *lu)
{
	uint16_t *pending = &nexus->pending[lu->slot];
	enum scsi_sense reason;

	drop_claimed(nexus, lu);
	reason = scsi_nexus_pending(nexus, lu);
	/*
	 * A host that hears of power on takes nothing for granted, so what came before is told
	 * with it: libvirt and VirtualBox repeat their first command for 29h/00h only.
	 */
	if (reason == SENSE_POWER_ON) {
		*pending &= (uint16_t)~SCSI_UA_MASK;
	} else if (reason == SENSE_REPORTED_LUNS_CHANGED) {
		/* One list for all logical units, told once (LUICLR). */
		scsi_nexus_luns_reported(nexus);
	} else if (reason != SENSE_NONE) {
		*pending &= (uint16_t)(*pending - 1u); /* The lowest bit. */
	}
	return reason;
}

void scsi_nexus_luns_reported(struct scsi_nexus *nexus)
{
	for (unsigned i = 0; i < nexus->slot_count; i++)
		nexus->pending[i] &= (uint16_t)~UA_BIT(SCSI_UA_LUNS_CHANGED);
}
