/*
 * Where I/O goes: see place.h. Runs on the worker that owns the session. Nothing here allocates
 * after place_init.
 */
#include "target/bench/place.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* An I/O of this session is under way on the unit. */
#define UNIT_BUSY 0x80000000u
/* A write failed: the unit may hold this generation or the one before. The count goes on, so that
 * no later write is mistaken for it. */
#define UNIT_UNKNOWN 0x40000000u

int place_init(struct place *place, const struct place_config *config)
{
	assert(config->slice_units > 0);
	assert(config->slice_begin + config->slice_units <= config->region_units);
	*place = (struct place){
		.config = *config,
		.random_state = config->seed,
		.pass_next = config->slice_units,
	};
	if (!config->verify)
		return 0;
	place->generations = calloc(config->slice_units, sizeof(*place->generations));
	return place->generations ? 0 : -ENOMEM;
}

void place_release(struct place *place)
{
	free(place->generations);
	place->generations = NULL;
}

/* splitmix64. */
static uint64_t random_word(struct place *place)
{
	uint64_t word = place->random_state += 0x9e3779b97f4a7c15ull;

	word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9ull;
	word = (word ^ (word >> 27)) * 0x94d049bb133111ebull;
	return word ^ (word >> 31);
}

uint32_t place_random(struct place *place)
{
	return (uint32_t)(random_word(place) >> 32);
}

/* Uniform below `limit`, by the high half of a 128-bit product. */
static uint64_t random_below(struct place *place, uint64_t limit)
{
	return (uint64_t)(((unsigned __int128)random_word(place) * limit) >> 64);
}

static uint32_t *state_of(const struct place *place, uint64_t unit)
{
	return &place->generations[unit - place->config.slice_begin];
}

static uint64_t take(struct place *place, uint64_t index)
{
	uint64_t unit = place->config.slice_begin + index;

	if (place->generations)
		*state_of(place, unit) |= UNIT_BUSY;
	return unit;
}

/* The first unit at or behind `index` on which nothing is under way. There is one, because a slice
 * has more units than the session has commands. */
static uint64_t skip_busy(const struct place *place, uint64_t index)
{
	if (!place->generations)
		return index;
	while (place->generations[index] & UNIT_BUSY)
		index = index + 1 < place->config.slice_units ? index + 1 : 0;
	return index;
}

uint64_t place_next(struct place *place)
{
	uint64_t index;

	if (place->config.random && !place->generations)
		return random_below(place, place->config.region_units);
	if (place->config.random) {
		return take(place,
			    skip_busy(place, random_below(place, place->config.slice_units)));
	}
	index = skip_busy(place, place->cursor);
	place->cursor = index + 1 < place->config.slice_units ? index + 1 : 0;
	return take(place, index);
}

void place_pass_begin(struct place *place)
{
	place->pass_next = 0;
}

bool place_pass_next(struct place *place, bool written_only, uint64_t *out_unit)
{
	while (place->pass_next < place->config.slice_units) {
		uint64_t index = place->pass_next++;

		if (written_only && place_generation(place, place->config.slice_begin + index) == 0)
			continue;
		*out_unit = take(place, index);
		return true;
	}
	return false;
}

uint32_t place_generation(const struct place *place, uint64_t unit)
{
	uint32_t state = *state_of(place, unit);

	return state & UNIT_UNKNOWN ? 0 : state & PLACE_GENERATION_MAX;
}

uint32_t place_next_generation(const struct place *place, uint64_t unit)
{
	uint32_t last = *state_of(place, unit) & PLACE_GENERATION_MAX;

	return last < PLACE_GENERATION_MAX ? last + 1 : 1;
}

void place_written(struct place *place, uint64_t unit, bool acknowledged)
{
	uint32_t generation = place_next_generation(place, unit);

	*state_of(place, unit) = acknowledged ? generation : generation | UNIT_UNKNOWN;
}

void place_read(struct place *place, uint64_t unit)
{
	*state_of(place, unit) &= ~UNIT_BUSY;
}
