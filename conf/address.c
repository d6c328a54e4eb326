/*
 * Addresses as text, and what portals may ask of theirs. Pure but for conf_address_to_sockaddr,
 * which looks an interface up. Any thread.
 *
 * Read next: access.c.
 */
#include "conf/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "conf/names.h"

/* "[", the longest address, "%", a zone and "]" fit; a host name does. */
#define HOST_TEXT_MAX CONF_HOST_NAME_MAX
#define DIGITS "0123456789"

static const char bad_address[] =
	"not an address; write a numeric one such as 192.0.2.1:3260 or [2001:db8::1]:3260";
static const char bad_port[] = "not a port; 1 to 65535 is right";
static const char mapped_address[] =
	"an IPv4 address in the form of IPv6; write the IPv4 address itself";

static unsigned family_bits(int family)
{
	return family == AF_INET ? 32 : 128;
}

/* A decimal number of at most `max`, without sign or leading zeroes. */
static bool parse_decimal(const char *text, unsigned max, unsigned *out)
{
	size_t length = strspn(text, DIGITS);
	unsigned value = 0;

	if (length == 0 || length > 5 || text[length] != '\0' || (length > 1 && text[0] == '0'))
		return false;
	for (; *text != '\0'; text++)
		value = value * 10 + (unsigned)(*text - '0');
	*out = value;
	return value <= max;
}

/* Cut "HOST", "HOST:PORT", "[HOST]" or "[HOST]:PORT"; a missing port leaves *port as it is. */
static const char *split_port(const char *text, char host[HOST_TEXT_MAX], bool *bracketed,
			      uint16_t *port)
{
	const char *start = text[0] == '[' ? text + 1 : text;
	size_t length;
	unsigned value;

	*bracketed = text[0] == '[';
	length = strcspn(start, *bracketed ? "]" : ":");
	if (length == 0 || length >= HOST_TEXT_MAX || (*bracketed && start[length] != ']'))
		return bad_address;
	memcpy(host, start, length);
	host[length] = '\0';
	text = start + length + (*bracketed ? 1 : 0);
	if (*text == '\0')
		return NULL;
	if (*text != ':')
		return bad_address;
	if (strchr(text + 1, ':') != NULL)
		return "an IPv6 address without brackets; write it as [ADDRESS]:PORT";
	if (!parse_decimal(text + 1, 65535, &value))
		return bad_port;
	*port = (uint16_t)value;
	return NULL;
}

static bool is_mapped(const uint8_t bytes[16])
{
	return IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)(const void *)bytes);
}

static bool is_link_local(const uint8_t bytes[16])
{
	return bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80;
}

/* Cut "%zone" off the end of `host`. */
static const char *split_zone(char *host, char zone[IF_NAMESIZE])
{
	char *percent = strchr(host, '%');
	size_t length;

	if (percent == NULL)
		return NULL;
	*percent++ = '\0';
	length = strlen(percent);
	if (length == 0 || length >= IF_NAMESIZE ||
	    percent[strspn(percent, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" DIGITS
				    "-._@")] != '\0')
		return "not an interface after '%'; write its name, such as [fe80::1%eth0]";
	memcpy(zone, percent, length + 1);
	return NULL;
}

static const char *parse_ipv6(char *host, struct conf_address *out)
{
	const char *reason = split_zone(host, out->zone);

	out->family = AF_INET6;
	if (reason != NULL)
		return reason;
	if (inet_pton(AF_INET6, host, out->bytes) != 1)
		return bad_address;
	if (is_mapped(out->bytes))
		return mapped_address;
	if (is_link_local(out->bytes) && out->zone[0] == '\0')
		return "a link-local address without its interface; write it as [fe80::1%eth0]";
	if (!is_link_local(out->bytes) && out->zone[0] != '\0')
		return "an interface after an address that is not link-local; leave it out";
	return NULL;
}

const char *conf_address_parse(const char *text, struct conf_address *out)
{
	char host[HOST_TEXT_MAX];
	const char *reason;
	bool bracketed;

	*out = (struct conf_address){.family = AF_INET, .port = CONF_PORT_DEFAULT};
	reason = split_port(text, host, &bracketed, &out->port);
	if (reason != NULL)
		return reason;
	if (bracketed)
		return parse_ipv6(host, out);
	return inet_pton(AF_INET, host, out->bytes) == 1 ? NULL : bad_address;
}

/* Zero the bits behind the prefix; true if any was set. */
static bool clear_host_bits(struct conf_network *network)
{
	bool any = false;

	for (unsigned bit = network->prefix_bits; bit < family_bits(network->family); bit++) {
		uint8_t mask = (uint8_t)(0x80u >> (bit % 8));

		any |= (network->bytes[bit / 8] & mask) != 0;
		network->bytes[bit / 8] &= (uint8_t)~mask;
	}
	return any;
}

const char *conf_network_parse(const char *text, struct conf_network *out)
{
	char host[INET6_ADDRSTRLEN];
	size_t length = strcspn(text, "/");
	unsigned bits;

	*out = (struct conf_network){.family = AF_INET};
	if (length >= sizeof(host))
		return "not a network; write one such as 192.0.2.0/24 or 2001:db8::/64";
	memcpy(host, text, length);
	host[length] = '\0';
	if (strchr(host, ':') != NULL)
		out->family = AF_INET6;
	if (inet_pton(out->family, host, out->bytes) != 1)
		return "not a network; write one such as 192.0.2.0/24 or 2001:db8::/64";
	if (out->family == AF_INET6 && is_mapped(out->bytes))
		return mapped_address;
	bits = family_bits(out->family);
	if (text[length] == '/' && !parse_decimal(text + length + 1, bits, &bits))
		return "not a prefix length; 0 to 32 is right for IPv4, 0 to 128 for IPv6";
	out->prefix_bits = (uint8_t)bits;
	if (clear_host_bits(out)) {
		return "has bits set behind the prefix; write the network's own address, such as "
		       "192.0.2.0/24, or a single host without a prefix";
	}
	return NULL;
}

void conf_network_to_text(const struct conf_network *network, char out[CONF_NETWORK_TEXT_MAX])
{
	char host[INET6_ADDRSTRLEN] = "";

	(void)inet_ntop(network->family, network->bytes, host, sizeof(host));
	(void)snprintf(out, CONF_NETWORK_TEXT_MAX, "%s/%u", host, network->prefix_bits);
}

/* The family and bytes of a socket address, IPv4-mapped ones as IPv4. NULL if it is neither. */
static const uint8_t *sockaddr_bytes(const struct sockaddr *address, int *family)
{
	const uint8_t *bytes;

	*family = address->sa_family;
	if (*family == AF_INET) {
		return (const uint8_t *)&((const struct sockaddr_in *)(const void *)address)
			->sin_addr;
	}
	if (*family != AF_INET6)
		return NULL;
	bytes = ((const struct sockaddr_in6 *)(const void *)address)->sin6_addr.s6_addr;
	if (!is_mapped(bytes))
		return bytes;
	*family = AF_INET;
	return bytes + 12;
}

bool conf_network_contains(const struct conf_network *network, const struct sockaddr *address)
{
	int family;
	const uint8_t *bytes = sockaddr_bytes(address, &family);
	unsigned whole = network->prefix_bits / 8;
	unsigned rest = network->prefix_bits % 8;

	if (bytes == NULL || family != network->family || memcmp(bytes, network->bytes, whole) != 0)
		return false;
	return rest == 0 || ((bytes[whole] ^ network->bytes[whole]) >> (8 - rest)) == 0;
}

const char *conf_host_parse(const char *text, char name[CONF_HOST_NAME_MAX], uint16_t *port)
{
	struct conf_address address = {.family = AF_INET};
	const char *reason;
	bool bracketed;

	*port = CONF_PORT_DEFAULT;
	reason = split_port(text, name, &bracketed, port);
	if (reason != NULL)
		return reason;
	if (text[strcspn(text, ":")] == '\0' || text[strlen(text) - 1] == ']') {
		*port = 0;
	} else if (*port == 0) {
		return bad_port;
	}
	if (bracketed) {
		reason = parse_ipv6(name, &address);
	} else if (name[strspn(name, DIGITS ".")] == '\0') {
		reason = inet_pton(AF_INET, name, address.bytes) == 1 ? NULL : bad_address;
	} else {
		return conf_host_name_is_valid(name) ? NULL
						     : "not a host; write an address or a name";
	}
	if (reason == NULL && address.zone[0] != '\0') {
		return "a link-local address means nothing to other hosts; write one they can "
		       "reach";
	}
	if (reason == NULL && conf_address_is_wildcard(&address)) {
		return "a wildcard address cannot be announced; write the one that hosts connect "
		       "to";
	}
	return reason;
}

bool conf_address_is_wildcard(const struct conf_address *address)
{
	static const uint8_t zeroes[16];

	return memcmp(address->bytes, zeroes, sizeof(zeroes)) == 0;
}

bool conf_address_is_loopback(const struct conf_address *address)
{
	if (address->family == AF_INET)
		return address->bytes[0] == 127;
	return memcmp(address->bytes, &in6addr_loopback, 16) == 0;
}

int conf_address_to_sockaddr(const struct conf_address *address, struct sockaddr_storage *out)
{
	struct sockaddr_in ipv4 = {.sin_family = AF_INET, .sin_port = htons(address->port)};
	struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6, .sin6_port = htons(address->port)};

	*out = (struct sockaddr_storage){.ss_family = (sa_family_t)address->family};
	if (address->family == AF_INET) {
		memcpy(&ipv4.sin_addr, address->bytes, sizeof(ipv4.sin_addr));
		memcpy(out, &ipv4, sizeof(ipv4));
		return (int)sizeof(ipv4);
	}
	memcpy(&ipv6.sin6_addr, address->bytes, sizeof(ipv6.sin6_addr));
	if (address->zone[0] != '\0') {
		ipv6.sin6_scope_id = if_nametoindex(address->zone);
		if (ipv6.sin6_scope_id == 0)
			return -ENODEV;
	}
	memcpy(out, &ipv6, sizeof(ipv6));
	return (int)sizeof(ipv6);
}

void conf_address_to_text(const struct conf_address *address, char out[CONF_ADDRESS_TEXT_MAX])
{
	char host[INET6_ADDRSTRLEN] = "";
	bool brackets = address->family == AF_INET6;

	(void)inet_ntop(address->family, address->bytes, host, sizeof(host));
	(void)snprintf(out, CONF_ADDRESS_TEXT_MAX, "%s%s%s%s%s:%u", brackets ? "[" : "", host,
		       address->zone[0] != '\0' ? "%" : "", address->zone, brackets ? "]" : "",
		       address->port);
}
