/*
 * The request `image-resize`, of a LUN that is served. Functions of image_work run on a helper
 * thread, the rest on the control loop. Read next: order_image.h, ../../lun/growth.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "lun/files.h"
#include "lun/growth.h"
#include "lun/image_lock.h"
#include "target/ctl/order_image.h"

static int prepare(struct image_order *order)
{
	const struct conf_lun *lun = order->luns[0].conf;
	struct lun_state state;

	lun_state_copy(order->luns[0].lun, &state);
	if (lun->type != CONF_LUN_QCOW2 && lun->type != CONF_LUN_RAW)
		return image_order_refuse(order, -ENOTSUP, "its LUN is neither raw nor qcow2");
	if (order->size_bytes < state.size_bytes)
		return image_order_refuse(order, -EINVAL,
					  "it has %" PRIu64 " bytes; hosts would lose what lies "
					  "behind the new end",
					  state.size_bytes);
	if (order->size_bytes % lun_limits(order->luns[0].lun)->io_align_bytes != 0)
		return image_order_refuse(order, -EINVAL,
					  "the size is not a multiple of %u, the block size",
					  lun_limits(order->luns[0].lun)->io_align_bytes);
	if (lun->size_bytes != 0)
		return image_order_refuse(order, -EINVAL,
					  "the configuration gives it a size: change `size` there "
					  "and `ringsan reload`");
	return 0;
}

static int grow_raw(struct image_order *order, const char *path)
{
	int fd CLEANUP(files_close) = open(path, O_RDWR | O_CLOEXEC);
	int res = fd < 0 ? -errno : image_lock_raw(fd, true);
	struct stat st = {0};

	if (res == 0 && fstat(fd, &st) != 0)
		res = -errno;
	/* Somebody has made it longer since the LUN was opened, and may have written there. */
	if (res == 0 && (uint64_t)st.st_size > order->size_bytes)
		return image_order_refuse(order, -EAGAIN,
					  "the file is longer by now, it has %" PRIu64
					  " bytes; `ringsan reload` takes that in",
					  (uint64_t)st.st_size);
	if (res == 0 && (ftruncate(fd, (off_t)order->size_bytes) != 0 || fsync(fd) != 0))
		res = -errno;
	/* What a reload would take for larger. */
	if (res != 0 && st.st_size > 0)
		(void)!ftruncate(fd, st.st_size);
	if (res != 0)
		return image_order_refuse(order, res, "it cannot be made longer: %s",
					  files_error(res));
	return 0;
}

static int commit(struct image_order *order)
{
	const struct conf_lun *lun = order->luns[0].conf;

	if (lun->type == CONF_LUN_RAW)
		return grow_raw(order, lun->image);
	return image_grow(lun->image, order->size_bytes, &order->change.unsure, order->why);
}

static json_t *answer_resize(const struct image_order *order)
{
	json_t *body = image_order_json(order, 0);
	struct lun_state state;

	lun_state_copy(order->luns[0].lun, &state);
	log_info("ctl", "%s: has %" PRIu64 " bytes now", lun_name(order->luns[0].lun),
		 state.size_bytes);
	(void)json_object_set_new(body, "size_bytes", json_integer((json_int_t)state.size_bytes));
	(void)json_object_set_new(body, "paused_ms", json_real(image_order_paused_ms(order)));
	return body;
}

void request_image_resize(struct control_request *request)
{
	static const struct image_work work = {
		.prepare = prepare, .commit = commit, .answer = answer_resize, .grows = true};
	struct image_order *order = image_order_make(request, &work);

	if (order == NULL)
		return;
	order->count = 1;
	order->paths[0] = control_value(request, 0)->text;
	order->size_bytes = control_value(request, 1)->number;
	image_order_begin(order);
}
