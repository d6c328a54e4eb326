/*
 * The tasks of a session: what is issued next, how a task ends, and its one state machine. Sockets
 * and PDUs are send.c and receive.c. Runs on the session's worker.
 */
#include "target/bench/session.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "target/bench/command.h"
#include "target/bench/stamp.h"

/* Task tags: ten bits of index below a count of uses. The top bit stays clear, so that no tag is
 * the reserved one. */
#define TAG_INDEX_BITS 10u
#define TAG_INDEX_MASK ((1u << TAG_INDEX_BITS) - 1)
#define TAG_MASK 0x7fffffffu
_Static_assert(BENCH_QUEUE_DEPTH_MAX <= TAG_INDEX_MASK + 1, "every task needs a tag");

/* A refused command waits this long before it is sent again. */
#define BACKOFF_NS (1 * CLOCK_NS_PER_MS)
/* After so many good commands per unit of depth, one more is tried. */
#define GOOD_PER_DEPTH 16u
/* A target that reports more unit attentions than this on one session is not going to stop. */
#define ATTENTIONS_MAX 64u

/* Which state may follow which: bit `to` in row `from`. */
static const uint8_t legal_edges[] = {
	[TASK_FREE] = 1u << TASK_READY,
	[TASK_READY] =
		1u << TASK_WAITING | 1u << TASK_FREE | 1u << TASK_LINGERING | 1u << TASK_BACKOFF,
	[TASK_WAITING] =
		1u << TASK_READY | 1u << TASK_FREE | 1u << TASK_LINGERING | 1u << TASK_BACKOFF,
	[TASK_LINGERING] = 1u << TASK_FREE,
	[TASK_BACKOFF] = 1u << TASK_READY,
};

/* Where each state's list is in the session; 0: none. */
static const size_t list_offsets[] = {
	[TASK_FREE] = offsetof(struct bench_session, free),
	[TASK_READY] = offsetof(struct bench_session, ready),
	[TASK_WAITING] = 0,
	[TASK_LINGERING] = offsetof(struct bench_session, lingering),
	[TASK_BACKOFF] = offsetof(struct bench_session, backoff),
};

static struct list_node *list_of(struct bench_session *session, enum bench_task_state state)
{
	return (struct list_node *)(void *)((char *)session + list_offsets[state]);
}

void bench_session_move(struct bench_session *session, struct bench_task *task,
			enum bench_task_state state)
{
	assert(legal_edges[task->state] >> state & 1u);
	if (list_is_linked(&task->link))
		list_remove(&task->link);
	if (task->state == TASK_FREE)
		session->in_flight++;
	task->state = state;
	if (state == TASK_FREE) {
		session->in_flight--;
		/* The one used last is the one in the cache. */
		list_prepend(&session->free, &task->link);
	} else if (list_offsets[state] > 0) {
		list_append(list_of(session, state), &task->link);
	}
}

struct bench_task *bench_session_find(struct bench_session *session, uint32_t itt)
{
	uint32_t index = itt & TAG_INDEX_MASK;
	struct bench_task *task;

	if (index >= session->job->options->queue_depth)
		return NULL;
	task = &session->tasks[index];
	if (task->itt != itt || task->command_due ||
	    (task->state != TASK_WAITING && task->state != TASK_READY))
		return NULL;
	return task;
}

/* ---- Issue ---- */

static void stamp_units(const struct bench_session *session, struct bench_task *task)
{
	const struct bench_options *options = session->job->options;
	uint32_t stamps = options->mix.unit_bytes / STAMP_BYTES;
	uint8_t *at = task->buffer;
	struct stamp stamp = {
		.sector = bench_session_unit_bytes(session, task->unit) / STAMP_BYTES,
		.seed = options->seed,
	};

	for (uint32_t unit = 0; unit < task->units; unit++) {
		stamp.generation = place_next_generation(&session->place, task->unit + unit);
		for (uint32_t i = 0; i < stamps; i++) {
			stamp_write(&stamp, at);
			stamp.sector++;
			at += STAMP_BYTES;
		}
	}
}

/* Ready to be sent, for the first time or again: a new tag, the next CmdSN. */
static void make_ready(struct bench_session *session, struct bench_task *task)
{
	task->itt = (task->itt + (1u << TAG_INDEX_BITS)) & TAG_MASK;
	task->cmd_sn = session->conn.window.cmd_sn++;
	task->command_due = true;
	task->received_bytes = 0;
	task->data_in_sn = 0;
	task->burst_first = 0;
	task->burst_count = 0;
	bench_session_move(session, task, TASK_READY);
}

/* True if a burst has begun, or may. Between two bursts everything comes to rest, and then nothing
 * happens for the time of the pause. */
static bool in_burst(struct bench_session *session)
{
	const struct bench_options *options = session->job->options;

	if (options->burst == 0 || session->burst_left > 0)
		return true;
	if (session->in_flight > 0)
		return false;
	if (session->resume_ns == 0)
		session->resume_ns = session->now_ns + options->pause_ms * CLOCK_NS_PER_MS;
	if (session->now_ns < session->resume_ns)
		return false;
	session->resume_ns = 0;
	session->burst_left = (uint32_t)options->burst;
	return true;
}

/* A command of the workload: its class, its place and its direction. False: not now. */
static bool choose_from_mix(struct bench_session *session, struct bench_task *task)
{
	const struct mix *mix = &session->job->options->mix;
	const struct mix_class *class;
	unsigned number = 0;

	if (!in_burst(session))
		return false;
	if (mix->count > 1)
		number = mix_choose(mix, place_random(&session->place));
	if (!place_next(&session->place, number, &task->unit))
		return false;
	class = &mix->classes[number];
	task->class_number = (uint8_t)number;
	task->bytes = class->bytes;
	task->units = class->bytes / mix->unit_bytes;
	task->write = class->read_percent == 0 ||
		      (class->read_percent < 100 &&
		       place_random(&session->place) % 100 >= class->read_percent);
	if (session->burst_left > 0)
		session->burst_left--;
	return true;
}

/* A command of a pass over the slice. False: it is through. */
static bool choose_from_pass(struct bench_session *session, struct bench_task *task, bool write)
{
	const struct mix *mix = &session->job->options->mix;

	task->class_number = 0;
	task->bytes = mix->largest_bytes;
	task->units = mix->largest_bytes / mix->unit_bytes;
	task->write = write;
	return place_pass_next(&session->place, !write, &task->unit);
}

/* What the phase wants next. False: nothing. */
static bool choose(struct bench_session *session, struct bench_task *task)
{
	switch (session->phase) {
	case PHASE_FILL:
		return choose_from_pass(session, task, true);
	case PHASE_RAMP:
	case PHASE_MEASURE:
		return choose_from_mix(session, task);
	case PHASE_READ_BACK:
		return choose_from_pass(session, task, false);
	case PHASE_SETUP:
	case PHASE_DRAIN:
	case PHASE_END:
		break;
	}
	return false;
}

/* The others end when the main thread says so, however idle a session may be between bursts. */
static bool ends_by_itself(enum bench_phase phase)
{
	return phase != PHASE_RAMP && phase != PHASE_MEASURE;
}

/* Refused commands go first; they keep their place and their start time. */
static void issue_again(struct bench_session *session)
{
	if (list_is_empty(&session->backoff) || session->now_ns < session->retry_ns)
		return;
	LIST_FOREACH (node, &session->backoff) {
		if (bench_window_open(&session->conn.window) == 0)
			return;
		make_ready(session, CONTAINER_OF(node, struct bench_task, link));
	}
}

bool bench_session_issue(struct bench_session *session)
{
	issue_again(session);
	while (session->in_flight < session->depth && list_is_empty(&session->backoff) &&
	       !list_is_empty(&session->free) && bench_window_open(&session->conn.window) > 0) {
		struct bench_task *task =
			CONTAINER_OF(list_first(&session->free), struct bench_task, link);

		if (!choose(session, task))
			return ends_by_itself(session->phase) && bench_session_is_idle(session);
		task->start_ns = session->now_ns;
		if (task->write && task->buffer)
			stamp_units(session, task);
		make_ready(session, task);
	}
	return false;
}

/* ---- The end of a task ---- */

static void release_task(struct bench_session *session, struct bench_task *task)
{
	bool queued = session->batch.iov_at < session->batch.iov_count &&
		      task->batch_serial == session->batch.serial;

	bench_session_move(session, task, queued ? TASK_LINGERING : TASK_FREE);
}

void bench_session_batch_sent(struct bench_session *session)
{
	LIST_FOREACH (node, &session->lingering)
		bench_session_move(session, CONTAINER_OF(node, struct bench_task, link), TASK_FREE);
}

/* One line per unit that was not as it should be, and one count per block. */
static void check_stamps(struct bench_session *session, struct bench_task *task, uint32_t unit,
			 uint32_t generation)
{
	const struct bench_options *options = session->job->options;
	uint64_t first_sector = bench_session_unit_bytes(session, task->unit + unit) / STAMP_BYTES;
	const uint8_t *blocks = task->buffer + (uint64_t)unit * options->mix.unit_bytes;
	uint64_t count = options->mix.unit_bytes / STAMP_BYTES;
	uint64_t faults = 0;

	for (uint64_t i = 0; i < count; i++) {
		const struct stamp expected = {first_sector + i, options->seed, generation};
		struct stamp found;
		enum stamp_fault fault = stamp_check(&expected, blocks + i * STAMP_BYTES, &found);
		char text[256];

		if (fault == STAMP_INTACT)
			continue;
		if (faults++ == 0) {
			stamp_describe(fault, &expected, &found, text, sizeof(text));
			bench_complain(session->job, "session %u: verify: %s", session->number,
				       text);
		}
	}
	counter_add(&session->counters->blocks_verified, count);
	counter_add(&session->counters->verify_errors, faults);
}

/* What a read brought is checked against what this run wrote there. Where it wrote nothing, the
 * content is only known to a run that does nothing but read. */
static void verify_read(struct bench_session *session, struct bench_task *task)
{
	const struct bench_options *options = session->job->options;
	bool only_reads = options->workload == BENCH_READ && !options->fill;

	for (uint32_t i = 0; i < task->units; i++) {
		uint32_t generation = place_generation(&session->place, task->unit + i);

		if (only_reads) {
			check_stamps(session, task, i, STAMP_ANY_GENERATION);
		} else if (generation != 0) {
			check_stamps(session, task, i, generation);
		}
	}
}

static void forget_units(struct bench_session *session, const struct bench_task *task, bool good)
{
	for (uint32_t i = 0; task->buffer && i < task->units; i++) {
		if (task->write) {
			place_written(&session->place, task->unit + i, good);
		} else {
			place_read(&session->place, task->unit + i);
		}
	}
}

static void count_latency(struct bench_session *session, const struct bench_task *task)
{
	unsigned at = 2u * task->class_number + task->write;

	histogram_add(&(*session->histograms)[at], session->now_ns - task->start_ns);
}

static void task_good(struct bench_session *session, struct bench_task *task)
{
	const struct bench_options *options = session->job->options;

	if (!task->write && task->buffer)
		verify_read(session, task);
	forget_units(session, task, true);
	counter_add(task->write ? &session->counters->writes : &session->counters->reads, 1);
	if (session->phase == PHASE_MEASURE)
		count_latency(session, task);
	if (session->depth < options->queue_depth &&
	    ++session->good_since_full >= GOOD_PER_DEPTH * session->depth) {
		session->good_since_full = 0;
		session->depth++;
	}
	release_task(session, task);
}

void bench_session_task_failed(struct bench_session *session, struct bench_task *task,
			       const char *reason)
{
	bench_complain(session->job, "session %u: %s of %" PRIu32 " bytes at %" PRIu64 ": %s",
		       session->number, task->write ? "write" : "read", task->bytes,
		       bench_session_unit_bytes(session, task->unit), reason);
	counter_add(&session->counters->io_errors, 1);
	forget_units(session, task, false);
	release_task(session, task);
}

/* Refused for the time being. With a full task set the depth falls to what the target held when it
 * refused, SAM-5 5.3.1. */
static void task_refused(struct bench_session *session, struct bench_task *task, bool full)
{
	bench_session_move(session, task, TASK_BACKOFF);
	session->retry_ns = session->now_ns + BACKOFF_NS;
	if (full && session->depth > 1) {
		session->depth--;
		session->good_since_full = 0;
	}
}

void bench_session_answered(struct bench_session *session, struct bench_task *task, uint8_t status,
			    uint32_t sense_bytes)
{
	struct bench_sense sense;
	char text[96];

	if (status == STATUS_GOOD) {
		task_good(session, task);
		return;
	}
	if (status == STATUS_TASK_SET_FULL || status == STATUS_BUSY) {
		bool full = status == STATUS_TASK_SET_FULL;

		counter_add(full ? &session->counters->task_set_full : &session->counters->busy, 1);
		task_refused(session, task, full);
		return;
	}
	bench_sense_decode(&sense, session->note, sense_bytes);
	if (status == STATUS_CHECK_CONDITION && sense.key == SENSE_KEY_UNIT_ATTENTION &&
	    session->attentions++ < ATTENTIONS_MAX) {
		counter_add(&session->counters->unit_attentions, 1);
		task_refused(session, task, false);
		return;
	}
	bench_status_describe(status, &sense, text, sizeof(text));
	bench_session_task_failed(session, task, text);
}

/* ---- Life of a session ---- */

static void init_tasks(struct bench_session *session)
{
	const struct bench_options *options = session->job->options;

	list_init(&session->free);
	list_init(&session->ready);
	list_init(&session->lingering);
	list_init(&session->backoff);
	for (uint32_t i = 0; i < options->queue_depth; i++) {
		struct bench_task *task = &session->tasks[i];

		task->index = i;
		task->itt = i;
		if (session->buffers)
			task->buffer = session->buffers + (uint64_t)i * options->mix.largest_bytes;
		list_append(&session->free, &task->link);
	}
}

/* This session's share of the region: equal ones, the first few a granule longer. */
static int init_place(struct bench_session *session)
{
	const struct bench_job *job = session->job;
	uint64_t sessions = job->options->sessions;
	uint64_t share = job->region_granules / sessions;
	uint64_t longer = job->region_granules % sessions;
	uint64_t number = session->number;
	const struct place_config config = {
		.region_granules = job->region_granules,
		.slice_begin = number * share + (number < longer ? number : longer),
		.slice_granules = share + (number < longer ? 1 : 0),
		.seed = job->options->seed ^ (number + 1) * 0xd1342543de82ef95ull,
		.mix = &job->options->mix,
		.verify = job->options->verify,
	};

	return place_init(&session->place, &config);
}

int bench_session_init(struct bench_session *session, struct bench_job *job, uint32_t number)
{
	const struct bench_options *options = job->options;
	int err;

	memset(session, 0, sizeof(*session));
	session->job = job;
	session->number = number;
	session->depth = (uint32_t)options->queue_depth;
	err = bench_conn_init(&session->conn, options, number);
	if (err)
		return err;
	session->tasks = calloc(options->queue_depth, sizeof(*session->tasks));
	if (options->verify)
		session->buffers = calloc(options->queue_depth, options->mix.largest_bytes);
	if (!session->tasks || (options->verify && !session->buffers) || init_place(session))
		return bench_conn_fail(&session->conn, -ENOMEM, "out of memory");
	init_tasks(session);
	return 0;
}

void bench_session_release(struct bench_session *session)
{
	bench_conn_release(&session->conn);
	place_release(&session->place);
	free(session->tasks);
	session->tasks = NULL;
	free(session->buffers);
	session->buffers = NULL;
}

bool bench_session_is_idle(const struct bench_session *session)
{
	return session->in_flight == 0 && session->batch.iov_at == session->batch.iov_count &&
	       session->pong_count == 0;
}

bool bench_session_is_waiting(const struct bench_session *session)
{
	return session->resume_ns > 0 || !list_is_empty(&session->backoff);
}

void bench_session_enter_phase(struct bench_session *session, enum bench_phase phase)
{
	session->phase = phase;
	session->burst_left = 0;
	session->resume_ns = 0;
	place_pass_begin(&session->place);
}

int bench_session_check_age(struct bench_session *session)
{
	const struct bench_options *options = session->job->options;

	for (uint32_t i = 0; i < options->queue_depth; i++) {
		const struct bench_task *task = &session->tasks[i];

		if (task->state == TASK_FREE ||
		    session->now_ns - task->start_ns < options->timeout_ms * CLOCK_NS_PER_MS)
			continue;
		return bench_conn_fail(&session->conn, -ETIMEDOUT,
				       "a %s at byte %" PRIu64 " has not ended after %" PRIu64
				       " ms (%u commands in flight)",
				       task->write ? "write" : "read",
				       bench_session_unit_bytes(session, task->unit),
				       options->timeout_ms, session->in_flight);
	}
	return 0;
}
