/*
 * Four sessions on one LUN at once, with verified data: each writes pieces of its own, interleaved
 * with those of the others, reads back pieces of all, and at the end every session reads
 * everything. A block says where it belongs, whose it is and which generation it has, so that a
 * misplaced, torn or stale block is named. Not a benchmark.
 *
 * One thread: libiscsi's asynchronous calls and poll(2).
 *
 * usage: four_sessions iscsi://HOST:PORT/TARGET/LUN OPERATIONS SEED
 */
#include <errno.h>
#include <inttypes.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	SESSIONS = 4,
	DEPTH = 16, /* Operations that a session has in flight. */
	BLOCK = 512,
	PIECE_BLOCKS = 256, /* 128 KiB: sometimes immediate data, sometimes two R2Ts. */
	PIECES = 256,       /* 32 MiB altogether. */
	POLL_MS_MAX = 20000,
};

struct block {
	uint64_t number;
	uint64_t generation;
	uint64_t owner;
	uint64_t run; /* The seed: what an earlier run left is told apart. */
	uint64_t filler[(BLOCK / 8) - 4];
};
_Static_assert(sizeof(struct block) == BLOCK, "a block is a block");

/* A piece has one owner, which alone writes it; `busy` keeps one write of it in flight. */
struct piece {
	uint64_t generation_acknowledged;
	uint64_t generation_written;
	bool busy;
};

struct session;

struct operation {
	struct session *session;
	struct piece *piece;
	uint64_t generation_least; /* A read must find this one or a later one. */
	bool is_write;
	bool running;
	unsigned char *data;
};

struct session {
	struct iscsi_context *iscsi;
	int lun;
	unsigned index;
	unsigned in_flight;
	struct operation operations[DEPTH];
};

static struct piece pieces[PIECES];
static struct session sessions[SESSIONS];
static uint64_t started, wanted, finished, final_piece[SESSIONS];
static uint64_t run_id, random_state;
static bool failed;

/* xorshift64: the order is the seed's alone. */
static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static unsigned piece_index(const struct piece *piece)
{
	return (unsigned)(piece - pieces);
}

static void fill(unsigned char *data, const struct piece *piece, uint64_t owner)
{
	struct block block;

	for (unsigned i = 0; i < PIECE_BLOCKS; i++) {
		block.number = (uint64_t)piece_index(piece) * PIECE_BLOCKS + i;
		block.generation = piece->generation_written;
		block.owner = owner;
		block.run = run_id;
		for (unsigned j = 0; j < sizeof(block.filler) / 8; j++)
			block.filler[j] = block.number * 0x9e3779b97f4a7c15u + block.generation + j;
		memcpy(data + (size_t)i * BLOCK, &block, BLOCK);
	}
}

/* Each block is wholly of one generation, not older than what was acknowledged before the read. */
static const char *block_fault(const struct block *block, uint64_t number, uint64_t least,
			       uint64_t most)
{
	if (block->run != run_id)
		return least == 0 ? NULL : "of an earlier run";
	if (block->number != number)
		return "of another place";
	if (block->owner != (number / PIECE_BLOCKS) % SESSIONS)
		return "of another owner";
	if (block->generation < least)
		return "stale";
	if (block->generation > most)
		return "never written";
	for (unsigned j = 0; j < sizeof(block->filler) / 8; j++)
		if (block->filler[j] != number * 0x9e3779b97f4a7c15u + block->generation + j)
			return "torn";
	return NULL;
}

static void verify(const struct operation *operation, const unsigned char *data, size_t bytes)
{
	const struct piece *piece = operation->piece;
	uint64_t first = (uint64_t)piece_index(piece) * PIECE_BLOCKS;
	struct block block;
	const char *fault;

	if (bytes != PIECE_BLOCKS * BLOCK) {
		printf("a read of %d bytes brought %zu\n", PIECE_BLOCKS * BLOCK, bytes);
		failed = true;
		return;
	}
	for (unsigned i = 0; i < PIECE_BLOCKS; i++) {
		memcpy(&block, data + (size_t)i * BLOCK, BLOCK);
		fault = block_fault(&block, first + i, operation->generation_least,
				    piece->generation_written);
		if (fault) {
			printf("session %u: block %" PRIu64 " is %s: number %" PRIu64
			       " owner %" PRIu64 " generation %" PRIu64 ", expected %" PRIu64
			       " at least\n",
			       operation->session->index, first + i, fault, block.number,
			       block.owner, block.generation, operation->generation_least);
			failed = true;
			return;
		}
	}
}

static void on_done(struct iscsi_context *iscsi, int status, void *command_data, void *private_data)
{
	struct operation *operation = private_data;
	struct scsi_task *task = command_data;

	if (status == SCSI_STATUS_CANCELLED) {
		failed = true;
	} else if (status != SCSI_STATUS_GOOD) {
		printf("session %u: %s of piece %u ended in status %d: %s\n",
		       operation->session->index, operation->is_write ? "write" : "read",
		       piece_index(operation->piece), status, iscsi_get_error(iscsi));
		failed = true;
	} else if (operation->is_write) {
		operation->piece->generation_acknowledged = operation->piece->generation_written;
	} else {
		verify(operation, task->datain.data, (size_t)task->datain.size);
	}
	if (operation->is_write)
		operation->piece->busy = false;
	if (task)
		scsi_free_scsi_task(task);
	operation->running = false;
	operation->session->in_flight--;
	finished++;
}

static void submit(struct operation *operation)
{
	struct session *session = operation->session;
	uint64_t lba = (uint64_t)piece_index(operation->piece) * PIECE_BLOCKS;
	struct scsi_task *task;

	if (operation->is_write) {
		operation->piece->busy = true;
		operation->piece->generation_written++;
		fill(operation->data, operation->piece, session->index);
		task = iscsi_write16_task(session->iscsi, session->lun, lba, operation->data,
					  PIECE_BLOCKS * BLOCK, BLOCK, 0, 0, 0, 0, 0, on_done,
					  operation);
	} else {
		operation->generation_least = operation->piece->generation_acknowledged;
		task = iscsi_read16_task(session->iscsi, session->lun, lba, PIECE_BLOCKS * BLOCK,
					 BLOCK, 0, 0, 0, 0, 0, on_done, operation);
	}
	if (!task) {
		printf("session %u: no task: %s\n", session->index,
		       iscsi_get_error(session->iscsi));
		exit(1);
	}
	operation->running = true;
	session->in_flight++;
	started++;
}

/* The next thing for a session to do, at random: two writes of its own pieces to one read of any.
 */
static void start_random(struct operation *operation)
{
	unsigned index = (unsigned)(random_next() % PIECES);

	operation->is_write = random_next() % 3 != 0;
	if (operation->is_write)
		index = index - index % SESSIONS + operation->session->index;
	operation->piece = &pieces[index];
	if (operation->is_write && operation->piece->busy)
		operation->is_write = false;
	submit(operation);
}

/* The last lap: every session reads every piece. */
static bool start_final(struct operation *operation)
{
	uint64_t next = final_piece[operation->session->index];

	if (next == PIECES)
		return false;
	final_piece[operation->session->index]++;
	operation->is_write = false;
	operation->piece = &pieces[next];
	submit(operation);
	return true;
}

static void fill_pipe(struct session *session, bool last_lap)
{
	for (unsigned i = 0; i < DEPTH; i++) {
		if (session->operations[i].running)
			continue;
		if (!last_lap && started < wanted)
			start_random(&session->operations[i]);
		else if (last_lap && !start_final(&session->operations[i]))
			return;
	}
}

static unsigned in_flight(void)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < SESSIONS; i++)
		sum += sessions[i].in_flight;
	return sum;
}

static void serve_all(void)
{
	struct pollfd fds[SESSIONS];
	int ready;

	for (unsigned i = 0; i < SESSIONS; i++) {
		fds[i].fd = iscsi_get_fd(sessions[i].iscsi);
		fds[i].events = (short)iscsi_which_events(sessions[i].iscsi);
		fds[i].revents = 0;
	}
	ready = poll(fds, SESSIONS, POLL_MS_MAX);
	if (ready == 0) {
		printf("nothing happened for %d ms with %u operations in flight\n", POLL_MS_MAX,
		       in_flight());
		exit(1);
	}
	if (ready < 0 && errno != EINTR)
		exit(1);
	for (unsigned i = 0; i < SESSIONS; i++) {
		if (fds[i].revents && iscsi_service(sessions[i].iscsi, fds[i].revents) != 0) {
			printf("session %u: %s\n", i, iscsi_get_error(sessions[i].iscsi));
			exit(1);
		}
	}
}

static void run(bool last_lap)
{
	while (!failed) {
		for (unsigned i = 0; i < SESSIONS; i++)
			fill_pipe(&sessions[i], last_lap);
		if (in_flight() == 0)
			return;
		serve_all();
	}
}

static void connect_session(struct session *session, const char *text)
{
	char name[64];
	struct iscsi_url *url;

	snprintf(name, sizeof(name), "iqn.2026-11.io.ringsan:host-%u", session->index);
	session->iscsi = iscsi_create_context(name);
	url = session->iscsi ? iscsi_parse_full_url(session->iscsi, text) : NULL;
	if (!url) {
		printf("not a URL: %s\n", text);
		exit(2);
	}
	iscsi_set_targetname(session->iscsi, url->target);
	iscsi_set_session_type(session->iscsi, ISCSI_SESSION_NORMAL);
	iscsi_set_noautoreconnect(session->iscsi, 1);
	session->lun = url->lun;
	if (iscsi_full_connect_sync(session->iscsi, url->portal, url->lun) != 0) {
		printf("session %u: %s\n", session->index, iscsi_get_error(session->iscsi));
		exit(1);
	}
	iscsi_destroy_url(url);
	for (unsigned i = 0; i < DEPTH; i++) {
		session->operations[i].session = session;
		session->operations[i].data = malloc(PIECE_BLOCKS * BLOCK);
		if (!session->operations[i].data)
			exit(1);
	}
}

static void end_session(struct session *session)
{
	if (!failed && iscsi_logout_sync(session->iscsi) != 0)
		failed = true;
	iscsi_destroy_context(session->iscsi);
	for (unsigned i = 0; i < DEPTH; i++)
		free(session->operations[i].data);
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: four_sessions URL OPERATIONS SEED\n");
		return 2;
	}
	wanted = strtoull(argv[2], NULL, 10);
	run_id = strtoull(argv[3], NULL, 10);
	random_state = run_id | 1;
	printf("seed %s\n", argv[3]);
	for (unsigned i = 0; i < SESSIONS; i++) {
		sessions[i].index = i;
		connect_session(&sessions[i], argv[1]);
	}
	run(false);
	if (!failed)
		run(true);
	for (unsigned i = 0; i < SESSIONS; i++)
		end_session(&sessions[i]);
	printf("%" PRIu64 " operations\n", finished);
	return failed || finished != wanted + (uint64_t)SESSIONS * PIECES;
}
