/*
 * Where the record of an image is kept: an extended attribute of the image, so that it goes where
 * the image goes; where there is none (block devices, null images, file systems without them) a
 * file in the state directory. Not here: what the record says (identity.c).
 *
 * A record in the state directory is found by a key, never by a number of the configuration:
 *   a block device   its WWID, serial number or device-mapper UUID; its path where it has none;
 *   another image    its path, symbolic links resolved;
 *   no image (null)  the LUN's name.
 * The file is named by a hash of the key and holds the record, then the key.
 *
 * Control thread; it blocks.
 */
#include "lun/lun_internal.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/log.h"
#include "lun/family_change.h"
#include "lun/files.h"

#define ATTRIBUTE "user.ringsan.identity"
/* "1 naa=<32 digits> block=4294967295 unit=4294967295" and some room. */
#define RECORD_TEXT_BYTES 96u
#define KEY_BYTES 1024u
#define FILE_TEXT_BYTES (RECORD_TEXT_BYTES + KEY_BYTES + 1)

/* -- The record as text -- */

void naa_print(const uint8_t naa[LUN_NAA_BYTES], char out[LUN_NAA_DIGITS + 1])
{
	for (size_t i = 0; i < LUN_NAA_DIGITS; i++)
		out[i] = "0123456789abcdef"[naa[i / 2] >> (i % 2 ? 0 : 4) & 0xF];
	out[LUN_NAA_DIGITS] = '\0';
}

int naa_scan(const char *digits, uint8_t naa[LUN_NAA_BYTES])
{
	if (strlen(digits) != LUN_NAA_DIGITS)
		return -EINVAL;
	for (size_t i = 0; i < LUN_NAA_BYTES; i++) {
		const char pair[] = {digits[2 * i], digits[2 * i + 1], '\0'};

		if (!isxdigit((uint8_t)pair[0]) || !isxdigit((uint8_t)pair[1]))
			return -EINVAL;
		naa[i] = (uint8_t)strtoul(pair, NULL, 16);
	}
	return 0;
}

static void record_print(const struct lun_record *record, char out[RECORD_TEXT_BYTES])
{
	char digits[LUN_NAA_DIGITS + 1];

	naa_print(record->naa, digits);
	(void)snprintf(out, RECORD_TEXT_BYTES, "1 naa=%s block=%u unit=%u", digits,
		       record->logical_block_bytes, record->allocation_unit_bytes);
}

static bool record_is_sound(const struct lun_record *record)
{
	uint32_t block = record->logical_block_bytes;
	uint32_t unit = record->allocation_unit_bytes;

	return record->naa[0] >> 4 == 6 && (block == 512 || block == 4096) && unit >= block &&
	       unit <= 1 << 20 && !(unit & (unit - 1));
}

static uint32_t field_number(const char *text, const char *name)
{
	const char *field = strstr(text, name);

	return field ? (uint32_t)strtoul(field + strlen(name), NULL, 10) : 0;
}

/* Whatever record_print does not write like this is damaged. */
static int record_parse(const char *text, struct lun_record *out)
{
	char digits[LUN_NAA_DIGITS + 1] = "";
	char again[RECORD_TEXT_BYTES];

	if (strlen(text) > strlen("1 naa="))
		(void)snprintf(digits, sizeof(digits), "%s", text + strlen("1 naa="));
	if (naa_scan(digits, out->naa))
		return -EINVAL;
	out->logical_block_bytes = field_number(text, " block=");
	out->allocation_unit_bytes = field_number(text, " unit=");
	record_print(out, again);
	return !strcmp(text, again) && record_is_sound(out) ? 0 : -EINVAL;
}

/* -- The attribute -- */

/* Nothing but "there is none" may lead to a new identity: a disk that cannot be read now must not
 * become another one. Only the path of a LUN that is offline may fail to answer in other ways. */
static bool attribute_is_absent(const struct identity_place *place, int error)
{
	return error == ENODATA || error == ENOTSUP || (place->fd < 0 && error != ERANGE);
}

bool identity_is_on(int fd)
{
	return fgetxattr(fd, ATTRIBUTE, NULL, 0) >= 0 || errno != ENODATA;
}

static int attribute_load(const struct identity_place *place, struct lun_record *out, char *why)
{
	char text[RECORD_TEXT_BYTES];
	ssize_t length = -1;

	errno = ENODATA;
	if (place->fd >= 0) {
		length = fgetxattr(place->fd, ATTRIBUTE, text, sizeof(text) - 1);
	} else if (place->path) {
		length = getxattr(place->path, ATTRIBUTE, text, sizeof(text) - 1);
	}
	if (length < 0 && attribute_is_absent(place, errno))
		return -ENOENT;
	if (length < 0 && errno != ERANGE) {
		return lun_refuse(why, -EIO, "its attribute " ATTRIBUTE " cannot be read (%s)",
				  files_error(-errno));
	}
	/* Of a snapshot that was cut short: it is its disk's. */
	if (place->path && family_has_identity_of_active(place->path))
		return -ENOENT;
	text[length < 0 ? 0 : length] = '\0';
	if (!record_parse(text, out))
		return 0;
	return lun_refuse(why, -EINVAL,
			  "its attribute " ATTRIBUTE " is damaged; set `identity` and "
			  "remove it (setfattr -x)");
}

/* -ENOTSUP: no attribute can be kept here. */
static int attribute_save(const struct identity_place *place, const struct lun_record *record)
{
	char text[RECORD_TEXT_BYTES];

	record_print(record, text);
	if (place->fd < 0 || place->read_only ||
	    fsetxattr(place->fd, ATTRIBUTE, text, strlen(text), 0))
		return -ENOTSUP;
	return fsync(place->fd) ? -errno : 0;
}

int identity_hand_over(int from, int to)
{
	char text[RECORD_TEXT_BYTES];
	ssize_t length = fgetxattr(from, ATTRIBUTE, text, sizeof(text));

	if (length < 0)
		return errno == ENODATA || errno == ENOTSUP ? 0 : -errno;
	return fsetxattr(to, ATTRIBUTE, text, (size_t)length, 0) == 0 ? 0 : -errno;
}

bool identity_is_shared(int one, int other)
{
	char texts[2][RECORD_TEXT_BYTES];
	ssize_t length = fgetxattr(one, ATTRIBUTE, texts[0], sizeof(texts[0]));

	return length > 0 && fgetxattr(other, ATTRIBUTE, texts[1], sizeof(texts[1])) == length &&
	       memcmp(texts[0], texts[1], (size_t)length) == 0;
}

int identity_remove(int fd)
{
	return fremovexattr(fd, ATTRIBUTE) == 0 && fsync(fd) == 0 ? 0 : -errno;
}

/* -- The state directory -- */

static bool device_key(const char *path, char *out)
{
	char id[320];
	struct stat st;

	if (stat(path, &st) || !S_ISBLK(st.st_mode) || !files_device_id(st.st_rdev, id, sizeof(id)))
		return false;
	(void)snprintf(out, KEY_BYTES, "device %s", id);
	return true;
}

static int image_key(const char *path, char *out)
{
	char *whole = realpath(path, NULL);
	int res = snprintf(out, KEY_BYTES, "image %s", whole ? whole : path);

	free(whole);
	return res < 0 || (unsigned)res >= KEY_BYTES ? -ENAMETOOLONG : 0;
}

static int place_key(const struct identity_place *place, char *out)
{
	int res;

	if (place->path)
		return device_key(place->path, out) ? 0 : image_key(place->path, out);
	res = snprintf(out, KEY_BYTES, "lun %s", place->name);
	return res < 0 || (unsigned)res >= KEY_BYTES ? -ENAMETOOLONG : 0;
}

/* FNV-1a, 64 bits. The key is in the file too, so a collision is noticed. */
static uint64_t key_hash(const char *key)
{
	uint64_t hash = 0xcbf29ce484222325u;

	for (; *key; key++)
		hash = (hash ^ (uint8_t)*key) * 0x100000001b3u;
	return hash;
}

/* The key and the file that it leads to. */
static int file_find(const struct identity_place *place, char *key, char *path, size_t room)
{
	int res = place_key(place, key);

	if (res)
		return res;
	res = snprintf(path, room, "%s/identity-%016" PRIx64, place->state_dir, key_hash(key));
	return res < 0 || (size_t)res >= room ? -ENAMETOOLONG : 0;
}

/* "<record>\n<key>" */
static int file_parse(char *text, const char *key, struct lun_record *out)
{
	char *newline = strchr(text, '\n');

	if (!newline || strcmp(newline + 1, key) != 0)
		return -EINVAL;
	*newline = '\0';
	return record_parse(text, out);
}

static int file_load(const struct identity_place *place, struct lun_record *out, char *why)
{
	char key[KEY_BYTES];
	char path[FILES_PATH_MAX / 2];
	char text[FILE_TEXT_BYTES];
	int res;

	if (!place->state_dir)
		return -ENOENT;
	res = file_find(place, key, path, sizeof(path));
	if (!res)
		res = files_read_text(path, text, sizeof(text));
	if (res == -ENOENT)
		return res;
	if (!res)
		res = file_parse(text, key, out);
	if (res) {
		return lun_refuse(why, res, "its identity cannot be read (%s): %s",
				  files_error(res), path);
	}
	return 0;
}

/* Durable itself: a power cut must not take the folder with the record. */
static int state_dir_make(const char *path)
{
	if (!mkdir(path, 0700))
		return files_sync_parent(path);
	return errno == EEXIST ? 0 : -errno;
}

static int file_write(const struct identity_place *place, const struct lun_record *record)
{
	char key[KEY_BYTES];
	char path[FILES_PATH_MAX / 2];
	char line[RECORD_TEXT_BYTES];
	char text[FILE_TEXT_BYTES];
	int res = file_find(place, key, path, sizeof(path));

	if (res)
		return res;
	res = state_dir_make(place->state_dir);
	if (res)
		return res;
	record_print(record, line);
	(void)snprintf(text, sizeof(text), "%s\n%s", line, key);
	return files_write_text(path, text);
}

static int file_save(const struct identity_place *place, const struct lun_record *record, char *why)
{
	int res;

	if (!place->state_dir) {
		log_warn("lun",
			 "%s: its identity is kept nowhere and will be another after a "
			 "restart",
			 place->name);
		return 0;
	}
	res = file_write(place, record);
	if (res) {
		return lun_refuse(why, res, "its identity cannot be kept (%s) in %s",
				  files_error(res), place->state_dir);
	}
	return 0;
}

/* -- Both -- */

int identity_load(const struct identity_place *place, struct lun_record *out, char *why)
{
	int res = attribute_load(place, out, why);

	return res == -ENOENT ? file_load(place, out, why) : res;
}

int identity_save(const struct identity_place *place, const struct lun_record *record, char *why)
{
	int res = attribute_save(place, record);

	if (res == -ENOTSUP)
		return file_save(place, record, why);
	if (res) {
		return lun_refuse(why, res, "its identity cannot be made durable (%s)",
				  files_error(res));
	}
	return 0;
}
