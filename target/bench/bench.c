/*
 * The subcommand `bench`: options, run, report, exit status. Main thread. Read next: run.c.
 */
#include "target/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target/bench/options.h"
#include "target/bench/report.h"
#include "target/bench/run.h"

enum {
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
};

static int run_and_report(const struct bench_options *options)
{
	struct bench_result *result;
	int status = EXIT_SUCCESS;
	int err;

	if (bench_run(options, &result))
		return EXIT_FAILED;
	err = options->json ? bench_report_json(result, stdout)
			    : bench_report_table(result, stdout);
	if (err) {
		(void)fprintf(stderr, "ringsan bench: cannot write the report: %s\n",
			      strerrordesc_np(-err));
	}
	if (err || result->io_errors > 0 || result->verify_errors > 0)
		status = EXIT_FAILED;
	free(result);
	return status;
}

int bench_main(int argc, char **argv)
{
	struct bench_options options;
	char error[512];
	int status;

	if (bench_options_parse(&options, argc, argv, error, sizeof(error))) {
		(void)fprintf(stderr,
			      "ringsan bench: %s\n"
			      "Try 'ringsan bench --help'.\n",
			      error);
		return EXIT_USAGE;
	}
	if (options.help) {
		bench_options_help(stdout);
		return EXIT_SUCCESS;
	}
	status = run_and_report(&options);
	explicit_bzero(options.url.secret, sizeof(options.url.secret));
	return status;
}
