/*
 * qcow2 images by configuration; see qcow2_new.h. What a cut leaves is the whole image or none.
 *
 * Read next: new_file.c, lun/qcow2/create.c.
 */
#include "lun/qcow2_new.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "lun/family_change.h"
#include "lun/new_file.h"
#include "lun/qcow2/writable.h"

static int check(const struct lun_spec *spec, char *why, size_t why_bytes)
{
	if (spec->read_only) {
		(void)snprintf(why, why_bytes, "%s does not exist", spec->path);
		return -ENOENT;
	}
	if (spec->size_bytes == 0 && spec->backing_name == NULL) {
		(void)snprintf(why, why_bytes, "no size is configured to create %s with",
			       spec->path);
		return -ENOENT;
	}
	return 0;
}

static uint32_t cluster_bytes_of(const struct lun_spec *spec)
{
	return spec->cluster_bytes != 0 ? spec->cluster_bytes
					: UINT32_C(1) << QCOW2_CREATE_CLUSTER_BITS;
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

static int make_alone(const struct lun_spec *spec, char *why, size_t why_bytes)
{
	uint32_t bytes = cluster_bytes_of(spec);
	const struct qcow2_create create = {
		.size_bytes = spec->size_bytes,
		.cluster_bits = (uint32_t)__builtin_ctz(bytes),
		.extended = bytes >= QCOW2_NEW_EXTENDED_FROM,
	};
	struct qcow2_layout layout;
	int res = qcow2_layout_make(&create, &layout, why, why_bytes);

	if (res != 0)
		return res;
	res = write_file(spec, &layout);
	if (res != 0)
		(void)snprintf(why, why_bytes, "cannot create it (%s): %s", files_error(res),
			       spec->path);
	return res;
}

static int make_clone(const struct lun_spec *spec, char *why, size_t why_bytes)
{
	uint32_t bytes = cluster_bytes_of(spec);
	const char *slash = strrchr(spec->path, '/');
	char base[FILES_PATH_MAX];
	const struct family_clone clone = {
		.base = base,
		.base_format = family_format_of(spec->backing_name),
		.name = spec->path,
		.size_bytes = spec->size_bytes,
		.cluster_bits = (uint32_t)__builtin_ctz(bytes),
		.standard = bytes < QCOW2_NEW_EXTENDED_FROM,
	};
	int length =
		snprintf(base, sizeof(base), "%.*s%s", slash ? (int)(slash + 1 - spec->path) : 0,
			 spec->path, spec->backing_name);

	if (length < 0 || (size_t)length >= sizeof(base)) {
		(void)snprintf(why, why_bytes, "its path is too long");
		return -ENAMETOOLONG;
	}
	return family_clone(&clone, why, why_bytes);
}

int qcow2_new(const struct lun_spec *spec, char *why, size_t why_bytes)
{
	int res = check(spec, why, why_bytes);

	if (res == 0)
		res = spec->backing_name ? make_clone(spec, why, why_bytes)
					 : make_alone(spec, why, why_bytes);
	if (res == 0)
		log_info("lun", "%s: created %s, thin%s%s", spec->name, spec->path,
			 spec->backing_name ? ", a clone of " : "",
			 spec->backing_name ? spec->backing_name : "");
	return res;
}
