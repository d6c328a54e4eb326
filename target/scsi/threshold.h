/*
 * Soft thresholds of thin provisioning, SBC-4 4.7.3.7: hosts are told (06h/38h/07h) once for each
 * time that what a logical unit uses rises above a threshold, and that what its pool has left falls
 * below one. Where they lie stands in mode page 1Ch/02h. Not who looks how much there is: that
 * comes from lun/space.h and is asked for when somebody says that it may have changed.
 *
 * A threshold is armed again when the value has gone back by its range, which is one threshold set,
 * and by a little of the whole besides: SBC-4 leaves it to the device server how often it repeats
 * itself, and a pool whose use goes up and down by some files is not to repeat itself all day.
 *
 * Read next: threshold.c.
 */
#ifndef TARGET_SCSI_THRESHOLD_H
#define TARGET_SCSI_THRESHOLD_H

#include "target/scsi/scsi.h"
#include "target/scsi/sense.h"
#include "target/scsi/switch.h"

/* -- The pure part: one threshold -- */

/* All in bytes. */
struct scsi_threshold_rule {
	bool enabled;
	bool decreasing; /* Of what is left; else of what is used. */
	uint64_t center;
	uint64_t set;   /* The width of its range. */
	uint64_t whole; /* What the value can be at most. */
};

struct scsi_threshold {
	struct scsi_threshold_rule rule; /* Another one starts it anew. */
	bool reached;
};

/* The value is now this. True: that has crossed it, and it was armed. */
bool scsi_threshold_step(struct scsi_threshold *threshold, const struct scsi_threshold_rule *rule,
			 uint64_t value);

/* -- Those of a logical unit -- */

/* In the order of their descriptors in the mode page. */
enum scsi_threshold_index {
	SCSI_THRESHOLD_USED, /* By the logical unit, of its capacity. */
	SCSI_THRESHOLD_LEFT, /* In the pool. */
	SCSI_THRESHOLD_COUNT
};

/* Layout of mode page 1Ch/02h. */
#define SCSI_PROVISIONING_SITUA 4u
#define SCSI_THRESHOLD_AT(index) (16u + 8u * (index))
#define SCSI_THRESHOLD_COUNT_AT(index) (SCSI_THRESHOLD_AT(index) + 4u)
#define SCSI_PROVISIONING_BYTES SCSI_THRESHOLD_AT(SCSI_THRESHOLD_COUNT)

typedef void scsi_space_checked_fn(void *arg);

struct scsi_thresholds {
	/* Of the one loop that checks. */
	struct scsi_threshold each[SCSI_THRESHOLD_COUNT];
	unsigned crossed; /* A bit each: what `change` tells. */
	bool single;      /* SITUA */
	bool busy;        /* `change` is switch.c's. */
	struct scsi_switch change;
	scsi_space_checked_fn *checked;
	void *arg;
	/* All loops. A bit each: one nexus alone is to report it; one has. */
	atomic_uint alone;
	atomic_uint claimed;
};

/* False: it is not thin, or nobody knows what it uses, so it has no thresholds. Any thread. */
bool scsi_lu_has_space(const struct scsi_lu *lu);
/* THRESHOLD EXPONENT of page B2h, the binary logarithm of the blocks of a set; 0: no thresholds. */
unsigned scsi_threshold_exponent(const struct scsi_lu *lu);
/* So many sets, as far as 32 bits go. */
uint32_t scsi_threshold_sets(const struct scsi_lu *lu, uint64_t bytes);
/* What is reached by now is no news. The control thread, before the logical unit is used. */
void scsi_thresholds_init(struct scsi_lu *lu);
/*
 * What it uses, or what its pool has left, may have changed: look, and tell all nexuses of what has
 * been crossed. True: it is done. False: checked(arg) runs later on this loop, when all have been
 * told. One at a time; always on the same loop, one of the target's group.
 */
LOOP_ONLY bool MUST_CHECK scsi_lu_check_space(struct scsi_lu *lu, struct loop *loop,
					      scsi_space_checked_fn *checked, void *arg);

/* A nexus is about to report one of the two (SITUA). False: another one has. Any loop. */
bool scsi_threshold_claim(struct scsi_lu *lu, enum scsi_sense reason);
/* What its sense data say besides: which descriptor. */
uint64_t scsi_threshold_information(enum scsi_sense reason);

#endif
