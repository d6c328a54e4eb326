/*
 * Soft thresholds: the arithmetic of crossing and arming as a table, mode page 1Ch/02h, log page
 * 0Ch and page B2h byte by byte, and who hears of a crossing, how often and with which sense data.
 */
#include <criterion/criterion.h>

#include "tests/unit/scsi_hosts.h"

#include "target/scsi/threshold.h"

#define GIB (UINT64_C(1) << 30)
#define THRESHOLD 0x063807u
#define PF 0x10

/* 2^24 blocks of 512 bytes: 8 GiB, and 1024 sets of 8 MiB. */
#define BLOCKS (UINT64_C(1) << 24)
#define SET (UINT64_C(8) << 20)

/* -- One threshold -- */

Test(scsi_threshold, step)
{
	/* Used of 12800, at 8000 in sets of 200: reached above 8100, armed again below 7800. */
	static const struct scsi_threshold_rule up = {
		.enabled = true, .center = 8000, .set = 200, .whole = 12800};
	/* Left of 12800, at 2000: reached below 1900, armed again above 2200. */
	static const struct scsi_threshold_rule down = {
		.enabled = true, .decreasing = true, .center = 2000, .set = 200, .whole = 12800};
	static const struct scsi_threshold_rule off = {.center = 8000, .set = 200, .whole = 12800};
	/* No room for a margin on either side. */
	static const struct scsi_threshold_rule low = {
		.enabled = true, .center = 100, .set = 200, .whole = 12800};
	static const struct scsi_threshold_rule high = {
		.enabled = true, .decreasing = true, .center = 12700, .set = 200, .whole = 12800};
	static const struct {
		const struct scsi_threshold_rule *rule;
		uint64_t value;
		bool crossed, reached;
	} rows[] = {
		{&up, 0, false, false},       {&up, 8100, false, false},
		{&up, 8101, true, true},      {&up, 8102, false, true},
		{&up, 8100, false, true},     {&up, 7800, false, true},
		{&up, 9000, false, true},     {&up, 7799, false, false},
		{&up, 8100, false, false},    {&up, UINT64_MAX, true, true},
		{&down, 12800, false, false}, {&down, 1900, false, false},
		{&down, 1899, true, true},    {&down, 0, false, true},
		{&down, 2200, false, true},   {&down, 2201, false, false},
		{&down, 0, true, true},       {&off, 12800, false, false},
		{&up, 8101, true, true},      {&off, 8101, false, false},
		{&low, 201, true, true},      {&low, 1, false, true},
		{&low, 0, false, false},      {&low, 201, true, true},
		{&high, 12599, true, true},   {&high, 12800, false, true},
		{&high, 12801, false, false},
	};
	struct scsi_threshold threshold = {.reached = false};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		bool crossed = scsi_threshold_step(&threshold, rows[i].rule, rows[i].value);

		cr_expect(crossed == rows[i].crossed && threshold.reached == rows[i].reached,
			  "row %u: %d %d", i, crossed, threshold.reached);
	}
}

/* -- A logical unit of 8 GiB in a pool of 100 GiB with a reserve of 5, warned of at 80 % -- */

static struct rig *const rig = &hosts.rig;
static unsigned checked;

static void on_checked(void *arg)
{
	cr_expect(arg == rig);
	checked++;
}

static void begin(unsigned host_count)
{
	struct scsi_lu_spec spec = {.lun = &rig->lun, .warn_percent = 75};
	int res;

	rig_init_with(rig, BLOCKS, 512);
	rig->lun.has_space = true;
	rig->lun.space = (struct lun_space){
		.used_bytes = GIB,
		.available_bytes = 60 * GIB,
		.total_bytes = 100 * GIB,
		.reserve_bytes = 5 * GIB,
		.warn_percent = 80,
	};
	res = scsi_target_add_lu(rig->target, 1, &spec);
	cr_assert_eq(res, 0);
	rig->lun_number = 1;
	for (unsigned i = 0; i < host_count; i++) {
		host_log_in(i);
		rig->nexus = hosts.nexus[i];
		rig_do(rig, CDB(0), NULL, 0);
		cr_assert_eq(rig_sense(rig), 0x062900);
	}
	checked = 0;
}

static void end(unsigned host_count)
{
	for (unsigned i = 0; i < host_count; i++)
		host_log_out(i);
	rig->nexus = NULL;
	rig_clear(rig);
}

static struct scsi_lu *lu(void)
{
	return scsi_target_find_lu(rig->target, 1);
}

/* True when a crossing was told. */
static bool check(uint64_t used, uint64_t available)
{
	unsigned before = checked;

	loop_role_assume();
	rig->lun.space.used_bytes = used;
	rig->lun.space.available_bytes = available;
	if (scsi_lu_check_space(lu(), &rig->loop, on_checked, rig))
		return false;
	cr_expect_eq(checked, before);
	fake_run(rig);
	cr_expect_eq(checked, before + 1);
	return true;
}

static uint32_t ask(unsigned host)
{
	rig->nexus = hosts.nexus[host];
	rig_do(rig, CDB(0), NULL, 0);
	return rig_sense(rig);
}

static void expect_bytes(const char *what, const uint8_t *golden, size_t length)
{
	for (size_t i = 0; i < length; i++)
		cr_expect(rig->buffer[i] == golden[i], "%s, byte %zu: %02x, not %02x", what, i,
			  rig->buffer[i], golden[i]);
	cr_expect_eq(rig->cmd.data_bytes, length);
}

/* -- Pages -- */

/* 75 % of 1024 sets; what is left at 80 %: 20 GiB, and 5 of them are the reserve's. */
#define USED_SETS (8 * GIB / 100 * 75 / SET)
#define LEFT_SETS (15 * GIB / SET)

Test(scsi_threshold, mode_page)
{
	uint8_t golden[4 + 32] = {35, 0, 0x10, 0, 0x5C, 0x02, 0, 28};

	begin(1);
	golden[20] = 0x81;
	golden[21] = 0x02;
	put_be32(golden + 24, (uint32_t)USED_SETS);
	golden[28] = 0x80;
	golden[29] = 0x01;
	put_be32(golden + 32, (uint32_t)LEFT_SETS);
	cr_assert(USED_SETS == 767 && LEFT_SETS == 1920);
	rig_do(rig, CDB(0x1A, 0x08, 0x1C, 0x02, 255), NULL, 0);
	expect_bytes("current", golden, sizeof(golden));
	rig_do(rig, CDB(0x1A, 0x08, 0x9C, 0x02, 255), NULL, 0);
	expect_bytes("default", golden, sizeof(golden));
	rig_do(rig, CDB(0x1A, 0x08, 0x5C, 0x02, 255), NULL, 0);
	memset(golden + 8, 0, sizeof(golden) - 8);
	golden[8] = 0x01;
	golden[20] = 0x80;
	memset(golden + 24, 0xFF, 4);
	golden[28] = 0x80;
	memset(golden + 32, 0xFF, 4);
	expect_bytes("changeable", golden, sizeof(golden));
	/* LBPERE */
	rig_do(rig, CDB(0x1A, 0x08, 0x01, 0, 255), NULL, 0);
	cr_expect(rig_sense(rig) == 0 && rig->buffer[4 + 7] == 0x80);
	rig_do(rig, CDB(0x1A, 0x08, 0x41, 0, 255), NULL, 0);
	cr_expect(rig_sense(rig) == 0 && rig->buffer[4 + 7] == 0x80);
	end(1);
}

Test(scsi_threshold, exponent)
{
	static const struct {
		uint64_t blocks;
		uint8_t exponent;
	} rows[] = {{1, 1},       {2047, 1},        {2048, 1},        {4096, 2},
		    {BLOCKS, 14}, {BLOCKS + 1, 14}, {BLOCKS - 1, 13}, {UINT64_C(1) << 44, 34}};

	begin(1);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		rig->lun.state.size_bytes = rows[i].blocks * 512;
		rig_do(rig, CDB(0x12, 1, 0xB2, 0, 64), NULL, 0);
		cr_expect(rig->buffer[4] == rows[i].exponent, "%u: %u", i, rig->buffer[4]);
		/* Page B2h: THRESHOLD PERCENTAGE. */
		cr_expect_eq(rig->buffer[7], 0);
	}
	rig->lun.has_space = false;
	rig_do(rig, CDB(0x12, 1, 0xB2, 0, 64), NULL, 0);
	cr_expect_eq(rig->buffer[4], 0);
	end(1);
}

static void log_sense(uint8_t page, uint8_t subpage, uint16_t pointer, uint16_t allocation)
{
	uint8_t cdb[10] = {0x4D, 0, page, subpage};

	put_be16(cdb + 5, pointer);
	put_be16(cdb + 7, allocation);
	rig_do(rig, cdb, sizeof(cdb), NULL, 0);
}

Test(scsi_threshold, log_page)
{
	static const uint8_t lists[] = {0x00, 0x00, 0, 2, 0x00, 0x0C};
	static const uint8_t sublists[] = {0x40, 0xFF, 0, 6, 0x00, 0x00, 0x00, 0xFF, 0x0C, 0x00};
	/* 60 GiB left, 1 GiB used, in sets of 8 MiB. */
	static const uint8_t golden[] = {0x8C, 0, 0,    24,  0,    1, 0x03, 8, 0,    0,
					 0x1E, 0, 0x02, 0,   0,    0, 0,    2, 0x03, 8,
					 0,    0, 0,    128, 0x01, 0, 0,    0};
	uint8_t second[16] = {0x8C, 0, 0, 12};

	memcpy(second + 4, golden + 16, 12);
	begin(1);
	for (uint16_t n = 0; n < sizeof(golden) + 8; n++) {
		size_t length = n < sizeof(golden) ? n : sizeof(golden);

		for (uint8_t pc = 0; pc < 4; pc++) {
			log_sense((uint8_t)(pc << 6 | 0x0C), 0, (uint16_t)(n % 2), n);
			cr_assert_eq(rig_sense(rig), 0);
			expect_bytes("page 0Ch", golden, length);
		}
	}
	log_sense(0x0C, 0, 2, 255);
	expect_bytes("from parameter 2", second, sizeof(second));
	log_sense(0x0C, 0, 3, 255);
	cr_expect(rig_sense(rig) == INVALID_FIELD && rig_field(rig) == 0x507);
	log_sense(0x0C, 1, 0, 255);
	cr_expect(rig_sense(rig) == INVALID_FIELD && rig_field(rig) == 0x307);
	log_sense(0, 0, 0, 255);
	expect_bytes("page 00h", lists, sizeof(lists));
	log_sense(0, 0xFF, 0, 255);
	expect_bytes("page 00h/FFh", sublists, sizeof(sublists));
	/* More than 32 bits of sets, of a small logical unit in a large pool. */
	rig->lun.space.available_bytes = UINT64_MAX / 2;
	rig->lun.state.size_bytes = 512;
	log_sense(0x0C, 0, 0, 255);
	cr_expect_eq(get_be32(rig->buffer + 8), UINT32_MAX);
	rig->lun.has_space = false;
	log_sense(0x0C, 0, 0, 255);
	cr_expect(rig_sense(rig) == INVALID_FIELD && rig_field(rig) == 0x205);
	end(1);
}

/* -- Telling -- */

Test(scsi_threshold, once_for_each_nexus_and_crossing)
{
	begin(2);
	cr_expect(!check(6 * GIB - SET, 60 * GIB));
	cr_expect(check(6 * GIB, 60 * GIB));
	cr_expect_eq(ask(0), THRESHOLD);
	/* INFORMATION: where the descriptor stands. */
	cr_expect(rig->cmd.sense[0] == 0xF0 && get_be32(rig->cmd.sense + 3) == 16);
	cr_expect_eq(ask(0), 0);
	cr_expect(!check(7 * GIB, 60 * GIB) && !check(6 * GIB, 60 * GIB));
	cr_expect_eq(ask(0), 0);
	/* A host that logs in now has nothing to hear but power on. */
	host_log_in(2);
	cr_expect_eq(ask(2), 0x062900);
	cr_expect_eq(ask(2), 0);
	cr_expect_eq(ask(1), THRESHOLD);
	/* Back by more than its range, and up again. */
	cr_expect(!check(5 * GIB, 60 * GIB));
	cr_expect(check(7 * GIB, 60 * GIB));
	for (unsigned i = 0; i < 3; i++) {
		cr_expect_eq(ask(i), THRESHOLD);
		cr_expect_eq(ask(i), 0);
	}
	end(3);
}

Test(scsi_threshold, of_the_pool)
{
	begin(2);
	cr_expect(!check(GIB, 15 * GIB));
	cr_expect(check(GIB, 14 * GIB));
	cr_expect_eq(ask(0), THRESHOLD);
	cr_expect_eq(get_be32(rig->cmd.sense + 3), 24);
	/* REQUEST SENSE tells as well, and it is told then. */
	rig->nexus = hosts.nexus[1];
	rig_do(rig, CDB(0x03, 0, 0, 0, 255), NULL, 0);
	cr_expect(rig->buffer[0] == 0xF0 && rig->buffer[12] == 0x38 && rig->buffer[13] == 7);
	cr_expect_eq(get_be32(rig->buffer + 3), 24);
	cr_expect_eq(ask(1), 0);
	/* Both at once are two. */
	cr_expect(!check(GIB, 60 * GIB));
	cr_expect(check(7 * GIB, 0));
	for (unsigned i = 0; i < 2; i++) {
		cr_expect_eq(ask(i), THRESHOLD);
		cr_expect_eq(ask(i), THRESHOLD);
		cr_expect_eq(ask(i), 0);
	}
	end(2);
}

/* What was reached before anybody logged in is no news to those who do. */
Test(scsi_threshold, reached_at_start)
{
	begin(0);
	rig->lun.space.used_bytes = 7 * GIB;
	scsi_thresholds_init(lu());
	host_log_in(0);
	cr_expect_eq(ask(0), 0x062900);
	cr_expect(!check(7 * GIB, 60 * GIB));
	cr_expect_eq(ask(0), 0);
	cr_expect(!check(GIB, 60 * GIB) && check(7 * GIB, 60 * GIB));
	cr_expect_eq(ask(0), THRESHOLD);
	end(1);
}

/* Change one byte of a mode page. */
static void select_byte(uint8_t page, uint8_t subpage, unsigned byte, uint8_t value)
{
	uint8_t list[64];
	uint32_t length;

	rig->nexus = hosts.nexus[0];
	rig_do(rig, CDB(0x1A, 0x08, page, subpage, 64), NULL, 0);
	length = (uint32_t)rig->cmd.data_bytes;
	memcpy(list, rig->buffer, length);
	list[0] = list[2] = 0;
	list[4 + byte] = value;
	rig_do(rig, CDB(0x15, PF, 0, 0, (uint8_t)length), list, length);
}

Test(scsi_threshold, hosts_change_them)
{
	begin(1);
	/* Only what may change. */
	select_byte(0x1C, 0x02, 17, 0x03);
	cr_expect_eq(rig_sense(rig), 0x052600);
	select_byte(0x1C, 0x02, 16, 0x89);
	cr_expect_eq(rig_sense(rig), 0x052600);
	/* To 255 sets: below what is used, so it is crossed at once, and told. */
	select_byte(0x1C, 0x02, 22, 0);
	cr_expect_eq(rig_sense(rig), 0);
	cr_expect(check(3 * GIB, 60 * GIB));
	cr_expect_eq(ask(0), THRESHOLD);
	/* Off, and on again. */
	select_byte(0x1C, 0x02, 16, 0x01);
	cr_expect(!check(8 * GIB, 60 * GIB));
	cr_expect_eq(ask(0), 0);
	select_byte(0x1C, 0x02, 16, 0x81);
	cr_expect(check(8 * GIB, 60 * GIB));
	cr_expect_eq(ask(0), THRESHOLD);
	/* Without LBPERE nothing is told. */
	select_byte(0x01, 0, 7, 0);
	cr_expect_eq(rig_sense(rig), 0);
	cr_expect(!check(GIB, 60 * GIB) && !check(8 * GIB, 0));
	cr_expect_eq(ask(0), 0);
	end(1);
}

/* -- What the configuration says may change -- */

static void on_renewed(struct scsi_lu_news *news)
{
	cr_expect_eq(news->res, 0);
	checked++;
}

static void renew(bool grown, unsigned warn_percent)
{
	struct scsi_lu_news news = {.lu = lu(),
				    .grown = grown,
				    .warn_percent = warn_percent,
				    .control = &rig->loop,
				    .done = on_renewed};
	unsigned before = checked;

	loop_role_assume();
	scsi_lu_renew(&news);
	fake_run(rig);
	cr_assert_eq(checked, before + 1);
}

static void expect_sets(uint8_t control, uint64_t used, uint64_t left)
{
	rig->nexus = hosts.nexus[0];
	rig_do(rig, CDB(0x1A, 0x08, (uint8_t)(control << 6 | 0x1C), 0x02, 255), NULL, 0);
	cr_expect_eq(get_be32(rig->buffer + 24), used, "%u", get_be32(rig->buffer + 24));
	cr_expect_eq(get_be32(rig->buffer + 32), left, "%u", get_be32(rig->buffer + 32));
}

Test(scsi_threshold, follow_the_configuration)
{
	begin(2);
	renew(false, 75);
	cr_expect(ask(0) == 0 && ask(1) == 0);
	renew(false, 50);
	cr_expect(ask(0) == 0x062A01 && ask(0) == 0 && ask(1) == 0x062A01);
	expect_sets(0, 8 * GIB / 100 * 50 / SET, LEFT_SETS);
	cr_expect(check(5 * GIB, 60 * GIB) && ask(0) == THRESHOLD && ask(1) == THRESHOLD);
	/* The pool's. */
	rig->lun.space.warn_percent = 90;
	renew(false, 50);
	cr_expect(ask(0) == 0x062A01 && ask(1) == 0x062A01);
	expect_sets(0, 8 * GIB / 100 * 50 / SET, 5 * GIB / SET);
	/* Sets are larger when the disk is. */
	rig->lun.state.size_bytes *= 2;
	renew(true, 50);
	cr_expect(ask(0) == 0x062A09 && ask(0) == 0x062A01 && ask(0) == 0);
	expect_sets(0, 16 * GIB / 100 * 50 / (2 * SET), 5 * GIB / (2 * SET));
	end(2);
}

/* What a host has set stays, and what it has not follows when it says so (RTD). */
Test(scsi_threshold, follow_not_what_a_host_has_set)
{
	begin(1);
	select_byte(0x1C, 0x02, 22, 0);
	cr_assert_eq(rig_sense(rig), 0);
	renew(false, 50);
	expect_sets(0, USED_SETS & 0xFF, LEFT_SETS);
	expect_sets(2, 8 * GIB / 100 * 50 / SET, LEFT_SETS);
	cr_expect_eq(ask(0), 0);
	rig_do(rig, CDB(0x15, 0x12), NULL, 0);
	expect_sets(0, 8 * GIB / 100 * 50 / SET, LEFT_SETS);
	renew(false, 60);
	cr_expect_eq(ask(0), 0x062A01);
	expect_sets(0, 8 * GIB / 100 * 60 / SET, LEFT_SETS);
	end(1);
}

/* The highest count that a page can hold, of a logical unit of 64 TiB: beyond all there is. */
Test(scsi_threshold, counts_beyond_everything)
{
	begin(1);
	/* Of the pool none. */
	select_byte(0x1C, 0x02, 24, 0x00);
	cr_expect_eq(rig_sense(rig), 0);
	rig->lun.state.size_bytes = 65536 * GIB;
	for (unsigned byte = 20; byte < 24; byte++) {
		select_byte(0x1C, 0x02, byte, byte == 20 ? 0x80 : 0);
		cr_expect_eq(rig_sense(rig), 0);
	}
	select_byte(0x1C, 0x02, 23, 1);
	cr_expect(!check(65536 * GIB, 60 * GIB));
	cr_expect(!check(0, 60 * GIB));
	cr_expect_eq(ask(0), 0);
	end(1);
}

/* SITUA: one of them, whoever asks first, for each crossing. */
Test(scsi_threshold, single_initiator)
{
	begin(3);
	select_byte(0x1C, 0x02, 4, 0x01);
	cr_expect_eq(rig_sense(rig), 0);
	for (unsigned i = 1; i < 3; i++)
		cr_expect_eq(ask(i), 0x062A01);
	for (unsigned first = 0; first < 3; first++) {
		cr_expect(check(7 * GIB, 60 * GIB));
		cr_expect_eq(ask(first), THRESHOLD);
		for (unsigned i = 0; i < 3; i++)
			cr_expect_eq(ask(i), 0);
		cr_expect(!check(GIB, 60 * GIB));
	}
	/* Claimed by one is not claimed of the other threshold. */
	cr_expect(check(7 * GIB, 60 * GIB));
	cr_expect_eq(ask(0), THRESHOLD);
	cr_expect(check(7 * GIB, GIB));
	cr_expect_eq(ask(1), THRESHOLD);
	cr_expect_eq(get_be32(rig->cmd.sense + 3), 24);
	cr_expect_eq(ask(2), 0);
	end(3);
}

Test(scsi_threshold, without_a_pool)
{
	begin(1);
	rig->lun.has_space = false;
	cr_expect(!check(8 * GIB, 0));
	rig_do(rig, CDB(0x1A, 0x08, 0x1C, 0x02, 255), NULL, 0);
	cr_expect(rig_sense(rig) == 0 && rig->buffer[20] == 0x01 && rig->buffer[28] == 0x00);
	rig_do(rig, CDB(0x1A, 0x08, 0x01, 0, 255), NULL, 0);
	cr_expect_eq(rig->buffer[4 + 7], 0);
	end(1);
}
