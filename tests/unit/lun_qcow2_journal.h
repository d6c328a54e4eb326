/*
 * A file in memory whose writes are remembered, so that a test can see each state that a power cut
 * leaves: what was durable, with any part of what was not.
 */
#ifndef TESTS_UNIT_LUN_QCOW2_JOURNAL_H
#define TESTS_UNIT_LUN_QCOW2_JOURNAL_H

#include <criterion/criterion.h>
#include <errno.h>

#include "lun/qcow2/writable.h"
#include "tests/unit/lun_qcow2_testing.h"

#define JOURNAL_STEPS_MAX 64u
#define SECTOR_BYTES 512u

struct journal_step {
	uint8_t *bytes; /* NULL: a sync. */
	uint64_t length, offset;
};

struct journal {
	struct qcow2_writable writable; /* First. */
	uint8_t *bytes;
	uint64_t size, room;
	unsigned left; /* Calls that succeed. */
	unsigned count;
	struct journal_step steps[JOURNAL_STEPS_MAX];
};

static inline int journal_read(const struct qcow2_file *file, void *buffer, size_t length,
			       uint64_t offset)
{
	const struct journal *journal = (const void *)file;
	struct memory_file memory = memory_file_make(journal->bytes, journal->size);

	return memory_file_read(&memory.file, buffer, length, offset);
}

static inline struct journal_step *journal_add(struct journal *journal)
{
	if (journal->left == 0)
		return NULL;
	journal->left--;
	cr_assert_lt(journal->count, JOURNAL_STEPS_MAX);
	return &journal->steps[journal->count++];
}

static inline void journal_apply(struct journal *to, const struct journal_step *step,
				 uint64_t length)
{
	uint64_t end = step->offset + length;

	cr_assert_leq(end, to->room);
	memcpy(to->bytes + step->offset, step->bytes, length);
	if (end > to->size)
		to->size = end;
}

static inline int journal_write(struct qcow2_writable *writable, const void *bytes, size_t length,
				uint64_t offset)
{
	struct journal *journal = (void *)writable;
	struct journal_step *step = journal_add(journal);

	if (step == NULL)
		return -EIO;
	cr_assert_gt(length, 0);
	*step = (struct journal_step){malloc(length), length, offset};
	memcpy(step->bytes, bytes, length);
	journal_apply(journal, step, length);
	return 0;
}

static inline int journal_sync(struct qcow2_writable *writable)
{
	struct journal_step *step = journal_add((void *)writable);

	if (step == NULL)
		return -EIO;
	*step = (struct journal_step){0};
	return 0;
}

/* A copy of `bytes`, with room to grow. */
static inline void journal_make(struct journal *out, const uint8_t *bytes, uint64_t size,
				uint64_t room)
{
	*out = (struct journal){.bytes = calloc(1, room), .size = size, .room = room, .left = 1000};
	out->writable = (struct qcow2_writable){
		.file = {.read = journal_read, .size_bytes = size},
		.write = journal_write,
		.sync = journal_sync,
	};
	if (size > 0)
		memcpy(out->bytes, bytes, size);
}

static inline void journal_clear(struct journal *journal)
{
	for (unsigned i = 0; i < journal->count; i++)
		free(journal->steps[i].bytes);
	free(journal->bytes);
}

/* What is durable after `steps`, and which writes are pending: [*first, steps). */
static inline void journal_replay(const struct journal *from, unsigned steps, struct journal *to,
				  unsigned *first)
{
	*first = 0;
	for (unsigned i = 0; i < steps; i++)
		if (from->steps[i].bytes == NULL)
			*first = i + 1;
	for (unsigned i = 0; i < *first; i++)
		if (from->steps[i].bytes != NULL)
			journal_apply(to, &from->steps[i], from->steps[i].length);
}

typedef void journal_see_fn(struct journal *state, void *arg);

/* One state: of the pending writes those whose bit is set, half of the one at `torn`. */
static inline void journal_see(const struct journal *from, const struct journal *before,
			       unsigned steps, uint32_t kept, unsigned torn, journal_see_fn *see,
			       void *arg)
{
	struct journal state;
	unsigned first;

	journal_make(&state, before->bytes, before->size, before->room);
	journal_replay(from, steps, &state, &first);
	for (unsigned i = first; i < steps; i++) {
		const struct journal_step *step = &from->steps[i];
		uint64_t half = step->length / 2 / SECTOR_BYTES * SECTOR_BYTES;

		if (kept & 1u << (i - first))
			journal_apply(&state, step, i == torn && half > 0 ? half : step->length);
	}
	state.writable.file.size_bytes = state.size;
	see(&state, arg);
	journal_clear(&state);
}

/* Every cut of `from`, which began as `before`: all subsets of up to 5 pending writes, none and all
 * and each one of more; each of them torn. Returns how many states. */
static inline unsigned journal_cut(const struct journal *from, const struct journal *before,
				   journal_see_fn *see, void *arg)
{
	unsigned states = 0;

	for (unsigned steps = 0; steps <= from->count; steps++) {
		unsigned first = 0;

		for (unsigned i = 0; i < steps; i++)
			if (from->steps[i].bytes == NULL)
				first = i + 1;
		for (uint32_t kept = 0; kept < 1u << (steps - first); kept++) {
			bool few = steps - first <= 5 || (kept & (kept - 1)) == 0 ||
				   kept == (1u << (steps - first)) - 1;

			for (unsigned torn = first; few && torn <= steps; torn++, states++)
				journal_see(from, before, steps, kept, torn, see, arg);
		}
	}
	return states;
}

#endif
