/*
 * The simulator's machine: a loop engine whose disks are simulated (disk.h), the clock, and faults.
 * The production code above it runs as it is, on one thread, turn by turn: all that can come out
 * differently (how long an operation takes, what is refused without waiting) follows from one
 * number.
 *
 * Several machines may stand beside each other (a second one opens what the first one's cut left);
 * the one whose turn is made has the clock.
 *
 * One thread. Read next: sim.c, world.h.
 */
#ifndef TESTS_CRASH_SIM_H
#define TESTS_CRASH_SIM_H

#include "base/group.h"
#include "tests/crash/disk.h"
#include "tests/crash/random.h"

#define SIM_FLYING_MAX 64u
#define SIM_FDS_MAX 8u

/* What a call answers instead of doing its work. */
enum {
	SIM_SHORT = 1, /* A transfer: it moves only a part. */
};

#define SIM_FOR_EVER UINT32_MAX

struct sim_fault {
	uint64_t nth;   /* The call that fails, from 1 on; 0: none. */
	int error;      /* Negative errno, or SIM_SHORT. */
	unsigned more;  /* And so many after it; SIM_FOR_EVER: all. */
	uint32_t kinds; /* Bit for each enum loop_op_kind that may fail. */
};

/* An operation on its way. */
struct sim_flight {
	struct loop_op *op;
	struct disk_change change;
	uint64_t due_ns;
	uint64_t synced; /* Of a sync: when it was issued. */
	uint64_t length; /* Of a transfer: what it will move. */
	int error;       /* It will fail. */
};

struct sim {
	struct disk *disk;
	struct loop *loop;
	struct loop_group group; /* Of it alone. */
	struct random random;
	uint64_t now_ns;
	struct sim_flight flights[SIM_FLYING_MAX];
	unsigned flight_count;
	struct {
		int fd;
		unsigned file;
	} fds[SIM_FDS_MAX];
	unsigned fd_count;
	struct sim_fault fault;
	uint64_t calls;      /* Of the kinds that may fail. */
	uint64_t faults;     /* Those that did. */
	uint64_t operations; /* All. */
	uint64_t log;        /* A number for all that happened, in its order (sim_note). */
	bool idle;           /* The last turn found nothing that would ever happen. */
	/* Runs when a turn's callbacks have run, before anything ends: here a cut is looked at. */
	void (*at_rest)(struct sim *sim);
	void *user;
};

/* Of `files` files that may have room_bytes each. */
struct sim *sim_create(unsigned files, uint64_t room_bytes);
void sim_free(struct sim *sim);
/* Nothing is under way, the random numbers begin anew. */
void sim_reset(struct sim *sim, uint64_t seed);
/* Something happened that a trial's identity decides: what came out of it. */
void sim_note(struct sim *sim, uint64_t what);
/* Make the machine's clock the one that production code reads; answers the one before. */
struct sim *sim_enter(struct sim *sim);
/* This descriptor is that file. */
void sim_bind(struct sim *sim, int fd, unsigned file);
/* All are closed. */
void sim_unbind(struct sim *sim);
/* What failed did so for want of space, and that has come back. */
bool sim_has_space_again(const struct sim *sim);
/* For code that does not use the loop: what its next call answers instead, 0 or negative errno. */
int sim_take_fault(struct sim *sim, enum loop_op_kind kind);
LOOP_ONLY void sim_turn(struct sim *sim);
/* The clock that everybody else has. */
uint64_t sim_real_ns(void);
/* What this process has used of processors. */
uint64_t sim_cpu_ns(void);

#endif
