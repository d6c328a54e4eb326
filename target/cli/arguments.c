/*
 * The command line of a verb: words, options of all verbs, its own flags and positional arguments,
 * and help about them. Main thread only (getopt).
 */
#include "target/cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conf/model.h"

/* For an answer; long work tells of its progress, each of which starts it anew. */
#define TIMEOUT_S 10u
#define TIMEOUT_MAX_S 86400u

enum {
	OPTION_SOCKET = 256,
	OPTION_TIMEOUT,
	OPTION_JSON,
	OPTION_FLAG, /* And the argument's place. */
};

static const struct option common_options[] = {
	{"socket", required_argument, NULL, OPTION_SOCKET},
	{"timeout", required_argument, NULL, OPTION_TIMEOUT},
	{"json", no_argument, NULL, OPTION_JSON},
	{"help", no_argument, NULL, 'h'},
};

#define COMMON ARRAY_SIZE(common_options)

static int PRINTF_LIKE(2, 3) complain(char error[CLI_ERROR_BYTES], const char *format, ...)
{
	va_list args;

	va_start(args, format);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
	(void)vsnprintf(error, CLI_ERROR_BYTES, format, args);
	va_end(args);
	return -EINVAL;
}

/* -- Words -- */

static unsigned word_count(const struct cli_verb *verb)
{
	return verb->words[1] != NULL ? 2 : 1;
}

static bool is_verb(const struct cli_verb *verb, int argc, char **argv)
{
	return strcmp(verb->words[0], argv[0]) == 0 &&
	       (verb->words[1] == NULL || (argc > 1 && strcmp(verb->words[1], argv[1]) == 0));
}

/* "set or show": second words of a first one; "" if there is no such first word. */
static void second_words(const char *first, char *out, size_t size)
{
	out[0] = '\0';
	for (size_t i = 0; i < cli_verb_count; i++) {
		size_t used = strlen(out);

		if (strcmp(cli_verbs[i].words[0], first) == 0 && cli_verbs[i].words[1] != NULL)
			(void)snprintf(out + used, size - used, "%s%s", used > 0 ? " or " : "",
				       cli_verbs[i].words[1]);
	}
}

static int find_verb(struct cli_order *out, int argc, char **argv, char error[CLI_ERROR_BYTES])
{
	char seconds[128];

	for (size_t i = 0; i < cli_verb_count; i++) {
		if (is_verb(&cli_verbs[i], argc, argv)) {
			out->verb = &cli_verbs[i];
			return 0;
		}
	}
	second_words(argv[0], seconds, sizeof(seconds));
	if (seconds[0] == '\0')
		return complain(error, "unknown command '%s'; 'ringsan --help' lists them",
				argv[0]);
	return complain(error, "ringsan %s: what of it? %s", argv[0], seconds);
}

/* -- Values -- */

static int take_number(json_t *to, const struct cli_argument *argument, const char *text,
		       char error[CLI_ERROR_BYTES])
{
	char *end;
	unsigned long long number;

	errno = 0;
	number = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number > INT64_MAX)
		return complain(error, "'%s' is no number; give the %s", text, argument->help);
	(void)json_object_set_new(to, argument->name, json_integer((json_int_t)number));
	return 0;
}

static int take_positional(json_t *to, const struct cli_argument *argument, const char *text,
			   char error[CLI_ERROR_BYTES])
{
	if (argument->kind == CLI_NUMBER)
		return take_number(to, argument, text, error);
	if (json_object_set_new(to, argument->name, json_string(text)) == 0)
		return 0;
	return complain(error, "'%s' is no text in UTF-8; give the %s", text, argument->help);
}

static int take_timeout(struct cli_order *out, char error[CLI_ERROR_BYTES])
{
	char *end;
	unsigned long seconds = strtoul(optarg, &end, 10);

	if (optarg[0] < '0' || optarg[0] > '9' || *end != '\0' || seconds == 0 ||
	    seconds > TIMEOUT_MAX_S)
		return complain(error, "--timeout: '%s' is not between 1 and %u seconds", optarg,
				TIMEOUT_MAX_S);
	out->timeout_s = (unsigned)seconds;
	return 0;
}

static void set_flag(json_t *to, const struct cli_argument *argument)
{
	bool on = argument->kind == CLI_FLAG;

	(void)json_object_set_new(to, on ? argument->name : argument->name + strlen("not-"),
				  json_boolean(on));
}

static int take_option(struct cli_order *out, int option, char **argv, char error[CLI_ERROR_BYTES])
{
	int res = 0;

	if (option == OPTION_SOCKET) {
		out->socket = optarg;
	} else if (option == OPTION_TIMEOUT) {
		res = take_timeout(out, error);
	} else if (option == OPTION_JSON) {
		out->json = true;
	} else if (option == 'h') {
		out->help = true;
	} else if (option >= OPTION_FLAG) {
		set_flag(out->parameters, &out->verb->arguments[option - OPTION_FLAG]);
	} else {
		res = complain(error,
			       "%s: no such option, or its value is missing; --help lists "
			       "them",
			       argv[optind - 1]);
	}
	return res;
}

/* -- All of it -- */

static void make_options(const struct cli_verb *verb,
			 struct option options[COMMON + CLI_ARGUMENTS_MAX + 1])
{
	size_t count = COMMON;

	memcpy(options, common_options, sizeof(common_options));
	for (unsigned i = 0; i < CLI_ARGUMENTS_MAX; i++) {
		if (verb->arguments[i].name != NULL && cli_is_flag(verb->arguments[i].kind))
			options[count++] = (struct option){verb->arguments[i].name, no_argument,
							   NULL, OPTION_FLAG + (int)i};
	}
	options[count] = (struct option){NULL, 0, NULL, 0};
}

static int take_options(struct cli_order *out, int argc, char **argv, char error[CLI_ERROR_BYTES])
{
	struct option options[COMMON + CLI_ARGUMENTS_MAX + 1];
	int option;
	int res = 0;

	make_options(out->verb, options);
	opterr = 0;
	optind = 0;
	/* One thread. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while (res == 0 && (option = getopt_long(argc, argv, "h", options, NULL)) != -1)
		res = take_option(out, option, argv, error);
	return res;
}

static int take_positionals(struct cli_order *out, int argc, char **argv,
			    char error[CLI_ERROR_BYTES])
{
	int res = 0;

	for (unsigned i = 0; res == 0 && i < CLI_ARGUMENTS_MAX; i++) {
		const struct cli_argument *argument = &out->verb->arguments[i];

		if (argument->name == NULL || cli_is_flag(argument->kind))
			continue;
		if (optind < argc) {
			res = take_positional(out->parameters, argument, argv[optind++], error);
		} else if (!argument->optional) {
			res = complain(error, "the %s is missing; --help shows how it is used",
				       argument->help);
		}
	}
	if (res == 0 && optind < argc)
		res = complain(error, "'%s' is one argument too many; --help shows how it is used",
			       argv[optind]);
	return res;
}

int cli_parse(struct cli_order *out, int argc, char **argv, char error[CLI_ERROR_BYTES])
{
	int skip;
	int res;

	*out = (struct cli_order){
		.socket = CONF_CONTROL_SOCKET, .timeout_s = TIMEOUT_S, .parameters = json_object()};
	res = out->parameters != NULL ? find_verb(out, argc, argv, error)
				      : complain(error, "memory is short");
	if (res != 0)
		return res;
	/* The last word of the verb stands where getopt expects the program's name. */
	skip = (int)word_count(out->verb) - 1;
	res = take_options(out, argc - skip, argv + skip, error);
	if (res == 0 && !out->help)
		res = take_positionals(out, argc - skip, argv + skip, error);
	return res;
}

void cli_order_clear(struct cli_order *order)
{
	json_decref(order->parameters);
	order->parameters = NULL;
}

/* -- Help -- */

static void print_usage(FILE *to, const struct cli_verb *verb)
{
	(void)fprintf(to, "usage: ringsan %s%s%s [options]", verb->words[0],
		      verb->words[1] != NULL ? " " : "",
		      verb->words[1] != NULL ? verb->words[1] : "");
	for (unsigned i = 0; i < CLI_ARGUMENTS_MAX && verb->arguments[i].name != NULL; i++) {
		const struct cli_argument *argument = &verb->arguments[i];

		if (!cli_is_flag(argument->kind))
			(void)fprintf(to, argument->optional ? " [%s]" : " %s", argument->name);
	}
	(void)fprintf(to, "\n%s\n\n", verb->help);
}

void cli_help_verb(FILE *to, const struct cli_verb *verb)
{
	print_usage(to, verb);
	for (unsigned i = 0; i < CLI_ARGUMENTS_MAX && verb->arguments[i].name != NULL; i++) {
		const struct cli_argument *argument = &verb->arguments[i];

		(void)fprintf(to, "  %s%-*s %s\n", cli_is_flag(argument->kind) ? "--" : "",
			      cli_is_flag(argument->kind) ? 16 : 18, argument->name,
			      argument->help);
	}
	(void)fprintf(to,
		      "  --json             print the answer as JSON, with sizes in bytes\n"
		      "  --socket PATH      the daemon's control socket (%s)\n"
		      "  --timeout SECONDS  how long to wait for an answer (%u)\n"
		      "  --help             print this\n",
		      CONF_CONTROL_SOCKET, TIMEOUT_S);
}

void cli_help_all(FILE *to)
{
	for (size_t i = 0; i < cli_verb_count; i++) {
		char words[64];

		(void)snprintf(words, sizeof(words), "%s %s", cli_verbs[i].words[0],
			       cli_verbs[i].words[1] != NULL ? cli_verbs[i].words[1] : "");
		(void)fprintf(to, "  %-19s %s\n", words, cli_verbs[i].help);
	}
}
