/*
 * The attribute of qcow2 files that are written; see qcow2_mark.h.
 */
#include "lun/qcow2_mark.h"

#include <stddef.h>
#include <sys/xattr.h>

#define ATTRIBUTE "user.ringsan.open"

bool qcow2_is_marked(int fd)
{
	return fgetxattr(fd, ATTRIBUTE, NULL, 0) >= 0;
}

void qcow2_mark(int fd)
{
	(void)fsetxattr(fd, ATTRIBUTE, "1", 1, 0);
}

void qcow2_unmark(int fd)
{
	(void)fremovexattr(fd, ATTRIBUTE);
}
