/*
 * The syntax of a configuration file: sections, titles, and values as words with their lines. What
 * the words mean is not asked here. libConfuse does the work and is seen by syntax.c alone.
 */
#ifndef CONF_SYNTAX_H
#define CONF_SYNTAX_H

#include "conf/errors.h"
#include "conf/options.h"
#include "conf/parse.h"

struct conf_syntax;
/* A section of the file. Lives as long as the struct conf_syntax. */
struct conf_node;

/* A value as it was written. */
struct conf_setting {
	int line;
	int earlier_line; /* Where the same option was given before in this section; 0: nowhere. */
	char text[];
};

/*
 * Parse. Returns 0, or -EINVAL with one error added and *out holding what came before it, or
 * -ENOMEM with *out NULL. Control thread; not reentrant.
 */
int MUST_CHECK conf_syntax_parse(const struct conf_text *text, struct conf_errors *errors,
				 struct conf_syntax **out);
void conf_syntax_free(struct conf_syntax *syntax);

struct conf_node *conf_syntax_root(struct conf_syntax *syntax);
/* How often the child section occurs. One that may occur once counts as there, with line 0. */
size_t conf_node_count(struct conf_node *node, enum conf_section_id section);
struct conf_node *conf_node_child(struct conf_node *node, enum conf_section_id section,
				  size_t index);
/* "" where the section has none. */
const char *conf_node_title(const struct conf_node *node);
/* Where the section begins; 0 if it is absent or has not ended before the error of syntax. */
int conf_node_line(const struct conf_syntax *syntax, const struct conf_node *node);

size_t conf_node_setting_count(struct conf_node *node, const struct conf_option *option);
const struct conf_setting *conf_node_setting(struct conf_node *node,
					     const struct conf_option *option, size_t index);

#endif
