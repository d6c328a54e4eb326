/*
 * All connections before the full feature phase; see login_service.h.
 *
 * Runs on the control loop. Read next: login_conn.c.
 */
#include "target/iscsi/login_service.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "target/iscsi/login_conn.h"
#include "target/iscsi/login_policy.h"

static_assert(LOGIN_WORK_BYTES <= LOOP_BUFFER_BYTES, "a login works in one loop buffer");

/* How often a full doorway is looked at. */
#define CROWD_TICK_MS 250u

static struct log_limit full_limit = LOG_LIMIT(1, 10000);

int login_service_create(const struct iscsi_server *server, struct login_service **out)
{
	struct login_service *service = calloc(1, sizeof(*service));
	int error;

	if (!service)
		return -ENOMEM;
	error = pool_init(&service->conns, server->limits.logins_max, sizeof(struct login_conn), 0);
	if (error != 0) {
		free(service);
		return error;
	}
	service->server = server;
	login_policy_init(&service->policy);
	list_init(&service->list);
	*out = service;
	return 0;
}

void login_service_free(struct login_service *service, bool abandon)
{
	if (!service)
		return;
	pool_clear(&service->conns, abandon);
	free(service);
}

void login_service_set_portals(struct login_service *service, struct portal_set *portals)
{
	service->portals = portals;
}

uint32_t login_service_count(const struct login_service *service)
{
	return service->count;
}

const struct login_counters *login_service_counters(const struct login_service *service)
{
	return &service->counters;
}

static LOOP_ONLY struct login_conn *acquire(struct login_service *service)
{
	struct loop *loop = service->server->control;
	struct login_conn *conn = pool_acquire(&service->conns);
	void *work;

	if (!conn)
		return NULL;
	work = loop_buffer_acquire(loop);
	if (!work) {
		pool_release(&service->conns, conn);
		return NULL;
	}
	memset(conn, 0, sizeof(*conn));
	conn->service = service;
	conn->work = work;
	list_append(&service->list, &conn->link);
	service->count++;
	return conn;
}

void login_service_release(struct login_conn *conn)
{
	struct login_service *service = conn->service;

	loop_timer_stop(service->server->control, &conn->deadline);
	loop_timer_stop(service->server->control, &conn->pause);
	registry_wait_cancel(&conn->waiter);
	portal_guest_leave(&conn->guest);
	login_release(&conn->login);
	loop_buffer_release(service->server->control, conn->work);
	list_remove(&conn->link);
	pool_release(&service->conns, conn);
	service->count--;
	if (service->count == 0 && service->on_empty)
		service->on_empty(service->on_empty_arg);
}

/*
 * While as many connections as allowed stand in the doorway, others wait outside, and these may be
 * hosts that would be in within milliseconds. So those inside that owe us a word, or wait for their
 * refusal, have a fifth of the time then. A timer looks, because nobody comes in who could be the
 * occasion.
 */
static LOOP_ONLY void on_crowd(struct loop_timer *timer);

static LOOP_ONLY void watch_crowd(struct login_service *service)
{
	if (service->count >= service->server->limits.logins_max &&
	    !loop_timer_is_armed(&service->crowd)) {
		loop_timer_start(service->server->control, &service->crowd, CROWD_TICK_MS,
				 on_crowd);
	}
}

static void on_crowd(struct loop_timer *timer)
{
	struct login_service *service = CONTAINER_OF(timer, struct login_service, crowd);
	uint64_t patience_ns = service->server->limits.login_timeout_ms * CLOCK_NS_PER_MS / 5;
	uint64_t now_ns = loop_now_ns(service->server->control);

	LIST_FOREACH (node, &service->list) {
		struct login_conn *conn = CONTAINER_OF(node, struct login_conn, link);

		if (login_conn_may_make_room(conn) && now_ns - conn->since_ns >= patience_ns)
			login_conn_close(conn, "too slow while others wait");
	}
	watch_crowd(service);
}

void login_service_arrival(void *context, const struct portal_arrival *arrival)
{
	struct login_service *service = context;
	struct login_conn *conn = service->stopping ? NULL : acquire(service);

	if (!conn) {
		log_limited(&full_limit, LOG_LEVEL_WARN, "iscsi",
			    "a connection was closed: no room for one more login");
		(void)close(arrival->fd);
		return;
	}
	portal_guest_enter(service->portals, &conn->guest, &arrival->peer);
	login_conn_start(conn, arrival);
	watch_crowd(service);
}

void login_service_renew(struct login_service *service)
{
	LIST_FOREACH (node, &service->list) {
		struct login_conn *conn = CONTAINER_OF(node, struct login_conn, link);

		/* One that has a session looks at nothing any more. */
		if (login_has_begun(&conn->login) && !conn->entry)
			login_conn_close(conn, "the configuration changed; it may try again");
	}
}

void login_service_stop(struct login_service *service, void (*on_empty)(void *arg), void *arg)
{
	service->stopping = true;
	loop_timer_stop(service->server->control, &service->crowd);
	LIST_FOREACH (node, &service->list) {
		login_conn_close(CONTAINER_OF(node, struct login_conn, link), "the target ends");
	}
	service->on_empty = on_empty;
	service->on_empty_arg = arg;
	if (service->count == 0)
		on_empty(arg);
}
