/*
 * The simulated disk. See disk.h for its rules.
 */
#include "tests/crash/disk.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/crash/pattern.h"
#include "tests/crash/random.h"

#define PAGE_BYTES 4096u

static size_t pages_of(const struct disk *disk)
{
	return disk->room_bytes / PAGE_BYTES;
}

/* -- Life -- */

struct disk *disk_create(unsigned files, uint64_t room_bytes)
{
	struct disk *disk = calloc(1, sizeof(*disk));

	assert(disk && files <= DISK_FILES_MAX && room_bytes % PAGE_BYTES == 0);
	disk->file_count = files;
	disk->room_bytes = room_bytes;
	for (unsigned i = 0; i < files; i++) {
		disk->files[i].now = calloc(1, room_bytes);
		disk->files[i].base = calloc(1, room_bytes);
		disk->files[i].hashes = calloc(pages_of(disk), sizeof(uint64_t));
		disk->files[i].changed = calloc(pages_of(disk), sizeof(uint32_t));
		disk->files[i].is_changed = calloc(pages_of(disk), sizeof(bool));
		assert(disk->files[i].now && disk->files[i].base && disk->files[i].hashes);
		assert(disk->files[i].changed && disk->files[i].is_changed);
	}
	return disk;
}

static void event_free(struct disk_event *event)
{
	free(event->bytes);
	free(event);
}

static void forget_events(struct disk *disk)
{
	for (unsigned i = 0; i < disk->event_count; i++)
		event_free(disk->events[i]);
	disk->event_count = 0;
	disk->ended_count = 0;
}

void disk_free(struct disk *disk)
{
	if (!disk)
		return;
	forget_events(disk);
	for (unsigned i = 0; i < disk->file_count; i++) {
		free(disk->files[i].now);
		free(disk->files[i].base);
		free(disk->files[i].hashes);
		free(disk->files[i].changed);
		free(disk->files[i].is_changed);
	}
	free(disk);
}

/* The base's bytes [from, end) are not what they were. */
static void note_change(struct disk_file *file, uint64_t from, uint64_t end)
{
	for (uint64_t page = from / PAGE_BYTES; page * PAGE_BYTES < end; page++) {
		if (file->is_changed[page])
			continue;
		file->is_changed[page] = true;
		file->changed[file->changed_count++] = (uint32_t)page;
	}
}

void disk_load(struct disk *disk, unsigned file, const void *bytes, uint64_t length)
{
	struct disk_file *f = &disk->files[file];
	uint64_t base_end = f->base_bytes > length ? f->base_bytes : length;

	assert(length <= disk->room_bytes);
	forget_events(disk);
	memset(f->now, 0, f->now_end);
	memcpy(f->now, bytes, length);
	memset(f->base, 0, base_end);
	memcpy(f->base, bytes, length);
	note_change(f, 0, base_end);
	f->now_bytes = length;
	f->now_end = length;
	f->base_bytes = length;
	disk->version++;
}

/* -- What an event does -- */

uint64_t disk_event_units(const struct disk_event *event, uint32_t unit_bytes)
{
	uint64_t end = event->offset + event->length;

	if (event->kind == DISK_GROW || event->kind == DISK_CUT)
		return 1;
	return (end + unit_bytes - 1) / unit_bytes - event->offset / unit_bytes;
}

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

/* Bytes [from, to) of an event that covers them, to where the file's bytes are. */
static void put(const struct disk_event *event, uint8_t *to, uint64_t from, uint64_t end)
{
	if (event->kind == DISK_WRITE) {
		memcpy(to + from, event->bytes + (from - event->offset), end - from);
	} else {
		memset(to + from, 0, end - from);
	}
}

static void apply_units(const struct disk_event *event, const struct fate *fate, uint8_t *to)
{
	uint64_t end = event->offset + event->length;
	uint64_t from = event->offset;

	for (uint64_t unit = 0; from < end; unit++) {
		uint64_t stop = from - from % fate->unit_bytes + fate->unit_bytes;

		if (stop > end)
			stop = end;
		if (fate_keeps(fate, unit))
			put(event, to, from, stop);
		from = stop;
	}
}

/* What is cut off is gone: a file that grows again has zeroes there. */
static void cut(uint8_t *bytes, uint64_t *size_bytes, uint64_t to)
{
	if (*size_bytes <= to)
		return;
	memset(bytes + to, 0, *size_bytes - to);
	*size_bytes = to;
}

static void apply(const struct disk_event *event, const struct fate *fate, uint8_t *bytes,
		  uint64_t *size_bytes)
{
	switch (event->kind) {
	case DISK_GROW:
		if (fate->kind != FATE_LOST && event->offset > *size_bytes)
			*size_bytes = event->offset;
		break;
	case DISK_CUT:
		if (fate->kind != FATE_LOST)
			cut(bytes, size_bytes, event->offset);
		break;
	case DISK_WRITE:
	case DISK_ZERO:
		if (fate->kind == FATE_KEPT) {
			put(event, bytes, event->offset, event->offset + event->length);
		} else if (fate->kind != FATE_LOST) {
			apply_units(event, fate, bytes);
		}
		break;
	}
}

static void apply_to_base(const struct disk_event *event, const struct fate *fate,
			  struct disk_file *file)
{
	if (fate->kind == FATE_LOST)
		return;
	if (event->kind == DISK_CUT && file->base_bytes > event->offset)
		note_change(file, event->offset, file->base_bytes);
	if (event->length)
		note_change(file, event->offset, event->offset + event->length);
	apply(event, fate, file->base, &file->base_bytes);
}

static const struct fate kept = {.kind = FATE_KEPT, .unit_bytes = DISK_SECTOR_BYTES};

/* -- Issue and end -- */

static struct disk_event *issue(struct disk *disk, enum disk_kind kind, unsigned file,
				struct disk_change *out)
{
	struct disk_event *event = calloc(1, sizeof(*event));

	assert(event && disk->event_count < DISK_EVENTS_MAX);
	event->kind = kind;
	event->file = file;
	event->number = ++disk->issued;
	event->seen = UINT64_MAX;
	disk->time++;
	disk->events[disk->event_count++] = event;
	out->events[out->count++] = event;
	return event;
}

bool disk_issue_grow(struct disk *disk, unsigned file, uint64_t size_bytes, struct disk_change *out)
{
	out->count = 0;
	if (size_bytes > disk->room_bytes)
		return false;
	if (size_bytes > disk->files[file].now_bytes)
		issue(disk, DISK_GROW, file, out)->offset = size_bytes;
	return true;
}

void disk_issue_cut(struct disk *disk, unsigned file, uint64_t size_bytes, struct disk_change *out)
{
	out->count = 0;
	issue(disk, DISK_CUT, file, out)->offset = size_bytes;
}

void disk_issue_zero(struct disk *disk, unsigned file, uint64_t offset, uint64_t length,
		     struct disk_change *out)
{
	uint64_t end = offset + length;
	struct disk_event *event;

	out->count = 0;
	if (end > disk->room_bytes)
		end = disk->room_bytes;
	if (offset >= end)
		return;
	event = issue(disk, DISK_ZERO, file, out);
	event->offset = offset;
	event->length = end - offset;
}

static void gather(uint8_t *to, const struct iovec *iov, uint64_t length)
{
	while (length) {
		uint64_t count = iov->iov_len < length ? iov->iov_len : length;

		memcpy(to, iov->iov_base, count);
		to += count;
		length -= count;
		iov++;
	}
}

/* Zeroes may be either: a guest's, or a new table. They count as metadata. */
static bool is_guest_data(const uint8_t *bytes, uint64_t length)
{
	uint64_t word;

	if (length % DISK_SECTOR_BYTES)
		return false;
	for (uint64_t at = 0; at < length; at += DISK_SECTOR_BYTES) {
		memcpy(&word, bytes + at, sizeof(word));
		if (word >> 48 == PATTERN_MAGIC)
			return true;
	}
	return false;
}

bool disk_issue_write(struct disk *disk, unsigned file, uint64_t offset, const struct iovec *iov,
		      uint64_t length, struct disk_change *out)
{
	struct disk_event *event;

	if (!disk_issue_grow(disk, file, offset + length, out))
		return false;
	event = issue(disk, DISK_WRITE, file, out);
	event->offset = offset;
	event->length = length;
	event->bytes = malloc(length);
	assert(event->bytes);
	gather(event->bytes, iov, length);
	event->is_data = is_guest_data(event->bytes, length);
	return true;
}

/* Behind those that have ended already. */
static void move_to_ended(struct disk *disk, struct disk_event *event)
{
	unsigned at = disk->ended_count;

	while (disk->events[at] != event)
		at++;
	memmove(&disk->events[disk->ended_count + 1], &disk->events[disk->ended_count],
		(at - disk->ended_count) * sizeof(disk->events[0]));
	disk->events[disk->ended_count++] = event;
	event->ended = disk->time;
}

/* What is durable, with nothing that is not before it, is the base's. */
static void fold(struct disk *disk)
{
	unsigned count = 0;

	while (count < disk->ended_count && disk->events[count]->durable) {
		struct disk_event *event = disk->events[count++];
		struct disk_file *file = &disk->files[event->file];

		apply_to_base(event, &kept, file);
		event_free(event);
	}
	disk->ended_count -= count;
	disk->event_count -= count;
	memmove(disk->events, disk->events + count, disk->event_count * sizeof(disk->events[0]));
}

void disk_end(struct disk *disk, struct disk_change *change, bool durable)
{
	disk->time++;
	for (unsigned i = 0; i < change->count; i++) {
		struct disk_event *event = change->events[i];
		struct disk_file *file = &disk->files[event->file];

		move_to_ended(disk, event);
		event->durable = durable;
		apply(event, &kept, file->now, &file->now_bytes);
		if (event->offset + event->length > file->now_end)
			file->now_end = event->offset + event->length;
	}
	change->count = 0;
	if (!durable)
		return;
	disk->version++;
	fold(disk);
}

void disk_fail(struct disk *disk, struct disk_change *change, uint64_t bytes)
{
	for (unsigned i = 0; i < change->count; i++) {
		struct disk_event *event = change->events[i];

		if (event->kind == DISK_GROW && !bytes)
			event->offset = 0;
		if (event->length > bytes)
			event->length = bytes;
	}
	disk_end(disk, change, false);
}

uint64_t disk_sync_issue(struct disk *disk)
{
	return ++disk->time;
}

void disk_sync_end(struct disk *disk, unsigned file, uint64_t issued, bool failed)
{
	disk->time++;
	for (unsigned i = 0; i < disk->ended_count; i++) {
		struct disk_event *event = disk->events[i];

		if (event->file != file || event->ended > issued || event->doomed)
			continue;
		event->doomed = failed && !event->durable;
		event->durable |= !failed;
	}
	disk->version++;
	fold(disk);
}

uint64_t disk_read(const struct disk *disk, unsigned file, uint64_t offset, void *bytes,
		   uint64_t length)
{
	const struct disk_file *f = &disk->files[file];

	if (offset >= f->now_bytes)
		return 0;
	if (length > f->now_bytes - offset)
		length = f->now_bytes - offset;
	memcpy(bytes, f->now + offset, length);
	return length;
}

/* -- Cuts -- */

static uint64_t hash_page(const uint8_t *page)
{
	uint64_t lanes[4] = {0};
	uint64_t sum = 0;

	for (unsigned at = 0; at < PAGE_BYTES; at += sizeof(lanes)) {
		uint64_t words[4];

		memcpy(words, page + at, sizeof(words));
		for (unsigned j = 0; j < 4; j++) {
			lanes[j] = (lanes[j] ^ words[j]) * UINT64_C(0x9e3779b97f4a7c15);
			lanes[j] ^= lanes[j] >> 29;
		}
	}
	for (unsigned j = 0; j < 4; j++)
		sum = random_mix(sum ^ lanes[j]);
	return sum;
}

/* Bring the numbers of pages up to date. */
static void rehash(struct disk_file *file)
{
	for (uint32_t i = 0; i < file->changed_count; i++) {
		uint32_t page = file->changed[i];
		uint64_t hash = hash_page(file->base + (size_t)page * PAGE_BYTES);

		if (hash)
			hash = random_mix(hash + page);
		file->sum += hash - file->hashes[page];
		file->hashes[page] = hash;
	}
}

static void forget_changes(struct disk_file *file)
{
	for (uint32_t i = 0; i < file->changed_count; i++)
		file->is_changed[file->changed[i]] = false;
	file->changed_count = 0;
}

/* All of it, with the numbers of its pages. */
static void mirror_whole(const struct disk *disk, const struct disk_file *from,
			 struct disk_file *to)
{
	uint64_t bytes = from->base_bytes > to->base_bytes ? from->base_bytes : to->base_bytes;

	for (uint32_t i = 0; i < to->changed_count; i++) {
		size_t at = (size_t)to->changed[i] * PAGE_BYTES;

		memcpy(to->base + at, from->base + at, PAGE_BYTES);
	}
	memcpy(to->base, from->base, bytes);
	memcpy(to->hashes, from->hashes, pages_of(disk) * sizeof(to->hashes[0]));
}

/* Only what was changed since. */
static void mirror_changed(const struct disk_file *from, struct disk_file *to)
{
	for (uint32_t i = 0; i < to->changed_count; i++) {
		size_t at = (size_t)to->changed[i] * PAGE_BYTES;

		memcpy(to->base + at, from->base + at, PAGE_BYTES);
		to->hashes[to->changed[i]] = from->hashes[to->changed[i]];
	}
}

static void mirror(struct disk *disk, struct disk *out)
{
	bool is_mirror = out->mirrors == disk && out->mirrored_version == disk->version;

	for (unsigned i = 0; i < disk->file_count; i++) {
		struct disk_file *from = &disk->files[i];
		struct disk_file *to = &out->files[i];

		rehash(from);
		forget_changes(from);
		if (is_mirror) {
			mirror_changed(from, to);
		} else {
			mirror_whole(disk, from, to);
		}
		forget_changes(to);
		to->sum = from->sum;
		to->base_bytes = from->base_bytes;
	}
	out->mirrors = disk;
	out->mirrored_version = disk->version;
}

/* What lies beyond the end is not the file's, and comes back as zeroes. */
static void clear_beyond(struct disk_file *file)
{
	for (uint32_t i = 0; i < file->changed_count; i++) {
		uint64_t at = (uint64_t)file->changed[i] * PAGE_BYTES;
		uint64_t end = at + PAGE_BYTES;

		if (at < file->base_bytes)
			at = file->base_bytes;
		if (at < end)
			memset(file->base + at, 0, end - at);
	}
}

void disk_crash(struct disk *disk, const struct fate *fates, struct disk *out)
{
	forget_events(out);
	mirror(disk, out);
	for (unsigned i = 0; i < disk->event_count; i++) {
		const struct disk_event *event = disk->events[i];

		apply_to_base(event, event->durable ? &kept : &fates[i], &out->files[event->file]);
	}
	for (unsigned i = 0; i < out->file_count; i++)
		clear_beyond(&out->files[i]);
	out->version++;
}

uint64_t disk_hash(struct disk *disk)
{
	uint64_t hash = 0;

	for (unsigned i = 0; i < disk->file_count; i++) {
		rehash(&disk->files[i]);
		hash = random_mix(hash + disk->files[i].base_bytes);
		hash = random_mix(hash ^ disk->files[i].sum);
	}
	return hash;
}
