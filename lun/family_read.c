/*
 * Reading a folder: each regular file is opened without following anything, and what its header
 * says is noted. 1,000 files take some 10 ms, so of most only the first 4 KiB are read. Not here:
 * what that means for others (family.c).
 *
 * Any thread but a loop's. Read next: family.c.
 */
#include "lun/family_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "lun/files.h"
#include "lun/qcow2/plain.h"

/* What holds header, extensions and backing name of all but strange images. */
#define START_BYTES 4096u
#define CLUSTER_BYTES_MAX (1u << QCOW2_CLUSTER_BITS_MAX)
/* qcow2, "Header". */
#define AT_BACKING_OFFSET 8u
#define AT_BACKING_BYTES 16u
#define QCOW2_MAGIC UINT32_C(0x514649fb)

/* Text of many images in one piece of memory. */
struct text_chunk {
	struct text_chunk *next;
	size_t used;
	char bytes[64 * 1024];
};

struct family_all {
	struct family family; /* First. */
	size_t room;
	struct text_chunk *texts;
};

struct reading {
	int folder;
	const struct family_words *words;
	struct family_all *all;
	/* A first cluster: the start of a file, and zeroes behind it. */
	uint8_t *cluster;
	struct qcow2_header header;
};

/* One file that is looked at. */
struct open_file {
	struct qcow2_file file; /* First. */
	int fd;
};

static const char *keep_text(struct family_all *all, const char *text)
{
	size_t bytes = strlen(text) + 1;
	struct text_chunk *chunk = all->texts;
	char *at;

	if (bytes == 1)
		return "";
	if (!chunk || sizeof(chunk->bytes) - chunk->used < bytes) {
		chunk = malloc(sizeof(*chunk));
		if (!chunk)
			return NULL;
		chunk->next = all->texts;
		chunk->used = 0;
		all->texts = chunk;
	}
	at = chunk->bytes + chunk->used;
	memcpy(at, text, bytes);
	chunk->used += bytes;
	return at;
}

/* -- One file -- */

static int read_at(const struct qcow2_file *file, void *buffer, size_t length, uint64_t offset)
{
	const struct open_file *of = (const void *)file; /* Its first member. */

	return files_read_at(of->fd, buffer, length, offset);
}

/* More than the start of the file says what there is to know. */
static bool name_is_behind(const uint8_t *start)
{
	uint64_t offset = get_be64(start + AT_BACKING_OFFSET);

	return offset > START_BYTES || offset + get_be32(start + AT_BACKING_BYTES) > START_BYTES;
}

static int parse_start(struct reading *reading, const struct open_file *file, char *why,
		       size_t why_bytes)
{
	uint64_t file_bytes = file->file.size_bytes;
	struct qcow2_header *header = &reading->header;
	uint32_t bits;
	size_t length;

	if (qcow2_header_peek(reading->cluster, &bits) != 0)
		bits = QCOW2_CLUSTER_BITS_MIN;
	length = QCOW2_HEADER_READ_BYTES(bits);
	if (length > file_bytes)
		length = (size_t)file_bytes;
	if (!name_is_behind(reading->cluster)) {
		int res = qcow2_header_parse(reading->cluster, length, file_bytes, header, why,
					     why_bytes);

		if (length <= START_BYTES || (res == 0 && header->extensions_end <= START_BYTES))
			return res;
	}
	return qcow2_header_read(&file->file, header, why, why_bytes);
}

/* A header that is refused may still be that of a child: of a kind that we do not open, or one that
 * somebody hopes to mend. */
static void read_name_alone(const struct open_file *file, const uint8_t *start, char *name)
{
	uint32_t bytes = get_be32(start + AT_BACKING_BYTES);

	name[0] = '\0';
	if (bytes == 0 || bytes > QCOW2_BACKING_NAME_MAX ||
	    read_at(&file->file, name, bytes, get_be64(start + AT_BACKING_OFFSET)) != 0)
		bytes = 0;
	name[bytes] = '\0';
}

static bool keep_header(struct reading *reading, struct family_image *image, int res,
			const char *why)
{
	const struct qcow2_header *header = &reading->header;

	image->kind = res == 0 ? FAMILY_QCOW2 : FAMILY_REFUSED;
	if (res == 0) {
		image->size_bytes = header->size_bytes;
		image->cluster_bits = header->cluster_bits;
		image->extended = (header->incompatible & QCOW2_INCOMPATIBLE_EXTENDED_L2) != 0;
		image->backing_format = keep_text(reading->all, header->backing_format);
	}
	image->backing_name = keep_text(reading->all, header->backing_name);
	image->why = keep_text(reading->all, res == 0 ? "" : why);
	return image->backing_name && image->backing_format && image->why;
}

static bool refuse_file(struct reading *reading, struct family_image *image, int res)
{
	image->kind = FAMILY_REFUSED;
	image->why = keep_text(reading->all, files_error(res));
	return image->why != NULL;
}

/* False: no memory. */
static bool read_file(struct reading *reading, const struct open_file *file,
		      struct family_image *image)
{
	char why[128] = "";
	int res = read_at(&file->file, reading->cluster, START_BYTES, 0);

	if (res != 0)
		return refuse_file(reading, image, res);
	if (get_be32(reading->cluster) != QCOW2_MAGIC)
		return true;
	res = parse_start(reading, file, why, sizeof(why));
	if (res == -ENOMEM)
		return false;
	if (res != 0)
		read_name_alone(file, reading->cluster, reading->header.backing_name);
	return keep_header(reading, image, res, why);
}

static bool is_said_raw(const struct family_words *words, const char *name)
{
	if (!words || !words->raw)
		return false;
	for (const char *const *at = words->raw; *at; at++)
		if (strcmp(*at, name) == 0)
			return true;
	return false;
}

static void note_stat(struct family_image *image, const struct stat *st)
{
	image->device = st->st_dev;
	image->inode = st->st_ino;
	image->links = (unsigned)st->st_nlink;
	image->size_bytes = image->file_bytes = (uint64_t)st->st_size;
	image->used_bytes = (uint64_t)st->st_blocks * 512;
	image->modified_ns = st->st_mtim.tv_sec * INT64_C(1000000000) + st->st_mtim.tv_nsec;
}

/* -- The folder -- */

static int room_for_one(struct family_all *all)
{
	size_t room = all->room ? 2 * all->room : 64;
	struct family_image *more;

	if (all->family.count == FAMILY_FILES_MAX)
		return -EFBIG;
	if (all->family.count < all->room)
		return 0;
	more = realloc(all->family.images, room * sizeof(*more));
	if (!more)
		return -ENOMEM;
	all->family.images = more;
	all->room = room;
	return 0;
}

/* An open file, -errno. A file that was removed meanwhile is none. */
static int read_open(struct reading *reading, int fd, struct family_image *image)
{
	struct open_file file = {.file.read = read_at, .fd = fd};
	struct stat st;

	if (fd < 0)
		return refuse_file(reading, image, fd) ? 0 : -ENOMEM;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return -ENOENT;
	note_stat(image, &st);
	image->may_be_base = st.st_nlink > 1 && family_may_be_base(fd);
	file.file.size_bytes = image->file_bytes;
	if (is_said_raw(reading->words, image->name)) {
		image->kind = FAMILY_RAW;
		return 0;
	}
	return read_file(reading, &file, image) ? 0 : -ENOMEM;
}

static int add_file(struct reading *reading, const char *name)
{
	struct family_all *all = reading->all;
	struct family_image *image;
	int fd CLEANUP(files_close) = -1;
	int res = room_for_one(all);

	if (res != 0)
		return res;
	fd = files_open_at(reading->folder, name, O_RDONLY);
	if (fd == -ENOENT || fd == -ELOOP)
		return 0;
	image = &all->family.images[all->family.count];
	*image = (struct family_image){
		.name = keep_text(all, name), .backing_name = "", .backing_format = "", .why = ""};
	if (!image->name)
		return -ENOMEM;
	res = read_open(reading, fd, image);
	if (res == 0)
		all->family.count++;
	return res == -ENOENT ? 0 : res;
}

static bool may_be_image(const struct dirent *entry)
{
	return (entry->d_type == DT_REG || entry->d_type == DT_UNKNOWN) &&
	       !family_is_temporary(entry->d_name);
}

static int read_folder(struct reading *reading)
{
	int fd = openat(reading->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	int res = 0;

	if (!dir) {
		res = -errno;
		files_close(&fd);
		return res;
	}
	do {
		errno = 0;
		entry = readdir(dir);
		if (!entry)
			res = -errno;
		else if (may_be_image(entry))
			res = add_file(reading, entry->d_name);
	} while (entry && res == 0);
	(void)closedir(dir);
	return res;
}

int family_read(int folder, const struct family_words *words, struct family **out, char *why,
		size_t why_bytes)
{
	const struct family_why say = {why, why_bytes};
	struct reading reading = {.folder = folder, .words = words};
	int res = -ENOMEM;

	reading.all = calloc(1, sizeof(*reading.all));
	reading.cluster = calloc(1, CLUSTER_BYTES_MAX);
	if (reading.all && reading.cluster)
		res = read_folder(&reading);
	if (res == 0)
		res = family_link(&reading.all->family);
	free(reading.cluster);
	if (res == 0) {
		*out = &reading.all->family;
		return 0;
	}
	if (reading.all)
		family_free(&reading.all->family);
	if (res == -EFBIG)
		return family_refuse(&say, res,
				     "its folder has more than %u files; move images apart",
				     FAMILY_FILES_MAX);
	return family_refuse(&say, res, "its folder cannot be read: %s", files_error(res));
}

void family_free(struct family *family)
{
	struct family_all *all = (void *)family; /* Its first member. */

	if (!family)
		return;
	while (all->texts) {
		struct text_chunk *chunk = all->texts;

		all->texts = chunk->next;
		free(chunk);
	}
	free(all->family.images);
	free(all);
}
