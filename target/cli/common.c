/*
 * Options of all verbs. See common.h.
 */
#include "target/cli/common.h"

#include <errno.h>
#include <stdint.h>

#include "base/units.h"
#include "conf/model.h"

#define TIMEOUT_S 10u
#define TIMEOUT_MAX_S 86400u

enum {
	OPTION_SOCKET = 256,
	OPTION_TIMEOUT,
	OPTION_JSON,
};

const struct option common_options[COMMON_OPTIONS] = {
	{"json", no_argument, NULL, OPTION_JSON},
	{"socket", required_argument, NULL, OPTION_SOCKET},
	{"timeout", required_argument, NULL, OPTION_TIMEOUT},
	{"help", no_argument, NULL, 'h'},
};

const struct common_values common_defaults = {
	.socket = CONF_CONTROL_SOCKET,
	.timeout_s = TIMEOUT_S,
};

static int take_timeout(struct common_values *out, char why[COMMON_WHY_BYTES])
{
	uint64_t seconds = 0;

	if (units_parse_number(optarg, &seconds) != 0 || seconds == 0 || seconds > TIMEOUT_MAX_S) {
		(void)snprintf(why, COMMON_WHY_BYTES,
			       "--timeout: '%s' is not between 1 and %u seconds", optarg,
			       TIMEOUT_MAX_S);
		return -EINVAL;
	}
	out->timeout_s = (unsigned)seconds;
	return 0;
}

static int refuse(char **argv, char why[COMMON_WHY_BYTES])
{
	/* A letter, of which there may be several in one word; else optind is behind it. */
	if (optopt > 0 && optopt < OPTION_SOCKET)
		(void)snprintf(why, COMMON_WHY_BYTES,
			       "-%c: no such option; put -- before names that begin with -",
			       optopt);
	else
		(void)snprintf(why, COMMON_WHY_BYTES, "%s: no such option, or its value is missing",
			       argv[optind - 1]);
	return -EINVAL;
}

static int take(struct common_values *out, int option, char **argv, char why[COMMON_WHY_BYTES])
{
	int res = 0;

	if (option == OPTION_SOCKET)
		out->socket = optarg;
	else if (option == OPTION_TIMEOUT)
		res = take_timeout(out, why);
	else if (option == OPTION_JSON)
		out->json = true;
	else if (option == 'h')
		out->help = true;
	else
		res = refuse(argv, why);
	return res;
}

int common_read(struct common_values *out, int argc, char **argv, const struct option *options,
		common_own_fn *own, void *arg, char why[COMMON_WHY_BYTES])
{
	int option;
	int res = 0;

	opterr = 0;
	optind = 0;
	/* One thread. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while (res == 0 && (option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (option >= COMMON_OWN)
			own(arg, option - COMMON_OWN, optarg);
		else
			res = take(out, option, argv, why);
	}
	return res;
}

void common_help(FILE *to, int width)
{
	(void)fprintf(to,
		      "  %-*s print the answer as JSON, with sizes in bytes\n"
		      "  %-*s the daemon's control socket (%s)\n"
		      "  %-*s how long to wait for an answer of the daemon (%u)\n"
		      "  %-*s print this\n",
		      width, "--json", width, "--socket PATH", CONF_CONTROL_SOCKET, width,
		      "--timeout SECONDS", TIMEOUT_S, width, "--help");
}
