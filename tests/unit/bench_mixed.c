/*
 * A session whose commands differ in size: lengths on the wire, a histogram for each class, data
 * that is verified across sizes, and bursts with pauses between them.
 */
#include "tests/unit/bench_testing.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>

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

/* ---- Large reads that nobody looks at ---- */

/* A connection as in earnest: only TCP drops data in the kernel. */
static void use_tcp(struct fake *fake)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t address_bytes = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	(void)close(fake->fd);
	(void)close(fake->session.conn.fd);
	fake->session.conn.fd = socket(AF_INET, SOCK_STREAM, 0);
	cr_assert_eq(bind(listener, (struct sockaddr *)&address, address_bytes), 0);
	cr_assert_eq(listen(listener, 1), 0);
	cr_assert_eq(getsockname(listener, (struct sockaddr *)&address, &address_bytes), 0);
	cr_assert_eq(connect(fake->session.conn.fd, (struct sockaddr *)&address, address_bytes), 0);
	fake->fd = accept(listener, NULL, NULL);
	cr_assert_geq(fake->fd, 0);
	/* Or the second half waits for the acknowledgement of the first. */
	cr_assert_eq(setsockopt(fake->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)), 0);
	(void)close(listener);
}

/* Send [from, to) of the stream and receive what has come of it. */
static void pass(struct fake *fake, size_t from, size_t to)
{
	struct pollfd ready = {.fd = fake->session.conn.fd, .events = POLLIN};

	fake_send(fake, stream + from, to - from);
	while (poll(&ready, 1, 0) == 1)
		cr_assert_eq(bench_session_receive(&fake->session, MSG_DONTWAIT), 0, "%s",
			     fake->session.conn.error);
}

/* Receive until the command has ended: even on loopback not all is there at once. */
static void finish(struct fake *fake)
{
	struct pollfd ready = {.fd = fake->session.conn.fd, .events = POLLIN};

	while (fake->session.in_flight > 0) {
		cr_assert_eq(poll(&ready, 1, 10000), 1);
		cr_assert_eq(bench_session_receive(&fake->session, MSG_DONTWAIT), 0, "%s",
			     fake->session.conn.error);
	}
}

static struct fake *fake_large(bool header_digest, bool data_digest)
{
	struct fake *fake = fake_new();
	struct iscsi_params params = fake_params;

	params.max_recv_data_segment_length = 65536;
	params.header_digest = header_digest;
	params.data_digest = data_digest;
	fake->options.queue_depth = 1;
	fake->options.sizes.sizes[0].bytes = 65536;
	fake_start(fake, &params);
	use_tcp(fake);
	return fake;
}

/* The answer to the read in hand: two segments, the first of an odd length; its length. */
static size_t large_answer(struct fake *fake)
{
	const uint32_t first_bytes = 40001;
	uint8_t *at = stream;

	fake_turn(fake);
	fake_request(fake, &request);
	at = fake_data_in(
		fake, at,
		(struct pdu_data_in){.itt = request.common.itt, .data_len_bytes = first_bytes},
		fake->pattern);
	at = fake_data_in(fake, at,
			  (struct pdu_data_in){.itt = request.common.itt,
					       .data_sn = 1,
					       .buffer_offset = first_bytes,
					       .data_len_bytes = 65536 - first_bytes,
					       .final = true,
					       .has_status = true},
			  fake->pattern);
	return (size_t)(at - stream);
}

Test(bench_mixed, large_reads_are_dropped_wherever_the_stream_is_cut)
{
	struct fake *plain = fake_large(false, false);
	struct fake *digests = fake_large(true, true);
	struct fake *header_only = fake_large(true, false);
	struct fake *const fakes[] = {plain, digests, header_only};
	const size_t step = 1009;

	cr_assert(plain->session.drops_data && header_only->session.drops_data);
	cr_assert(!digests->session.drops_data, "a digest looks at every byte");
	for (size_t i = 0; i < ARRAY_SIZE(fakes); i++) {
		uint64_t reads = 0;

		for (size_t cut = 1; cut < 65536; cut += cut < 200 ? 1 : step) {
			size_t bytes = large_answer(fakes[i]);

			pass(fakes[i], 0, cut);
			pass(fakes[i], cut, bytes);
			finish(fakes[i]);
			cr_assert_eq(fakes[i]->counters.reads, ++reads, "cut at %zu", cut);
			fakes[i]->max_cmd_sn++;
		}
		fake_free(fakes[i]);
	}
}

/* Sense data lands in a place of its own, which is smaller than what is received at a time. */
Test(bench_mixed, errors_of_large_reads_are_told)
{
	static const uint8_t medium_error[] = {3, 0x11, 0};
	struct fake *fake = fake_large(false, false);
	size_t bytes;
	uint8_t *end;

	fake_turn(fake);
	fake_request(fake, &request);
	end = fake_response(fake, stream,
			    (struct pdu_scsi_response){.itt = request.common.itt,
						       .status = STATUS_CHECK_CONDITION},
			    medium_error);
	bytes = (size_t)(end - stream);
	for (size_t i = 0; i < bytes; i++)
		pass(fake, i, i + 1);
	finish(fake);
	cr_assert_eq(fake->counters.io_errors, 1);
	fake_turn(fake);
	fake_request(fake, &request);
	cr_assert_eq(request.common.opcode, PDU_SCSI_COMMAND);
	fake_free(fake);
}
