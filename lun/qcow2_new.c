/*
 * qcow2 images by configuration; see qcow2_new.h. What a cut leaves is the whole image or none.
 *
 * Read next: new_file.c, lun/qcow2/create.c.
 */
#include "lun/qcow2_new.h"

#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "lun/new_file.h"
#include "lun/qcow2/writable.h"

static int check(const struct lun_spec *spec, char *why, size_t why_bytes)
{
	if (spec->read_only) {
		(void)snprintf(why, why_bytes, "%s does not exist", spec->path);
		return -ENOENT;
	}
	if (spec->size_bytes == 0) {
		(void)snprintf(why, why_bytes, "no size is configured to create %s with",
			       spec->path);
		return -ENOENT;
	}
	return 0;
}

static int write_file(const struct lun_spec *spec, const struct qcow2_layout *layout)
{
	struct qcow2_descriptor file;
	struct new_file fresh;
	int res = new_file_begin(spec->path, &fresh);

	if (res != 0)
		return res;
	res = qcow2_descriptor_make(fresh.fd, &file);
	if (res == 0)
		res = qcow2_layout_write(layout, &file.writable);
	if (res == 0)
		return new_file_commit(&fresh, spec->path);
	new_file_drop(&fresh);
	return res;
}

int qcow2_new(const struct lun_spec *spec, char *why, size_t why_bytes)
{
	uint32_t bytes = spec->cluster_bytes != 0 ? spec->cluster_bytes
						  : UINT32_C(1) << QCOW2_CREATE_CLUSTER_BITS;
	const struct qcow2_create create = {
		.size_bytes = spec->size_bytes,
		.cluster_bits = (uint32_t)__builtin_ctz(bytes),
		.extended = bytes >= QCOW2_NEW_EXTENDED_FROM,
	};
	struct qcow2_layout layout;
	int res = check(spec, why, why_bytes);

	if (res == 0)
		res = qcow2_layout_make(&create, &layout, why, why_bytes);
	if (res != 0)
		return res;
	res = write_file(spec, &layout);
	if (res != 0) {
		(void)snprintf(why, why_bytes, "cannot create it (%s): %s", files_error(res),
			       spec->path);
		return res;
	}
	log_info("lun", "%s: created %s, %llu bytes, thin", spec->name, spec->path,
		 (unsigned long long)spec->size_bytes);
	return 0;
}
