/*
 * The subcommand `bench`: options, run, report, exit status; or a comparison of two results. Main
 * thread. Read next: run.c, compare.h.
 */
#include "target/bench/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "target/bench/compare.h"
#include "target/bench/options.h"
#include "target/bench/profile.h"
#include "target/bench/report.h"
#include "target/bench/run.h"

enum {
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_WORSE = 3,
};

static void say(const char *what, int err)
{
	(void)fprintf(stderr, "ringsan bench: %s: %s\n", what, strerrordesc_np(-err));
}

/* ---- A run ---- */

static int write_reports(const struct bench_result *result, FILE *plot)
{
	int err = result->options->json ? bench_report_json(result, stdout)
					: bench_report_table(result, stdout);

	if (err)
		say("cannot write the report", err);
	if (plot) {
		int plot_err;

		/* Of a pipe or a device there is nothing to cut off. */
		(void)!ftruncate(fileno(plot), 0);
		plot_err = bench_report_plot(result, plot);
		if (plot_err)
			say("cannot write the plot", plot_err);
		err = err ? err : plot_err;
	}
	return err;
}

/* A name that cannot be written is noticed before the run and not after it; what is there is kept
 * until there is something to replace it with. */
static FILE *open_plot(const char *name)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	FILE *plot = fd >= 0 ? fdopen(fd, "w") : NULL;

	if (!plot)
		say(name, -errno);
	if (!plot && fd >= 0)
		(void)close(fd);
	return plot;
}

static int run_and_report(const struct bench_options *options)
{
	struct bench_result *result = NULL;
	FILE *plot = NULL;
	int status = EXIT_FAILED;

	if (options->plot_file) {
		plot = open_plot(options->plot_file);
		if (!plot)
			return EXIT_FAILED;
	}
	if (bench_run(options, &result))
		goto out;
	if (!write_reports(result, plot) && result->io_errors == 0 && result->verify_errors == 0)
		status = EXIT_SUCCESS;
out:
	if (plot && fclose(plot) != 0 && status == EXIT_SUCCESS) {
		say("cannot write the plot", -errno);
		status = EXIT_FAILED;
	}
	bench_result_free(result);
	return status;
}

/* ---- A comparison ---- */

static int load(struct result_file *out, const char *name)
{
	FILE *from = fopen(name, "re");
	char error[128];
	int err;

	if (!from) {
		err = -errno;
		say(name, err);
		return err;
	}
	err = result_file_load(out, from, error, sizeof(error));
	if (err)
		(void)fprintf(stderr, "ringsan bench: %s %s\n", name, error);
	(void)fclose(from);
	return err;
}

static int report_comparison(const struct bench_options *options, const struct result_file files[2])
{
	struct comparison *comparison = malloc(sizeof(*comparison));
	int err = -ENOMEM;
	int status;

	if (comparison) {
		compare_files(comparison, files, options->files,
			      (double)options->tolerance_percent);
		err = options->json ? compare_print_json(comparison, stdout)
				    : compare_print_table(comparison, stdout);
	}
	if (err) {
		say("cannot write the comparison", err);
		status = EXIT_FAILED;
	} else {
		/* A script must not take "nothing could be told" for "nothing is worse". */
		status = comparison->judged == 0 ? EXIT_FAILED : EXIT_SUCCESS;
		if (comparison->worse > 0)
			status = EXIT_WORSE;
	}
	free(comparison);
	return status;
}

static int compare(const struct bench_options *options)
{
	struct result_file *files = calloc(2, sizeof(*files));
	int status = EXIT_FAILED;

	if (!files)
		return EXIT_FAILED;
	if (!load(&files[0], options->files[0]) && !load(&files[1], options->files[1]))
		status = report_comparison(options, files);
	result_file_release(&files[0]);
	result_file_release(&files[1]);
	free(files);
	return status;
}

/* ---- Which of them ---- */

static int print_text(void (*how)(FILE *to))
{
	how(stdout);
	if (fflush(stdout) == 0 && !ferror(stdout))
		return EXIT_SUCCESS;
	say("standard output", -errno);
	return EXIT_FAILED;
}

static int carry_out(const struct bench_options *options)
{
	if (options->help)
		return print_text(bench_options_help);
	if (options->compare)
		return compare(options);
	if (bench_options_list_profiles(options))
		return print_text(bench_profiles_print);
	return run_and_report(options);
}

int bench_main(int argc, char **argv)
{
	static char compare_option[] = "--compare";
	struct bench_options options;
	char error[512];
	int status;

	/* `ringsan bench compare OLD NEW` reads better. */
	if (argc > 1 && strcmp(argv[1], "compare") == 0)
		argv[1] = compare_option;
	if (bench_options_parse(&options, argc, argv, error, sizeof(error))) {
		(void)fprintf(stderr,
			      "ringsan bench: %s\n"
			      "Try 'ringsan bench --help'.\n",
			      error);
		return EXIT_USAGE;
	}
	status = carry_out(&options);
	explicit_bzero(options.url.secret, sizeof(options.url.secret));
	return status;
}
