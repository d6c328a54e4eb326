/*
 * What a LUN is, for ever: its NAA designator and serial number, its block size and allocation
 * unit. Made once from 100 random bits and kept with the image; numbers, names and places in the
 * configuration never enter it, so that two servers never agree by accident and a reordered file or
 * a renamed target changes nothing. Not here: where it is kept (identity_store.c).
 *
 * Precedence: the configuration's `identity`; then the image's attribute; then the state directory.
 * Block size and allocation unit are those of the record; a configuration that says otherwise takes
 * the LUN offline, because hosts have written in terms of them.
 *
 * Control thread; it blocks.
 *
 * Read next: identity_store.c.
 */
#include "lun/lun_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"

/* SPC-5 7.8.6.6.5: NAA 6h, 24 bits of company id, 36 + 64 bits of our own choice. */
static int naa_make(uint32_t company_id, uint8_t naa[LUN_NAA_BYTES])
{
	uint32_t head = 6u << 28 | company_id << 4;

	if (getrandom(naa, LUN_NAA_BYTES, 0) != (ssize_t)LUN_NAA_BYTES)
		return -EIO;
	naa[0] = (uint8_t)(head >> 24);
	naa[1] = (uint8_t)(head >> 16);
	naa[2] = (uint8_t)(head >> 8);
	naa[3] = (uint8_t)((head & 0xF0) | (naa[3] & 0x0F));
	return 0;
}

/* "naa.6" and 31 digits. */
static int naa_parse(const char *text, uint8_t naa[LUN_NAA_BYTES])
{
	return strncmp(text, "naa.6", 5) != 0 ? -EINVAL : naa_scan(text + 4, naa);
}

/* The 100 bits as 25 digits. */
static void serial_derive(const uint8_t naa[LUN_NAA_BYTES], char out[LUN_SERIAL_MAX + 1])
{
	char digits[LUN_NAA_DIGITS + 1];

	naa_print(naa, digits);
	(void)snprintf(out, LUN_SERIAL_MAX + 1, "%s", digits + 7);
}

static void identity_set(struct lun *lun, const struct lun_spec *spec,
			 const struct lun_record *record)
{
	memcpy(lun->identity.naa, record->naa, LUN_NAA_BYTES);
	lun->limits.logical_block_bytes = record->logical_block_bytes;
	lun->limits.allocation_unit_bytes = record->allocation_unit_bytes;
	if (spec->serial) {
		(void)snprintf(lun->identity.serial, sizeof(lun->identity.serial), "%s",
			       spec->serial);
	} else {
		serial_derive(record->naa, lun->identity.serial);
	}
}

static struct identity_place place_of(const struct lun *lun, const struct lun_spec *spec)
{
	int fd = lun->image ? lun->ops->fd(lun->image) : -1;

	return (struct identity_place){
		.fd = fd,
		.read_only = spec->read_only,
		.path = fd >= 0 || !lun->image ? spec->path : NULL,
		.name = lun->name,
		.state_dir = spec->state_dir,
	};
}

static int record_check(const struct lun_record *record, const struct lun_spec *spec, char *why)
{
	if (spec->logical_block_bytes && spec->logical_block_bytes != record->logical_block_bytes) {
		return lun_refuse(why, -EINVAL,
				  "it was made with %u-byte blocks, configured are %u",
				  record->logical_block_bytes, spec->logical_block_bytes);
	}
	if (spec->allocation_unit_bytes &&
	    spec->allocation_unit_bytes != record->allocation_unit_bytes) {
		return lun_refuse(why, -EINVAL,
				  "it was made with allocation unit %u, configured is %u",
				  record->allocation_unit_bytes, spec->allocation_unit_bytes);
	}
	return 0;
}

static int record_make(const struct lun *lun, const struct lun_spec *spec, struct lun_record *out,
		       char *why)
{
	out->logical_block_bytes = spec->logical_block_bytes ? spec->logical_block_bytes : 512;
	out->allocation_unit_bytes = spec->allocation_unit_bytes ? spec->allocation_unit_bytes
								 : lun->info.allocation_unit_bytes;
	if (out->allocation_unit_bytes < out->logical_block_bytes) {
		return lun_refuse(why, -EINVAL, "allocation unit %u is smaller than a block",
				  out->allocation_unit_bytes);
	}
	if (spec->identity)
		return naa_parse(spec->identity, out->naa);
	return naa_make(spec->company_id ? spec->company_id : LUN_COMPANY_ID, out->naa);
}

static void record_announce(const struct lun *lun, const struct lun_record *record)
{
	char naa[LUN_NAA_DIGITS + 1];

	naa_print(record->naa, naa);
	log_info("lun", "%s: new identity naa.%s", lun->name, naa);
}

static int record_make_and_keep(const struct lun *lun, const struct lun_spec *spec,
				struct lun_record *out, char *why)
{
	struct identity_place place = place_of(lun, spec);
	int res = record_make(lun, spec, out, why);

	if (!res)
		res = identity_save(&place, out, why);
	if (!res)
		record_announce(lun, out);
	return res;
}

static int spec_check(const struct lun_spec *spec, char *why)
{
	uint8_t naa[LUN_NAA_BYTES];

	if (spec->identity && naa_parse(spec->identity, naa)) {
		return lun_refuse(why, -EINVAL,
				  "`identity` must be naa.6 and 31 hexadecimal digits");
	}
	if (spec->serial && (!spec->serial[0] || strlen(spec->serial) > LUN_SERIAL_MAX)) {
		return lun_refuse(why, -EINVAL, "`serial` must have 1 to %u characters",
				  LUN_SERIAL_MAX);
	}
	if (spec->company_id > 0xFFFFFF)
		return lun_refuse(why, -EINVAL, "`company-id` has more than 24 bits");
	return 0;
}

int identity_settle(struct lun *lun, const struct lun_spec *spec, char *why)
{
	struct identity_place place = place_of(lun, spec);
	struct lun_record record;
	int res = spec_check(spec, why);

	if (res)
		return res;
	res = lun->info.created ? -ENOENT : identity_load(&place, &record, why);
	if (!res) {
		res = record_check(&record, spec, why);
	} else if (res == -ENOENT) {
		res = record_make_and_keep(lun, spec, &record, why);
	}
	if (!res && spec->identity)
		res = naa_parse(spec->identity, record.naa);
	if (!res)
		identity_set(lun, spec, &record);
	return res;
}

static bool is_record_of(const struct lun *lun, const struct lun_spec *spec,
			 const struct lun_record *record)
{
	/* A configured identity is in force whatever the image says. */
	return (spec->identity || !memcmp(record->naa, lun->identity.naa, LUN_NAA_BYTES)) &&
	       record->logical_block_bytes == lun->limits.logical_block_bytes &&
	       record->allocation_unit_bytes == lun->limits.allocation_unit_bytes;
}

int identity_confirm(struct lun *lun, const struct lun_spec *spec, char *why)
{
	struct identity_place place = place_of(lun, spec);
	struct lun_record record;
	int res = identity_load(&place, &record, why);

	if (res == 0)
		return is_record_of(lun, spec, &record)
			       ? 0
			       : lun_refuse(why, -EINVAL, "it has the identity of another LUN");
	if (res != -ENOENT)
		return res;
	memcpy(record.naa, lun->identity.naa, LUN_NAA_BYTES);
	record.logical_block_bytes = lun->limits.logical_block_bytes;
	record.allocation_unit_bytes = lun->limits.allocation_unit_bytes;
	return identity_save(&place, &record, why);
}

void identity_peek(struct lun *lun, const struct lun_spec *spec)
{
	struct identity_place place = place_of(lun, spec);
	struct lun_record record = {.logical_block_bytes = 512, .allocation_unit_bytes = 4096};
	char why[LUN_WHY_BYTES];
	bool known = !identity_load(&place, &record, why);

	if (spec->identity && !naa_parse(spec->identity, record.naa))
		known = true;
	if (known)
		identity_set(lun, spec, &record);
}
