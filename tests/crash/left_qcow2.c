/*
 * Judges of what a cut left. See left_qcow2.h.
 */
#include "tests/crash/left_qcow2.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lun/qcow2/check.h"
#include "lun/qcow2/inflate.h"
#include "lun/qcow2/plain.h"
#include "tests/crash/model.h"
#include "tests/crash/oracle.h"
#include "tests/crash/pattern.h"
#include "tests/crash/random.h"
#include "tests/crash/subject.h"
#include "tests/crash/view.h"

#define CLUSTER_BYTES_MAX 16384u
#define DEFLATED_BYTES_MAX (2 * CLUSTER_BYTES_MAX)
#define CLUSTER_SECTORS_MAX (CLUSTER_BYTES_MAX / DISK_SECTOR_BYTES)

/* -- Compressed clusters: few, and the same ones in most states -- */

#define INFLATED 16384u

static struct inflated {
	uint64_t key;
	uint64_t words[CLUSTER_SECTORS_MAX];
} inflated[INFLATED];

/* A number for where the data lie and what they are. */
static uint64_t key_of(const struct durable *file, const struct qcow2_piece *piece)
{
	uint64_t end = piece->host_offset + piece->deflated_bytes;
	uint64_t key = random_mix(piece->host_offset) + piece->deflated_bytes;

	for (uint64_t i = piece->host_offset / DISK_SECTOR_BYTES; i * DISK_SECTOR_BYTES < end; i++)
		key = random_mix(key ^
				 (i * DISK_SECTOR_BYTES < file->room_bytes ? file->hashes[i] : 0));
	return key;
}

static bool inflate(const struct qcow2_plain *plain, const struct qcow2_piece *piece,
		    uint64_t *words)
{
	static uint8_t deflated[DEFLATED_BYTES_MAX];
	static uint8_t bytes[CLUSTER_BYTES_MAX];
	size_t cluster_bytes = plain->geometry.cluster_bytes;

	if (cluster_bytes > sizeof(bytes) || piece->deflated_bytes > sizeof(deflated) ||
	    plain->file->read(plain->file, deflated, piece->deflated_bytes, piece->host_offset))
		return false;
	if (qcow2_inflate(plain->header.compression, deflated, piece->deflated_bytes, bytes,
			  cluster_bytes))
		return false;
	for (size_t at = 0; at < cluster_bytes; at += DISK_SECTOR_BYTES)
		words[at / DISK_SECTOR_BYTES] = pattern_parse(bytes + at);
	return true;
}

/* The words of all of the cluster; NULL: it cannot be read. */
static const uint64_t *words_of_compressed(const struct qcow2_plain *plain,
					   const struct durable *file,
					   const struct qcow2_piece *piece)
{
	uint64_t key = key_of(file, piece);
	struct inflated *known = &inflated[key % INFLATED];

	if (known->key == key)
		return known->words;
	known->key = 0;
	if (!inflate(plain, piece, known->words))
		return NULL;
	known->key = key;
	return known->words;
}

/* -- Content -- */

/* What of a piece the image itself has, over what lies below. */
static bool lay_piece(const struct qcow2_plain *plain, const struct durable *file,
		      const struct qcow2_piece *piece, uint64_t first, uint64_t count,
		      uint64_t *words)
{
	const uint64_t *from = file->words + piece->host_offset / DISK_SECTOR_BYTES;

	switch (piece->state) {
	case QCOW2_UNALLOCATED:
		return true;
	case QCOW2_READS_ZERO:
		memset(words + first, 0, count * sizeof(*words));
		return true;
	case QCOW2_DEFLATED:
		from = words_of_compressed(plain, file, piece);
		if (from == NULL)
			return false;
		from += first % (plain->geometry.cluster_bytes / DISK_SECTOR_BYTES);
		break;
	case QCOW2_ALLOCATED:
		if (piece->host_offset + count * DISK_SECTOR_BYTES > file->room_bytes)
			return false;
		break;
	}
	memcpy(words + first, from, count * sizeof(*words));
	return true;
}

static bool lay_image(const struct view *view, uint32_t sectors, uint64_t *words, char *why)
{
	struct qcow2_plain plain;
	uint64_t end;

	if (qcow2_plain_open(&plain, &view->file, NULL, why, SUBJECT_WHY_BYTES))
		return false;
	(void)snprintf(why, SUBJECT_WHY_BYTES, "it cannot be read");
	end = plain.header.size_bytes / DISK_SECTOR_BYTES;
	if (end > sectors)
		end = sectors;
	for (uint64_t at = 0; at < end;) {
		size_t length = (size_t)(end - at) * DISK_SECTOR_BYTES;
		struct qcow2_piece piece;

		if (qcow2_plain_find(&plain, at * DISK_SECTOR_BYTES, &length, &piece) ||
		    !lay_piece(&plain, view->of, &piece, at, length / DISK_SECTOR_BYTES, words))
			return false;
		at += length / DISK_SECTOR_BYTES;
	}
	memset(words + end, 0, (sectors - end) * sizeof(*words));
	return true;
}

static void lay_raw(const struct durable *file, uint32_t sectors, uint64_t *words)
{
	uint64_t there = file->room_bytes / DISK_SECTOR_BYTES;

	if (there > sectors)
		there = sectors;
	memset(words, 0, sectors * sizeof(*words));
	memcpy(words, file->words, there * sizeof(*words));
}

/* -- What was pulled -- */

static bool is_any(const struct changes *changes, enum pulled which)
{
	uint64_t any = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(changes->pulled[which]); i++)
		any |= changes->pulled[which][i];
	return any != 0;
}

/* The layer shows `words`; without the layers that its pulls have made needless it shows the same
 * where they have. */
static bool shows_alone(const struct left_chain *chain, const struct view *layer, enum pulled which,
			const uint64_t *words, char *why)
{
	static uint64_t alone[MODEL_SECTORS_MAX];

	if (!is_any(chain->changes, which))
		return true;
	if (which == PULLED_TOP_OVER_RAW)
		lay_raw(&chain->disk->files[chain->images].base, chain->sectors, alone);
	else
		memset(alone, 0, chain->sectors * sizeof(*alone));
	if (!lay_image(layer, chain->sectors, alone, why))
		return false;
	for (uint32_t i = 0; i < chain->sectors; i++) {
		if (alone[i] == words[i] || !changes_have_pulled(chain->changes, which, i))
			continue;
		(void)snprintf(why, SUBJECT_WHY_BYTES,
			       "sector %u was pulled (%d), and shows %" PRIx64
			       " where it showed %" PRIx64,
			       i, (int)which, alone[i], words[i]);
		return false;
	}
	return true;
}

static bool is_pulled(const struct left_chain *chain, unsigned number, const struct view *layer,
		      const uint64_t *words, char *why)
{
	if (number > 0)
		return shows_alone(chain, layer, PULLED_BELOW_ALONE, words, why);
	return shows_alone(chain, layer, PULLED_TOP_ALONE, words, why) &&
	       shows_alone(chain, layer, PULLED_TOP_OVER_RAW, words, why);
}

/* -- Consistency -- */

static bool is_consistent(const struct view *view, struct qcow2_check *check, char *why)
{
	struct qcow2_check_spec spec = {.file = &view->file, .memory_bytes = 1 << 16};

	if (qcow2_check(&spec, check, why, SUBJECT_WHY_BYTES))
		return false;
	if (qcow2_check_verdict(check) != QCOW2_CORRUPT && !check->dirty)
		return true;
	(void)snprintf(why, SUBJECT_WHY_BYTES, "corrupt: %s",
		       check->finding_count ? check->findings[0] : "the header says so");
	return false;
}

bool left_leaks(const struct disk *disk, unsigned file)
{
	char why[SUBJECT_WHY_BYTES];
	struct qcow2_check check;
	struct view view;

	view_init(&view, &disk->files[file].base);
	return !is_consistent(&view, &check, why) || check.leaks > 0;
}

/* -- qemu-img -- */

/* What of the tables is cheap to tell. */
static uint64_t shape_of(uint64_t kind, const struct qcow2_check *check)
{
	const uint64_t numbers[] = {kind, check->clusters, check->referenced, check->guest_clusters,
				    check->leaks};
	uint64_t shape = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++)
		shape = random_mix(shape + numbers[i]);
	return shape;
}

/* It is of our opinion. Where sectors have garbage, the content model says so. */
static bool is_confirmed(const struct left_chain *chain, const uint64_t *words,
			 const struct qcow2_check *check, char *why)
{
	static uint8_t bytes[MODEL_SECTORS_MAX * DISK_SECTOR_BYTES];
	struct oracle_question question = {
		.files = chain->disk->files,
		.file_count = chain->images + chain->on_raw,
		.expected = bytes,
		.expected_bytes = (uint64_t)chain->sectors * DISK_SECTOR_BYTES,
	};
	struct oracle_answer answer;
	int verdict = (int)qcow2_check_verdict(check);

	for (uint32_t i = 0; i < chain->sectors; i++) {
		if (words[i] == PATTERN_GARBAGE)
			return true;
		pattern_fill(bytes + (size_t)i * DISK_SECTOR_BYTES, words[i]);
	}
	oracle_ask(&question, &answer);
	(void)snprintf(why, SUBJECT_WHY_BYTES, "qemu-img check: %d, ours: %d; qemu-img compare: %d",
		       answer.check, verdict, answer.compare);
	return answer.check == verdict && answer.compare == 0;
}

/* -- The whole -- */

bool left_header(const struct disk *disk, unsigned file, struct qcow2_header *out, char *why)
{
	struct view view;

	view_init(&view, &disk->files[file].base);
	return qcow2_header_read(&view.file, out, why, SUBJECT_WHY_BYTES) == 0;
}

bool left_read(const struct left_chain *chain, uint64_t *words, char *why)
{
	const struct disk_file *files = chain->disk->files;
	struct qcow2_check check = {0};
	unsigned i = chain->images;

	assert(chain->images > 0);
	if (chain->on_raw)
		lay_raw(&files[i].base, chain->sectors, words);
	else
		memset(words, 0, chain->sectors * sizeof(*words));
	while (i-- > 0) {
		struct view view;

		view_init(&view, &files[i].base);
		if (!is_consistent(&view, &check, why) ||
		    !lay_image(&view, chain->sectors, words, why) ||
		    !is_pulled(chain, i, &view, words, why))
			return false;
	}
	if (oracle_wants(shape_of(chain->kind, &check)))
		return is_confirmed(chain, words, &check, why);
	return true;
}
