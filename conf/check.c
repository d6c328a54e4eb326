/*
 * What a single value cannot tell: sections that lack something, things given twice, and values at
 * odds with each other. Duplicates are found by sorting, so that a large file costs no square.
 * Control thread.
 *
 * Read next: secrets.c, which checks users.
 */
#include "conf/build.h"

#include <stdlib.h>
#include <string.h>

#include "conf/memory.h"

struct checker {
	const struct conf *conf;
	struct conf_errors *errors;
};

static struct conf_place at(const struct checker *c, int line)
{
	return (struct conf_place){.file = c->conf->file, .line = line};
}

static bool same_bytes(const struct conf_address *a, const struct conf_address *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0 && strcmp(a->zone, b->zone) == 0;
}

/* Whether bind(2) refuses the second of two addresses. Port 0 is a new one each time. */
static bool collides(const struct conf_address *a, const struct conf_address *b)
{
	return a->family == b->family && a->family != AF_UNSPEC && a->port == b->port &&
	       a->port != 0 &&
	       (same_bytes(a, b) || conf_address_is_wildcard(a) || conf_address_is_wildcard(b));
}

static void check_portals(const struct checker *c)
{
	const struct conf_portal *portals = c->conf->portals;

	if (c->conf->portal_count == 0) {
		conf_errors_add(c->errors, at(c, 0),
				"no portal to listen on; add portal \"127.0.0.1:3260\" { } or the "
				"address of the storage network");
	}
	for (size_t i = 0; i < c->conf->portal_count; i++) {
		for (size_t j = 0; j < i; j++) {
			if (!collides(&portals[i].address, &portals[j].address))
				continue;
			conf_errors_add(
				c->errors, at(c, portals[i].line),
				"address and port are those of the portal in line %d; leave "
				"one, or give one another port",
				portals[j].line);
			break;
		}
	}
}

static void check_pool(const struct checker *c, const struct conf_pool *pool)
{
	if (pool->path == NULL) {
		conf_errors_add(c->errors, at(c, pool->line),
				"pool \"%s\" has no path; add path = \"/folder/of/images\"",
				pool->name);
	}
	for (const struct conf_pool *other = c->conf->pools; other < pool; other++) {
		if (strcmp(other->name, pool->name) == 0) {
			conf_errors_add(c->errors, at(c, pool->line),
					"pool \"%s\" is in line %d already; rename one", pool->name,
					other->line);
			return;
		}
		if (pool->path != NULL && other->path != NULL &&
		    strcmp(other->path, pool->path) == 0) {
			conf_errors_add(c->errors, at(c, pool->line),
					"path \"%s\" is that of the pool in line %d; leave one "
					"pool for each file system",
					pool->path, other->line);
			return;
		}
	}
}

static void check_limits(const struct checker *c)
{
	const struct conf_limits *limits = &c->conf->limits;

	if (limits->connections_before_login_per_source > limits->connections_before_login) {
		conf_errors_add(
			c->errors, at(c, 0),
			"limits: connections-before-login-per-source is %u, above "
			"connections-before-login, which is %u; lower the one or raise the other",
			limits->connections_before_login_per_source,
			limits->connections_before_login);
	}
}

/* Something that may occur once in the file, and where it does. */
struct occurrence {
	const char *key;
	const struct conf_lun *lun; /* NULL: a target. */
	int line;
};

static int compare_occurrences(const void *a, const void *b)
{
	const struct occurrence *one = a;
	const struct occurrence *other = b;
	int order = strcmp(one->key, other->key);

	if (order != 0)
		return order;
	return one->line < other->line ? -1 : one->line > other->line;
}

static void report_twice(const struct checker *c, const struct occurrence *first,
			 const struct occurrence *again, const char *what)
{
	/* Many readers of one image do no harm. */
	if (strcmp(what, "image") == 0 && first->lun->read_only && again->lun->read_only)
		return;
	conf_errors_add(c->errors, at(c, again->line), "%s \"%s\" is that of line %d, too; %s",
			what, again->key, first->line,
			again->lun == NULL ? "join the two or rename one"
			: strcmp(what, "image") == 0
				? "give each LUN its own, or make both read-only"
				: "give each LUN its own, or hosts take two disks for one");
}

static void check_unique(const struct checker *c, struct occurrence *all, size_t count,
			 const char *what)
{
	if (count > 1)
		qsort(all, count, sizeof(*all), compare_occurrences);
	for (size_t i = 1; i < count; i++) {
		if (strcmp(all[i].key, all[i - 1].key) == 0)
			report_twice(c, &all[i - 1], &all[i], what);
	}
}

typedef const char *lun_key_fn(const struct conf_lun *lun);

static const char *image_key(const struct conf_lun *lun)
{
	return lun->image;
}

static const char *identity_key(const struct conf_lun *lun)
{
	return lun->identity;
}

static const char *serial_key(const struct conf_lun *lun)
{
	return lun->serial;
}

static const char *fault_control_key(const struct conf_lun *lun)
{
	return lun->fault_control;
}

static size_t collect(const struct conf *conf, lun_key_fn *key, struct occurrence *out)
{
	size_t count = 0;

	for (size_t i = 0; i < conf->target_count; i++) {
		for (size_t j = 0; j < conf->targets[i].lun_count; j++) {
			const struct conf_lun *lun = &conf->targets[i].luns[j];

			if (key(lun) != NULL)
				out[count++] = (struct occurrence){key(lun), lun, lun->line};
		}
	}
	return count;
}

static void check_duplicates(const struct checker *c)
{
	static const struct {
		const char *what;
		lun_key_fn *key;
	} rows[] = {
		{"image", image_key},
		{"identity", identity_key},
		{"serial", serial_key},
		{"fault-control", fault_control_key},
	};
	size_t luns = 0;
	size_t targets = c->conf->target_count;
	struct occurrence *all;

	for (size_t i = 0; i < targets; i++)
		luns += c->conf->targets[i].lun_count;
	all = conf_memory_take(c->conf->memory, luns + targets, sizeof(*all));
	if (all == NULL)
		return;
	for (size_t i = 0; i < targets; i++) {
		all[i] = (struct occurrence){c->conf->targets[i].name, NULL,
					     c->conf->targets[i].line};
	}
	check_unique(c, all, targets, "target");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check_unique(c, all, collect(c->conf, rows[i].key, all), rows[i].what);
}

/* What a LUN of each type must and must not have. */
static const struct type_needs {
	bool image, image_allowed;
	bool size; /* Where there is no image that has one. */
	bool fault_control;
} type_needs[] = {
	[CONF_LUN_RAW] = {.image = true, .image_allowed = true},
	[CONF_LUN_NULL] = {.size = true},
	[CONF_LUN_QCOW2] = {.image = true, .image_allowed = true},
	[CONF_LUN_FAULT] = {.image_allowed = true, .size = true, .fault_control = true},
};

static void check_lun_parts(const struct checker *c, const struct conf_lun *lun)
{
	const struct type_needs *needs = &type_needs[lun->type];
	struct conf_place place = at(c, lun->line);

	if (needs->image && lun->image == NULL) {
		conf_errors_add(c->errors, place,
				"lun %u has no image; add image = \"/path/to/file\"", lun->number);
	}
	if (!needs->image_allowed && lun->image != NULL) {
		conf_errors_add(
			c->errors, place,
			"lun %u of type null has an image; leave it out, it would not be used",
			lun->number);
	}
	if (needs->size && lun->image == NULL && lun->size_bytes == 0) {
		conf_errors_add(c->errors, place, "lun %u has no size; add one, such as size = 10G",
				lun->number);
	}
	if (needs->fault_control && lun->fault_control == NULL) {
		conf_errors_add(c->errors, place,
				"lun %u of type fault has no fault-control; add the file that "
				"commands it",
				lun->number);
	}
	if (!needs->fault_control && lun->fault_control != NULL) {
		conf_errors_add(
			c->errors, place,
			"lun %u has a fault-control, which belongs to type fault; leave it out",
			lun->number);
	}
}

static void check_lun_sizes(const struct checker *c, const struct conf_lun *lun)
{
	struct conf_place place = at(c, lun->line);

	if (lun->size_bytes % lun->block_size != 0) {
		conf_errors_add(c->errors, place,
				"lun %u: size is not a multiple of block-size; round it to one",
				lun->number);
	}
	if (lun->physical_block_size < lun->block_size) {
		conf_errors_add(c->errors, place,
				"lun %u: physical-block-size is below block-size; make them equal",
				lun->number);
	}
}

static void check_lun_clusters(const struct checker *c, const struct conf_lun *lun)
{
	if (lun->cluster_size != 0 && lun->type != CONF_LUN_QCOW2) {
		conf_errors_add(c->errors, at(c, lun->line),
				"lun %u has a cluster-size, which belongs to type qcow2; leave it "
				"out",
				lun->number);
	}
	if (lun->backing != NULL && lun->type != CONF_LUN_QCOW2) {
		conf_errors_add(c->errors, at(c, lun->line),
				"lun %u has a backing file, which belongs to type qcow2; leave it "
				"out",
				lun->number);
	}
	if (lun->type == CONF_LUN_QCOW2 && lun->size_bytes > CONF_QCOW2_SIZE_MAX) {
		conf_errors_add(
			c->errors, at(c, lun->line),
			"lun %u: a disk of type qcow2 has at most 64T; make it smaller, or of "
			"type raw",
			lun->number);
	}
}

static void check_lun_cache(const struct checker *c, const struct conf_lun *lun)
{
	if (lun->write_cache_by_hosts && !lun->write_cache) {
		conf_errors_add(c->errors, at(c, lun->line),
				"lun %u: write-cache is off, so hosts cannot turn it on; leave "
				"write-cache-by-hosts out",
				lun->number);
	}
}

static void check_luns(const struct checker *c, const struct conf_target *target)
{
	for (size_t i = 0; i < target->lun_count; i++) {
		const struct conf_lun *lun = &target->luns[i];

		/* They are sorted; a number that was refused is UINT16_MAX. */
		if (i > 0 && lun->number == lun[-1].number && lun->number <= CONF_LUN_NUMBER_MAX) {
			conf_errors_add(c->errors, at(c, lun->line),
					"lun %u is in line %d already; give one another number",
					lun->number, lun[-1].line);
		}
		check_lun_parts(c, lun);
		check_lun_sizes(c, lun);
		check_lun_clusters(c, lun);
		check_lun_cache(c, lun);
	}
}

static bool group_exists(const struct conf *conf, uint16_t tag)
{
	for (size_t i = 0; i < conf->portal_count; i++) {
		if (conf->portals[i].tag == tag)
			return true;
	}
	return false;
}

/* How many portal groups lead to the target. Tags of portals are few. */
static size_t count_groups(const struct conf *conf, const struct conf_target *target)
{
	size_t count = 0;

	for (size_t i = 0; i < conf->portal_count; i++) {
		bool known = !conf_target_in_group(target, conf->portals[i].tag);

		for (size_t j = 0; j < i && !known; j++)
			known = conf->portals[j].tag == conf->portals[i].tag;
		count += !known;
	}
	return count;
}

/* `tags` are a list of `option`: each leads to the target. */
static void check_tags(const struct checker *c, const struct conf_target *target,
		       const struct conf_tags *tags, const char *option)
{
	for (size_t i = 0; i < tags->count; i++) {
		uint16_t tag = tags->items[i];

		/* 0 stands for one that was refused. */
		if (tag == 0 || (group_exists(c->conf, tag) && conf_target_in_group(target, tag)))
			continue;
		conf_errors_add(c->errors, at(c, target->line),
				"%s names tag %u, through which nothing leads to the target; "
				"correct it, or add it to portal-groups and give a portal that tag",
				option, tag);
	}
}

static const char *const state_options[CONF_GROUP_STATE_COUNT] = {
	[CONF_GROUP_NON_OPTIMIZED] = "non-optimized-groups",
	[CONF_GROUP_STANDBY] = "standby-groups",
	[CONF_GROUP_UNAVAILABLE] = "unavailable-groups",
	[CONF_GROUP_OFFLINE] = "offline-groups",
};

/* A group is in one state. */
static void check_one_state(const struct checker *c, const struct conf_target *target,
			    enum conf_group_state state)
{
	const struct conf_tags *tags = &target->groups_in[state];

	for (size_t i = 0; i < tags->count; i++) {
		for (unsigned other = 0; other < state; other++) {
			if (tags->items[i] == 0 ||
			    !conf_tags_have(&target->groups_in[other], tags->items[i]))
				continue;
			conf_errors_add(c->errors, at(c, target->line),
					"%s names tag %u, and so does %s; leave one",
					state_options[state], tags->items[i], state_options[other]);
		}
	}
}

static void check_states(const struct checker *c, const struct conf_target *target)
{
	for (unsigned state = 0; state < CONF_GROUP_STATE_COUNT; state++) {
		check_tags(c, target, &target->groups_in[state], state_options[state]);
		check_one_state(c, target, state);
	}
	check_tags(c, target, &target->preferred_groups, "preferred-groups");
	if (target->states_by_hosts && count_groups(c->conf, target) < 2) {
		conf_errors_add(c->errors, at(c, target->line),
				"states-by-hosts, but one portal group at most leads to the "
				"target, so there is no other to turn to; leave it out, or give "
				"portals different tags");
	}
}

static void check_groups(const struct checker *c, const struct conf_target *target)
{
	for (size_t i = 0; i < target->portal_groups.count; i++) {
		uint16_t tag = target->portal_groups.items[i];

		/* 0 stands for one that was refused. */
		if (tag != 0 && !group_exists(c->conf, tag)) {
			conf_errors_add(c->errors, at(c, target->line),
					"portal-groups names tag %u, which no portal has; give a "
					"portal tag = %u",
					tag, tag);
		}
	}
}

/* DESIGN.md 7: a disk is not given to whoever asks, unless the file says so. */
static void check_open_target(const struct checker *c, const struct conf_target *target)
{
	if (target->access_count > 0)
		return;
	for (size_t i = 0; i < c->conf->portal_count; i++) {
		const struct conf_portal *portal = &c->conf->portals[i];
		char text[CONF_ADDRESS_TEXT_MAX];

		if (portal->address.family == AF_UNSPEC ||
		    conf_address_is_loopback(&portal->address) ||
		    !conf_target_in_group(target, portal->tag))
			continue;
		conf_address_to_text(&portal->address, text);
		conf_errors_add(c->errors, at(c, target->line),
				"target is open to every host that reaches portal %s; add access { "
				"initiators = { ... } networks = { ... } }",
				text);
		return;
	}
}

static void check_redirect(const struct checker *c, const struct conf_target *target)
{
	if (target->redirect_permanent && target->redirect.name == NULL) {
		conf_errors_add(c->errors, at(c, target->line),
				"redirect-permanent, but no redirect; add redirect = "
				"\"ADDRESS:PORT\", or leave it out");
	}
}

static void check_access_rules(const struct checker *c, const struct conf_target *target)
{
	for (size_t i = 0; i < target->access_count; i++) {
		const struct conf_access *rule = &target->access[i];

		if (rule->initiators.count == 0 && rule->networks.count == 0) {
			conf_errors_add(c->errors, at(c, rule->line),
					"access rule names nobody; add initiators or networks "
					"(initiators = \"*\" admits every host)");
		}
	}
}

static void check_auth(const struct checker *c, const struct conf_auth *auth, const char *section)
{
	bool named = auth->users.count > 0 || auth->mutual != NULL;

	if (auth->line != 0 && auth->users.count == 0) {
		conf_errors_add(
			c->errors, at(c, auth->line),
			"%s names no users, so nobody need prove anything; add users = { ... }",
			section);
	}
	if (named && c->conf->secrets_file == NULL) {
		conf_errors_add(c->errors, at(c, auth->line),
				"%s names users, but there is no secrets file; add secrets = "
				"\"/etc/ringsan/secrets\"",
				section);
	}
}

void conf_check(const struct conf *conf, struct conf_errors *errors)
{
	const struct checker c = {.conf = conf, .errors = errors};

	check_portals(&c);
	check_limits(&c);
	for (size_t i = 0; i < conf->pool_count; i++)
		check_pool(&c, &conf->pools[i]);
	check_auth(&c, &conf->discovery_auth, "discovery-auth");
	check_duplicates(&c);
	for (size_t i = 0; i < conf->target_count; i++) {
		const struct conf_target *target = &conf->targets[i];

		check_luns(&c, target);
		check_groups(&c, target);
		check_states(&c, target);
		check_redirect(&c, target);
		check_access_rules(&c, target);
		check_open_target(&c, target);
		check_auth(&c, &target->auth, "auth");
	}
}
