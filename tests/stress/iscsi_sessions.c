/*
 * Sessions on several loops, each hammered by a client thread with reads and writes of every shape,
 * aborts, resets, pings and sudden ends, on a raw LUN and on one that delays, fails and sticks.
 * Under ThreadSanitizer, on both engines. Every block that is read must hold what was written, and
 * at the end every slot and buffer must be back (rig_end).
 *
 * usage: iscsi_sessions [seed [milliseconds]]. Exit 0 and a line for each engine, or an abort.
 */
#include "tests/stress/iscsi_client.h"
#include "tests/stress/iscsi_engines.h"

#include <pthread.h>

#define RUN_MS 3000u
/* After so long without an answer a client loses patience and aborts. */
#define ABORT_MS 150

static atomic_bool ending;

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

/* -- sessions -- */

static void begin_session(struct client *client)
{
	struct iscsi_params params = rig_params;

	params.initial_r2t = client_random(client, 2) == 0;
	params.immediate_data = client_random(client, 2) == 0;
	params.max_outstanding_r2t = 1 + client_random(client, TASK_R2TS_MAX);
	params.header_digest = client_random(client, 3) == 0;
	params.data_digest = client_random(client, 3) == 0;
	params.max_send_data_segment_length = 512u << client_random(client, 9);
	params.max_burst_length = client_random(client, 3) == 0 ? 66000 : 262144;
	client->closed = false;
	client->dismissed = false;
	client->in_bytes = 0;
	peer_begin(&client->peer, client->rig, client_random(client, RIG_LOOPS), &params);
}

/* Nothing of the old session may be under way when the next one looks at its blocks. */
static void end_session(struct client *client)
{
	close(client->peer.fd);
	for (int waited = 0; !atomic_load(&client->peer.ended); waited++) {
		assert(waited < PATIENCE_MS);
		usleep(1000);
	}
	for (unsigned i = 0; i < COMMANDS_MAX; i++) {
		if (client->commands[i].active)
			client_give_up(client, &client->commands[i]);
	}
	client->ends++;
}

/* -- commands -- */

static struct command *find_command(struct client *client, uint32_t itt)
{
	for (unsigned i = 0; i < COMMANDS_MAX; i++) {
		if (client->commands[i].active && client->commands[i].itt == itt)
			return &client->commands[i];
	}
	return NULL;
}

static struct command *free_command(struct client *client)
{
	for (unsigned i = 0; i < COMMANDS_MAX; i++) {
		if (!client->commands[i].active)
			return &client->commands[i];
	}
	return NULL;
}

/* Data of a burst in segments of odd sizes. */
static void send_data(struct client *client, const struct command *command, struct rig_burst burst)
{
	uint8_t bhs[PDU_BHS_BYTES];
	uint32_t data_sn = 0;

	for (uint32_t sent = 0; sent < burst.length && !client->closed;) {
		uint32_t left = burst.length - sent;
		uint32_t length = left < burst.segment ? left : burst.segment;
		struct pdu_data_out pdu = {
			.itt = burst.itt,
			.ttt = burst.ttt,
			.data_sn = data_sn++,
			.buffer_offset = burst.offset + sent,
			.data_len_bytes = length,
			.final = length == left,
		};

		pdu_data_out_encode(&pdu, bhs);
		client_send(client, bhs, command->data + burst.offset + sent, length);
		sent += length;
		/* Now and then the connection ends in the middle of a burst. */
		if (client_random(client, 5000) == 0)
			client->closed = true;
	}
}

static uint32_t some_segment(struct client *client)
{
	return client_random(client, 2) == 0 ? LOOP_BUFFER_BYTES
					     : 1 + client_random(client, LOOP_BUFFER_BYTES);
}

/* Mostly simple. */
static uint8_t some_attribute(struct client *client)
{
	static const uint8_t rare[] = {PDU_ATTR_UNTAGGED, PDU_ATTR_ORDERED, PDU_ATTR_HEAD_OF_QUEUE};
	uint32_t dice = client_random(client, 16);

	return dice < ARRAY_SIZE(rare) ? rare[dice] : PDU_ATTR_SIMPLE;
}

static void send_command(struct client *client, struct command *command)
{
	const struct iscsi_params *params = &client->peer.params;
	uint8_t bhs[PDU_BHS_BYTES];
	uint32_t bytes = command->count * BLOCK_BYTES;
	uint32_t first = bytes < params->first_burst_length ? bytes : params->first_burst_length;
	uint32_t immediate =
		command->writes && params->immediate_data ? client_random(client, first + 1) : 0;
	bool unsolicited = command->writes && !params->initial_r2t && immediate < first;
	struct pdu_scsi_command pdu = {
		.lun = client_lun_field(command->lun),
		.itt = command->itt,
		.expected_data_len_bytes = bytes,
		.cmd_sn = client->peer.cmd_sn++,
		.final = !unsolicited,
		.read = !command->writes,
		.write = command->writes,
		.attr = some_attribute(client),
		.data_len_bytes = immediate,
	};

	rig_cdb10(pdu.cdb, command->writes ? 0x2a : 0x28,
		  client->index * CLIENT_BLOCKS + command->first, (uint16_t)command->count);
	if (command->misfit)
		memset(pdu.cdb, 0, sizeof(pdu.cdb));
	pdu_scsi_command_encode(&pdu, bhs);
	client_send(client, bhs, command->data, immediate);
	if (unsolicited)
		send_data(client, command,
			  (struct rig_burst){command->itt, PDU_TAG_RESERVED, immediate,
					     first - immediate, some_segment(client)});
}

static void start_command(struct client *client)
{
	struct command *command = free_command(client);

	if (command == NULL || (int32_t)(client->peer.max_cmd_sn - client->peer.cmd_sn) < 0)
		return;
	uint32_t most = client_random(client, 8) == 0 ? COMMAND_BLOCKS_MAX : 200;

	*command = (struct command){
		.writes = client_random(client, 2) == 0,
		.itt = client->peer.next_itt++,
		.lun = client_random(client, LUNS),
		.count = 1 + client_random(client, most),
		.version = ++client->version,
		.order = ++client->order,
	};
	command->misfit = command->writes && client_random(client, 16) == 0;
	command->first = client_random(client, CLIENT_BLOCKS - command->count + 1);
	if (!client_extent_is_free(client, command))
		return;
	command->active = true;
	command->data = malloc((size_t)command->count * BLOCK_BYTES);
	assert(command->data != NULL);
	for (uint32_t i = 0; i < command->count; i++) {
		client->shadows[command->lun][command->first + i].busy = true;
		if (command->writes)
			stamp_fill(command->data + i * BLOCK_BYTES,
				   stamp_place(client, command->lun, command->first + i),
				   command->version);
	}
	send_command(client, command);
}

/* -- answers -- */

/* Everything of the LUN that was sent before has been aborted, and answered so unless it was the
 * client's own reset. */
static void on_reset_heard(struct client *client, unsigned lun, uint64_t before)
{
	for (unsigned i = 0; i < COMMANDS_MAX; i++) {
		struct command *command = &client->commands[i];

		if (command->active && command->lun == lun && command->order < before)
			client_give_up(client, command);
	}
}

static void on_status(struct client *client, struct command *command, uint8_t status, uint16_t asc)
{
	bool good = status == SCSI_GOOD && !command->misfit;

	assert(status == SCSI_GOOD || status == SCSI_CHECK_CONDITION ||
	       status == SCSI_TASK_SET_FULL || status == SCSI_BUSY || status == SCSI_TASK_ABORTED);
	if (good && command->writes)
		client->writes++;
	else if (good)
		client->reads++;
	else
		client->failures++;
	if (asc == 0x2903)
		on_reset_heard(client, command->lun, command->order);
	client_conclude(client, command, good);
}

static void on_data_in(struct client *client, const struct rig_pdu *pdu)
{
	struct pdu_data_in in;

	pdu_data_in_decode(&in, pdu->bhs);
	struct command *command = find_command(client, in.itt);

	if (command == NULL)
		return;
	assert(!command->writes && in.buffer_offset == command->got_bytes);
	assert(in.buffer_offset + pdu->data_len_bytes <= command->count * BLOCK_BYTES);
	memcpy(command->data + in.buffer_offset, pdu->data, pdu->data_len_bytes);
	command->got_bytes += pdu->data_len_bytes;
	if (in.has_status)
		on_status(client, command, in.status, 0);
}

static void on_response(struct client *client, const struct rig_pdu *pdu)
{
	struct pdu_scsi_response response;
	uint16_t asc = pdu->data_len_bytes >= 16 ? get_be16(pdu->data + 14) : 0;

	pdu_scsi_response_decode(&response, pdu->bhs);
	struct command *command = find_command(client, response.itt);

	/* What was given up answers no more. */
	assert(command != NULL);
	on_status(client, command, response.status, asc);
}

static void on_r2t(struct client *client, const struct rig_pdu *pdu)
{
	struct pdu_r2t r2t;

	pdu_r2t_decode(&r2t, pdu->bhs);
	struct command *command = find_command(client, r2t.itt);

	if (command != NULL)
		send_data(client, command,
			  (struct rig_burst){r2t.itt, r2t.ttt, r2t.buffer_offset,
					     r2t.desired_data_len_bytes, some_segment(client)});
}

static void on_awaited(struct client *client, const struct rig_pdu *pdu)
{
	assert(get_be32(pdu->bhs + 16) == client->awaited_itt);
	client->awaited_itt = 0;
	client->response = pdu->bhs[2];
}

static void on_pdu(struct client *client, const struct rig_pdu *pdu)
{
	if (pdu->opcode == PDU_DATA_IN)
		on_data_in(client, pdu);
	else if (pdu->opcode == PDU_SCSI_RESPONSE)
		on_response(client, pdu);
	else if (pdu->opcode == PDU_R2T)
		on_r2t(client, pdu);
	else if (pdu->opcode == PDU_TMF_RESPONSE || pdu->opcode == PDU_NOP_IN)
		on_awaited(client, pdu);
	else
		/* The target's farewell to a session that was told to end. */
		assert(pdu->opcode == PDU_ASYNC_MESSAGE && client->dismissed);
}

/* False: nothing came for so long. */
static bool hear(struct client *client, int wait_ms)
{
	static _Thread_local struct rig_pdu pdu;

	while (!client->closed && !client_take(client, &pdu)) {
		if (!client_poll(client, false, wait_ms))
			return false;
	}
	if (!client->closed)
		on_pdu(client, &pdu);
	return true;
}

/* Until it is answered; a connection's end is an answer, too. */
static void await(struct client *client, uint32_t itt)
{
	client->awaited_itt = itt;
	while (client->awaited_itt != 0 && !client->closed) {
		if (!hear(client, PATIENCE_MS)) {
			fprintf(stderr, "client %u: no answer to a ping or an abort\n",
				client->index);
			abort();
		}
	}
}

/* -- what else an initiator does -- */

static void ping(struct client *client)
{
	static uint8_t data[4096];
	uint8_t bhs[PDU_BHS_BYTES];
	struct pdu_nop_out nop = {.itt = client->peer.next_itt++,
				  .ttt = PDU_TAG_RESERVED,
				  .immediate = true,
				  .cmd_sn = client->peer.cmd_sn};

	pdu_nop_out_encode(&nop, bhs);
	client_send(client, bhs, data, client_random(client, sizeof(data)));
	await(client, nop.itt);
}

/* A command on `lun` to refer to, or any tag. */
static uint32_t some_tag(struct client *client, unsigned *lun)
{
	for (unsigned i = 0; i < COMMANDS_MAX; i++) {
		const struct command *command = &client->commands[i];

		if (command->active) {
			*lun = command->lun;
			return command->itt;
		}
	}
	return 1;
}

static void manage(struct client *client, uint8_t function)
{
	uint8_t bhs[PDU_BHS_BYTES];
	unsigned lun = client_random(client, LUNS);
	uint32_t referenced = some_tag(client, &lun);
	struct pdu_tmf_request request = {.function = function,
					  .lun = client_lun_field(lun),
					  .itt = client->peer.next_itt++,
					  .referenced_task_tag = referenced,
					  .immediate = true,
					  .cmd_sn = client->peer.cmd_sn};

	pdu_tmf_request_encode(&request, bhs);
	client_send(client, bhs, NULL, 0);
	await(client, request.itt);
	/* Whatever was answered was answered before. */
	struct command *command = find_command(client, referenced);

	if (client->closed || client->response == PDU_TMF_FUNCTION_REJECTED)
		return;
	if (function != PDU_TMF_ABORT_TASK)
		on_reset_heard(client, lun, UINT64_MAX);
	else if (command != NULL)
		client_give_up(client, command);
	client->aborts += function != PDU_TMF_LOGICAL_UNIT_RESET;
	client->resets += function == PDU_TMF_LOGICAL_UNIT_RESET;
}

/* Once: the session may be gone before we notice. */
static void dismiss(struct client *client)
{
	client->dismissed = true;
	session_close(client->peer.session, SESSION_CLOSE_ADMIN);
}

static bool has_commands(const struct client *client)
{
	for (unsigned i = 0; i < COMMANDS_MAX; i++) {
		if (client->commands[i].active)
			return true;
	}
	return false;
}

static void step(struct client *client)
{
	uint32_t dice = client_random(client, 1000);

	if (dice < 600)
		start_command(client);
	else if (dice < 620)
		ping(client);
	else if (dice < 630)
		manage(client, PDU_TMF_ABORT_TASK);
	else if (dice < 633)
		manage(client, PDU_TMF_ABORT_TASK_SET);
	else if (dice < 635)
		manage(client, PDU_TMF_LOGICAL_UNIT_RESET);
	else if (dice < 637)
		client->closed = true;
	else if (dice < 638 && !client->dismissed)
		dismiss(client);
	else if (has_commands(client) && !hear(client, ABORT_MS))
		manage(client, client_random(client, 4) == 0 ? PDU_TMF_LOGICAL_UNIT_RESET
							     : PDU_TMF_ABORT_TASK);
}

static void *client_run(void *arg)
{
	struct client *client = arg;

	begin_session(client);
	while (!atomic_load(&ending)) {
		step(client);
		if (client->closed) {
			end_session(client);
			begin_session(client);
		}
	}
	end_session(client);
	return NULL;
}

/* -- the administrator -- */

/* Now and then a host sets or clears TAS and leaves without a look at what came of it. */
static void change_mode(struct rig *rig, bool tells)
{
	static struct peer peer;
	uint8_t list[] = {0, 0, 0,    0,    0x0A, 10, 0x22, 0x10, 0, tells ? 0x40 : 0,
			  0, 0, 0xFF, 0xFF, 0,    0};
	struct rig_command select = {.write = true,
				     .expected_bytes = sizeof(list),
				     .immediate_bytes = sizeof(list),
				     .data = list,
				     .cdb = {0x15, 0x10, 0, 0, sizeof(list)}};

	peer_begin(&peer, rig, 0, &rig_params);
	peer_command(&peer, &(struct rig_command){0}); /* It takes the unit attention. */
	peer_command(&peer, &select);
	usleep(5000);
	close(peer.fd);
	while (!atomic_load(&peer.ended))
		usleep(1000);
}

/* -- the disk's moods -- */

static const char *const moods[] = {
	"", "delay all 3\n", "stick write count 20\n",  "stick read count 20\n",
	"", "stick all\n",   "fail read EIO count 9\n", "fail write ENOSPC count 9\ndelay read 5\n",
};

/* How long on each engine. */
static uint32_t run_ms;

static void play(enum loop_engine engine, const char *name, uint32_t seed)
{
	static struct client clients[CLIENTS];
	static struct rig rig;
	struct client sum = {0};
	pthread_t threads[CLIENTS];
	uint64_t end_ms;

	atomic_store(&ending, false);
	rig_begin(&rig, "fault", engine, 160);
	rig.server.limits.data_out_timeout_ms = PATIENCE_MS;
	rig.server.limits.write_stall_timeout_ms = PATIENCE_MS;
	end_ms = now_ms() + run_ms;
	for (unsigned i = 0; i < CLIENTS; i++) {
		clients[i] = (struct client){.rig = &rig, .index = i, .seed = seed + i * 7919u};
		clients[i].in = malloc(IN_BYTES);
		assert(clients[i].in != NULL);
		assert(pthread_create(&threads[i], NULL, client_run, &clients[i]) == 0);
	}
	for (uint32_t at = seed; now_ms() < end_ms; at = at * 1664525u + 1013904223u) {
		rig_faults(&rig, moods[(at >> 16) % ARRAY_SIZE(moods)]);
		if ((at >> 12) % 8 == 0)
			change_mode(&rig, (at >> 15) % 2 == 0);
		usleep(20000 + (at >> 8) % 100000);
	}
	atomic_store(&ending, true);
	rig_faults(&rig, "");
	for (unsigned i = 0; i < CLIENTS; i++) {
		pthread_join(threads[i], NULL);
		sum.reads += clients[i].reads;
		sum.writes += clients[i].writes;
		sum.failures += clients[i].failures;
		sum.lost += clients[i].lost;
		sum.aborts += clients[i].aborts;
		sum.resets += clients[i].resets;
		sum.ends += clients[i].ends;
		free(clients[i].in);
	}
	rig_end(&rig);
	printf("%s: %lu reads, %lu writes, %lu failed, %lu lost; %lu aborts, %lu resets, %lu "
	       "ends\n",
	       name, sum.reads, sum.writes, sum.failures, sum.lost, sum.aborts, sum.resets,
	       sum.ends);
}

int main(int argc, char **argv)
{
	run_ms = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 0) : RUN_MS;
	return rig_main(argc, argv, play);
}
