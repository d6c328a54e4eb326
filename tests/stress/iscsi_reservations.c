/*
 * Reservations of hosts on three loops beside their writes, under ThreadSanitizer and on both
 * engines, on a disk that delays and sticks.
 *
 * On LUN 0 writers change their blocks by every command that can, each in bytes of physical blocks
 * that it shares with its neighbour, some with data that come late, and lose their connections;
 * fencers take their registrations away by PREEMPT AND ABORT, the reservation itself with them now
 * and then (REGISTER AND MOVE). When that is answered no byte of the loser's changes any more, and
 * what it sends then is refused.
 *
 * On LUN 1 mixers send every service action, RESERVE and RELEASE at random, and cut connections.
 * READ FULL STATUS always tells of a state that there can be, and PRGENERATION never goes back.
 *
 * usage: iscsi_reservations [seed [fences]]. Exit 0 and a line for each engine, or an abort.
 */
#include "tests/stress/iscsi_reservers.h"

#include "tests/stress/iscsi_engines.h"

#include <fcntl.h>

#define FENCES 15u

static atomic_bool ending;
static unsigned long fences;
static struct gate gates[WRITERS];
static _Atomic uint32_t generation;

/* -- writers -- */

static void count_outcome(struct host *host, struct outcome outcome)
{
	host->good += outcome.status == SCSI_GOOD;
	host->conflicts += outcome.status == SCSI_RESERVATION_CONFLICT;
	host->aborted += outcome.status == SCSI_TASK_ABORTED;
	if (outcome.status == SCSI_CHECK_CONDITION)
		assert(outcome.key == 6 || outcome.asc == 0x1D00);
	else
		assert(outcome.status == SCSI_GOOD || outcome.status == SCSI_RESERVATION_CONFLICT ||
		       outcome.status == SCSI_TASK_ABORTED);
}

static struct flight *flight_of(struct host *host, uint32_t itt)
{
	for (unsigned i = 0; i < DEPTH; i++) {
		if (host->flights[i].active && host->flights[i].itt == itt)
			return &host->flights[i];
	}
	abort();
}

static void send_held_data(struct host *host, struct flight *flight)
{
	const struct pdu_r2t *r2t = &flight->r2t;

	peer_data_out(&host->peer,
		      (struct rig_burst){r2t->itt, r2t->ttt, r2t->buffer_offset,
					 r2t->desired_data_len_bytes, 8192},
		      flight->data);
	flight->r2t.desired_data_len_bytes = 0;
}

/* The next PDU: data that are asked for, or the end of a command. */
static void writer_take(struct host *host)
{
	struct flight *flight;
	struct outcome outcome;

	receive(host);
	flight = flight_of(host, get_be32(host->pdu.bhs + 16));
	if (host->pdu.opcode == PDU_R2T) {
		pdu_r2t_decode(&flight->r2t, host->pdu.bhs);
		if (dice(host, 2) == 0)
			send_held_data(host, flight);
		return;
	}
	outcome = outcome_of(&host->pdu);
	assert(!flight->behind_fence || outcome.status != SCSI_GOOD);
	count_outcome(host, outcome);
	flight->active = false;
	host->in_flight--;
}

/* Nothing may be asked for for ever: held data are sent before anybody waits. */
static void writer_wait(struct host *host, unsigned left)
{
	for (unsigned i = 0; i < DEPTH; i++) {
		if (host->flights[i].active && host->flights[i].r2t.desired_data_len_bytes > 0)
			send_held_data(host, &host->flights[i]);
	}
	while (host->in_flight > left) {
		writer_take(host);
		for (unsigned i = 0; i < DEPTH; i++) {
			if (host->flights[i].active &&
			    host->flights[i].r2t.desired_data_len_bytes > 0)
				send_held_data(host, &host->flights[i]);
		}
	}
}

/* Each is of `count` blocks at `lba`; answers how many bytes of data go with it. */
static uint32_t put_transfer(uint8_t cdb[16], uint8_t opcode, uint8_t lba, uint8_t count)
{
	rig_cdb10(cdb, opcode, lba, count);
	return count * BLOCK;
}

static uint32_t put_write(uint8_t cdb[16], uint8_t lba, uint8_t count)
{
	return put_transfer(cdb, 0x2A, lba, count);
}

static uint32_t put_write_and_verify(uint8_t cdb[16], uint8_t lba, uint8_t count)
{
	return put_transfer(cdb, 0x2E, lba, count);
}

static uint32_t put_write_same(uint8_t cdb[16], uint8_t lba, uint8_t count)
{
	(void)put_transfer(cdb, 0x41, lba, count);
	return BLOCK;
}

static uint32_t put_orwrite(uint8_t cdb[16], uint8_t lba, uint8_t count)
{
	memcpy(cdb, (uint8_t[16]){0x8B, [9] = lba, [13] = count}, 16);
	return count * BLOCK;
}

/* What it compares with is there after UNMAP. */
static uint32_t put_compare_and_write(uint8_t cdb[16], uint8_t lba, uint8_t count)
{
	count = count > WINDOW_BLOCKS / 2 ? WINDOW_BLOCKS / 2 : count;
	memcpy(cdb, (uint8_t[16]){0x89, [9] = lba, [13] = count}, 16);
	return 2u * count * BLOCK;
}

static uint32_t put_unmap(uint8_t cdb[16], uint8_t lba UNUSED, uint8_t count UNUSED)
{
	memcpy(cdb, (uint8_t[16]){0x42, [8] = 24}, 16);
	return 24;
}

static void fill_data(struct host *host, uint8_t *data, const struct rig_command *command)
{
	uint32_t bytes = command->expected_bytes;
	uint32_t from = command->cdb[0] == 0x89 ? bytes / 2 : 0;

	memset(data, 0, from);
	memset(data + from, (int)(1 + dice(host, 255)), bytes - from);
}

static void fill_unmap(uint8_t *list, uint8_t lba, uint8_t count)
{
	memcpy(list, (uint8_t[24]){[1] = 22, [3] = 16, [15] = lba, [19] = count}, 24);
}

static void writer_submit(struct host *host)
{
	static uint32_t (*const ways[])(uint8_t *, uint8_t, uint8_t) = {
		put_write, put_write_and_verify, put_write_same, put_orwrite,
		put_unmap, put_compare_and_write};
	struct rig_command command = {.write = true};
	struct flight *flight = host->flights;
	uint8_t first = (uint8_t)dice(host, WINDOW_BLOCKS);
	uint8_t count = (uint8_t)(1 + dice(host, WINDOW_BLOCKS - first));
	uint8_t lba = (uint8_t)(WINDOW_LBA(host->index) + first);

	while (flight->active)
		flight++;
	command.expected_bytes = ways[dice(host, ARRAY_SIZE(ways))](command.cdb, lba, count);
	if (command.cdb[0] == 0x42)
		fill_unmap(flight->data, lba, count);
	else
		fill_data(host, flight->data, &command);
	command.immediate_bytes = dice(host, 2) == 0 ? command.expected_bytes : 0;
	if (command.immediate_bytes > 8192)
		command.immediate_bytes = 8192;
	command.data = flight->data;
	flight->r2t.desired_data_len_bytes = 0;
	flight->behind_fence = atomic_load(&host->gate->fenced);
	flight->active = true;
	host->in_flight++;
	flight->itt = peer_command(&host->peer, &command);
}

/* Fenced for good until somebody lets it: it is the writer that registers itself anew. */
static void writer_register(struct host *host)
{
	struct outcome outcome;

	if (pthread_mutex_trylock(&host->gate->mutex) != 0)
		return;
	if (!host->gate->registered) {
		writer_wait(host, 0);
		atomic_store(&host->gate->fenced, false);
		outcome = pr_out(host, &(struct pr_out){.action = IGNORE,
							.action_key = WRITER_KEY(host->index)});
		assert(outcome.status == SCSI_GOOD);
		host->gate->registered = true;
	}
	(void)pthread_mutex_unlock(&host->gate->mutex);
}

/* With whatever it has under way. */
static void writer_begin_anew(struct host *host)
{
	cut(host);
	memset(host->flights, 0, sizeof(host->flights));
	host->in_flight = 0;
	connect_host(host);
}

static void *write_and_lose(void *arg)
{
	struct host *host = arg;

	connect_host(host);
	while (!atomic_load(&ending)) {
		if (dice(host, 16) == 0)
			writer_register(host);
		if (dice(host, 150) == 0)
			writer_begin_anew(host);
		if (host->in_flight == 0)
			await_room(host);
		if (has_room(host) && host->in_flight < DEPTH)
			writer_submit(host);
		else
			writer_wait(host, dice(host, host->in_flight));
	}
	writer_wait(host, 0);
	cut(host);
	return NULL;
}

/* -- fencers -- */

static void read_window(struct host *host, unsigned writer, uint8_t *out)
{
	struct rig_command read = {.expected_bytes = WINDOW_BYTES, .read = true};
	struct rig_result result;

	do {
		await_room(host);
		rig_cdb10(read.cdb, 0x28, WINDOW_LBA(writer), WINDOW_BLOCKS);
		result = peer_finish_read(&host->peer, peer_command(&host->peer, &read), out);
	} while (result.key == 6);
	assert(result.status == SCSI_GOOD);
}

/* The loser is to hold the reservation, if this one does. */
static void move_to(struct host *host, const struct host *writer)
{
	struct outcome outcome =
		pr_out(host, &(struct pr_out){.action = MOVE,
					      .key = host->index + 1,
					      .action_key = WRITER_KEY(writer->index),
					      .to = writer->port_name});

	assert(outcome.status == SCSI_GOOD || outcome.status == SCSI_RESERVATION_CONFLICT);
}

/* Not through the target, where a read waits for what the disk still holds. */
static void look_at_disk(const struct host *host, unsigned writer, uint8_t *out)
{
	char path[128];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/lun0", host->rig->dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert(fd >= 0);
	assert(pread(fd, out, WINDOW_BYTES, WINDOW_LBA(writer) * BLOCK) == WINDOW_BYTES);
	close(fd);
}

/* What is there when the loser has just been fenced stays there. */
static void check_fence(struct host *host, unsigned writer)
{
	static _Thread_local uint8_t before[WINDOW_BYTES];
	static _Thread_local uint8_t after[WINDOW_BYTES];

	look_at_disk(host, writer, before);
	for (unsigned i = dice(host, 4); i > 0; i--) {
		usleep(dice(host, 30000));
		look_at_disk(host, writer, after);
		assert(memcmp(before, after, WINDOW_BYTES) == 0);
	}
	read_window(host, writer, after);
	assert(memcmp(before, after, WINDOW_BYTES) == 0);
}

static void fence(struct host *host, struct host *writer)
{
	struct outcome outcome;

	if (dice(host, 2) == 0)
		move_to(host, writer);
	host->type = host->type == 5 ? 6 : 5;
	outcome = pr_out(host, &(struct pr_out){.action = PREEMPT_AND_ABORT,
						.type = host->type,
						.key = host->index + 1,
						.action_key = WRITER_KEY(writer->index)});
	assert(outcome.status == SCSI_GOOD);
	atomic_store(&writer->gate->fenced, true);
	writer->gate->registered = false;
	check_fence(host, writer->index);
	host->good++;
}

static void *fence_them(void *arg)
{
	struct host *host = arg;
	struct host *writers = host - host->index + FENCERS;

	while (host->good < fences) {
		struct host *writer = &writers[dice(host, WRITERS)];
		struct gate *gate = &gates[writer->index];

		(void)pthread_mutex_lock(&gate->mutex);
		if (gate->registered)
			fence(host, writer);
		(void)pthread_mutex_unlock(&gate->mutex);
		usleep(dice(host, 5000));
	}
	return NULL;
}

/* Before anybody writes: both are registered, the first one reserves. */
static void begin_fencing(struct host *fencers)
{
	struct outcome outcome;

	for (unsigned i = 0; i < FENCERS; i++) {
		connect_host(&fencers[i]);
		outcome = pr_out(&fencers[i],
				 &(struct pr_out){.action = IGNORE, .action_key = i + 1});
		assert(outcome.status == SCSI_GOOD);
	}
	outcome = pr_out(fencers, &(struct pr_out){.action = RESERVE, .type = 5, .key = 1});
	assert(outcome.status == SCSI_GOOD);
}

/* -- mixers -- */

/* There are at most three initiator ports, each with one of few keys. */
static void check_state(const uint8_t *status, uint32_t bytes)
{
	unsigned registrants = 0;
	unsigned holders = 0;
	unsigned type = 0;

	assert(get_be32(status + 4) + 8 == bytes);
	for (uint32_t at = 8; at < bytes; at += 24 + get_be32(status + at + 20)) {
		const uint8_t *one = status + at;

		registrants++;
		assert(get_be64(one) > 0 && get_be64(one) < 8 && get_be16(one + 18) == 1);
		assert((one[12] & 1) != 0 || one[13] == 0);
		assert(holders == 0 || (one[12] & 1) == 0 || one[13] == type);
		if ((one[12] & 1) != 0)
			type = one[13];
		holders += one[12] & 1;
	}
	assert(registrants <= MIXERS);
	assert(holders <= 1 || (holders == registrants && (type == 7 || type == 8)));
}

static void mix_in(struct host *host)
{
	uint32_t seen = atomic_load(&generation);
	struct outcome outcome = command(host, &(struct rig_command){.lun = RIG_LUN_1,
								     .cdb = {0x5E, 3, [7] = 4},
								     .expected_bytes = 1024,
								     .read = true});
	uint32_t found = get_be32(host->pdu.data);

	count_outcome(host, outcome);
	if (outcome.status != SCSI_GOOD)
		return;
	assert(found >= seen);
	check_state(host->pdu.data, host->pdu.data_len_bytes);
	while (seen < found && !atomic_compare_exchange_weak(&generation, &seen, found))
		continue;
}

static void mix_out(struct host *host)
{
	static const uint8_t types[] = {1, 3, 5, 6, 7, 8};
	const struct host *other = host - host->index + dice(host, MIXERS);
	struct pr_out out = {.lun = RIG_LUN_1,
			     .action = (uint8_t)dice(host, ACTIONS),
			     .type = types[dice(host, ARRAY_SIZE(types))],
			     .key = dice(host, 5) == 0 ? 0 : host->index + 1,
			     .action_key = dice(host, MIXERS + 1)};

	if (out.action == IGNORE || out.action == REGISTER)
		out.action_key = dice(host, 4) == 0 ? 0 : host->index + 1;
	if (out.action == MOVE)
		out.flags = (uint8_t)(dice(host, 2) << 1);
	else
		out.flags = (uint8_t)(dice(host, 2) | dice(host, 2) << 2);
	if (out.action == MOVE || (out.action == REGISTER && dice(host, 4) == 0))
		out.to = other->port_name;
	if (out.action == REGISTER && out.to != NULL)
		out.flags |= 0x08;
	struct outcome outcome = pr_out(host, &out);

	host->good += outcome.status == SCSI_GOOD;
	host->conflicts += outcome.status == SCSI_RESERVATION_CONFLICT;
	assert(outcome.status != SCSI_CHECK_CONDITION || outcome.key == 5);
}

static void mix_reserve(struct host *host)
{
	static const uint8_t opcodes[] = {0x16, 0x56, 0x17, 0x57};

	count_outcome(host, command(host, &(struct rig_command){.lun = RIG_LUN_1,
								.cdb = {opcodes[dice(host, 4)]}}));
}

static void mix_write(struct host *host)
{
	static const uint8_t block[BLOCK];
	struct rig_command write = {.lun = RIG_LUN_1,
				    .expected_bytes = BLOCK,
				    .write = true,
				    .immediate_bytes = BLOCK,
				    .data = block};

	rig_cdb10(write.cdb, 0x2A, host->index, 1);
	count_outcome(host, command(host, &write));
}

static void *mix(void *arg)
{
	static void (*const ways[])(struct host *) = {mix_out, mix_out,     mix_out,
						      mix_in,  mix_reserve, mix_write};
	struct host *host = arg;

	connect_host(host);
	while (!atomic_load(&ending)) {
		ways[dice(host, ARRAY_SIZE(ways))](host);
		if (dice(host, 50) == 0) {
			cut(host);
			connect_host(host);
		}
	}
	cut(host);
	return NULL;
}

/* -- the whole -- */

static void *play_moods(void *arg)
{
	static const char *const moods[] = {"", "delay all 2\n", "stick write count 3\n",
					    "stick unmap count 1\nstick zero count 1\n",
					    "stick read count 1\n"};
	struct rig *rig = arg;

	for (unsigned at = 0; !atomic_load(&ending); at++) {
		rig_faults(rig, moods[at % ARRAY_SIZE(moods)]);
		usleep(40000);
	}
	rig_faults(rig, "");
	return NULL;
}

static void make_hosts(struct host *hosts, struct rig *rig, uint32_t seed)
{
	static const unsigned firsts[] = {0, FENCERS, FENCERS + WRITERS, THREADS};

	memset(hosts, 0, THREADS * sizeof(*hosts));
	for (unsigned i = 0, kind = 0; i < THREADS; i++) {
		struct host *host = &hosts[i];

		kind += i == firsts[kind + 1];
		host->rig = rig;
		host->index = i - firsts[kind];
		host->loop = i % RIG_LOOPS;
		host->seed = seed + i * 7919u;
		host->gate = kind == 1 ? &gates[host->index] : NULL;
		(void)snprintf(host->port_name, sizeof(host->port_name),
			       "iqn.rig:host-%u,i,0x000000000001", i);
	}
}

static void tell(const char *name, const struct host *hosts)
{
	static const char *const kinds[] = {"fencers", "writers", "mixers"};
	static const unsigned counts[] = {FENCERS, WRITERS, MIXERS};

	printf("%s:", name);
	for (unsigned kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		struct host sum = {0};

		for (unsigned i = 0; i < counts[kind]; i++, hosts++) {
			sum.good += hosts->good;
			sum.conflicts += hosts->conflicts;
			sum.aborted += hosts->aborted;
			sum.cuts += hosts->cuts;
		}
		printf(" %s %lu good, %lu conflicts, %lu aborted, %lu cuts;", kinds[kind], sum.good,
		       sum.conflicts, sum.aborted, sum.cuts);
	}
	printf(" PRGENERATION %u\n", atomic_load(&generation));
}

static void play(enum loop_engine engine, const char *name, uint32_t seed)
{
	static struct host hosts[THREADS];
	static struct rig rig;
	pthread_t threads[THREADS + 1];

	atomic_store(&ending, false);
	atomic_store(&generation, 0);
	rig_begin(&rig, "fault", engine, 256);
	rig.server.limits.data_out_timeout_ms = PATIENCE_MS;
	rig.server.limits.write_stall_timeout_ms = PATIENCE_MS;
	make_hosts(hosts, &rig, seed);
	for (unsigned i = 0; i < WRITERS; i++) {
		gates[i] = (struct gate){0};
		(void)pthread_mutex_init(&gates[i].mutex, NULL);
	}
	begin_fencing(hosts);
	for (unsigned i = 0; i < THREADS; i++)
		assert(pthread_create(&threads[i], NULL,
				      i < FENCERS             ? fence_them
				      : i < FENCERS + WRITERS ? write_and_lose
							      : mix,
				      &hosts[i]) == 0);
	assert(pthread_create(&threads[THREADS], NULL, play_moods, &rig) == 0);
	for (unsigned i = 0; i < FENCERS; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&ending, true);
	for (unsigned i = FENCERS; i <= THREADS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < FENCERS; i++)
		cut(&hosts[i]);
	rig_end(&rig);
	tell(name, hosts);
}

int main(int argc, char **argv)
{
	fences = argc > 2 ? strtoul(argv[2], NULL, 0) : FENCES;
	return rig_main(argc, argv, play);
}
