/*
 * Text requests as somebody sends them who does not mean well: a discovery session is open to
 * strangers, so this is nearly as much in the open as login is.
 */
#include "tests/unit/iscsi_peer.h"

static struct rig rig;
static struct peer peer;
static struct rig_pdu pdu;

static void begin(uint32_t max_send_bytes)
{
	struct iscsi_params params = rig_params;

	params.max_send_data_segment_length = max_send_bytes;
	rig_begin(&rig, "raw", LOOP_ENGINE_AUTO, 128);
	peer_begin(&peer, &rig, 0, &params);
	peer_clear_attention(&peer, 0);
}

static void send_text(const char *text, size_t len_bytes)
{
	uint8_t bhs[PDU_BHS_BYTES];
	struct pdu_text_request request = {.itt = 9,
					   .ttt = PDU_TAG_RESERVED,
					   .final = true,
					   .immediate = true,
					   .cmd_sn = 100,
					   .data_len_bytes = (uint32_t)len_bytes};

	pdu_text_request_encode(&request, bhs);
	peer_send(&peer, bhs, text, (uint32_t)len_bytes);
}

static void expect_reject(void)
{
	peer_expect(&peer, &pdu, PDU_REJECT);
	cr_assert_eq(pdu.bhs[2], PDU_REJECT_PROTOCOL_ERROR);
}

static void send_read(uint32_t bytes)
{
	struct rig_command command = {.read = true, .expected_bytes = bytes};

	rig_cdb10(command.cdb, 0x28, 0, (uint16_t)(bytes / 512));
	peer_command(&peer, &command);
}

/* With its NUL byte. */
#define TEXT(s) s, sizeof(s)

static size_t unknown_keys(unsigned count, char *out)
{
	size_t len = 0;

	for (unsigned i = 0; i < count; i++)
		len += (size_t)sprintf(out + len, "X-%060u=1", i) + 1;
	return len;
}

Test(text_exchange, unknown_keys_are_answered)
{
	char text[1024];

	begin(512);
	send_text(text, unknown_keys(6, text));
	peer_expect(&peer, &pdu, PDU_TEXT_RESPONSE);
	cr_expect_eq(pdu.data_len_bytes, 6 * (62 + 1 + 13 + 1));
	peer_end(&peer);
	rig_end(&rig);
}

/* An answer is whole or there is none: half of one would be taken for all of it. */
Test(text_exchange, an_answer_that_does_not_fit_is_none)
{
	char text[1024];

	begin(512);
	send_text(text, unknown_keys(7, text));
	expect_reject();
	send_text(text, unknown_keys(6, text));
	peer_expect(&peer, &pdu, PDU_TEXT_RESPONSE);
	peer_end(&peer);
	rig_end(&rig);
}

/* RFC 7143 7.11: a negotiation that fails leaves what was agreed before. */
Test(text_exchange, a_text_that_fails_changes_nothing)
{
	static const struct {
		const char *text;
		size_t len;
	} failures[] = {
		{TEXT("MaxRecvDataSegmentLength=512\0MaxRecvDataSegmentLength=1024")},
		{TEXT("MaxRecvDataSegmentLength=512\0HeaderDigest=None")},
		{TEXT("MaxRecvDataSegmentLength=512\0=")},
		{TEXT("MaxRecvDataSegmentLength=512\0SendTargets")},
		{"MaxRecvDataSegmentLength=512", 28},
	};

	begin(8192);
	for (unsigned i = 0; i < ARRAY_SIZE(failures); i++) {
		send_text(failures[i].text, failures[i].len);
		expect_reject();
	}
	send_read(4096);
	peer_expect(&peer, &pdu, PDU_DATA_IN);
	cr_assert_eq(pdu.data_len_bytes, 4096);
	peer_end(&peer);
	rig_end(&rig);
}

/* RFC 7143 4.3: it may not answer a NOP-In, so it is not asked; it is closed. */
Test(text_exchange, silence_in_a_discovery_session_ends_it)
{
	rig_begin(&rig, "raw", LOOP_ENGINE_AUTO, 128);
	rig.server.limits.nop_interval_ms = 300;
	rig.discovery = true;
	peer_begin(&peer, &rig, 0, &rig_params);
	cr_expect_not(peer_receive(&peer, &pdu), "opcode 0x%02x came", pdu.opcode);
	peer_end(&peer);
	rig_end(&rig);
}
