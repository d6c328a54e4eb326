/*
 * Fuzzes the whole way of connections: arrival, login with and without CHAP, refusals that wait,
 * sessions that replace others or make room for them, and the first words of the full feature
 * phase; while peers hang up, dawdle or take nothing, the configuration changes and the target
 * ends.
 *
 * Beyond the sanitizers and the asserts of the target: nobody is let in who had to prove himself
 * and did not; nobody who may not use a target, or finds it elsewhere or not ready; of one nexus
 * there is one session at most, also in the moment of the answer; a descriptor is closed once and
 * not used any more. At the end nothing is left of connections, guests, sessions and buffers.
 *
 * Input: one byte, whether the target ends before its connections do, then steps: see `steps`.
 * Read next: fuzz_iscsi_service_judge.h, iscsi_fake.h.
 */
#define WIRES 6u
#define FAKE_BUFFERS 96u
#include "tests/fuzz/fuzz_iscsi_service_judge.h"

#include "base/crc32c.h"
#include "base/log.h"

/* -- What initiators say -- */

struct request {
	struct byte_reader *reader;
	struct peer *self;
	uint8_t how;
};

/* Bits of a login's second byte. */
enum {
	SAY_OTHER_STAGES = 1 << 0,
	SAY_OTHER_PORT = 1 << 1,
	SAY_WRONG_SECRET = 1 << 2,
	SAY_BOTH_WAYS = 1 << 3,
	SAY_REFLECTED = 1 << 4,
	SAY_MORE = 1 << 5,
	SAY_HALF = 1 << 6,
	SAY_AGAIN = 1 << 7, /* The step before. */
};

static void send_pdu(struct peer *self, uint8_t *bhs, const void *data, size_t bytes, uint8_t how)
{
	static const uint8_t zeroes[4];
	struct wire *wire = self->wire;
	size_t whole = PDU_BHS_BYTES + pdu_padded((uint32_t)bytes);

	if (!wire->open || wire->ended || WIRE_BYTES - wire->in_to < whole)
		return;
	put_be24(bhs + 5, (uint32_t)bytes);
	memcpy(wire->in + wire->in_to, bhs, PDU_BHS_BYTES);
	memcpy(wire->in + wire->in_to + PDU_BHS_BYTES, data, bytes);
	memcpy(wire->in + wire->in_to + PDU_BHS_BYTES + bytes, zeroes, -bytes & 3);
	if ((how & SAY_HALF) != 0) {
		wire->ended = true;
		whole = whole * 5 / 8;
	}
	wire->in_to += whole;
}

static void put_response(const struct peer *self, uint8_t how, struct text_writer *text)
{
	const struct iscsi_user *user = &users[self->user];
	const struct chap_question question = {(enum chap_algorithm)self->algorithm,
					       self->identifier, self->challenge,
					       self->challenge_bytes};
	struct chap_secret secret = {.len_bytes = (uint16_t)user->secret_bytes};
	struct chap_response response;

	memcpy(secret.bytes, user->secret, user->secret_bytes);
	secret.bytes[0] ^= (how & SAY_WRONG_SECRET) != 0;
	if (chap_respond(&question, &secret, &response) != 0)
		return;
	text_put(text, "CHAP_N", user->name);
	text_put_binary(text, "CHAP_R", response.bytes, response.len_bytes);
}

static void put_counter_challenge(const struct peer *self, uint8_t how, struct text_writer *text)
{
	static const uint8_t own[32] = {1, 2, 3};
	const struct peer *other = &peers[(how & SAY_MORE) != 0 ? 0 : self - peers];
	bool reflects = (how & SAY_REFLECTED) != 0 && other->challenge_bytes > 0;

	text_put_number(text, "CHAP_I", reflects ? other->identifier : 7);
	text_put_binary(text, "CHAP_C", reflects ? other->challenge : own,
			reflects ? other->challenge_bytes : sizeof(own));
}

static void put_names(const struct peer *self, uint8_t how, struct text_writer *text)
{
	text_put(text, "InitiatorName", host_names[self->host]);
	if (self->discovery)
		text_put(text, "SessionType", "Discovery");
	else
		text_put(text, "TargetName", target_names[self->kind]);
	/* A key of the first stage only. */
	if ((how & SAY_MORE) == 0)
		text_put(text, "AuthMethod", "CHAP,None");
}

/* T, C, CSG and NSG: straight to full feature from either stage, half way, without T, with C; or
 * anything. */
static uint8_t some_stages(struct byte_reader *reader)
{
	static const uint8_t stages[] = {0x87, 0x83, 0x81, 0x04, 0x00,
					 0x40, 0x44, 0x85, 0x0F, 0xC7};
	uint8_t which = byte_reader_u8(reader) % (ARRAY_SIZE(stages) + 2);

	return which < ARRAY_SIZE(stages) ? stages[which] : byte_reader_u8(reader);
}

/* What comes next in a login that means well, with the errors that `how` says. */
static void say_login(struct request *request)
{
	struct peer *self = request->self;
	uint8_t step = self->step - ((request->how & SAY_AGAIN) != 0 && self->step > 0);
	bool by_chap = self->kind == BY_CHAP || self->kind == BY_CHAP_BOTH_WAYS;
	uint8_t bhs[PDU_BHS_BYTES];
	struct pdu_login_request login = {
		.itt = 1,
		.tsih = self->tsih,
		.nsg = PDU_STAGE_FULL_FEATURE,
		.transit = self->discovery || !by_chap || step >= 2,
		.isid = {0x40, 0, 0, 0, 0, self->isid},
	};
	char data[1024];
	struct text_writer text;

	text_writer_init(&text, data, sizeof(data));
	if (step == 0)
		put_names(self, request->how, &text);
	if (step == 1)
		text_put(&text, "CHAP_A", (request->how & SAY_MORE) != 0 ? "7,5" : "5");
	/* A challenge that came is answered, else there is nothing more to say. */
	if (step >= 2 && self->challenge_bytes > 0) {
		put_response(self, request->how, &text);
		self->proved |= (request->how & SAY_WRONG_SECRET) == 0;
		if ((request->how & SAY_BOTH_WAYS) != 0)
			put_counter_challenge(self, request->how, &text);
	}
	/* The first request says which port it is; afterwards it is an error. */
	if ((request->how & SAY_OTHER_PORT) != 0)
		login.cid = login.isid[PDU_ISID_BYTES - 1] = byte_reader_u8(request->reader) % 4;
	if (!self->begun)
		self->isid = login.isid[PDU_ISID_BYTES - 1];
	self->begun = true;
	pdu_login_request_encode(&login, bhs);
	if ((request->how & SAY_OTHER_STAGES) != 0)
		bhs[1] = some_stages(request->reader);
	send_pdu(self, bhs, data, text_written_bytes(&text), request->how);
}

/* Any text of a login. */
static void say_text_of_login(struct request *request)
{
	static const char *const texts[] = {
		"HeaderDigest=None",
		"MaxRecvDataSegmentLength=512",
		"X-a=b",
		"AuthMethod=None",
		"InitiatorAlias=a",
		"TargetAlias=a",
		"=",
		"CHAP_A=5",
	};
	const char *one = texts[request->how % ARRAY_SIZE(texts)];
	uint8_t flags = some_stages(request->reader);
	unsigned times = byte_reader_u8(request->reader) % 100u;
	uint8_t bhs[PDU_BHS_BYTES];
	struct pdu_login_request login = {.itt = 1,
					  .tsih = request->self->tsih,
					  .isid = {0x40, 0, 0, 0, 0, request->self->isid}};
	char data[4096];
	size_t bytes = 0;

	for (unsigned i = 0; i <= times; i++) {
		memcpy(data + bytes, one, strlen(one) + 1);
		bytes += strlen(one) + 1;
	}
	request->self->begun = true;
	pdu_login_request_encode(&login, bhs);
	bhs[1] = flags;
	send_pdu(request->self, bhs, data, bytes, 0);
}

/* Any header; of the full feature phase mostly. */
static void say_anything(struct request *request)
{
	static const uint8_t opcodes[] = {PDU_NOP_OUT | PDU_IMMEDIATE,
					  PDU_SCSI_COMMAND | PDU_IMMEDIATE,
					  PDU_LOGOUT_REQUEST | PDU_IMMEDIATE,
					  PDU_TEXT_REQUEST | PDU_IMMEDIATE,
					  PDU_TMF_REQUEST | PDU_IMMEDIATE,
					  PDU_LOGIN_REQUEST | PDU_IMMEDIATE,
					  'G',
					  0x16};
	static const char all[] = "SendTargets=All";
	uint8_t bhs[PDU_BHS_BYTES] = {opcodes[request->how % ARRAY_SIZE(opcodes)], 0x80};
	bool is_text = (bhs[0] & 0x3F) == PDU_TEXT_REQUEST;
	struct wire *wire = request->self->wire;
	size_t from;

	put_be32(bhs + 16, 5);
	put_be32(bhs + 20, bhs[0] == (PDU_SCSI_COMMAND | PDU_IMMEDIATE) ? 0 : PDU_TAG_RESERVED);
	for (unsigned i = 0; i < request->how / 64u; i++)
		bhs[byte_reader_u8(request->reader) % PDU_BHS_BYTES] =
			byte_reader_u8(request->reader);
	bhs[4] &= 3;
	from = wire->in_to;
	send_pdu(request->self, bhs, all, is_text ? sizeof(all) : 0, request->how & SAY_HALF);
	/* More than there may be, and than there is. */
	if ((request->how & 0x38) == 0x38 && wire->in_to >= from + PDU_BHS_BYTES)
		wire->in[from + 5] = 1;
}

/* -- What else happens -- */

static struct sockaddr_storage address_of(uint8_t last)
{
	struct sockaddr_storage address = {.ss_family = AF_INET};

	((struct sockaddr_in *)&address)->sin_addr.s_addr = htonl(0x7F000001u + last);
	((struct sockaddr_in *)&address)->sin_port = htons(3260);
	return address;
}

static void arrive(struct request *request)
{
	struct peer *self = request->self;
	uint8_t who = byte_reader_u8(request->reader);

	if (self->wire->open)
		return;
	*self = (struct peer){
		.wire = self->wire,
		.isid = request->how & 1,
		.host = (request->how >> 1 & 3) % ARRAY_SIZE(host_names),
		.discovery = (request->how & 8) != 0,
		.tsih = (request->how & 16) != 0 ? door.last_tsih : 0,
		.kind = who % KINDS,
		.portal = request->how >> 7 & 1,
		.user = who >> 7 & 1,
	};
	self->wire->heard = on_heard;
	loop_role_assume();
	login_service_arrival(door.service,
			      &(struct portal_arrival){.fd = wire_open(self->wire),
						       .portal_index = self->portal,
						       .local = address_of(9),
						       .peer = address_of(request->how >> 5 & 1)});
}

static void time_passes(struct request *request)
{
	static const uint32_t waits_ms[] = {1, 260, 1000, 3000, 5000, 14000};

	scene.now_ns += waits_ms[request->how % ARRAY_SIZE(waits_ms)] * UINT64_C(1000000);
}

static void leave(struct request *request)
{
	if (request->how % 2 == 0)
		request->self->wire->ended = true;
	else
		request->self->wire->deaf ^= true;
}

static void close_some(uint8_t which, enum session_close_reason reason)
{
	const struct registry_entry *entry = NULL;

	for (unsigned i = 0; i <= which % SESSIONS_MAX; i++) {
		const struct registry_entry *next = registry_next(door.registry, entry);

		entry = next != NULL ? next : entry;
	}
	loop_role_assume();
	if (entry != NULL)
		registry_close((struct registry_entry *)(uintptr_t)entry, reason);
}

static void on_empty(void *arg)
{
	*(bool *)arg = true;
}

static void on_door_empty(void *arg UNUSED)
{
	loop_role_assume();
	registry_close_all(door.registry, SESSION_CLOSE_SHUTDOWN, on_empty, &door.empty);
}

static void stop(void)
{
	loop_role_assume();
	if (!door.stopped)
		login_service_stop(door.service, on_door_empty, NULL);
	door.stopped = true;
}

static void change(struct request *request)
{
	loop_role_assume();
	if (request->how % 4 == 0) {
		fake.view.generation++;
		login_service_renew(door.service);
	} else if (request->how == 255) {
		stop();
	} else {
		close_some(request->how >> 4, (enum session_close_reason)(2 + request->how % 4));
	}
}

static void events(struct request *request)
{
	(void)fake_event(request->how % FAKE_EVENTS, request->how / FAKE_EVENTS * 13u + 1);
}

static void settle(struct request *request UNUSED)
{
	fake_settle(true);
}

static void (*const steps[])(struct request *request) = {
	arrive,       arrive, say_login, say_login, say_text_of_login,
	say_anything, settle, settle,    settle,    time_passes,
	leave,        change, events,    events,    events,
	say_login,
};

static void step(struct byte_reader *reader)
{
	uint8_t what = byte_reader_u8(reader);
	struct request request = {.reader = reader,
				  .self = &peers[(what >> 4) % WIRES],
				  .how = byte_reader_u8(reader)};

	steps[what & 15](&request);
}

/* -- The whole -- */

static bool permits(const void *rules UNUSED, const char *initiator_name,
		    const struct sockaddr_storage *peer UNUSED)
{
	return strcmp(initiator_name, host_names[STRANGER]) != 0;
}

static void begin_server(void)
{
	static const uint16_t other_group[] = {2};
	static const struct iscsi_removed gone = {"iqn.a:gone", UINT64_MAX};

	log_set_level(LOG_LEVEL_ERROR);
	fake_begin_server();
	fake_loop_init(&door.control);
	for (unsigned i = 0; i < PORTALS; i++)
		door.portals[i] =
			(struct iscsi_portal){.address = address_of(9), .tag = (uint16_t)(i + 1)};
	for (unsigned i = 0; i < GONE; i++) {
		door.targets[i].name = target_names[i];
		door.list[i] = &door.targets[i];
	}
	for (unsigned i = BY_CHAP; i <= BY_CHAP_BOTH_WAYS; i++)
		door.targets[i].auth = (struct iscsi_auth){.users = users, .user_count = 2};
	door.targets[BY_CHAP_BOTH_WAYS].auth.mutual = &users[2];
	door.targets[NOT_FOR_STRANGERS].permits = permits;
	door.targets[MOVED].redirect = "192.0.2.1";
	door.targets[MOVED].redirect_port = 3260;
	door.targets[NOT_READY].offline = true;
	door.targets[IN_OTHER_GROUP].tags = other_group;
	door.targets[IN_OTHER_GROUP].tag_count = 1;
	fake.view.targets = door.list;
	fake.view.target_count = GONE;
	fake.view.removed = &gone;
	fake.view.removed_count = 1;
	fake.server.control = &door.control;
	fake.server.portals = door.portals;
	fake.server.portal_count = PORTALS;
	fake.server.limits.sessions_max = SESSIONS_MAX;
	fake.server.limits.login_timeout_ms = 5000;
	fake.server.limits.refusal_delay_ms = 1000;
	fake.server.limits.logins_max = LOGINS_MAX;
}

static void begin(uint32_t random)
{
	int res;

	if (scene.user == NULL)
		begin_server();
	scene.random = random;
	fake_begin_target();
	res = login_service_create(&fake.server, &door.service);
	if (res == 0)
		res = registry_create(&fake.server, &door.registry);
	for (unsigned i = 0; i < GONE && res == 0; i++)
		res = i == 0 ? 0
			     : scsi_target_create(target_names[i], &fake.group,
						  &door.targets[i].scsi);
	check(res == 0);
	door.targets[0].scsi = fake.target.scsi;
	fake.server.registry = door.registry;
	door.stopped = door.empty = false;
	door.last_tsih = 0;
	for (unsigned i = 0; i < WIRES; i++)
		peers[i] = (struct peer){.wire = &scene.wires[i]};
}

static void end(bool stops)
{
	if (stops)
		stop();
	for (unsigned i = 0; i < WIRES; i++)
		scene.wires[i].ended = true;
	for (unsigned i = 0; i < 4; i++) {
		fake_settle(true);
		scene.now_ns += UINT64_C(60) * 1000000000;
	}
	fake_settle(true);
	check(login_service_count(door.service) == 0 && door.guests == 0);
	check(registry_count(door.registry) == 0 && door.stopped == door.empty);
	for (unsigned i = 0; i < WIRES; i++)
		check(!scene.wires[i].open);
	for (unsigned i = 0; i < TIMERS_MAX; i++)
		check(scene.timers[i] == NULL);
	fake_check_empty();
	check(fake_buffers_taken(&door.control) == 0);
	login_service_free(door.service, false);
	registry_free(door.registry, false);
	for (unsigned i = 0; i < GONE; i++)
		scsi_target_free(door.targets[i].scsi);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	struct byte_reader reader = byte_reader_make(bytes, count);
	bool stops = (byte_reader_u8(&reader) & 1) != 0;

	loop_role_assume();
	begin(crc32c(0, bytes, count));
	while (!reader.failed && reader.left > 0)
		step(&reader);
	end(stops);
	return 0;
}
