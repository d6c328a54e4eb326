/*
 * One connection on its way to the full feature phase; see login_conn.h.
 *
 * What a peer can make us log goes through a limit, and what it sent is named in words, not
 * repeated.
 *
 * Runs on the control loop. Read next: login.h, admission.c.
 */
#include "target/iscsi/login_conn.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "target/iscsi/admission.h"
#include "target/iscsi/opcode_table.h"

/* Apart, so that a crowd of strangers does not hide who was refused. */
static struct log_limit closed_limit = LOG_LIMIT(10, 10000);
static struct log_limit refused_limit = LOG_LIMIT(100, 10000);
static struct log_limit redirected_limit = LOG_LIMIT(10, 10000);

static struct loop *loop_of(const struct login_conn *conn)
{
	return conn->service->server->control;
}

/* -- What strangers say -- */

struct stranger {
	const char *prefix;
	const char *words;
};

static const struct stranger strangers[] = {
	{"GET ", "not iSCSI: looks like HTTP"},    {"POST", "not iSCSI: looks like HTTP"},
	{"HEAD", "not iSCSI: looks like HTTP"},    {"OPTI", "not iSCSI: looks like HTTP"},
	{"\x16\x03", "not iSCSI: looks like TLS"}, {"SSH-", "not iSCSI: looks like SSH"},
	{"NBDM", "not iSCSI: looks like NBD"},
};

/* Why bytes that do not begin with a login request are refused, in words. */
static const char *describe_stranger(const uint8_t *bytes, uint32_t count)
{
	const struct opcode_row *row = &opcode_table[pdu_opcode(bytes)];

	for (size_t i = 0; i < ARRAY_SIZE(strangers); i++) {
		size_t len = strlen(strangers[i].prefix);

		if (count >= len && memcmp(bytes, strangers[i].prefix, len) == 0)
			return strangers[i].words;
	}
	return row->name && !row->from_target ? "an iSCSI PDU that is no login request came first"
					      : "not iSCSI: the first byte is no request's opcode";
}

/* -- The end -- */

/* Nothing to look into: a monitoring probe, or a port scanner, that connects and goes away. */
static const char *const nothing_said = "closed by the peer before it said anything";

static bool is_redirection(const struct login_conn *conn)
{
	return (unsigned)login_status(&conn->login) >> 8 ==
	       (unsigned)PDU_LOGIN_MOVED_TEMPORARILY >> 8;
}

/* A refusal is told of with all that is known, but not the name given for CHAP: people type secrets
 * into the wrong line. */
static void log_refused(const struct login_conn *conn)
{
	const struct login_result *result = login_result(&conn->login);
	unsigned status = login_status(&conn->login);

	log_limited(&refused_limit, LOG_LEVEL_WARN, "iscsi",
		    "%s %s: login to %s refused (%02x/%02x): %s; %" PRIu32 " of this source so far",
		    conn->peer_text, result->initiator_name[0] ? result->initiator_name : "nobody",
		    result->target_name[0] ? result->target_name : "discovery", status >> 8,
		    status & 0xff, login_reason(&conn->login), conn->refusals);
}

static void log_redirected(const struct login_conn *conn)
{
	const struct login_result *result = login_result(&conn->login);

	log_limited(&redirected_limit, LOG_LEVEL_INFO, "iscsi", "%s %s: login to %s: %s, %s",
		    conn->peer_text, result->initiator_name, result->target_name,
		    login_reason(&conn->login), conn->redirect);
}

static void log_closed(const struct login_conn *conn)
{
	enum log_level level = conn->why == nothing_said ? LOG_LEVEL_INFO : LOG_LEVEL_WARN;
	const char *name = login_result(&conn->login)->initiator_name;

	log_limited(&closed_limit, level, "iscsi", "%s%s%s: login: %s", conn->peer_text,
		    name[0] ? " " : "", name, conn->why);
}

static void count_and_log(const struct login_conn *conn)
{
	struct login_counters *counters = &conn->service->counters;

	if (login_status(&conn->login) == PDU_LOGIN_SUCCESS) {
		counters->closed++;
		log_closed(conn);
	} else if (is_redirection(conn)) {
		counters->redirected++;
		log_redirected(conn);
	} else {
		counters->refused++;
		counters->unproved +=
			login_status(&conn->login) == PDU_LOGIN_AUTHENTICATION_FAILURE;
		log_refused(conn);
	}
}

static LOOP_ONLY void login_conn_finish(struct login_conn *conn)
{
	count_and_log(conn);
	loop_forget_fd(loop_of(conn), conn->fd);
	(void)close(conn->fd);
	login_service_release(conn);
}

void login_conn_close(struct login_conn *conn, const char *why)
{
	if (!conn->why)
		conn->why = why;
	if (conn->stage == LOGIN_CONN_WAITING) {
		login_conn_finish(conn);
	} else {
		(void)shutdown(conn->fd, SHUT_RDWR);
	}
}

bool login_conn_may_make_room(const struct login_conn *conn)
{
	return conn->stage == LOGIN_CONN_HEAD || conn->stage == LOGIN_CONN_DATA ||
	       loop_timer_is_armed(&conn->pause);
}

static LOOP_ONLY void on_deadline(struct loop_timer *timer)
{
	struct login_conn *conn = CONTAINER_OF(timer, struct login_conn, deadline);

	login_conn_close(conn, "not finished within the login timeout");
}

/* -- Receiving -- */

static LOOP_ONLY void on_received(struct loop_op *op, int res);

static LOOP_ONLY void receive(struct login_conn *conn, void *bytes, uint32_t want_bytes)
{
	conn->want_bytes = want_bytes;
	conn->iov[0] = (struct iovec){.iov_base = (uint8_t *)bytes + conn->have_bytes,
				      .iov_len = want_bytes - conn->have_bytes};
	loop_recv(loop_of(conn), &conn->op, conn->fd, conn->iov, 1, on_received);
}

static LOOP_ONLY void receive_head(struct login_conn *conn)
{
	conn->stage = LOGIN_CONN_HEAD;
	conn->have_bytes = 0;
	receive(conn, conn->bhs, sizeof(conn->bhs));
}

/* What answers a header that may not come. False: nothing does; it is not worth a word. */
static bool answer_head(struct login_conn *conn, const char *why, enum login_step *out)
{
	if (pdu_opcode(conn->bhs) == PDU_LOGIN_REQUEST)
		return login_refuse_request(&conn->login, conn->bhs, why, out);
	/* RFC 7143 6.3: before a login the connection just ends. */
	if (!login_has_begun(&conn->login))
		return false;
	*out = login_refuse(&conn->login, PDU_LOGIN_INVALID_DURING_LOGIN, why);
	return true;
}

static LOOP_ONLY void refuse_head(struct login_conn *conn, const char *why)
{
	enum login_step step;

	if (answer_head(conn, why, &step)) {
		login_conn_step(conn, step);
	} else {
		conn->why = why;
		login_conn_finish(conn);
	}
}

static LOOP_ONLY void take_request(struct login_conn *conn)
{
	struct pdu_common common;

	pdu_common_decode(&common, conn->bhs);
	login_conn_step(conn, login_request(&conn->login, conn->bhs, common.data_len_bytes));
}

static LOOP_ONLY void take_head(struct login_conn *conn)
{
	const struct opcode_refusal *refusal;
	struct pdu_common common;

	pdu_common_decode(&common, conn->bhs);
	refusal = opcode_check(&common, OPCODE_IN_LOGIN);
	if (refusal) {
		refuse_head(conn, refusal->why);
	} else if (common.data_len_bytes > LOGIN_LANDING_BYTES) {
		refuse_head(conn, "a login request announces more than 8192 bytes of data");
	} else if (common.data_len_bytes == 0) {
		take_request(conn);
	} else {
		conn->stage = LOGIN_CONN_DATA;
		conn->have_bytes = 0;
		receive(conn, login_landing(&conn->login), pdu_padded(common.data_len_bytes));
	}
}

/* A stranger is known by its first byte; there is no use in waiting for 47 more. */
static const char *stranger(const struct login_conn *conn)
{
	if (conn->stage != LOGIN_CONN_HEAD || login_has_begun(&conn->login) ||
	    pdu_opcode(conn->bhs) == PDU_LOGIN_REQUEST)
		return NULL;
	return describe_stranger(conn->bhs, conn->have_bytes);
}

static LOOP_ONLY void receive_more(struct login_conn *conn)
{
	if (conn->stage == LOGIN_CONN_HEAD) {
		receive(conn, conn->bhs, sizeof(conn->bhs));
	} else {
		receive(conn, login_landing(&conn->login), conn->want_bytes);
	}
}

static LOOP_ONLY void take(struct login_conn *conn)
{
	const char *why = stranger(conn);

	if (why) {
		refuse_head(conn, why);
	} else if (conn->have_bytes < conn->want_bytes) {
		receive_more(conn);
	} else if (conn->stage == LOGIN_CONN_HEAD) {
		take_head(conn);
	} else {
		take_request(conn);
	}
}

static void on_received(struct loop_op *op, int res)
{
	struct login_conn *conn = CONTAINER_OF(op, struct login_conn, op);
	bool silent = !login_has_begun(&conn->login) && conn->have_bytes == 0;

	if (res <= 0 && !conn->why)
		conn->why = silent ? nothing_said : "closed by the peer";
	if (conn->why) {
		login_conn_finish(conn);
		return;
	}
	conn->have_bytes += (uint32_t)res;
	take(conn);
}

/* -- Sending -- */

static LOOP_ONLY void on_sent(struct loop_op *op, int res);

/* An iovec serves receiving, too, so it has no const; the kernel only reads what is sent. */
static struct iovec slice_to_send(const uint8_t *bytes, size_t len_bytes)
{
	void *base = (void *)(uintptr_t)bytes; /* NOLINT(performance-no-int-to-ptr) */

	return (struct iovec){.iov_base = base, .iov_len = len_bytes};
}

static LOOP_ONLY void send_answer(struct login_conn *conn)
{
	struct login_answer answer;

	login_answer(&conn->login, &answer);
	conn->stage = LOGIN_CONN_SENDING;
	conn->iov[0] = slice_to_send(answer.bhs, PDU_BHS_BYTES);
	conn->iov[1] = slice_to_send(answer.data, answer.padded_len_bytes);
	loop_send(loop_of(conn), &conn->op, conn->fd, conn->iov,
		  answer.padded_len_bytes > 0 ? 2 : 1, on_sent);
}

/* Log in is over: descriptor and all go to the session, even when the answer could not be sent, for
 * a session that finds its socket shut down ends in the usual way. */
static LOOP_ONLY void hand_over(struct login_conn *conn, int res)
{
	struct registry_entry *entry = conn->entry;

	if (res < 0)
		(void)shutdown(conn->fd, SHUT_RDWR);
	conn->service->counters.admitted++;
	loop_forget_fd(loop_of(conn), conn->fd);
	login_service_release(conn);
	registry_start(entry);
}

static void on_sent(struct loop_op *op, int res)
{
	struct login_conn *conn = CONTAINER_OF(op, struct login_conn, op);

	if (conn->step == LOGIN_DONE) {
		hand_over(conn, res);
		return;
	}
	if (!conn->why && conn->step == LOGIN_REFUSED)
		conn->why = login_reason(&conn->login);
	if (!conn->why && res < 0)
		conn->why = "closed by the peer";
	if (conn->why) {
		login_conn_finish(conn);
	} else {
		receive_head(conn);
	}
}

/* The deadline was the initiator's. From here it counts for sending the answer alone. */
static LOOP_ONLY void on_pause_over(struct loop_timer *timer)
{
	struct login_conn *conn = CONTAINER_OF(timer, struct login_conn, pause);

	loop_timer_start(loop_of(conn), &conn->deadline,
			 conn->service->server->limits.login_timeout_ms, on_deadline);
	send_answer(conn);
}

static LOOP_ONLY void refuse_in_time(struct login_conn *conn)
{
	const struct refusal refusal = {
		.peer = &conn->peer,
		.status = login_status(&conn->login),
		.now_ns = loop_now_ns(loop_of(conn)),
		.delay_ms = conn->service->server->limits.refusal_delay_ms,
	};
	uint32_t wait_ms = refusals_note(&conn->service->refusals, &refusal, &conn->refusals);

	conn->why = login_reason(&conn->login);
	if (wait_ms == 0) {
		send_answer(conn);
		return;
	}
	/* Meanwhile it counts against the limits of its source, even if the peer has hung up. */
	conn->stage = LOGIN_CONN_WAITING;
	loop_timer_stop(loop_of(conn), &conn->deadline);
	loop_timer_start(loop_of(conn), &conn->pause, wait_ms, on_pause_over);
}

void login_conn_step(struct login_conn *conn, enum login_step step)
{
	conn->step = step;
	if (step == LOGIN_DECIDE) {
		admission_decide(conn);
	} else if (step == LOGIN_REFUSED && !is_redirection(conn)) {
		refuse_in_time(conn);
	} else {
		send_answer(conn);
	}
}

/* -- The beginning -- */

void login_conn_start(struct login_conn *conn, const struct portal_arrival *arrival)
{
	const struct iscsi_server *server = conn->service->server;

	assert(arrival->portal_index < server->portal_count);
	conn->fd = arrival->fd;
	conn->since_ns = loop_now_ns(server->control);
	conn->portal = &server->portals[arrival->portal_index];
	conn->local = arrival->local;
	conn->peer = arrival->peer;
	address_format(&conn->peer, conn->peer_text);
	login_init(&conn->login, &conn->service->policy, conn, conn->work);
	loop_timer_start(server->control, &conn->deadline, server->limits.login_timeout_ms,
			 on_deadline);
	receive_head(conn);
}
