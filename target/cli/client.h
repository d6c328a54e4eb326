/*
 * A connection to a daemon's control socket, as ../ctl/CONTROL.md has it: one question, one answer.
 *
 * One thread, which waits. Read next: client.c.
 */
#ifndef TARGET_CLI_CLIENT_H
#define TARGET_CLI_CLIENT_H

#include "base/attr.h"

#include <jansson.h>

/* What this client speaks; CONTROL.md says when it is raised. */
#define CLIENT_PROTOCOL 1
#define CLIENT_ERROR_BYTES 512u

typedef void client_progress_fn(const json_t *progress);

struct client_question {
	const char *socket;
	unsigned timeout_s; /* For each line of the answer. */
	const char *request;
	json_t *parameters;              /* Borrowed. */
	client_progress_fn *on_progress; /* NULL: it is of no interest. */
};

/*
 * Ask. 0: `answer` is the message, with `result` or `error` in it, the caller's. Negative errno:
 * nobody listens or answers, and `error` says why and what would mend it.
 */
int MUST_CHECK client_ask(const struct client_question *question, json_t **answer,
			  char error[CLIENT_ERROR_BYTES]);

#endif
