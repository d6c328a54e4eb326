/*
 * A round that gathers numbers; see survey.h.
 *
 * The control loop lists the sessions that there are, by TSIH, before the round; a loop fills in
 * those that it finds on itself. A TSIH is another session's only after the first one has ended on
 * its loop and the control loop was told, so two loops never write to one place at once.
 */
#include "target/ctl/survey.h"

#include <errno.h>
#include <stdlib.h>

struct survey {
	struct loop_round round;
	survey_done_fn *done;
	void *arg;
	struct loop_figures loops[LOOPS_MAX];
	size_t count;
	struct session_figures sessions[]; /* Ascending by TSIH; window 0: not found. */
};

static int compare(const void *a, const void *b)
{
	const struct session_figures *left = a;
	const struct session_figures *right = b;

	return (int)left->tsih - (int)right->tsih;
}

static struct session_figures *find(const struct survey *survey, uint16_t tsih)
{
	const struct session_figures key = {.tsih = tsih};

	return bsearch(&key, survey->sessions, survey->count, sizeof(key), compare);
}

static void on_session(void *arg, const struct session_figures *figures)
{
	struct session_figures *place = find(arg, figures->tsih);

	if (place != NULL)
		*place = *figures;
}

static bool on_each_loop(struct loop_round *round, struct loop *loop)
{
	struct survey *survey = CONTAINER_OF(round, struct survey, round);

	loop_role_assume();
	figures_of_loop(loop, &survey->loops[loop_index(loop)]);
	figures_of_sessions(loop, on_session, survey);
	return true;
}

static void on_all_loops(struct loop_round *round)
{
	struct survey *survey = CONTAINER_OF(round, struct survey, round);

	survey->done(survey, survey->arg);
}

int survey_start(const struct runtime *runtime, survey_done_fn *done, void *arg)
{
	const struct registry *registry = runtime->server.registry;
	size_t count = registry_count(registry);
	struct survey *survey = calloc(1, sizeof(*survey) + count * sizeof(struct session_figures));
	const struct registry_entry *entry = NULL;

	if (survey == NULL)
		return -ENOMEM;
	survey->done = done;
	survey->arg = arg;
	while (survey->count < count && (entry = registry_next(registry, entry)) != NULL)
		survey->sessions[survey->count++].tsih = registry_spec(entry)->tsih;
	qsort(survey->sessions, survey->count, sizeof(struct session_figures), compare);
	loop_round_start(&survey->round, &runtime->server.group, runtime->server.control,
			 on_each_loop, on_all_loops);
	return 0;
}

const struct loop_figures *survey_loop(const struct survey *survey, unsigned index)
{
	return &survey->loops[index];
}

const struct session_figures *survey_session(const struct survey *survey, uint16_t tsih)
{
	const struct session_figures *found = find(survey, tsih);

	return found != NULL && found->window != 0 ? found : NULL;
}

void survey_free(struct survey *survey)
{
	free(survey);
}
