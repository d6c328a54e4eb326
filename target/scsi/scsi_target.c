/*
 * SCSI target devices and logical units: a table sorted by number, and the numbers' form on the
 * wire. Not sessions (nexus.c), not commands (command.c), nor changes of the table while loops run
 * (lun_change.c).
 *
 * Threads: the control thread builds and frees; any loop reads in between.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "target/scsi/device.h"
#include "target/scsi/lun_change.h"
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
	struct scsi_lu_table *table;
	struct scsi_target *target;

	if (length > SCSI_DEVICE_NAME_MAX)
		return -EINVAL;
	target = calloc(1, sizeof(*target));
	table = calloc(1, sizeof(*table));
	if (target == NULL || table == NULL) {
		free(table);
		free(target);
		return -ENOMEM;
	}
	atomic_store_explicit(&target->lus.current, table, memory_order_release);
	memcpy(target->name, iscsi_name, length + 1);
	target->group = group;
	scsi_alua_init(target);
	for (unsigned i = 0; i < LOOPS_MAX; i++)
		list_init(&target->nexuses[i]);
	*out = target;
	return 0;
}

void scsi_lu_free(struct scsi_lu *lu)
{
	if (lu == NULL)
		return;
	scsi_switches_free(lu->switches);
	scsi_reservations_free(lu->reservations);
	scsi_mode_release(lu);
	free(lu);
}

/* Before the loops run and after they have ended, when the table is not shared. */
static struct scsi_lu_table *own_table(const struct scsi_target *target)
{
	return (struct scsi_lu_table *)(uintptr_t)scsi_target_lus(target);
}

void scsi_target_free(struct scsi_target *target)
{
	struct scsi_lu_table *table;

	if (target == NULL)
		return;
	table = own_table(target);
	for (unsigned i = 0; i < table->count; i++)
		scsi_lu_free(table->lus[i]);
	scsi_switches_free(target->switches);
	free(target->slots_free);
	free(table);
	free(target);
}

/* The place of a number in the table, taken or not. */
static unsigned lu_position(const struct scsi_lu_table *table, uint16_t number)
{
	unsigned low = 0;
	unsigned high = table->count;

	while (low < high) {
		unsigned middle = low + (high - low) / 2;

		if (table->lus[middle]->number < number) {
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
	atomic_store_explicit(&lu->warn_percent, spec->warn_percent, memory_order_relaxed);
	lu->limits = lun_limits(spec->lun);
	lu->block_bytes = lu->limits->logical_block_bytes;
	if (lu->block_bytes == 0)
		lu->block_bytes = DEFAULT_BLOCK_BYTES;
	if (identify(lu->vendor, sizeof(lu->vendor), spec->vendor, DEFAULT_VENDOR) != 0 ||
	    identify(lu->product, sizeof(lu->product), spec->product, DEFAULT_PRODUCT) != 0)
		return -EINVAL;
	return identify(lu->revision, sizeof(lu->revision), spec->revision, DEFAULT_REVISION);
}

void scsi_lu_table_insert(struct scsi_lu_table *table, struct scsi_lu *lu)
{
	unsigned at = lu_position(table, lu->number);

	memmove(table->lus + at + 1, table->lus + at, (table->count - at) * sizeof(void *));
	table->lus[at] = lu;
	table->count++;
}

static uint16_t take_slot(struct scsi_target *target)
{
	if (target->slots_free_count > 0)
		return target->slots_free[--target->slots_free_count];
	return (uint16_t)target->slot_end++;
}

int scsi_lu_create(struct scsi_target *target, uint16_t number, const struct scsi_lu_spec *spec,
		   struct scsi_lu **out)
{
	struct scsi_lu *lu = calloc(1, sizeof(*lu));
	int res;

	if (lu == NULL)
		return -ENOMEM;
	lu->number = number;
	lu->target = target;
	res = lu_init(lu, spec);
	if (res == 0)
		res = scsi_mode_init(lu);
	if (res != 0) {
		scsi_lu_free(lu);
		return res;
	}
	scsi_thresholds_init(lu);
	*out = lu;
	return 0;
}

struct scsi_lu *scsi_lu_table_find(const struct scsi_lu_table *table, uint16_t number)
{
	unsigned at = lu_position(table, number);

	return at < table->count && table->lus[at]->number == number ? table->lus[at] : NULL;
}

int scsi_lu_place(struct scsi_lu *lu, size_t lu_count)
{
	const struct scsi_target *target = lu->target;

	if (lu->number > SCSI_LUN_NUMBER_MAX)
		return -ERANGE;
	/* Slots are as many as logical units, and those that have not gone yet. */
	if (lu_count >= SCSI_TARGET_LUS_MAX ||
	    (target->slots_free_count == 0 && target->slot_end >= UINT16_MAX))
		return -E2BIG;
	lu->slot = take_slot(lu->target);
	return 0;
}

int scsi_target_add_lu(struct scsi_target *target, uint16_t number, const struct scsi_lu_spec *spec)
{
	struct scsi_lu_table *now;
	struct scsi_lu_table *table;
	struct scsi_lu *lu;
	int res = scsi_lu_create(target, number, spec, &lu);

	if (res != 0)
		return res;
	now = own_table(target);
	table = realloc(now, sizeof(*now) + (now->count + 1u) * sizeof(void *));
	if (table == NULL) {
		scsi_lu_free(lu);
		return -ENOMEM;
	}
	atomic_store_explicit(&target->lus.current, table, memory_order_release);
	res = scsi_lu_table_find(table, number) != NULL ? -EEXIST : scsi_lu_place(lu, table->count);
	if (res == 0)
		scsi_lu_table_insert(table, lu);
	else
		scsi_lu_free(lu);
	return res;
}

void scsi_target_reset(const struct scsi_target *target, const struct scsi_lu *lu,
		       struct loop *loop)
{
	const struct scsi_lu_table *table = scsi_target_lus(target);

	for (unsigned i = 0; i < table->count; i++) {
		if (lu == NULL || lu == table->lus[i])
			scsi_mode_reset(table->lus[i], loop);
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
	return scsi_target_lus(target)->count;
}

const char *scsi_target_name(const struct scsi_target *target)
{
	return target->name;
}

struct scsi_lu *scsi_target_find_lu(const struct scsi_target *target, uint16_t number)
{
	return scsi_lu_table_find(scsi_target_lus(target), number);
}

struct lun *scsi_lu_lun(const struct scsi_lu *lu)
{
	return lu->lun;
}

bool scsi_lu_tells_aborted(const struct scsi_lu *lu)
{
	return scsi_lu_mode(lu)->tells_aborted;
}

/* Numbers above 255 have no form in peripheral device addressing, SAM-5 4.7.7. */
void scsi_lun_field(uint16_t number, uint8_t out[8])
{
	memset(out, 0, 8);
	put_be16(out, number < 256 ? number : (uint16_t)(0x4000 | number));
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
