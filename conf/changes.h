/*
 * What is different between the configuration that is in force and one that is to take its place:
 * a list of changes that the daemon can carry out while it runs, or errors: what cannot be changed
 * live, and what to do instead. Pure.
 *
 * Targets are the same when their names are, LUNs when their targets and numbers are. A target or
 * LUN that is in one of the two only is removed or added as a whole. Of one that is in both, only
 * options of CONF_EFFECT_LIVE may differ (options_table.c): to turn one disk into another under the
 * eyes of its hosts is never what they expect, so that takes two steps, a removal and an addition.
 *
 * Threads: any. Read next: changes.c.
 */
#ifndef CONF_CHANGES_H
#define CONF_CHANGES_H

#include "conf/errors.h"
#include "conf/model.h"

enum conf_change_kind {
	CONF_TARGET_ADDED,   /* With its LUNs, which are not listed. */
	CONF_TARGET_REMOVED, /* The same. */
	CONF_TARGET_CHANGED, /* Who may use it, as whom, its alias. */
	CONF_LUN_ADDED,      /* To a target that stays. */
	CONF_LUN_REMOVED,    /* Likewise. */
	CONF_LUN_RESIZED,    /* Another size is configured, or none. */
	CONF_LUN_CHANGED,    /* When hosts are warned of it. */
	CONF_POOL_CHANGED,   /* The same. */
	CONF_SECRETS_CHANGED,
	CONF_DISCOVERY_CHANGED,
	CONF_CHANGE_KINDS
};

struct conf_change {
	enum conf_change_kind kind;
	const struct conf_target *before; /* NULL: added. */
	const struct conf_target *after;  /* NULL: removed. */
	const struct conf_lun *lun_before;
	const struct conf_lun *lun_after;
	const struct conf_pool *pool_before; /* NULL: it is no pool's. */
	const struct conf_pool *pool_after;
};

struct conf_changes {
	struct conf_change *items; /* In the order of the configurations. */
	size_t count;
};

/*
 * 0 and the changes, to be cleared; they point into both configurations. -EINVAL: `errors` has what
 * cannot be changed, with the lines of `after`. -ENOMEM.
 */
int MUST_CHECK conf_compare(const struct conf *before, const struct conf *after,
			    struct conf_changes *out, struct conf_errors *errors);
void conf_changes_clear(struct conf_changes *changes);

/* One line without a full stop: "iqn...:disks LUN 3 is added (/images/3.img)". */
#define CONF_CHANGE_TEXT_MAX 640u
void conf_change_text(const struct conf_change *change, char out[CONF_CHANGE_TEXT_MAX]);
/* "lun-added" and so on, for programs. */
const char *conf_change_name(enum conf_change_kind kind);

#endif
