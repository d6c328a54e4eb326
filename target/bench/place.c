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

/* Part of a range of granules, at least one of them. */
static void cut_part(struct place *place, struct place_stream *stream,
		     const struct mix_class *class)
{
	const struct place_config *config = &place->config;
	bool whole_region = class->run != MIX_RUN_SEQUENTIAL && !config->verify;
	uint64_t first = whole_region ? 0 : config->slice_begin;
	uint64_t granules = whole_region ? config->region_granules : config->slice_granules;
	uint64_t begin = granules / 100 * class->area_begin_percent +
			 granules % 100 * class->area_begin_percent / 100;
	uint64_t end = granules / 100 * class->area_end_percent +
		       granules % 100 * class->area_end_percent / 100;

	if (begin >= granules)
		begin = granules - 1;
	if (end <= begin)
		end = begin + 1;
	stream->begin = (first + begin) * place->granule_units;
	stream->slots = (end - begin) * place->granule_units / stream->units;
}

static void init_streams(struct place *place)
{
	const struct mix *mix = place->config.mix;

	for (unsigned i = 0; i < mix->count; i++) {
		struct place_stream *stream = &place->streams[i];

		stream->units = mix->classes[i].bytes / mix->unit_bytes;
		stream->run = mix->classes[i].run;
		cut_part(place, stream, &mix->classes[i]);
	}
}

int place_init(struct place *place, const struct place_config *config)
{
	const struct mix *mix = config->mix;

	assert(config->slice_granules > 0);
	assert(config->slice_begin + config->slice_granules <= config->region_granules);
	*place = (struct place){
		.config = *config,
		.random_state = config->seed,
		.granule_units = mix->largest_bytes / mix->unit_bytes,
	};
	place->slice_begin = config->slice_begin * place->granule_units;
	place->slice_units = config->slice_granules * place->granule_units;
	place->pass_next = place->slice_units;
	init_streams(place);
	if (!config->verify)
		return 0;
	place->generations = calloc(place->slice_units, sizeof(*place->generations));
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
	return &place->generations[unit - place->slice_begin];
}

static void take(struct place *place, uint64_t unit, uint32_t units)
{
	for (uint32_t i = 0; place->generations && i < units; i++)
		*state_of(place, unit + i) |= UNIT_BUSY;
}

static bool is_busy(const struct place *place, uint64_t unit, uint32_t units)
{
	for (uint32_t i = 0; i < units; i++) {
		if (*state_of(place, unit + i) & UNIT_BUSY)
			return true;
	}
	return false;
}

static uint64_t slot_behind(const struct place_stream *stream, uint64_t slot)
{
	return slot + 1 < stream->slots ? slot + 1 : 0;
}

/* Move the cursor to the first slot, from where it is on, in which nothing is under way. The scan
 * is bounded by the slots; as every command in flight blocks a few of them, it is short. */
static bool skip_busy(const struct place *place, struct place_stream *stream)
{
	for (uint64_t tried = 0; tried < stream->slots; tried++) {
		if (!is_busy(place, stream->begin + stream->cursor * stream->units, stream->units))
			return true;
		stream->cursor = slot_behind(stream, stream->cursor);
	}
	return false;
}

bool place_next(struct place *place, unsigned stream_number, uint64_t *out_unit)
{
	struct place_stream *stream = &place->streams[stream_number];

	if (stream->run != MIX_RUN_SEQUENTIAL && stream->run_left == 0) {
		stream->cursor = random_below(place, stream->slots);
		stream->run_left = stream->run;
	}
	if (place->generations && !skip_busy(place, stream))
		return false;
	*out_unit = stream->begin + stream->cursor * stream->units;
	take(place, *out_unit, stream->units);
	stream->cursor = slot_behind(stream, stream->cursor);
	if (stream->run_left > 0)
		stream->run_left--;
	return true;
}

void place_pass_begin(struct place *place)
{
	place->pass_next = 0;
}

static bool any_written(const struct place *place, uint64_t unit, uint32_t units)
{
	for (uint32_t i = 0; i < units; i++) {
		if (place_generation(place, unit + i) != 0)
			return true;
	}
	return false;
}

bool place_pass_next(struct place *place, bool written_only, uint64_t *out_unit)
{
	while (place->pass_next < place->slice_units) {
		uint64_t unit = place->slice_begin + place->pass_next;

		place->pass_next += place->granule_units;
		if (written_only && !any_written(place, unit, place->granule_units))
			continue;
		take(place, unit, place->granule_units);
		*out_unit = unit;
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
