/*
 * The loop engine of the simulator, and what production code calls beside the loop: the clock, and
 * transfers on the spot, which are refused as by a file system that cannot tell whether it would
 * wait.
 */
#include "tests/crash/sim.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

#include "base/attr.h"
#include "base/clock.h"
#include "base/loop_engine.h"

#define LATENCY_US 1000u
/* What a turn takes when nothing is waited for. */
#define TURN_NS 1000u

static struct sim *entered;

/* -- In place of the C library's (linked with --wrap) -- */

int __real_clock_gettime(clockid_t clock, struct timespec *out);
int __wrap_clock_gettime(clockid_t clock, struct timespec *out);
ssize_t __wrap_preadv2(int fd, const struct iovec *iov, int count, off_t offset, int flags);
ssize_t __wrap_pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags);
int __real_ftruncate(int fd, off_t length);
int __wrap_ftruncate(int fd, off_t length);
int __real_fallocate(int fd, int mode, off_t offset, off_t length);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t length);

int __wrap_clock_gettime(clockid_t clock, struct timespec *out)
{
	if (!entered || clock != CLOCK_MONOTONIC)
		return __real_clock_gettime(clock, out);
	out->tv_sec = (time_t)(entered->now_ns / CLOCK_NS_PER_S);
	out->tv_nsec = (long)(entered->now_ns % CLOCK_NS_PER_S);
	return 0;
}

static uint64_t read_clock(clockid_t clock)
{
	struct timespec now;

	(void)__real_clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * CLOCK_NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t sim_real_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

uint64_t sim_cpu_ns(void)
{
	return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

/* -- Files -- */

static bool find_file(const struct sim *sim, int fd, unsigned *file)
{
	for (unsigned i = 0; i < sim->fd_count; i++) {
		if (sim->fds[i].fd == fd) {
			*file = sim->fds[i].file;
			return true;
		}
	}
	return false;
}

void sim_bind(struct sim *sim, int fd, unsigned file)
{
	assert(sim->fd_count < SIM_FDS_MAX && file < sim->disk->file_count);
	sim->fds[sim->fd_count].fd = fd;
	sim->fds[sim->fd_count++].file = file;
}

void sim_unbind(struct sim *sim)
{
	sim->fd_count = 0;
}

/* From within a loop_call: issued and ended at once. */
int __wrap_ftruncate(int fd, off_t length)
{
	struct disk_change change;
	unsigned file;

	if (!entered || !find_file(entered, fd, &file))
		return __real_ftruncate(fd, length);
	if ((uint64_t)length < entered->disk->files[file].now_bytes) {
		disk_issue_cut(entered->disk, file, (uint64_t)length, &change);
	} else if (!disk_issue_grow(entered->disk, file, (uint64_t)length, &change)) {
		errno = EFBIG;
		return -1;
	}
	disk_end(entered->disk, &change, false);
	return 0;
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t length)
{
	struct disk_change change;
	unsigned file;

	if (!entered || !find_file(entered, fd, &file))
		return __real_fallocate(fd, mode, offset, length);
	assert(mode & FALLOC_FL_KEEP_SIZE);
	disk_issue_zero(entered->disk, file, (uint64_t)offset, (uint64_t)length, &change);
	disk_end(entered->disk, &change, false);
	return 0;
}

/* -- Faults -- */

/* What this call answers instead: 0, negative errno or SIM_SHORT. A signal is not for ever. */
static int take_fault(struct sim *sim, enum loop_op_kind kind, bool nowait)
{
	const struct sim_fault *fault = &sim->fault;
	uint64_t more = fault->error == -EINTR ? 0 : fault->more;

	sim->operations++;
	if (!(fault->kinds & 1u << kind))
		return 0;
	if (fault->error == -EAGAIN && !nowait)
		return 0;
	sim->calls++;
	if (!fault->nth || sim->calls < fault->nth || sim->calls - fault->nth > more)
		return 0;
	sim->faults++;
	return fault->error;
}

/* Where a table found no space, that is the end of all writing. */
#define SPACE_FOR_DATA (1u << LOOP_OP_ALLOCATE)

bool sim_has_space_again(const struct sim *sim)
{
	const struct sim_fault *fault = &sim->fault;

	return (fault->error == -ENOSPC || fault->error == -EDQUOT) &&
	       !(fault->kinds & ~SPACE_FOR_DATA) && fault->nth && fault->more != SIM_FOR_EVER &&
	       sim->calls >= fault->nth + fault->more;
}

int sim_take_fault(struct sim *sim, enum loop_op_kind kind)
{
	if (sim->fault.error == SIM_SHORT || sim->fault.error == -EINTR)
		return 0;
	return take_fault(sim, kind, false);
}

/* Without waiting, some things are refused: never so on a file that cannot tell. */
static int refuse_nowait(struct sim *sim, const struct loop_op *op)
{
	if ((op->flags & LOOP_NOWAIT) && random_one_in(&sim->random, 8))
		return -EAGAIN;
	return 0;
}

/* -- Issue -- */

static uint64_t bytes_left(const struct loop_op *op)
{
	return op->length_bytes - op->transferred_bytes;
}

/* A part of it, in whole sectors where there are several. */
static uint64_t shorten(struct sim *sim, uint64_t length)
{
	uint64_t sectors = length / DISK_SECTOR_BYTES;

	if (sectors < 2)
		return length;
	return (1 + random_below(&sim->random, (uint32_t)sectors - 1)) * DISK_SECTOR_BYTES;
}

static void issue_write(struct sim *sim, struct sim_flight *flight, unsigned file)
{
	struct loop_op *op = flight->op;

	if (!disk_issue_write(sim->disk, file, (uint64_t)loop_op_position(op), op->iov,
			      flight->length, &flight->change))
		flight->error = -ENOSPC;
}

static void issue_range(struct sim *sim, struct sim_flight *flight, unsigned file)
{
	const struct loop_op *op = flight->op;
	uint64_t end = op->offset_bytes + op->length_bytes;

	if (op->kind != LOOP_OP_ALLOCATE) {
		disk_issue_zero(sim->disk, file, op->offset_bytes, op->length_bytes,
				&flight->change);
	} else if (!disk_issue_grow(sim->disk, file, end, &flight->change)) {
		flight->error = -ENOSPC;
	}
}

static void issue_sync(struct sim *sim, struct sim_flight *flight, unsigned file UNUSED)
{
	flight->synced = disk_sync_issue(sim->disk);
}

static void issue_nothing(struct sim *sim UNUSED, struct sim_flight *flight UNUSED,
			  unsigned file UNUSED)
{
}

typedef void issue_fn(struct sim *sim, struct sim_flight *flight, unsigned file);

static issue_fn *const issues[LOOP_OP_COUNT] = {
	[LOOP_OP_READ] = issue_nothing, [LOOP_OP_WRITE] = issue_write,
	[LOOP_OP_SYNC] = issue_sync,    [LOOP_OP_DISCARD] = issue_range,
	[LOOP_OP_ZERO] = issue_range,   [LOOP_OP_ALLOCATE] = issue_range,
	[LOOP_OP_CALL] = issue_nothing,
};

/* A call that fails may have had its effect, but for those that say that they had none. */
static bool is_without_effect(int error)
{
	return error == -EAGAIN || error == -EINTR || error == -EOPNOTSUPP || error == -ENOSPC ||
	       error == -EDQUOT;
}

static void issue(struct sim *sim, struct sim_flight *flight)
{
	const struct loop_op *op = flight->op;
	unsigned file = 0;

	if (op->kind != LOOP_OP_CALL && !find_file(sim, op->fd, &file)) {
		flight->error = -EBADF;
		return;
	}
	flight->length = bytes_left(op);
	if (flight->error == SIM_SHORT) {
		flight->length = shorten(sim, flight->length);
		flight->error = 0;
	}
	if (!is_without_effect(flight->error))
		issues[op->kind](sim, flight, file);
}

/* Not its descriptor, which may be any. */
static void note_submit(struct sim *sim, const struct sim_flight *flight)
{
	const struct loop_op *op = flight->op;
	bool in_file = op->kind != LOOP_OP_CALL;
	unsigned file = 0;

	(void)find_file(sim, op->fd, &file);
	sim_note(sim, op->kind);
	sim_note(sim, file);
	sim_note(sim, in_file ? op->offset_bytes : 0);
	sim_note(sim, in_file ? flight->length : 0);
	sim_note(sim, flight->due_ns - sim->now_ns);
}

static bool submit(struct loop *loop, struct loop_op *op)
{
	struct sim *sim = loop->engine_state;
	struct sim_flight *flight = &sim->flights[sim->flight_count];
	static const uint32_t slower[] = {10, 200, 200, 3000};
	uint32_t scale = LATENCY_US;

	assert(op->kind < LOOP_OP_COUNT && issues[op->kind]);
	if (sim->flight_count == SIM_FLYING_MAX)
		return false;
	/* Some are slow, and a few so slow that much happens meanwhile, timers included. */
	if (random_one_in(&sim->random, 8))
		scale *= slower[random_below(&sim->random, ARRAY_SIZE(slower))];
	sim->flight_count++;
	*flight = (struct sim_flight){.op = op};
	flight->error = take_fault(sim, op->kind, op->flags & LOOP_NOWAIT);
	if (!flight->error)
		flight->error = refuse_nowait(sim, op);
	flight->due_ns = sim->now_ns + (1 + random_below(&sim->random, scale)) * CLOCK_NS_PER_US;
	issue(sim, flight);
	note_submit(sim, flight);
	return true;
}

/* -- End -- */

static void scatter(const struct iovec *iov, const uint8_t *bytes, uint64_t length)
{
	for (; length; iov++) {
		uint64_t count = iov->iov_len < length ? iov->iov_len : length;

		memcpy(iov->iov_base, bytes, count);
		bytes += count;
		length -= count;
	}
}

static uint64_t read_now(struct sim *sim, unsigned file, const struct iovec *iov, uint64_t offset,
			 uint64_t length)
{
	static uint8_t room[1 << 20];
	uint64_t got;

	assert(length <= sizeof(room));
	got = disk_read(sim->disk, file, offset, room, length);
	scatter(iov, room, got);
	return got;
}

static int end_read(struct sim *sim, struct sim_flight *flight, unsigned file)
{
	return (int)read_now(sim, file, flight->op->iov, (uint64_t)loop_op_position(flight->op),
			     flight->length);
}

/* The memory belongs to the disk until the write has ended: who changes it meanwhile writes both.
 */
static bool is_unchanged(const struct sim_flight *flight)
{
	const struct disk_event *event = flight->change.events[flight->change.count - 1];
	const struct iovec *iov = flight->op->iov;
	uint64_t at = 0;

	while (at < event->length) {
		uint64_t left = event->length - at;
		uint64_t count = iov->iov_len < left ? iov->iov_len : left;

		if (memcmp(event->bytes + at, iov->iov_base, count))
			return false;
		at += count;
		iov++;
	}
	return true;
}

static int end_write(struct sim *sim, struct sim_flight *flight, unsigned file UNUSED)
{
	assert(is_unchanged(flight));
	disk_end(sim->disk, &flight->change, flight->op->flags & LOOP_DSYNC);
	return (int)flight->length;
}

static int end_range(struct sim *sim, struct sim_flight *flight, unsigned file UNUSED)
{
	disk_end(sim->disk, &flight->change, false);
	return 0;
}

static int end_sync(struct sim *sim, struct sim_flight *flight, unsigned file)
{
	disk_sync_end(sim->disk, file, flight->synced, false);
	return 0;
}

static int end_call(struct sim *sim UNUSED, struct sim_flight *flight, unsigned file UNUSED)
{
	return flight->op->call(flight->op);
}

typedef int end_fn(struct sim *sim, struct sim_flight *flight, unsigned file);

static end_fn *const ends[LOOP_OP_COUNT] = {
	[LOOP_OP_READ] = end_read,     [LOOP_OP_WRITE] = end_write, [LOOP_OP_SYNC] = end_sync,
	[LOOP_OP_DISCARD] = end_range, [LOOP_OP_ZERO] = end_range,  [LOOP_OP_ALLOCATE] = end_range,
	[LOOP_OP_CALL] = end_call,
};

/* What a call that fails has done: nothing, all, or a part. */
static uint64_t part_done(struct sim *sim, const struct sim_flight *flight)
{
	switch (random_below(&sim->random, 3)) {
	case 0:
		return 0;
	case 1:
		return flight->length;
	default:
		return shorten(sim, flight->length);
	}
}

static int end_failed(struct sim *sim, struct sim_flight *flight, unsigned file)
{
	disk_fail(sim->disk, &flight->change, part_done(sim, flight));
	if (flight->op->kind == LOOP_OP_SYNC)
		disk_sync_end(sim->disk, file, flight->synced, true);
	return flight->error;
}

LOOP_ONLY static void end_flight(struct sim *sim, unsigned index)
{
	struct sim_flight flight = sim->flights[index];
	unsigned file = 0;
	int res;

	sim->flights[index] = sim->flights[--sim->flight_count];
	(void)find_file(sim, flight.op->fd, &file);
	if (flight.error) {
		res = end_failed(sim, &flight, file);
	} else {
		res = ends[flight.op->kind](sim, &flight, file);
	}
	sim_note(sim, (uint64_t)res);
	if (loop_op_step(flight.op, res) == OP_NEXT_MORE)
		loop_op_carry(flight.op);
}

/* -- Copies in memory -- */

/* A call that ends before the power can go, unless the kernel says that it would wait. What it
 * changed is as little durable as what went the long way. */
static ssize_t copy_now(int fd, enum loop_op_kind kind, const struct iovec *iov, off_t offset,
			bool nowait, uint64_t length)
{
	struct disk_change change;
	unsigned file;
	int error;

	if (!entered || !find_file(entered, fd, &file))
		return -EOPNOTSUPP;
	error = take_fault(entered, kind, nowait);
	if (error == SIM_SHORT)
		length = shorten(entered, length);
	else if (error)
		return error;
	if (nowait && random_one_in(&entered->random, 4))
		return -EAGAIN;
	sim_note(entered, kind);
	sim_note(entered, (uint64_t)offset);
	if (kind == LOOP_OP_READ)
		return (ssize_t)read_now(entered, file, iov, (uint64_t)offset, length);
	if (!disk_issue_write(entered->disk, file, (uint64_t)offset, iov, length, &change))
		return -ENOSPC;
	disk_end(entered->disk, &change, false);
	return (ssize_t)length;
}

static uint64_t bytes_of(const struct iovec *iov, int count)
{
	uint64_t bytes = 0;

	for (int i = 0; i < count; i++)
		bytes += iov[i].iov_len;
	return bytes;
}

static ssize_t answer(ssize_t res)
{
	if (res >= 0)
		return res;
	errno = (int)-res;
	return -1;
}

ssize_t __wrap_preadv2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	return answer(
		copy_now(fd, LOOP_OP_READ, iov, offset, flags & RWF_NOWAIT, bytes_of(iov, count)));
}

ssize_t __wrap_pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	return answer(
		copy_now(fd, LOOP_OP_WRITE, iov, offset, flags & RWF_NOWAIT, bytes_of(iov, count)));
}

/* -- Waiting -- */

/* SIM_FLYING_MAX where there is none. */
static unsigned find_next(const struct sim *sim)
{
	unsigned next = SIM_FLYING_MAX;

	for (unsigned i = 0; i < sim->flight_count; i++) {
		if (next == SIM_FLYING_MAX || sim->flights[i].due_ns < sim->flights[next].due_ns)
			next = i;
	}
	return next;
}

LOOP_ONLY static void wait(struct loop *loop, uint64_t timeout_ns)
{
	struct sim *sim = loop->engine_state;
	unsigned next;
	uint64_t until_ns;

	if (sim->at_rest)
		sim->at_rest(sim);
	next = find_next(sim);
	sim->idle = next == SIM_FLYING_MAX && timeout_ns == LOOP_FOREVER;
	if (sim->idle)
		return;
	if (timeout_ns < TURN_NS)
		timeout_ns = TURN_NS;
	until_ns = timeout_ns == LOOP_FOREVER ? UINT64_MAX : sim->now_ns + timeout_ns;
	if (next == SIM_FLYING_MAX || sim->flights[next].due_ns > until_ns) {
		sim_note(sim, timeout_ns);
		sim->now_ns = until_ns;
		return;
	}
	if (sim->flights[next].due_ns > sim->now_ns)
		sim->now_ns = sim->flights[next].due_ns;
	end_flight(sim, next);
}

static void forget(struct loop *loop UNUSED, int fd UNUSED)
{
}

static unsigned punt_limit(const struct loop *loop UNUSED)
{
	return 4;
}

static const struct loop_engine_ops sim_ops = {
	.name = "sim",
	.submit = submit,
	.wait = wait,
	.forget = forget,
	.punt_limit = punt_limit,
};

/* -- Life -- */

struct sim *sim_create(unsigned files, uint64_t room_bytes)
{
	struct sim *sim = calloc(1, sizeof(*sim));
	struct loop_config config = {.name = "sim"};
	struct sim *outer;

	assert(sim);
	sim->now_ns = CLOCK_NS_PER_S;
	sim->disk = disk_create(files, room_bytes);
	outer = sim_enter(sim);
	if (loop_create_on(&config, &sim_ops, sim, &sim->loop))
		abort();
	(void)sim_enter(outer);
	sim->group = (struct loop_group){.loops = {sim->loop}, .count = 1};
	return sim;
}

void sim_free(struct sim *sim)
{
	if (!sim)
		return;
	loop_free(sim->loop, true);
	disk_free(sim->disk);
	free(sim);
}

void sim_reset(struct sim *sim, uint64_t seed)
{
	assert(!sim->flight_count && !sim->loop->in_flight);
	sim->random = (struct random){seed};
	sim_unbind(sim);
	sim->fault = (struct sim_fault){.kinds = UINT32_MAX};
	sim->calls = 0;
	sim->faults = 0;
	sim->operations = 0;
	sim->log = 0;
	sim->at_rest = NULL;
}

void sim_note(struct sim *sim, uint64_t what)
{
	sim->log = random_mix(sim->log + what);
}

struct sim *sim_enter(struct sim *sim)
{
	struct sim *outer = entered;

	entered = sim;
	return outer;
}

void sim_turn(struct sim *sim)
{
	struct sim *outer = sim_enter(sim);

	loop_turn(sim->loop);
	(void)sim_enter(outer);
}
