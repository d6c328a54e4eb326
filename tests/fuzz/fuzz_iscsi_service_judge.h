/*
 * What stands behind the door and what initiators hear through it: the judge of
 * fuzz_iscsi_service.c. Not a test.
 */
#ifndef TESTS_FUZZ_FUZZ_ISCSI_SERVICE_JUDGE_H
#define TESTS_FUZZ_FUZZ_ISCSI_SERVICE_JUDGE_H

#include "tests/fuzz/iscsi_fake.h"

#include "target/iscsi/chap.h"
#include "target/iscsi/login_service.h"
#include "target/iscsi/registry.h"
#include "target/iscsi/text.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#define DATA_MAX 8192u
#define PORTALS 2u
/* More connections than these may stand in the doorway or be sessions. */
#define LOGINS_MAX 4u
#define SESSIONS_MAX 3u

enum kind {
	OPEN_TO_ALL,
	BY_CHAP,
	BY_CHAP_BOTH_WAYS,
	NOT_FOR_STRANGERS,
	MOVED,
	NOT_READY,
	IN_OTHER_GROUP,
	GONE, /* Not there any more. */
	KINDS,
};

static const char *const target_names[KINDS] = {"iqn.a:open",   "iqn.a:chap",  "iqn.a:mutual",
						"iqn.a:mine",   "iqn.a:moved", "iqn.a:unready",
						"iqn.a:group2", "iqn.a:gone"};
static const char *const host_names[] = {"iqn.x:host", "iqn.x:other", "iqn.x:stranger"};
#define STRANGER 2u

static const struct iscsi_user users[] = {
	{"alice", (const uint8_t *)"alice's secret", 14},
	{"bob", (const uint8_t *)"bob's own secret", 16},
	{"target", (const uint8_t *)"the target's one", 16},
};

/* What an initiator knows of itself. */
struct peer {
	struct wire *wire;
	uint8_t isid, host, kind, portal;
	bool begun; /* It has sent a request. */
	bool discovery;
	uint16_t tsih; /* That it says. */
	uint8_t step;  /* Of an honest login: names, algorithm, response. */
	bool proved;   /* It gave the right answer to its challenge, of which there is one. */
	uint8_t user;
	bool logged_in;
	uint8_t identifier, challenge[64];
	uint32_t challenge_bytes; /* 0: none. */
	uint32_t algorithm;
	uint32_t cmd_sn;
	uint8_t heard[PDU_BHS_BYTES + DATA_MAX];
	size_t heard_bytes;
};

static struct {
	struct loop control;
	struct login_service *service;
	struct registry *registry;
	struct iscsi_portal portals[PORTALS];
	struct iscsi_target targets[GONE];
	struct iscsi_target *list[GONE];
	unsigned guests;
	uint16_t last_tsih;
	bool stopped, empty;
} door;

static struct peer peers[WIRES];

/* -- portal.h: only the count -- */

void portal_guest_enter(struct portal_set *set UNUSED, struct portal_guest *guest,
			const struct sockaddr_storage *peer)
{
	guest->peer = *peer;
	guest->set = (struct portal_set *)&door;
	door.guests++;
}

void portal_guest_leave(struct portal_guest *guest)
{
	door.guests -= guest->set != NULL;
	guest->set = NULL;
}

/* -- What the target says -- */

static inline void note_challenge(struct peer *self, const struct text_pair *pair)
{
	const char *value = pair->value;
	uint64_t number = 0;
	int res = 0;

	if (strncmp(pair->key, "CHAP_A=", 7) == 0 && text_number(value, &number) == 0)
		self->algorithm = (uint32_t)number;
	if (strncmp(pair->key, "CHAP_I=", 7) == 0 && text_number(value, &number) == 0)
		self->identifier = (uint8_t)number;
	if (strncmp(pair->key, "CHAP_C=", 7) == 0)
		res = text_binary(value, self->challenge, sizeof(self->challenge));
	check(res >= 0);
	if (res > 0)
		self->challenge_bytes = (uint32_t)res;
}

static inline bool is_same_port(const struct peer *a, const struct peer *b)
{
	return a->isid == b->isid && a->portal == b->portal && a->host == b->host &&
	       a->kind == b->kind && !a->discovery && !b->discovery;
}

/* The login is over. */
static inline void on_let_in(struct peer *self, const struct pdu_login_response *response)
{
	static const bool needs_proof[KINDS] = {[BY_CHAP] = true, [BY_CHAP_BOTH_WAYS] = true};

	check(response->tsih != 0 && !self->logged_in);
	self->logged_in = true;
	door.last_tsih = response->tsih;
	if (self->discovery)
		return;
	check(self->proved || !needs_proof[self->kind]);
	check(self->kind != MOVED && self->kind != NOT_READY && self->kind != GONE);
	check(self->kind != NOT_FOR_STRANGERS || self->host != STRANGER);
	for (unsigned i = 0; i < WIRES; i++) {
		if (&peers[i] != self && peers[i].logged_in && is_same_port(&peers[i], self))
			check(!peers[i].wire->open);
	}
}

static inline void on_login_response(struct peer *self, const uint8_t *pdu)
{
	struct pdu_login_response response;
	struct text_reader reader;
	struct text_pair pair;

	pdu_login_response_decode(&response, pdu);
	check(!(response.transit && response.cont) && !self->logged_in);
	self->challenge_bytes = 0;
	text_reader_init(&reader, pdu + PDU_BHS_BYTES, response.data_len_bytes);
	while (response.status == 0 && text_next(&reader, &pair))
		note_challenge(self, &pair);
	if (response.status == 0 && !response.cont)
		self->step++;
	if (response.status == 0 && response.transit && response.nsg == PDU_STAGE_FULL_FEATURE)
		on_let_in(self, &response);
}

static inline void on_heard(struct wire *wire, const uint8_t *bytes, size_t count)
{
	struct peer *self = &peers[wire - scene.wires];

	while (count > 0) {
		size_t need = PDU_BHS_BYTES;

		if (self->heard_bytes >= PDU_BHS_BYTES)
			need += pdu_padded(get_be24(self->heard + 5));
		check(need <= sizeof(self->heard));
		size_t taken = need - self->heard_bytes < count ? need - self->heard_bytes : count;

		memcpy(self->heard + self->heard_bytes, bytes, taken);
		self->heard_bytes += taken;
		bytes += taken;
		count -= taken;
		if (self->heard_bytes < PDU_BHS_BYTES ||
		    self->heard_bytes < PDU_BHS_BYTES + pdu_padded(get_be24(self->heard + 5)))
			continue;
		check((pdu_opcode(self->heard) == PDU_LOGIN_RESPONSE) == !self->logged_in);
		if (!self->logged_in)
			on_login_response(self, self->heard);
		self->heard_bytes = 0;
	}
}

#endif
