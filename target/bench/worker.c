/*
 * The thread of a worker: opens its sessions, serves them as their sockets have something, looks at
 * all of them on every tick, and closes them. It decides nothing about phases (run.c).
 *
 * With one session it sleeps in the receive itself, which saves a call per turn; with several, in
 * epoll. Read next: worker.h, session.h.
 */
#include "target/bench/worker.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

/* All sessions are looked at this often: for a change of phase and for aged commands. */
#define TICK_MS 20
/* While a refused command waits, or a pause between bursts ends. */
#define TICK_HURRY_MS 1
/* Sockets served between two looks at the phase. */
#define EVENTS_MAX 64

static int lose(struct bench_worker *worker, struct bench_session *session, int err)
{
	bench_complain(worker->job, "session %u: %s", session->number, session->conn.error);
	worker->lost = true;
	return err;
}

/* ---- Opening and closing ---- */

static int watch(struct bench_worker *worker, struct bench_session *session, uint32_t events,
		 int how)
{
	struct epoll_event event = {.events = events, .data.ptr = session};

	if (worker->epoll_fd < 0)
		return 0;
	if (epoll_ctl(worker->epoll_fd, how, session->conn.fd, &event) == 0)
		return 0;
	return bench_conn_fail(&session->conn, -errno, "cannot watch the socket: %s",
			       strerrordesc_np(errno));
}

static int open_session(struct bench_worker *worker, struct bench_session *session)
{
	const struct timeval tick = {.tv_usec = TICK_MS * 1000L};
	int err = bench_conn_connect(&session->conn);

	if (!err)
		err = bench_conn_login(&session->conn);
	if (!err)
		err = bench_conn_wait_ready(&session->conn);
	if (err)
		return err;
	/* A single session sleeps in its receive, but not over a change of phase. */
	(void)setsockopt(session->conn.fd, SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof(tick));
	bench_session_start(session);
	return watch(worker, session, EPOLLIN, EPOLL_CTL_ADD);
}

static int open_sessions(struct bench_worker *worker)
{
	for (uint32_t i = 0; i < worker->session_count; i++) {
		int err = open_session(worker, &worker->sessions[i]);

		if (err)
			return lose(worker, &worker->sessions[i], err);
	}
	return 0;
}

static void close_sessions(struct bench_worker *worker)
{
	for (uint32_t i = 0; i < worker->session_count; i++) {
		struct bench_session *session = &worker->sessions[i];

		if (!worker->lost && bench_session_is_idle(session) &&
		    framer_is_between_pdus(&session->conn.framer))
			bench_conn_logout(&session->conn);
	}
}

/* ---- Serving ---- */

/* Issue and send what may be sent. *ended stays true if the phase has ended here. */
static int serve(struct bench_worker *worker, struct bench_session *session, bool *ended)
{
	bool was_blocked = session->send_blocked;
	int err;

	session->now_ns = clock_now_ns();
	*ended &= bench_session_issue(session);
	err = bench_session_flush(session);
	worker->hurry |= bench_session_is_waiting(session);
	if (!err && session->send_blocked != was_blocked) {
		err = watch(worker, session, session->send_blocked ? EPOLLIN | EPOLLOUT : EPOLLIN,
			    EPOLL_CTL_MOD);
	}
	return err;
}

static int receive_and_serve(struct bench_worker *worker, struct bench_session *session, int flags)
{
	bool ended = false;
	int err = bench_session_receive(session, flags);

	if (!err)
		err = serve(worker, session, &ended);
	return err ? lose(worker, session, err) : 0;
}

/* From here on latencies are counted into the other bank. */
static void follow_bank(struct bench_worker *worker, uint32_t number)
{
	uint64_t now_ns = clock_now_ns();
	uint32_t last = atomic_load_explicit(&worker->bank, memory_order_relaxed);

	worker->bank_ended_ns[last % 2] = now_ns;
	worker->bank_began_ns[number % 2] = now_ns;
	worker->histograms = worker->banks[number % 2];
	atomic_store_explicit(&worker->bank, number, memory_order_release);
}

static void enter_phase(struct bench_worker *worker, enum bench_phase phase)
{
	worker->phase = phase;
	worker->arrived = false;
	if (phase == PHASE_MEASURE)
		worker->bank_began_ns[worker->bank % 2] = clock_now_ns();
	for (uint32_t i = 0; i < worker->session_count; i++)
		bench_session_enter_phase(&worker->sessions[i], phase);
}

/* Tell once that a phase which ends by itself has ended for all sessions of this worker. */
static void arrive(struct bench_worker *worker)
{
	if (worker->arrived)
		return;
	worker->arrived = true;
	atomic_fetch_add(&worker->job->arrived, 1);
}

static int look_at_all(struct bench_worker *worker)
{
	bool ended = true;

	worker->hurry = false;
	for (uint32_t i = 0; i < worker->session_count; i++) {
		struct bench_session *session = &worker->sessions[i];
		int err = serve(worker, session, &ended);

		if (!err)
			err = bench_session_check_age(session);
		if (err)
			return lose(worker, session, err);
	}
	if (ended)
		arrive(worker);
	return 0;
}

static int wait_for_one(struct bench_worker *worker, int timeout_ms)
{
	struct bench_session *session = &worker->sessions[0];
	struct pollfd ready = {.fd = session->conn.fd, .events = POLLIN};
	int flags = 0;

	/* A plain receive sleeps until data comes, or for a whole tick. */
	if (session->send_blocked || timeout_ms < TICK_MS) {
		if (session->send_blocked)
			ready.events |= POLLOUT;
		(void)poll(&ready, 1, timeout_ms);
		flags = MSG_DONTWAIT;
	}
	return receive_and_serve(worker, session, flags);
}

static int wait_for_many(struct bench_worker *worker, int timeout_ms)
{
	struct epoll_event events[EVENTS_MAX];
	int count = epoll_wait(worker->epoll_fd, events, EVENTS_MAX, timeout_ms);

	for (int i = 0; i < count; i++) {
		int err = receive_and_serve(worker, events[i].data.ptr, MSG_DONTWAIT);

		if (err)
			return err;
	}
	return 0;
}

static void run_phases(struct bench_worker *worker)
{
	int err = 0;

	while (!err) {
		/* In this order: a new bank is never seen with the phase before it. */
		uint32_t bank = atomic_load(&worker->job->bank);
		enum bench_phase phase = (enum bench_phase)atomic_load(&worker->job->phase);
		int timeout_ms = worker->hurry ? TICK_HURRY_MS : TICK_MS;
		uint64_t now_ns = clock_now_ns();
		bool changed = phase != worker->phase;

		if (changed)
			enter_phase(worker, phase);
		if (bank != worker->bank)
			follow_bank(worker, bank);
		if (phase == PHASE_END)
			return;
		if (changed || now_ns - worker->tick_ns >= (unsigned)timeout_ms * CLOCK_NS_PER_MS) {
			worker->tick_ns = now_ns;
			err = look_at_all(worker);
			timeout_ms = worker->hurry ? TICK_HURRY_MS : TICK_MS;
		}
		if (!err) {
			err = worker->epoll_fd < 0 ? wait_for_one(worker, timeout_ms)
						   : wait_for_many(worker, timeout_ms);
		}
	}
}

static void pin(const struct bench_worker *worker)
{
	cpu_set_t set;

	if (worker->cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET((unsigned)worker->cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) != 0) {
		bench_complain(worker->job, "cannot run on CPU %d: %s", worker->cpu,
			       strerrordesc_np(errno));
	}
}

static void *worker_main(void *arg)
{
	struct bench_worker *worker = arg;

	pin(worker);
	if (!open_sessions(worker)) {
		arrive(worker);
		run_phases(worker);
	}
	if (worker->lost)
		atomic_fetch_add(&worker->job->lost, 1);
	close_sessions(worker);
	return NULL;
}

/* ---- Life ---- */

static int init_sessions(struct bench_worker *worker)
{
	worker->sessions = calloc(worker->session_count, sizeof(*worker->sessions));
	if (!worker->sessions)
		return -ENOMEM;
	for (uint32_t i = 0; i < worker->session_count; i++)
		worker->sessions[i].conn.fd = -1;
	for (uint32_t i = 0; i < worker->session_count; i++) {
		struct bench_session *session = &worker->sessions[i];
		int err = bench_session_init(session, worker->job, worker->first_number + i);

		if (err)
			return err;
		session->counters = &worker->counters;
		session->histograms = &worker->histograms;
	}
	return 0;
}

static int init_banks(struct bench_worker *worker)
{
	unsigned count = 2 * worker->job->options->mix.count;

	for (unsigned i = 0; i < 2; i++) {
		worker->banks[i] = calloc(count, sizeof(*worker->banks[i]));
		if (!worker->banks[i])
			return -ENOMEM;
	}
	worker->histograms = worker->banks[0];
	return 0;
}

int bench_worker_start(struct bench_worker *worker)
{
	int err;

	worker->epoll_fd = -1;
	err = init_banks(worker);
	if (!err)
		err = init_sessions(worker);
	if (!err && worker->session_count > 1) {
		worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
		err = worker->epoll_fd < 0 ? -errno : 0;
	}
	if (!err)
		err = -pthread_create(&worker->thread, NULL, worker_main, worker);
	if (err) {
		bench_complain(worker->job, "cannot start a worker: %s", strerrordesc_np(-err));
		bench_worker_release(worker);
	}
	return err;
}

bool bench_worker_follows(struct bench_worker *worker, uint32_t number)
{
	return atomic_load_explicit(&worker->bank, memory_order_acquire) == number;
}

void bench_worker_join(struct bench_worker *worker)
{
	(void)pthread_join(worker->thread, NULL);
}

void bench_worker_release(struct bench_worker *worker)
{
	for (uint32_t i = 0; worker->sessions && i < worker->session_count; i++)
		bench_session_release(&worker->sessions[i]);
	free(worker->sessions);
	worker->sessions = NULL;
	for (unsigned i = 0; i < 2; i++) {
		free(worker->banks[i]);
		worker->banks[i] = NULL;
	}
	if (worker->epoll_fd >= 0)
		(void)close(worker->epoll_fd);
	worker->epoll_fd = -1;
}
