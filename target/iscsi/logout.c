/*
 * Logout (RFC 7143 11.14). With one connection per session, closing the connection and closing the
 * session are the same; removal for recovery belongs to error recovery level 1 and above. SNACK,
 * which does too, is refused here.
 */
#include "target/iscsi/conn.h"

enum framer_verdict logout_on_header(struct conn *conn)
{
	struct pdu_logout_request logout;

	pdu_logout_request_decode(&logout, framer_bhs(&conn->framer));
	if (logout.reason > PDU_LOGOUT_REMOVE_CONNECTION)
		return rx_reject(conn, PDU_REJECT_INVALID_PDU_FIELD,
				 "the logout reason is reserved");
	conn->rx.reply = reply_acquire(conn);
	return conn->rx.reply == NULL ? rx_wait(conn) : FRAMER_TAKE;
}

static uint8_t judge(const struct conn *conn, const struct pdu_logout_request *logout)
{
	if (logout->reason == PDU_LOGOUT_REMOVE_CONNECTION)
		return PDU_LOGOUT_RECOVERY_NOT_SUPPORTED;
	if (logout->reason == PDU_LOGOUT_CLOSE_CONNECTION && logout->cid != conn->session->spec.cid)
		return PDU_LOGOUT_CID_NOT_FOUND;
	return PDU_LOGOUT_SUCCESS;
}

void logout_on_end(struct conn *conn)
{
	struct reply *reply = conn->rx.reply;
	struct pdu_logout_request logout;

	pdu_logout_request_decode(&logout, framer_bhs(&conn->framer));
	struct pdu_logout_response answer = {
		.itt = logout.itt,
		.response = judge(conn, &logout),
		.time2wait_s = (uint16_t)conn->session->params.default_time2wait_s,
	};

	pdu_logout_response_encode(&answer, reply->bhs);
	conn->rx.reply = NULL;
	/* 11.14: tasks end without an answer before the response is sent. */
	if (answer.response == PDU_LOGOUT_SUCCESS)
		conn_leave(conn, reply);
	reply_send(conn, reply);
}

enum framer_verdict snack_on_header(struct conn *conn)
{
	return rx_reject(conn, PDU_REJECT_SNACK_REJECT,
			 "SNACK needs error recovery level 1, which was not negotiated");
}
