/*
 * The request `luns`: every LUN, or those of one target. Runs on the control loop, but for asking
 * file systems how much an image occupies, which may wait for a disk and so has a helper thread.
 *
 * What a LUN's reservations are is asked for by a look at each that ever had any, all at once; each
 * look keeps what it has seen in its row, and the last one to end goes on.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "target/ctl/requests.h"
#include "target/scsi/reservation_admin.h"

#define NAA_TEXT_BYTES (4u + 2u * LUN_NAA_BYTES + 1u)

struct survey_of_luns;

struct row {
	struct survey_of_luns *survey;
	struct named_lun lun;
	struct scsi_reservation_order look;
	enum pr_type type;
	uint32_t registrations;
	bool reserved; /* By RESERVE(6) or (10). */
	char holder[PR_NAME_BYTES_MAX + 1];
	bool has_used;
	uint64_t used_bytes;
};

struct survey_of_luns {
	struct control_request *request;
	bool quick;
	size_t looking; /* Looks under way, and one while they are started. */
	struct loop_op usage;
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

static json_t *used_json(const struct row *row)
{
	return row->has_used ? json_integer((json_int_t)row->used_bytes) : json_null();
}

static const char *reservation_name(const struct row *row)
{
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
	(void)json_object_set_new(to, "holder",
				  control_json_text(row->holder[0] != '\0' ? row->holder : NULL));
	(void)json_object_set_new(to, "registrations",
				  json_integer((json_int_t)row->registrations));
}

static json_t *row_json(const struct survey_of_luns *survey, const struct row *row)
{
	const struct named_lun *at = &row->lun;
	const struct lun_identity *identity = lun_identity(at->lun);
	const struct lun_limits *limits = lun_limits(at->lun);
	struct lun_state state;
	json_t *json;

	lun_state_copy(at->lun, &state);
	json = json_pack("{s:s, s:i, s:o, s:o, s:I, s:o, s:i, s:b, s:b, s:o, s:o}", "target",
			 at->target->name, "lun", (int)at->conf->number, "naa",
			 identity_json(identity), "serial",
			 control_json_text(identity->naa[0] != 0 ? identity->serial : NULL),
			 "size_bytes", (json_int_t)state.size_bytes, "used_bytes", used_json(row),
			 "block_bytes", (int)limits->logical_block_bytes, "online",
			 (int)state.online, "read_only", (int)state.read_only, "reason",
			 control_json_text(state.online ? NULL : state.offline_reason), "image",
			 control_json_text(at->conf->image));
	if (json != NULL && !survey->quick)
		add_reservation(json, row);
	return json;
}

static LOOP_ONLY void answer(struct survey_of_luns *survey)
{
	json_t *list = json_array();

	for (size_t i = 0; i < survey->count; i++)
		(void)json_array_append_new(list, row_json(survey, &survey->rows[i]));
	control_answer(survey->request, json_pack("{s:o}", "luns", list));
	free(survey);
}

/* -- What images occupy -- */

/* On a helper thread: rows are this call's, and the configuration is constant. */
static int measure(struct loop_op *op)
{
	struct survey_of_luns *survey = CONTAINER_OF(op, struct survey_of_luns, usage);

	for (size_t i = 0; i < survey->count; i++) {
		struct row *row = &survey->rows[i];
		const char *image = row->lun.conf->image;
		struct stat st;

		row->has_used = image != NULL && stat(image, &st) == 0 && S_ISREG(st.st_mode);
		if (row->has_used)
			row->used_bytes = (uint64_t)st.st_blocks * 512u;
	}
	return 0;
}

static LOOP_ONLY void on_measured(struct loop_op *op, int res)
{
	(void)res;
	answer(CONTAINER_OF(op, struct survey_of_luns, usage));
}

/* -- Reservations -- */

static LOOP_ONLY void look_ended(struct survey_of_luns *survey)
{
	if (--survey->looking > 0)
		return;
	loop_op_init(&survey->usage);
	loop_call(control_loop(survey->request), &survey->usage, measure, on_measured);
}

static void on_seen(struct scsi_reservation_order *order, const struct pr_state *state,
		    bool reserved)
{
	struct row *row = CONTAINER_OF(order, struct row, look);

	row->type = state->type;
	row->registrations = state->count;
	row->reserved = reserved;
	if (state->holder != PR_NOBODY)
		(void)snprintf(row->holder, sizeof(row->holder), "%s",
			       state->registrants[state->holder].nexus.initiator);
}

static LOOP_ONLY void on_looked(struct scsi_reservation_order *order)
{
	look_ended(CONTAINER_OF(order, struct row, look)->survey);
}

static LOOP_ONLY void look(struct row *row, struct loop *loop)
{
	if (row->lun.lu == NULL || !scsi_reservations_known(row->lun.lu))
		return;
	row->survey->looking++;
	row->look = (struct scsi_reservation_order){
		.lu = row->lun.lu, .loop = loop, .seen = on_seen, .done = on_looked};
	scsi_reservations_look(&row->look);
}

/* -- The request -- */

static struct survey_of_luns *list_luns(struct control_request *request,
					const struct conf_target *target)
{
	struct lun_walk walk = {.runtime = runtime_of(request)};
	size_t room = target != NULL ? target->lun_count : walk.runtime->lun_count;
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
	survey->quick = control_value(request, 1)->number != 0;
	if (survey->quick) {
		answer(survey);
		return;
	}
	survey->looking = 1;
	for (size_t i = 0; i < survey->count; i++)
		look(&survey->rows[i], control_loop(request));
	look_ended(survey);
}
