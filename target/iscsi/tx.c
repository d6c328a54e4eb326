/*
 * The sending half of a connection: one gather send at a time out of the queue of items.
 *
 * Flushing is put off to the next turn's top, so that what one turn queued leaves together, unless
 * it is much; no timer delays anything. Not here: what the PDUs contain (each item encodes itself).
 */
#include "target/iscsi/tx.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "target/iscsi/conn.h"

void tx_init(struct tx *tx)
{
	list_init(&tx->queue);
	list_init(&tx->leaving);
}

/* RFC 7143 11.2.1: StatSN, ExpCmdSN and MaxCmdSN stand at the same place in every PDU of a target.
 */
LOOP_ONLY static void stamp(struct conn *conn, const struct tx_frame *frame)
{
	struct session *session = conn->session;

	if (frame->stat_sn != TX_STAT_SN_NONE)
		put_be32(frame->bhs + 24, conn->stat_sn);
	if (frame->stat_sn == TX_STAT_SN_USE)
		conn->stat_sn++;
	put_be32(frame->bhs + 28, session->exp_cmd_sn);
	put_be32(frame->bhs + 32, session_max_cmd_sn(session));
}

/* Add bytes to the vector; what follows directly on the last ones in memory makes them longer. */
static void push(struct tx *tx, const uint8_t *base, size_t len_bytes)
{
	struct iovec *last = &tx->iov[tx->iov_count];

	if (len_bytes == 0)
		return;
	if (tx->iov_count > 0 && (uint8_t *)last[-1].iov_base + last[-1].iov_len == base) {
		last[-1].iov_len += len_bytes;
		return;
	}
	*last = (struct iovec){(void *)(uintptr_t)base, len_bytes};
	tx->iov_count++;
}

/* Room for bytes of our own; push_made adds them to the vector. */
static uint8_t *made_end(struct tx *tx)
{
	return tx->made + tx->made_bytes;
}

static void push_made(struct tx *tx, uint32_t len_bytes)
{
	push(tx, made_end(tx), len_bytes);
	tx->made_bytes += len_bytes;
}

/* Padding and data digest (RFC 7143 11.2.3, 13.1). */
static void push_tail(struct tx *tx, const struct tx_frame *frame, bool digest)
{
	uint8_t *tail = made_end(tx);
	uint32_t pad = pdu_padded(frame->data_len_bytes) - frame->data_len_bytes;

	memset(tail, 0, pad);
	if (digest && frame->data_len_bytes > 0) {
		uint32_t crc = crc32c(0, frame->data, frame->data_len_bytes);

		put_le32(tail + pad, crc32c(crc, tail, pad));
		pad += PDU_DIGEST_BYTES;
	}
	push_made(tx, pad);
}

/* Make one PDU of `item` and add it to the vector. True: it was the last. */
LOOP_ONLY static bool add_frame(struct conn *conn, struct tx_item *item)
{
	struct tx *tx = &conn->tx;
	const struct iscsi_params *params = &conn->session->params;
	struct tx_frame frame = {.bhs = made_end(tx)};
	bool last = item->encode(conn, item, &frame);

	stamp(conn, &frame);
	if (params->header_digest)
		put_le32(frame.bhs + PDU_BHS_BYTES, crc32c(0, frame.bhs, PDU_BHS_BYTES));
	push_made(tx, PDU_BHS_BYTES + (params->header_digest ? PDU_DIGEST_BYTES : 0u));
	push(tx, frame.data, frame.data_len_bytes);
	tx->data_bytes += frame.data_len_bytes;
	push_tail(tx, &frame, params->data_digest);
	return last;
}

/* Fill the vector from the queue; items that are used up move to `leaving`. */
LOOP_ONLY static void gather(struct conn *conn)
{
	struct tx *tx = &conn->tx;

	tx->iov_count = 0;
	tx->made_bytes = 0;
	tx->data_bytes = 0;
	for (unsigned i = 0;
	     i < TX_FRAMES_MAX && tx->data_bytes < TX_DATA_BYTES_MIN && !list_is_empty(&tx->queue);
	     i++) {
		struct tx_item *item = CONTAINER_OF(list_first(&tx->queue), struct tx_item, link);

		if (add_frame(conn, item)) {
			list_remove(&item->link);
			list_append(&tx->leaving, &item->link);
		}
	}
}

LOOP_ONLY static void run_sent(struct conn *conn, struct list_node *items)
{
	while (!list_is_empty(items)) {
		struct tx_item *item = CONTAINER_OF(list_first(items), struct tx_item, link);

		list_remove(&item->link);
		item->sent(conn, item);
	}
}

LOOP_ONLY static void flush(struct conn *conn);

LOOP_ONLY static void on_sent(struct loop_op *op, int res)
{
	struct conn *conn = CONTAINER_OF(op, struct conn, tx.op);

	conn->tx.with_kernel = false;
	/* Still `sending` meanwhile: what the callbacks queue leaves below, without a message. */
	run_sent(conn, &conn->tx.leaving);
	conn->tx.sending = false;
	if (res < 0)
		conn_close(conn, "the peer stopped taking data");
	if (conn->state == CONN_CLOSING)
		conn_close_step(conn);
	else
		flush(conn);
}

LOOP_ONLY static void flush(struct conn *conn)
{
	struct tx *tx = &conn->tx;

	if (tx->sending || list_is_empty(&tx->queue) || conn->state >= CONN_CLOSING)
		return;
	tx->sending = true;
	tx->queued = 0;
	tx->with_kernel = true;
	tx->stalled_since_ns = loop_now_ns(conn->loop);
	tx->seen_bytes = 0;
	gather(conn);
	loop_send(conn->loop, &tx->op, conn->fd, tx->iov, tx->iov_count, on_sent);
}

LOOP_ONLY static void on_flush(struct loop_msg *msg)
{
	struct conn *conn = CONTAINER_OF(msg, struct conn, tx.flush);

	conn->tx.flush_posted = false;
	if (conn->state == CONN_CLOSING)
		conn_close_step(conn);
	else
		flush(conn);
}

void tx_queue(struct conn *conn, struct tx_item *item)
{
	struct tx *tx = &conn->tx;

	list_append(&tx->queue, &item->link);
	tx->queued++;
	if (tx->queued >= TX_ITEMS_EAGER) {
		flush(conn);
	} else if (!tx->sending && !tx->flush_posted) {
		tx->flush_posted = true;
		loop_post(conn->loop, &tx->flush, on_flush);
	}
}

bool tx_is_sending(const struct conn *conn)
{
	return conn->tx.sending;
}

bool tx_has_unsent(const struct conn *conn)
{
	return conn->tx.with_kernel;
}

bool tx_is_posted(const struct conn *conn)
{
	return conn->tx.flush_posted;
}

void tx_drop(struct conn *conn)
{
	assert(!conn->tx.sending);
	run_sent(conn, &conn->tx.leaving);
	run_sent(conn, &conn->tx.queue);
}

bool tx_is_stalled(struct conn *conn, uint64_t timeout_ms)
{
	struct tx *tx = &conn->tx;
	uint64_t now_ns = loop_now_ns(conn->loop);

	if (!tx->sending)
		return false;
	if (tx->op.transferred_bytes != tx->seen_bytes) {
		tx->seen_bytes = tx->op.transferred_bytes;
		tx->stalled_since_ns = now_ns;
	}
	return now_ns - tx->stalled_since_ns >= timeout_ms * 1000000u;
}
