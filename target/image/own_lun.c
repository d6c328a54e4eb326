/*
 * Loops, a LUN, and their end. See own_lun.h. The main thread waits; it has one message, which goes
 * to one loop at a time.
 */
#include "target/image/own_lun.h"

#include <errno.h>
#include <sys/stat.h>

#include "base/log.h"
#include "lun/files.h"

#define REST_MS 60000u
#define BUFFERS 8u

/* -- Calls -- */

static void wait_for_call(struct own_lun *own)
{
	while (sem_wait(&own->called) != 0)
		continue;
}

void own_lun_call(struct own_lun *own, loop_msg_fn *fn)
{
	loop_post(own->control, &own->msg, fn);
	wait_for_call(own);
}

void own_lun_called(struct own_lun *own)
{
	(void)sem_post(&own->called);
}

static void on_drained(struct lun *lun UNUSED, int res, void *arg)
{
	struct own_lun *own = arg;

	own->res = res;
	own_lun_called(own);
}

static void on_drain(struct loop_msg *msg)
{
	struct own_lun *own = own_lun_of(msg);

	loop_role_assume();
	lun_drain(own->lun, own->control, REST_MS, on_drained, own);
}

/* -- I/O -- */

static void on_done(struct lun_io *io, int res)
{
	struct own_lun *own = CONTAINER_OF(io, struct own_lun, io);

	own->res = res;
	own_lun_called(own);
}

static void on_submit(struct loop_msg *msg)
{
	struct own_lun *own = own_lun_of(msg);

	loop_role_assume();
	lun_io_submit(own->lun, own->group.loops[0], &own->io);
}

static int submit(struct own_lun *own)
{
	own->io.done = on_done;
	loop_post(own->group.loops[0], &own->msg, on_submit);
	wait_for_call(own);
	return own->res;
}

int own_lun_pull(struct own_lun *own, uint64_t offset, uint64_t length, uint64_t below_bytes)
{
	own->pull = (struct lun_pull){.layer = own->inode, .below_bytes = below_bytes};
	lun_io_init(&own->io);
	own->io.op = LUN_PULL;
	own->io.offset_bytes = offset;
	own->io.length_bytes = length;
	own->io.iov[0] = (struct iovec){&own->pull, sizeof(own->pull)};
	own->io.iov_count = 1;
	return submit(own);
}

int own_lun_flush(struct own_lun *own)
{
	lun_io_init(&own->io);
	own->io.op = LUN_FLUSH;
	return submit(own);
}

/* -- Beginning -- */

static int make_loops(struct own_lun *own)
{
	struct loop_config config = {.name = "image", .index = 0, .buffer_count = BUFFERS};
	int res = loop_create(&config, &own->group.loops[0]);

	if (res != 0)
		return res;
	own->group.count = 1;
	config.name = "control";
	config.index = 1;
	return loop_create(&config, &own->control);
}

static int open_lun(struct image_order *order, struct own_lun *own, const char *path)
{
	const struct lun_spec spec = {
		.name = path,
		.type = "qcow2",
		.path = path,
		.write_cache = true,
	};
	const struct lun_state *state;
	struct stat st;
	int res = lun_open(&spec, &own->group, &own->lun);

	if (res != 0)
		return image_refuse(order, res, NULL, "%s: %s", path, files_error(res));
	state = lun_state(own->lun);
	if (!state->online)
		return image_refuse(order, -EINVAL, "mend that first", "%s: %s", path,
				    state->offline_reason);
	if (stat(path, &st) != 0)
		return image_refuse_errno(order, -errno, "cannot be looked at", path);
	own->inode = st.st_ino;
	return 0;
}

static int start_loops(struct own_lun *own)
{
	int res = loop_start(own->group.loops[0]);

	if (res != 0)
		return res;
	res = loop_start(own->control);
	if (res != 0) {
		loop_stop(own->group.loops[0]);
		loop_join(own->group.loops[0]);
	}
	return res;
}

/* -- End -- */

static void free_all(struct own_lun *own)
{
	if (own->lun != NULL)
		lun_close(own->lun);
	if (own->group.loops[0] != NULL)
		loop_free(own->group.loops[0], false);
	if (own->control != NULL)
		loop_free(own->control, false);
	(void)sem_destroy(&own->called);
}

static void stop_loops(struct own_lun *own)
{
	loop_stop(own->control);
	loop_join(own->control);
	loop_stop(own->group.loops[0]);
	loop_join(own->group.loops[0]);
}

int own_lun_open(struct image_order *order, const char *path, struct own_lun *out)
{
	int res;

	*out = (struct own_lun){0};
	(void)sem_init(&out->called, 0, 0);
	log_set_level(LOG_LEVEL_ERROR);
	res = make_loops(out);
	if (res == 0)
		res = open_lun(order, out, path);
	if (res == 0)
		res = start_loops(out);
	if (res == 0)
		return 0;
	free_all(out);
	return image_refuse(order, res, NULL, "the work cannot begin: %s", files_error(res));
}

int own_lun_close(struct own_lun *own)
{
	int res;

	own_lun_call(own, on_drain);
	res = own->res;
	stop_loops(own);
	free_all(own);
	return res;
}
