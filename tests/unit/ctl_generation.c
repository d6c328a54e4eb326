/*
 * Generations that are not put in force: all that they alone have is freed, at whatever target it
 * ends. What comes of those that are: initiator-tests/reload.sh.
 */
#include "target/ctl/generation.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "conf/parse.h"

#define HEAD "portal \"127.0.0.1:0\" { tag = 1 }\nstate-dir = \"/s\"\n"
#define A "target \"iqn.2026-11.io.ringsan:a\" { preferred-groups = { 1 } }\n"
#define B "target \"iqn.2026-11.io.ringsan:b\" { preferred-groups = { 1 } }\n"

static struct loop_group group;

static struct conf *parse(const char *text)
{
	static struct conf_errors errors;
	struct conf *conf;
	const struct conf_text from = {.name = "f", .text = text, .length = strlen(text)};

	errors.count = 0;
	cr_assert_eq(conf_parse_text(&from, &conf, &errors), 0, "%s", errors.items[0].text);
	return conf;
}

/* As memory that runs short would end it. */
static void break_groups(struct conf *conf, size_t target)
{
	conf->targets[target].preferred_groups.items[0] = 9;
}

Test(ctl_generation, given_up_at_any_target)
{
	static struct conf_errors errors;
	struct conf *before = parse(HEAD A);
	struct generation *first;
	struct generation *next;

	cr_assert_eq(generation_create(before, NULL, &group, &errors, &first), 0);
	for (size_t i = 0; i < 2; i++) {
		struct conf *after = parse(i == 0 ? HEAD B A : HEAD A B);

		break_groups(after, i);
		cr_assert_neq(generation_create(after, first, &group, &errors, &next), 0);
		conf_free(after);
	}
	generation_abandon(first, NULL);
	conf_free(before);
}

/* Of a target that is in both there is one. */
Test(ctl_generation, shares_what_stays)
{
	static struct conf_errors errors;
	struct conf *before = parse(HEAD A);
	struct conf *after = parse(HEAD B A);
	struct generation *first;
	struct generation *next;

	cr_assert_eq(generation_create(before, NULL, &group, &errors, &first), 0);
	cr_assert_eq(generation_create(after, first, &group, &errors, &next), 0);
	cr_assert_eq(generation_target(next, "iqn.2026-11.io.ringsan:a")->scsi,
		     generation_target(first, "iqn.2026-11.io.ringsan:a")->scsi);
	generation_abandon(next, first);
	generation_abandon(first, NULL);
	conf_free(after);
	conf_free(before);
}
