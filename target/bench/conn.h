/*
 * One connection of the benchmark's initiator, as long as things go one at a time: connect, login
 * (login.c), single commands before the run and the logout after it (setup.c).
 *
 * During the run the session (session.h) takes descriptor, framer and counters over; nothing here
 * is called then. No function here is fast and none needs to be.
 *
 * Every function that can fail returns negative errno and leaves one line in conn->error that names
 * the step and the cause.
 *
 * Threads: the worker that owns the session; for the probe, the main thread.
 */
#ifndef TARGET_BENCH_CONN_H
#define TARGET_BENCH_CONN_H

#include "base/attr.h"
#include "target/bench/options.h"
#include "target/bench/window.h"
#include "target/iscsi/frame.h"
#include "target/iscsi/negotiate.h"
#include "target/iscsi/pdu.h"

#include <stdbool.h>
#include <stdint.h>

#define CONN_ERROR_BYTES 320u
/* Login answers and parameter data; one login data segment, RFC 7143 13.12. */
#define CONN_DATA_BYTES_MAX FRAMER_LOGIN_DATA_BYTES_MAX

struct bench_conn {
	struct framer framer;
	const struct bench_options *options;
	int fd; /* A blocking socket; whoever must not wait says MSG_DONTWAIT. -1: none. */
	uint32_t exp_stat_sn;
	struct bench_window window;
	struct iscsi_params params;
	uint8_t isid[PDU_ISID_BYTES];

	/* The receive area of the framer. */
	uint8_t *receive;
	uint32_t receive_bytes;

	/* The answer being collected, one at a time. */
	uint8_t answer_bhs[PDU_BHS_BYTES];
	uint8_t *answer; /* CONN_DATA_BYTES_MAX */
	uint32_t answer_bytes;
	uint32_t landing_bytes; /* Where the data segment in hand begins in `answer`. */
	bool answered;

	char error[CONN_ERROR_BYTES];
};

/* Allocate; connects nothing. `index` makes the ISID unique within this process. -ENOMEM. */
int MUST_CHECK bench_conn_init(struct bench_conn *conn, const struct bench_options *options,
			       uint32_t index);
/* Close and free. Also on a connection whose init failed or that is all zero but for fd == -1. */
void bench_conn_release(struct bench_conn *conn);

/* TCP connect to the URL's host and port. */
int MUST_CHECK bench_conn_connect(struct bench_conn *conn);
/* Login to full feature; afterwards params, window and exp_stat_sn are set. login.c */
int MUST_CHECK bench_conn_login(struct bench_conn *conn);

/*
 * Send one PDU with at most CONN_DATA_BYTES_MAX bytes of data and wait for the answer: the next PDU
 * that ends something (a response of any kind; Data-In is collected, NOP-In answered). Then
 * answer_bhs, answer and answer_bytes hold it. -ETIMEDOUT, -ECONNRESET, -EPROTO.
 */
int MUST_CHECK bench_conn_exchange(struct bench_conn *conn, const uint8_t *bhs, const void *data,
				   uint32_t data_bytes);

/* What the LUN says it is. */
struct bench_capacity {
	uint64_t bytes;
	uint32_t block_bytes;
};

/* Wait until the LUN takes commands: TEST UNIT READY, unit attentions and BUSY retried. setup.c */
int MUST_CHECK bench_conn_wait_ready(struct bench_conn *conn);
int MUST_CHECK bench_conn_read_capacity(struct bench_conn *conn, struct bench_capacity *out);
/* Ask for an orderly end; failures are of no interest any more. */
void bench_conn_logout(struct bench_conn *conn);

/* Write conn->error and return `err`. */
int PRINTF_LIKE(3, 4) bench_conn_fail(struct bench_conn *conn, int err, const char *format, ...);

/* Append one PDU to a vector: header with digest, data, padding and digest as agreed. */
struct bench_pdu_room {
	uint8_t head[PDU_BHS_BYTES + PDU_DIGEST_BYTES];
	uint8_t tail[3 + PDU_DIGEST_BYTES];
};
#define BENCH_PDU_IOV_MAX 3u
/* room->head holds the encoded header on entry; room and data must live until they are sent.
 * Returns how many elements of iov (BENCH_PDU_IOV_MAX at most) it filled. */
unsigned bench_pdu_vector(const struct iscsi_params *params, struct bench_pdu_room *room,
			  const void *data, uint32_t data_bytes, struct iovec *iov);

#endif
