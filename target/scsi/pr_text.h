/*
 * A state of persistent reservations as the text of a file: what a LUN's reservations are after a
 * restart. Versioned, checked by a CRC, strict: whatever pr_text_print does not write is damaged.
 * Pure. Read next: pr_text.c, pr_store.h.
 */
#ifndef TARGET_SCSI_PR_TEXT_H
#define TARGET_SCSI_PR_TEXT_H

#include "lun/lun.h"
#include "target/scsi/pr_state.h"

/* "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx": the kernel's boot_id. */
#define PR_BOOT_BYTES 36u
/* Room for the text of so many registrants, terminated. */
#define PR_TEXT_BYTES(count) (512u + (size_t)(count) * (PR_NAME_BYTES_MAX + 48u))

struct pr_record {
	uint8_t naa[LUN_NAA_BYTES];   /* Of the LUN. */
	char boot[PR_BOOT_BYTES + 1]; /* In which life of the host it was written. */
	struct pr_state state;
};

/* Write it to `out`, which has PR_TEXT_BYTES(record->state.count). */
void pr_text_print(const struct pr_record *record, char *out);
/* How many registrants the text has at most; a bound for the array that pr_text_parse fills. */
uint32_t pr_text_count(const char *text);
/* record->state.registrants and .capacity are set by the caller. -EINVAL: the text is damaged. */
int MUST_CHECK pr_text_parse(const char *text, struct pr_record *record);

#endif
