/*
 * Sessions with LUNs, and what is asked of them outside the load; see load.h.
 *
 * Read next: load.c.
 */
#include "initiator-tests/images/load.h"

#include <string.h>

#define SWEEP_BLOCKS 2048u

static void check_identity(struct disk *disk)
{
	struct scsi_task *task =
		iscsi_inquiry_sync(disk->iscsi, disk->lun, 1, 0x83, IDENTITY_BYTES);

	if (!task || task->status != SCSI_STATUS_GOOD)
		die("disk %u: INQUIRY: %s", disk->index, iscsi_get_error(disk->iscsi));
	if (disk->identity[0] == 0 && disk->identity[1] == 0)
		memcpy(disk->identity, task->datain.data, (size_t)task->datain.size);
	else if (memcmp(disk->identity, task->datain.data, (size_t)task->datain.size) != 0)
		die("disk %u is another one now, says page 83h", disk->index);
	scsi_free_scsi_task(task);
}

/* Bytes 20 to 23 of Block Limits (SBC-3 6.6.4) are the unit of UNMAP. */
static void ask_unmap_unit(struct disk *disk)
{
	struct scsi_task *task = iscsi_inquiry_sync(disk->iscsi, disk->lun, 1, 0xb0, 64);

	if (!task || task->status != SCSI_STATUS_GOOD || task->datain.size < 32)
		die("disk %u: INQUIRY: %s", disk->index, iscsi_get_error(disk->iscsi));
	disk->unmap_blocks = scsi_get_uint32(task->datain.data + 28);
	scsi_free_scsi_task(task);
	if (disk->unmap_blocks == 0)
		die("disk %u is not thin", disk->index);
}

void disk_connect(struct disk *disk)
{
	char name[64];
	struct iscsi_url *url;

	(void)snprintf(name, sizeof(name), "iqn.2026-11.io.ringsan:host-%u", disk->index);
	disk->iscsi = iscsi_create_context(name);
	url = disk->iscsi ? iscsi_parse_full_url(disk->iscsi, disk->url) : NULL;
	if (!url)
		die("not a URL: %s", disk->url);
	iscsi_set_targetname(disk->iscsi, url->target);
	iscsi_set_session_type(disk->iscsi, ISCSI_SESSION_NORMAL);
	iscsi_set_noautoreconnect(disk->iscsi, 1);
	iscsi_set_timeout(disk->iscsi, 60);
	disk->lun = url->lun;
	if (iscsi_full_connect_sync(disk->iscsi, url->portal, url->lun) != 0)
		die("disk %u: %s", disk->index, iscsi_get_error(disk->iscsi));
	iscsi_destroy_url(url);
	disk->broken = false;
	check_identity(disk);
	ask_unmap_unit(disk);
}

void disk_disconnect(struct disk *disk)
{
	/* Ends what is under way with SCSI_STATUS_CANCELLED. */
	iscsi_destroy_context(disk->iscsi);
	disk->iscsi = NULL;
	if (disk->in_flight != 0)
		die("disk %u: %u operations have no end", disk->index, disk->in_flight);
}

void disk_make(struct disk *disk, unsigned index, const char *url, bool golden)
{
	disk->index = index;
	disk->url = url;
	disk->golden = golden;
	disk->blocks = allocate(block_count, sizeof(*disk->blocks));
	disk->done = allocate(DONE_MAX, sizeof(*disk->done));
	operations_begin(disk);
	disk_connect(disk);
}

/* A unit attention is told once. */
static struct scsi_task *read_sync(const struct disk *disk, uint64_t first, uint32_t count)
{
	for (;;) {
		struct scsi_task *task = iscsi_read16_sync(disk->iscsi, disk->lun, first,
							   count * BLOCK, BLOCK, 0, 0, 0, 0, 0);

		if (!task || task->status != SCSI_STATUS_CHECK_CONDITION ||
		    task->sense.key != SCSI_SENSE_UNIT_ATTENTION)
			return task;
		scsi_free_scsi_task(task);
	}
}

bool disk_sweep(struct disk *disk, disk_sweep_fn *each, void *context)
{
	for (uint64_t first = 0; first < block_count; first += SWEEP_BLOCKS) {
		uint64_t left = block_count - first;
		uint32_t count = left < SWEEP_BLOCKS ? (uint32_t)left : SWEEP_BLOCKS;
		struct scsi_task *task = read_sync(disk, first, count);

		disk->broken = !task || task->status == SCSI_STATUS_ERROR ||
			       task->status == SCSI_STATUS_CANCELLED;
		if (disk->broken) {
			if (task)
				scsi_free_scsi_task(task);
			return false;
		}
		if (task->status != SCSI_STATUS_GOOD || task->datain.size != (int)count * BLOCK)
			die("disk %u: reading all: %s", disk->index, iscsi_get_error(disk->iscsi));
		for (uint32_t i = 0; i < count; i++) {
			struct stamp found;

			memcpy(&found, task->datain.data + (size_t)i * BLOCK, BLOCK);
			each(disk, first + i, &found, context);
		}
		scsi_free_scsi_task(task);
	}
	return true;
}

void disk_sweep_all(struct disk *disk, disk_sweep_fn *each, void *context)
{
	if (!disk_sweep(disk, each, context))
		die("disk %u: reading all: %s", disk->index, iscsi_get_error(disk->iscsi));
}
