/*
 * COMPARE AND WRITE as hosts use it, by a real initiator: two hosts count one block up, each
 * increment a comparison with what was read before, in chains of several commands at once. Two
 * others change the blocks beside it, of the same physical block, in every way there is, and check
 * what they wrote. All cut their connections now and then, with commands under way.
 *
 * A host logs in again as the same initiator port, which ends its old session first (RFC 7143
 * 6.3.5); so what became of commands without an answer can be read out of the block, where the
 * number of each host's last increment stands beside the count. Therefore:
 *  - the number is that of the GOOD statuses and, after a cut, at most as much more as commands
 *    were without an answer;
 *  - an increment that was not the next one is not GOOD, and a MISCOMPARE is told where the block
 *    may differ;
 *  - in the end the count is exactly what both hosts know to have happened.
 *
 * A thread for each host; libiscsi's asynchronous calls and poll(2).
 *
 * usage: caw_race iscsi://HOST:PORT/TARGET/LUN INCREMENTS SEED
 */
#include <inttypes.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	COUNTERS = 2,
	HOSTS = COUNTERS + 2,
	CHAIN = 64,
	SHORT_CHAIN = 4, /* After one that came to nothing, which happens to somebody each time. */
	BLOCK = 512,
	COUNTER_LBA = 11,
	GROUP = 3, /* Blocks beside the counter. */
	CUT_CHAINS = 100,
	NEIGHBOUR_PAUSE_US = 2000,
	POLL_MS_MAX = 30000,
};

/* Compared and written as the bytes that they are. */
struct counter {
	uint64_t count;
	uint64_t numbers[COUNTERS];
	uint64_t filler[(BLOCK / 8) - 1 - COUNTERS];
};
_Static_assert(sizeof(struct counter) == BLOCK, "a block is a block");

struct host;

struct increment {
	struct host *host;
	struct counter pair[2]; /* What is expected, what is written. */
	enum {
		UNDER_WAY,
		HAPPENED,
		DIFFERED,
		TURNED_AWAY,
		LOST
	} end;
};

struct host {
	struct iscsi_context *iscsi;
	struct iscsi_url *url;
	unsigned index;
	uint64_t random;
	unsigned in_flight;
	bool lags; /* The others were faster. */
	struct increment chain[CHAIN];
	uint64_t words[2 * GROUP * (BLOCK / 8)]; /* A neighbour's data. */
	uint64_t expected[GROUP * (BLOCK / 8)], found[GROUP * (BLOCK / 8)];
	uint64_t number; /* Of its last increment that happened; a neighbour's last version. */
	uint64_t good, resolved, miscompares, turned_away, lost, cuts;
};

static struct host hosts[HOSTS + 1]; /* And one that looks on. */
static const char *url_text;
static uint64_t wanted;
static atomic_bool ending;

static void die(const struct host *host, const char *why)
{
	printf("host %u: %s (%s)\n", host->index, why,
	       host->iscsi ? iscsi_get_error(host->iscsi) : "no connection");
	fflush(stdout);
	_exit(1);
}

static void require(const struct host *host, bool holds, const char *otherwise)
{
	if (!holds)
		die(host, otherwise);
}

static uint64_t dice(struct host *host, uint64_t sides)
{
	host->random ^= host->random << 13;
	host->random ^= host->random >> 7;
	host->random ^= host->random << 17;
	return host->random % sides;
}

/* -- Sessions -- */

static void connect_host(struct host *host)
{
	char name[64];

	snprintf(name, sizeof(name), "iqn.2026-11.io.ringsan:host-%u", host->index);
	host->iscsi = iscsi_create_context(name);
	host->url = host->iscsi ? iscsi_parse_full_url(host->iscsi, url_text) : NULL;
	require(host, host->url != NULL, "not a URL");
	iscsi_set_targetname(host->iscsi, host->url->target);
	iscsi_set_session_type(host->iscsi, ISCSI_SESSION_NORMAL);
	iscsi_set_noautoreconnect(host->iscsi, 1);
	/* The same port each time. */
	iscsi_set_isid_random(host->iscsi, 7 + host->index, 1);
	if (iscsi_full_connect_sync(host->iscsi, host->url->portal, host->url->lun) != 0)
		die(host, "no session");
}

/* Everything under way is given up with it. */
static void cut(struct host *host)
{
	iscsi_destroy_url(host->url);
	iscsi_destroy_context(host->iscsi);
	host->iscsi = NULL;
	host->cuts++;
}

static void serve(struct host *host)
{
	struct pollfd ready = {.fd = iscsi_get_fd(host->iscsi),
			       .events = (short)iscsi_which_events(host->iscsi)};
	int count = poll(&ready, 1, POLL_MS_MAX);

	require(host, count > 0, "nothing happened for long");
	require(host, iscsi_service(host->iscsi, ready.revents) == 0, "the connection failed");
}

static void read_blocks(struct host *host, uint32_t lba, void *out, uint32_t blocks)
{
	struct scsi_task *task = iscsi_read10_sync(host->iscsi, host->url->lun, lba, blocks * BLOCK,
						   BLOCK, 0, 0, 0, 0, 0);

	require(host, task && task->status == SCSI_STATUS_GOOD, "a read failed");
	require(host, task->datain.size == (int)(blocks * BLOCK), "a read is short");
	memcpy(out, task->datain.data, (size_t)blocks * BLOCK);
	scsi_free_scsi_task(task);
}

/* -- Those who count -- */

/* Fixed sense data behind their length: the byte of the first difference, RFC 7143 11.4.7. */
static uint32_t miscompare_offset(const struct scsi_task *task)
{
	const unsigned char *sense = task->datain.data + 2;

	if (task->datain.size < 20 || sense[0] != 0xF0)
		return UINT32_MAX;
	return (uint32_t)sense[3] << 24 | (uint32_t)sense[4] << 16 | (uint32_t)sense[5] << 8 |
	       sense[6];
}

static void judge(struct increment *increment, int status, const struct scsi_task *task)
{
	struct host *host = increment->host;

	if (status == SCSI_STATUS_GOOD) {
		increment->end = HAPPENED;
	} else if (status == SCSI_STATUS_CHECK_CONDITION) {
		require(host, task->sense.key == SCSI_SENSE_MISCOMPARE, "no miscompare");
		require(host,
			miscompare_offset(task) <
				sizeof(struct counter) - sizeof(increment->pair[0].filler),
			"a miscompare where nothing differs");
		increment->end = DIFFERED;
	} else if (status == SCSI_STATUS_CANCELLED) {
		increment->end = LOST;
	} else {
		require(host, status == SCSI_STATUS_TASK_SET_FULL || status == SCSI_STATUS_BUSY,
			"a status that nothing explains");
		increment->end = TURNED_AWAY;
	}
}

static void on_increment(struct iscsi_context *iscsi, int status, void *command_data,
			 void *private_data)
{
	struct increment *increment = private_data;
	struct scsi_task *task = command_data;

	(void)iscsi;
	judge(increment, status, task);
	increment->host->in_flight--;
	if (task)
		scsi_free_scsi_task(task);
}

static void start_increment(struct host *host, struct increment *increment)
{
	increment->host = host;
	increment->end = UNDER_WAY;
	host->in_flight++;
	require(host,
		iscsi_compareandwrite_task(host->iscsi, host->url->lun, COUNTER_LBA,
					   (unsigned char *)increment->pair,
					   sizeof(increment->pair), BLOCK, 0, 0, 0, 0, 0,
					   on_increment, increment) != NULL,
		"no task");
}

static void start_chain(struct host *host, struct counter now, unsigned length)
{
	for (unsigned i = 0; i < length; i++) {
		struct increment *increment = &host->chain[i];

		increment->pair[0] = now;
		now.count++;
		now.numbers[host->index]++;
		increment->pair[1] = now;
		start_increment(host, increment);
	}
}

/* Each stands on the one before, so what happened is the beginning of the chain. Answers how many
 * are known to have happened. */
static unsigned count_ends(struct host *host, unsigned length)
{
	unsigned good = 0;
	bool broken = false;

	for (unsigned i = 0; i < length; i++) {
		const struct increment *increment = &host->chain[i];

		require(host, increment->end != HAPPENED || !broken,
			"an increment upon one that did not happen");
		broken |= increment->end == DIFFERED || increment->end == TURNED_AWAY;
		good = increment->end == HAPPENED ? i + 1 : good;
		host->good += increment->end == HAPPENED;
		host->miscompares += increment->end == DIFFERED;
		host->turned_away += increment->end == TURNED_AWAY;
		host->lost += increment->end == LOST;
	}
	return good;
}

static void run_chain(struct host *host, const struct counter *now)
{
	unsigned length = 1 + (unsigned)dice(host, host->lags ? SHORT_CHAIN : CHAIN);
	/* So many answers are left when the connection is cut; none: it is not. */
	unsigned leave = dice(host, CUT_CHAINS) == 0 ? (unsigned)dice(host, length + 1) : 0;
	struct counter after;
	uint64_t number;
	unsigned good;

	start_chain(host, *now, length);
	while (host->in_flight > leave)
		serve(host);
	if (leave > 0) {
		cut(host);
		connect_host(host);
	}
	good = count_ends(host, length);
	host->number += good;
	host->lags = good == 0;
	if (leave == 0)
		return;
	read_blocks(host, COUNTER_LBA, &after, 1);
	number = after.numbers[host->index];
	require(host, number >= host->number && number - host->number <= length - good,
		"more or less happened than was sent");
	host->resolved += number - host->number;
	host->number = number;
}

static void *count(void *arg)
{
	struct host *host = arg;
	struct counter now;

	connect_host(host);
	do {
		read_blocks(host, COUNTER_LBA, &now, 1);
		require(host, now.numbers[host->index] == host->number,
			"another number than what happened");
		run_chain(host, &now);
	} while (host->number < wanted / COUNTERS);
	cut(host);
	return NULL;
}

/* -- Those beside them: GROUP blocks that only this host changes, always all alike -- */

static uint32_t group_lba(const struct host *host)
{
	return host->index == COUNTERS ? COUNTER_LBA - GROUP : COUNTER_LBA + 1;
}

static void fill(uint64_t *words, uint64_t version, unsigned blocks)
{
	for (unsigned i = 0; i < blocks * (BLOCK / 8); i++)
		words[i] = version;
}

static struct scsi_task *change_write(struct host *host, uint64_t *version)
{
	fill(host->words, *version, GROUP);
	return iscsi_write10_sync(host->iscsi, host->url->lun, group_lba(host),
				  (unsigned char *)host->words, GROUP * BLOCK, BLOCK, 0, 0, 0, 0,
				  0);
}

static struct scsi_task *change_write_same(struct host *host, uint64_t *version)
{
	fill(host->words, *version, 1);
	return iscsi_writesame10_sync(host->iscsi, host->url->lun, group_lba(host),
				      (unsigned char *)host->words, BLOCK, GROUP, 0, 0, 0, 0);
}

static struct scsi_task *change_unmap(struct host *host, uint64_t *version)
{
	struct unmap_list list = {.lba = group_lba(host), .num = GROUP};

	*version = 0;
	return iscsi_unmap_sync(host->iscsi, host->url->lun, 0, 0, &list, 1);
}

static struct scsi_task *change_or(struct host *host, uint64_t *version)
{
	fill(host->words, *version, GROUP);
	*version |= host->number;
	return iscsi_orwrite_sync(host->iscsi, host->url->lun, group_lba(host),
				  (unsigned char *)host->words, GROUP * BLOCK, BLOCK, 0, 0, 0, 0,
				  0);
}

static struct scsi_task *change_compared(struct host *host, uint64_t *version)
{
	fill(host->words, host->number, GROUP);
	fill(host->words + GROUP * (BLOCK / 8), *version, GROUP);
	return iscsi_compareandwrite_sync(host->iscsi, host->url->lun, group_lba(host),
					  (unsigned char *)host->words, 2 * GROUP * BLOCK, BLOCK, 0,
					  0, 0, 0, 0);
}

static void check_group(struct host *host)
{
	fill(host->expected, host->number, GROUP);
	read_blocks(host, group_lba(host), host->found, GROUP);
	require(host, memcmp(host->found, host->expected, sizeof(host->found)) == 0,
		"others changed its blocks");
}

static void *disturb(void *arg)
{
	static struct scsi_task *(*const changes[])(struct host *, uint64_t *) = {
		change_write, change_write_same, change_unmap, change_or, change_compared};
	struct host *host = arg;

	connect_host(host);
	while (!atomic_load(&ending)) {
		uint64_t version = dice(host, UINT64_MAX);
		struct scsi_task *task = changes[dice(host, 5)](host, &version);

		require(host, task && task->status == SCSI_STATUS_GOOD, "a change failed");
		scsi_free_scsi_task(task);
		host->number = version;
		host->good++;
		check_group(host);
		if (dice(host, CUT_CHAINS) == 0) {
			cut(host);
			connect_host(host);
		}
		usleep(NEIGHBOUR_PAUSE_US);
	}
	cut(host);
	return NULL;
}

/* -- The whole -- */

/* Zeroes everywhere. */
static void prepare(struct host *host)
{
	static unsigned char zeroes[(2 * GROUP + 1) * BLOCK];
	struct scsi_task *task;

	connect_host(host);
	task = iscsi_write10_sync(host->iscsi, host->url->lun, COUNTER_LBA - GROUP, zeroes,
				  sizeof(zeroes), BLOCK, 0, 0, 0, 0, 0);
	require(host, task && task->status == SCSI_STATUS_GOOD, "a write failed");
	scsi_free_scsi_task(task);
	cut(host);
}

static int verdict(void)
{
	struct host *reader = &hosts[HOSTS];
	struct counter counter;
	uint64_t known = 0;
	uint64_t good = 0;
	uint64_t lost = 0;

	connect_host(reader);
	read_blocks(reader, COUNTER_LBA, &counter, 1);
	cut(reader);
	for (unsigned i = 0; i < HOSTS; i++) {
		const struct host *host = &hosts[i];

		printf("host %u: %" PRIu64 " GOOD, %" PRIu64 " lost (%" PRIu64
		       " happened), %" PRIu64 " miscompares, %" PRIu64 " turned away, %" PRIu64
		       " connections cut\n",
		       i, host->good, host->lost, host->resolved, host->miscompares,
		       host->turned_away, host->cuts);
		if (i >= COUNTERS)
			continue;
		good += host->good;
		lost += host->lost;
		known += host->number;
	}
	printf("counted to %" PRIu64 ": %" PRIu64 " known, %" PRIu64 " GOOD, %" PRIu64 " lost\n",
	       counter.count, known, good, lost);
	return counter.count == known && known >= wanted && known >= good && known <= good + lost;
}

int main(int argc, char **argv)
{
	pthread_t threads[HOSTS];

	if (argc != 4) {
		fprintf(stderr, "usage: caw_race URL INCREMENTS SEED\n");
		return 2;
	}
	url_text = argv[1];
	wanted = strtoull(argv[2], NULL, 10);
	printf("seed %s\n", argv[3]);
	for (unsigned i = 0; i <= HOSTS; i++) {
		hosts[i].index = i;
		hosts[i].random = (strtoull(argv[3], NULL, 10) + i) * 0x9e3779b97f4a7c15u | 1;
	}
	prepare(&hosts[HOSTS]);
	for (unsigned i = 0; i < HOSTS; i++) {
		if (pthread_create(&threads[i], NULL, i < COUNTERS ? count : disturb, &hosts[i]))
			return 2;
	}
	for (unsigned i = 0; i < HOSTS; i++) {
		if (i == COUNTERS)
			atomic_store(&ending, true);
		pthread_join(threads[i], NULL);
	}
	return verdict() ? 0 : 1;
}
