/*
 * A loop without a thread, wires without sockets, and memory that is looked after, for fuzzing the
 * iSCSI layer: nothing happens until the input says so. Not a test.
 *
 * A wire carries bytes of the initiator in pieces of any size, and hands those of the target to
 * `heard`. Its descriptor is a number that the kernel never gives; shutdown and close of it come
 * here, and nobody may use one that was closed. Read next: iscsi_fake.h.
 */
#ifndef TESTS_FUZZ_ISCSI_FAKE_LOOP_H
#define TESTS_FUZZ_ISCSI_FAKE_LOOP_H

#define FAKE_POISON_BYTES 1024u
#include "tests/unit/scsi_fake_lun.h"

#include <malloc.h>
#include <sanitizer/asan_interface.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/aligned.h"
#include "base/attr.h"

#ifndef WIRES
#define WIRES 2u
#endif
#define WIRE_BYTES (256u * 1024u)
#define WIRE_FD 1000000
#define TIMERS_MAX (4u * WIRES + 8u)

struct session;

struct wire {
	struct session
		*session; /* Of those who make sessions without a login; NULL: it has ended. */
	struct loop_op *recv, *send;
	uint8_t in[WIRE_BYTES];
	size_t in_from, in_to;
	bool open;  /* Not closed by the target. */
	bool shut;  /* Shut down by the target. */
	bool ended; /* The initiator sends nothing more. */
	bool deaf;  /* And takes nothing. */
	void (*heard)(struct wire *wire, const uint8_t *bytes, size_t count);
};

static struct {
	struct wire wires[WIRES];
	struct loop_timer *timers[TIMERS_MAX];
	uint64_t now_ns;
	uint32_t random;
	void *user;
} scene;

#define check(what) check_says(what, #what)

static inline void check_says(bool what, const char *text)
{
	if (!what)
		(void)fprintf(stderr, "not so: %s\n", text);
	if (!what)
		abort();
}

static inline struct wire *wire_of(int fd)
{
	struct wire *wire = &scene.wires[fd - WIRE_FD];

	assert(fd >= WIRE_FD && fd < WIRE_FD + (int)WIRES && wire->open);
	return wire;
}

static inline int wire_open(struct wire *wire)
{
	assert(!wire->open && wire->recv == NULL && wire->send == NULL);
	wire->open = true;
	wire->shut = wire->ended = wire->deaf = false;
	wire->in_from = wire->in_to = 0;
	return WIRE_FD + (int)(wire - scene.wires);
}

/* -- What the target asks of the kernel -- */

int shutdown(int fd, int how UNUSED)
{
	wire_of(fd)->shut = true;
	return 0;
}

int close(int fd)
{
	struct wire *wire;

	if (fd < WIRE_FD)
		return (int)syscall(SYS_close, fd);
	wire = wire_of(fd);
	assert(wire->recv == NULL && wire->send == NULL);
	wire->open = false;
	return 0;
}

ssize_t getrandom(void *out, size_t count, unsigned flags UNUSED)
{
	for (size_t i = 0; i < count; i++) {
		scene.random = scene.random * 1664525u + 1013904223u;
		((uint8_t *)out)[i] = (uint8_t)(scene.random >> 24);
	}
	return (ssize_t)count;
}

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
	return scene.now_ns;
}

bool loop_is_current(const struct loop *loop UNUSED)
{
	return true;
}

void loop_set_user(struct loop *loop UNUSED, void *user)
{
	scene.user = user;
}

void *loop_user(const struct loop *loop UNUSED)
{
	return scene.user;
}

uint64_t loop_cpu_ns(const struct loop *loop UNUSED)
{
	return scene.now_ns / 2;
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
	struct wire *wire = wire_of(fd);

	assert(wire->recv == NULL && iov_count > 0);
	op->iov = iov;
	op->iov_count = iov_count;
	op->done = done;
	wire->recv = op;
}

void loop_send(struct loop *loop UNUSED, struct loop_op *op, int fd, struct iovec *iov,
	       uint32_t iov_count, loop_done_fn *done)
{
	struct wire *wire = wire_of(fd);

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
		if (scene.timers[i] == timer)
			scene.timers[i] = NULL;
	}
	timer->armed = false;
}

void loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms,
		      loop_timer_fn *fn)
{
	unsigned i = 0;

	loop_timer_stop(loop, timer);
	while (scene.timers[i] != NULL)
		i++;
	assert(i < TIMERS_MAX);
	scene.timers[i] = timer;
	timer->armed = true;
	timer->fn = fn;
	timer->expires_ns = scene.now_ns + delay_ms * 1000000u;
}

/* -- What happens -- */

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

	if (op == NULL || (left == 0 && !wire->ended && !wire->shut))
		return false;
	if (!wire->shut)
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

	if (op == NULL || (wire->deaf && !wire->shut))
		return false;
	broken = wire->shut;
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
		struct loop_timer *timer = scene.timers[i];

		if (timer == NULL || timer->expires_ns > scene.now_ns)
			continue;
		scene.timers[i] = NULL;
		timer->armed = false;
		timer->fn(timer);
		return true;
	}
	return false;
}

#endif
