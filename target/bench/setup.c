/*
 * Single commands before the run, and the logout after it: see conn.h. Runs on the worker that owns
 * the session, or for the probe on the main thread.
 */
#include "target/bench/conn.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "target/bench/command.h"

/* Between two tries while a LUN is becoming ready. */
#define READY_PAUSE_MS 50

/* How a command ended. */
struct outcome {
	uint8_t status;
	struct bench_sense sense;
};

static int command_outcome(struct bench_conn *conn, struct outcome *out)
{
	struct pdu_scsi_response response;
	struct pdu_data_in in;

	*out = (struct outcome){0};
	switch (pdu_opcode(conn->answer_bhs)) {
	case PDU_DATA_IN:
		pdu_data_in_decode(&in, conn->answer_bhs);
		conn->exp_stat_sn = in.sns.stat_sn + 1;
		bench_window_update(&conn->window, in.sns.exp_cmd_sn, in.sns.max_cmd_sn);
		out->status = in.status;
		return 0;
	case PDU_SCSI_RESPONSE:
		pdu_scsi_response_decode(&response, conn->answer_bhs);
		conn->exp_stat_sn = response.sns.stat_sn + 1;
		bench_window_update(&conn->window, response.sns.exp_cmd_sn,
				    response.sns.max_cmd_sn);
		if (response.response != PDU_COMMAND_COMPLETED) {
			return bench_conn_fail(conn, -EIO,
					       "the target failed to carry out a command");
		}
		out->status = response.status;
		if (response.data_len_bytes > 0)
			bench_sense_decode(&out->sense, conn->answer, conn->answer_bytes);
		return 0;
	default:
		return bench_conn_fail(conn, -EPROTO,
				       "protocol error: opcode %02xh answers a command",
				       pdu_opcode(conn->answer_bhs));
	}
}

/* One command that reads at most `expected_bytes` into conn->answer. */
static int command(struct bench_conn *conn, const uint8_t *cdb, uint32_t expected_bytes,
		   struct outcome *out)
{
	uint8_t bhs[PDU_BHS_BYTES];
	struct pdu_scsi_command pdu = {
		.lun = bench_lun_field(conn->options->url.lun),
		.itt = conn->window.cmd_sn & 0xffff,
		.expected_data_len_bytes = expected_bytes,
		.cmd_sn = conn->window.cmd_sn,
		.exp_stat_sn = conn->exp_stat_sn,
		.attr = PDU_ATTR_SIMPLE,
		.final = true,
		.read = expected_bytes > 0,
	};
	int err;

	if (bench_window_open(&conn->window) == 0) {
		return bench_conn_fail(conn, -EPROTO,
				       "the target leaves no room in its command window");
	}
	memcpy(pdu.cdb, cdb, sizeof(pdu.cdb));
	pdu_scsi_command_encode(&pdu, bhs);
	conn->window.cmd_sn++;
	err = bench_conn_exchange(conn, bhs, NULL, 0);
	return err ? err : command_outcome(conn, out);
}

static bool may_pass(const struct outcome *outcome)
{
	return outcome->status == STATUS_BUSY || outcome->status == STATUS_TASK_SET_FULL ||
	       (outcome->status == STATUS_CHECK_CONDITION &&
		(outcome->sense.key == SENSE_KEY_UNIT_ATTENTION ||
		 outcome->sense.key == SENSE_KEY_NOT_READY));
}

static int fail_outcome(struct bench_conn *conn, const char *what, const struct outcome *outcome)
{
	char text[96];

	bench_status_describe(outcome->status, &outcome->sense, text, sizeof(text));
	return bench_conn_fail(conn, -EIO, "LUN %u: %s: %s", conn->options->url.lun, what, text);
}

int bench_conn_wait_ready(struct bench_conn *conn)
{
	const struct timespec pause = {.tv_nsec = READY_PAUSE_MS * (long)CLOCK_NS_PER_MS};
	uint64_t deadline_ns = clock_now_ns() + conn->options->timeout_ms * CLOCK_NS_PER_MS;
	struct outcome outcome = {0};
	uint8_t cdb[PDU_CDB_BYTES];

	bench_cdb_test_unit_ready(cdb);
	for (;;) {
		int err = command(conn, cdb, 0, &outcome);

		if (err || outcome.status == STATUS_GOOD)
			return err;
		if (!may_pass(&outcome) || clock_now_ns() > deadline_ns)
			return fail_outcome(conn, "not ready", &outcome);
		/* A unit attention is gone once it was told; the other reasons need time. */
		if (outcome.sense.key != SENSE_KEY_UNIT_ATTENTION)
			(void)nanosleep(&pause, NULL);
	}
}

int bench_conn_read_capacity(struct bench_conn *conn, struct bench_capacity *out)
{
	struct outcome outcome = {0};
	uint8_t cdb[PDU_CDB_BYTES];
	uint64_t last_lba;
	int err;

	bench_cdb_read_capacity16(cdb);
	err = command(conn, cdb, READ_CAPACITY_BYTES, &outcome);
	if (err)
		return err;
	if (outcome.status != STATUS_GOOD)
		return fail_outcome(conn, "READ CAPACITY(16)", &outcome);
	if (conn->answer_bytes < 12) {
		return bench_conn_fail(conn, -EPROTO, "READ CAPACITY(16) returned %u bytes",
				       conn->answer_bytes);
	}
	last_lba = get_be64(conn->answer);
	out->block_bytes = get_be32(conn->answer + 8);
	if (out->block_bytes == 0 || out->block_bytes % 512 != 0 || last_lba == UINT64_MAX ||
	    __builtin_mul_overflow(last_lba + 1, (uint64_t)out->block_bytes, &out->bytes)) {
		return bench_conn_fail(conn, -EPROTO,
				       "the LUN claims blocks of %u bytes, the last one "
				       "%llu",
				       out->block_bytes, (unsigned long long)last_lba);
	}
	return 0;
}

void bench_conn_logout(struct bench_conn *conn)
{
	uint8_t bhs[PDU_BHS_BYTES];
	struct pdu_logout_request request = {
		.itt = 0x4c4f,
		.cmd_sn = conn->window.cmd_sn,
		.exp_stat_sn = conn->exp_stat_sn,
		.reason = PDU_LOGOUT_CLOSE_SESSION,
		.immediate = true,
	};

	pdu_logout_request_encode(&request, bhs);
	/* Whether it was heard or not, the connection is closed next. */
	if (bench_conn_exchange(conn, bhs, NULL, 0))
		conn->error[0] = '\0';
}
