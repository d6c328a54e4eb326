/*
 * CDBs made from rows of the table of commands, for tests that go through all of it.
 */
#ifndef TESTS_UNIT_SCSI_OP_CDB_H
#define TESTS_UNIT_SCSI_OP_CDB_H

#include <string.h>

#include "target/scsi/op_table.h"

/* A CDB of this row that is in range: one block, some bytes, no bit that is not needed. */
static inline void build_cdb(const struct scsi_op *op, uint8_t *cdb)
{
	memset(cdb, 0, SCSI_CDB_MAX);
	cdb[0] = op->opcode;
	if ((op->flags & OP_SERVICE_ACTION) != 0)
		cdb[1] = op->service_action;
	if (op->length.bytes > 0)
		cdb[op->length.at + op->length.bytes - 1] = 1;
	if (op->opcode == 0x1A || op->opcode == 0x5A)
		cdb[2] = 0x3F;
}

#endif
