/*
 * The requests `reservations-show` and `reservations-clear`: who has what of one LUN, and freeing a
 * disk whose hosts are dead. Runs on the control loop.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "target/ctl/requests.h"
#include "target/ctl/retire.h"
#include "target/scsi/reservation_admin.h"

struct order {
	struct control_request *request;
	struct runtime *runtime;
	struct generation *generation; /* Held. */
	struct named_lun lun;
	struct scsi_reservation_order order;
	json_t *seen; /* NULL: memory is short. */
	uint32_t registrations;
};

const char *pr_type_name(enum pr_type type)
{
	static const char *const names[PR_TYPE_COUNT] = {
		[PR_WRITE_EXCLUSIVE] = "write-exclusive",
		[PR_EXCLUSIVE_ACCESS] = "exclusive-access",
		[PR_WRITE_EXCLUSIVE_RO] = "write-exclusive-registrants-only",
		[PR_EXCLUSIVE_ACCESS_RO] = "exclusive-access-registrants-only",
		[PR_WRITE_EXCLUSIVE_AR] = "write-exclusive-all-registrants",
		[PR_EXCLUSIVE_ACCESS_AR] = "exclusive-access-all-registrants",
	};

	return names[type];
}

static json_t *registrant_json(const struct pr_state *state, uint32_t at)
{
	const struct pr_registrant *registrant = &state->registrants[at];
	char key[sizeof("0x") + 16];

	(void)snprintf(key, sizeof(key), "0x%016" PRIx64, registrant->key);
	return json_pack("{s:o, s:i, s:s, s:b}", "initiator",
			 control_json_text(registrant->nexus.initiator), "group",
			 (int)registrant->nexus.target_port, "key", key, "holder",
			 (int)pr_is_holder(state, at));
}

static json_t *state_json(const struct order *order, const struct pr_state *state, bool reserved)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < state->count; i++)
		(void)json_array_append_new(list, registrant_json(state, i));
	return json_pack("{s:s, s:i, s:o, s:I, s:b, s:b, s:o}", "target", order->lun.target->name,
			 "lun", (int)order->lun.conf->number, "reservation",
			 control_json_text(pr_type_name(state->type)), "generation",
			 (json_int_t)state->generation, "survives_power_loss", (int)state->persists,
			 "reserve", (int)reserved, "registrations", list);
}

static void on_seen(struct scsi_reservation_order *from, const struct pr_state *state,
		    bool reserved)
{
	struct order *order = CONTAINER_OF(from, struct order, order);

	order->registrations = state->count + reserved;
	order->seen = state_json(order, state, reserved);
}

static const char *remedy_for(int res)
{
	if (res == -ENODEV)
		return "The LUN is offline; `ringsan luns` says why. Bring it back first.";
	if (res == -ENOMEM)
		return "Try again later.";
	return "Look at state-dir: it must be writable and have room. Nothing was changed.";
}

static LOOP_ONLY void on_done(struct scsi_reservation_order *from)
{
	struct order *order = CONTAINER_OF(from, struct order, order);

	if (from->res != 0) {
		json_decref(order->seen);
		control_refuse(order->request, CONTROL_FAILED, remedy_for(from->res),
			       "reservations of %s: %s", lun_name(order->lun.lun),
			       strerrordesc_np(-from->res));
	} else {
		if (from->clears && order->registrations > 0)
			log_warn("ctl", "%s: the administrator cleared %" PRIu32 " registrations",
				 lun_name(order->lun.lun), order->registrations);
		control_answer(order->request, order->seen);
	}
	retire_release(order->runtime, order->generation);
	free(order);
}

static LOOP_ONLY void start(struct control_request *request, bool clears)
{
	struct order *order = calloc(1, sizeof(*order));

	if (order == NULL) {
		control_answer(request, NULL);
		return;
	}
	if (!request_lun(request, &order->lun)) {
		free(order);
		return;
	}
	order->request = request;
	order->runtime = runtime_of(request);
	order->generation = retire_hold(order->runtime);
	order->order = (struct scsi_reservation_order){.lu = order->lun.lu,
						       .loop = control_loop(request),
						       .seen = on_seen,
						       .done = on_done};
	if (clears) {
		scsi_reservations_clear(&order->order);
	} else {
		scsi_reservations_look(&order->order);
	}
}

void request_reservations_show(struct control_request *request)
{
	start(request, false);
}

void request_reservations_clear(struct control_request *request)
{
	start(request, true);
}
