/*
 * Sessions that do nothing, in place of session.c: a test sees when they are started and asked to
 * close, and says when they end. Not a test.
 *
 * The functions stand here under their real names, so the linker does not take the real ones.
 */
#ifndef TESTS_UNIT_ISCSI_SESSION_FAKE_H
#define TESTS_UNIT_ISCSI_SESSION_FAKE_H

#include "target/iscsi/session.h"

#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FAKE_SESSIONS_MAX 64u

struct session {
	struct session_spec spec;
	char initiator_name[ISCSI_NAME_MAX + 1];
	char target_name[ISCSI_NAME_MAX + 1];
	struct loop_msg ended;
	atomic_bool started;
	atomic_int close_reason; /* enum session_close_reason */
};

/* In the order of creation; NULL once freed. Filled by the control loop. */
static _Atomic(struct session *) fake_sessions[FAKE_SESSIONS_MAX];
static atomic_uint fake_session_count;
static atomic_int fake_create_result;
/* Set at a test's end: a session that starts only now ends at once. */
static atomic_bool fake_all_end;
static uint32_t fake_sessions_per_loop = 4;

uint32_t iscsi_loop_sessions_max(const struct loop *loop)
{
	(void)loop;
	return fake_sessions_per_loop;
}

int session_create(const struct session_spec *spec, struct session **out)
{
	unsigned index = atomic_load(&fake_session_count);
	struct session *session = calloc(1, sizeof(*session));

	cr_assert_lt(index, FAKE_SESSIONS_MAX);
	if (atomic_load(&fake_create_result) != 0) {
		free(session);
		return atomic_load(&fake_create_result);
	}
	session->spec = *spec;
	(void)strcpy(session->initiator_name, spec->initiator_name);
	session->spec.initiator_name = session->initiator_name;
	if (spec->target_name) {
		(void)strcpy(session->target_name, spec->target_name);
		session->spec.target_name = session->target_name;
	}
	atomic_store(&fake_sessions[index], session);
	atomic_store(&fake_session_count, index + 1);
	*out = session;
	return 0;
}

void session_close(struct session *session, enum session_close_reason reason)
{
	cr_assert(atomic_load(&session->started));
	cr_assert_eq(atomic_load(&session->close_reason), SESSION_CLOSE_NONE);
	atomic_store(&session->close_reason, (int)reason);
}

void session_free(struct session *session)
{
	for (unsigned i = 0; i < FAKE_SESSIONS_MAX; i++) {
		if (atomic_load(&fake_sessions[i]) == session)
			atomic_store(&fake_sessions[i], NULL);
	}
	if (session->spec.nexus)
		scsi_nexus_free(session->spec.nexus);
	free(session);
}

const struct session_spec *session_spec(const struct session *session)
{
	return &session->spec;
}

/* The session ends now; on the control loop. */
static inline void fake_end(struct session *session)
{
	if (session->spec.fd >= 0)
		(void)close(session->spec.fd);
	session->spec.on_ended(session, session->spec.arg);
}

static inline void fake_on_ended(struct loop_msg *msg)
{
	fake_end(CONTAINER_OF(msg, struct session, ended));
}

/* The same from another thread; happens soon. */
static inline void fake_post_end(struct session *session)
{
	loop_post(session->spec.server->control, &session->ended, fake_on_ended);
}

void session_start(struct session *session)
{
	cr_assert_not(atomic_load(&session->started));
	atomic_store(&session->started, true);
	if (atomic_load(&fake_all_end))
		fake_post_end(session);
}

#endif
