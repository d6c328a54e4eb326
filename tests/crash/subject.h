/*
 * What is put on the simulated disk: a format of LUN images. Its production code runs behind the
 * LUN's own membrane; beside that it brings a second reader that shares no code with the engine,
 * and what else can be said about the bytes of a cut.
 *
 * Read next: subject_raw.c, trial.h.
 */
#ifndef TESTS_CRASH_SUBJECT_H
#define TESTS_CRASH_SUBJECT_H

#include "lun/lun.h"
#include "tests/crash/changes.h"
#include "tests/crash/sim.h"

#define SUBJECT_WHY_BYTES 256u
/* A machine opens what the cut of another left, and one opens what that left. */
#define SUBJECT_LEVELS 3u

struct subject {
	const char *name;
	const char *const *variants; /* Names, NULL at the end. */
	unsigned files;
	uint64_t room_bytes;
	uint32_t sectors;         /* Of the guest's disk. */
	uint32_t cluster_sectors; /* What workloads take for a cluster. */
	bool pulls;               /* LUN_PULL works. */
	/* Pulls may write a layer below; NULL: never. */
	bool (*has_jobs)(unsigned variant);
	/* Load the disk with a fresh image; the guest's sectors have these words. */
	void (*format)(struct disk *disk, unsigned variant, struct random *random, uint64_t *words);
	/* Open what the disk holds, on its machine; what jobs do is noted. NULL and a sentence. */
	struct lun *(*open)(struct sim *sim, unsigned variant, unsigned level,
			    struct changes *changes, char *why);
	/* Bring it to its orderly end; NULL: nothing is to be done for that. After 0 all that was
	 * answered is durable. */
	int (*stop)(struct sim *sim, struct lun *lun);
	void (*close)(struct lun *lun);
	/* From then on reads show what a cut may leave; NULL: it never comes to that. */
	bool (*has_failed)(const struct lun *lun);
	/* Change it while it is closed, in a way that chance chooses, or go on where that was cut
	 * short; NULL: there is nothing of the kind. Negative errno and a sentence. */
	int (*change)(struct sim *sim, unsigned variant, struct changes *changes,
		      struct random *random, char *why);
	/* Changes that show in what the disk holds durably. */
	unsigned (*shown)(const struct disk *disk, unsigned variant);
	/* The guest's sectors from what the disk holds durably, which disk_hash has summed up, with
	 * zeroes behind their end; false and a sentence where the image is not consistent, or
	 * other than its changes permit. */
	bool (*read)(const struct disk *disk, unsigned variant, const struct changes *changes,
		     uint64_t *words, char *why);
};

extern const struct subject subject_raw, subject_qcow2;

/* A folder for files of the raw one, which have no names; for all processes that come. */
void subject_raw_begin(void);
void subject_raw_end(void);

#endif
