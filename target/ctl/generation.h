/*
 * What one configuration makes of the run-time: a generation. It says which targets there are, who
 * may use them, and which LUNs they have; the targets and LUNs themselves (struct scsi_target,
 * struct lun) are shared with the generation before, as far as that had them, and outlive it.
 *
 * There is one that is in force. One that was replaced stays until nobody looks at it any more:
 * loops for as long as a round takes, requests of the control socket for as long as they hold it,
 * and LUNs and targets that were its last ones until they are gone (retire.h). Then it is freed,
 * and its configuration with it.
 *
 * Threads: the control thread; loops read the view. Read next: generation.c, reload.h.
 */
#ifndef TARGET_CTL_GENERATION_H
#define TARGET_CTL_GENERATION_H

#include "conf/errors.h"
#include "conf/model.h"
#include "lun/lun.h"
#include "target/iscsi/server.h"

struct generation {
	struct list_node link; /* runtime->generations, oldest first. */
	const struct conf *conf;
	bool owns_conf;         /* conf_free goes with it. */
	unsigned holds;         /* Those who look at it across turns. */
	struct iscsi_view view; /* Published while it is in force. */
	struct iscsi_target
		*targets; /* In the order of the configuration; view.targets points there. */
	struct iscsi_user *users; /* Of all targets, one after the other. */
	size_t user_count;
	struct lun **luns; /* Target by target, in the order of the configuration. */
	size_t lun_count;
};

/*
 * Make one, beside `before` (NULL: the first). Targets that it does not have are made; LUNs that it
 * does not have are NULL, for luns_open to fill in. `conf` is borrowed unless owns_conf is set.
 * -ENOMEM, or -EINVAL with what is wrong in `errors`.
 */
int MUST_CHECK generation_create(const struct conf *conf, const struct generation *before,
				 const struct loop_group *group, struct conf_errors *errors,
				 struct generation **out);
/* It was not put in force: free what it alone has, targets and open LUNs too. */
void generation_abandon(struct generation *generation, const struct generation *before);
/* Free the record, and a configuration of its own. */
void generation_free(struct generation *generation);

/* NULL: it has no such target or LUN. */
struct iscsi_target *generation_target(const struct generation *generation, const char *name);
struct lun *generation_lun(const struct generation *generation, const char *target,
			   uint16_t number);

#endif
