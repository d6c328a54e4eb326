/*
 * PDU headers against vectors written by hand from the figures of RFC 7143 chapter 11, and the
 * opcode table against its golden matrix.
 *
 * In the vectors each field has a value of its own, so that a field at a wrong place shows.
 */
#include "target/iscsi/opcode_table.h"
#include "target/iscsi/pdu.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct header {
	uint8_t bytes[PDU_BHS_BYTES];
};

/* Twelve words as they stand in the figures. */
static struct header header_of(const uint32_t words[12])
{
	struct header header;

	for (unsigned i = 0; i < 12; i++) {
		for (unsigned b = 0; b < 4; b++)
			header.bytes[4 * i + b] = (uint8_t)(words[i] >> (24 - 8 * b));
	}
	return header;
}

#define SNS_VALUES                                                                        \
	{                                                                                 \
		.stat_sn = 0x24242424, .exp_cmd_sn = 0x28282828, .max_cmd_sn = 0x32323232 \
	}
#define LUN_VALUE UINT64_C(0x0001020304050607)

static void assert_same(const char *name, const uint8_t *got, const uint8_t *want)
{
	for (unsigned i = 0; i < PDU_BHS_BYTES; i++)
		cr_assert_eq(got[i], want[i], "%s: byte %u is %02x, not %02x", name, i, got[i],
			     want[i]);
}

/* encode(struct) is the vector, and encode(decode(vector)) too; the header was dirty before. */
#define CHECK_PDU(pdu, words, ...)                                         \
	do {                                                               \
		const struct pdu_##pdu in = {__VA_ARGS__};                 \
		struct pdu_##pdu decoded;                                  \
		struct header want = header_of((const uint32_t[12])words); \
		struct header got;                                         \
                                                                           \
		memset(&got, 0xa5, sizeof(got));                           \
		pdu_##pdu##_encode(&in, got.bytes);                        \
		assert_same(#pdu " encoded", got.bytes, want.bytes);       \
		memset(&decoded, 0xa5, sizeof(decoded));                   \
		pdu_##pdu##_decode(&decoded, want.bytes);                  \
		memset(&got, 0xa5, sizeof(got));                           \
		pdu_##pdu##_encode(&decoded, got.bytes);                   \
		assert_same(#pdu " round trip", got.bytes, want.bytes);    \
	} while (0)
#define W(...)              \
	{                   \
		__VA_ARGS__ \
	}

/* clang-format off */
Test(iscsi_pdu, requests)
{
	CHECK_PDU(nop_out, W(0x40800000, 0x00000011, 0x00010203, 0x04050607, 0x16161616, 0x20202020,
			     0x24242424, 0x28282828, 0, 0, 0, 0),
		  .lun = LUN_VALUE, .itt = 0x16161616, .ttt = 0x20202020, .cmd_sn = 0x24242424,
		  .exp_stat_sn = 0x28282828, .data_len_bytes = 0x11, .immediate = true);
	CHECK_PDU(scsi_command, W(0x41e20000, 0x02010203, 0x00010203, 0x04050607, 0x16161616,
				  0x20202020, 0x24242424, 0x28282828, 0x2a000102, 0x03040506,
				  0x0708090a, 0x0b0c0d0e),
		  .lun = LUN_VALUE, .itt = 0x16161616, .expected_data_len_bytes = 0x20202020,
		  .cmd_sn = 0x24242424, .exp_stat_sn = 0x28282828, .data_len_bytes = 0x010203,
		  .ahs_len_bytes = 8, .attr = PDU_ATTR_ORDERED, .immediate = true, .final = true,
		  .read = true, .write = true,
		  .cdb = {0x2a, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14});
	CHECK_PDU(scsi_command, W(0x01230000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
		  .attr = PDU_ATTR_HEAD_OF_QUEUE, .write = true);
	CHECK_PDU(tmf_request, W(0x42850000, 0, 0x00010203, 0x04050607, 0x16161616, 0x20202020,
				 0x24242424, 0x28282828, 0x32323232, 0x36363636, 0, 0),
		  .lun = LUN_VALUE, .itt = 0x16161616, .referenced_task_tag = 0x20202020,
		  .cmd_sn = 0x24242424, .exp_stat_sn = 0x28282828, .ref_cmd_sn = 0x32323232,
		  .exp_data_sn = 0x36363636, .function = PDU_TMF_LOGICAL_UNIT_RESET,
		  .immediate = true);
	CHECK_PDU(login_request, W(0x43870201, 0x00000abc, 0x80123456, 0x789a1415, 0x16161616,
				   0x20210000, 0x24242424, 0x28282828, 0, 0, 0, 0),
		  .itt = 0x16161616, .cmd_sn = 0x24242424, .exp_stat_sn = 0x28282828,
		  .data_len_bytes = 0xabc, .tsih = 0x1415, .cid = 0x2021,
		  .isid = {0x80, 0x12, 0x34, 0x56, 0x78, 0x9a}, .version_max = 2,
		  .version_min = 1, .csg = PDU_STAGE_OPERATIONAL, .nsg = PDU_STAGE_FULL_FEATURE,
		  .transit = true);
	CHECK_PDU(login_request, W(0x43400000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), .cont = true);
	CHECK_PDU(text_request, W(0x44c00000, 0x00000011, 0x00010203, 0x04050607, 0x16161616,
				  0x20202020, 0x24242424, 0x28282828, 0, 0, 0, 0),
		  .lun = LUN_VALUE, .itt = 0x16161616, .ttt = 0x20202020, .cmd_sn = 0x24242424,
		  .exp_stat_sn = 0x28282828, .data_len_bytes = 0x11, .immediate = true,
		  .final = true, .cont = true);
	CHECK_PDU(data_out, W(0x05800000, 0x00ffffff, 0x00010203, 0x04050607, 0x16161616,
			      0xffffffff, 0, 0x28282828, 0, 0x36363636, 0x40404040, 0),
		  .lun = LUN_VALUE, .itt = 0x16161616, .ttt = PDU_TAG_RESERVED,
		  .exp_stat_sn = 0x28282828, .data_sn = 0x36363636, .buffer_offset = 0x40404040,
		  .data_len_bytes = PDU_DATA_BYTES_MAX, .final = true);
	CHECK_PDU(logout_request, W(0x46820000, 0, 0, 0, 0x16161616, 0x20210000, 0x24242424,
				    0x28282828, 0, 0, 0, 0),
		  .itt = 0x16161616, .cmd_sn = 0x24242424, .exp_stat_sn = 0x28282828,
		  .cid = 0x2021, .reason = PDU_LOGOUT_REMOVE_CONNECTION, .immediate = true);
	CHECK_PDU(snack_request, W(0x10830000, 0, 0x00010203, 0x04050607, 0x16161616, 0x20202020,
				   0, 0x28282828, 0, 0, 0x40404040, 0x44444444),
		  .lun = LUN_VALUE, .itt = 0x16161616, .ttt = 0x20202020,
		  .exp_stat_sn = 0x28282828, .beg_run = 0x40404040, .run_length = 0x44444444,
		  .type = PDU_SNACK_R_DATA);
}

Test(iscsi_pdu, responses)
{
	CHECK_PDU(nop_in, W(0x20800000, 0x00000011, 0x00010203, 0x04050607, 0x16161616, 0x20202020,
			    0x24242424, 0x28282828, 0x32323232, 0, 0, 0),
		  .lun = LUN_VALUE, .itt = 0x16161616, .ttt = 0x20202020, .sns = SNS_VALUES,
		  .data_len_bytes = 0x11);
	CHECK_PDU(scsi_response, W(0x21940102, 0x00000012, 0, 0, 0x16161616, 0x20202020,
				   0x24242424, 0x28282828, 0x32323232, 0x36363636, 0x40404040,
				   0x44444444),
		  .itt = 0x16161616, .snack_tag = 0x20202020, .sns = SNS_VALUES,
		  .exp_data_sn = 0x36363636, .bidi_residual_count = 0x40404040,
		  .residual_count = 0x44444444, .data_len_bytes = 0x12,
		  .response = PDU_TARGET_FAILURE, .status = 2, .bidi_overflow = true,
		  .overflow = true);
	CHECK_PDU(scsi_response, W(0x218a0000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
		  .bidi_underflow = true, .underflow = true);
	CHECK_PDU(tmf_response, W(0x2280ff00, 0, 0, 0, 0x16161616, 0, 0x24242424, 0x28282828,
				  0x32323232, 0, 0, 0),
		  .itt = 0x16161616, .sns = SNS_VALUES, .response = PDU_TMF_FUNCTION_REJECTED);
	CHECK_PDU(login_response, W(0x23870003, 0x00000abc, 0x80123456, 0x789a1415, 0x16161616, 0,
				    0x24242424, 0x28282828, 0x32323232, 0x02010000, 0, 0),
		  .itt = 0x16161616, .sns = SNS_VALUES, .data_len_bytes = 0xabc, .tsih = 0x1415,
		  .status = PDU_LOGIN_AUTHENTICATION_FAILURE,
		  .isid = {0x80, 0x12, 0x34, 0x56, 0x78, 0x9a}, .version_active = 3,
		  .csg = PDU_STAGE_OPERATIONAL, .nsg = PDU_STAGE_FULL_FEATURE, .transit = true);
	CHECK_PDU(text_response, W(0x24400000, 0x00000011, 0x00010203, 0x04050607, 0x16161616,
				   0x20202020, 0x24242424, 0x28282828, 0x32323232, 0, 0, 0),
		  .lun = LUN_VALUE, .itt = 0x16161616, .ttt = 0x20202020, .sns = SNS_VALUES,
		  .data_len_bytes = 0x11, .cont = true);
	CHECK_PDU(data_in, W(0x25c30008, 0x00000011, 0x00010203, 0x04050607, 0x16161616,
			     0x20202020, 0x24242424, 0x28282828, 0x32323232, 0x36363636,
			     0x40404040, 0x44444444),
		  .lun = LUN_VALUE, .itt = 0x16161616, .ttt = 0x20202020, .sns = SNS_VALUES,
		  .data_sn = 0x36363636, .buffer_offset = 0x40404040,
		  .residual_count = 0x44444444, .data_len_bytes = 0x11, .status = 8,
		  .final = true, .acknowledge = true, .underflow = true, .has_status = true);
	CHECK_PDU(r2t, W(0x31800000, 0, 0x00010203, 0x04050607, 0x16161616, 0x20202020, 0x24242424,
			 0x28282828, 0x32323232, 0x36363636, 0x40404040, 0x44444444),
		  .lun = LUN_VALUE, .itt = 0x16161616, .ttt = 0x20202020, .sns = SNS_VALUES,
		  .r2t_sn = 0x36363636, .buffer_offset = 0x40404040,
		  .desired_data_len_bytes = 0x44444444);
	CHECK_PDU(async_message, W(0x32800000, 0x00000011, 0x00010203, 0x04050607, 0xffffffff, 0,
				   0x24242424, 0x28282828, 0x32323232, 0x01ab3839, 0x40414243, 0),
		  .lun = LUN_VALUE, .sns = SNS_VALUES, .data_len_bytes = 0x11,
		  .parameter1 = 0x3839, .parameter2 = 0x4041, .parameter3 = 0x4243,
		  .async_event = PDU_ASYNC_LOGOUT_REQUEST, .async_vcode = 0xab);
	CHECK_PDU(logout_response, W(0x26800200, 0, 0, 0, 0x16161616, 0, 0x24242424, 0x28282828,
				     0x32323232, 0, 0x40414243, 0),
		  .itt = 0x16161616, .sns = SNS_VALUES, .time2wait_s = 0x4041,
		  .time2retain_s = 0x4243, .response = PDU_LOGOUT_RECOVERY_NOT_SUPPORTED);
	CHECK_PDU(reject, W(0x3f800400, 0x00000030, 0, 0, 0xffffffff, 0, 0x24242424, 0x28282828,
			    0x32323232, 0x36363636, 0, 0),
		  .sns = SNS_VALUES, .data_sn = 0x36363636, .data_len_bytes = 48,
		  .reason = PDU_REJECT_PROTOCOL_ERROR);
}
/* clang-format on */

Test(iscsi_pdu, data_in_without_status_has_no_status_fields)
{
	const struct pdu_data_in in = {
		.sns = SNS_VALUES, .status = 2, .residual_count = 5, .overflow = true};
	struct pdu_data_in out;
	struct header header;

	pdu_data_in_encode(&in, header.bytes);
	pdu_data_in_decode(&out, header.bytes);
	cr_assert_eq(out.status, 0);
	cr_assert_eq(out.residual_count, 0);
	cr_assert_eq(out.sns.stat_sn, 0);
	cr_assert_eq(out.sns.max_cmd_sn, 0x32323232);
}

/* Reserved bits are ignored when they come and zero when they go: RFC 7143 11.2. */
#define CHECK_STABLE(pdu)                                   \
	do {                                                \
		struct pdu_##pdu decoded;                   \
		struct header once;                         \
		struct header twice;                        \
                                                            \
		pdu_##pdu##_decode(&decoded, noise.bytes);  \
		pdu_##pdu##_encode(&decoded, once.bytes);   \
		pdu_##pdu##_decode(&decoded, once.bytes);   \
		pdu_##pdu##_encode(&decoded, twice.bytes);  \
		assert_same(#pdu, twice.bytes, once.bytes); \
	} while (0)

Test(iscsi_pdu, any_bytes_decode)
{
	for (unsigned seed = 1; seed <= 1000; seed++) {
		struct header noise;

		srand(seed);
		for (unsigned i = 0; i < PDU_BHS_BYTES; i++)
			noise.bytes[i] = (uint8_t)rand();
		CHECK_STABLE(nop_out);
		CHECK_STABLE(nop_in);
		CHECK_STABLE(scsi_command);
		CHECK_STABLE(scsi_response);
		CHECK_STABLE(tmf_request);
		CHECK_STABLE(tmf_response);
		CHECK_STABLE(data_out);
		CHECK_STABLE(data_in);
		CHECK_STABLE(r2t);
		CHECK_STABLE(async_message);
		CHECK_STABLE(text_request);
		CHECK_STABLE(text_response);
		CHECK_STABLE(login_request);
		CHECK_STABLE(login_response);
		CHECK_STABLE(logout_request);
		CHECK_STABLE(logout_response);
		CHECK_STABLE(snack_request);
		CHECK_STABLE(reject);
	}
}

Test(iscsi_pdu, common_fields)
{
	const uint32_t words[12] = {0x45800000, 0xff123456, 0, 0, 0xcafebabe};
	struct header header = header_of(words);
	struct pdu_common common;

	pdu_common_decode(&common, header.bytes);
	cr_assert_eq(common.opcode, PDU_DATA_OUT);
	cr_assert(common.immediate);
	cr_assert(common.final);
	cr_assert_eq(common.ahs_len_bytes, PDU_AHS_BYTES_MAX);
	cr_assert_eq(common.data_len_bytes, 0x123456);
	cr_assert_eq(common.itt, 0xcafebabe);
	cr_assert_eq(pdu_padded(0), 0);
	cr_assert_eq(pdu_padded(1), 4);
	cr_assert_eq(pdu_padded(4), 4);
	cr_assert_eq(pdu_padded(PDU_DATA_BYTES_MAX), 0x1000000);
}

/*
 * The golden matrix, also in README.md: login, discovery, full feature; n = plain, i = with the
 * immediate bit, d = with data, a = with AHS. '.' is accepted, else the Reject reason's last digit.
 */
struct golden_row {
	uint8_t opcode;
	const char *matrix;
};

static const struct golden_row golden[] = {
	{PDU_NOP_OUT, "4444 4444 ...9"},         {PDU_SCSI_COMMAND, "4444 4444 ...."},
	{PDU_TMF_REQUEST, "4444 4444 ..99"},     {PDU_LOGIN_REQUEST, "...9 4444 4444"},
	{PDU_TEXT_REQUEST, "4444 ...9 ...9"},    {PDU_DATA_OUT, "4444 4444 .9.9"},
	{PDU_LOGOUT_REQUEST, "4444 ..99 ..99"},  {PDU_SNACK_REQUEST, "4444 4444 .999"},
	{PDU_NOP_IN, "4444 4444 4444"},          {PDU_SCSI_RESPONSE, "4444 4444 4444"},
	{PDU_TMF_RESPONSE, "4444 4444 4444"},    {PDU_LOGIN_RESPONSE, "4444 4444 4444"},
	{PDU_TEXT_RESPONSE, "4444 4444 4444"},   {PDU_DATA_IN, "4444 4444 4444"},
	{PDU_LOGOUT_RESPONSE, "4444 4444 4444"}, {PDU_R2T, "4444 4444 4444"},
	{PDU_ASYNC_MESSAGE, "4444 4444 4444"},   {PDU_REJECT, "4444 4444 4444"},
};

static const char *golden_matrix(unsigned opcode)
{
	for (unsigned i = 0; i < sizeof(golden) / sizeof(golden[0]); i++) {
		if (golden[i].opcode == opcode)
			return golden[i].matrix;
	}
	return "5555 5555 5555";
}

static char verdict(const struct pdu_common *head, enum opcode_phase phase)
{
	const struct opcode_refusal *refusal = opcode_check(head, phase);

	if (!refusal)
		return '.';
	cr_assert(strlen(refusal->why) > 0);
	return (char)('0' + (int)refusal->reason);
}

Test(iscsi_pdu, opcode_matrix)
{
	static const enum opcode_phase phases[] = {OPCODE_IN_LOGIN, OPCODE_IN_DISCOVERY,
						   OPCODE_IN_FULL_FEATURE};

	for (unsigned opcode = 0; opcode < PDU_OPCODE_COUNT; opcode++) {
		char matrix[16] = "";
		size_t at = 0;

		for (unsigned p = 0; p < 3; p++) {
			struct pdu_common plain = {.opcode = (uint8_t)opcode};
			struct pdu_common immediate = {.opcode = (uint8_t)opcode,
						       .immediate = true};
			struct pdu_common data = {.opcode = (uint8_t)opcode, .data_len_bytes = 1};
			struct pdu_common ahs = {.opcode = (uint8_t)opcode, .ahs_len_bytes = 4};

			if (p > 0)
				matrix[at++] = ' ';
			matrix[at++] = verdict(&plain, phases[p]);
			matrix[at++] = verdict(&immediate, phases[p]);
			matrix[at++] = verdict(&data, phases[p]);
			matrix[at++] = verdict(&ahs, phases[p]);
		}
		cr_assert_str_eq(matrix, golden_matrix(opcode), "opcode %02x", opcode);
	}
}

/* CmdSN takes part in the window only where RFC 7143 4.2.2.1 says so. */
Test(iscsi_pdu, cmd_sn_and_ahs_limit)
{
	struct pdu_common longest = {.opcode = PDU_SCSI_COMMAND,
				     .ahs_len_bytes = OPCODE_AHS_BYTES_MAX};
	struct pdu_common longer = {.opcode = PDU_SCSI_COMMAND,
				    .ahs_len_bytes = OPCODE_AHS_BYTES_MAX + 4};

	cr_assert(opcode_table[PDU_SCSI_COMMAND].carries_cmd_sn);
	cr_assert(!opcode_table[PDU_DATA_OUT].carries_cmd_sn);
	cr_assert(!opcode_table[PDU_SNACK_REQUEST].carries_cmd_sn);
	cr_assert_null(opcode_check(&longest, OPCODE_IN_FULL_FEATURE));
	cr_assert_eq(opcode_check(&longer, OPCODE_IN_FULL_FEATURE)->reason,
		     PDU_REJECT_INVALID_PDU_FIELD);
}
