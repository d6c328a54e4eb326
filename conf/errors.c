/*
 * The bounded list of what is wrong with a configuration. Control thread.
 */
#include "conf/errors.h"

#include <stdarg.h>
#include <stdio.h>

void conf_errors_add(struct conf_errors *errors, struct conf_place place, const char *format, ...)
{
	struct conf_error *error = &errors->items[errors->count];
	va_list args;
	int used;

	if (errors->count == CONF_ERRORS_MAX) {
		errors->dropped++;
		return;
	}
	errors->count++;
	error->line = place.line;
	if (place.line > 0) {
		used = snprintf(error->text, sizeof(error->text), "%s:%d: ", place.file,
				place.line);
	} else {
		used = snprintf(error->text, sizeof(error->text), "%s: ", place.file);
	}
	if (used < 0 || (size_t)used >= sizeof(error->text))
		return;
	va_start(args, format);
	(void)vsnprintf(error->text + used, sizeof(error->text) - (size_t)used, format, args);
	va_end(args);
}

void conf_errors_sort(struct conf_errors *errors)
{
	/* By insertion, because it keeps the order of errors on one line and the list is short. */
	for (size_t i = 1; i < errors->count; i++) {
		struct conf_error moved = errors->items[i];
		size_t at = i;

		while (at > 0 && errors->items[at - 1].line > moved.line) {
			errors->items[at] = errors->items[at - 1];
			at--;
		}
		errors->items[at] = moved;
	}
}
