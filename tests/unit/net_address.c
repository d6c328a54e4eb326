/*
 * Socket addresses as text and in comparison.
 */
#include "target/net/address.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

#include "base/attr.h"

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

Test(net_address, text)
{
	static const struct {
		const char *host;
		uint16_t port;
		uint32_t scope;
		const char *text;
		const char *for_peer; /* With port 9. */
	} rows[] = {
		{"192.0.2.1", 3260, 0, "192.0.2.1:3260", "192.0.2.1:9"},
		{"0.0.0.0", 0, 0, "0.0.0.0:0", "0.0.0.0:9"},
		{"255.255.255.255", 65535, 0, "255.255.255.255:65535", "255.255.255.255:9"},
		{"2001:db8::1", 3260, 0, "[2001:db8::1]:3260", "[2001:db8::1]:9"},
		{"::", 1, 0, "[::]:1", "[::]:9"},
		{"fe80::1", 3260, 1, "[fe80::1%lo]:3260", "[fe80::1]:9"},
		/* Only link-local addresses have a link. */
		{"2001:db8::1", 3260, 1, "[2001:db8::1]:3260", "[2001:db8::1]:9"},
		{"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", 65535, 0,
		 "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
		 "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:9"},
	};
	char text[ADDRESS_TEXT_MAX];

	cr_assert_eq(if_nametoindex("lo"), 1);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct sockaddr_storage address =
			address_of(rows[i].host, rows[i].port, rows[i].scope);

		address_format(&address, text);
		cr_expect_str_eq(text, rows[i].text);
		address_format_for_peer(&address, 9, text);
		cr_expect_str_eq(text, rows[i].for_peer);
		cr_expect_eq(address_port(&address), rows[i].port);
	}
}

Test(net_address, unknown_family_is_harmless)
{
	struct sockaddr_storage address = {.ss_family = AF_UNIX};
	char text[ADDRESS_TEXT_MAX];

	address_normalise(&address);
	address_format(&address, text);
	cr_expect_str_eq(text, "unknown address");
	cr_expect_eq(address_len(&address), 0);
	cr_expect_not(address_is_wildcard(&address));
	cr_expect_not(address_is_loopback(&address));
	cr_expect_not(address_is_link_local(&address));
}

Test(net_address, mapped_ipv4_becomes_ipv4)
{
	struct sockaddr_storage mapped = address_of("::ffff:192.0.2.7", 4711, 0);
	struct sockaddr_storage plain = address_of("192.0.2.7", 4711, 0);
	struct sockaddr_storage other = address_of("::fffe:c000:207", 4711, 0);

	address_normalise(&mapped);
	cr_expect_eq(memcmp(&mapped, &plain, sizeof(plain)), 0);
	address_normalise(&other);
	cr_expect_eq(other.ss_family, AF_INET6);
}

Test(net_address, normalising_leaves_nothing_behind)
{
	struct sockaddr_storage address = address_of("192.0.2.7", 4711, 0);
	struct sockaddr_storage clean = address;

	memset((char *)&address + sizeof(struct sockaddr_in), 0xa5,
	       sizeof(address) - sizeof(struct sockaddr_in));
	address_normalise(&address);
	cr_expect_eq(memcmp(&address, &clean, sizeof(clean)), 0);
}

Test(net_address, networks)
{
	static const struct {
		const char *a, *b;
		unsigned prefix_bits;
		bool same;
	} rows[] = {
		{"192.0.2.1", "192.0.2.1", 32, true},
		{"192.0.2.1", "192.0.2.0", 32, false},
		{"192.0.2.1", "192.0.2.0", 31, true},
		{"192.0.2.1", "192.0.2.129", 25, false},
		{"192.0.2.1", "192.0.2.129", 24, true},
		{"10.0.0.0", "11.0.0.0", 7, true},
		{"10.0.0.0", "11.0.0.0", 8, false},
		{"0.0.0.0", "128.0.0.0", 1, false},
		{"0.0.0.0", "255.255.255.255", 0, true},
		{"192.0.2.1", "192.0.2.2", 128, false},
		{"2001:db8::1", "2001:db8::2", 127, false},
		{"2001:db8::2", "2001:db8::3", 127, true},
		{"2001:db8::", "2001:db8:0:0:8000::", 64, true},
		{"2001:db8::", "2001:db8:0:0:8000::", 65, false},
		{"2001:db8::1", "2001:db8::1", 1000, true},
		{"::", "0.0.0.0", 0, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct sockaddr_storage a = address_of(rows[i].a, 1, 0);
		struct sockaddr_storage b = address_of(rows[i].b, 2, 0);

		cr_expect_eq(address_same_network(&a, &b, rows[i].prefix_bits), rows[i].same,
			     "%s %s /%u", rows[i].a, rows[i].b, rows[i].prefix_bits);
		cr_expect_eq(address_same_network(&b, &a, rows[i].prefix_bits), rows[i].same);
	}
}

Test(net_address, hosts_and_sources)
{
	static const struct {
		const char *a, *b;
		uint32_t a_scope, b_scope;
		bool same_host, same_source;
	} rows[] = {
		{"192.0.2.1", "192.0.2.1", 0, 0, true, true},
		{"192.0.2.1", "192.0.2.2", 0, 0, false, false},
		{"2001:db8::1", "2001:db8::1", 0, 0, true, true},
		{"2001:db8::1", "2001:db8::ffff:1", 0, 0, false, true},
		{"2001:db8::1", "2001:db8:0:1::1", 0, 0, false, false},
		{"fe80::1", "fe80::1", 1, 2, false, true},
		{"fe80::1", "fe80::1", 2, 2, true, true},
		{"192.0.2.1", "2001:db8::1", 0, 0, false, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct sockaddr_storage a = address_of(rows[i].a, 1, rows[i].a_scope);
		struct sockaddr_storage b = address_of(rows[i].b, 2, rows[i].b_scope);

		cr_expect_eq(address_same_host(&a, &b), rows[i].same_host, "row %zu", i);
		cr_expect_eq(address_same_source(&a, &b), rows[i].same_source, "row %zu", i);
	}
}

Test(net_address, kinds)
{
	static const struct {
		const char *host;
		bool wildcard, loopback, link_local;
	} rows[] = {
		{"0.0.0.0", true, false, false},      {"::", true, false, false},
		{"127.0.0.1", false, true, false},    {"127.255.255.254", false, true, false},
		{"128.0.0.1", false, false, false},   {"::1", false, true, false},
		{"::2", false, false, false},         {"169.254.0.1", false, false, true},
		{"169.253.0.1", false, false, false}, {"fe80::1", false, false, true},
		{"febf::1", false, false, true},      {"fec0::1", false, false, false},
		{"fe7f::1", false, false, false},     {"192.0.2.1", false, false, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct sockaddr_storage address = address_of(rows[i].host, 1, 0);

		cr_expect_eq(address_is_wildcard(&address), rows[i].wildcard, "%s", rows[i].host);
		cr_expect_eq(address_is_loopback(&address), rows[i].loopback, "%s", rows[i].host);
		cr_expect_eq(address_is_link_local(&address), rows[i].link_local, "%s",
			     rows[i].host);
	}
}
