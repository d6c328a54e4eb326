/*
 * Identity (DESIGN.md 7): made once from random bits, kept with the image, never from numbers or
 * names. Two servers, a copied image, a reordered file, a renamed target, a lost state directory.
 */
#include "tests/unit/lun_testing.h"

#include <ctype.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#define SIZE_BYTES (1u << 20)
#define ATTRIBUTE "user.ringsan.identity"

struct scene {
	struct rig rig;
	struct lun_spec spec;
	char path[96];
	char state[96];
};

static void scene_init(struct scene *s, const char *where)
{
	rig_create(&s->rig, LOOP_ENGINE_AIO, where);
	snprintf(s->path, sizeof(s->path), "%s/image", s->rig.dir);
	snprintf(s->state, sizeof(s->state), "%s/state", s->rig.dir);
	s->spec = test_spec(&s->rig, "raw");
	s->spec.path = s->path;
	s->spec.state_dir = s->state;
	s->spec.size_bytes = SIZE_BYTES;
}

static struct lun *scene_open(struct scene *s)
{
	struct lun *lun;

	cr_assert_eq(lun_open(&s->spec, &s->rig.group, &lun), 0);
	return lun;
}

static struct lun_identity identity_now(struct scene *s)
{
	struct lun *lun = scene_open(s);
	struct lun_identity identity = *lun_identity(lun);

	cr_assert(lun_state(lun)->online, "%s", lun_state(lun)->offline_reason);
	lun_close(lun);
	return identity;
}

static bool same(const struct lun_identity *a, const struct lun_identity *b)
{
	return !memcmp(a->naa, b->naa, LUN_NAA_BYTES) && !strcmp(a->serial, b->serial);
}

/* tmpfs has user attributes since Linux 6.6: take away what this kernel has. */
static void without_attribute(const char *path)
{
	removexattr(path, ATTRIBUTE);
}

static void lose_state(const struct scene *s)
{
	nftw(s->state, rig_on_remove, 16, FTW_DEPTH | FTW_PHYS);
}

static void copy_file(const char *from, const char *to, bool with_attribute)
{
	int in = open(from, O_RDONLY);
	int out = open(to, O_CREAT | O_TRUNC | O_RDWR, 0600);
	char text[128];
	ssize_t length;

	cr_assert(in >= 0 && out >= 0);
	while ((length = read(in, text, sizeof(text))) > 0)
		cr_assert_eq(write(out, text, (size_t)length), length);
	length = fgetxattr(in, ATTRIBUTE, text, sizeof(text));
	cr_assert_gt(length, 0);
	if (with_attribute)
		cr_assert_eq(fsetxattr(out, ATTRIBUTE, text, (size_t)length, 0), 0);
	close(in);
	close(out);
}

Test(identity, form)
{
	struct scene s;
	struct lun_identity id;

	scene_init(&s, "/var/tmp");
	id = identity_now(&s);
	cr_assert(id.naa[0] == 0x65 && id.naa[1] == 0x25 && id.naa[2] == 0x34);
	cr_assert_eq(id.naa[3] >> 4, 0xE, "NAA 6, company id 52534Eh");
	cr_assert_geq(strlen(id.serial), 25);
	for (const char *p = id.serial; *p; p++)
		cr_assert(isxdigit(*p));
	rig_free(&s.rig);
}

Test(identity, survives_restart_rename_reorder_and_a_lost_state_directory)
{
	struct scene s;
	struct lun_identity first;
	struct lun_identity later;
	char moved[96];

	scene_init(&s, "/var/tmp");
	first = identity_now(&s);
	later = identity_now(&s);
	cr_assert(same(&first, &later), "restart");
	s.spec.name = "iqn.other:lun 9";
	later = identity_now(&s);
	cr_assert(same(&first, &later), "renamed target, another number");
	lose_state(&s);
	later = identity_now(&s);
	cr_assert(same(&first, &later), "lost state directory");
	snprintf(moved, sizeof(moved), "%s/moved", s.rig.dir);
	cr_assert_eq(rename(s.path, moved), 0);
	s.spec.path = moved;
	later = identity_now(&s);
	cr_assert(same(&first, &later), "moved image");
	rig_free(&s.rig);
}

/* The same configuration text on two servers. */
Test(identity, differs_between_two_servers)
{
	static const char *const types[] = {"raw", "null"};

	for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
		struct scene a;
		struct scene b;
		struct lun_identity one;
		struct lun_identity two;

		scene_init(&a, "/var/tmp");
		scene_init(&b, "/var/tmp");
		a.spec.type = b.spec.type = types[i];
		one = identity_now(&a);
		two = identity_now(&b);
		cr_assert_not(same(&one, &two));
		rig_free(&a.rig);
		rig_free(&b.rig);
	}
}

Test(identity, of_a_null_image_is_kept_by_the_luns_name)
{
	struct scene s;
	struct lun_identity first;
	struct lun_identity later;
	struct stat st;

	scene_init(&s, "/var/tmp");
	s.spec.type = "null";
	s.spec.path = NULL;
	first = identity_now(&s);
	cr_assert(!stat(s.state, &st) && (st.st_mode & 07777) == 0700);
	later = identity_now(&s);
	cr_assert(same(&first, &later));
	s.spec.name = "another";
	later = identity_now(&s);
	cr_assert_not(same(&first, &later));
	rig_free(&s.rig);
}

/* -- Where the image cannot carry it -- */

static struct image_ops bare_ops;

static int bare_fd(const struct image *image)
{
	(void)image;
	return -1;
}

/* As on a file system without user attributes: no descriptor to put them on. */
static struct lun *bare_open(struct scene *s)
{
	struct lun *lun;

	bare_ops = image_raw_ops;
	bare_ops.fd = bare_fd;
	cr_assert_eq(lun_open_type(&s->spec, &s->rig.group, &bare_ops, &lun), 0);
	cr_assert(lun_state(lun)->online, "%s", lun_state(lun)->offline_reason);
	return lun;
}

Test(identity, without_attributes_is_kept_in_the_state_directory)
{
	struct scene s;
	struct lun *lun;
	struct lun_identity first;

	scene_init(&s, "/dev/shm");
	lun = bare_open(&s);
	first = *lun_identity(lun);
	lun_close(lun);
	without_attribute(s.path);
	lun = bare_open(&s);
	cr_assert(same(&first, lun_identity(lun)));
	lun_close(lun);
	rig_free(&s.rig);
}

Test(identity, nothing_is_written_to_a_read_only_image)
{
	struct scene s;
	struct lun_identity first;
	struct lun_identity later;
	char text[128];
	int fd;

	scene_init(&s, "/var/tmp");
	fd = open(s.path, O_CREAT | O_EXCL | O_RDWR, 0600);
	cr_assert(fd >= 0 && !ftruncate(fd, SIZE_BYTES) && !close(fd));
	s.spec.read_only = true;
	first = identity_now(&s);
	cr_assert_lt(getxattr(s.path, ATTRIBUTE, text, sizeof(text)), 0);
	later = identity_now(&s);
	cr_assert(same(&first, &later), "kept in the state directory");
	s.spec.read_only = false;
	later = identity_now(&s);
	cr_assert(same(&first, &later), "writable again it is the same disk");
	rig_free(&s.rig);
}

/* -- Precedence -- */

Test(identity, of_the_configuration_comes_first)
{
	struct scene s;
	struct lun_identity own;
	struct lun_identity id;

	scene_init(&s, "/var/tmp");
	own = identity_now(&s);
	s.spec.identity = "naa.6123456789ABCDEF0123456789abcdef";
	s.spec.serial = "SN-1";
	id = identity_now(&s);
	cr_assert(id.naa[0] == 0x61 && id.naa[1] == 0x23 && id.naa[15] == 0xEF);
	cr_assert_str_eq(id.serial, "SN-1");
	s.spec.identity = NULL;
	s.spec.serial = NULL;
	id = identity_now(&s);
	cr_assert(same(&own, &id), "its own was not overwritten");
	rig_free(&s.rig);
}

Test(identity, other_company)
{
	struct scene s;
	struct lun_identity id;

	scene_init(&s, "/var/tmp");
	s.spec.company_id = 0xABCDEF;
	id = identity_now(&s);
	cr_assert(id.naa[0] == 0x6A && id.naa[1] == 0xBC && id.naa[2] == 0xDE);
	cr_assert_eq(id.naa[3] >> 4, 0xF);
	rig_free(&s.rig);
}

/* -- What cannot be -- */

static void expect_offline(struct scene *s, const char *words)
{
	struct lun *lun = scene_open(s);

	cr_assert_not(lun_state(lun)->online, "expected: %s", words);
	cr_assert_not_null(strstr(lun_state(lun)->offline_reason, words), "\"%s\" lacks \"%s\"",
			   lun_state(lun)->offline_reason, words);
	lun_close(lun);
}

Test(identity, wrong_values_take_the_lun_offline)
{
	struct scene s;
	char serial[LUN_SERIAL_MAX + 2] = "";

	scene_init(&s, "/var/tmp");
	s.spec.identity = "naa.5123456789ABCDEF0123456789abcdef";
	expect_offline(&s, "`identity` must be");
	s.spec.identity = "naa.6123";
	expect_offline(&s, "`identity` must be");
	s.spec.identity = "naa.6123456789ABCDEF0123456789abcdeg";
	expect_offline(&s, "`identity` must be");
	s.spec.identity = NULL;
	s.spec.serial = serial;
	expect_offline(&s, "`serial` must have");
	memset(serial, 'x', sizeof(serial) - 1);
	expect_offline(&s, "`serial` must have");
	s.spec.serial = NULL;
	s.spec.company_id = 1 << 24;
	expect_offline(&s, "`company-id`");
	rig_free(&s.rig);
}

Test(identity, a_damaged_attribute_is_not_replaced)
{
	static const char *const damaged[] = {
		"",
		"x",
		"1 naa=652534e block=512 unit=4096",
		"1 naa=652534e0000000000000000000000001 block=513 unit=4096",
		"1 naa=552534e0000000000000000000000001 block=512 unit=4096",
		"1 naa=652534e0000000000000000000000001 block=512 unit=5000",
		"1 naa=652534e0000000000000000000000001 block=512 unit=4096 more",
		"2 naa=652534e0000000000000000000000001 block=512 unit=4096",
		"1 naa=652534e0000000000000000000000001 block=512 unit=4096                        "
		"                                                                                ",
	};
	struct scene s;

	scene_init(&s, "/var/tmp");
	(void)identity_now(&s);
	for (unsigned i = 0; i < ARRAY_SIZE(damaged); i++) {
		cr_assert_eq(setxattr(s.path, ATTRIBUTE, damaged[i], strlen(damaged[i]), 0), 0);
		expect_offline(&s, "is damaged");
	}
	rig_free(&s.rig);
}

/* From here on this process gets `error` from the system call. */
static void refuse(long number, int error)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = ARRAY_SIZE(filter), .filter = filter};

	cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

/* A disk that cannot be read now must not become another disk for that. */
Test(identity, an_attribute_that_cannot_be_read_is_not_replaced)
{
	struct scene s;
	struct lun *lun;
	char before[128] = "";
	char after[128] = "";

	scene_init(&s, "/var/tmp");
	(void)identity_now(&s);
	cr_assert_gt(getxattr(s.path, ATTRIBUTE, before, sizeof(before) - 1), 0);
	refuse(SYS_fgetxattr, EIO);
	lun = scene_open(&s);
	cr_assert_not(lun_state(lun)->online);
	cr_assert_not_null(strstr(lun_state(lun)->offline_reason, "cannot be read"), "%s",
			   lun_state(lun)->offline_reason);
	lun_close(lun);
	cr_assert_gt(getxattr(s.path, ATTRIBUTE, after, sizeof(after) - 1), 0);
	cr_assert_str_eq(before, after);
	rig_free(&s.rig);
}

Test(identity, a_state_directory_that_cannot_be_written)
{
	struct scene s;

	scene_init(&s, "/var/tmp");
	s.spec.type = "null";
	s.spec.path = NULL;
	s.spec.state_dir = "/proc/nowhere";
	expect_offline(&s, "cannot be kept");
	s.spec.state_dir = NULL; /* Known to be kept nowhere: a warning. */
	(void)identity_now(&s);
	rig_free(&s.rig);
}

/* -- Block size and allocation unit -- */

Test(identity, keeps_block_size_and_allocation_unit)
{
	struct scene s;
	struct lun *lun;

	scene_init(&s, "/var/tmp");
	s.spec.logical_block_bytes = 4096;
	s.spec.allocation_unit_bytes = 65536;
	(void)identity_now(&s);
	s.spec.logical_block_bytes = 0;
	s.spec.allocation_unit_bytes = 0;
	lun = scene_open(&s);
	cr_assert_eq(lun_limits(lun)->logical_block_bytes, 4096);
	cr_assert_eq(lun_limits(lun)->physical_block_bytes, 4096);
	cr_assert_eq(lun_limits(lun)->allocation_unit_bytes, 65536);
	lun_close(lun);
	s.spec.logical_block_bytes = 512;
	expect_offline(&s, "made with 4096-byte blocks, configured are 512");
	s.spec.logical_block_bytes = 0;
	s.spec.allocation_unit_bytes = 4096;
	expect_offline(&s, "allocation unit 65536");
	rig_free(&s.rig);
}

/* -- Copies -- */

Test(identity, of_a_copy_only_the_second_goes_offline)
{
	struct scene s;
	struct lun *luns[3];
	char copy[96];

	scene_init(&s, "/var/tmp");
	(void)identity_now(&s);
	snprintf(copy, sizeof(copy), "%s/copy", s.rig.dir);
	copy_file(s.path, copy, true);
	luns[0] = scene_open(&s);
	s.spec.path = copy;
	s.spec.name = "copy";
	luns[1] = scene_open(&s);
	s.spec.type = "null";
	s.spec.path = NULL;
	luns[2] = scene_open(&s);
	cr_assert_eq(lun_check_identities(luns, 3), 0);
	cr_assert(lun_state(luns[0])->online && lun_state(luns[2])->online);
	cr_assert_not(lun_state(luns[1])->online);
	cr_assert_not_null(
		strstr(lun_state(luns[1])->offline_reason, "the identity of test:lun 0"));
	cr_assert_eq(lun_identity(luns[1])->naa[0], 0, "no host may take it for a path");
	for (unsigned i = 0; i < 3; i++)
		lun_close(luns[i]);
	rig_free(&s.rig);
}

/* Of any number, in any order of addresses, the first of the configuration stays. */
Test(identity, of_many_with_one_identity_the_first_is_served)
{
	struct scene s;
	struct lun *luns[9];
	char identity[] = "naa.652534e1234567890123456789abcd0e";

	scene_init(&s, "/dev/shm");
	s.spec.type = "null";
	s.spec.path = NULL;
	s.spec.state_dir = NULL;
	s.spec.identity = identity;
	for (int i = 8; i >= 0; i--) {
		identity[35] = (char)('0' + i % 3);
		luns[i] = scene_open(&s);
	}
	cr_assert_eq(lun_check_identities(luns, 9), 0);
	for (int i = 0; i < 9; i++) {
		cr_expect_eq(lun_state(luns[i])->online, i < 3, "LUN %d", i);
		lun_close(luns[i]);
	}
	cr_assert_eq(lun_check_identities(luns, 0), 0);
	rig_free(&s.rig);
}

/* One that is configured may be what another's identity makes. */
Test(identity, of_two_with_one_serial_number_the_first_is_served)
{
	struct scene s;
	struct lun *luns[2];
	char serial[LUN_SERIAL_MAX + 1];

	scene_init(&s, "/dev/shm");
	s.spec.type = "null";
	s.spec.path = NULL;
	luns[0] = scene_open(&s);
	snprintf(serial, sizeof(serial), "%s", lun_identity(luns[0])->serial);
	s.spec.name = "other";
	s.spec.serial = serial;
	luns[1] = scene_open(&s);
	cr_assert(lun_state(luns[1])->online);
	cr_assert_eq(lun_check_identities(luns, 2), 0);
	cr_expect(lun_state(luns[0])->online);
	cr_expect_not(lun_state(luns[1])->online);
	cr_expect_not_null(strstr(lun_state(luns[1])->offline_reason, "change `serial`"));
	for (unsigned i = 0; i < 2; i++)
		lun_close(luns[i]);
	rig_free(&s.rig);
}

/* A power cut may leave the disk's identity with its snapshot as well, which is configured first:
 * the disk keeps it, online or not. */
static void expect_snapshot_is_another(struct scene *s, const char *image, const char *snapshot)
{
	struct lun_identity disk;
	struct lun *luns[2];
	char path[96];

	snprintf(s->path, sizeof(s->path), "%s/%s", s->rig.dir, image);
	disk = identity_now(s);
	snprintf(path, sizeof(path), "%s/%s", s->rig.dir, snapshot);
	copy_file(s->path, path, true);
	for (unsigned broken = 0; broken < 2; broken++) {
		s->spec.path = path;
		s->spec.read_only = true;
		s->spec.logical_block_bytes = broken ? 3 : 0;
		luns[0] = scene_open(s);
		s->spec.path = s->path;
		s->spec.read_only = false;
		s->spec.logical_block_bytes = 0;
		luns[1] = scene_open(s);
		cr_assert_eq(lun_check_identities(luns, 2), 0);
		cr_expect_neq(lun_state(luns[0])->online, broken);
		cr_expect(lun_state(luns[1])->online);
		cr_expect(same(&disk, lun_identity(luns[1])));
		cr_expect_not(same(&disk, lun_identity(luns[0])));
		lun_close(luns[0]);
		lun_close(luns[1]);
	}
}

Test(identity, of_a_disk_is_not_its_snapshots)
{
	struct scene s;

	scene_init(&s, "/var/tmp");
	expect_snapshot_is_another(&s, "vm1.img", "vm1@monday.img");
	expect_snapshot_is_another(&s, "vm2.old.img", "vm2.old@1.2.img");
	expect_snapshot_is_another(&s, "plain", "plain@x.y");
	rig_free(&s.rig);
}

Test(identity, a_copy_without_the_attribute_is_another_disk)
{
	struct scene s;
	struct lun_identity first;
	struct lun_identity second;
	char copy[96];

	scene_init(&s, "/var/tmp");
	first = identity_now(&s);
	snprintf(copy, sizeof(copy), "%s/copy", s.rig.dir);
	copy_file(s.path, copy, false);
	s.spec.path = copy;
	second = identity_now(&s);
	cr_assert_not(same(&first, &second));
	rig_free(&s.rig);
}

/* A new image under an old path is a new disk, although the state directory knows the path. */
Test(identity, a_new_image_at_an_old_path_is_another_disk)
{
	struct scene s;
	struct lun *lun;
	struct lun_identity first;

	scene_init(&s, "/dev/shm");
	lun = bare_open(&s);
	first = *lun_identity(lun);
	lun_close(lun);
	cr_assert_eq(unlink(s.path), 0);
	lun = bare_open(&s);
	cr_assert_not(same(&first, lun_identity(lun)));
	first = *lun_identity(lun);
	lun_close(lun);
	lun = bare_open(&s);
	cr_assert(same(&first, lun_identity(lun)), "and that one is kept");
	lun_close(lun);
	rig_free(&s.rig);
}

/* An image that cannot be opened now still has the identity that hosts know it by. */
Test(identity, is_known_while_the_image_is_locked)
{
	struct scene s;
	struct lun *first;
	struct lun *second;

	scene_init(&s, "/var/tmp");
	first = scene_open(&s);
	second = scene_open(&s);
	cr_assert_not(lun_state(second)->online);
	cr_assert(same(lun_identity(first), lun_identity(second)));
	lun_close(first);
	lun_close(second);
	rig_free(&s.rig);
}
