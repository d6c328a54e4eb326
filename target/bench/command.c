/*
 * CDBs and sense data of the benchmark's initiator: see command.h. Pure functions, any thread.
 */
#include "target/bench/command.h"

#include <stdio.h>
#include <string.h>

#include "base/attr.h"
#include "base/bytes.h"

enum {
	OP_TEST_UNIT_READY = 0x00,
	OP_READ_10 = 0x28,
	OP_WRITE_10 = 0x2a,
	OP_READ_16 = 0x88,
	OP_WRITE_16 = 0x8a,
	OP_SERVICE_ACTION_IN_16 = 0x9e,
	SERVICE_ACTION_READ_CAPACITY_16 = 0x10,
};

void bench_cdb_read_write(uint8_t cdb[static PDU_CDB_BYTES], bool write, uint64_t lba,
			  uint32_t blocks)
{
	memset(cdb, 0, PDU_CDB_BYTES);
	if (lba <= UINT32_MAX && blocks <= UINT16_MAX) {
		cdb[0] = write ? OP_WRITE_10 : OP_READ_10;
		put_be32(cdb + 2, (uint32_t)lba);
		put_be16(cdb + 7, (uint16_t)blocks);
		return;
	}
	cdb[0] = write ? OP_WRITE_16 : OP_READ_16;
	put_be64(cdb + 2, lba);
	put_be32(cdb + 10, blocks);
}

void bench_cdb_test_unit_ready(uint8_t cdb[static PDU_CDB_BYTES])
{
	memset(cdb, 0, PDU_CDB_BYTES);
	cdb[0] = OP_TEST_UNIT_READY;
}

void bench_cdb_read_capacity16(uint8_t cdb[static PDU_CDB_BYTES])
{
	memset(cdb, 0, PDU_CDB_BYTES);
	cdb[0] = OP_SERVICE_ACTION_IN_16;
	cdb[1] = SERVICE_ACTION_READ_CAPACITY_16;
	put_be32(cdb + 10, READ_CAPACITY_BYTES);
}

void bench_sense_decode(struct bench_sense *out, const uint8_t *segment, uint32_t segment_bytes)
{
	uint32_t sense_bytes = segment_bytes > 2 ? get_be16(segment) : 0;
	const uint8_t *sense = segment + 2;

	*out = (struct bench_sense){0};
	if (sense_bytes == 0)
		return;
	if (sense_bytes > segment_bytes - 2)
		sense_bytes = segment_bytes - 2;
	/* Response codes 70h, 71h: fixed format; 72h, 73h: descriptor format. */
	if ((sense[0] & 0x7e) == 0x72 && sense_bytes >= 4) {
		*out = (struct bench_sense){sense[1] & 0x0f, sense[2], sense[3]};
	} else if ((sense[0] & 0x7e) == 0x70 && sense_bytes >= 14) {
		*out = (struct bench_sense){sense[2] & 0x0f, sense[12], sense[13]};
	}
}

struct status_row {
	uint8_t status;
	const char *name;
};

static const struct status_row status_rows[] = {
	{STATUS_GOOD, "GOOD"},
	{STATUS_CHECK_CONDITION, "CHECK CONDITION"},
	{STATUS_BUSY, "BUSY"},
	{STATUS_RESERVATION_CONFLICT, "RESERVATION CONFLICT"},
	{STATUS_TASK_SET_FULL, "TASK SET FULL"},
	{STATUS_TASK_ABORTED, "TASK ABORTED"},
};

/* SPC-5 4.4.8, by number. */
static const char *const sense_keys[16] = {
	"NO SENSE",       "RECOVERED ERROR", "NOT READY",      "MEDIUM ERROR",
	"HARDWARE ERROR", "ILLEGAL REQUEST", "UNIT ATTENTION", "DATA PROTECT",
	"BLANK CHECK",    "VENDOR SPECIFIC", "COPY ABORTED",   "ABORTED COMMAND",
	"RESERVED",       "VOLUME OVERFLOW", "MISCOMPARE",     "COMPLETED",
};

void bench_status_describe(uint8_t status, const struct bench_sense *sense, char *out,
			   size_t size_bytes)
{
	const char *name = "unknown status";

	for (size_t i = 0; i < ARRAY_SIZE(status_rows); i++) {
		if (status_rows[i].status == status)
			name = status_rows[i].name;
	}
	if (status == STATUS_CHECK_CONDITION) {
		(void)snprintf(out, size_bytes, "%s, sense %X/%02X/%02X (%s)", name, sense->key,
			       sense->asc, sense->ascq, sense_keys[sense->key & 0x0f]);
	} else {
		(void)snprintf(out, size_bytes, "%s (%02Xh)", name, status);
	}
}
