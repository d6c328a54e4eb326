/*
 * COMPARE AND WRITE whose host loses the right to write while it is under way: by a reservation of
 * another host, at each of its stages. It ends in RESERVATION CONFLICT, and nothing is written.
 */
#include <criterion/criterion.h>

#include "tests/unit/scsi_hosts.h"

#define BLOCK 512u

/* The command of host 0, beside those that host_do sends; rig_at finds its memory. */
static struct rig late;

static void start(const uint8_t *data)
{
	struct scsi_cmd *cmd = &late.cmd;

	loop_role_assume();
	memset(cmd, 0xA5, sizeof(*cmd));
	scsi_cmd_init(cmd);
	cmd->nexus = hosts.nexus[0];
	cmd->loop = &hosts.rig.loop;
	cmd->at = rig_at;
	cmd->done = rig_on_done;
	cmd->expected_bytes = 2 * BLOCK;
	cmd->cdb[0] = 0x89;
	cmd->cdb[13] = 1;
	late.done_count = 0;
	cr_assert(scsi_cmd_prepare(cmd));
	rig_gather(&late, data);
}

static void execute(void)
{
	loop_role_assume();
	cr_assert(!scsi_cmd_execute(&late.cmd));
}

/* Host 1 takes the unit for itself; whatever else is under way goes on afterwards. */
static void take_away(void)
{
	cr_assert(host_pr_out(1, RESERVE, 1, 0x1111, 0, 0) == 0);
	fake_run(&hosts.rig);
}

static void begin(uint8_t *data)
{
	hosts_init(NULL);
	cr_assert(host_pr_out(1, REGISTER, 0, 0, 0x1111, 0) == 0);
	memset(data, 0, BLOCK);
	memset(data + BLOCK, 0x77, BLOCK);
	start(data);
}

static void expect_conflict(void)
{
	static const uint8_t zeroes[BLOCK];

	cr_expect(late.done_count == 1 && late.cmd.status == SCSI_RESERVATION_CONFLICT);
	cr_expect(late.cmd.sense_bytes == 0);
	cr_expect(memcmp(hosts.rig.lun.bytes, zeroes, BLOCK) == 0, "it was written");
	cr_expect(list_is_empty(&hosts.rig.lun.exclusives) && late.cmd.rewrite == NULL);
	free(late.gather);
	late.gather = NULL;
	hosts_clear();
}

/* Its data were being gathered. */
Test(scsi_caw_reserved, before_it_is_executed)
{
	uint8_t data[2 * BLOCK];

	loop_role_assume();
	begin(data);
	take_away();
	cr_expect(scsi_cmd_execute(&late.cmd) && hosts.rig.lun.count[LUN_READ] == 0);
	late.done_count++;
	expect_conflict();
}

/* Its range has been asked for; the switch is quicker than the grant, or not. */
Test(scsi_caw_reserved, before_the_range_is_granted)
{
	uint8_t data[2 * BLOCK];

	begin(data);
	execute();
	take_away();
	expect_conflict();
}

Test(scsi_caw_reserved, before_it_reads)
{
	uint8_t data[2 * BLOCK];

	begin(data);
	execute();
	cr_assert(fake_message(&hosts.rig.loop) && hosts.rig.lun.count[LUN_READ] == 1);
	take_away();
	expect_conflict();
}

/* It has compared, and found what it expected: no GOOD without the write, and no write. */
Test(scsi_caw_reserved, between_comparison_and_write)
{
	uint8_t data[2 * BLOCK];

	begin(data);
	execute();
	cr_assert(fake_message(&hosts.rig.loop) && fake_step(&hosts.rig.lun));
	cr_assert(hosts.rig.lun.count[LUN_WRITE] == 1);
	take_away();
	expect_conflict();
}
