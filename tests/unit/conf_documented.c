/*
 * The manual and the commented example say of each option what the table says, and of none that
 * does not exist. Reads conf/ringsan.conf.5 and conf/examples/ringsan.conf, so it runs from the
 * root of the tree.
 */
#include "conf/options.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/value.h"

#define LINE_MAX_BYTES 256
#define OPTIONS_MAX 32u

/* Which options have been seen, by section and row. */
struct seen {
	bool option[CONF_SECTION_COUNT][OPTIONS_MAX];
};

typedef void line_fn(void *context, const char *line);

static void each_line(const char *path, line_fn *fn, void *context)
{
	char line[LINE_MAX_BYTES];
	FILE *file = fopen(path, "r");

	cr_assert_not_null(file, "%s: run this from the root of the tree", path);
	while (fgets(line, sizeof(line), file) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		fn(context, line);
	}
	(void)fclose(file);
}

static void mark(struct seen *seen, enum conf_section_id section, const struct conf_option *option)
{
	size_t row = (size_t)(option - conf_sections[section].options);

	cr_assert_lt(row, OPTIONS_MAX);
	cr_expect(!seen->option[section][row], "%s is documented twice", option->name);
	seen->option[section][row] = true;
}

static void expect_all(const struct seen *seen, const char *where)
{
	for (enum conf_section_id id = CONF_SECTION_ROOT; id < CONF_SECTION_COUNT; id++) {
		for (size_t i = 0; i < conf_sections[id].option_count; i++)
			cr_expect(seen->option[id][i], "section '%s', option %s: not in %s",
				  conf_sections[id].name, conf_sections[id].options[i].name, where);
	}
}

static void range_text(const struct conf_option *option, char *out, size_t size)
{
	char least[CONF_NUMBER_TEXT_MAX];
	char most[CONF_NUMBER_TEXT_MAX];

	out[0] = '\0';
	conf_number_to_text(option->type, option->min, least);
	conf_number_to_text(option->type, option->max, most);
	if (option->type == CONF_TEXT || option->type == CONF_PATH)
		(void)snprintf(out, size, " at most %s bytes;", most);
	else if (option->type == CONF_SWITCH)
		(void)snprintf(out, size, " on or off;");
	else if (option->type == CONF_NUMBER || option->type == CONF_SIZE ||
		 option->type == CONF_PERCENT || option->type == CONF_DURATION)
		(void)snprintf(out, size, " %s to %s;", least, most);
	for (size_t i = 0; option->type == CONF_WORD && option->words[i] != NULL; i++) {
		const char *behind = option->words[i + 1] == NULL   ? ";"
				     : option->words[i + 2] == NULL ? " or"
								    : ",";

		(void)snprintf(out + strlen(out), size - strlen(out), " %s%s", option->words[i],
			       behind);
	}
}

/* The line that ends an option's entry in the manual. */
static void default_line(const struct conf_option *option, char *out, size_t size)
{
	char range[LINE_MAX_BYTES];

	range_text(option, range, sizeof(range));
	(void)snprintf(out, size, "Default %s;%s %s.",
		       option->initial == NULL ? "none" : option->initial, range,
		       option->effect == CONF_EFFECT_LIVE ? "live" : "restart");
}

struct manual {
	struct seen seen;
	enum conf_section_id section; /* CONF_SECTION_COUNT: outside of the options. */
	const struct conf_option *option;
};

static void read_heading(struct manual *m, const char *title)
{
	char name[LINE_MAX_BYTES];

	m->section = CONF_SECTION_ROOT;
	if (strcmp(title, "Global options") == 0)
		return;
	cr_assert_eq(sscanf(title, "Section %255[a-z-]", name), 1, "%s", title);
	m->section = conf_section_find(name);
	cr_expect_neq(m->section, CONF_SECTION_COUNT, "the manual has a section '%s'", name);
}

static void read_manual_line(void *context, const char *line)
{
	struct manual *m = context;
	char name[LINE_MAX_BYTES];
	char expected[LINE_MAX_BYTES * 2];

	if (strncmp(line, ".Sh ", 4) == 0)
		m->section = CONF_SECTION_COUNT;
	if (strncmp(line, ".Ss ", 4) == 0)
		read_heading(m, line + 4);
	if (m->section == CONF_SECTION_COUNT)
		return;
	if (sscanf(line, ".It Cm %255s No =", name) == 1) {
		m->option = conf_option_find(m->section, name);
		cr_expect_not_null(m->option, "the manual has an option '%s'", name);
	}
	if (strncmp(line, "Default ", 8) == 0 && m->option != NULL) {
		default_line(m->option, expected, sizeof(expected));
		cr_expect_str_eq(line, expected, "%s:\n is %s\nnot %s", m->option->name, line,
				 expected);
		mark(&m->seen, m->section, m->option);
		m->option = NULL;
	}
}

Test(conf_documented, the_manual_says_what_the_table_says)
{
	static struct manual manual = {.section = CONF_SECTION_COUNT};

	each_line("conf/ringsan.conf.5", read_manual_line, &manual);
	expect_all(&manual.seen, "the manual");
}

struct example {
	struct seen seen;
	enum conf_section_id section;
};

/* Blanks and one '#' before what may be an option. */
static const char *uncomment(const char *line)
{
	line += strspn(line, "\t");
	return *line == '#' ? line + 1 : line;
}

static void read_option(struct example *e, const char *name, const char *value)
{
	const struct conf_option *option = conf_option_find(e->section, name);
	size_t quotes = value[0] == '"' ? 1 : 0;

	cr_assert_not_null(option, "the example has an option '%s' in section '%s'", name,
			   conf_sections[e->section].name);
	if (option->initial != NULL)
		cr_expect(strncmp(value + quotes, option->initial, strlen(option->initial)) == 0 &&
				  strlen(value) == strlen(option->initial) + 2 * quotes,
			  "%s is shown as %s", name, value);
	/* One option stands there twice: what it may be, and what the example needs. */
	if (strcmp(name, "initiators") != 0 || value[2] != '"' || value[3] != '*')
		mark(&e->seen, e->section, option);
}

static void read_example_line(void *context, const char *line)
{
	struct example *e = context;
	const char *text = uncomment(line);
	char name[LINE_MAX_BYTES];
	int used = 0;

	if (strcmp(text, "}") == 0)
		e->section = conf_sections[e->section].parent;
	if (sscanf(text, "%255[a-z0-9-] = %n", name, &used) == 1 && used > 0) {
		read_option(e, name, text + used);
	} else if (text[0] >= 'a' && text[0] <= 'z' && strchr(text, '{') != NULL &&
		   sscanf(text, "%255[a-z-]", name) == 1) {
		e->section = conf_section_find(name);
		cr_assert_neq(e->section, CONF_SECTION_COUNT, "the example has a section '%s'",
			      name);
	}
}

Test(conf_documented, the_example_shows_every_option_with_its_default)
{
	static struct example example;

	each_line("conf/examples/ringsan.conf", read_example_line, &example);
	expect_all(&example.seen, "conf/examples/ringsan.conf");
	cr_expect_eq(example.section, CONF_SECTION_ROOT);
}
