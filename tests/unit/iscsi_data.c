/*
 * Data transfer in every combination of InitialR2T, ImmediateData, outstanding R2Ts and digests:
 * what is written by one way reads back the same, and residuals are exact.
 */
#include "tests/unit/iscsi_peer.h"

static const uint32_t sizes[] = {
	512, 4096, 8192, 65024, 65536, 66048, 70144, 131072, 262144, 327680, 1024 * 1024 + 512};

static void fill(uint8_t *data, uint32_t count, uint32_t seed)
{
	for (uint32_t i = 0; i < count; i++)
		data[i] = (uint8_t)((i >> 9) * 31 + i + seed);
}

static uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* Write with as much immediate and unsolicited data as was agreed. */
static void write_some(struct peer *peer, const uint8_t *data, uint32_t count)
{
	const struct iscsi_params *params = &peer->params;
	uint32_t first = min_u32(params->first_burst_length, count);
	uint32_t immediate = params->immediate_data ? min_u32(first, 8192) : 0;
	bool unsolicited = !params->initial_r2t && immediate < first;
	struct rig_command command = {
		.expected_bytes = count,
		.write = true,
		.immediate_bytes = immediate,
		.data = data,
		.not_final = unsolicited,
	};
	struct pdu_scsi_response response;

	rig_cdb10(command.cdb, 0x2a, 8, (uint16_t)(count / 512));
	uint32_t itt = peer_command(peer, &command);

	if (unsolicited)
		peer_data_out(peer,
			      (struct rig_burst){itt, PDU_TAG_RESERVED, immediate,
						 first - immediate, 3000},
			      data);
	peer_finish_write(peer, data, &response);
	cr_assert_eq(response.itt, itt);
	cr_assert_eq(response.status, SCSI_GOOD, "%u bytes: sense %04x", count, response.snack_tag);
	cr_assert(!response.overflow && !response.underflow);
}

static void read_back(struct peer *peer, const uint8_t *data, uint32_t count)
{
	struct rig_command command = {.expected_bytes = count, .read = true};
	uint8_t *got = malloc(count);

	rig_cdb10(command.cdb, 0x28, 8, (uint16_t)(count / 512));
	struct rig_result result = peer_finish_read(peer, peer_command(peer, &command), got);

	cr_assert_eq(result.status, SCSI_GOOD);
	cr_assert_eq(result.bytes, count);
	cr_assert_arr_eq(got, data, count);
	free(got);
}

static void all_sizes(const struct iscsi_params *params, enum loop_engine engine)
{
	struct rig rig;
	struct peer peer;
	uint8_t *data = malloc(2u << 20);

	rig_begin(&rig, "raw", engine, 256);
	peer_begin(&peer, &rig, 0, params);
	peer_clear_attention(&peer, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		fill(data, sizes[i], i);
		write_some(&peer, data, sizes[i]);
		read_back(&peer, data, sizes[i]);
	}
	peer_end(&peer);
	rig_end(&rig);
	free(data);
}

#define COMBINATION(name, ...)                                           \
	Test(data, name)                                                 \
	{                                                                \
		struct iscsi_params params = rig_params;                 \
		const struct iscsi_params change = {__VA_ARGS__};        \
		params.initial_r2t = change.initial_r2t;                 \
		params.immediate_data = change.immediate_data;           \
		params.max_outstanding_r2t = change.max_outstanding_r2t; \
		params.header_digest = change.header_digest;             \
		params.data_digest = change.data_digest;                 \
		all_sizes(&params, LOOP_ENGINE_AUTO);                    \
		all_sizes(&params, LOOP_ENGINE_AIO);                     \
	}

COMBINATION(r2t_only, .initial_r2t = true, .max_outstanding_r2t = 1)
COMBINATION(immediate, .initial_r2t = true, .immediate_data = true, .max_outstanding_r2t = 1)
COMBINATION(unsolicited, .max_outstanding_r2t = 1)
COMBINATION(immediate_and_unsolicited, .immediate_data = true, .max_outstanding_r2t = 1)
COMBINATION(several_r2ts, .immediate_data = true, .max_outstanding_r2t = 4)
COMBINATION(digests, .immediate_data = true, .max_outstanding_r2t = 4, .header_digest = true,
	    .data_digest = true)
COMBINATION(header_digest, .initial_r2t = true, .max_outstanding_r2t = 2, .header_digest = true)

/* Reads of nothing are sent from zeroes that all share; other answers must not be. */
static void null_reads(enum loop_engine engine)
{
	struct iscsi_params params = rig_params;
	struct rig rig;
	struct peer peer;
	uint8_t *data = malloc(2u << 20);
	uint8_t *nothing = calloc(1, 2u << 20);

	params.data_digest = true;
	rig_begin(&rig, "null", engine, 256);
	peer_begin(&peer, &rig, 0, &params);
	peer_clear_attention(&peer, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct rig_command inquiry = {
			.expected_bytes = 36, .read = true, .cdb = {0x12, [4] = 36}};

		fill(data, sizes[i], i);
		write_some(&peer, data, sizes[i]);
		read_back(&peer, nothing, sizes[i]);
		cr_assert_eq(peer_finish_read(&peer, peer_command(&peer, &inquiry), data).bytes,
			     36);
		cr_assert_arr_eq(data + 8, "RINGSAN ", 8);
	}
	peer_end(&peer);
	rig_end(&rig);
	free(data);
	free(nothing);
}

Test(data, reads_of_nothing)
{
	null_reads(LOOP_ENGINE_AUTO);
	null_reads(LOOP_ENGINE_AIO);
}

/* Expected length, blocks asked for, and what must come of it. */
static const struct residual_case {
	const char *what;
	uint32_t expected;
	uint16_t blocks;
	uint32_t bytes;
	bool overflow, underflow;
	uint32_t residual;
} residual_cases[] = {
	{"equal", 1024, 2, 1024, false, false, 0},
	{"nothing expected", 0, 1, 0, true, false, 512},
	{"more expected", 10000, 1, 512, false, true, 9488},
	{"less than a block expected", 200, 1, 200, true, false, 312},
	{"fewer blocks expected", 512, 2, 512, true, false, 512},
	{"no blocks", 512, 0, 0, false, true, 512},
	{"across a window", 65536 + 512, 130, 65536 + 512, true, false, 512},
};

Test(data, read_residuals)
{
	struct rig rig;
	struct peer peer;
	uint8_t *got = malloc(1u << 20);

	rig_begin(&rig, "raw", LOOP_ENGINE_AUTO, 128);
	peer_begin(&peer, &rig, 0, &rig_params);
	peer_clear_attention(&peer, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(residual_cases); i++) {
		const struct residual_case *c = &residual_cases[i];
		struct rig_command command = {.expected_bytes = c->expected, .read = true};

		rig_cdb10(command.cdb, 0x28, 0, c->blocks);
		struct rig_result result =
			peer_finish_read(&peer, peer_command(&peer, &command), got);

		cr_assert_eq(result.status, SCSI_GOOD, "%s", c->what);
		cr_assert_eq(result.bytes, c->bytes, "%s: %u bytes", c->what, result.bytes);
		cr_assert_eq(result.overflow, c->overflow, "%s", c->what);
		cr_assert_eq(result.underflow, c->underflow, "%s", c->what);
		cr_assert_eq(result.residual, c->residual, "%s", c->what);
	}
	peer_end(&peer);
	rig_end(&rig);
	free(got);
}

Test(data, write_residuals)
{
	struct rig rig;
	struct peer peer;
	static uint8_t data[1u << 18];
	struct pdu_scsi_response response;

	rig_begin(&rig, "raw", LOOP_ENGINE_AUTO, 128);
	peer_begin(&peer, &rig, 0, &rig_params);
	peer_clear_attention(&peer, 0);
	fill(data, sizeof(data), 5);
	for (unsigned i = 0; i < ARRAY_SIZE(residual_cases); i++) {
		const struct residual_case *c = &residual_cases[i];
		uint32_t immediate = min_u32(c->expected, 4096);
		struct rig_command command = {.expected_bytes = c->expected,
					      .write = true,
					      .immediate_bytes = immediate,
					      .data = data};

		rig_cdb10(command.cdb, 0x2a, 0, c->blocks);
		peer_command(&peer, &command);
		peer_finish_write(&peer, data, &response);
		cr_assert_eq(response.status, SCSI_GOOD, "%s: %04x", c->what, response.snack_tag);
		cr_assert_eq(response.overflow, c->overflow, "%s", c->what);
		cr_assert_eq(response.underflow, c->underflow, "%s", c->what);
		cr_assert_eq(response.residual_count, c->residual, "%s", c->what);
	}
	peer_end(&peer);
	rig_end(&rig);
}

/* A session with every buffer taken by others still gets its floor; more ends in TASK SET FULL, and
 * nothing is stuck afterwards. */
Test(data, few_buffers)
{
	struct rig rig;
	struct peer peer;
	static uint8_t data[1u << 20];
	struct pdu_scsi_response response;

	rig_begin(&rig, "raw", LOOP_ENGINE_AUTO, 9);
	peer_begin(&peer, &rig, 0, &rig_params);
	peer_clear_attention(&peer, 0);
	fill(data, sizeof(data), 7);
	for (int i = 0; i < 4; i++) {
		struct rig_command command = {.expected_bytes = sizeof(data), .write = true};

		rig_cdb10(command.cdb, 0x2a, 8, sizeof(data) / 512);
		peer_command(&peer, &command);
	}
	for (int i = 0; i < 4; i++) {
		peer_finish_write(&peer, data, &response);
		cr_assert(response.status == SCSI_GOOD || response.status == SCSI_TASK_SET_FULL);
	}
	read_back(&peer, data, sizeof(data));
	peer_end(&peer);
	rig_end(&rig);
}
