/*
 * The daemon's parts; see build.h. Each step makes one kind of part and leaves what it made in the
 * runtime, so that runtime_free can take down whatever there is.
 *
 * Runs on the control thread.
 */
#include "target/ctl/build.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "lun/files.h"
#include "target/ctl/handover.h"
#include "target/ctl/jobs.h"
#include "target/ctl/luns.h"
#include "target/ctl/reload.h"
#include "target/ctl/requests.h"
#include "target/ctl/retire.h"

typedef int build_step_fn(struct runtime *runtime, struct conf_errors *errors);

static struct conf_place place(const struct conf *conf, int line)
{
	return (struct conf_place){conf->file, line};
}

/* -- Limits and loops -- */

static int build_limits(struct runtime *runtime, struct conf_errors *errors)
{
	const struct conf_limits *limits = &runtime->conf->limits;

	(void)errors;
	runtime->server.limits = (struct iscsi_limits){
		.sessions_max = limits->sessions,
		.queue_depth_max = limits->queue_depth,
		.login_timeout_ms = limits->login_timeout_ms,
		.refusal_delay_ms = limits->refusal_delay_ms,
		.write_stall_timeout_ms = limits->write_stall_timeout_ms,
		.nop_interval_ms = limits->nop_interval_ms,
		.nop_timeout_ms = limits->nop_timeout_ms,
		.data_out_timeout_ms = limits->data_out_timeout_ms,
		.logins_max = limits->connections_before_login,
		.logins_per_source_max = limits->connections_before_login_per_source,
	};
	return 0;
}

static int build_data_loop(struct runtime *runtime, unsigned index)
{
	struct loop_group *group = &runtime->server.group;
	char name[16];
	const struct loop_config config = {
		.name = name,
		.engine = runtime->conf->engine,
		.index = index,
		.buffer_count = runtime->sizing.buffers_per_loop,
	};
	int res;

	(void)snprintf(name, sizeof(name), "loop%u", index);
	res = loop_create(&config, &group->loops[index]);
	if (res != 0)
		return res;
	group->count++;
	return iscsi_loop_create(group->loops[index], &runtime->server);
}

static int build_loops(struct runtime *runtime, struct conf_errors *errors)
{
	const struct loop_config control = {
		.name = "control",
		.engine = runtime->conf->engine,
		.index = runtime->sizing.loops,
		.buffer_count = runtime->sizing.buffers_control,
	};
	int res = loop_create(&control, &runtime->server.control);

	(void)errors;
	for (unsigned i = 0; res == 0 && i < runtime->sizing.loops; i++)
		res = build_data_loop(runtime, i);
	return res;
}

/* -- The control socket -- */

static int build_control(struct runtime *runtime, struct conf_errors *errors)
{
	const struct control_config config = {
		.loop = runtime->server.control,
		.table = &control_requests,
		.context = runtime,
		.idle_ms = CONTROL_IDLE_MS,
		.stall_ms = CONTROL_STALL_MS,
	};
	char why[CONTROL_WHY_BYTES];
	struct control_path path;

	if (control_path_claim(runtime->conf->control_socket, &path, why) != 0) {
		conf_errors_add(errors, place(runtime->conf, 0), "%s", why);
		return -EINVAL;
	}
	return control_create(&config, &path, &runtime->control);
}

/* -- Portals -- */

static int build_logins(struct runtime *runtime, struct conf_errors *errors)
{
	struct iscsi_server *server = &runtime->server;
	const struct portal_limits limits = {
		.guests_max = server->limits.logins_max,
		.guests_per_source_max = server->limits.logins_per_source_max,
	};
	int res = registry_create(server, &server->registry);

	(void)errors;
	if (res == 0)
		res = login_service_create(server, &runtime->logins);
	if (res == 0) {
		res = portal_set_create(server->control, &limits, login_service_arrival,
					runtime->logins, &runtime->portal_set);
	}
	if (res == 0)
		login_service_set_portals(runtime->logins, runtime->portal_set);
	return res;
}

/* As the daemon before has left it, or a new one. */
static int open_portal(struct portal_set *set, int left_fd, struct sockaddr_storage *address,
		       char why[PORTAL_WHY_BYTES])
{
	if (left_fd >= 0 && portal_set_adopt(set, left_fd, address) == 0)
		return 0;
	if (left_fd >= 0)
		(void)close(left_fd);
	return portal_set_open(set, address, why);
}

/* What is wrong goes to `errors` alone: the next portal is tried all the same. */
static void build_portal(struct runtime *runtime, const struct conf_portal *from,
			 struct iscsi_portal *to, int left_fd, struct conf_errors *errors)
{
	char why[PORTAL_WHY_BYTES];
	int res = conf_address_to_sockaddr(&from->address, &to->address);

	if (res < 0) {
		conf_errors_add(
			errors, place(runtime->conf, from->line),
			"portal: there is no interface %s on this machine; correct its name",
			from->address.zone);
		return;
	}
	if (open_portal(runtime->portal_set, left_fd, &to->address, why) != 0) {
		conf_errors_add(errors, place(runtime->conf, from->line), "%s", why);
		return;
	}
	to->tag = from->tag;
	if (from->advertise.name != NULL) {
		size_t index = (size_t)(to - runtime->portals);

		runtime->advertise[index] = strdup(from->advertise.name);
		to->advertise = runtime->advertise[index];
	}
	to->advertise_port =
		from->advertise.port != 0 ? from->advertise.port : address_port(&to->address);
}

/*
 * Which sockets of the daemon before are for which portals. The others are closed before any is
 * opened: one that listened at all addresses keeps others from listening at one of them.
 */
static void take_over(const struct conf *conf, int left_fds[PORTALS_MAX])
{
	struct handover handover;

	handover_take(&handover);
	for (size_t i = 0; i < conf->portal_count; i++) {
		struct sockaddr_storage address;

		left_fds[i] = -1;
		if (conf_address_to_sockaddr(&conf->portals[i].address, &address) >= 0)
			left_fds[i] = handover_claim(&handover, &address);
	}
	handover_end(&handover);
}

static int build_portals(struct runtime *runtime, struct conf_errors *errors)
{
	const struct conf *conf = runtime->conf;
	size_t before = errors->count;
	int left_fds[PORTALS_MAX];

	if (conf->portal_count > PORTALS_MAX)
		return -E2BIG;
	runtime->portals = calloc(conf->portal_count + 1, sizeof(*runtime->portals));
	if (!runtime->portals)
		return -ENOMEM;
	take_over(conf, left_fds);
	for (size_t i = 0; i < conf->portal_count; i++)
		build_portal(runtime, &conf->portals[i], &runtime->portals[i], left_fds[i], errors);
	runtime->server.portals = runtime->portals;
	runtime->server.portal_count = (unsigned)conf->portal_count;
	return errors->count == before ? 0 : -EINVAL;
}

/* -- LUNs -- */

/* NULL, or what is wrong with the folder and what would mend it. */
static const char *state_dir_fault(const char *path)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return strerrordesc_np(errno);
	if (!S_ISDIR(st.st_mode))
		return "it is no folder; name another";
	/* Who may write there could have two disks take one identity, or lead our files elsewhere
	 * with a symbolic link. */
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return "it belongs to another user; chown it to the one that ringsand runs as";
	if ((st.st_mode & S_IWOTH) != 0)
		return "everybody may write there; chmod o-w it";
	if (access(path, R_OK | W_OK | X_OK) != 0)
		return strerrordesc_np(errno);
	return NULL;
}

int build_state_dir(const struct conf *conf, struct conf_errors *errors)
{
	/* Durable itself: a power cut must not take the folder with the identities in it. */
	int res = mkdir(conf->state_dir, 0700) != 0 ? -errno : files_sync_parent(conf->state_dir);
	const char *fault;

	if (res != 0 && res != -EEXIST) {
		conf_errors_add(errors, place(conf, 0),
				"state-dir %s cannot be made: %s; make it, or name another",
				conf->state_dir, strerrordesc_np(-res));
		return -EINVAL;
	}
	fault = state_dir_fault(conf->state_dir);
	if (fault) {
		conf_errors_add(errors, place(conf, 0), "state-dir %s cannot be used: %s",
				conf->state_dir, fault);
		return -EINVAL;
	}
	return 0;
}

struct scsi_lu_spec build_lu_spec(const struct runtime *runtime, const struct conf_lun *from,
				  struct lun *lun)
{
	return (struct scsi_lu_spec){
		.lun = lun,
		.vendor = from->vendor,
		.product = from->product,
		.revision = from->revision,
		.state_dir = runtime->state_dir,
		.write_cache_by_hosts = from->write_cache_by_hosts,
		.warn_percent = from->warn_percent,
	};
}

static int build_targets(struct runtime *runtime, struct conf_errors *errors)
{
	int res = generation_create(runtime->conf, NULL, &runtime->server.group, errors,
				    &runtime->now);

	if (res != 0)
		return res;
	list_append(&runtime->generations, &runtime->now->link);
	iscsi_view_set(&runtime->server, &runtime->now->view);
	return 0;
}

static int build_space(struct runtime *runtime)
{
	const struct space_loops loops = {
		.control = runtime->server.control,
		.data = runtime->server.group.loops[0],
	};

	return space_create(runtime->conf, loops, &runtime->space);
}

/* A LUN, opened, becomes a logical unit. Its pool comes first: it asks how full that is. */
static int build_lun(struct runtime *runtime, const struct conf_lun *from, struct scsi_target *scsi,
		     struct lun *lun)
{
	const struct scsi_lu_spec spec = build_lu_spec(runtime, from, lun);
	struct space_member *member;
	int res = space_find(runtime->space, runtime->conf, from->image, lun, &member);

	if (res != 0)
		return res;
	res = scsi_target_add_lu(scsi, from->number, &spec);
	if (res != 0)
		space_forget(member);
	else
		space_join(runtime->space, member, scsi_target_find_lu(scsi, from->number));
	return res;
}

static int build_luns(struct runtime *runtime)
{
	struct lun *const *lun = runtime->now->luns;
	int res = 0;

	for (size_t i = 0; res == 0 && i < runtime->conf->target_count; i++) {
		const struct conf_target *from = &runtime->conf->targets[i];

		for (size_t j = 0; res == 0 && j < from->lun_count; j++)
			res = build_lun(runtime, &from->luns[j], runtime->now->targets[i].scsi,
					*lun++);
	}
	return res;
}

/* Last of all steps: it makes images, so nothing that may refuse the start comes after it. */
static int build_all_luns(struct runtime *runtime, struct conf_errors *errors)
{
	const struct generation *now = runtime->now;
	const struct conf *conf = runtime->conf;
	int res = build_state_dir(conf, errors);

	if (res == 0)
		res = luns_open(conf, &runtime->server.group, now->luns);
	if (res == 0)
		res = build_space(runtime);
	if (res == 0)
		res = build_luns(runtime);
	if (res == 0)
		res = retire_create(runtime, &runtime->retire);
	if (res == 0)
		res = jobs_create(runtime, &runtime->jobs);
	if (res == 0)
		res = lun_check_identities(now->luns, now->lun_count);
	/* By identity, so after those that are not to be trusted have lost theirs. */
	for (size_t i = 0; res == 0 && i < conf->target_count; i++)
		res = scsi_target_restore(now->targets[i].scsi);
	return res;
}

/* -- All of it -- */

static build_step_fn *const steps[] = {
	build_limits,  build_loops,   build_control,  build_logins,
	build_portals, build_targets, build_all_luns,
};

int runtime_build(const struct conf *conf, const struct sizing *sizing, struct conf_errors *errors,
		  struct runtime **out)
{
	struct runtime *runtime = calloc(1, sizeof(*runtime));
	int res = 0;

	if (!runtime)
		return -ENOMEM;
	runtime->conf = conf;
	list_init(&runtime->generations);
	runtime->since_ns = clock_now_ns();
	runtime->state_dir = strdup(conf->state_dir);
	if (!runtime->state_dir)
		res = -ENOMEM;
	runtime->sizing = *sizing;
	for (size_t i = 0; res == 0 && i < ARRAY_SIZE(steps); i++)
		res = steps[i](runtime, errors);
	if (res != 0) {
		if (res != -EINVAL)
			log_error("ctl", "cannot start: %s", strerrordesc_np(-res));
		runtime_free(runtime);
		return res;
	}
	*out = runtime;
	return 0;
}

static void free_loops(struct iscsi_server *server)
{
	for (unsigned i = 0; i < server->group.count; i++) {
		iscsi_loop_free(server->group.loops[i], false);
		loop_free(server->group.loops[i], false);
	}
	if (server->control)
		loop_free(server->control, false);
}

/* The last one has targets and LUNs, those before it records only. */
static void free_generations(struct runtime *runtime)
{
	LIST_FOREACH (node, &runtime->generations) {
		struct generation *generation = CONTAINER_OF(node, struct generation, link);

		if (generation == runtime->now)
			generation_abandon(generation, NULL);
		else
			generation_free(generation);
	}
}

void runtime_free(struct runtime *runtime)
{
	if (!runtime)
		return;
	control_free(runtime->control);
	portal_set_free(runtime->portal_set);
	login_service_free(runtime->logins, false);
	registry_free(runtime->server.registry, false);
	reload_free(runtime->reload);
	jobs_free(runtime->jobs);
	retire_free(runtime->retire);
	free_generations(runtime);
	space_free(runtime->space);
	free_loops(&runtime->server);
	for (unsigned i = 0; i < PORTALS_MAX; i++)
		free(runtime->advertise[i]);
	free(runtime->state_dir);
	free(runtime->portals);
	free(runtime);
}
