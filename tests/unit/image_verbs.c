/*
 * Command lines of `ringsan image`, what the manual says of its verbs, and how formats are told.
 */
#include "target/image/verb.h"

#include <criterion/criterion.h>
#include <string.h>

#include "target/image/closed.h"
#include "target/image/progress.h"

#define WORDS_MAX 12

static struct image_order parse(const char *line)
{
	static char text[256];
	static char *argv[WORDS_MAX + 1];
	struct image_order order;
	int argc = 0;
	int res;

	(void)snprintf(text, sizeof(text), "%s", line);
	memset(argv, 0, sizeof(argv));
	/* One thread. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	for (char *word = strtok(text, " "); word != NULL; word = strtok(NULL, " "))
		argv[argc++] = word;
	res = image_parse(&order, argc, argv);
	cr_expect_eq(res != 0, order.message[0] != '\0', "%s", line);
	cr_expect(res == 0 || order.remedy != NULL, "%s", line);
	return order;
}

Test(image_verbs, command_lines)
{
	struct image_order order = parse("create --size 1G a.qcow2 --json --cluster-size=64K");

	cr_expect_str_eq(order.verb->name, "create");
	cr_expect_str_eq(order.values[IMAGE_SIZE], "1G");
	cr_expect_str_eq(order.values[IMAGE_CLUSTER_SIZE], "64K");
	cr_expect(order.common.json);
	cr_expect_eq(order.operand_count, 1);
	cr_expect_str_eq(order.operands[0], "a.qcow2");
	order = parse("check a --repair");
	cr_expect(image_has(&order, IMAGE_REPAIR));
	order = parse("create --help");
	cr_expect(order.common.help);
	order = parse("info -- --odd");
	cr_expect_str_eq(order.operands[0], "--odd");
	order = parse("info a --socket /s --timeout 7");
	cr_expect_str_eq(order.common.socket, "/s");
	cr_expect_eq(order.common.timeout_s, 7);
}

static const struct {
	const char *line, *part;
} bad[] = {
	{"", "the verb is missing"},
	{"invent", "no 'ringsan image invent'"},
	{"info", "info wants FILE"},
	{"info a b", "'b' is one argument too many"},
	{"info --repair a", "--repair: no such option"},
	{"create a --size", "its value is missing"},
	{"info -a.qcow2", "-a: no such option"},
	{"info a --timeout 0", "--timeout: '0'"},
	{"info a --timeout 1x", "--timeout: '1x'"},
};

Test(image_verbs, command_lines_that_are_refused)
{
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct image_order order = parse(bad[i].line);

		cr_expect_not_null(strstr(order.message, bad[i].part), "%s: %s", bad[i].line,
				   order.message);
	}
}

Test(image_verbs, values)
{
	static const char *const words[] = {"off", "on"};
	struct image_order order = parse("create --size 3M --extended-l2 on a");
	uint64_t size;
	unsigned which;

	cr_expect_eq(image_take_size(&order, IMAGE_SIZE, &size), 0);
	cr_expect_eq(size, 3u << 20);
	cr_expect_eq(image_take_word(&order, IMAGE_EXTENDED_L2, words, 2, &which), 0);
	cr_expect_eq(which, 1);
	order = parse("create --size 3X --extended-l2 maybe a");
	cr_expect_neq(image_take_size(&order, IMAGE_SIZE, &size), 0);
	cr_expect_not_null(strstr(order.message, "'3X' is no size"));
	/* The first error counts. */
	cr_expect_neq(image_take_word(&order, IMAGE_EXTENDED_L2, words, 2, &which), 0);
	cr_expect_not_null(strstr(order.message, "'3X' is no size"));
}

Test(image_verbs, formats_by_name)
{
	cr_expect_eq(closed_format_of("a/b.qcow2"), CLOSED_QCOW2);
	cr_expect_eq(closed_format_of("b.raw"), CLOSED_RAW);
	cr_expect_eq(closed_format_of("b.img"), CLOSED_FORMATS);
	cr_expect_eq(closed_format_of("qcow2"), CLOSED_FORMATS);
	cr_expect_eq(closed_format_of("a.qcow2/b"), CLOSED_FORMATS);
}

Test(image_verbs, paths_beside)
{
	char path[FILES_PATH_MAX];
	char name[FILES_PATH_MAX];

	cr_expect_eq(closed_path_beside("a.qcow2", "b", path), 0);
	cr_expect_str_eq(path, "b");
	cr_expect_eq(closed_path_beside("/x/y/a.qcow2", "b", path), 0);
	cr_expect_str_eq(path, "/x/y/b");
	cr_expect_eq(closed_path_beside("/a", "b", path), 0);
	cr_expect_str_eq(path, "/b");
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	cr_expect_neq(closed_path_beside("/a", name, path), 0);
}

Test(image_verbs, bars)
{
	static const struct {
		unsigned permille;
		const char *line;
	} rows[] = {
		{0, "[                                        ]   0.0 %"},
		{499, "[###################                     ]  49.9 %"},
		{1000, "[########################################] 100.0 %"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char line[PROGRESS_LINE_BYTES];

		progress_line(rows[i].permille, line);
		cr_expect_str_eq(line, rows[i].line);
	}
}

/* The manual has an item for each verb, with its operands and options. */
Test(image_verbs, the_manual_lists_them)
{
	static char manual[131072];
	FILE *file = fopen("target/ringsan.1", "r");
	const char *images;

	cr_assert_not_null(file, "run this from the root of the tree");
	(void)fread(manual, 1, sizeof(manual) - 1, file);
	(void)fclose(file);
	images = strstr(manual, "\n.Sh IMAGES");
	cr_assert_not_null(images);
	for (size_t i = 0; i < image_verb_count; i++) {
		const struct image_verb *verb = &image_verbs[i];
		char item[256];
		const char *at;
		const char *end;

		(void)snprintf(item, sizeof(item), "\n.It Cm %s", verb->name);
		at = strstr(images, item);
		cr_assert_not_null(at, "ringsan.1 has no%s", item);
		end = strchr(at + 1, '\n');
		for (int j = 0; j < IMAGE_OPTIONS; j++) {
			char option[64];
			const char *found;

			(void)snprintf(option, sizeof(option), "Fl -%s ", image_options[j].name);
			found = strstr(at, option);
			cr_expect_eq(found != NULL && found < end,
				     (verb->options & UINT32_C(1) << j) != 0, "%s and %s",
				     verb->name, option);
		}
	}
}

/* Each option is some verb's, each verb has all that is shown of it. */
Test(image_verbs, the_tables_are_whole)
{
	uint32_t used = 0;

	for (size_t i = 0; i < image_verb_count; i++) {
		cr_expect_not_null(image_verbs[i].run);
		cr_expect_not_null(image_verbs[i].show);
		cr_expect_not_null(image_verbs[i].help);
		cr_expect_leq(image_verbs[i].operands_max, IMAGE_OPERANDS_MAX);
		used |= image_verbs[i].options;
	}
	for (int j = 0; j < IMAGE_OPTIONS; j++) {
		cr_expect_not_null(image_options[j].name);
		cr_expect_not_null(image_options[j].help);
	}
	cr_expect_eq(used, (UINT32_C(1) << IMAGE_OPTIONS) - 1);
}
