/*
 * What the control socket can be asked for: the table, and what its handlers share. A new request
 * is a row in control_table.c, a handler in a file of its own, and a verb of `ringsan`
 * (target/cli).
 *
 * Threads: the control loop's, but where a file says otherwise. A handler's context is the runtime.
 * Read next: control_table.c, control.h, CONTROL.md.
 */
#ifndef TARGET_CTL_REQUESTS_H
#define TARGET_CTL_REQUESTS_H

#include "target/ctl/build.h"
#include "target/ctl/control.h"
#include "target/scsi/pr_state.h"

extern const struct control_table control_requests;

LOOP_ONLY void request_help(struct control_request *request);
LOOP_ONLY void request_status(struct control_request *request);
LOOP_ONLY void request_sessions(struct control_request *request);
LOOP_ONLY void request_luns(struct control_request *request);
LOOP_ONLY void request_alua_show(struct control_request *request);
LOOP_ONLY void request_alua_set(struct control_request *request);
LOOP_ONLY void request_reload(struct control_request *request);
LOOP_ONLY void request_image_resize(struct control_request *request);
LOOP_ONLY void request_image_clone(struct control_request *request);
LOOP_ONLY void request_image_snapshot(struct control_request *request);
LOOP_ONLY void request_image_rollback(struct control_request *request);
LOOP_ONLY void request_reservations_show(struct control_request *request);
LOOP_ONLY void request_reservations_clear(struct control_request *request);
LOOP_ONLY void request_image_stream(struct control_request *request);
LOOP_ONLY void request_image_commit(struct control_request *request);
LOOP_ONLY void request_image_remove(struct control_request *request);
LOOP_ONLY void request_jobs(struct control_request *request);
LOOP_ONLY void request_job_cancel(struct control_request *request);
LOOP_ONLY void request_job_rate(struct control_request *request);

/* -- What handlers share -- */

static inline struct runtime *runtime_of(struct control_request *request)
{
	return control_context(request);
}

/* A logical unit as the configuration and the runtime know it. */
struct named_lun {
	const struct conf_target *target;
	const struct conf_lun *conf;
	struct lun *lun;
	struct scsi_lu *lu;
};

/* Every LUN, target by target. Begin with {runtime}. */
struct lun_walk {
	const struct runtime *runtime;
	size_t target, place, index;
};

/* False: there are no more. */
bool lun_walk_next(struct lun_walk *walk, struct named_lun *out);
/* By parameters `target` (text, first) and `lun` (number, second) of the request. False: it has
 * been answered, there is none. */
LOOP_ONLY bool MUST_CHECK request_lun(struct control_request *request, struct named_lun *out);
/* False: it has been answered, there is no target of the name in the first parameter. Without that
 * parameter `out` is NULL. */
LOOP_ONLY bool MUST_CHECK request_target(struct control_request *request,
					 const struct conf_target **out);

/* "write-exclusive" and so on; NULL: nothing is reserved. */
const char *pr_type_name(enum pr_type type);

#endif
