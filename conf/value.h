/*
 * One value: from text to its field, from the field to text, and comparing two. What the types of
 * options.h mean is here and nowhere else. Pure but for the memory that texts take.
 */
#ifndef CONF_VALUE_H
#define CONF_VALUE_H

#include "conf/memory.h"
#include "conf/options.h"

#include <stdio.h>

/* Answered when a number is well formed but not between the option's min and max, or a text not of
 * such a length. The caller says which range. */
extern const char conf_reason_range[];

/*
 * Convert `text` and store it at `field`, the option's field or an item of its list. Answers NULL
 * or a constant reason; the field is then unchanged.
 */
const char *MUST_CHECK conf_value_parse(const struct conf_option *option, const char *text,
					struct conf_memory *memory, void *field);

/*
 * Store something in place of a value that was refused, so that one error does not cause others
 * such as "needs an image". The configuration will not be used.
 */
void conf_value_stand_in(const struct conf_option *option, const char *text,
			 struct conf_memory *memory, void *field);

/* False for a text or host that was not given and has no default: there is nothing to print. */
bool conf_value_is_set(const struct conf_option *option, const void *field);
/* Write a value that is set so that conf_value_parse stores the same again. */
void conf_value_print(const struct conf_option *option, const void *field, FILE *out);
bool conf_value_equal(const struct conf_option *option, const void *a, const void *b);

/* A number of the option's range, with its unit. */
#define CONF_NUMBER_TEXT_MAX 32u
void conf_number_to_text(enum conf_type type, uint64_t number, char out[CONF_NUMBER_TEXT_MAX]);

#endif
