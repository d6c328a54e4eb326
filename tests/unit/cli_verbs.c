/*
 * Command lines of verbs, what the manual says of them, and columns with units.
 */
#include "target/cli/cli.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "target/cli/columns.h"

#define WORDS_MAX 12

/* Parse a line of words; "" in `error` if it is good. The parameters as JSON in `json`. */
static struct cli_order parse(const char *line, char json[256], char error[CLI_ERROR_BYTES])
{
	static char text[256];
	char *argv[WORDS_MAX] = {NULL};
	struct cli_order order;
	char *dumped;
	int argc = 0;

	(void)snprintf(text, sizeof(text), "%s", line);
	/* One thread. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	for (char *word = strtok(text, " "); word != NULL; word = strtok(NULL, " "))
		argv[argc++] = word;
	error[0] = '\0';
	cr_expect_eq(cli_parse(&order, argc, argv, error) != 0, error[0] != '\0', "%s", line);
	dumped = json_dumps(order.parameters, JSON_COMPACT | JSON_SORT_KEYS);
	(void)snprintf(json, 256, "%s", dumped);
	free(dumped);
	return order;
}

static const struct {
	const char *line, *request, *json;
} good[] = {
	{"status", "status", "{}"},
	{"sessions iqn.a:b", "sessions", "{\"target\":\"iqn.a:b\"}"},
	{"luns --quick", "luns", "{\"quick\":true}"},
	{"luns a --json --quick", "luns", "{\"quick\":true,\"target\":\"a\"}"},
	{"reload --dry-run", "reload", "{\"dry-run\":true}"},
	{"alua set a 7 standby", "alua-set",
	 "{\"group\":7,\"state\":\"standby\",\"target\":\"a\"}"},
	{"alua set --not-preferred a 7 standby", "alua-set",
	 "{\"group\":7,\"preferred\":false,\"state\":\"standby\",\"target\":\"a\"}"},
	{"alua set a 7 standby --preferred", "alua-set",
	 "{\"group\":7,\"preferred\":true,\"state\":\"standby\",\"target\":\"a\"}"},
	{"alua --json show", NULL, NULL},
	{"reservations clear --socket /x a 0", "reservations-clear",
	 "{\"lun\":0,\"target\":\"a\"}"},
	{"reservations show a -- 3", "reservations-show", "{\"lun\":3,\"target\":\"a\"}"},
};

Test(cli_verbs, command_lines)
{
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		char error[CLI_ERROR_BYTES];
		char json[256];
		struct cli_order order = parse(good[i].line, json, error);

		if (good[i].request != NULL) {
			cr_expect_str_eq(error, "", "%s: %s", good[i].line, error);
			cr_expect_str_eq(order.verb->request, good[i].request);
			cr_expect_str_eq(json, good[i].json, "%s: %s", good[i].line, json);
		} else {
			cr_expect_str_neq(error, "", "%s", good[i].line);
		}
		cli_order_clear(&order);
	}
}

Test(cli_verbs, options_of_all)
{
	char error[CLI_ERROR_BYTES];
	char json[256];
	struct cli_order order = parse("status", json, error);

	cr_expect_str_eq(order.common.socket, "/run/ringsan/ringsand.sock");
	cr_expect_eq(order.common.timeout_s, 10);
	cr_expect_not(order.common.json);
	cli_order_clear(&order);
	order = parse("status --json --timeout=86400 --socket=/a/b", json, error);
	cr_expect_str_eq(order.common.socket, "/a/b");
	cr_expect_eq(order.common.timeout_s, 86400);
	cr_expect(order.common.json);
	cli_order_clear(&order);
	/* Help wants no arguments. */
	order = parse("alua set --help", json, error);
	cr_expect(order.common.help);
	cli_order_clear(&order);
}

static const struct {
	const char *line, *part;
} bad[] = {
	{"stat", "unknown command 'stat'"},
	{"alua", "ringsan alua: what of it? show or set"},
	{"reservations kill a 0", "what of it? show or clear"},
	{"status more", "'more' is one argument too many"},
	{"alua set a", "tag of the portal group is missing"},
	{"alua set a b standby", "'b' is no number"},
	{"reservations show a 1x", "'1x' is no number"},
	{"reservations show a 99999999999999999999", "is no number"},
	{"reservations show a -- -1", "'-1' is no number"},
	{"luns --loud", "--loud: no such option"},
	{"sessions --quick", "--quick: no such option"},
	{"luns --socket", "--socket: no such option, or its value is missing"},
	{"luns --timeout 0", "--timeout: '0'"},
	{"luns --timeout 86401", "--timeout: '86401'"},
	{"luns --timeout 5s", "--timeout: '5s'"},
	{"luns \xff", "no text in UTF-8"},
};

Test(cli_verbs, command_lines_that_are_refused)
{
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char error[CLI_ERROR_BYTES];
		char json[256];
		struct cli_order order = parse(bad[i].line, json, error);

		cr_expect_not_null(strstr(error, bad[i].part), "%s: %s", bad[i].line, error);
		cli_order_clear(&order);
	}
}

/* The manual has an item for each verb, with its arguments and flags. */
Test(cli_verbs, the_manual_lists_them)
{
	static char manual[65536];
	FILE *file = fopen("target/ringsan.1", "r");

	cr_assert_not_null(file, "run this from the root of the tree");
	(void)fread(manual, 1, sizeof(manual) - 1, file);
	(void)fclose(file);
	for (size_t i = 0; i < cli_verb_count; i++) {
		const struct cli_verb *verb = &cli_verbs[i];
		char item[256];
		char *at;
		char *end;

		(void)snprintf(item, sizeof(item), "\n.It Cm %s%s%s", verb->words[0],
			       verb->words[1] != NULL ? " " : "",
			       verb->words[1] != NULL ? verb->words[1] : "");
		at = strstr(manual, item);
		cr_assert_not_null(at, "ringsan.1 has no%s", item);
		end = strchr(at + 1, '\n');
		for (unsigned j = 0; j < CLI_ARGUMENTS_MAX && verb->arguments[j].name; j++) {
			char *found = strstr(at, verb->arguments[j].name);

			cr_expect(found != NULL && found < end, "%s lacks %s", item + 1,
				  verb->arguments[j].name);
		}
	}
}

static const struct {
	enum column_kind kind;
	const char *json, *text;
} cells[] = {
	{COLUMN_TEXT, "\"abc\"", "abc"},
	{COLUMN_TEXT, "\"a\\u001b[2Jz\\u007f\"", "a?[2Jz?"},
	/* CSI as one character, which terminals obey, too; and one that is none of those. */
	{COLUMN_TEXT, "\"a\\u009b2J\\u00fc\"", "a??2J\u00fc"},
	{COLUMN_TEXT, "null", "-"},
	{COLUMN_TEXT, "1", "-"},
	{COLUMN_NUMBER, "0", "0"},
	{COLUMN_NUMBER, "1.005", "1.00"},
	{COLUMN_NUMBER, "\"1\"", "-"},
	{COLUMN_BYTES, "0", "0 B"},
	{COLUMN_BYTES, "1023", "1023 B"},
	{COLUMN_BYTES, "1024", "1.0 KiB"},
	{COLUMN_BYTES, "1048575", "1.0 MiB"},
	{COLUMN_BYTES, "10737418240", "10.0 GiB"},
	{COLUMN_BYTES, "9007199254740992", "8.0 PiB"},
	{COLUMN_BYTES, "null", "-"},
	{COLUMN_SECONDS, "59", "59s"},
	{COLUMN_SECONDS, "60", "1m 0s"},
	{COLUMN_SECONDS, "3661", "1h 1m"},
	{COLUMN_SECONDS, "100000", "1d 3h"},
	{COLUMN_YES_NO, "true", "yes"},
	{COLUMN_YES_NO, "false", "no"},
	{COLUMN_YES_NO, "null", "-"},
};

Test(cli_verbs, values_and_units)
{
	for (size_t i = 0; i < ARRAY_SIZE(cells); i++) {
		json_t *value = json_loads(cells[i].json, JSON_DECODE_ANY, NULL);
		char text[COLUMN_CELL_BYTES];

		column_text(cells[i].kind, value, text);
		cr_expect_str_eq(text, cells[i].text, "%s: %s", cells[i].json, text);
		json_decref(value);
	}
}

Test(cli_verbs, columns_are_aligned)
{
	static const struct column columns[] = {{"NAME", "name", COLUMN_TEXT},
						{"SIZE", "size", COLUMN_BYTES},
						{"STATE", "state", COLUMN_TEXT}};
	json_t *list = json_pack("[{s:s, s:i, s:s}, {s:s, s:i}]", "name", "a", "size", 512, "state",
				 "good", "name", "longer", "size", 10240);
	char *text = NULL;
	size_t size = 0;
	FILE *to = open_memstream(&text, &size);

	cr_assert_not_null(to);
	columns_print(to, list, columns, ARRAY_SIZE(columns), "none");
	json_decref(list);
	list = json_array();
	columns_print(to, list, columns, ARRAY_SIZE(columns), "none");
	json_decref(list);
	(void)fclose(to);
	cr_expect_str_eq(text,
			 "NAME        SIZE  STATE\n"
			 "a          512 B  good\n"
			 "longer  10.0 KiB  -\n"
			 "none\n",
			 "%s", text);
	free(text);
}
