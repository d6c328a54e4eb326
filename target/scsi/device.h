/*
 * What targets, logical units and nexuses consist of: private to scsi/. Targets and logical units
 * do not change while loops run, but for what a switch publishes and for the table of a target's
 * logical units (lun_change.h), so any loop reads them; a nexus is its session's loop's alone. Read
 * next: scsi_target.c, nexus.c.
 */
#ifndef TARGET_SCSI_DEVICE_H
#define TARGET_SCSI_DEVICE_H

#include "base/group.h"
#include "target/scsi/alua.h"
#include "target/scsi/lun_change.h"
#include "target/scsi/mode.h"
#include "target/scsi/pr_state.h"
#include "target/scsi/scsi.h"
#include "target/scsi/sense.h"
#include "target/scsi/threshold.h"

#define SCSI_VENDOR_BYTES 8u
#define SCSI_PRODUCT_BYTES 16u
#define SCSI_REVISION_BYTES 4u
/* RFC 7143 4.2.7.1, and with ",i,0x" and an ISID or ",t,0x" and a tag (4.2.7.2). */
#define SCSI_DEVICE_NAME_MAX 223u
#define SCSI_PORT_NAME_MAX (SCSI_DEVICE_NAME_MAX + 17u)

struct scsi_switches;     /* switch.c */
struct scsi_reservations; /* reservation.c */

struct scsi_lu {
	struct scsi_target *target;
	struct lun *lun;
	const struct lun_limits *limits;
	uint32_t block_bytes; /* limits->logical_block_bytes, never 0. */
	uint16_t number;
	uint16_t slot; /* Its place in a nexus's unit attentions; no other one's until it is freed.
			*/
	/* Padded with spaces, not terminated: SPC-4 4.3.1. */
	char vendor[SCSI_VENDOR_BYTES];
	char product[SCSI_PRODUCT_BYTES];
	char revision[SCSI_REVISION_BYTES];
	bool write_cache_by_hosts;
	const char *state_dir;                            /* NULL: nothing is kept. */
	_Atomic(struct scsi_switches *) switches;         /* NULL before the first one. */
	_Atomic(struct scsi_reservations *) reservations; /* NULL before the first one. */
	bool reservations_lost; /* Their file cannot be read. Set before the loops run. */
	struct scsi_modes modes;
	atomic_uint warn_percent; /* Of what is used; 0: nobody is told. */
	struct scsi_thresholds thresholds;
	/* The change that removes it; to be compared, not looked into. */
	_Atomic(const struct scsi_lun_change *) removed_by;
};

/* Mode parameters as they now are: good for this turn, though not in force for all of it. */
static inline const struct scsi_mode *scsi_lu_mode(const struct scsi_lu *lu)
{
	return published_load(&lu->modes.now);
}

/* Of all target port groups, by their place in scsi_target.ports: published, one turn's use. Atomic
 * for those who look without being a loop (scsi_target_group). */
struct scsi_access_states {
	struct scsi_group_state {
		_Atomic uint8_t access;    /* enum scsi_access_state */
		_Atomic uint8_t cause;     /* enum scsi_access_cause */
		_Atomic uint8_t preferred; /* 0 or 1 */
	} groups[SCSI_TARGET_PORTS_MAX];
};

struct scsi_alua {
	struct scsi_access_spec spec;
	struct published now;
	/* A switch has gone round before the next one begins, so two are enough. */
	struct scsi_access_states versions[2];
};

/* Immutable once loops run: published, one turn's use. */
struct scsi_lu_table {
	unsigned count;
	struct scsi_lu *lus[]; /* Ascending by number. */
};

struct scsi_target {
	char name[SCSI_DEVICE_NAME_MAX + 1];
	struct published lus; /* struct scsi_lu_table */
	/* The control thread's, which alone adds and removes: slots from slot_end on were never
	 * used; those that are free again. */
	unsigned slot_end;
	uint16_t *slots_free;
	unsigned slots_free_count;
	const struct loop_group *group;
	unsigned port_count;
	/* Relative target port identifiers, which are target port groups, too. */
	uint16_t ports[SCSI_TARGET_PORTS_MAX];
	struct scsi_alua alua;
	_Atomic(struct scsi_switches *) switches; /* Of all the target; NULL before the first one.
						   */
	struct list_node nexuses[LOOPS_MAX]; /* Those attached, by loop; each list is its loop's. */
};

/* The logical units as they now are: good for this turn. */
static inline const struct scsi_lu_table *scsi_target_lus(const struct scsi_target *target)
{
	return published_load(&target->lus);
}

/* What a nexus can hear of beyond the logical units that there are when it is made: those that are
 * added while it lasts. One that finds all taken sees a new one when it logs in again. */
#define SCSI_NEXUS_SPARE_SLOTS 64u

/* Free the queue of switches of a logical unit or target; NULL is allowed. The loops have ended.
 * switch.c */
void scsi_switches_free(struct scsi_switches *switches);

struct scsi_nexus {
	struct list_node link; /* target->nexuses[] of its loop, while attached. */
	struct scsi_target *target;
	uint64_t id; /* No other nexus ever has it. */
	uint16_t relative_target_port;
	uint8_t group;  /* Its place in target->ports, or SCSI_NO_GROUP. */
	uint8_t access; /* enum scsi_access_state of the group, as the nexus has been told. */
	char target_port_name[SCSI_PORT_NAME_MAX + 1];
	struct pr_nexus name;       /* Whose registrations are its own. */
	scsi_nexus_abort_fn *abort; /* NULL: there is nothing to abort. */
	void *abort_arg;
	scsi_nexus_change_fn *on_change; /* NULL: the transport need not know. */
	void *change_arg;
	scsi_nexus_event_fn *on_event; /* NULL: it tells its host nothing by itself. */
	void *event_arg;
	bool reserves; /* RESERVE(6) or (10) has been granted to it. */
	/*
	 * By slot, what depends on the logical unit: pending unit attentions, one bit each of enum
	 * scsi_ua, and in the three highest bits enum scsi_guard: what a reservation keeps it from.
	 * Two bytes, which is what lets 1,000 sessions see 8,000 logical units each, and one load
	 * for both questions on the way of a command.
	 */
	unsigned slot_count;
	uint16_t pending[];
};

/* Of a nexus through no port that the target knows: always active/optimized. */
#define SCSI_NO_GROUP UINT8_MAX

#define SCSI_GUARD_SHIFT 13u
#define SCSI_UA_MASK ((1u << SCSI_GUARD_SHIFT) - 1u)

/* What reservations keep the nexus from doing on that logical unit, as far as it knows. */
static inline enum scsi_guard scsi_nexus_guard(const struct scsi_nexus *nexus,
					       const struct scsi_lu *lu)
{
	return (enum scsi_guard)(nexus->pending[lu->slot] >> SCSI_GUARD_SHIFT);
}

/* As scsi_nexus_raise: nothing happens where the nexus does not see the logical unit. */
LOOP_ONLY void scsi_nexus_set_guard(struct scsi_nexus *nexus, const struct scsi_lu *lu,
				    enum scsi_guard guard);

/* The identification of answers for a LUN number that has no logical unit. */
extern const struct scsi_lu scsi_no_lu;

/* The most urgent pending unit attention, or SENSE_NONE. */
LOOP_ONLY enum scsi_sense scsi_nexus_pending(const struct scsi_nexus *nexus,
					     const struct scsi_lu *lu);
/* The same, and it is pending no more. */
LOOP_ONLY enum scsi_sense scsi_nexus_take(struct scsi_nexus *nexus, struct scsi_lu *lu);
/* The slot is to be another logical unit's: as it was when the nexus was made. */
LOOP_ONLY void scsi_nexus_clear_slot(struct scsi_nexus *nexus, uint16_t slot);
/* REPORT LUNS has told the nexus: 3Fh/0Eh is pending for no logical unit any more. */
LOOP_ONLY void scsi_nexus_luns_reported(struct scsi_nexus *nexus);

/* What TEST UNIT READY would answer: SENSE_NONE when the medium can be used. */
enum scsi_sense scsi_lu_readiness(const struct scsi_lu *lu);
/* Whole logical blocks. */
uint64_t scsi_lu_block_count(const struct scsi_lu *lu);

#endif
