/*
 * What handlers of the control socket's requests share; see requests.h. And the request for help.
 *
 * Runs on the control loop.
 */
#include "target/ctl/requests.h"

#include <assert.h>
#include <inttypes.h>
#include <strings.h>

bool lun_walk_next(struct lun_walk *walk, struct named_lun *out)
{
	const struct conf *conf = walk->runtime->conf;

	while (walk->target < conf->target_count &&
	       walk->place == conf->targets[walk->target].lun_count) {
		walk->target++;
		walk->place = 0;
	}
	if (walk->target == conf->target_count)
		return false;
	out->target = &conf->targets[walk->target];
	out->conf = &out->target->luns[walk->place++];
	out->lun = walk->runtime->now->luns[walk->index++];
	out->lu = scsi_target_find_lu(walk->runtime->now->targets[walk->target].scsi,
				      out->conf->number);
	return true;
}

bool request_target(struct control_request *request, const struct conf_target **out)
{
	const struct conf *conf = runtime_of(request)->conf;
	const char *name = control_value(request, 0)->text;

	*out = NULL;
	for (size_t i = 0; name != NULL && i < conf->target_count; i++) {
		if (strcasecmp(conf->targets[i].name, name) == 0)
			*out = &conf->targets[i];
	}
	if (name == NULL || *out != NULL)
		return true;
	control_refuse(request, CONTROL_NOT_FOUND, "`ringsan luns` lists targets and their LUNs.",
		       "there is no target %s", name);
	return false;
}

bool request_lun(struct control_request *request, struct named_lun *out)
{
	struct lun_walk walk = {.runtime = runtime_of(request)};
	uint64_t number = control_value(request, 1)->number;
	const struct conf_target *target;

	if (!request_target(request, &target))
		return false;
	assert(target != NULL); /* Those that name a LUN must name its target. */
	while (lun_walk_next(&walk, out)) {
		if (out->target == target && out->conf->number == number)
			return true;
	}
	control_refuse(request, CONTROL_NOT_FOUND, "`ringsan luns` lists targets and their LUNs.",
		       "target %s has no LUN %" PRIu64, target->name, number);
	return false;
}

/* -- help -- */

static json_t *parameters_of(const struct control_row *row)
{
	static const char *const types[CONTROL_TYPE_COUNT] = {
		[CONTROL_TEXT] = "text",
		[CONTROL_NUMBER] = "number",
		[CONTROL_FLAG] = "flag",
		[CONTROL_TEXTS] = "texts",
	};
	json_t *list = json_array();

	for (size_t i = 0; i < row->parameter_count; i++) {
		const struct control_parameter *parameter = &row->parameters[i];

		(void)json_array_append_new(
			list, json_pack("{s:s, s:s, s:b, s:I, s:I}", "name", parameter->name,
					"type", types[parameter->type], "optional",
					(int)parameter->optional, "min", (json_int_t)parameter->min,
					"max", (json_int_t)parameter->max));
	}
	return list;
}

void request_help(struct control_request *request)
{
	json_t *list = json_array();

	for (size_t i = 0; i < control_requests.count; i++) {
		const struct control_row *row = &control_requests.rows[i];

		(void)json_array_append_new(list, json_pack("{s:s, s:o}", "request", row->name,
							    "parameters", parameters_of(row)));
	}
	control_answer(request, json_pack("{s:o}", "requests", list));
}
