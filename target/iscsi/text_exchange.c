/*
 * Text requests in the full feature phase (RFC 7143 11.10): SendTargets, and negotiation of the few
 * keys that may still change. One exchange at a time; its text is collected over C bits, its answer
 * may leave in pieces that the initiator asks for one by one. It ends when both sides say so.
 */
#include "base/bytes.h"
#include "target/iscsi/conn.h"

LOOP_ONLY static void text_open(struct text_exchange *text)
{
	text->open = true;
	text->walking = false;
	text->request_len_bytes = 0;
}

/* NULL, or why this request cannot belong to the exchange in hand. */
static const char *check(const struct text_exchange *text, const struct pdu_text_request *request)
{
	bool fresh = request->ttt == PDU_TAG_RESERVED;

	if (request->itt == PDU_TAG_RESERVED)
		return "a text request needs an initiator task tag";
	if (request->final && request->cont)
		return "a text request has both F and C bit";
	if (!fresh && (!text->open || request->ttt != text->ttt))
		return "the target transfer tag names no text exchange";
	if (request->data_len_bytes > TEXT_BYTES_MAX - (fresh ? 0 : text->request_len_bytes))
		return "the text is longer than 16 KiB";
	return NULL;
}

enum framer_verdict text_on_header(struct conn *conn)
{
	struct text_exchange *text = &conn->text;
	struct pdu_text_request request;

	pdu_text_request_decode(&request, framer_bhs(&conn->framer));
	const char *why = check(text, &request);

	if (why != NULL)
		return rx_reject(conn, PDU_REJECT_PROTOCOL_ERROR, why);
	/* Whoever does not wait for an answer before the next request waits here. */
	if (text->answering)
		return rx_wait(conn);
	conn->rx.reply = reply_acquire(conn);
	if (conn->rx.reply == NULL)
		return rx_wait(conn);
	if (request.ttt == PDU_TAG_RESERVED)
		text_open(text);
	return FRAMER_TAKE;
}

struct framer_slice text_on_landing(struct conn *conn, uint32_t offset_bytes)
{
	uint32_t at = conn->text.request_len_bytes + offset_bytes;

	return (struct framer_slice){conn->text.request + at, TEXT_BYTES_MAX - at};
}

/* How much text one response may carry. */
static uint32_t answer_room(const struct conn *conn)
{
	uint32_t limit = conn->session->params.max_send_data_segment_length;

	return limit < TEXT_BYTES_MAX ? limit : TEXT_BYTES_MAX;
}

static bool begin_walk(struct conn *conn, const char *value)
{
	const struct session_spec *spec = &conn->session->spec;
	struct discovery_request request = {
		.server = spec->server,
		.initiator_name = spec->initiator_name,
		.local = &spec->local,
		.peer = &spec->peer,
		.own = spec->target_name,
		.value = value,
	};

	conn->text.walking = discovery_begin(&conn->text.walk, &request);
	return conn->text.walking;
}

/* Answer a complete text. NULL, or why it is refused. */
LOOP_ONLY static const char *answer_text(struct conn *conn, struct text_writer *answer)
{
	struct session *session = conn->session;
	const struct negotiation before = session->negotiation;
	struct negotiate_text text;

	negotiation_restart(&session->negotiation);
	const char *why = negotiate_sort(&session->negotiation, KEY_IN_FULL_FEATURE,
					 conn->text.request, conn->text.request_len_bytes, &text);

	if (why != NULL) {
		session->negotiation = before;
		return why;
	}
	if (text.value[KEY_SEND_TARGETS] != NULL) {
		if (!begin_walk(conn, text.value[KEY_SEND_TARGETS]))
			text_put(answer, "SendTargets", "Reject");
		return NULL;
	}
	negotiate_answer(&session->negotiation, KEY_IN_FULL_FEATURE, &text, answer);
	/* Part of an answer would be taken for all of it. No initiator that means well asks for so
	 * much at once. */
	if (answer->overflow) {
		session->negotiation = before;
		return "the answer to a text does not fit into one response";
	}
	negotiate_params(&session->negotiation, &session->params);
	return NULL;
}

LOOP_ONLY static void on_answered(struct conn *conn)
{
	conn->text.answering = false;
}

/* `more`: the exchange goes on, under a new tag. `cut`: in the middle of a line, perhaps. */
LOOP_ONLY static void respond(struct conn *conn, const struct pdu_text_request *request, bool more,
			      bool cut)
{
	struct text_exchange *text = &conn->text;
	struct reply *reply = conn->rx.reply;
	struct pdu_text_response pdu = {
		.lun = request->lun,
		.itt = request->itt,
		.ttt = PDU_TAG_RESERVED,
		.data_len_bytes = reply->data_len_bytes,
		.final = !more,
		.cont = cut,
	};

	if (more)
		pdu.ttt = ++text->ttt == PDU_TAG_RESERVED ? ++text->ttt : text->ttt;
	text->open = more;
	text->answering = true;
	reply->payload = text->answer;
	reply->on_sent = on_answered;
	pdu_text_response_encode(&pdu, reply->bhs);
	conn->rx.reply = NULL;
	reply_send(conn, reply);
}

/* The next piece of a list; a line may be cut anywhere, which only the C bit allows (6.2). */
LOOP_ONLY static bool fill(struct conn *conn)
{
	struct text_exchange *text = &conn->text;

	conn->rx.reply->data_len_bytes =
		(uint32_t)discovery_fill(&text->walk, text->answer, answer_room(conn));
	text->walking = !text->walk.done;
	return text->walking;
}

/* NULL, or why the request is refused. */
LOOP_ONLY static const char *answer_whole(struct conn *conn)
{
	struct text_exchange *text = &conn->text;
	struct text_writer answer;

	if (text->walking)
		return NULL;
	text_writer_init(&answer, text->answer, answer_room(conn));
	const char *why = answer_text(conn, &answer);

	conn->rx.reply->data_len_bytes = (uint32_t)text_written_bytes(&answer);
	text->request_len_bytes = 0;
	return why;
}

void text_on_end(struct conn *conn)
{
	struct text_exchange *text = &conn->text;
	struct pdu_text_request request;

	pdu_text_request_decode(&request, framer_bhs(&conn->framer));
	text->request_len_bytes += request.data_len_bytes;
	if (request.cont) {
		respond(conn, &request, true, false);
		return;
	}
	const char *why = answer_whole(conn);

	/* 7.11: the exchange has failed, what was agreed before goes on. */
	if (why != NULL) {
		text->open = false;
		rx_send_reject(conn, PDU_REJECT_PROTOCOL_ERROR, why);
		return;
	}
	bool cut = text->walking && fill(conn);

	if (text->walk.stale) {
		conn_close(conn, "the configuration changed in the middle of an answer");
		return;
	}
	/* 11.11.1: F never answers a request without F. */
	respond(conn, &request, cut || !request.final, cut);
}
