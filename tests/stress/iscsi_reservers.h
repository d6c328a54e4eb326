/*
 * Hosts of the stress of reservations: what each is, its session, one command at a time, and
 * PERSISTENT RESERVE OUT with its parameter lists.
 *
 * Threads: a host belongs to one; gates are shared. Read next: iscsi_reservations.c.
 */
#ifndef TESTS_STRESS_ISCSI_RESERVERS_H
#define TESTS_STRESS_ISCSI_RESERVERS_H

#define RIG_PLAIN
#define RIG_LOOPS 3u
#include "tests/unit/iscsi_peer.h"

#include <pthread.h>

#define FENCERS 2u
#define WRITERS 3u
#define MIXERS 3u
#define THREADS (FENCERS + WRITERS + MIXERS)
#define BLOCK 512u
#define WINDOW_BLOCKS 19u /* No whole number of physical blocks. */
#define WINDOW_LBA(writer) ((uint8_t)(5u + (writer)*WINDOW_BLOCKS))
#define WINDOW_BYTES (WINDOW_BLOCKS * BLOCK)
#define WRITER_KEY(writer) (0x100u + (writer))
#define DEPTH 6u
#define PATIENCE_MS 60000

enum {
	REGISTER,
	RESERVE,
	RELEASE,
	CLEAR,
	PREEMPT,
	PREEMPT_AND_ABORT,
	IGNORE,
	MOVE,
	ACTIONS
};

/* A writer's end as fencers see it. */
struct gate {
	pthread_mutex_t mutex; /* Who has it registers the writer or fences it. */
	bool registered;       /* mutex */
	atomic_bool fenced;    /* Between the answer to the fencer and the next registration. */
};

struct flight {
	bool active;
	bool behind_fence; /* It was sent when the writer knew that it had been fenced. */
	uint32_t itt;
	struct pdu_r2t r2t; /* Held back; desired_data_len_bytes 0: there is none. */
	uint8_t data[WINDOW_BYTES];
};

struct host {
	struct rig *rig;
	unsigned index; /* Within its kind. */
	unsigned loop;
	uint64_t seed;
	char port_name[48];
	struct peer peer;
	struct rig_pdu pdu;
	struct gate *gate; /* Of a writer. */
	struct flight flights[DEPTH];
	unsigned in_flight;
	uint8_t type; /* Of a fencer's next reservation. */
	unsigned long good, conflicts, aborted, cuts;
};

static inline uint32_t dice(struct host *host, uint32_t sides)
{
	host->seed = host->seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(host->seed >> 33) % sides;
}

/* -- sessions -- */

static inline void connect_host(struct host *host)
{
	peer_begin_as(&host->peer, host->rig, host->loop, &rig_params, host->port_name);
}

static inline void cut(struct host *host)
{
	close(host->peer.fd);
	for (int waited = 0; !atomic_load(&host->peer.ended); waited++) {
		assert(waited < PATIENCE_MS);
		usleep(1000);
	}
	host->cuts++;
}

static inline void receive(struct host *host)
{
	struct pollfd ready = {.fd = host->peer.fd, .events = POLLIN};
	bool there;

	assert(poll(&ready, 1, PATIENCE_MS) == 1);
	there = peer_receive(&host->peer, &host->pdu);
	assert(there);
}

/* What was aborted keeps its place in the command window as long as the disk has it. */
static inline bool has_room(const struct host *host)
{
	return (int32_t)(host->peer.max_cmd_sn - host->peer.cmd_sn) >= 0;
}

/* Nothing is in flight, so only an answer to a question tells of more room. */
static inline void await_room(struct host *host)
{
	for (int waited = 0; !has_room(host); waited++) {
		assert(waited < PATIENCE_MS);
		usleep(1000);
		peer_ping(&host->peer, &host->pdu);
	}
}

struct outcome {
	uint8_t status;
	uint8_t key;
	uint16_t asc;
};

static inline struct outcome outcome_of(const struct rig_pdu *pdu)
{
	struct outcome outcome = {.status = pdu->bhs[3]};

	assert(pdu->opcode == PDU_SCSI_RESPONSE || pdu->opcode == PDU_DATA_IN);
	if (pdu->opcode == PDU_SCSI_RESPONSE && pdu->data_len_bytes >= 16) {
		outcome.key = pdu->data[4] & 0x0F;
		outcome.asc = get_be16(pdu->data + 14);
	}
	return outcome;
}

/* -- one command at a time: fencers and mixers, and writers that register -- */

static inline struct outcome command_once(struct host *host, const struct rig_command *command)
{
	await_room(host);
	peer_command(&host->peer, command);
	do
		receive(host);
	while (host->pdu.opcode == PDU_DATA_IN && (host->pdu.bhs[1] & 0x01) == 0);
	return outcome_of(&host->pdu);
}

/* Again after each unit attention. */
static inline struct outcome command(struct host *host, const struct rig_command *command)
{
	struct outcome outcome;

	do
		outcome = command_once(host, command);
	while (outcome.key == 6);
	return outcome;
}

struct pr_out {
	uint64_t lun;
	uint8_t action, type;
	uint64_t key, action_key;
	uint8_t flags;
	const char *to; /* MOVE and SPEC_I_PT. */
};

/* Append a TransportID; answers its length. */
static inline uint32_t put_id(uint8_t *at, const char *name)
{
	uint32_t rest = (uint32_t)(strlen(name) + 4) & ~3u;

	memset(at, 0, 4 + rest);
	at[0] = 0x45;
	put_be16(at + 2, (uint16_t)rest);
	memcpy(at + 4, name, strlen(name));
	return 4 + rest;
}

static inline uint32_t put_list(uint8_t list[128], const struct pr_out *out)
{
	uint32_t id_at = out->action == MOVE ? 24 : 28;
	uint32_t id_bytes;

	memset(list, 0, 128);
	put_be64(list, out->key);
	put_be64(list + 8, out->action_key);
	list[out->action == MOVE ? 17 : 20] = out->flags;
	if (out->to == NULL)
		return 24;
	id_bytes = put_id(list + id_at, out->to);
	put_be32(list + id_at - 4, id_bytes);
	if (out->action == MOVE)
		list[19] = 1;
	return id_at + id_bytes;
}

static inline struct outcome pr_out(struct host *host, const struct pr_out *out)
{
	uint8_t list[128];
	uint32_t bytes = put_list(list, out);

	return command(host, &(struct rig_command){
				     .lun = out->lun,
				     .cdb = {0x5F, out->action, out->type, [8] = (uint8_t)bytes},
				     .expected_bytes = bytes,
				     .write = true,
				     .immediate_bytes = bytes,
				     .data = list});
}

#endif
