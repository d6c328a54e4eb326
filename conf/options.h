/*
 * The schema: every section and every option of the configuration file, in one constant table. The
 * parser, the defaults, conf_dump, conf_equal and the test that the manual is complete all read it;
 * adding an option is one row (and its paragraph in ringsan.conf.5, which that test asks for).
 *
 * Read next: options_table.c (the rows), value.h (what the types mean).
 */
#ifndef CONF_OPTIONS_H
#define CONF_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A parent stands before its children. */
enum conf_section_id {
	CONF_SECTION_ROOT,
	CONF_SECTION_LIMITS,
	CONF_SECTION_DISCOVERY_AUTH,
	CONF_SECTION_PORTAL,
	CONF_SECTION_POOL,
	CONF_SECTION_TARGET,
	CONF_SECTION_LUN,
	CONF_SECTION_ACCESS,
	CONF_SECTION_AUTH,
	CONF_SECTION_COUNT
};

enum conf_type {
	CONF_NUMBER,     /* uint16_t, uint32_t or uint64_t, by width. */
	CONF_SIZE,       /* The same, in bytes; suffixes K, M, G, T. */
	CONF_DURATION,   /* uint32_t, in milliseconds; suffixes s and ms. */
	CONF_PERCENT,    /* uint32_t, 0 to 100, written with a '%'. */
	CONF_SHARE,      /* uint64_t: a percentage, or a size, which is more than 100. */
	CONF_COMPANY_ID, /* uint32_t, 24 bits, written XX-XX-XX. */
	CONF_SWITCH,     /* bool; yes/no, on/off, true/false. */
	CONF_WORD,       /* An enum: the index in `words`. */
	CONF_TEXT,       /* char *. */
	CONF_PATH,       /* char *, absolute. */
	CONF_HOST,       /* struct conf_host. */
	CONF_NETWORK,    /* struct conf_network. */
	CONF_TYPE_COUNT
};

/* When a changed value takes effect. */
enum conf_effect {
	CONF_EFFECT_RESTART, /* When the daemon starts again. */
	CONF_EFFECT_LIVE,    /* When the daemon is told to read the file again. */
};

/* A validator answers NULL or a constant reason: "what is wrong; what would be right". */
typedef const char *conf_check_number_fn(uint64_t number);
typedef const char *conf_check_text_fn(const char *text);

struct conf_option {
	const char *name;
	enum conf_type type;
	enum conf_effect effect;
	bool list;           /* { a, b, c }; the field is a struct of items and count. */
	bool lower_case;     /* CONF_TEXT: letters are folded before they are checked and kept. */
	uint16_t offset;     /* Of the field in the section's struct. */
	uint16_t width;      /* Of the field, or of one item of a list. */
	const char *initial; /* The default, as one would write it; NULL: none. */
	uint64_t min, max; /* Of the number (a duration's in milliseconds), or bytes of the text. */
	const char *const *words; /* CONF_WORD: NULL-terminated. */
	conf_check_number_fn *check_number;
	conf_check_text_fn *check_text;
};

struct conf_section {
	const char *name;  /* "" for the root. */
	const char *title; /* What the title is, for messages; NULL: the section has none. */
	enum conf_section_id parent;
	bool many; /* May occur more than once. */
	const struct conf_option *options;
	size_t option_count;
};

extern const struct conf_section conf_sections[CONF_SECTION_COUNT];

/* Bounds the arrays that libConfuse is given: options and child sections of one section. */
#define CONF_SECTION_NAMES_MAX 24u

/* The option of that name in the section, or NULL. */
const struct conf_option *conf_option_find(enum conf_section_id section, const char *name);
/* The first option behind `after` (NULL: of all) in which two structs of the section differ, or
 * NULL. dump.c */
const struct conf_option *conf_next_difference(enum conf_section_id section, const void *a,
					       const void *b, const struct conf_option *after);
/* The section of that name, or CONF_SECTION_COUNT. */
enum conf_section_id conf_section_find(const char *name);
/* The name known in `section` that is most like `name`, or NULL if none is like it. */
const char *conf_name_nearest(enum conf_section_id section, const char *name);

#endif
