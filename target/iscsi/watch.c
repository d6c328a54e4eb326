/*
 * What a connection watches for: a peer that takes nothing, one that owes data, one that is gone.
 *
 * One timer per connection ticks at a quarter of the shortest patience, so a deadline is kept with
 * that precision and costs nothing per command.
 */
#include "base/clock.h"
#include "target/iscsi/conn.h"
#include "target/iscsi/task.h"

/* Bounds of the tick: precise enough for short patience, idle enough for a thousand sessions. */
#define WATCH_TICK_MS_MIN 100u
#define WATCH_TICK_MS_MAX 5000u

static uint32_t min_nonzero(uint32_t a, uint32_t b)
{
	return b != 0 && b < a ? b : a;
}

static uint32_t tick_ms(const struct iscsi_limits *limits)
{
	uint32_t shortest = limits->write_stall_timeout_ms;

	shortest = min_nonzero(shortest, limits->data_out_timeout_ms);
	shortest = min_nonzero(shortest, limits->nop_interval_ms);
	shortest = min_nonzero(shortest, limits->nop_timeout_ms) / 4u;
	if (shortest < WATCH_TICK_MS_MIN)
		return WATCH_TICK_MS_MIN;
	return shortest > WATCH_TICK_MS_MAX ? WATCH_TICK_MS_MAX : shortest;
}

LOOP_ONLY static bool is_one_overdue(const struct conn *conn, const struct list_node *tasks)
{
	uint64_t now_ns = loop_now_ns(conn->loop);

	LIST_FOREACH (node, tasks)
		if (task_data_deadline_ns(CONTAINER_OF(node, struct task, link)) < now_ns)
			return true;
	return false;
}

/* Unsolicited data are due whatever their command waits for. */
LOOP_ONLY static bool data_overdue(const struct conn *conn)
{
	const struct session *session = conn->session;

	return is_one_overdue(conn, &session->tasks) || is_one_overdue(conn, &session->blocked);
}

/* Commands that came early hold slots and buffers until the one before them comes. */
LOOP_ONLY static bool command_overdue(struct conn *conn)
{
	uint64_t now_ns = loop_now_ns(conn->loop);

	LIST_FOREACH (node, &conn->session->held) {
		const struct task *task = CONTAINER_OF(node, struct task, link);

		if (!task->dropped && task->unsolicited_deadline_ns < now_ns)
			return true;
	}
	return false;
}

/* RFC 7143 11.19: a NOP-In with a target transfer tag asks for an answer. */
LOOP_ONLY static void ping(struct conn *conn)
{
	struct reply *reply = reply_acquire(conn);

	if (reply == NULL)
		return;
	struct pdu_nop_in nop = {.itt = PDU_TAG_RESERVED, .ttt = ++conn->ping_ttt & 0x7fffffffu};

	conn->ping_ttt = nop.ttt;
	conn->ping_sent_ns = loop_now_ns(conn->loop);
	pdu_nop_in_encode(&nop, reply->bhs);
	reply->stat_sn = TX_STAT_SN_SHOW;
	reply_send(conn, reply);
}

void watch_pong(struct conn *conn, uint32_t ttt)
{
	if (ttt == conn->ping_ttt)
		conn->ping_sent_ns = 0;
}

void watch_deaf(struct conn *conn)
{
	if (conn->deaf_since_ns == 0)
		conn->deaf_since_ns = loop_now_ns(conn->loop);
}

void watch_listening(struct conn *conn)
{
	conn->deaf_ns += loop_now_ns(conn->loop) - conn->deaf_since_ns;
	conn->deaf_since_ns = 0;
}

/* While it was us who did not listen, the peer owes nothing. Moments do not count: a flood of pings
 * makes some whenever it likes, and would keep what it owes for ever. */
LOOP_ONLY static void note_listening(struct conn *conn)
{
	uint64_t tick_ns = tick_ms(&conn->session->spec.server->limits) * CLOCK_NS_PER_MS;

	if (conn->deaf_since_ns != 0) {
		watch_listening(conn);
		watch_deaf(conn);
	}
	if (conn->deaf_ns > tick_ns / 2)
		conn->listening_since_ns = loop_now_ns(conn->loop);
	conn->deaf_ns = 0;
}

LOOP_ONLY static bool has_listened(const struct conn *conn, uint64_t ms)
{
	return loop_now_ns(conn->loop) - conn->listening_since_ns >= ms * CLOCK_NS_PER_MS;
}

/* NULL, or why the peer has to go. */
LOOP_ONLY static const char *judge(struct conn *conn)
{
	const struct iscsi_limits *limits = &conn->session->spec.server->limits;
	uint64_t now_ns = loop_now_ns(conn->loop);

	if (tx_is_stalled(conn, limits->write_stall_timeout_ms))
		return "the peer has taken no data for the write-stall time";
	if (has_listened(conn, limits->data_out_timeout_ms) && data_overdue(conn))
		return "the peer owes data it was asked for";
	if (has_listened(conn, limits->data_out_timeout_ms) && command_overdue(conn))
		return "a CmdSN before those of commands that wait has not come";
	if (has_listened(conn, limits->nop_timeout_ms) && conn->ping_sent_ns != 0 &&
	    now_ns - conn->ping_sent_ns > limits->nop_timeout_ms * CLOCK_NS_PER_MS)
		return "the peer did not answer a NOP-In";
	return NULL;
}

/* A discovery session may not answer a NOP-In (RFC 7143 4.3), nor has it a reason to be silent. */
LOOP_ONLY static void wake(struct conn *conn)
{
	if (conn->session->spec.discovery) {
		conn_close(conn, "nothing more was asked in discovery");
	} else {
		ping(conn);
	}
}

LOOP_ONLY static void on_tick(struct loop_timer *timer)
{
	struct conn *conn = CONTAINER_OF(timer, struct conn, watch);
	const struct iscsi_limits *limits = &conn->session->spec.server->limits;
	note_listening(conn);
	const char *why = judge(conn);

	if (why != NULL) {
		conn_close(conn, why);
		return;
	}
	uint64_t silent_ns = loop_now_ns(conn->loop) - conn->last_heard_ns;

	watch_start(conn);
	if (limits->nop_interval_ms != 0 && conn->ping_sent_ns == 0 &&
	    conn->state == CONN_RUNNING && silent_ns >= limits->nop_interval_ms * CLOCK_NS_PER_MS)
		wake(conn);
}

void watch_start(struct conn *conn)
{
	loop_timer_start(conn->loop, &conn->watch, tick_ms(&conn->session->spec.server->limits),
			 on_tick);
}
