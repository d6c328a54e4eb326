/*
 * The states that a cut could leave, one after the other. See cuts.h.
 */
#include "tests/crash/cuts.h"

#include <assert.h>

static struct disk_event *event_at(const struct cuts *cuts, unsigned i)
{
	return cuts->disk->events[cuts->open[i]];
}

static bool is_fresh(const struct cuts *cuts, unsigned i)
{
	return event_at(cuts, i)->seen != cuts->epoch;
}

static void set_fate(struct cuts *cuts, unsigned i, enum fate_kind kind)
{
	cuts->fates[cuts->open[i]] = (struct fate){.kind = kind, .unit_bytes = DISK_SECTOR_BYTES};
}

static void set_all(struct cuts *cuts, enum fate_kind kind)
{
	for (unsigned i = 0; i < cuts->open_count; i++)
		set_fate(cuts, i, kind);
}

static void visit(struct cuts *cuts)
{
	cuts->visit(cuts->arg, cuts->fates);
}

/* -- One by one -- */

static void look_at_none_and_all(struct cuts *cuts)
{
	if (cuts->is_new_epoch) {
		set_all(cuts, FATE_LOST);
		visit(cuts);
	}
	if (cuts->fresh_count) {
		set_all(cuts, FATE_KEPT);
		visit(cuts);
	}
}

static void look_at_each(struct cuts *cuts)
{
	for (unsigned i = 0; i < cuts->open_count; i++) {
		if (!is_fresh(cuts, i))
			continue;
		set_all(cuts, FATE_LOST);
		set_fate(cuts, i, FATE_KEPT);
		visit(cuts);
	}
	set_all(cuts, FATE_KEPT);
	for (unsigned i = 0; i < cuts->open_count && cuts->fresh_count; i++) {
		set_fate(cuts, i, FATE_LOST);
		visit(cuts);
		set_fate(cuts, i, FATE_KEPT);
	}
}

/* -- Torn -- */

static void tear(struct cuts *cuts, unsigned i, struct fate fate)
{
	unsigned index = cuts->open[i];

	set_all(cuts, FATE_LOST);
	cuts->fates[index] = fate;
	visit(cuts);
	set_all(cuts, FATE_KEPT);
	cuts->fates[index] = fate;
	visit(cuts);
}

static void tear_by(struct cuts *cuts, unsigned i, uint32_t unit_bytes)
{
	uint32_t units = (uint32_t)disk_event_units(event_at(cuts, i), unit_bytes);
	struct random *random = &cuts->random;
	struct fate fate = {.unit_bytes = unit_bytes};

	if (units < 2)
		return;
	fate.kind = FATE_PREFIX;
	fate.at = 1 + random_below(random, units - 1);
	tear(cuts, i, fate);
	fate.at = units - 1;
	tear(cuts, i, fate);
	fate.kind = FATE_SUFFIX;
	fate.at = 1 + random_below(random, units - 1);
	tear(cuts, i, fate);
	fate.kind = FATE_SPOTS;
	fate.at = (uint32_t)random_next(random);
	if (units > 2)
		tear(cuts, i, fate);
}

static void look_at_torn(struct cuts *cuts)
{
	for (unsigned i = 0; i < cuts->open_count; i++) {
		if (!is_fresh(cuts, i))
			continue;
		tear_by(cuts, i, DISK_SECTOR_BYTES);
		tear_by(cuts, i, 8 * DISK_SECTOR_BYTES);
	}
}

/* -- Subsets -- */

/* The newest changes that are not guests' data, as many as the plan combines. */
static unsigned find_metadata(const struct cuts *cuts, unsigned *found)
{
	unsigned count = 0;

	for (unsigned i = cuts->open_count; i-- > 0 && count < cuts->plan.subset_bits;) {
		if (!event_at(cuts, i)->is_data)
			found[count++] = i;
	}
	return count;
}

static bool has_fresh(const struct cuts *cuts, const unsigned *indices, unsigned count,
		      unsigned mask)
{
	for (unsigned bit = 0; bit < count; bit++) {
		if ((mask & 1u << bit) && is_fresh(cuts, indices[bit]))
			return true;
	}
	return false;
}

static void look_at_subset(struct cuts *cuts, const unsigned *indices, unsigned count,
			   unsigned mask, enum fate_kind others)
{
	set_all(cuts, others);
	for (unsigned bit = 0; bit < count; bit++)
		set_fate(cuts, indices[bit], mask & 1u << bit ? FATE_KEPT : FATE_LOST);
	visit(cuts);
}

static void look_at_subsets(struct cuts *cuts)
{
	unsigned indices[CUTS_SUBSET_BITS_MAX];
	unsigned count = find_metadata(cuts, indices);

	for (unsigned mask = 0; mask < 1u << count; mask++) {
		bool fresh = has_fresh(cuts, indices, count, mask);

		if (fresh || cuts->is_new_epoch)
			look_at_subset(cuts, indices, count, mask, FATE_LOST);
		if (fresh || cuts->fresh_count)
			look_at_subset(cuts, indices, count, mask, FATE_KEPT);
	}
}

static struct fate random_fate(struct random *random)
{
	static const enum fate_kind kinds[] = {FATE_LOST, FATE_LOST, FATE_LOST, FATE_KEPT,
					       FATE_KEPT, FATE_KEPT, FATE_KEPT, FATE_SPOTS};
	struct fate fate = {.kind = kinds[random_below(random, 8)]};

	fate.unit_bytes = random_one_in(random, 4) ? 8 * DISK_SECTOR_BYTES : DISK_SECTOR_BYTES;
	fate.at = (uint32_t)random_next(random);
	return fate;
}

static void look_at_random(struct cuts *cuts)
{
	unsigned wanted = cuts->open_count > 1 && cuts->fresh_count ? cuts->plan.random_states : 0;

	while (wanted-- > 0) {
		for (unsigned i = 0; i < cuts->open_count; i++)
			cuts->fates[cuts->open[i]] = random_fate(&cuts->random);
		visit(cuts);
	}
}

/* -- The whole -- */

static void find_open(struct cuts *cuts)
{
	cuts->open_count = 0;
	cuts->fresh_count = 0;
	for (unsigned i = 0; i < cuts->disk->event_count; i++) {
		if (cuts->disk->events[i]->durable)
			continue;
		cuts->open[cuts->open_count++] = i;
		cuts->fresh_count += is_fresh(cuts, cuts->open_count - 1);
	}
}

void cuts_look(struct cuts *cuts, struct disk *disk)
{
	cuts->disk = disk;
	cuts->is_new_epoch = cuts->seen_epoch != cuts->epoch;
	find_open(cuts);
	look_at_none_and_all(cuts);
	look_at_each(cuts);
	look_at_torn(cuts);
	look_at_subsets(cuts);
	look_at_random(cuts);
	for (unsigned i = 0; i < cuts->open_count; i++)
		event_at(cuts, i)->seen = cuts->epoch;
	cuts->seen_epoch = cuts->epoch;
}
