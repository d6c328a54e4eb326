/*
 * What tests of task management and of task attributes share: a session that agreed to RFC 7144,
 * and another one. Not a test.
 */
#ifndef TESTS_UNIT_ISCSI_MANAGE_H
#define TESTS_UNIT_ISCSI_MANAGE_H

#include "tests/unit/iscsi_peer.h"

static struct rig rig;
static struct peer peer, other;
static struct rig_pdu pdu;
static uint8_t data[65536];
static uint8_t got[65536];

static inline void begin(const char *type)
{
	struct iscsi_params params = rig_params;

	params.protocol_level = 2;
	rig_begin(&rig, type, LOOP_ENGINE_AUTO, 256);
	peer_begin(&peer, &rig, 0, &params);
	peer_clear_attention(&peer, 0);
	peer_clear_attention(&peer, RIG_LUN_1);
	memset(data, 0xAB, sizeof(data));
}

static inline void end(void)
{
	peer_end(&peer);
	rig_faults(&rig, "");
	rig_end(&rig);
}

static inline void begin_two(const char *type)
{
	begin(type);
	peer_begin(&other, &rig, 1, &rig_params);
	peer_clear_attention(&other, 0);
	peer_clear_attention(&other, RIG_LUN_1);
}

static inline void end_two(void)
{
	peer_end(&other);
	end();
}

static inline uint8_t manage(struct rig_tmf tmf)
{
	return peer_manage(&peer, &pdu, tmf);
}

static inline bool has_answer(struct peer *of, int ms)
{
	struct pollfd ready = {.fd = of->fd, .events = POLLIN};

	return poll(&ready, 1, ms) == 1;
}

static inline uint8_t manage_answer(void)
{
	struct pdu_tmf_response response;

	peer_expect(&peer, &pdu, PDU_TMF_RESPONSE);
	pdu_tmf_response_decode(&response, pdu.bhs);
	return response.response;
}

/* A write that has been asked for its data. */
static inline struct rig_burst write_that_owes(struct peer *of, uint64_t lun)
{
	struct rig_command write = {.lun = lun, .write = true, .expected_bytes = sizeof(data)};
	struct pdu_r2t r2t;

	rig_cdb10(write.cdb, 0x2A, 0, sizeof(data) / 512);
	peer_command(of, &write);
	peer_expect(of, &pdu, PDU_R2T);
	pdu_r2t_decode(&r2t, pdu.bhs);
	return (struct rig_burst){r2t.itt, r2t.ttt, 0, sizeof(data), 8192};
}

static inline void nothing_was_written(uint64_t lun)
{
	uint32_t itt = peer_start_read(&peer, lun, sizeof(got));

	cr_assert_eq(peer_finish_read(&peer, itt, got).status, SCSI_GOOD);
	for (size_t i = 0; i < sizeof(got); i++)
		cr_assert_eq(got[i], 0);
}

static inline void hear_of_reset(struct peer *of)
{
	cr_assert_eq(peer_finish_read(of, peer_start_read(of, 0, 512), got).asc, 0x2903);
}

static inline uint8_t response_status(struct peer *of)
{
	struct pdu_scsi_response response;

	peer_expect(of, &pdu, PDU_SCSI_RESPONSE);
	pdu_scsi_response_decode(&response, pdu.bhs);
	return response.status;
}

static inline uint32_t start(uint8_t attr, uint8_t opcode, uint64_t lun)
{
	struct rig_command command = {.lun = lun, .attr = attr};

	rig_cdb10(command.cdb, opcode, 0, opcode == 0x28 ? 1 : 0);
	command.read = opcode == 0x28;
	command.expected_bytes = command.read ? 512 : 0;
	return peer_command(&peer, &command);
}

#endif
