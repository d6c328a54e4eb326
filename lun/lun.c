/*
 * A LUN's life: open, what can be asked of it, close. Not here: its I/O (io.c).
 *
 * Open and close run on the control thread and may block; a bad image never fails the open, it
 * makes a LUN that is offline with a reason.
 *
 * Read next: io.c, identity.c.
 */
#include "lun/lun_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

const char *lun_name(const struct lun *lun)
{
	return lun->name;
}

const struct lun_identity *lun_identity(const struct lun *lun)
{
	return &lun->identity;
}

const struct lun_limits *lun_limits(const struct lun *lun)
{
	return &lun->limits;
}

const struct lun_state *lun_state(const struct lun *lun)
{
	return published_load(&lun->states.current);
}

bool lun_is_overrun(const struct lun *lun)
{
	return atomic_load_explicit(&lun->ranges.overrun, memory_order_acquire);
}

struct lun_lane *lun_lane(const struct lun *lun, const struct loop *loop)
{
	struct lun_lane *lane = &lun->lanes[loop_index(loop)];

	assert(lane->loop == loop);
	return lane;
}

uint32_t lun_in_flight(const struct lun *lun, const struct loop *loop)
{
	return lun_lane(lun, loop)->in_flight;
}

struct byte_range lun_io_range(const struct lun_io *io)
{
	if (io->op == LUN_FLUSH || io->op == LUN_MAP || io->op == LUN_PULL || io->op == LUN_PUSH)
		return (struct byte_range){0};
	return (struct byte_range){
		.begin = io->offset_bytes,
		.end = io->offset_bytes + io->length_bytes,
	};
}

bool lun_image_hold(struct lun *lun)
{
	if (pthread_rwlock_tryrdlock(&lun->image_lock) != 0)
		return false;
	if (lun->image)
		return true;
	(void)pthread_rwlock_unlock(&lun->image_lock);
	return false;
}

void lun_image_release(struct lun *lun)
{
	(void)pthread_rwlock_unlock(&lun->image_lock);
}

/* -- Open -- */

int lun_refuse(char *why, int res, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
	(void)vsnprintf(why, LUN_WHY_BYTES, format, args);
	va_end(args);
	return res;
}

static int lun_create(const struct lun_spec *spec, const struct loop_group *group, struct lun **out)
{
	struct lun *lun = aligned_alloc(_Alignof(struct lun), sizeof(*lun));
	size_t lanes_bytes = group->count * sizeof(struct lun_lane);

	if (!lun)
		return -ENOMEM;
	memset(lun, 0, sizeof(*lun));
	lun->name = strdup(spec->name);
	lun->lanes = aligned_alloc(_Alignof(struct lun_lane), lanes_bytes);
	if (!lun->name || !lun->lanes || lun_spec_copy(spec, &lun->spec) || ranges_init(lun)) {
		lun_spec_clear(&lun->spec);
		free(lun->lanes);
		free(lun->name);
		free(lun);
		return -ENOMEM;
	}
	memset(lun->lanes, 0, lanes_bytes);
	for (unsigned i = 0; i < group->count; i++) {
		assert(loop_index(group->loops[i]) == i);
		lane_init(&lun->lanes[i], lun, group->loops[i]);
	}
	lun->group = group;
	pthread_mutex_init(&lun->mutex, NULL);
	pthread_rwlock_init(&lun->image_lock, NULL);
	*out = lun;
	return 0;
}

static void lun_free(struct lun *lun)
{
	ahead_close(lun);
	if (lun->image)
		lun->ops->close(lun->image);
	rmw_destroy(lun);
	ranges_destroy(lun);
	pthread_rwlock_destroy(&lun->image_lock);
	pthread_mutex_destroy(&lun->mutex);
	lun_spec_clear(&lun->spec);
	free(lun->lanes);
	free(lun->name);
	free(lun);
}

static const char *spec_fault(const struct lun_spec *spec)
{
	uint32_t block = spec->logical_block_bytes;
	uint32_t physical = spec->physical_block_bytes;
	uint32_t unit = spec->allocation_unit_bytes;

	if (block && block != 512 && block != 4096)
		return "the logical block size must be 512 or 4096";
	if (physical && physical != 512 && physical != 4096)
		return "the physical block size must be 512 or 4096";
	if (unit && (unit & (unit - 1) || unit < 512 || unit > 1 << 20))
		return "the allocation unit must be a power of two from 512 bytes to 1 MiB";
	return NULL;
}

/* What the image found, with what the configuration says of it. */
static void lun_set_limits(struct lun *lun, const struct lun_spec *spec)
{
	struct lun_limits *limits = &lun->limits;

	limits->physical_block_bytes =
		spec->physical_block_bytes ? spec->physical_block_bytes : 4096;
	if (limits->physical_block_bytes < limits->logical_block_bytes)
		limits->physical_block_bytes = limits->logical_block_bytes;
	limits->thin = lun->info.thin;
	limits->zeroes_after_unmap = lun->info.zeroes_after_unmap;
	limits->anchors = lun->info.anchors;
	limits->write_cache = spec->write_cache;
	lun->io_align_bytes = limits->logical_block_bytes;
	if (lun->info.io_align_bytes > lun->io_align_bytes)
		lun->io_align_bytes = lun->info.io_align_bytes;
	limits->io_align_bytes = lun->io_align_bytes;
}

static int image_open(struct lun *lun, const struct lun_spec *spec, char *why)
{
	const char *fault = spec_fault(spec);
	struct lun_spec own = *spec;

	own.group = lun->group;
	own.loops = lun->group->count;
	own.recovery = &lun->recovery;
	if (fault)
		return lun_refuse(why, -EINVAL, "%s", fault);
	if (!lun->ops)
		return lun_refuse(why, -EINVAL, "there is no image type \"%s\"", spec->type);
	return lun->ops->open(&own, &lun->image, &lun->info, why, LUN_WHY_BYTES);
}

/* The last block too must be one that can be moved whole. */
static int lun_check_size(const struct lun *lun, char *why)
{
	uint64_t size = lun->info.size_bytes;

	if (size && size % lun->io_align_bytes == 0)
		return 0;
	return lun_refuse(why, -EINVAL,
			  "its size, %llu bytes, is not a multiple of %u, the block size",
			  (unsigned long long)size, lun->io_align_bytes);
}

/* All that can go wrong with an image; -ENOMEM alone is the LUN's own failure. */
static int lun_bring_online(struct lun *lun, const struct lun_spec *spec, char *why)
{
	int res = image_open(lun, spec, why);

	if (res)
		return res;
	res = identity_settle(lun, spec, why);
	if (res)
		return res;
	lun_set_limits(lun, spec);
	res = lun_check_size(lun, why);
	if (res)
		return res;
	res = ahead_init(lun, spec->look_ahead_bytes);
	return res ? res : rmw_init(lun);
}

/* A LUN that is offline still has blocks of some size, and an identity if it can be found. */
static void lun_stay_offline(struct lun *lun, const struct lun_spec *spec)
{
	if (lun->image)
		lun->ops->close(lun->image);
	lun->image = NULL;
	memset(&lun->info, 0, sizeof(lun->info));
	memset(&lun->identity, 0, sizeof(lun->identity));
	lun->limits.logical_block_bytes = spec->logical_block_bytes == 4096 ? 4096 : 512;
	lun->limits.allocation_unit_bytes = 4096;
	lun_set_limits(lun, spec);
	identity_peek(lun, spec);
}

int lun_open_type(const struct lun_spec *spec, const struct loop_group *group,
		  const struct image_ops *ops, struct lun **out)
{
	struct lun_state first = {.online = true};
	struct lun *lun = NULL;
	int res = lun_create(spec, group, &lun);

	if (res)
		return res;
	lun->ops = ops;
	res = lun_bring_online(lun, spec, first.offline_reason);
	if (res == -ENOMEM) {
		lun_free(lun);
		return res;
	}
	if (res) {
		log_error("lun", "%s: offline: %s", lun->name, first.offline_reason);
		lun_stay_offline(lun, spec);
		first.online = false;
	}
	first.size_bytes = lun->info.size_bytes;
	first.read_only = lun->info.read_only || spec->read_only;
	states_init(lun, &first);
	*out = lun;
	return 0;
}

int lun_open(const struct lun_spec *spec, const struct loop_group *group, struct lun **out)
{
	return lun_open_type(spec, group, image_ops_find(spec->type), out);
}

void lun_begin(struct lun *lun)
{
	if (lun->image && lun->ops->begin)
		lun->ops->begin(lun->image);
}

void lun_recovery(const struct lun *lun, struct lun_recovery *out)
{
	const struct image_recovery *recovery = &lun->recovery;

	*out = (struct lun_recovery){
		.running = atomic_load_explicit(&recovery->running, memory_order_relaxed) > 0,
		.clusters = atomic_load_explicit(&recovery->clusters, memory_order_relaxed),
	};
}

/* -- Before the loops run -- */

void lun_set_offline(struct lun *lun, const char *reason)
{
	struct lun_state state = *lun_state(lun);

	assert(!lun->states.swapping);
	state.online = false;
	(void)snprintf(state.offline_reason, sizeof(state.offline_reason), "%s", reason);
	states_init(lun, &state);
	log_error("lun", "%s: offline: %s", lun->name, reason);
}

static bool lun_has_identity(const struct lun *lun)
{
	return lun->identity.naa[0] != 0;
}

static void lun_refuse_twin(struct lun *lun, const char *why)
{
	if (lun_state(lun)->online)
		lun_set_offline(lun, why);
	memset(&lun->identity, 0, sizeof(lun->identity));
}

/* What two LUNs must not have in common: hosts would take them for paths to one disk. */
struct lun_likeness {
	int (*compare)(const struct lun *one, const struct lun *other);
	void (*refuse)(struct lun *lun, const struct lun *first);
};

static int lun_compare_naa(const struct lun *one, const struct lun *other)
{
	return memcmp(one->identity.naa, other->identity.naa, LUN_NAA_BYTES);
}

static void lun_refuse_naa(struct lun *lun, const struct lun *first)
{
	char why[LUN_WHY_BYTES];

	(void)snprintf(why, sizeof(why), "it has the identity of %.48s; %s", first->name,
		       lun->spec.identity ? "change its `identity`"
					  : "a copy? `setfattr -x user.ringsan.identity FILE`");
	lun_refuse_twin(lun, why);
}

static int lun_compare_serial(const struct lun *one, const struct lun *other)
{
	return strcmp(one->identity.serial, other->identity.serial);
}

static void lun_refuse_serial(struct lun *lun, const struct lun *first)
{
	char why[LUN_WHY_BYTES];

	(void)snprintf(why, sizeof(why),
		       "it has the serial number of %.48s; change `serial` of one of them",
		       first->name);
	lun_refuse_twin(lun, why);
}

static int lun_order(struct lun *const *one, struct lun *const *other, int order)
{
	return order ? order : one < other ? -1 : one > other;
}

/* By what they have, and where that is one, in the order of the configuration. */
static int lun_order_by_naa(const void *a, const void *b)
{
	struct lun *const *one = *(struct lun *const *const *)a;
	struct lun *const *other = *(struct lun *const *const *)b;

	return lun_order(one, other, lun_compare_naa(*one, *other));
}

static int lun_order_by_serial(const void *a, const void *b)
{
	struct lun *const *one = *(struct lun *const *const *)a;
	struct lun *const *other = *(struct lun *const *const *)b;

	return lun_order(one, other, lun_compare_serial(*one, *other));
}

/* Of those that are alike, which are neighbours, all but the first. */
static void lun_refuse_alike(struct lun *const *const sorted[], size_t count,
			     const struct lun_likeness *likeness)
{
	struct lun *first = NULL;

	for (size_t i = 0; i < count; i++) {
		struct lun *lun = *sorted[i];

		if (!lun_has_identity(lun))
			continue;
		if (first && likeness->compare(first, lun) == 0)
			likeness->refuse(lun, first);
		else
			first = lun;
	}
}

int lun_check_identities(struct lun *const luns[], size_t count)
{
	static const struct lun_likeness naa = {lun_compare_naa, lun_refuse_naa};
	static const struct lun_likeness serial = {lun_compare_serial, lun_refuse_serial};
	struct lun *const **sorted = malloc((count + 1) * sizeof(*sorted));

	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		sorted[i] = &luns[i];
	qsort(sorted, count, sizeof(*sorted), lun_order_by_naa);
	lun_refuse_alike(sorted, count, &naa);
	qsort(sorted, count, sizeof(*sorted), lun_order_by_serial);
	lun_refuse_alike(sorted, count, &serial);
	free(sorted);
	return 0;
}

/* -- Close -- */

static void lane_assert_idle(const struct lun_lane *lane)
{
	assert(!lane->in_flight && !lane->acks_owed && !lane->drain_ack_owed);
	assert(list_is_empty(&lane->waiting) && list_is_empty(&lane->rmw_waiting));
	assert(list_is_empty(&lane->granting) && !lane->ending_posted);
}

void lun_close(struct lun *lun)
{
	for (unsigned i = 0; i < lun->group->count; i++)
		lane_assert_idle(&lun->lanes[i]);
	lun_free(lun);
}
