/*
 * Records of jobs: a small file in the state directory for each, of lines "key value", named after
 * the image's path. It says what was asked for, not how far it has come: the images tell that.
 */
#include "lun/job_files.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "lun/files.h"
#include "lun/lun_internal.h"

#define RECORD_BYTES 1792u
#define PREFIX "job-"

/* FNV-1a, 64 bits. */
static uint64_t hash_of(const char *text)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (; *text != '\0'; text++)
		hash = (hash ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
	return hash;
}

static int path_of(const char *state_dir, const struct job_order *order, char out[FILES_PATH_MAX])
{
	int length = snprintf(out, FILES_PATH_MAX, "%s/" PREFIX "%016" PRIx64, state_dir,
			      hash_of(order->path));

	return length < 0 || (size_t)length >= FILES_PATH_MAX ? -ENAMETOOLONG : 0;
}

int job_record_save(const char *state_dir, const struct job_order *order, char *why)
{
	char path[FILES_PATH_MAX];
	char text[RECORD_BYTES];
	int res;

	if (!state_dir)
		return 0;
	if (strchr(order->path, '\n') || strchr(order->image, '\n') || strchr(order->base, '\n'))
		return lun_refuse(why, -EINVAL, "a file's name has a line break");
	(void)snprintf(text, sizeof(text),
		       "kind %s\npath %s\nimage %s\nbase %s\nrate %" PRIu64 "\ninode %" PRIu64
		       "\nborn %" PRIu64 "\nbase-inode %" PRIu64 "\nbase-born %" PRIu64
		       "\npushed-inode %" PRIu64 "\npushed-born %" PRIu64 "\n",
		       job_kind_name(order->kind), order->path, order->image, order->base,
		       order->rate_bytes, order->image_was.inode, order->image_was.born_ns,
		       order->base_was.inode, order->base_was.born_ns, order->pushed_was.inode,
		       order->pushed_was.born_ns);
	res = path_of(state_dir, order, path);
	if (res == 0)
		res = files_write_text(path, text);
	return res == 0 ? 0
			: lun_refuse(why, res, "its record cannot be written to %s: %s", state_dir,
				     files_error(res));
}

void job_record_forget(const char *state_dir, const struct job_order *order)
{
	char path[FILES_PATH_MAX];

	if (!state_dir || path_of(state_dir, order, path) != 0)
		return;
	if (unlink(path) == 0)
		(void)!files_sync_parent(path);
}

/* -- Reading -- */

/* The value of the next line, which has this key. */
static bool take_line(char **text, const char *key, char *out, size_t room)
{
	size_t length = strlen(key);
	char *end = strchr(*text, '\n');

	if (!end || strncmp(*text, key, length) != 0 || (*text)[length] != ' ' ||
	    (size_t)(end - *text) - length > room)
		return false;
	*end = '\0';
	(void)snprintf(out, room, "%s", *text + length + 1);
	*text = end + 1;
	return true;
}

static bool parse(char *text, struct job_order *out)
{
	struct {
		const char *key;
		uint64_t *value;
	} numbers[] = {
		{"rate", &out->rate_bytes},
		{"inode", &out->image_was.inode},
		{"born", &out->image_was.born_ns},
		{"base-inode", &out->base_was.inode},
		{"base-born", &out->base_was.born_ns},
		{"pushed-inode", &out->pushed_was.inode},
		{"pushed-born", &out->pushed_was.born_ns},
	};
	char kind[16], number[24];

	*out = (struct job_order){.kind = JOB_KINDS, .is_resumed = true};
	if (!take_line(&text, "kind", kind, sizeof(kind)) ||
	    !take_line(&text, "path", out->path, sizeof(out->path)) ||
	    !take_line(&text, "image", out->image, sizeof(out->image)) ||
	    !take_line(&text, "base", out->base, sizeof(out->base)))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		if (!take_line(&text, numbers[i].key, number, sizeof(number)))
			return false;
		*numbers[i].value = strtoull(number, NULL, 10);
	}
	for (unsigned i = 0; i < JOB_KINDS; i++)
		if (strcmp(kind, job_kind_name((enum job_kind)i)) == 0)
			out->kind = (enum job_kind)i;
	return out->kind != JOB_KINDS && out->path[0] == '/';
}

/* More than belongs on the stack. */
struct reader {
	struct job_order order;
	char path[FILES_PATH_MAX];
	char text[RECORD_BYTES];
};

static bool load(struct reader *reader, const char *state_dir, const char *name)
{
	if ((size_t)snprintf(reader->path, sizeof(reader->path), "%s/%s", state_dir, name) >=
		    sizeof(reader->path) ||
	    files_read_text(reader->path, reader->text, sizeof(reader->text)) != 0)
		return false;
	return parse(reader->text, &reader->order);
}

static bool is_record(const char *name)
{
	return strncmp(name, PREFIX, strlen(PREFIX)) == 0;
}

/* It was being written when the power went: nobody was told that its job has begun. */
static bool is_half(const char *name)
{
	return strchr(name, '.');
}

void job_record_each(const char *state_dir, void (*visit)(const struct job_order *order, void *arg),
		     void *arg)
{
	struct reader *reader = calloc(1, sizeof(*reader));
	DIR *folder = opendir(state_dir);

	for (const struct dirent *entry; reader && folder && (entry = readdir(folder));) {
		if (!is_record(entry->d_name))
			continue;
		if (is_half(entry->d_name)) {
			(void)unlinkat(dirfd(folder), entry->d_name, 0);
		} else if (load(reader, state_dir, entry->d_name)) {
			visit(&reader->order, arg);
		} else {
			log_warn("job", "%s/%s is no record of a job; remove it", state_dir,
				 entry->d_name);
		}
	}
	if (folder)
		closedir(folder);
	free(reader);
}
