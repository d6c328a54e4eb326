/*
 * Telling systemd how the daemon is; see notify.h. The protocol has an interface promise by systemd
 * and needs no library.
 */
#include "target/ctl/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
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

static int notify_message(const struct msghdr *message)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int error = 0;

	if (fd < 0)
		return -errno;
	if (sendmsg(fd, message, MSG_NOSIGNAL) < 0)
		error = -errno;
	(void)close(fd);
	return error;
}

int notify_send_fd(const char *state, int fd)
{
	const char *path = getenv("NOTIFY_SOCKET"); /* NOLINT(concurrency-mt-unsafe) */
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(fd))] = {0};
	struct sockaddr_un address;
	struct iovec iov = {.iov_base = (char *)(uintptr_t)state, .iov_len = strlen(state)};
	struct msghdr message = {.msg_name = &address, .msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *rights;

	if (!path)
		return 0;
	message.msg_namelen = notify_address(path, &address);
	if (message.msg_namelen == 0)
		return -EINVAL;
	if (fd >= 0) {
		message.msg_control = control;
		message.msg_controllen = sizeof(control);
		rights = CMSG_FIRSTHDR(&message);
		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(rights), &fd, sizeof(fd));
	}
	return notify_message(&message);
}

int notify_send(const char *state)
{
	return notify_send_fd(state, -1);
}
