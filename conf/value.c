/*
 * The types of option values, one row of functions each: parse, print, compare, is it set.
 * Control thread.
 *
 * Read next: build.c, dump.c.
 */
#include "conf/value.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "base/attr.h"
#include "base/checked.h"
#include "conf/address.h"
#include "conf/model.h"

const char conf_reason_range[] = "out of range";

struct value {
	const struct conf_option *option;
	struct conf_memory *memory;
	void *field;
};

struct type_row {
	const char *(*parse)(const struct value *value, const char *text);
	bool (*is_set)(const struct conf_option *option, const void *field);
	void (*print)(const struct conf_option *option, const void *field, FILE *out);
	bool (*equal)(const struct conf_option *option, const void *a, const void *b);
};

/* Fields of numbers have the width that suits their user. */
static void store(const struct value *value, uint64_t number)
{
	uint16_t half = (uint16_t)number;
	uint32_t word = (uint32_t)number;

	switch (value->option->width) {
	case sizeof(half):
		memcpy(value->field, &half, sizeof(half));
		break;
	case sizeof(word):
		memcpy(value->field, &word, sizeof(word));
		break;
	default:
		assert(value->option->width == sizeof(number));
		memcpy(value->field, &number, sizeof(number));
	}
}

static uint64_t load(const struct conf_option *option, const void *field)
{
	uint16_t half;
	uint32_t word;
	uint64_t number;

	switch (option->width) {
	case sizeof(half):
		memcpy(&half, field, sizeof(half));
		return half;
	case sizeof(word):
		memcpy(&word, field, sizeof(word));
		return word;
	default:
		memcpy(&number, field, sizeof(number));
		return number;
	}
}

static const char *store_checked(const struct value *value, uint64_t number)
{
	const struct conf_option *option = value->option;
	const char *reason = NULL;

	if (number < option->min || number > option->max)
		return conf_reason_range;
	if (option->check_number != NULL)
		reason = option->check_number(number);
	if (reason == NULL)
		store(value, number);
	return reason;
}

/* The digits at the head of *text, which moves behind them. False: none, or more than fits. */
static bool take_digits(const char **text, uint64_t *out)
{
	const char *at = *text;
	uint64_t number = 0;

	for (; *at >= '0' && *at <= '9'; at++) {
		if (!checked_mul(number, 10, &number) ||
		    !checked_add(number, (uint64_t)(*at - '0'), &number))
			return false;
	}
	if (at == *text)
		return false;
	*text = at;
	*out = number;
	return true;
}

static const char *number_parse(const struct value *value, const char *text)
{
	uint64_t number;

	if (!take_digits(&text, &number) || *text != '\0')
		return "not a number; write decimal digits alone";
	return store_checked(value, number);
}

/* Each letter is 1024 times the one before it. */
static const char size_letters[] = "KMGT";
static const char size_letters_small[] = "kmgt";

static const char *size_parse(const struct value *value, const char *text)
{
	static const char reason[] =
		"not a size; write a number of bytes, or one with K, M, G or T, such as 10G";
	const char *letter = NULL;
	uint64_t number;
	unsigned power = 0;

	if (!take_digits(&text, &number))
		return reason;
	if (*text != '\0') {
		letter = strchr(size_letters, *text);
		if (letter != NULL) {
			power = (unsigned)(letter - size_letters) + 1;
		} else if ((letter = strchr(size_letters_small, *text)) != NULL) {
			power = (unsigned)(letter - size_letters_small) + 1;
		}
		if (letter == NULL || text[1] != '\0')
			return reason;
	}
	if (!checked_mul(number, 1ull << (10 * power), &number))
		return conf_reason_range;
	return store_checked(value, number);
}

/* The digits before a '%', which ends the text, into *out. */
static bool take_percent(const char *text, uint64_t *out)
{
	return take_digits(&text, out) && strcmp(text, "%") == 0;
}

static const char *percent_parse(const struct value *value, const char *text)
{
	uint64_t number;

	if (!take_percent(text, &number))
		return "not a percentage; write a number and '%', such as 80%";
	return store_checked(value, number);
}

/* The bounds of the option are those of a size; a percentage has its own. */
static const char *share_parse(const struct value *value, const char *text)
{
	uint64_t percent;

	if (strchr(text, '%') == NULL)
		return size_parse(value, text);
	if (!take_percent(text, &percent) || percent >= CONF_SHARE_PERCENT_MAX)
		return "not a share; write a percentage below 100%, or a size such as 10G";
	store(value, percent);
	return NULL;
}

static const char *duration_parse(const struct value *value, const char *text)
{
	uint64_t number;
	uint64_t unit_ms;

	if (!take_digits(&text, &number))
		return "not a duration; write seconds such as 15s, or milliseconds such as 500ms";
	if (*text == '\0' || strcmp(text, "s") == 0) {
		unit_ms = 1000;
	} else if (strcmp(text, "ms") == 0) {
		unit_ms = 1;
	} else {
		return "not a duration; write seconds such as 15s, or milliseconds such as 500ms";
	}
	if (!checked_mul(number, unit_ms, &number))
		return conf_reason_range;
	return store_checked(value, number);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static const char *company_id_parse(const struct value *value, const char *text)
{
	static const char reason[] =
		"not a company identifier; write three bytes in hexadecimal, such as 52-53-4E";
	uint32_t id = 0;

	if (strlen(text) != 8)
		return reason;
	for (unsigned i = 0; i < 8; i++) {
		int digit = hex_digit(text[i]);

		if (i % 3 == 2 ? text[i] != '-' : digit < 0)
			return reason;
		if (i % 3 != 2)
			id = id << 4 | (uint32_t)digit;
	}
	store(value, id);
	return NULL;
}

static const char *switch_parse(const struct value *value, const char *text)
{
	static const struct {
		const char *text;
		bool on;
	} rows[] = {
		{"on", true},   {"yes", true}, {"true", true},
		{"off", false}, {"no", false}, {"false", false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (strcmp(text, rows[i].text) == 0) {
			memcpy(value->field, &rows[i].on, sizeof(rows[i].on));
			return NULL;
		}
	}
	return "not a switch; on or off (or yes, no, true, false) is right";
}

static const char *word_parse(const struct value *value, const char *text)
{
	for (uint32_t i = 0; value->option->words[i] != NULL; i++) {
		if (strcmp(text, value->option->words[i]) == 0) {
			store(value, i);
			return NULL;
		}
	}
	return conf_reason_range;
}

static const char *text_parse(const struct value *value, const char *text)
{
	const struct conf_option *option = value->option;
	size_t length = strlen(text);
	const char *reason = NULL;
	char *copy;

	if (length < option->min || length > option->max)
		return conf_reason_range;
	copy = conf_memory_copy(value->memory, text, length);
	if (copy == NULL)
		return "not read, because memory is short; free some";
	for (size_t i = 0; option->lower_case && i < length; i++) {
		if (copy[i] >= 'A' && copy[i] <= 'Z')
			copy[i] = (char)(copy[i] - 'A' + 'a');
	}
	if (option->check_text != NULL)
		reason = option->check_text(copy);
	if (reason == NULL)
		memcpy(value->field, &copy, sizeof(copy));
	return reason;
}

/* Take out what makes two spellings of one path differ: "//" and "/./". Not "..", whose meaning
 * depends on symbolic links. */
static void normalise_path(char *path)
{
	char *to = path;

	for (const char *from = path; *from != '\0';) {
		if (from[0] == '/' && from[1] == '/') {
			from++;
		} else if (from[0] == '/' && from[1] == '.' &&
			   (from[2] == '/' || from[2] == '\0')) {
			from += 2;
		} else {
			*to++ = *from++;
		}
	}
	if (to == path)
		*to++ = '/';
	*to = '\0';
}

static const char *path_parse(const struct value *value, const char *text)
{
	const char *reason;
	char *path;

	if (text[0] != '/') {
		return "not an absolute path; begin it with '/', since a daemon has no folder of "
		       "its own";
	}
	reason = text_parse(value, text);
	if (reason == NULL) {
		memcpy(&path, value->field, sizeof(path));
		normalise_path(path);
	}
	return reason;
}

static const char *host_parse(const struct value *value, const char *text)
{
	char name[CONF_HOST_NAME_MAX];
	struct conf_host host = {0};
	const char *reason = conf_host_parse(text, name, &host.port);

	if (reason != NULL)
		return reason;
	host.name = conf_memory_copy(value->memory, name, strlen(name));
	memcpy(value->field, &host, sizeof(host));
	return NULL;
}

static const char *network_parse(const struct value *value, const char *text)
{
	struct conf_network network;
	const char *reason = conf_network_parse(text, &network);

	if (reason == NULL)
		memcpy(value->field, &network, sizeof(network));
	return reason;
}

void conf_number_to_text(enum conf_type type, uint64_t number, char out[CONF_NUMBER_TEXT_MAX])
{
	const char *unit = "";
	unsigned power = 0;

	if (type == CONF_PERCENT || (type == CONF_SHARE && number <= CONF_SHARE_PERCENT_MAX)) {
		unit = "%";
	} else if (type == CONF_SIZE || type == CONF_SHARE) {
		while (power < sizeof(size_letters) - 1 && number != 0 && number % 1024 == 0) {
			number /= 1024;
			power++;
		}
	} else if (type == CONF_DURATION) {
		unit = number % 1000 == 0 ? "s" : "ms";
		number = number % 1000 == 0 ? number / 1000 : number;
	}
	(void)snprintf(out, CONF_NUMBER_TEXT_MAX, "%" PRIu64 "%s%.*s", number, unit,
		       power > 0 ? 1 : 0, &size_letters[power > 0 ? power - 1 : 0]);
}

static bool always_set(const struct conf_option *option UNUSED, const void *field UNUSED)
{
	return true;
}

static void number_print(const struct conf_option *option, const void *field, FILE *out)
{
	char text[CONF_NUMBER_TEXT_MAX];

	conf_number_to_text(option->type, load(option, field), text);
	(void)fputs(text, out);
}

static bool number_equal(const struct conf_option *option, const void *a, const void *b)
{
	return memcmp(a, b, option->width) == 0;
}

/* A size of 0 is one that was not given: no option of this type has it in its range. */
static bool size_is_set(const struct conf_option *option, const void *field)
{
	return load(option, field) != 0;
}

static void company_id_print(const struct conf_option *option, const void *field, FILE *out)
{
	uint64_t id = load(option, field);

	(void)fprintf(out, "%02X-%02X-%02X", (unsigned)(id >> 16 & 0xff),
		      (unsigned)(id >> 8 & 0xff), (unsigned)(id & 0xff));
}

static void switch_print(const struct conf_option *option UNUSED, const void *field, FILE *out)
{
	bool on;

	memcpy(&on, field, sizeof(on));
	(void)fputs(on ? "on" : "off", out);
}

static void word_print(const struct conf_option *option, const void *field, FILE *out)
{
	(void)fputs(option->words[load(option, field)], out);
}

static const char *load_text(const void *field)
{
	const char *text;

	memcpy(&text, field, sizeof(text));
	return text;
}

static bool text_is_set(const struct conf_option *option UNUSED, const void *field)
{
	return load_text(field) != NULL;
}

/* In single quotes where there is a dollar sign, which means something in double ones. */
static void quote(const char *text, FILE *out)
{
	char mark = strchr(text, '$') != NULL ? '\'' : '"';

	(void)fputc(mark, out);
	for (; *text != '\0'; text++) {
		if (*text == mark || *text == '\\')
			(void)fputc('\\', out);
		(void)fputc(*text, out);
	}
	(void)fputc(mark, out);
}

static void text_print(const struct conf_option *option UNUSED, const void *field, FILE *out)
{
	quote(load_text(field), out);
}

static bool same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool text_equal(const struct conf_option *option UNUSED, const void *a, const void *b)
{
	return same_text(load_text(a), load_text(b));
}

static struct conf_host load_host(const void *field)
{
	struct conf_host host;

	memcpy(&host, field, sizeof(host));
	return host;
}

static bool host_is_set(const struct conf_option *option UNUSED, const void *field)
{
	return load_host(field).name != NULL;
}

static void host_print(const struct conf_option *option UNUSED, const void *field, FILE *out)
{
	struct conf_host host = load_host(field);
	bool brackets = strchr(host.name, ':') != NULL;

	(void)fprintf(out, "\"%s%s%s", brackets ? "[" : "", host.name, brackets ? "]" : "");
	if (host.port != 0)
		(void)fprintf(out, ":%u", host.port);
	(void)fputc('"', out);
}

static bool host_equal(const struct conf_option *option UNUSED, const void *a, const void *b)
{
	struct conf_host host = load_host(a);
	struct conf_host other = load_host(b);

	return same_text(host.name, other.name) && host.port == other.port;
}

static void network_print(const struct conf_option *option UNUSED, const void *field, FILE *out)
{
	struct conf_network network;
	char text[CONF_NETWORK_TEXT_MAX];

	memcpy(&network, field, sizeof(network));
	conf_network_to_text(&network, text);
	(void)fprintf(out, "\"%s\"", text);
}

static bool network_equal(const struct conf_option *option UNUSED, const void *a, const void *b)
{
	struct conf_network network;
	struct conf_network other;

	memcpy(&network, a, sizeof(network));
	memcpy(&other, b, sizeof(other));
	return network.family == other.family && network.prefix_bits == other.prefix_bits &&
	       memcmp(network.bytes, other.bytes, sizeof(network.bytes)) == 0;
}

static const struct type_row type_rows[CONF_TYPE_COUNT] = {
	[CONF_NUMBER] = {number_parse, always_set, number_print, number_equal},
	[CONF_SIZE] = {size_parse, size_is_set, number_print, number_equal},
	[CONF_DURATION] = {duration_parse, always_set, number_print, number_equal},
	[CONF_PERCENT] = {percent_parse, always_set, number_print, number_equal},
	[CONF_SHARE] = {share_parse, always_set, number_print, number_equal},
	[CONF_COMPANY_ID] = {company_id_parse, always_set, company_id_print, number_equal},
	[CONF_SWITCH] = {switch_parse, always_set, switch_print, number_equal},
	[CONF_WORD] = {word_parse, always_set, word_print, number_equal},
	[CONF_TEXT] = {text_parse, text_is_set, text_print, text_equal},
	[CONF_PATH] = {path_parse, text_is_set, text_print, text_equal},
	[CONF_HOST] = {host_parse, host_is_set, host_print, host_equal},
	[CONF_NETWORK] = {network_parse, always_set, network_print, network_equal},
};

const char *conf_value_parse(const struct conf_option *option, const char *text,
			     struct conf_memory *memory, void *field)
{
	const struct value value = {.option = option, .memory = memory, .field = field};

	/* Reasons are constant strings; none points into the value. */
	/* cppcheck-suppress returnDanglingLifetime */
	return type_rows[option->type].parse(&value, text);
}

void conf_value_stand_in(const struct conf_option *option, const char *text,
			 struct conf_memory *memory, void *field)
{
	const struct value value = {.option = option, .memory = memory, .field = field};
	char *copy;

	if (option->type == CONF_SIZE)
		store(&value, option->min);
	if (option->type != CONF_TEXT && option->type != CONF_PATH)
		return;
	copy = conf_memory_copy(memory, text, strlen(text));
	memcpy(field, &copy, sizeof(copy));
}

bool conf_value_is_set(const struct conf_option *option, const void *field)
{
	return type_rows[option->type].is_set(option, field);
}

void conf_value_print(const struct conf_option *option, const void *field, FILE *out)
{
	type_rows[option->type].print(option, field, out);
}

bool conf_value_equal(const struct conf_option *option, const void *a, const void *b)
{
	return type_rows[option->type].equal(option, a, b);
}
