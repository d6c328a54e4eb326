/*
 * A set of numbers by open addressing. See seen.h.
 */
#include "tests/crash/seen.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define ROOM_MIN 1024u

void seen_clear(struct seen *seen)
{
	seen_free(seen);
	seen->slots = calloc(ROOM_MIN, sizeof(seen->slots[0]));
	assert(seen->slots);
	seen->room = ROOM_MIN;
	seen->count = 0;
}

void seen_free(struct seen *seen)
{
	free(seen->slots);
	seen->slots = NULL;
}

static bool put(struct seen *seen, uint64_t number)
{
	size_t at = number & (seen->room - 1);

	while (seen->slots[at] && seen->slots[at] != number)
		at = (at + 1) & (seen->room - 1);
	if (seen->slots[at])
		return false;
	seen->slots[at] = number;
	seen->count++;
	return true;
}

static void grow(struct seen *seen)
{
	struct seen larger = {.room = 2 * seen->room};

	larger.slots = calloc(larger.room, sizeof(larger.slots[0]));
	assert(larger.slots);
	for (size_t i = 0; i < seen->room; i++) {
		if (seen->slots[i])
			put(&larger, seen->slots[i]);
	}
	seen_free(seen);
	*seen = larger;
}

bool seen_add(struct seen *seen, uint64_t number)
{
	if (2 * seen->count >= seen->room)
		grow(seen);
	return put(seen, number ? number : 1);
}
