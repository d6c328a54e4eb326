/*
 * The request `sessions`: who is logged in. Runs on the control loop, which has the list; what a
 * session's own loop knows comes by a survey.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "target/ctl/requests.h"
#include "target/ctl/survey.h"

#define ISID_TEXT_BYTES 13u

static void isid_text(const uint8_t isid[6], char out[ISID_TEXT_BYTES])
{
	for (size_t i = 0; i < 6; i++)
		(void)snprintf(out + 2 * i, 3, "%02x", isid[i]);
}

/* Null where the session came after the survey, or is about to end. */
static json_t *figure(const struct session_figures *figures, uint32_t value)
{
	return figures != NULL ? json_integer((json_int_t)value) : json_null();
}

static void add_figures(json_t *to, const struct session_figures *figures)
{
	static const struct session_figures none;
	const struct session_figures *from = figures != NULL ? figures : &none;

	(void)json_object_set_new(to, "window", figure(figures, from->window));
	(void)json_object_set_new(to, "commands", figure(figures, from->outstanding));
	(void)json_object_set_new(to, "buffers", figure(figures, from->buffers));
}

static json_t *session_json(const struct registry_entry *entry)
{
	const struct session_spec *spec = registry_spec(entry);
	const char *user = registry_user(entry);
	uint64_t age_ns = clock_now_ns() - registry_since_ns(entry);
	char peer[ADDRESS_TEXT_MAX];
	char local[ADDRESS_TEXT_MAX];
	char isid[ISID_TEXT_BYTES];

	address_format(&spec->peer, peer);
	address_format(&spec->local, local);
	isid_text(spec->isid, isid);
	return json_pack("{s:o, s:o, s:b, s:s, s:s, s:i, s:o, s:s, s:i, s:i, s:I, s:I}",
			 "initiator", control_json_text(spec->initiator_name), "target",
			 control_json_text(spec->target_name), "discovery", (int)spec->discovery,
			 "address", peer, "portal", local, "group", (int)spec->portal_group_tag,
			 "user", control_json_text(user[0] != '\0' ? user : NULL), "isid", isid,
			 "tsih", (int)spec->tsih, "loop", (int)loop_index(spec->loop), "age_s",
			 (json_int_t)(age_ns / CLOCK_NS_PER_S), "luns",
			 spec->target != NULL ? (json_int_t)scsi_target_lu_count(spec->target) : 0);
}

static bool is_wanted(const struct registry_entry *entry, const struct conf_target *target)
{
	const struct session_spec *spec = registry_spec(entry);

	return target == NULL ||
	       (spec->target != NULL && strcmp(scsi_target_name(spec->target), target->name) == 0);
}

static LOOP_ONLY void on_surveyed(struct survey *survey, void *arg)
{
	struct control_request *request = arg;
	const struct registry *registry = runtime_of(request)->server.registry;
	const struct registry_entry *entry = NULL;
	const struct conf_target *target;
	json_t *list;

	if (!request_target(request, &target)) {
		survey_free(survey);
		return;
	}
	list = json_array();
	while ((entry = registry_next(registry, entry)) != NULL) {
		json_t *session = is_wanted(entry, target) ? session_json(entry) : NULL;

		if (session == NULL)
			continue;
		add_figures(session, survey_session(survey, registry_spec(entry)->tsih));
		(void)json_array_append_new(list, session);
	}
	survey_free(survey);
	control_answer(request, json_pack("{s:o}", "sessions", list));
}

void request_sessions(struct control_request *request)
{
	if (survey_start(runtime_of(request), on_surveyed, request) != 0)
		control_answer(request, NULL);
}
