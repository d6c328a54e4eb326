/*
 * The text of a state of persistent reservations; see pr_text.h. One field a line, in this order:
 *
 *	ringsan reservations 1
 *	lun 6525...                 the LUN's NAA
 *	boot 5b0c...                /proc/sys/kernel/random/boot_id
 *	aptpl 1
 *	generation 7
 *	reservation 5 1             type, and the holder's place among the registrants, from 1; or 0
 *0 registrant 00..ab 1 iqn.2026-11.com.example:host,i,0x00023d000001 key, target port, initiator
 *port crc 01234567                CRC32C of all before this line
 */
#include "target/scsi/pr_text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/crc32c.h"

#define FIRST_LINE "ringsan reservations 1\n"
#define REGISTRANT "registrant "

/* -- Printing -- */

struct printer {
	char *at;
	size_t room;
};

static void PRINTF_LIKE(2, 3) print(struct printer *printer, const char *format, ...)
{
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(printer->at, printer->room, format, args);
	va_end(args);
	if (length > 0 && (size_t)length < printer->room) {
		printer->at += length;
		printer->room -= (size_t)length;
	}
}

static void print_registrants(struct printer *printer, const struct pr_state *state)
{
	for (uint32_t i = 0; i < state->count; i++) {
		const struct pr_registrant *one = &state->registrants[i];

		print(printer, REGISTRANT "%016" PRIx64 " %u %s\n", one->key,
		      one->nexus.target_port, one->nexus.initiator);
	}
}

void pr_text_print(const struct pr_record *record, char *out)
{
	const struct pr_state *state = &record->state;
	struct printer printer = {out, PR_TEXT_BYTES(state->count)};

	print(&printer, FIRST_LINE "lun ");
	for (size_t i = 0; i < LUN_NAA_BYTES; i++)
		print(&printer, "%02x", record->naa[i]);
	print(&printer, "\nboot %s\naptpl %u\ngeneration %" PRIu32 "\n", record->boot,
	      state->persists, state->generation);
	print(&printer, "reservation %u %u\n", (unsigned)state->type,
	      state->holder == PR_NOBODY ? 0 : state->holder + 1);
	print_registrants(&printer, state);
	print(&printer, "crc %08x\n", crc32c(0, out, (size_t)(printer.at - out)));
}

/* -- Parsing -- */

struct scanner {
	const char *at;
	bool failed; /* Sticky. */
};

static void scan_text(struct scanner *scanner, const char *text)
{
	if (scanner->failed || strncmp(scanner->at, text, strlen(text)) != 0) {
		scanner->failed = true;
	} else {
		scanner->at += strlen(text);
	}
}

/* Exactly so many digits, lower case. */
static uint64_t scan_hex(struct scanner *scanner, unsigned digits)
{
	static const char hex_digits[] = "0123456789abcdef";
	uint64_t value = 0;

	for (unsigned i = 0; i < digits && !scanner->failed; i++) {
		const char *digit = memchr(hex_digits, *scanner->at, 16);

		scanner->failed = digit == NULL;
		value = value << 4 | (uint64_t)(digit != NULL ? digit - hex_digits : 0);
		scanner->at += !scanner->failed;
	}
	return value;
}

/* A decimal number of at most 32 bits, without zeroes before it. */
static uint32_t scan_number(struct scanner *scanner, uint32_t max)
{
	const char *from = scanner->at;
	uint64_t value = 0;

	while (!scanner->failed && *scanner->at >= '0' && *scanner->at <= '9' && value <= max)
		value = value * 10 + (uint64_t)(*scanner->at++ - '0');
	scanner->failed = scanner->failed || scanner->at == from || value > max ||
			  (*from == '0' && scanner->at != from + 1);
	return scanner->failed ? 0 : (uint32_t)value;
}

/* Up to the end of the line: printable, without spaces, at most `max` bytes. */
static size_t scan_word(struct scanner *scanner, size_t max)
{
	size_t length = 0;

	while (!scanner->failed && length <= max && (uint8_t)scanner->at[length] > ' ' &&
	       scanner->at[length] != 0x7F)
		length++;
	scanner->failed = scanner->failed || length == 0 || length > max;
	return scanner->failed ? 0 : length;
}

static void scan_boot(struct scanner *scanner, struct pr_record *record)
{
	size_t length;

	scan_text(scanner, "\nboot ");
	length = scan_word(scanner, PR_BOOT_BYTES);
	(void)snprintf(record->boot, sizeof(record->boot), "%.*s", (int)length, scanner->at);
	scanner->at += length;
}

static void scan_head(struct scanner *scanner, struct pr_record *record)
{
	struct pr_state *state = &record->state;
	uint32_t holder;

	scan_text(scanner, FIRST_LINE "lun ");
	for (size_t i = 0; i < LUN_NAA_BYTES; i++)
		record->naa[i] = (uint8_t)scan_hex(scanner, 2);
	scan_boot(scanner, record);
	scan_text(scanner, "\naptpl ");
	state->persists = scan_number(scanner, 1) != 0;
	scan_text(scanner, "\ngeneration ");
	state->generation = scan_number(scanner, UINT32_MAX);
	scan_text(scanner, "\nreservation ");
	state->type = (enum pr_type)scan_number(scanner, PR_TYPE_COUNT - 1);
	scan_text(scanner, " ");
	holder = scan_number(scanner, PR_REGISTRANTS_MAX);
	state->holder = holder == 0 ? PR_NOBODY : holder - 1;
	scan_text(scanner, "\n");
}

static void scan_registrant(struct scanner *scanner, struct pr_state *state)
{
	struct pr_registrant *one = &state->registrants[state->count];
	uint16_t target_port;
	size_t length;

	scan_text(scanner, REGISTRANT);
	one->key = scan_hex(scanner, 16);
	scan_text(scanner, " ");
	target_port = (uint16_t)scan_number(scanner, UINT16_MAX);
	scan_text(scanner, " ");
	length = scan_word(scanner, PR_NAME_BYTES_MAX);
	pr_nexus_set(&one->nexus, scanner->at, length, target_port);
	scanner->at += length;
	scan_text(scanner, "\n");
	state->count += !scanner->failed;
}

static void scan_crc(struct scanner *scanner, const char *text)
{
	uint32_t crc = crc32c(0, text, (size_t)(scanner->at - text));

	scan_text(scanner, "crc ");
	if (scan_hex(scanner, 8) != crc)
		scanner->failed = true;
	scan_text(scanner, "\n");
}

uint32_t pr_text_count(const char *text)
{
	uint32_t count = 0;

	while (count < PR_REGISTRANTS_MAX && (text = strstr(text, "\n" REGISTRANT)) != NULL) {
		count++;
		text++;
	}
	return count;
}

int pr_text_parse(const char *text, struct pr_record *record)
{
	struct scanner scanner = {.at = text};
	struct pr_state *state = &record->state;

	state->count = 0;
	scan_head(&scanner, record);
	while (!scanner.failed && state->count < state->capacity && *scanner.at == 'r')
		scan_registrant(&scanner, state);
	if (!scanner.failed)
		scan_crc(&scanner, text);
	return !scanner.failed && *scanner.at == '\0' && pr_is_sound(state) ? 0 : -EINVAL;
}
