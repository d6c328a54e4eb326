/*
 * The crash simulator's command line. See README.md.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "tests/crash/campaign.h"

static const char usage[] =
	"usage: crash [--seed=N] [--states=N] [--workloads=N] [--oracles=N] [--subject=NAME] "
	"[--variant=NAME] [--jobs=N] [--plant=BUG] [MODE...]\n"
	"       crash [--plant=BUG] --replay=TRIAL\n"
	"modes: steady states faults memory closed mutants (all of them by default)\n";

/* -- What production code says -- */

void __wrap_log_error(const char *subsystem, const char *format, ...);

/* A flush that fails is told to operators thousands of times here. */
void __wrap_log_error(const char *subsystem UNUSED, const char *format UNUSED, ...)
{
}

/* In a run of so many states each rare path has to be met a thousand times. */
#define LONG_STATES 100000000u
/* And some only where calls fail: with so many states comes one more workload with faults. */
#define STATES_A_WORKLOAD 500000u
#define WORKLOADS_MIN 6u

/* -- Options -- */

static const struct option long_options[] = {
	{"seed", required_argument, NULL, 's'},
	{"states", required_argument, NULL, 'n'},
	{"oracles", required_argument, NULL, 'o'},
	{"plant", required_argument, NULL, 'p'},
	{"workloads", required_argument, NULL, 'w'},
	{"subject", required_argument, NULL, 'j'},
	{"variant", required_argument, NULL, 'v'},
	{"replay", required_argument, NULL, 'r'},
	{"steady", required_argument, NULL, 'y'},
	{"jobs", required_argument, NULL, 'c'},
	{NULL, 0, NULL, 0},
};

static uint64_t parse_number(const char *text)
{
	char *end;
	uint64_t number = strtoull(text, &end, 0);

	if (*end || end == text) {
		(void)fprintf(stderr, "crash: '%s' is not a number\n%s", text, usage);
		exit(2);
	}
	return number;
}

static bool is_mode(const char *name, int argc, char *argv[])
{
	for (int i = optind; i < argc; i++) {
		if (!strcmp(argv[i], name))
			return true;
	}
	return optind == argc;
}

static void plant(const char *name)
{
	if (reach_plant(name, true))
		return;
	(void)fprintf(stderr, "crash: there is no place for a bug '%s'\n", name);
	exit(2);
}

static void parse(int argc, char *argv[], struct campaign *campaign, const char **replay)
{
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) >= 0) {
		switch (option) {
		case 's':
			campaign->seed = parse_number(optarg);
			break;
		case 'n':
			campaign->states = parse_number(optarg);
			break;
		case 'w':
			campaign->fault_workloads = (unsigned)parse_number(optarg);
			break;
		case 'y':
			campaign->steady_trials = (unsigned)parse_number(optarg);
			break;
		case 'o':
			campaign->oracles = parse_number(optarg);
			break;
		case 'c':
			campaign->jobs = (unsigned)parse_number(optarg);
			break;
		case 'p':
			plant(optarg);
			break;
		case 'j':
			campaign->subject = optarg;
			break;
		case 'v':
			campaign->variant = optarg;
			break;
		case 'r':
			*replay = optarg;
			break;
		default:
			(void)fputs(usage, stderr);
			exit(2);
		}
	}
}

static unsigned processors(void)
{
	long count = sysconf(_SC_NPROCESSORS_ONLN);

	return count > 0 ? (unsigned)count : 1;
}

static bool run(const struct campaign *campaign, const char *replay, int argc, char *argv[])
{
	bool good = true;

	if (replay)
		return campaign_replay(replay);
	if (is_mode("steady", argc, argv))
		good = campaign_steady(campaign);
	if (good && is_mode("states", argc, argv))
		good = campaign_states(campaign);
	if (good && is_mode("faults", argc, argv))
		good = campaign_faults(campaign);
	if (good && is_mode("memory", argc, argv))
		good = campaign_memory(campaign);
	if (good && is_mode("closed", argc, argv))
		good = campaign_closed(campaign);
	if (good && optind == argc)
		good = reach_report(campaign->states >= LONG_STATES);
	if (good && is_mode("mutants", argc, argv))
		good = campaign_mutants(campaign);
	return good;
}

int main(int argc, char *argv[])
{
	struct campaign campaign = {.seed = 1,
				    .states = 200000,
				    .oracles = 100,
				    .steady_trials = 60,
				    .mutant_states = 3000000};
	const char *replay = NULL;
	bool good;

	campaign.jobs = processors();
	parse(argc, argv, &campaign, &replay);
	if (!campaign.fault_workloads)
		campaign.fault_workloads =
			WORKLOADS_MIN + (unsigned)(campaign.states / STATES_A_WORKLOAD);
	log_set_level(LOG_LEVEL_ERROR);
	if (setvbuf(stdout, NULL, _IOLBF, 0))
		return 2;
	subject_raw_begin();
	good = run(&campaign, replay, argc, argv);
	subject_raw_end();
	return good ? 0 : 1;
}
