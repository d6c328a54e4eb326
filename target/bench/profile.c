/*
 * Finding and showing profiles: see profile.h. Main thread.
 */
#include "target/bench/profile.h"

#include <inttypes.h>
#include <string.h>

#include "base/attr.h"

const struct profile *bench_profile_find(const char *name)
{
	for (size_t i = 0; i < bench_profile_count; i++) {
		if (strcmp(bench_profiles[i].name, name) == 0)
			return &bench_profiles[i];
	}
	return NULL;
}

unsigned bench_profile_class_count(const struct profile *profile)
{
	unsigned count = 0;

	while (count < PROFILE_CLASSES_MAX && profile->classes[count].bytes > 0)
		count++;
	return count;
}

static void print_class(const struct mix_class *class, FILE *to)
{
	char pattern[32];

	mix_pattern_name(class, pattern, sizeof(pattern));
	(void)fprintf(to,
		      "    %3" PRIu32 " %%  %5" PRIu32 "K  %-11s  %3" PRIu32
		      " %% reads  %s (%" PRIu32 "-%" PRIu32 " %% of the region)\n",
		      class->weight, class->bytes >> 10, pattern, class->read_percent, class->name,
		      class->area_begin_percent, class->area_end_percent);
}

static void print_profile(const struct profile *profile, FILE *to)
{
	(void)fprintf(to, "%s: %s\n", profile->name, profile->models);
	(void)fprintf(to, "    --sessions=%" PRIu32 " --queue-depth=%" PRIu32, profile->sessions,
		      profile->queue_depth);
	if (profile->burst > 0) {
		(void)fprintf(to, " --burst=%" PRIu32 " --pause=%" PRIu32 "ms", profile->burst,
			      profile->pause_ms);
	}
	(void)fputc('\n', to);
	for (unsigned i = 0; i < bench_profile_class_count(profile); i++)
		print_class(&profile->classes[i], to);
}

void bench_profiles_print(FILE *to)
{
	for (size_t i = 0; i < bench_profile_count; i++) {
		if (i > 0)
			(void)fputc('\n', to);
		print_profile(&bench_profiles[i], to);
	}
}
