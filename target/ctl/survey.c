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

/* `tsih` is constant while loops look for theirs; `figures` is the loop's that finds it. */
struct place {
	uint16_t tsih;
	struct session_figures figures; /* Window 0: not found. */
};

struct survey {
	struct loop_round round;
	survey_done_fn *done;
	void *arg;
	struct loop_figures loops[LOOPS_MAX];
	size_t count;
	struct place places[]; /* Ascending by TSIH. */
};

static int compare(const void *a, const void *b)
{
	const struct place *left = a;
	const struct place *right = b;

	return (int)left->tsih - (int)right->tsih;
}

static struct place *find(const struct survey *survey, uint16_t tsih)
{
	const struct place key = {.tsih = tsih};

	return bsearch(&key, survey->places, survey->count, sizeof(key), compare);
}

static void on_session(void *arg, const struct session_figures *figures)
{
	struct place *place = find(arg, figures->tsih);

	if (place != NULL)
		place->figures = *figures;
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
	struct survey *survey = calloc(1, sizeof(*survey) + count * sizeof(struct place));
	const struct registry_entry *entry = NULL;

	if (survey == NULL)
		return -ENOMEM;
	survey->done = done;
	survey->arg = arg;
	while (survey->count < count && (entry = registry_next(registry, entry)) != NULL)
		survey->places[survey->count++].tsih = registry_spec(entry)->tsih;
	qsort(survey->places, survey->count, sizeof(struct place), compare);
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
	const struct place *found = find(survey, tsih);

	return found != NULL && found->figures.window != 0 ? &found->figures : NULL;
}

void survey_free(struct survey *survey)
{
	free(survey);
}
