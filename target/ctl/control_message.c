/*
 * Messages of the control socket; see control_message.h.
 *
 * A request is judged by its row before a handler sees it: what is missing, of another type, out of
 * range or not known at all is refused here, so handlers need no such checks.
 */
#include "target/ctl/control_message.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/version.h"

/* Of a name of somebody else in a message of ours. */
#define QUOTED_BYTES 64

static const char *const error_names[CONTROL_ERROR_COUNT] = {
	[CONTROL_BAD_REQUEST] = "bad-request",
	[CONTROL_UNKNOWN_REQUEST] = "unknown-request",
	[CONTROL_NOT_FOUND] = "not-found",
	[CONTROL_REFUSED] = "refused",
	[CONTROL_BUSY] = "busy",
	[CONTROL_FAILED] = "failed",
};

const char *control_error_name(enum control_error_code code)
{
	return error_names[code];
}

void control_error_set(struct control_error *error, enum control_error_code code,
		       const char *remedy, const char *format, ...)
{
	va_list args;

	error->code = code;
	(void)snprintf(error->remedy, sizeof(error->remedy), "%s", remedy);
	va_start(args, format);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
	(void)vsnprintf(error->message, sizeof(error->message), format, args);
	va_end(args);
}

/* -- Parameters -- */

typedef bool take_fn(const struct control_parameter *parameter, const json_t *from,
		     struct control_value *to);

static bool in_range(const struct control_parameter *parameter, uint64_t number)
{
	return number >= parameter->min && number <= parameter->max;
}

static bool take_text(const struct control_parameter *parameter, const json_t *from,
		      struct control_value *to)
{
	to->text = json_string_value(from);
	return to->text != NULL && in_range(parameter, json_string_length(from));
}

static bool take_number(const struct control_parameter *parameter, const json_t *from,
			struct control_value *to)
{
	if (!json_is_integer(from) || json_integer_value(from) < 0)
		return false;
	to->number = (uint64_t)json_integer_value(from);
	return in_range(parameter, to->number);
}

static bool take_flag(const struct control_parameter *parameter, const json_t *from,
		      struct control_value *to)
{
	(void)parameter;
	to->number = json_is_true(from);
	return json_is_boolean(from);
}

static bool take_texts(const struct control_parameter *parameter, const json_t *from,
		       struct control_value *to)
{
	const json_t *text;
	size_t at;

	to->texts = (json_t *)(uintptr_t)from;
	to->number = json_array_size(from);
	json_array_foreach(from, at, text)
	{
		size_t length = json_string_length(text);

		if (!json_is_string(text) || length == 0 || length > CONTROL_LISTED_MAX)
			return false;
	}
	return json_is_array(from) && in_range(parameter, to->number);
}

static take_fn *const takers[CONTROL_TYPE_COUNT] = {
	[CONTROL_TEXT] = take_text,
	[CONTROL_NUMBER] = take_number,
	[CONTROL_FLAG] = take_flag,
	[CONTROL_TEXTS] = take_texts,
};

static void refuse_value(const struct control_row *row, const struct control_parameter *parameter,
			 struct control_error *error)
{
	char remedy[CONTROL_TEXT_BYTES];

	if (parameter->type == CONTROL_FLAG) {
		(void)snprintf(remedy, sizeof(remedy), "Give true or false.");
	} else if (parameter->type == CONTROL_TEXTS) {
		(void)snprintf(remedy, sizeof(remedy),
			       "Give a list of %" PRIu64 " to %" PRIu64
			       " texts, each 1 to %u bytes long.",
			       parameter->min, parameter->max, CONTROL_LISTED_MAX);
	} else {
		(void)snprintf(
			remedy, sizeof(remedy), "Give a %s from %" PRIu64 " to %" PRIu64 "%s.",
			parameter->type == CONTROL_TEXT ? "text" : "number", parameter->min,
			parameter->max, parameter->type == CONTROL_TEXT ? " bytes long" : "");
	}
	control_error_set(error, CONTROL_BAD_REQUEST, remedy, "%s: the parameter '%s' is not right",
			  row->name, parameter->name);
}

static bool take_parameter(const struct control_row *row, size_t at, const json_t *from,
			   struct control_value *to, struct control_error *error)
{
	const struct control_parameter *parameter = &row->parameters[at];

	if (from == NULL && parameter->optional)
		return true;
	if (from == NULL) {
		control_error_set(error, CONTROL_BAD_REQUEST, "Give it.",
				  "%s: the parameter '%s' is missing", row->name, parameter->name);
		return false;
	}
	to->given = true;
	if (takers[parameter->type](parameter, from, to))
		return true;
	refuse_value(row, parameter, error);
	return false;
}

/* The first name in `given` that the row does not know, or NULL. */
static const char *unknown_name(const struct control_row *row, json_t *given)
{
	const char *name;
	json_t *value;

	json_object_foreach(given, name, value)
	{
		size_t i = 0;

		while (i < row->parameter_count && strcmp(row->parameters[i].name, name) != 0)
			i++;
		if (i == row->parameter_count)
			return name;
	}
	return NULL;
}

static bool take_parameters(struct control_call *call, json_t *given, struct control_error *error)
{
	const struct control_row *row = call->row;
	const char *unknown = unknown_name(row, given);
	bool ok = unknown == NULL;

	if (!ok) {
		control_error_set(error, CONTROL_BAD_REQUEST, "Leave it out.",
				  "%s: there is no parameter '%.*s'", row->name, QUOTED_BYTES,
				  unknown);
	}
	for (size_t i = 0; ok && i < row->parameter_count; i++) {
		ok = take_parameter(row, i, json_object_get(given, row->parameters[i].name),
				    &call->values[i], error);
	}
	return ok;
}

/* -- The request -- */

static const struct control_row *find_row(const struct control_table *table, const char *name)
{
	for (size_t i = 0; i < table->count; i++) {
		if (strcmp(table->rows[i].name, name) == 0)
			return &table->rows[i];
	}
	return NULL;
}

static bool find_request(const struct control_table *table, struct control_call *call,
			 struct control_error *error)
{
	const char *name = json_string_value(json_object_get(call->message, "request"));

	if (name == NULL) {
		control_error_set(
			error, CONTROL_BAD_REQUEST,
			"Send {\"request\": \"NAME\", \"parameters\": {...}, \"id\": ...} "
			"on one line.",
			"the message has no text named 'request'");
		return false;
	}
	call->row = find_row(table, name);
	if (call->row != NULL)
		return true;
	control_error_set(error, CONTROL_UNKNOWN_REQUEST,
			  "Use a ringsan and a ringsand of one version; the request 'help' lists "
			  "what there is.",
			  "there is no request '%.*s'", QUOTED_BYTES, name);
	return false;
}

/* An answer repeats it, so it is to be short and plain. */
static bool find_id(struct control_call *call, struct control_error *error)
{
	json_t *id = json_object_get(call->message, "id");

	if (id == NULL || json_is_integer(id) ||
	    (json_is_string(id) && json_string_length(id) <= QUOTED_BYTES)) {
		call->id = id;
		return true;
	}
	control_error_set(error, CONTROL_BAD_REQUEST, "Give a number or a short text as 'id'.",
			  "the 'id' is not right");
	return false;
}

static bool find_members(struct control_call *call, struct control_error *error)
{
	const char *name;
	json_t *value;

	json_object_foreach(call->message, name, value)
	{
		if (strcmp(name, "request") != 0 && strcmp(name, "id") != 0 &&
		    strcmp(name, "parameters") != 0) {
			control_error_set(error, CONTROL_BAD_REQUEST, "Leave it out.",
					  "there is no member '%.*s'", QUOTED_BYTES, name);
			return false;
		}
	}
	return true;
}

static bool judge(const struct control_table *table, struct control_call *call,
		  struct control_error *error)
{
	json_t *parameters = json_object_get(call->message, "parameters");

	if (!find_id(call, error) || !find_members(call, error) ||
	    !find_request(table, call, error))
		return false;
	if (parameters == NULL || json_is_object(parameters))
		return take_parameters(call, parameters, error);
	control_error_set(error, CONTROL_BAD_REQUEST, "Give an object of names and values.",
			  "'parameters' is not right");
	return false;
}

bool control_parse(const struct control_table *table, const char *line, size_t length,
		   struct control_call *out, struct control_error *error)
{
	json_error_t fault;

	*out = (struct control_call){
		.message = json_loadb(line, length, JSON_REJECT_DUPLICATES, &fault)};
	if (json_is_object(out->message))
		return judge(table, out, error);
	control_error_set(error, CONTROL_BAD_REQUEST,
			  "Send one JSON object on each line, in UTF-8.", "not a JSON object%s%.*s",
			  out->message == NULL ? ": " : "", QUOTED_BYTES,
			  out->message == NULL ? fault.text : "");
	return false;
}

void control_call_clear(struct control_call *call)
{
	json_decref(call->message);
	*call = (struct control_call){.message = NULL};
}

/* -- Answers -- */

json_t *control_json_text(const char *text)
{
	json_t *made = text != NULL ? json_string(text) : json_null();
	char *copy;

	if (made != NULL)
		return made;
	copy = strdup(text);
	for (char *at = copy; at != NULL && *at != '\0'; at++) {
		if ((*at & 0x80) != 0)
			*at = '?';
	}
	made = copy != NULL ? json_string(copy) : NULL;
	free(copy);
	return made;
}

/* `message` is taken over. */
static char *print(json_t *message)
{
	char *text = message != NULL ? json_dumps(message, JSON_COMPACT) : NULL;
	size_t length = text != NULL ? strlen(text) : 0;
	char *line = text != NULL ? realloc(text, length + 2) : NULL;

	json_decref(message);
	if (line == NULL) {
		free(text);
		return NULL;
	}
	memcpy(line + length, "\n", 2);
	return line;
}

static char *print_body(json_t *id, const char *name, json_t *body)
{
	return print(json_pack("{s:o, s:O*}", name, body, "id", id));
}

char *control_print_hello(void)
{
	return print(json_pack("{s:{s:s, s:i, s:I}}", "hello", "version", RINGSAN_VERSION,
			       "protocol", CONTROL_PROTOCOL, "pid", (json_int_t)getpid()));
}

char *control_print_result(json_t *id, json_t *body)
{
	return print_body(id, "result", body);
}

char *control_print_progress(json_t *id, json_t *body)
{
	return print_body(id, "progress", body);
}

char *control_print_error(json_t *id, const struct control_error *error)
{
	json_t *body = json_pack("{s:s, s:o, s:o}", "code", control_error_name(error->code),
				 "message", control_json_text(error->message), "remedy",
				 control_json_text(error->remedy));

	return print_body(id, "error", body);
}
