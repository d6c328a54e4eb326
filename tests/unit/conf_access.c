/*
 * Who may log in where: patterns, networks, and rules that want both; and addresses as text.
 */
#include "conf/address.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "base/attr.h"
#include "conf/names.h"
#include "conf/parse.h"

static struct conf *parse(const char *text)
{
	static struct conf_errors errors;
	const struct conf_text input = {.name = "f", .text = text, .length = strlen(text)};
	struct conf *conf = NULL;

	cr_assert_eq(conf_parse_text(&input, &conf, &errors), 0, "%s", errors.items[0].text);
	return conf;
}

static void make_address(const char *text, struct sockaddr_storage *out)
{
	struct sockaddr_in ipv4 = {.sin_family = AF_INET};
	struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6};

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, text, &ipv4.sin_addr) == 1)
		memcpy(out, &ipv4, sizeof(ipv4));
	else if (inet_pton(AF_INET6, text, &ipv6.sin6_addr) == 1)
		memcpy(out, &ipv6, sizeof(ipv6));
}

Test(conf_access, patterns)
{
	static const struct {
		const char *pattern, *name;
		bool matches;
	} rows[] = {
		{"*", "", true},
		{"*", "iqn.a", true},
		{"iqn.a", "iqn.a", true},
		{"iqn.a", "IQN.A", true},
		{"iqn.a", "iqn.ab", false},
		{"iqn.ab", "iqn.a", false},
		{"iqn.?", "iqn.a", true},
		{"iqn.?", "iqn.", false},
		{"iqn.?", "iqn.ab", false},
		{"iqn.*:kvm*", "iqn.1994-05.com.redhat:kvm21", true},
		{"iqn.*:kvm*", "iqn.1994-05.com.redhat:kv", false},
		{"*a*b", "xaxbxab", true},
		{"*a*b", "xaxbxabc", false},
		{"a**b", "ab", true},
		{"*?", "", false},
		{"", "", true},
		{"", "a", false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		cr_expect_eq(conf_pattern_matches(rows[i].pattern, rows[i].name), rows[i].matches,
			     "%s %s", rows[i].pattern, rows[i].name);
}

/* A pattern of stars against a name that almost matches must not take for ever. */
Test(conf_access, hostile_patterns_end_soon, .timeout = 5)
{
	char pattern[224];
	char name[224];

	memset(name, 'a', sizeof(name));
	name[223] = '\0';
	for (size_t i = 0; i < 222; i += 2)
		memcpy(pattern + i, "*a", 2);
	memcpy(pattern + 220, "*b", 3);
	cr_expect(!conf_pattern_matches(pattern, name));
}

Test(conf_access, networks)
{
	static const struct {
		const char *network, *address;
		bool contains;
	} rows[] = {
		{"192.0.2.0/24", "192.0.2.255", true},
		{"192.0.2.0/24", "192.0.3.0", false},
		{"192.0.2.128/25", "192.0.2.127", false},
		{"192.0.2.128/25", "192.0.2.128", true},
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.0", false},
		{"0.0.0.0/0", "255.255.255.255", true},
		{"0.0.0.0/0", "::1", false},
		{"::/0", "2001:db8::1", true},
		{"::/0", "192.0.2.1", false},
		{"192.0.2.0/24", "::ffff:192.0.2.9", true},
		{"::/0", "::ffff:192.0.2.9", false},
		{"2001:db8::/33", "2001:db8:7fff::", true},
		{"2001:db8::/33", "2001:db8:8000::", false},
		{"2001:db8::1", "2001:db8::1", true},
		{"0.0.0.0/0", "neither", false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct conf_network network;
		struct sockaddr_storage address;

		cr_assert_null(conf_network_parse(rows[i].network, &network));
		make_address(rows[i].address, &address);
		cr_expect_eq(conf_network_contains(&network, (struct sockaddr *)&address),
			     rows[i].contains, "%s %s", rows[i].network, rows[i].address);
	}
}

Test(conf_access, one_rule_must_match_name_and_network)
{
	struct conf *conf = parse("portal \"0.0.0.0\" { }\n"
				  "target \"iqn.2026-11.io.ringsan:a\" {\n"
				  "access { initiators = { \"iqn.*:One\", \"iqn.*:uno\" }\n"
				  "networks = { \"10.0.0.1\", \"10.0.0.11\" } }\n"
				  "access { initiators = \"iqn.*:two\" networks = \"10.0.0.2\" }\n"
				  "access { networks = \"10.9.0.0/16\" }\n"
				  "access { initiators = \"iqn.*:admin\" }\n}\n");
	static const struct {
		const char *name, *address;
		bool permitted;
	} rows[] = {
		{"iqn.2026-11.x:one", "10.0.0.1", true},
		{"iqn.2026-11.x:uno", "10.0.0.11", true},
		{"iqn.2026-11.x:two", "10.0.0.2", true},
		{"iqn.2026-11.x:one", "10.0.0.2", false},
		{"iqn.2026-11.x:two", "10.0.0.1", false},
		{"iqn.2026-11.x:three", "10.0.0.1", false},
		{"iqn.2026-11.x:three", "10.9.3.4", true},
		{"iqn.2026-11.x:admin", "192.0.2.1", true},
		{"iqn.2026-11.x:admin", "2001:db8::1", true},
		{"IQN.2026-11.X:ADMIN", "192.0.2.1", true},
		{"iqn.2026-11.x:admins", "192.0.2.1", false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct sockaddr_storage address;

		make_address(rows[i].address, &address);
		cr_expect_eq(conf_access_permits(&conf->targets[0], rows[i].name,
						 (struct sockaddr *)&address),
			     rows[i].permitted, "%s %s", rows[i].name, rows[i].address);
	}
	conf_free(conf);
}

Test(conf_access, no_rule_admits_everybody)
{
	struct conf *conf = parse("portal \"127.0.0.1\" { }\nportal \"[::1]\" { }\n"
				  "portal \"192.0.2.1\" { tag = 2 }\n"
				  "target \"iqn.2026-11.io.ringsan:a\" { portal-groups = 1 }\n");
	struct sockaddr_storage address;

	make_address("127.0.0.1", &address);
	cr_expect(conf_access_permits(&conf->targets[0], "iqn.x", (struct sockaddr *)&address));
	cr_expect(conf_target_in_group(&conf->targets[0], 1));
	cr_expect(!conf_target_in_group(&conf->targets[0], 2));
	conf_free(conf);
}

Test(conf_access, addresses_survive_text)
{
	static const struct {
		const char *text, *same;
		bool wildcard, loopback;
	} rows[] = {
		{"0.0.0.0", "0.0.0.0:3260", true, false},
		{"127.9.8.7:1", "127.9.8.7:1", false, true},
		{"192.0.2.1:65535", "192.0.2.1:65535", false, false},
		{"[::]", "[::]:3260", true, false},
		{"[::1]:0", "[::1]:0", false, true},
		{"[2001:DB8:0::1]:3261", "[2001:db8::1]:3261", false, false},
		{"[fe80::1%br-lan.7]", "[fe80::1%br-lan.7]:3260", false, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct conf_address address;
		char text[CONF_ADDRESS_TEXT_MAX];

		cr_assert_null(conf_address_parse(rows[i].text, &address), "%s", rows[i].text);
		conf_address_to_text(&address, text);
		cr_expect_str_eq(text, rows[i].same);
		cr_expect_eq(conf_address_is_wildcard(&address), rows[i].wildcard, "%s", text);
		cr_expect_eq(conf_address_is_loopback(&address), rows[i].loopback, "%s", text);
	}
}

Test(conf_access, bad_addresses)
{
	static const char *const texts[] = {
		"",
		"192.0.2",
		"192.0.2.1:",
		"192.0.2.1:x",
		"192.0.2.1:123456",
		"[::1",
		"[::1]x",
		"[]:1",
		"[::1%lo]",
		"192.0.2.1:03260",
		"256.0.0.1",
		"[1.2.3.4]",
		"[::g]",
		"*:3260",
		"192.0.2.1:+1",
		"::1",
		"::",
		"[fe80::1%a b]",
		"[fe80::1%1234567890123456]",
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct conf_address address;

		cr_expect_not_null(conf_address_parse(texts[i], &address), "%s", texts[i]);
	}
}

Test(conf_access, addresses_for_bind)
{
	struct conf_address address;
	struct sockaddr_storage out;

	cr_assert_null(conf_address_parse("192.0.2.1:3261", &address));
	cr_expect_eq(conf_address_to_sockaddr(&address, &out), (int)sizeof(struct sockaddr_in));
	cr_expect_eq(((struct sockaddr_in *)&out)->sin_port, htons(3261));
	cr_expect_eq(((struct sockaddr_in *)&out)->sin_addr.s_addr, htonl(0xc0000201));
	cr_assert_null(conf_address_parse("[fe80::1%lo]", &address));
	cr_expect_eq(conf_address_to_sockaddr(&address, &out), (int)sizeof(struct sockaddr_in6));
	cr_expect_neq(((struct sockaddr_in6 *)&out)->sin6_scope_id, 0);
	cr_assert_null(conf_address_parse("[fe80::1%none0]", &address));
	cr_expect_eq(conf_address_to_sockaddr(&address, &out), -ENODEV);
}

Test(conf_access, hosts)
{
	static const struct {
		const char *text, *name; /* NULL: refused. */
		uint16_t port;
	} rows[] = {
		{"san", "san", 0},
		{"san.example.org:3261", "san.example.org", 3261},
		{"192.0.2.1", "192.0.2.1", 0},
		{"192.0.2.1:1", "192.0.2.1", 1},
		{"[2001:db8::1]", "2001:db8::1", 0},
		{"[2001:db8::1]:65535", "2001:db8::1", 65535},
		{"san.", NULL, 0},
		{"san..org", NULL, 0},
		{"san_1", NULL, 0},
		{"-a", NULL, 0},
		{"a-", NULL, 0},
		{"192.0.2.256", NULL, 0},
		{"san:65536", NULL, 0},
		{"[::]", NULL, 0},
		{"0.0.0.0:1", NULL, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char name[CONF_HOST_NAME_MAX];
		uint16_t port;
		const char *reason = conf_host_parse(rows[i].text, name, &port);

		cr_expect_eq(reason == NULL, rows[i].name != NULL, "%s", rows[i].text);
		if (reason == NULL) {
			cr_expect_str_eq(name, rows[i].name);
			cr_expect_eq(port, rows[i].port, "%s", rows[i].text);
		}
	}
}

Test(conf_access, utf8)
{
	static const char *const right[] = {"a", "\303\251", "\342\202\254", "\360\237\222\276"};
	static const char *const wrong[] = {
		"\200",             /* A continuation alone. */
		"\303",             /* Cut off. */
		"\300\200",         /* Overlong NUL. */
		"\340\200\200",     /* Overlong. */
		"\355\240\200",     /* A surrogate. */
		"\364\220\200\200", /* Beyond U+10FFFF. */
		"\377",
	};

	for (size_t i = 0; i < ARRAY_SIZE(right); i++)
		cr_expect_null(conf_check_utf8(right[i]));
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		cr_expect_not_null(conf_check_utf8(wrong[i]), "%zu", i);
}
