/*
 * The raw image: a sparse file or a block device, byte for byte what hosts see. Here are the queue
 * for workers, UNMAP and ZERO. Not here: transfers (raw_transfer.c), allocation ahead of writes
 * (raw_ahead.c), writes to a pool that is nearly full (raw_space.c), opening it (raw_open.c) and
 * flushing it (raw_flush.c). Its owner is nobody: every
 * loop reads and writes it, and what must not overlap has been kept apart above (io.c).
 *
 * What needs a worker of the kernel goes through the lane's queue, which takes no more of them than
 * loop_punt_begin grants, so that a stuck image cannot take the workers of the others. UNMAP and
 * ZERO go in steps and queue again for each, so that a large one lets others in between.
 *
 * Runs on the loop of each io.
 *
 * Read next: raw_transfer.c.
 */
#include "lun/raw.h"

#include <assert.h>
#include <errno.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/reach.h"

/* Where zeroes have to be written: a step is LUN_IOV_MAX times the page-aligned zeroes below. */
#define ZEROES_BYTES 65536u
#define WRITE_STEP_BYTES ((uint64_t)ZEROES_BYTES * LUN_IOV_MAX)

/* How a range is emptied, best first. */
enum raw_method {
	RAW_DISCARD,
	RAW_ZERO_RANGE,
	RAW_WRITE_ZEROES,
	RAW_METHOD_COUNT
};

/* What image_word means for an UNMAP or ZERO, beside RAW_WORD_PUNTED. */
enum {
	WORD_POSITION, /* Bytes done. */
	WORD_STEP,     /* Bytes of the step under way. */
	WORD_METHOD,   /* Of the step, and above it when that began. */
};
#define METHOD_BITS 2u
_Static_assert(RAW_METHOD_COUNT < 1 << METHOD_BITS, "a method has its place beside a time");

/* Never written; not const, because a vector has no const form. */
static _Alignas(4096) uint8_t zeroes[ZEROES_BYTES];

LOOP_ONLY static void raw_pump(struct image *image, struct loop *loop);

/* -- The end of an io -- */

/* What is written, but not yet as durable as was asked. A direct write brings its own flush. */
static bool raw_needs_flush(const struct image *image, const struct lun_io *io)
{
	if (!(io->flags & LUN_IO_DURABLE) || !(io->op != LUN_READ) || image->is_tmpfs)
		return false;
	if (PLANTED(raw_ends_without_flush))
		return false;
	return image->page_cache || io->op != LUN_WRITE;
}

void raw_finish(struct image *image, struct lun_io *io, int res)
{
	if (!res && raw_needs_flush(image, io)) {
		raw_flush_add(image, io);
	} else {
		image_io_done(io, res);
	}
}

void raw_finish_later(struct image *image, struct lun_io *io, int res)
{
	if (!res && raw_needs_flush(image, io)) {
		raw_flush_add(image, io);
	} else {
		image_io_done_later(io, res);
	}
}

LOOP_ONLY static void raw_forget_worker(struct image *image, struct lun_io *io)
{
	io->image_word[RAW_WORD_PUNTED] = 0;
	raw_lane(image, io)->running--;
	loop_punt_end(io->loop);
}

void raw_give_worker_back(struct image *image, struct lun_io *io)
{
	if (!io->image_word[RAW_WORD_PUNTED])
		return;
	raw_forget_worker(image, io);
	raw_pump(image, io->loop);
}

/* -- UNMAP and ZERO -- */

/* The next method that the file may have. Without a promise of zeroes UNMAP stops at the first: it
 * is a hint. RAW_METHOD_COUNT: nothing is left, or has to be done. */
static enum raw_method raw_next_method(const struct image *image, const struct raw_lane *lane,
				       const struct lun_io *io)
{
	static const enum raw_method unmap_order[] = {RAW_DISCARD, RAW_ZERO_RANGE,
						      RAW_WRITE_ZEROES};
	static const enum raw_method zero_order[] = {RAW_ZERO_RANGE, RAW_DISCARD, RAW_WRITE_ZEROES};
	const enum raw_method *order = io->op == LUN_UNMAP ? unmap_order : zero_order;
	unsigned count = io->op == LUN_UNMAP && !image->zeroes_after_unmap ? 1 : RAW_METHOD_COUNT;

	for (unsigned i = 0; i < count; i++) {
		if (!(lane->refused & 1u << order[i]))
			return order[i];
	}
	return RAW_METHOD_COUNT;
}

/* True: the file lacks the method; remembered, and the same step is tried by another. */
static bool raw_note_refusal(struct image *image, struct lun_io *io, int res)
{
	uint64_t method = io->image_word[WORD_METHOD] % (1u << METHOD_BITS);

	if (method == RAW_WRITE_ZEROES)
		return false;
	if (res != -EOPNOTSUPP && !(res == -EINVAL && image->is_block_device))
		return false;
	REACHED(raw_method_is_refused);
	raw_lane(image, io)->refused |= (uint8_t)(1u << method);
	return true;
}

uint64_t raw_range_step(uint64_t now_bytes, uint64_t step_bytes, uint64_t took_ns)
{
	if (took_ns > RAW_STEP_LONG_MS * CLOCK_NS_PER_MS && step_bytes > RAW_STEP_MIN_BYTES)
		return step_bytes / 4 > RAW_STEP_MIN_BYTES ? step_bytes / 4 : RAW_STEP_MIN_BYTES;
	/* What was not as long as it may be tells nothing of longer ones. */
	if (took_ns < RAW_STEP_QUICK_MS * CLOCK_NS_PER_MS && step_bytes == now_bytes &&
	    now_bytes < RAW_STEP_MAX_BYTES)
		return now_bytes * 2;
	return now_bytes;
}

LOOP_ONLY static void raw_judge_step(struct raw_lane *lane, const struct lun_io *io)
{
	uint64_t began_ns = io->image_word[WORD_METHOD] >> METHOD_BITS;

	lane->range_step = raw_range_step(lane->range_step, io->image_word[WORD_STEP],
					  loop_now_ns(io->loop) - began_ns);
}

static void raw_on_step(struct loop_op *op, int res)
{
	struct lun_io *io = CONTAINER_OF(op, struct lun_io, loop_op);
	struct image *image = io->image;

	loop_role_assume();
	raw_judge_step(raw_lane(image, io), io);
	raw_give_worker_back(image, io);
	if (res >= 0) {
		io->image_word[WORD_POSITION] += io->image_word[WORD_STEP];
	} else if (!raw_note_refusal(image, io, res)) {
		raw_finish(image, io, res);
		return;
	}
	if (io->image_word[WORD_POSITION] == io->length_bytes) {
		raw_finish(image, io, 0);
	} else if (io->stage == LUN_IO_ORPHANED) {
		raw_finish(image, io, -ECANCELED);
	} else {
		raw_punt(image, io);
	}
}

LOOP_ONLY static void raw_write_zeroes(struct image *image, struct lun_io *io, uint64_t offset)
{
	uint64_t left = io->image_word[WORD_STEP];
	struct loop_rw rw = {.fd = image->fd, .iov = io->iov, .offset_bytes = offset};

	while (left) {
		size_t length = left < ZEROES_BYTES ? (size_t)left : ZEROES_BYTES;

		io->iov[rw.iov_count++] = (struct iovec){zeroes, length};
		left -= length;
	}
	loop_write(io->loop, &io->loop_op, &rw, raw_on_step);
}

/* A hint that nothing takes. raw_pump, which started it, looks at the queue again by itself. */
LOOP_ONLY static void raw_end_hint(struct image *image, struct lun_io *io)
{
	raw_forget_worker(image, io);
	image_io_done_later(io, 0);
}

/* Block devices tell nobody where they have holes. */
static bool raw_keeps_holes(const struct image *image, const struct lun_io *io)
{
	return io->op == LUN_ZERO && (io->flags & LUN_IO_KEEP_HOLES) && !image->is_block_device;
}

static int raw_call_zero(struct loop_op *op)
{
	const struct lun_io *io = CONTAINER_OF(op, struct lun_io, loop_op);
	uint64_t begin = io->offset_bytes + io->image_word[WORD_POSITION];

	return raw_zero_allocated(io->image->fd,
				  (struct byte_range){begin, begin + io->image_word[WORD_STEP]});
}

LOOP_ONLY static void raw_start_step(struct image *image, struct lun_io *io)
{
	const struct raw_lane *lane = raw_lane(image, io);
	enum raw_method method = raw_next_method(image, lane, io);
	uint64_t step = method == RAW_WRITE_ZEROES ? WRITE_STEP_BYTES : lane->range_step;
	uint64_t left = io->length_bytes - io->image_word[WORD_POSITION];
	struct loop_range range = {
		.offset_bytes = io->offset_bytes + io->image_word[WORD_POSITION],
		.length_bytes = left < step ? left : step,
	};

	io->image_word[WORD_METHOD] = loop_now_ns(io->loop) << METHOD_BITS | method;
	io->image_word[WORD_STEP] = range.length_bytes;
	if (io->op == LUN_UNMAP && method == RAW_METHOD_COUNT) {
		raw_end_hint(image, io);
	} else if (method == RAW_DISCARD) {
		loop_discard(io->loop, &io->loop_op, image->fd, range, raw_on_step);
	} else if (method == RAW_ZERO_RANGE && raw_keeps_holes(image, io)) {
		loop_call(io->loop, &io->loop_op, raw_call_zero, raw_on_step);
	} else if (method == RAW_ZERO_RANGE) {
		loop_zero(io->loop, &io->loop_op, image->fd, range, raw_on_step);
	} else {
		raw_write_zeroes(image, io, range.offset_bytes);
	}
}

LOOP_ONLY static void raw_submit_range(struct image *image, struct lun_io *io)
{
	io->image_word[WORD_POSITION] = 0;
	raw_punt(image, io);
}

/* -- The queue for workers -- */

static void (*const start_punted[])(struct image *, struct lun_io *) = {
	[LUN_READ] = raw_start_transfer,   [LUN_WRITE] = raw_start_transfer,
	[LUN_UNMAP] = raw_start_step,      [LUN_ZERO] = raw_start_step,
	[LUN_MAP] = raw_start_map,         [LUN_ALLOCATE] = raw_start_allocate,
	[LUN_RELEASE] = raw_start_release,
};

void raw_start_punted(struct image *image, struct lun_io *io)
{
	start_punted[io->op](image, io);
}

static void raw_pump(struct image *image, struct loop *loop)
{
	struct raw_lane *lane = &image->lanes[loop_index(loop)];
	struct list_node *node;

	while ((node = list_first(&lane->punted)) && loop_punt_begin(loop, lane->running)) {
		struct lun_io *io = CONTAINER_OF(node, struct lun_io, image_link);

		list_remove(node);
		lane->running++;
		io->image_word[RAW_WORD_PUNTED] = 1;
		if (io->flags & IMAGE_NO_NEW_SPACE) {
			raw_start_look(image, io);
		} else {
			raw_start_punted(image, io);
		}
	}
}

void raw_punt(struct image *image, struct lun_io *io)
{
	list_append(&raw_lane(image, io)->punted, &io->image_link);
	raw_pump(image, io->loop);
}

/* -- The type -- */

LOOP_ONLY static void raw_submit_flush(struct image *image, struct lun_io *io)
{
	if (image->is_tmpfs) {
		image_io_done_later(io, fdatasync(image->sync_fd) ? -errno : 0);
	} else {
		raw_flush_add(image, io);
	}
}

/* There are no layers. */
LOOP_ONLY static void raw_refuse(struct image *image UNUSED, struct lun_io *io)
{
	image_io_done_later(io, -EIO);
}

static void raw_submit(struct image *image, struct lun_io *io)
{
	static void (*const submit[])(struct image *, struct lun_io *) = {
		[LUN_READ] = raw_submit_transfer, [LUN_WRITE] = raw_submit_transfer,
		[LUN_FLUSH] = raw_submit_flush,   [LUN_UNMAP] = raw_submit_range,
		[LUN_ZERO] = raw_submit_range,    [LUN_MAP] = raw_submit_map,
		[LUN_ALLOCATE] = raw_punt,        [LUN_RELEASE] = raw_punt,
		[LUN_PULL] = raw_refuse,          [LUN_PUSH] = raw_refuse,
	};

	_Static_assert(ARRAY_SIZE(submit) == LUN_OP_ALL, "an operation lacks its function");
	loop_role_assume();
	io->image = image;
	io->image_word[RAW_WORD_PUNTED] = 0;
	if (io->op == LUN_WRITE && (io->flags & IMAGE_NO_NEW_SPACE)) {
		raw_punt(image, io);
	} else {
		submit[io->op](image, io);
	}
}

static int raw_fd(const struct image *image)
{
	return image->fd;
}

const struct image_ops image_raw_ops = {
	.type = "raw",
	.open = raw_open,
	.close = raw_close,
	.submit = raw_submit,
	.release_now = raw_release_now,
	.fd = raw_fd,
};
