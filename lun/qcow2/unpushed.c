/*
 * What of an image has not gone into the one below it, or has changed since: a bit for each piece
 * of the disk, all of them set when the image is opened. Hosts' writes set theirs when they end, a
 * push clears what it is about to read; so whatever a push read too early, or half, is set
 * afterwards.
 *
 * Opened by the control or a helper thread, else on the image's loop. Read next: push.c.
 */
#include "lun/qcow2/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_BITS_MIN 12u
/* 16 MiB of memory. */
#define PIECES_MAX (UINT64_C(1) << 27)
#define WORD_BITS 64u

/* By words: a LUN waits for its image to be opened. */
static void set_all(struct unpushed *unpushed)
{
	uint64_t whole = unpushed->pieces / WORD_BITS;

	(void)memset(unpushed->words, 0xff, whole * sizeof(*unpushed->words));
	unpushed->words[whole] = (UINT64_C(1) << unpushed->pieces % WORD_BITS) - 1;
	unpushed->set = unpushed->pieces;
}

int unpushed_open(struct qcow2 *image)
{
	struct unpushed *unpushed = &image->unpushed;
	uint64_t words;

	unpushed->piece_bits = PIECE_BITS_MIN;
	while (image->size_bytes >> unpushed->piece_bits >= PIECES_MAX)
		unpushed->piece_bits++;
	unpushed->pieces = (image->size_bytes + (UINT64_C(1) << unpushed->piece_bits) - 1) >>
			   unpushed->piece_bits;
	words = (unpushed->pieces + WORD_BITS - 1) / WORD_BITS;
	unpushed->words = calloc(words + 1, sizeof(*unpushed->words));
	if (!unpushed->words)
		return -ENOMEM;
	set_all(unpushed);
	return 0;
}

static bool is_set(const struct unpushed *unpushed, uint64_t piece)
{
	return (unpushed->words[piece / WORD_BITS] >> piece % WORD_BITS & 1) != 0;
}

static void flip(struct unpushed *unpushed, uint64_t piece)
{
	unpushed->words[piece / WORD_BITS] ^= UINT64_C(1) << piece % WORD_BITS;
}

void unpushed_add(struct qcow2 *image, uint64_t offset, uint64_t length)
{
	struct unpushed *unpushed = &image->unpushed;
	uint64_t end = offset + length + (UINT64_C(1) << unpushed->piece_bits) - 1;

	if (!unpushed->words)
		return;
	end >>= unpushed->piece_bits;
	end = end < unpushed->pieces ? end : unpushed->pieces;
	for (uint64_t piece = offset >> unpushed->piece_bits; piece < end; piece++) {
		if (is_set(unpushed, piece))
			continue;
		flip(unpushed, piece);
		unpushed->set++;
	}
}

static uint64_t find_set(const struct unpushed *unpushed, uint64_t piece, uint64_t end)
{
	while (piece < end && !is_set(unpushed, piece)) {
		/* Whole words are passed by: most of a disk is not written meanwhile. */
		if (unpushed->words[piece / WORD_BITS] == 0)
			piece |= WORD_BITS - 1;
		piece++;
	}
	return piece < end ? piece : end;
}

bool unpushed_take(struct qcow2 *image, struct byte_range in, struct byte_range *out)
{
	struct unpushed *unpushed = &image->unpushed;
	uint64_t end = (in.end + (UINT64_C(1) << unpushed->piece_bits) - 1) >> unpushed->piece_bits;
	uint64_t first, piece;

	end = end < unpushed->pieces ? end : unpushed->pieces;
	first = piece = find_set(unpushed, in.begin >> unpushed->piece_bits, end);
	for (; piece < end && is_set(unpushed, piece); piece++) {
		flip(unpushed, piece);
		unpushed->set--;
	}
	out->begin = first << unpushed->piece_bits;
	out->end = piece << unpushed->piece_bits;
	out->end = out->end < image->size_bytes ? out->end : image->size_bytes;
	return piece > first;
}

uint64_t unpushed_bytes(const struct qcow2 *image)
{
	return image->unpushed.set << image->unpushed.piece_bits;
}
