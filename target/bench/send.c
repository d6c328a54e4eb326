/*
 * The sending half of a session: builds the PDUs that are due into one batch and hands it to the
 * socket in one call. The next batch is built when the last one is gone. Runs on the session's
 * worker; nothing here waits or allocates.
 */
#include "target/bench/session.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "target/bench/command.h"

static uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* The bytes that a write sends. */
static const uint8_t *payload(const struct bench_session *session, const struct bench_task *task)
{
	return task->buffer ? task->buffer : session->job->pattern;
}

static struct bench_pdu_room *next_room(struct bench_batch *batch)
{
	assert(batch->pdu_count < BATCH_PDUS_MAX);
	return &batch->rooms[batch->pdu_count++];
}

static void append(struct bench_session *session, struct bench_pdu_room *room, const void *data,
		   uint32_t data_bytes)
{
	struct bench_batch *batch = &session->batch;

	batch->iov_count += bench_pdu_vector(&session->conn.params, room, data, data_bytes,
					     batch->iov + batch->iov_count);
}

/* How much of a write goes out unasked: with the command, and behind it (RFC 7143 4.2.5.2). */
struct unasked {
	uint32_t immediate_bytes;
	uint32_t following_bytes;
};

static struct unasked unasked_of(const struct bench_session *session, uint32_t bytes)
{
	const struct iscsi_params *params = &session->conn.params;
	uint32_t first_burst = min_u32(params->first_burst_length, bytes);
	struct unasked unasked = {0};

	if (params->immediate_data) {
		unasked.immediate_bytes =
			min_u32(first_burst, params->max_send_data_segment_length);
	}
	if (!params->initial_r2t)
		unasked.following_bytes = first_burst - unasked.immediate_bytes;
	return unasked;
}

static void build_command(struct bench_session *session, struct bench_task *task)
{
	const struct bench_job *job = session->job;
	struct bench_pdu_room *room = next_room(&session->batch);
	struct unasked unasked =
		task->write ? unasked_of(session, task->bytes) : (struct unasked){0};
	struct pdu_scsi_command pdu = {
		.lun = job->lun_field,
		.itt = task->itt,
		.expected_data_len_bytes = task->bytes,
		.cmd_sn = task->cmd_sn,
		.exp_stat_sn = session->conn.exp_stat_sn,
		.data_len_bytes = unasked.immediate_bytes,
		.attr = PDU_ATTR_SIMPLE,
		.final = unasked.following_bytes == 0,
		.read = !task->write,
		.write = task->write,
	};

	bench_cdb_read_write(pdu.cdb, task->write,
			     job->region_lba + task->unit * job->blocks_per_unit,
			     task->units * job->blocks_per_unit);
	pdu_scsi_command_encode(&pdu, room->head);
	append(session, room, payload(session, task), unasked.immediate_bytes);
	task->command_due = false;
	if (unasked.following_bytes > 0) {
		task->bursts[task->burst_count++] = (struct bench_burst){
			.ttt = PDU_TAG_RESERVED,
			.offset_bytes = unasked.immediate_bytes,
			.left_bytes = unasked.following_bytes,
		};
	}
}

static void build_data_out(struct bench_session *session, struct bench_task *task)
{
	struct bench_burst *burst = &task->bursts[task->burst_first];
	struct bench_pdu_room *room = next_room(&session->batch);
	uint32_t data_bytes =
		min_u32(burst->left_bytes, session->conn.params.max_send_data_segment_length);
	struct pdu_data_out pdu = {
		.lun = session->job->lun_field,
		.itt = task->itt,
		.ttt = burst->ttt,
		.exp_stat_sn = session->conn.exp_stat_sn,
		.data_sn = burst->data_sn++,
		.buffer_offset = burst->offset_bytes,
		.data_len_bytes = data_bytes,
		.final = data_bytes == burst->left_bytes,
	};

	/* Unsolicited data needs no LUN, but may name it (RFC 7143 11.7.4). */
	pdu_data_out_encode(&pdu, room->head);
	append(session, room, payload(session, task) + burst->offset_bytes, data_bytes);
	burst->offset_bytes += data_bytes;
	burst->left_bytes -= data_bytes;
	if (burst->left_bytes == 0) {
		task->burst_first = (task->burst_first + 1) % TASK_BURSTS_MAX;
		task->burst_count--;
	}
}

static void build_pong(struct bench_session *session, const struct bench_pong *pong)
{
	struct bench_pdu_room *room = next_room(&session->batch);
	const struct pdu_nop_out pdu = {
		.lun = pong->lun,
		.itt = PDU_TAG_RESERVED,
		.ttt = pong->ttt,
		.cmd_sn = session->conn.window.cmd_sn,
		.exp_stat_sn = session->conn.exp_stat_sn,
		.immediate = true,
	};

	pdu_nop_out_encode(&pdu, room->head);
	append(session, room, NULL, 0);
}

/* Commands leave in CmdSN order, because they were appended to the list in that order and a task
 * that still has data to send keeps its place at the front. */
static void build_batch(struct bench_session *session)
{
	struct bench_batch *batch = &session->batch;

	batch->serial++;
	batch->iov_at = 0;
	batch->iov_count = 0;
	batch->pdu_count = 0;
	while (session->pong_count > 0)
		build_pong(session, &session->pongs[--session->pong_count]);
	while (batch->pdu_count < BATCH_PDUS_MAX && !list_is_empty(&session->ready)) {
		struct bench_task *task =
			CONTAINER_OF(list_first(&session->ready), struct bench_task, link);

		task->batch_serial = batch->serial;
		if (task->command_due) {
			build_command(session, task);
		} else {
			build_data_out(session, task);
		}
		if (task->burst_count == 0)
			bench_session_move(session, task, TASK_WAITING);
	}
}

/* Step over what the socket took. */
static void advance(struct bench_batch *batch, size_t sent_bytes)
{
	while (batch->iov_at < batch->iov_count && sent_bytes >= batch->iov[batch->iov_at].iov_len)
		sent_bytes -= batch->iov[batch->iov_at++].iov_len;
	if (batch->iov_at < batch->iov_count) {
		struct iovec *iov = &batch->iov[batch->iov_at];

		iov->iov_base = (uint8_t *)iov->iov_base + sent_bytes;
		iov->iov_len -= sent_bytes;
	}
}

/* One call to the socket. */
static int send_batch(struct bench_session *session)
{
	struct bench_batch *batch = &session->batch;
	const struct msghdr msg = {
		.msg_iov = batch->iov + batch->iov_at,
		.msg_iovlen = batch->iov_count - batch->iov_at,
	};
	ssize_t sent = sendmsg(session->conn.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent >= 0) {
		advance(batch, (size_t)sent);
		return 0;
	}
	if (errno == EAGAIN) {
		session->send_blocked = true;
		return 0;
	}
	if (errno == EINTR)
		return 0;
	return bench_conn_fail(&session->conn, -errno, "connection lost while sending: %s",
			       strerrordesc_np(errno));
}

int bench_session_flush(struct bench_session *session)
{
	session->send_blocked = false;
	while (!session->send_blocked) {
		int err;

		if (session->batch.iov_at == session->batch.iov_count)
			build_batch(session);
		if (session->batch.iov_count == 0)
			return 0;
		err = send_batch(session);
		if (err)
			return err;
		if (session->batch.iov_at == session->batch.iov_count)
			bench_session_batch_sent(session);
	}
	return 0;
}
