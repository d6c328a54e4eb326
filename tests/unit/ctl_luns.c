/*
 * Opening many LUNs at once: none is missing, all are in order, and of those that share an image it
 * is never chance that decides.
 */
#include "target/ctl/luns.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define LUNS_MAX 512u

static char dir[64];
static char state_dir[80];
static char file[] = "f";
static char names[2][40] = {"iqn.2026-11.io.ringsan:a", "iqn.2026-11.io.ringsan:b"};
static char paths[LUNS_MAX][96];
static struct conf_lun config[LUNS_MAX];
static struct conf_target targets[2];
static struct conf conf;
static struct loop_group group;
static struct lun *luns[LUNS_MAX];

static void setup(void)
{
	const struct loop_config loop = {.name = "loop0", .engine = LOOP_ENGINE_AIO};

	(void)snprintf(dir, sizeof(dir), "/dev/shm/ringsan-luns-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	(void)snprintf(state_dir, sizeof(state_dir), "%s/state", dir);
	cr_assert_eq(mkdir(state_dir, 0700), 0);
	cr_assert_eq(loop_create(&loop, &group.loops[0]), 0);
	group.count = 1;
	conf = (struct conf){.file = file, .state_dir = state_dir, .targets = targets};
}

static void teardown(void)
{
	char command[128];

	loop_free(group.loops[0], false);
	(void)snprintf(command, sizeof(command), "rm -rf %s", dir);
	/* The test is one thread again. NOLINTNEXTLINE */
	cr_assert_eq(system(command), 0);
}

TestSuite(ctl_luns, .init = setup, .fini = teardown);

/* `count` LUNs on two targets, the first third of them on the first. */
static void configure(size_t count, enum conf_lun_type type)
{
	size_t on_first = count / 3;

	for (size_t i = 0; i < count; i++) {
		config[i] = (struct conf_lun){
			.number = (uint16_t)i,
			.type = type,
			.cache = CONF_CACHE_DIRECT,
			.size_bytes = MIB,
			.image = type == CONF_LUN_RAW ? paths[i] : NULL,
		};
		(void)snprintf(paths[i], sizeof(paths[i]), "%s/%zu", dir, i);
	}
	targets[0] = (struct conf_target){.name = names[0], .luns = config, .lun_count = on_first};
	targets[1] = (struct conf_target){
		.name = names[1], .luns = config + on_first, .lun_count = count - on_first};
	conf.target_count = 2;
}

static void close_all(size_t count)
{
	for (size_t i = 0; i < count; i++)
		lun_close(luns[i]);
}

static void expect_all_in_order(size_t count)
{
	char name[80];

	memset(luns, 0, sizeof(luns));
	cr_assert_eq(luns_open(&conf, &group, luns), 0);
	for (size_t i = 0; i < count; i++) {
		(void)snprintf(name, sizeof(name), "%s lun %zu", names[i >= count / 3], i);
		cr_expect_str_eq(lun_name(luns[i]), name);
		cr_expect(lun_state(luns[i])->online, "%s", lun_state(luns[i])->offline_reason);
	}
}

Test(ctl_luns, all_are_there_and_in_order)
{
	static const size_t counts[] = {0, 1, 7, 16, 100, LUNS_MAX};
	static struct lun_identity first[LUNS_MAX];

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		configure(counts[i], CONF_LUN_RAW);
		expect_all_in_order(counts[i]);
		close_all(counts[i]);
	}
	/* And each found what it was the last time. */
	for (unsigned round = 0; round < 2; round++) {
		expect_all_in_order(LUNS_MAX);
		for (size_t i = 0; i < LUNS_MAX; i++) {
			if (round == 0)
				first[i] = *lun_identity(luns[i]);
			cr_expect_arr_eq(lun_identity(luns[i])->naa, first[i].naa, LUN_NAA_BYTES);
		}
		close_all(LUNS_MAX);
	}
	cr_expect_eq(lun_check_identities(luns, 0), 0);
}

/* Identities in the state directory: files made side by side. */
Test(ctl_luns, state_directory_is_written_side_by_side)
{
	static struct lun_identity first[LUNS_MAX];

	configure(LUNS_MAX, CONF_LUN_NULL);
	for (unsigned round = 0; round < 2; round++) {
		expect_all_in_order(LUNS_MAX);
		cr_assert_eq(lun_check_identities(luns, LUNS_MAX), 0);
		for (size_t i = 0; i < LUNS_MAX; i++) {
			cr_expect(lun_state(luns[i])->online);
			if (round == 0)
				first[i] = *lun_identity(luns[i]);
			cr_expect_arr_eq(lun_identity(luns[i])->naa, first[i].naa, LUN_NAA_BYTES);
		}
		close_all(LUNS_MAX);
	}
}

/* One image under two names each time, made by then or not: the first has it. */
Test(ctl_luns, the_first_of_two_has_the_image)
{
	configure(64, CONF_LUN_RAW);
	for (size_t i = 1; i < 64; i += 2)
		(void)snprintf(paths[i], sizeof(paths[i]), "%s/./%zu", dir, i - 1);
	for (unsigned round = 0; round < 20; round++) {
		memset(luns, 0, sizeof(luns));
		cr_assert_eq(luns_open(&conf, &group, luns), 0);
		for (size_t i = 0; i < 64; i++)
			cr_expect_eq(lun_state(luns[i])->online, i % 2 == 0, "LUN %zu", i);
		close_all(64);
	}
}

/* Readers may share; they show one disk, so that only the first is served in the end. */
Test(ctl_luns, two_readers_find_one_identity)
{
	configure(32, CONF_LUN_RAW);
	for (size_t i = 0; i < 32; i++) {
		FILE *image;

		config[i].read_only = true;
		config[i].image = paths[i & ~1u];
		image = fopen(paths[i & ~1u], "w");
		cr_assert_not_null(image);
		cr_assert_eq(ftruncate(fileno(image), MIB), 0);
		(void)fclose(image);
	}
	memset(luns, 0, sizeof(luns));
	cr_assert_eq(luns_open(&conf, &group, luns), 0);
	for (size_t i = 0; i < 32; i += 2) {
		cr_expect_arr_eq(lun_identity(luns[i])->naa, lun_identity(luns[i + 1])->naa,
				 LUN_NAA_BYTES);
	}
	close_all(32);
}

/* What cannot be used is offline; the others are not concerned. */
Test(ctl_luns, bad_images_stay_alone)
{
	configure(48, CONF_LUN_RAW);
	for (size_t i = 0; i < 48; i += 3)
		(void)snprintf(paths[i], sizeof(paths[i]), "%s/no-such-folder/%zu", dir, i);
	memset(luns, 0, sizeof(luns));
	cr_assert_eq(luns_open(&conf, &group, luns), 0);
	for (size_t i = 0; i < 48; i++)
		cr_expect_eq(lun_state(luns[i])->online, i % 3 != 0, "LUN %zu", i);
	close_all(48);
}
