/*
 * A LUN's own copy of what it consists of: its image is opened again by it. Any thread.
 */
#include "lun/lun_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Where struct lun_spec has strings. */
static const size_t strings[] = {
	offsetof(struct lun_spec, name),      offsetof(struct lun_spec, type),
	offsetof(struct lun_spec, path),      offsetof(struct lun_spec, fault_control),
	offsetof(struct lun_spec, identity),  offsetof(struct lun_spec, serial),
	offsetof(struct lun_spec, state_dir), offsetof(struct lun_spec, backing_name),
};

static const char **string_at(struct lun_spec *spec, unsigned at)
{
	return (const char **)(void *)((char *)spec + strings[at]);
}

int lun_spec_copy(const struct lun_spec *from, struct lun_spec *to)
{
	bool complete = true;

	*to = *from;
	for (unsigned i = 0; i < ARRAY_SIZE(strings); i++) {
		const char **string = string_at(to, i);

		if (!*string)
			continue;
		*string = strdup(*string);
		complete = complete && *string;
	}
	if (complete)
		return 0;
	lun_spec_clear(to);
	return -ENOMEM;
}

void lun_spec_clear(struct lun_spec *spec)
{
	for (unsigned i = 0; i < ARRAY_SIZE(strings); i++)
		free((void *)(uintptr_t)*string_at(spec, i));
	*spec = (struct lun_spec){0};
}
