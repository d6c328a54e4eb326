/*
 * Where reservations are kept: a file in the state directory for each LUN that has ever had one,
 * named by its identity, so that it follows the disk and not its number or its target. It is
 * replaced as a whole and durably before a PERSISTENT RESERVE OUT is answered.
 *
 * It says in which life of the host it was written. In the same life the daemon has been restarted
 * and all is as it was; in another one the power was lost, which only reservations with APTPL
 * survive (SPC-4 5.13.5), and PRGENERATION starts again from 0.
 *
 * Threads: loading, the control thread; saving, a helper thread. Read next: pr_text.h.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "lun/files.h"
#include "target/scsi/pr_text.h"
#include "target/scsi/reservation_lu.h"

#define BOOT_ID "/proc/sys/kernel/random/boot_id"
#define PATH_BYTES (FILES_PATH_MAX / 2)

/* "" where the host has none: then no two lives are the same. */
static void read_boot(char boot[PR_BOOT_BYTES + 1])
{
	char text[PR_BOOT_BYTES + 16];

	boot[0] = '\0';
	if (files_read_text(BOOT_ID, text, sizeof(text)) == 0)
		(void)snprintf(boot, PR_BOOT_BYTES + 1, "%.*s", (int)strcspn(text, "\n"), text);
}

static int file_path(const struct scsi_lu *lu, char path[PATH_BYTES])
{
	const uint8_t *naa = lun_identity(lu->lun)->naa;
	char digits[2 * LUN_NAA_BYTES + 1];
	int length;

	for (size_t i = 0; i < LUN_NAA_BYTES; i++)
		(void)snprintf(digits + 2 * i, 3, "%02x", naa[i]);
	length = snprintf(path, PATH_BYTES, "%s/reservations-%s", lu->state_dir, digits);
	return length < 0 || (size_t)length >= PATH_BYTES ? -ENAMETOOLONG : 0;
}

/* -- Saving -- */

char *scsi_reservations_print(const struct scsi_lu *lu, const struct pr_state *state)
{
	struct pr_record record = {.state = *state};
	char *text = malloc(PR_TEXT_BYTES(state->count));

	if (text == NULL)
		return NULL;
	memcpy(record.naa, lun_identity(lu->lun)->naa, LUN_NAA_BYTES);
	read_boot(record.boot);
	if (record.boot[0] == '\0')
		(void)snprintf(record.boot, sizeof(record.boot), "-");
	pr_text_print(&record, text);
	return text;
}

int scsi_reservations_save(const struct scsi_lu *lu, const char *text)
{
	char path[PATH_BYTES];
	int res = file_path(lu, path);

	return res == 0 ? files_write_text(path, text) : res;
}

/* -- Loading -- */

/* What is left of a state when the power was lost. */
static void survive_power_loss(struct pr_state *state)
{
	state->generation = 0;
	if (state->persists)
		return;
	state->type = PR_NONE;
	state->holder = PR_NOBODY;
	state->count = 0;
}

/* The state of a text goes to reservations->next. */
static int take_text(struct scsi_reservations *reservations, const char *text)
{
	struct scsi_lu *lu = reservations->lu;
	struct pr_record record;
	char boot[PR_BOOT_BYTES + 1];
	int res = scsi_reservations_make_room(reservations, pr_text_count(text));

	if (res != 0)
		return res;
	record.state = *reservations->next;
	res = pr_text_parse(text, &record);
	if (res == 0 && memcmp(record.naa, lun_identity(lu->lun)->naa, LUN_NAA_BYTES) != 0)
		res = -EINVAL;
	if (res != 0)
		return res;
	read_boot(boot);
	if (strcmp(boot, record.boot) != 0)
		survive_power_loss(&record.state);
	*reservations->next = record.state;
	return 0;
}

/* No loop runs yet: nobody has to be told. */
static int take_file(struct scsi_lu *lu, const char *text)
{
	struct scsi_reservations *reservations = scsi_reservations_of(lu);
	struct pr_state *next;
	int res;

	if (reservations == NULL)
		return -ENOMEM;
	next = reservations->next;
	res = take_text(reservations, text);
	if (res != 0)
		return res;
	reservations->next = &reservations->versions[next == &reservations->versions[0]];
	atomic_store_explicit(&reservations->now, next, memory_order_release);
	if (next->count > 0) {
		log_info("scsi", "%s: %u registrations restored, reservation type %u",
			 lun_name(lu->lun), next->count, (unsigned)next->type);
	}
	return 0;
}

static int load(struct scsi_lu *lu, char *text, size_t room)
{
	char path[PATH_BYTES];
	char why[128];
	int res = file_path(lu, path);

	if (res == 0)
		res = files_read_text(path, text, room);
	if (res == -ENOENT)
		return 0;
	if (res == 0)
		res = take_file(lu, text);
	if (res == 0 || res == -ENOMEM)
		return res;
	log_error("scsi",
		  "%s: its reservations cannot be read (%s): %s; restore the file, or remove it to "
		  "go on without them",
		  lun_name(lu->lun), res == -EINVAL ? "damaged" : files_error(res), path);
	(void)snprintf(why, sizeof(why), "its reservations cannot be read (%s); see the log",
		       res == -EINVAL ? "damaged" : files_error(res));
	lun_set_offline(lu->lun, why);
	lu->reservations_lost = true;
	return 0;
}

int scsi_lu_restore(struct scsi_lu *lu)
{
	size_t room = PR_TEXT_BYTES(PR_REGISTRANTS_MAX);
	char *text;
	int res;

	if (lu->state_dir == NULL || lun_identity(lu->lun)->naa[0] == 0)
		return 0;
	text = malloc(room);
	res = text != NULL ? load(lu, text, room) : -ENOMEM;
	free(text);
	return res;
}

int scsi_target_restore(struct scsi_target *target)
{
	const struct scsi_lu_table *table = scsi_target_lus(target);
	size_t room = PR_TEXT_BYTES(PR_REGISTRANTS_MAX);
	char *text = malloc(room);
	int res = text != NULL ? 0 : -ENOMEM;

	for (unsigned i = 0; res == 0 && i < table->count; i++) {
		struct scsi_lu *lu = table->lus[i];

		/* Of two LUNs with one identity the second has none any more. */
		if (lu->state_dir != NULL && lun_identity(lu->lun)->naa[0] != 0)
			res = load(lu, text, room);
	}
	free(text);
	return res;
}
