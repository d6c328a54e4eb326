/*
 * What libConfuse 3.3 must never see, found by reading its lexer and parser:
 *
 *  - comments: each moves its line counter by three lines, and none may stand in a list;
 *  - a string or comment without an end: its lexer stays inside, for the next file, too;
 *  - "${NAME}" is replaced from the environment, outside quotes as well: what a configuration
 *    means must not depend on who started the daemon;
 *  - characters that belong to no token, '*' above all, are dropped in silence: an access pattern
 *    written without quotes would become another pattern;
 *  - escapes such as \x00, which cut a value, and bad ones, which leave the lexer inside a string;
 *  - '|' in a name, which it takes for a path through sections;
 *  - braces in braces without a bound (its parser is recursive).
 *
 * It also loses the line on which a section began, so that is noted here. Pure; any thread.
 *
 * Read next: syntax.c.
 */
#include "conf/scan.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum scan_state {
	OUTSIDE,
	IN_WORD,
	IN_DOUBLE_QUOTES,
	IN_SINGLE_QUOTES,
	IN_LINE_COMMENT,
	IN_BLOCK_COMMENT,
};

struct scanner {
	char *at; /* The next character. */
	enum scan_state state;
	int line;
	int token_line;     /* Where the word, string or comment began. */
	size_t token_bytes; /* Of the word or string so far. */
	bool after_equals;  /* The last token was '=': a brace opens a list. */
	struct {
		int line;
		bool is_list;
	} open[CONF_DEPTH_MAX];
	size_t depth;
	struct conf_scan *out;
};

/* A step consumes at least one character or answers why it is refused. */
typedef const char *scan_step_fn(struct scanner *s);

static const char quote_it[] =
	"a character that has no meaning outside quotes; put the whole value in quotes";

static void blank(char *c)
{
	if (*c != '\n')
		*c = ' ';
}

static void advance(struct scanner *s)
{
	if (*s->at == '\n')
		s->line++;
	s->at++;
}

static void begin(struct scanner *s, enum scan_state state)
{
	s->state = state;
	s->token_line = s->line;
	s->token_bytes = 0;
}

static const char *open_brace(struct scanner *s)
{
	if (s->depth == CONF_DEPTH_MAX)
		return "braces nested too deeply; sections stand inside a target at most";
	s->open[s->depth].line = s->line;
	s->open[s->depth].is_list = s->after_equals;
	s->depth++;
	return NULL;
}

static const char *close_brace(struct scanner *s)
{
	/* One brace too many is left to the parser, which knows where it is. */
	if (s->depth == 0)
		return NULL;
	s->depth--;
	if (s->open[s->depth].is_list)
		return NULL;
	if (s->out->section_count == CONF_SECTIONS_MAX)
		return "more sections than the 20000 that are allowed; use fewer targets or LUNs";
	s->out->section_lines[s->out->section_count++] = s->open[s->depth].line;
	return NULL;
}

static bool is_word_character(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr("-_.:/%@~[]", c) != NULL);
}

static const char *punctuation(struct scanner *s)
{
	const char *reason = NULL;
	char c = *s->at;

	if (c == '{') {
		reason = open_brace(s);
	} else if (c == '}') {
		reason = close_brace(s);
	} else if (c == '+' && s->at[1] == '=') {
		advance(s);
	} else if (c != '=' && c != ',') {
		return quote_it;
	}
	s->after_equals = *s->at == '=';
	if (reason == NULL)
		advance(s);
	return reason;
}

static const char *step_outside(struct scanner *s)
{
	char c = *s->at;

	if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
		advance(s);
		return NULL;
	}
	if (c == '#' || (c == '/' && s->at[1] == '/')) {
		begin(s, IN_LINE_COMMENT);
		return NULL;
	}
	if (c == '/' && s->at[1] == '*') {
		begin(s, IN_BLOCK_COMMENT);
		blank(s->at++);
		blank(s->at++);
		return NULL;
	}
	if (c == '"' || c == '\'') {
		s->after_equals = false;
		begin(s, c == '"' ? IN_DOUBLE_QUOTES : IN_SINGLE_QUOTES);
		advance(s);
		return NULL;
	}
	if (!is_word_character(c))
		return punctuation(s);
	s->after_equals = false;
	begin(s, IN_WORD);
	return NULL;
}

static const char *count_byte(struct scanner *s)
{
	if (++s->token_bytes > CONF_WORD_BYTES_MAX)
		return "a value longer than 4095 bytes; shorten it";
	advance(s);
	return NULL;
}

static const char *step_word(struct scanner *s)
{
	char c = *s->at;

	if (is_word_character(c))
		return count_byte(s);
	s->state = OUTSIDE;
	if (c == '"' || c == '\'')
		return "a quote inside a word; put the whole value in quotes";
	return NULL;
}

/* What both kinds of quotes refuse. */
static const char *check_quoted(const struct scanner *s)
{
	uint8_t c = (uint8_t)*s->at;

	if (c == '\n')
		return "a string that does not end on its line; close the quote";
	if (c < ' ' || c == 0x7f)
		return "a control character inside quotes; leave it out";
	if (c == '|')
		return "the character '|'; leave it out, this file gives it no meaning";
	return NULL;
}

static const char empty_string[] = "an empty value; leave the option out where it has none";

static const char *step_double_quotes(struct scanner *s)
{
	const char *reason = check_quoted(s);

	if (reason != NULL)
		return reason;
	if (*s->at == '"') {
		if (s->token_bytes == 0)
			return empty_string;
		s->state = OUTSIDE;
		advance(s);
		return NULL;
	}
	if (*s->at == '$' && s->at[1] == '{') {
		return "a variable, but none are replaced in this file; write the value, or use "
		       "single quotes for the characters themselves";
	}
	if (*s->at != '\\')
		return count_byte(s);
	if (s->at[1] != '"' && s->at[1] != '\\') {
		return "an escape that is not \\\" or \\\\; use single quotes for a backslash "
		       "itself";
	}
	advance(s);
	return count_byte(s);
}

static const char *step_single_quotes(struct scanner *s)
{
	const char *reason = check_quoted(s);

	if (reason != NULL)
		return reason;
	if (*s->at == '\'') {
		if (s->token_bytes == 0)
			return empty_string;
		s->state = OUTSIDE;
		advance(s);
		return NULL;
	}
	if (*s->at == '\\' && (s->at[1] == '\'' || s->at[1] == '\\'))
		advance(s);
	return count_byte(s);
}

static const char *step_line_comment(struct scanner *s)
{
	if (*s->at == '\n')
		s->state = OUTSIDE;
	blank(s->at);
	advance(s);
	return NULL;
}

static const char *step_block_comment(struct scanner *s)
{
	if (s->at[0] == '*' && s->at[1] == '/') {
		s->state = OUTSIDE;
		blank(s->at++);
	}
	blank(s->at);
	advance(s);
	return NULL;
}

static scan_step_fn *const steps[] = {
	[OUTSIDE] = step_outside,
	[IN_WORD] = step_word,
	[IN_DOUBLE_QUOTES] = step_double_quotes,
	[IN_SINGLE_QUOTES] = step_single_quotes,
	[IN_LINE_COMMENT] = step_line_comment,
	[IN_BLOCK_COMMENT] = step_block_comment,
};

static void refuse(struct scanner *s, const char *reason, int line)
{
	s->out->reason = reason;
	s->out->line = line;
}

/* The text has ended: in the middle of something? */
static void check_end(struct scanner *s)
{
	if (s->state == IN_DOUBLE_QUOTES || s->state == IN_SINGLE_QUOTES) {
		refuse(s, "a string that does not end on its line; close the quote", s->line);
	} else if (s->state == IN_BLOCK_COMMENT) {
		refuse(s, "a comment that does not end; close it with */", s->token_line);
	} else if (s->depth > 0) {
		refuse(s, "an opening brace that is never closed; add the '}'",
		       s->open[s->depth - 1].line);
	}
}

/* Where the line begins that `at` is on. */
static size_t line_start(const char *text, size_t at)
{
	while (at > 0 && text[at - 1] != '\n')
		at--;
	return at;
}

int conf_scan_text(char *text, size_t length, struct conf_scan *out)
{
	struct scanner s = {.at = text, .line = 1, .out = out};
	const char *reason = NULL;
	char *end = text + length;

	*out = (struct conf_scan){0};
	out->section_lines = malloc(CONF_SECTIONS_MAX * sizeof(*out->section_lines));
	if (out->section_lines == NULL)
		return -ENOMEM;
	while (s.at < end && reason == NULL) {
		if (*s.at == '\0') {
			reason = "a zero byte; this is not a text file";
		} else {
			reason = steps[s.state](&s);
		}
	}
	if (reason != NULL) {
		refuse(&s, reason, s.line);
	} else {
		check_end(&s);
	}
	if (reason != NULL || s.state == IN_DOUBLE_QUOTES || s.state == IN_SINGLE_QUOTES)
		text[line_start(text, (size_t)(s.at - text))] = '\0';
	return 0;
}

void conf_scan_clear(struct conf_scan *scan)
{
	free(scan->section_lines);
	*scan = (struct conf_scan){0};
}
