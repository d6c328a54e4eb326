/*
 * Socket addresses as values; see address.h.
 *
 * The family decides which of two layouts is read; everything else works on a span of bytes in
 * network order, so that both families share one piece of code.
 */
#include "target/net/address.h"

#include <arpa/inet.h>
#include <assert.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum {
	IPV4_BYTES = 4,
	IPV6_BYTES = 16,
	IPV4_HOST_BITS = 32,
	IPV6_SUBNET_BITS = 64,
};

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

struct span {
	const uint8_t *bytes; /* Network order. */
	unsigned count;       /* 0 for an unknown family. */
};

static struct sockaddr_in ipv4_of(const struct sockaddr_storage *address)
{
	struct sockaddr_in in;

	memcpy(&in, address, sizeof(in));
	return in;
}

static struct sockaddr_in6 ipv6_of(const struct sockaddr_storage *address)
{
	struct sockaddr_in6 in6;

	memcpy(&in6, address, sizeof(in6));
	return in6;
}

static struct span address_span(const struct sockaddr_storage *address)
{
	const uint8_t *base = (const uint8_t *)address;

	if (address->ss_family == AF_INET) {
		return (struct span){base + offsetof(struct sockaddr_in, sin_addr), IPV4_BYTES};
	}
	if (address->ss_family == AF_INET6) {
		return (struct span){base + offsetof(struct sockaddr_in6, sin6_addr), IPV6_BYTES};
	}
	return (struct span){base, 0};
}

static uint32_t scope_of(const struct sockaddr_storage *address)
{
	return address_is_link_local(address) && address->ss_family == AF_INET6
		       ? ipv6_of(address).sin6_scope_id
		       : 0;
}

void address_normalise(struct sockaddr_storage *address)
{
	struct sockaddr_storage clean = {.ss_family = address->ss_family};
	struct span span = address_span(address);

	if (span.count == IPV6_BYTES &&
	    memcmp(span.bytes, mapped_prefix, sizeof(mapped_prefix)) == 0) {
		struct sockaddr_in in = {.sin_family = AF_INET,
					 .sin_port = ipv6_of(address).sin6_port};

		memcpy(&in.sin_addr, span.bytes + sizeof(mapped_prefix), IPV4_BYTES);
		clean.ss_family = AF_INET;
		memcpy(&clean, &in, sizeof(in));
	} else {
		memcpy(&clean, address, address_len(address));
	}
	*address = clean;
}

static void format(const struct sockaddr_storage *address, uint16_t port, uint32_t scope,
		   char out[ADDRESS_TEXT_MAX])
{
	char host[INET6_ADDRSTRLEN] = "";
	char zone[1 + IF_NAMESIZE] = "";
	struct span span = address_span(address);

	if (span.count == 0) {
		(void)snprintf(out, ADDRESS_TEXT_MAX, "unknown address");
		return;
	}
	(void)inet_ntop(address->ss_family, span.bytes, host, sizeof(host));
	if (scope != 0 && if_indextoname(scope, zone + 1))
		zone[0] = '%';
	(void)snprintf(out, ADDRESS_TEXT_MAX,
		       address->ss_family == AF_INET6 ? "[%s%s]:%u" : "%s%s:%u", host, zone,
		       (unsigned)port);
}

void address_format(const struct sockaddr_storage *address, char out[ADDRESS_TEXT_MAX])
{
	format(address, address_port(address), scope_of(address), out);
}

void address_format_for_peer(const struct sockaddr_storage *address, uint16_t port,
			     char out[ADDRESS_TEXT_MAX])
{
	format(address, port, 0, out);
}

uint16_t address_port(const struct sockaddr_storage *address)
{
	/* Both families keep the port at the same place. */
	static_assert(offsetof(struct sockaddr_in, sin_port) ==
			      offsetof(struct sockaddr_in6, sin6_port),
		      "one place for the port");
	return ntohs(ipv4_of(address).sin_port);
}

socklen_t address_len(const struct sockaddr_storage *address)
{
	if (address->ss_family == AF_INET)
		return sizeof(struct sockaddr_in);
	return address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : 0;
}

bool address_same_network(const struct sockaddr_storage *a, const struct sockaddr_storage *b,
			  unsigned prefix_bits)
{
	struct span x = address_span(a);
	struct span y = address_span(b);
	unsigned bits = prefix_bits < x.count * 8 ? prefix_bits : x.count * 8;
	unsigned whole = bits / 8;
	unsigned mask = 0xff00u >> (bits % 8);

	if (a->ss_family != b->ss_family || memcmp(x.bytes, y.bytes, whole) != 0)
		return false;
	return bits % 8 == 0 || ((x.bytes[whole] ^ y.bytes[whole]) & mask & 0xffu) == 0;
}

bool address_same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	return address_same_network(a, b, IPV6_BYTES * 8) && scope_of(a) == scope_of(b);
}

bool address_same_source(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	return address_same_network(a, b,
				    a->ss_family == AF_INET ? IPV4_HOST_BITS : IPV6_SUBNET_BITS);
}

bool address_is_wildcard(const struct sockaddr_storage *address)
{
	static const uint8_t zero[IPV6_BYTES];
	struct span span = address_span(address);

	return span.count != 0 && memcmp(span.bytes, zero, span.count) == 0;
}

bool address_is_loopback(const struct sockaddr_storage *address)
{
	static const uint8_t one[IPV6_BYTES] = {[15] = 1};
	struct span span = address_span(address);

	/* The whole of 127.0.0.0/8 (RFC 1122 3.2.1.3); ::1 alone. */
	return (span.count == IPV4_BYTES && span.bytes[0] == 127) ||
	       (span.count == IPV6_BYTES && memcmp(span.bytes, one, IPV6_BYTES) == 0);
}

bool address_is_link_local(const struct sockaddr_storage *address)
{
	struct span span = address_span(address);

	/* 169.254.0.0/16 (RFC 3927 2.1) and fe80::/10 (RFC 4291 2.5.6). */
	return (span.count == IPV4_BYTES && span.bytes[0] == 169 && span.bytes[1] == 254) ||
	       (span.count == IPV6_BYTES && span.bytes[0] == 0xfe &&
		(span.bytes[1] & 0xc0) == 0x80);
}
