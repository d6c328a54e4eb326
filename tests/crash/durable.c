/*
 * Bytes of a file, sector by sector. See durable.h.
 */
#include "tests/crash/durable.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/crash/disk.h"
#include "tests/crash/pattern.h"
#include "tests/crash/random.h"

#define UNIT DISK_SECTOR_BYTES

enum sector_state {
	SECTOR_AS_BEFORE,
	SECTOR_KNOWN, /* Changed; word and hash are those of the bytes. */
	SECTOR_STALE, /* Changed; they are not. */
};

/* -- Life -- */

void durable_init(struct durable *durable, uint64_t room_bytes)
{
	size_t sectors = room_bytes / UNIT;

	durable->room_bytes = room_bytes;
	durable->bytes = calloc(1, room_bytes);
	durable->words = calloc(sectors, sizeof(*durable->words));
	durable->hashes = calloc(sectors, sizeof(*durable->hashes));
	durable->changed = calloc(sectors, sizeof(*durable->changed));
	durable->states = calloc(sectors, sizeof(*durable->states));
	assert(durable->bytes && durable->words && durable->hashes);
	assert(durable->changed && durable->states);
}

void durable_clear(struct durable *durable)
{
	free(durable->bytes);
	free(durable->words);
	free(durable->hashes);
	free(durable->changed);
	free(durable->states);
}

/* -- Sectors -- */

static uint64_t hash_bytes(const uint8_t *sector)
{
	uint64_t lanes[8] = {0};
	uint64_t sum = 0;

	for (unsigned at = 0; at < UNIT; at += sizeof(lanes)) {
		uint64_t words[8];

		memcpy(words, sector + at, sizeof(words));
		for (unsigned j = 0; j < 8; j++) {
			lanes[j] = (lanes[j] ^ words[j]) * UINT64_C(0x9e3779b97f4a7c15);
			lanes[j] ^= lanes[j] >> 29;
		}
	}
	for (unsigned j = 0; j < 8; j++)
		sum = random_mix(sum ^ lanes[j]);
	return sum;
}

/* What guests wrote is known by its word. */
static uint64_t hash_sector(const uint8_t *bytes, uint64_t word, uint64_t sector)
{
	if (!word)
		return 0;
	if (word == PATTERN_GARBAGE)
		word = hash_bytes(bytes);
	return random_mix(word + random_mix(sector));
}

static void note_sector(struct durable *durable, uint64_t sector, enum sector_state state)
{
	if (durable->states[sector] == SECTOR_AS_BEFORE)
		durable->changed[durable->changed_count++] = (uint32_t)sector;
	durable->states[sector] = (uint8_t)state;
}

static void set_known(struct durable *durable, uint64_t sector, struct durable_sector is)
{
	note_sector(durable, sector, SECTOR_KNOWN);
	durable->words[sector] = is.word;
	durable->sum += is.hash - durable->hashes[sector];
	durable->hashes[sector] = is.hash;
}

/* Bytes [from, end) are not what they were. */
static void note_change(struct durable *durable, uint64_t from, uint64_t end)
{
	for (uint64_t sector = from / UNIT; sector * UNIT < end; sector++)
		note_sector(durable, sector, SECTOR_STALE);
}

/* All but what is the same. */
void durable_load(struct durable *durable, const void *bytes, uint64_t length)
{
	uint64_t there = length / UNIT * UNIT;
	uint64_t end = durable->size_bytes > length ? durable->size_bytes : length;

	for (uint64_t at = 0; at < there; at += UNIT) {
		const uint8_t *from = (const uint8_t *)bytes + at;

		if (!memcmp(durable->bytes + at, from, UNIT))
			continue;
		memcpy(durable->bytes + at, from, UNIT);
		note_sector(durable, at / UNIT, SECTOR_STALE);
	}
	memset(durable->bytes + there, 0, end - there);
	memcpy(durable->bytes + there, (const uint8_t *)bytes + there, length - there);
	note_change(durable, there, end);
	durable->size_bytes = length;
}

void durable_copy(struct durable *to, const struct durable *from)
{
	uint64_t end = to->size_bytes > from->size_bytes ? to->size_bytes : from->size_bytes;

	for (uint64_t at = 0; at < end; at += UNIT) {
		uint64_t sector = at / UNIT;
		struct durable_sector is = {from->words[sector], from->hashes[sector]};

		if (to->states[sector] != SECTOR_STALE && to->hashes[sector] == is.hash)
			continue;
		memcpy(to->bytes + at, from->bytes + at, UNIT);
		set_known(to, sector, is);
	}
	to->size_bytes = from->size_bytes;
}

/* -- Events -- */

static bool fate_keeps(const struct fate *fate, uint64_t unit)
{
	switch (fate->kind) {
	case FATE_KEPT:
		return true;
	case FATE_PREFIX:
		return unit < fate->at;
	case FATE_SUFFIX:
		return unit >= fate->at;
	case FATE_SPOTS:
		return random_mix(unit + ((uint64_t)fate->at << 32)) & 1;
	case FATE_LOST:
		break;
	}
	return false;
}

/* Nothing is to be done for zeroes where there are zeroes: most of what is extended, and of what
 * is punched. */
static bool is_zero(const struct durable *durable, uint64_t sector)
{
	return durable->states[sector] != SECTOR_STALE && durable->hashes[sector] == 0;
}

static void zero(struct durable *durable, uint64_t from, uint64_t end)
{
	while (from < end) {
		uint64_t sector = from / UNIT;
		uint64_t stop = (sector + 1) * UNIT < end ? (sector + 1) * UNIT : end;

		if (!is_zero(durable, sector)) {
			memset(durable->bytes + from, 0, stop - from);
			if (stop - from == UNIT)
				set_known(durable, sector, (struct durable_sector){0, 0});
			else
				note_sector(durable, sector, SECTOR_STALE);
		}
		from = stop;
	}
}

/* Bytes [from, end) of a write that covers them. */
static void put_written(struct durable *durable, const struct disk_event *event, uint64_t from,
			uint64_t end)
{
	memcpy(durable->bytes + from, event->bytes + (from - event->offset), end - from);
	if (!event->sectors || (from | end) % UNIT) {
		note_change(durable, from, end);
		return;
	}
	for (; from < end; from += UNIT)
		set_known(durable, from / UNIT, event->sectors[(from - event->offset) / UNIT]);
}

static void put(struct durable *durable, const struct disk_event *event, uint64_t from,
		uint64_t end)
{
	if (event->kind == DISK_WRITE)
		put_written(durable, event, from, end);
	else
		zero(durable, from, end);
}

static void put_units(struct durable *durable, const struct disk_event *event,
		      const struct fate *fate)
{
	uint64_t end = event->offset + event->length;
	uint64_t from = event->offset;

	for (uint64_t unit = 0; from < end; unit++) {
		uint64_t stop = from - from % fate->unit_bytes + fate->unit_bytes;

		if (stop > end)
			stop = end;
		if (fate_keeps(fate, unit))
			put(durable, event, from, stop);
		from = stop;
	}
}

/* What is cut off is gone: a file that grows again has zeroes there. */
static void cut(struct durable *durable, uint64_t size_bytes)
{
	if (durable->size_bytes <= size_bytes)
		return;
	zero(durable, size_bytes, durable->size_bytes);
	durable->size_bytes = size_bytes;
}

void durable_apply(struct durable *durable, const struct disk_event *event, const struct fate *fate)
{
	if (fate->kind == FATE_LOST)
		return;
	switch (event->kind) {
	case DISK_GROW:
		if (event->offset > durable->size_bytes)
			durable->size_bytes = event->offset;
		break;
	case DISK_CUT:
		cut(durable, event->offset);
		break;
	case DISK_WRITE:
	case DISK_ZERO:
		if (fate->kind == FATE_KEPT)
			put(durable, event, event->offset, event->offset + event->length);
		else
			put_units(durable, event, fate);
		break;
	}
}

void durable_clear_beyond(struct durable *durable)
{
	for (uint32_t i = 0; i < durable->changed_count; i++) {
		uint64_t at = (uint64_t)durable->changed[i] * UNIT;
		uint64_t end = at + UNIT;

		if (at < durable->size_bytes)
			at = durable->size_bytes;
		if (at >= end)
			continue;
		memset(durable->bytes + at, 0, end - at);
		durable->states[durable->changed[i]] = SECTOR_STALE;
	}
}

/* -- Numbers -- */

static struct durable_sector sum_sector(const uint8_t *bytes, uint64_t sector)
{
	struct durable_sector is = {.word = pattern_parse(bytes)};

	is.hash = hash_sector(bytes, is.word, sector);
	return is;
}

void durable_sum(struct durable *durable)
{
	for (uint32_t i = 0; i < durable->changed_count; i++) {
		uint32_t sector = durable->changed[i];

		if (durable->states[sector] == SECTOR_STALE)
			set_known(durable, sector,
				  sum_sector(durable->bytes + (size_t)sector * UNIT, sector));
	}
}

void durable_sum_event(struct disk_event *event)
{
	uint64_t count = event->length / UNIT;

	if (event->length % UNIT || event->offset % UNIT)
		return;
	event->sectors = malloc(count * sizeof(*event->sectors) + 1);
	assert(event->sectors);
	for (uint64_t i = 0; i < count; i++)
		event->sectors[i] = sum_sector(event->bytes + i * UNIT, event->offset / UNIT + i);
}

static void forget_changes(struct durable *durable)
{
	for (uint32_t i = 0; i < durable->changed_count; i++)
		durable->states[durable->changed[i]] = SECTOR_AS_BEFORE;
	durable->changed_count = 0;
}

/* -- Mirrors -- */

static void mirror_changed(const struct durable *from, struct durable *to, const struct durable *by)
{
	for (uint32_t i = 0; i < by->changed_count; i++) {
		uint32_t sector = by->changed[i];
		size_t at = (size_t)sector * UNIT;

		memcpy(to->bytes + at, from->bytes + at, UNIT);
		to->words[sector] = from->words[sector];
		to->hashes[sector] = from->hashes[sector];
	}
}

void durable_mirror(struct durable *from, struct durable *to, bool whole)
{
	durable_sum(from);
	if (whole)
		note_change(to, 0, to->room_bytes);
	mirror_changed(from, to, to);
	mirror_changed(from, to, from);
	forget_changes(from);
	forget_changes(to);
	to->sum = from->sum;
	to->size_bytes = from->size_bytes;
}
