/*
 * The requests `alua-show` and `alua-set`: target port groups and their states. Runs on the control
 * loop.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"
#include "target/ctl/requests.h"
#include "target/ctl/retire.h"
#include "target/scsi/alua.h"

static const char *cause_name(enum scsi_access_cause cause)
{
	if (cause == SCSI_ACCESS_BY_HOST)
		return "host";
	return cause == SCSI_ACCESS_BY_ADMINISTRATOR ? "administrator" : NULL;
}

static json_t *group_json(const struct iscsi_target *target, unsigned index)
{
	struct scsi_group_view group;

	scsi_target_group(target->scsi, index, &group);
	return json_pack("{s:s, s:i, s:o, s:b, s:o}", "target", target->name, "group",
			 (int)group.tag, "state", control_json_text(scsi_access_name(group.state)),
			 "preferred", (int)group.preferred, "changed_by",
			 control_json_text(cause_name(group.cause)));
}

static void add_groups(json_t *list, const struct iscsi_target *target)
{
	for (unsigned i = 0; i < scsi_target_group_count(target->scsi); i++)
		(void)json_array_append_new(list, group_json(target, i));
}

void request_alua_show(struct control_request *request)
{
	const struct iscsi_view *view = &runtime_of(request)->now->view;
	const struct conf_target *wanted;
	json_t *list;

	if (!request_target(request, &wanted))
		return;
	list = json_array();
	for (unsigned i = 0; i < view->target_count; i++) {
		if (wanted == NULL || view->targets[i]->rules == wanted)
			add_groups(list, view->targets[i]);
	}
	control_answer(request, json_pack("{s:o}", "groups", list));
}

/* -- Changing -- */

struct order {
	struct control_request *request;
	struct runtime *runtime;
	struct generation *generation; /* Held. */
	const struct conf_target *target;
	struct scsi_access_change change;
};

static const char *preference_text(enum scsi_access_preference preference)
{
	if (preference == SCSI_PREFERENCE_KEEP)
		return "";
	return preference == SCSI_PREFERENCE_ON ? ", preferred" : ", not preferred";
}

static enum scsi_access_preference preference_of(const struct control_value *value)
{
	if (!value->given)
		return SCSI_PREFERENCE_KEEP;
	return value->number != 0 ? SCSI_PREFERENCE_ON : SCSI_PREFERENCE_OFF;
}

static LOOP_ONLY void on_done(struct scsi_access_change *change)
{
	struct order *order = CONTAINER_OF(change, struct order, change);

	if (change->changed)
		log_info("ctl", "%s: portal group %u: %s%s, by the administrator",
			 order->target->name, (unsigned)change->tag,
			 scsi_access_name(change->state), preference_text(change->preference));
	control_answer(order->request, json_pack("{s:b}", "changed", (int)change->changed));
	retire_release(order->runtime, order->generation);
	free(order);
}

static LOOP_ONLY void start(struct order *order)
{
	int res = scsi_access_change_start(&order->change);

	if (res == 0)
		return;
	if (res == -ENOENT) {
		control_refuse(order->request, CONTROL_NOT_FOUND,
			       "`ringsan alua show` lists target port groups.",
			       "target %s has no portal group %u", order->target->name,
			       (unsigned)order->change.tag);
	} else {
		control_answer(order->request, NULL);
	}
	retire_release(order->runtime, order->generation);
	free(order);
}

static struct scsi_target *scsi_of(const struct runtime *runtime, const struct conf_target *target)
{
	return runtime->now->targets[target - runtime->conf->targets].scsi;
}

void request_alua_set(struct control_request *request)
{
	const char *state = control_value(request, 2)->text;
	const struct conf_target *target;
	enum scsi_access_state wanted;
	struct order *order;

	if (!request_target(request, &target))
		return;
	if (!scsi_access_find(state, &wanted)) {
		control_refuse(request, CONTROL_BAD_REQUEST,
			       "Give optimized, non-optimized, standby, unavailable, offline or "
			       "transitioning.",
			       "there is no state '%s'", state);
		return;
	}
	order = calloc(1, sizeof(*order));
	if (order == NULL) {
		control_answer(request, NULL);
		return;
	}
	order->request = request;
	order->runtime = runtime_of(request);
	order->generation = retire_hold(order->runtime);
	order->target = target;
	order->change = (struct scsi_access_change){
		.target = scsi_of(runtime_of(request), target),
		.loop = control_loop(request),
		.tag = (uint16_t)control_value(request, 1)->number,
		.state = wanted,
		.preference = preference_of(control_value(request, 3)),
		.done = on_done,
	};
	start(order);
}
