/*
 * The loop itself: life, turn, messages, timers, buffers. It carries no operation: loop_op.c and
 * the engines do.
 *
 * A turn, on the loop's thread: messages, timers, callbacks of finished operations; then the engine
 * hands to the kernel what those submitted, and waits if nothing else is due. What a callback makes
 * due runs in the next turn, so none of the three can starve the others.
 *
 * Read next: loop_op.c, loop_socket.c, loop_uring.c, loop_aio.c.
 */
#include "base/loop_engine.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/aligned.h"
#include "base/checked.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"

#define RING_ENTRIES_DEFAULT 1024u
#define RING_ENTRIES_MAX 32768u /* The kernel's own bound (IORING_MAX_ENTRIES). */
#define BUFFER_ALIGN_BYTES 4096u
/* Some 50 microseconds of copying. With four times as much, hosts and target work by turns. */
#define INLINE_TURN_BYTES (128ull * 1024)

#ifdef __clang__
struct thread_role loop_role;
#endif

static _Thread_local const struct loop *current;

/* -- Life ------------------------------------------------------------------------------------ */

static void set_config(struct loop *loop, const struct loop_config *config)
{
	const char *name = config->name != NULL ? config->name : "loop";
	unsigned entries = config->ring_entries;

	if (entries == 0)
		entries = RING_ENTRIES_DEFAULT;
	if (entries > RING_ENTRIES_MAX)
		entries = RING_ENTRIES_MAX;
	loop->config = *config;
	loop->config.ring_entries = entries;
	(void)strncpy(loop->name, name, sizeof(loop->name) - 1);
	loop->config.name = loop->name;
}

static void set_start(struct loop *loop)
{
	loop->now_ns = clock_now_ns();
	loop->punt_limit = 1;
	list_init(&loop->waiting);
	list_init(&loop->done);
	mailbox_init(&loop->mailbox);
	(void)pthread_mutex_init(&loop->lock, NULL);
	(void)pthread_cond_init(&loop->changed, NULL);
}

int loop_create(const struct loop_config *config, struct loop **out)
{
	struct loop *loop = aligned_calloc(sizeof(*loop));
	int res = -ENOMEM;

	if (loop == NULL)
		goto fail;
	set_config(loop, config);
	/* Blocking, because io_uring answers EAGAIN on behalf of a non-blocking one instead of
	 * waiting; nobody reads it before it is ready. */
	loop->wake_fd = eventfd(0, EFD_CLOEXEC);
	if (loop->wake_fd < 0) {
		res = -errno;
		goto fail_loop;
	}
	res = pool_init(&loop->buffers, config->buffer_count, LOOP_BUFFER_BYTES,
			BUFFER_ALIGN_BYTES);
	if (res != 0)
		goto fail_wake;
	set_start(loop);
	*out = loop;
	return 0;
fail_wake:
	(void)close(loop->wake_fd);
fail_loop:
	aligned_free(loop);
fail:
	log_error("loop", "%s: cannot create: %s", config->name != NULL ? config->name : "loop",
		  strerrordesc_np(-res));
	return res;
}

int loop_create_on(const struct loop_config *config, const struct loop_engine_ops *engine,
		   void *state, struct loop **out)
{
	int res = loop_create(config, out);

	if (res != 0)
		return res;
	(*out)->engine = engine;
	(*out)->engine_state = state;
	(*out)->punt_limit = engine->punt_limit(*out);
	return 0;
}

void loop_free(struct loop *loop, bool abandon)
{
	if (loop == NULL)
		return;
	/* Buffers that the kernel may still write to must not become somebody else's memory. */
	if (abandon && loop->in_flight > 0) {
		pool_leave_mapped(&loop->buffers);
	} else {
		pool_clear(&loop->buffers, abandon);
	}
	(void)close(loop->wake_fd);
	(void)pthread_cond_destroy(&loop->changed);
	(void)pthread_mutex_destroy(&loop->lock);
	aligned_free(loop);
}

static void set_phase(struct loop *loop, enum loop_phase phase, int error)
{
	(void)pthread_mutex_lock(&loop->lock);
	loop->phase = phase;
	loop->error = error;
	(void)pthread_cond_broadcast(&loop->changed);
	(void)pthread_mutex_unlock(&loop->lock);
}

/* Set one engine up, or say why not. */
static int try_engine(struct loop *loop, const struct loop_engine_ops *engine, bool is_last)
{
	static atomic_flag said = ATOMIC_FLAG_INIT;
	int res = engine->setup(loop);

	if (res == 0) {
		loop->punt_limit = engine->punt_limit(loop);
		loop->engine = engine;
		return 0;
	}
	if (is_last) {
		log_error("loop", "%s: the %s engine is refused: %s; %s", loop->name, engine->name,
			  strerrordesc_np(-res), engine->explain(-res));
	} else if (!atomic_flag_test_and_set(&said)) {
		log_warn("loop", "the %s engine is refused, using epoll and libaio: %s; %s",
			 engine->name, strerrordesc_np(-res), engine->explain(-res));
	}
	return res;
}

static int set_up_engine(struct loop *loop)
{
	enum loop_engine wanted = loop->config.engine;
	int res = -ENOSYS;

	if (wanted != LOOP_ENGINE_AIO)
		res = try_engine(loop, &loop_uring_ops, wanted == LOOP_ENGINE_URING);
	if (res != 0 && wanted != LOOP_ENGINE_URING)
		res = try_engine(loop, &loop_aio_ops, true);
	return res;
}

LOOP_ONLY static void turn(struct loop *loop);

int loop_run(struct loop *loop)
{
	int res;

	loop_role_assume();
	res = set_up_engine(loop);
	set_phase(loop, res == 0 ? LOOP_PHASE_UP : LOOP_PHASE_FAILED, res);
	if (res != 0)
		return res;
	current = loop;
	while (!atomic_load_explicit(&loop->stopping, memory_order_relaxed))
		turn(loop);
	current = NULL;
	loop->engine->clear(loop);
	/* The last touch: whoever joins may free the loop from here on. */
	set_phase(loop, LOOP_PHASE_ENDED, 0);
	return 0;
}

static void *thread_main(void *arg)
{
	struct loop *loop = arg;

	(void)pthread_setname_np(pthread_self(), loop->name);
	/* loop_start reports the result: it is in loop->error. */
	(void)!loop_run(loop);
	return NULL;
}

static int wait_while_phase(struct loop *loop, enum loop_phase phase)
{
	int error;

	(void)pthread_mutex_lock(&loop->lock);
	while (loop->phase == phase)
		(void)pthread_cond_wait(&loop->changed, &loop->lock);
	error = loop->error;
	(void)pthread_mutex_unlock(&loop->lock);
	return error;
}

int loop_start(struct loop *loop)
{
	int res = thread_start(&loop->thread, thread_main, loop);

	if (res != 0) {
		log_error("loop", "%s: cannot start a thread: %s", loop->name,
			  strerrordesc_np(-res));
		return res;
	}
	loop->has_thread = true;
	res = wait_while_phase(loop, LOOP_PHASE_NEW);
	if (res != 0)
		loop_join(loop);
	return res;
}

static void on_stop(struct loop_msg *msg)
{
	(void)msg; /* It only had to wake the loop. */
}

void loop_stop(struct loop *loop)
{
	if (!atomic_exchange(&loop->stopping, true))
		loop_post(loop, &loop->stop_msg, on_stop);
}

void loop_join(struct loop *loop)
{
	if (!loop->has_thread)
		return;
	(void)wait_while_phase(loop, LOOP_PHASE_UP);
	/* A thread does not exit before the kernel workers that it started: not beside a stuck
	 * disk. */
	if (loop->disk_in_flight > 0) {
		(void)pthread_detach(loop->thread);
	} else {
		(void)pthread_join(loop->thread, NULL);
	}
	loop->has_thread = false;
}

/* -- Turn ------------------------------------------------------------------------------------ */

static void run_messages(struct loop *loop)
{
	struct loop_msg *msg = mailbox_take(&loop->mailbox);

	while (msg != NULL) {
		/* It belongs to its fn from the call on, which may post it again or free it. */
		struct loop_msg *next = msg->next;

		msg->fn(msg);
		loop_count(&loop->counters.messages, 1);
		msg = next;
	}
}

/* Ends, because a timer that is started now expires after now_ns. */
static void run_timers(struct loop *loop)
{
	struct loop_timer *timer;

	while ((timer = timers_first(&loop->timers)) != NULL && timer->expires_ns <= loop->now_ns) {
		timers_remove(&loop->timers, timer);
		timer->armed = false;
		timer->fn(timer);
		loop_count(&loop->counters.timers, 1);
	}
}

LOOP_ONLY static void run_completions(struct loop *loop)
{
	struct list_node batch;

	list_init(&batch);
	list_splice(&batch, &loop->done);
	while (!list_is_empty(&batch)) {
		struct loop_op *op = CONTAINER_OF(list_take_first(&batch), struct loop_op, link);

		if ((op->flags & OP_DUE) != 0 && !loop_socket_receive(op))
			continue;
		op->state = OP_IDLE;
		loop->in_flight--;
		loop_count(&loop->counters.completions, 1);
		op->done(op, op->res);
	}
}

/* How long the engine may wait: not at all when something is due in the next turn. */
static uint64_t wait_ns(const struct loop *loop)
{
	const struct loop_timer *timer = timers_first(&loop->timers);
	uint64_t now_ns;

	if (!list_is_empty(&loop->done) || !list_is_empty(&loop->waiting))
		return 0;
	/* This turn may have taken the message that was to wake the loop for its end. */
	if (atomic_load_explicit(&loop->stopping, memory_order_relaxed))
		return 0;
	if (timer == NULL)
		return LOOP_FOREVER;
	now_ns = clock_now_ns();
	return timer->expires_ns > now_ns ? timer->expires_ns - now_ns : 0;
}

LOOP_ONLY static void turn(struct loop *loop)
{
	uint64_t timeout_ns;

	loop->now_ns = clock_now_ns();
	loop->inline_bytes = 0;
	loop_count(&loop->counters.turns, 1);
	run_messages(loop);
	run_timers(loop);
	run_completions(loop);
	loop_op_flush_waiting(loop);
	timeout_ns = wait_ns(loop);
	if (timeout_ns > 0 && !mailbox_try_sleep(&loop->mailbox))
		timeout_ns = 0;
	if (timeout_ns > 0)
		loop_count(&loop->counters.sleeps, 1);
	loop->engine->wait(loop, timeout_ns);
}

void loop_turn(struct loop *loop)
{
	const struct loop *outer = current;

	current = loop;
	turn(loop);
	current = outer;
}

/* -- Messages, timers, buffers --------------------------------------------------------------- */

static void wake(const struct loop *loop)
{
	uint64_t one = 1;
	int kept_errno = errno;

	/* Only a signal can come between: the count never gets near its limit. */
	while (write(loop->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		continue;
	errno = kept_errno;
}

void loop_post(struct loop *to, struct loop_msg *msg, loop_msg_fn *fn)
{
	msg->fn = fn;
	if (mailbox_post(&to->mailbox, msg))
		wake(to);
}

/* Later than now_ns, so that it does not fire in this turn; a delay beyond the end of time never
 * ends. */
static uint64_t expiry_ns(const struct loop *loop, uint64_t delay_ms)
{
	uint64_t delay_ns;
	uint64_t at_ns;

	if (delay_ms == 0)
		return loop->now_ns + 1;
	if (!checked_mul(delay_ms, CLOCK_NS_PER_MS, &delay_ns) ||
	    !checked_add(loop->now_ns, delay_ns, &at_ns))
		return UINT64_MAX;
	return at_ns;
}

void loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms,
		      loop_timer_fn *fn)
{
	loop_timer_stop(loop, timer);
	timer->expires_ns = expiry_ns(loop, delay_ms);
	timer->fn = fn;
	timer->armed = true;
	timers_insert(&loop->timers, timer);
}

void loop_timer_stop(struct loop *loop, struct loop_timer *timer)
{
	if (!timer->armed)
		return;
	timers_remove(&loop->timers, timer);
	timer->armed = false;
}

void *loop_buffer_acquire(struct loop *loop)
{
	return pool_acquire(&loop->buffers);
}

void loop_buffer_release(struct loop *loop, void *buffer)
{
	pool_release(&loop->buffers, buffer);
}

uint32_t loop_buffer_index(const struct loop *loop, const void *buffer)
{
	return pool_index(&loop->buffers, buffer);
}

uint32_t loop_buffers_free(const struct loop *loop)
{
	return pool_free_count(&loop->buffers);
}

uint32_t loop_buffer_count(const struct loop *loop)
{
	return pool_count(&loop->buffers);
}

/* -- What others ask ------------------------------------------------------------------------- */

const char *loop_engine_name(const struct loop *loop)
{
	return loop->engine != NULL ? loop->engine->name : "none";
}

unsigned loop_index(const struct loop *loop)
{
	return loop->config.index;
}

uint64_t loop_now_ns(const struct loop *loop)
{
	return loop->now_ns;
}

bool loop_is_current(const struct loop *loop)
{
	return current == loop;
}

uint64_t loop_cpu_ns(const struct loop *loop)
{
	struct timespec time;
	clockid_t clock;

	if (!loop->has_thread || pthread_getcpuclockid(loop->thread, &clock) != 0 ||
	    clock_gettime(clock, &time) != 0)
		return 0;
	return (uint64_t)time.tv_sec * CLOCK_NS_PER_S + (uint64_t)time.tv_nsec;
}

unsigned loop_punt_limit(const struct loop *loop)
{
	return loop->punt_limit;
}

bool loop_punt_begin(struct loop *loop, unsigned mine)
{
	/* The limit is half of the workers. */
	if (mine > 0 && mine + loop->punts >= 2 * loop->punt_limit)
		return false;
	loop->punts++;
	return true;
}

bool loop_inline_begin(struct loop *loop, uint64_t bytes)
{
	if (loop->inline_bytes + bytes > INLINE_TURN_BYTES)
		return false;
	loop->inline_bytes += bytes;
	return true;
}

void loop_punt_end(struct loop *loop)
{
	assert(loop->punts > 0);
	loop->punts--;
}

void loop_set_user(struct loop *loop, void *user)
{
	loop->user = user;
}

void *loop_user(const struct loop *loop)
{
	return loop->user;
}

void loop_forget_fd(struct loop *loop, int fd)
{
	if (loop->engine != NULL)
		loop->engine->forget(loop, fd);
}

static uint64_t counter_read(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

void loop_stats_read(const struct loop *loop, struct loop_stats *out)
{
	const struct loop_counters *counters = &loop->counters;

	*out = (struct loop_stats){
		.turns = counter_read(&counters->turns),
		.sleeps = counter_read(&counters->sleeps),
		.messages = counter_read(&counters->messages),
		.timers = counter_read(&counters->timers),
		.completions = counter_read(&counters->completions),
		.continued = counter_read(&counters->continued),
	};
}
