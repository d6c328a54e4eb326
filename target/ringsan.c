/*
 * The command line tool: finds the subcommand and hands over. Subcommands that do their own work
 * stand in a table here; those that ask a running daemon in target/cli's. One thread. Read next:
 * target/bench/bench.h, target/image/verb.h, target/cli/cli.h, ringsan.1.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/attr.h"
#include "base/version.h"
#include "target/bench/bench.h"
#include "target/cli/cli.h"
#include "target/image/verb.h"

struct subcommand {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
};

static const struct subcommand subcommands[] = {
	{"image", image_main, "make, examine and change images"},
	{"bench", bench_main, "measure a running iSCSI target"},
};

static void print_help(FILE *to)
{
	(void)fputs("usage: ringsan COMMAND [options]\n"
		    "       ringsan --help | --version\n\n"
		    "commands that ask or change a running ringsand:\n",
		    to);
	cli_help_all(to);
	(void)fputs("\nother commands:\n", to);
	for (size_t i = 0; i < ARRAY_SIZE(subcommands); i++)
		(void)fprintf(to, "  %-19s %s\n", subcommands[i].name, subcommands[i].help);
	(void)fputs("\n'ringsan COMMAND --help' lists the options of a command.\n", to);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		print_help(stderr);
		return CLI_EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		print_help(stdout);
		return EXIT_SUCCESS;
	}
	if (strcmp(argv[1], "--version") == 0) {
		(void)puts("ringsan " RINGSAN_VERSION);
		return EXIT_SUCCESS;
	}
	for (size_t i = 0; i < ARRAY_SIZE(subcommands); i++) {
		if (strcmp(argv[1], subcommands[i].name) == 0)
			return subcommands[i].run(argc - 1, argv + 1);
	}
	return cli_main(argc - 1, argv + 1);
}
