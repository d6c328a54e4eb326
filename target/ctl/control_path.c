/*
 * The socket's place in the file system; see control_path.h.
 *
 * Whether a socket that lies there is somebody's is found out by connecting to it: only one that
 * refuses is nobody's. Between that and taking its place, no other daemon may do the same, so the
 * folder is locked meanwhile; but whoever may read a folder may hold that lock for ever, so it is
 * not waited for longer than a daemon that starts would hold it.
 */
#include "target/ctl/control_path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

/* Clients that the kernel holds until they are accepted. */
#define BACKLOG 64
/* Others that start hold the lock for a moment. */
#define LOCK_TRIES 50
#define LOCK_PAUSE_NS 20000000

/* What the steps share. */
struct claim {
	struct sockaddr_un address;
	char folder[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	char *why;
};

static int refuse(const struct claim *claim, int res, const char *what, const char *remedy)
{
	(void)snprintf(claim->why, CONTROL_WHY_BYTES, "control-socket %s: %s: %s; %s",
		       claim->address.sun_path, what, strerrordesc_np(-res), remedy);
	return res;
}

static int refuse_plainly(const struct claim *claim, int res, const char *sentence)
{
	(void)snprintf(claim->why, CONTROL_WHY_BYTES, "control-socket %s: %s",
		       claim->address.sun_path, sentence);
	return res;
}

static int fill_in(struct claim *claim, const char *name)
{
	size_t length = strlen(name);
	char *slash;

	if (length >= sizeof(claim->address.sun_path))
		return -ENAMETOOLONG;
	claim->address.sun_family = AF_UNIX;
	memcpy(claim->address.sun_path, name, length + 1);
	memcpy(claim->folder, name, length + 1);
	slash = strrchr(claim->folder, '/');
	if (slash == NULL)
		return -EINVAL;
	/* "/name" stands in "/". */
	slash[slash == claim->folder] = '\0';
	return 0;
}

/* Who may put another file in our place could have orders sent elsewhere. */
static int judge_folder(const struct claim *claim, int folder)
{
	struct stat st;

	if (fstat(folder, &st) != 0)
		return refuse(claim, -errno, "its folder", "name another");
	if (st.st_uid != 0 && st.st_uid != geteuid()) {
		return refuse_plainly(
			claim, -EPERM,
			"its folder belongs to another user; chown it to the one that "
			"ringsand runs as, or name another");
	}
	if ((st.st_mode & S_IWOTH) != 0 && (st.st_mode & S_ISVTX) == 0) {
		return refuse_plainly(claim, -EPERM,
				      "everybody may write to its folder; chmod o-w it, or name "
				      "another");
	}
	return 0;
}

/* Who holds it for longer than a start takes is no daemon that starts, and shall not keep us. */
static int lock_folder(const struct claim *claim, int folder)
{
	const struct timespec pause = {.tv_nsec = LOCK_PAUSE_NS};
	int res = 0;

	for (unsigned i = 0; i < LOCK_TRIES; i++) {
		if (flock(folder, LOCK_EX | LOCK_NB) == 0)
			return 0;
		res = -errno;
		if (res != -EWOULDBLOCK && res != -EINTR)
			return refuse(claim, res, "its folder cannot be locked", "name another");
		(void)nanosleep(&pause, NULL);
	}
	log_warn(
		"ctl",
		"control-socket %s: another process keeps its folder locked; going on without that "
		"lock, since it holds for no longer than a start",
		claim->address.sun_path);
	return 0;
}

static int open_folder(const struct claim *claim, int *out)
{
	int fd;
	int res;

	if (mkdir(claim->folder, 0700) != 0 && errno != EEXIST)
		return refuse(claim, -errno, "its folder cannot be made",
			      "make it, or name another");
	fd = open(claim->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return refuse(claim, -errno, "its folder cannot be read", "name another");
	res = judge_folder(claim, fd);
	if (res == 0)
		res = lock_folder(claim, fd);
	if (res == 0) {
		*out = fd;
	} else {
		(void)close(fd);
	}
	return res;
}

/* 0: somebody listens; -ECONNREFUSED: nobody does any more; else it is no socket of a daemon. */
static int probe(const struct claim *claim)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int res = 0;

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&claim->address, sizeof(claim->address)) != 0)
		res = -errno;
	(void)close(fd);
	/* Its queue is full: it listens, and will take its time. */
	return res == -EAGAIN ? 0 : res;
}

/* A socket lies there. */
static int replace(const struct claim *claim)
{
	int res = probe(claim);

	if (res == 0) {
		return refuse_plainly(
			claim, -EADDRINUSE,
			"another ringsand serves it; stop that one (`ringsan status` asks "
			"it), or give each a control-socket of its own");
	}
	/* Of another kind, or another user's: somebody may well use it. */
	if (res != -ECONNREFUSED)
		return refuse(claim, res, "a socket that is not ours", "name another");
	if (unlink(claim->address.sun_path) != 0)
		return refuse(claim, -errno, "a stale one cannot be removed", "remove it");
	return 0;
}

static int remove_stale(const struct claim *claim)
{
	struct stat st;

	if (lstat(claim->address.sun_path, &st) != 0)
		return errno == ENOENT
			       ? 0
			       : refuse(claim, -errno, "cannot be looked at", "name another");
	if (!S_ISSOCK(st.st_mode)) {
		return refuse_plainly(
			claim, -EEXIST,
			"there is a file that is no socket; remove it, or name another");
	}
	return replace(claim);
}

static int listen_at(const struct claim *claim, struct control_path *out)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st = {.st_ino = 0};

	if (fd < 0)
		return refuse(claim, -errno, "no socket can be had", "try again");
	/* Before bind: the file takes its mode from the socket, and is never open to others. */
	if (fchmod(fd, 0600) != 0 ||
	    bind(fd, (const struct sockaddr *)&claim->address, sizeof(claim->address)) != 0 ||
	    chmod(claim->address.sun_path, 0600) != 0 || lstat(claim->address.sun_path, &st) != 0 ||
	    listen(fd, BACKLOG) != 0) {
		int res = -errno;

		(void)close(fd);
		return refuse(claim, res, "cannot listen there", "name another");
	}
	out->fd = fd;
	out->device = st.st_dev;
	out->inode = st.st_ino;
	return 0;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): written by refuse(). */
int control_path_claim(const char *name, struct control_path *out, char why[CONTROL_WHY_BYTES])
{
	struct claim claim = {.why = why};
	int folder = -1;
	int res = fill_in(&claim, name);

	*out = (struct control_path){.name = name, .fd = -1};
	if (res != 0)
		return refuse(&claim, res, "no name of a socket", "give an absolute, shorter one");
	res = open_folder(&claim, &folder);
	if (res != 0)
		return res;
	res = remove_stale(&claim);
	if (res == 0)
		res = listen_at(&claim, out);
	(void)close(folder);
	return res;
}

void control_path_release(struct control_path *path)
{
	struct stat st;

	if (path->fd < 0)
		return;
	if (lstat(path->name, &st) == 0 && st.st_dev == path->device && st.st_ino == path->inode)
		(void)unlink(path->name);
	(void)close(path->fd);
	path->fd = -1;
}
