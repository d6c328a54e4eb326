/*
 * What a target may do wrong: each fault ends the session, or fails the one command, with a reason
 * that names it. Nothing is believed.
 */
#include "tests/unit/bench_testing.h"

static uint8_t stream[8192];
static struct request request;

/* ---- Faults that end the session ---- */

/* The target's PDU, before it is spoiled; itt is that of an outstanding command. */
struct fault_case {
	const char *name;
	bool write; /* The outstanding command. */
	uint8_t *(*make)(struct fake *fake, uint32_t itt);
	const char *reason; /* Must occur in the error. */
};

static uint8_t *data_in(struct fake *fake, struct pdu_data_in pdu)
{
	static const uint8_t zeroes[4096];

	pdu.final = true;
	return fake_data_in(fake, stream, pdu, zeroes);
}

static uint8_t *unknown_tag(struct fake *fake, uint32_t itt)
{
	return data_in(fake, (struct pdu_data_in){.itt = itt ^ 0x40000000, .data_len_bytes = 512});
}

static uint8_t *index_beyond_the_queue(struct fake *fake, uint32_t itt)
{
	return data_in(fake, (struct pdu_data_in){.itt = itt | 0x3ff, .data_len_bytes = 512});
}

static uint8_t *data_in_for_write(struct fake *fake, uint32_t itt)
{
	return data_in(fake, (struct pdu_data_in){.itt = itt, .data_len_bytes = 512});
}

static uint8_t *data_sn_gap(struct fake *fake, uint32_t itt)
{
	return data_in(fake, (struct pdu_data_in){.itt = itt, .data_sn = 1, .data_len_bytes = 512});
}

static uint8_t *data_in_hole(struct fake *fake, uint32_t itt)
{
	return data_in(fake, (struct pdu_data_in){
				     .itt = itt, .buffer_offset = 512, .data_len_bytes = 512});
}

static uint8_t *too_much_data(struct fake *fake, uint32_t itt)
{
	return data_in(fake, (struct pdu_data_in){.itt = itt, .data_len_bytes = 1028});
}

static uint8_t *stat_sn_gap(struct fake *fake, uint32_t itt)
{
	fake->stat_sn++;
	return fake_response(fake, stream, (struct pdu_scsi_response){.itt = itt}, NULL);
}

static uint8_t *response_for_nothing(struct fake *fake, uint32_t itt)
{
	return fake_response(fake, stream, (struct pdu_scsi_response){.itt = itt + 1024}, NULL);
}

static uint8_t *r2t(struct fake *fake, struct pdu_r2t pdu)
{
	uint8_t bhs[PDU_BHS_BYTES];

	pdu.sns = fake_sns(fake);
	pdu_r2t_encode(&pdu, bhs);
	return fake_pdu(fake, stream, bhs, NULL, 0);
}

static uint8_t *r2t_for_read(struct fake *fake, uint32_t itt)
{
	return r2t(fake, (struct pdu_r2t){.itt = itt, .desired_data_len_bytes = 512});
}

static uint8_t *r2t_sn_gap(struct fake *fake, uint32_t itt)
{
	return r2t(fake, (struct pdu_r2t){.itt = itt, .r2t_sn = 1, .desired_data_len_bytes = 512});
}

static uint8_t *r2t_reserved_tag(struct fake *fake, uint32_t itt)
{
	return r2t(fake, (struct pdu_r2t){
				 .itt = itt, .ttt = PDU_TAG_RESERVED, .desired_data_len_bytes = 8});
}

static uint8_t *r2t_for_nothing(struct fake *fake, uint32_t itt)
{
	return r2t(fake, (struct pdu_r2t){.itt = itt});
}

static uint8_t *r2t_over_burst(struct fake *fake, uint32_t itt)
{
	return r2t(fake, (struct pdu_r2t){.itt = itt, .desired_data_len_bytes = 1025});
}

static uint8_t *r2t_beyond_end(struct fake *fake, uint32_t itt)
{
	return r2t(fake, (struct pdu_r2t){
				 .itt = itt, .buffer_offset = 512, .desired_data_len_bytes = 513});
}

static uint8_t *r2t_offset_beyond_end(struct fake *fake, uint32_t itt)
{
	return r2t(fake, (struct pdu_r2t){.itt = itt,
					  .buffer_offset = 0xfffffff0,
					  .desired_data_len_bytes = 512});
}

static uint8_t *too_many_r2ts(struct fake *fake, uint32_t itt)
{
	uint8_t *at = stream;

	for (uint32_t sn = 0; sn <= fake_params.max_outstanding_r2t; sn++) {
		struct pdu_r2t pdu = {.itt = itt,
				      .r2t_sn = sn,
				      .desired_data_len_bytes = 512,
				      .sns = fake_sns(fake)};
		uint8_t bhs[PDU_BHS_BYTES];

		pdu_r2t_encode(&pdu, bhs);
		at = fake_pdu(fake, at, bhs, NULL, 0);
	}
	return at;
}

static uint8_t *unexpected_opcode(struct fake *fake, uint32_t itt)
{
	uint8_t bhs[PDU_BHS_BYTES] = {PDU_LOGIN_RESPONSE, 0x80};

	put_be32(bhs + 16, itt);
	return fake_pdu(fake, stream, bhs, NULL, 0);
}

static uint8_t *request_opcode(struct fake *fake, uint32_t itt)
{
	uint8_t bhs[PDU_BHS_BYTES] = {PDU_SCSI_COMMAND, 0x80};

	put_be32(bhs + 16, itt);
	return fake_pdu(fake, stream, bhs, NULL, 0);
}

static uint8_t *over_long_segment(struct fake *fake, uint32_t itt)
{
	uint8_t bhs[PDU_BHS_BYTES];
	struct pdu_data_in pdu = {.itt = itt, .data_len_bytes = 8193, .sns = fake_sns(fake)};

	pdu_data_in_encode(&pdu, bhs);
	return fake_pdu(fake, stream, bhs, NULL, 0);
}

static uint8_t *reject(struct fake *fake, uint32_t itt)
{
	struct pdu_reject pdu = {.reason = PDU_REJECT_INVALID_PDU_FIELD,
				 .data_len_bytes = PDU_BHS_BYTES,
				 .sns = fake_sns(fake)};
	uint8_t bhs[PDU_BHS_BYTES];
	uint8_t header[PDU_BHS_BYTES] = {PDU_DATA_OUT};

	(void)itt;
	pdu_reject_encode(&pdu, bhs);
	return fake_pdu(fake, stream, bhs, header, sizeof(header));
}

static uint8_t *drop_announced(struct fake *fake, uint32_t itt)
{
	struct pdu_async_message pdu = {.async_event = PDU_ASYNC_ALL_CONNECTIONS_DROP,
					.sns = fake_sns(fake)};
	uint8_t bhs[PDU_BHS_BYTES];

	(void)itt;
	pdu_async_message_encode(&pdu, bhs);
	return fake_pdu(fake, stream, bhs, NULL, 0);
}

static uint8_t *too_many_pings(struct fake *fake, uint32_t itt)
{
	uint8_t *at = stream;

	(void)itt;
	for (unsigned i = 0; i <= SESSION_PONGS_MAX; i++) {
		struct pdu_nop_in pdu = {.itt = PDU_TAG_RESERVED, .ttt = i, .sns = fake_sns(fake)};
		uint8_t bhs[PDU_BHS_BYTES];

		pdu_nop_in_encode(&pdu, bhs);
		at = fake_pdu(fake, at, bhs, NULL, 0);
	}
	return at;
}

static const struct fault_case fault_cases[] = {
	{"unknown tag", false, unknown_tag, "unknown task tag"},
	{"index beyond the queue", false, index_beyond_the_queue, "unknown task tag"},
	{"data for a write", true, data_in_for_write, "Data-In for a write"},
	{"DataSN gap", false, data_sn_gap, "DataSN"},
	{"hole in the data", false, data_in_hole, "out of order"},
	{"too much data", false, too_much_data, "more data"},
	{"StatSN gap", false, stat_sn_gap, "StatSN"},
	{"response for nothing", false, response_for_nothing, "unknown task tag"},
	{"R2T for a read", false, r2t_for_read, "R2T for a read"},
	{"R2TSN gap", true, r2t_sn_gap, "R2TSN"},
	{"R2T with the reserved tag", true, r2t_reserved_tag, "reserved tag"},
	{"R2T for nothing", true, r2t_for_nothing, "R2T for no data"},
	{"R2T over MaxBurstLength", true, r2t_over_burst, "MaxBurstLength"},
	{"R2T beyond the end", true, r2t_beyond_end, "beyond the end"},
	{"R2T offset beyond the end", true, r2t_offset_beyond_end, "beyond the end"},
	{"too many R2Ts", true, too_many_r2ts, "MaxOutstandingR2T"},
	{"login response", false, unexpected_opcode, "unexpected opcode 23h"},
	{"request opcode", false, request_opcode, "unexpected opcode 01h"},
	{"over-long segment", false, over_long_segment, "data segment over limit"},
	{"reject", true, reject, "rejected a PDU with opcode 05h: invalid PDU field"},
	{"drop announced", false, drop_announced, "drops all connections"},
	{"too many pings", false, too_many_pings, "NOP-In"},
};

/* A session with one command of 1 KiB sent. */
static struct fake *with_command(bool write, const struct iscsi_params *params)
{
	struct fake *fake = fake_new();

	fake->options.queue_depth = 1;
	fake->options.workload = write ? BENCH_WRITE : BENCH_READ;
	fake_start(fake, params);
	fake_turn(fake);
	fake_request(fake, &request);
	return fake;
}

Test(bench_faults, each_ends_the_session_with_its_reason)
{
	for (size_t i = 0; i < ARRAY_SIZE(fault_cases); i++) {
		const struct fault_case *fault = &fault_cases[i];
		struct fake *fake = with_command(fault->write, &fake_params);
		const uint8_t *end = fault->make(fake, request.common.itt);

		cr_assert_lt(fake_deliver(fake, stream, (size_t)(end - stream)), 0, "%s",
			     fault->name);
		cr_assert(strstr(fake->session.conn.error, fault->reason) != NULL, "%s: %s",
			  fault->name, fake->session.conn.error);
		fake_free(fake);
	}
}

Test(bench_faults, wrong_digests)
{
	struct iscsi_params params = fake_params;

	params.header_digest = true;
	params.data_digest = true;
	for (unsigned i = 0; i < 2; i++) {
		struct fake *fake = with_command(false, &params);
		const uint8_t *end = data_in(fake, (struct pdu_data_in){.itt = request.common.itt,
									.data_len_bytes = 512});

		stream[i == 0 ? 40 : 100] ^= 1;
		cr_assert_lt(fake_deliver(fake, stream, (size_t)(end - stream)), 0);
		cr_assert(strstr(fake->session.conn.error,
				 i == 0 ? "header digest" : "data digest") != NULL,
			  "%s", fake->session.conn.error);
		fake_free(fake);
	}
}

Test(bench_faults, closed_connection_says_how_much_was_in_flight)
{
	struct fake *fake = with_command(false, &fake_params);

	cr_assert_eq(shutdown(fake->fd, SHUT_WR), 0);
	cr_assert_lt(bench_session_receive(&fake->session, MSG_DONTWAIT), 0);
	cr_assert_str_eq(fake->session.conn.error,
			 "connection lost: the target closed it (1 commands in flight)");
	fake_free(fake);
}

Test(bench_faults, command_that_does_not_end)
{
	struct fake *fake = with_command(false, &fake_params);

	fake->session.now_ns += (fake->options.timeout_ms - 1) * CLOCK_NS_PER_MS;
	cr_assert_eq(bench_session_check_age(&fake->session), 0);
	fake->session.now_ns += 2 * CLOCK_NS_PER_MS;
	cr_assert_lt(bench_session_check_age(&fake->session), 0);
	cr_assert(strstr(fake->session.conn.error, "has not ended") != NULL);
	fake_free(fake);
}

/* ---- Faults that fail one command ---- */

static void expect_failed_command(struct fake *fake, const uint8_t *end)
{
	cr_assert_eq(fake_deliver(fake, stream, (size_t)(end - stream)), 0, "%s",
		     fake->session.conn.error);
	cr_assert_eq(fake->counters.io_errors, 1);
	cr_assert_eq(fake->counters.reads + fake->counters.writes, 0);
	cr_assert(bench_session_is_idle(&fake->session));
	fake_free(fake);
}

Test(bench_faults, good_status_without_the_data)
{
	struct fake *fake = with_command(false, &fake_params);
	struct pdu_scsi_response response = {.itt = request.common.itt};

	expect_failed_command(fake, fake_response(fake, stream, response, NULL));
}

Test(bench_faults, good_status_with_a_residual)
{
	struct pdu_data_in in = {.data_len_bytes = 1024,
				 .has_status = true,
				 .underflow = true,
				 .residual_count = 512};
	struct fake *fake = with_command(false, &fake_params);

	in.itt = request.common.itt;
	expect_failed_command(fake, data_in(fake, in));
}

Test(bench_faults, overflow_of_a_write)
{
	struct fake *fake = with_command(true, &fake_params);
	struct pdu_scsi_response response = {
		.itt = request.common.itt, .overflow = true, .residual_count = 512};

	expect_failed_command(fake, fake_response(fake, stream, response, NULL));
}

Test(bench_faults, target_failure)
{
	struct fake *fake = with_command(true, &fake_params);
	struct pdu_scsi_response response = {.itt = request.common.itt,
					     .response = PDU_TARGET_FAILURE};

	expect_failed_command(fake, fake_response(fake, stream, response, NULL));
}

Test(bench_faults, good_status_before_all_data_was_sent)
{
	struct fake *fake = with_command(true, &fake_params);
	uint32_t itt = request.common.itt;
	uint8_t *end = r2t(fake, (struct pdu_r2t){.itt = itt, .desired_data_len_bytes = 1024});

	end = fake_response(fake, end, (struct pdu_scsi_response){.itt = itt}, NULL);
	expect_failed_command(fake, end);
}
