/*
 * A switch (DESIGN.md 4): a change of what loops share about a logical unit (reservations, mode
 * pages) or about all of a target (states of target port groups). One at a time runs for each
 * logical unit and one for each target, in the order in which they were started on whatever loops;
 * it publishes the new state, goes once round all loops, where it may tell every nexus of the
 * target (unit attentions), and only then is done. It never waits for I/O.
 *
 * So whoever answers its command from `done` knows that no loop acts on the old state any more, and
 * two versions of a published state are enough: when `begin` runs, the one before the last has been
 * out of use for a whole round.
 *
 * Read next: switch.c, device.h.
 */
#ifndef TARGET_SCSI_SWITCH_H
#define TARGET_SCSI_SWITCH_H

#include "base/loop.h"

struct scsi_lu;
struct scsi_nexus;
struct scsi_switch;
struct scsi_target;

/* What `begin` has made of it. */
enum scsi_switch_step {
	SCSI_SWITCH_END,     /* Nothing changes (it was refused, or the state is so already). */
	SCSI_SWITCH_PUBLISH, /* The new state is published: go round. */
	SCSI_SWITCH_LATER,   /* Something has to be waited for (a state file): scsi_switch_go_on. */
};

/* Embedded in what the change is about; the owner's again when `done` begins. */
struct scsi_switch {
	/* Set before scsi_switch_start. */
	struct scsi_lu *lu;         /* NULL: it concerns all of `target`. */
	struct scsi_target *target; /* Of a logical unit: filled in by scsi_switch_start. */
	struct loop *loop;          /* Where begin and done run. */
	/* Its turn has come: look at the state as it now is, and publish the next one. */
	enum scsi_switch_step (*begin)(struct scsi_switch *change);
	/* For every nexus of the target, on the nexus's own loop. NULL: there is nothing to tell.
	 * The record and what it belongs to are shared meanwhile: it may be read there only. */
	void (*each)(struct scsi_switch *change, struct scsi_nexus *nexus);
	void (*done)(struct scsi_switch *change);
	/* Private to switch.c. */
	struct list_node link;
	struct loop_msg msg;
};

/* Start one. None of its functions runs before this has returned. -ENOMEM: nothing was started. On
 * change->loop. */
LOOP_ONLY int MUST_CHECK scsi_switch_start(struct scsi_switch *change);
/* Go on after SCSI_SWITCH_LATER, with one of the other steps. On change->loop. */
LOOP_ONLY void scsi_switch_go_on(struct scsi_switch *change, enum scsi_switch_step step);

#endif
