/*
 * Reading, with zeroes behind the end. See view.h.
 */
#include "tests/crash/view.h"

#include <string.h>

static int view_read(const struct qcow2_file *file, void *buffer, size_t length, uint64_t offset)
{
	const struct view *view = (const void *)file;
	uint64_t there = offset < file->size_bytes ? file->size_bytes - offset : 0;

	if (there > length)
		there = length;
	memcpy(buffer, view->of->bytes + offset, there);
	memset((uint8_t *)buffer + there, 0, length - there);
	return 0;
}

void view_init(struct view *view, const struct durable *of)
{
	view->of = of;
	view->file.read = view_read;
	view->file.size_bytes = of->size_bytes;
}
