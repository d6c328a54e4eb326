/*
 * Numbers of all data loops and of the sessions on them, gathered by one round: each loop writes
 * down its own, in one turn, and goes on.
 *
 * Threads: started and ended on the control loop; in between each loop fills what is its own. Read
 * next: survey.c.
 */
#ifndef TARGET_CTL_SURVEY_H
#define TARGET_CTL_SURVEY_H

#include "target/ctl/build.h"
#include "target/iscsi/figures.h"

struct survey;
typedef void survey_done_fn(struct survey *survey, void *arg);

/* One at a time or many; done runs later, on the control loop. -ENOMEM: it does not. */
LOOP_ONLY int MUST_CHECK survey_start(const struct runtime *runtime, survey_done_fn *done,
				      void *arg);
/* From `done` on; to be freed by whoever got it. */
const struct loop_figures *survey_loop(const struct survey *survey, unsigned index);
/* NULL: it was not there yet, or no more. */
const struct session_figures *survey_session(const struct survey *survey, uint16_t tsih);
void survey_free(struct survey *survey);

#endif
