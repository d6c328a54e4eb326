/*
 * Look-ahead: space allocated a little before a stream of writes that come one behind the other, so
 * that they meet allocated space, which the kernel writes to at once, instead of holes, each of
 * which takes a worker. Not here: how a file does it (raw_ahead.c).
 *
 * A lane knows a few streams. One that has gone on for a while gets up to lun->look_ahead_bytes
 * allocated before it. What was allocated so is remembered as a span, and all of it that is still
 * unwritten is given back when the stream rests, when the pool is low, when the LUN is closed, and
 * behind a stream that goes on (it may have left gaps). Nothing here touches what was allocated or
 * written by others: the image fills holes only, and gives back unwritten space only, while this
 * lane holds the span exclusively. So a mistake here costs space or time, never data. What hosts
 * had zeroed inside a span meanwhile is unwritten as well, but theirs, and left out.
 *
 * It is never in the way: one job at a time on a lane, none while the gate is closed, and its
 * errors are nobody's but its own. A write that finds no space ahead is carried as without
 * look-ahead.
 *
 * Runs on the lane's loop; ahead_close on the control thread.
 *
 * Read next: raw_ahead.c.
 */
#include "lun/lun_internal.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

#include "base/clock.h"

#define STREAMS 4u
/* A stream has to go on for so long before anything is allocated; then as far as it went. */
#define START_BYTES (1ull << 20)
/* Writes of one stream may pass each other by this much. */
#define SLACK_BYTES (1ull << 20)
/* Behind a stream that goes on, what it left out is given back in pieces of this size. */
#define SWEEP_BYTES (64ull << 20)
/* A stream that rests for so long is over. A lane that owns space looks for such so many times
 * meanwhile. */
#define REST_MS 2000u
#define LOOKS 4u
/* Ranges of ZERO that are remembered; those that continue the last one count as one with it. */
#define ZEROED_MAX 16u
/* After a refusal. */
#define PAUSE_NS (10 * CLOCK_NS_PER_S)

struct stream {
	uint64_t next;         /* Where the next write is expected. */
	uint64_t covered_end;  /* Up to here nothing has to be allocated. */
	uint64_t went_bytes;   /* What it has written; gaps do not count. */
	struct byte_range own; /* Allocated here and not given back, or empty. */
	uint64_t own_since;    /* The last ZERO that had ended before all that it owns. */
	uint64_t used_ns;      /* Its last write; 0: a free place. */
};

enum ahead_stage {
	AHEAD_IDLE,
	AHEAD_ALLOCATING,
	AHEAD_TAKING,  /* The exclusive range, to give space back. */
	AHEAD_GIVING,  /* The space back. */
	AHEAD_LEAVING, /* The exclusive range. */
};

/* What hosts had zeroed with its space kept (WRITE SAME, ANCHOR): allocated and unwritten, and not
 * to be given back. Numbered as they end, from 1; all lanes', under the LUN's mutex. */
struct ahead_zeroed {
	_Atomic uint64_t count;
	uint64_t forgotten; /* The last one that is not remembered any more. */
	unsigned newest;
	struct {
		struct byte_range range;
		uint64_t number;
	} recent[ZEROED_MAX];
};

struct lun_ahead {
	struct lun_lane *lane;
	struct stream streams[STREAMS];
	enum ahead_stage stage;
	struct stream *subject; /* Of the job under way. */
	uint64_t paused_until_ns;
	bool pool_is_low;  /* All that is not needed is to be given back. */
	unsigned openings; /* Of the LUN's image, when this was last looked at. */
	struct loop_timer timer;
	struct lun_io io;
	struct lun_exclusive exclusive;
};

LOOP_ONLY static void ahead_look_for_work(struct lun_ahead *ahead);

static bool owns_space(const struct stream *stream)
{
	return stream->own.begin < stream->own.end;
}

LOOP_ONLY static bool stream_rests(const struct lun_ahead *ahead, const struct stream *stream)
{
	return loop_now_ns(ahead->lane->loop) - stream->used_ns >=
	       ahead->lane->lun->ahead_rest_ms * CLOCK_NS_PER_MS;
}

/* -- May it do anything now? -- */

/* In a turn in which this is true, I/O on the range is neither refused nor made to wait. */
static bool ahead_may_run(const struct lun_ahead *ahead)
{
	const struct lun *lun = ahead->lane->lun;
	const struct lun_state *state = lun_state(lun);

	return state->online && !state->read_only && !state->gate_closed && !lun_is_overrun(lun) &&
	       !atomic_load_explicit(&lun->failed, memory_order_acquire);
}

/* The gate is open: what belonged to an image that was closed meanwhile has been given back. */
static void ahead_renew(struct lun_ahead *ahead)
{
	if (ahead->openings == ahead->lane->lun->openings)
		return;
	ahead->openings = ahead->lane->lun->openings;
	memset(ahead->streams, 0, sizeof(ahead->streams));
}

static void ahead_on_timer(struct loop_timer *timer);

/* A lane that owns space looks at it from time to time; others have no timer. */
LOOP_ONLY static void ahead_arm(struct lun_ahead *ahead)
{
	bool owns = false;

	for (unsigned i = 0; i < STREAMS; i++)
		owns = owns || owns_space(&ahead->streams[i]);
	if (owns && !loop_timer_is_armed(&ahead->timer) &&
	    !lun_state(ahead->lane->lun)->gate_closed)
		loop_timer_start(ahead->lane->loop, &ahead->timer,
				 ahead->lane->lun->ahead_rest_ms / LOOKS, ahead_on_timer);
}

static void ahead_on_timer(struct loop_timer *timer)
{
	struct lun_ahead *ahead = CONTAINER_OF(timer, struct lun_ahead, timer);

	loop_role_assume();
	ahead_look_for_work(ahead);
	ahead_arm(ahead);
}

void ahead_pause(struct lun_lane *lane)
{
	if (lane->ahead)
		loop_timer_stop(lane->loop, &lane->ahead->timer);
}

void ahead_resume(struct lun_lane *lane)
{
	if (lane->ahead)
		ahead_arm(lane->ahead);
}

/* -- What hosts want to keep -- */

/* Behind the lanes. */
static struct ahead_zeroed *zeroed_of(const struct lun *lun)
{
	return (struct ahead_zeroed *)(void *)&lun->aheads[lun->group->count];
}

static void zeroed_add_locked(struct ahead_zeroed *zeroed, struct byte_range range)
{
	uint64_t number = atomic_load_explicit(&zeroed->count, memory_order_relaxed) + 1;
	unsigned at = zeroed->newest;

	if (zeroed->recent[at].range.end == range.begin) {
		zeroed->recent[at].range.end = range.end;
	} else {
		at = (at + 1) % ZEROED_MAX;
		zeroed->forgotten = zeroed->recent[at].number;
		zeroed->recent[at].range = range;
	}
	zeroed->recent[at].number = number;
	zeroed->newest = at;
	atomic_store_explicit(&zeroed->count, number, memory_order_release);
}

void ahead_note_zeroed(struct lun *lun, const struct lun_io *io)
{
	pthread_mutex_lock(&lun->mutex);
	zeroed_add_locked(zeroed_of(lun), lun_io_range(io));
	pthread_mutex_unlock(&lun->mutex);
}

/* True: some of it is, and the span begins behind or ends before that now. */
static bool zeroed_cut_locked(const struct ahead_zeroed *zeroed, uint64_t since,
			      struct byte_range *span)
{
	for (unsigned i = 0; i < ZEROED_MAX; i++) {
		struct byte_range range = zeroed->recent[i].range;

		if (zeroed->recent[i].number <= since || !byte_range_overlaps(range, *span))
			continue;
		if (range.begin > span->begin) {
			span->end = range.begin;
		} else {
			span->begin = range.end < span->end ? range.end : span->end;
		}
		return true;
	}
	return false;
}

/*
 * The first piece of the span that nobody had zeroed since the ZERO of that number; empty, at its
 * end: there is none. Who holds the span, so that none is under way in it, or when no I/O is.
 */
static struct byte_range zeroed_leave(struct lun *lun, struct byte_range span, uint64_t since)
{
	const struct ahead_zeroed *zeroed = zeroed_of(lun);

	pthread_mutex_lock(&lun->mutex);
	if (zeroed->forgotten > since)
		span.begin = span.end;
	/* Each range cuts once at most. */
	while (span.begin < span.end && zeroed_cut_locked(zeroed, since, &span))
		;
	pthread_mutex_unlock(&lun->mutex);
	return span;
}

/* -- Giving back -- */

static void ahead_on_released(struct lun_exclusive *exclusive)
{
	struct lun_ahead *ahead = CONTAINER_OF(exclusive, struct lun_ahead, exclusive);

	loop_role_assume();
	ahead->stage = AHEAD_IDLE;
	ahead_look_for_work(ahead);
	ahead_arm(ahead);
}

LOOP_ONLY static void ahead_leave(struct lun_ahead *ahead)
{
	ahead->stage = AHEAD_LEAVING;
	lun_exclusive_release(&ahead->exclusive);
}

/* All up to `end` has been given back, or is not looked after any more. */
LOOP_ONLY static void ahead_disown(struct lun_ahead *ahead, uint64_t end)
{
	struct stream *stream = ahead->subject;

	stream->own.begin = end;
	if (!owns_space(stream)) {
		stream->own = (struct byte_range){0};
		stream->covered_end = 0;
	}
	if (ahead->pool_is_low || stream_rests(ahead, stream))
		stream->went_bytes = 0;
	ahead_leave(ahead);
}

/* Also after an error: what could not be given back now would not be later. */
static void ahead_on_given(struct lun_io *io, int res UNUSED)
{
	struct lun_ahead *ahead = CONTAINER_OF(io, struct lun_ahead, io);

	loop_role_assume();
	ahead_disown(ahead, io->offset_bytes + io->length_bytes);
}

static void ahead_on_granted(struct lun_exclusive *exclusive)
{
	struct lun_ahead *ahead = CONTAINER_OF(exclusive, struct lun_ahead, exclusive);
	struct byte_range span = {exclusive->offset_bytes,
				  exclusive->offset_bytes + exclusive->length_bytes};

	loop_role_assume();
	if (!ahead_may_run(ahead)) {
		ahead_leave(ahead);
		return;
	}
	span = zeroed_leave(ahead->lane->lun, span, ahead->subject->own_since);
	if (span.begin == span.end) {
		ahead_disown(ahead, span.end);
		return;
	}
	ahead->stage = AHEAD_GIVING;
	ahead->io = (struct lun_io){
		.op = LUN_RELEASE,
		.offset_bytes = span.begin,
		.length_bytes = span.end - span.begin,
		.done = ahead_on_given,
	};
	lun_io_submit_exclusive(exclusive, &ahead->io);
}

LOOP_ONLY static void ahead_give_back(struct lun_ahead *ahead, struct stream *stream, uint64_t end)
{
	ahead->stage = AHEAD_TAKING;
	ahead->subject = stream;
	ahead->exclusive.offset_bytes = stream->own.begin;
	ahead->exclusive.length_bytes = end - stream->own.begin;
	ahead->exclusive.granted = ahead_on_granted;
	ahead->exclusive.released = ahead_on_released;
	lun_exclusive_acquire(ahead->lane->lun, ahead->lane->loop, &ahead->exclusive);
}

/* How far the stream's own space is to be given back now; own.begin: not at all. */
LOOP_ONLY static uint64_t surplus_end(const struct lun_ahead *ahead, const struct stream *stream)
{
	if (!owns_space(stream))
		return stream->own.begin;
	if (ahead->pool_is_low || stream_rests(ahead, stream))
		return stream->own.end;
	/* It has left its space behind, and what follows was allocated by somebody else. */
	if (stream->next >= stream->own.end + SLACK_BYTES)
		return stream->own.end;
	if (stream->next >= stream->own.begin + SWEEP_BYTES)
		return stream->next - SLACK_BYTES < stream->own.end ? stream->next - SLACK_BYTES
								    : stream->own.end;
	return stream->own.begin;
}

void ahead_look_for_work(struct lun_ahead *ahead)
{
	if (ahead->stage != AHEAD_IDLE || !ahead_may_run(ahead))
		return;
	ahead_renew(ahead);
	for (unsigned i = 0; i < STREAMS; i++) {
		struct stream *stream = &ahead->streams[i];
		uint64_t end = surplus_end(ahead, stream);

		if (end > stream->own.begin) {
			ahead_give_back(ahead, stream, end);
			return;
		}
	}
	ahead->pool_is_low = false;
}

/* -- Allocating -- */

LOOP_ONLY static void ahead_pause_allocating(struct lun_ahead *ahead, int res)
{
	ahead->paused_until_ns = loop_now_ns(ahead->lane->loop) + PAUSE_NS;
	if (res == -ENOSPC)
		ahead->pool_is_low = true;
}

static void stream_take(struct stream *stream, struct byte_range filled)
{
	if (filled.begin == filled.end) {
		stream->covered_end = filled.begin;
		return;
	}
	if (owns_space(stream)) {
		stream->own.end = filled.end;
	} else {
		stream->own = filled;
	}
	stream->covered_end = filled.end;
}

static void ahead_on_allocated(struct lun_io *io, int res)
{
	struct lun_ahead *ahead = CONTAINER_OF(io, struct lun_ahead, io);
	struct byte_range filled = {io->image_word[IMAGE_WORD_BEGIN],
				    io->image_word[IMAGE_WORD_END]};

	loop_role_assume();
	ahead->stage = AHEAD_IDLE;
	/* Nothing new is no answer that should be asked for again at once. */
	if (res || filled.end <= io->offset_bytes) {
		ahead_pause_allocating(ahead, res);
	} else {
		stream_take(ahead->subject, filled);
	}
	ahead_look_for_work(ahead);
	ahead_arm(ahead);
}

/*
 * What the stream should have allocated next, or nothing. A span stays one piece: after space that
 * somebody else allocated, the next is taken when the last has been given back.
 */
static struct byte_range ahead_wanted(const struct lun_ahead *ahead, const struct stream *stream)
{
	const struct lun *lun = ahead->lane->lun;
	uint64_t unit = lun->limits.allocation_unit_bytes;
	uint64_t size = lun_state(lun)->size_bytes;
	uint64_t window = stream->went_bytes < lun->look_ahead_bytes ? stream->went_bytes
								     : lun->look_ahead_bytes;
	uint64_t begin = stream->covered_end > stream->next ? stream->covered_end : stream->next;
	uint64_t end = stream->next + window < size ? stream->next + window : size;

	/* Whole units: the file system gives back no parts of its blocks. */
	begin += (unit - begin % unit) % unit;
	end -= end % unit;
	if (stream->went_bytes < START_BYTES || begin - stream->next > window / 2 || begin >= end)
		return (struct byte_range){0};
	if (owns_space(stream) && begin != stream->own.end)
		return (struct byte_range){0};
	return (struct byte_range){begin, end};
}

LOOP_ONLY static void ahead_allocate(struct lun_ahead *ahead, struct stream *stream)
{
	struct lun_lane *lane = ahead->lane;
	struct byte_range range = ahead_wanted(ahead, stream);

	if (range.begin == range.end || !ahead_may_run(ahead))
		return;
	if (lun_pool_is_guarded(lane->lun->pool)) {
		ahead_pause_allocating(ahead, -ENOSPC);
		ahead_look_for_work(ahead);
		return;
	}
	ahead->io = (struct lun_io){
		.op = LUN_ALLOCATE,
		.flags = owns_space(stream) ? IMAGE_ADJOINING : 0,
		.offset_bytes = range.begin,
		.length_bytes = range.end - range.begin,
		.done = ahead_on_allocated,
	};
	/* Behind an orphan it would wait, and a drain could then end before it. */
	ahead->io.lun = lane->lun;
	if (ranges_block(lane->lun, &ahead->io))
		return;
	ahead->stage = AHEAD_ALLOCATING;
	ahead->subject = stream;
	/* What ends from here on may end in what the file system has not shown to be a hole yet. */
	if (!owns_space(stream))
		stream->own_since =
			atomic_load_explicit(&zeroed_of(lane->lun)->count, memory_order_acquire);
	lun_io_submit(lane->lun, lane->loop, &ahead->io);
}

/* -- Streams -- */

static bool stream_has(const struct stream *stream, uint64_t offset)
{
	return stream->used_ns && offset + SLACK_BYTES >= stream->next &&
	       offset <= stream->next + SLACK_BYTES;
}

/* Long ago is better; one that goes on is left alone while it does, and one that owns space until
 * it has given it back. */
LOOP_ONLY static bool stream_may_be_replaced(const struct lun_ahead *ahead,
					     const struct stream *stream)
{
	if (owns_space(stream))
		return false;
	return stream->went_bytes < START_BYTES || stream_rests(ahead, stream);
}

LOOP_ONLY static struct stream *ahead_find_place(struct lun_ahead *ahead)
{
	struct stream *oldest = NULL;

	for (unsigned i = 0; i < STREAMS; i++) {
		struct stream *stream = &ahead->streams[i];

		if (ahead->stage != AHEAD_IDLE && ahead->subject == stream)
			continue;
		if (stream_may_be_replaced(ahead, stream) &&
		    (!oldest || stream->used_ns < oldest->used_ns))
			oldest = stream;
	}
	return oldest;
}

LOOP_ONLY static struct stream *ahead_find(struct lun_ahead *ahead, uint64_t offset)
{
	struct stream *stream;

	for (unsigned i = 0; i < STREAMS; i++) {
		if (stream_has(&ahead->streams[i], offset))
			return &ahead->streams[i];
	}
	stream = ahead_find_place(ahead);
	if (stream)
		*stream = (struct stream){.next = offset};
	return stream;
}

void ahead_note_write(struct lun_lane *lane, const struct lun_io *io)
{
	struct lun_ahead *ahead = lane->ahead;
	uint64_t now_ns = loop_now_ns(lane->loop);
	uint64_t end = io->offset_bytes + io->length_bytes;
	struct stream *stream;

	ahead->lane = lane;
	ahead_renew(ahead);
	stream = ahead_find(ahead, io->offset_bytes);
	if (!stream)
		return;
	stream->used_ns = now_ns;
	if (end > stream->next) {
		stream->went_bytes += io->length_bytes;
		stream->next = end;
	}
	if (ahead->stage != AHEAD_IDLE)
		return;
	if (surplus_end(ahead, stream) > stream->own.begin) {
		ahead_look_for_work(ahead);
	} else if (now_ns >= ahead->paused_until_ns) {
		ahead_allocate(ahead, stream);
	}
}

void ahead_note_full(struct lun_lane *lane)
{
	if (!lane->ahead)
		return;
	ahead_pause_allocating(lane->ahead, -ENOSPC);
	ahead_look_for_work(lane->ahead);
}

/* -- Memory -- */

static size_t ahead_bytes(const struct lun *lun)
{
	static_assert(sizeof(struct lun_ahead) % _Alignof(struct ahead_zeroed) == 0,
		      "what stands behind the lanes is aligned");
	return lun->group->count * sizeof(struct lun_ahead) + sizeof(struct ahead_zeroed);
}

int ahead_init(struct lun *lun, uint32_t look_ahead_bytes)
{
	struct lun_ahead *all;

	if (!lun->info.look_ahead || look_ahead_bytes == 0)
		return 0;
	/* Touched when a lane first writes. */
	all = mmap(NULL, ahead_bytes(lun), PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (all == MAP_FAILED)
		return -ENOMEM;
	lun->aheads = all;
	lun->ahead_rest_ms = REST_MS;
	lun->look_ahead_bytes =
		look_ahead_bytes < LUN_LOOK_AHEAD_MAX ? look_ahead_bytes : LUN_LOOK_AHEAD_MAX;
	for (unsigned i = 0; i < lun->group->count; i++)
		lun->lanes[i].ahead = &all[i];
	return 0;
}

static void stream_give_back(struct lun *lun, const struct stream *stream)
{
	struct byte_range own = stream->own;

	while (own.begin < own.end) {
		struct byte_range piece = zeroed_leave(lun, own, stream->own_since);

		/* Space that stays allocated is all that an error can mean. */
		if (piece.begin < piece.end)
			(void)lun->ops->release_now(lun->image, piece.begin,
						    piece.end - piece.begin);
		own.begin = piece.end;
	}
}

/* The lanes' own records stay as they are, for their loops (ahead_renew). A lane may wait for a
 * range that it would give back, of which a host has exclusive use behind the closed gate: nothing
 * of a stream changes by that, and what is given back twice is unwritten still. */
void ahead_release(struct lun *lun)
{
	lun->openings++;
	for (unsigned i = 0; lun->aheads && i < lun->group->count; i++) {
		for (unsigned j = 0; j < STREAMS; j++)
			stream_give_back(lun, &lun->aheads[i].streams[j]);
	}
}

void ahead_close(struct lun *lun)
{
	for (unsigned i = 0; lun->aheads && i < lun->group->count; i++)
		assert(lun->aheads[i].stage == AHEAD_IDLE);
	ahead_release(lun);
	if (lun->aheads)
		(void)munmap(lun->aheads, ahead_bytes(lun));
}
