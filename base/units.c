/*
 * Parsers for sizes, durations and CPU lists: see units.h. Pure functions, any thread.
 */
#include "base/units.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

/* The kernel's own bound on x86 is 8192; a higher number here is a typing error. */
#define CPU_NUMBER_MAX 1023u

struct suffix {
	const char *name;
	uint64_t factor;
};

static const struct suffix size_suffixes[] = {
	{"", 1},           {"b", 1},
	{"k", 1ull << 10}, {"kib", 1ull << 10},
	{"m", 1ull << 20}, {"mib", 1ull << 20},
	{"g", 1ull << 30}, {"gib", 1ull << 30},
	{"t", 1ull << 40}, {"tib", 1ull << 40},
};

static const struct suffix duration_suffixes[] = {
	{"", 1000},
	{"ms", 1},
	{"s", 1000},
	{"m", 60000},
};

/* Digits at *text; *text moves behind them. */
static int take_digits(const char **text, uint64_t *out)
{
	const char *at = *text;
	uint64_t value = 0;

	if (*at < '0' || *at > '9')
		return -EINVAL;
	for (; *at >= '0' && *at <= '9'; at++) {
		if (__builtin_mul_overflow(value, 10u, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value))
			return -ERANGE;
	}
	*text = at;
	*out = value;
	return 0;
}

static int parse_suffixed(const char *text, const struct suffix *suffixes, size_t count,
			  uint64_t *out)
{
	uint64_t value;
	int err = take_digits(&text, &value);

	if (err)
		return err;
	for (size_t i = 0; i < count; i++) {
		if (strcasecmp(text, suffixes[i].name) != 0)
			continue;
		if (__builtin_mul_overflow(value, suffixes[i].factor, &value))
			return -ERANGE;
		*out = value;
		return 0;
	}
	return -EINVAL;
}

int units_parse_number(const char *text, uint64_t *out)
{
	uint64_t value;
	int err = take_digits(&text, &value);

	if (err)
		return err;
	if (*text != '\0')
		return -EINVAL;
	*out = value;
	return 0;
}

int units_parse_size(const char *text, uint64_t *out_bytes)
{
	return parse_suffixed(text, size_suffixes, ARRAY_SIZE(size_suffixes), out_bytes);
}

int units_parse_duration(const char *text, uint64_t *out_ms)
{
	return parse_suffixed(text, duration_suffixes, ARRAY_SIZE(duration_suffixes), out_ms);
}

/* One item, "3" or "0-3", at *text. */
static int take_cpu_range(const char **text, struct units_cpus *out)
{
	uint64_t first = 0;
	uint64_t last;
	int err = take_digits(text, &first);

	last = first;
	if (!err && **text == '-') {
		(*text)++;
		err = take_digits(text, &last);
	}
	if (err)
		return err;
	if (first > last || last > CPU_NUMBER_MAX || last - first >= UNITS_CPUS_MAX - out->count)
		return -EINVAL;
	for (uint64_t cpu = first; cpu <= last; cpu++)
		out->cpus[out->count++] = (uint16_t)cpu;
	return 0;
}

int units_parse_cpus(const char *text, struct units_cpus *out)
{
	struct units_cpus cpus = {.count = 0};

	for (;;) {
		int err = take_cpu_range(&text, &cpus);

		if (err)
			return err;
		if (*text == '\0')
			break;
		if (*text++ != ',')
			return -EINVAL;
	}
	*out = cpus;
	return 0;
}
