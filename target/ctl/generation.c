/*
 * From a configuration to its generation; see generation.h.
 *
 * Runs on the control thread.
 */
#include "target/ctl/generation.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/attr.h"
#include "base/clock.h"
#include "conf/parse.h"
#include "target/iscsi/chap.h"
#include "target/scsi/alua.h"

/* RFC 7143 has a status for a target that was removed; hosts that are told so give up. */
#define REMOVED_FOR_NS (600 * CLOCK_NS_PER_S)

/* -- Looking -- */

struct iscsi_target *generation_target(const struct generation *generation, const char *name)
{
	return iscsi_target_find(&generation->view, name);
}

struct lun *generation_lun(const struct generation *generation, const char *target, uint16_t number)
{
	size_t index = 0;

	for (size_t i = 0; i < generation->conf->target_count; i++) {
		const struct conf_target *from = &generation->conf->targets[i];

		if (strcmp(from->name, target) != 0) {
			index += from->lun_count;
			continue;
		}
		for (size_t j = 0; j < from->lun_count; j++) {
			if (from->luns[j].number == number)
				return generation->luns[index + j];
		}
		return NULL;
	}
	return NULL;
}

/* -- Who may use a target -- */

/* False if a user is not in the secrets file, which the parser has made sure of. */
static bool add_user(struct generation *generation, const char *name)
{
	const struct conf_user *user = conf_user_find(generation->conf, name);

	if (!user)
		return false;
	generation->users[generation->user_count++] = (struct iscsi_user){
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

static int make_auth(struct generation *generation, const struct conf_auth *from,
		     struct iscsi_auth *to, struct conf_errors *errors)
{
	const struct conf_place place = {generation->conf->file, from->line};
	bool ok = true;

	to->chap_algorithms = algorithm_bits(&from->algorithms);
	to->users = &generation->users[generation->user_count];
	to->user_count = from->users.count;
	for (size_t i = 0; i < from->users.count; i++)
		ok = add_user(generation, from->users.items[i]) && ok;
	if (from->mutual) {
		to->mutual = &generation->users[generation->user_count];
		ok = add_user(generation, from->mutual) && ok;
	}
	if (ok)
		return 0;
	conf_errors_add(errors, place, "auth: a user is not in the secrets file; add it there");
	return -EINVAL;
}

static bool permits(const void *rules, const char *initiator_name,
		    const struct sockaddr_storage *peer)
{
	return conf_access_permits(rules, initiator_name, (const struct sockaddr *)peer);
}

/* -- Target ports -- */

/* Target ports are the portal groups that lead to the target. */
static int make_ports(const struct conf *conf, const struct conf_target *from,
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
static int make_groups(const struct conf_target *from, struct scsi_target *scsi)
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

/* -- Targets -- */

static int make_scsi(const struct generation *generation, const struct conf_target *from,
		     const struct loop_group *group, struct scsi_target **out)
{
	int res = scsi_target_create(from->name, group, out);

	if (res == 0)
		res = make_ports(generation->conf, from, *out);
	if (res == 0)
		res = make_groups(from, *out);
	return res;
}

static int make_target(struct generation *generation, const struct conf_target *from,
		       struct iscsi_target *to, struct conf_errors *errors)
{
	to->alias = from->alias;
	to->permits = permits;
	to->rules = from;
	to->tags = from->portal_groups.items;
	to->tag_count = from->portal_groups.count;
	to->redirect = from->redirect.name;
	to->redirect_port = from->redirect.port != 0 ? from->redirect.port : CONF_PORT_DEFAULT;
	to->redirect_permanent = from->redirect_permanent;
	to->offline = !from->online;
	to->scsi_events = from->scsi_events;
	return make_auth(generation, &from->auth, &to->auth, errors);
}

static int make_targets(struct generation *generation, const struct generation *before,
			const struct loop_group *group, struct conf_errors *errors)
{
	const struct conf *conf = generation->conf;
	struct iscsi_view *view = &generation->view;
	int res = make_auth(generation, &conf->discovery_auth, &view->discovery_auth, errors);

	for (size_t i = 0; res == 0 && i < conf->target_count; i++) {
		const struct conf_target *from = &conf->targets[i];
		struct iscsi_target *to = &generation->targets[i];
		const struct iscsi_target *old =
			before ? generation_target(before, from->name) : NULL;

		to->name = from->name;
		view->targets[view->target_count++] = to;
		if (old)
			to->scsi = old->scsi;
		else
			res = make_scsi(generation, from, group, &to->scsi);
		if (res == 0)
			res = make_target(generation, from, to, errors);
	}
	return res;
}

/* LUNs that `before` has, too. */
static void share_luns(struct generation *generation, const struct generation *before)
{
	const struct conf *conf = generation->conf;
	size_t index = 0;

	for (size_t i = 0; i < conf->target_count; i++) {
		const struct conf_target *target = &conf->targets[i];

		for (size_t j = 0; j < target->lun_count; j++)
			generation->luns[index++] =
				generation_lun(before, target->name, target->luns[j].number);
	}
}

/* -- Those that were removed -- */

static void add_removed(struct generation *generation, struct iscsi_removed *list, const char *name,
			uint64_t until_ns)
{
	struct iscsi_removed *removed = &list[generation->view.removed_count];

	if (generation_target(generation, name))
		return;
	removed->name = strdup(name);
	removed->until_ns = until_ns;
	generation->view.removed_count += removed->name != NULL;
}

static int list_removed(struct generation *generation, const struct generation *before)
{
	const struct iscsi_view *old = &before->view;
	struct iscsi_removed *list =
		calloc(old->target_count + old->removed_count + 1u, sizeof(*list));
	uint64_t now_ns = clock_now_ns();

	if (!list)
		return -ENOMEM;
	generation->view.removed = list;
	for (unsigned i = 0; i < old->target_count; i++)
		add_removed(generation, list, old->targets[i]->name, now_ns + REMOVED_FOR_NS);
	for (unsigned i = 0; i < old->removed_count; i++) {
		if (now_ns < old->removed[i].until_ns)
			add_removed(generation, list, old->removed[i].name,
				    old->removed[i].until_ns);
	}
	return 0;
}

/* -- All of it -- */

static size_t count_auth(const struct conf_auth *auth)
{
	return auth->users.count + (auth->mutual ? 1 : 0);
}

/* One element larger than needed, so that none is empty. */
static int allocate_tables(struct generation *generation)
{
	const struct conf *conf = generation->conf;
	size_t users = count_auth(&conf->discovery_auth);

	for (size_t i = 0; i < conf->target_count; i++) {
		users += count_auth(&conf->targets[i].auth);
		generation->lun_count += conf->targets[i].lun_count;
	}
	generation->users = calloc(users + 1, sizeof(*generation->users));
	generation->luns = calloc(generation->lun_count + 1, sizeof(struct lun *));
	generation->targets = calloc(conf->target_count + 1, sizeof(*generation->targets));
	generation->view.targets = calloc(conf->target_count + 1, sizeof(struct iscsi_target *));
	return generation->users && generation->luns && generation->targets &&
			       generation->view.targets
		       ? 0
		       : -ENOMEM;
}

int generation_create(const struct conf *conf, const struct generation *before,
		      const struct loop_group *group, struct conf_errors *errors,
		      struct generation **out)
{
	struct generation *generation = calloc(1, sizeof(*generation));
	int res;

	if (!generation)
		return -ENOMEM;
	list_init(&generation->link);
	generation->conf = conf;
	generation->view.generation = before ? before->view.generation + 1 : 1;
	res = allocate_tables(generation);
	if (res == 0)
		res = make_targets(generation, before, group, errors);
	if (res == 0 && before) {
		share_luns(generation, before);
		res = list_removed(generation, before);
	}
	if (res != 0) {
		generation_abandon(generation, before);
		return res;
	}
	*out = generation;
	return 0;
}

static bool has_lun(const struct generation *generation, const struct lun *lun)
{
	for (size_t i = 0; generation && i < generation->lun_count; i++) {
		if (generation->luns[i] == lun)
			return true;
	}
	return false;
}

void generation_abandon(struct generation *generation, const struct generation *before)
{
	for (unsigned i = 0; i < generation->view.target_count; i++) {
		const struct iscsi_target *target = generation->view.targets[i];

		if (!before || !generation_target(before, target->name))
			scsi_target_free(target->scsi);
	}
	for (size_t i = 0; generation->luns && i < generation->lun_count; i++) {
		if (generation->luns[i] && !has_lun(before, generation->luns[i]))
			lun_close(generation->luns[i]);
	}
	generation_free(generation);
}

void generation_free(struct generation *generation)
{
	for (unsigned i = 0; i < generation->view.removed_count; i++)
		free((void *)(uintptr_t)generation->view.removed[i].name);
	free((void *)(uintptr_t)generation->view.removed);
	free(generation->view.targets);
	free(generation->targets);
	free(generation->users);
	free(generation->luns);
	if (generation->owns_conf)
		conf_free((struct conf *)(uintptr_t)generation->conf);
	free(generation);
}
