/*
 * A target in full feature phase without threads, sockets and disks, for fuzzing: the iSCSI layer
 * and the device server on the loop and the LUNs of scsi_fake_lun.h, with wires and timers added.
 * Nothing happens until fake_event, so an input decides what happens when. Not a test.
 *
 * A wire carries bytes of the initiator in pieces of any size, and hands those of the target to
 * `heard`. Descriptors are numbers that nobody has, so that what conn.c does to them has no effect.
 */
#ifndef TESTS_FUZZ_ISCSI_FAKE_H
#define TESTS_FUZZ_ISCSI_FAKE_H

#define FAKE_BUFFERS 48u
#define FAKE_POISON_BYTES 1024u
#include "tests/unit/scsi_fake_lun.h"

#include <malloc.h>
#include <sanitizer/asan_interface.h>

#include "base/aligned.h"
#include "target/iscsi/conn.h"
#include "target/iscsi/tmf.h"
#include "target/scsi/lun_change.h"

#define WIRES 2u
#define WIRE_BYTES (256u * 1024u)
#define WIRE_FD 1000000
#define TIMERS_MAX 16u
#define FAKE_LUNS 2u
#define FAKE_LUN_BLOCKS 64u
/* Whose names alone make an answer to SendTargets of several pieces. */
#define FAKE_TARGETS 9u

struct wire {
	struct session *session; /* NULL: it has ended. */
	struct loop_op *recv, *send;
	uint8_t in[WIRE_BYTES];
	size_t in_from, in_to;
	bool ended; /* The initiator sends nothing more. */
	bool deaf;  /* And takes nothing. */
	void (*heard)(struct wire *wire, const uint8_t *bytes, size_t count);
};

static struct {
	struct loop loop;
	struct lun luns[FAKE_LUNS];
	struct wire wires[WIRES];
	struct loop_timer *timers[TIMERS_MAX];
	uint64_t now_ns;
	void *user;
	bool stuck[FAKE_LUNS]; /* A disk that answers nothing. */
	struct loop_group group;
	struct iscsi_server server;
	struct iscsi_target target, others;
	struct iscsi_target *targets[FAKE_TARGETS];
	struct iscsi_view view;
	struct iscsi_portal portal;
	/* The second logical unit comes and goes. */
	enum {
		SECOND_THERE,
		SECOND_MOVING,
		SECOND_SETTLED,
		SECOND_GONE
	} second;
	struct scsi_lu *second_lu;
	struct scsi_lun_change change;
	struct scsi_lu_end second_end;
	struct scsi_lu_news news;
	bool telling;
} fake;

/* -- aligned.h: from the heap, where ASan sees sizes and lifetimes -- */

/* Sessions come and go with each input. Nobody may touch one that was freed, so the oldest of a few
 * serves again. */
#define SPARES_MAX 6u
#define SPARE_BYTES_MIN 16384u
static struct spare {
	void *memory;
	size_t bytes;
} spares[SPARES_MAX];
static unsigned spare_count;

static inline void *take_spare(size_t bytes)
{
	struct spare oldest = spares[0];

	if (spare_count <= SPARES_MAX / 2 || oldest.bytes != bytes)
		return NULL;
	memmove(spares, spares + 1, --spare_count * sizeof(*spares));
	ASAN_UNPOISON_MEMORY_REGION(oldest.memory, bytes);
	return oldest.memory;
}

void *aligned_calloc(size_t bytes)
{
	size_t rounded = (bytes + 63) / 64 * 64;
	void *memory = take_spare(rounded);

	if (memory == NULL)
		memory = aligned_alloc(64, rounded);
	return memory != NULL ? memset(memory, 0, rounded) : NULL;
}

void aligned_free(void *memory)
{
	size_t bytes = malloc_usable_size(memory);

	if (bytes < SPARE_BYTES_MIN || spare_count == SPARES_MAX) {
		free(memory);
		return;
	}
	spares[spare_count++] = (struct spare){memory, bytes};
	ASAN_POISON_MEMORY_REGION(memory, bytes);
}

/* -- loop.h -- */

uint64_t loop_now_ns(const struct loop *loop UNUSED)
{
	return fake.now_ns;
}

bool loop_is_current(const struct loop *loop UNUSED)
{
	return true;
}

void loop_set_user(struct loop *loop UNUSED, void *user)
{
	fake.user = user;
}

void *loop_user(const struct loop *loop UNUSED)
{
	return fake.user;
}

uint32_t loop_buffer_count(const struct loop *loop UNUSED)
{
	return FAKE_BUFFERS;
}

uint32_t loop_buffers_free(const struct loop *loop)
{
	return FAKE_BUFFERS - fake_buffers_taken(loop);
}

void loop_forget_fd(struct loop *loop UNUSED, int fd UNUSED)
{
}

void loop_recv(struct loop *loop UNUSED, struct loop_op *op, int fd, struct iovec *iov,
	       uint32_t iov_count, loop_done_fn *done)
{
	struct wire *wire = &fake.wires[fd - WIRE_FD];

	assert(wire->recv == NULL && iov_count > 0);
	op->iov = iov;
	op->iov_count = iov_count;
	op->done = done;
	wire->recv = op;
}

void loop_send(struct loop *loop UNUSED, struct loop_op *op, int fd, struct iovec *iov,
	       uint32_t iov_count, loop_done_fn *done)
{
	struct wire *wire = &fake.wires[fd - WIRE_FD];

	assert(wire->send == NULL && iov_count > 0 && iov_count <= LOOP_IOV_MAX);
	op->iov = iov;
	op->iov_count = iov_count;
	op->done = done;
	op->transferred_bytes = 0;
	wire->send = op;
}

void loop_timer_stop(struct loop *loop UNUSED, struct loop_timer *timer)
{
	for (unsigned i = 0; i < TIMERS_MAX; i++) {
		if (fake.timers[i] == timer)
			fake.timers[i] = NULL;
	}
	timer->armed = false;
}

void loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms,
		      loop_timer_fn *fn)
{
	unsigned i = 0;

	loop_timer_stop(loop, timer);
	while (fake.timers[i] != NULL)
		i++;
	assert(i < TIMERS_MAX);
	fake.timers[i] = timer;
	timer->armed = true;
	timer->fn = fn;
	timer->expires_ns = fake.now_ns + delay_ms * 1000000u;
}

/* -- Events -- */

static inline bool wire_is_closing(const struct wire *wire)
{
	return wire->session->conn.state >= CONN_CLOSING;
}

static inline size_t wire_fill(struct wire *wire, const struct loop_op *op, size_t most)
{
	size_t moved = 0;

	for (unsigned i = 0; i < op->iov_count && moved < most; i++) {
		size_t count =
			op->iov[i].iov_len < most - moved ? op->iov[i].iov_len : most - moved;

		memcpy(op->iov[i].iov_base, wire->in + wire->in_from, count);
		wire->in_from += count;
		moved += count;
	}
	return moved;
}

/* Up to `most` bytes arrive, or the end of the connection. False: there is nothing. */
static inline bool wire_deliver(struct wire *wire, size_t most)
{
	struct loop_op *op = wire->recv;
	size_t left = wire->in_to - wire->in_from;
	size_t count = 0;

	if (op == NULL || (left == 0 && !wire->ended && !wire_is_closing(wire)))
		return false;
	if (!wire_is_closing(wire))
		count = wire_fill(wire, op, left < most ? left : most);
	if (wire->in_from == wire->in_to)
		wire->in_from = wire->in_to = 0;
	wire->recv = NULL;
	op->done(op, (int)count);
	return true;
}

/* What the target sends leaves. False: nothing does. */
static inline bool wire_take(struct wire *wire)
{
	struct loop_op *op = wire->send;
	bool broken;

	if (op == NULL || (wire->deaf && !wire_is_closing(wire)))
		return false;
	broken = wire_is_closing(wire);
	for (unsigned i = 0; i < op->iov_count && !broken; i++) {
		wire->heard(wire, op->iov[i].iov_base, op->iov[i].iov_len);
		op->transferred_bytes += op->iov[i].iov_len;
	}
	wire->send = NULL;
	op->done(op, broken ? -EPIPE : (int)op->transferred_bytes);
	return true;
}

static inline bool fake_timer(void)
{
	for (unsigned i = 0; i < TIMERS_MAX; i++) {
		struct loop_timer *timer = fake.timers[i];

		if (timer == NULL || timer->expires_ns > fake.now_ns)
			continue;
		fake.timers[i] = NULL;
		timer->armed = false;
		timer->fn(timer);
		return true;
	}
	return false;
}

/* -- Logical units that come and go, as target/ctl has it -- */

static inline void fake_on_settled(struct scsi_lu_end *end UNUSED)
{
	fake.second = SECOND_SETTLED;
}

static inline void fake_on_forgotten(struct scsi_lu_end *end UNUSED)
{
	fake.second = SECOND_GONE;
}

static inline void fake_on_removed(struct scsi_lun_change *change UNUSED)
{
	int res;

	loop_role_assume();
	fake.second_end = (struct scsi_lu_end){
		.lu = fake.second_lu, .control = &fake.loop, .done = fake_on_settled};
	res = scsi_lu_settle(&fake.second_end);
	assert(res == 0);
}

static inline void fake_on_added(struct scsi_lun_change *change UNUSED)
{
	fake.second = SECOND_THERE;
}

static inline void fake_on_told(struct scsi_lu_news *news UNUSED)
{
	fake.telling = false;
}

static LOOP_ONLY inline void fake_start_change(bool adds)
{
	int res;

	fake.change = (struct scsi_lun_change){
		.target = fake.target.scsi,
		.control = &fake.loop,
		.added = &fake.second_lu,
		.added_count = adds,
		.removed = &fake.second_lu,
		.removed_count = !adds,
		.done = adds ? fake_on_added : fake_on_removed,
	};
	res = scsi_lun_change_prepare(&fake.change);
	assert(res == 0);
	scsi_lun_change_start(&fake.change);
	fake.second = SECOND_MOVING;
}

static inline void fake_change_luns(void)
{
	int res = 0;

	loop_role_assume();
	if (fake.second == SECOND_GONE)
		res = scsi_lu_create(fake.target.scsi, 1,
				     &(struct scsi_lu_spec){.lun = &fake.luns[1]}, &fake.second_lu);
	assert(res == 0);
	if (fake.second == SECOND_THERE)
		fake.second_lu = scsi_target_find_lu(fake.target.scsi, 1);
	if (fake.second == SECOND_GONE || fake.second == SECOND_THERE)
		fake_start_change(fake.second == SECOND_GONE);
}

/* No I/O of it is under way any more. */
static LOOP_ONLY inline bool fake_forget(void)
{
	if (fake.second != SECOND_SETTLED || !list_is_empty(&fake.luns[1].queue) ||
	    !list_is_empty(&fake.luns[1].exclusives))
		return false;
	fake.second_end.done = fake_on_forgotten;
	fake.second = SECOND_MOVING;
	scsi_lu_forget(&fake.second_end);
	return true;
}

static inline void fake_tell_capacity(void)
{
	loop_role_assume();
	if (fake.telling)
		return;
	fake.telling = true;
	fake.news = (struct scsi_lu_news){.lu = scsi_target_find_lu(fake.target.scsi, 0),
					  .grown = true,
					  .control = &fake.loop,
					  .done = fake_on_told};
	scsi_lu_renew(&fake.news);
}

#define FAKE_EVENTS 8u

/* Let something happen: which of FAKE_EVENTS kinds, and with how many bytes. False: it cannot. */
static inline bool fake_event(unsigned kind, size_t bytes)
{
	struct wire *wire = &fake.wires[kind & 1];

	loop_role_assume();
	if (kind == 0)
		return fake_message(&fake.loop);
	if (kind == 1)
		return fake_call(&fake.loop) || fake_timer() || fake_forget();
	if (kind < 4)
		return !fake.stuck[kind & 1] && fake_step(&fake.luns[kind & 1]);
	if (wire->session == NULL)
		return false;
	return kind < 6 ? wire_deliver(wire, bytes) : wire_take(wire);
}

/* Until nothing can happen any more without time or an initiator; or without the disks. */
static inline void fake_settle(bool with_disks)
{
	unsigned idle = 0;

	for (unsigned i = 0; idle < FAKE_EVENTS; i++) {
		unsigned kind = i % FAKE_EVENTS;
		bool skipped = !with_disks && (kind == 2 || kind == 3);

		idle = !skipped && fake_event(kind, WIRE_BYTES) ? 0 : idle + 1;
		if (i > 10u * 1000 * 1000)
			abort();
	}
}

/* -- Loop and server: once for all inputs -- */

static inline void fake_begin_server(void)
{
	int res;

	fake_loop_init(&fake.loop);
	fake.group = (struct loop_group){.loops = {&fake.loop}, .count = 1};
	fake.server.group = fake.group;
	fake.server.control = &fake.loop;
	fake.server.limits = (struct iscsi_limits){
		.sessions_max = WIRES,
		.queue_depth_max = 32,
		.write_stall_timeout_ms = 5000,
		.nop_interval_ms = 3000,
		.nop_timeout_ms = 3000,
		.data_out_timeout_ms = 8000,
	};
	for (unsigned i = 0; i < FAKE_TARGETS; i++)
		fake.targets[i] = i == 0 ? &fake.target : &fake.others;
	fake.view = (struct iscsi_view){
		.generation = 1, .targets = fake.targets, .target_count = FAKE_TARGETS};
	iscsi_view_set(&fake.server, &fake.view);
	fake.portal.tag = 1;
	fake.portal.address.ss_family = AF_INET;
	fake.server.portals = &fake.portal;
	fake.server.portal_count = 1;
	fake.target.name = "iqn.2026-11.io.ringsan:fuzz";
	fake.others.name = "iqn.2026-11.io.ringsan:another.one.with.a.long.name.of.its.own";
	res = iscsi_loop_create(&fake.loop, &fake.server);
	assert(res == 0);
}

/* -- The target: anew for each, so that none depends on those before it -- */

static inline void fake_begin_target(void)
{
	static uint8_t bytes[FAKE_LUNS][FAKE_LUN_BLOCKS * 512];
	int res;

	fake.now_ns = 0;
	memset(bytes, 0, sizeof(bytes));
	memset(fake.stuck, 0, sizeof(fake.stuck));
	res = scsi_target_create(fake.target.name, &fake.group, &fake.target.scsi);
	for (uint16_t i = 0; res == 0 && i < FAKE_LUNS; i++) {
		fake_lun_set(&fake.luns[i], FAKE_LUN_BLOCKS, 512, bytes[i]);
		fake.luns[i].identity.naa[15] = (uint8_t)i;
		res = scsi_target_add_lu(fake.target.scsi, i,
					 &(struct scsi_lu_spec){.lun = &fake.luns[i]});
	}
	assert(res == 0);
	fake.second = SECOND_THERE;
}

static inline void fake_on_ended(struct session *session, void *arg)
{
	struct wire *wire = arg;

	assert(wire->recv == NULL && wire->send == NULL);
	wire->session = NULL;
	session_free(session);
}

/* As a login does, by keys: "Key=value" and a newline each. */
static inline void fake_negotiate(struct negotiation *negotiation, char *keys)
{
	char answer_text[4096];
	struct negotiate_limits limits = negotiate_limits_default;
	struct negotiate_text text;
	struct text_writer answer;
	size_t bytes = strlen(keys);
	const char *refusal;

	for (size_t i = 0; i < bytes; i++)
		keys[i] = keys[i] == '\n' ? '\0' : keys[i];
	limits.max_recv_data_segment_length = ISCSI_RECV_DATA_BYTES;
	negotiation_init(negotiation, &limits);
	refusal = negotiate_sort(negotiation, KEY_IN_OPERATIONAL, keys, bytes, &text);
	assert(refusal == NULL);
	text_writer_init(&answer, answer_text, sizeof(answer_text));
	negotiate_answer(negotiation, KEY_IN_OPERATIONAL, &text, &answer);
}

/* Log in, for discovery or not, with what was agreed to. */
static inline void fake_connect(unsigned index, bool discovery, uint32_t exp_cmd_sn,
				const struct negotiation *negotiation)
{
	struct wire *wire = &fake.wires[index];
	struct scsi_nexus_spec nexus = {
		.target = fake.target.scsi,
		.initiator_port_name = index == 0 ? "iqn.x:a,i,0x1" : "iqn.x:b,i,0x2",
		.relative_target_port = 1,
		.portal_group_tag = 1,
	};
	struct session_spec spec = {
		.server = &fake.server,
		.loop = &fake.loop,
		.fd = WIRE_FD + (int)index,
		.initiator_name = index == 0 ? "iqn.x:a" : "iqn.x:b",
		.discovery = discovery,
		.target = discovery ? NULL : fake.target.scsi,
		.target_name = discovery ? NULL : fake.target.name,
		.tsih = (uint16_t)(index + 1),
		.negotiation = negotiation,
		.exp_cmd_sn = exp_cmd_sn,
		.stat_sn = 1,
		.on_ended = fake_on_ended,
		.arg = wire,
	};
	int res;

	spec.local.ss_family = AF_INET;
	negotiate_params(negotiation, &spec.params);
	wire->in_from = wire->in_to = 0;
	wire->ended = wire->deaf = false;
	res = discovery ? 0 : scsi_nexus_create(&nexus, &spec.nexus);
	if (res == 0)
		res = session_create(&spec, &wire->session);
	assert(res == 0);
	session_start(wire->session);
}

/* What an input must leave behind: nothing. */
static inline void fake_check_empty(void)
{
	const struct iscsi_loop *home = fake.user;

	assert(pool_used_count(&home->tasks) == 0 && pool_used_count(&home->windows) == 0);
	assert(pool_used_count(&home->functions) == 0 && home->left_over_bytes == 0);
	assert(fake_buffers_taken(&fake.loop) == 0);
	assert(home->floor_unused == 0 && home->slots_unused == 0);
	assert(list_is_empty(&home->sessions) && list_is_empty(&home->starved));
	assert(list_is_empty(&home->blocked) && list_is_empty(&home->aborted));
	assert((fake.second == SECOND_THERE || fake.second == SECOND_GONE) && !fake.telling);
}

#endif
