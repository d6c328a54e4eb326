/*
 * libConfuse, held at arm's length. The table of options becomes its table; every value is taken as
 * a word by a callback that notes the line, since libConfuse forgets lines and overwrites what is
 * given twice. Its lexer is static memory, hence one parser at a time: control thread.
 *
 * Three liberties are taken with its public structures: an option's unused default number remembers
 * the line of its last value; a section's title gets a number in front when the section ends, so
 * that a second section of that title stands beside the first instead of replacing it; and the
 * title of a section without one is that number alone.
 *
 * Read next: scan.c (what is kept from libConfuse), build.c (what the words mean).
 */
#include "conf/syntax.h"

#include <confuse.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/attr.h"
#include "conf/scan.h"

struct conf_syntax {
	cfg_t *root;
	char *text;
	const char *file;
	struct conf_errors *errors;
	struct conf_scan scan;
	size_t sections_ended;
	bool failed; /* An error of syntax has been added. */
	cfg_opt_t tables[CONF_SECTION_COUNT][CONF_SECTION_NAMES_MAX + 1];
};

/* What the callbacks work for: libConfuse hands them nothing of ours. */
static struct conf_syntax *parsing;

/* Titles are kept as "NUMBER\nTITLE"; scan.c refuses a newline in what the file says. */
#define TITLE_MARK '\n'

static int on_value(cfg_t *cfg, cfg_opt_t *opt, const char *text, void *result)
{
	size_t bytes = strlen(text) + 1;
	struct conf_setting **out = result;
	struct conf_setting *setting;

	if (opt->nvalues > CONF_LIST_MAX) {
		parsing->failed = true;
		conf_errors_add(
			parsing->errors, (struct conf_place){parsing->file, cfg->line},
			"%s has more than %d values; use patterns or networks that cover several",
			opt->name, (int)CONF_LIST_MAX);
		return -1;
	}
	setting = malloc(sizeof(*setting) + bytes);
	if (setting == NULL)
		return -1;
	setting->line = cfg->line;
	/* The first value of a list may come after an earlier list; the others may not. */
	setting->earlier_line = opt->nvalues == 1 ? (int)opt->def.number : 0;
	memcpy(setting->text, text, bytes);
	opt->def.number = cfg->line;
	*out = setting;
	return 0;
}

static int on_section_end(cfg_t *cfg UNUSED, cfg_opt_t *opt)
{
	cfg_t *section = opt->values[opt->nvalues - 1]->section;
	const char *title = section->title == NULL ? "" : section->title;
	const char *mark = strchr(title, TITLE_MARK);
	size_t number = parsing->sections_ended++;
	char *marked;

	/* The end of the file ends sections, too, for libConfuse; the scanner has noted the error.
	 */
	if (number >= parsing->scan.section_count)
		return 0;
	/* One that may occur once is the same object the second time. */
	if (mark != NULL) {
		conf_errors_add(
			parsing->errors,
			(struct conf_place){parsing->file, parsing->scan.section_lines[number]},
			"section '%s' is given twice, first in line %d; join them", opt->name,
			conf_node_line(parsing, (const struct conf_node *)section));
		return 0;
	}
	if (asprintf(&marked, "%zu%c%s", number, TITLE_MARK, title) < 0)
		return -1;
	free(section->title);
	section->title = marked;
	return 0;
}

static void report_unknown(const cfg_t *cfg, struct conf_place place, const char *name)
{
	const char *inside = strcmp(cfg->name, "root") == 0 ? "" : cfg->name;
	enum conf_section_id section = conf_section_find(inside);
	const char *nearest = conf_name_nearest(section, name);
	enum conf_section_id home = CONF_SECTION_ROOT;

	while (home < CONF_SECTION_COUNT && conf_option_find(home, name) == NULL)
		home++;
	if (home == CONF_SECTION_ROOT) {
		conf_errors_add(
			parsing->errors, place,
			"'%s' does not belong in section '%s'; it stands outside all sections",
			name, inside);
	} else if (home < CONF_SECTION_COUNT) {
		conf_errors_add(parsing->errors, place,
				"'%s' does not belong here; it stands in section '%s'", name,
				conf_sections[home].name);
	} else if (nearest != NULL) {
		conf_errors_add(parsing->errors, place, "unknown option '%s'; did you mean '%s'?",
				name, nearest);
	} else {
		conf_errors_add(parsing->errors, place,
				"unknown option '%s'; see ringsan.conf(5) for those there are",
				name);
	}
}

/* What libConfuse says, by its formats, and what we say: before its one argument and behind. */
static const struct message_row {
	const char *format;
	const char *before;
	const char *after;
} message_rows[] = {
	{"unexpected token '%s'", "unexpected '",
	 "'; write NAME = VALUE, or NAME = { VALUE, VALUE } for a list"},
	{"missing equal sign after option '%s'", "no '=' after '", "'; write NAME = VALUE"},
	{"missing opening brace for section '%s'", "no '{' for section '",
	 "'; write it behind the section's name and title"},
	{"missing title for section '%s'", "no title for section '",
	 "'; write it between the name and '{'"},
	{"attempt to append to non-list option '%s'", "'+=' for '",
	 "', which takes one value; write '='"},
};

static void on_error(cfg_t *cfg, const char *format, va_list args)
{
	struct conf_place place = {parsing->file, cfg->line};

	/* The scanner knows of a better place: where the brace was opened, or where it cut. */
	if (strcmp(format, "premature end of file") == 0 && parsing->scan.reason != NULL)
		return;
	parsing->failed = true;
	if (strcmp(format, "no such option '%s'") == 0) {
		report_unknown(cfg, place, va_arg(args, const char *));
		return;
	}
	if (strcmp(format, "unexpected closing brace") == 0) {
		conf_errors_add(parsing->errors, place, "a closing brace too many; remove it");
		return;
	}
	if (strcmp(format, "premature end of file") == 0) {
		conf_errors_add(parsing->errors, place,
				"the file ends before the value; write NAME = VALUE");
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(message_rows); i++) {
		const struct message_row *row = &message_rows[i];

		if (strcmp(format, row->format) == 0) {
			conf_errors_add(parsing->errors, place, "%s%s%s", row->before,
					va_arg(args, const char *), row->after);
			return;
		}
	}
	conf_errors_add(parsing->errors, place, "not understood; see ringsan.conf(5)");
}

static void fill_section(cfg_opt_t *opt, struct conf_syntax *syntax, enum conf_section_id id)
{
	const struct conf_section *section = &conf_sections[id];

	opt->name = section->name;
	opt->type = CFGT_SEC;
	opt->flags = (section->many ? CFGF_MULTI : CFGF_NONE) |
		     (section->title != NULL ? CFGF_TITLE : CFGF_NONE);
	opt->subopts = syntax->tables[id];
	opt->validcb = on_section_end;
}

static void fill_table(struct conf_syntax *syntax, enum conf_section_id id)
{
	const struct conf_section *section = &conf_sections[id];
	cfg_opt_t *opt = syntax->tables[id];

	for (size_t i = 0; i < section->option_count; i++, opt++) {
		opt->name = section->options[i].name;
		opt->type = CFGT_PTR;
		opt->flags = section->options[i].list ? CFGF_LIST : CFGF_NONE;
		opt->parsecb = on_value;
		opt->freecb = free;
	}
	for (enum conf_section_id child = CONF_SECTION_ROOT + 1; child < CONF_SECTION_COUNT;
	     child++) {
		if (conf_sections[child].parent == id)
			fill_section(opt++, syntax, child);
	}
}

/* Give the text to libConfuse. Its answer matters only when nobody has explained it. */
static int run(struct conf_syntax *syntax)
{
	int result;

	for (enum conf_section_id id = CONF_SECTION_ROOT; id < CONF_SECTION_COUNT; id++)
		fill_table(syntax, id);
	syntax->root = cfg_init(syntax->tables[CONF_SECTION_ROOT], CFGF_NONE);
	if (syntax->root == NULL)
		return -ENOMEM;
	cfg_set_error_function(syntax->root, on_error);
	parsing = syntax;
	result = cfg_parse_buf(syntax->root, syntax->text);
	parsing = NULL;
	if (!syntax->failed && syntax->scan.reason != NULL) {
		syntax->failed = true;
		conf_errors_add(syntax->errors,
				(struct conf_place){syntax->file, syntax->scan.line}, "%s",
				syntax->scan.reason);
	}
	if (syntax->failed)
		return -EINVAL;
	return result == CFG_SUCCESS ? 0 : -ENOMEM;
}

int conf_syntax_parse(const struct conf_text *text, struct conf_errors *errors,
		      struct conf_syntax **out)
{
	struct conf_syntax *syntax = calloc(1, sizeof(*syntax));
	int result = -ENOMEM;

	*out = NULL;
	if (syntax == NULL)
		return -ENOMEM;
	syntax->file = text->name;
	syntax->errors = errors;
	syntax->text = malloc(text->length + 1);
	if (syntax->text == NULL)
		goto out;
	memcpy(syntax->text, text->text, text->length);
	syntax->text[text->length] = '\0';
	result = conf_scan_text(syntax->text, text->length, &syntax->scan);
	if (result == 0)
		result = run(syntax);
out:
	if (result == -ENOMEM) {
		conf_syntax_free(syntax);
	} else {
		*out = syntax;
	}
	return result;
}

void conf_syntax_free(struct conf_syntax *syntax)
{
	if (syntax == NULL)
		return;
	if (syntax->root != NULL)
		cfg_free(syntax->root);
	conf_scan_clear(&syntax->scan);
	free(syntax->text);
	free(syntax);
}

struct conf_node *conf_syntax_root(struct conf_syntax *syntax)
{
	return (struct conf_node *)syntax->root;
}

static cfg_opt_t *find(struct conf_node *node, const char *name)
{
	return cfg_getopt((cfg_t *)node, name);
}

size_t conf_node_count(struct conf_node *node, enum conf_section_id section)
{
	return cfg_opt_size(find(node, conf_sections[section].name));
}

struct conf_node *conf_node_child(struct conf_node *node, enum conf_section_id section,
				  size_t index)
{
	cfg_opt_t *opt = find(node, conf_sections[section].name);

	return (struct conf_node *)cfg_opt_getnsec(opt, (unsigned)index);
}

const char *conf_node_title(const struct conf_node *node)
{
	const char *title = ((const cfg_t *)node)->title;
	const char *mark = title == NULL ? NULL : strchr(title, TITLE_MARK);

	if (mark != NULL)
		return mark + 1;
	return title == NULL ? "" : title;
}

int conf_node_line(const struct conf_syntax *syntax, const struct conf_node *node)
{
	const char *title = ((const cfg_t *)node)->title;

	if (title == NULL || strchr(title, TITLE_MARK) == NULL)
		return 0;
	return syntax->scan.section_lines[strtoul(title, NULL, 10)];
}

size_t conf_node_setting_count(struct conf_node *node, const struct conf_option *option)
{
	cfg_opt_t *opt = find(node, option->name);
	unsigned count = cfg_opt_size(opt);

	/* The value at which the parser stopped is counted but not there. */
	return count > 0 && cfg_opt_getnptr(opt, count - 1) == NULL ? count - 1 : count;
}

const struct conf_setting *conf_node_setting(struct conf_node *node,
					     const struct conf_option *option, size_t index)
{
	return cfg_opt_getnptr(find(node, option->name), (unsigned)index);
}
