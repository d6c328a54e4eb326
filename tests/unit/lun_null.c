/*
 * The null image: zeroes are read, into the buffer or, where the caller says that this suffices, as
 * a word; the real images never answer with the word alone.
 */
#include "tests/unit/lun_testing.h"

static struct tio *read_with(struct lun *lun, struct loop *loop, uint32_t flags)
{
	struct tio *t = tio_new(LUN_READ, 4096, 128u << 10);

	t->io.flags = flags;
	tio_submit(t, lun, loop);
	cr_assert_eq(tio_wait(t), 0);
	return t;
}

static unsigned count_of(const struct tio *t, uint8_t byte)
{
	unsigned count = 0;

	for (unsigned i = 0; i < 128u << 10; i++)
		count += t->data[i] == byte;
	return count;
}

static struct lun *open_lun(struct rig *rig, const char *type, enum loop_engine engine)
{
	char path[80];
	struct lun_spec spec;
	struct lun *lun;

	rig_create(rig, engine, "/tmp");
	(void)snprintf(path, sizeof(path), "%s/image", rig->dir);
	spec = test_spec(rig, type);
	spec.path = path;
	cr_assert_eq(lun_open(&spec, &rig->group, &lun), 0);
	rig_run(rig);
	return lun;
}

TEST_ON_ENGINES(lun_null, zeroes_in_the_buffer_or_as_a_word)
{
	struct rig rig;
	struct lun *lun = open_lun(&rig, "null", engine);
	struct tio *t = read_with(lun, rig.group.loops[0], 0);

	cr_expect(!t->io.zeroes);
	cr_expect_eq(count_of(t, 0), 128u << 10);
	tio_free(t);
	t = read_with(lun, rig.group.loops[0], LUN_IO_ZEROES_SUFFICE);
	cr_expect(t->io.zeroes);
	cr_expect_eq(count_of(t, 0xEE), 128u << 10);
	tio_free(t);
	rig_close(&rig, lun);
}

TEST_ON_ENGINES(lun_null, others_fill_the_buffer)
{
	struct rig rig;
	struct lun *lun = open_lun(&rig, "raw", engine);
	struct tio *t = read_with(lun, rig.group.loops[0], LUN_IO_ZEROES_SUFFICE);

	cr_expect(!t->io.zeroes);
	cr_expect_eq(count_of(t, 0), 128u << 10);
	tio_free(t);
	rig_close(&rig, lun);
}
