/*
 * A SCSI command on its way through the target: its slot, its data windows, its stage.
 *
 * The stage says who owns a task; task_move is the one function that changes it. A task ends in one
 * place, task_settle: when its response has been sent, or when it was aborted and nobody holds it
 * any more. Abort, reset and connection loss never free a task: they call task_abort (abort.c).
 *
 * Data move in windows: stretches of 64 KiB of the command's data, each with one loop buffer and
 * one scsi_piece. A window belongs to the task's list; while `in_device` the device server has its
 * buffer, while `queued` the send queue has it. What a gathering command reserves behind its data
 * are windows of no length.
 *
 * Threads: the session's loop, and after an abort the same loop, session or not. Read next: task.c,
 * abort.c, order.c, read.c, write.c, command.c.
 */
#ifndef TARGET_ISCSI_TASK_H
#define TARGET_ISCSI_TASK_H

#include "target/iscsi/frame.h"
#include "target/iscsi/pdu.h"
#include "target/iscsi/session.h"
#include "target/iscsi/tx.h"
#include "target/scsi/scsi.h"

struct iscsi_loop;
struct task;

/* We agree to MaxOutstandingR2T of at most this. */
#define TASK_R2TS_MAX 4u
/* Windows that one long read has under way, and with them what it reads ahead of the wire. */
#define TASK_READ_WINDOWS_MAX 8u

enum task_stage {
	TASK_FREE,       /* In the pool. */
	TASK_RECEIVING,  /* The connection's receiver: its PDU is still coming in. */
	TASK_HELD,       /* session->held: its CmdSN is not due yet. */
	TASK_BLOCKED,    /* Nobody: tasks before it have to end first (order.c). */
	TASK_RUNNING,    /* Device server and data transfer. */
	TASK_RESPONDING, /* The send queue: its status is on the way. */
	TASK_DRAINING,   /* session->draining: aborted, and data it asked for are still to come. */
	TASK_ABORTED,    /* home->aborted: waits until device server, queue and receiver let go. */
	TASK_STAGE_COUNT
};

/* What a window's buffer is taken from. */
enum window_charge {
	WINDOW_OF_FLOOR, /* Its session's own: the first window of a command. */
	WINDOW_SHARED,   /* What no session's floor needs. */
	WINDOW_CHARGES,
	WINDOW_FREE_OF_CHARGE = WINDOW_CHARGES, /* Its task was aborted. */
};

struct window {
	struct list_node link; /* task->windows, by offset. */
	struct task *task;
	uint8_t *buffer;
	uint64_t offset_bytes; /* A multiple of LOOP_BUFFER_BYTES. */
	uint32_t length_bytes;
	uint32_t done_bytes; /* Write: received. Read: sent. */
	struct tx_item tx;
	bool in_device;
	bool ready;  /* Read: the data are in the buffer. */
	bool zeroes; /* Read: not in the buffer, but zeroes. */
	bool queued;
	enum window_charge charge; /* Counted in session->windows and its LUN's. */
	struct scsi_piece piece;   /* Not cleared: scsi_piece_submit does it. */
};

/* An R2T and the data it asked for. */
struct task_r2t {
	struct tx_item tx;
	struct task *task;
	uint32_t ttt;
	uint32_t offset_bytes;
	uint32_t next_bytes; /* Where the next Data-Out must begin. */
	uint32_t end_bytes;
	uint32_t r2t_sn;
	uint32_t data_sn;
	uint64_t deadline_ns; /* UINT64_MAX while it is in the send queue. */
};

struct task {
	struct list_node link;       /* session->tasks, session->held or home->aborted. */
	struct list_node tag_link;   /* session->by_tag */
	struct list_node wait_link;  /* home->starved or conn->read_waiters */
	struct list_node order_link; /* The others that wait for their turn on this LUN. */
	struct iscsi_loop *home;
	struct session *session; /* NULL once the session is gone. */
	struct session_lun
		*lun; /* What its LUN holds of the session's share; valid as `session`. */
	enum task_stage stage;
	struct list_node windows;
	uint64_t transfer_bytes; /* Data that will move, in the direction of cmd.data. */
	uint64_t next_bytes;     /* Read: next window. Write: first byte not asked for yet. */
	uint64_t moved_bytes;    /* Read: given to the queue. Write: taken by the device server. */
	uint32_t window_count;
	uint32_t device_count; /* Pieces and executions the device server has. */
	uint32_t queue_count;  /* Items the send queue has. */
	uint32_t data_sn;      /* Of Data-In. */
	uint32_t r2t_sn;
	uint32_t burst_bytes;       /* Of the Data-In sequence so far, RFC 7143 13.13. */
	uint32_t unsolicited_bytes; /* Received without R2T. */
	uint32_t unsolicited_data_sn;
	bool unsolicited_due; /* The F bit of unsolicited data has not come. */
	bool receiving;       /* The receiver points to this task. */
	bool prepared;
	bool executed;
	bool counted; /* In session->outstanding. */
	bool dropped; /* Aborted. If it was held, it stays there until its CmdSN is due. */
	uint64_t unsolicited_deadline_ns;
	uint8_t r2ts_active; /* A bit for each of r2ts[]: data are due. */
	uint8_t r2ts_queued; /* The send queue has it. */
	/* From here on nothing is cleared for a new command: each is filled in before it is read.
	 */
	struct pdu_scsi_command request;
	struct scsi_cmd cmd;
	struct task_r2t r2ts[TASK_R2TS_MAX];
	struct tx_item response;
	uint8_t sense[2u + SCSI_SENSE_MAX]; /* SenseLength and sense data, RFC 7143 11.4.7.2. */
};

/* A slot for a command of this session, or NULL: answer TASK SET FULL. */
LOOP_ONLY struct task *task_acquire(struct session *session,
				    const struct pdu_scsi_command *request);
LOOP_ONLY void task_move(struct task *task, enum task_stage stage);
/* The task of an initiator task tag that is not aborted, or NULL. */
LOOP_ONLY struct task *task_find(struct session *session, uint32_t itt);
/* Its turn by CmdSN has come: prepare it and start moving data, or let it go if it was aborted
 * meanwhile. It may be gone afterwards. */
LOOP_ONLY void task_start(struct task *task);
/* Something changed: respond if all is done, free it if it may go. The task may be gone afterwards.
 */
LOOP_ONLY void task_settle(struct task *task);
/* Its turn has come among the tasks of its logical unit, too: run it. */
LOOP_ONLY void task_run(struct task *task);
/* Have the device server run it: all data it needs first are in the task's windows. */
LOOP_ONLY void task_execute(struct task *task);
/* The last Data-In carries the status (RFC 7143 11.7.4): fill it in. */
LOOP_ONLY void task_finish_data_in(struct task *task, struct pdu_data_in *pdu);
/* Have its status sent. The device server may still hold it if it was aborted. */
LOOP_ONLY void task_respond(struct task *task);
/* Set a status that needs no device server; the caller settles the task. */
LOOP_ONLY void task_refuse(struct task *task, enum scsi_status status);
/* The logical block size; of a prepared command with a medium. */
static inline uint32_t task_block_bytes(const struct task *task)
{
	return lun_limits(scsi_lu_lun(task->cmd.lu))->logical_block_bytes;
}

/* True when the command failed, so that no more data should move. */
static inline bool task_has_failed(const struct task *task)
{
	return task->cmd.status != SCSI_GOOD && task->cmd.status != SCSI_CONDITION_MET;
}

/* Count it out of window and shares, so that its tag may be used again; its slot may live on. */
LOOP_ONLY void task_leave(struct task *task);
/* The slot is no longer the session's, whether it is free or a disk still holds its task. */
LOOP_ONLY void task_give_slot_back(struct session *session);

/* -- abort (abort.c) -- */

/* What becomes of a task that is aborted. */
enum task_abort {
	TASK_ABORT_NOT,
	/* No response. What its initiator still sends for it is dropped. */
	TASK_ABORT_SILENTLY,
	/* The same, but it stays until the data of its R2Ts are here (RFC 7143 4.2.3.3). */
	TASK_ABORT_DRAIN,
	/* Its response is TASK ABORTED (SAM-5 5.3.1, TAS). */
	TASK_ABORT_TELL,
};

/* Give it up: no further I/O. One that has its status already is left alone. The task may be gone
 * afterwards. */
LOOP_ONLY void task_abort(struct task *task, enum task_abort how);
/* A task of TASK_DRAINING has all it waited for. */
LOOP_ONLY void task_drained(struct task *task);
/* It belongs to no session any more, and ends when nobody holds it. */
LOOP_ONLY void task_part(struct task *task);

/* -- order (order.c) -- */

/* SAM-5 8: may it begin beside the tasks of its logical unit that are there already? */
bool order_permits(const struct task *task);
/* Run those whose turn has come. */
LOOP_ONLY void order_resume(struct session_lun *lun);
/* Stages in which it counts. */
#define ORDER_STAGES (1u << TASK_BLOCKED | 1u << TASK_RUNNING)
/* It comes into one of them, or leaves one; its stage is still the old one. */
LOOP_ONLY void order_move(struct task *task, enum task_stage stage);

/* -- windows (window.c) -- */

/* A window at that offset, at the end of the task's list; NULL when the session or the LUN has its
 * share or the loop has none left. */
LOOP_ONLY struct window *window_acquire(struct task *task, uint64_t offset_bytes,
					uint32_t length_bytes);
/* Why there was none: true when others hold the buffers, false when the session has its share, so
 * that its own windows will make room. */
LOOP_ONLY bool window_is_scarce(const struct task *task);
LOOP_ONLY void window_release(struct window *window);
/* Its buffer no longer counts as the session's: the task was aborted. */
LOOP_ONLY void window_uncharge(struct window *window);
/* The window that covers a byte, or NULL. */
LOOP_ONLY struct window *window_find(const struct task *task, uint64_t at_bytes);
LOOP_ONLY void window_submit(struct window *window, scsi_piece_done_fn *done);
/* Release all windows that neither device server nor queue holds. */
LOOP_ONLY void windows_release_idle(struct task *task);
/* Call task->pump again when a buffer comes back. */
LOOP_ONLY void window_wait(struct task *task);

/* -- data-in (read.c) -- */

/* Submit and send as much as windows and back-pressure allow. */
LOOP_ONLY void task_read(struct task *task);
/* The parameter data stand in the task's one window. */
LOOP_ONLY void task_send_param(struct task *task);

/* -- data-out (write.c) -- */

/* Where byte `at_bytes` of the command's data lands. */
LOOP_ONLY struct framer_slice task_landing(struct task *task, uint64_t at_bytes);
/* `length_bytes` of data have landed at `at_bytes`. */
LOOP_ONLY void task_landed(struct task *task, uint64_t at_bytes, uint32_t length_bytes);
/* Submit complete windows, ask for more data, execute when all parameter data are there. */
LOOP_ONLY void task_write(struct task *task);
/* True while the initiator still owes data it announced or was asked for. */
static inline bool task_awaits_data(const struct task *task)
{
	return task->unsolicited_due || task->r2ts_active != 0;
}
/* The earliest time at which owed data are overdue; UINT64_MAX if none is. */
LOOP_ONLY uint64_t task_data_deadline_ns(const struct task *task);

#endif
