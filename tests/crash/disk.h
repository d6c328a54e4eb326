/*
 * A simulated disk: files as bytes, and what a power cut could leave of them. Every change is
 * issued, and ends later; between the two, and after that until it is durable, a cut may keep it,
 * lose it, or keep a part of it. Not who issues what and when (sim.c), nor which cuts are looked at
 * (cuts.c).
 *
 * The rule: durable is what had *ended* before an fdatasync of its file was *issued* that has ended
 * well; and a write that was durable itself, when it ends. What a failed fdatasync would have
 * covered is doomed: no later one makes it durable (kernels drop what they could not write), though
 * it may have survived.
 *
 * A file's size is a change of its own: data beyond it may be there and not be seen.
 *
 * One thread. Read next: disk.c, sim.h.
 */
#ifndef TESTS_CRASH_DISK_H
#define TESTS_CRASH_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "tests/crash/durable.h"

#define DISK_FILES_MAX 4u
#define DISK_EVENTS_MAX 2048u
#define DISK_SECTOR_BYTES 512u

enum disk_kind {
	DISK_WRITE,
	DISK_ZERO, /* A hole, or zeroes in place. */
	DISK_GROW, /* The size becomes `offset`, unless it is more. */
	DISK_CUT,  /* The size becomes `offset`, unless it is less. */
};

struct disk_event {
	enum disk_kind kind;
	unsigned file;
	uint64_t offset, length;
	uint8_t *bytes;                 /* DISK_WRITE. */
	struct durable_sector *sectors; /* Of whole sectors; NULL: not known yet, or not whole. */
	uint64_t number;                /* For reports: the disk's events in order of issue. */
	uint64_t ended;                 /* The disk's time; 0: under way. */
	uint64_t seen;                  /* The enumerator's: when it was last looked at. */
	bool durable;
	bool doomed;
	bool is_data; /* All of it is guests' data (pattern.h): not metadata of an image. */
};

struct disk_file {
	uint8_t *now; /* What a read finds. */
	uint64_t now_bytes;
	uint64_t now_end;    /* Behind it `now` is zeroes. */
	struct durable base; /* With all before the first event that is not durable. */
};

struct disk {
	struct disk_file files[DISK_FILES_MAX];
	unsigned file_count;
	uint64_t room_bytes; /* Of each file: no space beyond. */
	/* Those that have ended first, in that order; then those under way. */
	struct disk_event *events[DISK_EVENTS_MAX];
	unsigned event_count, ended_count;
	uint64_t time;    /* Counts what is issued and what ends. */
	uint64_t issued;  /* Events so far. */
	uint64_t version; /* Changes when `base` or what is durable does. */
	/* What disk_crash made of the one, or of which it made the one: they differ where either
	 * has changed since. */
	const struct disk *mirrors;
};

/* What one operation changes: its size, and its bytes. */
struct disk_change {
	struct disk_event *events[2];
	unsigned count;
};

/* What became of an event in a cut. */
enum fate_kind {
	FATE_LOST,
	FATE_KEPT,
	FATE_PREFIX, /* The first `at` units. */
	FATE_SUFFIX, /* All but the first `at` units. */
	FATE_SPOTS,  /* Units by chance, from the number `at`. */
};

struct fate {
	enum fate_kind kind;
	uint32_t unit_bytes; /* 512 or 4096: what the medium writes as one, at multiples of it. */
	uint32_t at;
};

/* The units of that size which the event touches. */
uint64_t disk_event_units(const struct disk_event *event, uint32_t unit_bytes);

struct disk *disk_create(unsigned files, uint64_t room_bytes);
void disk_free(struct disk *disk);
/* A file holds this, durably, and nothing is under way. */
void disk_load(struct disk *disk, unsigned file, const void *bytes, uint64_t length);
/* What a cut left of a file, summed up by disk_hash; of whole sectors. */
void disk_copy(struct disk *disk, unsigned file, const struct durable *from);

/* Issue. False: there is no space for it. The bytes are copied. */
bool disk_issue_write(struct disk *disk, unsigned file, uint64_t offset, const struct iovec *iov,
		      uint64_t length, struct disk_change *out);
void disk_issue_zero(struct disk *disk, unsigned file, uint64_t offset, uint64_t length,
		     struct disk_change *out);
bool disk_issue_grow(struct disk *disk, unsigned file, uint64_t size_bytes,
		     struct disk_change *out);
void disk_issue_cut(struct disk *disk, unsigned file, uint64_t size_bytes, struct disk_change *out);
/* End it: from now on it is read; `durable` where the operation promised that. */
void disk_end(struct disk *disk, struct disk_change *change, bool durable);
/* End it with an error: so much of it has happened all the same, and is read from now on. (Until
 * now, more of it or less might have been seen after a cut.) */
void disk_fail(struct disk *disk, struct disk_change *change, uint64_t bytes);

/* An fdatasync: its issue answers a time that its end gives back. */
uint64_t disk_sync_issue(struct disk *disk);
void disk_sync_end(struct disk *disk, unsigned file, uint64_t issued, bool failed);

/* Up to `length` bytes, fewer at the end of the file: how many. */
uint64_t disk_read(const struct disk *disk, unsigned file, uint64_t offset, void *bytes,
		   uint64_t length);

/* What a cut leaves, where events[i] had fates[i]; durable ones are kept whatever it says. `out`
 * was made with as many files. */
void disk_crash(struct disk *disk, const struct fate *fates, struct disk *out);
/* A number for what the files hold durably; words and hashes of sectors (durable.h) are up to date
 * then. */
uint64_t disk_hash(struct disk *disk);

#endif
