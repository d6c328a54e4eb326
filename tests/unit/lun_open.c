/*
 * Opening raw images: what is made, what is refused and how that is explained. A bad image never
 * fails the open; the LUN is offline with a reason that names what would mend it.
 */
#include "tests/unit/lun_testing.h"

#include <sys/wait.h>

#define SIZE_BYTES (1u << 20)

/* Loops that never run: open and close are the control thread's. */
struct scene {
	struct rig rig;
	struct lun_spec spec;
	char path[96];
};

static void scene_init(struct scene *scene)
{
	rig_create(&scene->rig, LOOP_ENGINE_AIO, "/var/tmp");
	snprintf(scene->path, sizeof(scene->path), "%s/image", scene->rig.dir);
	scene->spec = test_spec(&scene->rig, "raw");
	scene->spec.path = scene->path;
	scene->spec.size_bytes = SIZE_BYTES;
}

static struct lun *scene_open(struct scene *scene)
{
	struct lun *lun;

	cr_assert_eq(lun_open(&scene->spec, &scene->rig.group, &lun), 0);
	return lun;
}

static void make_file(const struct scene *scene, off_t size, mode_t mode)
{
	int fd = open(scene->path, O_CREAT | O_EXCL | O_RDWR, 0600);

	cr_assert(fd >= 0 && !ftruncate(fd, size) && !fchmod(fd, mode));
	close(fd);
}

/* Offline, with these words in the reason; and everything can be asked of it all the same. */
static void expect_offline(struct scene *scene, const char *words)
{
	struct lun *lun = scene_open(scene);
	const struct lun_state *state = lun_state(lun);

	cr_assert_not(state->online, "expected: %s", words);
	cr_assert_not_null(strstr(state->offline_reason, words), "\"%s\" lacks \"%s\"",
			   state->offline_reason, words);
	cr_assert_geq(lun_limits(lun)->logical_block_bytes, 512);
	cr_assert_str_eq(lun_name(lun), scene->spec.name);
	lun_close(lun);
}

static void expect_online(struct scene *scene, uint64_t size_bytes)
{
	struct lun *lun = scene_open(scene);

	cr_assert(lun_state(lun)->online, "%s", lun_state(lun)->offline_reason);
	cr_assert_eq(lun_state(lun)->size_bytes, size_bytes);
	lun_close(lun);
}

Test(open, makes_a_thin_private_file)
{
	struct scene s;
	struct stat st;

	scene_init(&s);
	umask(0);
	expect_online(&s, SIZE_BYTES);
	cr_assert_eq(stat(s.path, &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0600);
	cr_assert_eq(st.st_size, SIZE_BYTES);
	cr_assert_leq(st.st_blocks, 8, "its attribute may have a block of its own");
	expect_online(&s, SIZE_BYTES);
	s.spec.size_bytes = 0;
	expect_online(&s, SIZE_BYTES);
	rig_free(&s.rig);
}

Test(open, refuses_what_it_cannot_serve)
{
	struct scene s;
	char folder[96];

	scene_init(&s);
	s.spec.size_bytes = 0;
	expect_offline(&s, "no size is configured");
	s.spec.size_bytes = SIZE_BYTES + 100;
	expect_offline(&s, "not a multiple of 512");
	s.spec.size_bytes = SIZE_BYTES;
	s.spec.read_only = true;
	expect_offline(&s, "does not exist");
	s.spec.read_only = false;
	snprintf(folder, sizeof(folder), "%s/missing/image", s.rig.dir);
	s.spec.path = folder;
	expect_offline(&s, "No such file");
	s.spec.path = s.rig.dir;
	expect_offline(&s, "neither a file nor a block device");
	s.spec.path = "/dev/null";
	expect_offline(&s, "neither a file nor a block device");
	s.spec.path = NULL;
	expect_offline(&s, "no image is configured");
	s.spec.type = "qcow9";
	expect_offline(&s, "no image type \"qcow9\"");
	rig_free(&s.rig);
}

Test(open, a_fifo_does_not_hang_the_start)
{
	struct scene s;

	scene_init(&s);
	cr_assert_eq(mkfifo(s.path, 0600), 0);
	expect_offline(&s, "neither a file nor a block device");
	rig_free(&s.rig);
}

/* A tape rewinds and a watchdog starts when it is opened. This one would answer ENXIO. */
Test(open, a_character_device_is_not_opened)
{
	struct scene s;

	scene_init(&s);
	if (mknod(s.path, S_IFCHR | 0600, 0))
		cr_log_warn("skipped: no device can be made here");
	else
		expect_offline(&s, "neither a file nor a block device");
	rig_free(&s.rig);
}

/* The engine's offsets are signed, and a transfer's end has to be one, too. */
Test(open, sizes_near_the_end_of_offsets)
{
	struct scene s;

	scene_init(&s);
	rig_free(&s.rig);
	rig_create(&s.rig, LOOP_ENGINE_AIO, "/dev/shm"); /* Takes files of any size. */
	snprintf(s.path, sizeof(s.path), "%s/image", s.rig.dir);
	s.spec.size_bytes = (uint64_t)INT64_MAX - 511;
	expect_offline(&s, "too large");
	cr_assert_eq(access(s.path, F_OK), -1, "nothing was made");
	make_file(&s, INT64_MAX - 511, 0600);
	expect_offline(&s, "too large");
	s.spec.size_bytes = 0;
	expect_offline(&s, "too large");
	s.spec.size_bytes = SIZE_BYTES;
	expect_online(&s, SIZE_BYTES);
	rig_free(&s.rig);
}

Test(open, size_against_configuration)
{
	struct scene s;

	scene_init(&s);
	make_file(&s, SIZE_BYTES, 0600);
	s.spec.size_bytes = 2 * SIZE_BYTES;
	expect_offline(&s, "it has 1048576 bytes, configured are 2097152");
	s.spec.size_bytes = SIZE_BYTES / 2; /* Less is served; the rest is not touched. */
	expect_online(&s, SIZE_BYTES / 2);
	s.spec.size_bytes = 0;
	expect_online(&s, SIZE_BYTES);
	cr_assert_eq(truncate(s.path, SIZE_BYTES + 100), 0);
	expect_offline(&s, "is not a multiple of 512");
	cr_assert_eq(truncate(s.path, 0), 0);
	expect_offline(&s, "is not a multiple of 512");
	s.spec.size_bytes = SIZE_BYTES;
	expect_offline(&s, "it has 0 bytes"); /* An emptied image is not a new one. */
	rig_free(&s.rig);
}

Test(open, configured_sizes_of_blocks_and_units)
{
	static const struct {
		uint32_t block, physical, unit;
		const char *words;
	} wrong[] = {
		{520, 0, 0, "logical block size"},      {512, 8192, 0, "physical block size"},
		{512, 0, 3000, "allocation unit"},      {512, 0, 2 << 20, "allocation unit"},
		{4096, 0, 512, "smaller than a block"},
	};
	struct scene s;

	scene_init(&s);
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		s.spec.logical_block_bytes = wrong[i].block;
		s.spec.physical_block_bytes = wrong[i].physical;
		s.spec.allocation_unit_bytes = wrong[i].unit;
		expect_offline(&s, wrong[i].words);
	}
	rig_free(&s.rig);
}

/* -- The lock -- */

Test(open, one_writer_or_many_readers)
{
	struct scene s;
	struct lun *first;
	struct lun *second;

	scene_init(&s);
	first = scene_open(&s);
	cr_assert(lun_state(first)->online);
	expect_offline(&s, "it is locked");
	s.spec.read_only = true;
	expect_offline(&s, "it is locked");
	lun_close(first);
	first = scene_open(&s);
	second = scene_open(&s);
	cr_assert(lun_state(first)->online && lun_state(second)->online, "readers share");
	cr_assert(lun_state(first)->read_only);
	s.spec.read_only = false;
	expect_offline(&s, "it is locked");
	lun_close(first);
	lun_close(second);
	expect_online(&s, SIZE_BYTES);
	rig_free(&s.rig);
}

/* A server that was killed keeps it until its last I/O has ended, and its successor is there
 * sooner. */
Test(open, a_lock_that_is_given_up_a_moment_later)
{
	struct scene s;
	int ready[2];
	char byte;
	pid_t child;

	scene_init(&s);
	cr_assert_eq(pipe(ready), 0);
	child = fork();
	if (!child) {
		struct lun *lun = scene_open(&s);

		(void)!write(ready[1], lun_state(lun)->online ? "y" : "n", 1);
		(void)usleep(300000);
		_exit(0);
	}
	cr_assert(child > 0 && read(ready[0], &byte, 1) == 1 && byte == 'y');
	expect_online(&s, SIZE_BYTES);
	waitpid(child, NULL, 0);
	rig_free(&s.rig);
}

/* Another process holds it, and the lock goes with its last description, however it ends. */
Test(open, a_lock_of_another_process)
{
	struct scene s;
	int ready[2];
	char byte;
	pid_t child;

	scene_init(&s);
	cr_assert_eq(pipe(ready), 0);
	child = fork();
	if (!child) {
		struct lun *lun = scene_open(&s);

		(void)!write(ready[1], lun_state(lun)->online ? "y" : "n", 1);
		pause();
	}
	cr_assert(child > 0 && read(ready[0], &byte, 1) == 1 && byte == 'y');
	expect_offline(&s, "it is locked");
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	expect_online(&s, SIZE_BYTES);
	rig_free(&s.rig);
}

/* -- Rights -- */

Test(open, a_file_that_may_not_be_written)
{
	struct scene s;

	scene_init(&s);
	make_file(&s, SIZE_BYTES, 0444);
	cr_assert_eq(chmod(s.rig.dir, 0777), 0);
	if (!geteuid())
		cr_assert_eq(seteuid(65534), 0);
	expect_offline(&s, "it may not be written");
	s.spec.read_only = true;
	expect_online(&s, SIZE_BYTES);
	if (!getuid())
		cr_assert_eq(seteuid(0), 0);
	rig_free(&s.rig);
}
