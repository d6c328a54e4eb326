/*
 * Verified load on many LUNs at once, by a real initiator, for images that are looked at from
 * outside as well: what each block may hold is known at every moment, after a kill of the daemon,
 * too.
 *
 * The model, for each block: what was written is durable when a flush that was sent after its
 * status has ended, or its own FUA has. After a kill a block holds what was durable, or anything
 * that was written later; without one, what was written last. UNMAP and WRITE SAME write zeroes. No
 * two operations under way touch the same block, but many touch the same cluster.
 *
 * One thread: libiscsi's asynchronous calls and poll(2). Read next: load.c, then model.c,
 * moments.c, back.c.
 */
#ifndef INITIATOR_TESTS_IMAGES_LOAD_H
#define INITIATOR_TESTS_IMAGES_LOAD_H

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum {
	DEPTH = 8,
	BLOCK = 512,
	BLOCKS_MAX = 520, /* Of one operation: a little more than four clusters of 64 KiB. */
	IDENTITY_BYTES = 252,
	DONE_MAX = 65536,
};

/* A block's content: whose it is, and which operation wrote it. Generation 0 is the base's. */
struct stamp {
	uint64_t run;
	uint64_t disk;
	uint64_t number;
	uint64_t generation;
	uint64_t filler[(BLOCK / 8) - 4];
};
_Static_assert(sizeof(struct stamp) == BLOCK, "a block is a block");

/* Generations of operations on it; an operation that wrote zeroes counts as the last, too. */
struct block {
	uint32_t durable;
	uint32_t last;
	uint32_t last_zero;
	uint32_t ended; /* What it held when nothing was under way any more. */
	bool ended_is_zero;
	uint32_t users; /* Under way. */
};

enum kind {
	READ,
	WRITE,
	WRITE_FUA,
	UNMAP,
	ZERO,       /* WRITE SAME of a block of zeroes. */
	ZERO_UNMAP, /* The same with UNMAP, which need not keep space. */
	FLUSH,
	KINDS,
};

struct done {
	uint64_t first;
	unsigned count;
	uint32_t generation;
};

struct disk;
struct moment;

struct operation {
	struct disk *disk;
	enum kind kind;
	bool running;
	uint64_t first;
	unsigned count;
	uint32_t generation;
	uint64_t done_before; /* Of a flush: what it makes durable. */
	unsigned char *data;
};

struct disk {
	const char *url;
	bool golden;
	unsigned index;
	struct iscsi_context *iscsi;
	int lun;
	bool broken;
	unsigned unmap_blocks; /* The unit of UNMAP. */
	uint32_t generation;
	struct block *blocks;
	struct done
		*done; /* Not known to be durable; a ring, counted from done_first to done_next. */
	uint64_t done_first;
	uint64_t done_next;
	unsigned char identity[IDENTITY_BYTES];
	struct operation operations[DEPTH];
	unsigned in_flight;
	/* Nothing is sent while it may become what it was at that moment; NULL: it may not. */
	const struct moment *way_back;
	bool asked_to_rest; /* And not yet told that it does. */
	bool is_back;       /* It has become that, for sure. */
};

struct tally {
	uint64_t durable;
	uint64_t lost; /* Was not durable, and is not what was written last. */
};

extern uint64_t block_count; /* Of each disk. */

/* By its number in the order of the arguments; else the end. */
struct disk *disk_number(unsigned long number);

/* Says "FAULT" and what, and ends the program. */
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);
void *allocate(size_t count, size_t bytes);
/* xorshift64: the order is the seed's, and that of the answers. */
uint64_t random_next(void);

/* -- model.c: what blocks hold -- */

void model_begin(uint64_t run);
/* A block that nobody has written. */
void model_base(struct stamp *stamp, bool golden, uint64_t number);
/* A change is sent: what its blocks hold from now on, if it happens. Fills in what is written. */
void model_change(struct operation *operation);
/* It has ended well; a flush makes durable what was done before it was sent. */
void model_done(struct operation *operation);
/* What is read must be what was written last; else the end. */
void model_expect(const struct disk *disk, uint64_t number, const struct stamp *found);
/* After a kill: what is found is one of those that may be there, and stands from now on. */
void model_take(struct disk *disk, uint64_t number, const struct stamp *found, struct tally *tally);
void model_taken(struct disk *disk);
/* What is found is a snapshot's content again; it stands from now on. */
void model_back(struct disk *disk, uint64_t number, const struct stamp *found);
/* Is it what that operation leaves there? Of 0, which is no zeroes: the base. */
bool model_is(const struct disk *disk, uint64_t number, const struct stamp *found,
	      uint32_t generation, bool is_zero);

/* -- moments.c: what snapshots may hold -- */

/* A snapshot of disks, as a list of their numbers, is about to be made. */
void moment_begin(const char *name, const char *list);
/* It is made, or will not be. */
void moment_end(void);
/* The daemon is gone: before anything is compared. */
void moment_cut(void);
/* The snapshot was perhaps made after that, by who found the images closed. */
void moment_take(const struct disk *disk);
/* The file's content must be the disk's of that moment; else the end. */
void moment_check(const char *name, const struct disk *disk, const char *path);
/* By its name; else the end. */
const struct moment *moment_of(const char *name, const struct disk *disk);
bool moment_holds(const struct moment *moment, uint64_t number, const struct stamp *found);
/* There is no such snapshot any more. */
void moment_forget(const char *name, const struct disk *disk);

/* -- back.c: ways back to a snapshot -- */

/* From now on it may be what it was at that moment. */
void back_begin(struct disk *disk, const char *name);
/* Its last operation has ended: says so, if that was asked for. */
void back_tell(struct disk *disk);
/* It is, or is not; all of it is looked at, unless the daemon is gone. */
void back_end(struct disk *disk, bool is_back, bool is_gone);
/* After a kill: true, if it has become that, which is taken for what there is. */
bool back_take(struct disk *disk);

/* -- operations.c -- */

void operations_begin(struct disk *disk);
/* Start a random one, unless what it chose is in use. */
void operation_start_random(struct operation *operation);
uint64_t operations_started(void);
void operations_print(void);

/* -- disk.c: sessions -- */

/* A golden disk shows the golden image before it is written, another one zeroes. */
void disk_make(struct disk *disk, unsigned index, const char *url, bool golden);
/* Log in. The identity, page 83h, must be that of the first time. */
void disk_connect(struct disk *disk);
void disk_disconnect(struct disk *disk);

/* Called with each block, as it is read. */
typedef void disk_sweep_fn(struct disk *disk, uint64_t number, const struct stamp *found,
			   void *context);
/* False: the daemon is gone, as `broken` says. */
bool disk_sweep(struct disk *disk, disk_sweep_fn *each, void *context);
/* The same where it must not be; else the end. */
void disk_sweep_all(struct disk *disk, disk_sweep_fn *each, void *context);

#endif
