/*
 * What a new configuration does not have any more, on its way out: generations, LUNs and targets.
 *
 *   a generation   until no request of the control socket holds it
 *   a LUN          unpublished (its hosts hear 05/25/00) -> no look at its space -> no switch ->
 *                  flushed and drained -> no generation has it -> forgotten -> closed
 *   a target       its sessions are asked to log out, then dismissed -> its LUNs as above -> freed
 *
 * A disk that is stuck keeps its LUN in the middle of that, image and memory too, for as long as it
 * likes: that is named in the log, and goes on by itself. Its reservations and saved mode pages
 * stay in files of its identity.
 *
 * Threads: the control loop's. Read next: retire.c, ../scsi/lun_change.h.
 */
#ifndef TARGET_CTL_RETIRE_H
#define TARGET_CTL_RETIRE_H

#include "target/ctl/build.h"

struct retire;

/* -ENOMEM. `runtime` outlives it. */
int MUST_CHECK retire_create(struct runtime *runtime, struct retire **out);
/* Nothing is on its way any more, or no loop runs: what is left is freed. NULL is allowed. */
void retire_free(struct retire *retire);

/* Who looks at the generation in force across turns holds it. */
struct generation *retire_hold(struct runtime *runtime);
LOOP_ONLY void retire_release(struct runtime *runtime, struct generation *generation);

/*
 * Before the next generation is in force: records of what it does not have, from `now`. LUNs and
 * targets that are removed begin to go with retire_begin. -ENOMEM: nothing was recorded.
 */
struct retired_lun;
struct retired_target;
int MUST_CHECK retire_add_lun(struct retire *retire, struct scsi_target *target,
			      const struct conf_lun *lun);
int MUST_CHECK retire_add_target(struct retire *retire, const struct conf_target *target);
/* It will not be: forget the records again. */
void retire_cancel(struct retire *retire);
/* It is in force, and no loop looks at the one before. */
LOOP_ONLY void retire_begin(struct retire *retire);

/* A LUN that is still going has that image. */
bool retire_has_image(const struct retire *retire, const char *image);
/* LUNs and targets that are still going. */
size_t retire_count(const struct retire *retire);
/* done(arg) runs when nothing is on its way, at once or later; one at a time. */
LOOP_ONLY void retire_wait(struct retire *retire, void (*done)(void *arg), void *arg);
LOOP_ONLY void retire_tell_stuck(const struct retire *retire);

#endif
