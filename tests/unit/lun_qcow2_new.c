/*
 * qcow2 images by configuration: what is made, that it is a new disk, that nothing is made in place
 * of something, and what is refused.
 */
#include "lun/new_file.h"
#include "lun/qcow2/check.h"
#include "lun/qcow2/plain.h"
#include "lun/qcow2/writable.h"
#include "tests/unit/lun_testing.h"

#include <dirent.h>

#define SIZE_BYTES (UINT64_C(1) << 30)

/* Loops that never run: open and close are the control thread's. */
struct scene {
	struct rig rig;
	struct lun_spec spec;
	char path[96];
};

static void scene_init(struct scene *scene)
{
	rig_create(&scene->rig, LOOP_ENGINE_AIO, "/var/tmp");
	snprintf(scene->path, sizeof(scene->path), "%s/image.qcow2", scene->rig.dir);
	scene->spec = test_spec(&scene->rig, "qcow2");
	scene->spec.path = scene->path;
	scene->spec.size_bytes = SIZE_BYTES;
}

/* Its identity, or all zeroes where it is offline. */
static struct lun_identity open_once(const struct scene *scene, const char *offline)
{
	struct lun_identity identity;
	struct lun *lun;

	cr_assert_eq(lun_open(&scene->spec, &scene->rig.group, &lun), 0);
	cr_expect_eq(lun_state(lun)->online, offline == NULL, "%s", lun_state(lun)->offline_reason);
	if (offline)
		cr_expect_not_null(strstr(lun_state(lun)->offline_reason, offline),
				   "\"%s\" lacks \"%s\"", lun_state(lun)->offline_reason, offline);
	else
		cr_expect_eq(lun_state(lun)->size_bytes, SIZE_BYTES);
	identity = *lun_identity(lun);
	lun_close(lun);
	return identity;
}

static struct qcow2_header header_of(const struct scene *scene)
{
	struct qcow2_descriptor file;
	struct qcow2_header header;
	struct qcow2_check found;
	char why[128] = "";
	int fd = open(scene->path, O_RDONLY);

	cr_assert(fd >= 0 && qcow2_descriptor_make(fd, &file) == 0);
	cr_assert_eq(qcow2_header_read(&file.writable.file, &header, why, sizeof(why)), 0, "%s",
		     why);
	cr_assert_eq(qcow2_check(&(struct qcow2_check_spec){.file = &file.writable.file}, &found,
				 why, sizeof(why)),
		     0, "%s", why);
	cr_expect_eq(qcow2_check_verdict(&found), QCOW2_CLEAN);
	close(fd);
	return header;
}

static unsigned files_in(const char *folder)
{
	DIR *entries = opendir(folder);
	unsigned count = 0;

	for (struct dirent *entry; (entry = readdir(entries)) != NULL;)
		count += strncmp(entry->d_name, "image", 5) == 0;
	closedir(entries);
	return count;
}

Test(qcow2_new, makes_what_is_not_there)
{
	static const struct {
		uint32_t cluster_bytes, cluster_bits;
		bool extended;
	} rows[] = {{0, 17, true}, {4096, 12, false}, {65536, 16, false}, {2 << 20, 21, true}};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct scene s;
		struct qcow2_header header;
		struct lun_identity first;
		struct lun_identity again;
		struct stat st;

		scene_init(&s);
		s.spec.cluster_bytes = rows[i].cluster_bytes;
		first = open_once(&s, NULL);
		header = header_of(&s);
		cr_expect_eq(header.size_bytes, SIZE_BYTES);
		cr_expect_eq(header.cluster_bits, rows[i].cluster_bits);
		cr_expect_eq((header.incompatible & QCOW2_INCOMPATIBLE_EXTENDED_L2) != 0,
			     rows[i].extended);
		cr_assert_eq(stat(s.path, &st), 0);
		cr_expect_eq(st.st_mode & 07777, 0600);
		cr_expect_eq(files_in(s.rig.dir), 1);
		/* It is there now, and its clusters are its own. */
		s.spec.cluster_bytes = 8192;
		again = open_once(&s, NULL);
		cr_expect_eq(memcmp(&first, &again, sizeof(first)), 0);
		cr_expect_eq(header_of(&s).cluster_bits, rows[i].cluster_bits);
		/* Made anew it is another disk. */
		cr_assert_eq(unlink(s.path), 0);
		again = open_once(&s, NULL);
		cr_expect_neq(memcmp(&first, &again, sizeof(first)), 0);
		rig_free(&s.rig);
	}
}

Test(qcow2_new, refusals)
{
	struct scene s;
	char deep[128];

	scene_init(&s);
	s.spec.size_bytes = 0;
	(void)open_once(&s, "no size is configured");
	s.spec.size_bytes = SIZE_BYTES + 100;
	(void)open_once(&s, "multiple of 512");
	s.spec.size_bytes = UINT64_C(1) << 47;
	(void)open_once(&s, "64 TiB");
	s.spec.size_bytes = SIZE_BYTES;
	s.spec.read_only = true;
	(void)open_once(&s, "does not exist");
	s.spec.read_only = false;
	snprintf(deep, sizeof(deep), "%s/missing/image", s.rig.dir);
	s.spec.path = deep;
	(void)open_once(&s, "No such file");
	cr_expect_eq(files_in(s.rig.dir), 0);
	/* What is there and no image stays as it is. */
	s.spec.path = s.path;
	close(open(s.path, O_CREAT | O_RDWR, 0600));
	(void)open_once(&s, "");
	cr_expect_eq(files_in(s.rig.dir), 1);
	rig_free(&s.rig);
}

Test(qcow2_new, never_in_place_of_another)
{
	struct scene s;
	struct new_file file;
	struct stat st;

	scene_init(&s);
	cr_assert_eq(new_file_begin(s.path, &file), 0);
	cr_assert_eq(write(file.fd, "mine", 4), 4);
	/* Somebody takes the name meanwhile. */
	close(open(s.path, O_CREAT | O_EXCL | O_RDWR, 0600));
	cr_expect_eq(new_file_commit(&file, s.path), -EEXIST);
	cr_assert_eq(stat(s.path, &st), 0);
	cr_expect_eq(st.st_size, 0);
	cr_expect_eq(new_file_begin(s.path, &file), -EEXIST);
	/* A link that leads nowhere is something, too. */
	cr_assert(unlink(s.path) == 0 && symlink("/nowhere", s.path) == 0);
	cr_expect_eq(new_file_begin(s.path, &file), -EEXIST);
	cr_expect_eq(files_in(s.rig.dir), 1);
	rig_free(&s.rig);
}

/* A clone shows what is in its base, has the base's size where none is configured, and identities
 * of its own. */
Test(qcow2_new, makes_clones)
{
	static const char *const bases[] = {"golden.qcow2", "golden.img"};

	for (size_t i = 0; i < ARRAY_SIZE(bases); i++) {
		struct scene s;
		struct qcow2_header header;
		struct lun_identity one;
		struct lun_identity other;
		char base[128];

		scene_init(&s);
		s.spec.backing_name = bases[i];
		(void)snprintf(base, sizeof(base), "%s/%s", s.rig.dir, bases[i]);
		(void)open_once(&s, "");
		cr_expect_eq(files_in(s.rig.dir), 0);
		if (i == 0) {
			s.spec.backing_name = NULL;
			s.spec.path = base;
			(void)open_once(&s, NULL);
			s.spec.path = s.path;
			s.spec.backing_name = bases[i];
		} else {
			cr_assert_eq(close(open(base, O_CREAT | O_RDWR, 0600)), 0);
			cr_assert_eq(truncate(base, (off_t)SIZE_BYTES), 0);
		}
		s.spec.size_bytes = 0;
		one = open_once(&s, NULL);
		header = header_of(&s);
		cr_expect_str_eq(header.backing_name, bases[i]);
		cr_expect_str_eq(header.backing_format, i == 0 ? "qcow2" : "raw");
		cr_expect_eq(header.cluster_bits, 17);
		cr_assert_eq(unlink(s.path), 0);
		s.spec.cluster_bytes = 65536;
		other = open_once(&s, NULL);
		header = header_of(&s);
		cr_expect_eq(header.cluster_bits, 16);
		cr_expect_eq(header.incompatible, 0);
		cr_expect_neq(memcmp(&one, &other, sizeof(one)), 0);
		rig_free(&s.rig);
	}
}
