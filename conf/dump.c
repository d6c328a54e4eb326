/*
 * A configuration as text, and whether two are equal; both by the table of options. Control thread.
 *
 * Read next: options_table.c.
 */
#include "conf/parse.h"

#include <stdlib.h>
#include <string.h>

#include "conf/options.h"
#include "conf/value.h"

/* The list at an option's field: see conf_strings. */
struct list {
	const unsigned char *items;
	size_t count;
};

static struct list load_list(const unsigned char *field)
{
	struct list list;

	memcpy(&list.items, field, sizeof(list.items));
	memcpy(&list.count, field + sizeof(list.items), sizeof(list.count));
	return list;
}

static void dump_list(const struct conf_option *option, const unsigned char *field, FILE *out)
{
	struct list list = load_list(field);

	for (size_t i = 0; i < list.count; i++) {
		(void)fputs(i == 0 ? "{ " : ", ", out);
		conf_value_print(option, list.items + i * option->width, out);
	}
	(void)fputs(" }\n", out);
}

static bool is_set(const struct conf_option *option, const unsigned char *field)
{
	return option->list ? load_list(field).count > 0 : conf_value_is_set(option, field);
}

static void dump_options(enum conf_section_id id, const void *from, int depth, FILE *out)
{
	const struct conf_section *section = &conf_sections[id];

	for (size_t i = 0; i < section->option_count; i++) {
		const struct conf_option *option = &section->options[i];
		const unsigned char *field = (const unsigned char *)from + option->offset;

		if (!is_set(option, field))
			continue;
		(void)fprintf(out, "%.*s%s = ", depth, "\t\t", option->name);
		if (option->list) {
			dump_list(option, field, out);
			continue;
		}
		conf_value_print(option, field, out);
		(void)fputc('\n', out);
	}
}

static void dump_target(const struct conf_target *target, FILE *out)
{
	(void)fprintf(out, "target \"%s\" {\n", target->name);
	dump_options(CONF_SECTION_TARGET, target, 1, out);
	for (size_t i = 0; i < target->access_count; i++) {
		(void)fputs("\taccess {\n", out);
		dump_options(CONF_SECTION_ACCESS, &target->access[i], 2, out);
		(void)fputs("\t}\n", out);
	}
	if (target->auth.users.count > 0) {
		(void)fputs("\tauth {\n", out);
		dump_options(CONF_SECTION_AUTH, &target->auth, 2, out);
		(void)fputs("\t}\n", out);
	}
	for (size_t i = 0; i < target->lun_count; i++) {
		(void)fprintf(out, "\tlun %u {\n", target->luns[i].number);
		dump_options(CONF_SECTION_LUN, &target->luns[i], 2, out);
		(void)fputs("\t}\n", out);
	}
	(void)fputs("}\n", out);
}

static void dump_all(const struct conf *conf, FILE *out)
{
	char text[CONF_ADDRESS_TEXT_MAX];

	dump_options(CONF_SECTION_ROOT, conf, 0, out);
	(void)fputs("limits {\n", out);
	dump_options(CONF_SECTION_LIMITS, &conf->limits, 1, out);
	(void)fputs("}\n", out);
	if (conf->discovery_auth.users.count > 0) {
		(void)fputs("discovery-auth {\n", out);
		dump_options(CONF_SECTION_DISCOVERY_AUTH, &conf->discovery_auth, 1, out);
		(void)fputs("}\n", out);
	}
	for (size_t i = 0; i < conf->portal_count; i++) {
		conf_address_to_text(&conf->portals[i].address, text);
		(void)fprintf(out, "portal \"%s\" {\n", text);
		dump_options(CONF_SECTION_PORTAL, &conf->portals[i], 1, out);
		(void)fputs("}\n", out);
	}
	for (size_t i = 0; i < conf->pool_count; i++) {
		(void)fprintf(out, "pool \"%s\" {\n", conf->pools[i].name);
		dump_options(CONF_SECTION_POOL, &conf->pools[i], 1, out);
		(void)fputs("}\n", out);
	}
	for (size_t i = 0; i < conf->target_count; i++)
		dump_target(&conf->targets[i], out);
}

char *conf_dump(const struct conf *conf)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);
	bool failed;

	if (out == NULL)
		return NULL;
	dump_all(conf, out);
	failed = ferror(out) != 0;
	if (fclose(out) != 0 || failed) {
		free(text);
		return NULL;
	}
	return text;
}

static bool lists_equal(const struct conf_option *option, const unsigned char *a,
			const unsigned char *b)
{
	struct list one = load_list(a);
	struct list other = load_list(b);

	for (size_t i = 0; i < one.count && one.count == other.count; i++) {
		if (!conf_value_equal(option, one.items + i * option->width,
				      other.items + i * option->width))
			return false;
	}
	return one.count == other.count;
}

static bool option_equal(const struct conf_option *option, const void *a, const void *b)
{
	const unsigned char *one = (const unsigned char *)a + option->offset;
	const unsigned char *other = (const unsigned char *)b + option->offset;

	return option->list ? lists_equal(option, one, other)
			    : conf_value_equal(option, one, other);
}

const struct conf_option *conf_next_difference(enum conf_section_id id, const void *a,
					       const void *b, const struct conf_option *after)
{
	const struct conf_section *section = &conf_sections[id];
	size_t at = after ? (size_t)(after - section->options) + 1 : 0;

	while (at < section->option_count && option_equal(&section->options[at], a, b))
		at++;
	return at < section->option_count ? &section->options[at] : NULL;
}

static bool options_equal(enum conf_section_id id, const void *a, const void *b)
{
	return conf_next_difference(id, a, b, NULL) == NULL;
}

static bool portals_equal(const struct conf_portal *a, const struct conf_portal *b)
{
	char one[CONF_ADDRESS_TEXT_MAX];
	char other[CONF_ADDRESS_TEXT_MAX];

	conf_address_to_text(&a->address, one);
	conf_address_to_text(&b->address, other);
	return strcmp(one, other) == 0 && options_equal(CONF_SECTION_PORTAL, a, b);
}

static bool pools_equal(const struct conf *a, const struct conf *b)
{
	for (size_t i = 0; i < a->pool_count && a->pool_count == b->pool_count; i++) {
		if (strcmp(a->pools[i].name, b->pools[i].name) != 0 ||
		    !options_equal(CONF_SECTION_POOL, &a->pools[i], &b->pools[i]))
			return false;
	}
	return a->pool_count == b->pool_count;
}

static bool targets_equal(const struct conf_target *a, const struct conf_target *b)
{
	if (strcmp(a->name, b->name) != 0 || a->lun_count != b->lun_count ||
	    a->access_count != b->access_count || !options_equal(CONF_SECTION_TARGET, a, b) ||
	    !options_equal(CONF_SECTION_AUTH, &a->auth, &b->auth))
		return false;
	for (size_t i = 0; i < a->lun_count; i++) {
		if (a->luns[i].number != b->luns[i].number ||
		    !options_equal(CONF_SECTION_LUN, &a->luns[i], &b->luns[i]))
			return false;
	}
	for (size_t i = 0; i < a->access_count; i++) {
		if (!options_equal(CONF_SECTION_ACCESS, &a->access[i], &b->access[i]))
			return false;
	}
	return true;
}

bool conf_equal(const struct conf *a, const struct conf *b)
{
	if (!options_equal(CONF_SECTION_ROOT, a, b) ||
	    !options_equal(CONF_SECTION_LIMITS, &a->limits, &b->limits) ||
	    !options_equal(CONF_SECTION_DISCOVERY_AUTH, &a->discovery_auth, &b->discovery_auth) ||
	    !pools_equal(a, b) || a->portal_count != b->portal_count ||
	    a->target_count != b->target_count)
		return false;
	for (size_t i = 0; i < a->portal_count; i++) {
		if (!portals_equal(&a->portals[i], &b->portals[i]))
			return false;
	}
	for (size_t i = 0; i < a->target_count; i++) {
		if (!targets_equal(&a->targets[i], &b->targets[i]))
			return false;
	}
	return true;
}
