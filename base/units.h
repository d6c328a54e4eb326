/*
 * Numbers as people type them: sizes with binary suffixes, durations, lists of CPUs.
 *
 * Each parser takes the whole string or refuses it with -EINVAL (not a number of that kind) or
 * -ERANGE (more than 64 bits hold); nothing is written on failure. Pure functions, any thread.
 */
#ifndef BASE_UNITS_H
#define BASE_UNITS_H

#include "base/attr.h"

#include <stdint.h>

/* Decimal digits only: no sign, no space. */
int MUST_CHECK units_parse_number(const char *text, uint64_t *out);
/* "4096", "4k", "64K", "1M", "10GiB", "2T": powers of 1024, whatever the case of the suffix. */
int MUST_CHECK units_parse_size(const char *text, uint64_t *out_bytes);
/* "5", "5s", "500ms", "2m": without a suffix, seconds. */
int MUST_CHECK units_parse_duration(const char *text, uint64_t *out_ms);

/* More CPUs than any machine in view; bounds the array in the options. */
#define UNITS_CPUS_MAX 256u

struct units_cpus {
	unsigned count;
	uint16_t cpus[UNITS_CPUS_MAX];
};

/* "1", "1,3", "0-3,8": in the order given, each below 1024. */
int MUST_CHECK units_parse_cpus(const char *text, struct units_cpus *out);

#endif
