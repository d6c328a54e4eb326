/*
 * The fault image, for tests and drills: a raw image (a null image where no path is configured)
 * that delays, fails or holds I/O as a control file says. fault_rules.h has the file's syntax. Not
 * for production: it looks at the file at every I/O.
 *
 * The file is read again when its time, size or inode has changed. A held I/O is in user space, not
 * in the image below, and looks at the rules again when the file has changed.
 *
 * Runs on the loop of each io; the rules are shared by all loops under a mutex.
 *
 * Read next: fault_rules.h.
 */
#include "lun/image.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "lun/fault_rules.h"
#include "lun/files.h"

/* How often held I/O looks whether it may go. */
#define TICK_MS 20u
#define CONTROL_BYTES_MAX 4096u

/* What image_word means while the io is held here. */
enum {
	WORD_DUE_NS,     /* HELD_FOREVER: stuck. */
	WORD_GENERATION, /* Of the rules that it was judged by. */
};

#define HELD_FOREVER UINT64_MAX

struct fault_lane {
	struct image *image;
	struct loop *loop;
	struct list_node held; /* lun_io.image_link */
	struct loop_timer timer;
};

struct image {
	const struct image_ops *below_ops;
	struct image *below;
	char *control;
	uint32_t block_bytes;
	pthread_mutex_t mutex;
	/* mutex */
	struct stat seen;
	uint64_t generation;
	struct fault_rules rules;
	/* By loop_index. */
	struct fault_lane lanes[LOOPS_MAX];
};

/* -- The control file -- */

static bool stat_differs(const struct stat *a, const struct stat *b)
{
	return a->st_ino != b->st_ino || a->st_size != b->st_size ||
	       a->st_mtim.tv_sec != b->st_mtim.tv_sec || a->st_mtim.tv_nsec != b->st_mtim.tv_nsec;
}

static void control_read_locked(struct image *image)
{
	char text[CONTROL_BYTES_MAX / 2];
	unsigned wrong;

	if (files_read_text(image->control, text, sizeof(text)))
		text[0] = '\0';
	wrong = fault_rules_parse(text, &image->rules);
	if (wrong)
		log_error("lun", "%s:%u: not a rule", image->control, wrong);
	image->generation++;
}

/* A file that is not there is an empty one. */
static void control_refresh_locked(struct image *image)
{
	struct stat now = {0};

	if (!image->control)
		return;
	if (stat(image->control, &now))
		memset(&now, 0, sizeof(now));
	if (!stat_differs(&now, &image->seen))
		return;
	image->seen = now;
	control_read_locked(image);
}

static struct fault_rule fault_judge(struct image *image, struct lun_io *io)
{
	struct fault_rule rule;

	pthread_mutex_lock(&image->mutex);
	control_refresh_locked(image);
	rule = *fault_rules_apply(&image->rules, io, image->block_bytes);
	io->image_word[WORD_GENERATION] = image->generation;
	pthread_mutex_unlock(&image->mutex);
	return rule;
}

static uint64_t fault_generation(struct image *image)
{
	uint64_t generation;

	pthread_mutex_lock(&image->mutex);
	control_refresh_locked(image);
	generation = image->generation;
	pthread_mutex_unlock(&image->mutex);
	return generation;
}

/* -- I/O -- */

static void fault_on_tick(struct loop_timer *timer);

LOOP_ONLY static void fault_hold(struct image *image, struct lun_io *io, uint64_t due_ns)
{
	struct fault_lane *lane = &image->lanes[loop_index(io->loop)];

	lane->image = image;
	lane->loop = io->loop;
	io->image_word[WORD_DUE_NS] = due_ns;
	list_append(&lane->held, &io->image_link);
	if (!loop_timer_is_armed(&lane->timer))
		loop_timer_start(lane->loop, &lane->timer, 1, fault_on_tick);
}

LOOP_ONLY static void fault_pass(struct image *image, struct lun_io *io)
{
	image->below_ops->submit(image->below, io);
}

static void fault_submit(struct image *image, struct lun_io *io)
{
	struct fault_rule rule = {.action = FAULT_NONE};

	loop_role_assume();
	/* Rules, and their counts, are for what hosts ask for. */
	if (io->op < LUN_OP_COUNT)
		rule = fault_judge(image, io);
	if (rule.action == FAULT_FAIL) {
		image_io_done_later(io, rule.error);
	} else if (rule.action == FAULT_DELAY) {
		fault_hold(image, io, loop_now_ns(io->loop) + rule.delay_ms * 1000000ull);
	} else if (rule.action == FAULT_STICK) {
		fault_hold(image, io, HELD_FOREVER);
	} else {
		fault_pass(image, io);
	}
}

/* It leaves the list; new rules may hold it again. Rules that are newer than the tick wait for the
 * next: held again, it stands at the end of the list that is being walked. */
LOOP_ONLY static void fault_reconsider(struct fault_lane *lane, struct lun_io *io,
				       uint64_t generation)
{
	bool judged_anew = io->image_word[WORD_GENERATION] < generation;

	if (io->image_word[WORD_DUE_NS] == HELD_FOREVER) {
		if (!judged_anew)
			return;
		list_remove(&io->image_link);
		fault_submit(lane->image, io);
	} else if (io->image_word[WORD_DUE_NS] <= loop_now_ns(lane->loop)) {
		list_remove(&io->image_link);
		fault_pass(lane->image, io);
	}
}

static void fault_on_tick(struct loop_timer *timer)
{
	struct fault_lane *lane = CONTAINER_OF(timer, struct fault_lane, timer);
	uint64_t generation = fault_generation(lane->image);
	uint64_t soonest_ns = HELD_FOREVER;

	loop_role_assume();
	LIST_FOREACH (node, &lane->held) {
		fault_reconsider(lane, CONTAINER_OF(node, struct lun_io, image_link), generation);
	}
	LIST_FOREACH (node, &lane->held) {
		struct lun_io *io = CONTAINER_OF(node, struct lun_io, image_link);

		if (io->image_word[WORD_DUE_NS] < soonest_ns)
			soonest_ns = io->image_word[WORD_DUE_NS];
	}
	if (list_is_empty(&lane->held))
		return;
	soonest_ns =
		soonest_ns > loop_now_ns(lane->loop) ? soonest_ns - loop_now_ns(lane->loop) : 0;
	loop_timer_start(lane->loop, timer,
			 soonest_ns < TICK_MS * 1000000ull ? soonest_ns / 1000000 + 1 : TICK_MS,
			 fault_on_tick);
}

/* -- The type -- */

static void fault_close(struct image *image)
{
	if (image->below)
		image->below_ops->close(image->below);
	pthread_mutex_destroy(&image->mutex);
	free(image->control);
	free(image);
}

static struct image *fault_alloc(const struct lun_spec *spec)
{
	struct image *image = calloc(1, sizeof(*image));

	if (!image)
		return NULL;
	pthread_mutex_init(&image->mutex, NULL);
	for (unsigned i = 0; i < LOOPS_MAX; i++)
		list_init(&image->lanes[i].held);
	image->block_bytes = spec->logical_block_bytes ? spec->logical_block_bytes : 512;
	image->below_ops = spec->path ? &image_raw_ops : &image_null_ops;
	return image;
}

static int fault_open(const struct lun_spec *spec, struct image **out, struct image_info *info,
		      char *why, size_t why_size)
{
	struct image *image = fault_alloc(spec);
	int res = -ENOMEM;

	if (!image)
		return res;
	if (spec->fault_control) {
		image->control = strdup(spec->fault_control);
		if (!image->control)
			goto fail;
	}
	res = image->below_ops->open(spec, &image->below, info, why, why_size);
	if (res)
		goto fail;
	*out = image;
	return 0;
fail:
	fault_close(image);
	return res;
}

static int fault_release_now(struct image *image, uint64_t offset_bytes, uint64_t length_bytes)
{
	return image->below_ops->release_now(image->below, offset_bytes, length_bytes);
}

static int fault_fd(const struct image *image)
{
	return image->below_ops->fd(image->below);
}

const struct image_ops image_fault_ops = {
	.type = "fault",
	.open = fault_open,
	.close = fault_close,
	.submit = fault_submit,
	.release_now = fault_release_now,
	.fd = fault_fd,
};
