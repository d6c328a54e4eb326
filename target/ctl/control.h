/*
 * The control socket's server: takes requests of the administrator's tools on a Unix socket, one
 * JSON object on each line, finds them in a table, and sends what their handlers answer, at once or
 * later. It knows nothing of what is asked for: control_table.c does.
 *
 * Nobody who connects can do harm by what he does not do: lines, connections and the time that a
 * request may take to arrive, or an answer to be taken, are bounded. Only root and the daemon's own
 * user are listened to, by the mode of the file and, again, by SO_PEERCRED.
 *
 * Threads: the control loop's; before that loop runs, its creator's.
 * Read next: CONTROL.md, control.c, control_message.h, control_path.h.
 */
#ifndef TARGET_CTL_CONTROL_H
#define TARGET_CTL_CONTROL_H

#include "base/loop.h"
#include "target/ctl/control_message.h"
#include "target/ctl/control_path.h"

/* Connections at once: administrators, and what watches for them. */
#define CONTROL_CONNECTIONS_MAX 32u
/* How long a connection may be without a request, or with half of one. */
#define CONTROL_IDLE_MS 30000u
/* How long an answer may find no taker; each byte that is taken starts it anew. */
#define CONTROL_STALL_MS 10000u

struct control; /* The server. */

struct control_config {
	struct loop *loop;
	const struct control_table *table; /* Borrowed, as `context` is. */
	void *context;                     /* For handlers. */
	uint32_t idle_ms;                  /* CONTROL_IDLE_MS and CONTROL_STALL_MS, but in tests. */
	uint32_t stall_ms;
};

/* `path` is the server's from here on, also where this fails. -ENOMEM. */
int MUST_CHECK control_create(const struct control_config *config, struct control_path *path,
			      struct control **out);
LOOP_ONLY void control_start(struct control *control);
/*
 * Accept nobody any more, close all connections; requests whose handlers have not answered go on,
 * and their answers are sent to whoever takes them at once. on_empty runs when all are gone, at
 * once if there is none.
 */
LOOP_ONLY void control_stop(struct control *control, void (*on_empty)(void *arg), void *arg);
/* Free it and give back the path. The loop no longer runs. NULL is allowed. */
void control_free(struct control *control);
/* Requests that have not been answered. */
unsigned control_pending(const struct control *control);

/* -- For handlers -- */

/*
 * A request is answered exactly once, from its handler or at any later time on the control loop; it
 * is valid until then, whether or not its sender is still there.
 */
void *control_context(struct control_request *request);
struct loop *control_loop(struct control_request *request);
/* The row's parameter `at`; text is valid until the answer. */
const struct control_value *control_value(struct control_request *request, size_t at);
/* `body` is taken over; NULL: there was no memory for it, which is what the sender is told. */
LOOP_ONLY void control_answer(struct control_request *request, json_t *body);
LOOP_ONLY void control_fail(struct control_request *request, const struct control_error *error);
/* The same in one step. */
LOOP_ONLY void control_refuse(struct control_request *request, enum control_error_code code,
			      const char *remedy, const char *format, ...) PRINTF_LIKE(4, 5);
/* How far long work has come: told when the sender is ready to hear it, the latest only. `body` is
 * taken over. */
LOOP_ONLY void control_progress(struct control_request *request, json_t *body);

#endif
