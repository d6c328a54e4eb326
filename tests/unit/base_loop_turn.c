/*
 * The loop's turn on both engines: timers, messages from other threads, fairness between the two
 * and completions, sleeping, buffers, and what becomes of a loop that is stopped.
 */
#include "tests/unit/base_testing.h"

#include <pthread.h>
#include <time.h>

#include "base/clock.h"

/* -- Timers ---------------------------------------------------------------------------------- */

struct tick {
	struct loop_timer timer;
	struct loop *loop;
	unsigned *count;
	unsigned order;
	unsigned repeats;
};

LOOP_ONLY static void on_tick(struct loop_timer *timer)
{
	struct tick *tick = CONTAINER_OF(timer, struct tick, timer);

	cr_assert_not(loop_timer_is_armed(timer));
	cr_assert_geq(loop_now_ns(tick->loop), timer->expires_ns);
	tick->order = ++*tick->count;
}

LOOP_ONLY static void on_last_tick(struct loop_timer *timer)
{
	on_tick(timer);
	loop_stop(CONTAINER_OF(timer, struct tick, timer)->loop);
}

TEST_ON_ENGINES(turn, timers_run_in_order_and_stopped_ones_do_not)
{
	struct loop *loop = test_loop(engine);
	unsigned count = 0;
	struct tick ticks[5] = {0};
	static const uint64_t delays_ms[] = {30, 10, 20, 15, 40};

	for (unsigned i = 0; i < 5; i++) {
		ticks[i].loop = loop;
		ticks[i].count = &count;
		loop_timer_start(loop, &ticks[i].timer, delays_ms[i],
				 i == 4 ? on_last_tick : on_tick);
	}
	loop_timer_stop(loop, &ticks[3].timer);
	loop_timer_stop(loop, &ticks[3].timer);
	test_run(loop);
	cr_assert_eq(ticks[1].order, 1);
	cr_assert_eq(ticks[2].order, 2);
	cr_assert_eq(ticks[0].order, 3);
	cr_assert_eq(ticks[4].order, 4);
	cr_assert_eq(ticks[3].order, 0);
}

LOOP_ONLY static void on_repeat(struct loop_timer *timer)
{
	struct tick *tick = CONTAINER_OF(timer, struct tick, timer);

	if (--tick->repeats > 0)
		loop_timer_start(tick->loop, timer, 0, on_repeat);
	else
		loop_stop(tick->loop);
}

/* A timer that is started again with no delay runs once a turn, so it cannot stop the loop from
 * doing anything else. */
TEST_ON_ENGINES(turn, timer_restarted_inside_itself_waits_for_the_next_turn)
{
	struct loop *loop = test_loop(engine);
	struct tick tick = {.loop = loop, .repeats = 100};
	struct loop_timer deadline = {0};
	struct loop_stats stats;

	loop_timer_start(loop, &tick.timer, 0, on_repeat);
	loop_timer_start(loop, &deadline, 10000, test_on_deadline);
	cr_assert_eq(loop_run(loop), 0);
	loop_stats_read(loop, &stats);
	cr_assert_eq(stats.timers, 100);
	cr_assert_geq(stats.turns, 100);
	loop_free(loop, false);
}

TEST_ON_ENGINES(turn, timer_started_again_moves)
{
	struct loop *loop = test_loop(engine);
	unsigned count = 0;
	struct tick early = {.loop = loop, .count = &count};
	struct tick late = {.loop = loop, .count = &count};

	loop_timer_start(loop, &late.timer, 5, on_last_tick);
	loop_timer_start(loop, &early.timer, 500000, on_tick);
	loop_timer_start(loop, &early.timer, 1, on_tick);
	loop_timer_start(loop, &late.timer, 20, on_last_tick);
	test_run(loop);
	cr_assert_eq(early.order, 1);
	cr_assert_eq(late.order, 2);
}

/* -- Messages -------------------------------------------------------------------------------- */

#define SENDERS 4
#define LETTERS 2000

struct letter {
	struct loop_msg msg;
	struct sender *sender;
	unsigned number;
};

struct sender {
	struct loop *to;
	unsigned *left;
	unsigned expected;
	pthread_t thread;
	struct letter letters[LETTERS];
};

static void on_letter(struct loop_msg *msg)
{
	struct letter *letter = CONTAINER_OF(msg, struct letter, msg);
	struct sender *sender = letter->sender;

	cr_assert(loop_is_current(sender->to));
	cr_assert_eq(letter->number, sender->expected++);
	if (--*sender->left == 0)
		loop_stop(sender->to);
}

static void *send_letters(void *arg)
{
	struct sender *sender = arg;

	cr_assert_not(loop_is_current(sender->to));
	for (unsigned i = 0; i < LETTERS; i++) {
		sender->letters[i].sender = sender;
		sender->letters[i].number = i;
		loop_post(sender->to, &sender->letters[i].msg, on_letter);
	}
	return NULL;
}

TEST_ON_ENGINES(turn, messages_of_each_sender_arrive_in_order)
{
	struct loop *loop = test_loop(engine);
	static struct sender senders[SENDERS];
	unsigned left = SENDERS * LETTERS;

	for (unsigned i = 0; i < SENDERS; i++) {
		senders[i].to = loop;
		senders[i].left = &left;
		cr_assert_eq(pthread_create(&senders[i].thread, NULL, send_letters, &senders[i]),
			     0);
	}
	test_run(loop);
	for (unsigned i = 0; i < SENDERS; i++) {
		cr_assert_eq(pthread_join(senders[i].thread, NULL), 0);
		cr_assert_eq(senders[i].expected, LETTERS);
	}
}

/* A message that posts itself for ever, a timer and an operation: all make progress. */
struct greedy {
	struct loop_msg msg;
	struct loop *loop;
	uint64_t runs;
};

static void on_greedy(struct loop_msg *msg)
{
	struct greedy *greedy = CONTAINER_OF(msg, struct greedy, msg);

	greedy->runs++;
	loop_post(greedy->loop, msg, on_greedy);
}

TEST_ON_ENGINES(turn, endless_messages_starve_nobody)
{
	struct loop *loop = test_loop(engine);
	struct greedy greedy = {.loop = loop};
	unsigned left = 2;
	unsigned count = 0;
	struct test_op recv = {.left = &left};
	struct tick tick = {.loop = loop, .count = &count};
	char byte[1];
	struct iovec iov = {byte, 1};
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	loop_post(loop, &greedy.msg, on_greedy);
	recv.left = NULL;
	loop_recv(loop, &recv.op, fds[0], &iov, 1, test_on_op);
	loop_timer_start(loop, &tick.timer, 10, on_tick);
	cr_assert_eq(write(fds[1], "x", 1), 1);
	test_run(loop);
	cr_assert_eq(recv.res, 1);
	cr_assert_gt(greedy.runs, 0);
}

/* -- Completions ----------------------------------------------------------------------------- */

struct chain {
	struct loop_op op;
	int fd;
	bool inside_submit;
	unsigned left;
};

LOOP_ONLY static void on_link(struct loop_op *op, int res)
{
	struct chain *chain = CONTAINER_OF(op, struct chain, op);

	(void)res;
	cr_assert_not(chain->inside_submit);
	if (--chain->left == 0) {
		loop_stop(op->loop);
		return;
	}
	chain->inside_submit = true;
	loop_sync(op->loop, op, chain->fd, on_link);
	chain->inside_submit = false;
}

/* Even of operations that fail at once. */
TEST_ON_ENGINES(turn, callbacks_never_run_inside_submission)
{
	struct loop *loop = test_loop(engine);
	struct chain chain = {.fd = -1, .left = 1000, .inside_submit = true};

	loop_sync(loop, &chain.op, chain.fd, on_link);
	chain.inside_submit = false;
	test_run(loop);
	cr_assert_eq(chain.left, 0);
}

/* -- Sleep ----------------------------------------------------------------------------------- */

static uint64_t thread_cpu_ns(pthread_t thread)
{
	struct timespec used;
	clockid_t clock;

	cr_assert_eq(pthread_getcpuclockid(thread, &clock), 0);
	cr_assert_eq(clock_gettime(clock, &used), 0);
	return (uint64_t)used.tv_sec * CLOCK_NS_PER_S + (uint64_t)used.tv_nsec;
}

static pthread_t loop_thread;

static void on_note_thread(struct loop_msg *msg)
{
	(void)msg;
	loop_thread = pthread_self();
}

/* With an accept and a far timer, as a daemon that nobody uses has them. */
TEST_ON_ENGINES(turn, idle_loop_uses_no_processor)
{
	struct loop *loop = test_loop(engine);
	struct timespec pause = {.tv_nsec = 300000000};
	struct loop_timer far = {0};
	struct loop_msg note = {0};
	struct test_op recv = {0};
	struct loop_stats stats;
	char byte[1];
	struct iovec iov = {byte, 1};
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	loop_recv(loop, &recv.op, fds[0], &iov, 1, test_on_op);
	loop_timer_start(loop, &far, 60000, test_on_deadline);
	cr_assert_eq(loop_start(loop), 0);
	loop_post(loop, &note, on_note_thread);
	(void)nanosleep(&pause, NULL);
	loop_stats_read(loop, &stats);
	cr_assert_lt(stats.turns, 10, "%lu turns", (unsigned long)stats.turns);
	cr_assert_lt(thread_cpu_ns(loop_thread), 30 * CLOCK_NS_PER_MS);
	loop_stop(loop);
	loop_join(loop);
	loop_free(loop, true);
}

TEST_ON_ENGINES(turn, stop_ends_a_sleeping_loop_and_names_are_known)
{
	struct loop_config config = {.name = "named", .engine = engine, .index = 5};
	struct loop *loop;
	int user;

	cr_assert_eq(loop_create(&config, &loop), 0);
	loop_set_user(loop, &user);
	cr_assert_eq(loop_start(loop), 0);
	cr_assert_str_eq(loop_engine_name(loop), engine == LOOP_ENGINE_AIO ? "aio" : "uring");
	cr_assert_eq(loop_index(loop), 5);
	cr_assert_eq(loop_user(loop), &user);
	cr_assert_geq(loop_punt_limit(loop), 1);
	loop_stop(loop);
	loop_stop(loop);
	loop_join(loop);
	loop_free(loop, false);
}

/* Reading the kernel's log from its end waits until the kernel speaks: a disk that is stuck. */
LOOP_ONLY static void end_beside_stuck_disk(enum loop_engine engine, int fd)
{
	struct loop *loop = test_loop(engine);
	/* Static: the kernel may go on using them. */
	static struct test_op stuck;
	static char bytes[4096];
	static struct iovec iov = {bytes, sizeof(bytes)};
	struct loop_rw rw = {.fd = fd, .iov = &iov, .iov_count = 1};
	struct timespec pause = {.tv_nsec = 50000000};
	uint64_t stopped_ns;

	loop_read(loop, &stuck.op, &rw, test_on_op);
	cr_assert_eq(loop_start(loop), 0);
	(void)nanosleep(&pause, NULL);
	stopped_ns = clock_now_ns();
	loop_stop(loop);
	loop_join(loop);
	loop_free(loop, true);
	cr_assert_lt(clock_now_ns() - stopped_ns, 2 * CLOCK_NS_PER_S);
	/* Not a failure: other tests crash on purpose, and the kernel reports it. */
	if (stuck.done_count != 0)
		cr_log_warn("the kernel spoke, so nothing was stuck");
}

TEST_ON_ENGINES(turn, loop_ends_beside_a_stuck_disk)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || lseek(fd, 0, SEEK_END) < 0)
		cr_log_warn("skipped: no /dev/kmsg to be stuck on");
	else
		end_beside_stuck_disk(engine, fd);
}

/* -- Buffers --------------------------------------------------------------------------------- */

TEST_ON_ENGINES(turn, buffers_are_bounded_aligned_and_counted)
{
	struct loop *loop = test_loop(engine);
	void *buffers[8];

	cr_assert_eq(loop_buffer_count(loop), 8);
	for (unsigned i = 0; i < 8; i++) {
		buffers[i] = loop_buffer_acquire(loop);
		cr_assert_not_null(buffers[i]);
		cr_assert_eq((uintptr_t)buffers[i] % 4096, 0);
		cr_assert_eq(loop_buffer_index(loop, buffers[i]), i);
		(void)memset(buffers[i], 0xff, LOOP_BUFFER_BYTES);
	}
	cr_assert_null(loop_buffer_acquire(loop));
	cr_assert_eq(loop_buffers_free(loop), 0);
	loop_buffer_release(loop, buffers[3]);
	cr_assert_eq(loop_buffer_acquire(loop), buffers[3]);
	for (unsigned i = 0; i < 8; i++)
		loop_buffer_release(loop, buffers[i]);
	cr_assert_eq(loop_buffers_free(loop), 8);
	loop_free(loop, false);
}
