/*
 * A session whose commands differ in size: lengths on the wire, a histogram for each class, data
 * that is verified across sizes, and bursts with pauses between them.
 */
#include "tests/unit/bench_testing.h"

#include "target/bench/command.h"
#include "target/bench/stamp.h"

static uint8_t stream[1 << 18];
static struct request request;
static uint8_t image[REGION_UNITS * 4096];

/* Commands of 512, 1536 and 4096 bytes, each of them first a write and then a read in half of all
 * cases; everything immediate. */
static struct fake *fake_mixed(bool verify)
{
	struct fake *fake = fake_new();
	struct iscsi_params params = fake_params;

	params.max_recv_data_segment_length = 8192;
	params.max_send_data_segment_length = 8192;
	params.first_burst_length = 8192;
	params.max_burst_length = 8192;
	fake->options.verify = verify;
	fake->options.workload = BENCH_MIX;
	fake->options.read_percent = 50;
	cr_assert_eq(mix_sizes_parse("512:2,1536,4K", &fake->options.sizes), 0);
	fake_start(fake, &params);
	fake->max_cmd_sn += 1u << 20;
	fake->session.conn.window.max_cmd_sn = fake->max_cmd_sn;
	return fake;
}

/* Serve the next command from the image; its length in bytes. */
static uint32_t serve_one(struct fake *fake, bool *out_write)
{
	struct pdu_scsi_command command;
	uint8_t *place;
	uint8_t *end;

	fake_request(fake, &request);
	pdu_scsi_command_decode(&command, request.bhs);
	cr_assert_eq(get_be16(command.cdb + 7) * 512u, command.expected_data_len_bytes);
	cr_assert_leq(get_be32(command.cdb + 2) * 512ull + command.expected_data_len_bytes,
		      sizeof(image));
	place = image + get_be32(command.cdb + 2) * 512ull;
	*out_write = command.write;
	if (command.write) {
		cr_assert_eq(command.data_len_bytes, command.expected_data_len_bytes);
		memcpy(place, request.data, command.data_len_bytes);
		end = fake_response(fake, stream, (struct pdu_scsi_response){.itt = command.itt},
				    NULL);
	} else {
		end = fake_data_in(
			fake, stream,
			(struct pdu_data_in){.itt = command.itt,
					     .data_len_bytes = command.expected_data_len_bytes,
					     .final = true,
					     .has_status = true},
			place);
	}
	cr_assert_eq(fake_deliver(fake, stream, (size_t)(end - stream)), 0, "%s",
		     fake->session.conn.error);
	return command.expected_data_len_bytes;
}

static unsigned class_of(uint32_t bytes)
{
	return bytes == 512 ? 0 : bytes == 1536 ? 1 : 2;
}

Test(bench_mixed, every_size_has_its_share_and_its_histogram)
{
	struct fake *fake = fake_mixed(false);
	uint64_t served[6] = {0};

	for (unsigned i = 0; i < 4000; i++) {
		uint32_t bytes;
		bool write;

		fake_turn(fake);
		bytes = serve_one(fake, &write);
		served[2 * class_of(bytes) + write]++;
	}
	for (unsigned i = 0; i < 6; i++) {
		/* Half of half, and half of a quarter. */
		unsigned expected = i < 2 ? 1000 : 500;

		cr_assert_eq(fake->histograms[i].count, served[i]);
		cr_assert(served[i] > expected * 8 / 10 && served[i] < expected * 12 / 10,
			  "%u: %lu", i, served[i]);
	}
	fake_free(fake);
}

Test(bench_mixed, latencies_go_to_the_bank_in_use)
{
	static struct histogram other[2 * FAKE_CLASSES_MAX];
	struct fake *fake = fake_mixed(false);
	bool write;

	fake_turn(fake);
	(void)serve_one(fake, &write);
	fake->bank = other;
	fake_turn(fake);
	(void)serve_one(fake, &write);
	for (unsigned i = 1; i < 6; i++) {
		histogram_merge(&fake->histograms[0], &fake->histograms[i]);
		histogram_merge(&other[0], &other[i]);
	}
	cr_assert_eq(fake->histograms[0].count, 1);
	cr_assert_eq(other[0].count, 1);
	fake_free(fake);
}

/* Work, then read everything back; returns the count of wrong blocks. */
static uint64_t wrong_after(void (*spoil)(void))
{
	struct fake *fake = fake_mixed(true);
	uint64_t wrong;
	bool write;

	for (unsigned i = 0; i < 2000; i++) {
		fake_turn(fake);
		(void)serve_one(fake, &write);
	}
	bench_session_enter_phase(&fake->session, PHASE_DRAIN);
	while (!bench_session_is_idle(&fake->session))
		(void)serve_one(fake, &write);
	cr_assert_eq(fake->counters.verify_errors, 0);
	spoil();
	bench_session_enter_phase(&fake->session, PHASE_READ_BACK);
	do {
		fake_turn(fake);
		if (!fake_is_quiet(fake))
			cr_assert_eq(serve_one(fake, &write), 4096);
	} while (!bench_session_is_idle(&fake->session));
	cr_assert_eq(fake->counters.io_errors, 0);
	wrong = fake->counters.verify_errors;
	fake_free(fake);
	return wrong;
}

static void spoil_nothing(void)
{
}

static void spoil_three(void)
{
	image[0] ^= 1;
	image[511 + 512] ^= 1;
	image[sizeof(image) - 1] ^= 1;
}

Test(bench_mixed, data_is_verified_across_sizes)
{
	cr_assert_eq(wrong_after(spoil_nothing), 0);
	cr_assert_eq(wrong_after(spoil_three), 3);
}

/* ---- Bursts ---- */

Test(bench_mixed, bursts_end_in_a_pause_with_nothing_in_flight)
{
	struct fake *fake = fake_mixed(false);
	struct bench_session *session = &fake->session;
	bool write;

	fake->options.burst = 3;
	fake->options.pause_ms = 10;
	for (unsigned round = 0; round < 3; round++) {
		/* A depth of two: two commands, then the third, then nothing. */
		(void)bench_session_issue(session);
		cr_assert_eq(bench_session_flush(session), 0);
		if (round == 0)
			cr_assert(bench_session_is_waiting(session), "the first pause comes first");
		session->now_ns += 10 * CLOCK_NS_PER_MS;
		(void)bench_session_issue(session);
		cr_assert_eq(bench_session_flush(session), 0);
		cr_assert_eq(session->in_flight, 2);
		(void)serve_one(fake, &write);
		(void)bench_session_issue(session);
		cr_assert_eq(bench_session_flush(session), 0);
		cr_assert_eq(session->in_flight, 2);
		(void)serve_one(fake, &write);
		cr_assert(!bench_session_issue(session));
		cr_assert_eq(session->in_flight, 1);
		(void)serve_one(fake, &write);
		cr_assert(!bench_session_issue(session), "a timed phase does not end by itself");
		cr_assert(bench_session_is_waiting(session));
		cr_assert_eq(session->in_flight, 0);
	}
	fake_free(fake);
}

Test(bench_mixed, a_new_phase_ends_the_pause)
{
	struct fake *fake = fake_mixed(false);

	fake->options.burst = 1;
	fake->options.pause_ms = 60000;
	(void)bench_session_issue(&fake->session);
	cr_assert(bench_session_is_waiting(&fake->session));
	bench_session_enter_phase(&fake->session, PHASE_DRAIN);
	cr_assert(!bench_session_is_waiting(&fake->session));
	cr_assert(bench_session_issue(&fake->session));
	fake_free(fake);
}
