/*
 * Fuzzes the full feature phase: two sessions send requests made from every row of the protocol,
 * whole and broken, to the iSCSI layer and the device server, while disks fail or answer nothing,
 * time passes and connections end.
 *
 * Beyond the sanitizers and the asserts of the target: whatever leaves is well-formed, its numbers
 * go on as RFC 7143 4.2.2 wants, no data exceed what was expected or agreed to, a command has one
 * answer at most, and none after the answer to what aborted it. At the end nothing is left of
 * tasks, buffers and sessions. Read next: fuzz_iscsi_judge.h,
 * iscsi_fake.h.
 */
#include "tests/fuzz/fuzz_iscsi_judge.h"

#include "base/log.h"

/* -- What the initiators say -- */

static void put(struct wire *wire, const void *bytes, size_t count)
{
	memcpy(wire->in + wire->in_to, bytes, count);
	wire->in_to += count;
}

/* Bits of a request's second byte. */
enum {
	SAY_IMMEDIATE = 1 << 0,
	SAY_NOT_FINAL = 1 << 1,
	SAY_OTHER_CMD_SN = 1 << 2,
	SAY_BROKEN_HEADER = 1 << 3,
	SAY_BROKEN_DATA = 1 << 4,
	SAY_HALF = 1 << 5,
	SAY_OTHER_LUN = 1 << 6,
	SAY_LONG = 1 << 7,
};

#define NOTHING_TO_SEND UINT32_MAX

struct request {
	struct byte_reader *reader;
	struct initiator *self;
	uint8_t how, tag;
	uint8_t bhs[PDU_BHS_BYTES + 3 * 4];
	uint32_t data_bytes; /* Or NOTHING_TO_SEND. */
	uint8_t data[DATA_MAX];
};

static void send_request(struct request *request)
{
	struct initiator *self = request->self;
	struct wire *wire = self->wire;
	uint8_t digest[PDU_DIGEST_BYTES];
	uint32_t padded = pdu_padded(request->data_bytes);
	size_t header = PDU_BHS_BYTES + request->bhs[4] * 4u;

	/* Half a PDU would make headers of what is none. */
	if (WIRE_BYTES - wire->in_to < header + padded + 2 * PDU_DIGEST_BYTES || wire->ended)
		return;
	put_be24(request->bhs + 5, request->data_bytes);
	if ((request->how & SAY_HALF) != 0) {
		put(wire, request->bhs, request->tag * 3u % PDU_BHS_BYTES);
		wire->ended = true;
		return;
	}
	put(wire, request->bhs, header);
	put_le32(digest, crc32c(0, request->bhs, header));
	digest[0] ^= (request->how & SAY_BROKEN_HEADER) != 0;
	if (self->params.header_digest)
		put(wire, digest, sizeof(digest));
	put(wire, request->data, padded);
	put_le32(digest, crc32c(0, request->data, padded));
	digest[0] ^= (request->how & SAY_BROKEN_DATA) != 0;
	if (self->params.data_digest && request->data_bytes > 0)
		put(wire, digest, sizeof(digest));
}

static uint32_t next_cmd_sn(struct request *request)
{
	struct initiator *self = request->self;

	if ((request->how & SAY_OTHER_CMD_SN) != 0)
		return self->cmd_sn + (uint32_t)(int8_t)byte_reader_u8(request->reader);
	return (request->how & SAY_IMMEDIATE) != 0 ? self->cmd_sn : self->cmd_sn++;
}

static uint64_t some_lun(const struct request *request)
{
	static const uint64_t luns[] = {0, UINT64_C(0x0001) << 48, UINT64_C(0x4001) << 48,
					UINT64_C(0x0077) << 48};

	return luns[(request->how & SAY_OTHER_LUN) != 0 ? 1 + request->tag % 3 : 0];
}

/* Up to `most` bytes of data, filled with one byte. */
static void take_data(struct request *request, uint32_t most)
{
	uint32_t bytes = byte_reader_be16(request->reader);

	request->data_bytes = bytes % (most + 1);
	memset(request->data, (uint8_t)bytes, pdu_padded(request->data_bytes));
}

static void note_command(struct request *request, const struct pdu_scsi_command *command)
{
	struct record *record = record_of(request->self, command->itt);

	record->many_luns |= record->sent > 0 && record->lun != command->lun;
	record->lun = command->lun;
	record->sent++;
	/* The longest, as several of one tag may be on their way. */
	if (command->expected_data_len_bytes > record->expected_bytes)
		record->expected_bytes = command->expected_data_len_bytes;
}

/* Commands of some blocks, and of none: where their count stands, and what they move. */
static const struct kind {
	uint8_t opcode, flags, count_at;
	bool read, write;
	uint16_t bytes_per_block;
} kinds[] = {
	{0x28, 0, 8, true, false, 512},    /* READ(10) */
	{0x2A, 0, 8, false, true, 512},    /* WRITE(10) */
	{0x00, 0, 4, false, false, 0},     /* TEST UNIT READY */
	{0x12, 0, 4, true, false, 1},      /* INQUIRY */
	{0x89, 0, 13, false, true, 1024},  /* COMPARE AND WRITE */
	{0x42, 0, 8, false, true, 1},      /* UNMAP */
	{0x93, 0, 13, false, true, 16},    /* WRITE SAME(16) */
	{0x35, 0, 8, false, false, 0},     /* SYNCHRONIZE CACHE(10) */
	{0x2F, 0x02, 8, false, true, 512}, /* VERIFY(10) of data that come along */
	{0x15, 0x10, 4, false, true, 1},   /* MODE SELECT(6) */
	{0x2E, 0, 8, false, true, 512},    /* WRITE AND VERIFY(10) */
	{0xA0, 0, 9, true, false, 1},      /* REPORT LUNS */
	{0x8B, 0, 13, false, true, 512},   /* ORWRITE(16) */
	{0x88, 0, 13, true, false, 512},   /* READ(16) */
	{0x5E, 0, 8, true, false, 1},      /* PERSISTENT RESERVE IN */
	{0x03, 0, 4, true, false, 1},      /* REQUEST SENSE */
};

static void say_this_command(struct request *request, struct pdu_scsi_command *command)
{
	command->cmd_sn = next_cmd_sn(request);
	pdu_scsi_command_encode(command, request->bhs);
	if ((request->how & SAY_HALF) == 0)
		note_command(request, command);
}

static void say_command(struct request *request)
{
	const struct kind *kind = &kinds[byte_reader_u8(request->reader) % ARRAY_SIZE(kinds)];
	uint8_t shape = byte_reader_u8(request->reader);
	uint8_t blocks = byte_reader_u8(request->reader) % 65;
	struct pdu_scsi_command command = {
		.lun = some_lun(request),
		.itt = COMMAND_TAG + request->tag,
		.immediate = (request->how & SAY_IMMEDIATE) != 0,
		.final = (request->how & SAY_NOT_FINAL) == 0,
		.read = kind->read != ((shape & 1) != 0),
		.write = kind->write != ((shape & 2) != 0),
		.attr = (shape >> 2) & 7,
		.expected_data_len_bytes = (request->how & SAY_LONG) != 0
						   ? byte_reader_be24(request->reader)
						   : blocks * (uint32_t)kind->bytes_per_block,
	};

	command.cdb[0] = kind->opcode;
	command.cdb[1] = kind->flags;
	command.cdb[kind->count_at] = blocks;
	command.cdb[kind->count_at == 13 ? 9 : 5] = shape >> 5;
	for (unsigned i = 1; i < 16 && (shape & 0xE0) == 0xE0; i++)
		command.cdb[i] = byte_reader_u8(request->reader);
	take_data(request, command.write ? DATA_MAX : 4);
	say_this_command(request, &command);
}

/* PERSISTENT RESERVE OUT of one of few keys, so that hosts meet each other. */
static void say_reserve(struct request *request)
{
	uint8_t action = byte_reader_u8(request->reader);
	uint8_t keys = byte_reader_u8(request->reader);
	struct pdu_scsi_command command = {
		.lun = some_lun(request),
		.itt = COMMAND_TAG + request->tag,
		.immediate = (request->how & SAY_IMMEDIATE) != 0,
		.final = true,
		.write = true,
		.expected_data_len_bytes = 24,
		.cdb = {0x5F, action & 7, (uint8_t)(action >> 3 & 15), 0, 0, 0, 0, 0, 24},
	};

	request->data_bytes = request->self->params.immediate_data ? 24 : 0;
	memset(request->data, 0, 24);
	request->data[7] = keys & 3;
	request->data[15] = keys >> 2 & 3;
	request->data[20] = keys >> 4 & 15;
	say_this_command(request, &command);
}

/* Mostly what the last R2T asked for. */
static void say_data_out(struct request *request)
{
	struct initiator *self = request->self;
	uint8_t delta = byte_reader_u8(request->reader);
	uint32_t left = self->r2t.desired_data_len_bytes;
	struct pdu_data_out out = {
		.itt = (request->how & SAY_OTHER_LUN) != 0 ? COMMAND_TAG + request->tag
							   : self->r2t.itt,
		.ttt = (request->how & SAY_IMMEDIATE) != 0 ? PDU_TAG_RESERVED : self->r2t.ttt,
		.buffer_offset = self->r2t.buffer_offset +
				 ((request->how & SAY_OTHER_CMD_SN) != 0 ? delta : 0),
		.data_sn = self->data_sn++,
	};

	request->data_bytes = left < DATA_MAX ? left : DATA_MAX;
	if ((request->how & SAY_LONG) != 0)
		take_data(request, DATA_MAX);
	out.final = request->data_bytes == left && (request->how & SAY_NOT_FINAL) == 0;
	memset(request->data, delta, pdu_padded(request->data_bytes));
	self->r2t.buffer_offset += request->data_bytes;
	self->r2t.desired_data_len_bytes -= request->data_bytes < left ? request->data_bytes : left;
	pdu_data_out_encode(&out, request->bhs);
}

static void say_function(struct request *request)
{
	struct initiator *self = request->self;
	struct function *function = &self->functions[request->tag];
	uint8_t which = byte_reader_u8(request->reader);
	uint8_t referenced = byte_reader_u8(request->reader);
	struct pdu_tmf_request tmf = {
		.lun = some_lun(request),
		.itt = FUNCTION_TAG + request->tag,
		.function = which % 14,
		.referenced_task_tag = COMMAND_TAG + referenced % TAGS,
		.ref_cmd_sn = self->cmd_sn + (uint32_t)(int8_t)which,
		.immediate = (request->how & SAY_IMMEDIATE) == 0,
	};

	/* One at a time of each tag: the target need not keep them apart. */
	request->data_bytes = function->pending ? NOTHING_TO_SEND : 0;
	if (function->pending)
		return;
	request->how ^= SAY_IMMEDIATE;
	tmf.cmd_sn = next_cmd_sn(request);
	pdu_tmf_request_encode(&tmf, request->bhs);
	*function = (struct function){.pending = true,
				      .function = tmf.function,
				      .lun = tmf.lun,
				      .referenced = tmf.referenced_task_tag};
	for (unsigned i = 0; i < TAGS; i++)
		function->sent[i] = self->records[i].sent;
}

static void say_nop(struct request *request)
{
	struct pdu_nop_out nop = {
		.itt = (request->how & SAY_NOT_FINAL) != 0 ? PDU_TAG_RESERVED : OTHER_TAG,
		.ttt = (request->how & SAY_LONG) != 0 ? request->tag : PDU_TAG_RESERVED,
		.immediate = (request->how & SAY_IMMEDIATE) != 0,
	};

	take_data(request, 4096);
	nop.cmd_sn = next_cmd_sn(request);
	pdu_nop_out_encode(&nop, request->bhs);
}

static void say_text(struct request *request)
{
	static const char *const texts[] = {"SendTargets=All",
					    "SendTargets=",
					    "MaxRecvDataSegmentLength=8192",
					    "X-a=b",
					    "=",
					    "a",
					    "SendTargets=iqn.2026-11.io.ringsan:fuzz",
					    "MaxRecvDataSegmentLength=512"};
	const char *text = texts[request->tag % ARRAY_SIZE(texts)];
	struct pdu_text_request pdu = {
		.itt = OTHER_TAG,
		.ttt = (request->how & SAY_LONG) != 0 ? request->tag : PDU_TAG_RESERVED,
		.immediate = (request->how & SAY_IMMEDIATE) != 0,
		.final = (request->how & SAY_NOT_FINAL) == 0,
		.cont = (request->how & SAY_OTHER_LUN) != 0,
	};

	request->self->data_max = DATA_MAX;
	/* Perhaps with much behind it. */
	if (request->tag >= TAGS / 2)
		take_data(request, DATA_MAX);
	if (request->data_bytes <= strlen(text))
		request->data_bytes = (uint32_t)strlen(text) + 1;
	memcpy(request->data, text, strlen(text) + 1);
	pdu.cmd_sn = next_cmd_sn(request);
	pdu_text_request_encode(&pdu, request->bhs);
}

static void say_logout(struct request *request)
{
	struct pdu_logout_request logout = {
		.itt = OTHER_TAG,
		.reason = request->tag % 4,
		.immediate = (request->how & SAY_IMMEDIATE) != 0,
	};

	logout.cmd_sn = next_cmd_sn(request);
	pdu_logout_request_encode(&logout, request->bhs);
}

/* Any header at all, but for tags that would be taken for ours. */
static void say_anything(struct request *request)
{
	const uint8_t *raw = byte_reader_take(request->reader, PDU_BHS_BYTES);

	if (raw != NULL)
		memcpy(request->bhs, raw, PDU_BHS_BYTES);
	if (pdu_opcode(request->bhs) == PDU_SCSI_COMMAND ||
	    pdu_opcode(request->bhs) == PDU_TMF_REQUEST)
		request->bhs[0] = PDU_SNACK_REQUEST;
	request->bhs[4] &= 3; /* TotalAHSLength, in words. */
	put_be32(request->bhs + 16, OTHER_TAG);
	take_data(request, DATA_MAX);
}

/* -- What else happens -- */

static void say_nothing(struct request *request)
{
	static const uint32_t waits_ms[] = {1, 300, 1000, 4000};

	request->data_bytes = NOTHING_TO_SEND;
	if ((request->how & SAY_LONG) != 0)
		request->self->wire->deaf ^= true;
	else
		scene.now_ns += waits_ms[request->tag % 4] * UINT64_C(1000000);
}

static void begin(unsigned index, uint8_t flags);

/* An administrator, the configuration, other logins; and who has gone logs in again. */
static void changes(struct request *request)
{
	unsigned index = (unsigned)(request->self - initiators);

	request->data_bytes = NOTHING_TO_SEND;
	if (request->tag == 0)
		fake_change_luns();
	else if (request->tag == 1)
		fake_tell_capacity();
	else if (request->tag == 2)
		fake.view.generation++;
	else if (request->tag == 3)
		fake.target.scsi_events ^= true;
	else if (request->self->wire->session == NULL)
		begin(index, request->how);
	else
		session_close(request->self->wire->session,
			      (enum session_close_reason)(1 + request->how % 5));
}

static void disks(struct request *request)
{
	static const int results[] = {0, -EIO, -ENOSPC, -EBUSY};
	struct lun *lun = &fake.luns[request->how & 1];

	request->data_bytes = NOTHING_TO_SEND;
	fake.stuck[request->how & 1] = (request->how & 2) != 0;
	lun->fail_res = results[request->tag % 4];
	lun->fail_op = (enum lun_op)(request->tag / 4 % LUN_OP_COUNT);
	lun->fail_after = request->how >> 5;
}

static void events(struct request *request)
{
	request->data_bytes = NOTHING_TO_SEND;
	for (unsigned i = 0; i <= request->tag; i++)
		(void)fake_event(request->how % FAKE_EVENTS, request->how / FAKE_EVENTS * 7u + 1);
}

static void settle(struct request *request)
{
	request->data_bytes = NOTHING_TO_SEND;
	fake_settle((request->how & 1) != 0);
}

/* The attention of a fresh nexus, so that commands of the input do something. */
static void clear_attention(struct initiator *self)
{
	struct request request = {.self = self};
	struct pdu_scsi_command ready = {.final = true, .immediate = true, .itt = COMMAND_TAG};

	for (unsigned i = 0; i < FAKE_LUNS; i++) {
		ready.lun = (uint64_t)i << 48;
		ready.cmd_sn = self->cmd_sn;
		pdu_scsi_command_encode(&ready, request.bhs);
		self->records[0].sent++;
		send_request(&request);
	}
	self->records[0].many_luns = true;
}

static void (*const steps[])(struct request *request) = {
	say_command, say_command, say_data_out, say_data_out, say_function, say_reserve,
	say_nop,     say_text,    say_logout,   say_anything, say_nothing,  disks,
	events,      events,      changes,      settle,
};

static void step(struct byte_reader *reader)
{
	uint8_t what = byte_reader_u8(reader);
	uint8_t how = byte_reader_u8(reader);
	static struct request request;

	memset(&request, 0, offsetof(struct request, data) + 64);
	request.reader = reader;
	request.self = &initiators[what >> 4 & 1];
	request.how = how;
	request.tag = what >> 5;
	steps[what & 15](&request);
	if (request.data_bytes != NOTHING_TO_SEND)
		send_request(&request);
}

static const char *yes_or_no(unsigned bit)
{
	return bit != 0 ? "Yes" : "No";
}

static uint32_t data_max_of(uint8_t flags)
{
	return (flags & 1) != 0 ? 512 : DATA_MAX;
}

/* What the flags agree to, negotiated once: it would take longer than most inputs. */
static const struct negotiation *agreed(uint8_t flags)
{
	static struct negotiation all[128];
	static bool done[ARRAY_SIZE(all)];
	unsigned which = flags % ARRAY_SIZE(all);
	char keys[512];

	if (done[which])
		return &all[which];
	done[which] = true;
	(void)snprintf(keys, sizeof(keys),
		       "HeaderDigest=%s\nDataDigest=%s\nInitialR2T=%s\nImmediateData=%s\n"
		       "MaxRecvDataSegmentLength=%u\nMaxOutstandingR2T=%u\nFirstBurstLength=8192\n"
		       "MaxBurstLength=16384\niSCSIProtocolLevel=2\n",
		       (flags & 2) != 0 ? "CRC32C" : "None", (flags & 4) != 0 ? "CRC32C" : "None",
		       yes_or_no(flags & 8), yes_or_no(flags & 16), data_max_of(flags),
		       1 + (flags >> 5 & 3u));
	fake_negotiate(&all[which], keys);
	return &all[which];
}

static void begin(unsigned index, uint8_t flags)
{
	struct initiator *self = &initiators[index];
	bool discovery = (flags & 128) != 0;

	*self = (struct initiator){
		.wire = &scene.wires[index],
		.cmd_sn = FIRST_CMD_SN,
		.stat_sn = 1,
		.exp_cmd_sn = FIRST_CMD_SN,
		.max_cmd_sn = FIRST_CMD_SN - 1,
		.data_max = data_max_of(flags),
	};
	negotiate_params(agreed(flags), &self->params);
	self->wire->heard = on_heard;
	fake_connect(index, discovery, FIRST_CMD_SN, agreed(flags));
	if (!discovery)
		clear_attention(self);
}

/* Whatever the input left, all of it ends when disks answer and the initiators go. */
static void end(void)
{
	for (unsigned i = 0; i < FAKE_LUNS; i++) {
		fake.stuck[i] = false;
		fake.luns[i].fail_res = 0;
	}
	for (unsigned i = 0; i < WIRES; i++)
		scene.wires[i].ended = true;
	fake_settle(true);
	/* Who is asked to log out and says nothing is dismissed; who is dismissed and takes nothing
	 * is closed: one time limit after the other. */
	for (unsigned i = 0; i < 4; i++) {
		scene.now_ns += UINT64_C(3600) * 1000000000;
		fake_settle(true);
	}
	for (unsigned i = 0; i < WIRES; i++) {
		scene.wires[i].deaf = false;
		check(scene.wires[i].session == NULL);
	}
	fake_check_empty();
	scsi_target_free(fake.target.scsi);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	struct byte_reader reader = byte_reader_make(bytes, count);

	loop_role_assume();
	if (scene.user == NULL) {
		log_set_level(LOG_LEVEL_ERROR);
		fake_begin_server();
	}
	fake_begin_target();
	for (unsigned i = 0; i < WIRES; i++)
		begin(i, byte_reader_u8(&reader));
	fake_settle(true);
	while (!reader.failed && reader.left > 0)
		step(&reader);
	end();
	return 0;
}
