/*
 * Sense data byte by byte in both formats, the meaning of LUN results, and that every row of the
 * table can be met by an initiator.
 */
#include <criterion/criterion.h>

#include "tests/unit/scsi_fake.h"

static struct rig rig;
static uint8_t data[LOOP_BUFFER_BYTES];

static void expect_sense(const struct scsi_sense_data *what, enum scsi_sense_format format,
			 const uint8_t *golden, size_t length)
{
	uint8_t sense[SENSE_DESCRIPTOR_MAX + 4];

	memset(sense, FAKE_CANARY, sizeof(sense));
	cr_expect(sense_write(sense, format, what) == length);
	cr_expect(memcmp(sense, golden, length) == 0);
	for (size_t i = SENSE_DESCRIPTOR_MAX; i < sizeof(sense); i++)
		cr_expect(sense[i] == FAKE_CANARY);
}

Test(scsi_sense, fixed)
{
	static const uint8_t plain[18] = {0x70, 0, 0x05, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x21, 0};
	static const uint8_t info[18] = {0xF0, 0, 0x0E, 0x12, 0x34, 0x56, 0x78,
					 10,   0, 0,    0,    0,    0x1D};
	static const uint8_t too_large[18] = {0x70, 0, 0x0E, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x1D};
	static const uint8_t field[18] = {0x70, 0, 5, 0,    0, 0, 0,    10,   0,
					  0,    0, 0, 0x24, 0, 0, 0xCF, 0x01, 0x02};
	static const uint8_t list[18] = {0x70, 0, 5, 0,    0, 0, 0,    10,   0,
					 0,    0, 0, 0x26, 0, 0, 0x80, 0x01, 0x02};

	expect_sense(&(struct scsi_sense_data){.reason = SENSE_LBA_OUT_OF_RANGE},
		     SENSE_FORMAT_FIXED, plain, 18);
	expect_sense(&(struct scsi_sense_data){.reason = SENSE_MISCOMPARE_DURING_VERIFY,
					       .has_information = true,
					       .information = 0x12345678},
		     SENSE_FORMAT_FIXED, info, 18);
	expect_sense(&(struct scsi_sense_data){.reason = SENSE_MISCOMPARE_DURING_VERIFY,
					       .has_information = true,
					       .information = UINT64_C(0x100000000)},
		     SENSE_FORMAT_FIXED, too_large, 18);
	expect_sense(&(struct scsi_sense_data){.reason = SENSE_INVALID_FIELD_IN_CDB,
					       .has_field = true,
					       .field_in_cdb = true,
					       .field_byte = 0x102,
					       .field_bit = 7},
		     SENSE_FORMAT_FIXED, field, 18);
	expect_sense(&(struct scsi_sense_data){.reason = SENSE_INVALID_FIELD_IN_PARAMETER_LIST,
					       .has_field = true,
					       .field_byte = 0x102,
					       .field_bit = SENSE_NO_BIT},
		     SENSE_FORMAT_FIXED, list, 18);
}

Test(scsi_sense, descriptors)
{
	static const uint8_t plain[8] = {0x72, 0x07, 0x27, 0x07};
	static const uint8_t both[28] = {0x72, 0x05, 0x24, 0, 0, 0, 0, 20, 0, 10, 0x80, 0, 1, 2,
					 3,    4,    5,    6, 7, 8, 2, 6,  0, 0,  0xC9, 0, 9, 0};

	expect_sense(&(struct scsi_sense_data){.reason = SENSE_SPACE_ALLOCATION_FAILED},
		     SENSE_FORMAT_DESCRIPTOR, plain, 8);
	expect_sense(&(struct scsi_sense_data){.reason = SENSE_INVALID_FIELD_IN_CDB,
					       .has_information = true,
					       .information = UINT64_C(0x0102030405060708),
					       .has_field = true,
					       .field_in_cdb = true,
					       .field_byte = 9,
					       .field_bit = 1},
		     SENSE_FORMAT_DESCRIPTOR, both, 28);
}

Test(scsi_sense, rows_are_complete_and_different)
{
	for (unsigned i = 0; i < SENSE_COUNT; i++) {
		const struct scsi_sense_row *row = &scsi_sense_table[i];

		cr_assert(row->name != NULL && row->name[0] != 0, "%u", i);
		/* One of a logical unit and one of its pool, which differ in INFORMATION. */
		if (i == SENSE_POOL_THRESHOLD_REACHED)
			continue;
		for (unsigned k = 0; k < i; k++)
			cr_expect(row->key != scsi_sense_table[k].key ||
				  row->asc != scsi_sense_table[k].asc ||
				  row->ascq != scsi_sense_table[k].ascq);
	}
}

Test(scsi_sense, results_of_io)
{
	static const struct {
		int res;
		uint32_t read;
		uint32_t write;
	} cases[] = {
		{-EIO, READ_ERROR, WRITE_ERROR},
		{-EILSEQ, READ_ERROR, WRITE_ERROR},
		{-ENODATA, READ_ERROR, WRITE_ERROR},
		{-ENOSPC, NO_SPACE, NO_SPACE},
		{-EDQUOT, NO_SPACE, NO_SPACE},
		{-EFBIG, NO_SPACE, NO_SPACE},
		{-EROFS, WRITE_PROTECTED, WRITE_PROTECTED},
		{-EPERM, SOFTWARE_WRITE_PROTECTED, SOFTWARE_WRITE_PROTECTED},
		{-ENODEV, NOT_READY, NOT_READY},
		{-EBUSY, IN_PROGRESS, IN_PROGRESS},
		{-ECANCELED, 0x0B0000, 0x0B0000},
		{-ERANGE, LBA_OUT_OF_RANGE, LBA_OUT_OF_RANGE},
		{-ENOMEM, BUSY_STATUS, BUSY_STATUS},
		{-EAGAIN, BUSY_STATUS, BUSY_STATUS},
		{-EINVAL, 0x044400, 0x044400},
		{-EOPNOTSUPP, 0x044400, 0x044400},
		{-9999, 0x044400, 0x044400},
	};

	rig_init(&rig);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		rig.lun.fail_res = cases[i].res;
		rig.lun.fail_after = 0;
		rig.lun.fail_op = LUN_READ;
		rig_do(&rig, CDB(0x28, [8] = 1), data, 512);
		cr_expect(rig_sense(&rig) == cases[i].read, "%d", cases[i].res);
		/* VALID is not set: no LBA is claimed to be the first bad one. */
		cr_expect(rig.cmd.sense_bytes == 0 || (rig.cmd.sense[0] & 0x80) == 0);
		rig.lun.fail_after = 0;
		rig.lun.fail_op = LUN_WRITE;
		rig_do(&rig, CDB(0x2A, [8] = 1), data, 512);
		cr_expect(rig_sense(&rig) == cases[i].write, "%d", cases[i].res);
	}
	rig_clear(&rig);
}

static bool met[SENSE_COUNT];

static void meet(uint8_t key, uint8_t asc, uint8_t ascq)
{
	for (unsigned i = 0; i < SENSE_COUNT; i++)
		if (scsi_sense_table[i].key == key && scsi_sense_table[i].asc == asc &&
		    scsi_sense_table[i].ascq == ascq)
			met[i] = true;
}

static void meet_last(void)
{
	cr_assert(rig.cmd.status == SCSI_CHECK_CONDITION);
	meet(rig.cmd.sense[2], rig.cmd.sense[12], rig.cmd.sense[13]);
}

static void meet_io(enum lun_op op, int res)
{
	rig.lun.fail_op = op;
	rig.lun.fail_res = res;
	rig.lun.fail_after = 0;
	rig_do(&rig, CDB(op == LUN_READ ? 0x28 : 0x2A, [8] = 1), data, 512);
	meet_last();
}

static void meet_illegal_requests(void)
{
	static const uint8_t commands[][SCSI_CDB_MAX] = {
		{0x2A, [2] = 0xFF, [8] = 1}, /* LBA */
		{0xFF},                      /* opcode */
		{0x28, 0xE0},                /* RDPROTECT */
		{0x1A, 0, 0xFF, 0, 4},       /* saved page */
	};
	uint8_t bad_list[8] = {0, 6, 0, 16};

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		rig_do(&rig, commands[i], SCSI_CDB_MAX, NULL, 0);
		meet_last();
	}
	rig_do(&rig, CDB(0x42, [8] = 4), bad_list, 4);
	meet_last();
	rig_do(&rig, CDB(0x42, [8] = 24), (uint8_t[24]){0, 6, 0, 16}, 24);
	meet_last();
	rig_do(&rig, CDB(0x41, [8] = 1), data, 100);
	meet_last();
	rig.lun_number = 77;
	rig_do(&rig, CDB(0x00), NULL, 0);
	meet_last();
	rig.lun_number = 0;
}

/* The task attribute ACA where there never is an ACA: SAM-5 8.6.5. */
static void meet_invalid_message(void)
{
	loop_role_assume();
	scsi_cmd_init(&rig.cmd);
	rig.cmd.nexus = rig.nexus;
	rig.cmd.loop = &rig.loop;
	memset(rig.cmd.lun_field, 0, sizeof(rig.cmd.lun_field));
	memset(rig.cmd.cdb, 0, SCSI_CDB_MAX);
	rig.cmd.attribute = SCSI_ACA;
	cr_assert_not(scsi_cmd_prepare(&rig.cmd));
	meet_last();
}

static void meet_reservations(void)
{
	/* More initiator ports than there can be, in TransportIDs of 24 bytes. */
	static uint8_t ports[28 + 1100 * 24] = {[15] = 'k', [20] = 0x08};
	uint8_t list[24] = {[15] = 'k'};

	put_be32(ports + 24, sizeof(ports) - 28);
	for (unsigned i = 0; i < 1100; i++) {
		uint8_t *id = ports + 28 + (size_t)i * 24;

		id[0] = 0x45;
		id[3] = 20;
		snprintf((char *)id + 4, 20, "i,i,0x%012x", i);
	}
	rig_do(&rig, CDB(0x5F, 0, 0, 0, 0, 0, 0, sizeof(ports) >> 8, sizeof(ports) & 0xFF), ports,
	       sizeof(ports));
	meet_last();
	rig_do(&rig, CDB(0x5F, 0, [8] = 24), list, 24);
	put_be64(list, 'k');
	rig_do(&rig, CDB(0x5F, 1, 1, [8] = 24), list, 24);
	rig_do(&rig, CDB(0x5F, 2, 3, [8] = 24), list, 24);
	meet_last();
	rig_do(&rig, CDB(0x5F, 3, 0, [8] = 24), list, 24);
}

static void meet_attentions(void)
{
	for (unsigned ua = 0; ua < SCSI_UA_COUNT; ua++) {
		scsi_nexus_raise(rig.nexus, scsi_target_find_lu(rig.target, 0), (enum scsi_ua)ua);
		rig_do(&rig, CDB(0x00), NULL, 0);
		meet_last();
	}
}

static void on_changed(struct scsi_access_change *change)
{
	cr_assert(change->changed);
}

/* Every state of the nexus's target port group, and back. */
static void meet_access_states(void)
{
	static const enum scsi_access_state states[] = {
		SCSI_ACCESS_STANDBY, SCSI_ACCESS_UNAVAILABLE, SCSI_ACCESS_OFFLINE,
		SCSI_ACCESS_TRANSITIONING, SCSI_ACCESS_OPTIMIZED};

	loop_role_assume();
	scsi_nexus_attach(rig.nexus, &rig.loop);
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		struct scsi_access_change change = {.target = rig.target,
						    .loop = &rig.loop,
						    .tag = 1,
						    .state = states[i],
						    .done = on_changed};

		cr_assert(scsi_access_change_start(&change) == 0);
		fake_run(&rig);
		rig_do(&rig, CDB(0x00), NULL, 0);
		meet_last();
		rig_do(&rig, CDB(0x00), NULL, 0);
		if (states[i] != SCSI_ACCESS_OPTIMIZED)
			meet_last();
	}
	scsi_nexus_detach(rig.nexus);
}

Test(scsi_sense, every_row_is_met)
{
	static const int results[] = {-EIO,    -ENOSPC, -EROFS,     -EPERM,
				      -ENODEV, -EBUSY,  -ECANCELED, -EINVAL};

	rig_init(&rig);
	rig_do(&rig, CDB(0x03, 0, 0, 0, 18), NULL, 0);
	meet(rig.buffer[2], rig.buffer[12], rig.buffer[13]);
	meet_illegal_requests();
	meet_invalid_message();
	meet_reservations();
	meet_attentions();
	meet_access_states();
	for (size_t i = 0; i < ARRAY_SIZE(results); i++) {
		meet_io(LUN_READ, results[i]);
		meet_io(LUN_WRITE, results[i]);
	}
	rig.lun.fail_res = 0;
	data[3] = 1;
	rig_do(&rig, CDB(0x2F, 0x02, [8] = 1), data, 512);
	meet_last();
	cr_assert(rig_prepare(&rig, CDB(0x2A, [8] = 1)));
	scsi_cmd_fail_data_phase(&rig.cmd);
	meet_last();
	for (unsigned i = 0; i < SENSE_COUNT; i++)
		cr_expect(met[i], "%s", scsi_sense_table[i].name);
	rig_clear(&rig);
}
