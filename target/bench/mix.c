/*
 * Classes of commands: see mix.h. Pure functions, any thread.
 */
#include "target/bench/mix.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"

/* "64K" or "64K:30" and room to see that it is longer. */
#define ITEM_CHARS_MAX 40u

static int parse_item(char *item, struct mix_size *out)
{
	char *colon = strchr(item, ':');
	uint64_t weight = 1;
	uint64_t bytes;
	int err;

	if (colon)
		*colon = '\0';
	err = units_parse_size(item, &bytes);
	if (!err && colon)
		err = units_parse_number(colon + 1, &weight);
	if (err)
		return err;
	if (bytes > UINT32_MAX || weight < 1 || weight > MIX_WEIGHT_MAX)
		return -ERANGE;
	*out = (struct mix_size){(uint32_t)bytes, (uint32_t)weight};
	return 0;
}

int mix_sizes_parse(const char *text, struct mix_sizes *out)
{
	struct mix_sizes sizes = {.count = 0};

	for (;;) {
		size_t chars = strcspn(text, ",");
		char item[ITEM_CHARS_MAX];
		int err;

		if (chars >= sizeof(item) || sizes.count == MIX_SIZES_MAX)
			return -EINVAL;
		memcpy(item, text, chars);
		item[chars] = '\0';
		err = parse_item(item, &sizes.sizes[sizes.count++]);
		if (err)
			return err;
		if (text[chars] == '\0')
			break;
		text += chars + 1;
	}
	*out = sizes;
	return 0;
}

bool mix_add(struct mix *mix, const struct mix_class *like, const struct mix_sizes *sizes)
{
	for (unsigned i = 0; i < sizes->count; i++) {
		struct mix_class *class = &mix->classes[mix->count];

		if (mix->count == MIX_CLASSES_MAX)
			return false;
		*class = *like;
		class->bytes = sizes->sizes[i].bytes;
		class->weight = like->weight * sizes->sizes[i].weight;
		mix->count++;
	}
	return true;
}

static uint32_t common_divisor(uint32_t a, uint32_t b)
{
	while (b != 0) {
		uint32_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

static uint64_t weight_sum(const struct mix *mix)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < mix->count; i++)
		sum += mix->classes[i].weight;
	return sum;
}

void mix_finish(struct mix *mix)
{
	uint64_t all = weight_sum(mix);
	uint64_t sum = 0;

	assert(mix->count > 0 && all > 0);
	mix->unit_bytes = 0;
	mix->largest_bytes = 0;
	for (unsigned i = 0; i < mix->count; i++) {
		const struct mix_class *class = &mix->classes[i];

		sum += class->weight;
		mix->thresholds[i] = (uint32_t)(sum * UINT32_MAX / all);
		mix->unit_bytes = common_divisor(mix->unit_bytes, class->bytes);
		if (class->bytes > mix->largest_bytes)
			mix->largest_bytes = class->bytes;
	}
}

double mix_share_percent(const struct mix *mix, unsigned number)
{
	return 100.0 * (double)mix->classes[number].weight / (double)weight_sum(mix);
}

bool mix_reads(const struct mix *mix)
{
	for (unsigned i = 0; i < mix->count; i++) {
		if (mix->classes[i].read_percent > 0)
			return true;
	}
	return false;
}

bool mix_writes(const struct mix *mix)
{
	for (unsigned i = 0; i < mix->count; i++) {
		if (mix->classes[i].read_percent < 100)
			return true;
	}
	return false;
}

void mix_pattern_name(const struct mix_class *class, char *out, size_t size_bytes)
{
	if (class->run == MIX_RUN_SEQUENTIAL) {
		(void)snprintf(out, size_bytes, "sequential");
	} else if (class->run == MIX_RUN_RANDOM) {
		(void)snprintf(out, size_bytes, "random");
	} else {
		(void)snprintf(out, size_bytes, "runs of %" PRIu32, class->run);
	}
}
