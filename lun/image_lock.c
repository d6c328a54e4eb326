/*
 * Locks by which qemu-img, ringsand and ringsan refuse an image that another of them has open.
 */
#include "lun/image_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <time.h>

#include "base/clock.h"

/* qemu's block/file-posix.c: a byte for each permission used, and for each not shared. */
#define LOCK_USED 100
#define LOCK_UNSHARED 200
/* For a raw image one byte is enough to keep a second server out, ours or one on another host of a
 * cluster file system. It lies beyond the bytes that qemu locks, so that those are free for it. */
#define LOCK_RAW 0x52534E

enum {
	PERMISSION_READ,
	PERMISSION_WRITE,
	PERMISSION_WRITE_UNCHANGED,
	PERMISSION_RESIZE,
	PERMISSIONS
};

/* image_lock_patiently: from the first lock that a process asks for. Whoever was killed before that
 * has lost it by then. */
#define PATIENCE_NS (2 * CLOCK_NS_PER_S)
#define PAUSE_NS 10000000

#define BIT(n) (1u << (n))
#define WRITER_USES (BIT(PERMISSION_READ) | BIT(PERMISSION_WRITE) | BIT(PERMISSION_RESIZE))
#define OTHERS_MAY_NOT (BIT(PERMISSION_WRITE) | BIT(PERMISSION_RESIZE))

static int lock_byte(int fd, int command, short type, off_t byte)
{
	struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	if (fcntl(fd, command, &lock) != 0)
		return errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
	return command == F_OFD_GETLK && lock.l_type != F_UNLCK ? -EBUSY : 0;
}

/* Say what is used and not shared; then see whether others do what that forbids. */
int image_lock_qemu(int fd, bool writes)
{
	unsigned uses = writes ? WRITER_USES : BIT(PERMISSION_READ);
	int res = 0;

	for (int i = 0; i < PERMISSIONS && res == 0; i++) {
		if (uses & BIT(i))
			res = lock_byte(fd, F_OFD_SETLK, F_RDLCK, LOCK_USED + i);
		if (res == 0 && (OTHERS_MAY_NOT & BIT(i)))
			res = lock_byte(fd, F_OFD_SETLK, F_RDLCK, LOCK_UNSHARED + i);
	}
	for (int i = 0; i < PERMISSIONS && res == 0; i++) {
		if (uses & BIT(i))
			res = lock_byte(fd, F_OFD_GETLK, F_WRLCK, LOCK_UNSHARED + i);
		if (res == 0 && (OTHERS_MAY_NOT & BIT(i)))
			res = lock_byte(fd, F_OFD_GETLK, F_WRLCK, LOCK_USED + i);
	}
	return res;
}

int image_lock_raw(int fd, bool writes)
{
	return lock_byte(fd, F_OFD_SETLK, writes ? F_WRLCK : F_RDLCK, LOCK_RAW);
}

static int lock_until(image_lock_fn *lock, int fd, bool writes, uint64_t end_ns)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};
	int res = lock(fd, writes);

	while (res == -EBUSY && clock_now_ns() < end_ns) {
		(void)nanosleep(&pause, NULL);
		res = lock(fd, writes);
	}
	return res;
}

int image_lock_patiently(image_lock_fn *lock, int fd, bool writes)
{
	static atomic_uint_fast64_t ends_ns;
	uint_fast64_t none = 0;

	(void)atomic_compare_exchange_strong(&ends_ns, &none, clock_now_ns() + PATIENCE_NS);
	return lock_until(lock, fd, writes, atomic_load(&ends_ns));
}

int image_lock_wait(image_lock_fn *lock, int fd, bool writes)
{
	return lock_until(lock, fd, writes, clock_now_ns() + PATIENCE_NS);
}

bool image_lock_is_held(int fd)
{
	return lock_byte(fd, F_OFD_GETLK, F_WRLCK, LOCK_USED + PERMISSION_WRITE) == -EBUSY ||
	       lock_byte(fd, F_OFD_GETLK, F_RDLCK, LOCK_RAW) == -EBUSY;
}
