/*
 * Watching pools: when to look again as a table, which pool an image belongs to, and what a daemon
 * that runs finds. What hosts see is in initiator-tests/space.sh.
 */
#include "target/ctl/space.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/parse.h"
#include "lun/space.h"
#include "target/ctl/luns.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

Test(ctl_space, when_to_look_again)
{
	static const struct {
		const char *what;
		struct space_view view;
		uint64_t expected_ms;
	} rows[] = {
		{"plenty", {.free_bytes = 100 * GIB, .changed = true}, 5000},
		{"plenty, quiet", {.free_bytes = 100 * GIB, .previous_ms = 5000}, 5000},
		{"a gibibyte above the reserve",
		 {.free_bytes = 2 * GIB, .reserve_bytes = GIB, .changed = true},
		 1024},
		{"the warning is nearer",
		 {.free_bytes = 2 * GIB,
		  .reserve_bytes = GIB,
		  .warn_bytes = 2 * GIB - 200 * MIB,
		  .changed = true},
		 200},
		{"a warning that is behind",
		 {.free_bytes = 2 * GIB,
		  .reserve_bytes = GIB,
		  .warn_bytes = 3 * GIB,
		  .changed = true},
		 1024},
		{"at the reserve",
		 {.free_bytes = GIB + 1, .reserve_bytes = GIB, .changed = true},
		 100},
		{"small and quiet", {.free_bytes = 50 * MIB, .previous_ms = 100}, 200},
		{"small and quiet for long", {.free_bytes = 50 * MIB, .previous_ms = 1900}, 2000},
		{"guarded",
		 {.free_bytes = 0, .reserve_bytes = GIB, .guarded = true, .changed = true},
		 1000},
		{"guarded, quiet",
		 {.free_bytes = 0, .reserve_bytes = GIB, .guarded = true, .previous_ms = 1000},
		 1000},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t ms = space_next_look_ms(&rows[i].view);

		cr_expect(ms == rows[i].expected_ms, "%s: %llu", rows[i].what,
			  (unsigned long long)ms);
	}
}

/* -- Pools of images -- */

static char dirs[2][64];
static struct lun *luns[4];
static struct loop_group group;

static void setup(void)
{
	static const char *const where[] = {"/dev/shm", "/var/tmp"};
	const struct loop_config loop = {.name = "loop0", .engine = LOOP_ENGINE_AIO};

	for (unsigned i = 0; i < 2; i++) {
		(void)snprintf(dirs[i], sizeof(dirs[i]), "%s/ringsan-space-XXXXXX", where[i]);
		cr_assert_not_null(mkdtemp(dirs[i]));
	}
	cr_assert_eq(loop_create(&loop, &group.loops[0]), 0);
	group.count = 1;
}

static void teardown(void)
{
	char command[192];

	loop_free(group.loops[0], false);
	(void)snprintf(command, sizeof(command), "rm -rf %s %s", dirs[0], dirs[1]);
	/* The test is one thread. NOLINTNEXTLINE */
	cr_assert_eq(system(command), 0);
}

static struct conf *configure(const char *pools)
{
	static struct conf_errors errors;
	struct conf_text from = {.name = "f"};
	struct conf *conf;
	char text[2048];

	(void)snprintf(text, sizeof(text),
		       "state-dir = \"%s\" portal \"127.0.0.1:0\" { }\n%s"
		       "target \"iqn.2026-11.io.ringsan:t\" {\n"
		       "lun 0 { image = \"%s/a\" size = 8M }\n"
		       "lun 1 { image = \"%s/b\" size = 8M }\n"
		       "lun 2 { type = null size = 8M }\n"
		       "lun 3 { image = \"%s/c\" size = 8M }\n}\n",
		       dirs[0], pools, dirs[0], dirs[1], dirs[1]);
	from.text = text;
	from.length = strlen(text);
	cr_assert_eq(conf_parse_text(&from, &conf, &errors), 0, "%s", errors.items[0].text);
	return conf;
}

static struct space *create(const struct conf *conf)
{
	const struct space_loops loops = {.control = group.loops[0], .data = group.loops[0]};
	struct space *space;

	memset(luns, 0, sizeof(luns));
	cr_assert_eq(luns_open(conf, &group, luns), 0);
	cr_assert_eq(space_create(conf, loops, &space), 0);
	for (unsigned i = 0; i < 4; i++) {
		struct space_member *member;

		cr_assert_eq(
			space_find(space, conf, conf->targets[0].luns[i].image, luns[i], &member),
			0);
		space_join(space, member, NULL);
	}
	return space;
}

static void destroy(struct space *space, struct conf *conf)
{
	for (unsigned i = 0; i < 4; i++)
		lun_close(luns[i]);
	space_free(space);
	conf_free(conf);
}

Test(ctl_space, each_file_system_is_a_pool, .init = setup, .fini = teardown)
{
	struct conf *conf = configure("");
	struct space *space = create(conf);
	struct lun_space figures;

	cr_assert(lun_pool(luns[0]) != NULL && lun_pool(luns[1]) != NULL);
	cr_expect_neq(lun_pool(luns[0]), lun_pool(luns[1]));
	cr_expect_eq(lun_pool(luns[1]), lun_pool(luns[3]));
	cr_expect_null(lun_pool(luns[2]), "null takes no space");
	cr_expect_str_eq(lun_pool(luns[0])->name, dirs[0]);
	cr_expect_eq(lun_pool(luns[0])->reserve, 256 * MIB);
	cr_expect_eq(lun_pool(luns[0])->warn_percent, 80);
	cr_expect(lun_space(luns[0], &figures) && figures.total_bytes > 0);
	cr_expect(!lun_space(luns[2], &figures));
	destroy(space, conf);
}

/* The pool is where the image is, not what leads to it. */
Test(ctl_space, behind_a_link, .init = setup, .fini = teardown)
{
	struct conf *conf = configure("");
	struct space *space;
	char link[96];
	char real[96];

	(void)snprintf(link, sizeof(link), "%s/a", dirs[0]);
	(void)snprintf(real, sizeof(real), "%s/real", dirs[1]);
	cr_assert_eq(symlink(real, link), 0);
	cr_assert(mknod(real, S_IFREG | 0600, 0) == 0 && truncate(real, 8 * MIB) == 0);
	space = create(conf);
	cr_assert_not_null(lun_pool(luns[0]));
	cr_expect_str_eq(lun_pool(luns[0])->path, dirs[1]);
	cr_expect_eq(lun_pool(luns[0]), lun_pool(luns[1]));
	destroy(space, conf);
	(void)unlink(real);
}

Test(ctl_space, a_section_describes_one, .init = setup, .fini = teardown)
{
	char pools[512];
	struct conf *conf;
	struct space *space;

	(void)snprintf(pools, sizeof(pools),
		       "pool fast { path = \"%s\" reserve = 99%% warn = 0%% }\n"
		       "pool twin { path = \"/dev/shm\" reserve = 1%% }\n"
		       "pool gone { path = \"/nonexistent\" }\n",
		       dirs[0]);
	conf = configure(pools);
	space = create(conf);
	cr_expect_str_eq(lun_pool(luns[0])->name, "fast");
	cr_expect_eq(lun_pool(luns[0])->reserve, 99);
	cr_expect_eq(lun_pool(luns[0])->warn_percent, 0);
	cr_expect_str_eq(lun_pool(luns[1])->name, dirs[1]);
	destroy(space, conf);
}
