/*
 * The verbs of `ringsan` that speak with a running daemon; see cli.h.
 */
#include "target/cli/cli.h"

#include <string.h>

#include "target/cli/client.h"
#include "target/cli/columns.h"

static void print_json(const json_t *what)
{
	(void)json_dumpf(what, stdout, JSON_INDENT(2));
	(void)fputc('\n', stdout);
}

static void print_error(const json_t *error)
{
	char message[COLUMN_CELL_BYTES];
	char remedy[COLUMN_CELL_BYTES];

	column_text(COLUMN_TEXT, json_object_get(error, "message"), message);
	column_text(COLUMN_TEXT, json_object_get(error, "remedy"), remedy);
	(void)fprintf(stderr, "ringsan: %s\n%s\n", message, remedy);
}

/* With --json an error goes to standard output, too: whoever asked for JSON gets it. */
static int show(const struct cli_order *order, json_t *answer)
{
	json_t *error = json_object_get(answer, "error");

	if (error != NULL && order->common.json) {
		json_t *only = json_pack("{s:O}", "error", error);

		print_json(only);
		json_decref(only);
	} else if (error != NULL) {
		print_error(error);
	} else if (order->common.json) {
		print_json(json_object_get(answer, "result"));
	} else {
		order->verb->show(stdout, json_object_get(answer, "result"));
	}
	return error != NULL ? CLI_EXIT_REFUSED : CLI_EXIT_OK;
}

static int run(const struct cli_order *order)
{
	const struct client_question question = {
		.socket = order->common.socket,
		.timeout_s = order->common.timeout_s,
		.request = order->verb->request,
		.parameters = order->parameters,
	};
	char error[CLIENT_ERROR_BYTES];
	json_t *answer;
	int status;

	if (client_ask(&question, &answer, error) != 0) {
		(void)fprintf(stderr, "ringsan: %s\n", error);
		return CLI_EXIT_NO_DAEMON;
	}
	status = show(order, answer);
	json_decref(answer);
	/* A full disk must not pass for an answer, though what met it was flushed long before. */
	if (fflush(stdout) == 0 && ferror(stdout) == 0)
		return status;
	(void)fputs("ringsan: the answer cannot be written; is the disk full?\n", stderr);
	return CLI_EXIT_REFUSED;
}

int cli_main(int argc, char **argv)
{
	char error[CLI_ERROR_BYTES];
	struct cli_order order;
	int status = CLI_EXIT_OK;

	if (cli_parse(&order, argc, argv, error) != 0) {
		(void)fprintf(stderr, "ringsan: %s\n", error);
		status = CLI_EXIT_USAGE;
	} else if (order.common.help) {
		cli_help_verb(stdout, order.verb);
	} else {
		status = run(&order);
	}
	cli_order_clear(&order);
	return status;
}
