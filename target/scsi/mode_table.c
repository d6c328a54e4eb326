/*
 * The mode pages, a row each: SPC-4 7.5, SBC-3 6.5. Data only, but for what follows the logical
 * unit. What may change is what the LUN then really does; README.md says why the rest may not.
 *
 * Constant; any thread. Read next: mode.c.
 */
#include <string.h>

#include "base/bytes.h"
#include "lun/space.h"
#include "target/scsi/device.h"

#define LBPERE 0x80u
#define SITUA 0x01u
#define ENABLED 0x80u
#define WCE 0x04u

/*
 * WCE is the truth about the LUN's cache. Hosts may turn it off and on again where the
 * administrator lets them, and never on where he has turned it off.
 */
static void follow_caching(const struct scsi_lu *lu, uint8_t *values, uint8_t *changeable)
{
	if (!lu->limits->write_cache)
		return;
	values[2] |= WCE;
	if (lu->write_cache_by_hosts)
		changeable[2] |= WCE;
}

/* LBPERE: hosts are told of soft thresholds, where there are any. */
static void follow_recovery(const struct scsi_lu *lu, uint8_t *values, uint8_t *changeable)
{
	if (!scsi_lu_has_space(lu))
		return;
	values[7] |= LBPERE;
	changeable[7] |= LBPERE;
}

static void set_threshold(uint8_t *values, uint8_t *changeable, unsigned index, uint32_t count)
{
	if (count > 0)
		values[SCSI_THRESHOLD_AT(index)] |= ENABLED;
	put_be32(values + SCSI_THRESHOLD_COUNT_AT(index), count);
	changeable[SCSI_THRESHOLD_AT(index)] |= ENABLED;
	memset(changeable + SCSI_THRESHOLD_COUNT_AT(index), 0xFF, 4);
}

/* A threshold at nothing at all would never be crossed. */
static uint32_t count_of(const struct scsi_lu *lu, uint64_t bytes)
{
	uint32_t count = scsi_threshold_sets(lu, bytes);

	return count > 0 ? count : 1;
}

/* What is left is what hosts may take, without the reserve: at 0 writes are refused. */
static uint32_t count_left(const struct scsi_lu *lu, const struct lun_space *space)
{
	uint64_t left = space->total_bytes / 100 * (100 - space->warn_percent);

	if (space->warn_percent == 0)
		return 0;
	return count_of(lu, left > space->reserve_bytes ? left - space->reserve_bytes : 0);
}

static uint32_t count_used(const struct scsi_lu *lu)
{
	uint64_t capacity = scsi_lu_block_count(lu) * lu->block_bytes;
	unsigned percent = atomic_load_explicit(&lu->warn_percent, memory_order_relaxed);

	return percent == 0 ? 0 : count_of(lu, capacity / 100 * percent);
}

/* The administrator's thresholds, which hosts may change. */
static void follow_provisioning(const struct scsi_lu *lu, uint8_t *values, uint8_t *changeable)
{
	struct lun_space space;

	if (!scsi_lu_has_space(lu) || !lun_space(lu->lun, &space))
		return;
	changeable[SCSI_PROVISIONING_SITUA] |= SITUA;
	set_threshold(values, changeable, SCSI_THRESHOLD_USED, count_used(lu));
	set_threshold(values, changeable, SCSI_THRESHOLD_LEFT, count_left(lu, &space));
}

/* clang-format off */
const struct scsi_mode_page scsi_mode_pages[SCSI_MODE_PAGE_COUNT] = {
	/* SBC-3 6.5.7. No recovery of our own, so none to be tuned: what the image reports is told. */
	[MODE_PAGE_ERROR_RECOVERY] = {
		.code = 0x01, .bytes = 12,
		.fields = { [2] = 0xFF, 0x80, 0x80, 0x80, 0x80, 0xC0, 0x80, 0x80, 0x80, 0x00 },
		.follow = follow_recovery,
	},
	/* SBC-3 6.5.5 */
	[MODE_PAGE_CACHING] = {
		.code = 0x08, .bytes = 20,
		.fields = { [2] = 0xFF, 0x88, 0x80, 0x00, 0x80, 0x00, 0x80, 0x00, 0x80, 0x00, 0xF5,
			    0x80, 0x80, 0x00, 0x80, 0x80, 0x00, 0x00 },
		.follow = follow_caching,
	},
	/* SPC-4 7.5.8. TST 001b: a task set per I_T nexus. D_SENSE, SWP and TAS may change. GLTSD: no log
	 * parameter is saved. QUEUE ALGORITHM MODIFIER 1: commands in any order. No limit of the time
	 * that a host may meet BUSY. */
	[MODE_PAGE_CONTROL] = {
		.code = 0x0A, .bytes = 12,
		.values = { [2] = 0x22, 0x10, [5] = 0x40, [8] = 0xFF, 0xFF },
		.changeable = { [2] = 0x04, [4] = 0x08, 0x40 },
		.fields = { [2] = 0x9F, 0x8D, 0xEC, 0xFC, 0x80, 0x00, 0x80, 0x00, 0x80, 0x00 },
	},
	/* SPC-4 7.5.9. No limit of the length of sense data. */
	[MODE_PAGE_CONTROL_EXTENSION] = {
		.code = 0x0A, .subpage = 0x01, .bytes = 32,
		.fields = { [4] = 0x87, 0x88, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
			    0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
			    0x80, 0x80, 0x80, 0x80, 0x80 },
	},
	/* SPC-4 7.5.12. DEXCPT: there are no informational exceptions. */
	[MODE_PAGE_EXCEPTIONS] = {
		.code = 0x1C, .bytes = 12,
		.values = { [2] = 0x08 },
		.fields = { [2] = 0xFF, 0x88, 0x80, 0x00, 0x00, 0x00, 0x80, 0x00, 0x00, 0x00 },
	},
	/* SBC-4 6.5.9. Two descriptors, THRESHOLD TYPE 000b, a number of sets: what the logical unit
	 * uses (resource 02h, armed increasing), what its pool has left (01h, armed decreasing). */
	[MODE_PAGE_PROVISIONING] = {
		.code = 0x1C, .subpage = 0x02, .bytes = SCSI_PROVISIONING_BYTES,
		.values = { [16] = 0x01, 0x02, [24] = 0x00, 0x01 },
		.fields = { [4] = 0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
			    0x80, 0xE4, 0x80, 0x80, 0x80, 0x80, 0x00, 0x00, 0x00, 0xE4, 0x80, 0x80,
			    0x80, 0x80, 0x00, 0x00, 0x00 },
		.follow = follow_provisioning,
	},
};
/* clang-format on */
