/*
 * What the configuration says about logins, over real sockets: redirection, targets out of service,
 * CHAP algorithms, delays, and each status that a login may end in.
 */
#include "target/iscsi/login_policy.h"

#include "tests/unit/iscsi_login_rig.h"

TestSuite(iscsi_login_policy, .init = rig_begin, .fini = rig_end);

static struct guest try_once(uint16_t status)
{
	struct guest guest = guest_connect();

	guest_expect(&guest, RIG_NAMES, status);
	cr_expect(status == PDU_LOGIN_SUCCESS || guest_is_closed(&guest));
	return guest;
}

/* -- Redirection: RFC 7143 11.13.5 -- */

Test(iscsi_login_policy, hosts_are_sent_elsewhere)
{
	struct guest guest;

	rig.targets[0].redirect = "192.0.2.7";
	rig.targets[0].redirect_port = 3261;
	guest = try_once(PDU_LOGIN_MOVED_TEMPORARILY);
	cr_expect_str_eq(guest_value(&guest, "TargetAddress"), "192.0.2.7:3261");
	rig.targets[0].redirect_permanent = true;
	rig.targets[0].redirect = "2001:db8::7";
	guest = try_once(PDU_LOGIN_MOVED_PERMANENTLY);
	cr_expect_str_eq(guest_value(&guest, "TargetAddress"), "[2001:db8::7]:3261");
	cr_expect_eq(login_service_counters(rig.service)->refused, 0);
	cr_expect_eq(login_service_counters(rig.service)->redirected, 2);
}

/* Nobody is sent in a circle. */
Test(iscsi_login_policy, who_was_sent_here_is_let_in)
{
	rig.targets[0].redirect = "127.0.0.1";
	rig.targets[0].redirect_port = address_port(&rig.portal.address);
	(void)try_once(PDU_LOGIN_SUCCESS);
	rig.targets[0].redirect_port++;
	(void)try_once(PDU_LOGIN_MOVED_TEMPORARILY);
}

Test(iscsi_login_policy, a_name_is_known_by_what_a_portal_advertises)
{
	rig.targets[0].redirect = "san.example.org";
	rig.targets[0].redirect_port = 3260;
	(void)try_once(PDU_LOGIN_MOVED_TEMPORARILY);
	rig.portal.advertise = "SAN.example.org";
	rig.portal.advertise_port = 3260;
	(void)try_once(PDU_LOGIN_SUCCESS);
}

/* Who may not use a target is not told where it went. */
Test(iscsi_login_policy, access_comes_before_redirection)
{
	struct guest guest = guest_connect();

	rig.targets[0].redirect = "192.0.2.7";
	rig.targets[0].redirect_port = 3260;
	guest_expect(&guest,
		     "InitiatorName=iqn.not-this-one|TargetName=" RIG_TARGET "|SessionType=Normal|",
		     PDU_LOGIN_AUTHORIZATION_FAILURE);
	cr_expect_str_eq(guest_value(&guest, "TargetAddress"), "");
}

/* -- A target that is configured and not ready is there: hosts come again -- */

Test(iscsi_login_policy, a_target_out_of_service_is_not_unknown)
{
	rig.targets[0].offline = true;
	(void)try_once(PDU_LOGIN_SERVICE_UNAVAILABLE);
	rig.targets[0].offline = false;
	(void)try_once(PDU_LOGIN_SUCCESS);
}

/* -- CHAP algorithms -- */

Test(iscsi_login_policy, a_target_may_refuse_md5)
{
	struct guest guest = guest_connect();

	rig.targets[1].auth.chap_algorithms =
		CHAP_ALGORITHM_BIT(CHAP_SHA256) | CHAP_ALGORITHM_BIT(CHAP_SHA3_256);
	guest.request.csg = 0;
	guest.request.transit = false;
	guest.request.nsg = 0;
	guest_expect(&guest, RIG_CHAP_NAMES "AuthMethod=CHAP|", PDU_LOGIN_SUCCESS);
	guest_expect(&guest, "CHAP_A=5,6,8,7|", PDU_LOGIN_SUCCESS);
	cr_expect_str_eq(guest_value(&guest, "CHAP_A"), "8");
	guest = guest_connect();
	guest.request.csg = 0;
	guest.request.transit = false;
	guest.request.nsg = 0;
	guest_expect(&guest, RIG_CHAP_NAMES "AuthMethod=CHAP|", PDU_LOGIN_SUCCESS);
	guest_expect(&guest, "CHAP_A=5|", PDU_LOGIN_AUTHENTICATION_FAILURE);
	cr_expect(guest_is_closed(&guest));
}

/* -- Delays -- */

static uint64_t now_ms(void)
{
	struct timespec now;

	cr_assert_eq(clock_gettime(CLOCK_MONOTONIC, &now), 0);
	return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

/* However many connections he opens, and whether or not he waits for answers. */
Test(iscsi_login_policy, who_asks_at_once_is_answered_one_by_one)
{
	struct guest guests[3];
	uint64_t begin = now_ms();

	rig.server.limits.refusal_delay_ms = 200;
	for (unsigned i = 0; i < 3; i++) {
		guests[i] = guest_connect();
		guest_send(&guests[i],
			   "InitiatorName=" RIG_HOST "|TargetName=iqn.none|SessionType=Normal|");
	}
	for (unsigned i = 0; i < 3; i++)
		cr_assert(guest_receive(&guests[i]));
	cr_expect_geq(now_ms() - begin, 590);
	(void)try_once(PDU_LOGIN_SUCCESS);
}

/* Hanging up does not give the place in the doorway back early. */
Test(iscsi_login_policy, who_hangs_up_holds_his_place)
{
	struct guest guest = guest_connect();

	rig.server.limits.refusal_delay_ms = 300;
	guest_send(&guest, "InitiatorName=" RIG_HOST "|TargetName=iqn.none|SessionType=Normal|");
	(void)close(guest.fd);
	(void)poll(NULL, 0, 100);
	cr_expect_eq(portal_set_guests(rig.portals), 1);
	for (unsigned i = 0; i < RIG_PATIENCE_MS && portal_set_guests(rig.portals) > 0; i++)
		(void)poll(NULL, 0, 1);
	cr_expect_eq(portal_set_guests(rig.portals), 0);
}

/* A pause is not the initiator's time: a short login timeout does not swallow the answer. */
Test(iscsi_login_policy, a_pause_longer_than_the_login_timeout)
{
	rig.server.limits.refusal_delay_ms = 400;
	rig.server.limits.login_timeout_ms = 200;
	rig.targets[0].offline = true;
	(void)try_once(PDU_LOGIN_SERVICE_UNAVAILABLE);
}

/* -- A full doorway -- */

static void begin_narrow(void)
{
	rig.server.limits = (struct iscsi_limits){.sessions_max = 4,
						  .login_timeout_ms = 5000,
						  .logins_max = 2,
						  .logins_per_source_max = 2};
	rig_begin();
}

TestSuite(iscsi_login_crowd, .init = begin_narrow, .fini = rig_end);

/* Who says nothing, or too little, makes room long before his deadline. */
Test(iscsi_login_crowd, those_who_dawdle_make_room)
{
	struct guest silent = guest_connect();
	struct guest slow = guest_connect();
	struct guest guest;
	uint64_t begin = now_ms();

	cr_assert_eq(send(slow.fd, "\x43", 1, 0), 1);
	guest = guest_connect();
	guest_expect(&guest, RIG_NAMES, PDU_LOGIN_SUCCESS);
	cr_expect_geq(now_ms() - begin, 900);
	cr_expect(guest_is_closed(&silent));
	cr_expect(guest_is_closed(&slow));
}

/* Nor do refusals keep the doorway full for as long as they wait. */
Test(iscsi_login_crowd, those_to_be_refused_make_room)
{
	struct guest guests[3];

	rig.server.limits.refusal_delay_ms = 10000;
	for (unsigned i = 0; i < 2; i++) {
		guests[i] = guest_connect();
		guest_send(&guests[i],
			   "InitiatorName=" RIG_HOST "|TargetName=iqn.none|SessionType=Normal|");
	}
	guests[2] = guest_connect();
	guest_expect(&guests[2], RIG_NAMES, PDU_LOGIN_SUCCESS);
	cr_expect(guest_is_closed(&guests[0]));
	cr_expect(guest_is_closed(&guests[1]));
}

/* Alone, the same are left their time. */
Test(iscsi_login_crowd, nobody_is_hurried_without_a_crowd)
{
	struct guest silent = guest_connect();

	(void)poll(NULL, 0, 1500);
	guest_expect(&silent, RIG_NAMES, PDU_LOGIN_SUCCESS);
}

/* -- 02/08 -- */

/* RFC 7143 4.2.2: a session lives in one portal group. */
Test(iscsi_login_policy, a_session_does_not_span_portal_groups)
{
	struct guest first = try_once(PDU_LOGIN_SUCCESS);
	struct guest guest = guest_connect();

	rig.portal.tag = 2;
	guest.request.tsih = first.response.tsih;
	guest_expect(&guest, RIG_NAMES, PDU_LOGIN_CANNOT_INCLUDE_IN_SESSION);
	cr_expect_eq(atomic_load(&rig_session(0)->close_reason), SESSION_CLOSE_NONE);
}

/* -- Randomness -- */

static int compare_challenges(const void *a, const void *b)
{
	return memcmp(a, b, CHAP_CHALLENGE_BYTES);
}

/* CVE-2024-45751: of a hundred thousand challenges none comes twice, and identifiers move. */
Test(iscsi_login_random, challenges_do_not_repeat)
{
	enum {
		COUNT = 100000
	};
	uint8_t(*all)[CHAP_CHALLENGE_BYTES] = calloc(COUNT, CHAP_CHALLENGE_BYTES);
	unsigned identifiers[256] = {0};
	struct login_policy policy;

	cr_assert_not_null(all);
	login_policy_init(&policy);
	for (unsigned i = 0; i < COUNT; i++) {
		struct chap_challenge challenge;

		cr_assert_eq(chap_challenge_make(&challenge, CHAP_SHA256, policy.random, NULL), 0);
		memcpy(all[i], challenge.bytes, CHAP_CHALLENGE_BYTES);
		identifiers[challenge.identifier]++;
	}
	qsort(all, COUNT, CHAP_CHALLENGE_BYTES, compare_challenges);
	for (unsigned i = 1; i < COUNT; i++)
		cr_assert_neq(memcmp(all[i], all[i - 1], CHAP_CHALLENGE_BYTES), 0);
	/* 390 each are to be expected. */
	for (unsigned i = 0; i < 256; i++)
		cr_expect(identifiers[i] > 200 && identifiers[i] < 600, "%u", identifiers[i]);
	free(all);
}

/* -- Counters -- */

Test(iscsi_login_policy, what_became_of_connections_is_counted)
{
	const struct login_counters *counters = login_service_counters(rig.service);
	const struct iscsi_user wrong = {"alice", (const uint8_t *)"not her secret", 14};
	struct guest guest = guest_connect();

	(void)guest_login_chap(&guest, &wrong, PDU_LOGIN_AUTHENTICATION_FAILURE);
	cr_expect(guest_is_closed(&guest));
	rig.targets[0].offline = true;
	(void)try_once(PDU_LOGIN_SERVICE_UNAVAILABLE);
	rig.targets[0].offline = false;
	guest = guest_connect();
	cr_assert_eq(send(guest.fd, "GET ", 4, 0), 4);
	cr_expect(guest_is_closed(&guest));
	(void)try_once(PDU_LOGIN_SUCCESS);
	(void)rig_session(0);
	cr_expect_eq(counters->refused, 2);
	cr_expect_eq(counters->unproved, 1);
	cr_expect_eq(counters->closed, 1);
	cr_expect_eq(counters->admitted, 1);
}
