/*
 * Looking options and sections up by name, and guessing what a misspelt one was meant to be. Pure;
 * any thread.
 */
#include "conf/options.h"

#include <string.h>

/* Longer words than any name of ours are not compared. */
#define WORD_MAX 48u

const struct conf_option *conf_option_find(enum conf_section_id section, const char *name)
{
	const struct conf_section *row = &conf_sections[section];

	for (size_t i = 0; i < row->option_count; i++) {
		if (strcmp(row->options[i].name, name) == 0)
			return &row->options[i];
	}
	return NULL;
}

enum conf_section_id conf_section_find(const char *name)
{
	enum conf_section_id section = CONF_SECTION_ROOT;

	while (section < CONF_SECTION_COUNT && strcmp(conf_sections[section].name, name) != 0)
		section++;
	return section;
}

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Levenshtein's distance: insertions, deletions and replacements from one word to the other. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[WORD_MAX + 1];
	size_t length = strlen(b);

	if (strlen(a) > WORD_MAX || length > WORD_MAX)
		return WORD_MAX;
	for (unsigned j = 0; j <= length; j++)
		row[j] = j;
	for (unsigned i = 1; *a != '\0'; a++, i++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= length; j++) {
			unsigned replaced = diagonal + (*a == b[j - 1] ? 0 : 1);

			diagonal = row[j];
			row[j] = least(replaced, least(row[j], row[j - 1]) + 1);
		}
	}
	return row[length];
}

/* The best candidate so far; `limit` is one more than the distance that still counts. */
struct nearest {
	const char *name;
	unsigned limit;
};

static void consider(struct nearest *best, const char *name, const char *candidate)
{
	unsigned steps = distance(name, candidate);

	if (steps < best->limit)
		*best = (struct nearest){.name = candidate, .limit = steps};
}

const char *conf_name_nearest(enum conf_section_id section, const char *name)
{
	/* A third of the word may be wrong, two letters always. */
	unsigned third = (unsigned)least((unsigned)strlen(name), WORD_MAX) / 3;
	struct nearest best = {.limit = (third < 2 ? 2 : third) + 1};

	for (size_t i = 0; i < conf_sections[section].option_count; i++)
		consider(&best, name, conf_sections[section].options[i].name);
	for (size_t i = CONF_SECTION_ROOT + 1; i < CONF_SECTION_COUNT; i++) {
		if (conf_sections[i].parent == section)
			consider(&best, name, conf_sections[i].name);
	}
	return best.name;
}
