/*
 * Reads, writes and all that makes zeroes, chosen at random; see load.h.
 *
 * Read next: disk.c.
 */
#include "initiator-tests/images/load.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static uint64_t started;
static uint64_t by_kind[KINDS];

static void use(const struct operation *operation, unsigned change)
{
	for (unsigned i = 0; i < operation->count; i++)
		operation->disk->blocks[operation->first + i].users += change;
}

static void ended(struct operation *operation)
{
	use(operation, -1u);
	operation->running = false;
	operation->disk->in_flight--;
}

static void take_read(const struct operation *operation, const struct scsi_task *task)
{
	if (task->datain.size != (int)operation->count * BLOCK)
		die("a read of %u blocks brought %d bytes", operation->count, task->datain.size);
	for (unsigned i = 0; i < operation->count; i++) {
		struct stamp found;

		memcpy(&found, task->datain.data + (size_t)i * BLOCK, BLOCK);
		model_expect(operation->disk, operation->first + i, &found);
	}
}

static void send_operation(struct operation *operation);

static bool is_told_again(int status, const struct scsi_task *task)
{
	return status == SCSI_STATUS_BUSY || status == SCSI_STATUS_TASK_SET_FULL ||
	       (status == SCSI_STATUS_CHECK_CONDITION &&
		task->sense.key == SCSI_SENSE_UNIT_ATTENTION);
}

static void on_done(struct iscsi_context *iscsi, int status, void *command_data, void *private_data)
{
	struct operation *operation = private_data;
	struct scsi_task *task = command_data;
	struct disk *disk = operation->disk;

	if (status == SCSI_STATUS_CANCELLED || status == SCSI_STATUS_ERROR) {
		disk->broken = true;
		ended(operation);
	} else if (is_told_again(status, task)) {
		send_operation(operation);
	} else if (status != SCSI_STATUS_GOOD) {
		die("disk %u: operation of kind %d at %" PRIu64 " + %u: status %d: %s", disk->index,
		    (int)operation->kind, operation->first, operation->count, status,
		    iscsi_get_error(iscsi));
	} else {
		if (operation->kind == READ)
			take_read(operation, task);
		model_done(operation);
		ended(operation);
	}
	if (task)
		scsi_free_scsi_task(task);
}

static struct scsi_task *make_task(struct operation *operation)
{
	struct iscsi_context *iscsi = operation->disk->iscsi;
	struct unmap_list list = {.lba = operation->first, .num = operation->count};
	int lun = operation->disk->lun;
	uint32_t bytes = operation->count * BLOCK;

	switch (operation->kind) {
	case READ:
		return iscsi_read16_task(iscsi, lun, operation->first, bytes, BLOCK, 0, 0, 0, 0, 0,
					 on_done, operation);
	case WRITE:
	case WRITE_FUA:
		return iscsi_write16_task(iscsi, lun, operation->first, operation->data, bytes,
					  BLOCK, 0, 0, operation->kind == WRITE_FUA, 0, 0, on_done,
					  operation);
	case UNMAP:
		return iscsi_unmap_task(iscsi, lun, 0, 0, &list, 1, on_done, operation);
	case ZERO:
	case ZERO_UNMAP:
		memset(operation->data, 0, BLOCK);
		return iscsi_writesame16_task(iscsi, lun, operation->first, operation->data, BLOCK,
					      operation->count, 0, operation->kind == ZERO_UNMAP, 0,
					      0, on_done, operation);
	case FLUSH:
	case KINDS:
	default:
		return iscsi_synchronizecache16_task(iscsi, lun, 0, 0, 0, 0, on_done, operation);
	}
}

static void send_operation(struct operation *operation)
{
	if (!make_task(operation))
		die("disk %u: no task: %s", operation->disk->index,
		    iscsi_get_error(operation->disk->iscsi));
}

static void start(struct operation *operation)
{
	if (operation->kind == FLUSH)
		operation->done_before = operation->disk->done_next;
	else if (operation->kind != READ)
		model_change(operation);
	use(operation, 1);
	operation->running = true;
	operation->disk->in_flight++;
	by_kind[operation->kind]++;
	started++;
	send_operation(operation);
}

/* -- What to do next -- */

static void align(struct operation *operation, unsigned blocks)
{
	operation->count = (operation->count + blocks - 1) / blocks * blocks;
	operation->first -= operation->first % blocks;
}

/* Half of all go to an eighth of the disk, so that what is mapped is changed again. */
static void choose_blocks(struct operation *operation)
{
	static const unsigned counts[] = {1, 1, 2, 7, 8, 8, 8, 16, 24, 64, 128, 128, 257, 512};
	uint64_t dice = random_next();
	uint64_t area = dice & 1 ? block_count / 8 : block_count;

	operation->first = (dice >> 8) % area;
	operation->count = counts[(dice >> 40) % (sizeof(counts) / sizeof(counts[0]))];
	if (dice & 2)
		align(operation, 8);
	/* UNMAP of a part of a unit may do nothing. */
	if (operation->kind == UNMAP)
		align(operation, operation->disk->unmap_blocks);
}

static bool is_free(const struct operation *operation)
{
	if (operation->first + operation->count > block_count || operation->count > BLOCKS_MAX)
		return false;
	for (unsigned i = 0; i < operation->count; i++)
		if (operation->disk->blocks[operation->first + i].users != 0)
			return false;
	return true;
}

void operation_start_random(struct operation *operation)
{
	static const enum kind kinds[] = {
		WRITE, WRITE, WRITE, WRITE, WRITE, WRITE, WRITE, WRITE, WRITE_FUA,  WRITE_FUA,
		READ,  READ,  READ,  READ,  UNMAP, UNMAP, ZERO,  FLUSH, ZERO_UNMAP, ZERO_UNMAP,
	};

	operation->kind = kinds[random_next() % (sizeof(kinds) / sizeof(kinds[0]))];
	operation->first = 0;
	operation->count = 0;
	for (unsigned tries = 0; tries < 8 && operation->kind != FLUSH; tries++) {
		choose_blocks(operation);
		if (is_free(operation))
			break;
		operation->count = 0;
	}
	if (operation->kind == FLUSH || operation->count != 0)
		start(operation);
}

void operations_begin(struct disk *disk)
{
	for (unsigned i = 0; i < DEPTH; i++) {
		disk->operations[i].disk = disk;
		disk->operations[i].data = allocate(BLOCKS_MAX, BLOCK);
	}
}

uint64_t operations_started(void)
{
	return started;
}

void operations_print(void)
{
	printf("operations=%" PRIu64 " reads=%" PRIu64 " writes=%" PRIu64 " fua=%" PRIu64
	       " unmaps=%" PRIu64 " zeroes=%" PRIu64 " flushes=%" PRIu64 "\n",
	       started, by_kind[READ], by_kind[WRITE], by_kind[WRITE_FUA], by_kind[UNMAP],
	       by_kind[ZERO] + by_kind[ZERO_UNMAP], by_kind[FLUSH]);
}
