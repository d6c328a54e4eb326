/*
 * What differs between two configurations, by a table: the changes in words, or what is refused.
 */
#include "conf/changes.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "conf/parse.h"

#define HEAD "portal \"127.0.0.1:0\" { }\n"
#define A(more) "target \"iqn.2026-11.io.ringsan:a\" { " more " }\n"
#define B(more) "target \"iqn.2026-11.io.ringsan:b\" { " more " }\n"
#define LUN(number, more) "lun " number " { image = \"/i/" number "\" size = 16M " more " }\n"

static const struct row {
	const char *name;
	const char *before;
	const char *after;
	const char *changes; /* Names, in order; NULL: refused. */
	const char *refusal; /* Part of the first error. */
} rows[] = {
	{"nothing", A(LUN("0", "")), A(LUN("0", "")), "", NULL},
	{"what means the same", A(LUN("0", "")), A(LUN("0", "block-size = 512")), "", NULL},
	{"the order of targets", A("") B(""), B("") A(""), "", NULL},
	{"a target more", A(""), A("") B(LUN("0", "")), "target-added", NULL},
	{"a target less", A(LUN("0", "")) B(""), B(""), "target-removed", NULL},
	{"one for another", A(""), B(""), "target-removed target-added", NULL},
	{"LUNs more", A(LUN("1", "")), A(LUN("0", "") LUN("1", "") LUN("7", "")),
	 "lun-added lun-added", NULL},
	{"LUNs less", A(LUN("0", "") LUN("1", "") LUN("7", "")), A(LUN("1", "")),
	 "lun-removed lun-removed", NULL},
	{"a number for another", A("lun 0 { type = null size = 1G }"),
	 A("lun 1 { type = null size = 1G }"), "lun-removed lun-added", NULL},
	{"a larger LUN", A("lun 0 { type = null size = 1G }"), A("lun 0 { type = null size = 2G }"),
	 "lun-resized", NULL},
	{"no size any more", A(LUN("0", "")), A("lun 0 { image = \"/i/0\" }"), "lun-resized", NULL},
	{"a smaller LUN", A("lun 0 { type = null size = 2G }"),
	 A("lun 0 { type = null size = 1G }"), NULL, "shrinks"},
	{"an alias", A(""), A("alias = \"x\""), "target-changed", NULL},
	{"an access rule", A(""), A("access { initiators = { iqn.x } }"), "target-changed", NULL},
	{"in an access rule", A("access { networks = { 10.0.0.0/8 } }"),
	 A("access { networks = { 10.0.0.0/9 } }"), "target-changed", NULL},
	{"who may log in", A("auth { users = { u } }"), A("auth { users = { u, v } }"),
	 "target-changed", NULL},
	{"as whom it proves itself", A("auth { users = { u } }"),
	 A("auth { users = { u } mutual = v }"), "target-changed", NULL},
	{"discovery", "", "discovery-auth { users = { u } }\n", "discovery-changed", NULL},
	{"portal groups", A(""), A("portal-groups = { 1 }"), NULL, "target: portal-groups"},
	{"block size", A(LUN("0", "")), A(LUN("0", "block-size = 4K")), NULL,
	 "lun: block-size cannot be changed while ringsand runs; take the LUN out"},
	{"image", A("lun 0 { image = \"/x\" size = 1G }"), A("lun 0 { image = \"/y\" size = 1G }"),
	 NULL, "lun: image"},
	{"memory", "limits { memory = 512M }\n", "limits { memory = 600M }\n", NULL,
	 "limits: memory cannot be changed while ringsand runs; restart"},
	{"loops", "", "loops = 3\n", NULL, "loops cannot"},
	{"a portal more", "", "portal \"127.0.0.1:3261\" { }\n", NULL, "the portals"},
	{"a pool", "", "pool p { path = \"/\" }\n", NULL, "the pools"},
	{"when a pool warns", "pool p { path = \"/\" warn = 50% }\n",
	 "pool p { path = \"/\" warn = 60% }\n", "pool-changed", NULL},
	{"what a pool keeps", "pool p { path = \"/\" }\n", "pool p { path = \"/\" reserve = 1G }\n",
	 NULL, "pool: reserve"},
	{"when a LUN warns", A(LUN("0", "")), A(LUN("0", "warn = 70%")), "lun-changed", NULL},
	{"a larger LUN that warns", A("lun 0 { type = null size = 1G warn = 70% }"),
	 A("lun 0 { type = null size = 2G }"), "lun-resized lun-changed", NULL},
	{"an image that moves", A(LUN("0", "")) B(""), A("") B(LUN("0", "")), NULL,
	 "which LUN has an image"},
	{"an image that moves with its target", A(LUN("0", "")), B(LUN("0", "")), NULL,
	 "which LUN has an image"},
};

static struct conf *parse(const char *text, const char *secrets)
{
	static struct conf_errors errors;
	char all[4096];
	struct conf_text from = {.name = "f", .text = all, .secrets = secrets};
	struct conf *conf;

	(void)snprintf(all, sizeof(all), "secrets = \"/s\"\n%s%s", HEAD, text);
	from.length = strlen(all);
	from.secrets_length = secrets ? strlen(secrets) : 0;
	cr_assert_eq(conf_parse_text(&from, &conf, &errors), 0, "%s: %s", text,
		     errors.items[0].text);
	return conf;
}

static void names_of(const struct conf_changes *changes, char out[512])
{
	out[0] = '\0';
	for (size_t i = 0; i < changes->count; i++) {
		char text[CONF_CHANGE_TEXT_MAX];

		(void)snprintf(out + strlen(out), 512 - strlen(out), "%s%s", i > 0 ? " " : "",
			       conf_change_name(changes->items[i].kind));
		conf_change_text(&changes->items[i], text);
		cr_expect_neq(text[0], '\0');
	}
}

static void check(const struct row *row)
{
	static struct conf_errors errors;
	struct conf *before = parse(row->before, NULL);
	struct conf *after = parse(row->after, NULL);
	struct conf_changes changes;
	char names[512];
	int res;

	errors = (struct conf_errors){.count = 0};
	res = conf_compare(before, after, &changes, &errors);
	names_of(&changes, names);
	if (row->changes) {
		cr_expect_eq(res, 0, "%s: %s", row->name, errors.items[0].text);
		cr_expect_str_eq(names, row->changes, "%s: %s", row->name, names);
	} else {
		cr_expect_eq(res, -EINVAL, "%s", row->name);
		cr_expect_eq(changes.count, 0, "%s", row->name);
		cr_expect_not_null(strstr(errors.items[0].text, row->refusal), "%s: %s", row->name,
				   errors.items[0].text);
	}
	conf_changes_clear(&changes);
	conf_free(before);
	conf_free(after);
}

Test(conf_changes, of_every_kind)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check(&rows[i]);
}

Test(conf_changes, secrets)
{
	static struct conf_errors errors;
	struct conf *before = parse(A("auth { users = { u } }"), "u = a-long-secret\n");
	struct conf *after = parse(A("auth { users = { u } }"), "u = another-secret\n");
	struct conf_changes changes;
	char names[512];

	cr_assert_eq(conf_compare(before, after, &changes, &errors), 0);
	names_of(&changes, names);
	cr_expect_str_eq(names, "secrets-changed");
	conf_changes_clear(&changes);
	conf_free(before);
	conf_free(after);
}
