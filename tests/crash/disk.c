/*
 * The simulated disk. See disk.h for its rules.
 */
#include "tests/crash/disk.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/crash/pattern.h"
#include "tests/crash/random.h"

/* -- Life -- */

struct disk *disk_create(unsigned files, uint64_t room_bytes)
{
	struct disk *disk = calloc(1, sizeof(*disk));

	assert(disk && files <= DISK_FILES_MAX && room_bytes % DISK_SECTOR_BYTES == 0);
	disk->file_count = files;
	disk->room_bytes = room_bytes;
	for (unsigned i = 0; i < files; i++) {
		disk->files[i].now = calloc(1, room_bytes);
		assert(disk->files[i].now);
		durable_init(&disk->files[i].base, room_bytes);
	}
	return disk;
}

static void event_free(struct disk_event *event)
{
	free(event->bytes);
	free(event->sectors);
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
		durable_clear(&disk->files[i].base);
	}
	free(disk);
}

void disk_load(struct disk *disk, unsigned file, const void *bytes, uint64_t length)
{
	struct disk_file *f = &disk->files[file];

	assert(length <= disk->room_bytes);
	forget_events(disk);
	memset(f->now, 0, f->now_end);
	memcpy(f->now, bytes, length);
	f->now_bytes = length;
	f->now_end = length;
	durable_load(&f->base, bytes, length);
	disk->version++;
}

void disk_copy(struct disk *disk, unsigned file, const struct durable *from)
{
	struct disk_file *f = &disk->files[file];
	uint64_t sectors = from->size_bytes / DISK_SECTOR_BYTES;

	assert(from->size_bytes % DISK_SECTOR_BYTES == 0);
	forget_events(disk);
	memset(f->now, 0, f->now_end);
	for (uint64_t i = 0; i < sectors; i++) {
		size_t at = i * DISK_SECTOR_BYTES;

		if (from->hashes[i])
			memcpy(f->now + at, from->bytes + at, DISK_SECTOR_BYTES);
	}
	f->now_bytes = from->size_bytes;
	f->now_end = from->size_bytes;
	durable_copy(&f->base, from);
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

/* What is cut off is gone: a file that grows again has zeroes there. */
static void cut_now(struct disk_file *file, uint64_t to)
{
	if (file->now_bytes <= to)
		return;
	memset(file->now + to, 0, file->now_bytes - to);
	file->now_bytes = to;
}

/* From now on a read finds it. */
static void apply_to_now(const struct disk_event *event, struct disk_file *file)
{
	uint64_t end = event->offset + event->length;

	switch (event->kind) {
	case DISK_GROW:
		if (event->offset > file->now_bytes)
			file->now_bytes = event->offset;
		break;
	case DISK_CUT:
		cut_now(file, event->offset);
		break;
	case DISK_WRITE:
		memcpy(file->now + event->offset, event->bytes, event->length);
		break;
	case DISK_ZERO:
		memset(file->now + event->offset, 0, event->length);
		break;
	}
	if (end > file->now_end)
		file->now_end = end;
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
	durable_sum_event(event);
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

		durable_apply(&disk->files[event->file].base, event, &kept);
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

		move_to_ended(disk, event);
		event->durable = durable;
		apply_to_now(event, &disk->files[event->file]);
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

static void mirror(struct disk *disk, struct disk *out)
{
	bool is_mirror = out->mirrors == disk && disk->mirrors == out;

	for (unsigned i = 0; i < disk->file_count; i++)
		durable_mirror(&disk->files[i].base, &out->files[i].base, !is_mirror);
	out->mirrors = disk;
	disk->mirrors = out;
}

void disk_crash(struct disk *disk, const struct fate *fates, struct disk *out)
{
	forget_events(out);
	mirror(disk, out);
	for (unsigned i = 0; i < disk->event_count; i++) {
		const struct disk_event *event = disk->events[i];

		durable_apply(&out->files[event->file].base, event,
			      event->durable ? &kept : &fates[i]);
	}
	for (unsigned i = 0; i < out->file_count; i++)
		durable_clear_beyond(&out->files[i].base);
	out->version++;
}

uint64_t disk_hash(struct disk *disk)
{
	uint64_t hash = 0;

	for (unsigned i = 0; i < disk->file_count; i++) {
		struct durable *base = &disk->files[i].base;

		durable_sum(base);
		hash = random_mix(hash + base->size_bytes);
		hash = random_mix(hash ^ base->sum);
	}
	return hash;
}
