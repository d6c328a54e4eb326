/*
 * Logins over real sockets: portals, the login service and the list of sessions on a control loop
 * of its own thread, sessions that do nothing, and an initiator that speaks in single PDUs. Not a
 * test.
 */
#ifndef TESTS_UNIT_ISCSI_LOGIN_RIG_H
#define TESTS_UNIT_ISCSI_LOGIN_RIG_H

#include "target/iscsi/chap.h"
#include "target/iscsi/login_service.h"
#include "target/iscsi/pdu.h"
#include "target/iscsi/registry.h"
#include "target/iscsi/text.h"

#include "tests/unit/iscsi_session_fake.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/time.h>
#include <time.h>

#define RIG_TARGET "iqn.2026-11.io.ringsan:disk"
#define RIG_CHAP_TARGET "iqn.2026-11.io.ringsan:chap"
#define RIG_HOST "iqn.1993-08.org.debian:01:host"
#define RIG_NAMES "InitiatorName=" RIG_HOST "|TargetName=" RIG_TARGET "|SessionType=Normal|"
#define RIG_CHAP_NAMES \
	"InitiatorName=" RIG_HOST "|TargetName=" RIG_CHAP_TARGET "|SessionType=Normal|"

enum {
	RIG_PATIENCE_MS = 3000
};

struct rig {
	struct iscsi_server server;
	struct iscsi_target targets[2];
	struct iscsi_target *target_list[2];
	struct iscsi_view view;
	struct iscsi_portal portal;
	struct portal_set *portals;
	struct login_service *service;
	struct loop_msg msg;
	sem_t done;
	unsigned pending;
};

static struct rig rig;

static const struct iscsi_user rig_users[] = {
	{"alice", (const uint8_t *)"alice's secret", 14},
	{"bob", (const uint8_t *)"bob's own secret", 16},
	{"target", (const uint8_t *)"the target's one", 16},
};

static inline bool rig_permits(const void *rules, const char *initiator_name,
			       const struct sockaddr_storage *peer)
{
	(void)peer;
	return strcmp(initiator_name, rules) != 0;
}

static inline struct loop *rig_loop(unsigned index, uint32_t buffers)
{
	const struct loop_config config = {
		.name = "test", .engine = LOOP_ENGINE_AIO, .index = index, .buffer_count = buffers};
	struct loop *loop;

	cr_assert_eq(loop_create(&config, &loop), 0);
	return loop;
}

static inline void rig_targets(void)
{
	static const uint16_t tags[] = {1};

	rig.targets[0] = (struct iscsi_target){
		.name = RIG_TARGET, .permits = rig_permits, .rules = "iqn.not-this-one"};
	rig.targets[1] = (struct iscsi_target){
		.name = RIG_CHAP_TARGET,
		.tags = tags,
		.tag_count = 1,
		.auth = {.users = rig_users, .user_count = 2, .mutual = &rig_users[2]}};
	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(scsi_target_create(rig.targets[i].name, &rig.server.group,
						&rig.targets[i].scsi),
			     0);
		rig.target_list[i] = &rig.targets[i];
	}
	rig.view =
		(struct iscsi_view){.generation = 1, .targets = rig.target_list, .target_count = 2};
	iscsi_view_set(&rig.server, &rig.view);
}

static inline void rig_open_portal(void)
{
	const struct portal_limits limits = {rig.server.limits.logins_max,
					     rig.server.limits.logins_per_source_max};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	char why[PORTAL_WHY_BYTES];

	memcpy(&rig.portal.address, &in, sizeof(in));
	rig.portal.tag = 1;
	cr_assert_eq(portal_set_create(rig.server.control, &limits, login_service_arrival,
				       rig.service, &rig.portals),
		     0);
	cr_assert_eq(portal_set_open(rig.portals, &rig.portal.address, why), 0, "%s", why);
	login_service_set_portals(rig.service, rig.portals);
	rig.server.portals = &rig.portal;
	rig.server.portal_count = 1;
}

LOOP_ONLY static inline void rig_on_start(struct loop_msg *msg)
{
	(void)msg;
	portal_set_start(rig.portals);
}

/* The whole rig; limits may be changed before. */
static inline void rig_begin(void)
{
	struct iscsi_limits *limits = &rig.server.limits;

	if (limits->logins_max == 0)
		*limits = (struct iscsi_limits){.sessions_max = 8,
						.login_timeout_ms = 20000,
						.logins_max = 8,
						.logins_per_source_max = 8};
	rig.server.control = rig_loop(2, limits->logins_max);
	for (unsigned i = 0; i < 2; i++)
		rig.server.group.loops[rig.server.group.count++] = rig_loop(i, 0);
	rig_targets();
	cr_assert_eq(registry_create(&rig.server, &rig.server.registry), 0);
	cr_assert_eq(login_service_create(&rig.server, &rig.service), 0);
	rig_open_portal();
	cr_assert_eq(sem_init(&rig.done, 0, 0), 0);
	cr_assert_eq(loop_start(rig.server.control), 0);
	loop_post(rig.server.control, &rig.msg, rig_on_start);
}

static inline void rig_on_empty(void *arg)
{
	(void)arg;
	rig.pending--;
	if (rig.pending == 0)
		sem_post(&rig.done);
}

LOOP_ONLY static inline void rig_on_stop(struct loop_msg *msg)
{
	(void)msg;
	rig.pending = 2;
	/* An answer may reach its guest before its session has started. */
	atomic_store(&fake_all_end, true);
	portal_set_stop(rig.portals);
	login_service_stop(rig.service, rig_on_empty, NULL);
	registry_close_all(rig.server.registry, SESSION_CLOSE_SHUTDOWN, rig_on_empty, NULL);
	for (unsigned i = 0; i < FAKE_SESSIONS_MAX; i++) {
		struct session *session = atomic_load(&fake_sessions[i]);

		if (session && atomic_load(&session->started))
			fake_end(session);
	}
}

/* Everything is closed, and everything came back. */
static inline void rig_end(void)
{
	struct timespec deadline;

	loop_post(rig.server.control, &rig.msg, rig_on_stop);
	cr_assert_eq(clock_gettime(CLOCK_REALTIME, &deadline), 0);
	deadline.tv_sec += 5;
	cr_assert_eq(sem_timedwait(&rig.done, &deadline), 0, "it does not come to an end");
	loop_stop(rig.server.control);
	loop_join(rig.server.control);
	portal_set_free(rig.portals);
	login_service_free(rig.service, false);
	registry_free(rig.server.registry, false);
	for (unsigned i = 0; i < 2; i++) {
		scsi_target_free(rig.targets[i].scsi);
		loop_free(rig.server.group.loops[i], false);
	}
	loop_free(rig.server.control, false);
}

/* -- The initiator -- */

struct guest {
	int fd;
	struct pdu_login_request request; /* Of the next request; changed as a test likes. */
	struct pdu_login_response response;
	char text[16384]; /* Of the last response, with '|' for zero bytes. */
	uint32_t text_len;
};

static inline struct guest guest_connect(void)
{
	struct guest guest = {
		.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
		.request = {.itt = 1,
			    .cmd_sn = 77,
			    .exp_stat_sn = 5,
			    .cid = 1,
			    .isid = {0x80, 1, 2, 3, 4, 5},
			    .csg = 1,
			    .nsg = 3,
			    .transit = true},
	};
	const struct timeval patience = {.tv_sec = RIG_PATIENCE_MS / 1000};

	cr_assert_geq(guest.fd, 0);
	cr_assert_eq(setsockopt(guest.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	cr_assert_eq(connect(guest.fd, (struct sockaddr *)&rig.portal.address,
			     sizeof(struct sockaddr_in)),
		     0);
	return guest;
}

/* The request with this text ('|' for zero bytes) as bytes; returns how many. */
static inline size_t guest_encode(struct guest *guest, const char *text, uint8_t out[9000])
{
	size_t len = strlen(text);

	memset(out, 0, 9000);
	guest->request.data_len_bytes = (uint32_t)len;
	pdu_login_request_encode(&guest->request, out);
	for (size_t i = 0; i < len; i++)
		out[PDU_BHS_BYTES + i] = text[i] == '|' ? 0 : (uint8_t)text[i];
	return PDU_BHS_BYTES + pdu_padded((uint32_t)len);
}

static inline void guest_send(struct guest *guest, const char *text)
{
	uint8_t bytes[9000];
	size_t len = guest_encode(guest, text, bytes);

	cr_assert_eq(send(guest->fd, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* True: a whole response came. False: the connection was closed. */
static inline bool guest_receive(struct guest *guest)
{
	uint8_t bhs[PDU_BHS_BYTES];
	ssize_t got = recv(guest->fd, bhs, sizeof(bhs), MSG_WAITALL);
	uint32_t padded;

	cr_assert(got >= 0 || errno == ECONNRESET, "no answer: %s", strerror(errno));
	if (got <= 0)
		return false;
	cr_assert_eq(got, sizeof(bhs));
	cr_assert_eq(pdu_opcode(bhs), PDU_LOGIN_RESPONSE);
	pdu_login_response_decode(&guest->response, bhs);
	guest->text_len = guest->response.data_len_bytes;
	padded = pdu_padded(guest->text_len);
	cr_assert_lt(padded, sizeof(guest->text));
	if (padded > 0)
		cr_assert_eq(recv(guest->fd, guest->text, padded, MSG_WAITALL), (ssize_t)padded);
	for (uint32_t i = 0; i < guest->text_len; i++) {
		if (guest->text[i] == '\0')
			guest->text[i] = '|';
	}
	guest->text[guest->text_len] = '\0';
	return true;
}

/* Nothing comes for a while: neither an answer nor the end. */
static inline bool guest_hears_nothing(const struct guest *guest)
{
	struct pollfd poll_fd = {.fd = guest->fd, .events = POLLIN};

	return poll(&poll_fd, 1, 100) == 0;
}

static inline bool guest_is_closed(struct guest *guest)
{
	char byte;
	ssize_t got = recv(guest->fd, &byte, 1, 0);

	return got == 0 || (got < 0 && errno == ECONNRESET);
}

/* Send, and expect this status. */
static inline void guest_expect(struct guest *guest, const char *text, uint16_t status)
{
	guest_send(guest, text);
	cr_assert(guest_receive(guest), "closed without an answer");
	cr_assert_eq(guest->response.status, status, "status %04x, not %04x",
		     guest->response.status, status);
}

/* The value of a key in the last response, "" if it is not there. */
static inline const char *guest_value(const struct guest *guest, const char *key)
{
	static char value[4096];
	char wanted[64];
	const char *at;

	(void)snprintf(wanted, sizeof(wanted), "%s=", key);
	at = strstr(guest->text, wanted);
	value[0] = '\0';
	if (at)
		(void)sscanf(at + strlen(wanted), "%4095[^|]", value);
	return value;
}

/* Security stage up to the challenge; its bytes and identifier are left for guest_answer. */
struct chap_question_bytes {
	uint8_t identifier;
	uint8_t bytes[CHAP_CHALLENGE_BYTES_MAX];
	int len;
};

static inline struct chap_question_bytes guest_ask_challenge(struct guest *guest)
{
	struct chap_question_bytes out;

	guest->request.csg = 0;
	guest->request.nsg = 0;
	guest->request.transit = false;
	guest_expect(guest, RIG_CHAP_NAMES "AuthMethod=CHAP|", PDU_LOGIN_SUCCESS);
	guest_expect(guest, "CHAP_A=5|", PDU_LOGIN_SUCCESS);
	out.identifier = (uint8_t)strtoul(guest_value(guest, "CHAP_I"), NULL, 0);
	out.len = text_binary(guest_value(guest, "CHAP_C"), out.bytes, sizeof(out.bytes));
	cr_assert_eq(out.len, CHAP_CHALLENGE_BYTES);
	return out;
}

/* "CHAP_N=...|CHAP_R=0x...|" for the challenge. */
static inline void chap_text(const struct chap_question_bytes *asked, const struct iscsi_user *user,
			     char out[512])
{
	const struct chap_question question = {.algorithm = CHAP_MD5,
					       .identifier = asked->identifier,
					       .challenge = asked->bytes,
					       .challenge_len_bytes = (size_t)asked->len};
	struct chap_secret secret = {.len_bytes = (uint16_t)user->secret_bytes};
	struct chap_response response;
	int at;

	memcpy(secret.bytes, user->secret, user->secret_bytes);
	cr_assert_eq(chap_respond(&question, &secret, &response), 0);
	at = snprintf(out, 512, "CHAP_N=%s|CHAP_R=0x", user->name);
	for (unsigned i = 0; i < response.len_bytes; i++)
		at += snprintf(out + at, 512 - (size_t)at, "%02x", response.bytes[i]);
	(void)snprintf(out + at, 512 - (size_t)at, "|");
}

/* A whole login as that user; true if it got in, which is when `guest` has its TSIH. */
static inline bool guest_login_chap(struct guest *guest, const struct iscsi_user *user,
				    uint16_t status)
{
	struct chap_question_bytes asked = guest_ask_challenge(guest);
	char text[512];

	chap_text(&asked, user, text);
	guest->request.nsg = 3;
	guest->request.transit = true;
	guest_expect(guest, text, status);
	return status == PDU_LOGIN_SUCCESS;
}

/* -- What became of it on this side -- */

/* The session of that number, once it was made and started. */
static inline struct session *rig_session(unsigned index)
{
	for (unsigned i = 0; i < RIG_PATIENCE_MS; i++) {
		struct session *session = atomic_load(&fake_sessions[index]);

		if (session && atomic_load(&session->started))
			return session;
		(void)poll(NULL, 0, 1);
	}
	cr_assert_fail("session %u was not started", index);
	return NULL;
}

static inline void rig_wait_close(struct session *session, enum session_close_reason reason)
{
	for (unsigned i = 0; i < RIG_PATIENCE_MS; i++) {
		if (atomic_load(&session->close_reason) != SESSION_CLOSE_NONE)
			break;
		(void)poll(NULL, 0, 1);
	}
	cr_assert_eq(atomic_load(&session->close_reason), (int)reason);
}

#endif
