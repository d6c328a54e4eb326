/*
 * Logical units that come and go while hosts use their target. A change publishes another table and
 * goes once round all loops: there every nexus of the target learns that its list of logical units
 * has changed (3Fh/0Eh) and ends what it had under way on those that have gone. Nobody finds these
 * any more, but things that began before may still end on them: they are let go in three steps,
 *
 *     scsi_lun_change_start     not found any more (when all loops have passed: done)
 *     scsi_lu_settle            no switch (switch.h) of it runs or will begin
 *       (then the LUN is drained: no I/O of it is under way, lun.h)
 *     scsi_lu_forget            no loop knows of it; it has been freed
 *
 * Threads: the control loop, which alone changes tables; rounds pass over the others. Read next:
 * lun_change.c, device.h.
 */
#ifndef TARGET_SCSI_LUN_CHANGE_H
#define TARGET_SCSI_LUN_CHANGE_H

#include "base/group.h"
#include "target/scsi/scsi.h"

struct scsi_lu_table;

/* A logical unit by itself, of no table yet. Reads files, so it blocks; any thread, beside loops
 * that run. Errors as of scsi_target_add_lu. */
int MUST_CHECK scsi_lu_create(struct scsi_target *target, uint16_t number,
			      const struct scsi_lu_spec *spec, struct scsi_lu **out);
/* As scsi_target_restore, for this one. */
int MUST_CHECK scsi_lu_restore(struct scsi_lu *lu);
/* One that is in no table and was in none. NULL is allowed. */
void scsi_lu_free(struct scsi_lu *lu);
struct scsi_target *scsi_lu_target(const struct scsi_lu *lu);

/* Its record is scsi/'s from start to done. */
struct scsi_lun_change {
	/* Set before scsi_lun_change_prepare. */
	struct scsi_target *target;
	struct loop *control; /* Where done runs. */
	struct scsi_lu *const *added;
	unsigned added_count;
	struct scsi_lu *const *removed;
	unsigned removed_count;
	void (*done)(struct scsi_lun_change *change);
	/* Private to lun_change.c. */
	struct scsi_lu_table *next; /* Prepared: those that are added, and room for the others. */
	size_t room;
	struct scsi_lu_table *old;
	struct loop_round round;
};

/*
 * All that can fail, so that who changes several things can give all of them up: memory, and the
 * places of those that are added. Between it and the start no other change adds to that target.
 * -ENOMEM, -ERANGE, -E2BIG; -EEXIST for a number that is taken, be it by one that is removed with
 * this change. Nothing has changed then, and nothing is prepared.
 */
LOOP_ONLY int MUST_CHECK scsi_lun_change_prepare(struct scsi_lun_change *change);
/* Added ones are their owner's as before. */
LOOP_ONLY void scsi_lun_change_cancel(struct scsi_lun_change *change);
/* Of one that is prepared. Added ones are the target's from here on; the lists are not needed any
 * more. */
LOOP_ONLY void scsi_lun_change_start(struct scsi_lun_change *change);
bool scsi_lun_change_removes(const struct scsi_lun_change *change, const struct scsi_lu *lu);

/* Steps of one that was removed; one at a time. */
struct scsi_lu_end {
	struct scsi_lu *lu;
	struct loop *control; /* Where done runs. */
	void (*done)(struct scsi_lu_end *end);
	/* Private to lun_change.c. */
	struct scsi_switch barrier;
	struct loop_round round;
};

/* `done` runs when all switches have ended; it may be waited for a disk. -ENOMEM. */
LOOP_ONLY int MUST_CHECK scsi_lu_settle(struct scsi_lu_end *end);
/* `done` runs when it has been freed. It is settled, and no I/O of it is under way. */
LOOP_ONLY void scsi_lu_forget(struct scsi_lu_end *end);

/* What a logical unit is has changed, as it may while hosts use it. */
struct scsi_lu_news {
	struct scsi_lu *lu;
	bool grown;            /* Its new capacity is published: all nexuses hear 2Ah/09h. */
	bool replaced;         /* Its content is another: all nexuses hear 28h/00h. */
	unsigned warn_percent; /* As of scsi_lu_spec, from now on. */
	struct loop *control;  /* Where done runs, when all have been told. */
	void (*done)(struct scsi_lu_news *news);
	int res; /* The result: -ENOMEM, nobody was told. */
	/* Private to lun_change.c. */
	bool mode_changed;
	struct loop_msg msg;
	struct scsi_switch change;
};
/* Mode parameters that follow from it, and that no host has changed, are others then, too; hosts
 * hear of that (2Ah/01h) where they are. */
LOOP_ONLY void scsi_lu_renew(struct scsi_lu_news *news);

/* As scsi_lu_settle, for the target as a whole (access states); `lu` is NULL, `target` is its own.
 * It has no session any more. */
struct scsi_target_end {
	struct scsi_target *target;
	struct loop *control;
	void (*done)(struct scsi_target_end *end);
	struct scsi_switch barrier;
};
LOOP_ONLY int MUST_CHECK scsi_target_settle(struct scsi_target_end *end);

/*
 * What the transport does when logical units of its target come or go, on the nexus's loop: end
 * what it has under way on those that go, and tell the host in its own way. Before it is attached.
 */
typedef void scsi_nexus_change_fn(void *arg, const struct scsi_lun_change *change);
void scsi_nexus_on_change(struct scsi_nexus *nexus, scsi_nexus_change_fn *on_change, void *arg);

/*
 * The same news, and those of a capacity, as an asynchronous event: for a transport that can tell a
 * host at once. The unit attention is pending in any case.
 */
struct scsi_event {
	uint8_t lun_field[8]; /* LUN 0, which answers REPORT LUNS, for the list of them. */
	uint8_t sense_bytes;
	uint8_t sense[SCSI_SENSE_MAX];
};
/* On the nexus's loop. Before it is attached. */
typedef void scsi_nexus_event_fn(void *arg, const struct scsi_event *event);
void scsi_nexus_on_event(struct scsi_nexus *nexus, scsi_nexus_event_fn *on_event, void *arg);

/* -- Private to scsi/ -- */

/* Whether there is a place for one more beside `lu_count` others, and its slot. */
int MUST_CHECK scsi_lu_place(struct scsi_lu *lu, size_t lu_count);
/* NULL: it has none of that number. */
struct scsi_lu *scsi_lu_table_find(const struct scsi_lu_table *table, uint16_t number);
/* There is room for one more. */
void scsi_lu_table_insert(struct scsi_lu_table *table, struct scsi_lu *lu);

#endif
