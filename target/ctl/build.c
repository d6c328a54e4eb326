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
#include "target/ctl/luns.h"
#include "target/ctl/requests.h"
#include "target/iscsi/chap.h"
#include "target/scsi/alua.h"

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

/* What is wrong goes to `errors` alone: the next portal is tried all the same. */
static void build_portal(struct runtime *runtime, const struct conf_portal *from,
			 struct iscsi_portal *to, struct conf_errors *errors)
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
	if (portal_set_open(runtime->portal_set, &to->address, why) != 0) {
		conf_errors_add(errors, place(runtime->conf, from->line), "%s", why);
		return;
	}
	to->tag = from->tag;
	to->advertise = from->advertise.name;
	to->advertise_port =
		from->advertise.port != 0 ? from->advertise.port : address_port(&to->address);
}

static int build_portals(struct runtime *runtime, struct conf_errors *errors)
{
	const struct conf *conf = runtime->conf;
	size_t before = errors->count;

	if (conf->portal_count > PORTALS_MAX)
		return -E2BIG;
	runtime->portals = calloc(conf->portal_count + 1, sizeof(*runtime->portals));
	if (!runtime->portals)
		return -ENOMEM;
	for (size_t i = 0; i < conf->portal_count; i++)
		build_portal(runtime, &conf->portals[i], &runtime->portals[i], errors);
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

static int build_lun(const struct conf *conf, struct scsi_target *target,
		     const struct conf_lun *from, struct lun *lun)
{
	const struct scsi_lu_spec lu = {
		.lun = lun,
		.vendor = from->vendor,
		.product = from->product,
		.revision = from->revision,
		.state_dir = conf->state_dir,
		.write_cache_by_hosts = from->write_cache_by_hosts,
		.warn_percent = from->warn_percent,
	};

	return scsi_target_add_lu(target, from->number, &lu);
}

/* -- Targets -- */

/* False if a user is not in the secrets file, which the parser has made sure of. */
static bool add_user(struct runtime *runtime, const char *name)
{
	const struct conf_user *user = conf_user_find(runtime->conf, name);

	if (!user)
		return false;
	runtime->users[runtime->user_count++] = (struct iscsi_user){
		.name = user->name,
		.secret = user->secret,
		.secret_bytes = (uint32_t)user->secret_bytes,
	};
	return true;
}

static uint32_t algorithm_bits(const struct conf_algorithms *algorithms)
{
	static const enum chap_algorithm numbers[CONF_CHAP_ALGORITHM_COUNT] = {
		[CONF_CHAP_MD5] = CHAP_MD5,
		[CONF_CHAP_SHA1] = CHAP_SHA1,
		[CONF_CHAP_SHA256] = CHAP_SHA256,
		[CONF_CHAP_SHA3_256] = CHAP_SHA3_256,
	};
	uint32_t bits = 0;

	for (size_t i = 0; i < algorithms->count; i++)
		bits |= CHAP_ALGORITHM_BIT(numbers[algorithms->items[i]]);
	return bits;
}

static int build_auth(struct runtime *runtime, const struct conf_auth *from, struct iscsi_auth *to,
		      struct conf_errors *errors)
{
	bool ok = true;

	to->chap_algorithms = algorithm_bits(&from->algorithms);
	to->users = &runtime->users[runtime->user_count];
	to->user_count = from->users.count;
	for (size_t i = 0; i < from->users.count; i++)
		ok = add_user(runtime, from->users.items[i]) && ok;
	if (from->mutual) {
		to->mutual = &runtime->users[runtime->user_count];
		ok = add_user(runtime, from->mutual) && ok;
	}
	if (ok)
		return 0;
	conf_errors_add(errors, place(runtime->conf, from->line),
			"auth: a user is not in the secrets file; add it there");
	return -EINVAL;
}

static bool permits(const void *rules, const char *initiator_name,
		    const struct sockaddr_storage *peer)
{
	return conf_access_permits(rules, initiator_name, (const struct sockaddr *)peer);
}

/* `luns` are the target's, opened. */
static int build_luns(const struct conf *conf, const struct conf_target *from,
		      struct scsi_target *scsi, struct lun *const luns[])
{
	int res = 0;

	for (size_t i = 0; res == 0 && i < from->lun_count; i++)
		res = build_lun(conf, scsi, &from->luns[i], luns[i]);
	return res;
}

/* Target ports are the portal groups that lead to the target. */
static int build_ports(const struct conf *conf, const struct conf_target *from,
		       struct scsi_target *scsi)
{
	int res = 0;

	for (size_t i = 0; res == 0 && i < from->portal_groups.count; i++)
		res = scsi_target_add_port(scsi, from->portal_groups.items[i]);
	for (size_t i = 0; res == 0 && from->portal_groups.count == 0 && i < conf->portal_count;
	     i++)
		res = scsi_target_add_port(scsi, conf->portals[i].tag);
	return res;
}

static int set_groups(struct scsi_target *scsi, const struct conf_target *from,
		      const struct conf_tags *tags, enum scsi_access_state state)
{
	int res = 0;

	for (size_t i = 0; res == 0 && i < tags->count; i++)
		res = scsi_target_set_group(
			scsi, tags->items[i], state,
			conf_tags_have(&from->preferred_groups, tags->items[i]));
	return res;
}

/* In which state each begins. The preferred ones that are in no list are active/optimized. */
static int build_groups(const struct conf_target *from, struct scsi_target *scsi)
{
	static const enum scsi_access_state states[CONF_GROUP_STATE_COUNT] = {
		[CONF_GROUP_NON_OPTIMIZED] = SCSI_ACCESS_NON_OPTIMIZED,
		[CONF_GROUP_STANDBY] = SCSI_ACCESS_STANDBY,
		[CONF_GROUP_UNAVAILABLE] = SCSI_ACCESS_UNAVAILABLE,
		[CONF_GROUP_OFFLINE] = SCSI_ACCESS_OFFLINE,
	};
	const struct scsi_access_spec access = {
		.by_hosts = from->states_by_hosts,
		.transition_time_s = (uint8_t)(from->transition_time_ms / 1000),
	};
	int res = set_groups(scsi, from, &from->preferred_groups, SCSI_ACCESS_OPTIMIZED);

	scsi_target_set_access(scsi, &access);
	for (unsigned i = 0; res == 0 && i < ARRAY_SIZE(states); i++)
		res = set_groups(scsi, from, &from->groups_in[i], states[i]);
	return res;
}

static int build_target(struct runtime *runtime, const struct conf_target *from,
			struct iscsi_target *to, struct conf_errors *errors)
{
	int res = scsi_target_create(from->name, &runtime->server.group, &to->scsi);

	if (res == 0)
		res = build_ports(runtime->conf, from, to->scsi);
	if (res == 0)
		res = build_groups(from, to->scsi);
	if (res != 0)
		return res;
	to->name = from->name;
	to->alias = from->alias;
	to->permits = permits;
	to->rules = from;
	to->tags = from->portal_groups.items;
	to->tag_count = from->portal_groups.count;
	to->redirect = from->redirect.name;
	to->redirect_port = from->redirect.port != 0 ? from->redirect.port : CONF_PORT_DEFAULT;
	to->redirect_permanent = from->redirect_permanent;
	to->offline = !from->online;
	return build_auth(runtime, &from->auth, &to->auth, errors);
}

static size_t count_auth(const struct conf_auth *auth)
{
	return auth->users.count + (auth->mutual ? 1 : 0);
}

/* The arrays that the steps after this one fill, one element larger than needed so that none is
 * empty. */
static int allocate_tables(struct runtime *runtime)
{
	const struct conf *conf = runtime->conf;
	size_t users = count_auth(&conf->discovery_auth);
	size_t luns = 0;

	for (size_t i = 0; i < conf->target_count; i++) {
		users += count_auth(&conf->targets[i].auth);
		luns += conf->targets[i].lun_count;
	}
	runtime->users = calloc(users + 1, sizeof(*runtime->users));
	runtime->luns = calloc(luns + 1, sizeof(struct lun *));
	runtime->targets = calloc(conf->target_count + 1, sizeof(*runtime->targets));
	runtime->server.targets = calloc(conf->target_count + 1, sizeof(struct iscsi_target *));
	return runtime->users && runtime->luns && runtime->targets && runtime->server.targets
		       ? 0
		       : -ENOMEM;
}

static int build_targets(struct runtime *runtime, struct conf_errors *errors)
{
	const struct conf *conf = runtime->conf;
	int res = allocate_tables(runtime);

	if (res == 0) {
		res = build_auth(runtime, &conf->discovery_auth, &runtime->server.discovery_auth,
				 errors);
	}
	for (size_t i = 0; res == 0 && i < conf->target_count; i++) {
		runtime->server.targets[i] = &runtime->targets[i];
		runtime->server.target_count++;
		res = build_target(runtime, &conf->targets[i], &runtime->targets[i], errors);
	}
	return res;
}

/* Pools, before logical units ask how full they are. */
static int build_space(struct runtime *runtime)
{
	const struct space_loops loops = {
		.control = runtime->server.control,
		.data = runtime->server.group.loops[0],
	};

	return space_create(runtime->conf, loops, runtime->luns, &runtime->space);
}

static void join_space(struct runtime *runtime)
{
	const struct conf *conf = runtime->conf;
	size_t index = 0;

	for (size_t i = 0; i < conf->target_count; i++) {
		const struct conf_target *target = &conf->targets[i];

		for (size_t j = 0; j < target->lun_count; j++) {
			space_set_lu(runtime->space, index++,
				     scsi_target_find_lu(runtime->targets[i].scsi,
							 target->luns[j].number));
		}
	}
}

/* Last of all steps: it makes images, so nothing that may refuse the start comes after it. */
static int build_all_luns(struct runtime *runtime, struct conf_errors *errors)
{
	const struct conf *conf = runtime->conf;
	size_t count = 0;
	int res = build_state_dir(conf, errors);

	if (res == 0)
		res = luns_open(conf, &runtime->server.group, runtime->luns);
	if (res != 0)
		return res;
	for (size_t i = 0; i < conf->target_count; i++)
		runtime->lun_count += conf->targets[i].lun_count;
	res = build_space(runtime);
	for (size_t i = 0; res == 0 && i < conf->target_count; i++) {
		res = build_luns(conf, &conf->targets[i], runtime->targets[i].scsi,
				 runtime->luns + count);
		count += conf->targets[i].lun_count;
	}
	if (res == 0)
		join_space(runtime);
	if (res == 0)
		res = lun_check_identities(runtime->luns, runtime->lun_count);
	/* By identity, so after those that are not to be trusted have lost theirs. */
	for (size_t i = 0; res == 0 && i < conf->target_count; i++)
		res = scsi_target_restore(runtime->targets[i].scsi);
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
	runtime->since_ns = clock_now_ns();
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

void runtime_free(struct runtime *runtime)
{
	if (!runtime)
		return;
	control_free(runtime->control);
	portal_set_free(runtime->portal_set);
	login_service_free(runtime->logins, false);
	registry_free(runtime->server.registry, false);
	for (unsigned i = 0; i < runtime->server.target_count; i++) {
		if (runtime->targets[i].scsi)
			scsi_target_free(runtime->targets[i].scsi);
	}
	for (size_t i = 0; i < runtime->lun_count; i++)
		lun_close(runtime->luns[i]);
	space_free(runtime->space);
	free_loops(&runtime->server);
	free(runtime->server.targets);
	free(runtime->targets);
	free(runtime->portals);
	free(runtime->users);
	free(runtime->luns);
	free(runtime);
}
