/*
 * Carrying out what another configuration says; see reload.h. Until LUNs are published (add_luns)
 * all can be given up; from then on it goes through.
 *
 * Runs on the control loop.
 */
#include "target/ctl/reload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "conf/parse.h"
#include "target/ctl/reload_job.h"
#include "target/ctl/retire.h"

/* The answer waits so long for what was removed, so that it can say that images are free. */
#define PATIENCE_NS (1 * CLOCK_NS_PER_S)
#define POLL_MS 5u
/* I/O that hosts have begun may take so long to end before an image is closed. */
#define PAUSE_MS 10000u

struct reload {
	struct runtime *runtime;
	struct stop *stop;
	struct reload_job *job; /* NULL: none. */
	bool stopping;
	void (*on_stopped)(void *arg);
	void *arg;
};

static struct loop *control_of(const struct reload_job *job)
{
	return job->runtime->server.control;
}

/* -- Telling -- */

static json_t *change_json(const struct conf_change *change)
{
	const struct conf_target *target = change->after ? change->after : change->before;
	const struct conf_lun *lun = change->lun_after ? change->lun_after : change->lun_before;
	char text[CONF_CHANGE_TEXT_MAX];

	conf_change_text(change, text);
	return json_pack("{s:s, s:o, s:o, s:o}", "change", conf_change_name(change->kind), "target",
			 control_json_text(target ? target->name : NULL), "lun",
			 lun ? json_integer(lun->number) : json_null(), "text",
			 control_json_text(text));
}

static json_t *job_json(const struct reload_job *job)
{
	json_t *changes = json_array();
	json_t *grown = json_array();

	for (size_t i = 0; i < job->changes.count; i++)
		(void)json_array_append_new(changes, change_json(&job->changes.items[i]));
	for (size_t i = 0; i < job->renewed_count; i++) {
		const struct renewed_lun *renewed = &job->renewed[i];

		if (renewed->size_bytes != 0)
			(void)json_array_append_new(
				grown, json_pack("{s:s, s:I}", "name", lun_name(renewed->lun),
						 "size_bytes", (json_int_t)renewed->size_bytes));
	}
	return json_pack("{s:b, s:o, s:o, s:i}", "dry_run", (int)job->dry_run, "changes", changes,
			 "grown", grown, "going", 0);
}

static void log_changes(const struct reload_job *job)
{
	char text[CONF_CHANGE_TEXT_MAX];

	for (size_t i = 0; i < job->changes.count; i++) {
		conf_change_text(&job->changes.items[i], text);
		log_info("ctl", "reload: %s", text);
	}
	for (size_t i = 0; i < job->renewed_count; i++) {
		if (job->renewed[i].size_bytes != 0)
			log_info("ctl", "reload: %s has %llu bytes now",
				 lun_name(job->renewed[i].lun),
				 (unsigned long long)job->renewed[i].size_bytes);
	}
	log_info("ctl", "reload: %zu changes, %zu LUNs have grown", job->changes.count,
		 job->grown_count);
}

/* -- The end of a job -- */

LOOP_ONLY static void on_nothing_going(void *arg)
{
	struct reload *reload = arg;

	reload->on_stopped(reload->arg);
}

LOOP_ONLY static void end_job(struct reload_job *job)
{
	struct reload *reload = job->reload;

	conf_changes_clear(&job->changes);
	for (size_t i = 0; i < job->addition_count; i++)
		free(job->additions[i].lus);
	free(job->additions);
	free(job->added);
	free(job->renewed);
	free(job->errors);
	free(job);
	reload->job = NULL;
	if (reload->on_stopped != NULL)
		retire_wait(reload->runtime->retire, on_nothing_going, reload);
}

LOOP_ONLY static void refuse(struct reload_job *job, const char *remedy)
{
	const struct conf_errors *errors = job->errors;
	size_t count = errors->count + errors->dropped;
	const char *first = count > 0 ? errors->items[0].text : strerrordesc_np(-job->res);

	for (size_t i = 0; i < errors->count; i++)
		log_error("ctl", "reload: %s", errors->items[i].text);
	log_error("ctl", "reload: refused, nothing has changed%s%s", count > 0 ? "" : ": ",
		  count > 0 ? "" : first);
	if (job->request != NULL && count > 1)
		control_refuse(job->request, CONTROL_REFUSED, remedy, "%s (and %zu errors more)",
			       first, count - 1);
	else if (job->request != NULL)
		control_refuse(job->request, CONTROL_REFUSED, remedy, "%s", first);
}

/* Before anything was published. */
LOOP_ONLY static void give_up(struct reload_job *job)
{
	refuse(job, "Mend it and reload again; nothing has changed. The log has all errors.");
	for (size_t i = 0; i < job->addition_count; i++)
		scsi_lun_change_cancel(&job->additions[i].change);
	reload_unprepare(job);
	if (job->next != NULL)
		generation_abandon(job->next, job->runtime->now);
	conf_free(job->conf);
	end_job(job);
}

LOOP_ONLY static bool is_stopped(struct reload_job *job)
{
	if (!job->reload->stopping)
		return false;
	job->res = -ECANCELED;
	return true;
}

LOOP_ONLY static void tell(struct reload_job *job)
{
	size_t going = retire_count(job->runtime->retire);

	if (going > 0)
		log_info("ctl", "reload: %zu targets and LUNs are on their way out", going);
	if (job->request != NULL) {
		(void)json_object_set_new(job->answer, "going", json_integer((json_int_t)going));
		control_answer(job->request, job->answer);
	}
	end_job(job);
}

/* -- In force -- */

static void on_timer(struct loop_timer *timer)
{
	struct reload_job *job = CONTAINER_OF(timer, struct reload_job, timer);

	loop_role_assume();
	if (retire_count(job->runtime->retire) == 0 || job->reload->stopping ||
	    loop_now_ns(control_of(job)) >= job->patience_ns)
		tell(job);
	else
		loop_timer_start(control_of(job), timer, POLL_MS, on_timer);
}

static void on_view_retired(struct published_swap *swap, const void *old UNUSED)
{
	struct reload_job *job = CONTAINER_OF(swap, struct reload_job, swap);

	loop_role_assume();
	log_changes(job);
	if (job->request != NULL)
		job->answer = job_json(job);
	/* What goes waits for generations that have it, this job's included; and changes point to
	 * both. */
	conf_changes_clear(&job->changes);
	retire_release(job->runtime, job->before);
	retire_begin(job->runtime->retire);
	job->patience_ns = loop_now_ns(control_of(job)) + PATIENCE_NS;
	loop_timer_start(control_of(job), &job->timer, POLL_MS, on_timer);
}

/* Who may not use a target any more does not go on using it. */
static void revoke(const struct runtime *runtime)
{
	const struct iscsi_view *view = &runtime->now->view;
	struct registry_entry *entry = NULL;

	while ((entry = registry_next(runtime->server.registry, entry)) != NULL) {
		const struct session_spec *spec = registry_spec(entry);
		const struct iscsi_target *target =
			spec->discovery ? NULL : iscsi_target_find(view, spec->target_name);

		if (target != NULL &&
		    !iscsi_target_permits(target, spec->initiator_name, &spec->peer))
			registry_close(entry, SESSION_CLOSE_ADMIN);
	}
}

LOOP_ONLY static void put_in_force(struct reload_job *job)
{
	struct runtime *runtime = job->runtime;

	job->before = retire_hold(runtime);
	job->next->owns_conf = true;
	list_append(&runtime->generations, &job->next->link);
	runtime->now = job->next;
	runtime->conf = job->conf;
	published_swap(&runtime->server.view, &job->next->view, &job->swap, &runtime->server.group,
		       control_of(job), on_view_retired);
	login_service_renew(runtime->logins);
	revoke(runtime);
}

/* -- LUNs that are renewed -- */

static void on_one_done(struct reload_job *job)
{
	loop_role_assume();
	if (--job->pending == 0)
		put_in_force(job);
}

static void on_renewed(struct scsi_lu_news *news)
{
	struct renewed_lun *renewed = CONTAINER_OF(news, struct renewed_lun, news);

	if (news->res != 0)
		log_error("ctl", "%s: hosts are not told what is new: %s", lun_name(renewed->lun),
			  strerrordesc_np(-news->res));
	on_one_done(renewed->job);
}

LOOP_ONLY static void renew(struct reload_job *job, struct renewed_lun *renewed)
{
	renewed->news =
		(struct scsi_lu_news){.lu = scsi_target_find_lu(renewed->target, renewed->number),
				      .grown = renewed->size_bytes != 0,
				      .warn_percent = renewed->warn_percent,
				      .control = control_of(job),
				      .done = on_renewed};
	job->pending++;
	scsi_lu_renew(&renewed->news);
}

static bool is_published(const struct renewed_lun *renewed)
{
	struct lun_state now;

	lun_state_copy(renewed->lun, &now);
	return now.size_bytes >= renewed->size_bytes;
}

/* Hosts are told when all loops answer with the new capacity, which a state that is on its way back
 * may delay by a round. */
static void on_growing(struct loop_timer *timer)
{
	struct reload_job *job = CONTAINER_OF(timer, struct reload_job, timer);
	bool all = true;

	loop_role_assume();
	for (size_t i = 0; i < job->renewed_count; i++)
		all = all && is_published(&job->renewed[i]);
	if (!all) {
		loop_timer_start(control_of(job), timer, POLL_MS, on_growing);
		return;
	}
	space_warn(job->runtime->space, job->conf);
	job->pending = 1;
	for (size_t i = 0; i < job->renewed_count; i++)
		renew(job, &job->renewed[i]);
	on_one_done(job);
}

LOOP_ONLY static void renew_luns(struct reload_job *job)
{
	for (size_t i = 0; i < job->renewed_count; i++) {
		const struct renewed_lun *renewed = &job->renewed[i];

		if (renewed->size_bytes != 0)
			lun_grow(renewed->lun, control_of(job), renewed->size_bytes);
	}
	on_growing(&job->timer);
}

/* -- Additions -- */

static void on_one_added(struct reload_job *job)
{
	loop_role_assume();
	if (--job->pending == 0)
		renew_luns(job);
}

static void on_added(struct scsi_lun_change *change)
{
	on_one_added(CONTAINER_OF(change, struct lun_addition, change)->job);
}

/* Those of one target are beside each other. */
static size_t count_same(const struct reload_job *job, size_t from)
{
	size_t end = from;

	while (end < job->added_count && job->added[end].target == job->added[from].target)
		end++;
	return end - from;
}

/* A number may be taken for want of memory only; places may be by what goes now. */
static void complain_of_room(struct reload_job *job, const struct added_lun *first)
{
	conf_errors_add(job->errors, (struct conf_place){job->conf->file, first->conf->line},
			"lun: there is no room yet beside LUNs of %s that are removed; take those "
			"out first and reload, then add this one and reload",
			scsi_target_name(first->target));
}

/* `count` LUNs of one target. */
LOOP_ONLY static int prepare_addition(struct reload_job *job, const struct added_lun *first,
				      size_t count)
{
	struct lun_addition *addition = &job->additions[job->addition_count];
	int res;

	addition->lus = calloc(count, sizeof(struct scsi_lu *));
	if (addition->lus == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		addition->lus[i] = first[i].lu;
	addition->job = job;
	addition->change = (struct scsi_lun_change){.target = first->target,
						    .control = control_of(job),
						    .added = addition->lus,
						    .added_count = (unsigned)count,
						    .done = on_added};
	res = scsi_lun_change_prepare(&addition->change);
	if (res == 0) {
		job->addition_count++;
		return 0;
	}
	free(addition->lus);
	if (res != -ENOMEM)
		complain_of_room(job, first);
	return res;
}

LOOP_ONLY static int prepare_additions(struct reload_job *job)
{
	int res = 0;
	size_t count;

	job->additions = calloc(job->added_count + 1, sizeof(*job->additions));
	if (job->additions == NULL)
		return -ENOMEM;
	for (size_t i = 0; res == 0 && i < job->added_count; i += count) {
		count = count_same(job, i);
		res = prepare_addition(job, &job->added[i], count);
	}
	return res;
}

LOOP_ONLY static void add_luns(struct reload_job *job)
{
	job->pending = 1;
	for (size_t i = 0; i < job->added_count; i++) {
		space_join(job->runtime->space, job->added[i].member, job->added[i].lu);
		job->added[i].member = NULL;
		lun_begin(job->added[i].lun);
	}
	for (size_t i = 0; i < job->addition_count; i++) {
		job->pending++;
		scsi_lun_change_start(&job->additions[i].change);
	}
	on_one_added(job);
}

/* -- Before anything is published -- */

static int record_removed(const struct reload_job *job)
{
	const struct generation *now = job->runtime->now;
	struct retire *retire = job->runtime->retire;
	int res = 0;

	for (size_t i = 0; res == 0 && i < job->changes.count; i++) {
		const struct conf_change *change = &job->changes.items[i];

		if (change->kind == CONF_TARGET_REMOVED)
			res = retire_add_target(retire, change->before);
		else if (change->kind == CONF_LUN_REMOVED)
			res = retire_add_lun(retire,
					     generation_target(now, change->before->name)->scsi,
					     change->lun_before);
	}
	if (res != 0)
		retire_cancel(retire);
	return res;
}

LOOP_ONLY static void go_on(struct reload_job *job)
{
	if (job->res == 0 && !is_stopped(job))
		job->res = stop_make_room(job->reload->stop, job->next->lun_count);
	if (job->res == 0)
		job->res = prepare_additions(job);
	if (job->res == 0)
		job->res = record_removed(job);
	if (job->res != 0)
		give_up(job);
	else
		add_luns(job);
}

/* -- Images that grow while they are closed -- */

static void on_one_grown(struct reload_job *job)
{
	loop_role_assume();
	if (--job->pending == 0)
		go_on(job);
}

static void on_image_grown(struct lun_growth *growth, int res)
{
	struct renewed_lun *renewed = CONTAINER_OF(growth, struct renewed_lun, growth);
	struct reload_job *job = renewed->job;

	if (res != 0) {
		conf_errors_add(job->errors, (struct conf_place){job->conf->file, 0}, "%s: %s",
				lun_name(growth->lun), growth->change.why);
		job->res = res;
	} else {
		log_info("ctl", "%s: its image was made larger in %llu ms", lun_name(growth->lun),
			 (unsigned long long)(growth->change.paused_ns / CLOCK_NS_PER_MS));
	}
	on_one_grown(job);
}

/* Before anything is published: where one cannot, nothing has changed for hosts. */
static void on_prepared(struct loop_op *op, int res UNUSED)
{
	struct reload_job *job = CONTAINER_OF(op, struct reload_job, op);

	loop_role_assume();
	job->pending = 1;
	for (size_t i = 0; i < job->renewed_count && job->res == 0; i++) {
		struct renewed_lun *renewed = &job->renewed[i];

		if (!renewed->grows_closed)
			continue;
		renewed->growth = (struct lun_growth){.lun = renewed->lun,
						      .control = control_of(job),
						      .size_bytes = renewed->size_bytes,
						      .deadline_ms = PAUSE_MS,
						      .done = on_image_grown};
		job->pending++;
		lun_growth_start(&renewed->growth);
	}
	on_one_grown(job);
}

/* The image of a LUN that was removed a while ago may still be in use: its disk is stuck. */
static void check_images(struct reload_job *job)
{
	for (size_t i = 0; i < job->conf->target_count; i++) {
		const struct conf_target *target = &job->conf->targets[i];

		for (size_t j = 0; j < target->lun_count; j++) {
			const struct conf_lun *lun = &target->luns[j];

			if (!retire_has_image(job->runtime->retire, lun->image))
				continue;
			conf_errors_add(job->errors,
					(struct conf_place){job->conf->file, lun->line},
					"lun: %s is still in use by the LUN that was removed; "
					"reload again when the log says that it is free",
					lun->image);
			job->res = -EINVAL;
		}
	}
}

static void on_loaded(struct loop_op *op, int res UNUSED)
{
	struct reload_job *job = CONTAINER_OF(op, struct reload_job, op);
	struct runtime *runtime = job->runtime;

	loop_role_assume();
	if (job->res == 0 && !is_stopped(job))
		job->res = conf_compare(runtime->conf, job->conf, &job->changes, job->errors);
	if (job->res == 0)
		check_images(job);
	if (job->res == 0 && job->dry_run) {
		control_answer(job->request, job_json(job));
		conf_free(job->conf);
		end_job(job);
		return;
	}
	if (job->res == 0)
		job->res = generation_create(job->conf, runtime->now, &runtime->server.group,
					     job->errors, &job->next);
	if (job->res != 0) {
		give_up(job);
		return;
	}
	loop_op_init(&job->op);
	loop_call(control_of(job), &job->op, reload_prepare, on_prepared);
}

/* -- From outside -- */

LOOP_ONLY static void turn_away(struct control_request *request, const char *why)
{
	log_warn("ctl", "reload: %s", why);
	if (request != NULL)
		control_refuse(request, CONTROL_BUSY, "Try again when it has ended.", "%s", why);
}

void reload_begin(struct reload *reload, struct control_request *request, bool dry_run)
{
	struct reload_job *job;

	if (reload->job != NULL || reload->stopping) {
		turn_away(request,
			  reload->stopping ? "the daemon ends" : "another reload is under way");
		return;
	}
	job = calloc(1, sizeof(*job));
	if (job != NULL)
		job->errors = calloc(1, sizeof(*job->errors));
	if (job == NULL || job->errors == NULL) {
		free(job);
		turn_away(request, "memory is short");
		return;
	}
	job->reload = reload;
	job->runtime = reload->runtime;
	job->request = request;
	job->dry_run = dry_run;
	reload->job = job;
	if (!dry_run)
		log_info("ctl", "reload: reading %s", reload->runtime->conf->file);
	loop_op_init(&job->op);
	loop_call(control_of(job), &job->op, reload_load, on_loaded);
}

void reload_stop(struct reload *reload, void (*done)(void *arg), void *arg)
{
	reload->stopping = true;
	reload->on_stopped = done;
	reload->arg = arg;
	if (reload->job == NULL)
		retire_wait(reload->runtime->retire, on_nothing_going, reload);
}

int reload_create(struct runtime *runtime, struct stop *stop, struct reload **out)
{
	struct reload *reload = calloc(1, sizeof(*reload));

	if (reload == NULL)
		return -ENOMEM;
	reload->runtime = runtime;
	reload->stop = stop;
	*out = reload;
	return 0;
}

void reload_free(struct reload *reload)
{
	free(reload);
}

void request_reload(struct control_request *request)
{
	struct runtime *runtime = runtime_of(request);

	reload_begin(runtime->reload, request, control_value(request, 0)->number != 0);
}
