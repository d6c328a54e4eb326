/*
 * Image files that no daemon serves: found, locked, opened; and what an image stands on. Contents
 * are read through lun/qcow2's closed images; where what is allocated, extent.h says.
 *
 * Any thread reads; one thread opens and closes. Read next: closed.c, chain.c.
 */
#ifndef TARGET_IMAGE_CLOSED_H
#define TARGET_IMAGE_CLOSED_H

#include "target/image/verb.h"

#include <sys/stat.h>

#include "lun/files.h"
#include "lun/qcow2/plain.h"
#include "lun/qcow2/writable.h"

enum closed_access {
	CLOSED_LOOK,  /* Without a lock: what is in use may change meanwhile. */
	CLOSED_READ,  /* Others may read, too. */
	CLOSED_WRITE, /* Nobody else has it, and nothing is based on it. */
	/* Nobody else has it. What it shows stays as it is, so others may be based on it. */
	CLOSED_REPAIR,
};

enum closed_format {
	CLOSED_RAW,
	CLOSED_QCOW2,
	CLOSED_FORMATS
};

extern const char *const closed_format_names[CLOSED_FORMATS];

struct closed_file {
	struct qcow2_descriptor disk;
	struct stat st;
	int fd; /* -1: not open. */
	enum closed_format format;
	char path[FILES_PATH_MAX];
};

static inline const struct qcow2_file *closed_reader(const struct closed_file *file)
{
	return &file->disk.writable.file;
}

/*
 * Open `path`. What it is is told by `told` (an option's value), or else by its name; a file whose
 * name tells nothing is raw, unless it looks like a qcow2 image: then somebody has to say, as a
 * guest may write such a header into its raw disk. 0, or what image_refuse answered, and nothing
 * is open. One that is not locked but looked at may be a block device as well.
 */
int MUST_CHECK closed_open(struct image_order *order, const char *path, const char *told,
			   enum closed_access access, struct closed_file *out);
/* The same for a descriptor, which it takes over in any case; `path` is set. */
int MUST_CHECK closed_take(struct image_order *order, int fd, const char *told,
			   enum closed_access access, struct closed_file *out);
/* -EBUSY: data of the image above have gone into it in part (lun/family_merge.c). */
int MUST_CHECK closed_require_whole(struct image_order *order, const char *path);
void closed_close(struct closed_file *file);
/* The path of `name` in the folder of `path`. -ENAMETOOLONG. */
int MUST_CHECK closed_path_beside(const char *path, const char *name, char out[FILES_PATH_MAX]);
/* What a file of that name is, or CLOSED_FORMATS: it does not tell. */
enum closed_format closed_format_of(const char *name);
/* The format that an option gives; CLOSED_FORMATS where it is not given. */
int MUST_CHECK closed_format_told(struct image_order *order, enum image_option option,
				  enum closed_format *out);
/* FILE of a verb that only qcow2 images have is one: it is told, or its name tells; nothing in the
 * file is asked, which may be what a guest wrote. */
int MUST_CHECK closed_require_qcow2(struct image_order *order, const char *path);
/* Bytes that the file occupies. */
uint64_t closed_allocated_bytes(const struct closed_file *file);

/* -- Chains -- */

/* As many as a daemon opens. */
#define CLOSED_LAYERS_MAX 8u

struct closed_layer {
	struct closed_file file;
	struct qcow2_plain plain; /* Of a qcow2 image. */
	bool last;                /* It names no backing file. */
};

struct closed_chain {
	struct closed_layer layers[CLOSED_LAYERS_MAX]; /* From above to below. */
	unsigned count;
};

/*
 * An image and all below it, the uppermost with `access`, the others read (or looked at). A backing
 * file lies beside its image and is named with its format. `alone`: what is below is left closed.
 */
int MUST_CHECK closed_chain_open(struct image_order *order, const char *path, const char *told,
				 enum closed_access access, struct closed_chain **out);
int MUST_CHECK closed_chain_open_alone(struct image_order *order, const char *path,
				       const char *told, enum closed_access access,
				       struct closed_chain **out);
/* NULL is fine. */
void closed_chain_close(struct closed_chain *chain);
/* What a layer shows. */
const struct qcow2_file *closed_layer_guest(const struct closed_layer *layer);
/* Of the disk: a raw file's size, in whole sectors. */
uint64_t closed_layer_size(const struct closed_layer *layer);

#endif
