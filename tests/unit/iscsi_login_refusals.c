/*
 * How long refusals wait: one after the other for each source, in a table that does not grow.
 */
#include "target/iscsi/refusals.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <string.h>

#include "base/clock.h"

static struct refusals refusals;

static struct sockaddr_storage source(uint32_t number)
{
	struct sockaddr_storage out = {0};
	struct sockaddr_in *in = (struct sockaddr_in *)&out;

	in->sin_family = AF_INET;
	in->sin_port = htons((uint16_t)number);
	in->sin_addr.s_addr = htonl(0x7f000000u + number);
	return out;
}

static uint32_t count;

static uint32_t note(uint32_t number, enum pdu_login_status status, uint64_t now_ms)
{
	const struct sockaddr_storage peer = source(number);
	const struct refusal refusal = {.peer = &peer,
					.status = status,
					.now_ns = (100000 + now_ms) * CLOCK_NS_PER_MS,
					.delay_ms = 1000};

	return refusals_note(&refusals, &refusal, &count);
}

Test(iscsi_login_refusals, those_of_a_source_wait_one_after_the_other)
{
	for (uint32_t i = 0; i < 5; i++)
		cr_expect_eq(note(1, PDU_LOGIN_AUTHENTICATION_FAILURE, 0), 1000 * (i + 1));
	cr_expect_eq(count, 5);
	cr_expect_eq(note(1, PDU_LOGIN_NOT_FOUND, 500), 5500);
	cr_expect_eq(note(1, PDU_LOGIN_NOT_FOUND, 60000), 1000);
}

Test(iscsi_login_refusals, other_sources_do_not_wait_for_them)
{
	(void)note(1, PDU_LOGIN_AUTHENTICATION_FAILURE, 0);
	(void)note(1, PDU_LOGIN_AUTHENTICATION_FAILURE, 0);
	cr_expect_eq(note(2, PDU_LOGIN_AUTHENTICATION_FAILURE, 0), 1000);
	cr_expect_eq(count, 1);
}

/* One IPv6 host has all of its /64. */
Test(iscsi_login_refusals, addresses_of_one_ipv6_network_are_one_source)
{
	static const char *const texts[] = {"2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"};
	static const uint32_t expected[] = {1000, 2000, 1000};

	for (unsigned i = 0; i < 3; i++) {
		struct sockaddr_storage peer = {0};
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&peer;
		const struct refusal refusal = {.peer = &peer,
						.status = PDU_LOGIN_AUTHENTICATION_FAILURE,
						.now_ns = CLOCK_NS_PER_S,
						.delay_ms = 1000};

		in6->sin6_family = AF_INET6;
		cr_assert_eq(inet_pton(AF_INET6, texts[i], &in6->sin6_addr), 1);
		cr_expect_eq(refusals_note(&refusals, &refusal, &count), expected[i], "%s",
			     texts[i]);
	}
}

/* A target that is not ready, and a hundred hosts behind one router. */
Test(iscsi_login_refusals, what_is_our_fault_does_not_add_up)
{
	for (uint32_t i = 0; i < 100; i++)
		cr_expect_eq(note(1, PDU_LOGIN_SERVICE_UNAVAILABLE, 0), 1000);
}

Test(iscsi_login_refusals, nobody_waits_longer_than_initiators_do)
{
	uint32_t wait_ms = 0;

	for (uint32_t i = 0; i < 100; i++)
		wait_ms = note(1, PDU_LOGIN_AUTHENTICATION_FAILURE, 0);
	cr_expect_eq(wait_ms, REFUSAL_WAIT_MS_MAX);
}

Test(iscsi_login_refusals, a_source_that_was_quiet_for_long_is_a_new_one)
{
	(void)note(1, PDU_LOGIN_NOT_FOUND, 0);
	(void)note(1, PDU_LOGIN_NOT_FOUND, REFUSAL_MEMORY_MS - 1000);
	cr_expect_eq(count, 2);
	(void)note(1, PDU_LOGIN_NOT_FOUND, 2 * REFUSAL_MEMORY_MS + 3000);
	cr_expect_eq(count, 1);
}

/* The one that was heard of longest ago makes room; who is at it now goes on waiting. */
Test(iscsi_login_refusals, any_number_of_sources)
{
	(void)note(0, PDU_LOGIN_NOT_FOUND, 0);
	for (uint32_t i = 1; i < 100 * REFUSAL_SOURCES; i++) {
		(void)note(i, PDU_LOGIN_NOT_FOUND, i);
		if (i % 100 == 0)
			(void)note(0, PDU_LOGIN_NOT_FOUND, i);
	}
	cr_expect_eq(refusals.used, REFUSAL_SOURCES);
	cr_expect_gt(note(0, PDU_LOGIN_NOT_FOUND, 100 * REFUSAL_SOURCES), 1000);
	cr_expect_eq(count, REFUSAL_SOURCES + 1);
}

Test(iscsi_login_refusals, without_a_delay_they_are_only_counted)
{
	const struct sockaddr_storage peer = source(1);
	const struct refusal refusal = {.peer = &peer, .status = PDU_LOGIN_NOT_FOUND};

	for (uint32_t i = 1; i < 5; i++) {
		cr_expect_eq(refusals_note(&refusals, &refusal, &count), 0);
		cr_expect_eq(count, i);
	}
}
