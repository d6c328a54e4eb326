/*
 * Builds a log line in a buffer on the stack, makes it harmless, and writes it with one write(2).
 * Not a log file manager: standard error goes where whoever started us sends it. Any thread.
 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define SUBSYSTEM_BYTES 32u
#define TAIL_BYTES 48u /* For the count of suppressed lines. */

static const struct {
	const char *name;
	const char *priority; /* sd-daemon(3): <3> error ... <7> debug. */
} levels[] = {
	[LOG_LEVEL_ERROR] = {"error", "<3>"},
	[LOG_LEVEL_WARN] = {"warn", "<4>"},
	[LOG_LEVEL_INFO] = {"info", "<6>"},
	[LOG_LEVEL_DEBUG] = {"debug", "<7>"},
};
_Static_assert(ARRAY_SIZE(levels) == LOG_LEVEL_COUNT, "a level lacks its row");

static atomic_int level_max = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&level_max, (int)level, memory_order_relaxed);
}

enum log_level log_level_get(void)
{
	return (enum log_level)atomic_load_explicit(&level_max, memory_order_relaxed);
}

bool log_is_on(enum log_level level)
{
	return level <= log_level_get();
}

int log_level_parse(const char *name, enum log_level *out)
{
	for (unsigned i = 0; i < LOG_LEVEL_COUNT; i++) {
		if (strcmp(name, levels[i].name) == 0) {
			*out = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

static bool is_plain(uint8_t c)
{
	return c >= 0x20 && c < 0x7f && c != '\\';
}

/* Append one byte of foreign text. False when it does not fit before `end`. */
static bool escape_byte(char **at, const char *end, uint8_t c)
{
	static const char hex[] = "0123456789abcdef";
	char *p = *at;

	if (end - p < (is_plain(c) ? 1 : 4))
		return false;
	if (is_plain(c)) {
		*p++ = (char)c;
	} else {
		*p++ = '\\';
		*p++ = 'x';
		*p++ = hex[c >> 4];
		*p++ = hex[c & 0xf];
	}
	*at = p;
	return true;
}

const char *log_escape(char *out, uint32_t room, const void *bytes, uint32_t count)
{
	const uint8_t *from = bytes;
	char *at = out;

	if (room == 0)
		return "";
	for (uint32_t i = 0; i < count; i++) {
		if (!escape_byte(&at, out + room - 1, from[i]))
			break;
	}
	*at = '\0';
	return out;
}

/* Read once: whoever starts us does not change our environment afterwards. */
static bool to_journal(void)
{
	static atomic_int known; /* 0: not yet, 1: no, 2: yes. */
	int seen = atomic_load_explicit(&known, memory_order_relaxed);

	if (seen == 0) {
		seen = getenv("JOURNAL_STREAM") != NULL ? 2 : 1; /* NOLINT(concurrency-mt-unsafe) */
		atomic_store_explicit(&known, seen, memory_order_relaxed);
	}
	return seen == 2;
}

/* What stands before the subsystem: the priority for the journal, the time for a person. */
static int prefix(char *out, size_t room, enum log_level level)
{
	struct timespec now;
	struct tm utc;

	if (to_journal())
		return snprintf(out, room, "%s", levels[level].priority);
	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)gmtime_r(&now.tv_sec, &utc);
	return snprintf(out, room, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %s ", utc.tm_year + 1900,
			utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
			now.tv_nsec / 1000000, levels[level].name);
}

/* Append foreign text as far as it fits before `end`. */
static char *append_escaped(char *at, const char *end, const char *text, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (!escape_byte(&at, end, (uint8_t)text[i]))
			break;
	}
	return at;
}

/* `tail` is ours, and short: it is there however long the text is. */
static void write_line(enum log_level level, const char *subsystem, const char *text,
		       const char *tail)
{
	char line[LOG_LINE_BYTES];
	const char *end = line + sizeof(line) - strlen(tail) - 1; /* The newline. */
	char *at = line;
	int length = prefix(line, sizeof(line), level);

	at += length > 0 ? length : 0;
	at = append_escaped(at, end, subsystem, strnlen(subsystem, SUBSYSTEM_BYTES));
	at = append_escaped(at, end, ": ", 2);
	at = append_escaped(at, end, text, strlen(text));
	at = stpcpy(at, tail);
	*at++ = '\n';
	/* Nobody is left to be told when standard error fails. */
	if (write(STDERR_FILENO, line, (size_t)(at - line)) < 0)
		return;
}

static void PRINTF_LIKE(4, 0) write_args(enum log_level level, const char *subsystem,
					 uint32_t suppressed, const char *format, va_list args)
{
	char text[LOG_LINE_BYTES];
	char tail[TAIL_BYTES] = "";
	int kept_errno = errno;

	if (!log_is_on(level))
		return;
	/* clang 14 loses sight of a va_list that is a parameter. */
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
	if (vsnprintf(text, sizeof(text), format, args) < 0)
		text[0] = '\0';
	if (suppressed > 0)
		(void)snprintf(tail, sizeof(tail), " (%u more like it suppressed)", suppressed);
	write_line(level, subsystem, text, tail);
	errno = kept_errno;
}

void log_error(const char *subsystem, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	write_args(LOG_LEVEL_ERROR, subsystem, 0, format, args);
	va_end(args);
}

void log_warn(const char *subsystem, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	write_args(LOG_LEVEL_WARN, subsystem, 0, format, args);
	va_end(args);
}

void log_info(const char *subsystem, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	write_args(LOG_LEVEL_INFO, subsystem, 0, format, args);
	va_end(args);
}

void log_debug(const char *subsystem, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	write_args(LOG_LEVEL_DEBUG, subsystem, 0, format, args);
	va_end(args);
}

/* *suppressed is how many lines were dropped before this one. */
static bool admit(struct log_limit *limit, uint32_t *suppressed)
{
	uint64_t now_ns = clock_now_ns();
	uint64_t start_ns = atomic_load(&limit->interval_start_ns);

	*suppressed = 0;
	/* Whoever wins the exchange opens the new interval; a loser counts within it. */
	if (now_ns - start_ns >= limit->interval_ms * CLOCK_NS_PER_MS &&
	    atomic_compare_exchange_strong(&limit->interval_start_ns, &start_ns, now_ns))
		atomic_store(&limit->used, 0);
	if (atomic_load(&limit->used) >= limit->burst ||
	    atomic_fetch_add(&limit->used, 1) >= limit->burst) {
		atomic_fetch_add(&limit->suppressed, 1);
		return false;
	}
	*suppressed = atomic_exchange(&limit->suppressed, 0);
	return true;
}

void log_limited(struct log_limit *limit, enum log_level level, const char *subsystem,
		 const char *format, ...)
{
	uint32_t suppressed;
	va_list args;

	if (!log_is_on(level) || !admit(limit, &suppressed))
		return;
	va_start(args, format);
	write_args(level, subsystem, suppressed, format, args);
	va_end(args);
}
