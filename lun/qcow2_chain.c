/*
 * Opening the files of a qcow2 image. What a guest or a stranger wrote into a header decides as
 * little as can be: a backing file's name may not leave the image's folder, and has to be told with
 * its format. Locks are those of qemu, byte for byte, so that qemu-img and this server refuse an
 * image that the other has open.
 *
 * Control thread. Read next: image_qcow2.c.
 */
#include "lun/qcow2_chain.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/log.h"
#include "lun/family_change.h"
#include "lun/files.h"
#include "lun/image_lock.h"
#include "lun/qcow2/plain.h"
#include "lun/qcow2_import.h"
#include "lun/qcow2_mark.h"
#include "lun/qcow2_new.h"
#include "lun/qcow2_tables.h"

/* Clusters that a writer may have: smaller ones cost more than they hold. */
#define WRITER_CLUSTER_BITS_MIN 12u

struct opening {
	const struct lun_spec *spec;
	struct chain *chain;
	char *why;
	size_t why_bytes;
};

static int PRINTF_LIKE(3, 4) refuse(const struct opening *opening, int res, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(opening->why, opening->why_bytes, format, args);
	va_end(args);
	return res;
}

static int chain_read(const struct qcow2_file *file, void *buffer, size_t length, uint64_t offset)
{
	const struct chain_file *of = (const void *)file; /* Its first member. */

	return files_read_at(of->sync_fd, buffer, length, offset);
}

/* -- Files -- */

static bool is_again(const struct chain *chain, const struct stat *st)
{
	for (unsigned i = 0; i + 1 < chain->count; i++)
		if (chain->files[i].st.st_dev == st->st_dev &&
		    chain->files[i].st.st_ino == st->st_ino)
			return true;
	return false;
}

static void leave_direct(struct chain_file *file)
{
	file->io_align_bytes = 0;
	(void)!files_set_flags(file->fd, 0, O_DIRECT);
}

/* A snapshot that was cut short is not served in the place of its disk. */
static int take_place_on_top(const struct opening *opening, const struct chain_file *file)
{
	if (file->is_written)
		return family_admit_writer(file->fd, opening->why, opening->why_bytes);
	if (family_merge_is_spoiled(opening->spec->path))
		return refuse(opening, -EBUSY, "it does not show any more what it did: %s",
			      FAMILY_MERGE_REMEDY);
	if (file->st.st_nlink == 1 || !family_is_active_itself(opening->spec->path))
		return 0;
	return refuse(opening, -ENOENT,
		      "its snapshot was cut short, and is removed; take it again");
}

/* In its family: nobody writes to what others are based on, but a job to a layer of its own chain,
 * which sees to that itself. A base is marked as far as it can be: on what is read-only as a whole
 * nobody writes. */
static int take_place(const struct opening *opening, const struct chain_file *file,
		      const char *name)
{
	if (file == opening->chain->files)
		return take_place_on_top(opening, file);
	if (family_mark_base(file->fd) == -EIO)
		return refuse(opening, -EIO, "%s cannot be marked as a base", name);
	return 0;
}

/* What `fd` is, whatever name led to it. It is the file's from here on. */
static int take_file(const struct opening *opening, struct chain_file *file, int fd,
		     const char *name, bool writes)
{
	int res;

	file->fd = fd;
	if (fstat(fd, &file->st) != 0)
		return refuse(opening, -errno, "%s: cannot be looked at", name);
	if (!S_ISREG(file->st.st_mode))
		return refuse(opening, -EINVAL, "%s is no regular file", name);
	if (is_again(opening->chain, &file->st))
		return refuse(opening, -ELOOP, "%s is its own backing file", name);
	file->is_written = writes;
	res = image_lock_patiently(image_lock_qemu, fd, writes);
	if (res != 0)
		return refuse(opening, -EBUSY,
			      "%s is locked, another server, LUN or qemu-img uses it", name);
	res = take_place(opening, file, name);
	if (res != 0)
		return res;
	file->sync_fd = files_open_again(fd, O_RDONLY);
	if (file->sync_fd < 0)
		return refuse(opening, file->sync_fd, "%s cannot be opened again: %s", name,
			      files_error(file->sync_fd));
	file->file.read = chain_read;
	file->file.size_bytes = (uint64_t)file->st.st_size;
	if (!opening->spec->page_cache)
		file->io_align_bytes = files_set_direct(fd);
	if (file->io_align_bytes == 0)
		leave_direct(file);
	return 0;
}

static struct chain_file *next_file(struct chain *chain)
{
	struct chain_file *file = &chain->files[chain->count++];

	*file = (struct chain_file){.fd = -1, .sync_fd = -1};
	return file;
}

static int open_top(const struct lun_spec *spec)
{
	int access = spec->read_only ? O_RDONLY : O_RDWR;
	int fd = open(spec->path, access | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

static int find_top(const struct opening *opening)
{
	const struct lun_spec *spec = opening->spec;
	int fd = open_top(spec);

	if (fd == -ENOENT) {
		int res = qcow2_new(spec, opening->why, opening->why_bytes);

		if (res != 0)
			return res;
		opening->chain->created = true;
		fd = open_top(spec);
	}
	if (fd < 0)
		return refuse(opening, fd, "cannot open it (%s): %s", files_error(fd), spec->path);
	return take_file(opening, next_file(opening->chain), fd, spec->path, !spec->read_only);
}

static bool is_plain_name(const char *name)
{
	return name[0] != '\0' && name[0] != '.' && !strchr(name, '/') && !strchr(name, ':');
}

/* The layer that a job writes. Two files of one number on two devices are none of one chain: all of
 * them lie in one folder. */
static bool is_for_writing(const struct opening *opening, const struct chain_file *file, int fd)
{
	struct stat st;

	return opening->spec->writable_inode != 0 && !opening->spec->read_only && !file->is_raw &&
	       fstat(fd, &st) == 0 && st.st_ino == opening->spec->writable_inode;
}

/* A descriptor for writing in place of one that only reads. */
static int make_writable(int fd)
{
	int res = files_open_again(fd, O_RDWR);

	files_close(&fd);
	return res;
}

/* Others may be based on it, and it is theirs as it is. */
static void tell_leaks(const struct opening *opening, const struct chain_file *file,
		       const char *name)
{
	if (!file->is_written && !file->is_raw && qcow2_is_marked(file->fd))
		log_info("qcow2",
			 "%s: %s, below it, was not closed in order: what leaked there goes back "
			 "with a job that writes to it, or with `ringsan image check --repair` "
			 "while nobody uses it",
			 opening->spec->name, name);
}

static int find_backing(const struct opening *opening, const struct qcow2_header *header)
{
	const char *name = header->backing_name;
	int folder CLEANUP(files_close) = files_open_folder_of(opening->chain->files[0].fd);
	char shown[64];
	struct chain_file *file;
	int res;

	(void)log_escape(shown, sizeof(shown), name, (uint32_t)strlen(name));
	if (folder < 0)
		return refuse(opening, folder, "its folder cannot be opened: %s",
			      files_error(folder));
	if (opening->chain->count == QCOW2_CHAIN_FILES)
		return refuse(opening, -ELOOP, "its chain of backing files is too long");
	if (!is_plain_name(name))
		return refuse(opening, -EINVAL,
			      "its backing file is not named by a plain name of a file beside it: "
			      "%s",
			      shown);
	if (strcmp(header->backing_format, "raw") != 0 &&
	    strcmp(header->backing_format, "qcow2") != 0)
		return refuse(opening, -EINVAL,
			      "it does not say whether its backing file is raw or qcow2; "
			      "`qemu-img rebase -u -F FORMAT` does");
	res = files_open_at(folder, name, O_RDONLY);
	if (res < 0)
		return refuse(opening, res, "its backing file %s cannot be opened: %s", shown,
			      files_error(res));
	file = next_file(opening->chain);
	file->is_raw = strcmp(header->backing_format, "raw") == 0;
	if (is_for_writing(opening, file, res))
		res = make_writable(res);
	if (res < 0)
		return refuse(opening, res, "its backing file %s cannot be written: %s", shown,
			      files_error(res));
	res = take_file(opening, file, res, shown, is_for_writing(opening, file, res));
	if (res == 0)
		tell_leaks(opening, file, shown);
	return res;
}

static int find_all(const struct opening *opening)
{
	struct chain *chain = opening->chain;
	struct qcow2_header header;
	int res = find_top(opening);

	while (res == 0 && !chain->files[chain->count - 1].is_raw) {
		res = qcow2_header_read(&chain->files[chain->count - 1].file, &header, opening->why,
					opening->why_bytes);
		if (res != 0 || header.backing_name[0] == '\0')
			break;
		res = find_backing(opening, &header);
	}
	return res;
}

/* Before it is written for the first time; what was made just now is in order. */
static int look_at_top(const struct opening *opening)
{
	struct chain_file *top = &opening->chain->files[0];
	const struct qcow2_import import = {
		.name = opening->spec->name,
		.path = opening->spec->path,
		.file = &top->file,
		.fd = top->fd,
	};
	int res;

	if (!top->is_written || opening->chain->created)
		return 0;
	res = qcow2_import(&import, opening->why, opening->why_bytes);
	if (res != 0)
		return res;
	/* Refcounts that were counted anew may lie behind what was the end. */
	if (fstat(top->fd, &top->st) != 0)
		return refuse(opening, -errno, "it cannot be looked at");
	top->file.size_bytes = (uint64_t)top->st.st_size;
	return 0;
}

/* -- Images -- */

static bool is_in_memory(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
}

static int open_one(const struct opening *opening, unsigned index, struct loop *loop,
		    struct qcow2_cache *cache)
{
	struct chain *chain = opening->chain;
	struct chain_file *file = &chain->files[index];
	struct qcow2_spec spec = {
		.name = opening->spec->name,
		.loop = loop,
		.cache = cache,
		.file = &file->file,
		.fd = file->fd,
		.sync_fd = file->sync_fd,
		.read_only = !file->is_written,
		.holds_frees = index > 0,
		.recovers = file->is_written && qcow2_is_marked(file->fd),
		.recovery = opening->spec->recovery,
		.direct = file->io_align_bytes > 0,
		.in_memory = is_in_memory(file->fd),
		.io_align_bytes = file->io_align_bytes,
		.backing = index + 1 < chain->count ? chain->files[index + 1].image : NULL,
	};
	int res;

	if (file->is_raw)
		return qcow2_open_raw(&spec, &file->image);
	res = qcow2_open(&spec, &file->image, opening->why, opening->why_bytes);
	if (res == -ENOTSUP && spec.direct) {
		/* Perhaps because of what direct I/O asks for. */
		leave_direct(file);
		spec.direct = false;
		spec.io_align_bytes = 0;
		res = qcow2_open(&spec, &file->image, opening->why, opening->why_bytes);
	}
	return res;
}

static void mark_all(const struct chain *chain)
{
	for (unsigned i = 0; i < chain->count; i++)
		if (chain->files[i].is_written)
			qcow2_mark(chain->files[i].fd);
}

static void unmark(const struct chain_file *file)
{
	if (file->is_written && file->image && !qcow2_may_leak(file->image))
		qcow2_unmark(file->fd);
}

/* Where there is no space even for that, it is still read, and changed as far as it goes. */
static int open_with_space(const struct opening *opening, unsigned index, struct loop *loop,
			   struct qcow2_cache *cache)
{
	const struct chain_file *file = &opening->chain->files[index];
	int res = open_one(opening, index, loop, cache);

	if (res != 0 || !file->is_written)
		return res;
	res = qcow2_tables_allocate(file->fd, &file->file, qcow2_header(file->image));
	if (res != 0)
		log_warn("qcow2", "%s: no space for its tables (%s): a full disk makes it fail",
			 opening->spec->name, files_error(res));
	return 0;
}

/* All of a chain reads what the uppermost asks for: where one needs larger units, all do. */
static void agree_on_units(struct chain *chain)
{
	uint32_t most = 0;

	for (unsigned i = 0; i < chain->count; i++)
		if (chain->files[i].io_align_bytes > most)
			most = chain->files[i].io_align_bytes;
	for (unsigned i = 0; i < chain->count; i++)
		if (chain->files[i].io_align_bytes > 0)
			chain->files[i].io_align_bytes = most;
}

/* Of an image that is written. */
static int check_clusters(const struct opening *opening)
{
	const struct chain *chain = opening->chain;

	for (unsigned i = 0; i < chain->count; i++)
		if (chain->files[i].is_written &&
		    qcow2_header(chain->files[i].image)->cluster_bits < WRITER_CLUSTER_BITS_MIN)
			return refuse(opening, -ENOTSUP,
				      "clusters of less than 4 KiB are only read");
	return 0;
}

static int open_all(const struct opening *opening, struct loop *loop, struct qcow2_cache *cache)
{
	struct chain *chain = opening->chain;
	int res = 0;

	agree_on_units(chain);
	for (unsigned i = chain->count; i > 0 && res == 0; i--)
		res = open_with_space(opening, i - 1, loop, cache);
	return res == 0 ? check_clusters(opening) : res;
}

int chain_open(const struct lun_spec *spec, struct loop *loop, struct qcow2_cache *cache,
	       struct chain *chain, char *why, size_t why_bytes)
{
	struct opening opening = {.spec = spec, .chain = chain, .why = why, .why_bytes = why_bytes};
	int res;

	*chain = (struct chain){0};
	res = find_all(&opening);
	if (res == 0)
		res = look_at_top(&opening);
	if (res == 0)
		res = open_all(&opening, loop, cache);
	if (res != 0) {
		chain_close(chain);
	} else {
		mark_all(chain);
	}
	return res;
}

void chain_close(struct chain *chain)
{
	for (unsigned i = 0; i < chain->count; i++) {
		unmark(&chain->files[i]);
		qcow2_close(chain->files[i].image);
		files_close(&chain->files[i].fd);
		files_close(&chain->files[i].sync_fd);
	}
	chain->count = 0;
}
