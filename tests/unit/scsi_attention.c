/*
 * Unit attentions: one on a fresh nexus, their order, who consumes them and who does not.
 */
#include <criterion/criterion.h>

#include "target/scsi/op_table.h"
#include "tests/unit/scsi_fake.h"

static struct rig rig;

static uint32_t test_unit_ready(void)
{
	rig_do(&rig, CDB(0x00), NULL, 0);
	return rig_sense(&rig);
}

static void inquire(void)
{
	rig_do(&rig, CDB(0x12, 0, 0, 0, 96), NULL, 0);
	cr_assert(rig_sense(&rig) == 0 && rig.cmd.data_bytes == 96);
}

static void report_luns(void)
{
	rig_do(&rig, CDB(0xA0, [9] = 16), NULL, 0);
	cr_assert(rig_sense(&rig) == 0 && rig.cmd.data_bytes == 16);
}

static void raise_(enum scsi_ua ua)
{
	scsi_nexus_raise(rig.nexus, scsi_target_find_lu(rig.target, 0), ua);
}

Test(scsi_attention, fresh_nexus_has_exactly_one)
{
	rig_init_with(&rig, FAKE_BLOCKS, 512);
	rig_connect(&rig);
	inquire();
	report_luns();
	cr_expect(test_unit_ready() == POWER_ON);
	cr_expect(test_unit_ready() == 0);
	rig_clear(&rig);
}

Test(scsi_attention, each_logical_unit_and_nexus_has_its_own)
{
	struct scsi_lu_spec spec = {.lun = &rig.lun};
	struct scsi_nexus *first;

	rig_init_with(&rig, FAKE_BLOCKS, 512);
	cr_assert(scsi_target_add_lu(rig.target, 3, &spec) == 0);
	rig_connect(&rig);
	first = rig.nexus;
	rig_connect(&rig);
	cr_expect(test_unit_ready() == POWER_ON && test_unit_ready() == 0);
	rig.lun_number = 3;
	cr_expect(test_unit_ready() == POWER_ON && test_unit_ready() == 0);
	scsi_nexus_free(rig.nexus);
	rig.nexus = first;
	cr_expect(test_unit_ready() == POWER_ON && test_unit_ready() == 0);
	cr_expect(scsi_nexus_target(rig.nexus) == rig.target);
	rig_clear(&rig);
}

/* Raised in any order, told by priority, one each. */
Test(scsi_attention, order)
{
	static const uint32_t codes[SCSI_UA_COUNT] = {
		[SCSI_UA_POWER_ON] = POWER_ON,
		[SCSI_UA_BUS_DEVICE_RESET] = 0x062903,
		[SCSI_UA_RESERVATIONS_PREEMPTED] = 0x062A03,
		[SCSI_UA_REGISTRATIONS_PREEMPTED] = 0x062A05,
		[SCSI_UA_RESERVATIONS_RELEASED] = 0x062A04,
		[SCSI_UA_ASYMMETRIC_ACCESS_CHANGED] = 0x062A06,
		[SCSI_UA_MODE_PARAMETERS_CHANGED] = 0x062A01,
		[SCSI_UA_THRESHOLD_REACHED] = 0x063807,
		[SCSI_UA_POOL_THRESHOLD_REACHED] = 0x063807,
		[SCSI_UA_MEDIUM_CHANGED] = 0x062800,
		[SCSI_UA_CAPACITY_CHANGED] = 0x062A09,
		[SCSI_UA_LUNS_CHANGED] = 0x063F0E,
		[SCSI_UA_COMMANDS_CLEARED] = 0x062F00,
	};

	rig_init(&rig);
	for (unsigned a = 1; a < SCSI_UA_COUNT; a++)
		for (unsigned b = 1; b < SCSI_UA_COUNT; b++) {
			raise_((enum scsi_ua)b);
			raise_((enum scsi_ua)a);
			raise_((enum scsi_ua)b);
			cr_assert(test_unit_ready() == codes[a < b ? a : b]);
			cr_assert(a == b || test_unit_ready() == codes[a < b ? b : a]);
			cr_assert(test_unit_ready() == 0);
		}
	rig_clear(&rig);
}

/* Whoever hears of power on asks for everything anew. */
Test(scsi_attention, power_on_tells_all)
{
	rig_init(&rig);
	for (unsigned ua = 0; ua < SCSI_UA_COUNT; ua++)
		raise_((enum scsi_ua)ua);
	cr_expect(test_unit_ready() == POWER_ON);
	cr_expect(test_unit_ready() == 0);
	rig_clear(&rig);
}

/* Every row but three, and every opcode that is unknown, tells it before anything else. */
Test(scsi_attention, who_consumes)
{
	rig_init(&rig);
	for (unsigned opcode = 0; opcode < 256; opcode++) {
		bool passes = opcode == 0x12 || opcode == 0xA0 || opcode == 0x03;
		uint8_t cdb[SCSI_CDB_MAX] = {(uint8_t)opcode, 0, 0, 0, 0xFF};

		raise_(SCSI_UA_CAPACITY_CHANGED);
		if (passes)
			continue;
		cr_assert(!rig_prepare(&rig, cdb, sizeof(cdb)));
		cr_assert(rig_sense(&rig) == 0x062A09, "%02X", opcode);
	}
	rig_clear(&rig);
}

Test(scsi_attention, before_not_ready)
{
	rig_init(&rig);
	rig.lun.state.online = false;
	raise_(SCSI_UA_BUS_DEVICE_RESET);
	cr_expect(test_unit_ready() == 0x062903);
	cr_expect(test_unit_ready() == NOT_READY);
	rig_clear(&rig);
}

Test(scsi_attention, report_luns_clears_its_own)
{
	struct scsi_lu_spec spec = {.lun = &rig.lun};

	rig_init_with(&rig, FAKE_BLOCKS, 512);
	cr_assert(scsi_target_add_lu(rig.target, 1, &spec) == 0);
	rig_connect(&rig);
	cr_expect(test_unit_ready() == POWER_ON);
	for (uint16_t i = 0; i < 2; i++)
		scsi_nexus_raise(rig.nexus, scsi_target_find_lu(rig.target, i),
				 SCSI_UA_LUNS_CHANGED);
	raise_(SCSI_UA_CAPACITY_CHANGED);
	report_luns();
	cr_expect(test_unit_ready() == 0x062A09);
	cr_expect(test_unit_ready() == 0);
	rig.lun_number = 1;
	cr_expect(test_unit_ready() == POWER_ON);
	cr_expect(test_unit_ready() == 0);
	rig_clear(&rig);
}

/* A SELECT REPORT that is refused has told nothing. */
Test(scsi_attention, refused_report_luns_clears_nothing)
{
	rig_init(&rig);
	raise_(SCSI_UA_LUNS_CHANGED);
	rig_do(&rig, CDB(0xA0, 0, 9, [9] = 16), NULL, 0);
	cr_expect(rig_sense(&rig) == INVALID_FIELD);
	cr_expect(test_unit_ready() == 0x063F0E);
	rig_clear(&rig);
}

Test(scsi_attention, request_sense_tells_and_clears_one)
{
	rig_init(&rig);
	raise_(SCSI_UA_CAPACITY_CHANGED);
	raise_(SCSI_UA_BUS_DEVICE_RESET);
	rig_do(&rig, CDB(0x03, 0, 0, 0, 18), NULL, 0);
	cr_expect(rig_sense(&rig) == 0 && rig.buffer[2] == 0x06);
	cr_expect(get_be16(rig.buffer + 12) == 0x2903);
	cr_expect(test_unit_ready() == 0x062A09);
	cr_expect(test_unit_ready() == 0);
	rig_clear(&rig);
}

/* An answer too short for the code leaves it pending. */
Test(scsi_attention, request_sense_cut_short)
{
	rig_init(&rig);
	raise_(SCSI_UA_CAPACITY_CHANGED);
	for (uint8_t n = 0; n < 14; n++) {
		rig_do(&rig, CDB(0x03, 0, 0, 0, n), NULL, 0);
		cr_assert(rig_sense(&rig) == 0);
	}
	cr_expect(test_unit_ready() == 0x062A09);
	rig_clear(&rig);
}
