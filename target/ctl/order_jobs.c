/*
 * The requests `image-stream`, `image-commit`, `image-remove`, `jobs`, `job-cancel` and `job-rate`:
 * long work on images of LUNs. An image is named by its path; which LUN it belongs to is found by a
 * helper thread. All else runs on the control loop.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target/ctl/jobs.h"
#include "target/ctl/requests.h"
#include "target/ctl/retire.h"

/* In the order of the rows' parameters: `image` is the first of all requests here. */
enum {
	AT_IMAGE,
	AT_RATE,
	AT_WAIT,
	AT_BASE,
};

/* One on its way to become a job. */
struct order {
	struct control_request *request;
	struct runtime *runtime;
	struct generation *generation; /* Held. */
	struct running_job job;        /* What becomes of it. */
	bool commits;
	char path[JOB_PATH_BYTES];
	struct job_search search;
	const char **candidates;
	struct lun **luns;
	char why[LUN_WHY_MAX];
	struct loop_op op;
};

static void order_free(struct order *order)
{
	free(order->candidates);
	free(order->luns);
	free(order);
}

static LOOP_ONLY void refuse(struct order *order, int res)
{
	static const char remedy[] = "`ringsan image list` shows images, `ringsan luns` LUNs.";

	if (res == -ENOMEM) {
		control_answer(order->request, NULL);
	} else if (res == -EBUSY && order->why[0] == '\0') {
		control_refuse(order->request, CONTROL_BUSY,
			       "`ringsan image jobs` shows it; wait for its end, or cancel it.",
			       "a job on that chain, or another change of it, is under way");
	} else if (res == -ENODEV) {
		control_refuse(order->request, CONTROL_REFUSED, "`ringsan luns` says why.",
			       "the LUN is offline, read-only, or about to be removed");
	} else {
		control_refuse(order->request, res == -ENOENT ? CONTROL_NOT_FOUND : CONTROL_REFUSED,
			       remedy, "%s",
			       order->why[0] != '\0' ? order->why : strerrordesc_np(-res));
	}
	retire_release(order->runtime, order->generation);
	order_free(order);
}

/* -- Which LUN, which files -- */

static int find_committed(struct order *order)
{
	const struct job_search *search = &order->search;

	if (search->parent[0] == '\0') {
		(void)snprintf(order->why, sizeof(order->why), "%.80s is based on nothing",
			       search->name);
		return -EINVAL;
	}
	/* It would go; an image that somebody else made is not ours to remove. */
	if (!search->parent_is_snapshot) {
		(void)snprintf(order->why, sizeof(order->why),
			       "it is based on %.60s, which is none of its snapshots",
			       search->parent);
		return -EINVAL;
	}
	(void)snprintf(order->job.order.image, sizeof(order->job.order.image), "%s",
		       search->parent);
	return 0;
}

static int call_search(struct loop_op *op)
{
	struct order *order = CONTAINER_OF(op, struct order, op);
	struct job_search *search = &order->search;
	int res = job_search(search, order->why);

	if (res != 0)
		return res;
	(void)snprintf(order->job.order.path, sizeof(order->job.order.path), "%s",
		       order->candidates[search->found]);
	jobs_resolve(&order->job);
	if (order->commits)
		return find_committed(order);
	if (order->job.order.kind == JOB_REMOVE || !search->is_active)
		(void)snprintf(order->job.order.image, sizeof(order->job.order.image), "%s",
			       search->name);
	return 0;
}

static void on_searched(struct loop_op *op, int res)
{
	struct order *order = CONTAINER_OF(op, struct order, op);

	loop_role_assume();
	if (res == 0) {
		order->job.generation = order->generation;
		order->job.request = order->request;
		order->job.lun = order->luns[order->search.found];
		res = jobs_begin(order->runtime->jobs, &order->job);
	}
	if (res != 0) {
		refuse(order, res);
		return;
	}
	order_free(order);
}

static int list_candidates(struct order *order)
{
	struct lun_walk walk = {.runtime = order->runtime};
	size_t room = order->runtime->now->lun_count + 1;
	struct named_lun named;

	order->candidates = calloc(room, sizeof(char *));
	order->luns = calloc(room, sizeof(struct lun *));
	if (order->candidates == NULL || order->luns == NULL)
		return -ENOMEM;
	while (lun_walk_next(&walk, &named)) {
		if (named.conf->type != CONF_LUN_QCOW2 || named.conf->image == NULL)
			continue;
		order->candidates[order->search.count] = named.conf->image;
		order->luns[order->search.count++] = named.lun;
	}
	order->search.candidates = order->candidates;
	return 0;
}

/* A base is named by its path, too, or by its name. */
static void set_base(struct job_order *job, const char *base)
{
	const char *slash = base != NULL ? strrchr(base, '/') : NULL;

	if (base != NULL)
		(void)snprintf(job->base, sizeof(job->base), "%s", slash ? slash + 1 : base);
}

static LOOP_ONLY struct order *order_make(struct control_request *request, enum job_kind kind)
{
	struct order *order = calloc(1, sizeof(*order));

	if (order == NULL) {
		control_answer(request, NULL);
		return NULL;
	}
	order->request = request;
	order->runtime = runtime_of(request);
	order->generation = retire_hold(order->runtime);
	order->job.order.kind = kind;
	order->job.order.rate_bytes = control_value(request, AT_RATE)->number;
	order->job.waits = control_value(request, AT_WAIT)->number != 0;
	(void)snprintf(order->path, sizeof(order->path), "%s",
		       control_value(request, AT_IMAGE)->text);
	order->search.path = order->path;
	return order;
}

static LOOP_ONLY void start(struct order *order)
{
	if (list_candidates(order) != 0) {
		refuse(order, -ENOMEM);
		return;
	}
	loop_op_init(&order->op);
	loop_call(control_loop(order->request), &order->op, call_search, on_searched);
}

void request_image_stream(struct control_request *request)
{
	struct order *order = order_make(request, JOB_STREAM);

	if (order == NULL)
		return;
	set_base(&order->job.order, control_value(request, AT_BASE)->text);
	start(order);
}

void request_image_commit(struct control_request *request)
{
	struct order *order = order_make(request, JOB_REMOVE);

	if (order == NULL)
		return;
	order->commits = true;
	start(order);
}

void request_image_remove(struct control_request *request)
{
	struct order *order = order_make(request, JOB_REMOVE);

	if (order != NULL)
		start(order);
}

/* -- Those that run -- */

void request_jobs(struct control_request *request)
{
	struct list_node *running = jobs_list(runtime_of(request)->jobs);
	json_t *list = json_array();

	LIST_FOREACH (node, running) {
		(void)json_array_append_new(
			list, jobs_json(CONTAINER_OF(node, struct running_job, link)));
	}
	control_answer(request, json_pack("{s:o}", "jobs", list));
}

/* NULL: it has been answered, there is none that runs. */
static LOOP_ONLY struct running_job *find_running(struct control_request *request)
{
	const char *path = control_value(request, AT_IMAGE)->text;
	struct running_job *running = jobs_find(runtime_of(request)->jobs, path);

	if (running != NULL && running->job != NULL)
		return running;
	if (running != NULL)
		control_refuse(request, CONTROL_BUSY, "Try again in a moment.",
			       "the job on %s is about to be resumed", path);
	else
		control_refuse(request, CONTROL_NOT_FOUND, "`ringsan image jobs` lists them.",
			       "there is no job on %s", path);
	return NULL;
}

void request_job_cancel(struct control_request *request)
{
	struct running_job *running = find_running(request);

	if (running == NULL)
		return;
	if (running->canceler != NULL) {
		control_refuse(request, CONTROL_BUSY, "Wait for it; it takes no long time.",
			       "the job is being canceled");
		return;
	}
	running->canceler = request;
	if (job_cancel(running->job))
		return;
	running->canceler = NULL;
	control_refuse(request, CONTROL_REFUSED, "Wait for it; it takes no long time.",
		       "the job is at its end already");
}

void request_job_rate(struct control_request *request)
{
	struct running_job *running = find_running(request);

	if (running == NULL)
		return;
	job_set_rate(running->job, control_value(request, AT_RATE)->number);
	control_answer(request, jobs_json(running));
}
