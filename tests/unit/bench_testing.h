/*
 * A session of the benchmark's initiator whose target is the test itself, at the other end of a
 * socket pair. The test reads the requests and writes whatever answers it likes. No threads: both
 * ends are served in turn, and what is sent fits into the socket's buffer.
 */
#ifndef TESTS_UNIT_BENCH_TESTING_H
#define TESTS_UNIT_BENCH_TESTING_H

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "target/bench/session.h"

#define FIRST_CMD_SN 0xfffffffeu /* Wraps on the third command. */
#define FIRST_STAT_SN 0xffffffffu
#define REGION_UNITS 16u
#define FAKE_CLASSES_MAX 3u

struct fake {
	struct bench_options options;
	struct bench_job job;
	struct bench_counters counters;
	struct histogram histograms[2 * FAKE_CLASSES_MAX];
	struct histogram *bank; /* What a worker would have in use. */
	struct bench_session session;
	int fd; /* The target's end. */
	uint32_t stat_sn;
	uint32_t max_cmd_sn;
	uint8_t pattern[65536];
};

/* One request as the target sees it. */
struct request {
	struct pdu_common common;
	uint8_t bhs[PDU_BHS_BYTES];
	uint8_t data[65536];
};

/* Depth 2, 1 KiB reads, everything by default; change fake->options before fake_start. */
static inline struct fake *fake_new(void)
{
	struct fake *fake = aligned_alloc(64, (sizeof(*fake) + 63) & ~63ul);

	cr_assert(fake != NULL);
	memset(fake, 0, sizeof(*fake));
	fake->options = bench_option_defaults;
	fake->options.queue_depth = 2;
	fake->options.sizes.sizes[0].bytes = 1024;
	return fake;
}

static const struct framer_ops fake_no_ops;

static inline void fake_start(struct fake *fake, const struct iscsi_params *params)
{
	const struct framer_config config = {.data_len_bytes_max = 8192};
	struct bench_session *session = &fake->session;
	int ends[2];

	/* Unless the test has made one of its own. */
	if (fake->options.mix.count == 0)
		bench_options_make_mix(&fake->options);
	cr_assert_leq(fake->options.mix.count, FAKE_CLASSES_MAX);
	fake->job.options = &fake->options;
	fake->job.region_granules = REGION_UNITS;
	fake->job.blocks_per_unit = fake->options.mix.unit_bytes / 512;
	for (size_t i = 0; i < sizeof(fake->pattern); i++)
		fake->pattern[i] = (uint8_t)(i * 7 + i / 256);
	fake->job.pattern = fake->pattern;
	pthread_mutex_init(&fake->job.complaint_lock, NULL);
	cr_assert_eq(bench_session_init(session, &fake->job, 0), 0);
	session->counters = &fake->counters;
	fake->bank = fake->histograms;
	session->histograms = &fake->bank;
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	session->conn.fd = ends[0];
	fake->fd = ends[1];
	fake->stat_sn = FIRST_STAT_SN;
	fake->max_cmd_sn = FIRST_CMD_SN + 31;
	session->conn.exp_stat_sn = FIRST_STAT_SN;
	session->conn.window = (struct bench_window){
		.cmd_sn = FIRST_CMD_SN, .exp_cmd_sn = FIRST_CMD_SN, .max_cmd_sn = fake->max_cmd_sn};
	session->conn.params = *params;
	framer_init(&session->conn.framer, &fake_no_ops, &config,
		    (struct framer_slice){session->conn.receive, session->conn.receive_bytes});
	bench_session_start(session);
	session->now_ns = clock_now_ns();
	bench_session_enter_phase(session, PHASE_MEASURE);
}

static inline void fake_free(struct fake *fake)
{
	(void)close(fake->fd);
	bench_session_release(&fake->session);
	pthread_mutex_destroy(&fake->job.complaint_lock);
	free(fake);
}

/* What most tests agree on. */
static const struct iscsi_params fake_params = {
	.max_recv_data_segment_length = 8192,
	.max_send_data_segment_length = 512,
	.max_burst_length = 1024,
	.first_burst_length = 1024,
	.max_outstanding_r2t = 2,
	.immediate_data = true,
};

/* Let the session issue and send what it may. */
static inline void fake_turn(struct fake *fake)
{
	fake->session.now_ns = clock_now_ns();
	(void)bench_session_issue(&fake->session);
	cr_assert_eq(bench_session_flush(&fake->session), 0, "%s", fake->session.conn.error);
}

static inline void fake_read(struct fake *fake, void *out, size_t len_bytes)
{
	cr_assert_eq(recv(fake->fd, out, len_bytes, MSG_DONTWAIT | MSG_WAITALL),
		     (ssize_t)len_bytes);
}

/* The next request; its digests, if there are any, must be right. */
static inline void fake_request(struct fake *fake, struct request *out)
{
	const struct iscsi_params *params = &fake->session.conn.params;
	uint8_t digest[PDU_DIGEST_BYTES];
	uint32_t padded;

	fake_read(fake, out->bhs, sizeof(out->bhs));
	if (params->header_digest) {
		fake_read(fake, digest, sizeof(digest));
		cr_assert_eq(get_le32(digest), crc32c(0, out->bhs, sizeof(out->bhs)));
	}
	pdu_common_decode(&out->common, out->bhs);
	padded = pdu_padded(out->common.data_len_bytes);
	cr_assert_leq(padded, sizeof(out->data));
	if (padded > 0)
		fake_read(fake, out->data, padded);
	if (padded > 0 && params->data_digest) {
		fake_read(fake, digest, sizeof(digest));
		cr_assert_eq(get_le32(digest), crc32c(0, out->data, padded));
	}
}

/* True if the initiator has sent nothing more. */
static inline bool fake_is_quiet(struct fake *fake)
{
	uint8_t byte;

	return recv(fake->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0;
}

static inline struct pdu_sns fake_sns(struct fake *fake)
{
	return (struct pdu_sns){.stat_sn = fake->stat_sn,
				.exp_cmd_sn = fake->session.conn.window.cmd_sn,
				.max_cmd_sn = fake->max_cmd_sn};
}

/* Append one PDU of the target to `at`, with digests as agreed; returns its end. */
static inline uint8_t *fake_pdu(struct fake *fake, uint8_t *at, const uint8_t *bhs,
				const void *data, uint32_t data_bytes)
{
	const struct iscsi_params *params = &fake->session.conn.params;
	uint32_t padded = pdu_padded(data_bytes);

	memcpy(at, bhs, PDU_BHS_BYTES);
	if (params->header_digest)
		put_le32(at + PDU_BHS_BYTES, crc32c(0, at, PDU_BHS_BYTES));
	at += PDU_BHS_BYTES + (params->header_digest ? PDU_DIGEST_BYTES : 0);
	if (data_bytes == 0)
		return at;
	memset(at, 0, padded);
	memcpy(at, data, data_bytes);
	if (params->data_digest)
		put_le32(at + padded, crc32c(0, at, padded));
	return at + padded + (params->data_digest ? PDU_DIGEST_BYTES : 0);
}

static inline void fake_send(struct fake *fake, const uint8_t *bytes, size_t len_bytes)
{
	cr_assert_eq(send(fake->fd, bytes, len_bytes, MSG_NOSIGNAL), (ssize_t)len_bytes);
}

/* A Data-In of `len_bytes` at `offset_bytes`, with or without GOOD status. */
static inline uint8_t *fake_data_in(struct fake *fake, uint8_t *at, struct pdu_data_in pdu,
				    const void *data)
{
	uint8_t bhs[PDU_BHS_BYTES];

	pdu.ttt = PDU_TAG_RESERVED;
	pdu.sns = fake_sns(fake);
	if (pdu.has_status)
		fake->stat_sn++;
	pdu_data_in_encode(&pdu, bhs);
	return fake_pdu(fake, at, bhs, data, pdu.data_len_bytes);
}

/* A SCSI Response; with CHECK CONDITION also `sense` (key, ASC, ASCQ) in fixed format. */
static inline uint8_t *fake_response(struct fake *fake, uint8_t *at, struct pdu_scsi_response pdu,
				     const uint8_t *sense)
{
	uint8_t bhs[PDU_BHS_BYTES];
	uint8_t segment[20] = {0, 18, 0x70};

	if (sense) {
		segment[4] = sense[0];
		segment[9] = 10;
		segment[14] = sense[1];
		segment[15] = sense[2];
		pdu.data_len_bytes = sizeof(segment);
	}
	pdu.sns = fake_sns(fake);
	fake->stat_sn++;
	pdu_scsi_response_encode(&pdu, bhs);
	return fake_pdu(fake, at, bhs, segment, pdu.data_len_bytes);
}

/* Receive once; what session_receive answers. */
static inline int fake_deliver(struct fake *fake, const uint8_t *bytes, size_t len_bytes)
{
	fake_send(fake, bytes, len_bytes);
	return bench_session_receive(&fake->session, MSG_DONTWAIT);
}

#endif
