/*
 * Changes of closed images where each call fails: reading, writing, fdatasync, requests for memory;
 * each of them, once and from then on, to the last that the change makes. It answers with an error
 * and a sentence, or goes well all the same; nothing of it stays in memory; the image has its
 * content, is consistent, and can be changed when the calls go well again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "lun/qcow2/check.h"
#include "lun/qcow2/header_bytes.h"
#include "tests/crash/campaign.h"
#include "tests/crash/change_qcow2.h"
#include "tests/crash/memory.h"

/* WORKLOADS= says how much of faults is wanted. */
#define WIDE_WORKLOADS 100u

enum call {
	CALL_READ,
	CALL_WRITE,
	CALL_SYNC,
	CALL_MEMORY,
};

/* A file in memory. */
struct closed_file {
	struct qcow2_writable writable; /* First. */
	uint8_t bytes[VARIANT_ROOM_BYTES];
	enum call failing;
	int error;
	unsigned nth; /* 0: none fails. */
	bool for_ever;
	unsigned calls; /* Of that kind. */
};

static int take_fault(struct closed_file *file, enum call call)
{
	if (call != file->failing)
		return 0;
	file->calls++;
	if (!file->nth || file->calls < file->nth || (file->calls > file->nth && !file->for_ever))
		return 0;
	return file->error;
}

static int file_read(const struct qcow2_file *of, void *buffer, size_t length, uint64_t offset)
{
	struct closed_file *file = (void *)(uintptr_t)of;
	int res = take_fault(file, CALL_READ);

	if (res)
		return res;
	memset(buffer, 0, length);
	if (offset < sizeof(file->bytes)) {
		size_t there = sizeof(file->bytes) - offset;

		memcpy(buffer, file->bytes + offset, there < length ? there : length);
	}
	return 0;
}

/* Half of what fails was written. */
static int file_write(struct qcow2_writable *of, const void *bytes, size_t length, uint64_t offset)
{
	struct closed_file *file = (void *)of;
	int res = take_fault(file, CALL_WRITE);

	if (offset + length > sizeof(file->bytes))
		return -ENOSPC;
	if (res == -EIO)
		length = length / DISK_SECTOR_BYTES / 2 * DISK_SECTOR_BYTES;
	if (res == 0 || res == -EIO)
		memcpy(file->bytes + offset, bytes, length);
	if (offset + length > of->file.size_bytes && length > 0)
		of->file.size_bytes = offset + length;
	return res;
}

static int file_sync(struct qcow2_writable *of)
{
	return take_fault((void *)of, CALL_SYNC);
}

/* -- A case: an image and a change -- */

static const struct fault {
	enum call call;
	int error;
} faults[] = {{CALL_READ, -EIO},     {CALL_WRITE, -EIO},   {CALL_WRITE, -ENOSPC},
	      {CALL_WRITE, -EDQUOT}, {CALL_SYNC, -ENOSPC}, {CALL_SYNC, -EIO},
	      {CALL_MEMORY, -ENOMEM}};

/* What a repair finds. */
enum damage {
	DAMAGE_NONE,
	DAMAGE_COUNTS, /* All refcounts of the first block are 0. */
	DAMAGE_PLACE,  /* No refcount has a place. */
};

struct scene {
	struct sim *sim; /* Its disk holds what is below the top, and the top for judges. */
	struct closed_file file;
	uint64_t words[MODEL_SECTORS_MAX], found[MODEL_SECTORS_MAX];
	bool is_wide;
	unsigned number;
	enum change_qcow2 kind;
	enum damage damage;
	struct changes changes;
	unsigned sites, failed, cases;
	char why[SUBJECT_WHY_BYTES];
};

static void damage(struct scene *scene)
{
	uint8_t *bytes = scene->file.bytes;
	uint64_t table = get_be64(bytes + AT_REFCOUNT_TABLE_OFFSET);
	uint64_t block = get_be64(bytes + table) & QCOW2_OFFSET_MASK;
	size_t length = (size_t)1 << variants_qcow2[scene->number].cluster_bits;

	if (scene->damage == DAMAGE_COUNTS)
		memset(bytes + block, 0, length);
	if (scene->damage == DAMAGE_PLACE)
		memset(bytes + table, 0, length);
}

/* A fresh image, closed. */
static void set_up(struct scene *scene)
{
	struct disk *disk = scene->sim->disk;
	struct random random = {scene->number};
	struct closed_file *file = &scene->file;

	sim_reset(scene->sim, 1);
	subject_qcow2.format(disk, scene->number, &random, scene->words);
	memset(file->bytes, 0, file->writable.file.size_bytes);
	memcpy(file->bytes, disk->files[0].now, disk->files[0].now_bytes);
	file->writable.file.read = file_read;
	file->writable.file.size_bytes = disk->files[0].now_bytes;
	file->writable.write = file_write;
	file->writable.sync = file_sync;
	scene->changes = (struct changes){.begun = changes_qcow2[scene->kind].bit};
	damage(scene);
}

static int make(struct scene *scene)
{
	scene->why[0] = '\0';
	return changes_qcow2[scene->kind].make(&scene->file.writable,
					       &variants_qcow2[scene->number],
					       scene->sim->disk->files[1].now_bytes, scene->why);
}

/* Its content is as before. */
static bool is_whole(struct scene *scene)
{
	struct disk *disk = scene->sim->disk;

	disk_load(disk, 0, scene->file.bytes, scene->file.writable.file.size_bytes);
	(void)disk_hash(disk);
	if (!subject_qcow2.read(disk, scene->number, &scene->changes, scene->found, scene->why))
		return false;
	(void)snprintf(scene->why, sizeof(scene->why), "other content");
	return !memcmp(scene->found, scene->words, subject_qcow2.sectors * sizeof(scene->words[0]));
}

/* The calls go well again. */
static bool goes_well(struct scene *scene)
{
	scene->file.nth = 0;
	if (make(scene))
		return false;
	scene->changes.done = scene->changes.begun;
	return is_whole(scene);
}

/* False: not one that it makes, or not as it must be (`good`). */
static bool fails_at(struct scene *scene, const struct fault *fault, unsigned nth, bool for_ever,
		     bool *good)
{
	bool is_memory = fault->call == CALL_MEMORY;
	struct memory_count memory;
	bool hit;
	int res;

	set_up(scene);
	scene->file.failing = fault->call;
	scene->file.error = fault->error;
	scene->file.nth = nth;
	scene->file.for_ever = for_ever;
	scene->file.calls = 0;
	memory_begin(is_memory ? nth : SIM_FOR_EVER);
	res = make(scene);
	memory = memory_end();
	hit = (is_memory ? memory.requests : scene->file.calls) >= nth;
	scene->sites += hit;
	scene->failed += res < 0;
	*good = memory.held == 0 && (res == 0 || (hit && scene->why[0])) && res <= 0;
	/* What was damaged may be so still. */
	if (*good && (res == 0 || scene->damage == DAMAGE_NONE))
		*good = is_whole(scene);
	*good = *good && goes_well(scene);
	if (!*good)
		printf("FAIL %s of qcow2/%s (damage %d): call %d, number %u%s fails with errno %d: "
		       "errno %d, %u held: %s\n",
		       changes_qcow2[scene->kind].name, variants_qcow2[scene->number].name,
		       (int)scene->damage, (int)fault->call, nth, for_ever ? " and more" : "",
		       -fault->error, -res, memory.held, scene->why);
	return *good && hit;
}

static bool run_case(struct scene *scene)
{
	bool good = true;

	scene->cases++;
	for (unsigned i = 0; i < ARRAY_SIZE(faults) && good; i++) {
		for (unsigned ever = 0; ever < 2 && good; ever++) {
			unsigned nth = 1;

			while (fails_at(scene, &faults[i], nth, ever, &good))
				nth++;
		}
	}
	return good;
}

static bool run_variant(struct scene *scene)
{
	bool good = true;

	/* So large a file takes as long as all others. */
	if (variants_qcow2[scene->number].first_at && !scene->is_wide)
		return true;
	for (unsigned kind = 0; kind < CHANGE_QCOW2_COUNT && good; kind++) {
		scene->kind = (enum change_qcow2)kind;
		scene->damage = kind == CHANGE_QCOW2_REPAIR ? DAMAGE_COUNTS : DAMAGE_NONE;
		if (!change_is_possible(scene->kind, &variants_qcow2[scene->number]))
			continue;
		good = run_case(scene);
	}
	scene->damage = DAMAGE_PLACE;
	return good && run_case(scene);
}

bool campaign_closed(const struct campaign *campaign)
{
	unsigned variants = subject_variants(&subject_qcow2);
	struct scene *scene = calloc(1, sizeof(*scene));
	bool good = true;

	if (!campaign_wants(campaign, &subject_qcow2)) {
		free(scene);
		return true;
	}
	if (!scene)
		abort();
	scene->is_wide = campaign->fault_workloads >= WIDE_WORKLOADS;
	scene->sim = sim_create(subject_qcow2.files, subject_qcow2.room_bytes);
	for (; scene->number < variants && good; scene->number++)
		good = run_variant(scene);
	if (good)
		printf("PASS changes of closed qcow2 images: %u changes, %u calls failed, %u times "
		       "the change did\n",
		       scene->cases, scene->sites, scene->failed);
	sim_free(scene->sim);
	free(scene);
	return good;
}
