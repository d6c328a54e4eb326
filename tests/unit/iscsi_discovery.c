/*
 * SendTargets: who is shown what, under which address, and that the answer is the same in whatever
 * pieces it is asked for.
 */
#include "target/iscsi/discovery.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/attr.h"
#include "target/iscsi/target.h"

#define ANSWER_MAX 65536u
#define A "iqn.2026-11.io.ringsan:a"
#define B "iqn.2026-11.io.ringsan:b"

static struct sockaddr_storage address_of(const char *host, uint16_t port, uint32_t scope)
{
	struct sockaddr_storage out = {0};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 in6 = {
		.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_scope_id = scope};

	if (strchr(host, ':')) {
		cr_assert_eq(inet_pton(AF_INET6, host, &in6.sin6_addr), 1);
		memcpy(&out, &in6, sizeof(in6));
	} else {
		cr_assert_eq(inet_pton(AF_INET, host, &in.sin_addr), 1);
		memcpy(&out, &in, sizeof(in));
	}
	return out;
}

/* Only names that contain the rules' text may use the target. */
static bool permits(const void *rules, const char *initiator_name,
		    const struct sockaddr_storage *peer)
{
	(void)peer;
	return strstr(initiator_name, rules) != NULL;
}

/* What is asked, and by whom. */
struct question {
	const struct iscsi_portal *portals;
	unsigned portal_count;
	struct iscsi_target *const *targets;
	unsigned target_count;
	const char *local; /* The address that the initiator came to. */
	uint32_t local_scope;
	const struct iscsi_target *own;
	const char *value;
};

/* The answer with '|' for zero bytes, in pieces of `size`; NULL: rejected. */
static const char *ask(const struct question *question, size_t size)
{
	static char answer[ANSWER_MAX + 1];
	const struct iscsi_view view = {
		.generation = 1,
		.targets = (struct iscsi_target **)(uintptr_t)question->targets,
		.target_count = question->target_count,
	};
	struct iscsi_server server = {
		.view = {&view},
		.portals = question->portals,
		.portal_count = question->portal_count,
	};
	const struct sockaddr_storage local =
		address_of(question->local, 3260, question->local_scope);
	const struct sockaddr_storage peer = address_of("192.0.2.99", 40000, 0);
	const struct discovery_request request = {
		.server = &server,
		.initiator_name = "iqn.1993-08.org.debian:01:host",
		.local = &local,
		.peer = &peer,
		.own = question->own ? question->own->name : NULL,
		.value = question->value,
	};
	struct discovery_walk walk;
	size_t len = 0;

	if (!discovery_begin(&walk, &request))
		return NULL;
	while (!walk.done) {
		uint8_t *piece = malloc(size);
		size_t count = discovery_fill(&walk, piece, size);

		cr_assert(count == size || walk.done);
		cr_assert_gt(count, 0);
		cr_assert_leq(len + count, ANSWER_MAX);
		memcpy(answer + len, piece, count);
		len += count;
		free(piece);
	}
	cr_assert_eq(discovery_fill(&walk, (uint8_t *)answer + len, ANSWER_MAX - len), 0);
	for (size_t i = 0; i < len; i++) {
		if (answer[i] == '\0')
			answer[i] = '|';
	}
	answer[len] = '\0';
	return answer;
}

static struct iscsi_target a = {.name = A};
static struct iscsi_target b = {.name = B};
static struct iscsi_target *const both[] = {&a, &b};

static struct question question_of(const struct iscsi_portal *portals, unsigned count,
				   const char *local)
{
	return (struct question){
		.portals = portals,
		.portal_count = count,
		.targets = both,
		.target_count = 1,
		.local = local,
		.value = "All",
	};
}

Test(iscsi_discovery, what_an_address_is_announced_as)
{
	static const struct {
		const char *portal;
		uint32_t portal_scope;
		const char *local;
		uint32_t local_scope;
		const char *advertise;
		const char *address; /* NULL: the target is not shown at all. */
	} rows[] = {
		/* As it is. */
		{"192.0.2.1", 0, "192.0.2.1", 0, NULL, "192.0.2.1:3261,7"},
		{"192.0.2.1", 0, "198.51.100.1", 0, NULL, "192.0.2.1:3261,7"},
		{"2001:db8::1", 0, "192.0.2.1", 0, NULL, "[2001:db8::1]:3261,7"},
		/* A wildcard: the address that the initiator came to, of its own family alone. */
		{"0.0.0.0", 0, "192.0.2.1", 0, NULL, "192.0.2.1:3261,7"},
		{"::", 0, "2001:db8::5", 0, NULL, "[2001:db8::5]:3261,7"},
		{"::", 0, "fe80::5", 3, NULL, "[fe80::5]:3261,7"},
		{"0.0.0.0", 0, "2001:db8::5", 0, NULL, NULL},
		{"::", 0, "192.0.2.1", 0, NULL, NULL},
		/* Loopback: to those who came through it. */
		{"127.0.0.1", 0, "127.0.0.1", 0, NULL, "127.0.0.1:3261,7"},
		{"127.0.0.1", 0, "::1", 0, NULL, "127.0.0.1:3261,7"},
		{"127.0.0.1", 0, "192.0.2.1", 0, NULL, NULL},
		{"::1", 0, "2001:db8::5", 0, NULL, NULL},
		/* Link-local: never another link's. */
		{"fe80::1", 2, "fe80::1", 2, NULL, "[fe80::1]:3261,7"},
		{"fe80::1", 2, "fe80::1", 3, NULL, NULL},
		{"fe80::1", 2, "2001:db8::5", 0, NULL, NULL},
		{"169.254.1.1", 0, "192.0.2.1", 0, NULL, NULL},
		/* What the administrator says goes. */
		{"0.0.0.0", 0, "192.0.2.1", 0, "san.example.org", "san.example.org:860,7"},
		{"127.0.0.1", 0, "192.0.2.1", 0, "203.0.113.5", "203.0.113.5:860,7"},
		{"::", 0, "192.0.2.1", 0, "2001:db8::77", "[2001:db8::77]:860,7"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct iscsi_portal portal = {
			.address = address_of(rows[i].portal, 3261, rows[i].portal_scope),
			.advertise = rows[i].advertise,
			.advertise_port = 860,
			.tag = 7,
		};
		struct question question = question_of(&portal, 1, rows[i].local);
		char wanted[256] = "";

		question.local_scope = rows[i].local_scope;
		if (rows[i].address)
			(void)snprintf(wanted, sizeof(wanted), "TargetName=" A "|TargetAddress=%s|",
				       rows[i].address);
		cr_expect_str_eq(ask(&question, 8192), wanted, "row %zu", i);
	}
}

Test(iscsi_discovery, one_address_is_announced_once)
{
	const struct iscsi_portal portals[] = {
		{.address = address_of("192.0.2.1", 3260, 0),
		 .advertise = "nat",
		 .advertise_port = 1,
		 .tag = 1},
		{.address = address_of("192.0.2.2", 3260, 0),
		 .advertise = "nat",
		 .advertise_port = 1,
		 .tag = 1},
		{.address = address_of("192.0.2.3", 3260, 0),
		 .advertise = "nat",
		 .advertise_port = 2,
		 .tag = 1},
	};
	struct question question = question_of(portals, 3, "192.0.2.1");

	cr_expect_str_eq(ask(&question, 8192),
			 "TargetName=" A "|TargetAddress=nat:1,1|TargetAddress=nat:2,1|");
}

/* Two portals of group 1, one of group 2; target b belongs to group 2 alone. */
static struct question two_groups(void)
{
	static struct iscsi_portal portals[3];
	static const uint16_t second[] = {2};
	struct question question = question_of(portals, 3, "192.0.2.1");

	portals[0] = (struct iscsi_portal){.address = address_of("192.0.2.1", 3260, 0), .tag = 1};
	portals[1] = (struct iscsi_portal){.address = address_of("2001:db8::1", 3260, 0), .tag = 1};
	portals[2] =
		(struct iscsi_portal){.address = address_of("198.51.100.1", 3260, 0), .tag = 2};
	b.tags = second;
	b.tag_count = 1;
	question.target_count = 2;
	return question;
}

#define ALL_OF_A                                           \
	"TargetName=" A "|TargetAddress=192.0.2.1:3260,1|" \
	"TargetAddress=[2001:db8::1]:3260,1|TargetAddress=198.51.100.1:3260,2|"
#define ALL_OF_B "TargetName=" B "|TargetAddress=198.51.100.1:3260,2|"

Test(iscsi_discovery, portal_groups)
{
	struct question question = two_groups();

	cr_expect_str_eq(ask(&question, 8192), ALL_OF_A ALL_OF_B);
}

Test(iscsi_discovery, the_answer_does_not_depend_on_the_pieces)
{
	struct question question = two_groups();

	for (size_t size = 1; size < sizeof(ALL_OF_A ALL_OF_B) + 2; size++)
		cr_expect_str_eq(ask(&question, size), ALL_OF_A ALL_OF_B, "pieces of %zu", size);
}

Test(iscsi_discovery, only_what_the_initiator_may_use)
{
	struct question question = two_groups();

	a.permits = permits;
	a.rules = "nobody";
	cr_expect_str_eq(ask(&question, 8192), ALL_OF_B);
	b.permits = permits;
	b.rules = "debian";
	cr_expect_str_eq(ask(&question, 8192), ALL_OF_B);
	b.rules = "nobody";
	cr_expect_str_eq(ask(&question, 8192), "");
	question.value = A;
	cr_expect_str_eq(ask(&question, 8192), "");
}

Test(iscsi_discovery, values)
{
	struct question question = two_groups();
	static const struct {
		bool own; /* In a session of target b. */
		const char *value;
		const char *answer; /* NULL: rejected. */
	} rows[] = {
		/* RFC 7143 Appendix C. */
		{false, "All", ALL_OF_A ALL_OF_B},
		{false, A, ALL_OF_A},
		{false, "IQN.2026-11.io.ringsan:B", ALL_OF_B},
		{false, "iqn.2026-11.io.ringsan:none", ""},
		{false, "", NULL},
		{false, "all", ""},
		{true, "", ALL_OF_B},
		{true, B, ALL_OF_B},
		{true, "All", NULL},
		{true, A, NULL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *answer;

		question.own = rows[i].own ? &b : NULL;
		question.value = rows[i].value;
		answer = ask(&question, 8192);
		if (rows[i].answer)
			cr_expect_str_eq(answer, rows[i].answer, "row %zu", i);
		else
			cr_expect_null(answer, "row %zu", i);
	}
}

Test(iscsi_discovery, no_targets_at_all)
{
	struct question question = two_groups();

	question.target_count = 0;
	cr_expect_str_eq(ask(&question, 8192), "");
	question.target_count = 2;
	question.portal_count = 0;
	cr_expect_str_eq(ask(&question, 8192), "");
}

/* 400 targets of the longest names behind eight portals with the longest host names. */
Test(iscsi_discovery, long_answers_come_whole_in_small_pieces)
{
	static struct iscsi_target many[400];
	static struct iscsi_target *list[400];
	static char names[400][224];
	static char host[256];
	struct iscsi_portal portals[8] = {0};
	struct question question = question_of(portals, 1, "192.0.2.1");
	size_t line_len;
	unsigned lines = 0;
	const char *answer;

	memset(host, 'h', 255);
	for (unsigned i = 0; i < 8; i++)
		portals[i] = (struct iscsi_portal){
			.advertise = host, .advertise_port = 65535, .tag = (uint16_t)(65535 - i)};
	for (unsigned i = 0; i < 400; i++) {
		memset(names[i], 'n', 223);
		many[i].name = names[i];
		list[i] = &many[i];
	}
	question.targets = list;
	question.target_count = 100;
	answer = ask(&question, 512);
	line_len = strlen("TargetName=") + 223 + 1 + strlen("TargetAddress=") + 255 +
		   strlen(":65535,65535") + 1;
	cr_expect_eq(strlen(answer), 100 * line_len);
	question.target_count = 12;
	question.portal_count = 8;
	answer = ask(&question, 512);
	for (const char *at = answer; (at = strchr(at, '|')); at++)
		lines++;
	cr_expect_eq(lines, 12 * 9);
}
