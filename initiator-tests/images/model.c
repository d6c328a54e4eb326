/*
 * What each block holds, or may hold after a kill; see load.h.
 *
 * Read next: operations.c.
 */
#include "initiator-tests/images/load.h"

#include <inttypes.h>
#include <string.h>

static uint64_t run_id;
static const struct stamp zeroes;

void model_begin(uint64_t run)
{
	run_id = run;
}

static void make_stamp(struct stamp *stamp, uint64_t run, uint64_t disk, uint64_t number,
		       uint64_t generation)
{
	*stamp = (struct stamp){
		.run = run, .disk = disk, .number = number, .generation = generation};
	for (unsigned i = 0; i < sizeof(stamp->filler) / 8; i++)
		stamp->filler[i] =
			(number * 0x9e3779b97f4a7c15u + generation) * 0xbf58476d1ce4e5b9u + i;
}

/* Of every 256 KiB the last 64 KiB, and of every 64 KiB the last 12, are zeroes. */
void model_base(struct stamp *stamp, bool golden, uint64_t number)
{
	if (golden && number % 512 < 384 && number % 128 < 104)
		make_stamp(stamp, 0, 0, number, 0);
	else
		*stamp = zeroes;
}

static bool same(const struct stamp *one, const struct stamp *other)
{
	return memcmp(one, other, BLOCK) == 0;
}

bool model_is(const struct disk *disk, uint64_t number, const struct stamp *found,
	      uint32_t generation, bool is_zero)
{
	struct stamp stamp = zeroes;

	if (generation == 0)
		model_base(&stamp, disk->golden, number);
	else if (!is_zero)
		make_stamp(&stamp, run_id, disk->index, number, generation);
	return same(&stamp, found);
}

void model_expect(const struct disk *disk, uint64_t number, const struct stamp *found)
{
	const struct block *block = &disk->blocks[number];

	if (!model_is(disk, number, found, block->last, block->last == block->last_zero))
		die("disk %u block %" PRIu64 ": found disk %" PRIu64 " block %" PRIu64
		    " generation %" PRIu64 " of run %" PRIx64 ", expected generation %u%s",
		    disk->index, number, found->disk, found->number, found->generation, found->run,
		    block->last, block->last == block->last_zero ? ", zeroes" : "");
}

/* After a kill: which generation is there? One that may be; else the end. */
static uint32_t generation_found(const struct disk *disk, uint64_t number,
				 const struct stamp *found, bool *zero)
{
	const struct block *block = &disk->blocks[number];
	struct stamp stamp;

	*zero = false;
	make_stamp(&stamp, run_id, disk->index, number, found->generation);
	if (found->generation >= block->durable && found->generation != 0 &&
	    found->generation <= block->last && same(&stamp, found))
		return (uint32_t)found->generation;
	*zero = same(&zeroes, found);
	if (*zero && block->last_zero != 0 && block->last_zero >= block->durable)
		return block->last_zero;
	model_base(&stamp, disk->golden, number);
	*zero = false;
	if (block->durable == 0 && same(&stamp, found))
		return 0;
	die("disk %u block %" PRIu64 " after a kill: found disk %" PRIu64 " block %" PRIu64
	    " generation %" PRIu64 " of run %" PRIx64 "; durable %u, last %u, last zeroes %u",
	    disk->index, number, found->disk, found->number, found->generation, found->run,
	    block->durable, block->last, block->last_zero);
}

void model_take(struct disk *disk, uint64_t number, const struct stamp *found, struct tally *tally)
{
	struct block *block = &disk->blocks[number];
	bool zero;
	uint32_t generation = generation_found(disk, number, found, &zero);

	tally->durable += block->durable != 0;
	tally->lost += generation != block->last;
	block->last = generation;
	block->durable = generation;
	block->last_zero = zero ? generation : 0;
	block->ended = generation;
	block->ended_is_zero = zero;
}

void model_taken(struct disk *disk)
{
	disk->done_first = disk->done_next;
}

/* Zeroes are a new operation's: which one's they were is not written in them. */
void model_back(struct disk *disk, uint64_t number, const struct stamp *found)
{
	struct block *block = &disk->blocks[number];
	bool zero = same(&zeroes, found);
	uint32_t generation = zero ? disk->generation : (uint32_t)found->generation;

	block->last = generation;
	block->durable = generation;
	block->last_zero = zero ? generation : 0;
	block->ended = generation;
	block->ended_is_zero = zero;
}

/* -- What is durable -- */

static void make_durable(struct disk *disk, const struct done *done)
{
	for (unsigned i = 0; i < done->count; i++) {
		struct block *block = &disk->blocks[done->first + i];

		if (block->durable < done->generation)
			block->durable = done->generation;
	}
}

static void flushed(struct disk *disk, uint64_t done_before)
{
	for (; disk->done_first < done_before; disk->done_first++)
		make_durable(disk, &disk->done[disk->done_first % DONE_MAX]);
}

static void note_done(const struct operation *operation)
{
	struct disk *disk = operation->disk;
	struct done done = {operation->first, operation->count, operation->generation};

	if (operation->kind == WRITE_FUA) {
		make_durable(disk, &done);
		return;
	}
	/* What falls out of the ring is only never demanded. */
	if (disk->done_next - disk->done_first == DONE_MAX)
		disk->done_first++;
	disk->done[disk->done_next++ % DONE_MAX] = done;
}

static void note_ended(const struct operation *operation)
{
	for (unsigned i = 0; i < operation->count; i++) {
		struct block *block = &operation->disk->blocks[operation->first + i];

		block->ended = operation->generation;
		block->ended_is_zero = operation->kind >= UNMAP;
	}
}

void model_done(struct operation *operation)
{
	if (operation->kind == FLUSH) {
		flushed(operation->disk, operation->done_before);
	} else if (operation->kind != READ) {
		note_ended(operation);
		note_done(operation);
	}
}

void model_change(struct operation *operation)
{
	struct disk *disk = operation->disk;
	struct stamp stamp;

	operation->generation = ++disk->generation;
	for (unsigned i = 0; i < operation->count; i++) {
		struct block *block = &disk->blocks[operation->first + i];

		block->last = operation->generation;
		if (operation->kind >= UNMAP) {
			block->last_zero = operation->generation;
			continue;
		}
		make_stamp(&stamp, run_id, disk->index, operation->first + i,
			   operation->generation);
		memcpy(operation->data + (size_t)i * BLOCK, &stamp, BLOCK);
	}
}
