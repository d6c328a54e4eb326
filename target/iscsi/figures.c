/*
 * Numbers for operators; see figures.h. Runs on the loop that it tells of.
 */
#include "target/iscsi/figures.h"

#include "target/iscsi/conn.h"

void figures_of_loop(const struct loop *loop, struct loop_figures *out)
{
	const struct iscsi_loop *home = iscsi_loop_of(loop);

	*out = (struct loop_figures){
		.buffers = loop_buffer_count(loop),
		.buffers_free = loop_buffers_free(loop),
		.tasks = pool_count(&home->tasks),
		.tasks_free = pool_free_count(&home->tasks),
	};
}

static uint32_t buffers_of(const struct session *session)
{
	uint32_t sum = 0;

	for (unsigned i = 0; i < WINDOW_CHARGES; i++)
		sum += session->windows[i];
	return sum;
}

void figures_of_sessions(const struct loop *loop, session_figures_fn *fn, void *arg)
{
	const struct iscsi_loop *home = iscsi_loop_of(loop);

	LIST_FOREACH (node, &home->sessions) {
		const struct session *session = CONTAINER_OF(node, struct session, link);
		const struct session_figures figures = {
			.tsih = session->spec.tsih,
			.window = session->window,
			.outstanding = session->outstanding,
			.buffers = buffers_of(session),
		};

		fn(arg, &figures);
	}
}
