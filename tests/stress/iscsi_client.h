/*
 * One initiator of the stress of sessions: its commands, what it knows of the blocks it wrote, and
 * its bytes on the way in. It never blocks in a send without reading, as real initiators do not.
 *
 * A block holds its owner, address and version, over and over. The shadow knows the version that
 * was acknowledged last and those that were given up since: a read must find one of them. When it
 * has found one, only that is left, because later I/O waits for what an abort left behind
 * (DESIGN.md 4).
 *
 * Threads: a client belongs to one. Read next: iscsi_sessions.c.
 */
#ifndef TESTS_STRESS_ISCSI_CLIENT_H
#define TESTS_STRESS_ISCSI_CLIENT_H

#define RIG_PLAIN
#define RIG_LOOPS 3u
#include "tests/unit/iscsi_peer.h"

#include <errno.h>

#define CLIENTS 6u
#define LUNS 2u
#define CLIENT_BLOCKS 2048u
#define COMMANDS_MAX 12u
#define COMMAND_BLOCKS_MAX 1024u
#define MAYBES_MAX 4u
#define IN_BYTES (16u << 20)
#define BLOCK_BYTES 512u
#define PATIENCE_MS 60000 /* Sanitizers on a busy machine are slow, but not for ever. */

struct shadow {
	uint32_t sure;
	uint32_t maybe[MAYBES_MAX];
	uint32_t maybe_count;
	bool busy; /* A command in flight touches it. */
};

struct command {
	bool active;
	bool writes;
	bool misfit; /* Writes nothing, because its CDB takes no data. */
	uint32_t itt;
	unsigned lun;
	uint32_t first, count; /* Blocks within the client's part. */
	uint32_t version;
	uint64_t order; /* Among the client's commands. */
	uint8_t *data;
	uint32_t got_bytes;
};

struct client {
	struct rig *rig;
	unsigned index;
	uint64_t seed;
	struct peer peer;
	struct command commands[COMMANDS_MAX];
	struct shadow shadows[LUNS][CLIENT_BLOCKS];
	uint32_t version;
	uint64_t order;
	uint8_t *in;
	size_t in_bytes;
	bool closed;
	/* The answer that somebody waits for; 0: it has come. */
	uint32_t awaited_itt;
	uint8_t response;
	bool dismissed; /* The target was asked to end the session. */
	/* For the last line. */
	unsigned long reads, writes, failures, lost, aborts, resets, ends;
};

static inline uint32_t client_random(struct client *client, uint32_t limit)
{
	client->seed = client->seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(client->seed >> 33) % limit;
}

static inline uint64_t client_lun_field(unsigned lun)
{
	return lun == 0 ? 0 : RIG_LUN_1;
}

/* -- the shadow -- */

static inline void stamp_fill(uint8_t *block, uint64_t place, uint64_t version)
{
	for (unsigned at = 0; at < BLOCK_BYTES; at += 16) {
		put_be64(block + at, version == 0 ? 0 : place);
		put_be64(block + at + 8, version);
	}
}

static inline uint64_t stamp_place(const struct client *client, unsigned lun, uint32_t block)
{
	return (uint64_t)(client->index + 1) << 56 | (uint64_t)lun << 48 | block;
}

static inline bool shadow_allows(const struct shadow *shadow, uint64_t version)
{
	for (uint32_t i = 0; i < shadow->maybe_count; i++) {
		if (shadow->maybe[i] == version)
			return true;
	}
	return shadow->sure == version;
}

static inline void shadow_pin(struct shadow *shadow, uint32_t version)
{
	shadow->sure = version;
	shadow->maybe_count = 0;
}

static inline void shadow_check(struct client *client, const struct command *command)
{
	uint8_t expected[BLOCK_BYTES];

	for (uint32_t i = 0; i < command->count; i++) {
		const uint8_t *block = command->data + i * BLOCK_BYTES;
		struct shadow *shadow = &client->shadows[command->lun][command->first + i];
		uint64_t version = get_be64(block + 8);

		stamp_fill(expected, stamp_place(client, command->lun, command->first + i),
			   version);
		if (memcmp(block, expected, BLOCK_BYTES) != 0 || !shadow_allows(shadow, version)) {
			fprintf(stderr, "client %u, LUN %u, block %u: version %lu, not %u (%u)\n",
				client->index, command->lun, command->first + i,
				(unsigned long)version, shadow->sure, shadow->maybe_count);
			abort();
		}
		shadow_pin(shadow, (uint32_t)version);
	}
}

static inline bool client_extent_is_free(const struct client *client, const struct command *command)
{
	for (uint32_t i = 0; i < command->count; i++) {
		const struct shadow *shadow = &client->shadows[command->lun][command->first + i];

		if (shadow->busy || (command->writes && shadow->maybe_count == MAYBES_MAX))
			return false;
	}
	return true;
}

/* What becomes of the blocks of a command that has ended, well or not. */
static inline void client_conclude(struct client *client, struct command *command, bool good)
{
	for (uint32_t i = 0; i < command->count; i++) {
		struct shadow *shadow = &client->shadows[command->lun][command->first + i];

		shadow->busy = false;
		if (!command->writes)
			continue;
		if (good)
			shadow_pin(shadow, command->version);
		else
			shadow->maybe[shadow->maybe_count++] = command->version;
	}
	if (good && !command->writes) {
		assert(command->got_bytes == command->count * BLOCK_BYTES);
		shadow_check(client, command);
	}
	command->active = false;
	free(command->data);
	command->data = NULL;
}

static inline void client_give_up(struct client *client, struct command *command)
{
	client->lost++;
	client_conclude(client, command, false);
}

/* -- bytes -- */

static inline void client_pump(struct client *client)
{
	ssize_t n = recv(client->peer.fd, client->in + client->in_bytes,
			 IN_BYTES - client->in_bytes, MSG_DONTWAIT);

	assert(client->in_bytes < IN_BYTES);
	if (n > 0)
		client->in_bytes += (size_t)n;
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		client->closed = true;
}

/* Wait for something to read, and to write if `writes`. False: nothing for `wait_ms`. */
static inline bool client_poll(struct client *client, bool writes, int wait_ms)
{
	struct pollfd ready = {.fd = client->peer.fd,
			       .events = (short)(POLLIN | (writes ? POLLOUT : 0))};
	int n = poll(&ready, 1, wait_ms);

	if (n > 0 && (ready.revents & ~POLLOUT) != 0)
		client_pump(client);
	return n > 0;
}

static inline void client_write(struct client *client, const uint8_t *bytes, size_t count)
{
	while (count > 0 && !client->closed) {
		ssize_t n = send(client->peer.fd, bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0) {
			bytes += n;
			count -= (size_t)n;
		} else if (errno != EAGAIN) {
			client->closed = true;
		} else if (!client_poll(client, true, PATIENCE_MS)) {
			fprintf(stderr, "client %u: nobody takes its data\n", client->index);
			abort();
		}
	}
}

static inline void client_send(struct client *client, uint8_t bhs[PDU_BHS_BYTES],
			       const uint8_t *data, uint32_t data_len_bytes)
{
	static _Thread_local uint8_t pdu[PDU_BHS_BYTES + 8 + LOOP_BUFFER_BYTES + 3];
	const struct iscsi_params *params = &client->peer.params;
	uint32_t at = PDU_BHS_BYTES;
	uint32_t padded = pdu_padded(data_len_bytes);

	put_be24(bhs + 5, data_len_bytes);
	memcpy(pdu, bhs, PDU_BHS_BYTES);
	if (params->header_digest) {
		put_le32(pdu + at, crc32c(0, bhs, PDU_BHS_BYTES));
		at += 4;
	}
	memset(pdu + at, 0, padded);
	if (data_len_bytes > 0)
		memcpy(pdu + at, data, data_len_bytes);
	if (params->data_digest && data_len_bytes > 0)
		put_le32(pdu + at + padded, crc32c(0, pdu + at, padded));
	at += padded + (params->data_digest && data_len_bytes > 0 ? 4u : 0u);
	client_write(client, pdu, at);
}

/* Take the next PDU out of what came; false when there is no whole one. */
static inline bool client_take(struct client *client, struct rig_pdu *pdu)
{
	const struct iscsi_params *params = &client->peer.params;
	uint32_t head = PDU_BHS_BYTES + (params->header_digest ? 4u : 0u);

	if (client->in_bytes < head)
		return false;
	uint32_t length = get_be24(client->in + 5);
	uint32_t padded = pdu_padded(length);
	uint32_t whole = head + padded + (params->data_digest && length > 0 ? 4u : 0u);

	assert(length <= params->max_send_data_segment_length);
	if (client->in_bytes < whole)
		return false;
	if (params->header_digest)
		assert(get_le32(client->in + PDU_BHS_BYTES) == crc32c(0, client->in, 48));
	if (params->data_digest && length > 0)
		assert(get_le32(client->in + head + padded) ==
		       crc32c(0, client->in + head, padded));
	memcpy(pdu->bhs, client->in, PDU_BHS_BYTES);
	memcpy(pdu->data, client->in + head, length);
	pdu->opcode = pdu_opcode(pdu->bhs);
	pdu->data_len_bytes = length;
	client->in_bytes -= whole;
	memmove(client->in, client->in + whole, client->in_bytes);
	peer_take_sns(&client->peer, pdu);
	return true;
}

#endif
