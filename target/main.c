/*
 * ringsand: reads the command line and the configuration, and hands over to the daemon. What it
 * does then is ctl/daemon.c.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/version.h"
#include "conf/parse.h"
#include "target/ctl/daemon.h"

struct arguments {
	const char *file;
	bool test;
	bool debug;
	bool leave; /* Everything was said already; `status` is the end. */
	enum daemon_exit status;
};

static const char usage[] =
	"usage: ringsand [-c FILE] [-t] [-d] [-f]\n"
	"  -c, --config FILE   the configuration (/etc/ringsan/ringsan.conf)\n"
	"  -t, --test          check the configuration, say all that is wrong, and exit\n"
	"  -d, --debug         log all there is\n"
	"  -f, --foreground    stay in the foreground, as ringsand always does\n"
	"      --version       print the version\n"
	"  -h, --help          print this\n"
	"See ringsand(8) and ringsan.conf(5).\n";

enum {
	OPTION_VERSION = 256
};

static const struct option options[] = {
	{"config", required_argument, NULL, 'c'},
	{"test", no_argument, NULL, 't'},
	{"debug", no_argument, NULL, 'd'},
	{"foreground", no_argument, NULL, 'f'},
	{"version", no_argument, NULL, OPTION_VERSION},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

static void say_and_leave(struct arguments *arguments, FILE *to, const char *text,
			  enum daemon_exit status)
{
	(void)fputs(text, to);
	arguments->leave = true;
	arguments->status = status;
}

static void take_option(struct arguments *arguments, int option)
{
	if (option == 'c') {
		arguments->file = optarg;
	} else if (option == 't') {
		arguments->test = true;
	} else if (option == 'd') {
		arguments->debug = true;
	} else if (option == 'h') {
		say_and_leave(arguments, stdout, usage, DAEMON_EXIT_OK);
	} else if (option == OPTION_VERSION) {
		say_and_leave(arguments, stdout, "ringsand " RINGSAN_VERSION "\n", DAEMON_EXIT_OK);
	} else if (option != 'f') {
		say_and_leave(arguments, stderr, usage, DAEMON_EXIT_USAGE);
	}
}

static struct arguments parse_arguments(int argc, char **argv)
{
	struct arguments arguments = {.file = "/etc/ringsan/ringsan.conf"};
	int option;

	while (!arguments.leave) {
		/* Only one thread exists yet. NOLINTNEXTLINE(concurrency-mt-unsafe) */
		option = getopt_long(argc, argv, "c:tdfh", options, NULL);
		if (option == -1)
			break;
		take_option(&arguments, option);
	}
	if (!arguments.leave && optind < argc)
		say_and_leave(&arguments, stderr, usage, DAEMON_EXIT_USAGE);
	return arguments;
}

/* To standard error as they are: each begins with the file's name and a line number. */
static void print_errors(const struct conf_errors *errors)
{
	for (size_t i = 0; i < errors->count; i++)
		(void)fprintf(stderr, "%s\n", errors->items[i].text);
	if (errors->dropped > 0)
		(void)fprintf(stderr, "and %zu errors more\n", errors->dropped);
}

static enum daemon_exit test(const struct conf *conf, struct conf_errors *errors)
{
	char memory[SIZING_TEXT_BYTES];
	struct sizing sizing;

	if (!daemon_check(conf, &sizing, errors))
		return DAEMON_EXIT_REFUSED;
	sizing_memory_text(conf, &sizing, memory);
	(void)printf("%s: the configuration is good\n", conf->file);
	(void)printf("memory: %s\nopen files: at most %" PRIu64 "\n", memory, sizing.descriptors);
	return DAEMON_EXIT_OK;
}

/* What went wrong beside the configuration's own errors, which are in `errors`. */
static enum daemon_exit refuse(const char *file, int res)
{
	if (res != -EINVAL)
		log_error("ctl", "cannot read %s: %s", file, strerrordesc_np(-res));
	return DAEMON_EXIT_REFUSED;
}

static enum daemon_exit load_and_run(const struct arguments *arguments, struct conf_errors *errors)
{
	enum daemon_exit status;
	struct conf *conf;
	int res = conf_load(arguments->file, &conf, errors);

	if (res != 0)
		return refuse(arguments->file, res);
	log_set_level(arguments->debug ? LOG_LEVEL_DEBUG : conf->log_level);
	status = arguments->test ? test(conf, errors) : daemon_run(&conf, errors);
	conf_free(conf);
	return status;
}

static enum daemon_exit run_and_report(const struct arguments *arguments)
{
	struct conf_errors *errors = calloc(1, sizeof(*errors));
	enum daemon_exit status;

	if (!errors)
		return DAEMON_EXIT_REFUSED;
	status = load_and_run(arguments, errors);
	print_errors(errors);
	free(errors);
	return status;
}

int main(int argc, char **argv)
{
	struct arguments arguments = parse_arguments(argc, argv);

	return (int)(arguments.leave ? arguments.status : run_and_report(&arguments));
}
