/*
 * Opening a qcow2 image while memory runs out: each request for memory fails, one at a time. The
 * opening says so, leaves nothing behind, and goes well when there is memory again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lun/qcow2/qcow2.h"
#include "tests/crash/campaign.h"
#include "tests/crash/memory.h"
#include "tests/crash/sim_file.h"

#define FD 1000001

/* -- In place of the C library's (linked with --wrap) -- */

/* Requests are counted while it is set; the one of that number fails. */
static unsigned failing, requests, held;

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
void __real_free(void *memory);
void __wrap_free(void *memory);

static bool is_refused(void)
{
	return failing && ++requests == failing;
}

static void *hold(void *memory)
{
	held += failing && memory;
	return memory;
}

void *__wrap_malloc(size_t bytes)
{
	return is_refused() ? NULL : hold(__real_malloc(bytes));
}

void *__wrap_calloc(size_t count, size_t bytes)
{
	return is_refused() ? NULL : hold(__real_calloc(count, bytes));
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
	return is_refused() ? NULL : hold(__real_aligned_alloc(alignment, bytes));
}

void __wrap_free(void *memory)
{
	held -= failing && memory;
	__real_free(memory);
}

void memory_begin(unsigned nth)
{
	requests = held = 0;
	failing = nth;
}

struct memory_count memory_end(void)
{
	failing = 0;
	return (struct memory_count){requests, held};
}

/* -- Openings -- */

struct scene {
	struct sim *sim;
	struct qcow2_cache *cache;
	unsigned refused;
};

static bool is_right(int res, const struct qcow2 *image, const char *why,
		     const struct memory_count *memory, unsigned nth)
{
	if (memory->requests < nth)
		return res == 0 && image;
	return res == -ENOMEM && why[0] && memory->held == 0;
}

/* False: the n-th request was not made any more, or something is wrong. */
static bool open_without(struct scene *scene, unsigned nth, bool *good)
{
	char why[SUBJECT_WHY_BYTES] = "";
	struct qcow2 *image = NULL;
	struct memory_count memory;
	struct sim_file file;
	struct qcow2_spec spec = {
		.name = "top",
		.loop = scene->sim->loop,
		.cache = scene->cache,
		.file = &file.writable.file,
		.fd = FD,
		.sync_fd = FD,
		.direct = true,
		.io_align_bytes = DISK_SECTOR_BYTES,
	};
	int res;

	sim_file_open(&file, scene->sim, 0);
	memory_begin(nth);
	res = qcow2_open(&spec, &image, why, sizeof(why));
	memory = memory_end();
	*good = is_right(res, image, why, &memory, nth);
	if (image)
		qcow2_close(image);
	scene->refused += !image;
	if (!*good)
		printf("FAIL request %u for memory: errno %d, %u held: %s\n", nth, -res,
		       memory.held, why);
	return *good && !image;
}

static bool run_variant(struct scene *scene, unsigned variant)
{
	static uint64_t words[MODEL_SECTORS_MAX];
	struct random random = {variant};
	bool good = true;
	unsigned nth = 1;

	sim_reset(scene->sim, 1);
	subject_qcow2.format(scene->sim->disk, variant, &random, words);
	while (open_without(scene, nth, &good))
		nth++;
	return good;
}

bool campaign_memory(const struct campaign *campaign)
{
	unsigned variants = subject_variants(&subject_qcow2);
	struct scene scene = {0};
	bool good = true;

	if (!campaign_wants(campaign, &subject_qcow2))
		return true;
	scene.sim = sim_create(subject_qcow2.files, subject_qcow2.room_bytes);
	if (qcow2_cache_create(1, &scene.cache))
		abort();
	for (unsigned i = 0; i < variants && good; i++)
		good = run_variant(&scene, i);
	qcow2_cache_free(scene.cache);
	sim_free(scene.sim);
	if (good)
		printf("PASS openings of qcow2 without memory: %u refused\n", scene.refused);
	return good;
}
