/*
 * Changes of closed qcow2 images. See change_qcow2.h.
 */
#include "tests/crash/change_qcow2.h"

#include <errno.h>
#include <stdio.h>

#include "base/attr.h"
#include "lun/qcow2/grow.h"
#include "lun/qcow2/rebase.h"
#include "lun/qcow2/repair.h"
#include "tests/crash/subject.h"

static int grow(struct qcow2_writable *top, const struct variant *variant, uint64_t raw_bytes,
		char *why)
{
	struct qcow2_grow change = {.writable = top, .size_bytes = variant->grown_bytes};

	if (variant->images > 1)
		change.backing_bytes = (uint64_t)VARIANT_SECTORS_FIRST * DISK_SECTOR_BYTES;
	else if (variant->on_raw)
		change.backing_bytes = raw_bytes;
	return qcow2_grow(&change, why, SUBJECT_WHY_BYTES);
}

static int rebase(struct qcow2_writable *top, const struct variant *variant,
		  uint64_t raw_bytes UNUSED, char *why)
{
	struct qcow2_rebase change = {
		.writable = top,
		.backing_name = variant_backing_name(variant, true),
		.backing_format = variant->images > 1 ? "qcow2" : "raw",
	};

	return qcow2_rebase(&change, why, SUBJECT_WHY_BYTES);
}

static int repair(struct qcow2_writable *top, const struct variant *variant UNUSED,
		  uint64_t raw_bytes UNUSED, char *why)
{
	struct qcow2_check check;
	struct qcow2_check_spec spec = {.file = &top->file};
	struct qcow2_repair change = {.writable = top};
	int res = qcow2_repair(&change, why, SUBJECT_WHY_BYTES);

	if (res == 0)
		res = qcow2_check(&spec, &check, why, SUBJECT_WHY_BYTES);
	if (res == 0 && qcow2_check_verdict(&check) != QCOW2_CLEAN) {
		(void)snprintf(why, SUBJECT_WHY_BYTES, "not repaired: %s", check.findings[0]);
		res = -EUCLEAN;
	}
	return res;
}

const struct change_of_qcow2 changes_qcow2[CHANGE_QCOW2_COUNT] = {
	[CHANGE_QCOW2_GROW] = {"grow", CHANGE_GROW, grow},
	[CHANGE_QCOW2_REBASE] = {"rebase", CHANGE_REBASE, rebase},
	[CHANGE_QCOW2_REPAIR] = {"repair", CHANGE_REPAIR, repair},
};

bool change_is_possible(enum change_qcow2 kind, const struct variant *variant)
{
	return kind != CHANGE_QCOW2_REBASE ||
	       (variant->cluster_bits >= 12 && variant_backing_name(variant, true));
}
