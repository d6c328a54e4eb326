/*
 * Telling systemd how the daemon is; see notify.h. The protocol has an interface promise by systemd
 * and needs no library.
 */
#include "target/ctl/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The length of the address, or 0 if there is none that makes sense. */
static socklen_t notify_address(const char *path, struct sockaddr_un *out)
{
	size_t len = strlen(path);

	if ((path[0] != '/' && path[0] != '@') || len < 2 || len >= sizeof(out->sun_path))
		return 0;
	*out = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(out->sun_path, path, len);
	/* An abstract name: its first byte is zero (unix(7)). */
	if (path[0] == '@')
		out->sun_path[0] = '\0';
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

int notify_send(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET"); /* NOLINT(concurrency-mt-unsafe) */
	struct sockaddr_un address;
	socklen_t len;
	int error = 0;
	int fd;

	if (!path)
		return 0;
	len = notify_address(path, &address);
	if (len == 0)
		return -EINVAL;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&address, len) <
	    0)
		error = -errno;
	(void)close(fd);
	return error;
}
