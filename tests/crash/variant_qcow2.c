/*
 * qcow2 images to begin with. See variant_qcow2.h.
 */
#include "tests/crash/variant_qcow2.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/attr.h"
#include "base/bytes.h"
#include "lun/qcow2/create.h"
#include "lun/qcow2/header_bytes.h"
#include "tests/crash/content.h"
#include "tests/crash/model.h"
#include "tests/crash/pattern.h"

#define BYTES_FIRST ((uint64_t)VARIANT_SECTORS_FIRST * DISK_SECTOR_BYTES)
#define BYTES ((uint64_t)VARIANT_SECTORS * DISK_SECTOR_BYTES)
#define GOLDEN_BITS 12u
#define MIB (UINT64_C(1) << 20)

/* Near the end of what its refcount table can count. */
#define LATE (8 * MIB - 24 * 1024)
#define OTHERS (UINT64_C(1) << 63)

/* Grown: within the L1 table's cluster; to a table of several clusters, which lies elsewhere. */
const struct variant variants_qcow2[] = {
	{"small", 9, false, false, 1, false, false, false, 3 * MIB, 0, 0},
	{"small-backed", 9, false, false, 1, false, true, true, 7 * MIB, 0, 0},
	{"small-late", 9, false, false, 1, false, false, false, 7 * MIB, LATE, 0},
	{"middle", 12, false, false, 1, false, false, true, BYTES, 0, OTHERS},
	{"middle-backed", 12, false, false, 1, false, true, false, 1500 * MIB, 0, 0},
	{"compressed", 12, false, true, 1, false, false, false, 5000 * MIB, 0, 0},
	{"compressed-backed", 12, false, true, 1, false, true, true, BYTES, 0, 0},
	{"extended", 14, true, false, 1, false, false, false, 40000 * MIB, 0, 0},
	{"extended-backed", 14, true, false, 1, false, true, true, BYTES, 0, OTHERS},
	{"chain", 12, false, false, 2, false, true, true, BYTES, 0, 0},
	{"chain-small", 9, false, false, 2, false, false, false, 4 * MIB, 0, 0},
	{"chain-extended", 14, true, false, 2, false, true, false, BYTES, 0, 0},
	{"chain-job", 12, false, false, 2, true, true, true, BYTES, 0, 0},
	{"chain-small-job", 9, false, false, 2, true, false, true, 2 * BYTES, 0, 0},
	{"chain-extended-job", 14, true, false, 2, true, true, false, BYTES, 0, 0},
};
const char *const variant_names_qcow2[] = {
	"small",           "small-backed",    "small-late",         "middle",
	"middle-backed",   "compressed",      "compressed-backed",  "extended",
	"extended-backed", "chain",           "chain-small",        "chain-extended",
	"chain-job",       "chain-small-job", "chain-extended-job", NULL,
};

_Static_assert(ARRAY_SIZE(variant_names_qcow2) == ARRAY_SIZE(variants_qcow2) + 1,
	       "each variant has a name");

const char *variant_backing_name(const struct variant *variant, bool rebased)
{
	if (variant->images == 1 && !variant->on_raw)
		return NULL;
	return rebased ? "another-and-longer-name-of-the-file-below" : "below";
}

/* Every fourth sector something else, or nothing. */
static void choose_words(struct random *random, uint64_t number, uint32_t end, uint64_t *words)
{
	bool has = false;

	for (uint32_t i = 0; i < VARIANT_SECTORS; i++) {
		if (i % 4 == 0)
			has = random_one_in(random, 2);
		words[i] = has && i < end ? pattern_word(number, i) : 0;
	}
}

static void fill(uint8_t *bytes, const uint64_t *words)
{
	for (uint32_t i = 0; i < VARIANT_SECTORS; i++)
		pattern_fill(bytes + (size_t)i * DISK_SECTOR_BYTES, words[i]);
}

/* A raw file of which half has data, and which ends before the disk does. */
static void write_raw(struct disk *disk, unsigned file, struct random *random, uint64_t *words)
{
	static uint8_t bytes[BYTES];
	uint32_t end = VARIANT_SECTORS_FIRST - random_below(random, VARIANT_SECTORS_FIRST / 3);

	choose_words(random, MODEL_WRITES_MAX - 1, end, words);
	fill(bytes, words);
	disk_load(disk, file, bytes, (uint64_t)end * DISK_SECTOR_BYTES);
}

struct image {
	unsigned file;
	struct qcow2_create create;
	const enum content_kind *kinds; /* NULL: it has nothing. */
	uint64_t first_at;
	uint64_t autoclear;
};

static void write_image(struct disk *disk, const struct image *image, const uint64_t *words)
{
	static uint8_t guest[BYTES];
	static uint8_t bytes[VARIANT_ROOM_BYTES];
	static uint64_t used;
	struct content content = {bytes, VARIANT_ROOM_BYTES, guest, image->kinds, image->first_at};
	struct qcow2_layout layout;
	uint64_t length;
	char why[256];

	memset(bytes, 0, used);
	if (qcow2_layout_make(&image->create, &layout, why, sizeof(why))) {
		printf("cannot format: %s\n", why);
		abort();
	}
	length = layout.file_bytes;
	assert(layout.pieces * (uint64_t)layout.piece_bytes <= length);
	for (uint32_t i = 0; i < layout.pieces; i++)
		qcow2_layout_piece(&layout, i, bytes + (size_t)i * layout.piece_bytes);
	fill(guest, words);
	if (image->kinds)
		length = content_add(&layout, &content);
	if (image->autoclear)
		put_be64(bytes + AT_AUTOCLEAR, image->autoclear);
	disk_load(disk, image->file, bytes, length);
	used = length;
}

/* What cluster i has, and so what its sectors have. Some data are zeroes. */
static void choose_content(struct random *random, uint32_t cluster_sectors, uint64_t *words,
			   enum content_kind *kinds)
{
	uint64_t number = MODEL_WRITES_MAX - 3;
	bool is_blank = false;

	for (uint32_t i = 0; i < VARIANT_SECTORS_FIRST; i++) {
		enum content_kind *kind = &kinds[i / cluster_sectors];

		if (i % cluster_sectors == 0) {
			*kind = (enum content_kind)random_below(random, 4);
			is_blank = random_one_in(random, 4);
		}
		if (*kind == CONTENT_DATA || *kind == CONTENT_COMPRESSED)
			words[i] = is_blank ? 0 : pattern_word(number, i);
		else if (*kind == CONTENT_ZEROES)
			words[i] = 0;
	}
}

static void write_golden(struct disk *disk, const struct variant *variant, struct random *random,
			 uint64_t *words)
{
	enum content_kind kinds[VARIANT_SECTORS] = {0};
	struct image image = {
		.file = 1,
		.create = {.size_bytes = BYTES_FIRST,
			   .cluster_bits = GOLDEN_BITS,
			   .backing_name = variant->on_raw ? "base" : NULL,
			   .backing_format = variant->on_raw ? "raw" : NULL},
		.kinds = kinds,
	};

	choose_content(random, (1u << GOLDEN_BITS) / DISK_SECTOR_BYTES, words, kinds);
	write_image(disk, &image, words);
}

static void choose_every_second(const struct variant *variant, uint64_t *words,
				enum content_kind *kinds)
{
	uint32_t cluster = (1u << variant->cluster_bits) / DISK_SECTOR_BYTES;
	uint32_t end = variant->compressed ? VARIANT_SECTORS_FIRST : 8;

	for (uint32_t i = 0; i < end; i++) {
		if (i / cluster % 2)
			continue;
		kinds[i / cluster] = variant->compressed ? CONTENT_COMPRESSED : CONTENT_DATA;
		words[i] = pattern_word(MODEL_WRITES_MAX - 2, i);
	}
}

static void write_top(struct disk *disk, const struct variant *variant, uint64_t *words)
{
	enum content_kind kinds[VARIANT_SECTORS] = {0};
	const char *name = variant_backing_name(variant, false);
	const char *format = variant->images > 1 ? "qcow2" : "raw";
	bool has_content = variant->compressed || variant->first_at;
	struct image image = {
		.file = 0,
		.create = {.size_bytes = BYTES_FIRST,
			   .cluster_bits = variant->cluster_bits,
			   .extended = variant->extended,
			   .backing_name = name,
			   .backing_format = name ? format : NULL},
		.kinds = has_content ? kinds : NULL,
		.first_at = variant->first_at,
		.autoclear = variant->autoclear,
	};

	if (has_content)
		choose_every_second(variant, words, kinds);
	write_image(disk, &image, words);
}

void variant_format(struct disk *disk, unsigned number, struct random *random, uint64_t *words)
{
	const struct variant *variant = &variants_qcow2[number];

	memset(words, 0, VARIANT_SECTORS * sizeof(*words));
	for (unsigned i = variant->images + variant->on_raw; i < VARIANT_FILES; i++)
		disk_load(disk, i, "", 0);
	if (variant->on_raw)
		write_raw(disk, variant->images, random, words);
	if (variant->images > 1)
		write_golden(disk, variant, random, words);
	write_top(disk, variant, words);
}
