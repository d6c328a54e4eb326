/*
 * Inside a session: its connection, its command window, and the per-loop context. For the files of
 * the full feature phase only; others use session.h.
 *
 * The data path, file by file: rx.c (receive, judge by opcode_table, dispatch by request_table.c),
 * command.c (SCSI Command, CmdSN order), task.c (stages), write.c (R2T, Data-Out), read.c
 * (Data-In), tx.c (send). Beside it: tmf.c, nop.c, text_exchange.c, logout.c, reply.c, watch.c
 * (deadlines).
 */
#ifndef TARGET_ISCSI_CONN_H
#define TARGET_ISCSI_CONN_H

#include "base/log.h"
#include "base/pool.h"
#include "target/iscsi/discovery.h"
#include "target/iscsi/frame.h"
#include "target/iscsi/session.h"
#include "target/iscsi/task.h"
#include "target/iscsi/tx.h"
#include "target/net/address.h"
#include "target/scsi/lun_change.h"

/* PDUs of our own making (NOP-In, Reject, responses other than SCSI) a session has at once. */
#define CONN_REPLIES_MAX 8u
/* Data that a reply carries without a loop buffer: a Reject's header, the ping data in use. */
#define REPLY_DATA_BYTES 512u
/* A text request collected over C bits, and an answer to one. */
#define TEXT_BYTES_MAX 16384u
/* The loop's receive area: one receive takes many small PDUs. */
#define LOOP_RECEIVE_BYTES (256u * 1024u)
/* What all connections of a loop may have left over in memory of their own while they are paused.
 * It takes peers that flood us and read no answers; those that have for longest make room (rx.c).
 */
#define LOOP_LEFT_OVER_BYTES_MAX (16u * LOOP_RECEIVE_BYTES)
/* Read data in the send queue, above which reads wait (DESIGN.md 5). What a disk has not delivered
 * does not count: a stuck one must not hold up the others' reads. */
#define CONN_READ_BYTES_MAX (1024u * 1024u)
/* Buffers one session may hold beyond its floor: bounds what one peer can make us keep for it. One
 * LUN has at most three quarters of them. */
#define SESSION_WINDOWS_MAX 256u
#define SESSION_LUN_WINDOWS_MAX (SESSION_WINDOWS_MAX - SESSION_WINDOWS_MAX / 4u)
/* Buckets of tasks by initiator task tag. A power of two. */
#define SESSION_TAG_BUCKETS 64u
/* Task slots that are a session's own. */
#define SESSION_SLOTS_FLOOR ISCSI_FLOOR_TASKS
/* Slots kept from sessions: for tasks that were aborted and that a disk still holds. */
#define LOOP_SLOTS_RESERVE 256u
/* What LUNs hold is counted by the low bits of their numbers. A power of two. */
#define SESSION_LUN_BUCKETS 256u

enum conn_state {
	CONN_RUNNING,
	CONN_LEAVING, /* The last PDU is on its way; nothing more is received. */
	CONN_CLOSING, /* Shut down; waits for the kernel to give back receive and send. */
	CONN_CLOSED,
};

/* A PDU of our own: header made beforehand, and where its data stand. */
struct reply {
	struct tx_item tx;
	struct list_node link; /* conn->replies while free. */
	enum tx_stat_sn stat_sn;
	uint32_t data_len_bytes;
	const uint8_t *payload; /* `data`, `buffer`, or what stays until on_sent. */
	uint8_t *buffer;        /* A loop buffer given back after sending, or NULL. */
	void (*on_sent)(struct conn *conn);
	uint8_t bhs[PDU_BHS_BYTES];
	uint8_t data[REPLY_DATA_BYTES];
};

/* Does this CmdSN come in order? */
enum cmd_sn_verdict {
	CMD_SN_DUE,
	CMD_SN_EARLY,   /* Inside the window, a predecessor is missing. */
	CMD_SN_OUTSIDE, /* RFC 7143 4.2.2.1: ignore silently. */
};

/* The PDU that is being received. */
struct rx_current {
	const struct request_row *row;
	const char *why; /* Not NULL: it will be rejected. */
	uint8_t reject_reason;
	bool ignored;               /* Read and dropped without a word. */
	enum cmd_sn_verdict cmd_sn; /* Of a PDU that carries one and is not immediate. */
	bool takes_cmd_sn;          /* At its end ExpCmdSN goes on. */
	struct task *task;          /* Whose data are landing. */
	struct task_r2t *r2t;       /* Which asked for them, or NULL. */
	uint32_t offset_bytes;
	bool trash; /* The data are not wanted. */
	struct reply *reply;
};

/* A text exchange that spans several requests (RFC 7143 11.10). Its memory is the connection's own:
 * text never waits for buffers, and holds none that others wait for. */
struct text_exchange {
	bool open;      /* A request with `ttt` goes on with it. */
	bool walking;   /* The answer is a SendTargets list, and not all of it has been sent. */
	bool answering; /* `answer` is on its way. */
	uint32_t ttt;   /* What the next request of the exchange carries. */
	uint32_t request_len_bytes;
	struct discovery_walk walk;
	uint8_t request[TEXT_BYTES_MAX];
	uint8_t answer[TEXT_BYTES_MAX];
};

struct conn {
	struct session *session;
	struct loop *loop;
	int fd;
	enum conn_state state;
	struct framer framer;
	struct rx_current rx;
	struct loop_op recv_op;
	struct iovec recv_iov[4];
	bool receiving; /* The kernel holds a receive. */
	bool blocked;   /* The framer was told "not now". */
	bool resume_posted;
	struct loop_msg resume;
	struct list_node blocked_link; /* home->blocked */
	struct tx tx;
	struct list_node replies;
	uint32_t stat_sn;
	uint32_t next_ttt;
	uint32_t read_bytes;           /* Read data in the send queue. */
	struct list_node read_waiters; /* Tasks that wait for room under CONN_READ_BYTES_MAX. */
	struct loop_msg
		closing; /* Goes on closing from the top of a turn, when no caller looks at us. */
	bool closing_posted;
	struct loop_timer watch;
	struct loop_timer grace; /* Until it is dismissed. */
	const char *grace_why;
	uint64_t last_heard_ns;
	uint64_t listening_since_ns; /* Since then it was blocked for moments only: watch.c. */
	uint64_t deaf_since_ns;      /* It is blocked; 0: it is not. */
	uint64_t deaf_ns;            /* So long was it blocked before that, since the last tick. */
	uint64_t ping_sent_ns;       /* 0: no NOP-In of ours is unanswered. */
	uint32_t ping_ttt;
	uint8_t *left_over; /* What was received while the framer was paused, or NULL: rx.c. */
	uint32_t left_over_bytes; /* Its size. */
	uint64_t left_over_since_ns;
	/* Last, because an idle session never touches most of it. */
	struct reply reply_slots[CONN_REPLIES_MAX];
	struct text_exchange text;
};

/* What the tasks of one LUN (of those with the same low bits) hold of their session's share. */
struct session_lun {
	uint16_t tasks;
	uint16_t windows[WINDOW_CHARGES]; /* By enum window_charge. */
	uint16_t running;                 /* Tasks of TASK_RUNNING. */
	uint16_t fences;                  /* Of these, ordered ones and heads of the queue. */
	struct task *waiting;             /* The first of TASK_BLOCKED; NULL: none. */
};

struct session {
	/* Constant from create to free. */
	struct session_spec spec; /* `params`: as of login. */
	char initiator_name[ISCSI_NAME_MAX + 1];
	char target_name[ISCSI_NAME_MAX + 1];
	/* Messages between the control loop and the session's. */
	struct loop_msg start_msg;
	struct loop_msg close_msg;
	struct loop_msg ended_msg;
	atomic_bool close_posted;
	_Atomic(uint32_t) close_reason;
	/* The loop's, from start on. */
	struct iscsi_loop *home;
	struct list_node link; /* home->sessions */
	struct negotiation negotiation;
	struct iscsi_params params; /* In force now: a text request may change some. */
	struct list_node tasks;
	struct list_node held;
	struct list_node blocked; /* In the order of their CmdSN. */
	struct list_node draining;
	struct list_node managing; /* struct tmf whose answers wait for `draining`. */
	struct list_node by_tag[SESSION_TAG_BUCKETS];
	uint32_t exp_cmd_sn;
	uint32_t max_cmd_sn;
	uint32_t window;      /* Commands it may have outstanding now; only grows. */
	uint32_t outstanding; /* Commands received and not answered; immediate ones apart. */
	uint32_t immediate;
	uint32_t slots;                   /* Tasks that are the session's, answered or not. */
	uint32_t windows[WINDOW_CHARGES]; /* Buffers it holds, by enum window_charge. */
	uint32_t functions;               /* struct tmf under way. */
	bool close_seen;
	struct session_lun luns[SESSION_LUN_BUCKETS];
	struct conn conn;
};

struct iscsi_loop {
	struct loop *loop;
	const struct iscsi_server *server;
	struct pool tasks;
	struct pool windows;
	struct pool functions; /* struct tmf */
	struct list_node sessions;
	struct list_node aborted; /* Tasks without a session's interest. */
	struct list_node starved; /* Tasks that wait for a buffer. */
	struct list_node blocked; /* Connections that wait for a reply or a buffer. */
	uint32_t floor_unused;    /* Buffers that sessions have not drawn from their floors. */
	uint32_t reserve;         /* Buffers kept from sessions: RESERVE_BUFFERS. */
	uint32_t slots_unused;    /* Task slots that sessions have not drawn from their floors. */
	struct loop_msg feed;
	bool feed_posted;
	uint64_t order_looks;     /* How often a task that waits for its turn was looked at. */
	uint8_t *trash;           /* Where unwanted data land; never read. */
	uint8_t *receive;         /* LOOP_RECEIVE_BYTES: the receive area of all connections. */
	uint32_t left_over_bytes; /* Of all connections: LOOP_LEFT_OVER_BYTES_MAX. */
};

/* -- session.c: the window -- */

enum cmd_sn_verdict session_judge_cmd_sn(const struct session *session, uint32_t cmd_sn);
/* Start the held commands whose CmdSN is due. */
LOOP_ONLY void session_release_held(struct session *session);
/* The MaxCmdSN to announce now; never goes back (RFC 7143 4.2.2.1). */
LOOP_ONLY uint32_t session_max_cmd_sn(struct session *session);
/* Widen the window if it is nearly used up. */
LOOP_ONLY void session_widen(struct session *session);
/* Abort each task of the session as `judge` says; NULL: all, silently. Returns how many. */
LOOP_ONLY unsigned session_abort_tasks(struct session *session,
				       enum task_abort (*judge)(const struct task *task,
								const void *arg),
				       const void *arg);
/* A CmdSN that will never come counts as received (RFC 7143 11.5.5). False: no slot to note it. */
LOOP_ONLY bool session_plug(struct session *session, uint32_t cmd_sn, uint32_t itt);
/* The connection has closed: end the session if nothing else holds it. */
LOOP_ONLY void session_end_if_idle(struct session *session);

/* -- conn.c -- */

LOOP_ONLY void conn_start(struct conn *conn);
/* Close with one log line; `why` is a constant sentence without full stop. NULL: orderly. */
LOOP_ONLY void conn_close(struct conn *conn, const char *why);
/* The same, but in good order: the peer is told first (async.c), if it listens. */
LOOP_ONLY void conn_dismiss(struct conn *conn, const char *why);
/* Ask the peer to log out, and dismiss it when it has not done so after a while. */
LOOP_ONLY void conn_request_logout(struct conn *conn, const char *why);
/* scsi_nexus_event_fn of a session, which is `arg`. */
void session_on_event(void *arg, const struct scsi_event *event);
/* No task and no request any more: close when `last` has been sent, which the caller does next. */
LOOP_ONLY void conn_leave(struct conn *conn, struct reply *last);
/* Go on closing: something that was waited for has come. */
LOOP_ONLY void conn_close_step(struct conn *conn);
/* "initiator at address": for log lines. */
#define CONN_NAME_BYTES (ISCSI_NAME_MAX + sizeof(" at ") + ADDRESS_TEXT_MAX)
const char *conn_name(const struct conn *conn, char out[CONN_NAME_BYTES]);

/* -- rx.c -- */

/* Begin to receive. */
LOOP_ONLY void rx_init(struct conn *conn);
LOOP_ONLY void rx_start(struct conn *conn);
/* Nothing is received any more: give back what was left over. */
LOOP_ONLY void rx_clear(struct conn *conn);
/* What made the framer say "not now" has changed: ask again in the next turn. */
LOOP_ONLY void rx_unblock(struct conn *conn);
/* The PDU in hand is refused: read its data, drop them, send a Reject. */
LOOP_ONLY enum framer_verdict rx_reject(struct conn *conn, uint8_t reason, const char *why);
/* The PDU in hand was read and is refused only now: the reply that it holds becomes a Reject. */
LOOP_ONLY void rx_send_reject(struct conn *conn, uint8_t reason, const char *why);
/* The PDU in hand came before its CmdSN was due. One connection delivers in order, so the initiator
 * is broken; a command can be kept until the gap is filled, but the number of anything else, or of
 * a command that is refused, would be missing for ever: the connection ends. */
LOOP_ONLY enum framer_verdict rx_stop_early(struct conn *conn);
/* The PDU in hand is read and dropped without a word. */
LOOP_ONLY enum framer_verdict rx_ignore(struct conn *conn);
/* Not now: there is no reply, or no buffer, for the PDU in hand. */
LOOP_ONLY enum framer_verdict rx_wait(struct conn *conn);

/* One row an opcode: what the full feature phase does with it (request_table.c). */
struct request_row {
	/* The header is complete and was judged by opcode_table. */
	enum framer_verdict (*on_header)(struct conn *conn);
	struct framer_slice (*on_landing)(struct conn *conn, uint32_t offset_bytes);
	/* All of it has come. */
	void (*on_end)(struct conn *conn);
};
extern const struct request_row request_table[PDU_OPCODE_COUNT];

/* -- reply.c -- */

/* A free reply, or NULL: rx_wait. It must be queued or given back. */
LOOP_ONLY struct reply *reply_acquire(struct conn *conn);
LOOP_ONLY void reply_release(struct conn *conn, struct reply *reply);
LOOP_ONLY void reply_send(struct conn *conn, struct reply *reply);

/* A loop buffer for data that belong to no command, never out of a session's floor. NULL: wait. */
LOOP_ONLY uint8_t *buffer_acquire(struct conn *conn);
LOOP_ONLY void buffer_release(struct conn *conn, uint8_t *buffer);

/* -- watch.c -- */

LOOP_ONLY void watch_start(struct conn *conn);
/* The answer to our NOP-In. */
LOOP_ONLY void watch_pong(struct conn *conn, uint32_t ttt);
/* We do not listen any more; we do again. */
LOOP_ONLY void watch_deaf(struct conn *conn);
LOOP_ONLY void watch_listening(struct conn *conn);

/* -- loop_context.c -- */

static inline struct iscsi_loop *iscsi_loop_of(const struct loop *loop)
{
	return loop_user(loop);
}
/* A slot, a buffer or the right to one came back: feed those who wait, in the next turn. */
LOOP_ONLY void iscsi_loop_feed(struct iscsi_loop *home);

/* -- the handlers of request_table.c -- */

LOOP_ONLY enum framer_verdict command_on_header(struct conn *conn);
LOOP_ONLY struct framer_slice command_on_landing(struct conn *conn, uint32_t offset_bytes);
LOOP_ONLY void command_on_end(struct conn *conn);
LOOP_ONLY enum framer_verdict data_out_on_header(struct conn *conn);
LOOP_ONLY struct framer_slice data_out_on_landing(struct conn *conn, uint32_t offset_bytes);
LOOP_ONLY void data_out_on_end(struct conn *conn);
LOOP_ONLY enum framer_verdict nop_out_on_header(struct conn *conn);
LOOP_ONLY struct framer_slice nop_out_on_landing(struct conn *conn, uint32_t offset_bytes);
LOOP_ONLY void nop_out_on_end(struct conn *conn);
LOOP_ONLY enum framer_verdict tmf_on_header(struct conn *conn);
LOOP_ONLY void tmf_on_end(struct conn *conn);
LOOP_ONLY enum framer_verdict text_on_header(struct conn *conn);
LOOP_ONLY struct framer_slice text_on_landing(struct conn *conn, uint32_t offset_bytes);
LOOP_ONLY void text_on_end(struct conn *conn);
LOOP_ONLY enum framer_verdict logout_on_header(struct conn *conn);
LOOP_ONLY void logout_on_end(struct conn *conn);
LOOP_ONLY enum framer_verdict snack_on_header(struct conn *conn);

#endif
