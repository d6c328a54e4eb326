/*
 * Saved mode pages as a file of the state directory, named by the identity of the LUN, so that they
 * follow the disk and not its number or its target:
 *
 *   1 naa=<32 digits>
 *   <page code>.<subpage code> <the page in hexadecimal digits, with its header>
 *   ...
 *
 * Pages that are not ours are passed over, and those that are not in the file keep their defaults:
 * versions with more and with fewer pages read each other's files. A file that is damaged counts as
 * none, loudly.
 *
 * Threads: printing any, reading the control thread. Read next: ../../lun/files.h.
 */
#include "target/scsi/mode.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "lun/files.h"
#include "target/scsi/device.h"

#define HEADER_BYTES (sizeof("1 naa=") + 2 * (size_t)LUN_NAA_BYTES + 1)
#define PREFIX_CHARS 6u /* "0a.01 " */

/* The header, and of each page its codes, its digits and the end of its line. */
static_assert(HEADER_BYTES + SCSI_MODE_PAGE_COUNT * (PREFIX_CHARS + 1) + 2 * SCSI_MODE_BYTES_MAX <
		      SCSI_MODE_TEXT_MAX,
	      "all pages fit the text");

static void print_hex(const uint8_t *bytes, unsigned count, char *out)
{
	for (unsigned i = 0; i < count; i++)
		(void)snprintf(out + (size_t)2 * i, 3, "%02x", bytes[i]);
}

static void print_header(const struct scsi_lu *lu, char out[HEADER_BYTES])
{
	char digits[2 * LUN_NAA_BYTES + 1];

	print_hex(lun_identity(lu->lun)->naa, LUN_NAA_BYTES, digits);
	(void)snprintf(out, HEADER_BYTES, "1 naa=%s\n", digits);
}

static bool file_path(const struct scsi_lu *lu, char path[SCSI_MODE_PATH_MAX])
{
	char digits[2 * LUN_NAA_BYTES + 1];
	int length;

	print_hex(lun_identity(lu->lun)->naa, LUN_NAA_BYTES, digits);
	length = snprintf(path, SCSI_MODE_PATH_MAX, "%s/mode-%s", lu->state_dir, digits);
	return length > 0 && (unsigned)length < SCSI_MODE_PATH_MAX;
}

bool scsi_mode_file(const struct scsi_lu *lu, const uint8_t image[SCSI_MODE_BYTES_MAX],
		    char path[SCSI_MODE_PATH_MAX], char text[SCSI_MODE_TEXT_MAX])
{
	size_t at;

	/* Of two LUNs with one identity the second has lost it since it was opened. */
	if (!scsi_mode_can_save(lu) || !file_path(lu, path))
		return false;
	print_header(lu, text);
	at = strlen(text);
	for (unsigned i = 0; i < SCSI_MODE_PAGE_COUNT; i++) {
		const struct scsi_mode_page *page = &scsi_mode_pages[i];

		(void)snprintf(text + at, SCSI_MODE_TEXT_MAX - at, "%02x.%02x ", page->code,
			       page->subpage);
		at += PREFIX_CHARS;
		print_hex(image, page->bytes, text + at);
		at += (size_t)2 * page->bytes;
		text[at++] = '\n';
		image += page->bytes;
	}
	text[at] = '\0';
	return true;
}

/* -- Reading -- */

/* Exactly two digits. */
static bool scan_byte(const char *digits, uint8_t *out)
{
	const char pair[] = {digits[0], digits[0] != '\0' ? digits[1] : '\0', '\0'};

	*out = (uint8_t)strtoul(pair, NULL, 16);
	return isxdigit((uint8_t)pair[0]) && isxdigit((uint8_t)pair[1]);
}

static bool scan_bytes(const char *digits, unsigned count, uint8_t *out)
{
	for (unsigned i = 0; i < count; i++) {
		if (!scan_byte(digits + (size_t)2 * i, &out[i]))
			return false;
	}
	return digits[(size_t)2 * count] == '\n';
}

/* Where in an image the page of a line stands; false for one that is not ours. */
static bool find_page(uint8_t code, uint8_t subpage, unsigned *index)
{
	for (unsigned i = 0; i < SCSI_MODE_PAGE_COUNT; i++) {
		if (scsi_mode_pages[i].code == code && scsi_mode_pages[i].subpage == subpage) {
			*index = i;
			return true;
		}
	}
	return false;
}

static bool scan_line(const char *line, uint8_t image[SCSI_MODE_BYTES_MAX])
{
	uint8_t code;
	uint8_t subpage;
	unsigned index;

	if (!scan_byte(line, &code) || line[2] != '.' || !scan_byte(line + 3, &subpage) ||
	    line[5] != ' ')
		return false;
	return !find_page(code, subpage, &index) ||
	       scan_bytes(line + PREFIX_CHARS, scsi_mode_pages[index].bytes,
			  image + scsi_mode_offset(index));
}

/* `image` is changed only where the whole text is sound. */
static bool scan_text(const struct scsi_lu *lu, const char *text,
		      uint8_t image[SCSI_MODE_BYTES_MAX])
{
	char header[HEADER_BYTES];
	uint8_t scanned[SCSI_MODE_BYTES_MAX];
	const char *end;

	print_header(lu, header);
	if (strncmp(text, header, strlen(header)) != 0)
		return false;
	memcpy(scanned, image, sizeof(scanned));
	for (text += strlen(header); *text != '\0'; text = end + 1) {
		end = strchr(text, '\n');
		if (end == NULL || !scan_line(text, scanned))
			return false;
	}
	memcpy(image, scanned, sizeof(scanned));
	return true;
}

void scsi_mode_load(const struct scsi_lu *lu, uint8_t image[SCSI_MODE_BYTES_MAX])
{
	char path[SCSI_MODE_PATH_MAX];
	char text[SCSI_MODE_TEXT_MAX];
	int res = file_path(lu, path) ? files_read_text(path, text, sizeof(text)) : -ENAMETOOLONG;

	if (res == -ENOENT)
		return;
	if (res == 0 && !scan_text(lu, text, image))
		res = -EINVAL;
	if (res != 0)
		log_error("scsi",
			  "%s: its saved mode pages cannot be read (%s), defaults are used: %s",
			  lun_name(lu->lun), res == -EINVAL ? "damaged" : files_error(res), path);
}
