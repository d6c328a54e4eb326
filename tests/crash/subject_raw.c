/*
 * The raw image under the simulator: opened as a LUN is, from a small file that is there for that
 * alone; all its data operations then go to the simulated disk. What the file system under the file
 * would decide (alignment, page cache, holes) the variant decides.
 *
 * A second reader is hardly one here: the guest's sectors are the file's.
 */
#include "tests/crash/subject.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lun/lun_internal.h"
#include "lun/raw.h"
#include "tests/crash/model.h"
#include "tests/crash/pattern.h"

#define SECTORS 96u
#define BYTES ((uint64_t)SECTORS * DISK_SECTOR_BYTES)

static const struct raw_variant {
	uint32_t align_bytes;
	bool page_cache;
	bool write_cache;
} raw_variants[] = {
	{512, false, true},
	{4096, false, true}, /* Blocks of 512 are read and modified. */
	{4096, true, true},
	{4096, false, false},
};
static const char *const names[] = {"direct", "blocks", "cached", "through", NULL};

/* Of the open under way. */
static struct sim *opening;
static const struct raw_variant *opening_as;

/* -- The file -- */

/* Alone in it: who opens a file for writing may look around for others that are based on it. */
static char folder[192];

void subject_raw_begin(void)
{
	const char *parent = getenv("TMPDIR");

	(void)snprintf(folder, sizeof(folder), "%.150s/ringsan-crash.XXXXXX",
		       parent ? parent : "/tmp");
	if (mkdtemp(folder))
		return;
	perror(folder);
	exit(2);
}

void subject_raw_end(void)
{
	(void)rmdir(folder);
}

/* One for each level, so that their locks do not meet; without a name, so that nothing stays. */
static const char *file_path(unsigned level)
{
	static char paths[SUBJECT_LEVELS][32];
	char name[256];
	int fd;

	if (paths[level][0])
		return paths[level];
	(void)snprintf(name, sizeof(name), "%s/XXXXXX", folder);
	fd = mkstemp(name);
	if (fd < 0 || unlink(name) || ftruncate(fd, (off_t)BYTES)) {
		perror(name);
		exit(2);
	}
	(void)snprintf(paths[level], sizeof(paths[level]), "/proc/self/fd/%d", fd);
	return paths[level];
}

static int open_image(const struct lun_spec *spec, struct image **out, struct image_info *info,
		      char *why, size_t why_size)
{
	int res = image_raw_ops.open(spec, out, info, why, why_size);
	struct image *image = *out;

	if (res)
		return res;
	sim_bind(opening, image->fd, 0);
	sim_bind(opening, image->sync_fd, 0);
	image->is_tmpfs = false;
	image->page_cache = opening_as->page_cache;
	image->zeroes_after_unmap = true;
	info->io_align_bytes = opening_as->align_bytes;
	info->thin = true;
	info->zeroes_after_unmap = true;
	info->anchors = false;
	info->look_ahead = false;
	return 0;
}

static struct lun *open_lun(struct sim *sim, unsigned variant, unsigned level,
			    struct changes *changes UNUSED, char *why)
{
	static struct image_ops ops;
	struct lun_spec spec = {
		.name = "raw",
		.type = "raw",
		.path = file_path(level),
		.size_bytes = BYTES,
		.logical_block_bytes = 512,
		.write_cache = raw_variants[variant].write_cache,
		.identity = "naa.60000000000000000000000000000001",
	};
	struct lun *lun;

	ops = image_raw_ops;
	ops.open = open_image;
	opening = sim;
	opening_as = &raw_variants[variant];
	if (lun_open_type(&spec, &sim->group, &ops, &lun))
		abort();
	if (lun_state(lun)->online)
		return lun;
	(void)snprintf(why, SUBJECT_WHY_BYTES, "%s", lun_state(lun)->offline_reason);
	return NULL;
}

/* -- Content -- */

/* Half of it has something, so that zeroes where something was are seen. */
static void format(struct disk *disk, unsigned variant UNUSED, struct random *random,
		   uint64_t *words)
{
	static uint8_t bytes[BYTES];

	for (uint32_t i = 0; i < SECTORS; i++) {
		if (i % 8 == 0)
			words[i] = random_one_in(random, 2);
		else
			words[i] = words[i - 1] != 0;
		words[i] = words[i] ? pattern_word(MODEL_WRITES_MAX - 1, i) : 0;
		pattern_fill(bytes + (size_t)i * DISK_SECTOR_BYTES, words[i]);
	}
	disk_load(disk, 0, bytes, BYTES);
}

static bool read_words(const struct disk *disk, unsigned variant UNUSED,
		       const struct changes *changes UNUSED, uint64_t *words, char *why)
{
	const struct durable *file = &disk->files[0].base;

	memcpy(words, file->words, SECTORS * sizeof(*words));
	(void)snprintf(why, SUBJECT_WHY_BYTES, "the size changed");
	return file->size_bytes == BYTES;
}

const struct subject subject_raw = {
	.name = "raw",
	.variants = names,
	.files = 1,
	.room_bytes = BYTES,
	.sectors = SECTORS,
	.cluster_sectors = 8,
	.format = format,
	.open = open_lun,
	.close = lun_close,
	.read = read_words,
};
