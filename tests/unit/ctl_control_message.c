/*
 * Lines of the control socket as requests: each way to be none, values, and what the protocol's
 * page says of the real table.
 */
#include "target/ctl/control_message.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "target/ctl/requests.h"

static void do_nothing(struct control_request *request)
{
	(void)request;
}

static const struct control_parameter echo_parameters[] = {
	{.name = "text", .type = CONTROL_TEXT, .min = 1, .max = 8},
	{.name = "count", .type = CONTROL_NUMBER, .min = 2, .max = 9, .optional = true},
	{.name = "loud", .type = CONTROL_FLAG, .optional = true},
	{.name = "list", .type = CONTROL_TEXTS, .min = 1, .max = 2, .optional = true},
};

static const struct control_row rows[] = {
	{.name = "echo",
	 .parameters = echo_parameters,
	 .parameter_count = 4,
	 .handler = do_nothing},
	{.name = "hold", .handler = do_nothing},
};

static const struct control_table table = {rows, ARRAY_SIZE(rows)};

struct bad_request {
	const char *line;
	enum control_error_code code;
	const char *part; /* Of the message. */
};

static const struct bad_request bad_requests[] = {
	{"", CONTROL_BAD_REQUEST, "not a JSON object"},
	{"  ", CONTROL_BAD_REQUEST, "not a JSON object"},
	{"[]", CONTROL_BAD_REQUEST, "not a JSON object"},
	{"{} {}", CONTROL_BAD_REQUEST, "end of file expected"},
	{"{\"request\":\"\\u0000\"}", CONTROL_BAD_REQUEST, "not a JSON object"},
	{"{\"request\":\"\xff\"}", CONTROL_BAD_REQUEST, "not a JSON object"},
	{"{\"request\":\"hold\",\"request\":\"hold\"}", CONTROL_BAD_REQUEST, "duplicate"},
	{"{}", CONTROL_BAD_REQUEST, "no text named 'request'"},
	{"{\"request\":1}", CONTROL_BAD_REQUEST, "no text named 'request'"},
	{"{\"request\":\"nope\"}", CONTROL_UNKNOWN_REQUEST, "'nope'"},
	{"{\"request\":\"hold\",\"more\":1}", CONTROL_BAD_REQUEST, "no member 'more'"},
	{"{\"request\":\"hold\",\"id\":[]}", CONTROL_BAD_REQUEST, "'id'"},
	{"{\"request\":\"hold\",\"id\":1.5}", CONTROL_BAD_REQUEST, "'id'"},
	{"{\"request\":\"hold\",\"parameters\":[]}", CONTROL_BAD_REQUEST, "'parameters'"},
	{"{\"request\":\"hold\",\"parameters\":{\"a\":1}}", CONTROL_BAD_REQUEST,
	 "no parameter 'a'"},
	{"{\"request\":\"echo\"}", CONTROL_BAD_REQUEST, "'text' is missing"},
	{"{\"request\":\"echo\",\"parameters\":{\"text\":\"\"}}", CONTROL_BAD_REQUEST, "'text'"},
	{"{\"request\":\"echo\",\"parameters\":{\"text\":\"123456789\"}}", CONTROL_BAD_REQUEST,
	 "'text'"},
	{"{\"request\":\"echo\",\"parameters\":{\"text\":null}}", CONTROL_BAD_REQUEST, "'text'"},
	{"{\"request\":\"echo\",\"parameters\":{\"text\":\"a\",\"count\":1}}", CONTROL_BAD_REQUEST,
	 "'count'"},
	{"{\"request\":\"echo\",\"parameters\":{\"text\":\"a\",\"count\":10}}", CONTROL_BAD_REQUEST,
	 "'count'"},
	{"{\"request\":\"echo\",\"parameters\":{\"text\":\"a\",\"count\":-2}}", CONTROL_BAD_REQUEST,
	 "'count'"},
	{"{\"request\":\"echo\",\"parameters\":{\"text\":\"a\",\"count\":\"2\"}}",
	 CONTROL_BAD_REQUEST, "'count'"},
	{"{\"request\":\"echo\",\"parameters\":{\"text\":\"a\",\"loud\":1}}", CONTROL_BAD_REQUEST,
	 "'loud'"},
	{"{\"request\":\"echo\",\"parameters\":{\"text\":\"a\",\"list\":\"b\"}}",
	 CONTROL_BAD_REQUEST, "'list'"},
	{"{\"request\":\"echo\",\"parameters\":{\"text\":\"a\",\"list\":[]}}", CONTROL_BAD_REQUEST,
	 "'list'"},
	{"{\"request\":\"echo\",\"parameters\":{\"text\":\"a\",\"list\":[\"b\",\"\"]}}",
	 CONTROL_BAD_REQUEST, "'list'"},
	{"{\"request\":\"echo\",\"parameters\":{\"text\":\"a\",\"list\":[\"b\",1]}}",
	 CONTROL_BAD_REQUEST, "'list'"},
	{"{\"request\":\"echo\",\"parameters\":{\"text\":\"a\",\"list\":[\"b\",\"c\",\"d\"]}}",
	 CONTROL_BAD_REQUEST, "'list'"},
};

Test(ctl_control_message, requests_that_are_refused)
{
	for (size_t i = 0; i < ARRAY_SIZE(bad_requests); i++) {
		const struct bad_request *bad = &bad_requests[i];
		struct control_error error;
		struct control_call call;

		cr_expect_not(control_parse(&table, bad->line, strlen(bad->line), &call, &error),
			      "%s", bad->line);
		cr_expect_eq(error.code, bad->code, "%s", bad->line);
		cr_expect_not_null(strstr(error.message, bad->part), "%s: %s", bad->line,
				   error.message);
		cr_expect_str_neq(error.remedy, "");
		control_call_clear(&call);
	}
}

Test(ctl_control_message, values_reach_the_handler)
{
	static const char line[] = "{\"request\":\"echo\",\"parameters\":{\"loud\":true,"
				   "\"text\":\"12345678\",\"count\":9,\"list\":[\"b\",\"c\"]}}";
	struct control_error error;
	struct control_call call;

	cr_assert(control_parse(&table, line, sizeof(line) - 1, &call, &error));
	cr_expect_str_eq(call.values[0].text, "12345678");
	cr_expect_eq(call.values[1].number, 9);
	cr_expect_eq(call.values[2].number, 1);
	cr_expect_eq(call.values[3].number, 2);
	cr_expect_str_eq(control_text_at(&call.values[3], 1), "c");
	control_call_clear(&call);
}

/* CONTROL.md has a line for each request, with its parameters. */
Test(ctl_control_message, the_table_is_documented)
{
	static char text[16384];
	FILE *file = fopen("target/ctl/CONTROL.md", "r");

	cr_assert_not_null(file, "run this from the root of the tree");
	(void)fread(text, 1, sizeof(text) - 1, file);
	(void)fclose(file);
	for (size_t i = 0; i < control_requests.count; i++) {
		const struct control_row *row = &control_requests.rows[i];
		char line[256];
		size_t used = (size_t)snprintf(line, sizeof(line), "\n| `%s` |", row->name);

		for (size_t j = 0; j < row->parameter_count; j++) {
			const struct control_parameter *parameter = &row->parameters[j];

			used += (size_t)snprintf(line + used, sizeof(line) - used, " `%s`%s",
						 parameter->name, parameter->optional ? "?" : "");
		}
		(void)snprintf(line + used, sizeof(line) - used, " | ");
		cr_expect_not_null(strstr(text, line), "no line like %s", line + 1);
		cr_expect_leq(row->parameter_count, CONTROL_PARAMETERS_MAX);
	}
}

Test(ctl_control_message, names_of_any_bytes_can_be_answered)
{
	json_t *text = control_json_text("a\xff\xc3z");

	cr_expect_str_eq(json_string_value(text), "a??z");
	json_decref(text);
	text = control_json_text(NULL);
	cr_expect(json_is_null(text));
	json_decref(text);
}
