/*
 * From the words of the file to struct conf: the table of options says which word goes where and as
 * what; only titles and the nesting of sections are written out here. Control thread.
 *
 * Read next: value.c (one value), check.c (all of them together).
 */
#include "conf/build.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/address.h"
#include "conf/names.h"
#include "conf/value.h"

/* Refused values are shown to this length, so that the rest of the message is seen, too. */
#define SHOWN_BYTES_MAX 80

struct builder {
	struct conf *conf;
	struct conf_syntax *syntax;
	struct conf_errors *errors;
};

static struct conf_place at(const struct builder *b, int line)
{
	return (struct conf_place){.file = b->conf->file, .line = line};
}

/* "auto, uring or aio" */
static void list_words(const char *const *words, char *out, size_t size)
{
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; words[i] != NULL && used < size; i++) {
		const char *before = i == 0 ? "" : words[i + 1] == NULL ? " or " : ", ";
		int n = snprintf(out + used, size - used, "%s%s", before, words[i]);

		used += n < 0 ? size : (size_t)n;
	}
}

static void report_range(const struct builder *b, const struct conf_option *option,
			 const struct conf_setting *setting)
{
	char least[CONF_NUMBER_TEXT_MAX];
	char most[CONF_NUMBER_TEXT_MAX];
	char words[128];

	if (option->type == CONF_WORD) {
		list_words(option->words, words, sizeof(words));
		conf_errors_add(b->errors, at(b, setting->line),
				"%s \"%.*s\": not known; %s is right", option->name,
				SHOWN_BYTES_MAX, setting->text, words);
	} else if (option->type == CONF_TEXT || option->type == CONF_PATH) {
		conf_errors_add(b->errors, at(b, setting->line),
				"%s \"%.*s\": %zu bytes long; at most %llu are right", option->name,
				SHOWN_BYTES_MAX, setting->text, strlen(setting->text),
				(unsigned long long)option->max);
	} else {
		conf_number_to_text(option->type, option->min, least);
		conf_number_to_text(option->type, option->max, most);
		conf_errors_add(b->errors, at(b, setting->line),
				"%s \"%.*s\": out of range; %s to %s is right", option->name,
				SHOWN_BYTES_MAX, setting->text, least, most);
	}
}

static void build_value(const struct builder *b, const struct conf_option *option,
			const struct conf_setting *setting, void *field)
{
	const char *reason;

	if (setting->earlier_line != 0) {
		conf_errors_add(b->errors, at(b, setting->line),
				"%s is given twice, first in line %d; leave one", option->name,
				setting->earlier_line);
	}
	reason = conf_value_parse(option, setting->text, b->conf->memory, field);
	if (reason == NULL)
		return;
	if (reason == conf_reason_range) {
		report_range(b, option, setting);
	} else {
		conf_errors_add(b->errors, at(b, setting->line), "%s \"%.*s\": %s", option->name,
				SHOWN_BYTES_MAX, setting->text, reason);
	}
	conf_value_stand_in(option, setting->text, b->conf->memory, field);
}

/* Lists are structs of a pointer and a count; see conf_strings. */
static void build_list(const struct builder *b, const struct conf_option *option,
		       struct conf_node *node, unsigned char *field)
{
	size_t count = conf_node_setting_count(node, option);
	unsigned char *items = conf_memory_take(b->conf->memory, count, option->width);

	if (items == NULL)
		return;
	for (size_t i = 0; i < count; i++) {
		build_value(b, option, conf_node_setting(node, option, i),
			    items + i * option->width);
	}
	memcpy(field, &items, sizeof(items));
	memcpy(field + sizeof(items), &count, sizeof(count));
}

static void build_option(const struct builder *b, const struct conf_option *option,
			 struct conf_node *node, unsigned char *field)
{
	const char *reason = NULL;

	if (option->list) {
		build_list(b, option, node, field);
		return;
	}
	if (option->initial != NULL)
		reason = conf_value_parse(option, option->initial, b->conf->memory, field);
	assert(reason == NULL || conf_memory_failed(b->conf->memory));
	if (conf_node_setting_count(node, option) > 0)
		build_value(b, option, conf_node_setting(node, option, 0), field);
}

/* All options of a section into the struct that belongs to it. */
static void build_options(const struct builder *b, enum conf_section_id id, struct conf_node *node,
			  void *into)
{
	const struct conf_section *section = &conf_sections[id];

	for (size_t i = 0; i < section->option_count; i++) {
		build_option(b, &section->options[i], node,
			     (unsigned char *)into + section->options[i].offset);
	}
}

/* How many child sections to build, and memory for them; what is beyond `max` is one error. */
static void *take_children(const struct builder *b, struct conf_node *node, enum conf_section_id id,
			   size_t max, size_t item_bytes, size_t *count)
{
	void *items;

	*count = conf_node_count(node, id);
	if (*count > max) {
		struct conf_node *first = conf_node_child(node, id, max);

		conf_errors_add(b->errors, at(b, conf_node_line(b->syntax, first)),
				"section '%s' occurs %zu times; at most %zu are right here",
				conf_sections[id].name, *count, max);
		*count = max;
	}
	items = conf_memory_take(b->conf->memory, *count, item_bytes);
	if (items == NULL)
		*count = 0;
	return items;
}

static void refuse_title(const struct builder *b, int line, const char *title, const char *reason)
{
	conf_errors_add(b->errors, at(b, line), "\"%.*s\": %s", SHOWN_BYTES_MAX, title, reason);
}

static void build_portal(const struct builder *b, struct conf_node *node,
			 struct conf_portal *portal)
{
	const char *title = conf_node_title(node);
	const char *reason = conf_address_parse(title, &portal->address);

	portal->line = conf_node_line(b->syntax, node);
	if (reason != NULL) {
		refuse_title(b, portal->line, title, reason);
		portal->address.family = AF_UNSPEC;
	}
	build_options(b, CONF_SECTION_PORTAL, node, portal);
}

static void build_pool(const struct builder *b, struct conf_node *node, struct conf_pool *pool)
{
	const char *title = conf_node_title(node);
	const char *reason = strlen(title) > CONF_POOL_NAME_BYTES_MAX
				     ? "longer than 64 bytes; shorten it"
				     : conf_check_serial(title);

	pool->line = conf_node_line(b->syntax, node);
	if (reason != NULL)
		refuse_title(b, pool->line, title, reason);
	pool->name = conf_memory_copy(b->conf->memory, title, strlen(title));
	build_options(b, CONF_SECTION_POOL, node, pool);
}

/* A pool without a section has what a section without options would have. */
static void build_default_pool(const struct builder *b, struct conf_pool *pool)
{
	const struct conf_section *section = &conf_sections[CONF_SECTION_POOL];

	for (size_t i = 0; i < section->option_count; i++) {
		const struct conf_option *option = &section->options[i];
		const char *reason = NULL;

		if (option->initial != NULL)
			reason = conf_value_parse(option, option->initial, b->conf->memory,
						  (unsigned char *)pool + option->offset);
		assert(reason == NULL || conf_memory_failed(b->conf->memory));
	}
}

static void build_lun(const struct builder *b, struct conf_node *node, struct conf_lun *lun)
{
	const char *title = conf_node_title(node);
	size_t digits = strspn(title, "0123456789");
	unsigned long number = strtoul(title, NULL, 10);

	lun->line = conf_node_line(b->syntax, node);
	lun->number = (uint16_t)number;
	if (digits == 0 || digits > 5 || title[digits] != '\0' || number > CONF_LUN_NUMBER_MAX) {
		refuse_title(b, lun->line, title, "not a LUN number; 0 to 16383 is right");
		lun->number = UINT16_MAX;
	}
	build_options(b, CONF_SECTION_LUN, node, lun);
}

static int compare_luns(const void *a, const void *b)
{
	const struct conf_lun *lun = a;
	const struct conf_lun *other = b;

	if (lun->number != other->number)
		return lun->number < other->number ? -1 : 1;
	return lun->line < other->line ? -1 : lun->line > other->line;
}

static void build_target_name(const struct builder *b, struct conf_target *target,
			      const char *title)
{
	const char *reason;
	char *name = conf_memory_copy(b->conf->memory, title, strlen(title));

	if (name == NULL)
		return;
	for (char *c = name; *c != '\0'; c++) {
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c - 'A' + 'a');
	}
	reason = strlen(name) > CONF_ISCSI_NAME_BYTES_MAX ? "longer than 223 bytes; shorten it"
							  : conf_check_iscsi_name(name);
	if (reason != NULL)
		refuse_title(b, target->line, title, reason);
	target->name = name;
}

static void build_target(const struct builder *b, struct conf_node *node,
			 struct conf_target *target)
{
	struct conf_node *auth = conf_node_child(node, CONF_SECTION_AUTH, 0);

	target->line = conf_node_line(b->syntax, node);
	build_target_name(b, target, conf_node_title(node));
	build_options(b, CONF_SECTION_TARGET, node, target);
	target->luns = take_children(b, node, CONF_SECTION_LUN, CONF_LUNS_PER_TARGET_MAX,
				     sizeof(*target->luns), &target->lun_count);
	for (size_t i = 0; i < target->lun_count; i++)
		build_lun(b, conf_node_child(node, CONF_SECTION_LUN, i), &target->luns[i]);
	if (target->lun_count > 0)
		qsort(target->luns, target->lun_count, sizeof(*target->luns), compare_luns);
	target->access = take_children(b, node, CONF_SECTION_ACCESS, CONF_ACCESS_RULES_MAX,
				       sizeof(*target->access), &target->access_count);
	for (size_t i = 0; i < target->access_count; i++) {
		struct conf_node *rule = conf_node_child(node, CONF_SECTION_ACCESS, i);

		target->access[i].line = conf_node_line(b->syntax, rule);
		build_options(b, CONF_SECTION_ACCESS, rule, &target->access[i]);
	}
	target->auth.line = conf_node_line(b->syntax, auth);
	build_options(b, CONF_SECTION_AUTH, auth, &target->auth);
}

void conf_build(struct conf *conf, struct conf_syntax *syntax, struct conf_errors *errors)
{
	const struct builder b = {.conf = conf, .syntax = syntax, .errors = errors};
	struct conf_node *root = conf_syntax_root(syntax);
	struct conf_node *auth = conf_node_child(root, CONF_SECTION_DISCOVERY_AUTH, 0);

	build_options(&b, CONF_SECTION_ROOT, root, conf);
	build_options(&b, CONF_SECTION_LIMITS, conf_node_child(root, CONF_SECTION_LIMITS, 0),
		      &conf->limits);
	conf->discovery_auth.line = conf_node_line(syntax, auth);
	build_options(&b, CONF_SECTION_DISCOVERY_AUTH, auth, &conf->discovery_auth);
	conf->portals = take_children(&b, root, CONF_SECTION_PORTAL, CONF_PORTALS_MAX,
				      sizeof(*conf->portals), &conf->portal_count);
	for (size_t i = 0; i < conf->portal_count; i++)
		build_portal(&b, conf_node_child(root, CONF_SECTION_PORTAL, i), &conf->portals[i]);
	conf->pools = take_children(&b, root, CONF_SECTION_POOL, CONF_POOLS_MAX,
				    sizeof(*conf->pools), &conf->pool_count);
	for (size_t i = 0; i < conf->pool_count; i++)
		build_pool(&b, conf_node_child(root, CONF_SECTION_POOL, i), &conf->pools[i]);
	build_default_pool(&b, &conf->pool_default);
	conf->targets = take_children(&b, root, CONF_SECTION_TARGET, CONF_TARGETS_MAX,
				      sizeof(*conf->targets), &conf->target_count);
	for (size_t i = 0; i < conf->target_count; i++)
		build_target(&b, conf_node_child(root, CONF_SECTION_TARGET, i), &conf->targets[i]);
}
