/*
 * The request `luns`: every LUN, or those of one target. Runs on the control loop. It asks no disk:
 * what images occupy is as of the last look of those who watch pools (space.h).
 *
 * What a LUN's reservations are is asked for by a look at each that ever had any, all at once; each
 * look keeps what it has seen in its row, and the last one to end answers. A change of reservations
 * whose file meets a stuck disk keeps the looks behind it waiting, so after a while what has not
 * been seen is "unknown", and the answer goes without it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lun/space.h"
#include "target/ctl/requests.h"
#include "target/ctl/retire.h"
#include "target/scsi/reservation_admin.h"

/* A change of reservations takes as long as writing a small file durably. */
#define LOOK_MS_MAX 2000u
/* Surveys that were answered without all their looks, and wait for these: no more memory than that,
 * however often somebody asks beside a stuck disk. */
#define LEFT_BEHIND_MAX 4u

#define NAA_TEXT_BYTES (4u + 2u * LUN_NAA_BYTES + 1u)

static unsigned left_behind; /* The control loop's. */

struct survey_of_luns;

struct row {
	struct survey_of_luns *survey;
	struct named_lun lun;
	struct scsi_reservation_order look;
	bool unknown;  /* Its reservations have not been seen. */
	bool reserved; /* By RESERVE(6) or (10). */
	enum pr_type type;
	uint32_t registrations;
	char *holder; /* Owned; NULL: nobody. */
};

struct survey_of_luns {
	struct runtime *runtime;
	struct generation *generation;   /* Held: rows look into it. */
	struct control_request *request; /* NULL: it has been answered. */
	struct loop *loop;
	bool quick;
	size_t looking; /* Looks under way, and one while they are started. */
	struct loop_timer patience;
	size_t count;
	struct row rows[];
};

/* -- Answering -- */

static void naa_text(const struct lun_identity *identity, char out[NAA_TEXT_BYTES])
{
	size_t used = (size_t)snprintf(out, NAA_TEXT_BYTES, "naa.");

	for (size_t i = 0; i < LUN_NAA_BYTES; i++)
		used += (size_t)snprintf(out + used, NAA_TEXT_BYTES - used, "%02x",
					 identity->naa[i]);
}

static json_t *used_json(const struct lun *lun)
{
	struct lun_space space;

	return lun_space(lun, &space) ? json_integer((json_int_t)space.used_bytes) : json_null();
}

static json_t *recovery_json(const struct lun *lun)
{
	struct lun_recovery recovery;

	lun_recovery(lun, &recovery);
	if (!recovery.running && recovery.clusters == 0)
		return json_null();
	return json_pack("{s:b, s:I}", "running", (int)recovery.running, "clusters",
			 (json_int_t)recovery.clusters);
}

static const char *reservation_name(const struct row *row)
{
	if (row->unknown)
		return "unknown";
	return row->reserved ? "reserve" : pr_type_name(row->type);
}

static json_t *identity_json(const struct lun_identity *identity)
{
	char text[NAA_TEXT_BYTES];

	naa_text(identity, text);
	return identity->naa[0] != 0 ? json_string(text) : json_null();
}

static void add_reservation(json_t *to, const struct row *row)
{
	(void)json_object_set_new(to, "reservation", control_json_text(reservation_name(row)));
	(void)json_object_set_new(to, "holder", control_json_text(row->holder));
	(void)json_object_set_new(to, "registrations",
				  row->unknown ? json_null()
					       : json_integer((json_int_t)row->registrations));
}

static json_t *row_json(const struct survey_of_luns *survey, const struct row *row)
{
	const struct named_lun *at = &row->lun;
	const struct lun_identity *identity = lun_identity(at->lun);
	const struct lun_limits *limits = lun_limits(at->lun);
	struct lun_state state;
	json_t *json;

	lun_state_copy(at->lun, &state);
	json = json_pack("{s:s, s:i, s:o, s:o, s:I, s:o, s:i, s:b, s:b, s:o, s:o, s:o}", "target",
			 at->target->name, "lun", (int)at->conf->number, "naa",
			 identity_json(identity), "serial",
			 control_json_text(identity->naa[0] != 0 ? identity->serial : NULL),
			 "size_bytes", (json_int_t)state.size_bytes, "used_bytes",
			 used_json(at->lun), "block_bytes", (int)limits->logical_block_bytes,
			 "online", (int)state.online, "read_only", (int)state.read_only, "reason",
			 control_json_text(state.online ? NULL : state.offline_reason), "image",
			 control_json_text(at->conf->image), "recovery", recovery_json(at->lun));
	if (json != NULL && !survey->quick)
		add_reservation(json, row);
	return json;
}

static LOOP_ONLY void answer(struct survey_of_luns *survey)
{
	struct control_request *request = survey->request;
	json_t *list = json_array();

	for (size_t i = 0; i < survey->count; i++)
		(void)json_array_append_new(list, row_json(survey, &survey->rows[i]));
	survey->request = NULL;
	loop_timer_stop(survey->loop, &survey->patience);
	control_answer(request, json_pack("{s:o}", "luns", list));
}

LOOP_ONLY static void free_survey(struct survey_of_luns *survey)
{
	for (size_t i = 0; i < survey->count; i++)
		free(survey->rows[i].holder);
	retire_release(survey->runtime, survey->generation);
	free(survey);
}

/* -- Reservations -- */

static LOOP_ONLY void look_ended(struct survey_of_luns *survey)
{
	if (--survey->looking > 0)
		return;
	if (survey->request != NULL) {
		answer(survey);
	} else {
		left_behind--;
	}
	free_survey(survey);
}

static LOOP_ONLY void on_impatient(struct loop_timer *timer)
{
	left_behind++;
	answer(CONTAINER_OF(timer, struct survey_of_luns, patience));
}

static void on_seen(struct scsi_reservation_order *order, const struct pr_state *state,
		    bool reserved)
{
	struct row *row = CONTAINER_OF(order, struct row, look);

	row->unknown = false;
	row->type = state->type;
	row->registrations = state->count;
	row->reserved = reserved;
	if (state->holder != PR_NOBODY)
		row->holder = strdup(state->registrants[state->holder].nexus.initiator);
}

static LOOP_ONLY void on_looked(struct scsi_reservation_order *order)
{
	look_ended(CONTAINER_OF(order, struct row, look)->survey);
}

/* What is known to have none needs no look. */
static LOOP_ONLY void look(struct row *row)
{
	struct survey_of_luns *survey = row->survey;

	if (row->lun.lu == NULL || !scsi_reservations_known(row->lun.lu))
		return;
	row->unknown = true;
	if (left_behind >= LEFT_BEHIND_MAX)
		return;
	survey->looking++;
	row->look = (struct scsi_reservation_order){
		.lu = row->lun.lu, .loop = survey->loop, .seen = on_seen, .done = on_looked};
	scsi_reservations_look(&row->look);
}

static LOOP_ONLY void look_at_all(struct survey_of_luns *survey)
{
	survey->looking = 1;
	loop_timer_start(survey->loop, &survey->patience, LOOK_MS_MAX, on_impatient);
	for (size_t i = 0; i < survey->count && !survey->quick; i++)
		look(&survey->rows[i]);
	look_ended(survey);
}

/* -- The request -- */

static struct survey_of_luns *list_luns(struct control_request *request,
					const struct conf_target *target)
{
	struct lun_walk walk = {.runtime = runtime_of(request)};
	size_t room = target != NULL ? target->lun_count : walk.runtime->now->lun_count;
	struct survey_of_luns *survey = calloc(1, sizeof(*survey) + room * sizeof(struct row));
	struct named_lun lun;

	while (survey != NULL && lun_walk_next(&walk, &lun)) {
		if (target == NULL || lun.target == target)
			survey->rows[survey->count++] = (struct row){.survey = survey, .lun = lun};
	}
	return survey;
}

void request_luns(struct control_request *request)
{
	const struct conf_target *target;
	struct survey_of_luns *survey;

	if (!request_target(request, &target))
		return;
	survey = list_luns(request, target);
	if (survey == NULL) {
		control_answer(request, NULL);
		return;
	}
	survey->request = request;
	survey->runtime = runtime_of(request);
	survey->generation = retire_hold(survey->runtime);
	survey->loop = control_loop(request);
	survey->quick = control_value(request, 1)->number != 0;
	space_hurry(runtime_of(request)->space);
	look_at_all(survey);
}
