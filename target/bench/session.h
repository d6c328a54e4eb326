/*
 * A session during the run: keeps its queue full, answers R2Ts, checks what comes back.
 *
 * Its worker calls, over and over: bench_session_issue (as many new commands as depth and window
 * allow), bench_session_flush (one gather send of all PDUs that are due), bench_session_receive
 * (one receive, all PDUs in it). There is no allocation and no waiting in any of them. Login and
 * logout are conn.h.
 *
 * Invariants, asserted in session.c:
 *   a task is in exactly one state, and the state says on which list it is;
 *   in_flight is the number of tasks that are not TASK_FREE, never above queue_depth;
 *   the memory that a queued PDU points to does not change until the PDU is sent (TASK_LINGERING).
 *
 * Threads: a session belongs to its worker. Read next: session.c, send.c,
 * receive.c.
 */
#ifndef TARGET_BENCH_SESSION_H
#define TARGET_BENCH_SESSION_H

#include "base/list.h"
#include "target/bench/conn.h"
#include "target/bench/job.h"
#include "target/bench/place.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

/* PDUs in one gather send: three elements each stay below IOV_MAX (1024). */
#define BATCH_PDUS_MAX 256u
#define BATCH_IOV_MAX (BATCH_PDUS_MAX * BENCH_PDU_IOV_MAX)
/* Pings that wait for their answer; a target has no reason for a second one. */
#define SESSION_PONGS_MAX 4u
/* Sense data of 252 bytes (SPC-5 4.4.1) with its length, or the header in a Reject. */
#define SESSION_NOTE_BYTES 256u

enum bench_task_state {
	TASK_FREE,      /* On `free`. */
	TASK_READY,     /* On `ready`: a command or Data-Out PDU of it is to be built. */
	TASK_WAITING,   /* On no list: the target has all it asked for. */
	TASK_LINGERING, /* On `lingering`: answered, but a queued PDU still points to its buffer. */
	TASK_BACKOFF,   /* On `backoff`: refused with BUSY or TASK SET FULL, to be sent again. */
};

/* A sequence of Data-Out PDUs: unsolicited, or what one R2T asked for. */
struct bench_burst {
	uint32_t ttt;
	uint32_t offset_bytes;
	uint32_t left_bytes;
	uint32_t data_sn;
};

/* One unsolicited burst and as many as may be asked for. */
#define TASK_BURSTS_MAX (BENCH_R2T_MAX + 1u)

struct bench_task {
	struct list_node link;
	enum bench_task_state state;
	bool write;
	bool command_due;     /* TASK_READY: the command itself comes first. */
	uint8_t class_number; /* In the mix. */
	uint32_t index;       /* In session->tasks. */
	uint32_t itt;         /* index and a count of uses, so that late answers are recognised. */
	uint64_t unit;        /* The first of `units`, which are `bytes` together. */
	uint32_t units;
	uint32_t bytes;
	uint64_t start_ns;     /* When it was first issued; a retry does not change it. */
	uint64_t batch_serial; /* The last batch with a PDU of it. */
	uint32_t cmd_sn;
	uint32_t received_bytes; /* Data-In so far; it comes in order. */
	uint32_t data_in_sn;     /* The next DataSN or R2TSN: one sequence, RFC 7143 11.8.3. */
	uint32_t burst_first;
	uint32_t burst_count;
	struct bench_burst bursts[TASK_BURSTS_MAX];
	uint8_t *buffer; /* largest_bytes; only when verifying. */
};

/* What goes out with one sendmsg. */
struct bench_batch {
	uint64_t serial;
	unsigned iov_at; /* iov_at <= iov_count; equal: all is sent. */
	unsigned iov_count;
	unsigned pdu_count;
	struct bench_pdu_room rooms[BATCH_PDUS_MAX];
	struct iovec iov[BATCH_IOV_MAX];
};

struct bench_pong {
	uint64_t lun;
	uint32_t ttt;
};

struct bench_session {
	struct bench_conn conn;
	struct place place;
	struct bench_job *job;
	struct bench_counters *counters;
	/* Where latencies are counted: the worker's bank in use, [2 * class + write]. */
	struct histogram *const *histograms;
	uint32_t number; /* For messages. */

	enum bench_phase phase; /* As the worker last told. */
	uint64_t now_ns;        /* As the worker last told. */
	struct bench_task *tasks;
	uint8_t *buffers; /* All tasks' buffers in one piece; NULL when not verifying. */
	struct list_node free;
	struct list_node ready;
	struct list_node lingering;
	struct list_node backoff;
	uint32_t in_flight;
	uint32_t depth;           /* Between 1 and queue_depth: adapts to TASK SET FULL. */
	uint32_t good_since_full; /* Commands that ended well since depth last changed. */
	uint64_t retry_ns;        /* When `backoff` may be sent again. */
	uint32_t burst_left;      /* Commands until the next pause. */
	uint64_t resume_ns;       /* When the pause ends; 0: none has begun. */
	uint32_t attentions;      /* Unit attentions retried, bounded. */

	struct bench_batch batch;
	bool send_blocked; /* The socket takes nothing now. */

	struct bench_pong pongs[SESSION_PONGS_MAX];
	uint32_t pong_count;
	struct bench_task *landing; /* Whose buffer the data segment in hand goes to. */
	struct pdu_data_in data_in; /* With `landing`: the header of that segment. */
	bool drops_data;            /* Large segments that nobody looks at stay in the kernel. */
	uint8_t note[SESSION_NOTE_BYTES];
};

/* Allocates; `conn` is initialised but not yet connected. -ENOMEM. */
int MUST_CHECK bench_session_init(struct bench_session *session, struct bench_job *job,
				  uint32_t number);
/* Closes and frees. Also after a failed init. */
void bench_session_release(struct bench_session *session);

/* After login: the framer is the session's from here on. */
void bench_session_start(struct bench_session *session);
/* All tasks are free again and everything is sent: conn.h may be used again. */
bool bench_session_is_idle(const struct bench_session *session);
/* A phase begins; passes over the slice start anew. */
void bench_session_enter_phase(struct bench_session *session, enum bench_phase phase);

/* It waits for a moment to come, a retry or the end of a pause, and not for the target. */
bool bench_session_is_waiting(const struct bench_session *session);

/* True if a phase that ends by itself has ended here. */
bool bench_session_issue(struct bench_session *session);
/* 0; or negative errno with conn.error set: the session is lost. Sets send_blocked. */
int MUST_CHECK bench_session_flush(struct bench_session *session);
/* One recvmsg with `flags`. 0 also when nothing was there; negative errno: the session is lost. */
int MUST_CHECK bench_session_receive(struct bench_session *session, int flags);
/* -ETIMEDOUT if a command has waited longer than the option says; called now and then. */
int MUST_CHECK bench_session_check_age(struct bench_session *session);

/* ---- Between session.c, send.c and receive.c. ---- */

/* The one place that changes a task's state; asserts that the edge is legal and moves the task to
 * its new list. */
void bench_session_move(struct bench_session *session, struct bench_task *task,
			enum bench_task_state state);
/* The task whose tag this is and which waits for an answer, or NULL. */
struct bench_task *bench_session_find(struct bench_session *session, uint32_t itt);
/* The command ended with this status; `sense_bytes` of note hold sense data. */
void bench_session_answered(struct bench_session *session, struct bench_task *task, uint8_t status,
			    uint32_t sense_bytes);
/* The command ended, but not as it should have; counted and told. */
void bench_session_task_failed(struct bench_session *session, struct bench_task *task,
			       const char *reason);
/* All PDUs of the batch are sent. */
void bench_session_batch_sent(struct bench_session *session);
/* Unit to bytes of the LUN. */
static inline uint64_t bench_session_unit_bytes(const struct bench_session *session, uint64_t unit)
{
	const struct bench_options *options = session->job->options;

	return options->offset_bytes + unit * options->mix.unit_bytes;
}

#endif
