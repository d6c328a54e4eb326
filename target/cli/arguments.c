/*
 * The command line of a verb: words, options of all verbs, its own flags and positional arguments,
 * and help about them. Main thread only (getopt).
 */
#include "target/cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

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

static void set_flag(json_t *to, const struct cli_argument *argument)
{
	bool on = argument->kind == CLI_FLAG;

	(void)json_object_set_new(to, on ? argument->name : argument->name + strlen("not-"),
				  json_boolean(on));
}

static void take_flag(void *arg, int option, const char *value UNUSED)
{
	struct cli_order *out = arg;

	set_flag(out->parameters, &out->verb->arguments[option]);
}

/* -- All of it -- */

static void make_options(const struct cli_verb *verb,
			 struct option options[COMMON_OPTIONS + CLI_ARGUMENTS_MAX + 1])
{
	size_t count = COMMON_OPTIONS;

	memcpy(options, common_options, sizeof(common_options));
	for (unsigned i = 0; i < CLI_ARGUMENTS_MAX; i++) {
		if (verb->arguments[i].name != NULL && cli_is_flag(verb->arguments[i].kind))
			options[count++] = (struct option){verb->arguments[i].name, no_argument,
							   NULL, COMMON_OWN + (int)i};
	}
	options[count] = (struct option){NULL, 0, NULL, 0};
}

static int take_options(struct cli_order *out, int argc, char **argv, char error[CLI_ERROR_BYTES])
{
	struct option options[COMMON_OPTIONS + CLI_ARGUMENTS_MAX + 1];
	char why[COMMON_WHY_BYTES];

	make_options(out->verb, options);
	if (common_read(&out->common, argc, argv, options, take_flag, out, why) == 0)
		return 0;
	return complain(error, "%s; --help shows how it is used", why);
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

	*out = (struct cli_order){.common = common_defaults, .parameters = json_object()};
	res = out->parameters != NULL ? find_verb(out, argc, argv, error)
				      : complain(error, "memory is short");
	if (res != 0)
		return res;
	/* The last word of the verb stands where getopt expects the program's name. */
	skip = (int)word_count(out->verb) - 1;
	res = take_options(out, argc - skip, argv + skip, error);
	if (res == 0 && !out->common.help)
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
	common_help(to, 18);
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
