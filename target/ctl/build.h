/*
 * The daemon's parts, made from the configuration and put together: loops, portals, LUNs, targets,
 * the list of sessions, login. Nothing runs yet when runtime_build returns; daemon.c starts it.
 *
 * Threads: the control thread, before the loops run and after they have ended.
 * Read next: build.c, daemon.h.
 */
#ifndef TARGET_CTL_BUILD_H
#define TARGET_CTL_BUILD_H

#include "lun/lun.h"
#include "target/ctl/control.h"
#include "target/ctl/generation.h"
#include "target/ctl/sizing.h"
#include "target/ctl/space.h"
#include "target/iscsi/login_service.h"
#include "target/iscsi/registry.h"

struct runtime {
	const struct conf *conf; /* That of `now`. */
	struct sizing sizing;
	struct iscsi_server server;
	struct generation *now;       /* In force. */
	struct list_node generations; /* struct generation, oldest first; `now` is the last. */
	struct iscsi_portal *portals;
	/* Copies: they outlive the configuration that they come from. */
	char *state_dir;
	char *advertise[PORTALS_MAX];
	struct space *space;
	struct retire *retire;
	struct reload *reload;
	struct jobs *jobs;
	struct portal_set *portal_set;
	struct login_service *logins;
	struct control *control;
	uint64_t since_ns;
};

/*
 * Make all of it. Portals are bound first, so that a second daemon that was started by mistake ends
 * before it touches an image. On failure: -EINVAL with what is wrong in `errors`, or another
 * negative errno of which the log tells. `conf` must outlive the runtime.
 */
int MUST_CHECK runtime_build(const struct conf *conf, const struct sizing *sizing,
			     struct conf_errors *errors, struct runtime **out);
/* Release everything that was made. No loop runs, no session and no connection is left. NULL is
 * allowed. */
void runtime_free(struct runtime *runtime);

/* What the configuration says of a LUN as a logical unit. */
struct scsi_lu_spec build_lu_spec(const struct runtime *runtime, const struct conf_lun *from,
				  struct lun *lun);
/* The state directory: made with mode 0700 if it is missing. 0, or -EINVAL with an error added. */
int MUST_CHECK build_state_dir(const struct conf *conf, struct conf_errors *errors);

#endif
