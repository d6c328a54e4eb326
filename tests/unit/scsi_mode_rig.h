/*
 * Two nexuses of a logical unit and MODE SELECT to it; on scsi_fake.h, and included once as that.
 */
#ifndef TESTS_UNIT_SCSI_MODE_RIG_H
#define TESTS_UNIT_SCSI_MODE_RIG_H

#include <criterion/criterion.h>

#include "tests/unit/scsi_fake.h"

#include "target/scsi/device.h"

static struct rig rig;
static struct scsi_nexus *other;

enum {
	PF = 0x10,
	RTD = 0x02,
	SP = 0x01,
};

static inline void set_up(void)
{
	struct scsi_nexus_spec spec = {.initiator_port_name = "iqn.2026-11.io.ringsan:b,i,0x1",
				       .relative_target_port = 1,
				       .portal_group_tag = 1};

	loop_role_assume();
	rig_init(&rig);
	spec.target = rig.target;
	cr_assert(scsi_nexus_create(&spec, &other) == 0);
	scsi_nexus_attach(rig.nexus, &rig.loop);
	scsi_nexus_attach(other, &rig.loop);
	(void)scsi_nexus_take(other, scsi_target_find_lu(rig.target, 0));
}

static inline void tear_down(void)
{
	loop_role_assume();
	scsi_nexus_detach(rig.nexus);
	scsi_nexus_detach(other);
	scsi_nexus_free(other);
	rig_clear(&rig);
}

static inline void select_6(uint8_t byte1, const uint8_t *list, uint8_t length)
{
	uint8_t copy[256];

	memcpy(copy, list, length);
	rig_do(&rig, CDB(0x15, byte1, 0, 0, length), copy, length);
}

static inline void select_10(uint8_t byte1, const uint8_t *list, uint16_t length)
{
	uint8_t copy[256];

	memcpy(copy, list, length);
	rig_do(&rig, CDB(0x55, byte1, [7] = (uint8_t)(length >> 8), (uint8_t)length), copy, length);
}

/* A page as MODE SENSE tells it now. */
static inline void read_page(uint8_t page, uint8_t subpage, uint8_t *out, size_t length)
{
	rig_do(&rig, CDB(0x1A, 0x08, page, subpage, 255), NULL, 0);
	cr_assert(rig.cmd.status == SCSI_GOOD && rig.cmd.data_bytes == 4 + length);
	memcpy(out, rig.buffer + 4, length);
}

#define CONTROL_LIST(byte2, byte4) \
	((const uint8_t[]){0, 0, 0, 0, 0x0A, 10, (byte2), 0x10, (byte4), 0, 0, 0, 0xFF, 0xFF, 0, 0})
#define CONTROL_BYTES 16

static inline void set_control(uint8_t byte2, uint8_t byte4)
{
	select_6(PF, CONTROL_LIST(byte2, byte4), CONTROL_BYTES);
	cr_assert(rig.cmd.status == SCSI_GOOD);
}

#endif
