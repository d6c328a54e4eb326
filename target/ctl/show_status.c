/*
 * The request `status`: how the daemon is. Runs on the control loop; what loops know of themselves
 * comes by a survey.
 */
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/version.h"
#include "target/ctl/requests.h"
#include "target/ctl/survey.h"

/* Memory that the process occupies, or 0. The file is the kernel's own: reading it does not wait.
 */
static uint64_t resident_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	char text[128];
	char *at = text;
	uint64_t pages = 0;

	if (file == NULL)
		return 0;
	/* "size resident ..." in pages. */
	if (fgets(text, sizeof(text), file) != NULL) {
		(void)strtoull(text, &at, 10);
		pages = strtoull(at, NULL, 10);
	}
	(void)fclose(file);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static json_t *loop_json(const struct runtime *runtime, const struct survey *survey, unsigned index)
{
	const struct loop *loop = runtime->server.group.loops[index];
	const struct loop_figures *figures = survey_loop(survey, index);
	struct loop_stats stats;

	loop_stats_read(loop, &stats);
	return json_pack("{s:i, s:I, s:f, s:I, s:I, s:I, s:I, s:I, s:I}", "loop", (int)index,
			 "sessions",
			 (json_int_t)registry_loop_count(runtime->server.registry, loop), "cpu_s",
			 (double)loop_cpu_ns(loop) / (double)CLOCK_NS_PER_S, "buffers",
			 (json_int_t)figures->buffers, "buffers_used",
			 (json_int_t)(figures->buffers - figures->buffers_free), "tasks",
			 (json_int_t)figures->tasks, "tasks_used",
			 (json_int_t)(figures->tasks - figures->tasks_free), "turns",
			 (json_int_t)stats.turns, "sleeps", (json_int_t)stats.sleeps);
}

static json_t *loops_json(const struct runtime *runtime, const struct survey *survey)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < runtime->server.group.count; i++)
		(void)json_array_append_new(list, loop_json(runtime, survey, i));
	return list;
}

static json_t *portals_json(const struct iscsi_server *server)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < server->portal_count; i++) {
		char text[ADDRESS_TEXT_MAX];

		address_format(&server->portals[i].address, text);
		(void)json_array_append_new(list, json_pack("{s:s, s:i}", "address", text, "group",
							    (int)server->portals[i].tag));
	}
	return list;
}

static size_t count_offline(const struct runtime *runtime)
{
	size_t count = 0;

	for (size_t i = 0; i < runtime->now->lun_count; i++) {
		struct lun_state state;

		lun_state_copy(runtime->now->luns[i], &state);
		count += !state.online;
	}
	return count;
}

/* What became of all that connected. */
static json_t *arrivals_json(const struct runtime *runtime)
{
	const struct login_counters *counters = login_service_counters(runtime->logins);

	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "admitted", (json_int_t)counters->admitted,
			 "redirected", (json_int_t)counters->redirected, "refused",
			 (json_int_t)counters->refused, "unproved", (json_int_t)counters->unproved,
			 "closed", (json_int_t)counters->closed);
}

static json_t *status_json(const struct runtime *runtime, const struct survey *survey)
{
	const struct iscsi_server *server = &runtime->server;
	uint64_t age_ns = clock_now_ns() - runtime->since_ns;

	return json_pack(
		"{s:s, s:I, s:I, s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:I, s:I, s:o}",
		"version", RINGSAN_VERSION, "pid", (json_int_t)getpid(), "uptime_s",
		(json_int_t)(age_ns / CLOCK_NS_PER_S), "engine",
		loop_engine_name(server->group.loops[0]), "configuration", runtime->conf->file,
		"portals", portals_json(server), "targets",
		(json_int_t)runtime->now->view.target_count, "luns",
		(json_int_t)runtime->now->lun_count, "luns_offline",
		(json_int_t)count_offline(runtime), "sessions",
		(json_int_t)registry_count(server->registry), "sessions_max",
		(json_int_t)server->limits.sessions_max, "logins",
		(json_int_t)login_service_count(runtime->logins), "arrivals",
		arrivals_json(runtime), "memory_bytes", (json_int_t)resident_bytes(),
		"buffer_memory_bytes", (json_int_t)runtime->conf->limits.memory_bytes, "loops",
		loops_json(runtime, survey));
}

static LOOP_ONLY void on_surveyed(struct survey *survey, void *arg)
{
	struct control_request *request = arg;

	control_answer(request, status_json(runtime_of(request), survey));
	survey_free(survey);
}

void request_status(struct control_request *request)
{
	if (survey_start(runtime_of(request), on_surveyed, request) != 0)
		control_answer(request, NULL);
}
