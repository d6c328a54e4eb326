/*
 * Asymmetric logical unit access (SPC-4 5.15.2): by which target port groups hosts should, may, or
 * cannot reach the logical units of a target. A target port group is a portal group and has one
 * target port, whose relative target port identifier is the portal group tag, too.
 *
 * Groups are constant while loops run; their states are published for all of a target together and
 * change by a switch of the target (switch.h): all logical units, all groups of one change, one
 * moment. A nexus keeps the state of its own group, and the moment in which it learns of a new one
 * is the moment in which 2Ah/06h is pending for it, so no host is refused anything unwarned.
 *
 * Read next: alua.c, port_groups.c.
 */
#ifndef TARGET_SCSI_ALUA_H
#define TARGET_SCSI_ALUA_H

#include "target/scsi/scsi.h"

/* ASYMMETRIC ACCESS STATE of SPC-4 6.37. */
enum scsi_access_state {
	SCSI_ACCESS_OPTIMIZED = 0x0,
	SCSI_ACCESS_NON_OPTIMIZED = 0x1,
	SCSI_ACCESS_STANDBY = 0x2,
	SCSI_ACCESS_UNAVAILABLE = 0x3,
	SCSI_ACCESS_OFFLINE = 0xE,
	SCSI_ACCESS_TRANSITIONING = 0xF,
	SCSI_ACCESS_STATES = 0x10,
};

/* STATUS CODE: who changed the state last. */
enum scsi_access_cause {
	SCSI_ACCESS_UNCHANGED = 0x0,
	SCSI_ACCESS_BY_HOST = 0x1,          /* SET TARGET PORT GROUPS */
	SCSI_ACCESS_BY_ADMINISTRATOR = 0x2, /* "Implicit": not by a host. */
};

/* The administrator's words: "optimized", "non-optimized", "standby", "unavailable", "offline",
 * "transitioning"; NULL for other values. */
const char *scsi_access_name(unsigned state);
/* False: no such word. */
bool MUST_CHECK scsi_access_find(const char *name, enum scsi_access_state *state);

/* -- Built by the control thread before the loops run -- */

struct scsi_access_spec {
	bool by_hosts;             /* Hosts may change states: SET TARGET PORT GROUPS. */
	uint8_t transition_time_s; /* IMPLICIT TRANSITION TIME; 0: nothing is said of it. */
};

/* Without it: not by hosts, and nothing is said. */
void scsi_target_set_access(struct scsi_target *target, const struct scsi_access_spec *spec);
/* Where a group begins; without it a group is active/optimized and not preferred. -ENOENT: it is
 * no target port (scsi_target_add_port). -EINVAL: no such state. */
int MUST_CHECK scsi_target_set_group(struct scsi_target *target, uint16_t tag,
				     enum scsi_access_state state, bool preferred);

/* -- While they run -- */

struct scsi_group_view {
	uint16_t tag;
	bool preferred;
	enum scsi_access_state state;
	enum scsi_access_cause cause;
};

/* Target port groups, in the order in which ports were added. */
unsigned scsi_target_group_count(const struct scsi_target *target);
/* One of them as it now is. Any thread; beside changes that follow each other at once, one group
 * may be seen older than another. */
void scsi_target_group(const struct scsi_target *target, unsigned index,
		       struct scsi_group_view *out);

/* PREF of SPC-4 6.37: which of several groups in a state is the better one. */
enum scsi_access_preference {
	SCSI_PREFERENCE_KEEP,
	SCSI_PREFERENCE_ON,
	SCSI_PREFERENCE_OFF,
};

/*
 * The administrator changes the state of a group: to any state, at any time. It never waits for
 * I/O: what the image has already got goes on, and what has not (a write that waits for its data)
 * is refused where the new state does not serve it. When `done` runs, no loop acts on the old state
 * any more, and each nexus of the target has one 2Ah/06h for each logical unit, unless state and
 * preference were that already. Not kept beyond the end of the daemon (CHOICES.md).
 */
struct scsi_access_change {
	/* Set before scsi_access_change_start; the record is scsi/'s until done. */
	struct scsi_target *target;
	struct loop *loop; /* Where done runs; the control loop will do. */
	uint16_t tag;
	enum scsi_access_state state;
	enum scsi_access_preference preference;
	void (*done)(struct scsi_access_change *change);
	/* The result: false when all was so already. */
	bool changed;
	/* Private to alua.c. */
	unsigned group;
	struct scsi_switch change;
};

/* `done` never runs inside. -ENOENT: no such group, -EINVAL: no such state, -ENOMEM. In all these
 * cases nothing was started. On change->loop. */
LOOP_ONLY int MUST_CHECK scsi_access_change_start(struct scsi_access_change *change);

#endif
