/*
 * Who takes the place of an earlier session: only somebody who has proved to be the same, and only
 * when nothing of that session is left. RFC 7143 6.3.4, 6.3.5.
 */
#include "tests/unit/iscsi_login_rig.h"

TestSuite(iscsi_admission, .init = rig_begin, .fini = rig_end);

static struct guest log_in(void)
{
	struct guest guest = guest_connect();

	guest_expect(&guest, RIG_NAMES, PDU_LOGIN_SUCCESS);
	return guest;
}

/* Log in again with the key of session 0, which has to make room. */
static struct guest log_in_again(void)
{
	struct guest guest = guest_connect();

	guest_send(&guest, RIG_NAMES);
	rig_wait_close(rig_session(0), SESSION_CLOSE_REINSTATED);
	return guest;
}

Test(iscsi_admission, the_answer_waits_for_the_end_of_the_old_session)
{
	struct guest first = log_in();
	struct guest second = log_in_again();

	cr_expect(guest_hears_nothing(&second));
	cr_expect_eq(atomic_load(&fake_session_count), 1);
	fake_post_end(rig_session(0));
	cr_assert(guest_receive(&second));
	cr_expect_eq(second.response.status, PDU_LOGIN_SUCCESS);
	cr_expect_eq(session_spec(rig_session(1))->tsih, second.response.tsih);
	cr_expect(guest_is_closed(&first));
}

Test(iscsi_admission, another_isid_is_another_session)
{
	struct guest guest = guest_connect();

	(void)log_in();
	guest.request.isid[5]++;
	guest_expect(&guest, RIG_NAMES, PDU_LOGIN_SUCCESS);
	cr_expect_eq(atomic_load(&rig_session(0)->close_reason), SESSION_CLOSE_NONE);
}

Test(iscsi_admission, another_name_is_another_session)
{
	struct guest guest = guest_connect();

	(void)log_in();
	guest_expect(&guest,
		     "InitiatorName=iqn.other|TargetName=" RIG_TARGET "|SessionType=Normal|",
		     PDU_LOGIN_SUCCESS);
	cr_expect_eq(atomic_load(&rig_session(0)->close_reason), SESSION_CLOSE_NONE);
}

Test(iscsi_admission, discovery_sessions_replace_nobody)
{
	for (unsigned i = 0; i < 2; i++) {
		struct guest guest = guest_connect();

		guest_expect(&guest, "InitiatorName=" RIG_HOST "|SessionType=Discovery|",
			     PDU_LOGIN_SUCCESS);
		(void)rig_session(i);
	}
	cr_expect_eq(atomic_load(&rig_session(0)->close_reason), SESSION_CLOSE_NONE);
}

Test(iscsi_admission, the_last_of_several_successors_counts)
{
	struct guest first = log_in();
	struct guest second = log_in_again();
	struct guest third = guest_connect();

	guest_send(&third, RIG_NAMES);
	cr_expect(guest_is_closed(&second));
	cr_expect(guest_hears_nothing(&third));
	fake_post_end(rig_session(0));
	cr_assert(guest_receive(&third));
	cr_expect_eq(third.response.status, PDU_LOGIN_SUCCESS);
	cr_expect(guest_is_closed(&first));
}

Test(iscsi_admission, a_successor_that_gave_up_is_not_waited_for)
{
	struct guest second;

	(void)log_in();
	second = log_in_again();
	(void)close(second.fd);
	fake_post_end(rig_session(0));
	/* It was answered into a closed socket; its session is there, to find that out. */
	(void)rig_session(1);
}

/* -- Who may -- */

Test(iscsi_admission, nothing_happens_before_authentication)
{
	struct guest first = guest_connect();
	struct guest thief = guest_connect();
	const struct iscsi_user guessed = {"alice", (const uint8_t *)"no such secret", 14};

	(void)guest_login_chap(&first, &rig_users[0], PDU_LOGIN_SUCCESS);
	(void)guest_login_chap(&thief, &guessed, PDU_LOGIN_AUTHENTICATION_FAILURE);
	cr_expect_eq(atomic_load(&rig_session(0)->close_reason), SESSION_CLOSE_NONE);
}

Test(iscsi_admission, another_user_may_not_replace)
{
	struct guest first = guest_connect();
	struct guest other = guest_connect();

	(void)guest_login_chap(&first, &rig_users[0], PDU_LOGIN_SUCCESS);
	(void)guest_login_chap(&other, &rig_users[1], PDU_LOGIN_AUTHORIZATION_FAILURE);
	cr_expect(guest_is_closed(&other));
	cr_expect_eq(atomic_load(&rig_session(0)->close_reason), SESSION_CLOSE_NONE);
}

Test(iscsi_admission, the_same_user_may)
{
	struct guest first = guest_connect();
	struct guest second = guest_connect();
	struct chap_question_bytes asked;
	char text[512];

	(void)guest_login_chap(&first, &rig_users[0], PDU_LOGIN_SUCCESS);
	asked = guest_ask_challenge(&second);
	chap_text(&asked, &rig_users[0], text);
	second.request.nsg = 3;
	second.request.transit = true;
	guest_send(&second, text);
	rig_wait_close(rig_session(0), SESSION_CLOSE_REINSTATED);
	fake_post_end(rig_session(0));
	cr_assert(guest_receive(&second));
	cr_expect_eq(second.response.status, PDU_LOGIN_SUCCESS);
}

/* -- TSIH -- */

Test(iscsi_admission, the_same_connection_again_keeps_the_tsih)
{
	struct guest first = log_in();
	struct guest again = guest_connect();

	again.request.tsih = first.response.tsih;
	guest_send(&again, RIG_NAMES);
	rig_wait_close(rig_session(0), SESSION_CLOSE_REINSTATED);
	cr_expect(guest_hears_nothing(&again));
	fake_post_end(rig_session(0));
	cr_assert(guest_receive(&again));
	cr_expect_eq(again.response.status, PDU_LOGIN_SUCCESS);
	cr_expect_eq(again.response.tsih, first.response.tsih);
	cr_expect_eq(session_spec(rig_session(1))->tsih, first.response.tsih);
}

Test(iscsi_admission, a_second_connection_is_one_too_many)
{
	struct guest first = log_in();
	struct guest second = guest_connect();

	second.request.tsih = first.response.tsih;
	second.request.cid = 2;
	guest_expect(&second, RIG_NAMES, PDU_LOGIN_TOO_MANY_CONNECTIONS);
	cr_expect_eq(atomic_load(&rig_session(0)->close_reason), SESSION_CLOSE_NONE);
}

Test(iscsi_admission, a_tsih_of_nobody_or_of_somebody_else)
{
	struct guest first = log_in();
	struct guest guest = guest_connect();

	guest.request.tsih = (uint16_t)(first.response.tsih ^ 1u);
	guest_expect(&guest, RIG_NAMES, PDU_LOGIN_SESSION_DOES_NOT_EXIST);
	guest = guest_connect();
	guest.request.tsih = first.response.tsih;
	guest_expect(&guest,
		     "InitiatorName=iqn.other|TargetName=" RIG_TARGET "|SessionType=Normal|",
		     PDU_LOGIN_SESSION_DOES_NOT_EXIST);
	guest = guest_connect();
	guest.request.tsih = first.response.tsih;
	guest.request.isid[0] ^= 1u;
	guest_expect(&guest, RIG_NAMES, PDU_LOGIN_SESSION_DOES_NOT_EXIST);
	guest = guest_connect();
	guest.request.tsih = first.response.tsih;
	guest_expect(&guest, "InitiatorName=" RIG_HOST "|SessionType=Discovery|",
		     PDU_LOGIN_SESSION_DOES_NOT_EXIST);
	cr_expect_eq(atomic_load(&rig_session(0)->close_reason), SESSION_CLOSE_NONE);
}

/* -- The end in the middle -- */

Test(iscsi_admission, the_end_closes_who_waits)
{
	struct guest second;

	(void)log_in();
	second = log_in_again();
	cr_expect(guest_hears_nothing(&second));
	/* The fixture stops everything, and that everything came back is asserted there. */
}

static void begin_impatient(void)
{
	rig.server.limits = (struct iscsi_limits){.sessions_max = 8,
						  .login_timeout_ms = 300,
						  .logins_max = 8,
						  .logins_per_source_max = 8};
	rig_begin();
}

TestSuite(iscsi_admission_deadline, .init = begin_impatient, .fini = rig_end);

Test(iscsi_admission_deadline, nobody_waits_for_ever)
{
	struct guest second;

	(void)log_in();
	second = log_in_again();
	cr_expect(guest_is_closed(&second));
	fake_post_end(rig_session(0));
	(void)poll(NULL, 0, 50);
	cr_expect_eq(atomic_load(&fake_session_count), 1);
}

/* -- When there is no place -- */

static void begin_crowded(void)
{
	rig.server.limits = (struct iscsi_limits){.sessions_max = 2,
						  .login_timeout_ms = 20000,
						  .logins_max = 8,
						  .logins_per_source_max = 8};
	rig_begin();
}

TestSuite(iscsi_admission_crowded, .init = begin_crowded, .fini = rig_end);

#define DISCOVERY_NAMES "InitiatorName=" RIG_HOST "|SessionType=Discovery|"

static void discover(void)
{
	struct guest guest = guest_connect();

	guest_expect(&guest, DISCOVERY_NAMES, PDU_LOGIN_SUCCESS);
}

/* Anybody may begin a discovery session, and may stay in it: that must not shut hosts out. */
Test(iscsi_admission_crowded, strangers_in_discovery_keep_nobody_out)
{
	struct guest host = guest_connect();

	discover();
	discover();
	(void)rig_session(1);
	guest_send(&host, RIG_NAMES);
	rig_wait_close(rig_session(0), SESSION_CLOSE_CROWDED);
	cr_expect(guest_hears_nothing(&host));
	fake_post_end(rig_session(0));
	cr_assert(guest_receive(&host));
	cr_expect_eq(host.response.status, PDU_LOGIN_SUCCESS);
	cr_expect_eq(atomic_load(&rig_session(1)->close_reason), SESSION_CLOSE_NONE);
}

Test(iscsi_admission_crowded, a_discovery_takes_the_place_of_the_oldest)
{
	struct guest guest = guest_connect();

	(void)log_in();
	discover();
	(void)rig_session(1);
	guest_send(&guest, DISCOVERY_NAMES);
	rig_wait_close(rig_session(1), SESSION_CLOSE_CROWDED);
	fake_post_end(rig_session(1));
	cr_assert(guest_receive(&guest));
	cr_expect_eq(guest.response.status, PDU_LOGIN_SUCCESS);
	cr_expect_eq(atomic_load(&rig_session(0)->close_reason), SESSION_CLOSE_NONE);
}

Test(iscsi_admission_crowded, each_place_is_given_once)
{
	struct guest first = guest_connect();
	struct guest second = guest_connect();

	(void)log_in();
	discover();
	(void)rig_session(1);
	first.request.isid[5] = 0x61;
	second.request.isid[5] = 0x62;
	guest_send(&first, RIG_NAMES);
	rig_wait_close(rig_session(1), SESSION_CLOSE_CROWDED);
	guest_expect(&second, RIG_NAMES, PDU_LOGIN_OUT_OF_RESOURCES);
	cr_expect(guest_hears_nothing(&first));
	fake_post_end(rig_session(1));
	cr_assert(guest_receive(&first));
	cr_expect_eq(first.response.status, PDU_LOGIN_SUCCESS);
}
