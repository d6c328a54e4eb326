/*
 * Helper threads for blocking system calls of one loop. Work and results pass through two lists
 * under one mutex that the loop holds for a few instructions; results are announced by a message.
 * They decide nothing: each result is judged on the loop's thread. Read next: loop_aio.c.
 */
#include "base/aio_helpers.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/aligned.h"
#include "base/log.h"
#include "base/loop_engine.h"
#include "base/thread.h"

struct aio_helpers {
	struct loop *loop;
	io_context_t context; /* NULL: none. Constant once helpers work. */
	int event_fd;
	atomic_uint given; /* To the context; says to the loop what the kernel says only in fact. */
	pthread_t threads[AIO_HELPERS_MAX];
	unsigned thread_count; /* The loop's thread's alone. */

	pthread_mutex_t lock; /* Guards what follows, and the records in the two lists. */
	pthread_cond_t work;
	struct list_node queue;
	struct list_node finished;
	struct loop_msg announcement;
	unsigned queued;
	unsigned busy; /* Threads inside a system call. */
	unsigned idle; /* Threads that wait for work. */
	bool announced;
	bool quit;
};

/* -- On a helper thread ---------------------------------------------------------------------- */

static ssize_t call_read(struct loop_op *op)
{
	return preadv(op->fd, op->iov, (int)op->iov_count, loop_op_position(op));
}

static ssize_t call_write(struct loop_op *op)
{
	return pwritev2(op->fd, op->iov, (int)op->iov_count, loop_op_position(op),
			(op->flags & LOOP_DSYNC) != 0 ? RWF_DSYNC : 0);
}

static ssize_t call_sync(struct loop_op *op)
{
	return fdatasync(op->fd);
}

static ssize_t call_discard(struct loop_op *op)
{
	return fallocate(op->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 (off_t)op->offset_bytes, (off_t)op->length_bytes);
}

static ssize_t call_zero(struct loop_op *op)
{
	return fallocate(op->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
			 (off_t)op->offset_bytes, (off_t)op->length_bytes);
}

static ssize_t call_allocate(struct loop_op *op)
{
	return fallocate(op->fd, 0, (off_t)op->offset_bytes, (off_t)op->length_bytes);
}

/* As system calls answer: -1 and errno. */
static ssize_t call_call(struct loop_op *op)
{
	int res = op->call(op);

	if (res >= 0)
		return res;
	errno = -res;
	return -1;
}

typedef ssize_t call_fn(struct loop_op *op);

static call_fn *const calls[LOOP_OP_COUNT] = {
	[LOOP_OP_CALL] = call_call,         [LOOP_OP_READ] = call_read,
	[LOOP_OP_WRITE] = call_write,       [LOOP_OP_SYNC] = call_sync,
	[LOOP_OP_ZERO] = call_zero,         [LOOP_OP_DISCARD] = call_discard,
	[LOOP_OP_ALLOCATE] = call_allocate,
};

/* True: the context has it, and the loop may have it back already. */
static bool give_to_context(struct aio_helpers *helpers, struct loop_op *op)
{
	struct iocb block;
	struct iocb *pointer = &block;

	if ((op->flags & OP_WORKER) == 0 || helpers->context == NULL)
		return false;
	if (op->kind == LOOP_OP_READ) {
		io_prep_preadv(&block, op->fd, op->iov, (int)op->iov_count, loop_op_position(op));
	} else {
		io_prep_pwritev(&block, op->fd, op->iov, (int)op->iov_count, loop_op_position(op));
	}
	block.aio_rw_flags = (op->flags & LOOP_DSYNC) != 0 ? RWF_DSYNC : 0;
	block.data = op;
	io_set_eventfd(&block, helpers->event_fd);
	atomic_fetch_add_explicit(&helpers->given, 1, memory_order_release);
	return io_submit(helpers->context, 1, &pointer) == 1;
}

static void announce(struct aio_helpers *helpers);

/* Takes one operation through its system call. Called and returns with the lock held. */
static void work_once(struct aio_helpers *helpers)
{
	struct loop_op *op = CONTAINER_OF(list_take_first(&helpers->queue), struct loop_op, link);
	ssize_t res = 0;
	bool is_given;

	helpers->queued--;
	helpers->busy++;
	(void)pthread_mutex_unlock(&helpers->lock);
	is_given = give_to_context(helpers, op);
	if (!is_given)
		res = calls[op->kind](op);
	if (res < 0)
		res = -errno;
	(void)pthread_mutex_lock(&helpers->lock);
	helpers->busy--;
	/* Left behind: the record may be gone. */
	if (is_given || helpers->quit)
		return;
	op->res = (int)res;
	list_append(&helpers->finished, &op->link);
	announce(helpers);
}

static void *helper_main(void *arg)
{
	struct aio_helpers *helpers = arg;

	(void)pthread_mutex_lock(&helpers->lock);
	while (!helpers->quit) {
		if (!list_is_empty(&helpers->queue)) {
			work_once(helpers);
			continue;
		}
		helpers->idle++;
		(void)pthread_cond_wait(&helpers->work, &helpers->lock);
		helpers->idle--;
	}
	(void)pthread_mutex_unlock(&helpers->lock);
	return NULL;
}

/* -- On the loop's thread -------------------------------------------------------------------- */

LOOP_ONLY static void on_announcement(struct loop_msg *msg)
{
	struct aio_helpers *helpers = CONTAINER_OF(msg, struct aio_helpers, announcement);
	struct list_node batch;

	list_init(&batch);
	(void)pthread_mutex_lock(&helpers->lock);
	list_splice(&batch, &helpers->finished);
	helpers->announced = false;
	(void)pthread_mutex_unlock(&helpers->lock);
	while (!list_is_empty(&batch)) {
		struct loop_op *op = CONTAINER_OF(list_take_first(&batch), struct loop_op, link);

		if (loop_op_step(op, op->res) == OP_NEXT_MORE)
			aio_helpers_carry(helpers, op);
	}
}

/* One message is enough for all that finished until the loop looks. With the lock held, so that
 * nothing is posted once aio_helpers_free has set quit. */
static void announce(struct aio_helpers *helpers)
{
	if (helpers->announced)
		return;
	helpers->announced = true;
	loop_post(helpers->loop, &helpers->announcement, on_announcement);
}

int aio_helpers_create(struct loop *loop, struct aio_helpers **out)
{
	struct aio_helpers *helpers = aligned_calloc(sizeof(*helpers));

	if (helpers == NULL)
		return -ENOMEM;
	helpers->loop = loop;
	list_init(&helpers->queue);
	list_init(&helpers->finished);
	(void)pthread_mutex_init(&helpers->lock, NULL);
	(void)pthread_cond_init(&helpers->work, NULL);
	*out = helpers;
	return 0;
}

void aio_helpers_set_context(struct aio_helpers *helpers, io_context_t context, int event_fd)
{
	helpers->context = context;
	helpers->event_fd = event_fd;
}

void aio_helpers_see_given(struct aio_helpers *helpers)
{
	(void)atomic_load_explicit(&helpers->given, memory_order_acquire);
}

void aio_helpers_free(struct aio_helpers *helpers)
{
	bool is_busy;

	(void)pthread_mutex_lock(&helpers->lock);
	helpers->quit = true;
	/* One that has just submitted what is over already will be back in a moment. */
	is_busy = helpers->busy > 0 && helpers->loop->disk_in_flight > 0;
	(void)pthread_cond_broadcast(&helpers->work);
	(void)pthread_mutex_unlock(&helpers->lock);
	for (unsigned i = 0; i < helpers->thread_count; i++) {
		if (is_busy) {
			(void)pthread_detach(helpers->threads[i]);
		} else {
			(void)pthread_join(helpers->threads[i], NULL);
		}
	}
	/* Whoever is inside a system call comes back to this memory, perhaps when the disk does. */
	if (is_busy)
		return;
	(void)pthread_cond_destroy(&helpers->work);
	(void)pthread_mutex_destroy(&helpers->lock);
	aligned_free(helpers);
}

/* One more thread. True when there is at least one. */
static bool start_thread(struct aio_helpers *helpers)
{
	static struct log_limit limit = LOG_LIMIT(1, 10000);
	unsigned index = helpers->thread_count;
	int res = thread_start(&helpers->threads[index], helper_main, helpers);

	if (res == 0) {
		helpers->thread_count++;
	} else {
		log_limited(&limit, LOG_LEVEL_ERROR, "loop",
			    "cannot start a helper thread: %s; raise RLIMIT_NPROC (LimitNPROC=) "
			    "or the cgroup's pids.max",
			    strerrordesc_np(-res));
	}
	return helpers->thread_count > 0;
}

void aio_helpers_carry(struct aio_helpers *helpers, struct loop_op *op)
{
	bool is_short;

	assert(calls[op->kind] != NULL);
	(void)pthread_mutex_lock(&helpers->lock);
	is_short = helpers->queued >= helpers->idle && helpers->thread_count < AIO_HELPERS_MAX;
	(void)pthread_mutex_unlock(&helpers->lock);
	if (is_short && !start_thread(helpers)) {
		loop_op_complete(op, -ENOMEM);
		return;
	}
	(void)pthread_mutex_lock(&helpers->lock);
	list_append(&helpers->queue, &op->link);
	helpers->queued++;
	(void)pthread_cond_signal(&helpers->work);
	(void)pthread_mutex_unlock(&helpers->lock);
}
