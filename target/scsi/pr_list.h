/*
 * The bytes of persistent reservations: the parameter lists of PERSISTENT RESERVE OUT (SPC-4
 * 6.16.3, 6.16.4), TransportIDs (7.6.4.6), and the answers of PERSISTENT RESERVE IN (6.15). Pure.
 */
#ifndef TARGET_SCSI_PR_LIST_H
#define TARGET_SCSI_PR_LIST_H

#include "base/bytes.h"
#include "target/scsi/pr_state.h"

/* The longest parameter list there can be: SPEC_I_PT with a TransportID for each registration. */
#define PR_LIST_BYTES_MAX 65536u

/* SPC-4 6.15.1 */
enum pr_question {
	PR_READ_KEYS = 0,
	PR_READ_RESERVATION = 1,
	PR_REPORT_CAPABILITIES = 2,
	PR_READ_FULL_STATUS = 3,
	PR_QUESTION_COUNT
};

/*
 * Read a CDB and its parameter list, whose `count` bytes must outlive the request. It fills in all
 * of *out but what the caller sets. *field is the byte in error of PR_BAD_PARAMETER.
 */
enum pr_result MUST_CHECK pr_list_parse(const uint8_t *cdb, const uint8_t *list, size_t count,
					struct pr_request *out, uint16_t *field);

/* The next of TransportIDs that pr_list_parse accepted, as an initiator port of a target port.
 * False: there is none. */
bool pr_id_next(struct byte_reader *ids, uint16_t target_port, struct pr_nexus *out);

/* Write the answer. */
void pr_answer(enum pr_question question, const struct pr_state *state, struct byte_writer *writer);

#endif
