/*
 * The shadow model of lun_rules.c: what the image has and who holds what, by block, under one lock,
 * so that what it says holds at one moment for all loops. Its assertions are the rules:
 *  - nobody writes where another has exclusive use, and a grant finds no write of others there;
 *  - what was submitted after an abort was answered does not reach the blocks of the aborted write
 *    before that has ended;
 *  - after a drain nothing is in the image, and nothing gets in before the gate opens.
 * Any thread.
 */
#ifndef TESTS_STRESS_LUN_SHADOW_H
#define TESTS_STRESS_LUN_SHADOW_H

#include "lun/lun_internal.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#define BLOCK 4096u
#define BLOCKS 64u /* Few, so that they meet. */
#define SIZE_BYTES ((uint64_t)BLOCKS * BLOCK)

/* What the image has, by block. */
struct shadow_block {
	unsigned plain_writes;
	unsigned owned_writes;
	const struct lun_exclusive *owner;  /* Of the owned writes. */
	const struct lun_exclusive *holder; /* Between its grant and its release. */
	uint64_t orphan_since[8];           /* Clock at which aborts were answered; 0: none. */
};

struct shadow {
	pthread_mutex_t mutex;
	uint64_t clock;
	unsigned in_image;
	bool drained;
	bool stuck; /* The image ends nothing. */
	struct shadow_block blocks[BLOCKS];
};

/* -- Chance, time and loops -- */

static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state >> 11;
}

static inline bool chance(uint64_t *state, unsigned percent)
{
	return next_random(state) % 100 < percent;
}

/* Most take whole blocks. */
static inline void pick_range(uint64_t *random, uint64_t *first, uint64_t *count)
{
	uint64_t unit = chance(random, 75) ? 8 : 1;
	uint64_t units = BLOCKS * 8 / unit;

	*first = next_random(random) % units;
	*count = next_random(random) % 8 + 1;
	if (*count > units - *first)
		*count = units - *first;
	*first *= unit;
	*count *= unit;
}

static inline void sleep_ms(unsigned ms)
{
	struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	nanosleep(&time, NULL);
}

static inline struct loop *make_loop(enum loop_engine engine, unsigned index)
{
	struct loop_config config = {.name = "rules", .engine = engine, .index = index};
	struct loop *loop;
	int res = loop_create(&config, &loop);

	assert(!res);
	return loop;
}

/* -- The model -- */

static struct shadow shadow = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static inline uint64_t shadow_clock(void)
{
	uint64_t now;

	pthread_mutex_lock(&shadow.mutex);
	now = ++shadow.clock;
	pthread_mutex_unlock(&shadow.mutex);
	return now;
}

static inline void shadow_enter_block(struct shadow_block *block, const struct lun_io *io,
				      uint64_t born)
{
	for (unsigned i = 0; born && i < ARRAY_SIZE(block->orphan_since); i++)
		assert(!block->orphan_since[i] || block->orphan_since[i] > born);
	if (!lun_op_writes(io->op))
		return;
	if (io->exclusive) {
		assert(!block->plain_writes && !(block->owner && block->owner != io->exclusive));
		assert(!block->holder || block->holder == io->exclusive);
		block->owner = io->exclusive;
		block->owned_writes++;
		return;
	}
	assert(!block->owner && !block->holder);
	block->plain_writes++;
}

/* `owned` is what io->exclusive was: an orphan has left its range. */
static inline void shadow_leave_block(struct shadow_block *block, const struct lun_io *io,
				      bool owned)
{
	if (!lun_op_writes(io->op))
		return;
	if (!owned) {
		assert(block->plain_writes > 0);
		block->plain_writes--;
		return;
	}
	assert(block->owned_writes > 0);
	if (--block->owned_writes == 0)
		block->owner = NULL;
}

/* Words of the io while it is in the image. */
enum {
	WORD_OWNED,  /* It was submitted inside an exclusive range. */
	WORD_ORPHAN, /* When its abort was answered. */
	WORD_INSIDE, /* The image has not ended it. */
};

static inline void shadow_enter(struct lun_io *io, uint64_t born)
{
	struct byte_range range = lun_io_range(io);

	pthread_mutex_lock(&shadow.mutex);
	assert(!shadow.drained);
	shadow.in_image++;
	for (uint64_t b = range.begin / BLOCK; b < range.end / BLOCK; b++)
		shadow_enter_block(&shadow.blocks[b], io, born);
	io->image_word[WORD_OWNED] = io->exclusive != NULL;
	io->image_word[WORD_ORPHAN] = 0;
	io->image_word[WORD_INSIDE] = 1;
	pthread_mutex_unlock(&shadow.mutex);
}

static inline void shadow_drop_orphan(struct shadow_block *block, uint64_t since)
{
	unsigned i = 0;

	while (i < ARRAY_SIZE(block->orphan_since) && block->orphan_since[i] != since)
		i++;
	if (i < ARRAY_SIZE(block->orphan_since))
		block->orphan_since[i] = 0;
}

static inline void shadow_leave(struct lun_io *io)
{
	struct byte_range range = lun_io_range(io);
	uint64_t since = io->image_word[WORD_ORPHAN];

	pthread_mutex_lock(&shadow.mutex);
	shadow.in_image--;
	io->image_word[WORD_INSIDE] = 0;
	for (uint64_t b = range.begin / BLOCK; b < range.end / BLOCK; b++) {
		shadow_leave_block(&shadow.blocks[b], io, io->image_word[WORD_OWNED]);
		if (since)
			shadow_drop_orphan(&shadow.blocks[b], since);
	}
	pthread_mutex_unlock(&shadow.mutex);
}

/* The abort was answered now. A block keeps a few such times; more are not checked. */
static inline void shadow_orphan(struct lun_io *io)
{
	struct byte_range range = lun_io_range(io);
	uint64_t since;

	pthread_mutex_lock(&shadow.mutex);
	since = ++shadow.clock;
	io->image_word[WORD_ORPHAN] = since;
	for (uint64_t b = range.begin / BLOCK; b < range.end / BLOCK; b++) {
		for (unsigned i = 0; i < ARRAY_SIZE(shadow.blocks[b].orphan_since); i++) {
			if (shadow.blocks[b].orphan_since[i])
				continue;
			shadow.blocks[b].orphan_since[i] = since;
			break;
		}
	}
	pthread_mutex_unlock(&shadow.mutex);
}

/* An orphan beyond the account has no entry to wait for; the LUN admits nothing beside it. */
static inline void shadow_check_grant(const struct shadow_block *block,
				      const struct lun_exclusive *exclusive)
{
	assert(!block->holder);
	assert((!block->plain_writes && !block->owned_writes) || lun_is_overrun(exclusive->lun));
}

static inline void shadow_hold(const struct lun_exclusive *exclusive, bool hold)
{
	pthread_mutex_lock(&shadow.mutex);
	for (uint64_t b = exclusive->begin / BLOCK; b < exclusive->end / BLOCK; b++) {
		struct shadow_block *block = &shadow.blocks[b];

		if (hold)
			shadow_check_grant(block, exclusive);
		block->holder = hold ? exclusive : NULL;
	}
	pthread_mutex_unlock(&shadow.mutex);
}

#endif
