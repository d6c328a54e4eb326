/*
 * SCSI target devices and logical units: an array sorted by number, and the numbers' form on the
 * wire. Not sessions (nexus.c) and not commands (command.c).
 *
 * Threads: the control thread builds and frees; any loop reads in between.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "target/scsi/device.h"
#include "target/scsi/port_groups.h"
#include "target/scsi/reservation.h"

#define DEFAULT_VENDOR "RINGSAN"
#define DEFAULT_PRODUCT "VIRTUAL-DISK"
#define DEFAULT_REVISION "0001"
/* The block size of a LUN that is offline and of which nothing is known. */
#define DEFAULT_BLOCK_BYTES 512u

const struct scsi_lu scsi_no_lu = {
	.block_bytes = DEFAULT_BLOCK_BYTES,
	.vendor = DEFAULT_VENDOR " ",
	.product = DEFAULT_PRODUCT "    ",
	.revision = DEFAULT_REVISION,
};

int scsi_target_create(const char *iscsi_name, const struct loop_group *group,
		       struct scsi_target **out)
{
	size_t length = strlen(iscsi_name);
	struct scsi_target *target;

	if (length > SCSI_DEVICE_NAME_MAX)
		return -EINVAL;
	target = calloc(1, sizeof(*target));
	if (target == NULL)
		return -ENOMEM;
	memcpy(target->name, iscsi_name, length + 1);
	target->group = group;
	scsi_alua_init(target);
	for (unsigned i = 0; i < LOOPS_MAX; i++)
		list_init(&target->nexuses[i]);
	*out = target;
	return 0;
}

void scsi_target_free(struct scsi_target *target)
{
	if (target == NULL)
		return;
	for (unsigned i = 0; i < target->lu_count; i++) {
		scsi_switches_free(target->lus[i]->switches);
		scsi_reservations_free(target->lus[i]->reservations);
		scsi_mode_release(target->lus[i]);
		free(target->lus[i]);
	}
	scsi_switches_free(target->switches);
	free(target->lus);
	free(target);
}

/* The place of a number in the sorted array, taken or not. */
static unsigned lu_position(const struct scsi_target *target, uint16_t number)
{
	unsigned low = 0;
	unsigned high = target->lu_count;

	while (low < high) {
		unsigned middle = low + (high - low) / 2;

		if (target->lus[middle]->number < number) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return low;
}

/* An identification field: left-aligned printable ASCII, SPC-4 4.3.1. */
static int identify(char *field, size_t size, const char *text, const char *otherwise)
{
	const char *from = text != NULL ? text : otherwise;
	size_t length = strlen(from);

	if (length > size)
		return -EINVAL;
	for (size_t i = 0; i < length; i++) {
		if (from[i] < 0x20 || from[i] > 0x7E)
			return -EINVAL;
	}
	for (size_t i = 0; i < size; i++)
		field[i] = ' ';
	for (size_t i = 0; i < length; i++)
		field[i] = from[i];
	return 0;
}

static int lu_init(struct scsi_lu *lu, const struct scsi_lu_spec *spec)
{
	lu->lun = spec->lun;
	lu->state_dir = spec->state_dir;
	lu->write_cache_by_hosts = spec->write_cache_by_hosts;
	lu->warn_percent = spec->warn_percent;
	lu->limits = lun_limits(spec->lun);
	lu->block_bytes = lu->limits->logical_block_bytes;
	if (lu->block_bytes == 0)
		lu->block_bytes = DEFAULT_BLOCK_BYTES;
	if (identify(lu->vendor, sizeof(lu->vendor), spec->vendor, DEFAULT_VENDOR) != 0 ||
	    identify(lu->product, sizeof(lu->product), spec->product, DEFAULT_PRODUCT) != 0)
		return -EINVAL;
	return identify(lu->revision, sizeof(lu->revision), spec->revision, DEFAULT_REVISION);
}

/* Open a gap in the array and put the logical unit there. */
static int lu_insert(struct scsi_target *target, struct scsi_lu *lu)
{
	unsigned at = lu_position(target, lu->number);
	struct scsi_lu **lus = reallocarray(target->lus, target->lu_count + 1u, sizeof(void *));

	if (lus == NULL)
		return -ENOMEM;
	target->lus = lus;
	memmove(lus + at + 1, lus + at, (target->lu_count - at) * sizeof(void *));
	lus[at] = lu;
	lu->slot = (uint16_t)target->lu_count++;
	return 0;
}

int scsi_target_add_lu(struct scsi_target *target, uint16_t number, const struct scsi_lu_spec *spec)
{
	struct scsi_lu *lu;
	int res;

	if (number > SCSI_LUN_NUMBER_MAX)
		return -ERANGE;
	if (target->lu_count >= SCSI_TARGET_LUS_MAX)
		return -E2BIG;
	if (scsi_target_find_lu(target, number) != NULL)
		return -EEXIST;
	lu = calloc(1, sizeof(*lu));
	if (lu == NULL)
		return -ENOMEM;
	lu->number = number;
	lu->target = target;
	res = lu_init(lu, spec);
	if (res == 0)
		res = scsi_mode_init(lu);
	if (res == 0) {
		scsi_thresholds_init(lu);
		res = lu_insert(target, lu);
	}
	if (res != 0) {
		scsi_mode_release(lu);
		free(lu);
	}
	return res;
}

void scsi_target_reset(const struct scsi_target *target, const struct scsi_lu *lu,
		       struct loop *loop)
{
	for (unsigned i = 0; i < target->lu_count; i++) {
		if (lu == NULL || lu == target->lus[i])
			scsi_mode_reset(target->lus[i], loop);
	}
}

int scsi_target_add_port(struct scsi_target *target, uint16_t relative_target_port)
{
	for (unsigned i = 0; i < target->port_count; i++) {
		if (target->ports[i] == relative_target_port)
			return 0;
	}
	if (target->port_count == SCSI_TARGET_PORTS_MAX)
		return -E2BIG;
	target->ports[target->port_count++] = relative_target_port;
	return 0;
}

unsigned scsi_target_lu_count(const struct scsi_target *target)
{
	return target->lu_count;
}

struct scsi_lu *scsi_target_find_lu(const struct scsi_target *target, uint16_t number)
{
	unsigned at = lu_position(target, number);

	if (at == target->lu_count || target->lus[at]->number != number)
		return NULL;
	return target->lus[at];
}

struct lun *scsi_lu_lun(const struct scsi_lu *lu)
{
	return lu->lun;
}

bool scsi_lu_tells_aborted(const struct scsi_lu *lu)
{
	return scsi_lu_mode(lu)->tells_aborted;
}

bool scsi_lun_number(const uint8_t lun_field[8], uint16_t *number)
{
	static const uint8_t zeroes[6];
	unsigned method = lun_field[0] >> 6;

	/* One level only: the rest of the field addresses nothing (SAM-5 4.7.6). */
	if (memcmp(lun_field + 2, zeroes, sizeof(zeroes)) != 0)
		return false;
	/* Peripheral device addressing has a bus identifier, of which there is bus 0. */
	if (method > 1 || (method == 0 && lun_field[0] != 0))
		return false;
	*number = get_be16(lun_field) & SCSI_LUN_NUMBER_MAX;
	return true;
}

enum scsi_sense scsi_lu_readiness(const struct scsi_lu *lu)
{
	/* Without a block there is no last one that READ CAPACITY could name. */
	if (!lun_state(lu->lun)->online || scsi_lu_block_count(lu) == 0)
		return SENSE_NOT_READY_MANUAL_INTERVENTION;
	if (lun_is_overrun(lu->lun))
		return SENSE_NOT_READY_OPERATION_IN_PROGRESS;
	return SENSE_NONE;
}

uint64_t scsi_lu_block_count(const struct scsi_lu *lu)
{
	return lun_state(lu->lun)->size_bytes / lu->block_bytes;
}
