/*
 * What of one file is durable, or what a cut left of it: bytes, a size, and for each sector what it
 * is, so that a state is told from others, and read, by what differs from the one before. Not when
 * something becomes durable (disk.c).
 *
 * One thread. Read next: durable.c, disk.h.
 */
#ifndef TESTS_CRASH_DURABLE_H
#define TESTS_CRASH_DURABLE_H

#include <stdbool.h>
#include <stdint.h>

struct disk_event;
struct fate;

struct durable {
	uint8_t *bytes;
	uint64_t size_bytes, room_bytes;
	/* Of each sector, as durable_sum left it: what a guest has there (pattern.h), and a number
	 * for its bytes and its place, 0 for zeroes. */
	uint64_t *words, *hashes;
	uint64_t sum; /* Of the hashes. */
	/* Sectors that may have changed since they were forgotten. */
	uint32_t *changed;
	uint32_t changed_count;
	uint8_t *states; /* enum sector_state. */
};

/* What is known of a sector that a write covers: durable_sum of the event's bytes. */
struct durable_sector {
	uint64_t word, hash;
};

void durable_init(struct durable *durable, uint64_t room_bytes);
void durable_clear(struct durable *durable);
void durable_load(struct durable *durable, const void *bytes, uint64_t length);
/* What `from` is, which is summed up. */
void durable_copy(struct durable *to, const struct durable *from);
/* Once for each write, so that it is not looked at in each state that has it. */
void durable_sum_event(struct disk_event *event);
/* What the event does, as far as its fate permits. */
void durable_apply(struct durable *durable, const struct disk_event *event,
		   const struct fate *fate);
/* What lies beyond the end is not the file's, and comes back as zeroes. */
void durable_clear_beyond(struct durable *durable);
/* Bring words, hashes and their sum up to date. */
void durable_sum(struct durable *durable);
/* `to` becomes what `from` is, both without changes then. It was that before and has changed in
 * `changed` alone, and so has `from`; or `whole`. */
void durable_mirror(struct durable *from, struct durable *to, bool whole);

#endif
