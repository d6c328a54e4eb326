/*
 * Ways back: a disk becomes what it was when a snapshot was made, all of it or nothing; see load.h.
 * Nothing is sent to it meanwhile, so that it is known what it is if it does not.
 *
 * Read next: moments.c.
 */
#include "initiator-tests/images/load.h"

#include <inttypes.h>

void back_begin(struct disk *disk, const char *name)
{
	disk->way_back = moment_of(name, disk);
	disk->is_back = false;
	disk->asked_to_rest = true;
	back_tell(disk);
}

void back_tell(struct disk *disk)
{
	if (!disk->asked_to_rest || disk->in_flight != 0)
		return;
	disk->asked_to_rest = false;
	printf("rests\n");
}

struct look {
	uint64_t others; /* Blocks that were something else then. */
	uint64_t first;
};

static void look_at(struct disk *disk, uint64_t number, const struct stamp *found, void *context)
{
	struct look *look = context;

	if (moment_holds(disk->way_back, number, found))
		return;
	if (look->others++ == 0)
		look->first = number;
}

static void take(struct disk *disk, uint64_t number, const struct stamp *found, void *context)
{
	(void)context;
	model_back(disk, number, found);
}

/* False: not all of it was read, or it is not what it was then. */
static bool is_what_it_was(struct disk *disk)
{
	struct look look = {0};

	if (!disk_sweep(disk, look_at, &look))
		return false;
	if (disk->is_back && look.others != 0)
		die("disk %u was rolled back, and %" PRIu64
		    " blocks are not what they were, the first is %" PRIu64,
		    disk->index, look.others, look.first);
	return look.others == 0;
}

bool back_take(struct disk *disk)
{
	if (!disk->way_back || !is_what_it_was(disk))
		return false;
	/* Of the zeroes that are found. */
	disk->generation++;
	if (!disk_sweep(disk, take, NULL))
		return false;
	model_taken(disk);
	disk->way_back = NULL;
	return true;
}

void back_end(struct disk *disk, bool is_back, bool is_gone)
{
	disk->is_back = is_back;
	if (!is_back)
		disk->way_back = NULL;
	else if (!is_gone)
		(void)back_take(disk);
}
