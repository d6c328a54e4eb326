/*
 * Every option: its default, its limits, and one beyond each. The limits come from the table, so a
 * new row is tested by being there.
 */
#include "conf/options.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/attr.h"
#include "conf/parse.h"

#define PORTAL "portal \"127.0.0.1:3260\" { }\n"

static struct conf *parse(const char *text, struct conf_errors *errors)
{
	const struct conf_text input = {.name = "f", .text = text, .length = strlen(text)};
	struct conf *conf;

	memset(errors, 0, sizeof(*errors));
	if (conf_parse_text(&input, &conf, errors) != 0)
		return NULL;
	return conf;
}

static struct conf *parse_right(const char *text)
{
	static struct conf_errors errors;
	struct conf *conf = parse(text, &errors);

	cr_assert_not_null(conf, "%s", errors.items[0].text);
	return conf;
}

Test(conf_options, defaults)
{
	static const char expected[] = "state-dir = \"/var/lib/ringsan\"\n"
				       "control-socket = \"/run/ringsan/ringsand.sock\"\n"
				       "engine = auto\n"
				       "loops = 0\n"
				       "log-level = info\n"
				       "company-id = 52-53-4E\n"
				       "limits {\n"
				       "\tmemory = 512M\n"
				       "\tqcow2-cache = 1G\n"
				       "\tsessions = 256\n"
				       "\tqueue-depth = 256\n"
				       "\tconnections-before-login = 256\n"
				       "\tconnections-before-login-per-source = 64\n"
				       "\tlogin-timeout = 15s\n"
				       "\trefusal-delay = 1s\n"
				       "\twrite-stall-timeout = 30s\n"
				       "\tnop-interval = 30s\n"
				       "\tnop-timeout = 30s\n"
				       "\tdata-out-timeout = 30s\n"
				       "}\n"
				       "portal \"127.0.0.1:3260\" {\n"
				       "\ttag = 1\n"
				       "}\n"
				       "target \"iqn.2026-11.io.ringsan:a\" {\n"
				       "\tstates-by-hosts = off\n"
				       "\tonline = on\n"
				       "\tredirect-permanent = off\n"
				       "\tscsi-events = off\n"
				       "\ttransition-time = 0s\n"
				       "\tlun 0 {\n"
				       "\t\ttype = raw\n"
				       "\t\timage = \"/a\"\n"
				       "\t\tcache = direct\n"
				       "\t\tlook-ahead = 16M\n"
				       "\t\twrite-cache = on\n"
				       "\t\twrite-cache-by-hosts = off\n"
				       "\t\tread-only = off\n"
				       "\t\tblock-size = 512\n"
				       "\t\tphysical-block-size = 4K\n"
				       "\t\twarn = 0%\n"
				       "\t\tvendor = \"RINGSAN\"\n"
				       "\t\tproduct = \"VIRTUAL-DISK\"\n"
				       "\t\trevision = \"0001\"\n"
				       "\t}\n"
				       "}\n";
	struct conf *conf =
		parse_right("portal \"127.0.0.1\" { }\n"
			    "target \"iqn.2026-11.io.ringsan:a\" { lun 0 { image = \"/a\" } }");
	char *text = conf_dump(conf);

	cr_expect_str_eq(text, expected, "%s", text);
	cr_expect_eq(conf->limits.memory_bytes, 512u << 20);
	cr_expect_eq(conf->limits.login_timeout_ms, 15000);
	cr_expect_eq(conf->company_id, 0x52534e);
	cr_expect_eq(conf->engine, LOOP_ENGINE_AUTO);
	cr_expect_eq(conf->log_level, LOG_LEVEL_INFO);
	cr_expect_eq(conf->targets[0].luns[0].allocation_unit, 0);
	cr_expect_eq(conf->pool_count, 0);
	cr_expect_eq(conf->pool_default.reserve, 256u << 20);
	cr_expect_eq(conf->pool_default.warn_percent, 80);
	free(text);
	conf_free(conf);
}

/* The text around an option's line, by section. What else is missing there does not matter. */
static const struct {
	const char *before;
	const char *after;
} around[CONF_SECTION_COUNT] = {
	[CONF_SECTION_LIMITS] = {"limits {\n", "}\n"},
	[CONF_SECTION_DISCOVERY_AUTH] = {"discovery-auth {\n", "}\n"},
	[CONF_SECTION_PORTAL] = {"portal \"127.0.0.2\" {\n", "}\n"},
	[CONF_SECTION_POOL] = {"pool \"p\" {\n", "}\n"},
	[CONF_SECTION_TARGET] = {"target \"eui.02004567A425678D\" {\n", "}\n"},
	[CONF_SECTION_LUN] = {"target \"eui.02004567A425678D\" {\nlun 0 {\n", "}}\n"},
	[CONF_SECTION_ACCESS] = {"target \"eui.02004567A425678D\" {\naccess {\n", "}}\n"},
	[CONF_SECTION_AUTH] = {"target \"eui.02004567A425678D\" {\nauth {\n", "}}\n"},
};

/* True if the option with this value is refused with a message about it that contains `words`. */
static bool refused(enum conf_section_id section, const struct conf_option *option,
		    const char *value, const char *words)
{
	static struct conf_errors errors;
	const char *before = around[section].before == NULL ? "" : around[section].before;
	const char *after = around[section].after == NULL ? "" : around[section].after;
	char start[64];
	char *text;
	bool found = false;

	cr_assert(asprintf(&text, PORTAL "%s%s = \"%s\"\n%s", before, option->name, value, after) >
		  0);
	(void)snprintf(start, sizeof(start), ": %s \"", option->name);
	conf_free(parse(text, &errors));
	for (size_t i = 0; i < errors.count; i++)
		found |= strstr(errors.items[i].text, start) != NULL &&
			 strstr(errors.items[i].text, words) != NULL;
	free(text);
	return found;
}

static const char *number_text(const struct conf_option *option, uint64_t number)
{
	static char text[32];

	(void)snprintf(text, sizeof(text), "%llu%s", (unsigned long long)number,
		       option->type == CONF_DURATION  ? "ms"
		       : option->type == CONF_PERCENT ? "%"
						      : "");
	return text;
}

static void check_number(enum conf_section_id section, const struct conf_option *option)
{
	cr_expect(option->min < option->max, "%s", option->name);
	cr_expect(!refused(section, option, number_text(option, option->min), ""), "%s at least",
		  option->name);
	cr_expect(!refused(section, option, number_text(option, option->max), ""), "%s at most",
		  option->name);
	cr_expect(refused(section, option, number_text(option, option->max + 1), "out of range"),
		  "%s above", option->name);
	if (option->min > 0)
		cr_expect(refused(section, option, number_text(option, option->min - 1),
				  "out of range"),
			  "%s below", option->name);
}

static void check_text(enum conf_section_id section, const struct conf_option *option)
{
	static char text[CONF_LIST_MAX * 64];

	memset(text, 0, sizeof(text));
	memset(text, 'a', option->max);
	text[0] = option->type == CONF_PATH ? '/' : 'a';
	cr_expect(!refused(section, option, text, "bytes long"), "%s at most", option->name);
	text[option->max] = 'a';
	/* The scanner refuses a value of 4096 bytes before anybody asks which option it is for. */
	if (option->max < 4095)
		cr_expect(refused(section, option, text, "bytes long"), "%s above", option->name);
}

static void check_words(enum conf_section_id section, const struct conf_option *option)
{
	for (size_t i = 0; option->words[i] != NULL; i++)
		cr_expect(!refused(section, option, option->words[i], ""), "%s", option->words[i]);
	cr_expect(refused(section, option, "nonsense", "not known"), "%s", option->name);
}

static void check_option(enum conf_section_id section, const struct conf_option *option)
{
	if (option->type == CONF_NUMBER || option->type == CONF_SIZE ||
	    option->type == CONF_SHARE || option->type == CONF_PERCENT ||
	    option->type == CONF_DURATION)
		check_number(section, option);
	else if (option->type == CONF_TEXT || option->type == CONF_PATH)
		check_text(section, option);
	else if (option->type == CONF_WORD)
		check_words(section, option);
	if (option->initial != NULL)
		cr_expect(!refused(section, option, option->initial, ""), "%s by default",
			  option->name);
}

Test(conf_options, each_limit_and_one_beyond)
{
	for (enum conf_section_id id = CONF_SECTION_ROOT; id < CONF_SECTION_COUNT; id++) {
		for (size_t i = 0; i < conf_sections[id].option_count; i++)
			check_option(id, &conf_sections[id].options[i]);
	}
}

Test(conf_options, names_are_unique_and_arrays_large_enough)
{
	for (enum conf_section_id id = CONF_SECTION_ROOT; id < CONF_SECTION_COUNT; id++) {
		const struct conf_section *section = &conf_sections[id];
		size_t names = section->option_count;

		for (enum conf_section_id child = CONF_SECTION_ROOT + 1; child < CONF_SECTION_COUNT;
		     child++)
			names += conf_sections[child].parent == id ? 1 : 0;
		cr_expect_leq(names, CONF_SECTION_NAMES_MAX);
		cr_expect_eq(conf_section_find(section->name), id);
		cr_expect(id == CONF_SECTION_ROOT || section->parent < id);
		for (size_t i = 0; i < section->option_count; i++)
			cr_expect_eq(conf_option_find(id, section->options[i].name),
				     &section->options[i]);
	}
}

Test(conf_options, sizes_take_suffixes)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} rows[] = {
		{"8388608", 8388608}, {"8192K", 8388608},    {"8m", 8388608},
		{"1G", 1u << 30},     {"1T", 1ull << 40},    {"1024g", 1ull << 40},
		{"9M", 9u << 20},     {"8388609", 8388609u},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char text[128];
		struct conf *conf;

		(void)snprintf(text, sizeof(text), PORTAL "limits { memory = %s }\n", rows[i].text);
		conf = parse_right(text);
		cr_expect_eq(conf->limits.memory_bytes, rows[i].bytes, "%s", rows[i].text);
		conf_free(conf);
	}
}

Test(conf_options, durations_take_units)
{
	struct conf *conf =
		parse_right(PORTAL "limits {\nlogin-timeout = 1500ms\nnop-interval = 0\n"
				   "nop-timeout = 7\ndata-out-timeout = 8s\n}\n");

	cr_expect_eq(conf->limits.login_timeout_ms, 1500);
	cr_expect_eq(conf->limits.nop_interval_ms, 0);
	cr_expect_eq(conf->limits.nop_timeout_ms, 7000);
	cr_expect_eq(conf->limits.data_out_timeout_ms, 8000);
	conf_free(conf);
}

Test(conf_options, pools)
{
	struct conf *conf =
		parse_right(PORTAL "pool \"fast\" { path = /srv reserve = 5% warn = 0% }\n"
				   "pool slow-1 { path = \"/s/\" reserve = 100G }\n"
				   "pool none { path = /n reserve = 0% }\n");
	char *text = conf_dump(conf);
	struct conf *again = parse_right(text);

	cr_assert_eq(conf->pool_count, 3);
	cr_expect_str_eq(conf->pools[0].name, "fast");
	cr_expect_str_eq(conf->pools[0].path, "/srv");
	cr_expect_eq(conf->pools[0].reserve, 5);
	cr_expect_eq(conf->pools[0].warn_percent, 0);
	cr_expect_eq(conf->pools[1].reserve, 100ull << 30);
	cr_expect_eq(conf->pools[1].warn_percent, 80);
	cr_expect_eq(conf->pools[2].reserve, 0);
	cr_expect_eq(conf->pools[2].line, 4);
	cr_expect(conf_equal(conf, again), "%s", text);
	again->pools[2].reserve = 1;
	cr_expect(!conf_equal(conf, again));
	conf_free(again);
	conf_free(conf);
	free(text);
}

Test(conf_options, comments_and_quotes_do_not_move_lines)
{
	struct conf *conf =
		parse_right("# one\n// two\n/* three\n * four */ loops /* = */ = # five\n\t2\r\n"
			    "portal # six\n '127.0.0.1:1' { # seven\n}\n"
			    "target \"iqn.2026-11.io.ringsan:A\" // nine\n{\n"
			    "alias = 'it\\'s \"${here}\" \\\\ \\n'\n"
			    "lun 3 {\nimage = \"/a#b//c/* \\\"d\\\" \\\\\"\n} }\n");

	cr_expect_eq(conf->loops, 2);
	cr_expect_eq(conf->portals[0].line, 7);
	cr_expect_eq(conf->portals[0].address.port, 1);
	cr_expect_eq(conf->targets[0].line, 10);
	cr_expect_str_eq(conf->targets[0].name, "iqn.2026-11.io.ringsan:a");
	cr_expect_str_eq(conf->targets[0].alias, "it's \"${here}\" \\ \\n");
	cr_expect_eq(conf->targets[0].luns[0].line, 12);
	cr_expect_str_eq(conf->targets[0].luns[0].image, "/a#b/c/* \"d\" \\");
	conf_free(conf);
}

Test(conf_options, luns_are_in_order_and_lists_append)
{
	struct conf *conf =
		parse_right(PORTAL "target \"iqn.2026-11.io.ringsan:a\" {\n"
				   "lun 9 { image = \"/9\" }\nlun 1 { image = \"/1\" }\n"
				   "lun 16383 { image = \"/m\" }\n"
				   "access { networks = { \"10.0.0.0/8\" }\n"
				   "networks += { \"::/0\", \"192.0.2.1\" } }\n}\n");
	const struct conf_target *target = &conf->targets[0];

	cr_assert_eq(target->lun_count, 3);
	cr_expect_eq(target->luns[0].number, 1);
	cr_expect_eq(target->luns[1].number, 9);
	cr_expect_eq(target->luns[2].number, CONF_LUN_NUMBER_MAX);
	cr_assert_eq(target->access[0].networks.count, 3);
	cr_expect_eq(target->access[0].networks.items[1].prefix_bits, 0);
	cr_expect_eq(target->access[0].networks.items[2].prefix_bits, 32);
	conf_free(conf);
}

Test(conf_options, readers_may_share_an_image)
{
	conf_free(parse_right(PORTAL "target \"iqn.2026-11.io.ringsan:a\" {\n"
				     "lun 0 { image = \"/i\" read-only = yes }\n"
				     "lun 1 { image = \"/i\" read-only = yes }\n}\n"));
}

Test(conf_options, target_names_of_every_form)
{
	static const char *const names[] = {
		"iqn.2026-11.io.ringsan",
		"iqn.2026-11.io.ringsan:disk:1.2-3",
		"eui.02004567A425678D",
		"naa.52004567BA64678D",
		"naa.62004567BA64678D0123456789ABCDEF",
	};
	char text[512];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		(void)snprintf(text, sizeof(text), PORTAL "target \"%s\" { }\n", names[i]);
		conf_free(parse_right(text));
	}
}

Test(conf_options, target_name_of_223_bytes_but_not_224)
{
	static struct conf_errors errors;
	char name[225];
	char text[512];

	memset(name, 'a', sizeof(name));
	memcpy(name, "iqn.2026-11.io:", 15);
	name[223] = '\0';
	(void)snprintf(text, sizeof(text), PORTAL "target \"%s\" { }\n", name);
	conf_free(parse_right(text));
	name[223] = 'a';
	name[224] = '\0';
	(void)snprintf(text, sizeof(text), PORTAL "target \"%s\" { }\n", name);
	cr_expect_null(parse(text, &errors));
	cr_expect_not_null(strstr(errors.items[0].text, "longer than 223 bytes"));
}

/* Writes `count` sections after `head`; the %zu in `format` is their number. */
static char *many(const char *head, size_t count, const char *format, const char *tail)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	cr_assert_not_null(out);
	(void)fputs(head, out);
	for (size_t i = 0; i < count; i++) {
		/* The formats below are the only ones. */
		char *mark = strchr(format, '@');

		(void)fprintf(out, "%.*s%zu%s", (int)(mark - format), format, i, mark + 1);
	}
	(void)fputs(tail, out);
	cr_assert_eq(fclose(out), 0);
	return text;
}

static void expect_bound(char *text, const char *words)
{
	static struct conf_errors errors;
	struct conf *conf = parse(text, &errors);
	bool found = false;

	for (size_t i = 0; words != NULL && i < errors.count; i++)
		found |= strstr(errors.items[i].text, words) != NULL;
	cr_expect_eq(conf != NULL, words == NULL, "%s", errors.items[0].text);
	cr_expect_eq(found, words != NULL, "%s", words);
	conf_free(conf);
	free(text);
}

Test(conf_options, numbers_of_sections_are_bounded)
{
	static const char target[] = PORTAL "target \"iqn.2026-11.io.ringsan:a\" {\n";
	static const char lun[] = "lun @ { type = null size = 1G }\n";

	expect_bound(many(target, CONF_LUNS_PER_TARGET_MAX, lun, "}\n"), NULL);
	expect_bound(many(target, CONF_LUNS_PER_TARGET_MAX + 1, lun, "}\n"),
		     "section 'lun' occurs 8192 times; at most 8191 are right here");
	expect_bound(many(PORTAL, CONF_TARGETS_MAX, "target \"iqn.2026-11.io:@\" { }\n", ""), NULL);
	expect_bound(many(PORTAL, CONF_TARGETS_MAX + 1, "target \"iqn.2026-11.io:@\" { }\n", ""),
		     "section 'target' occurs 4097 times; at most 4096");
	expect_bound(many("", CONF_PORTALS_MAX + 1, "portal \"127.0.0.@\" { }\n", ""),
		     "section 'portal' occurs 65 times; at most 64");
	expect_bound(many(target, CONF_ACCESS_RULES_MAX + 1, "access { initiators = \"iqn.@\" }\n",
			  "}\n"),
		     "section 'access' occurs 257 times; at most 256");
	expect_bound(many("", 20001, "portal \"127.0.0.@\" { }\n", ""),
		     "f:20001: more sections than the 20000 that are allowed");
}
