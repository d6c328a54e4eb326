/*
 * How large the daemon becomes: the sums, and limits that contradict each other.
 */
#include "target/ctl/sizing.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "lun/qcow2_chain.h"
#include "target/iscsi/server.h"

#define MIB (UINT64_C(1) << 20)

static char file[] = "f";

static struct conf conf_of(uint64_t memory_mib, uint32_t sessions, uint32_t loops)
{
	return (struct conf){
		.file = file,
		.loops = loops,
		.limits = {.memory_bytes = memory_mib * MIB,
			   .qcow2_cache_bytes = MIB,
			   .sessions = sessions,
			   .connections_before_login = 64},
	};
}

static struct conf_errors *no_errors(void)
{
	static struct conf_errors errors;

	errors.count = 0;
	return &errors;
}

Test(ctl_sizing, loops)
{
	static const struct {
		uint32_t configured;
		unsigned cpus, loops;
	} rows[] = {
		{0, 1, 1}, {0, 8, 8}, {0, 1000, LOOPS_MAX}, {3, 8, 3}, {LOOPS_MAX, 1, LOOPS_MAX}};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct conf conf = conf_of(4096, 1, rows[i].configured);
		struct sizing sizing;

		cr_assert(sizing_compute(&conf, rows[i].cpus, &sizing, no_errors()));
		cr_expect_eq(sizing.loops, rows[i].loops, "row %zu", i);
		cr_expect_eq(sizing.buffers_per_loop,
			     4096 * MIB / LOOP_BUFFER_BYTES / rows[i].loops);
		cr_expect_eq(sizing.buffers_control, 64);
	}
	cr_expect_geq(sizing_cpus(), 1);
}

/* What is called enough is enough, and one session more is not. */
Test(ctl_sizing, memory_for_sessions)
{
	for (uint32_t loops = 1; loops <= LOOPS_MAX; loops++) {
		struct conf conf = conf_of(512, 1, loops);
		struct sizing sizing;

		cr_assert(sizing_compute(&conf, 1, &sizing, no_errors()));
		conf.limits.sessions = sizing.sessions_per_loop * loops;
		cr_expect(sizing_compute(&conf, 1, &sizing, no_errors()), "%u loops", loops);
		conf.limits.sessions++;
		cr_expect_not(sizing_compute(&conf, 1, &sizing, no_errors()), "%u loops", loops);
	}
}

/* The memory that the message asks for is enough. */
Test(ctl_sizing, the_remedy_works)
{
	static const uint32_t sessions[] = {1, 7, 256, 257, 10000, 65535};

	for (size_t i = 0; i < ARRAY_SIZE(sessions); i++) {
		for (uint32_t loops = 1; loops <= LOOPS_MAX; loops += 9) {
			struct conf conf = conf_of(1, sessions[i], loops);
			struct conf_errors *errors = no_errors();
			struct sizing sizing;
			const char *at;

			cr_assert_not(sizing_compute(&conf, 1, &sizing, errors));
			cr_assert_eq(errors->count, 1);
			at = strstr(errors->items[0].text, "to at least ");
			cr_assert_not_null(at, "%s", errors->items[0].text);
			conf.limits.memory_bytes = strtoull(at + 12, NULL, 10) * MIB;
			cr_expect(sizing_compute(&conf, 1, &sizing, no_errors()),
				  "%u sessions, %u loops: %s", sessions[i], loops,
				  errors->items[0].text);
		}
	}
}

/* The line that operators read: every pool, and the floor of a session. */
Test(ctl_sizing, memory_in_words)
{
	struct conf conf = conf_of(640, 1000, 2);
	char text[SIZING_TEXT_BYTES];
	struct sizing sizing;

	cr_assert(sizing_compute(&conf, 1, &sizing, no_errors()));
	sizing_memory_text(&conf, &sizing, text);
	cr_expect_not_null(strstr(text, "buffers 640 MiB"), "%s", text);
	cr_expect_not_null(strstr(text, "receiving 9 MiB"), "%s", text);
	cr_expect_not_null(strstr(text, "1000 sessions "), "%s", text);
	cr_expect_not_null(strstr(text, "64 logins 4 MiB"), "%s", text);
	cr_expect_not_null(strstr(text, "sure of 8 commands: 10 buffers (640 KiB) and 12 tasks"),
			   "%s", text);
	/* And the longest still ends in the floor. */
	conf = conf_of(1 << 20, 65535, LOOPS_MAX);
	conf.limits.connections_before_login = 4096;
	cr_assert(sizing_compute(&conf, 1, &sizing, no_errors()));
	sizing_memory_text(&conf, &sizing, text);
	cr_expect_not_null(strstr(text, "and 12 tasks"), "%s", text);
}

/* Tables of qcow2 images count where there is one; never more than is configured, but for what
 * describes them, and never spread too thin. */
Test(ctl_sizing, qcow2_cache)
{
	static const struct {
		uint64_t mib;
		unsigned loops, owners;
		uint64_t each_mib;
	} rows[] = {{1024, 1, 1, 1024}, {1024, 8, 8, 128}, {1024, 64, 16, 64}, {1, 8, 1, 1},
		    {127, 8, 1, 127},   {128, 8, 2, 64},   {192, 2, 2, 96}};
	struct conf_lun lun = {.type = CONF_LUN_RAW};
	struct conf_target target = {.luns = &lun, .lun_count = 1};
	struct sizing sizing;
	char text[SIZING_TEXT_BYTES];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct conf conf = conf_of(4096, 1, rows[i].loops);
		struct qcow2_share share = qcow2_share(rows[i].mib * MIB, rows[i].loops);

		cr_expect_eq(share.owners, rows[i].owners, "row %zu", i);
		cr_expect_eq(share.bytes, rows[i].each_mib * MIB, "row %zu", i);
		conf.limits.qcow2_cache_bytes = rows[i].mib * MIB;
		conf.targets = &target;
		conf.target_count = 1;
		lun.type = CONF_LUN_RAW;
		cr_assert(sizing_compute(&conf, 1, &sizing, no_errors()));
		cr_expect_eq(sizing.qcow2_bytes, 0);
		lun.type = CONF_LUN_QCOW2;
		cr_assert(sizing_compute(&conf, 1, &sizing, no_errors()));
		cr_expect_geq(sizing.qcow2_bytes, rows[i].mib * MIB, "row %zu", i);
		cr_expect_leq(sizing.qcow2_bytes, rows[i].mib * MIB * 17 / 16, "row %zu", i);
		sizing_memory_text(&conf, &sizing, text);
		cr_expect_not_null(strstr(text, "qcow2 tables "), "%s", text);
	}
}

/* As large as the configuration may ask: no sum wraps. */
Test(ctl_sizing, the_largest)
{
	struct conf conf = conf_of(1 << 20, 65535, 1);
	struct sizing sizing;

	cr_assert(sizing_compute(&conf, 1, &sizing, no_errors()));
	cr_expect_eq(sizing.buffers_per_loop, 16777216);
	conf.limits.connections_before_login = 4096;
	cr_assert(sizing_compute(&conf, 1, &sizing, no_errors()));
	cr_expect_gt(sizing.descriptors, 65535 + 4096);
}

/* An image has two descriptors, a LUN without one has none. */
Test(ctl_sizing, descriptors_by_type)
{
	static const struct {
		enum conf_lun_type type;
		uint64_t each;
	} rows[] = {
		{CONF_LUN_RAW, 2}, {CONF_LUN_NULL, 0}, {CONF_LUN_FAULT, 2}, {CONF_LUN_QCOW2, 16}};
	struct conf_lun luns[10];
	struct conf_target target = {.luns = luns, .lun_count = 10};
	struct conf conf = conf_of(512, 256, 1);
	struct sizing none;
	struct sizing sizing;

	cr_assert(sizing_compute(&conf, 1, &none, no_errors()));
	conf.targets = &target;
	conf.target_count = 1;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		for (size_t j = 0; j < 10; j++)
			luns[j] = (struct conf_lun){.type = rows[i].type};
		cr_assert(sizing_compute(&conf, 1, &sizing, no_errors()));
		cr_expect_eq(sizing.descriptors, none.descriptors + 10 * rows[i].each, "row %zu",
			     i);
	}
}

Test(ctl_sizing, too_few_files_are_said_so)
{
	struct conf conf = conf_of(512, 256, 1);
	struct conf_errors *errors = no_errors();
	const struct rlimit few = {.rlim_cur = 64, .rlim_max = 300};
	struct rlimit now;
	struct sizing sizing;

	cr_assert(sizing_compute(&conf, 1, &sizing, errors));
	cr_assert(sizing_raise_nofile(&conf, &sizing, errors));
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &now), 0);
	cr_expect_eq(now.rlim_cur, now.rlim_max);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	cr_assert_not(sizing_raise_nofile(&conf, &sizing, errors));
	cr_assert_eq(errors->count, 1);
	cr_expect_not_null(strstr(errors->items[0].text, "256 sessions, 0 images"));
	cr_expect_not_null(strstr(errors->items[0].text, "LimitNOFILE"));
}
