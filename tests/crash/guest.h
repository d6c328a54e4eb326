/*
 * The guest: a workload, and the requests of it that are under way. It submits through lun/ as a
 * SCSI task would, and judges answers and data that were read.
 *
 * Read next: guest.c, workload.c.
 */
#ifndef TESTS_CRASH_GUEST_H
#define TESTS_CRASH_GUEST_H

#include "lun/lun.h"
#include "tests/crash/model.h"
#include "tests/crash/random.h"

#define GUEST_DEPTH_MAX 20u
#define WORKLOAD_STEPS_MAX 160u

struct step {
	enum model_op op;
	bool durable;
	bool alone;   /* Not before all others have been answered. */
	bool abandon; /* Its task is aborted while it is under way. */
	uint32_t first, count;
};

struct workload {
	unsigned depth;
	unsigned count;
	struct step steps[WORKLOAD_STEPS_MAX];
};

/* What workloads are made for. */
struct workload_shape {
	uint32_t sectors;
	uint32_t cluster_sectors;
	bool pulls;
	bool jobs; /* A pull may write a layer below. */
};

/* How many short ones there are; number is below that. */
uint64_t workload_short_count(void);
void workload_short(struct workload *workload, const struct workload_shape *shape, uint64_t number);
void workload_random(struct workload *workload, const struct workload_shape *shape,
		     struct random *random, unsigned steps);
/* Read all, then steps. */
void workload_reopened(struct workload *workload, const struct workload_shape *shape,
		       struct random *random, unsigned steps);

struct trial;

struct guest_slot {
	struct lun_io io;
	struct guest *guest;
	struct step step;
	uint32_t number; /* The model's. */
	uint8_t *buffer;
	bool busy;
	bool abandoned;
	bool must_succeed;
};

struct guest {
	struct trial *trial;
	struct lun *lun;
	struct workload workload;
	unsigned next; /* Step. */
	unsigned busy;
	unsigned answered;
	struct guest_slot slots[GUEST_DEPTH_MAX];
};

void guest_init(struct guest *guest, struct trial *trial);
void guest_clear(struct guest *guest);
/* Run the workload to the end. */
LOOP_ONLY void guest_run(struct guest *guest);

#endif
