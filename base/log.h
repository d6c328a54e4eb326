/*
 * Log lines to standard error, one write(2) each, so that lines of different threads do not mix.
 *
 * What comes from a peer may be put into a line as it is: control bytes and everything else that is
 * not printable ASCII is written as \xNN, so nobody can forge a line, and a line is cut at
 * LOG_LINE_BYTES. Under systemd (JOURNAL_STREAM is set) a line begins with its <priority>,
 * otherwise with the time. Any thread; no lock, no allocation.
 *
 * What a peer can cause any number of times goes through a struct log_limit.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/attr.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define LOG_LINE_BYTES 1024u

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARN,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
	LOG_LEVEL_COUNT
};

/* Lines above the level are dropped before they are formatted. Starts at LOG_LEVEL_INFO. */
void log_set_level(enum log_level level);
enum log_level log_level_get(void);
bool log_is_on(enum log_level level);
/* "error", "warn", "info" or "debug" to its level. -EINVAL for anything else. */
int MUST_CHECK log_level_parse(const char *name, enum log_level *out);

/*
 * Write a line. `subsystem` is one word such as "iscsi". errno is kept.
 *
 * error: somebody must act. warn: somebody should look. info: what an operator wants to have read.
 * debug: what a developer wants; compiled always, so that it cannot rot.
 */
void log_error(const char *subsystem, const char *format, ...) PRINTF_LIKE(2, 3);
void log_warn(const char *subsystem, const char *format, ...) PRINTF_LIKE(2, 3);
void log_info(const char *subsystem, const char *format, ...) PRINTF_LIKE(2, 3);
void log_debug(const char *subsystem, const char *format, ...) PRINTF_LIKE(2, 3);

/*
 * At most `burst` lines in each `interval_ms`, shared by all places that use the same limit, for
 * lines that a hostile peer can cause. When lines were dropped, the first line of a later interval
 * ends in how many. Any thread. Initialise with LOG_LIMIT or as a static.
 */
struct log_limit {
	uint32_t burst;
	uint32_t interval_ms;
	_Atomic uint64_t interval_start_ns;
	_Atomic uint32_t used;
	_Atomic uint32_t suppressed;
};

#define LOG_LIMIT(burst_, interval_ms_)                          \
	{                                                        \
		.burst = (burst_), .interval_ms = (interval_ms_) \
	}

/* A line, unless the limit is used up. */
void log_limited(struct log_limit *limit, enum log_level level, const char *subsystem,
		 const char *format, ...) PRINTF_LIKE(4, 5);

/*
 * Copy `bytes` to `out` (at most room - 1 characters and a terminator, never half an escape) with
 * all that is not printable ASCII, and the backslash, as \xNN. Answers `out`.
 */
const char *log_escape(char *out, uint32_t room, const void *bytes, uint32_t count);

#endif
