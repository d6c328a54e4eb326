/*
 * PDUs of our own that carry little or nothing: NOP-In, Reject, task management, text and logout
 * responses, R2T excepted. A connection has a few of them; when all are on their way the receiver
 * waits, so that a flood of pings costs its sender and nobody else.
 */
#include <string.h>

#include "target/iscsi/conn.h"

struct reply *reply_acquire(struct conn *conn)
{
	struct list_node *node = list_first(&conn->replies);

	if (node == NULL)
		return NULL;
	list_remove(node);
	struct reply *reply = CONTAINER_OF(node, struct reply, link);

	reply->stat_sn = TX_STAT_SN_USE;
	reply->data_len_bytes = 0;
	reply->payload = reply->data;
	reply->buffer = NULL;
	reply->on_sent = NULL;
	return reply;
}

void reply_release(struct conn *conn, struct reply *reply)
{
	if (reply->buffer != NULL)
		buffer_release(conn, reply->buffer);
	/* The warm one is used again first. */
	list_prepend(&conn->replies, &reply->link);
	rx_unblock(conn);
}

uint8_t *buffer_acquire(struct conn *conn)
{
	if (loop_buffers_free(conn->loop) <= conn->session->home->floor_unused)
		return NULL;
	return loop_buffer_acquire(conn->loop);
}

void buffer_release(struct conn *conn, uint8_t *buffer)
{
	loop_buffer_release(conn->loop, buffer);
	iscsi_loop_feed(conn->session->home);
}

static bool reply_encode(struct conn *conn UNUSED, struct tx_item *item, struct tx_frame *frame)
{
	struct reply *reply = CONTAINER_OF(item, struct reply, tx);

	memcpy(frame->bhs, reply->bhs, PDU_BHS_BYTES);
	frame->stat_sn = reply->stat_sn;
	frame->data = reply->payload;
	frame->data_len_bytes = reply->data_len_bytes;
	return true;
}

LOOP_ONLY static void reply_on_sent(struct conn *conn, struct tx_item *item)
{
	struct reply *reply = CONTAINER_OF(item, struct reply, tx);
	void (*on_sent)(struct conn *) = reply->on_sent;

	reply_release(conn, reply);
	if (on_sent != NULL)
		on_sent(conn);
}

void reply_send(struct conn *conn, struct reply *reply)
{
	reply->tx.encode = reply_encode;
	reply->tx.sent = reply_on_sent;
	tx_queue(conn, &reply->tx);
}
