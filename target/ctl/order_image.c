/*
 * From a request on images to its answer; see order_image.h.
 */
#include "target/ctl/order_image.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "target/ctl/retire.h"

/* Hosts give a command 30 seconds, some less. */
#define DRAIN_MS 5000u

static struct image_order *order_of(struct loop_op *op)
{
	return CONTAINER_OF(op, struct image_order, op);
}

int image_order_refuse(struct image_order *order, int res, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
	(void)vsnprintf(order->why, sizeof(order->why), format, args);
	va_end(args);
	return res;
}

json_t *image_order_json(const struct image_order *order, unsigned at)
{
	const struct named_lun *lun = &order->luns[at];

	return json_pack("{s:o, s:s, s:i}", "image", control_json_text(lun->conf->image), "target",
			 lun->target->name, "lun", (int)lun->conf->number);
}

double image_order_paused_ms(const struct image_order *order)
{
	return (double)order->change.paused_ns / (double)CLOCK_NS_PER_MS;
}

/* -- The answer -- */

enum control_error_code image_error_code(int res)
{
	static const struct {
		int res;
		enum control_error_code code;
	} codes[] = {
		{-ENOENT, CONTROL_NOT_FOUND}, {-EBUSY, CONTROL_REFUSED},
		{-EEXIST, CONTROL_REFUSED},   {-EINVAL, CONTROL_REFUSED},
		{-ENOTSUP, CONTROL_REFUSED},  {-ENAMETOOLONG, CONTROL_REFUSED},
		{-EROFS, CONTROL_REFUSED},    {-ETIMEDOUT, CONTROL_BUSY},
		{-EAGAIN, CONTROL_BUSY},      {-ENOMEM, CONTROL_BUSY},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
		if (codes[i].res == res)
			return codes[i].code;
	}
	return CONTROL_FAILED;
}

static bool all_online(const struct image_order *order)
{
	bool all = true;

	for (unsigned i = 0; i < order->claimed; i++) {
		struct lun_state state;

		lun_state_copy(order->luns[i].lun, &state);
		all = all && state.online;
	}
	return all;
}

LOOP_ONLY static void refuse(const struct image_order *order)
{
	const char *remedy = "Nothing has changed. Mend that, or try again.";

	if (!all_online(order))
		remedy = "A LUN is offline: `ringsan luns` says why. Mend its image, then restart "
			 "ringsand.";
	if (order->stuck)
		remedy = "It could not be taken back either: the log says which file keeps what "
			 "was there before.";
	if (order->failed < order->count)
		control_refuse(order->request, image_error_code(order->res), remedy, "%s: %s",
			       order->paths[order->failed], order->why);
	else
		control_refuse(order->request, image_error_code(order->res), remedy, "%s",
			       order->why);
}

LOOP_ONLY static void finish(struct image_order *order)
{
	if (order->res != 0)
		refuse(order);
	else
		control_answer(order->request, order->work->answer(order));
	for (unsigned i = 0; i < order->claimed; i++)
		lun_unclaim(order->luns[i].lun);
	retire_release(order->runtime, order->generation);
	free(order);
}

/* -- Hosts are told -- */

static void on_told(struct scsi_lu_news *news)
{
	struct image_order *order = CONTAINER_OF(news, struct image_news, news)->order;

	loop_role_assume();
	if (news->res != 0)
		log_error("ctl", "hosts are not told what is new: %s", strerrordesc_np(-news->res));
	if (--order->telling == 0)
		finish(order);
}

LOOP_ONLY static void tell(struct image_order *order, unsigned at)
{
	struct named_lun *lun = &order->luns[at];
	struct lun_state state;
	bool grown;

	lun_state_copy(lun->lun, &state);
	grown = state.size_bytes > order->sizes[at];
	/* One that is being removed has no hosts any more. */
	lun->lu = served_lu(order->generation, lun);
	if (lun->lu == NULL || (!grown && !order->work->replaces))
		return;
	order->news[at] = (struct image_news){.order = order,
					      .news = {.lu = lun->lu,
						       .grown = grown,
						       .replaced = order->work->replaces,
						       .warn_percent = lun->conf->warn_percent,
						       .control = control_loop(order->request),
						       .done = on_told}};
	order->telling++;
	scsi_lu_renew(&order->news[at].news);
}

static void on_ended(struct loop_op *op, int res UNUSED)
{
	struct image_order *order = order_of(op);

	loop_role_assume();
	order->telling = 1;
	for (unsigned i = 0; order->res == 0 && i < order->count; i++)
		tell(order, i);
	if (--order->telling == 0)
		finish(order);
}

static int call_end(struct loop_op *op)
{
	struct image_order *order = order_of(op);

	if (order->work->end != NULL)
		order->work->end(order);
	return 0;
}

LOOP_ONLY static void end(struct image_order *order, int res)
{
	order->res = res;
	loop_op_init(&order->op);
	loop_call(control_loop(order->request), &order->op, call_end, on_ended);
}

/* -- The switch -- */

static struct image_order *order_of_switch(struct lun_switch *change)
{
	return CONTAINER_OF(change, struct image_order, change);
}

static int on_change(struct lun_switch *change, char why[LUN_WHY_MAX])
{
	struct image_order *order = order_of_switch(change);
	int res = order->work->commit(order);

	/* What goes wrong from here on is the switch's to say. */
	if (res == 0)
		order->why[0] = '\0';
	(void)snprintf(why, LUN_WHY_MAX, "%s", res != 0 ? "it cannot be changed" : "");
	return res;
}

static void on_undo(struct lun_switch *change)
{
	struct image_order *order = order_of_switch(change);

	if (order->work->undo != NULL)
		order->work->undo(order);
}

static void on_switched(struct lun_switch *change, int res)
{
	struct image_order *order = order_of_switch(change);

	loop_role_assume();
	order->failed = change->failed;
	/* Of what commit refused it has said more itself. */
	if (res != 0 && order->why[0] == '\0')
		(void)snprintf(order->why, sizeof(order->why), "%s", change->why);
	if (res == -EBUSY)
		res = -EAGAIN;
	end(order, res);
}

/* -- LUNs -- */

/* Nobody whose disk would be replaced without a word. */
LOOP_ONLY static int check_hosts(struct image_order *order)
{
	if (!order->work->replaces || order->force)
		return 0;
	for (unsigned i = 0; i < order->count; i++) {
		unsigned sessions =
			served_sessions(order->runtime, order->generation, &order->luns[i]);

		order->failed = i;
		if (sessions > 0)
			return image_order_refuse(
				order, -EROFS,
				"%u sessions are logged in to its target, and their hosts would "
				"see other data beneath what they keep in memory; log them out, "
				"or use --force where none of them has it mounted",
				sessions);
	}
	order->failed = order->count;
	return 0;
}

/* Making it ready and draining may have taken seconds, and somebody may have logged in. Who does so
 * from here on waits at the gate, and has read nothing of the old content. */
static int on_admit(struct lun_switch *change, char why[LUN_WHY_MAX])
{
	struct image_order *order = order_of_switch(change);
	int res;

	loop_role_assume();
	res = check_hosts(order);
	change->failed = order->failed;
	(void)snprintf(why, LUN_WHY_MAX, "%s", res != 0 ? "hosts use it" : "");
	return res;
}

LOOP_ONLY static void begin_switch(struct image_order *order)
{
	order->change = (struct lun_switch){.luns = order->switched,
					    .count = order->count,
					    .control = control_loop(order->request),
					    .deadline_ms = DRAIN_MS,
					    .grows = order->work->grows,
					    .admit = on_admit,
					    .change = on_change,
					    .undo = on_undo,
					    .done = on_switched};
	for (unsigned i = 0; i < order->count; i++) {
		struct lun_state state;

		lun_state_copy(order->luns[i].lun, &state);
		order->sizes[i] = state.size_bytes;
		order->switched[i] = order->luns[i].lun;
	}
	lun_switch_start(&order->change);
}

LOOP_ONLY static int claim(struct image_order *order)
{
	for (; order->claimed < order->count; order->claimed++) {
		order->failed = order->claimed;
		if (!lun_claim(order->luns[order->claimed].lun))
			return image_order_refuse(order, -EAGAIN,
						  "another change of it, or a job, is under way");
	}
	order->failed = order->count;
	return 0;
}

static void on_prepared(struct loop_op *op, int res)
{
	struct image_order *order = order_of(op);

	loop_role_assume();
	if (res != 0)
		end(order, res);
	else
		begin_switch(order);
}

static int call_prepare(struct loop_op *op)
{
	struct image_order *order = order_of(op);

	return order->work->prepare != NULL ? order->work->prepare(order) : 0;
}

static void on_resolved(struct loop_op *op, int res)
{
	struct image_order *order = order_of(op);

	loop_role_assume();
	if (res == 0)
		res = claim(order);
	if (res == 0)
		res = check_hosts(order);
	order->res = res;
	if (res != 0) {
		finish(order);
		return;
	}
	loop_op_init(&order->op);
	loop_call(control_loop(order->request), &order->op, call_prepare, on_prepared);
}

static int resolve(struct image_order *order, unsigned at)
{
	int res = served_find(order->generation, order->paths[at], &order->luns[at]);

	order->failed = at;
	if (order->paths[at][0] != '/')
		return image_order_refuse(order, -EINVAL, "give an absolute path");
	if (res == -ENOENT)
		return image_order_refuse(order, res,
					  "no LUN serves it, or there is no such file; what is not "
					  "served `ringsan image` changes itself");
	if (res != 0)
		return image_order_refuse(order, res, "%s", strerrordesc_np(-res));
	if (order->luns[at].conf->read_only)
		return image_order_refuse(order, -EROFS, "its LUN is read-only");
	for (unsigned i = 0; i < at; i++) {
		if (order->luns[i].lun == order->luns[at].lun)
			return image_order_refuse(order, -EINVAL, "it is given twice");
	}
	return 0;
}

static int call_resolve(struct loop_op *op)
{
	struct image_order *order = order_of(op);
	int res = 0;

	for (unsigned i = 0; i < order->count && res == 0; i++)
		res = resolve(order, i);
	return res;
}

struct image_order *image_order_make(struct control_request *request, const struct image_work *work)
{
	struct image_order *order = calloc(1, sizeof(*order));

	if (order == NULL) {
		control_answer(request, NULL);
		return NULL;
	}
	order->request = request;
	order->work = work;
	return order;
}

void image_order_begin(struct image_order *order)
{
	order->runtime = runtime_of(order->request);
	order->generation = retire_hold(order->runtime);
	loop_op_init(&order->op);
	loop_call(control_loop(order->request), &order->op, call_resolve, on_resolved);
}
