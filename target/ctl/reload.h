/*
 * Reading the configuration again while the daemon runs: on SIGHUP, and when `ringsan reload` asks.
 * All of it is checked first, and what cannot be changed live refuses all of it, so that what runs
 * is always what one file said. Then the difference is carried out, and nothing else is touched.
 *
 *     loading (helper thread) -> comparing
 *       -> preparing: LUNs opened, images measured (helper thread)
 *       -> growing: images made larger that have to be closed for it
 *       -> adding: LUNs published -> in force: the new view, growth -> retiring (retire.h) -> told
 *
 * One at a time. Threads: the control loop's, but for what helper threads do. Read next: reload.c,
 * reload_job.h, generation.h, retire.h, ../../conf/changes.h.
 */
#ifndef TARGET_CTL_RELOAD_H
#define TARGET_CTL_RELOAD_H

#include "target/ctl/build.h"
#include "target/ctl/requests.h"
#include "target/ctl/stop.h"

struct reload;

/* -ENOMEM. `runtime` and `stop` outlive it. */
int MUST_CHECK reload_create(struct runtime *runtime, struct stop *stop, struct reload **out);
void reload_free(struct reload *reload);
/* Begin one, for `request`, which will be answered, or for nobody (NULL): the log is told in any
 * case. */
LOOP_ONLY void reload_begin(struct reload *reload, struct control_request *request, bool dry_run);
/* No more: one that is under way ends, or is given up where nothing has been changed yet; done(arg)
 * runs when it has, and nothing that was removed is under way either. */
LOOP_ONLY void reload_stop(struct reload *reload, void (*done)(void *arg), void *arg);

#endif
