/*
 * The few SCSI words that the benchmark's initiator speaks: CDBs to send, sense data to read. It is
 * the initiator's half; the target's is target/scsi. Pure functions, any thread.
 */
#ifndef TARGET_BENCH_COMMAND_H
#define TARGET_BENCH_COMMAND_H

#include "target/iscsi/pdu.h"

#include <stddef.h>
#include <stdint.h>

/* SAM-5 5.3.1. */
enum bench_status {
	STATUS_GOOD = 0x00,
	STATUS_CHECK_CONDITION = 0x02,
	STATUS_BUSY = 0x08,
	STATUS_RESERVATION_CONFLICT = 0x18,
	STATUS_TASK_SET_FULL = 0x28,
	STATUS_TASK_ABORTED = 0x40,
};

#define SENSE_KEY_NOT_READY 0x2u
#define SENSE_KEY_UNIT_ATTENTION 0x6u

/* READ or WRITE, the 10-byte form where it reaches, else the 16-byte one (SBC-4 5.13, 5.16). */
void bench_cdb_read_write(uint8_t cdb[static PDU_CDB_BYTES], bool write, uint64_t lba,
			  uint32_t blocks);
void bench_cdb_test_unit_ready(uint8_t cdb[static PDU_CDB_BYTES]);
/* The answer has READ_CAPACITY_BYTES. */
#define READ_CAPACITY_BYTES 32u
void bench_cdb_read_capacity16(uint8_t cdb[static PDU_CDB_BYTES]);

struct bench_sense {
	uint8_t key;
	uint8_t asc;
	uint8_t ascq;
};

/* From the data segment of a SCSI Response: two bytes of length, then sense data in fixed or
 * descriptor format (SPC-5 4.4). All zero where there is none or it is cut short. */
void bench_sense_decode(struct bench_sense *out, const uint8_t *segment, uint32_t segment_bytes);
/* "CHECK CONDITION, sense 3/11/00 (MEDIUM ERROR)" for people. */
void bench_status_describe(uint8_t status, const struct bench_sense *sense, char *out,
			   size_t size_bytes);

#endif
