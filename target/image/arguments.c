/*
 * The command line of a verb: options by their rows, then operands; and help about them. Main
 * thread only (getopt).
 */
#include "target/image/verb.h"

#include <errno.h>
#include <string.h>

#include "base/units.h"

#define LISTS_THEM "'ringsan image --help' lists them"
#define SHOWS_HOW "--help shows how it is used"

static void make_options(const struct image_verb *verb,
			 struct option options[COMMON_OPTIONS + IMAGE_OPTIONS + 1])
{
	size_t count = COMMON_OPTIONS;

	memcpy(options, common_options, sizeof(common_options));
	for (int i = 0; i < IMAGE_OPTIONS; i++) {
		if ((verb->options & UINT32_C(1) << i) != 0)
			options[count++] = (struct option){
				image_options[i].name,
				image_options[i].value != NULL ? required_argument : no_argument,
				NULL, COMMON_OWN + i};
	}
	options[count] = (struct option){NULL, 0, NULL, 0};
}

static void take_row(void *arg, int option, const char *value)
{
	struct image_order *out = arg;

	out->values[option] = value != NULL ? value : "";
}

static int take_options(struct image_order *out, int argc, char **argv)
{
	struct option options[COMMON_OPTIONS + IMAGE_OPTIONS + 1];
	char why[COMMON_WHY_BYTES];

	make_options(out->verb, options);
	if (common_read(&out->common, argc, argv, options, take_row, out, why) == 0)
		return 0;
	return image_refuse(out, -EINVAL, SHOWS_HOW, "%s", why);
}

static int take_operands(struct image_order *out, int argc, char **argv)
{
	out->operands = argv + optind;
	out->operand_count = (unsigned)(argc - optind);
	if (out->operand_count < out->verb->operands_min)
		return image_refuse(out, -EINVAL, SHOWS_HOW, "%s wants %s", out->verb->name,
				    out->verb->operands);
	if (out->operand_count > out->verb->operands_max)
		return image_refuse(out, -EINVAL, SHOWS_HOW, "'%s' is one argument too many",
				    out->operands[out->verb->operands_max]);
	return 0;
}

static int find_verb(struct image_order *out, const char *name)
{
	for (size_t i = 0; i < image_verb_count; i++) {
		if (strcmp(image_verbs[i].name, name) == 0) {
			out->verb = &image_verbs[i];
			return 0;
		}
	}
	return image_refuse(out, -EINVAL, LISTS_THEM, "there is no 'ringsan image %s'", name);
}

int image_parse(struct image_order *out, int argc, char **argv)
{
	bool json = false;
	int res;

	/* Whoever wants JSON wants it of any error. */
	for (int i = 0; i < argc; i++)
		json = json || strcmp(argv[i], "--json") == 0;
	*out = (struct image_order){.common = common_defaults};
	out->common.json = json;
	if (argc < 1)
		return image_refuse(out, -EINVAL, LISTS_THEM, "the verb is missing");
	res = find_verb(out, argv[0]);
	if (res == 0)
		res = take_options(out, argc, argv);
	if (res == 0 && !out->common.help)
		res = take_operands(out, argc, argv);
	return res;
}

/* -- Values -- */

int image_take_size(struct image_order *order, enum image_option option, uint64_t *out)
{
	if (units_parse_size(order->values[option], out) == 0)
		return 0;
	return image_refuse(order, -EINVAL, "give bytes, or a number with K, M, G or T",
			    "--%s: '%s' is no size", image_options[option].name,
			    order->values[option]);
}

int image_take_word(struct image_order *order, enum image_option option, const char *const *words,
		    unsigned count, unsigned *out)
{
	for (*out = 0; *out < count; (*out)++) {
		if (strcmp(order->values[option], words[*out]) == 0)
			return 0;
	}
	return image_refuse(order, -EINVAL, SHOWS_HOW, "--%s: '%s' is not one of %s",
			    image_options[option].name, order->values[option],
			    image_options[option].value);
}

/* -- Help -- */

void image_help_verb(FILE *to, const struct image_verb *verb)
{
	(void)fprintf(to, "usage: ringsan image %s [options] %s\n%s\n\n", verb->name,
		      verb->operands, verb->help);
	for (int i = 0; i < IMAGE_OPTIONS; i++) {
		const struct image_option_row *row = &image_options[i];
		char left[64];

		(void)snprintf(left, sizeof(left), "--%s %s", row->name,
			       row->value != NULL ? row->value : "");
		if ((verb->options & UINT32_C(1) << i) != 0)
			(void)fprintf(to, "  %-37s %s\n", left, row->help);
	}
	common_help(to, 37);
}

void image_help_all(FILE *to)
{
	(void)fputs("usage: ringsan image VERB [options] FILE...\n\n", to);
	for (size_t i = 0; i < image_verb_count; i++)
		(void)fprintf(to, "  %-10s %s\n", image_verbs[i].name, image_verbs[i].help);
	(void)fputs("\n'ringsan image VERB --help' lists the options of a verb.\n", to);
}
