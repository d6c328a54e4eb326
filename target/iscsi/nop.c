/*
 * NOP-Out (RFC 7143 11.18): a ping is answered with its own data, whatever the disks do.
 */
#include "target/iscsi/conn.h"

/* Room for the ping's data. Only pings longer than any in use depend on the pool of buffers. */
LOOP_ONLY static bool reserve(struct conn *conn, struct reply *reply, uint32_t data_len_bytes)
{
	if (data_len_bytes <= REPLY_DATA_BYTES)
		return true;
	reply->buffer = buffer_acquire(conn);
	reply->payload = reply->buffer;
	return reply->buffer != NULL;
}

enum framer_verdict nop_out_on_header(struct conn *conn)
{
	struct pdu_nop_out nop;

	pdu_nop_out_decode(&nop, framer_bhs(&conn->framer));
	if (nop.itt == PDU_TAG_RESERVED) {
		/* The answer to a ping of ours, or a mere ExpStatSN. */
		if (nop.ttt != PDU_TAG_RESERVED)
			watch_pong(conn, nop.ttt);
		return rx_ignore(conn);
	}
	struct reply *reply = reply_acquire(conn);

	if (reply == NULL)
		return rx_wait(conn);
	if (!reserve(conn, reply, nop.data_len_bytes)) {
		reply_release(conn, reply);
		return rx_wait(conn);
	}
	conn->rx.reply = reply;
	return FRAMER_TAKE;
}

struct framer_slice nop_out_on_landing(struct conn *conn, uint32_t offset_bytes)
{
	struct reply *reply = conn->rx.reply;

	if (reply->buffer != NULL)
		return (struct framer_slice){reply->buffer + offset_bytes,
					     LOOP_BUFFER_BYTES - offset_bytes};
	return (struct framer_slice){reply->data + offset_bytes, REPLY_DATA_BYTES - offset_bytes};
}

void nop_out_on_end(struct conn *conn)
{
	struct reply *reply = conn->rx.reply;
	uint32_t limit = conn->session->params.max_send_data_segment_length;
	struct pdu_nop_out nop;

	pdu_nop_out_decode(&nop, framer_bhs(&conn->framer));
	/* 11.19: cut to what the initiator can receive. */
	reply->data_len_bytes = nop.data_len_bytes < limit ? nop.data_len_bytes : limit;
	struct pdu_nop_in answer = {.lun = nop.lun,
				    .itt = nop.itt,
				    .ttt = PDU_TAG_RESERVED,
				    .data_len_bytes = reply->data_len_bytes};

	pdu_nop_in_encode(&answer, reply->bhs);
	conn->rx.reply = NULL;
	reply_send(conn, reply);
}
