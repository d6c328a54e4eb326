/*
 * Text requests in the full feature phase (RFC 7143 11.10): SendTargets, and negotiation of the few
 * keys that may still change. One exchange at a time; its text is collected over C bits, its answer
 * may leave in pieces that the initiator asks for one by one.
 */
#include "base/bytes.h"
#include "target/iscsi/conn.h"

void text_close(struct conn *conn)
{
	if (conn->text.text != NULL)
		buffer_release(conn, conn->text.text);
	conn->text = (struct text_exchange){.ttt = conn->text.ttt};
}

LOOP_ONLY static bool text_open(struct conn *conn)
{
	text_close(conn);
	conn->text.text = buffer_acquire(conn);
	return conn->text.text != NULL;
}

/* NULL, or why this request cannot belong to the exchange in hand. */
static const char *check(const struct conn *conn, const struct pdu_text_request *request)
{
	const struct text_exchange *text = &conn->text;

	if (request->itt == PDU_TAG_RESERVED)
		return "a text request needs an initiator task tag";
	if (request->final && request->cont)
		return "a text request has both F and C bit";
	if (request->ttt == PDU_TAG_RESERVED)
		return NULL;
	if (text->text == NULL || request->ttt != text->ttt)
		return "the target transfer tag names no text exchange";
	if (request->data_len_bytes > LOOP_BUFFER_BYTES - text->text_len_bytes)
		return "the text is longer than 64 KiB";
	return NULL;
}

enum framer_verdict text_on_header(struct conn *conn)
{
	struct pdu_text_request request;

	pdu_text_request_decode(&request, framer_bhs(&conn->framer));
	const char *why = check(conn, &request);

	if (why != NULL)
		return rx_reject(conn, PDU_REJECT_PROTOCOL_ERROR, why);
	if (request.ttt == PDU_TAG_RESERVED && !text_open(conn))
		return rx_wait(conn);
	struct reply *reply = reply_acquire(conn);

	if (reply == NULL)
		return rx_wait(conn);
	reply->buffer = buffer_acquire(conn);
	if (reply->buffer == NULL) {
		reply_release(conn, reply);
		return rx_wait(conn);
	}
	conn->rx.reply = reply;
	return FRAMER_TAKE;
}

struct framer_slice text_on_landing(struct conn *conn, uint32_t offset_bytes)
{
	uint32_t at = conn->text.text_len_bytes + offset_bytes;

	return (struct framer_slice){conn->text.text + at, LOOP_BUFFER_BYTES - at};
}

/* How much text one response may carry. */
static uint32_t answer_room(const struct conn *conn)
{
	uint32_t limit = conn->session->spec.params.max_send_data_segment_length;

	return limit < LOOP_BUFFER_BYTES ? limit : LOOP_BUFFER_BYTES;
}

static bool begin_walk(struct conn *conn, const char *value)
{
	const struct session_spec *spec = &conn->session->spec;
	struct discovery_request request = {
		.server = spec->server,
		.initiator_name = spec->initiator_name,
		.local = &spec->local,
		.peer = &spec->peer,
		.own = spec->target,
		.value = value,
	};

	conn->text.walking = discovery_begin(&conn->text.walk, &request);
	return conn->text.walking;
}

/* Answer a complete text. NULL, or why it is refused. */
LOOP_ONLY static const char *answer_text(struct conn *conn, struct text_writer *answer)
{
	struct session *session = conn->session;
	struct negotiate_text text;

	negotiation_restart(&session->negotiation);
	const char *why = negotiate_sort(&session->negotiation, KEY_IN_FULL_FEATURE,
					 conn->text.text, conn->text.text_len_bytes, &text);

	if (why != NULL)
		return why;
	if (text.value[KEY_SEND_TARGETS] != NULL) {
		if (!begin_walk(conn, text.value[KEY_SEND_TARGETS]))
			text_put(answer, "SendTargets", "Reject");
		return NULL;
	}
	negotiate_answer(&session->negotiation, KEY_IN_FULL_FEATURE, &text, answer);
	negotiate_params(&session->negotiation, &session->spec.params);
	return NULL;
}

LOOP_ONLY static void respond(struct conn *conn, const struct pdu_text_request *request,
			      uint32_t data_len_bytes, bool more)
{
	struct reply *reply = conn->rx.reply;
	struct pdu_text_response pdu = {
		.lun = request->lun,
		.itt = request->itt,
		.ttt = PDU_TAG_RESERVED,
		.data_len_bytes = data_len_bytes,
		.final = !more,
		/* A line may be cut anywhere, which only the C bit allows (6.2). */
		.cont = more && conn->text.walking,
	};

	if (more)
		pdu.ttt = ++conn->text.ttt == PDU_TAG_RESERVED ? ++conn->text.ttt : conn->text.ttt;
	else
		text_close(conn);
	reply->data_len_bytes = data_len_bytes;
	pdu_text_response_encode(&pdu, reply->bhs);
	conn->rx.reply = NULL;
	reply_send(conn, reply);
}

LOOP_ONLY static uint32_t next_piece(struct conn *conn)
{
	return (uint32_t)discovery_fill(&conn->text.walk, conn->rx.reply->buffer,
					answer_room(conn));
}

void text_on_end(struct conn *conn)
{
	struct pdu_text_request request;
	struct text_writer answer;

	pdu_text_request_decode(&request, framer_bhs(&conn->framer));
	conn->text.text_len_bytes += request.data_len_bytes;
	if (request.cont) {
		respond(conn, &request, 0, true);
		return;
	}
	text_writer_init(&answer, conn->rx.reply->buffer, answer_room(conn));
	const char *why = conn->text.walking ? NULL : answer_text(conn, &answer);

	if (why != NULL) {
		conn_close(conn, why);
		return;
	}
	uint32_t length = (uint32_t)text_written_bytes(&answer);

	if (conn->text.walking)
		length = next_piece(conn);
	respond(conn, &request, length, conn->text.walking && !conn->text.walk.done);
}
