/*
 * What changed mode parameters do: who is told, the format of sense data, write protection, the
 * write cache, resets and aborts.
 */
#include <criterion/criterion.h>

#include "tests/unit/scsi_mode_rig.h"

static uint8_t data[LOOP_BUFFER_BYTES];

Test(scsi_mode_effect, others_are_told_once)
{
	struct scsi_lu *lu;

	set_up();
	lu = scsi_target_find_lu(rig.target, 0);
	set_control(0x26, 0);
	cr_expect(scsi_nexus_pending(rig.nexus, lu) == SENSE_NONE);
	cr_expect(scsi_nexus_take(other, lu) == SENSE_MODE_PARAMETERS_CHANGED);
	cr_expect(scsi_nexus_pending(other, lu) == SENSE_NONE);
	set_control(0x26, 0);
	cr_expect(scsi_nexus_pending(other, lu) == SENSE_NONE);
	rig_do(&rig, CDB(0x15, RTD), NULL, 0);
	cr_expect(scsi_nexus_take(other, lu) == SENSE_MODE_PARAMETERS_CHANGED);
	tear_down();
}

Test(scsi_mode_effect, d_sense_of_all_nexuses)
{
	static const uint8_t field[] = {0x72, 5, 0x24, 0, 0, 0, 0, 8, 2, 6, 0, 0, 0xCF, 0, 1, 0};
	static const uint8_t attention[] = {0x72, 6, 0x2A, 1, 0, 0, 0, 0};
	static const uint8_t data_phase[] = {0x72, 0x0B, 0x4B, 0, 0, 0, 0, 0};
	static const uint8_t miscompare[] = {0x72, 0x0E, 0x1D, 0, 0, 0, 0, 12, 0, 10,
					     0x80, 0,    0,    0, 0, 0, 0, 0,  0, 3};

	set_up();
	set_control(0x26, 0);
	rig_do(&rig, CDB(0x28, 0x80, [8] = 1), data, 512);
	cr_expect(rig.cmd.sense_bytes == sizeof(field));
	cr_expect(memcmp(rig.cmd.sense, field, sizeof(field)) == 0);
	memset(data, 0, sizeof(data));
	data[3] = 1;
	rig_do(&rig, CDB(0x2F, 0x02, [8] = 1), data, 512);
	cr_expect(rig.cmd.sense_bytes == sizeof(miscompare));
	cr_expect(memcmp(rig.cmd.sense, miscompare, sizeof(miscompare)) == 0);
	/* What the transport finds wrong with the data. */
	cr_assert(rig_prepare(&rig, CDB(0x2A, [8] = 1)));
	scsi_cmd_fail_data_phase(&rig.cmd);
	cr_expect(rig.cmd.sense_bytes == sizeof(data_phase));
	cr_expect(memcmp(rig.cmd.sense, data_phase, sizeof(data_phase)) == 0);
	/* A number without a logical unit has no mode pages. */
	rig.lun_number = 9;
	rig_do(&rig, CDB(0x00), NULL, 0);
	cr_expect(rig_sense(&rig) == NO_LOGICAL_UNIT);
	rig.lun_number = 0;
	/* REQUEST SENSE answers in the format that it is asked for. */
	rig_do(&rig, CDB(0x03, 0, 0, 0, 18), NULL, 0);
	cr_expect(rig.cmd.status == SCSI_GOOD && rig.buffer[0] == 0x70);
	rig_do(&rig, CDB(0x03, 1, 0, 0, 18), NULL, 0);
	cr_expect(rig.cmd.status == SCSI_GOOD && rig.buffer[0] == 0x72);
	{
		struct scsi_nexus *mine = rig.nexus;

		rig.nexus = other;
		rig_do(&rig, CDB(0x00), NULL, 0);
		rig.nexus = mine;
	}
	cr_expect(rig.cmd.sense_bytes == sizeof(attention));
	cr_expect(memcmp(rig.cmd.sense, attention, sizeof(attention)) == 0);
	set_control(0x22, 0);
	rig_do(&rig, CDB(0x28, 0x80, [8] = 1), data, 512);
	cr_expect(rig_sense(&rig) == INVALID_FIELD);
	tear_down();
}

static uint32_t sense_of(const uint8_t *cdb, uint32_t bytes)
{
	rig_do(&rig, cdb, SCSI_CDB_MAX, data, bytes);
	return rig_sense(&rig);
}

Test(scsi_mode_effect, swp)
{
	static const uint8_t writes[][SCSI_CDB_MAX] = {
		{0x0A, [4] = 1}, {0x2A, [8] = 1},  {0x8A, [13] = 1},       {0xAA, [9] = 1},
		{0x41, [8] = 1}, {0x93, [13] = 1}, {0x93, 0x08, [13] = 1}, {0x42, [8] = 24},
	};

	set_up();
	set_control(0x22, 0x08);
	cr_expect(rig.lun.count[LUN_FLUSH] == 1);
	for (size_t i = 0; i < ARRAY_SIZE(writes); i++)
		cr_expect(sense_of(writes[i], 512) == SOFTWARE_WRITE_PROTECTED, "%02X",
			  writes[i][0]);
	cr_expect(rig.lun.count[LUN_WRITE] + rig.lun.count[LUN_UNMAP] + rig.lun.count[LUN_ZERO] ==
		  0);
	cr_expect(sense_of((uint8_t[SCSI_CDB_MAX]){0x28, [8] = 1}, 512) == 0);
	cr_expect(sense_of((uint8_t[SCSI_CDB_MAX]){0x35}, 0) == 0);
	cr_expect(sense_of((uint8_t[SCSI_CDB_MAX]){0x00}, 0) == 0);
	rig_do(&rig, CDB(0x1A, 0x08, 0x0A, 0, 255), NULL, 0);
	cr_expect(rig.buffer[2] == 0x90 && rig.buffer[4 + 4] == 0x08);
	/* What the configuration says comes first. */
	rig.lun.state.read_only = true;
	cr_expect(sense_of(writes[1], 512) == WRITE_PROTECTED);
	rig.lun.state.read_only = false;
	set_control(0x22, 0);
	cr_expect(sense_of(writes[1], 512) == 0);
	rig_do(&rig, CDB(0x1A, 0x08, 0x0A, 0, 255), NULL, 0);
	cr_expect(rig.buffer[2] == 0x10);
	tear_down();
}

/* A write that waited for its data, and another command's MODE SELECT came first. */
Test(scsi_mode_effect, swp_before_the_data)
{
	struct scsi_cmd write;
	struct rig_piece piece;

	set_up();
	cr_assert(rig_prepare(&rig, CDB(0x2A, [8] = 1)));
	write = rig.cmd;
	list_init(&write.pieces);
	set_control(0x22, 0x08);
	rig.cmd = write;
	list_init(&rig.cmd.pieces);
	rig_submit(&rig, &piece, 0, 512, data);
	fake_run(&rig);
	cr_expect(!piece.piece.ok && rig_sense(&rig) == SOFTWARE_WRITE_PROTECTED);
	cr_expect(rig.lun.count[LUN_WRITE] == 0);
	tear_down();
}

static void rig_with_cache_by_hosts(bool cache)
{
	struct scsi_lu_spec spec = {.lun = &rig.lun, .write_cache_by_hosts = true};
	struct scsi_cmd *cmd = &rig.cmd;

	loop_role_assume();
	rig_init_with(&rig, FAKE_BLOCKS, 512);
	rig.lun.limits.write_cache = cache;
	cr_assert(scsi_target_add_lu(rig.target, 1, &spec) == 0);
	rig_connect(&rig);
	rig.lun_number = 1;
	(void)rig_prepare(&rig, CDB(0x00));
	cr_assert(cmd->sense[12] == 0x29);
}

#define CACHING_LIST(byte2) ((const uint8_t[24]){[4] = 0x08, 18, (byte2)})

Test(scsi_mode_effect, wce_where_hosts_may)
{
	uint8_t changeable[20];

	rig_with_cache_by_hosts(true);
	read_page(1 << 6 | 0x08, 0, changeable, sizeof(changeable));
	cr_expect(changeable[2] == 0x04);
	cr_expect(sense_of((uint8_t[SCSI_CDB_MAX]){0x2A, [8] = 1}, 512) == 0);
	cr_expect(rig.lun.durable_count == 0);
	select_6(PF, CACHING_LIST(0), 24);
	cr_expect(rig_sense(&rig) == 0);
	cr_expect(rig.lun.count[LUN_FLUSH] == 1); /* What was written before. */
	cr_expect(sense_of((uint8_t[SCSI_CDB_MAX]){0x2A, [8] = 1}, 512) == 0);
	cr_expect(rig.lun.durable_count == 1);
	cr_expect(sense_of((uint8_t[SCSI_CDB_MAX]){0x93, 0x08, [13] = 1}, 512) == 0);
	cr_expect(rig.lun.durable_count == 2);
	cr_expect(rig.lun.count[LUN_FLUSH] == 1);
	select_6(PF, CACHING_LIST(0x04), 24);
	cr_expect(rig_sense(&rig) == 0 && rig.lun.count[LUN_FLUSH] == 1);
	cr_expect(sense_of((uint8_t[SCSI_CDB_MAX]){0x2A, [8] = 1}, 512) == 0);
	cr_expect(rig.lun.durable_count == 2);
	rig_clear(&rig);
}

/* The administrator has turned the cache off. */
Test(scsi_mode_effect, wce_where_there_is_no_cache)
{
	uint8_t changeable[20];

	rig_with_cache_by_hosts(false);
	read_page(1 << 6 | 0x08, 0, changeable, sizeof(changeable));
	cr_expect(changeable[2] == 0);
	select_6(PF, CACHING_LIST(0x04), 24);
	cr_expect(rig_sense(&rig) == INVALID_PARAMETER && rig.cmd.sense[15] == 0x8A);
	select_6(PF, CACHING_LIST(0), 24);
	cr_expect(rig_sense(&rig) == 0 && rig.lun.count[LUN_FLUSH] == 0);
	rig_clear(&rig);
}

/* Writes under way to the cache while a host turns it off are flushed before they are answered. */
static void expect_late_flush(const uint8_t *cdb, bool pieces)
{
	struct scsi_mode next;
	struct scsi_lu *lu;
	struct rig_piece piece = {0};

	rig_with_cache_by_hosts(true);
	lu = scsi_target_find_lu(rig.target, 1);
	cr_assert(rig_prepare(&rig, cdb, SCSI_CDB_MAX));
	if (pieces)
		rig_submit(&rig, &piece, 0, 512, data);
	else
		cr_assert(!scsi_cmd_execute(&rig.cmd));
	next = *scsi_lu_mode(lu);
	next.current[scsi_mode_offset(MODE_PAGE_CACHING) + 2] = 0;
	scsi_mode_publish(lu, &next);
	cr_assert(fake_step(&rig.lun));
	cr_expect(rig.done_count + piece.done_count == 0 && rig.lun.count[LUN_FLUSH] == 1);
	cr_assert(fake_step(&rig.lun));
	cr_expect(rig.done_count + piece.done_count == 1 && rig.lun.count[LUN_FLUSH] == 1);
	cr_expect(rig.cmd.status == SCSI_GOOD && (!pieces || piece.piece.ok));
	cr_expect(!fake_step(&rig.lun));
	rig_clear(&rig);
}

Test(scsi_mode_effect, late_writes_are_flushed)
{
	loop_role_assume();
	expect_late_flush((uint8_t[SCSI_CDB_MAX]){0x2A, [8] = 1}, true);
	expect_late_flush((uint8_t[SCSI_CDB_MAX]){0x93, 0x01, [13] = 1}, false);
}

/* A MODE SELECT that waited for its data, and another host's RESERVE(6) came first. */
Test(scsi_mode_effect, reserved_before_the_data)
{
	struct scsi_nexus *mine;
	struct scsi_cmd select;

	set_up();
	mine = rig.nexus;
	cr_assert(rig_prepare(&rig, CDB(0x15, PF, 0, 0, CONTROL_BYTES)));
	select = rig.cmd;
	rig.nexus = other;
	rig_do(&rig, CDB(0x16), NULL, 0);
	cr_assert(rig.cmd.status == SCSI_GOOD);
	rig.nexus = mine;
	rig.cmd = select;
	list_init(&rig.cmd.pieces);
	rig.done_count = 0;
	rig_execute(&rig, CONTROL_LIST(0x22, 0x08), CONTROL_BYTES);
	cr_expect(rig.cmd.status == SCSI_RESERVATION_CONFLICT);
	cr_expect(!scsi_lu_mode(scsi_target_find_lu(rig.target, 0))->write_protect);
	rig.nexus = other;
	rig_do(&rig, CDB(0x17), NULL, 0);
	rig.nexus = mine;
	tear_down();
}

/* Without anything to flush. */
Test(scsi_mode_effect, offline_and_read_only)
{
	set_up();
	rig.lun.state.online = false;
	set_control(0x22, 0x08);
	rig_do(&rig, CDB(0x15, RTD), NULL, 0);
	rig.lun.state.online = true;
	rig.lun.state.read_only = true;
	set_control(0x22, 0x08);
	cr_expect(rig.lun.count[LUN_FLUSH] == 0);
	tear_down();
}

Test(scsi_mode_effect, failed_flush_is_told)
{
	set_up();
	rig.lun.fail_op = LUN_FLUSH;
	rig.lun.fail_res = -EIO;
	select_6(PF, CONTROL_LIST(0x22, 0x08), CONTROL_BYTES);
	cr_expect(rig_sense(&rig) == WRITE_ERROR);
	rig.lun.fail_res = 0;
	cr_expect(sense_of((uint8_t[SCSI_CDB_MAX]){0x2A, [8] = 1}, 512) ==
		  SOFTWARE_WRITE_PROTECTED);
	tear_down();
}

Test(scsi_mode_effect, no_scratch_buffer)
{
	void *taken[FAKE_BUFFERS];

	set_up();
	for (unsigned i = 0; i < FAKE_BUFFERS; i++)
		taken[i] = loop_buffer_acquire(&rig.loop);
	cr_assert(rig_prepare(&rig, CDB(0x15, PF, 0, 0, CONTROL_BYTES)));
	rig.cmd.buffer_bytes = CONTROL_BYTES;
	memcpy(rig.buffer, CONTROL_LIST(0x26, 0), CONTROL_BYTES);
	cr_expect(scsi_cmd_execute(&rig.cmd) && rig_sense(&rig) == BUSY_STATUS);
	for (unsigned i = 0; i < FAKE_BUFFERS; i++)
		loop_buffer_release(&rig.loop, taken[i]);
	tear_down();
}

/* Aborted before its turn, it changes nothing. */
Test(scsi_mode_effect, aborted)
{
	set_up();
	cr_assert(rig_prepare(&rig, CDB(0x15, PF, 0, 0, CONTROL_BYTES)));
	rig.cmd.buffer_bytes = CONTROL_BYTES;
	memcpy(rig.buffer, CONTROL_LIST(0x22, 0x08), CONTROL_BYTES);
	cr_assert(!scsi_cmd_execute(&rig.cmd));
	scsi_cmd_abort(&rig.cmd);
	fake_run(&rig);
	cr_expect(rig.done_count == 1 && rig.cmd.status == SCSI_TASK_ABORTED);
	cr_expect(fake_buffers_taken(&rig.loop) == 0);
	cr_expect(sense_of((uint8_t[SCSI_CDB_MAX]){0x2A, [8] = 1}, 512) == 0);
	tear_down();
}

Test(scsi_mode_effect, reset)
{
	set_up();
	set_control(0x26, 0x08);
	(void)scsi_nexus_take(other, scsi_target_find_lu(rig.target, 0));
	scsi_mode_reset(scsi_target_find_lu(rig.target, 0), &rig.loop);
	scsi_mode_reset(scsi_target_find_lu(rig.target, 0), &rig.loop);
	fake_run(&rig);
	cr_expect(sense_of((uint8_t[SCSI_CDB_MAX]){0x2A, [8] = 1}, 512) == 0);
	cr_expect(scsi_nexus_pending(other, scsi_target_find_lu(rig.target, 0)) == SENSE_NONE);
	/* And again, when the first has ended. */
	set_control(0x26, 0x08);
	scsi_mode_reset(scsi_target_find_lu(rig.target, 0), &rig.loop);
	fake_run(&rig);
	cr_expect(sense_of((uint8_t[SCSI_CDB_MAX]){0x2A, [8] = 1}, 512) == 0);
	tear_down();
}

/* The saved parameters have no write cache, so what was written with one is flushed. */
Test(scsi_mode_effect, reset_that_turns_the_cache_off)
{
	struct scsi_mode next;
	struct scsi_lu *lu;

	rig_with_cache_by_hosts(true);
	lu = scsi_target_find_lu(rig.target, 1);
	next = *scsi_lu_mode(lu);
	next.saved[scsi_mode_offset(MODE_PAGE_CACHING) + 2] = 0;
	scsi_mode_publish(lu, &next);
	for (int failing = 0; failing < 2; failing++) {
		rig.lun.fail_op = LUN_FLUSH;
		rig.lun.fail_res = failing ? -EIO : 0;
		cr_expect(sense_of((uint8_t[SCSI_CDB_MAX]){0x2A, [8] = 1}, 512) == 0);
		cr_expect(rig.lun.durable_count == 0);
		rig.lun.count[LUN_FLUSH] = 0;
		scsi_mode_reset(lu, &rig.loop);
		fake_run(&rig);
		cr_expect(rig.lun.count[LUN_FLUSH] == 1);
		/* There is nothing more to be done, and then it is on again. */
		scsi_mode_reset(lu, &rig.loop);
		fake_run(&rig);
		cr_expect(rig.lun.count[LUN_FLUSH] == 1);
		rig.lun.fail_res = 0;
		select_6(PF, CACHING_LIST(0x04), 24);
		cr_expect(rig_sense(&rig) == 0 && rig.lun.count[LUN_FLUSH] == 1);
	}
	rig_clear(&rig);
}

/* One that is asked for while the flush of the one before is still with the disk has its effect on
 * parameters that were changed in between. */
Test(scsi_mode_effect, reset_beside_the_flush_of_another)
{
	const uint8_t *list = CACHING_LIST(0x04);
	struct scsi_mode next;
	struct scsi_lu *lu;

	rig_with_cache_by_hosts(true);
	lu = scsi_target_find_lu(rig.target, 1);
	next = *scsi_lu_mode(lu);
	next.saved[scsi_mode_offset(MODE_PAGE_CACHING) + 2] = 0;
	scsi_mode_publish(lu, &next);
	scsi_mode_reset(lu, &rig.loop);
	while (fake_message(&rig.loop))
		continue;
	cr_assert(scsi_lu_mode(lu)->write_through && !list_is_empty(&rig.lun.queue));

	cr_assert(rig_prepare(&rig, CDB(0x15, PF, 0, 0, 24)));
	rig.cmd.buffer_bytes = 24;
	memcpy(rig.buffer, list, 24);
	cr_assert(!scsi_cmd_execute(&rig.cmd));
	while (fake_message(&rig.loop))
		continue;
	cr_assert(rig.done_count == 1 && rig.cmd.status == SCSI_GOOD);
	cr_assert(!scsi_lu_mode(lu)->write_through && !list_is_empty(&rig.lun.queue));

	scsi_mode_reset(lu, &rig.loop);
	fake_run(&rig);
	cr_expect(scsi_lu_mode(lu)->write_through);
	cr_expect(rig.lun.count[LUN_FLUSH] == 2);
	rig_clear(&rig);
}
