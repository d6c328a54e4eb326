/*
 * Reservations as an administrator sees them; see reservation_admin.h.
 *
 * Both orders are switches, so an administrator sees what every loop acts on, and what he clears is
 * what he is told of. Clearing is CLEAR by somebody who is not registered: nobody is spared the
 * unit attention.
 */
#include "target/scsi/reservation_admin.h"

#include <errno.h>
#include <string.h>

#include "target/scsi/device.h"
#include "target/scsi/reservation_lu.h"

static const struct pr_state no_state = {.holder = PR_NOBODY};

static struct scsi_reservation_order *order_of(struct scsi_switch *change)
{
	return CONTAINER_OF(change, struct scsi_reservation_order, change);
}

bool scsi_reservations_known(const struct scsi_lu *lu)
{
	return reservations_find(lu) != NULL;
}

static void show(struct scsi_reservation_order *order, const struct pr_state *state, bool reserved)
{
	if (order->seen != NULL)
		order->seen(order, state, reserved);
}

static void tell(struct scsi_switch *change, struct scsi_nexus *nexus)
{
	const struct scsi_reservation_order *order = order_of(change);

	scsi_reservations_tell(change, nexus);
	loop_role_assume();
	if (order->reserved_by != 0 && nexus->id == order->reserved_by)
		scsi_nexus_raise(nexus, change->lu, SCSI_UA_RESERVATIONS_PREEMPTED);
}

static void on_unkept(struct scsi_switch *change, int res)
{
	order_of(change)->res = res;
}

static void on_done(struct scsi_switch *change)
{
	struct scsi_reservation_order *order = order_of(change);

	if (order->clears)
		reservations_find(change->lu)->before = NULL;
	order->done(order);
}

/* SPC-4 5.13.11.2.7; PRGENERATION counts it. */
static LOOP_ONLY enum scsi_switch_step clear_persistent(struct scsi_reservations *reservations,
							struct scsi_switch *change)
{
	const struct pr_state *now = reservations_now(reservations);
	struct pr_state *next = reservations->next;

	next->generation = now->generation + 1;
	next->persists = now->persists;
	next->type = PR_NONE;
	next->holder = PR_NOBODY;
	next->count = 0;
	reservations->effect = (struct pr_effect){.changed = true};
	memset(reservations->effect.marks, PR_LOST_RESERVATION, now->count);
	reservations->sender = NULL;
	reservations->sender_nexus = NULL;
	return scsi_reservations_keep(reservations, change, on_unkept);
}

static enum scsi_switch_step begin(struct scsi_switch *change)
{
	struct scsi_reservation_order *order = order_of(change);
	struct scsi_reservations *reservations = reservations_find(change->lu);
	const struct pr_state *now = reservations_now(reservations);
	uint64_t holder = reservations_reserved_by(reservations);

	loop_role_assume();
	show(order, now, holder != 0);
	if (!order->clears)
		return SCSI_SWITCH_END;
	if (now->count > 0)
		return clear_persistent(reservations, change);
	/* Its holder may have given it back just now. */
	if (holder == 0 ||
	    !atomic_compare_exchange_strong_explicit(&reservations->reserved_by, &holder, 0,
						     memory_order_acq_rel, memory_order_acquire))
		return SCSI_SWITCH_END;
	order->reserved_by = holder;
	return SCSI_SWITCH_PUBLISH;
}

LOOP_ONLY static void start(struct scsi_reservation_order *order, bool clears)
{
	order->res = 0;
	order->clears = clears;
	order->reserved_by = 0;
	order->change = (struct scsi_switch){.lu = order->lu,
					     .loop = order->loop,
					     .begin = begin,
					     .each = tell,
					     .done = on_done};
	if (order->lu->reservations_lost) {
		order->res = -ENODEV;
	} else if (!scsi_reservations_known(order->lu)) {
		show(order, &no_state, false);
	} else if (scsi_switch_start(&order->change) == 0) {
		return;
	} else {
		order->res = -ENOMEM;
	}
	order->done(order);
}

void scsi_reservations_look(struct scsi_reservation_order *order)
{
	start(order, false);
}

void scsi_reservations_clear(struct scsi_reservation_order *order)
{
	start(order, true);
}
