/*
 * The engine under many requests at once, pulls among them, that overlap in every way, against a
 * model of what each sector may hold. QCOW2_STORM_OPS: how many requests for each kind of image
 * (100); QCOW2_STORM_SEED: others (0).
 */
#include "tests/unit/lun_qcow2_bench.h"

/* -- Many at once, in random order, against a model -- */

#define SLOTS 8u
#define VALUES 16u
#define STORM_SECTORS (uint32_t)(IMAGE_BYTES / SECTOR)
#define STORM_LENGTH_MAX 300u /* Sectors. */

/* What a sector may hold: writes that overlap in time leave the value of either. */
struct sector {
	uint32_t values[VALUES];
	uint32_t count;
	uint32_t writers;
	uint32_t changes;
};

struct storm;

struct slot {
	struct qcow2_request request;
	struct iovec iov[3];
	struct storm *storm;
	uint8_t *bytes;
	uint32_t id;
	uint32_t seen[STORM_LENGTH_MAX]; /* READ: `changes` when it began. */
};

struct storm {
	struct bench bench;
	struct slot slots[SLOTS];
	struct sector sectors[STORM_SECTORS];
	uint32_t cluster_sectors;
	uint64_t random;
	uint32_t ops_left;
	uint32_t running;
	uint32_t next_id;
	uint32_t compared;
	uint32_t copied;
};

static uint32_t storm_random(struct storm *storm, uint32_t below)
{
	storm->random = storm->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (uint32_t)((storm->random >> 33) % below);
}

static uint32_t sector_of(uint64_t offset)
{
	return (uint32_t)(offset / SECTOR);
}

static bool is_changing(const struct qcow2_request *request)
{
	return request->op == LUN_WRITE || request->op == LUN_ZERO || request->op == LUN_UNMAP;
}

static void model_begin(struct slot *slot)
{
	const struct qcow2_request *request = &slot->request;
	struct sector *sector = &slot->storm->sectors[sector_of(request->offset)];

	for (uint32_t i = 0; i < sector_of(request->length); i++, sector++) {
		slot->seen[i] = sector->writers > 0 ? UINT32_MAX : sector->changes;
		if (!is_changing(request))
			continue;
		if (sector->writers++ == 0)
			sector->count = 0;
		sector->changes++;
		cr_assert_lt(sector->count, VALUES);
		sector->values[sector->count++] = slot->id;
	}
}

static bool sector_allows(const struct sector *sector, uint32_t value)
{
	for (uint32_t i = 0; i < sector->count; i++)
		if (sector->values[i] == value)
			return true;
	return false;
}

static void sector_compare(struct sector *sector, const uint8_t *bytes, size_t index)
{
	uint32_t words[SECTOR / 4];

	(void)memcpy(words, bytes, SECTOR);
	cr_assert(sector_allows(sector, words[0]), "sector %zu holds %x", index, words[0]);
	for (size_t i = 1; i < ARRAY_SIZE(words); i++)
		cr_assert_eq(words[i], words[0], "sector %zu is torn", index);
	sector->values[0] = words[0];
	sector->count = 1;
}

static void model_end(struct slot *slot)
{
	const struct qcow2_request *request = &slot->request;
	struct storm *storm = slot->storm;
	uint32_t first = sector_of(request->offset);

	for (uint32_t i = 0; i < sector_of(request->length); i++) {
		struct sector *sector = &storm->sectors[first + i];

		if (is_changing(request)) {
			sector->writers--;
		} else if (request->op == LUN_READ && slot->seen[i] == sector->changes) {
			sector_compare(sector, slot->bytes + (size_t)i * SECTOR, first + i);
			storm->compared++;
		}
	}
}

LOOP_ONLY static void storm_next(struct slot *slot);

static void on_slot_done(struct qcow2_request *request, int res)
{
	struct slot *slot = CONTAINER_OF(request, struct slot, request);

	loop_role_assume();
	cr_assert_eq(res, 0);
	model_end(slot);
	slot->storm->running--;
	storm_next(slot);
}

static void fill(struct slot *slot, uint32_t sectors)
{
	for (size_t i = 0; i < (size_t)sectors * SECTOR / 4; i++)
		(void)memcpy(slot->bytes + 4 * i, &slot->id, 4);
}

static enum lun_op storm_op(struct storm *storm)
{
	static const enum lun_op ops[] = {LUN_WRITE, LUN_WRITE, LUN_WRITE, LUN_WRITE,
					  LUN_READ,  LUN_READ,  LUN_READ,  LUN_UNMAP,
					  LUN_ZERO,  LUN_FLUSH, LUN_PULL};

	return ops[storm_random(storm, ARRAY_SIZE(ops))];
}

/* A range, in a vector of three. UNMAP: whole clusters, most of the time. */
static void storm_range(struct slot *slot)
{
	struct storm *storm = slot->storm;
	struct qcow2_request *request = &slot->request;
	uint32_t most = storm_random(storm, 2) ? 12 : STORM_LENGTH_MAX;
	uint32_t length = 1 + storm_random(storm, most);
	uint32_t first = storm_random(storm, STORM_SECTORS - STORM_LENGTH_MAX);
	uint32_t cut = storm_random(storm, length);

	if (request->op == LUN_UNMAP && storm_random(storm, 4) != 0) {
		length = STORM_LENGTH_MAX / storm->cluster_sectors * storm->cluster_sectors;
		first -= first % storm->cluster_sectors;
	} else if (request->op == LUN_FLUSH) {
		length = cut = 0;
	}
	request->offset = (uint64_t)first * SECTOR;
	request->length = (uint64_t)length * SECTOR;
	slot->iov[0] = (struct iovec){slot->bytes, (size_t)cut * SECTOR};
	slot->iov[1] = (struct iovec){NULL, 0};
	slot->iov[2] =
		(struct iovec){slot->bytes + (size_t)cut * SECTOR, (size_t)(length - cut) * SECTOR};
	request->iov = slot->iov;
	request->iov_count = 3;
}

LOOP_ONLY static void storm_begin(struct slot *slot)
{
	struct storm *storm = slot->storm;
	struct qcow2_request *request = &slot->request;

	storm->ops_left--;
	storm->running++;
	request->op = storm_op(storm);
	request->flags = storm_random(storm, 8) == 0 ? LUN_IO_DURABLE : 0;
	request->done = on_slot_done;
	slot->id = request->op == LUN_WRITE ? ++storm->next_id : 0;
	storm_range(slot);
	if (request->op == LUN_WRITE)
		fill(slot, sector_of(request->length));
	model_begin(slot);
}

/* As image_qcow2.c does it. */
LOOP_ONLY static bool storm_copy(struct slot *slot)
{
	const struct qcow2_request *request = &slot->request;

	return (request->op == LUN_READ || request->op == LUN_WRITE) && request->flags == 0 &&
	       qcow2_copy(bench_top(&slot->storm->bench), request->op,
			  at(request->offset, request->length), slot->iov,
			  ARRAY_SIZE(slot->iov)) == 0;
}

LOOP_ONLY static void storm_next(struct slot *slot)
{
	struct storm *storm = slot->storm;

	while (storm->ops_left > 0) {
		storm_begin(slot);
		if (!storm_copy(slot)) {
			qcow2_submit(bench_top(&storm->bench), &slot->request);
			return;
		}
		storm->copied++;
		storm->running--;
		model_end(slot);
	}
	if (storm->running == 0)
		sem_post(&storm->bench.done);
}

static void on_storm(struct loop_msg *msg)
{
	struct storm *storm = CONTAINER_OF(msg, struct storm, bench.msg);

	loop_role_assume();
	/* Not at the end before all have begun. */
	storm->running++;
	for (unsigned i = 1; i < SLOTS; i++)
		storm_next(&storm->slots[i]);
	storm->running--;
	storm_next(&storm->slots[0]);
}

/* The last slot that ends finds nobody running. */
static void storm_run(struct storm *storm, uint32_t ops)
{
	storm->ops_left = ops;
	loop_post(storm->bench.loop, &storm->bench.msg, on_storm);
	wait_done(&storm->bench);
	cr_assert_gt(storm->compared, 0);
}

static void storm_compare_all(struct storm *storm)
{
	static uint8_t all[IMAGE_BYTES] __attribute__((aligned(4096)));

	cr_assert_eq(bench_do(&storm->bench, LUN_READ, 0, at(0, IMAGE_BYTES), all), 0);
	for (size_t i = 0; i < STORM_SECTORS; i++)
		sector_compare(&storm->sectors[i], all + i * SECTOR, i);
}

/* A backing file whose sectors all differ. */
static void make_backing(const struct bench *bench, struct storm *storm)
{
	char path[128];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/b.raw", bench->dir);
	file = fopen(path, "we");
	for (uint32_t i = 0; i < STORM_SECTORS; i++) {
		uint32_t words[SECTOR / 4];

		for (size_t word = 0; word < ARRAY_SIZE(words); word++)
			words[word] = 0x80000000u | i;
		storm->sectors[i].values[0] = words[0];
		cr_assert_eq(fwrite(words, SECTOR, 1, file), 1);
	}
	cr_assert_eq(fclose(file), 0);
}

static const struct {
	const char *options;
	uint32_t cluster_sectors;
	bool backed;
	uint64_t cache_bytes;
} storms[] = {
	{"cluster_size=64k", 128, false, MIB},
	{"cluster_size=64k", 128, true, MIB},
	{"cluster_size=4k", 8, true, 1},
	{"cluster_size=512", 1, false, 1},
	{"cluster_size=512", 1, true, MIB},
	{"cluster_size=16k,extended_l2=on", 32, true, 1},
	{"cluster_size=128k,extended_l2=on", 256, true, MIB},
	{"cluster_size=128k,extended_l2=on", 256, false, MIB},
};

/* How much of it was copied on the spot. */
static uint32_t storm_on(enum loop_engine engine, size_t index, uint32_t ops, bool in_memory)
{
	struct storm *storm = calloc(1, sizeof(*storm));
	struct bench *bench = &storm->bench;
	const char *seed = getenv("QCOW2_STORM_SEED");
	uint32_t copied;

	bench_make(bench, engine, storms[index].cache_bytes);
	bench->in_memory = in_memory;
	storm->cluster_sectors = storms[index].cluster_sectors;
	storm->random = index + 1 + (seed ? strtoull(seed, NULL, 10) * 1000 : 0);
	for (uint32_t i = 0; i < STORM_SECTORS; i++)
		storm->sectors[i].count = 1;
	for (unsigned i = 0; i < SLOTS; i++) {
		storm->slots[i].storm = storm;
		storm->slots[i].bytes =
			aligned_alloc(4096, (size_t)STORM_LENGTH_MAX * SECTOR + 2048);
	}
	if (storms[index].backed) {
		make_backing(bench, storm);
		bench_open(bench, "b.raw", false);
	}
	shell("cd %s; qemu-img create -q -f qcow2 -o %s %s a 8M", bench->dir, storms[index].options,
	      storms[index].backed ? "-b b.raw -F raw" : "");
	bench_open(bench, "a", true);
	for (unsigned round = 0; round < 2; round++) {
		storm_run(storm, ops);
		cr_assert_eq(bench_stop(bench), 0);
		check(bench, "a");
		bench_open(bench, "a", true);
	}
	storm_compare_all(storm);
	cr_assert(in_memory || storm->copied == 0);
	copied = storm->copied;
	cr_assert_eq(bench_stop(bench), 0);
	bench_open(bench, "a", false);
	compare_with_raw(bench, "a");
	bench_end(bench);
	for (unsigned i = 0; i < SLOTS; i++)
		free(storm->slots[i].bytes);
	free(storm);
	return copied;
}

TEST_ON_ENGINES(qcow2_storm, keeps_what_was_written)
{
	const char *ops = getenv("QCOW2_STORM_OPS");
	uint32_t count = ops ? (uint32_t)strtoul(ops, NULL, 10) : 100;

	uint32_t copied = 0;

	for (size_t i = 0; i < ARRAY_SIZE(storms); i++) {
		copied += storm_on(engine, i, count, false);
		copied += storm_on(engine, i, count, true);
	}
	cr_assert_gt(copied, 0);
}

/* Small clusters, freed here and there: what is handed out next comes in many pieces, each with a
 * record (reserve.c). As few operations as once used up all records. */
TEST_ON_ENGINES(qcow2_storm, scattered_space_has_records_for_all)
{
	(void)storm_on(engine, 4, 800, false);
}
