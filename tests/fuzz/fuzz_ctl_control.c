/*
 * A line of the control socket against the real table. Whatever comes in: a request is either
 * found, with every value as its row wants it, or refused with a code, a message and a remedy; and
 * what is sent back is one line of JSON with the id that came.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "target/ctl/requests.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_value(const struct control_parameter *parameter,
			const struct control_value *value)
{
	assert(value->given || parameter->optional);
	if (!value->given) {
		assert(value->text == NULL && value->number == 0);
	} else if (parameter->type == CONTROL_TEXT) {
		assert(strlen(value->text) >= parameter->min);
		assert(strlen(value->text) <= parameter->max);
	} else if (parameter->type == CONTROL_NUMBER) {
		assert(value->number >= parameter->min && value->number <= parameter->max);
	} else if (parameter->type == CONTROL_TEXTS) {
		assert(value->number >= parameter->min && value->number <= parameter->max);
		for (size_t i = 0; i < value->number; i++)
			assert(control_text_at(value, i)[0] != '\0');
	} else {
		assert(value->number <= 1);
	}
}

/* One line, and JSON; frees it. */
static void check_line(char *line, const struct control_call *call, const char *member)
{
	json_t *message;

	assert(line != NULL && strchr(line, '\n') == line + strlen(line) - 1);
	message = json_loads(line, 0, NULL);
	assert(json_is_object(message) && json_object_get(message, member) != NULL);
	assert(call->id == NULL || json_equal(call->id, json_object_get(message, "id")));
	json_decref(message);
	free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct control_error error = {.code = CONTROL_ERROR_COUNT};
	struct control_call call;

	if (size >= CONTROL_LINE_BYTES || memchr(data, '\n', size) != NULL)
		return -1;
	if (control_parse(&control_requests, (const char *)data, size, &call, &error)) {
		for (size_t i = 0; i < call.row->parameter_count; i++)
			check_value(&call.row->parameters[i], &call.values[i]);
		check_line(control_print_result(call.id, json_object()), &call, "result");
	} else {
		assert(error.code < CONTROL_ERROR_COUNT);
		assert(error.message[0] != '\0' && error.remedy[0] != '\0');
		check_line(control_print_error(call.id, &error), &call, "error");
	}
	control_call_clear(&call);
	return 0;
}
