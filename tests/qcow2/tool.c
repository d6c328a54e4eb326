/*
 * Orders for images.py, one a line on standard input, one answer each on standard output:
 *
 *     check FILE                       "0", "2" or "3" as `qemu-img check` ends, then findings;
 *                                      "1" and why it could not be looked at
 *     repair FILE                      "0" and what was changed; "1" and why not
 *     rebase FILE [NAME FORMAT]        "0", or "1" and why not
 *     grow FILE BYTES                  "0", or "1" and why not
 *     compare RAW FILE [BACKING...]    does FILE with its chain read as RAW: "0", or "1" and where
 *     create FILE BYTES BITS std|extended [NAME FORMAT] a new image: "0", or "1" and why not
 *
 * BACKING is FORMAT:FILE, the nearest first. Names have no blanks.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/attr.h"
#include "lun/qcow2/check.h"
#include "lun/qcow2/create.h"
#include "lun/qcow2/grow.h"
#include "lun/qcow2/plain.h"
#include "lun/qcow2/rebase.h"
#include "lun/qcow2/repair.h"
#include "tests/qcow2/disk.h"
#include "tests/qcow2/engine.h"

/* No divisor of a cluster, so that pieces of the reader and clusters do not fall together. */
#define PIECE_BYTES (1000u * 1000u)

static void answer(int res, const char *why)
{
	printf("%d %s\n", res, why);
}

static void order_check(char **words, unsigned count UNUSED)
{
	static struct qcow2_check check;
	struct disk_file disk;
	char why[WHY_BYTES] = "?";
	int res = disk_open(words[1], O_RDONLY, &disk);

	if (res == 0)
		res = qcow2_check(&(struct qcow2_check_spec){.file = &disk.file}, &check, why,
				  sizeof(why));
	if (res != 0) {
		answer(1, why);
	} else {
		printf("%d", (int)qcow2_check_verdict(&check));
		for (unsigned i = 0; i < check.finding_count; i++)
			printf(" %s;", check.findings[i]);
		printf("\n");
	}
	if (disk.fd >= 0)
		(void)close(disk.fd);
}

/* A closed image that an order changes. */
static int open_writable(const char *name, struct qcow2_descriptor *out)
{
	int fd = open(name, O_RDWR | O_CLOEXEC);

	out->fd = fd;
	return fd < 0 ? -errno : qcow2_descriptor_make(fd, out);
}

static void order_repair(char **words, unsigned count UNUSED)
{
	static struct qcow2_repair repair;
	struct qcow2_descriptor disk;
	char why[WHY_BYTES] = "?";
	int res = open_writable(words[1], &disk);

	repair.writable = &disk.writable;
	if (res == 0)
		res = qcow2_repair(&repair, why, sizeof(why));
	if (res == 0)
		(void)snprintf(why, sizeof(why), "%llu refcounts, %llu entries",
			       (unsigned long long)repair.refcounts,
			       (unsigned long long)repair.entries);
	answer(res != 0, why);
	(void)close(disk.fd);
}

static void order_rebase(char **words, unsigned count)
{
	struct qcow2_descriptor disk;
	struct qcow2_rebase rebase = {
		.writable = &disk.writable,
		.backing_name = count > 3 ? words[2] : NULL,
		.backing_format = count > 3 ? words[3] : NULL,
	};
	char why[WHY_BYTES] = "";
	int res = open_writable(words[1], &disk);

	if (res == 0)
		res = qcow2_rebase(&rebase, why, sizeof(why));
	answer(res != 0, why);
	(void)close(disk.fd);
}

static void order_grow(char **words, unsigned count UNUSED)
{
	struct qcow2_descriptor disk;
	struct qcow2_grow grow = {.writable = &disk.writable,
				  .size_bytes = strtoull(words[2], NULL, 10)};
	char why[WHY_BYTES] = "";
	int res = open_writable(words[1], &disk);

	if (res == 0)
		res = qcow2_grow(&grow, why, sizeof(why));
	answer(res != 0, why);
	(void)close(disk.fd);
}

/* Files of a chain, the top first, and what each shows. */
struct chain {
	struct disk_file disks[WORDS_MAX];
	struct qcow2_plain plains[WORDS_MAX];
	unsigned opened;
};

static int chain_open(struct chain *chain, char **words, unsigned count,
		      const struct qcow2_file **out, char *why)
{
	const struct qcow2_file *below = NULL;
	int res = 0;

	for (unsigned i = count; res == 0 && i-- > 0;) {
		struct disk_file *disk = &chain->disks[i];
		char *colon = i > 0 ? strchr(words[i], ':') : NULL;
		bool raw = colon != NULL && strncmp(words[i], "raw:", 4) == 0;

		res = disk_open(colon != NULL ? colon + 1 : words[i], O_RDONLY, disk);
		chain->opened++;
		if (res == 0 && !raw)
			res = qcow2_plain_open(&chain->plains[i], &disk->file, below, why,
					       WHY_BYTES);
		below = raw ? &disk->file : &chain->plains[i].guest;
	}
	*out = below;
	return res;
}

static int compare(const struct qcow2_file *guest, const struct qcow2_file *raw, char *why)
{
	static uint8_t ours[PIECE_BYTES], theirs[PIECE_BYTES];

	if (guest->size_bytes != raw->size_bytes) {
		(void)snprintf(why, WHY_BYTES, "sizes differ");
		return 1;
	}
	for (uint64_t offset = 0; offset < guest->size_bytes; offset += PIECE_BYTES) {
		int res = guest->read(guest, ours, PIECE_BYTES, offset);

		if (res == 0)
			res = raw->read(raw, theirs, PIECE_BYTES, offset);
		if (res == 0)
			res = memcmp(ours, theirs, PIECE_BYTES) != 0;
		if (res != 0) {
			(void)snprintf(why, WHY_BYTES, "%d in the piece at %llu", res,
				       (unsigned long long)offset);
			return 1;
		}
	}
	return 0;
}

static void order_compare(char **words, unsigned count)
{
	struct disk_file raw;
	static struct chain chain;
	const struct qcow2_file *guest = NULL;
	char why[WHY_BYTES] = "";
	int res = disk_open(words[1], O_RDONLY, &raw);

	chain.opened = 0;
	if (res == 0)
		res = chain_open(&chain, words + 2, count - 2, &guest, why);
	if (res == 0 && guest != NULL)
		res = compare(guest, &raw.file, why);
	answer(res != 0, why);
	for (unsigned i = count - 2 - chain.opened; i < count - 2; i++)
		(void)close(chain.disks[i].fd);
	(void)close(raw.fd);
}

static void order_engine(char **words, unsigned count)
{
	char why[WHY_BYTES] = "";

	answer(engine_compare(words[1], words + 2, count - 2, why) != 0, why);
}

static void order_write(char **words, unsigned count)
{
	char why[WHY_BYTES] = "";
	struct engine_writes writes = {.mirror = words[1], .seed = strtoull(words[2], NULL, 10)};

	answer(engine_write(&writes, words + 3, count - 3, why) != 0, why);
}

static int write_image(const char *name, const struct qcow2_layout *layout)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	uint8_t *piece = malloc(layout->piece_bytes);
	int res = fd >= 0 && piece != NULL ? 0 : -errno;

	for (uint32_t i = 0; res == 0 && i < layout->pieces; i++) {
		qcow2_layout_piece(layout, i, piece);
		if (pwrite(fd, piece, layout->piece_bytes, (off_t)i * layout->piece_bytes) !=
		    (ssize_t)layout->piece_bytes)
			res = -errno;
	}
	if (res == 0 && ftruncate(fd, (off_t)layout->file_bytes) != 0)
		res = -errno;
	free(piece);
	if (fd >= 0)
		(void)close(fd);
	return res;
}

static void order_create(char **words, unsigned count)
{
	struct qcow2_create create = {
		.size_bytes = strtoull(words[2], NULL, 10),
		.cluster_bits = (uint32_t)strtoul(words[3], NULL, 10),
		.extended = strcmp(words[4], "extended") == 0,
		.backing_name = count > 6 ? words[5] : NULL,
		.backing_format = count > 6 ? words[6] : NULL,
	};
	struct qcow2_layout layout;
	char why[WHY_BYTES] = "";
	int res = qcow2_layout_make(&create, &layout, why, sizeof(why));

	if (res == 0)
		res = write_image(words[1], &layout);
	answer(res != 0, why);
}

int main(void)
{
	static const struct {
		const char *name;
		unsigned words_min;
		void (*run)(char **words, unsigned count);
	} orders[] = {
		{"check", 2, order_check},     {"repair", 2, order_repair},
		{"compare", 3, order_compare}, {"engine", 3, order_engine},
		{"write", 4, order_write},     {"create", 5, order_create},
		{"rebase", 2, order_rebase},   {"grow", 3, order_grow},
	};
	char line[2048];

	while (fgets(line, sizeof(line), stdin) != NULL) {
		char *words[WORDS_MAX], *rest = line, *word;
		unsigned count = 0;

		while (count < WORDS_MAX && (word = strsep(&rest, " \n")) != NULL) {
			if (*word != '\0')
				words[count++] = word;
		}
		for (size_t i = 0; count > 0 && i < ARRAY_SIZE(orders); i++) {
			if (strcmp(words[0], orders[i].name) == 0 && count >= orders[i].words_min)
				orders[i].run(words, count);
		}
		(void)fflush(stdout);
	}
	return 0;
}
