/*
 * Messages of the control socket: a line with a request to what it asks for, and answers to lines.
 * Pure, and so fuzzed: no socket, no daemon. CONTROL.md describes the protocol.
 *
 * Threads: any; jansson's objects are their owner's. Read next: control.h, control_table.c.
 */
#ifndef TARGET_CTL_CONTROL_MESSAGE_H
#define TARGET_CTL_CONTROL_MESSAGE_H

#include "base/attr.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Raised when what exists changes its meaning; what is added does not raise it. */
#define CONTROL_PROTOCOL 1
/* A request with its newline: names, numbers and words, never contents of a disk. */
#define CONTROL_LINE_BYTES 16384u
#define CONTROL_PARAMETERS_MAX 8u
/* Of each text in a list: paths. */
#define CONTROL_LISTED_MAX 1023u
/* A message, a remedy: one sentence each, with a name or two in it. */
#define CONTROL_TEXT_BYTES 512u

enum control_type {
	CONTROL_TEXT,   /* min and max: bytes. */
	CONTROL_NUMBER, /* min and max: its value. */
	CONTROL_FLAG,   /* true or false. */
	CONTROL_TEXTS,  /* A list of texts of 1 to CONTROL_LISTED_MAX bytes; min and max: how many.
			 */
	CONTROL_TYPE_COUNT
};

struct control_request;
typedef void control_handler_fn(struct control_request *request);

struct control_parameter {
	const char *name;
	enum control_type type;
	bool optional;
	uint64_t min, max; /* At most INT64_MAX. */
};

/* A request that the daemon knows. */
struct control_row {
	const char *name;
	const struct control_parameter *parameters;
	size_t parameter_count; /* At most CONTROL_PARAMETERS_MAX. */
	control_handler_fn *handler;
};

struct control_table {
	const struct control_row *rows;
	size_t count;
};

/* What scripts may rely on; control_error_name has the words. */
enum control_error_code {
	CONTROL_BAD_REQUEST, /* No request, or not as the table wants it. */
	CONTROL_UNKNOWN_REQUEST,
	CONTROL_NOT_FOUND, /* No such target, LUN, group. */
	CONTROL_REFUSED,   /* As things stand it cannot be, or the configuration forbids it. */
	CONTROL_BUSY,      /* Later perhaps. */
	CONTROL_FAILED,    /* It was tried. */
	CONTROL_ERROR_COUNT
};

struct control_error {
	enum control_error_code code;
	char message[CONTROL_TEXT_BYTES]; /* What is wrong. */
	char remedy[CONTROL_TEXT_BYTES];  /* What would mend it; never empty. */
};

struct control_value {
	bool given;
	const char *text; /* As long as the call. */
	uint64_t number;  /* A flag's is 0 or 1; how many texts a list has. */
	json_t *texts;    /* As long as the call; control_text_at. */
};

/* A request, parsed. */
struct control_call {
	json_t *message; /* The whole of it; owns what `values` and `id` point to. */
	json_t *id;      /* NULL: none was given. */
	const struct control_row *row;
	struct control_value values[CONTROL_PARAMETERS_MAX]; /* In the order of the row's. */
};

/*
 * Parse a line without its newline. False: `error` says why, and only `message` and `id` are good,
 * for the answer. Either way control_call_clear follows.
 */
bool MUST_CHECK control_parse(const struct control_table *table, const char *line, size_t length,
			      struct control_call *out, struct control_error *error);
void control_call_clear(struct control_call *call);
/* Of a list, `at` less than its number. */
static inline const char *control_text_at(const struct control_value *value, size_t at)
{
	return json_string_value(json_array_get(value->texts, at));
}

/* "bad-request" and so on. */
const char *control_error_name(enum control_error_code code);
/* Fill in an error; both texts are cut where they are too long. */
void control_error_set(struct control_error *error, enum control_error_code code,
		       const char *remedy, const char *format, ...) PRINTF_LIKE(4, 5);

/*
 * Lines with their newline, to be freed; NULL when memory is short. `body`, which may be NULL for
 * the same reason, is taken over; `id` is not.
 */
char *control_print_hello(void);
char *control_print_result(json_t *id, json_t *body);
char *control_print_progress(json_t *id, json_t *body);
char *control_print_error(json_t *id, const struct control_error *error);

/* A string for an answer, whatever bytes are in it: those that are no UTF-8 become '?'. NULL
 * becomes null. */
json_t *control_json_text(const char *text);

#endif
