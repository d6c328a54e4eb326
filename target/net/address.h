/*
 * Socket addresses as values: text for people and for SendTargets, comparison, and what kind of
 * address one is. IPv4 and IPv6 only. Not a resolver: nothing here blocks or looks at the network;
 * the one look at the machine is the name of a link-local address's interface.
 *
 * An address that came from a socket is normalised first (address_normalise); all others assume it.
 * Threads: pure functions, any thread. Read next: portal.h.
 */
#ifndef TARGET_NET_ADDRESS_H
#define TARGET_NET_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* "[" 45 characters of IPv6 "%" 15 of an interface "]:65535", and the final zero. */
#define ADDRESS_TEXT_MAX 80u

/* Turn an IPv4-mapped IPv6 address (RFC 4291 2.5.5.2) into the IPv4 address that it is, and leave
 * nothing undefined behind the address. */
void address_normalise(struct sockaddr_storage *address);

/* "192.0.2.1:3260", "[2001:db8::1]:3260", "[fe80::1%eth0]:3260": for logs. */
void address_format(const struct sockaddr_storage *address, char out[ADDRESS_TEXT_MAX]);
/* The same with another port and never with a zone, which means nothing to another machine: for
 * TargetAddress (RFC 7143 13.8). */
void address_format_for_peer(const struct sockaddr_storage *address, uint16_t port,
			     char out[ADDRESS_TEXT_MAX]);

uint16_t address_port(const struct sockaddr_storage *address);
/* What bind(2) wants to know; 0 for a family that is neither. */
socklen_t address_len(const struct sockaddr_storage *address);

/* The same host: family, address and, for link-local ones, link. Ports are not looked at. */
bool address_same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b);
/* The first `prefix_bits` agree (at most 32 or 128 count), and so do the families. */
bool address_same_network(const struct sockaddr_storage *a, const struct sockaddr_storage *b,
			  unsigned prefix_bits);
/*
 * One source for the purpose of limits: the same IPv4 address, or the same /64, because a single
 * IPv6 host may use as many addresses of its /64 as it likes (RFC 4291 2.5.1).
 */
bool address_same_source(const struct sockaddr_storage *a, const struct sockaddr_storage *b);

bool address_is_wildcard(const struct sockaddr_storage *address);
bool address_is_loopback(const struct sockaddr_storage *address);
bool address_is_link_local(const struct sockaddr_storage *address);

#endif
