/*
 * Everything that loops share, at once, under ThreadSanitizer: tokens that hop between loops, a
 * snapshot that is swapped and freed under its readers, rounds with late acknowledgements, sockets
 * between loops, disk reads (helper threads, in the aio engine), buffers. On both engines, for a
 * bounded time; then every actor has to come home. Not a benchmark.
 *
 * usage: base_loop [seed]. Exit 0 and a line for each engine, or an assertion.
 */
#include "base/group.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOPS 3u
#define READERS 4u /* Of each loop: as many as there are helper threads. */
#define TOKENS 16u
#define RUN_MS 1500u
#define PATIENCE_MS 60000u /* Sanitizers on a busy machine are slow, but not for ever. */
#define FILE_BYTES 65536u
#define PIECE_BYTES 20000u

struct snapshot {
	uint64_t value;
	uint64_t inverse;
};

struct stage;

/* What all actors are: something that reports to the control loop when it has ended. */
struct actor {
	struct loop_msg home;
	struct stage *stage;
	struct loop *loop;
	uint32_t seed;
};

struct token {
	struct actor actor;
	struct loop_msg hop;
	uint64_t hops;
};

struct reader {
	struct actor actor;
	struct loop_msg start;
	struct loop_op op;
	struct iovec iov;
	uint64_t offset_bytes;
	uint8_t *buffer;
	uint64_t reads;
};

/* One end of a socket pair; a sender or a receiver. */
struct talker {
	struct actor actor;
	struct loop_msg start;
	struct loop_op op;
	struct iovec iov[2];
	uint8_t bytes[PIECE_BYTES];
	uint64_t moved_bytes;
	int fd;
};

/* Each loop's own. */
struct delay {
	struct loop_timer timer;
	struct loop_round *round;
	uint64_t visits;
};

struct circuit {
	struct actor actor;
	struct loop_round round;
	struct delay delays[LOOPS];
	uint64_t rounds;
};

struct swapper {
	struct actor actor;
	struct published_swap swap;
	uint64_t swaps;
};

struct stage {
	struct loop *control;
	struct loop_group group;
	struct published current;
	atomic_bool ending;
	unsigned away; /* The control loop's. */
	int file_fd;
	struct loop_timer end_timer;
	struct loop_timer patience;
	struct token tokens[TOKENS];
	struct reader readers[LOOPS * READERS];
	struct talker senders[LOOPS];
	struct talker receivers[LOOPS];
	struct circuit circuit;
	struct swapper swapper;
};

static uint32_t random_below(struct actor *actor, uint32_t limit)
{
	actor->seed = actor->seed * 1664525 + 1013904223;
	return (actor->seed >> 8) % limit;
}

static bool is_ending(const struct actor *actor)
{
	return atomic_load_explicit(&actor->stage->ending, memory_order_relaxed);
}

static void on_home(struct loop_msg *msg)
{
	struct stage *stage = CONTAINER_OF(msg, struct actor, home)->stage;

	if (--stage->away == 0)
		loop_stop(stage->control);
}

static void go_home(struct actor *actor)
{
	loop_post(actor->stage->control, &actor->home, on_home);
}

/* -- Tokens: messages, the snapshot, buffers ------------------------------------------------- */

static void check_snapshot(const struct stage *stage)
{
	const struct snapshot *snapshot = published_load(&stage->current);

	assert(snapshot->value == ~snapshot->inverse);
}

LOOP_ONLY static void use_buffer(struct loop *loop)
{
	uint32_t *buffer = loop_buffer_acquire(loop);

	if (buffer == NULL)
		return;
	*buffer = loop_buffer_index(loop, buffer);
	loop_buffer_release(loop, buffer);
}

LOOP_ONLY static void on_hop(struct loop_msg *msg)
{
	struct token *token = CONTAINER_OF(msg, struct token, hop);
	struct stage *stage = token->actor.stage;

	assert(loop_is_current(token->actor.loop));
	token->hops++;
	check_snapshot(stage);
	use_buffer(token->actor.loop);
	if (is_ending(&token->actor)) {
		go_home(&token->actor);
		return;
	}
	token->actor.loop = stage->group.loops[random_below(&token->actor, LOOPS)];
	loop_post(token->actor.loop, msg, on_hop);
}

/* -- Readers: disk operations ---------------------------------------------------------------- */

LOOP_ONLY static void on_read(struct loop_op *op, int res);

LOOP_ONLY static void read_somewhere(struct reader *reader)
{
	struct loop_rw rw = {
		.fd = reader->actor.stage->file_fd, .iov = &reader->iov, .iov_count = 1};

	reader->offset_bytes = random_below(&reader->actor, FILE_BYTES / 512) * 512;
	rw.offset_bytes = reader->offset_bytes;
	reader->iov = (struct iovec){reader->buffer, 4096};
	loop_read(reader->actor.loop, &reader->op, &rw, on_read);
}

LOOP_ONLY static void on_read(struct loop_op *op, int res)
{
	struct reader *reader = CONTAINER_OF(op, struct reader, op);

	assert(res > 0 && res % 512 == 0);
	for (int i = 0; i < res; i++)
		assert(reader->buffer[i] == (uint8_t)((reader->offset_bytes + (uint64_t)i) >> 9));
	reader->reads++;
	if (!is_ending(&reader->actor)) {
		read_somewhere(reader);
		return;
	}
	loop_buffer_release(reader->actor.loop, reader->buffer);
	go_home(&reader->actor);
}

LOOP_ONLY static void on_start_reader(struct loop_msg *msg)
{
	struct reader *reader = CONTAINER_OF(msg, struct reader, start);

	reader->buffer = loop_buffer_acquire(reader->actor.loop);
	assert(reader->buffer != NULL);
	read_somewhere(reader);
}

/* -- Talkers: a stream of counted bytes from each loop to the next ---------------------------- */

LOOP_ONLY static void end_talker(struct talker *talker)
{
	loop_forget_fd(talker->actor.loop, talker->fd);
	(void)close(talker->fd);
	go_home(&talker->actor);
}

LOOP_ONLY static void on_sent(struct loop_op *op, int res);

LOOP_ONLY static void send_piece(struct talker *talker)
{
	uint32_t count = 1 + random_below(&talker->actor, PIECE_BYTES);
	uint32_t first = count / 3;

	for (uint32_t i = 0; i < count; i++)
		talker->bytes[i] = (uint8_t)(talker->moved_bytes + i);
	talker->iov[0] = (struct iovec){talker->bytes, first};
	talker->iov[1] = (struct iovec){talker->bytes + first, count - first};
	loop_send(talker->actor.loop, &talker->op, talker->fd, talker->iov, 2, on_sent);
}

LOOP_ONLY static void on_sent(struct loop_op *op, int res)
{
	struct talker *talker = CONTAINER_OF(op, struct talker, op);

	assert(res > 0);
	talker->moved_bytes += (uint64_t)res;
	if (is_ending(&talker->actor))
		end_talker(talker);
	else
		send_piece(talker);
}

LOOP_ONLY static void on_start_sender(struct loop_msg *msg)
{
	send_piece(CONTAINER_OF(msg, struct talker, start));
}

LOOP_ONLY static void on_received(struct loop_op *op, int res);

LOOP_ONLY static void receive_piece(struct talker *talker)
{
	talker->iov[0] = (struct iovec){talker->bytes, 100};
	talker->iov[1] = (struct iovec){talker->bytes + 100, PIECE_BYTES - 100};
	loop_recv(talker->actor.loop, &talker->op, talker->fd, talker->iov, 2, on_received);
}

LOOP_ONLY static void on_received(struct loop_op *op, int res)
{
	struct talker *talker = CONTAINER_OF(op, struct talker, op);

	assert(res >= 0);
	for (int i = 0; i < res; i++)
		assert(talker->bytes[i] == (uint8_t)(talker->moved_bytes + (uint64_t)i));
	talker->moved_bytes += (uint64_t)res;
	if (res == 0)
		end_talker(talker);
	else
		receive_piece(talker);
}

LOOP_ONLY static void on_start_receiver(struct loop_msg *msg)
{
	receive_piece(CONTAINER_OF(msg, struct talker, start));
}

/* -- Circuit: rounds, some acknowledged late ------------------------------------------------- */

LOOP_ONLY static void on_late(struct loop_timer *timer)
{
	loop_round_ack(CONTAINER_OF(timer, struct delay, timer)->round);
}

LOOP_ONLY static bool on_visit(struct loop_round *round, struct loop *loop)
{
	struct circuit *circuit = CONTAINER_OF(round, struct circuit, round);
	struct delay *delay = &circuit->delays[loop_index(loop)];

	delay->visits++;
	if (delay->visits % 4 != loop_index(loop))
		return true;
	delay->round = round;
	loop_timer_start(loop, &delay->timer, delay->visits % 3, on_late);
	return false;
}

static void on_round_done(struct loop_round *round)
{
	struct circuit *circuit = CONTAINER_OF(round, struct circuit, round);
	struct stage *stage = circuit->actor.stage;

	circuit->rounds++;
	/* No loop may have been left out, and each is quiescent: plain reads. */
	for (unsigned i = 0; i < LOOPS; i++)
		assert(circuit->delays[i].visits == circuit->rounds);
	if (is_ending(&circuit->actor))
		go_home(&circuit->actor);
	else
		loop_round_start(round, &stage->group, stage->control, on_visit, on_round_done);
}

/* -- Swapper: a snapshot is freed as soon as its round ended ---------------------------------- */

static struct snapshot *snapshot_make(uint64_t value)
{
	struct snapshot *snapshot = malloc(sizeof(*snapshot));

	assert(snapshot != NULL);
	*snapshot = (struct snapshot){value, ~value};
	return snapshot;
}

static void snapshot_free(const void *snapshot)
{
	struct snapshot *mine = (struct snapshot *)(uintptr_t)snapshot;

	*mine = (struct snapshot){1, 1}; /* Whoever still looks fails its check. */
	free(mine);
}

static void on_retired(struct published_swap *swap, const void *old);

static void swap_once(struct swapper *swapper)
{
	struct stage *stage = swapper->actor.stage;

	swapper->swaps++;
	published_swap(&stage->current, snapshot_make(swapper->swaps), &swapper->swap,
		       &stage->group, stage->control, on_retired);
}

static void on_retired(struct published_swap *swap, const void *old)
{
	struct swapper *swapper = CONTAINER_OF(swap, struct swapper, swap);

	snapshot_free(old);
	if (is_ending(&swapper->actor))
		go_home(&swapper->actor);
	else
		swap_once(swapper);
}

/* -- The stage ------------------------------------------------------------------------------- */

static void on_end_time(struct loop_timer *timer)
{
	atomic_store(&CONTAINER_OF(timer, struct stage, end_timer)->ending, true);
}

static void on_patience_lost(struct loop_timer *timer)
{
	(void)fprintf(stderr, "%u actors did not come home\n",
		      CONTAINER_OF(timer, struct stage, patience)->away);
	abort();
}

static struct loop *make_loop(const char *name, enum loop_engine engine, unsigned index)
{
	struct loop_config config = {.name = name,
				     .engine = engine,
				     .index = index,
				     .ring_entries = 64,
				     .buffer_count = READERS + 1};
	struct loop *loop;
	int res = loop_create(&config, &loop);

	assert(res == 0);
	return loop;
}

static int make_file(void)
{
	char path[] = "/dev/shm/ringsan-stress-XXXXXX";
	static uint8_t bytes[FILE_BYTES];
	int fd = mkostemp(path, O_CLOEXEC);
	ssize_t written;

	assert(fd >= 0);
	(void)unlink(path);
	for (unsigned i = 0; i < FILE_BYTES; i++)
		bytes[i] = (uint8_t)(i >> 9);
	written = write(fd, bytes, FILE_BYTES);
	assert(written == FILE_BYTES);
	return fd;
}

static void enter(struct stage *stage, struct actor *actor, struct loop *loop, uint32_t *seed)
{
	*actor = (struct actor){.stage = stage, .loop = loop, .seed = *seed};
	*seed += 77777;
	stage->away++;
}

static void start_talkers(struct stage *stage, unsigned i, uint32_t *seed)
{
	struct loop *loop = stage->group.loops[i];
	struct loop *next = stage->group.loops[(i + 1) % LOOPS];
	int fds[2];
	int res = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds);

	assert(res == 0);
	enter(stage, &stage->senders[i].actor, loop, seed);
	enter(stage, &stage->receivers[i].actor, next, seed);
	stage->senders[i].fd = fds[0];
	stage->receivers[i].fd = fds[1];
	loop_post(loop, &stage->senders[i].start, on_start_sender);
	loop_post(next, &stage->receivers[i].start, on_start_receiver);
}

static void start_readers(struct stage *stage, uint32_t *seed)
{
	for (unsigned i = 0; i < LOOPS * READERS; i++) {
		struct reader *reader = &stage->readers[i];

		enter(stage, &reader->actor, stage->group.loops[i % LOOPS], seed);
		loop_post(reader->actor.loop, &reader->start, on_start_reader);
	}
}

static void start_actors(struct stage *stage, uint32_t seed)
{
	for (unsigned i = 0; i < LOOPS; i++)
		start_talkers(stage, i, &seed);
	start_readers(stage, &seed);
	for (unsigned i = 0; i < TOKENS; i++) {
		struct token *token = &stage->tokens[i];

		enter(stage, &token->actor, stage->group.loops[i % LOOPS], &seed);
		loop_post(token->actor.loop, &token->hop, on_hop);
	}
	enter(stage, &stage->circuit.actor, stage->control, &seed);
	loop_round_start(&stage->circuit.round, &stage->group, stage->control, on_visit,
			 on_round_done);
	enter(stage, &stage->swapper.actor, stage->control, &seed);
	swap_once(&stage->swapper);
}

static void end_stage(struct stage *stage, const char *engine_name)
{
	uint64_t hops = 0;
	uint64_t reads = 0;

	for (unsigned i = 0; i < LOOPS; i++) {
		loop_stop(stage->group.loops[i]);
		loop_join(stage->group.loops[i]);
		assert(stage->senders[i].moved_bytes == stage->receivers[i].moved_bytes);
		loop_free(stage->group.loops[i], false);
	}
	for (unsigned i = 0; i < LOOPS * READERS; i++)
		reads += stage->readers[i].reads;
	for (unsigned i = 0; i < TOKENS; i++)
		hops += stage->tokens[i].hops;
	loop_free(stage->control, false);
	snapshot_free(published_load(&stage->current));
	(void)close(stage->file_fd);
	(void)printf("%s: %lu hops, %lu reads, %lu rounds, %lu swaps\n", engine_name,
		     (unsigned long)hops, (unsigned long)reads,
		     (unsigned long)stage->circuit.rounds, (unsigned long)stage->swapper.swaps);
}

/* False: the engine is refused here. */
static bool start_loops(struct stage *stage, enum loop_engine engine)
{
	stage->control = make_loop("control", engine, LOOPS);
	stage->group.count = LOOPS;
	for (unsigned i = 0; i < LOOPS; i++) {
		stage->group.loops[i] = make_loop("data", engine, i);
		if (loop_start(stage->group.loops[i]) != 0)
			return false;
	}
	return true;
}

static void play(enum loop_engine engine, const char *engine_name, uint32_t seed)
{
	struct stage *stage = calloc(1, sizeof(*stage));
	int res;

	loop_role_assume();
	assert(stage != NULL);
	if (!start_loops(stage, engine)) {
		(void)printf("%s: skipped, it is refused here\n", engine_name);
		return;
	}
	stage->file_fd = make_file();
	atomic_init(&stage->current.current, snapshot_make(0));
	loop_timer_start(stage->control, &stage->end_timer, RUN_MS, on_end_time);
	loop_timer_start(stage->control, &stage->patience, PATIENCE_MS, on_patience_lost);
	start_actors(stage, seed);
	res = loop_run(stage->control);
	assert(res == 0);
	end_stage(stage, engine_name);
	free(stage);
}

int main(int argc, char **argv)
{
	uint32_t seed = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 0) : (uint32_t)getpid();

	(void)printf("seed %u\n", seed);
	play(LOOP_ENGINE_URING, "uring", seed);
	play(LOOP_ENGINE_AIO, "aio", seed);
	return 0;
}
