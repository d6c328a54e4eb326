/*
 * Comparing two configurations; see changes.h. Pure: any thread.
 *
 * Names are looked for from where the last one was found on, so files in nearly the same order,
 * which is what people write, cost one walk.
 */
#include "conf/changes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/options.h"

struct comparison {
	const struct conf *before;
	const struct conf *after;
	struct conf_changes *changes;
	struct conf_errors *errors;
	size_t room;
	int res;
};

/* Somebody mends the file by this. */
#define REMEDY_RESTART "restart ringsand, or take the change back"
#define REMEDY_LUN                                                                                \
	"take the LUN out and reload, then put it back and reload, or restart ringsand; or take " \
	"the change back"

static const char *const names[CONF_CHANGE_KINDS] = {
	[CONF_TARGET_ADDED] = "target-added",       [CONF_TARGET_REMOVED] = "target-removed",
	[CONF_TARGET_CHANGED] = "target-changed",   [CONF_LUN_ADDED] = "lun-added",
	[CONF_LUN_REMOVED] = "lun-removed",         [CONF_LUN_RESIZED] = "lun-resized",
	[CONF_LUN_CHANGED] = "lun-changed",         [CONF_POOL_CHANGED] = "pool-changed",
	[CONF_SECRETS_CHANGED] = "secrets-changed", [CONF_DISCOVERY_CHANGED] = "discovery-changed",
};

const char *conf_change_name(enum conf_change_kind kind)
{
	return names[kind];
}

static void add(struct comparison *c, struct conf_change change)
{
	struct conf_changes *changes = c->changes;

	if (changes->count == c->room) {
		size_t room = c->room * 2 + 16;
		struct conf_change *items = reallocarray(changes->items, room, sizeof(*items));

		if (!items) {
			c->res = -ENOMEM;
			return;
		}
		changes->items = items;
		c->room = room;
	}
	changes->items[changes->count++] = change;
}

static void refuse(struct comparison *c, int line, const char *what, const char *remedy)
{
	const struct conf_place place = {c->after->file, line};

	conf_errors_add(c->errors, place, "%s cannot be changed while ringsand runs; %s", what,
			remedy);
}

/* Of a section that is in both: refuse what differs and is not LIVE. True: something else does. */
static bool compare_options(struct comparison *c, enum conf_section_id id, const void *before,
			    const void *after, int line)
{
	const char *remedy = id == CONF_SECTION_LUN ? REMEDY_LUN : REMEDY_RESTART;
	const struct conf_option *option = NULL;
	char what[160];
	bool live = false;

	while ((option = conf_next_difference(id, before, after, option))) {
		if (option->effect == CONF_EFFECT_LIVE) {
			live = true;
			continue;
		}
		(void)snprintf(what, sizeof(what), "%s%s%s", conf_sections[id].name,
			       conf_sections[id].name[0] ? ": " : "", option->name);
		refuse(c, line, what, remedy);
	}
	return live;
}

/* -- The daemon as a whole -- */

static bool secrets_differ(const struct conf *a, const struct conf *b)
{
	for (size_t i = 0; i < a->user_count && a->user_count == b->user_count; i++) {
		const struct conf_user *one = &a->users[i];
		const struct conf_user *other = &b->users[i];

		if (strcmp(one->name, other->name) != 0 ||
		    one->secret_bytes != other->secret_bytes ||
		    memcmp(one->secret, other->secret, one->secret_bytes) != 0)
			return true;
	}
	return a->user_count != b->user_count;
}

static void compare_portals(struct comparison *c)
{
	const struct conf *a = c->before;
	const struct conf *b = c->after;
	char one[CONF_ADDRESS_TEXT_MAX];
	char other[CONF_ADDRESS_TEXT_MAX];

	for (size_t i = 0; i < a->portal_count && a->portal_count == b->portal_count; i++) {
		conf_address_to_text(&a->portals[i].address, one);
		conf_address_to_text(&b->portals[i].address, other);
		if (strcmp(one, other) != 0) {
			refuse(c, b->portals[i].line, "portal: its address", REMEDY_RESTART);
			return;
		}
		(void)compare_options(c, CONF_SECTION_PORTAL, &a->portals[i], &b->portals[i],
				      b->portals[i].line);
	}
	if (a->portal_count != b->portal_count)
		refuse(c, 0, "the portals", REMEDY_RESTART);
}

static void compare_pools(struct comparison *c)
{
	const struct conf *a = c->before;
	const struct conf *b = c->after;
	bool same = a->pool_count == b->pool_count;

	for (size_t i = 0; same && i < a->pool_count; i++) {
		const struct conf_pool *one = &a->pools[i];
		const struct conf_pool *other = &b->pools[i];

		same = strcmp(one->name, other->name) == 0;
		if (same && compare_options(c, CONF_SECTION_POOL, one, other, other->line))
			add(c, (struct conf_change){.kind = CONF_POOL_CHANGED,
						    .pool_before = one,
						    .pool_after = other});
	}
	if (!same)
		refuse(c, 0, "the pools", REMEDY_RESTART);
}

static void compare_whole(struct comparison *c)
{
	const struct conf *a = c->before;
	const struct conf *b = c->after;
	bool discovery = compare_options(c, CONF_SECTION_DISCOVERY_AUTH, &a->discovery_auth,
					 &b->discovery_auth, b->discovery_auth.line);

	(void)compare_options(c, CONF_SECTION_ROOT, a, b, 0);
	(void)compare_options(c, CONF_SECTION_LIMITS, &a->limits, &b->limits, 0);
	compare_portals(c);
	compare_pools(c);
	if (secrets_differ(a, b))
		add(c, (struct conf_change){.kind = CONF_SECRETS_CHANGED});
	if (discovery)
		add(c, (struct conf_change){.kind = CONF_DISCOVERY_CHANGED});
}

/* -- LUNs of a target that is in both -- */

static void compare_lun(struct comparison *c, struct conf_change change)
{
	const struct conf_lun *before = change.lun_before;
	const struct conf_lun *after = change.lun_after;

	if (!compare_options(c, CONF_SECTION_LUN, before, after, after->line))
		return;
	if (after->size_bytes != 0 && after->size_bytes < before->size_bytes) {
		refuse(c, after->line, "lun: a size that shrinks",
		       "hosts would lose what lies behind it; configure the old size, or a new "
		       "LUN");
		return;
	}
	change.kind = CONF_LUN_RESIZED;
	if (after->size_bytes != before->size_bytes)
		add(c, change);
	change.kind = CONF_LUN_CHANGED;
	if (after->warn_percent != before->warn_percent)
		add(c, change);
}

/* Both lists ascend by number. */
static void compare_luns(struct comparison *c, const struct conf_target *before,
			 const struct conf_target *after)
{
	size_t i = 0;
	size_t j = 0;

	while (i < before->lun_count || j < after->lun_count) {
		const struct conf_lun *one = i < before->lun_count ? &before->luns[i] : NULL;
		const struct conf_lun *other = j < after->lun_count ? &after->luns[j] : NULL;
		bool gone = one && (!other || one->number < other->number);
		bool fresh = other && (!one || other->number < one->number);
		struct conf_change change = {.before = before,
					     .after = after,
					     .lun_before = fresh ? NULL : one,
					     .lun_after = gone ? NULL : other};

		change.kind = gone ? CONF_LUN_REMOVED : CONF_LUN_ADDED;
		if (gone || fresh)
			add(c, change);
		else
			compare_lun(c, change);
		i += !fresh;
		j += !gone;
	}
}

/* -- Targets -- */

static bool access_differs(const struct conf_target *a, const struct conf_target *b)
{
	for (size_t i = 0; i < a->access_count && a->access_count == b->access_count; i++) {
		if (conf_next_difference(CONF_SECTION_ACCESS, &a->access[i], &b->access[i], NULL))
			return true;
	}
	return a->access_count != b->access_count;
}

static void compare_target(struct comparison *c, const struct conf_target *before,
			   const struct conf_target *after)
{
	bool changed = compare_options(c, CONF_SECTION_TARGET, before, after, after->line);

	if (compare_options(c, CONF_SECTION_AUTH, &before->auth, &after->auth, after->auth.line))
		changed = true;
	if (changed || access_differs(before, after))
		add(c, (struct conf_change){
			       .kind = CONF_TARGET_CHANGED, .before = before, .after = after});
	compare_luns(c, before, after);
}

/* `hint` is where the search begins, and becomes the place behind what was found. */
static const struct conf_target *find(const struct conf *conf, const char *name, size_t *hint)
{
	for (size_t i = 0; i < conf->target_count; i++) {
		size_t at = (*hint + i) % conf->target_count;

		if (strcmp(conf->targets[at].name, name) == 0) {
			*hint = at + 1;
			return &conf->targets[at];
		}
	}
	return NULL;
}

static void compare_targets(struct comparison *c)
{
	size_t hint = 0;

	for (size_t i = 0; i < c->before->target_count; i++) {
		const struct conf_target *before = &c->before->targets[i];
		const struct conf_target *after = find(c->after, before->name, &hint);

		if (after)
			compare_target(c, before, after);
		else
			add(c, (struct conf_change){.kind = CONF_TARGET_REMOVED, .before = before});
	}
	hint = 0;
	for (size_t i = 0; i < c->after->target_count; i++) {
		const struct conf_target *after = &c->after->targets[i];

		if (!find(c->before, after->name, &hint))
			add(c, (struct conf_change){.kind = CONF_TARGET_ADDED, .after = after});
	}
}

/* -- Images that move -- */

static const struct conf_lun *luns_of(const struct conf_change *change, bool removed, size_t *count)
{
	if (change->kind == (removed ? CONF_TARGET_REMOVED : CONF_TARGET_ADDED)) {
		const struct conf_target *target = removed ? change->before : change->after;

		*count = target->lun_count;
		return target->luns;
	}
	*count = change->kind == (removed ? CONF_LUN_REMOVED : CONF_LUN_ADDED);
	return removed ? change->lun_before : change->lun_after;
}

static bool is_removed(const struct conf_changes *changes, const char *image)
{
	for (size_t i = 0; i < changes->count; i++) {
		size_t count;
		const struct conf_lun *luns = luns_of(&changes->items[i], true, &count);

		for (size_t j = 0; j < count; j++) {
			if (luns[j].image && strcmp(luns[j].image, image) == 0)
				return true;
		}
	}
	return false;
}

/* The image is in use until the LUN that has it is gone, which may take its disk a while. */
static void refuse_moves(struct comparison *c)
{
	for (size_t i = 0; i < c->changes->count; i++) {
		size_t count;
		const struct conf_lun *luns = luns_of(&c->changes->items[i], false, &count);

		for (size_t j = 0; j < count; j++) {
			if (luns[j].image && is_removed(c->changes, luns[j].image))
				refuse(c, luns[j].line, "lun: which LUN has an image",
				       "take the old LUN out and reload, then put the new one in "
				       "and reload; or restart ringsand");
		}
	}
}

/* -- All of it -- */

int conf_compare(const struct conf *before, const struct conf *after, struct conf_changes *out,
		 struct conf_errors *errors)
{
	struct comparison c = {.before = before, .after = after, .changes = out, .errors = errors};
	size_t errors_before = errors->count + errors->dropped;

	*out = (struct conf_changes){.items = NULL};
	compare_whole(&c);
	compare_targets(&c);
	refuse_moves(&c);
	if (c.res == 0 && errors->count + errors->dropped != errors_before)
		c.res = -EINVAL;
	if (c.res != 0)
		conf_changes_clear(out);
	return c.res;
}

void conf_changes_clear(struct conf_changes *changes)
{
	free(changes->items);
	*changes = (struct conf_changes){.items = NULL};
}

/* -- Words -- */

static void size_text(uint64_t bytes, char out[32])
{
	if (bytes == 0)
		(void)snprintf(out, 32, "that of its image");
	else
		(void)snprintf(out, 32, "%" PRIu64 " bytes", bytes);
}

static void warn_text(uint32_t percent, char out[32])
{
	if (percent == 0)
		(void)snprintf(out, 32, "never");
	else
		(void)snprintf(out, 32, "at %" PRIu32 " %%", percent);
}

static void pool_text(const struct conf_change *change, char out[CONF_CHANGE_TEXT_MAX])
{
	char from[32];
	char to[32];

	warn_text(change->pool_before->warn_percent, from);
	warn_text(change->pool_after->warn_percent, to);
	(void)snprintf(out, CONF_CHANGE_TEXT_MAX, "pool %.200s: hosts are warned %s, not %s",
		       change->pool_after->name, to, from);
}

static void lun_text(const struct conf_change *change, char out[CONF_CHANGE_TEXT_MAX])
{
	const struct conf_lun *lun = change->lun_after ? change->lun_after : change->lun_before;
	const char *name = change->before->name;
	char from[32];
	char to[32];

	if (change->kind == CONF_LUN_CHANGED) {
		warn_text(change->lun_before->warn_percent, from);
		warn_text(change->lun_after->warn_percent, to);
		(void)snprintf(out, CONF_CHANGE_TEXT_MAX, "%s LUN %u: hosts are warned %s, not %s",
			       name, (unsigned)lun->number, to, from);
		return;
	}
	if (change->kind == CONF_LUN_RESIZED) {
		size_text(change->lun_before->size_bytes, from);
		size_text(change->lun_after->size_bytes, to);
		(void)snprintf(out, CONF_CHANGE_TEXT_MAX, "%s LUN %u: its size, %s, becomes %s",
			       name, (unsigned)lun->number, from, to);
		return;
	}
	(void)snprintf(out, CONF_CHANGE_TEXT_MAX, "%s LUN %u is %s%s%.200s%s", name,
		       (unsigned)lun->number, change->kind == CONF_LUN_ADDED ? "added" : "removed",
		       lun->image ? " (" : "", lun->image ? lun->image : "", lun->image ? ")" : "");
}

void conf_change_text(const struct conf_change *change, char out[CONF_CHANGE_TEXT_MAX])
{
	static const char *const texts[CONF_CHANGE_KINDS] = {
		[CONF_TARGET_ADDED] = " is added",
		[CONF_TARGET_REMOVED] = " is removed",
		[CONF_TARGET_CHANGED] = ": who may use it, or its alias, changes",
		[CONF_SECRETS_CHANGED] = "users or secrets change",
		[CONF_DISCOVERY_CHANGED] = "authentication of discovery changes",
	};
	const struct conf_target *target = change->after ? change->after : change->before;

	if (change->pool_after)
		pool_text(change, out);
	else if (!texts[change->kind])
		lun_text(change, out);
	else
		(void)snprintf(out, CONF_CHANGE_TEXT_MAX, "%s%s", target ? target->name : "",
			       texts[change->kind]);
}
