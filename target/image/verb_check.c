/*
 * `ringsan image check`: consistency and leaks of a closed qcow2 image, and repair. Exit statuses
 * and names are those of `qemu-img check`.
 */
#include <errno.h>
#include <stdlib.h>

#include "lun/family_change.h"
#include "lun/qcow2/check.h"
#include "lun/qcow2/repair.h"
#include "lun/qcow2_mark.h"
#include "target/image/closed.h"

/* What was repaired is looked at again, so that the answer is about the image as it is. */
struct checking {
	struct qcow2_check found;
	struct qcow2_repair repair;
	char why[IMAGE_WHY_BYTES];
};

static int check(struct checking *c, struct closed_file *file)
{
	return qcow2_check(&(struct qcow2_check_spec){.file = closed_reader(file)}, &c->found,
			   c->why, sizeof(c->why));
}

/* Why it cannot be repaired is said where the image is still not clean. */
static int repair(struct checking *c, struct closed_file *file)
{
	int res;

	c->repair.writable = &file->disk.writable;
	res = qcow2_repair(&c->repair, c->why, sizeof(c->why));
	return res == -ENOTSUP ? 0 : res;
}

static json_t *findings_of(const struct qcow2_check *found)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < found->finding_count; i++)
		(void)json_array_append_new(list, json_string(found->findings[i]));
	return list;
}

/* What leaks are, and how they go. */
static json_t *remedy_of(const struct qcow2_check *found, const struct closed_file *file)
{
	if (found->leaks == 0)
		return json_null();
	if (family_is_marked_base(file->fd))
		return json_string("leaked clusters are in use for nothing; nobody writes to a "
				   "base: --repair gives them back while neither it nor what is "
				   "based on it is open");
	if (qcow2_is_marked(file->fd))
		return json_string("leaked clusters are in use for nothing, as it was not closed "
				   "in order; they go back when it is served, or with --repair");
	return json_string("leaked clusters are in use for nothing; --repair gives them back");
}

static json_t *describe(const struct checking *c, const struct closed_file *file,
			const struct qcow2_header *header)
{
	const struct qcow2_check *now = &c->found;
	uint64_t cluster = UINT64_C(1) << header->cluster_bits;
	bool clean = qcow2_check_verdict(now) == QCOW2_CLEAN;
	uint64_t leaks = clean ? c->repair.before.leaks : 0;
	uint64_t corruptions = clean ? c->repair.before.corruptions : 0;

	return json_pack("{s:o, s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}",
			 "filename", image_text(file->path), "format", "qcow2", "check-errors", 0,
			 "corruptions", (json_int_t)now->corruptions, "leaks",
			 (json_int_t)now->leaks, "corruptions-fixed", (json_int_t)corruptions,
			 "leaks-fixed", (json_int_t)leaks, "total-clusters",
			 (json_int_t)((header->size_bytes + cluster - 1) / cluster),
			 "allocated-clusters", (json_int_t)now->guest_clusters,
			 "compressed-clusters", (json_int_t)now->guest_compressed,
			 "referenced-clusters", (json_int_t)now->referenced, "findings",
			 findings_of(now), "remedy", remedy_of(now, file));
}

static int check_and_repair(struct image_order *order, struct checking *c, struct closed_file *file,
			    const struct qcow2_header *header)
{
	int res = check(c, file);

	if (res == 0 && image_has(order, IMAGE_REPAIR) &&
	    (qcow2_check_verdict(&c->found) != QCOW2_CLEAN || c->found.dirty)) {
		res = repair(c, file);
		if (res == 0)
			res = check(c, file);
	}
	if (res != 0)
		return image_refuse(order, res, NULL, "%s: %s", file->path, c->why);
	order->status = (int)qcow2_check_verdict(&c->found);
	if (image_has(order, IMAGE_REPAIR) && order->status == IMAGE_EXIT_OK)
		qcow2_unmark(file->fd);
	order->result = describe(c, file, header);
	return 0;
}

int image_run_check(struct image_order *order)
{
	bool repairs = image_has(order, IMAGE_REPAIR);
	struct closed_chain *chain;
	struct checking *c;
	int res = closed_chain_open_alone(order, order->operands[0], order->values[IMAGE_FORMAT],
					  repairs ? CLOSED_REPAIR : CLOSED_READ, &chain);

	if (res != 0)
		return res;
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		res = image_refuse(order, -ENOMEM, NULL, "memory is short");
	else if (chain->layers[0].file.format != CLOSED_QCOW2)
		res = image_refuse(order, -ENOTSUP, "--format qcow2, if it is one",
				   "%s is raw: there is nothing to check",
				   chain->layers[0].file.path);
	else
		res = check_and_repair(order, c, &chain->layers[0].file,
				       &chain->layers[0].plain.header);
	free(c);
	closed_chain_close(chain);
	return res;
}
