/*
 * The rules of the fault image: their text and which of them fits an I/O. Pure.
 *
 * Read next: image_fault.c.
 */
#include "lun/fault_rules.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct word {
	const char *name;
	int value;
};

static const struct word actions[] = {
	{"delay", FAULT_DELAY},
	{"fail", FAULT_FAIL},
	{"stick", FAULT_STICK},
	{NULL, 0},
};

static const struct word ops[] = {
	{"read", 1 << LUN_READ},          {"write", 1 << LUN_WRITE},
	{"flush", 1 << LUN_FLUSH},        {"unmap", 1 << LUN_UNMAP},
	{"zero", 1 << LUN_ZERO},          {"map", 1 << LUN_MAP},
	{"all", (1 << LUN_OP_COUNT) - 1}, {NULL, 0},
};

static const struct word errors[] = {
	{"EIO", EIO},       {"ENOSPC", ENOSPC}, {"EROFS", EROFS},
	{"ENODEV", ENODEV}, {"EBUSY", EBUSY},   {NULL, 0},
};

/* Words are never 0, so 0 is "no such word". */
static int word_find(const struct word *words, const char *name)
{
	while (name && words->name && strcmp(words->name, name) != 0)
		words++;
	return name ? words->value : 0;
}

static bool number_parse(char **rest, uint64_t *out)
{
	const char *text = strtok_r(NULL, " \t", rest);
	char *end;

	if (!text || *text < '0' || *text > '9')
		return false;
	errno = 0;
	*out = strtoull(text, &end, 10);
	return !errno && !*end;
}

static bool limit_parse(struct fault_rule *rule, const char *name, char **rest)
{
	if (!strcmp(name, "count"))
		return number_parse(rest, &rule->left);
	if (strcmp(name, "lba") != 0)
		return false;
	rule->has_range = true;
	return number_parse(rest, &rule->first_block) && number_parse(rest, &rule->block_count) &&
	       rule->first_block + rule->block_count >= rule->first_block;
}

static bool value_parse(struct fault_rule *rule, char **rest)
{
	uint64_t delay_ms = 0;

	if (rule->action == FAULT_FAIL) {
		rule->error = -word_find(errors, strtok_r(NULL, " \t", rest));
		return rule->error != 0;
	}
	if (rule->action == FAULT_DELAY && (!number_parse(rest, &delay_ms) || delay_ms > 3600000))
		return false;
	rule->delay_ms = (uint32_t)delay_ms;
	return true;
}

static bool rule_parse(struct fault_rule *rule, const char *first, char **rest)
{
	const char *name;

	*rule = (struct fault_rule){.left = UINT64_MAX};
	rule->action = (enum fault_action)word_find(actions, first);
	rule->ops = (uint8_t)word_find(ops, strtok_r(NULL, " \t", rest));
	if (!rule->action || !rule->ops || !value_parse(rule, rest))
		return false;
	while ((name = strtok_r(NULL, " \t", rest))) {
		if (!limit_parse(rule, name, rest))
			return false;
	}
	return true;
}

/* True unless the line holds something that is no rule, or one too many. */
static bool line_parse(char *line, struct fault_rules *out)
{
	char *rest;
	const char *first;

	line[strcspn(line, "#\r")] = '\0';
	first = strtok_r(line, " \t", &rest);
	if (!first)
		return true;
	if (out->count == FAULT_RULES_MAX || !rule_parse(&out->rules[out->count], first, &rest))
		return false;
	out->count++;
	return true;
}

unsigned fault_rules_parse(char *text, struct fault_rules *out)
{
	unsigned wrong = 0;
	unsigned number = 1;

	out->count = 0;
	for (char *next; text; text = next, number++) {
		next = strchr(text, '\n');
		if (next)
			*next++ = '\0';
		if (!line_parse(text, out) && !wrong)
			wrong = number;
	}
	return wrong;
}

static bool rule_touches(const struct fault_rule *rule, const struct lun_io *io,
			 uint32_t block_bytes)
{
	uint64_t first = io->offset_bytes / block_bytes;
	uint64_t last = (io->offset_bytes + io->length_bytes - 1) / block_bytes;

	if (!rule->has_range)
		return true;
	return io->op != LUN_FLUSH && last >= rule->first_block &&
	       first < rule->first_block + rule->block_count;
}

const struct fault_rule *fault_rules_apply(struct fault_rules *rules, const struct lun_io *io,
					   uint32_t block_bytes)
{
	static const struct fault_rule healthy = {.action = FAULT_NONE};

	for (unsigned i = 0; i < rules->count; i++) {
		struct fault_rule *rule = &rules->rules[i];

		if (!rule->left || !(rule->ops & 1 << io->op) ||
		    !rule_touches(rule, io, block_bytes))
			continue;
		if (rule->left != UINT64_MAX)
			rule->left--;
		return rule;
	}
	return &healthy;
}
