/*
 * What a snapshot may hold: each block what it held when the snapshot was asked for, or anything
 * that was sent from then until the snapshot was there; see load.h. One that the daemon's end cut
 * short may have been made after it, too, and then has what was found after it.
 *
 * Read next: back.c, ../kills.py.
 */
#include "initiator-tests/images/load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
	MOMENTS_MAX = 1024,
	NAME_BYTES = 32,
};

struct bounds {
	uint32_t first, last, after;
	bool first_is_zero, after_is_zero;
	bool zeroed; /* Between first and last. */
};

struct moment {
	char name[NAME_BYTES];
	const struct disk *disk;
	bool open, cut;
	bool waits;            /* For what is found after it was cut. */
	struct bounds *bounds; /* Of each block. */
};

/* One without a disk is free. */
static struct moment moments[MOMENTS_MAX];

static struct moment *find_free(void)
{
	for (unsigned i = 0; i < MOMENTS_MAX; i++)
		if (!moments[i].disk)
			return &moments[i];
	die("more than %d snapshots", MOMENTS_MAX);
}

static void begin_disk(const char *name, const struct disk *disk)
{
	struct moment *moment = find_free();

	(void)snprintf(moment->name, sizeof(moment->name), "%s", name);
	moment->disk = disk;
	moment->open = true;
	moment->bounds = allocate(block_count, sizeof(*moment->bounds));
	for (uint64_t i = 0; i < block_count; i++) {
		moment->bounds[i].first = disk->blocks[i].ended;
		moment->bounds[i].first_is_zero = disk->blocks[i].ended_is_zero;
	}
}

void moment_begin(const char *name, const char *list)
{
	char *end;

	moment_end();
	do {
		begin_disk(name, disk_number(strtoul(list, &end, 10)));
		list = end + 1;
	} while (*end == ',');
}

static void end_disk(struct moment *moment, bool cut)
{
	moment->open = false;
	moment->cut = cut;
	moment->waits = cut;
	for (uint64_t i = 0; i < block_count; i++) {
		struct bounds *bounds = &moment->bounds[i];

		bounds->last = moment->disk->blocks[i].last;
		bounds->zeroed = moment->disk->blocks[i].last_zero > bounds->first;
	}
}

static void end_all(bool cut)
{
	for (unsigned i = 0; i < MOMENTS_MAX; i++)
		if (moments[i].disk && moments[i].open)
			end_disk(&moments[i], cut);
}

void moment_end(void)
{
	end_all(false);
}

void moment_cut(void)
{
	end_all(true);
}

void moment_take(const struct disk *disk)
{
	for (unsigned i = 0; i < MOMENTS_MAX; i++) {
		struct moment *moment = &moments[i];

		if (moment->disk != disk || !moment->waits)
			continue;
		moment->waits = false;
		for (uint64_t j = 0; j < block_count; j++) {
			moment->bounds[j].after = disk->blocks[j].ended;
			moment->bounds[j].after_is_zero = disk->blocks[j].ended_is_zero;
		}
	}
}

bool moment_holds(const struct moment *moment, uint64_t number, const struct stamp *found)
{
	const struct bounds *bounds = &moment->bounds[number];
	const struct disk *disk = moment->disk;

	if (model_is(disk, number, found, bounds->first, bounds->first_is_zero))
		return true;
	if (found->generation > bounds->first && found->generation <= bounds->last)
		return model_is(disk, number, found, (uint32_t)found->generation, false);
	if (bounds->zeroed && model_is(disk, number, found, 1, true))
		return true;
	return moment->cut && model_is(disk, number, found, bounds->after, bounds->after_is_zero);
}

static void check_block(const struct moment *moment, uint64_t number, const struct stamp *found)
{
	const struct bounds *bounds = &moment->bounds[number];

	if (!moment_holds(moment, number, found))
		die("snapshot %s of disk %u block %" PRIu64 ": found disk %" PRIu64
		    " block %" PRIu64 " generation %" PRIu64 "; may be %u%s to %u%s%s",
		    moment->name, moment->disk->index, number, found->disk, found->number,
		    found->generation, bounds->first, bounds->first_is_zero ? " (zeroes)" : "",
		    bounds->last, bounds->zeroed ? ", or zeroes" : "",
		    moment->cut ? "; it was cut short" : "");
}

static struct moment *find(const char *name, const struct disk *disk)
{
	for (unsigned i = 0; i < MOMENTS_MAX; i++)
		if (moments[i].disk == disk && strcmp(moments[i].name, name) == 0)
			return &moments[i];
	die("there is no snapshot %s of disk %u", name, disk->index);
}

const struct moment *moment_of(const char *name, const struct disk *disk)
{
	return find(name, disk);
}

void moment_forget(const char *name, const struct disk *disk)
{
	struct moment *moment = find(name, disk);

	free(moment->bounds);
	*moment = (struct moment){0};
}

void moment_check(const char *name, const struct disk *disk, const char *path)
{
	const struct moment *moment = find(name, disk);
	FILE *in = fopen(path, "re");
	struct stamp found;

	if (!in)
		die("%s: %s", path, strerrordesc_np(errno));
	for (uint64_t i = 0; i < block_count; i++) {
		if (fread(&found, BLOCK, 1, in) != 1)
			die("%s is too short", path);
		check_block(moment, i, &found);
	}
	(void)fclose(in);
}
