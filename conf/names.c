/*
 * Checks on names, and the matching of initiator names. Character classes are written out because
 * those of <ctype.h> depend on the locale. Pure; any thread.
 *
 * Read next: access.c, which matches hosts with it.
 */
#include "conf/names.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"
#define HEX DIGITS "abcdef"
/* What RFC 7143 4.2.7.2 leaves of ASCII. */
#define NAME_CHARACTERS LOWER DIGITS "-.:"

/* The three forms of an iSCSI name begin so. */
static const char *const name_types[] = {"iqn.", "eui.", "naa."};

static bool consists_of(const char *text, const char *characters)
{
	return text[strspn(text, characters)] == '\0';
}

static bool has_length(const char *text, size_t length)
{
	return strlen(text) == length;
}

/* "yyyy-mm." at the head, RFC 7143 4.2.7.4. */
static bool begins_with_date(const char *text)
{
	int month;

	if (strlen(text) < 8 || strspn(text, DIGITS) != 4 || text[4] != '-' ||
	    strspn(text + 5, DIGITS) != 2 || text[7] != '.')
		return false;
	month = (text[5] - '0') * 10 + text[6] - '0';
	return month >= 1 && month <= 12;
}

/* A reversed domain name up to the end or a colon: labels that are not empty. */
static bool begins_with_domain(const char *text)
{
	size_t length = strcspn(text, ":");

	if (length == 0 || text[0] == '.' || text[length - 1] == '.')
		return false;
	for (size_t i = 1; i < length; i++) {
		if (text[i] == '.' && text[i - 1] == '.')
			return false;
	}
	return true;
}

static const char *check_iqn(const char *rest)
{
	if (!begins_with_date(rest)) {
		return "no date after iqn.; write iqn.YYYY-MM.DOMAIN:NAME, such as "
		       "iqn.2026-11.io.ringsan:disk1";
	}
	if (!begins_with_domain(rest + 8)) {
		return "no reversed domain name after the date; write iqn.YYYY-MM.DOMAIN:NAME, "
		       "such as iqn.2026-11.io.ringsan:disk1";
	}
	return NULL;
}

static const char *check_eui(const char *rest)
{
	if (!has_length(rest, 16) || !consists_of(rest, HEX))
		return "not an eui. name; write eui. and 16 hexadecimal digits";
	return NULL;
}

static const char *check_naa(const char *rest)
{
	if ((!has_length(rest, 16) && !has_length(rest, 32)) || !consists_of(rest, HEX))
		return "not a naa. name; write naa. and 16 or 32 hexadecimal digits";
	return NULL;
}

const char *conf_check_iscsi_name(const char *name)
{
	if (!consists_of(name, NAME_CHARACTERS))
		return "not an iSCSI name; letters, digits, '-', '.' and ':' are right";
	if (strncmp(name, "iqn.", 4) == 0)
		return check_iqn(name + 4);
	if (strncmp(name, "eui.", 4) == 0)
		return check_eui(name + 4);
	if (strncmp(name, "naa.", 4) == 0)
		return check_naa(name + 4);
	return "not an iSCSI name; write iqn.YYYY-MM.DOMAIN:NAME, such as "
	       "iqn.2026-11.io.ringsan:disk1";
}

const char *conf_check_pattern(const char *pattern)
{
	size_t literal = strcspn(pattern, "*?");

	if (!consists_of(pattern, NAME_CHARACTERS "*?")) {
		return "not a pattern of iSCSI names; letters, digits, '-', '.', ':', '*' and '?' "
		       "are right";
	}
	for (size_t i = 0; i < sizeof(name_types) / sizeof(name_types[0]); i++) {
		if (strncmp(pattern, name_types[i], literal < 4 ? literal : 4) == 0 &&
		    (literal >= 4 || pattern[literal] != '\0'))
			return NULL;
	}
	return "matches no initiator, their names begin with iqn., eui. or naa.; write "
	       "the whole name or a pattern such as \"iqn.1994-05.com.redhat:*\"";
}

const char *conf_check_identity(const char *identity)
{
	if (!has_length(identity, 36) || strncmp(identity, "naa.6", 5) != 0 ||
	    !consists_of(identity + 4, HEX)) {
		return "not an identity; write naa.6 and 31 hexadecimal digits, or leave it out to "
		       "have one made";
	}
	return NULL;
}

const char *conf_check_serial(const char *serial)
{
	if (!consists_of(serial, LOWER UPPER DIGITS "-._"))
		return "not a serial number; letters, digits, '-', '.' and '_' are right";
	return NULL;
}

static bool is_printable(const char *text, char lowest)
{
	for (; *text != '\0'; text++) {
		if (*text < lowest || *text > '~')
			return false;
	}
	return true;
}

const char *conf_check_file_name(const char *name)
{
	if (name[0] == '.' || strpbrk(name, "/:") != NULL || !is_printable(name, ' '))
		return "not the name of a file beside the image; a plain name without '/' and ':' "
		       "is right";
	return NULL;
}

const char *conf_check_inquiry_text(const char *text)
{
	if (!is_printable(text, ' '))
		return "not plain text; printable ASCII characters are right";
	if (text[0] == ' ' || text[strlen(text) - 1] == ' ')
		return "has a blank at one end; leave it out, the field is padded by itself";
	return NULL;
}

const char *conf_check_user(const char *user)
{
	if (!is_printable(user, '!'))
		return "not a user name; printable ASCII characters without blanks are right";
	return NULL;
}

/* What the first byte of a UTF-8 sequence says (RFC 3629 4): how many follow, and the bounds of the
 * first of those, which keep out overlong forms, surrogates and what lies beyond U+10FFFF. */
struct utf8_row {
	uint8_t first, last;
	uint8_t follow;
	uint8_t second_min, second_max;
};

static const struct utf8_row utf8_rows[] = {
	{0x01, 0x7f, 0, 0x80, 0xbf}, {0xc2, 0xdf, 1, 0x80, 0xbf}, {0xe0, 0xe0, 2, 0xa0, 0xbf},
	{0xe1, 0xec, 2, 0x80, 0xbf}, {0xed, 0xed, 2, 0x80, 0x9f}, {0xee, 0xef, 2, 0x80, 0xbf},
	{0xf0, 0xf0, 3, 0x90, 0xbf}, {0xf1, 0xf3, 3, 0x80, 0xbf}, {0xf4, 0xf4, 3, 0x80, 0x8f},
};

/* The bytes of the sequence at `at`, or 0 if it is none. */
static size_t utf8_sequence(const uint8_t *at)
{
	const struct utf8_row *row = NULL;

	for (size_t i = 0; i < sizeof(utf8_rows) / sizeof(utf8_rows[0]); i++) {
		if (at[0] >= utf8_rows[i].first && at[0] <= utf8_rows[i].last)
			row = &utf8_rows[i];
	}
	if (row == NULL)
		return 0;
	for (size_t i = 1; i <= row->follow; i++) {
		if (at[i] < (i == 1 ? row->second_min : 0x80) ||
		    at[i] > (i == 1 ? row->second_max : 0xbf))
			return 0;
	}
	return (size_t)row->follow + 1;
}

const char *conf_check_utf8(const char *text)
{
	const uint8_t *at = (const uint8_t *)text;

	while (*at != '\0') {
		size_t bytes = utf8_sequence(at);

		if (bytes == 0)
			return "not UTF-8; write the text in that encoding";
		at += bytes;
	}
	return NULL;
}

bool conf_host_name_is_valid(const char *name)
{
	size_t label = 0;

	if (strlen(name) > 253 || !consists_of(name, LOWER UPPER DIGITS "-."))
		return false;
	for (;; name++) {
		if (*name != '.' && *name != '\0') {
			label++;
			continue;
		}
		if (label == 0 || label > 63 || name[-1] == '-' || *(name - label) == '-')
			return false;
		if (*name == '\0')
			return true;
		label = 0;
	}
}

static char fold(char c)
{
	if (c >= 'A' && c <= 'Z')
		c = (char)(c - 'A' + 'a');
	return c;
}

bool conf_pattern_matches(const char *pattern, const char *name)
{
	const char *star = NULL;   /* Behind the last * that was passed. */
	const char *resume = name; /* Where its match ends for now. */

	while (*name != '\0') {
		if (*pattern == '*') {
			star = ++pattern;
			resume = name;
		} else if (*pattern == '?' || (*pattern != '\0' && *pattern == fold(*name))) {
			pattern++;
			name++;
		} else if (star != NULL) {
			pattern = star;
			name = ++resume;
		} else {
			return false;
		}
	}
	return pattern[strspn(pattern, "*")] == '\0';
}
