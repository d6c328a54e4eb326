/*
 * Addresses as text: of portals, of networks, of hosts to announce. Each parser answers NULL or a
 * constant reason and touches nothing but its result. Names are never looked up: what a
 * configuration means does not depend on a name server.
 */
#ifndef CONF_ADDRESS_H
#define CONF_ADDRESS_H

#include "conf/model.h"

/* "ADDRESS", "ADDRESS:PORT", IPv6 addresses in [brackets] and with %zone where link-local. */
const char *conf_address_parse(const char *text, struct conf_address *out);
/* "ADDRESS/BITS", or a single "ADDRESS"; IPv6 without brackets. */
const char *conf_network_parse(const char *text, struct conf_network *out);
/* Long enough for every conf_network. */
#define CONF_NETWORK_TEXT_MAX 64u
void conf_network_to_text(const struct conf_network *network, char out[CONF_NETWORK_TEXT_MAX]);
/* True if the address, which may be an IPv4-mapped one, lies in the network. */
bool conf_network_contains(const struct conf_network *network, const struct sockaddr *address);

/* The longest host name, a terminator included. */
#define CONF_HOST_NAME_MAX 254u
/* "HOST" or "HOST:PORT"; *port is 0 where there is none. Refuses wildcards. */
const char *conf_host_parse(const char *text, char name[CONF_HOST_NAME_MAX], uint16_t *port);

#endif
