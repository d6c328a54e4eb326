/*
 * Soft thresholds; see threshold.h.
 *
 * Threads: checks run on one loop; nexuses are told on theirs, by a switch. Read next: mode_table.c
 * (the page), nexus.c (reporting).
 */
#include "target/scsi/threshold.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "lun/space.h"
#include "target/scsi/device.h"

#define ENABLED 0x80u
#define SITUA 0x01u
#define LBPERE_AT 7u
#define LBPERE 0x80u
/* So many sets make a logical unit at least, so that counts are good to a thousandth. */
#define SETS_LOG2 10u
/* Behind its range a threshold is armed again when the value has gone back by this part more. */
#define MARGIN_PARTS 128u

/* -- One -- */

static bool same_rule(const struct scsi_threshold_rule *a, const struct scsi_threshold_rule *b)
{
	return a->enabled == b->enabled && a->decreasing == b->decreasing &&
	       a->center == b->center && a->set == b->set;
}

static bool is_beyond(const struct scsi_threshold_rule *rule, uint64_t value)
{
	uint64_t half = rule->set / 2;
	uint64_t low = rule->center > half ? rule->center - half : 0;

	return rule->decreasing ? value < low : value > rule->center + half;
}

/* Where a margin would leave the scale there is none, or it could never be armed again. */
static bool is_back(const struct scsi_threshold_rule *rule, uint64_t value)
{
	uint64_t half = rule->set / 2;
	uint64_t margin = rule->whole / MARGIN_PARTS;
	uint64_t low = rule->center > half ? rule->center - half : 0;
	uint64_t high = rule->center + half;

	if (rule->decreasing)
		return value > (high + margin < rule->whole ? high + margin : high);
	return value < (low > margin ? low - margin : low) || value == 0;
}

bool scsi_threshold_step(struct scsi_threshold *threshold, const struct scsi_threshold_rule *rule,
			 uint64_t value)
{
	if (!same_rule(&threshold->rule, rule))
		threshold->reached = false;
	threshold->rule = *rule;
	if (!rule->enabled)
		return false;
	if (threshold->reached) {
		threshold->reached = !is_back(rule, value);
		return false;
	}
	threshold->reached = is_beyond(rule, value);
	return threshold->reached;
}

/* -- Of a logical unit -- */

bool scsi_lu_has_space(const struct scsi_lu *lu)
{
	struct lun_space space;

	return lu->limits->thin && lun_space(lu->lun, &space) && scsi_lu_block_count(lu) > 0;
}

unsigned scsi_threshold_exponent(const struct scsi_lu *lu)
{
	unsigned log2;

	if (!scsi_lu_has_space(lu))
		return 0;
	log2 = 63u - (unsigned)__builtin_clzll(scsi_lu_block_count(lu));
	return log2 > SETS_LOG2 ? log2 - SETS_LOG2 : 1;
}

static uint64_t set_bytes(const struct scsi_lu *lu)
{
	return (uint64_t)lu->block_bytes << scsi_threshold_exponent(lu);
}

uint32_t scsi_threshold_sets(const struct scsi_lu *lu, uint64_t bytes)
{
	uint64_t sets = bytes / set_bytes(lu);

	return sets < UINT32_MAX ? (uint32_t)sets : UINT32_MAX;
}

/* A count that a host has set may lie far beyond all there is; halved, so that half a range can be
 * added to it. */
static uint64_t center_bytes(uint32_t count, uint64_t set)
{
	const uint64_t most = UINT64_MAX / 2;

	return count < most / set ? count * set : most;
}

/* What the mode pages say now. SBC-4 4.7.3.7.6: without LBPERE nothing is told. */
static void read_rules(const struct scsi_lu *lu, const struct lun_space *space,
		       struct scsi_threshold_rule rules[SCSI_THRESHOLD_COUNT])
{
	const struct scsi_mode *mode = scsi_lu_mode(lu);
	uint8_t recovery[SCSI_MODE_PAGE_BYTES_MAX];
	uint8_t page[SCSI_MODE_PAGE_BYTES_MAX];

	scsi_mode_read(lu, mode, MODE_PAGE_ERROR_RECOVERY, MODE_CURRENT, recovery);
	scsi_mode_read(lu, mode, MODE_PAGE_PROVISIONING, MODE_CURRENT, page);
	for (unsigned i = 0; i < SCSI_THRESHOLD_COUNT; i++) {
		rules[i] = (struct scsi_threshold_rule){
			.enabled = (page[SCSI_THRESHOLD_AT(i)] & ENABLED) != 0 &&
				   (recovery[LBPERE_AT] & LBPERE) != 0,
			.decreasing = i == SCSI_THRESHOLD_LEFT,
			.center = center_bytes(get_be32(page + SCSI_THRESHOLD_COUNT_AT(i)),
					       set_bytes(lu)),
			.set = set_bytes(lu),
			.whole = i == SCSI_THRESHOLD_LEFT
					 ? space->total_bytes
					 : scsi_lu_block_count(lu) * lu->block_bytes,
		};
	}
}

/* The thresholds that have been crossed, a bit each. */
static unsigned step_all(struct scsi_lu *lu)
{
	struct scsi_threshold_rule rules[SCSI_THRESHOLD_COUNT];
	struct lun_space space;
	unsigned crossed = 0;

	if (!scsi_lu_has_space(lu) || !lun_space(lu->lun, &space))
		return 0;
	read_rules(lu, &space, rules);
	if (scsi_threshold_step(&lu->thresholds.each[SCSI_THRESHOLD_USED],
				&rules[SCSI_THRESHOLD_USED], space.used_bytes))
		crossed |= 1u << SCSI_THRESHOLD_USED;
	if (scsi_threshold_step(&lu->thresholds.each[SCSI_THRESHOLD_LEFT],
				&rules[SCSI_THRESHOLD_LEFT], space.available_bytes))
		crossed |= 1u << SCSI_THRESHOLD_LEFT;
	return crossed;
}

void scsi_thresholds_init(struct scsi_lu *lu)
{
	(void)step_all(lu);
}

/* -- Telling -- */

static enum scsi_switch_step begin(struct scsi_switch *change)
{
	struct scsi_thresholds *thresholds = &change->lu->thresholds;

	atomic_fetch_and(&thresholds->claimed, ~thresholds->crossed);
	if (thresholds->single) {
		atomic_fetch_or(&thresholds->alone, thresholds->crossed);
	} else {
		atomic_fetch_and(&thresholds->alone, ~thresholds->crossed);
	}
	return SCSI_SWITCH_PUBLISH;
}

static void tell(struct scsi_switch *change, struct scsi_nexus *nexus)
{
	static const enum scsi_ua attentions[SCSI_THRESHOLD_COUNT] = {
		[SCSI_THRESHOLD_USED] = SCSI_UA_THRESHOLD_REACHED,
		[SCSI_THRESHOLD_LEFT] = SCSI_UA_POOL_THRESHOLD_REACHED,
	};

	loop_role_assume();
	for (unsigned i = 0; i < SCSI_THRESHOLD_COUNT; i++) {
		if ((change->lu->thresholds.crossed & 1u << i) != 0)
			scsi_nexus_raise(nexus, change->lu, attentions[i]);
	}
}

static void on_told(struct scsi_switch *change)
{
	struct scsi_thresholds *thresholds = &change->lu->thresholds;

	thresholds->busy = false;
	thresholds->checked(thresholds->arg);
}

static void say(const struct scsi_lu *lu)
{
	struct lun_space space;

	if ((lu->thresholds.crossed & 1u << SCSI_THRESHOLD_USED) == 0 ||
	    !lun_space(lu->lun, &space))
		return;
	log_warn("scsi",
		 "%s: it takes %llu MiB of its %llu MiB, above its threshold; hosts are told",
		 lun_name(lu->lun), (unsigned long long)(space.used_bytes >> 20),
		 (unsigned long long)(scsi_lu_block_count(lu) * lu->block_bytes >> 20));
}

/* Nobody was told: the next look crosses again. */
static void forget_crossed(struct scsi_thresholds *thresholds)
{
	for (unsigned i = 0; i < SCSI_THRESHOLD_COUNT; i++) {
		if ((thresholds->crossed & 1u << i) != 0)
			thresholds->each[i].reached = false;
	}
}

bool scsi_lu_check_space(struct scsi_lu *lu, struct loop *loop, scsi_space_checked_fn *checked,
			 void *arg)
{
	struct scsi_thresholds *thresholds = &lu->thresholds;
	uint8_t page[SCSI_MODE_PAGE_BYTES_MAX];

	assert(!thresholds->busy);
	thresholds->crossed = step_all(lu);
	if (thresholds->crossed == 0)
		return true;
	say(lu);
	scsi_mode_read(lu, scsi_lu_mode(lu), MODE_PAGE_PROVISIONING, MODE_CURRENT, page);
	thresholds->single = (page[SCSI_PROVISIONING_SITUA] & SITUA) != 0;
	thresholds->checked = checked;
	thresholds->arg = arg;
	thresholds->change = (struct scsi_switch){
		.lu = lu, .loop = loop, .begin = begin, .each = tell, .done = on_told};
	thresholds->busy = scsi_switch_start(&thresholds->change) == 0;
	if (thresholds->busy)
		return false;
	forget_crossed(thresholds);
	log_error("scsi", "%s: memory is short, hosts are told of a threshold later",
		  lun_name(lu->lun));
	return true;
}

/* -- Reporting -- */

static enum scsi_threshold_index index_of(enum scsi_sense reason)
{
	return reason == SENSE_THRESHOLD_REACHED ? SCSI_THRESHOLD_USED : SCSI_THRESHOLD_LEFT;
}

bool scsi_threshold_claim(struct scsi_lu *lu, enum scsi_sense reason)
{
	unsigned bit = 1u << index_of(reason);

	if ((atomic_load(&lu->thresholds.alone) & bit) == 0)
		return true;
	return (atomic_fetch_or(&lu->thresholds.claimed, bit) & bit) == 0;
}

uint64_t scsi_threshold_information(enum scsi_sense reason)
{
	return SCSI_THRESHOLD_AT(index_of(reason));
}
