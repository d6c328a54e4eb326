/*
 * Reading, writing and fdatasync on the spot. See sim_file.h.
 */
#include "tests/crash/sim_file.h"

#include <errno.h>
#include <string.h>

static void rest(struct sim *sim)
{
	if (sim->at_rest)
		sim->at_rest(sim);
}

static int file_read(const struct qcow2_file *of, void *buffer, size_t length, uint64_t offset)
{
	const struct sim_file *file = (const void *)of;
	size_t there = disk_read(file->sim->disk, file->file, offset, buffer, length);

	memset((uint8_t *)buffer + there, 0, length - there);
	return 0;
}

static int file_write(struct qcow2_writable *of, const void *bytes, size_t length, uint64_t offset)
{
	const struct sim_file *file = (const void *)of;
	struct disk *disk = file->sim->disk;
	struct iovec iov = {(void *)(uintptr_t)bytes, length};
	int res = sim_take_fault(file->sim, LOOP_OP_WRITE);
	struct disk_change change;

	if (res == -ENOSPC || res == -EDQUOT)
		return res;
	if (!disk_issue_write(disk, file->file, offset, &iov, length, &change))
		return -ENOSPC;
	rest(file->sim);
	if (res != 0)
		disk_fail(disk, &change, length / DISK_SECTOR_BYTES / 2 * DISK_SECTOR_BYTES);
	else
		disk_end(disk, &change, false);
	rest(file->sim);
	return res;
}

static int file_sync(struct qcow2_writable *of)
{
	const struct sim_file *file = (const void *)of;
	struct disk *disk = file->sim->disk;
	int res = sim_take_fault(file->sim, LOOP_OP_SYNC);

	disk_sync_end(disk, file->file, disk_sync_issue(disk), res != 0);
	rest(file->sim);
	return res;
}

void sim_file_open(struct sim_file *file, struct sim *sim, unsigned number)
{
	*file = (struct sim_file){.sim = sim, .file = number};
	file->writable.file.read = file_read;
	file->writable.file.size_bytes = sim->disk->files[number].now_bytes;
	file->writable.write = file_write;
	file->writable.sync = file_sync;
}
