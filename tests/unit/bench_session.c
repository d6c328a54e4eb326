/*
 * A session at work against a target that the test plays: streams cut at every byte, reads, writes
 * with immediate, unsolicited and solicited data, the command window, refusals, verification.
 * What a target may do wrong is in bench_faults.c.
 */
#include "tests/unit/bench_testing.h"

#include "target/bench/command.h"
#include "target/bench/stamp.h"

static uint8_t stream[1 << 18];
static struct request request;

/* The answer to two reads of 1 KiB in three shapes of PDU; returns its length. */
static size_t two_answers(struct fake *fake)
{
	static uint8_t data[1024];
	uint8_t *at = stream;
	uint32_t itt[2];

	fake_turn(fake);
	for (unsigned i = 0; i < 2; i++) {
		fake_request(fake, &request);
		cr_assert_eq(request.common.opcode, PDU_SCSI_COMMAND);
		itt[i] = request.common.itt;
	}
	at = fake_data_in(fake, at, (struct pdu_data_in){.itt = itt[0], .data_len_bytes = 600},
			  data);
	at = fake_data_in(fake, at,
			  (struct pdu_data_in){.itt = itt[0],
					       .data_sn = 1,
					       .buffer_offset = 600,
					       .data_len_bytes = 424,
					       .final = true,
					       .has_status = true},
			  data);
	at = fake_data_in(
		fake, at,
		(struct pdu_data_in){.itt = itt[1], .data_len_bytes = 1024, .final = true}, data);
	at = fake_response(fake, at, (struct pdu_scsi_response){.itt = itt[1]}, NULL);
	return (size_t)(at - stream);
}

static void split_everywhere(const struct iscsi_params *params, bool verify)
{
	size_t len_bytes = 1;

	for (size_t split = 0; split < len_bytes; split++) {
		struct fake *fake = fake_new();

		fake->options.verify = verify;
		/* What is read was never written by this run, so nothing is compared. */
		fake->options.workload = BENCH_MIX;
		fake->options.read_percent = 100;
		fake_start(fake, params);
		len_bytes = two_answers(fake);
		if (split > 0)
			cr_assert_eq(fake_deliver(fake, stream, split), 0);
		cr_assert_eq(fake_deliver(fake, stream + split, len_bytes - split), 0, "%s",
			     fake->session.conn.error);
		cr_assert_eq(fake->counters.reads, 2, "split at %zu", split);
		cr_assert(bench_session_is_idle(&fake->session));
		cr_assert_eq(fake->histograms[0].count, 2);
		fake_free(fake);
	}
}

Test(bench_session, stream_split_at_every_byte)
{
	split_everywhere(&fake_params, false);
}

Test(bench_session, stream_split_at_every_byte_into_task_buffers)
{
	split_everywhere(&fake_params, true);
}

Test(bench_session, stream_split_at_every_byte_with_digests)
{
	struct iscsi_params params = fake_params;

	params.header_digest = true;
	params.data_digest = true;
	split_everywhere(&params, true);
}

Test(bench_session, stream_byte_by_byte)
{
	struct fake *fake = fake_new();
	size_t len_bytes;

	fake_start(fake, &fake_params);
	len_bytes = two_answers(fake);
	for (size_t i = 0; i < len_bytes; i++)
		cr_assert_eq(fake_deliver(fake, stream + i, 1), 0);
	cr_assert_eq(fake->counters.reads, 2);
	fake_free(fake);
}

Test(bench_session, commands_stop_at_the_window_and_go_on_when_it_opens)
{
	struct fake *fake = fake_new();
	struct pdu_nop_in nop = {.itt = PDU_TAG_RESERVED, .ttt = PDU_TAG_RESERVED};
	struct pdu_scsi_command command;
	uint8_t bhs[PDU_BHS_BYTES];

	fake->options.queue_depth = 8;
	fake_start(fake, &fake_params);
	fake->session.conn.window.max_cmd_sn = FIRST_CMD_SN + 2;
	fake_turn(fake);
	for (uint32_t i = 0; i < 3; i++) {
		fake_request(fake, &request);
		pdu_scsi_command_decode(&command, request.bhs);
		cr_assert_eq(command.cmd_sn, FIRST_CMD_SN + i);
		cr_assert_eq(command.exp_stat_sn, FIRST_STAT_SN);
	}
	cr_assert(fake_is_quiet(fake));
	fake->max_cmd_sn = FIRST_CMD_SN + 4;
	nop.sns = fake_sns(fake);
	pdu_nop_in_encode(&nop, bhs);
	cr_assert_eq(fake_deliver(fake, bhs, sizeof(bhs)), 0);
	fake_turn(fake);
	fake_request(fake, &request);
	fake_request(fake, &request);
	pdu_scsi_command_decode(&command, request.bhs);
	cr_assert_eq(command.cmd_sn, FIRST_CMD_SN + 4);
	cr_assert(fake_is_quiet(fake));
	fake_free(fake);
}

Test(bench_session, pings_are_answered)
{
	struct fake *fake = fake_new();
	struct pdu_nop_in ping = {.itt = PDU_TAG_RESERVED, .ttt = 0x1234, .lun = 7};
	struct pdu_nop_out pong;
	uint8_t bhs[PDU_BHS_BYTES];

	fake_start(fake, &fake_params);
	bench_session_enter_phase(&fake->session, PHASE_DRAIN);
	ping.sns = fake_sns(fake);
	pdu_nop_in_encode(&ping, bhs);
	cr_assert_eq(fake_deliver(fake, bhs, sizeof(bhs)), 0);
	cr_assert(!bench_session_is_idle(&fake->session));
	fake_turn(fake);
	fake_request(fake, &request);
	pdu_nop_out_decode(&pong, request.bhs);
	cr_assert_eq(request.common.opcode, PDU_NOP_OUT);
	cr_assert(request.common.immediate && request.common.final);
	cr_assert_eq(pong.itt, PDU_TAG_RESERVED);
	cr_assert_eq(pong.ttt, 0x1234);
	cr_assert_eq(pong.lun, 7);
	cr_assert_eq(pong.cmd_sn, FIRST_CMD_SN);
	cr_assert(bench_session_is_idle(&fake->session));
	fake_free(fake);
}

/* ---- Writes ---- */

/* Which bytes of a 4 KiB write leave unasked, in PDUs of at most 512 bytes. */
struct write_case {
	bool immediate_data;
	bool initial_r2t;
	uint32_t first_burst;
	uint32_t immediate_bytes;
	uint32_t unasked_bytes; /* The immediate ones included. */
};

/* Read Data-Out PDUs for [begin, end) and check every field and byte. */
static void expect_data_out(struct fake *fake, uint32_t ttt, uint32_t begin, uint32_t end)
{
	struct pdu_data_out out;

	for (uint32_t data_sn = 0; begin < end; data_sn++) {
		fake_request(fake, &request);
		cr_assert_eq(request.common.opcode, PDU_DATA_OUT);
		pdu_data_out_decode(&out, request.bhs);
		cr_assert_eq(out.ttt, ttt);
		cr_assert_eq(out.data_sn, data_sn);
		cr_assert_eq(out.buffer_offset, begin);
		cr_assert_leq(out.data_len_bytes, 512);
		cr_assert_arr_eq(request.data, fake->pattern + begin, out.data_len_bytes);
		begin += out.data_len_bytes;
		cr_assert_eq(out.final, begin == end);
	}
	cr_assert_eq(begin, end);
}

static void send_r2t(struct fake *fake, uint32_t itt, uint32_t r2t_sn, uint32_t offset_bytes,
		     uint32_t len_bytes)
{
	struct pdu_r2t r2t = {.itt = itt,
			      .ttt = 0x100 + r2t_sn,
			      .r2t_sn = r2t_sn,
			      .sns = fake_sns(fake),
			      .buffer_offset = offset_bytes,
			      .desired_data_len_bytes = len_bytes};
	uint8_t bhs[PDU_BHS_BYTES];

	pdu_r2t_encode(&r2t, bhs);
	fake_send(fake, stream, (size_t)(fake_pdu(fake, stream, bhs, NULL, 0) - stream));
}

static void one_write(const struct write_case *expected, const struct iscsi_params *digests)
{
	struct fake *fake = fake_new();
	struct iscsi_params params = fake_params;
	struct pdu_scsi_command command;
	uint32_t asked = expected->unasked_bytes;
	uint8_t *end;

	fake->options.queue_depth = 1;
	fake->options.workload = BENCH_WRITE;
	fake->options.sizes.sizes[0].bytes = 4096;
	params.immediate_data = expected->immediate_data;
	params.initial_r2t = expected->initial_r2t;
	params.first_burst_length = expected->first_burst;
	params.header_digest = digests->header_digest;
	params.data_digest = digests->data_digest;
	fake_start(fake, &params);
	fake_turn(fake);
	fake_request(fake, &request);
	pdu_scsi_command_decode(&command, request.bhs);
	cr_assert(command.write && !command.read);
	cr_assert_eq(command.expected_data_len_bytes, 4096);
	cr_assert_eq(command.data_len_bytes, expected->immediate_bytes);
	cr_assert_eq(command.final, expected->unasked_bytes == expected->immediate_bytes);
	cr_assert_arr_eq(request.data, fake->pattern, command.data_len_bytes);
	expect_data_out(fake, PDU_TAG_RESERVED, command.data_len_bytes, expected->unasked_bytes);
	cr_assert(fake_is_quiet(fake));

	/* The rest is asked for with two R2Ts at a time. */
	for (uint32_t sn = 0; asked < 4096; sn += 2) {
		uint32_t half = (4096 - asked) / 2 < 1024 ? (4096 - asked) / 2 : 1024;

		send_r2t(fake, command.itt, sn, asked, half);
		send_r2t(fake, command.itt, sn + 1, asked + half, half);
		cr_assert_eq(bench_session_receive(&fake->session, MSG_DONTWAIT), 0);
		fake_turn(fake);
		expect_data_out(fake, 0x100 + sn, asked, asked + half);
		expect_data_out(fake, 0x101 + sn, asked + half, asked + 2 * half);
		asked += 2 * half;
	}
	end = fake_response(fake, stream, (struct pdu_scsi_response){.itt = command.itt}, NULL);
	cr_assert_eq(fake_deliver(fake, stream, (size_t)(end - stream)), 0);
	cr_assert_eq(fake->counters.writes, 1);
	cr_assert_eq(fake->counters.io_errors, 0);
	fake_free(fake);
}

Test(bench_session, write_data_leaves_as_negotiated)
{
	static const struct write_case cases[] = {
		{true, true, 4096, 512, 512},    {true, true, 256, 256, 256},
		{true, false, 4096, 512, 4096},  {true, false, 512, 512, 512},
		{true, false, 1024, 512, 1024},  {false, true, 4096, 0, 0},
		{false, false, 4096, 0, 4096},   {false, false, 1024, 0, 1024},
		{true, false, 65536, 512, 4096},
	};
	static const struct iscsi_params digests[] = {{.header_digest = false},
						      {.header_digest = true, .data_digest = true}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		one_write(&cases[i], &digests[0]);
		one_write(&cases[i], &digests[1]);
	}
}

Test(bench_session, writes_larger_than_one_batch_and_than_the_socket)
{
	struct fake *fake = fake_new();
	struct iscsi_params params = fake_params;
	struct pdu_data_out out;
	uint32_t received = 0;

	fake->options.queue_depth = 1;
	fake->options.workload = BENCH_WRITE;
	fake->options.sizes.sizes[0].bytes = 65536;
	params.first_burst_length = 65536;
	/* 1024 PDUs for one write. */
	params.max_send_data_segment_length = 64;
	fake_start(fake, &params);
	fake_turn(fake);
	fake_request(fake, &request);
	received = request.common.data_len_bytes;
	while (received < 65536) {
		if (fake_is_quiet(fake)) {
			cr_assert(fake->session.send_blocked);
			cr_assert_eq(bench_session_flush(&fake->session), 0);
		}
		fake_request(fake, &request);
		pdu_data_out_decode(&out, request.bhs);
		cr_assert_eq(out.buffer_offset, received);
		cr_assert_arr_eq(request.data, fake->pattern + received, out.data_len_bytes);
		received += out.data_len_bytes;
	}
	cr_assert_eq(bench_session_flush(&fake->session), 0);
	cr_assert(fake_is_quiet(fake));
	fake_free(fake);
}

/* ---- Refusals ---- */

static void answer(struct fake *fake, uint32_t itt, uint8_t status, const uint8_t *sense)
{
	uint8_t *end = fake_response(
		fake, stream, (struct pdu_scsi_response){.itt = itt, .status = status}, sense);

	cr_assert_eq(fake_deliver(fake, stream, (size_t)(end - stream)), 0, "%s",
		     fake->session.conn.error);
}

/* The session's one outstanding command is refused and must come again with another tag. */
static void expect_retry(uint8_t status, const uint8_t *sense, _Atomic uint64_t *counter,
			 struct fake *fake)
{
	uint32_t first_tag;

	fake->options.workload = BENCH_WRITE;
	fake->options.queue_depth = 1;
	fake_start(fake, &fake_params);
	fake_turn(fake);
	fake_request(fake, &request);
	first_tag = request.common.itt;
	expect_data_out(fake, PDU_TAG_RESERVED, 512, 1024);
	answer(fake, first_tag, status, sense);
	cr_assert_eq(*counter, 1);
	/* Not at once. */
	fake->session.now_ns = fake->session.retry_ns - 1;
	(void)bench_session_issue(&fake->session);
	cr_assert_eq(bench_session_flush(&fake->session), 0);
	cr_assert(fake_is_quiet(fake));
	fake->session.now_ns = fake->session.retry_ns;
	(void)bench_session_issue(&fake->session);
	cr_assert_eq(bench_session_flush(&fake->session), 0);
	fake_request(fake, &request);
	cr_assert_eq(request.common.opcode, PDU_SCSI_COMMAND);
	cr_assert_neq(request.common.itt, first_tag);
	cr_assert_eq(fake->counters.io_errors, 0);
	fake_free(fake);
}

Test(bench_session, task_set_full_is_retried)
{
	struct fake *fake = fake_new();

	expect_retry(STATUS_TASK_SET_FULL, NULL, &fake->counters.task_set_full, fake);
}

Test(bench_session, busy_is_retried)
{
	struct fake *fake = fake_new();

	expect_retry(STATUS_BUSY, NULL, &fake->counters.busy, fake);
}

Test(bench_session, unit_attention_is_retried)
{
	static const uint8_t power_on[] = {SENSE_KEY_UNIT_ATTENTION, 0x29, 0x00};
	struct fake *fake = fake_new();

	expect_retry(STATUS_CHECK_CONDITION, power_on, &fake->counters.unit_attentions, fake);
}

Test(bench_session, depth_falls_with_task_set_full_and_grows_back)
{
	struct fake *fake = fake_new();

	fake->options.queue_depth = 2;
	fake->options.sizes.sizes[0].bytes = 512;
	fake->options.workload = BENCH_WRITE;
	fake_start(fake, &fake_params);
	fake_turn(fake);
	fake_request(fake, &request);
	answer(fake, request.common.itt, STATUS_TASK_SET_FULL, NULL);
	cr_assert_eq(fake->session.depth, 1);
	for (unsigned i = 0; i < 64 && fake->session.depth < 2; i++) {
		if (fake_is_quiet(fake)) {
			fake->session.now_ns = fake->session.retry_ns;
			(void)bench_session_issue(&fake->session);
			cr_assert_eq(bench_session_flush(&fake->session), 0);
		}
		fake_request(fake, &request);
		fake->max_cmd_sn++;
		answer(fake, request.common.itt, STATUS_GOOD, NULL);
		cr_assert_leq(fake->session.in_flight, 2);
	}
	cr_assert_eq(fake->session.depth, 2);
	fake_free(fake);
}

Test(bench_session, errors_are_counted_and_the_session_goes_on)
{
	static const uint8_t medium_error[] = {3, 0x11, 0};
	struct fake *fake = fake_new();

	fake_start(fake, &fake_params);
	fake_turn(fake);
	fake_request(fake, &request);
	answer(fake, request.common.itt, STATUS_CHECK_CONDITION, medium_error);
	cr_assert_eq(fake->counters.io_errors, 1);
	cr_assert_eq(fake->counters.reads, 0);
	fake_turn(fake);
	fake_request(fake, &request);
	fake_request(fake, &request);
	cr_assert_eq(fake->session.in_flight, 2);
	fake_free(fake);
}

/* ---- Verification ---- */

/* A verifying session with one command of 1 KiB in flight at a time, filling its slice. */
static struct fake *verifying(void)
{
	struct fake *fake = fake_new();

	fake->options.verify = true;
	fake->options.queue_depth = 1;
	fake->options.workload = BENCH_WRITE;
	fake->options.seed = 99;
	fake_start(fake, &fake_params);
	bench_session_enter_phase(&fake->session, PHASE_FILL);
	return fake;
}

/* Take one write, immediate and unsolicited, and acknowledge it. */
static void take_write(struct fake *fake, uint8_t *image)
{
	struct pdu_scsi_command command;
	struct pdu_data_out out;
	uint64_t offset;

	fake_turn(fake);
	fake_request(fake, &request);
	pdu_scsi_command_decode(&command, request.bhs);
	offset = get_be32(command.cdb + 2) * 512ull;
	memcpy(image + offset, request.data, command.data_len_bytes);
	fake_request(fake, &request);
	pdu_data_out_decode(&out, request.bhs);
	memcpy(image + offset + out.buffer_offset, request.data, out.data_len_bytes);
	fake->max_cmd_sn++;
	answer(fake, command.itt, STATUS_GOOD, NULL);
}

static void serve_read(struct fake *fake, const uint8_t *image)
{
	struct pdu_scsi_command command;
	uint8_t *end;

	fake_turn(fake);
	fake_request(fake, &request);
	pdu_scsi_command_decode(&command, request.bhs);
	cr_assert(command.read);
	fake->max_cmd_sn++;
	end = fake_data_in(fake, stream,
			   (struct pdu_data_in){.itt = command.itt,
						.data_len_bytes = 1024,
						.final = true,
						.has_status = true},
			   image + get_be32(command.cdb + 2) * 512ull);
	cr_assert_eq(fake_deliver(fake, stream, (size_t)(end - stream)), 0);
}

static uint8_t image[REGION_UNITS * 1024];

/* Fill, spoil, read back: the count of wrong blocks. */
static uint64_t wrong_after(void (*spoil)(void))
{
	struct fake *fake = verifying();
	uint64_t wrong;

	for (unsigned i = 0; i < REGION_UNITS; i++)
		take_write(fake, image);
	spoil();
	bench_session_enter_phase(&fake->session, PHASE_READ_BACK);
	for (unsigned i = 0; i < REGION_UNITS; i++)
		serve_read(fake, image);
	cr_assert(bench_session_issue(&fake->session), "the read-back has an end");
	cr_assert_eq(fake->counters.blocks_verified, REGION_UNITS * 2);
	cr_assert_eq(fake->counters.io_errors, 0);
	wrong = fake->counters.verify_errors;
	fake_free(fake);
	return wrong;
}

static void spoil_nothing(void)
{
}

static void flip_a_bit(void)
{
	image[5000] ^= 4;
}

static void lose_a_unit(void)
{
	memset(image + 3 * 1024, 0, 1024);
}

static void swap_two_blocks(void)
{
	uint8_t block[512];

	memcpy(block, image, 512);
	memcpy(image, image + 8 * 512, 512);
	memcpy(image + 8 * 512, block, 512);
}

Test(bench_session, read_back_finds_what_storage_did_wrong)
{
	cr_assert_eq(wrong_after(spoil_nothing), 0);
	cr_assert_eq(wrong_after(flip_a_bit), 1);
	cr_assert_eq(wrong_after(lose_a_unit), 2);
	cr_assert_eq(wrong_after(swap_two_blocks), 2);
}

Test(bench_session, lost_overwrite_is_stale)
{
	struct fake *fake = verifying();
	static uint8_t before[sizeof(image)];

	for (unsigned i = 0; i < REGION_UNITS; i++)
		take_write(fake, before);
	memcpy(image, before, sizeof(image));
	bench_session_enter_phase(&fake->session, PHASE_FILL);
	for (unsigned i = 0; i < REGION_UNITS; i++)
		take_write(fake, image);
	memcpy(image + 512, before + 512, 512);
	bench_session_enter_phase(&fake->session, PHASE_READ_BACK);
	for (unsigned i = 0; i < REGION_UNITS; i++)
		serve_read(fake, image);
	cr_assert_eq(fake->counters.verify_errors, 1);
	fake_free(fake);
}

Test(bench_session, buffer_of_an_unsent_write_is_not_reused)
{
	struct fake *fake = fake_new();
	const struct bench_task *task;
	int small = 4608;

	fake->options.verify = true;
	fake->options.queue_depth = 2;
	fake->options.workload = BENCH_WRITE;
	fake->options.sizes.sizes[0].bytes = 65536;
	fake_start(fake, &fake_params);
	cr_assert_eq(
		setsockopt(fake->session.conn.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	fake->session.conn.params.immediate_data = true;
	fake->session.conn.params.max_send_data_segment_length = 65536;
	fake->session.conn.params.first_burst_length = 65536;
	fake_turn(fake);
	cr_assert(fake->session.send_blocked);
	/* The target ends the first write before it has taken its data. */
	task = &fake->session.tasks[0];
	answer(fake, task->itt, STATUS_TASK_ABORTED, NULL);
	cr_assert_eq(fake->counters.io_errors, 1);
	cr_assert_eq(task->state, TASK_LINGERING);
	cr_assert_eq(fake->session.in_flight, 2);
	while (fake->session.send_blocked) {
		cr_assert_gt(recv(fake->fd, stream, sizeof(stream), MSG_DONTWAIT), 0);
		cr_assert_eq(bench_session_flush(&fake->session), 0);
	}
	cr_assert_eq(task->state, TASK_FREE);
	fake_free(fake);
}
