/*
 * COMPARE AND WRITE as hosts use it, from sessions on three loops, under ThreadSanitizer and on
 * both engines, on a disk that delays and sticks, with connections cut at any moment.
 *
 *  - Two threads count one block up, each increment a comparison with what was read before. What
 *    happened to a command whose connection was cut is read back out of the block: its number
 *    stands there. So the final value must be exactly the sum of what both know to have happened.
 *  - Two others change groups of blocks beside it as wholes: by WRITE, WRITE SAME, UNMAP and
 *    COMPARE AND WRITE. A comparison must find a group of one kind: where it differs, it differs in
 *    its first bytes.
 *  - One of these is the only one that changes the epoch of yet another block, by WRITE, WRITE SAME
 *    and UNMAP, while the counters use COMPARE AND WRITE on it, which keeps the epoch: it must
 *    never go back.
 *
 * Planted, each found within a second: UNMAP (range.c lets it pass exclusive ranges), and WRITE and
 * WRITE SAME (the same of LUN_WRITE): the epoch is not what was written last.
 *
 * usage: iscsi_caw [seed [increments]]. Exit 0 and a line for each engine, or an abort.
 */
#define RIG_PLAIN
#define RIG_LOOPS 3u
#include "tests/stress/iscsi_engines.h"

#include <errno.h>
#include <pthread.h>

#define COUNTERS 2u
#define THREADS (COUNTERS + 2u)
#define INCREMENTS 200u
#define BLOCK 512u
#define COUNTER_LBA 11u /* In the middle of a physical block. */
#define EPOCH_LBA 10u
#define GROUP_BLOCKS 13u
#define GROUPS 2u
#define PATIENCE_MS 60000
/* Without an answer for so long a host cuts the connection; on a slow machine, where that is how
 * long everything takes, for longer each time. */
#define IMPATIENCE_MS 100
#define IMPATIENCE_MS_MAX 10000

/* Where groups lie: against the counter from both sides. */
static const uint8_t group_lba[GROUPS] = {COUNTER_LBA + 1, COUNTER_LBA + 20};

struct host {
	struct rig *rig;
	unsigned index;
	uint64_t seed;
	struct peer peer;
	struct rig_pdu pdu;
	uint8_t block[BLOCK];
	uint8_t data[2 * GROUP_BLOCKS * BLOCK];
	uint64_t version;
	int wait_ms;
	unsigned long done, miscompares, cuts, happened;
};

static atomic_bool ending;
static unsigned long increments;

static uint32_t dice(struct host *host, uint32_t sides)
{
	host->seed = host->seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(host->seed >> 33) % sides;
}

/* -- sessions -- */

static void connect_host(struct host *host)
{
	peer_begin(&host->peer, host->rig, host->index % RIG_LOOPS, &rig_params);
	peer_clear_attention(&host->peer, 0);
}

/* Nothing of the old session may be under way when the next one looks at its blocks. */
static void cut(struct host *host)
{
	close(host->peer.fd);
	for (int waited = 0; !atomic_load(&host->peer.ended); waited++) {
		assert(waited < PATIENCE_MS);
		usleep(1000);
	}
	host->cuts++;
}

static void recover(struct host *host)
{
	cut(host);
	connect_host(host);
}

/* True: something of an answer is there. False: the host has had enough, and starts anew. */
static bool await_answer(struct host *host)
{
	struct pollfd ready = {.fd = host->peer.fd, .events = POLLIN};

	if (poll(&ready, 1, host->wait_ms) > 0) {
		host->wait_ms = IMPATIENCE_MS;
		return true;
	}
	if (host->wait_ms < IMPATIENCE_MS_MAX)
		host->wait_ms *= 2;
	recover(host);
	return false;
}

struct outcome {
	bool lost; /* Nobody knows; the connection is gone. */
	uint8_t status;
	uint16_t asc;
	uint32_t information;
};

/* The response of the command that was sent last, or, out of patience, the end of the session. */
static struct outcome finish(struct host *host)
{
	struct pdu_scsi_response response;
	struct outcome outcome = {0};

	if (dice(host, 200) == 0) {
		recover(host);
		outcome.lost = true;
	} else {
		outcome.lost = !await_answer(host);
	}
	if (outcome.lost)
		return outcome;
	peer_expect(&host->peer, &host->pdu, PDU_SCSI_RESPONSE);
	pdu_scsi_response_decode(&response, host->pdu.bhs);
	outcome.status = response.status;
	if (host->pdu.data_len_bytes >= 20) {
		outcome.asc = get_be16(host->pdu.data + 14);
		outcome.information = get_be32(host->pdu.data + 5);
	}
	assert(outcome.status == SCSI_GOOD || outcome.status == SCSI_CHECK_CONDITION);
	return outcome;
}

static struct outcome write_command(struct host *host, const uint8_t *cdb, uint32_t bytes)
{
	struct rig_command command = {.write = true,
				      .expected_bytes = bytes,
				      .immediate_bytes = bytes,
				      .data = host->data};

	assert(bytes <= sizeof(host->data));
	memcpy(command.cdb, cdb, sizeof(command.cdb));
	peer_command(&host->peer, &command);
	return finish(host);
}

static struct outcome compare_and_write(struct host *host, uint8_t lba, uint8_t count)
{
	uint8_t cdb[16] = {0x89, [9] = lba, [13] = count};

	return write_command(host, cdb, 2u * count * BLOCK);
}

/* Read until it is answered: reads may be cut and repeated as one likes. */
static void read_block(struct host *host, uint8_t lba)
{
	struct rig_command command = {.read = true, .expected_bytes = BLOCK};

	rig_cdb10(command.cdb, 0x28, lba, 1);
	for (;;) {
		uint32_t itt = peer_command(&host->peer, &command);

		if (!await_answer(host))
			continue;
		struct rig_result result = peer_finish_read(&host->peer, itt, host->block);

		assert(result.status == SCSI_GOOD && result.bytes == BLOCK);
		return;
	}
}

static void read_counter(struct host *host)
{
	read_block(host, COUNTER_LBA);
}

/* The parameter list of one descriptor, 24 bytes. */
static void fill_unmap(uint8_t *list, uint8_t lba, uint8_t count)
{
	memset(list, 0, 24);
	list[1] = 22;
	list[3] = 16;
	list[15] = lba;
	list[19] = count;
}

/* -- the counter: a count, then the number of each host's last increment -- */

static uint64_t counter_value(const uint8_t *block)
{
	return get_be64(block);
}

static uint8_t *counter_number(uint8_t *block, unsigned host)
{
	return block + 8 + 8 * (size_t)host;
}

static void increment(struct host *host)
{
	uint64_t number = host->version + 1;
	uint8_t *next = host->data + BLOCK;

	memcpy(host->data, host->block, BLOCK);
	memcpy(next, host->block, BLOCK);
	put_be64(next, counter_value(next) + 1);
	put_be64(counter_number(next, host->index), number);
	struct outcome outcome = compare_and_write(host, COUNTER_LBA, 1);

	if (outcome.lost) {
		read_counter(host);
		if (get_be64(counter_number(host->block, host->index)) == number) {
			host->happened++;
			host->version = number;
		}
	} else if (outcome.status == SCSI_GOOD) {
		host->done++;
		host->version = number;
		memcpy(host->block, next, BLOCK);
	} else {
		assert(outcome.asc == 0x1D00 && outcome.information < 8 + 8 * COUNTERS);
		host->miscompares++;
		read_counter(host);
	}
	assert(get_be64(counter_number(host->block, host->index)) == host->version);
}

/* -- the epoch: a number that one host alone changes, then what the others count -- */

static void count_in_epoch(struct host *host)
{
	uint8_t *next = host->data + BLOCK;

	read_block(host, EPOCH_LBA);
	memcpy(host->data, host->block, BLOCK);
	memcpy(next, host->block, BLOCK);
	put_be64(next + 8, get_be64(next + 8) + 1);
	(void)compare_and_write(host, EPOCH_LBA, 1);
}

static struct outcome change_epoch(struct host *host, uint8_t lba UNUSED)
{
	static const uint8_t opcodes[] = {0x2A, 0x41, 0x42};
	uint8_t opcode = opcodes[dice(host, sizeof(opcodes))];
	bool unmaps = opcode == 0x42;
	uint64_t epoch = unmaps ? 0 : ++host->version;
	uint8_t cdb[16];

	memset(host->data, 0, BLOCK);
	rig_cdb10(cdb, opcode, unmaps ? 0 : EPOCH_LBA, unmaps ? 24 : 1);
	if (unmaps)
		fill_unmap(host->data, EPOCH_LBA, 1);
	else
		put_be64(host->data, epoch);
	struct outcome outcome = write_command(host, cdb, unmaps ? 24 : BLOCK);

	if (!outcome.lost) {
		read_block(host, EPOCH_LBA);
		assert(get_be64(host->block) == epoch);
	}
	return outcome;
}

static void *count(void *arg)
{
	struct host *host = arg;

	connect_host(host);
	read_counter(host);
	while (host->done + host->happened < increments) {
		increment(host);
		count_in_epoch(host);
		read_counter(host);
	}
	cut(host);
	return NULL;
}

/* -- groups of one kind -- */

static void fill_version(uint8_t *bytes, size_t count, uint64_t version)
{
	for (size_t at = 0; at < count; at += 8)
		put_be64(bytes + at, version);
}

/* A version that nobody else writes, or that nobody does: zeroes. */
static uint64_t new_version(struct host *host)
{
	return ++host->version << 8 | (host->index + 1);
}

static struct outcome write_group(struct host *host, uint8_t lba)
{
	uint8_t cdb[16];

	rig_cdb10(cdb, 0x2A, lba, GROUP_BLOCKS);
	fill_version(host->data, GROUP_BLOCKS * BLOCK, new_version(host));
	return write_command(host, cdb, GROUP_BLOCKS * BLOCK);
}

static struct outcome write_same_group(struct host *host, uint8_t lba)
{
	uint8_t cdb[16];

	rig_cdb10(cdb, 0x41, lba, GROUP_BLOCKS);
	fill_version(host->data, BLOCK, dice(host, 2) == 0 ? 0 : new_version(host));
	return write_command(host, cdb, BLOCK);
}

static struct outcome unmap_group(struct host *host, uint8_t lba)
{
	uint8_t cdb[16] = {0x42, [8] = 24};

	fill_unmap(host->data, lba, GROUP_BLOCKS);
	return write_command(host, cdb, 24);
}

/* Mostly it compares with what is not there, which tells as much. */
static struct outcome compare_group(struct host *host, uint8_t lba)
{
	size_t bytes = GROUP_BLOCKS * BLOCK;

	fill_version(host->data, bytes, dice(host, 2) == 0 ? 0 : host->version << 8 | 1);
	fill_version(host->data + bytes, bytes, new_version(host));
	struct outcome outcome = compare_and_write(host, lba, GROUP_BLOCKS);

	if (!outcome.lost && outcome.status != SCSI_GOOD) {
		assert(outcome.asc == 0x1D00);
		if (outcome.information >= 8) {
			fprintf(stderr, "a group of two kinds, at byte %u\n", outcome.information);
			abort();
		}
		host->miscompares++;
	}
	return outcome;
}

static void *disturb(void *arg)
{
	static struct outcome (*const ways[])(struct host *, uint8_t) = {
		change_epoch, write_group,   write_same_group,
		unmap_group,  compare_group, compare_group};
	struct host *host = arg;
	uint32_t first = host->index == COUNTERS ? 0 : 1;

	connect_host(host);
	while (!atomic_load(&ending)) {
		uint8_t lba = group_lba[dice(host, GROUPS)];
		struct outcome outcome =
			ways[first + dice(host, (uint32_t)ARRAY_SIZE(ways) - first)](host, lba);

		assert(outcome.lost || outcome.status == SCSI_GOOD || outcome.asc == 0x1D00);
		host->done++;
	}
	cut(host);
	return NULL;
}

/* -- the whole -- */

/* Mostly sound; what sticks does so for longer than a host's patience. */
static const struct {
	const char *faults;
	useconds_t ms;
} moods[] = {
	{"", 400}, {"delay all 1\n", 50},         {"", 400}, {"stick write count 1\n", 150},
	{"", 400}, {"stick read count 1\n", 150},
};

static void *play_moods(void *arg)
{
	struct rig *rig = arg;

	for (unsigned at = 0; !atomic_load(&ending); at++) {
		rig_faults(rig, moods[at % ARRAY_SIZE(moods)].faults);
		usleep(moods[at % ARRAY_SIZE(moods)].ms * 1000u);
	}
	return NULL;
}

static uint64_t read_final(struct rig *rig)
{
	static struct host reader;

	reader = (struct host){.rig = rig, .wait_ms = IMPATIENCE_MS};
	connect_host(&reader);
	read_counter(&reader);
	cut(&reader);
	return counter_value(reader.block);
}

static void play(enum loop_engine engine, const char *name, uint32_t seed)
{
	static struct host hosts[THREADS];
	static struct rig rig;
	pthread_t threads[THREADS + 1];
	unsigned long known = 0;
	unsigned long cuts = 0;

	atomic_store(&ending, false);
	rig_begin(&rig, "fault", engine, 256);
	rig.server.limits.data_out_timeout_ms = PATIENCE_MS;
	assert(pthread_create(&threads[THREADS], NULL, play_moods, &rig) == 0);
	for (unsigned i = 0; i < THREADS; i++) {
		hosts[i] = (struct host){.rig = &rig,
					 .index = i,
					 .seed = seed + i * 7919u,
					 .wait_ms = IMPATIENCE_MS};
		assert(pthread_create(&threads[i], NULL, i < COUNTERS ? count : disturb,
				      &hosts[i]) == 0);
	}
	for (unsigned i = 0; i < COUNTERS; i++) {
		pthread_join(threads[i], NULL);
		known += hosts[i].done + hosts[i].happened;
	}
	atomic_store(&ending, true);
	for (unsigned i = COUNTERS; i <= THREADS; i++)
		pthread_join(threads[i], NULL);
	rig_faults(&rig, "");
	for (unsigned i = 0; i < THREADS; i++)
		cuts += hosts[i].cuts;
	uint64_t value = read_final(&rig);

	rig_end(&rig);
	printf("%s: counted to %llu, known %lu; %lu and %lu miscompares, %lu changes of groups, "
	       "%lu connections cut\n",
	       name, (unsigned long long)value, known, hosts[0].miscompares, hosts[1].miscompares,
	       hosts[2].done + hosts[3].done, cuts);
	assert(value == known);
}

int main(int argc, char **argv)
{
	increments = argc > 2 ? strtoul(argv[2], NULL, 0) : INCREMENTS;
	return rig_main(argc, argv, play);
}
